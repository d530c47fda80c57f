"""Rows of ordered partitions that lie too far behind a line for any later change to look at.

    a partition by time    1  2 │ 3  4  5  6 │ 7  8 ║ 11  12 …       line 10, two rows are seen
                           kept │    gone    │ kept ║ changes are here, or where time is NULL

What is behind the line can change no more; rows beyond it look back at `last` rows at most, and
those before all times (NULLS FIRST) ahead at `first`: rows, or values of some columns (`LAG …
IGNORE NULLS`), of each of which there are as many then.

A row's neighbours may be in any run of a spine, so merges cannot tell which rows are deep: all of
it is looked at each time that it may have doubled. Cost: amortised O(log n) a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.circuit.dense import Sweep
from penstock.circuit.expiry import Expiry
from penstock.circuit.ordering import RowOrder
from penstock.data.batch import Batch
from penstock.data.gather import filter_batch, take
from penstock.state.groups import GroupTable
from penstock.state.spine import Spine


class Passed:
    """Keeps `first` and `last` rows of each partition, in `order`, of those behind the line of the
    order's first column."""

    def __init__(
        self,
        rows: Spine,
        partition: Sequence[int],
        order: RowOrder,
        first: int,
        last: int,
        values: Sequence[int] = (),
    ) -> None:
        """`values`: columns of which as many values count instead of rows."""
        self._rows, self._partition, self._order = rows, tuple(partition), order
        self._first, self._last, self._values = first, last, tuple(values)
        self.expiry = Expiry()
        self._sweep = Sweep()
        #: rows that may be there: those at the last look and the changes since
        self._count = 0

    def note(self, changes: int) -> None:
        """So many rows went to the spine."""
        self._count += changes

    def forget(self) -> None:
        """Take the rows that nothing looks at out of the spine, if they may be many."""
        if not self.expiry.is_known or not self._sweep.is_due(self._count):
            return
        # rows that are owed are no part of it: they stay
        rows = self._rows.snapshot().batch()
        gone = self._deep(rows)
        kept = len(rows) - len(gone)
        if self._sweep.is_worth_it(kept, len(rows)):
            self._rows.insert(Batch(gone.schema, gone.columns, -gone.weights))
            self._count = kept
        else:
            self._count = len(rows)

    def _deep(self, rows: Batch) -> Batch:
        over = self.expiry.mask(dict(enumerate(rows.columns)))
        if over is None or not over.any():
            return take(rows, np.zeros(0, np.int64))
        behind = filter_batch(rows, over)
        place = np.zeros(len(behind), np.int64)
        if self._partition:
            keys = tuple(behind.columns[p] for p in self._partition)
            place = GroupTable(tuple(k.type for k in keys)).lookup_or_insert(keys, len(behind))
        found = self._order.settled(place, behind)
        begins = np.searchsorted(found.place, found.place, "left")
        ends = np.searchsorted(found.place, found.place, "right")
        at, deep = np.arange(len(found.place)), np.ones(len(found.place), bool)
        for column in self._values or (None,):
            counted, valid = found.rows.weights, None
            if column is not None:
                valid = found.rows.columns[column].valid
            if valid is not None:
                counted = counted * valid
            up_to = np.concatenate((np.zeros(1, np.int64), np.cumsum(counted)))
            before, behind_it = up_to[at] - up_to[begins], up_to[ends] - up_to[at + 1]
            deep &= (before >= self._first) & (behind_it >= self._last)
        return take(found.rows, np.flatnonzero(deep))
