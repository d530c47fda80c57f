"""LATENESS: which rows come too late, by the largest value seen so far (sql-reference 4.2).

    seen before this step  10:00 … 12:00     LATENESS 1 h     a row of 10:30 is late: dropped

The line moves behind a step, never within it, so a row is judged by what came in earlier steps.
NULL, NaN and the infinities are never late and move nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from penstock.circuit.node import Node
from penstock.data.batch import Batch, Column, Weights
from penstock.data.gather import filter_batch
from penstock.data.kernel import kernel
from penstock.data.types import FLOATS

#: a value of a column as a number: units of a time, digits of a DECIMAL
Value = int | float
#: column, how far behind the largest value a row may be, in the column's own units
Bounds = Sequence[tuple[int, Value]]
_HALF = 1 << 64
_WORD, _NO_MASK = np.dtype(np.int64), np.zeros(0, np.uint8)


class Waterline:
    """The largest value of each column in `bounds`."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = tuple(bounds)
        self.highest: list[Value | None] = [None] * len(self.bounds)

    def late(self, rows: Batch) -> npt.NDArray[np.bool_]:
        """Whether each row is behind any of the lines."""
        late = np.zeros(len(rows), np.bool_)
        for (column, lateness), highest in zip(self.bounds, self.highest, strict=True):
            if highest is not None:
                c = rows.columns[column]
                late |= behind(c, highest - lateness)
        return late

    def advance(self, rows: Batch) -> None:
        """Let the lines follow the rows that are there more often now."""
        for i, (column, _) in enumerate(self.bounds):
            found = largest(rows.columns[column], rows.weights > 0)
            before = self.highest[i]
            if found is not None and (before is None or found > before):
                self.highest[i] = found


def largest(column: Column, counted: npt.NDArray[np.bool_]) -> Value | None:
    """The largest of the `counted` values, None if there is none."""
    counted = counted & _counts(column)
    if not counted.any():
        return None
    values = column.values[counted]
    if values.ndim == 2:
        high = values[:, 1].view(np.int64)
        top = high.max()
        return int(top) * _HALF + int(values[high == top, 0].max())
    most = values.max()
    return float(most) if column.type.kind in FLOATS else int(most)


def largest_of_changes(column: Column, weights: Weights) -> Value | None:
    """The largest value of the rows with a positive weight, None if there is none."""
    if column.values.dtype != _WORD:
        return largest(column, weights > 0)
    at = _largest(column.values, _NO_MASK if column.valid is None else column.valid, weights)
    return None if at < 0 else int(column.values[at])


@kernel("int64(int64[::1], uint8[::1], int64[::1])")
def _largest(values: Any, valid: Any, weights: Any) -> Any:
    """The place of the largest that counts, -1 if none does. An empty mask: no value is NULL."""
    found: Any = -1
    for i in range(values.shape[0]):
        counts = weights[i] > 0 and (valid.shape[0] == 0 or valid[i] != 0)
        if counts and (found < 0 or values[i] > values[found]):
            found = i
    return found


def below(column: Column, limit: Value) -> npt.NDArray[np.bool_]:
    """Whether each value is less than `limit`; any answer for NULL."""
    values = column.values
    if values.ndim == 2:
        high, low = values[:, 1].view(np.int64), values[:, 0]
        top, rest = np.int64(limit // _HALF), np.uint64(limit % _HALF)
        less: npt.NDArray[np.bool_] = (high < top) | ((high == top) & (low < rest))
        return less
    if column.type.kind not in FLOATS:
        smallest, most = np.iinfo(values.dtype).min, np.iinfo(values.dtype).max
        if not smallest <= limit <= most:
            return np.full(len(values), limit > most, np.bool_)
    found: npt.NDArray[np.bool_] = values < limit
    return found


def behind(column: Column, line: Value) -> npt.NDArray[np.bool_]:
    """Whether each value is behind the line; NULL, NaN and the infinities never are."""
    return below(column, line) & _counts(column)


def _counts(column: Column) -> npt.NDArray[np.bool_]:
    """Whether each value is one that can be late."""
    there = np.ones(len(column), np.bool_)
    if column.valid is not None:
        there &= column.valid.view(np.bool_)
    if column.type.kind in FLOATS:
        there &= np.isfinite(column.values)
    return there


class Punctual(Node):
    """The rows that do not come too late.

    Reference:   drop every change of a row that is behind a line of an earlier step.
    Incremental: the same of the delta.
    State: the largest values, and how many records were late.
    Cost:  O(|delta|).
    """

    scalars: ClassVar[tuple[str, ...]] = (*Node.scalars, "highest", "late_records")

    def __init__(self, source: Node, bounds: Bounds) -> None:
        super().__init__(source.schema, (source,))
        self._line = Waterline(bounds)
        self.late_records = 0
        #: what this step dropped
        self.late: Batch | None = None

    @property
    def highest(self) -> list[Value | None]:
        return self._line.highest

    @highest.setter
    def highest(self, values: list[Value | None]) -> None:
        self._line.highest = list(values)

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        late = self._line.late(delta)
        if not late.any():
            return delta
        self.late_records += int(late.sum())
        self.late = filter_batch(delta, late)
        return filter_batch(delta, ~late)

    def commit(self) -> None:
        self.late = None
        if self.delta is not None:
            self._line.advance(self.delta)

    def parameters(self) -> tuple[Any, ...]:
        return (self._line.bounds,)

    def parts(self) -> Mapping[str, Any]:
        return {}
