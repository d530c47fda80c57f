"""The first rows of every partition in an order.

partitions of the delta ──► their first offset+limit rows, sorted ──► cut ──► new
                                        what was emitted for them before ──► old
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from penstock.circuit.arrange import distinct_keys
from penstock.circuit.dense import Ids
from penstock.circuit.node import Node
from penstock.circuit.ordering import RowOrder
from penstock.circuit.spec import Order
from penstock.data.batch import Batch, Column
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, take, take_column
from penstock.data.kernel import kernel
from penstock.data.types import BIGINT
from penstock.state.ordered import OrderedSpine
from penstock.state.parts import Part
from penstock.state.spine import Spine

_POSITION = BIGINT.with_nullable(False)
_NO_LIMIT = np.iinfo(np.int64).max
#: rows read beyond those wanted, for the ones that later runs took back
_SLACK = 8


class TopK(Node):
    """Rows offset .. offset+limit of each partition; copies of a row count as rows.

    Reference:   sort each partition by the order, then by all columns, repeat every row as often
                 as its weight says, cut.
    Incremental: cut the delta's partitions again, reading only their first rows; emit the
                 difference to what they held.
    State: the input by partition, in order; the output by partition.
    Cost:  O(log n + offset + limit) per touched partition; all of it without a limit, or when
           nearly all rows are equal in the first two columns of the order.
    """

    def __init__(
        self,
        source: Node,
        partition: tuple[int, ...],
        order: tuple[Order, ...],
        limit: int | None,
        offset: int,
    ) -> None:
        super().__init__(source.schema, (source,))
        self._partition = partition
        self._order = RowOrder(len(self.schema), order)
        self._first = offset
        self._end = _NO_LIMIT if limit is None else offset + limit
        self._rows = OrderedSpine(self.schema, partition, self._order.directions)
        self._emitted = Spine(self.schema, partition)

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        self._rows.insert(delta)
        keys, count = distinct_keys(tuple(delta.columns[p] for p in self._partition), len(delta))
        _, old = self._emitted.probe(keys, count)
        gone = Batch(old.schema, old.columns, -old.weights)
        change = consolidate(concat([gone, *self._first_rows(keys, count)]))
        self._emitted.insert(change)
        return change

    def parameters(self) -> tuple[Any, ...]:
        return self._partition, self._order.order, self._first, self._end

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._rows, "emitted": self._emitted}

    def state_rows(self) -> int:
        return len(self._rows) + len(self._emitted)

    def _first_rows(self, keys: tuple[Column, ...], count: int) -> list[Batch]:
        """The visible rows of the partitions `keys`."""
        width = min(self._end, 2**40) + _SLACK
        parts: list[Batch] = []
        while count:
            at, rows, complete = self._rows.prefixes(keys, count, width)
            visible, reached = self._cut(at, rows, count)
            short = np.flatnonzero((reached < self._end) & ~complete)
            if not len(short):
                return [*parts, visible[0]]
            settled = np.ones(count, dtype=bool)
            settled[short] = False
            parts.append(take(visible[0], np.flatnonzero(settled[visible[1]])))
            keys, count = tuple(take_column(k, short) for k in keys), len(short)
            width *= 8
        return parts

    def _cut(self, partitions: Ids, rows: Batch, count: int) -> tuple[tuple[Batch, Ids], Ids]:
        """The visible rows with their partitions, weights clipped at the ends; and how many rows
        (up to the end) each partition has among `rows`."""
        ranks, _, same = self._order.sort(partitions, rows)
        ordered, partitions = take(rows, ranks), partitions[ranks]
        visible = np.zeros(len(ranks), dtype=np.int64)
        reached = np.zeros(count, dtype=np.int64)
        _clip(partitions, ordered.weights, same, self._first, self._end, visible, reached)
        at = np.flatnonzero(visible)
        shown = Batch(self.schema, take(ordered, at).columns, visible[at])
        return (shown, partitions[at]), reached


@kernel("void(int64[::1], int64[::1], uint8[::1], int64, int64, int64[::1], int64[::1])")
def _clip(
    partitions: Any, weights: Any, same: Any, first: Any, end: Any, visible: Any, reached: Any
) -> None:
    """visible[i] = copies of row i between positions first and end of its partition;
    reached[p] = rows of partition p."""
    rows = partitions.shape[0]
    position = 0
    i = 0
    while i < rows:
        start = i
        if start == 0 or partitions[start] != partitions[start - 1]:
            position = 0
        copies = weights[i]
        i += 1
        while i < rows and same[i]:
            copies += weights[i]
            i += 1
        if copies > 0:
            shown = min(position + copies, end) - max(position, first)
            if shown > 0:
                visible[start] = shown
            position += copies
        reached[partitions[start]] = position
