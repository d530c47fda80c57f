"""A table of groups: distinct keys numbered 0, 1, 2, … in order of arrival.

    hash ─► open-addressing slots ─► group id ─► key columns, and the operators' dense arrays

Every hash match is compared with the stored key. A key whose hash is taken by another key looks
under the next hash of a chain, h → mix(h) → …, the same for whoever comes later.

Invariants: ids are never reused; NULL equals NULL; at most half of the slots are used.

Cost: O(rows) expected a look-up; growth doubles the slots (8 bytes of hash and 4 of slot a group).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.gather import take_column
from penstock.data.hash import hash_columns, rows_equal
from penstock.data.kernel import kernel
from penstock.data.types import SqlType
from penstock.state.columns import GrowingColumn

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


@kernel("int64(uint64[::1], int32[::1], uint64[::1], int64, boolean, int64[::1], int64[::1])")
def _look_up(
    hashes: Any, slots: Any, stored: Any, count: int, inserts: bool, ids: Any, first: Any
) -> int:
    """ids[i] = the group stored under hashes[i], else a new one (or -1 unless `inserts`).
    first[j] = the row that made the j-th new group. Returns the new number of groups."""
    mask = np.uint64(slots.shape[0] - 1)
    new = 0
    for i in range(hashes.shape[0]):
        h = hashes[i]
        at = (h ^ (h >> np.uint64(32))) & mask
        while True:
            g = slots[at]
            if g < 0:
                if inserts:
                    slots[at] = np.int32(count)
                    stored[count] = h
                    ids[i] = count
                    first[new] = i
                    count += 1
                    new += 1
                else:
                    ids[i] = -1
                break
            if stored[g] == h:
                ids[i] = g
                break
            at = (at + np.uint64(1)) & mask
    return count


@kernel("void(uint64[::1], int64, int32[::1])")
def _fill(stored: Any, count: int, slots: Any) -> None:
    """Enter all groups into empty `slots`."""
    mask = np.uint64(slots.shape[0] - 1)
    for g in range(count):
        h = stored[g]
        at = (h ^ (h >> np.uint64(32))) & mask
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = np.int32(g)


class GroupTable:
    """Numbers the distinct rows of key columns of `types`."""

    def __init__(self, types: Sequence[SqlType]) -> None:
        self.types = tuple(types)
        self._columns = tuple(GrowingColumn(t) for t in self.types)
        self._slots = np.full(32, -1, np.int32)
        self._stored = np.zeros(16, np.uint64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def lookup_or_insert(self, keys: Sequence[Column], n: int) -> I64:
        """The group id of each of the `n` rows; unknown keys become new groups, in row order."""
        return self._find(keys, n, inserts=True)

    def lookup(self, keys: Sequence[Column], n: int) -> I64:
        """The group id of each row, -1 where there is none."""
        return self._find(keys, n, inserts=False)

    def take(self, ids: I64) -> tuple[Column, ...]:
        """The keys of groups `ids`."""
        return tuple(take_column(c.column(), ids) for c in self._columns)

    def _find(self, keys: Sequence[Column], n: int, *, inserts: bool) -> I64:
        hashes = hash_columns(keys, n=n)
        ids = self._under(hashes, keys, np.arange(n), inserts)
        wrong = self._mismatches(keys, np.arange(n), ids)
        while len(wrong):
            # another key sits under this hash: look under the next of the chain
            hashes[wrong] = hashes[wrong] * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
            ids[wrong] = self._under(hashes[wrong], keys, wrong, inserts)
            wrong = wrong[self._mismatches(keys, wrong, ids[wrong])]
        return ids

    def _under(self, hashes: U64, keys: Sequence[Column], rows: I64, inserts: bool) -> I64:
        n = len(hashes)
        if inserts and 2 * (self._count + n) > len(self._slots):
            self._grow(self._count + n)
        ids, first = np.empty(n, np.int64), np.empty(n, np.int64)
        before = self._count
        self._count = _look_up(hashes, self._slots, self._stored, before, inserts, ids, first)
        made = self._count - before
        if made:
            at = rows[first[:made]]
            for column, key in zip(self._columns, keys, strict=True):
                column.append(take_column(key, at))
        return ids

    def _mismatches(self, keys: Sequence[Column], rows: I64, ids: I64) -> I64:
        """Positions in `rows` whose key is not that of their group."""
        known = np.flatnonzero(ids >= 0)
        stored = [c.column() for c in self._columns]
        same = rows_equal(keys, rows[known], stored, ids[known])
        return known[same == 0] if not same.all() else known[:0]

    def _grow(self, groups: int) -> None:
        size = len(self._slots)
        while size < 2 * groups:
            size *= 2
        # twice what is needed now, so that growth stays rare
        size *= 2
        self._slots = np.full(size, -1, np.int32)
        stored = np.zeros(size // 2, np.uint64)
        stored[: self._count] = self._stored[: self._count]
        self._stored = stored
        _fill(self._stored, self._count, self._slots)
