"""MODE under retractions: the most frequent value of a group, the smallest of several.

    delta of x  ──►  how often each (group, x) is there, before and after
                ──►  delta of rows (n, x)  ──►  the best by n DESC, x (`ops.extremum`)

Reference:   the least of the values that are there most often; NULL without one.
Incremental: counts of the delta's values before and after, as rows of which the best is kept.
State: a count per value and group; a row (n, x) for each in a spine.
Cost:  O(|delta|) look-ups; O(log n) for groups whose most frequent value changed its count.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import (
    Ids,
    Serials,
    Sweep,
    Touched,
    add_totals,
    grown,
    moved,
    renumbered,
)
from penstock.circuit.ops.accumulate import Accumulator, GroupedRows, the_array
from penstock.circuit.ops.extremum import Extremum
from penstock.data.batch import Column
from penstock.data.gather import concat_columns, take_column
from penstock.data.types import BIGINT, SqlType
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part

_NUMBER = BIGINT.with_nullable(False)


class Mode(Accumulator):
    """MODE of values of type `argument`."""

    def __init__(self, argument: SqlType, result: SqlType) -> None:
        self._type = argument.with_nullable(False)
        self._table = GroupTable((_NUMBER, self._type))
        self._counts = np.zeros(16, dtype=np.int64)
        self._touched = Touched()
        self._changes = Changes(self)
        self._sweep = Sweep()
        #: what groups are called in the table
        self._serials = Serials()
        self._best = Extremum((_NUMBER, self._type), (True, False), result, shown=1)

    def arrays(self) -> Arrays:
        return {**self._best.arrays(), "number": self._serials.array()}

    def load(self, arrays: Arrays) -> None:
        self._serials.load(the_array(arrays["number"]))
        self._best.load(arrays)

    def parts(self) -> Mapping[str, Part]:
        return {**self._best.parts(), "known": self._table, "counts": self._changes}

    # the counts by value (see `Changes`)

    def entries(self) -> Arrays:
        return {"counts": self._counts}

    def entry_count(self) -> int:
        return len(self._table)

    def load_entries(self, arrays: Arrays, count: int) -> None:
        self._counts = the_array(arrays["counts"])

    def reserve(self, groups: int) -> None:
        self._serials.reserve(groups)
        self._best.reserve(groups)

    @property
    def can_move(self) -> bool:
        return True

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        used = self._best.in_use(groups)
        # the best row does not tell of values that are owed
        used[self._groups_of(np.flatnonzero(self._counts[: len(self._table)]))] = True
        return used

    def move(self, old: Ids, new: Ids) -> None:
        self._serials.move(old)
        self._best.move(old, new)
        self._forget()

    def _groups_of(self, values: Ids) -> Ids:
        return self._serials.ids_of(self._table.take(values)[0].values)

    def _forget(self) -> None:
        """Drop the values that are not there, if they are many, and those of groups that went."""
        values = len(self._table)
        gone = self._serials.of_dropped()(self._table.keys()[0].values)
        kept = np.flatnonzero((self._counts[:values] != 0) & ~gone)
        if gone.any() or self._sweep.is_worth_it(len(kept), len(self._table)):
            self._table, ids = renumbered(self._table, kept)
            self._counts = moved(self._counts, kept, ids)
            self._changes.renumbered()

    def add(self, rows: GroupedRows) -> None:
        at = np.flatnonzero(rows.weights)
        argument = take_column(rows.args[0], at)
        values = Column(self._type, argument.values, None, argument.heaps)
        if self._sweep.is_due(len(self._table)):
            self._forget()
        keys = (Column(_NUMBER, self._serials.of(rows.groups[at])), values)
        ids = self._table.lookup_or_insert(keys, len(at))
        self._counts = grown(self._counts, len(self._table))
        touched, slots = self._touched.find(ids, len(self._table))
        self._changes.note(touched)
        before = self._counts[touched]
        add_totals(ids, rows.weights[at], self._counts)
        after = self._counts[touched]
        changed = before != after
        # a count of zero or less is no row at all
        gone, come = np.flatnonzero(changed & (before > 0)), np.flatnonzero(changed & (after > 0))
        # a row of each, which says the same as the table
        row = np.empty(len(touched), np.int64)
        row[slots] = at
        groups = rows.groups[row]
        found = take_column(rows.args[0], row)
        found = Column(self._type, found.values, None, found.heaps)
        places = np.concatenate((gone, come))
        counts = np.concatenate((before[gone], after[come]))
        weights = np.repeat(np.array([-1, 1], np.int64), (len(gone), len(come)))
        values = concat_columns((take_column(found, gone), take_column(found, come)))
        self._best.add_rows(groups[places], weights, (Column(_NUMBER, counts), values))

    def read(self, groups: Ids) -> Column:
        return self._best.read(groups)

    def state_rows(self) -> int:
        return len(self._table) + self._best.state_rows()
