"""GROUP BY: one row per group, kept up to date call by call.

delta ──► group ids ──► rows of the touched groups before
                   └──► accumulators += delta
                        rows of the touched groups after ──► -before +after where they differ
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from penstock.circuit.changed import replaced
from penstock.circuit.dense import (
    Ids,
    Serials,
    Sweep,
    Touched,
    add_totals,
    renumbered,
)
from penstock.circuit.expiry import Expiry
from penstock.circuit.node import Node
from penstock.circuit.ops.accumulate import Accumulator, Counts, GroupedRows, the_array
from penstock.circuit.ops.accumulators import accumulator
from penstock.circuit.ops.distinct import Crossings
from penstock.circuit.spec import AggregateSpec, Told
from penstock.data.batch import Batch, Column, Weights
from penstock.data.gather import take_column
from penstock.data.masks import all_set, positions
from penstock.data.parallel import are_many, side_by_side
from penstock.data.types import BIGINT, Schema, SqlType
from penstock.errors import RuntimeSqlError
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part

T = TypeVar("T")

_GROUP = BIGINT.with_nullable(False)
#: aggregates that a second copy of a value does not change, so that DISTINCT means nothing
_INSENSITIVE = frozenset((
    "MIN", "MAX", "ARG_MIN", "ARG_MAX", "BIT_AND", "BIT_OR", "EVERY", "SOME",
))  # fmt: skip


class Aggregate(Node):
    """Several aggregates over the groups of one relation.

    Reference:   for every group with a positive number of rows, its keys and each call's value
                 over its rows; without keys exactly one row, whatever the input.
    Incremental: only groups of the delta are read before and after; a group appears and vanishes
                 with its row count.
    State: keys, row count and accumulators per group; MIN and MAX keep all values (`Extremum`),
           DISTINCT calls a count per distinct argument.
    Cost:  O(|delta|) look-ups and additions; MIN and MAX also sort the delta.
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
        self._calls = tuple(Call(spec, self._rows) for spec in calls)
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
        delta = self.inputs[0].delta
        if delta is None:
            groups = np.zeros(1, dtype=np.int64)  # the one row of an empty relation
            rows = GroupedRows(groups[:0], groups[:0], (), groups, groups[:0])
        else:
            groups = self._group_ids(delta)
            touched, slots = self._touched.find(groups, self._group_count())
            rows = GroupedRows(groups, delta.weights, delta.columns, touched, slots)
        if self._group_count() > self._reserved:
            self._reserved = self._group_count()
            for call in self._calls:
                call.reserve(self._reserved)
        self._changes.note(rows.touched)
        before_at, before = self._read(rows.touched)
        add_totals(rows.groups, rows.weights, self._rows.array)
        if delta is not None:
            self._of_each_call(partial(self._add, rows), len(delta))
        self._has_started = True
        after_at, after = self._read(rows.touched)
        return self._change(rows.touched, before_at, before, after_at, after)

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

    def _group_ids(self, delta: Batch) -> Ids:
        if self._table is None:
            return np.zeros(len(delta), dtype=np.int64)
        if self._sweep.is_due(len(self._table)) and all(c.can_move for c in self._calls):
            self._forget(self._table)
        keys = tuple(delta.columns[k] for k in self._keys)
        ids = self._table.lookup_or_insert(keys, len(delta))
        self._rows.reserve(len(self._table))
        return ids

    def _forget(self, table: GroupTable) -> None:
        """Drop the groups of which nothing is left or that are over, if they are many."""
        groups = len(table)
        in_use = self._rows.array[:groups] != 0
        for call in self._calls:
            in_use |= call.in_use(groups)
        over = self.expiry.mask(dict(zip(self._keys, table.keys(), strict=True)))
        if over is not None:
            over[-1] = False  # a serial is given once, which the last one sees to
            in_use &= ~over
        kept = np.flatnonzero(in_use)
        if self._sweep.is_worth_it(len(kept), groups):
            self._table, ids = renumbered(table, kept)
            self._rows.move(kept, ids)
            self._reserved = 0
            for call in self._calls:
                call.move(kept, ids)
            self._changes.renumbered()

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
        if len(self._calls) > 1 and are_many(rows):
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


