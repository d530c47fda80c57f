"""The first rows of every partition in an order.

partition of the delta ──► all its rows, sorted ──► offset .. offset+limit ──► new
                                              what was emitted for it before ──► old
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.circuit.arrange import Arrange, distinct_keys
from penstock.circuit.node import Node
from penstock.circuit.spec import Order
from penstock.data.batch import Batch, Column
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, take
from penstock.data.hash import rows_equal
from penstock.data.kernel import kernel
from penstock.data.order import sort_indices
from penstock.data.types import BIGINT
from penstock.state.spine import Spine

_POSITION = BIGINT.with_nullable(False)
_NO_LIMIT = np.iinfo(np.int64).max


class TopK(Node):
    """Rows offset .. offset+limit of each partition; copies of a row count as rows.

    Reference:   sort each partition by the order, then by all columns, repeat every row as often
                 as its weight says, cut.
    Incremental: cut the delta's partitions again; emit the difference to what they held.
    State: the input by partition (an arrangement) and the output by partition.
    Cost:  O(rows of the touched partitions), however small the delta.
    """

    def __init__(
        self, arranged: Arrange, order: tuple[Order, ...], limit: int | None, offset: int
    ) -> None:
        super().__init__(arranged.schema, (arranged,))
        self._arranged = arranged
        named = {o.column for o in order}
        rest = (Order(c) for c in range(len(self.schema)) if c not in named)
        self._order = (*order, *rest)
        self._first = offset
        self._end = _NO_LIMIT if limit is None else offset + limit
        self._emitted = Spine(self.schema, arranged.key)

    def step(self) -> Batch | None:
        arranged = self._arranged
        assert arranged.delta is not None
        keys, count = distinct_keys(arranged.keys_of(arranged.delta), len(arranged.delta))
        spines = [arranged.spine, arranged.pending]
        found = [spine.probe(keys, count) for spine in spines if spine is not None]
        new = self._cut(np.concatenate([at for at, _ in found]), concat([b for _, b in found]))
        _, old = self._emitted.probe(keys, count)
        return consolidate(concat([Batch(old.schema, old.columns, -old.weights), new]))

    def commit(self) -> None:
        if self.delta is not None:
            self._emitted.insert(self.delta)

    def state_rows(self) -> int:
        return len(self._emitted)

    def _cut(self, partitions: np.ndarray, rows: Batch) -> Batch:
        """The visible rows of each partition, weights clipped at its ends."""
        columns = (Column(_POSITION, partitions), *(rows.columns[o.column] for o in self._order))
        orders = ((False, False), *((o.descending, o.nulls_first) for o in self._order))
        ranks = sort_indices(columns, orders)
        ordered = take(rows, ranks)
        below = np.arange(1, len(ranks))
        same = np.zeros(len(ranks), dtype=np.uint8)
        same[1:] = rows_equal(ordered.columns, below - 1, ordered.columns, below)
        visible = np.zeros(len(ranks), dtype=np.int64)
        _clip(partitions[ranks], ordered.weights, same, self._first, self._end, visible)
        at = np.flatnonzero(visible)
        return Batch(self.schema, take(ordered, at).columns, visible[at])


@kernel("void(int64[::1], int64[::1], uint8[::1], int64, int64, int64[::1])")
def _clip(partitions: Any, weights: Any, same: Any, first: Any, end: Any, visible: Any) -> None:
    """visible[i] = copies of row i between positions first and end of its partition."""
    rows = partitions.shape[0]
    position = 0
    i = 0
    while i < rows:
        start = i
        if start == 0 or partitions[start] != partitions[start - 1]:
            position = 0
        copies = weights[i]
        i += 1
        while i < rows and same[i] and partitions[i] == partitions[start]:
            copies += weights[i]
            i += 1
        if copies > 0:
            shown = min(position + copies, end) - max(position, first)
            if shown > 0:
                visible[start] = shown
            position += copies
