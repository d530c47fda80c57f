"""GROUP BY: one row per group, kept up to date call by call.

delta ──► group ids ──► rows of the touched groups before
                   └──► accumulators += delta
                        rows of the touched groups after ──► -before +after where they differ

Where all calls show numbers, one kernel does most of that (`penstock.circuit.ops.at_once`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from penstock.circuit.changed import replaced
from penstock.circuit.dense import (
    Ids,
    Sweep,
    Touched,
    add_totals,
    renumbered,
)
from penstock.circuit.expiry import Expiry
from penstock.circuit.node import Node
from penstock.circuit.ops.accumulate import Counts, GroupedRows, the_array
from penstock.circuit.ops.aggregate_call import Call
from penstock.circuit.ops.at_once import CallsAtOnce
from penstock.circuit.spec import AggregateSpec, Told
from penstock.data.batch import Batch, Column
from penstock.data.gather import concat_columns, take_column
from penstock.data.masks import positions
from penstock.data.parallel import Gain, are_many, side_by_side
from penstock.data.types import Schema
from penstock.errors import RuntimeSqlError
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part

T = TypeVar("T")


class Aggregate(Node):
    """Several aggregates over the groups of one relation.

    Reference:   for every group with a positive number of rows, its keys and each call's value
                 over its rows; without keys exactly one row, whatever the input.
    Incremental: only groups of the delta are read before and after; a group appears and vanishes
                 with its row count.
    State: keys, row count and accumulators per group; MIN and MAX keep all values (`Extremum`),
           DISTINCT calls a count per distinct argument.
    Cost:  O(|delta|) look-ups and additions; MIN and MAX also sort the delta, once for both of one
           value.
    """

    scalars = (*Node.scalars, "_has_started")

    def __init__(
        self,
        source: Node,
        keys: tuple[int, ...],
        calls: tuple[AggregateSpec, ...],
        schema: Schema,
        told: Told | None = None,
    ) -> None:
        super().__init__(schema, (source,))
        self._keys = keys
        self._told = told
        self._table = GroupTable(tuple(source.schema.types[k] for k in keys)) if keys else None
        self._rows = Counts()
        self._touched = Touched()
        self._specs = calls
        self._calls = _calls_of(calls, self._rows)
        #: where one kernel does what they do
        self._at_once = CallsAtOnce(self._calls) if keys and CallsAtOnce.are(self._calls) else None
        #: of several threads that share the calls; whether they do in this step
        self._gain, self._are_shared = Gain(), True
        self._sweep = Sweep()
        self._changes = Changes(self)
        #: groups that the calls have room for
        self._reserved = 0
        # without keys there is one group: it has a row before the first input comes, and always
        self.is_pending = not keys
        self._has_started = False
        #: which groups get no more rows, by column of the input
        self.expiry = Expiry()

    def step(self) -> Batch | None:
        if self.inputs[0].delta is None:
            groups = np.zeros(1, dtype=np.int64)  # the one row of an empty relation
            none = GroupedRows(groups[:0], groups[:0], (), groups, groups[:0])
            return self._changed_by((none,))
        if self.inputs[0].more is None:
            rows = self._grouped(self.inputs[0].delta)
            n = len(rows.groups)
            one = partial(self._in_this_thread, rows)
            if len(self._calls) == 1 or not are_many(n):
                return one()
            return self._gain.better(n, lambda: self._changed_by((rows,)), one)
        # a total is looked at when all have come: what one batch overflows the next may take back
        return self._changed_by(map(self._grouped, self.inputs[0].batches(), count()))

    def _in_this_thread(self, rows: GroupedRows) -> Batch | None:
        if self._at_once is not None:
            return self._changed_at_once(rows, self._at_once)
        self._are_shared = False
        try:
            return self._changed_by((rows,))
        finally:
            self._are_shared = True

    def _grouped(self, delta: Batch, number: int = 0) -> GroupedRows:
        """`delta`, which is batch `number` of this step."""
        groups = self._group_ids(delta, may_forget=not number)
        touched, slots = self._touched.find(groups, self._group_count())
        return GroupedRows(groups, delta.weights, delta.columns, touched, slots)

    def _changed_by(self, batches: Iterable[GroupedRows]) -> Batch | None:
        touched: Ids | None = None
        for rows in batches:
            if touched is None:
                touched = new = rows.touched
                before_at, before = self._begin(rows, new)
            else:
                new = np.setdiff1d(rows.touched, touched)
                at, values = self._begin(rows, new)
                before_at = np.concatenate((before_at, len(touched) + at))
                before = tuple(map(concat_columns, zip(before, values, strict=True)))
                touched = np.concatenate((touched, new))
            add_totals(rows.groups, rows.weights, self._rows.array)
            if len(rows.groups):
                self._of_each_call(partial(self._add, rows), len(rows.groups))
            self._has_started = True
        assert touched is not None
        after_at, after = self._read(touched)
        return self._change(touched, before_at, before, after_at, after)

    def _changed_at_once(self, rows: GroupedRows, calls: CallsAtOnce) -> Batch | None:
        """The same by one kernel."""
        assert self._table is not None
        self._make_room(rows.touched)
        change = calls.take_in(rows, self._rows.array)
        if change is None:
            self._read(rows.touched)  # which says what does not fit
            raise AssertionError("a value that fits")
        places, row, values, weights = change
        if not len(places):
            return None
        if any(t.is_view for t in self._table.types):
            keys = self._table.take(rows.touched[places])
        else:
            # the rows at hand have the same keys, which the table has far apart
            keys = tuple(take_column(rows.args[k], row) for k in self._keys)
        columns = zip(keys + values, self.schema.types, strict=True)
        return Batch(self.schema, tuple(c.with_type(t) for c, t in columns), weights, True)

    def _begin(self, rows: GroupedRows, new: Ids) -> tuple[Ids, tuple[Column, ...]]:
        """Make room for `rows`; what the groups `new` among theirs are before them."""
        self._make_room(new)
        return self._read(new)

    def _make_room(self, new: Ids) -> None:
        """The groups `new` are about to change, and calls know all there are."""
        if self._group_count() > self._reserved:
            self._reserved = self._group_count()
            for call in self._calls:
                call.reserve(self._reserved)
        self._changes.note(new)

    def parameters(self) -> tuple[Any, ...]:
        return self._keys, self._specs

    def parts(self) -> Mapping[str, Part]:
        groups: dict[str, Part] = {"entries": self._changes}
        if self._table is not None:
            groups["keys"] = self._table
        of_calls = {f"{i}:{n}": p for i, c in enumerate(self._calls) for n, p in c.parts().items()}
        return {**groups, **of_calls}

    def entries(self) -> Arrays:
        of_calls = {
            f"{i}:{n}": array
            for i, call in enumerate(self._calls)
            for n, array in call.arrays().items()
        }
        return {"rows": self._rows.array, **of_calls}

    def entry_count(self) -> int:
        return self._group_count()

    def load_entries(self, arrays: Arrays, count: int) -> None:
        self._rows.array = the_array(arrays["rows"])
        self._reserved = 0
        for i, call in enumerate(self._calls):
            call.load({n: arrays[f"{i}:{n}"] for n in call.arrays()})

    def state_rows(self) -> int:
        return self._group_count() + sum(call.state_rows() for call in self._calls)

    def _group_count(self) -> int:
        return 1 if self._table is None else len(self._table)

    def _group_ids(self, delta: Batch, *, may_forget: bool) -> Ids:
        if self._table is None:
            return np.zeros(len(delta), dtype=np.int64)
        if (
            may_forget
            and self._sweep.is_due(len(self._table))
            and all(c.can_move for c in self._calls)
        ):
            self._forget(self._table)
        keys = tuple(delta.columns[k] for k in self._keys)
        ids = self._table.lookup_or_insert(keys, len(delta))
        self._rows.reserve(len(self._table))
        return ids

    def _forget(self, table: GroupTable) -> None:
        """Drop the groups of which nothing is left or that are over, if they are many."""
        groups = len(table)
        if self._sweep.can_wait(groups, partial(self._are_in_use, table)):
            return
        in_use = self._rows.array[:groups] != 0
        for call in self._calls:
            in_use |= call.in_use(groups)
        over = self.expiry.mask(dict(zip(self._keys, table.keys(), strict=True)))
        if over is not None:
            in_use &= ~over
            # a serial is given once, which the last one sees to: rows of what is over are left
            in_use[-1] = True
        kept = np.flatnonzero(in_use)
        if self._sweep.is_worth_it(len(kept), groups):
            self._table, ids = renumbered(table, kept)
            self._rows.move(kept, ids)
            self._reserved = 0
            for call in self._calls:
                call.move(kept, ids)
            self._changes.renumbered()

    def _are_in_use(self, table: GroupTable, ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether groups have a row and are not over."""
        in_use: npt.NDArray[np.bool_] = self._rows.array[ids] != 0
        over = self.expiry.mask(dict(zip(self._keys, table.take(ids), strict=True)))
        return in_use if over is None else in_use & ~over

    def _read(self, touched: Ids) -> tuple[Ids, tuple[Column, ...]]:
        """Positions in `touched` of the groups that have a row now, and the calls' values there.

        Groups without a row are not read at all: their totals mean nothing.
        """
        if self._table is None:
            at = np.arange(len(touched) if self._has_started else 0)
        else:
            at = positions(self._rows.array.take(touched) > 0)
        groups = touched if len(at) == len(touched) else touched[at]
        return at, tuple(self._of_each_call(partial(self._value, groups), len(groups)))

    def _of_each_call(self, work: Callable[[int], T], rows: int) -> list[T]:
        """work(i) for every call: each has its own state, so several threads may share them."""
        calls = range(len(self._calls))
        if len(self._calls) > 1 and self._are_shared and are_many(rows):
            return side_by_side([partial(work, i) for i in calls])
        return [work(i) for i in calls]

    def _add(self, rows: GroupedRows, call: int) -> None:
        try:
            self._calls[call].add(rows)
        except RuntimeSqlError as error:
            raise self._failure(error, call, None) from error

    def _value(self, groups: Ids, call: int) -> Column:
        try:
            return self._calls[call].accumulator.read(groups)
        except RuntimeSqlError as error:
            raise self._failure(error, call, groups) from error

    def _failure(self, error: RuntimeSqlError, call: int, groups: Ids | None) -> Exception:
        """What is said of a call that fails, in entry `error.row` of `groups` if they are given."""
        if self._told is None:
            return RuntimeSqlError(error.message, row=error.row)
        keys = () if self._table is None or groups is None else self._table.take(groups)
        names = Schema(self.schema.fields[: len(keys)])
        count = 0 if groups is None else len(groups)
        return self._told(error, call, Batch(names, keys, np.ones(count, np.int64)))

    def _change(
        self,
        touched: Ids,
        before_at: Ids,
        before: tuple[Column, ...],
        after_at: Ids,
        after: tuple[Column, ...],
    ) -> Batch | None:
        change = replaced(before_at, before, after_at, after)
        if change is None:
            return None
        places, values, weights = change
        keys = () if self._table is None else self._table.take(touched[places])
        columns = keys + values
        typed = (c.with_type(t) for c, t in zip(columns, self.schema.types, strict=True))
        # a group's old and new row differ, and its keys tell it from others
        return Batch(self.schema, tuple(typed), weights, True)


def _calls_of(specs: Sequence[AggregateSpec], rows: Counts) -> tuple[Call, ...]:
    """The calls of `specs`; MIN and MAX of the same rows know of each other."""
    calls: list[Call] = []
    first: dict[Any, int] = {}
    for i, spec in enumerate(specs):
        opposite = None
        if spec.kind in ("MIN", "MAX") and not spec.within:
            at = first.setdefault((spec.args, spec.arg_types, spec.filter), i)
            if specs[at].kind != spec.kind:
                opposite = calls[at].accumulator
        calls.append(Call(spec, rows, opposite))
    return tuple(calls)
