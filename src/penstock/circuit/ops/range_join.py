"""Joins without equal keys whose condition keeps two columns near to each other.

    l.ts BETWEEN r.ts AND r.ts + 40        rows of r, by ts     3   9  │ 20  31  52 │ 77
                                           l.ts = 55 finds             └ 15 ≤ ts ≤ 55

Both sides are kept in the order of one of their columns; a row of the other side looks only at
those that its bounds leave, and the condition decides about these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from penstock.circuit.arrange import Arrange
from penstock.circuit.node import Node
from penstock.circuit.ops import join
from penstock.circuit.ops.join import Join, Residual
from penstock.circuit.spec import Bound
from penstock.data.batch import Batch, Column
from penstock.data.gather import take
from penstock.data.types import Schema
from penstock.state.ordered import OrderedSpine
from penstock.state.ranges import TOP, Places, Span, pieces_of_span, rows_of_spans, spans
from penstock.state.spine import Spine

_LEAST, _MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class OrderedArrange(Arrange):
    """Keep a stream, without a key, in the order of one column.

    Reference:   the stream.
    Incremental: its change.
    State: its rows in the order of the column.
    Cost:  O(|delta|), sorted and merged behind the scenes.
    """

    def __init__(self, source: Node, column: int) -> None:
        self.column = column
        super().__init__(source, (), ())

    def new_spine(self) -> Spine:
        return OrderedSpine(self.schema, (), [(self.column, False, True)])

    def parameters(self) -> tuple[Any, ...]:
        return (self.column,)


class RangeJoin(Join):
    """Pairs of rows that pass a condition, which implies some bounds.

    Reference:   every pair of rows that passes the residual, weights multiplied.
    Incremental: the product rule for pairs (see `penstock.circuit.ops.join`).
    State: none of its own; the two arrangements, in the order of the column that most bounds are
           about.
    Cost:  O(log n + pairs within the bounds of the ordered columns), of which no more than
           `join.MOST_ROWS` are there at a time before the condition decides (or those of one row,
           for who reads all rows at once anyway).
           A column that is bounded from one side only has many.
    """

    def __init__(
        self,
        left: OrderedArrange,
        right: OrderedArrange,
        residual: Residual | None,
        schema: Schema,
        bounds: tuple[Bound, ...],
        meaning: Any = None,
    ) -> None:
        super().__init__(left, right, "inner", residual, schema, meaning)
        self._bounds = bounds
        self._ordered = left.column, right.column

    def parameters(self) -> tuple[Any, ...]:
        return (*super().parameters(), self._bounds)

    def _pairs(self) -> Iterator[Batch]:
        left, right = self._left, self._right
        if left.delta is not None:
            for spine in (right.spine, right.pending):
                if spine is not None:
                    for at, found in self._near(spine, left.delta, of_left=True):
                        yield self._passing(take(left.delta, at), found)
        if right.delta is not None:
            for at, found in self._near(left.spine, right.delta, of_left=False):
                yield self._passing(found, take(right.delta, at))

    def _near(
        self, spine: Spine, rows: Batch, *, of_left: bool
    ) -> Iterator[tuple[np.ndarray, Batch]]:
        """Rows of the other side within the bounds of each of `rows`: (which of them, the row);
        those of some after those of others, where all are many."""
        assert isinstance(spine, OrderedSpine)
        n, column = len(rows), self._ordered[of_left]
        low, high = np.full(n, _LEAST), np.full(n, _MOST)
        for b in self._bounds:
            mine, theirs, shift = (
                (b.left, b.right, b.shift) if of_left else (b.right, b.left, -b.shift)
            )
            if theirs != column:
                continue
            value = _moved(rows.columns[mine].values.astype(np.int64), shift)
            if b.left_is_low == of_left:
                low = np.maximum(low, value)
            else:
                high = np.minimum(high, value)
        first, last = _place(spine, low, False), _place(spine, high, True)
        found = spans(spine, (), first, last)
        for start, stop in _pieces(found, n):
            of_these = [(run, low[start:stop], high[start:stop]) for run, low, high in found]
            if self.is_summed and stop - start == 1:
                for rows_of_one in pieces_of_span(spine, (), of_these, join.MOST_ROWS):
                    yield np.full(len(rows_of_one), start), rows_of_one
                continue
            at, near = rows_of_spans(spine, (), of_these)
            yield (at if not start else at + start), near


def _pieces(found: Sequence[Span], n: int) -> Iterator[tuple[int, int]]:
    """Ranges of the `n` places that have no more than MOST_ROWS rows in `found`, or are one."""
    counts = np.zeros(n, np.int64)
    for _, first, last in found:
        counts += last - first
    up_to = np.cumsum(counts)
    start = 0
    while start < n:
        before = up_to[start - 1] if start else 0
        stop = int(np.searchsorted(up_to, before + join.MOST_ROWS, "right"))
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def ordered_columns(bounds: tuple[Bound, ...]) -> tuple[int, int]:
    """By which column of either side to order it: the one with bounds from both sides, if any."""

    def most(columns: list[tuple[int, bool]]) -> int:
        named = [c for c, _ in columns]
        return max(named, key=lambda c: len({low for d, low in columns if d == c}))

    return (
        most([(b.left, b.left_is_low) for b in bounds]),
        most([(b.right, b.left_is_low) for b in bounds]),
    )


def _moved(values: np.ndarray, shift: int) -> np.ndarray:
    """values + shift, within 64 bits."""
    if shift >= 0:
        return np.where(values > _MOST - min(shift, _MOST), _MOST, values + min(shift, _MOST))
    down = max(shift, _LEAST + 1)
    return np.where(values < _LEAST - down, _LEAST, values + down)


def _place(spine: OrderedSpine, values: np.ndarray, is_high: bool) -> Places:
    """The first or last place of rows with these values (the nearest their type has)."""
    ((column, _, _),) = spine.order
    type = spine.schema.types[column]
    info = np.iinfo(type.dtype)
    within = np.clip(values, info.min, info.max).astype(type.dtype)
    c, d = spine.words_of((Column(type, within),))
    return Places(c, np.full_like(d, TOP) if is_high and not type.nullable else d)
