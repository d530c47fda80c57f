"""Columns that grow at the end: the keys of a group table.

Appending is amortised O(rows appended): buffers double. `column()` is a view of what is there; it
stays valid and unchanged when more is appended.
"""

from __future__ import annotations

import numpy as np

from penstock.data.batch import Column
from penstock.data.gather import compact_heaps
from penstock.data.heap import union
from penstock.data.types import SqlType

#: heaps that appended strings may keep alive before they are copied into one
MAX_HEAPS = 64


class GrowingColumn:
    """A column of `type` to which rows are appended."""

    def __init__(self, type: SqlType) -> None:
        self.type = type
        shape = (16, 2) if type.is_wide else (16,)
        self._values = np.zeros(shape, type.dtype)
        self._valid: np.ndarray | None = None
        self._heaps: tuple[object, ...] = ()
        self._n = 0

    def __len__(self) -> int:
        return self._n

    def append(self, rows: Column) -> None:
        n = self._n + len(rows)
        if n > len(self._values):
            self._grow(max(n, 2 * len(self._values)))
        self._values[self._n : n] = rows.values
        if rows.valid is not None and self._valid is None:
            self._valid = np.ones(len(self._values), np.uint8)
        if self._valid is not None:
            self._valid[self._n : n] = 1 if rows.valid is None else rows.valid
        self._n = n
        if rows.heaps:
            self._heaps = union((self._heaps, rows.heaps))  # type: ignore[arg-type]
            if len(self._heaps) > MAX_HEAPS:
                compacted = compact_heaps(self.column())
                self._values = np.concatenate((compacted.values, self._values[n:]))
                self._heaps = compacted.heaps

    def _grow(self, capacity: int) -> None:
        values = np.zeros((capacity, *self._values.shape[1:]), self._values.dtype)
        values[: self._n] = self._values[: self._n]
        self._values = values
        if self._valid is not None:
            valid = np.ones(capacity, np.uint8)
            valid[: self._n] = self._valid[: self._n]
            self._valid = valid

    def column(self) -> Column:
        valid = None if self._valid is None else self._valid[: self._n]
        return Column(self.type, self._values[: self._n], valid, self._heaps)  # type: ignore[arg-type]