class Call:
    """One aggregate call: which rows it counts, and its accumulator."""

    def __init__(self, spec: AggregateSpec, rows: Counts) -> None:
        """`rows`: how many each group has, for whoever counts them all."""
        self._spec = spec
        self._strict = tuple(spec.strict_args())
        self._counts_every_row = spec.counts_every_row()
        self.accumulator: Accumulator
        self._arguments: Crossings | None = None
        #: WITHIN DISTINCT: how many different arguments each key has
        self._keys: Crossings | None = None
        #: what groups are called among the arguments
        self._serials = Serials()
        self.accumulator = accumulator(spec, rows)
        if spec.within:
            self._keys = Crossings((_GROUP, *spec.within_types), at_most=2)
        if spec.within or (spec.distinct and spec.kind not in _INSENSITIVE):
            takes_nulls = spec.takes_nulls or (False,) * len(spec.args)
            types = tuple(
                t.with_nullable(t.nullable and takes)
                for t, takes in zip(spec.arg_types, takes_nulls, strict=True)
            )
            self._arguments = Crossings((_GROUP, *spec.within_types, *types))

    def add(self, rows: GroupedRows) -> None:
        """Take a delta of the relation in; `rows.args` are all its columns."""
        args = tuple(rows.args[a] for a in self._spec.args)
        weights = self._counted(rows)
        if self._arguments is None:
            counted = GroupedRows(rows.groups, weights, args, rows.touched, rows.slots)
        else:
            counted = self._once(rows, weights, args)
        self.accumulator.add(counted)

    def parts(self) -> Mapping[str, Part]:
        arguments = {} if self._arguments is None else self._arguments.parts()
        keys = {} if self._keys is None else self._keys.parts()
        return {
            **{f"distinct {n}": p for n, p in arguments.items()},
            **{f"within {n}": p for n, p in keys.items()},
            **self.accumulator.parts(),
        }

    def state_rows(self) -> int:
        kept = 0 if self._arguments is None else len(self._arguments)
        return kept + self.accumulator.state_rows()

    @property
    def can_move(self) -> bool:
        """Whether groups may be renumbered."""
        return self.accumulator.can_move

    def reserve(self, groups: int) -> None:
        self.accumulator.reserve(groups)
        if self._arguments is not None:
            self._serials.reserve(groups)

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        """bool[groups]: of which groups there is anything left."""
        used = self.accumulator.in_use(groups)
        if self._arguments is not None:
            # arguments may be owed, of which the accumulator has not heard
            serials, *_ = self._arguments.rows(self._arguments.in_use())
            used[self._serials.ids_of(serials.values)] = True
        return used

    def move(self, old: Ids, new: Ids) -> None:
        self.accumulator.move(old, new)
        if self._arguments is not None:
            self._serials.move(old)
            of_dropped = self._serials.of_dropped()
            for kept in (self._arguments, self._keys):
                if kept is not None:
                    kept.drop(lambda rows: of_dropped(rows[0].values))

    def arrays(self) -> Arrays:
        serials = {} if self._arguments is None else {"argument serial": self._serials.array()}
        return {**self.accumulator.arrays(), **serials}

    def load(self, arrays: Arrays) -> None:
        self.accumulator.load(arrays)
        if self._arguments is not None:
            self._serials.load(the_array(arrays["argument serial"]))

    def _counted(self, rows: GroupedRows) -> Weights:
        """The rows' weights, 0 where this call does not count the row."""
        weights = rows.weights
        if self._spec.filter is not None:
            condition = rows.args[self._spec.filter]
            weights = weights * condition.values
            if condition.valid is not None:
                weights = weights * condition.valid
        for a in self._strict:
            valid = rows.args[a].valid
            if valid is not None and self._counts_every_row:
                assert all_set(valid), "a NULL where its type knows none"
            elif valid is not None:
                weights = weights * valid
        if self._spec.kind == "COUNTIF":
            weights = weights * rows.args[self._spec.args[0]].values
        return weights

    def _once(self, rows: GroupedRows, weights: Weights, args: tuple[Column, ...]) -> GroupedRows:
        """The change of the set of distinct arguments per group (and key of WITHIN DISTINCT)."""
        assert self._arguments is not None
        within = tuple(rows.args[w] for w in self._spec.within)
        at = np.flatnonzero(weights)
        names = Column(_GROUP, self._serials.of(rows.groups[at]))
        rows_at = (take_column(a, at) for a in (*within, *args))
        types = self._arguments.types[1:]
        keys = (names, *(_typed(c, t) for c, t in zip(rows_at, types, strict=True)))
        ids, sign = self._arguments.add(keys, weights[at])
        serials, *values = self._arguments.rows(ids)
        if self._keys is not None:
            self._check_keys((serials, *values[: len(within)]), sign)
            values = values[len(within) :]
        groups = self._serials.ids_of(serials.values)
        nothing = np.zeros(0, dtype=np.int64)
        return GroupedRows(groups, sign, tuple(values), rows.touched, nothing)

    def _check_keys(self, keys: tuple[Column, ...], sign: Weights) -> None:
        assert self._keys is not None
        ids, _ = self._keys.add(keys, sign)
        if (self._keys.totals(ids) > 1).any():
            raise RuntimeSqlError(
                f"{self._spec.kind} WITHIN DISTINCT: two rows agree in the distinct columns, but "
                "not in what is aggregated"
            )


def _typed(column: Column, type: SqlType) -> Column:
    valid = column.valid if type.nullable else None
    return Column(type, column.values, valid, column.heaps)
