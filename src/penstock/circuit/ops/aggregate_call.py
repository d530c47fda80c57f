"""One aggregate call of a GROUP BY: which rows it counts, and what it keeps of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, Serials
from penstock.circuit.ops.accumulate import Accumulator, Counts, GroupedRows, the_array
from penstock.circuit.ops.accumulators import accumulator
from penstock.circuit.ops.distinct import Crossings
from penstock.circuit.spec import AggregateSpec
from penstock.data.batch import Column, Weights
from penstock.data.gather import take_column
from penstock.data.masks import all_set
from penstock.data.types import BIGINT, SqlType
from penstock.errors import RuntimeSqlError
from penstock.state.changes import Arrays
from penstock.state.parts import Part

_GROUP = BIGINT.with_nullable(False)
#: aggregates that a second copy of a value does not change, so that DISTINCT means nothing
_INSENSITIVE = frozenset((
    "MIN", "MAX", "ARG_MIN", "ARG_MAX", "BIT_AND", "BIT_OR", "EVERY", "SOME",
))  # fmt: skip


class Call:
    """One aggregate call: which rows it counts, and its accumulator."""

    def __init__(
        self, spec: AggregateSpec, rows: Counts, opposite: Accumulator | None = None
    ) -> None:
        """`rows`: how many each group has, for whoever counts them all; `opposite`: see
        `accumulator`."""
        self._spec = spec
        self._strict = tuple(spec.strict_args())
        self._counts_every_row = spec.counts_every_row()
        self.accumulator: Accumulator
        self._arguments: Crossings | None = None
        #: WITHIN DISTINCT: how many different arguments each key has
        self._keys: Crossings | None = None
        #: what groups are called among the arguments
        self._serials = Serials()
        self.accumulator = accumulator(spec, rows, opposite)
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
        counted = self.counted(rows)
        if self._arguments is not None:
            counted = self._once(rows, counted.weights, counted.args)
        self.accumulator.add(counted)

    def counted(self, rows: GroupedRows) -> GroupedRows:
        """`rows` with this call's arguments, and weight 0 where it does not count one."""
        args = tuple(rows.args[a] for a in self._spec.args)
        weights = self._counted(rows)
        return GroupedRows(rows.groups, weights, args, rows.touched, rows.slots)

    @property
    def is_distinct(self) -> bool:
        """Whether it counts equal arguments once."""
        return self._arguments is not None

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
