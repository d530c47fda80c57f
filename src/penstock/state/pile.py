"""What lies on top of a spine as it came, once more, row after row.

    runs of a step each  ▪ ▪▪ ▪ ▪ ▪▪ …    a look-up would ask each, and gather from each it finds
    pile                 ▪▪▪▪▪▪▪▪▪        hashes next to each other, and one array a column

It is for look-ups of a few keys, and for sorting all of its rows together once they are enough. Who
looks at runs, or writes them, has a run made of those that are in none yet.

Invariants: rows are only appended, so that who holds `batch` may look at those he was told of; only
hashes are compared here. Not for columns of strings, whose heaps would be as many as the runs.

Cost: an append O(rows), a look-up O(keys · rows), which are `ROOM` at most.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Batch, Column
from penstock.data.gather import slice_batch
from penstock.data.kernel import kernel
from penstock.data.types import Schema
from penstock.state.lookup import TooManyMatches

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: rows there is room for
ROOM = 256
#: keys that are looked up by looking at all rows
FEW_NEEDLES = 64
#: rows found that there is room for without a second look
_FEW_FOUND = 64


class Pile:
    """Rows of `schema`, which has no strings."""

    def __init__(self, schema: Schema) -> None:
        self._rows = 0
        self._k = np.empty(ROOM, np.uint64)
        columns = []
        for type in schema.types:
            shape = (ROOM, 2) if type.is_wide else ROOM
            columns.append(Column(type, np.empty(shape, type.dtype)))
        #: all there is room for: those that are not there mean nothing
        self.batch = Batch(schema, tuple(columns), np.empty(ROOM, np.int64))

    def __len__(self) -> int:
        return self._rows

    def add(self, rows: Batch, k: U64) -> bool:
        """Append `rows`, whose keys have the hashes `k`; False if there is no room."""
        start, stop = self._rows, self._rows + len(k)
        if stop > ROOM:
            return False
        self._k[start:stop] = k
        self.batch.weights[start:stop] = rows.weights
        for i, column in enumerate(rows.columns):
            mine = self.batch.columns[i]
            mine.values[start:stop] = column.values
            if column.valid is not None or mine.valid is not None:
                self._mark(i, start, stop, column.valid)
        self._rows = stop
        return True

    def _mark(self, at: int, start: int, stop: int, valid: npt.NDArray[np.uint8] | None) -> None:
        """Say which values of column `at` are NULL in start .. stop."""
        mine = self.batch.columns[at]
        mask = mine.valid
        if mask is None:
            mask = np.ones(ROOM, np.uint8)
            columns = list(self.batch.columns)
            columns[at] = Column(mine.type, mine.values, mask)
            # who holds the batch as it was knows of no row that is NULL
            self.batch = Batch(self.batch.schema, tuple(columns), self.batch.weights)
        mask[start:stop] = 1 if valid is None else valid

    def find(self, needles: U64, most: int | None = None) -> tuple[I64, I64]:
        """(needle, row of `batch`): all pairs with equal hashes, needle by needle. Raises
        TooManyMatches if there are more than `most`."""
        room = _FEW_FOUND
        while True:
            needle, row = np.empty((2, room), np.int64)
            count = _find(self._k, self._rows, needles, needle, row)
            if most is not None and count > most:
                raise TooManyMatches
            if count <= room:
                return needle[:count], row[:count]
            room = count

    def rows(self) -> Batch:
        """All rows, which may still cancel out."""
        return slice_batch(self.batch, 0, self._rows)


@kernel("int64(uint64[::1], int64, uint64[::1], int64[::1], int64[::1])")
def _find(k: Any, rows: Any, needles: Any, needle: Any, row: Any) -> Any:
    """Row row[j] has the hash of needle[j]; how many such there are, of which those are told that
    there is room for."""
    count = 0
    for i in range(needles.shape[0]):
        for j in range(rows):
            if k[j] == needles[i]:
                if count < row.shape[0]:
                    needle[count], row[count] = i, j
                count += 1
    return count
