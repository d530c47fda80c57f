"""Columns that grow at the end: the keys of a group table.

Appending is amortised O(rows appended): buffers grow where they are, or double. `column()` is a
view of what is there; it stays valid and unchanged when more is appended.

Long strings are copied into heaps of the column's own, each twice as large as the one before, so
that a few keys of a batch do not keep the whole batch's bytes alive and heaps stay few.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Column
from penstock.data.heap import Heap
from penstock.data.types import SqlType
from penstock.data.views import MAX_HEAP_BYTES, append_long, long_lengths, relocate
from penstock.state.backing import longer, room

FIRST_HEAP_BYTES = 1 << 12
LARGEST_HEAP_BYTES = 1 << 26


class GrowingColumn:
    """A column of `type` to which rows are appended."""

    def __init__(self, type: SqlType) -> None:
        self.type = type
        shape = (16, 2) if type.is_wide else (16,)
        self._values: Array = np.zeros(shape, type.dtype)
        self._valid: npt.NDArray[np.uint8] | None = None
        self._texts = Texts()
        self._n = 0
        self._column: Column | None = None

    def __len__(self) -> int:
        return self._n

    def append(self, rows: Column) -> None:
        n = self._n + len(rows)
        self._column = None
        if n > len(self._values):
            self._values = longer(self._values, n)
        if rows.heaps:
            self._texts.copy(np.ascontiguousarray(rows.values), self._values[self._n : n])
        else:
            self._values[self._n : n] = rows.values
        if rows.valid is not None and self._valid is None:
            self._valid = np.ones(n, np.uint8)
        if self._valid is not None and n > len(self._valid):
            self._valid = longer(self._valid, n, 1)
        if self._valid is not None:
            self._valid[self._n : n] = 1 if rows.valid is None else rows.valid
        self._n = n

    def load(self, rows: Column) -> None:
        """Hold exactly `rows`; their arrays are taken over."""
        self._column = None
        self._values, self._valid, self._n = rows.values, rows.valid, len(rows)
        self._texts = Texts()
        self._texts.load(rows.heaps)

    def column(self) -> Column:
        if self._column is None:
            valid = None if self._valid is None else self._valid[: self._n]
            self._column = Column(self.type, self._values[: self._n], valid, self._texts.heaps)
        return self._column


class Texts:
    """Heaps that are filled one after the other, none of more bytes than `largest` but for strings
    that come together."""

    def __init__(self, largest: int = LARGEST_HEAP_BYTES) -> None:
        self.heaps: tuple[Heap, ...] = ()
        self._largest = largest
        self._used = 0
        #: of the last heap
        self._id = self._size = 0

    def load(self, heaps: tuple[Heap, ...]) -> None:
        """Go on after `heaps`, which are full."""
        self.heaps = heaps
        self._note_last()
        self._used = self._size

    def copy(self, views: npt.NDArray[np.uint64], out: npt.NDArray[np.uint64]) -> None:
        """The strings of `views` into the heaps, their new views into `out`, which may be the
        same."""
        end = append_long(views, self._id, self._used, self._size, out)
        if end >= 0:
            self._used = end
            return
        ends = np.cumsum(long_lengths(views))
        at = 0
        while at < len(views):
            before = int(ends[at - 1]) if at else 0
            fits = self._room_for(int(ends[at]) - before, int(ends[-1]) - before)
            stop = int(np.searchsorted(ends, before + fits, side="right"))
            heap = self.heaps[-1] if self.heaps else Heap(np.zeros(0, np.uint8))
            self._used = relocate(views[at:stop], heap, self._used, out[at:stop])
            at = stop

    def _room_for(self, first: int, all: int) -> int:
        """Bytes free in the last heap, after starting another if the next string, of `first`
        bytes, would not fit; `all` bytes are still to come."""
        free = self._size - self._used
        if first > free:
            doubled = 2 * self._size if self.heaps else FIRST_HEAP_BYTES
            size = max(first, min(all, MAX_HEAP_BYTES), min(doubled, self._largest))
            self.heaps = (*self.heaps, Heap(room(size, np.uint8)))
            self._note_last()
            self._used, free = 0, size
        return free

    def _note_last(self) -> None:
        if self.heaps:
            self._id, self._size = self.heaps[-1].id, len(self.heaps[-1])
