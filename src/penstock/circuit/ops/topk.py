"""The first rows of every partition in an order.

    delta ──► partitions ──► rows that may get in ──► with the rows held, sorted ──► cut ──► held
      └──► all rows, sorted when somebody looks           too few left? read them back ──┘

A partition *holds* its first rows, up to the limit. Once it is full, rows behind the last one held
change nothing, and most rows of a stream that only grows are that: one comparison each. All rows
are kept in a log that is sorted behind the scenes, and read only when rows held go away.

A retraction before its insertion leaves a negative total; a partition with one among its first
rows is in debt, and is read back at every change until that is settled.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, Sweep, Touched, grown, moved, renumbered
from penstock.circuit.expiry import Expiry, Mask
from penstock.circuit.first_rows import ALL, FULL, RANKS, STALE, behind, first_rows
from penstock.circuit.node import Node
from penstock.circuit.ordering import RowOrder
from penstock.circuit.spec import Order
from penstock.data.batch import Batch, Column
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, take
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.ordered import OrderedSpine
from penstock.state.parts import Part
from penstock.state.ranges import TOP
from penstock.state.spine import Spine

_NO_LIMIT = np.iinfo(np.int64).max
#: rows read back beyond those wanted, for the ones that later runs took back
_SLACK = 8


class TopK(Node):
    """Rows offset .. offset+limit of each partition; copies of a row count as rows. With `ranks`
    RANK or DENSE_RANK all rows of a rank up to the limit.

    Reference:   sort each partition by the order, then by all columns, repeat every row as often
                 as its weight says, cut.
    Incremental: sort the delta's rows that are not behind the last row held together with those;
                 emit the difference of what the partition shows.
    State: the input by partition, in order; the first offset+limit rows by partition, and the place
           of the last of them.
    Cost:  O(|delta|), besides O(offset + limit) for partitions whose first rows change and O(log n)
           more where some of them go away; all rows of those without a limit, or when nearly all
           rows are equal in the first two columns of the order.
    """

    def __init__(
        self,
        source: Node,
        partition: tuple[int, ...],
        order: tuple[Order, ...],
        limit: int | None,
        offset: int,
        ranks: str = "ROW_NUMBER",
    ) -> None:
        super().__init__(source.schema, (source,))
        assert not offset or ranks == "ROW_NUMBER"
        types = self.schema.types
        self._partition = partition
        self._order = RowOrder(len(self.schema), order)
        self._first = offset
        self._end = _NO_LIMIT if limit is None else offset + limit
        self._ranks = ranks
        # peers of the last row held get in: its place must not tell them apart
        self._is_coarse = ranks != "ROW_NUMBER" and (
            not order or (len(order) == 1 and not types[order[0].column].nullable)
        )
        self._rows = OrderedSpine(self.schema, partition, self._order.directions)
        self._held = Spine(self.schema, partition)
        self._table = GroupTable(tuple(types[p] for p in partition)) if partition else None
        self._state = np.zeros(16, dtype=np.uint8)
        self._bound = np.zeros((16, 2), dtype=np.uint64)
        self._size = np.zeros(16, dtype=np.int64)
        self._touched = Touched()
        self._sweep = Sweep()
        self._changes = Changes(self)
        #: which partitions get no more rows, by column
        self.expiry = Expiry()
        self._rows.is_over = self._held.is_over = self._is_over

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        ids = self._ids(delta)
        self._rows.insert_later(delta)
        near = self._not_behind(delta, ids)
        if not len(near):
            return None
        touched, slots = self._touched.find(ids[near], len(self._state))
        self._changes.note(touched)
        at, held = self._held.probe(self._keys(touched), len(touched))
        before = self._state[touched]
        now = self._cut(
            np.concatenate((at, slots)), concat((held, take(delta, near))), len(touched),
            before == FULL, len(at),
        )  # fmt: skip
        is_settled = (now.state < STALE) & (before < STALE)
        self._settle(touched, now, is_settled)
        kept = [now.of(is_settled)]
        left = np.flatnonzero(~is_settled)
        if len(left):
            kept += [(rows, left[p]) for rows, p in self._read_back(touched[left])]
        return self._emit((held, at), kept)

    def parameters(self) -> tuple[Any, ...]:
        return self._partition, self._order.order, self._first, self._end, self._ranks

    def parts(self) -> Mapping[str, Part]:
        known = {} if self._table is None else {"partitions": self._table}
        return {"rows": self._rows, "held": self._held, "entries": self._changes, **known}

    def entries(self) -> Arrays:
        return {"state": self._state, "bound": self._bound, "size": self._size}

    def entry_count(self) -> int:
        return 1 if self._table is None else len(self._table)

    def load_entries(self, arrays: Arrays, count: int) -> None:
        state, bound, size = (arrays[name] for name in ("state", "bound", "size"))
        assert isinstance(state, np.ndarray) and isinstance(bound, np.ndarray)
        assert isinstance(size, np.ndarray)
        self._state, self._bound, self._size = state, bound, size

    def state_rows(self) -> int:
        return len(self._rows) + len(self._held)

    # partitions

    def _ids(self, delta: Batch) -> Ids:
        """The partition of every row."""
        if self._table is None:
            return np.zeros(len(delta), dtype=np.int64)
        if self._sweep.is_due(len(self._table)):
            self._forget(self._table)
        ids = self._table.lookup_or_insert(
            tuple(delta.columns[p] for p in self._partition), len(delta)
        )
        self._state = grown(self._state, len(self._table))
        self._bound = grown(self._bound, len(self._table))
        self._size = grown(self._size, len(self._table))
        return ids

    def _forget(self, table: GroupTable) -> None:
        """Drop the partitions that have no rows or are over, if they are many."""
        n = len(table)
        in_use = (self._size[:n] > 0) | (self._state[:n] != ALL)
        over = self.expiry.mask(dict(zip(self._partition, table.keys(), strict=True)))
        kept = np.flatnonzero(in_use if over is None else in_use & ~over)
        if self._sweep.is_worth_it(len(kept), n):
            self._table, ids = renumbered(table, kept)
            self._state = moved(self._state, kept, ids)
            self._bound = moved(self._bound, kept, ids)
            self._size = moved(self._size, kept, ids)
            self._changes.renumbered()

    def _keys(self, ids: Ids) -> tuple[Column, ...]:
        return () if self._table is None else self._table.take(ids)

    def _not_behind(self, delta: Batch, ids: Ids) -> Ids:
        """The rows of `delta` that are not behind the last one that their full partition holds."""
        full = self._state[ids] == FULL
        if not full.any():
            return np.arange(len(ids))
        c, d = self._rows.words(delta)
        bound_c, bound_d = self._bound[ids, 0], self._bound[ids, 1]
        behind = (c > bound_c) | ((c == bound_c) & (d > bound_d))
        return np.flatnonzero(~(full & behind))

    def _settle(self, ids: Ids, now: _Held, at: npt.NDArray[np.bool_]) -> None:
        """Remember what the partitions `ids` hold now, where `at` says so."""
        self._state[ids[at]] = now.state[at]
        self._bound[ids[at]] = now.bound[at]
        self._size[ids[at]] = now.size[at]

    def _is_over(self, rows: Batch) -> Mask | None:
        return self.expiry.mask(dict(enumerate(rows.columns)))

    # rows

    def _cut(
        self, places: Ids, rows: Batch, count: int, has_more: npt.NDArray[np.bool_], held: int
    ) -> _Held:
        """The first of `rows` of each of `count` partitions. `has_more`: there may be others, all
        behind the last of the first `held` of `rows`, or (held < 0) behind all."""
        ranks, peers, same = self._order.sort(places, rows)
        weights, where = rows.weights[ranks], places[ranks]
        kept = np.zeros(len(ranks), dtype=np.int64)
        last = np.full(count, -1, dtype=np.int64)
        state = np.zeros(count, dtype=np.uint8)
        first_rows(
            where, weights, same, peers, (ranks < held).astype(np.uint8), has_more, held < 0,
            self._end, RANKS[self._ranks], kept, last, state,
        )  # fmt: skip
        at = np.flatnonzero(kept)
        found = take(rows, ranks[at])
        batch = Batch(self.schema, found.columns, kept[at])
        bound = np.zeros((count, 2), dtype=np.uint64)
        there = np.flatnonzero(last >= 0)
        if len(there):
            c, d = self._rows.words(take(rows, ranks[last[there]]))
            bound[there, 0], bound[there, 1] = c, TOP if self._is_coarse else d
        size = np.bincount(where[at], minlength=count)
        return _Held(batch, where[at], state, bound, size)

    def _read_back(self, ids: Ids) -> list[tuple[Batch, Ids]]:
        """The first rows of partitions `ids` from all their rows: (rows, positions in `ids`)."""
        parts: list[tuple[Batch, Ids]] = []
        width = min(self._end, 2**40) + _SLACK
        left = np.arange(len(ids))
        while len(left):
            keys = self._keys(ids[left])
            places, rows, complete = self._rows.prefixes(keys, len(left), width)
            now = self._cut(places, rows, len(left), ~complete, -1)
            is_settled = (now.state & STALE) == 0
            self._settle(ids[left], now, is_settled)
            found, at = now.of(is_settled)
            parts.append((found, left[at]))
            left = left[~is_settled]
            width *= 8
        return parts

    def _emit(self, before: tuple[Batch, Ids], after: list[tuple[Batch, Ids]]) -> Batch:
        """Take over the rows held, and the change of the rows shown."""
        held, at = before
        gone = Batch(self.schema, held.columns, -held.weights)
        change = consolidate(concat([gone, *(rows for rows, _ in after)]))
        self._held.insert(change)
        if not self._first:
            return change
        shown = [self._skip(rows, places) for rows, places in after]
        old = self._skip(held, at)
        return consolidate(concat([Batch(self.schema, old.columns, -old.weights), *shown]))

    def _skip(self, rows: Batch, places: Ids) -> Batch:
        """`rows`, all that their partitions hold, without the first `offset`."""
        found = self._order.settled(places, rows)
        shown = np.zeros(len(found.place), dtype=np.int64)
        behind(found.place, found.rows.weights, self._first, shown)
        at = np.flatnonzero(shown)
        return Batch(self.schema, take(found.rows, at).columns, shown[at])


@dataclass(frozen=True, slots=True)
class _Held:
    """`rows`, row i of place place[i]; and by place its state, the words of its last row and the
    number of rows."""

    rows: Batch
    place: Ids
    state: npt.NDArray[np.uint8]
    bound: npt.NDArray[np.uint64]
    size: Ids

    def of(self, places: npt.NDArray[np.bool_]) -> tuple[Batch, Ids]:
        """The rows of the places that are chosen."""
        if places.all():
            return self.rows, self.place
        at = np.flatnonzero(places[self.place])
        return take(self.rows, at), self.place[at]
