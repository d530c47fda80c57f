"""LEFT ASOF JOIN: beside each left row the latest right row of its key that is not later.

    right, by key and time       10:00 ───────── 10:05 ───────────── 10:20 ─────
    left                              10:03  10:04      10:05  10:19        10:40
                                       └─ 10:00 ─┘       └─ 10:05 ─┘        10:20

Or the first one that is not earlier (`forward`: in the order of times from the last to the first),
and with `strict` none of the same time.

A right row that comes or goes at time c is felt by the left rows from c up to the next right row
there was, and by no others; if the greatest right row of time c is the one that there was, by none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penstock.circuit.dense import Ids
from penstock.circuit.expiry import Expiry
from penstock.circuit.nearest import nearest
from penstock.circuit.node import Node
from penstock.circuit.ordering import RowOrder
from penstock.circuit.passed import Passed
from penstock.circuit.segments import Changes
from penstock.circuit.spec import Order
from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch, null_column
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, filter_batch, take, take_column
from penstock.data.hash import rows_equal
from penstock.data.masks import positions
from penstock.data.types import Field, Schema
from penstock.state.ordered import OrderedSpine
from penstock.state.parts import Part
from penstock.state.ranges import TOP, U64, Places, between


class AsofJoin(Node):
    """Every left row once, beside the right row with equal keys and the greatest time not above
    its own (the greatest such row); NULLs where there is none, or a key or the time is NULL.

    Reference:   max(right rows with equal keys and time <= the left row's, by time, then all);
                 forward: min of those with time >=; strict: of < and >; the `least` by all others;
                 inner: no row without one.
    Incremental: left rows of the delta look up the right side after the step; where the partner at
                 the time of a changed right row is another than before, the left rows from there
                 up to the next time of a right row, before or in the delta, have both.
    State: both sides by key, ordered by time, the right one by its other columns too.
    Cost:  O(log n) a row of the delta, and the left rows whose partner changes. Right rows of one
           time whose other columns share their first 64 bits are looked at together.
    """

    def __init__(
        self,
        left: Node,
        right: Node,
        keys: tuple[tuple[int, int], ...],
        times: tuple[int, int],
        schema: Schema,
        forward: bool = False,
        strict: bool = False,
        least: bool = False,
        inner: bool = False,
    ) -> None:
        """`keys` and `times`: column positions of left and right. Times are of one kind, whose
        values a word tells apart: integers, dates, times and timestamps."""
        kinds = {s.schema.types[t].kind for s, t in zip((left, right), times, strict=True)}
        assert len(kinds) == 1, "times of different kinds do not compare"
        super().__init__(schema, (left, right))
        self._keys, self._times = keys, times
        self._how = forward, strict, least, inner
        self._inner = inner
        #: by how much a left row's partner is before it at least
        self._gap = np.uint64(strict)
        at = Order(times[0], forward), Order(times[1], forward)
        self._left = _Side(left.schema, tuple(a for a, _ in keys), at[0], by_all=False)
        self._right = _Side(
            right.schema, tuple(b for _, b in keys), at[1], by_all=True, least=least
        )
        #: which rows of either side no change of the other is in reach of, by column
        self.expiries = self._left.expiry, self._right.expiry
        #: which right rows come before all left ones that may change, but for the last of each key
        self.passed = Passed(self._right.rows, self._right.key, self._right.order, 0, 1)

    def step(self) -> Batch | None:
        left, right = (source.delta for source in self.inputs)
        parts: list[Batch] = []
        self.passed.forget()
        if right is not None:
            right, _ = self._right.matchable(right)
            if len(right):
                parts += self._changed(right)
        if left is not None:
            left, lonely = self._left.matchable(left)
            parts.append(self._beside(left))
            if not self._inner:
                parts.append(self._joined(lonely, None, None))
            self._left.rows.insert(left)
        parts = [p for p in parts if len(p)]
        return consolidate(concat(parts)) if parts else None

    def parameters(self) -> tuple[Any, ...]:
        parameters = self._keys, self._times, self.schema.types
        return (*parameters, self._how) if any(self._how) else parameters

    def parts(self) -> Mapping[str, Part]:
        return {"left": self._left.rows, "right": self._right.rows}

    def state_rows(self) -> int:
        return len(self._left.rows) + len(self._right.rows)

    def _changed(self, delta: Batch) -> list[Batch]:
        """Take in right rows that can match; left rows with other partners: [-before, +after]."""
        fresh = self._right.rows.fresh(delta)
        changes, _ = Changes.of(fresh, self._right.key).by_first_word()
        keys, c = changes.keys_at(changes.key), changes.at.c
        was_at, was = self._right.nearest(keys, c, ahead=False)
        # up to the next change, or the next row there is: who is behind that has it in between
        at, rows = self._right.nearest(keys, c, ahead=True)
        until = np.append(self._right.codes(rows) - np.uint64(1), TOP)[at]
        self._right.rows.insert(delta, fresh.run)
        self.passed.note(len(delta))
        now_at, now = self._right.nearest(keys, c, ahead=False)
        is_other = (was_at < 0) != (now_at < 0)
        both = positions((was_at >= 0) & (now_at >= 0))
        is_other[both] = rows_equal(was.columns, was_at[both], now.columns, now_at[both]) == 0
        is_other &= c <= TOP - self._gap  # nothing is behind the last place
        other = positions(is_other)
        if not len(other):
            return []
        mine = changes.key[1:] == changes.key[:-1]
        until[:-1] = np.where(mine, np.minimum(until[:-1], c[1:] - np.uint64(1)), until[:-1])
        # left rows from there on, or from the next place on
        low, high = c[other], until[other]
        low, high = low + self._gap, high + np.minimum(self._gap, TOP - high)
        stretch, left = between(
            self._left.rows, changes.keys_at(changes.key[other]),
            Places(low, np.zeros_like(low)), Places(high, np.full_like(high, TOP)),
        )  # fmt: skip
        before = self._joined(left, was, was_at[other[stretch]])
        gone = Batch(self.schema, before.columns, -before.weights)
        return [gone, self._joined(left, now, now_at[other[stretch]])]

    def _beside(self, left: Batch) -> Batch:
        """`left`, rows that can match, beside their partners as of now."""
        if not len(left):
            return empty_batch(self.schema)
        keys = tuple(left.columns[k] for k in self._left.key)
        codes = self._left.codes(left)
        at, rows = self._right.nearest(keys, codes - np.minimum(codes, self._gap), ahead=False)
        if self._gap:
            at = np.where(codes == 0, -1, at)
        return self._joined(left, rows, at)

    def _joined(self, left: Batch, right: Batch | None, at: Ids | None) -> Batch:
        """Row i of `left` beside row at[i] of `right`, NULLs for -1 and without `right`, or nothing
        where it is an inner join."""
        if self._inner and at is not None:
            found = positions(at >= 0)
            left, at = take(left, found), at[found]
        types = self.schema.types[len(left.columns) :]
        if right is None or at is None or not len(right):
            beside = tuple(null_column(t, len(left)) for t in types)
        else:
            beside = tuple(take_column(c, at, null_at_minus_one=True) for c in right.columns)
        columns = (*left.columns, *beside)
        typed = (c.with_type(t) for c, t in zip(columns, self.schema.types, strict=True))
        return Batch(self.schema, tuple(typed), left.weights)


class _Side:
    """The rows of one input that can match, by key and in order of `at`, and of all that comes
    behind that if they are ordered `by_all` (`least`: from the last to the first)."""

    def __init__(
        self, schema: Schema, key: tuple[int, ...], at: Order, *, by_all: bool, least: bool = False
    ) -> None:
        time = at.column
        self.key, self._time, self._by_all = key, time, by_all
        # rows without a time are not kept: a place's first word is the time then
        field = schema.fields[time]
        timed = Field(field.name, field.type.with_nullable(False))
        self._schema = Schema((*schema.fields[:time], timed, *schema.fields[time + 1 :]))
        self.order = RowOrder(len(schema), (at,))
        if least:
            self.order = RowOrder(0, (at,), self.order.reversed().rest)
        self.rows = self._empty()
        self.expiry = Expiry()
        self.rows.is_over = lambda rows: self.expiry.mask(dict(enumerate(rows.columns)))

    def _empty(self) -> OrderedSpine:
        directions = self.order.directions if self._by_all else self.order.directions[:1]
        return OrderedSpine(self._schema, self.key, directions, packed=True, first_apart=True)

    def matchable(self, delta: Batch) -> tuple[Batch, Batch]:
        """The rows with all keys and a time, and the others."""
        there = np.ones(len(delta), np.uint8)
        for k in (*self.key, self._time):
            valid = delta.columns[k].valid
            if valid is not None:
                there &= valid
        if there.all():
            return self._retyped(delta), filter_batch(delta, 1 - there)
        return self._retyped(filter_batch(delta, there)), filter_batch(delta, 1 - there)

    def _retyped(self, rows: Batch) -> Batch:
        time = rows.columns[self._time]
        bare = Column(self._schema.types[self._time], time.values, None, time.heaps)
        columns = (*rows.columns[: self._time], bare, *rows.columns[self._time + 1 :])
        return Batch(self._schema, columns, rows.weights)

    def codes(self, rows: Batch) -> U64:
        """The rows' times as places have them."""
        return self.rows.words(rows)[0]

    def nearest(self, keys: Sequence[Column], c: U64, *, ahead: bool) -> tuple[Ids, Batch]:
        """For row i of `keys` the greatest row whose time is not above c[i], or (`ahead`) a row
        with the least time above it: (position in rows or -1, rows)."""
        at = Places(c, np.full(len(c), TOP))
        return nearest(self.rows, self.order, keys, at, ahead=ahead)
