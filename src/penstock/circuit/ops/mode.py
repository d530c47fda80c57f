"""MODE under retractions: the most frequent value of a group, the smallest of several.

    delta of x  ──►  how often each (group, x) is there, before and after
                ──►  delta of rows (n, x)  ──►  the best by n DESC, x (`ops.extremum`)

State: a count per value and group; a row (n, x) for each in a spine.
Cost:  O(|delta|) look-ups; O(log n) for groups whose most frequent value changed its count.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from penstock.circuit.dense import Ids, Touched, add_totals, grown
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
        self._best = Extremum((_NUMBER, self._type), (True, False), result, shown=1)

    def arrays(self) -> Arrays:
        return self._best.arrays()

    def load(self, arrays: Arrays) -> None:
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
        self._best.reserve(groups)

    def add(self, rows: GroupedRows) -> None:
        at = np.flatnonzero(rows.weights)
        argument = take_column(rows.args[0], at)
        values = Column(self._type, argument.values, None, argument.heaps)
        keys = (Column(_NUMBER, rows.groups[at]), values)
        ids = self._table.lookup_or_insert(keys, len(at))
        self._counts = grown(self._counts, len(self._table))
        touched, _ = self._touched.find(ids, len(self._table))
        self._changes.note(touched)
        before = self._counts[touched]
        add_totals(ids, rows.weights[at], self._counts)
        after = self._counts[touched]
        changed = before != after
        # a count of zero or less is no row at all
        gone, come = np.flatnonzero(changed & (before > 0)), np.flatnonzero(changed & (after > 0))
        groups, found = self._table.take(touched)
        places = np.concatenate((gone, come))
        counts = np.concatenate((before[gone], after[come]))
        weights = np.repeat(np.array([-1, 1], np.int64), (len(gone), len(come)))
        values = concat_columns((take_column(found, gone), take_column(found, come)))
        self._best.add_rows(groups.values[places], weights, (Column(_NUMBER, counts), values))

    def read(self, groups: Ids) -> Column:
        return self._best.read(groups)

    def state_rows(self) -> int:
        return len(self._table) + self._best.state_rows()
