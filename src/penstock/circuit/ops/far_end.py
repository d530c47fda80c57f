"""Beside each row the running total of the row where its RANGE frame ends.

    SUM(x) OVER (… RANGE BETWEEN UNBOUNDED PRECEDING AND 5 PRECEDING)

    totals up to each time    1: 3     4: 7           9: 8            15: 9
    rows                            4 ──-     9 ── 4: 7    12 ── 4: 7      15 ── 9: 8

A total that comes, goes or changes at time c is felt by the rows whose frame ends from c up to the
next time there was, and by no others: the rest of the partition is not looked at. Changes with no
other total between them are one stretch, whose totals are read once, however many rows see them.

    a row with 4 at time 4     4: 7 ──► 11    9: 8 ──► 12    15: 9 ──► 13        one stretch

Not here: the totals (`running_window`), frames of ROWS (`window`, where the call is a FAR END).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from penstock.circuit.dense import Ids
from penstock.circuit.expiry import Expiry
from penstock.circuit.nearest import nearest
from penstock.circuit.node import Node
from penstock.circuit.ordering import RowOrder
from penstock.circuit.passed import Passed
from penstock.circuit.segments import Changes, Segments
from penstock.circuit.spec import Order, Told, WindowSpec
from penstock.circuit.windows import far_end, order_code
from penstock.data.batch import Batch, Column
from penstock.data.consolidate import added_up, consolidate
from penstock.data.gather import concat, take, take_column
from penstock.data.masks import positions
from penstock.data.order import sorted_by_words
from penstock.data.types import Schema
from penstock.errors import RuntimeSqlError
from penstock.state.ordered import OrderedSpine
from penstock.state.parts import Part
from penstock.state.ranges import TOP, U64, Places, between, gaps, moved, search


class FarEnd(Node):
    """The input's rows with a column more for each of `calls`: the total of the last row whose
    order value is at most `shift` behind the row's own (negative: before it). NULLs see each
    other's; a row behind which there is none that of no rows.

    Reference:   max(totals of the partition with a place up to the row's + shift, by place).
    Incremental: rows of the delta look up the totals after the step; rows whose frame ends from a
                 changed total up to the next one of before see those before and after.
    State: the rows and the totals, by partition and in order.
    Cost:  O(log n) a row of the delta, and a row whose total may have changed. What the totals cost
           comes before: among rows of one time each has its own, made anew with each change there.
    """

    def __init__(
        self,
        source: Node,
        totals: Node,
        partition: tuple[int, ...],
        order: Order,
        shift: int,
        calls: tuple[WindowSpec, ...],
        schema: Schema,
        told: Told | None = None,
    ) -> None:
        """`totals`: rows that begin like those of `source`; what the calls' arguments are columns
        of. `shift`: in units of the column that `order` names."""
        super().__init__(schema, (source, totals))
        self._partition, self._order, self._shift = partition, order, shift
        self._calls, self._told = calls, told
        #: the columns of the totals that are kept
        self._kept = (*partition, order.column, *(c.args[0] for c in calls))
        kept = Schema(tuple(totals.schema.fields[i] for i in self._kept))
        place = Order(len(partition), order.descending, order.nulls_first)
        self._in_order = RowOrder(len(kept), (place,))
        self._rows = _Coded(source.schema, partition, order)
        self._totals = _Coded(kept, tuple(range(len(partition))), place)
        #: which rows are in reach of no total that may change any more, by column
        self.expiry = Expiry()
        self._rows.is_over = lambda rows: self.expiry.mask(dict(enumerate(rows.columns)))
        #: the same of the totals, by column of those that are kept
        self._old_totals = Expiry()
        self._totals.is_over = lambda rows: self._old_totals.mask(dict(enumerate(rows.columns)))
        #: which totals come before all rows that ask, but for the last of each partition
        self._passed = Passed(self._totals, self._totals.key, self._in_order, 0, 1)

    def step(self) -> Batch | None:
        rows, totals = (source.delta for source in self.inputs)
        parts: list[Batch] = []
        self._passed.forget()
        if totals is not None:
            delta = consolidate(totals.select(self._kept, self._totals.schema))
            fresh = self._totals.fresh(delta)
            felt = self._felt(Changes.of(fresh, self._totals.key))
            before = self._shown(felt.rows, *felt.looked_up(self._totals, self._in_order))
            self._totals.insert(delta, fresh.run)
            self._passed.note(len(delta))
            gone = Batch(before.schema, before.columns, -before.weights)
            after = self._shown(felt.rows, *felt.looked_up(self._totals, self._in_order))
            parts += [gone, after]
        if rows is not None:
            keys = tuple(rows.columns[p] for p in self._partition)
            ends = self._ends(rows)
            at, seen = nearest(self._totals, self._in_order, keys, ends, ahead=False)
            parts.append(self._shown(rows, at, seen))
            self._rows.insert(rows)
        return consolidate(concat(parts))

    def expiries_by(self, column: int) -> Iterator[tuple[Expiry, int]]:
        """What is forgotten by a column of the partition, and as which column."""
        if column in self._partition:
            yield self.expiry, column
            yield self._old_totals, self._partition.index(column)

    def passed_by(self, column: int) -> Iterator[tuple[Expiry, int, int]]:
        """What is forgotten by a line of the order, and how far from it. Rows are late if their
        frame ends before all changes; of totals before all rows and changes the last is seen."""
        yield self.expiry, column, -max(self._shift, 0)
        yield self._passed.expiry, len(self._partition), min(self._shift, 0)

    def parameters(self) -> tuple[Any, ...]:
        return self._partition, self._order, self._shift, self._calls

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._rows, "totals": self._totals}

    def state_rows(self) -> int:
        return len(self._rows) + len(self._totals)

    def _felt(self, changes: Changes) -> _Felt:
        """The rows that totals at these places may be the last of, which are not in the state
        yet."""
        value, null = self._rows.value_group, self._rows.null_group
        apart = (gaps(self._totals, changes.keys_at(changes.key), changes.at) > 0) | (
            np.diff(changes.key, prepend=-1) != 0
        )
        if not self._order.nulls_first:
            # no value sees what comes behind it
            apart |= np.diff(changes.at.c, prepend=null) != 0
        begins = positions(apart)
        key, first = changes.key[begins], changes.at.take(begins)
        last = changes.at.take(np.append(begins[1:], len(apart))[: len(begins)] - 1)
        keys = changes.keys_at(key)
        at, after = nearest(self._totals, self._in_order, keys, last, ahead=True)
        is_null = first.c == null
        # frames that end with a change, or behind it but before the next total
        low, is_nowhere = moved(first.d, -self._shift)
        is_nowhere &= ~is_null & (self._shift < 0)
        low[is_null] = 0
        group, code = (_at(w, at) for w in self._totals.words(after))
        high, ends_before_all = moved(code, -self._shift - 1)
        is_last = (at < 0) | (group != value)
        high[is_last] = TOP
        ends_before_all &= ~is_last & (self._shift >= 0)
        kept = positions(~is_nowhere & ~(ends_before_all & ~is_null))
        # all values come behind the NULLs that are first
        only_nulls = is_null & (ends_before_all | (not self._order.nulls_first))
        high[only_nulls] = TOP
        end_group = np.where(only_nulls, null, value)
        start = Places(first.c[kept], low[kept])
        end = Places(end_group[kept], high[kept])
        changed = first.take(kept), last.take(kept)
        stretches = Segments.joined(changes, key[kept], start, end, changed)
        place, felt = between(self._rows, stretches.keys, stretches.low, stretches.high)
        return _Felt.of(stretches, *added_up(place, felt), self._ends)

    def _shown(self, rows: Batch, at: Ids, totals: Batch) -> Batch:
        """`rows` with the totals `at`, that of no rows for -1."""
        at = self._of_their_kind(rows, at, totals)
        columns = list(rows.columns)
        first = len(self._partition) + 1
        for i, call in enumerate(self._calls):
            try:
                columns.append(far_end(call, totals.columns[first + i], at))
            except RuntimeSqlError as error:
                if self._told is None or error.row is None:
                    raise
                raise self._told(error, i, rows) from error
        typed = (c.with_type(t) for c, t in zip(columns, self.schema.types, strict=True))
        return Batch(self.schema, tuple(typed), rows.weights)

    def _of_their_kind(self, rows: Batch, at: Ids, totals: Batch) -> Ids:
        """`at` without the totals of values that NULLs found, which see each other's. They have
        none of their own while they are owed, and a total of values changes without them."""
        valid = rows.columns[self._rows.place.column].valid
        if valid is None or not len(totals):
            return at
        group, _ = self._totals.words(totals)
        is_value = _at(group, at) != self._totals.null_group
        return np.where((valid == 0) & is_value, -1, at)

    def _ends(self, rows: Batch) -> Places:
        """The first place behind the frame of each row."""
        group, code = self._rows.words(rows)
        is_null = group == self._rows.null_group
        end, is_cut = moved(code, self._shift)
        is_before_all = is_cut & ~is_null & (self._shift < 0)
        # the place behind the last one: the next code, or the next group
        is_last = is_null | (end == TOP)
        end = np.where(is_last | is_before_all, np.uint64(0), end + np.uint64(1))
        return Places(group + (is_last & ~is_before_all).astype(np.uint64), end)


@dataclass(frozen=True, slots=True)
class _Felt:
    """Rows whose totals may change. Row i is of stretch place[i], and its frame ends before
    ends[i]; the totals that its stretch changes are from `first` to `last` of its partition."""

    rows: Batch
    place: Ids
    ends: Places
    keys: tuple[Column, ...]
    first: Places
    last: Places

    @staticmethod
    def of(stretches: Segments, place: Ids, rows: Batch, ends: Callable[[Batch], Places]) -> _Felt:
        """Of rows by stretch; stretches that no row is in are left out."""
        assert stretches.felt is not None
        is_in = np.zeros(len(stretches.low), bool)
        is_in[place] = True
        asked = positions(is_in)
        keys = tuple(take_column(k, asked) for k in stretches.keys)
        first, last = (places.take(asked) for places in stretches.felt)
        return _Felt(rows, (np.cumsum(is_in) - 1)[place], ends(rows), keys, first, last)

    def looked_up(self, totals: _Coded, order: RowOrder) -> tuple[Ids, Batch]:
        """For each row the last total of its frame, as of now: (position or -1, totals). Cost: a
        sort of the totals of the stretches, a search in them for each row."""
        before, seeds = nearest(totals, order, self.keys, self.first, ahead=False)
        has = positions(before >= 0)
        at, changed = between(totals, self.keys, self.first, self.last)
        place = np.concatenate((has, at))
        place, found = added_up(place, concat((take(seeds, before[has]), changed)))
        c, d = totals.words(found)
        ranks = sorted_by_words((place.view(np.uint64), c, d))
        # more was taken back of others than came
        ranks = ranks[found.weights[ranks] > 0]
        place, c, d = place[ranks], c[ranks], d[ranks]
        again = (np.diff(place) == 0) & (np.diff(c) == 0) & (np.diff(d) == 0)
        found = take(found, ranks)
        if again.any():
            # while input is owed, peers may come with different totals
            settled = order.settled(place, found)
            found, place = settled.rows, settled.place
            c, d = totals.words(found)
        start, stop = (np.searchsorted(place, self.place, side) for side in _SIDES)
        end = np.empty(len(self.place), np.int64)
        search(c, d, start, stop, self.ends.c, self.ends.d, False, end)
        return np.where(end > start, end - 1, -1), found


def _at(words: U64, at: Ids) -> U64:
    """words[at], 0 for -1."""
    return np.append(words, np.uint64(0))[at]


_SIDES: tuple[Literal["left"], Literal["right"]] = "left", "right"


class _Coded(OrderedSpine):
    """Rows by key, in the order of one column's numbers: a place's words are whether it is NULL,
    and the number."""

    def __init__(self, schema: Schema, key: tuple[int, ...], place: Order) -> None:
        super().__init__(schema, key, ((place.column, place.descending, place.nulls_first),))
        self.place = place
        self.null_group, self.value_group = (
            np.uint64(not place.nulls_first), np.uint64(place.nulls_first)
        )  # fmt: skip

    def words(self, rows: Batch, hashes: U64 | None = None) -> tuple[U64, U64]:
        column = rows.columns[self.place.column]
        code = order_code(column, self.place)
        if column.valid is None:
            return np.full(len(code), self.value_group), np.ascontiguousarray(code)
        group = np.where(column.valid == 0, self.null_group, self.value_group)
        return group, np.ascontiguousarray(code)
