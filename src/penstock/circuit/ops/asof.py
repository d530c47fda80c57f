"""LEFT ASOF JOIN: beside each left row the latest right row of its key that is not later.

    right, by key and time       10:00 ───────── 10:05 ───────────── 10:20 ─────
    left                              10:03  10:04      10:05  10:19        10:40
                                       └─ 10:00 ─┘       └─ 10:05 ─┘        10:20

A right row that comes or goes at time c is felt by the left rows from c up to the next right row
there was, and by no others.
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
from penstock.circuit.segments import Changes, Segments
from penstock.circuit.spec import Order
from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch, null_column
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, filter_batch, take_column
from penstock.data.types import Field, Schema
from penstock.state.ordered import Fresh, OrderedSpine
from penstock.state.parts import Part
from penstock.state.ranges import TOP, U64, Places, between


class AsofJoin(Node):
    """Every left row once, beside the right row with equal keys and the greatest time not above
    its own (the greatest such row); NULLs where there is none, or a key or the time is NULL.

    Reference:   max(right rows with equal keys and time <= the left row's, by time, then all).
    Incremental: left rows of the delta look up the right side after the step; left rows between a
                 changed right row and the next one of before are looked up before and after.
    State: both sides by key, ordered by time.
    Cost:  O(log n) a left row of the delta, and a left row whose partner may have changed.
    """

    def __init__(
        self,
        left: Node,
        right: Node,
        keys: tuple[tuple[int, int], ...],
        times: tuple[int, int],
        schema: Schema,
    ) -> None:
        """`keys` and `times`: column positions of left and right. Times are of one kind, whose
        values a word tells apart: integers, dates, times and timestamps."""
        kinds = {s.schema.types[t].kind for s, t in zip((left, right), times, strict=True)}
        assert len(kinds) == 1, "times of different kinds do not compare"
        super().__init__(schema, (left, right))
        self._keys, self._times = keys, times
        self._left = _Side(left.schema, tuple(a for a, _ in keys), times[0])
        self._right = _Side(right.schema, tuple(b for _, b in keys), times[1])
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
                touched = self._felt(right)
                before = self._beside(touched)
                self._right.rows.insert(right)
                self.passed.note(len(right))
                gone = Batch(self.schema, before.columns, -before.weights)
                parts += [gone, self._beside(touched)]
        if left is not None:
            left, lonely = self._left.matchable(left)
            parts += [self._beside(left), self._joined(lonely, None, None)]
            self._left.rows.insert(left)
        parts = [p for p in parts if len(p)]
        return consolidate(concat(parts)) if parts else None

    def parameters(self) -> tuple[Any, ...]:
        return self._keys, self._times, self.schema.types

    def parts(self) -> Mapping[str, Part]:
        return {"left": self._left.rows, "right": self._right.rows}

    def state_rows(self) -> int:
        return len(self._left.rows) + len(self._right.rows)

    def _felt(self, delta: Batch) -> Batch:
        """The left rows whose partner may change with these right rows, which are not in the
        state yet."""
        changes = Changes.of(self._right.sorted(delta), self._right.key)
        c = changes.at.c
        keys = changes.keys_at(changes.key)
        at, rows = self._right.nearest(keys, c, ahead=True)
        found = np.flatnonzero(at >= 0)
        until = np.full(len(c), TOP)
        until[found] = self._right.codes(rows)[at[found]] - np.uint64(1)
        low, high = Places(c, np.zeros_like(c)), Places(until, np.full_like(c, TOP))
        stretches = Segments.joined(changes, changes.key, low, high)
        _, felt = between(self._left.rows, stretches.keys, stretches.low, stretches.high)
        return felt

    def _beside(self, left: Batch) -> Batch:
        """`left`, rows that can match, beside their partners as of now."""
        if not len(left):
            return empty_batch(self.schema)
        keys = tuple(left.columns[k] for k in self._left.key)
        at, rows = self._right.nearest(keys, self._left.codes(left), ahead=False)
        return self._joined(left, rows, at)

    def _joined(self, left: Batch, right: Batch | None, at: Ids | None) -> Batch:
        """Row i of `left` beside row at[i] of `right`, NULLs for -1 and without `right`."""
        types = self.schema.types[len(left.columns) :]
        if right is None or at is None or not len(right):
            beside = tuple(null_column(t, len(left)) for t in types)
        else:
            beside = tuple(take_column(c, at, null_at_minus_one=True) for c in right.columns)
        columns = (*left.columns, *beside)
        typed = (c.with_type(t) for c, t in zip(columns, self.schema.types, strict=True))
        return Batch(self.schema, tuple(typed), left.weights)


class _Side:
    """The rows of one input that can match, by key and in order of `time`."""

    def __init__(self, schema: Schema, key: tuple[int, ...], time: int) -> None:
        self.key, self._time = key, time
        # rows without a time are not kept: a place's first word is the time then
        field = schema.fields[time]
        timed = Field(field.name, field.type.with_nullable(False))
        self._schema = Schema((*schema.fields[:time], timed, *schema.fields[time + 1 :]))
        self.order = RowOrder(len(schema), (Order(time),))
        self.rows = self._empty()
        self.expiry = Expiry()
        self.rows.is_over = lambda rows: self.expiry.mask(dict(enumerate(rows.columns)))

    def _empty(self) -> OrderedSpine:
        return OrderedSpine(self._schema, self.key, ((self._time, False, True),))

    def sorted(self, rows: Batch) -> Fresh:
        """`rows` alone, in order."""
        return self.rows.fresh(rows)

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
