"""LATENESS: which rows come too late, by the largest value seen so far (sql-reference 4.2).

    seen before this step  10:00 … 12:00     LATENESS 1 h     a row of 10:30 is late: dropped

The line moves behind a step, never within it, so a row is judged by what came in earlier steps.
NULL is never late and moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from penstock.circuit.node import Node
from penstock.data.batch import Batch
from penstock.data.gather import filter_batch

#: column, how far behind the largest value a row may be, in the column's own units
Bounds = Sequence[tuple[int, int]]


class Waterline:
    """The largest value of each column in `bounds`."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = tuple(bounds)
        self.highest: list[int | None] = [None] * len(self.bounds)

    def late(self, rows: Batch) -> np.ndarray:
        """Whether each row is behind any of the lines."""
        late = np.zeros(len(rows), np.bool_)
        for (column, lateness), highest in zip(self.bounds, self.highest, strict=True):
            if highest is not None:
                c = rows.columns[column]
                behind = c.values < highest - lateness
                late |= behind if c.valid is None else behind & c.valid.view(np.bool_)
        return late

    def advance(self, rows: Batch) -> None:
        """Let the lines follow the rows that are there more often now."""
        for i, (column, _) in enumerate(self.bounds):
            c = rows.columns[column]
            seen = rows.weights > 0
            if c.valid is not None:
                seen &= c.valid.view(np.bool_)
            if seen.any():
                largest = int(c.values[seen].max())
                before = self.highest[i]
                self.highest[i] = largest if before is None else max(before, largest)


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

    @property
    def highest(self) -> list[int | None]:
        return self._line.highest

    @highest.setter
    def highest(self, values: list[int | None]) -> None:
        self._line.highest = list(values)

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        late = self._line.late(delta)
        if not late.any():
            return delta
        self.late_records += int(late.sum())
        return filter_batch(delta, ~late)

    def commit(self) -> None:
        if self.delta is not None:
            self._line.advance(self.delta)

    def parameters(self) -> tuple[Any, ...]:
        return (self._line.bounds,)

    def parts(self) -> Mapping[str, Any]:
        return {}
