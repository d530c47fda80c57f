"""A table of groups: distinct keys numbered 0, 1, 2, … in order of arrival.

    hash ─► open-addressing slots ─► group id ─► key columns, and the operators' dense arrays

Every hash match is compared with the stored key. A key whose hash is taken by another key looks
under the next hash of a chain, h → mix(h) → …, the same for whoever comes later.

Growth is spread over the insertions: past two fifths full, a table of twice the slots is filled
beside the old one, which answers until the new one has caught up with it.

    slots    ■■■■■■■■■■■■□□□□□□□□     next   ■■■■■■□□□□□□□□□□□□□□□□□□□□□□□□□□□□□□□□□□
             all groups                      groups 0 .. filled

Invariants: ids are never reused; NULL equals NULL; at most three quarters of the slots are used.

Many rows are looked up by several threads where that gains (`penstock.data.parallel`), and those
that are not there inserted by one, unless most of them were new the last time.

Cost: O(rows) expected a look-up, 8 bytes of hash and 8 to 24 of slots a group. Hashes and keys grow
where they are (`penstock.state.backing.longer`).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.gather import take_column
from penstock.data.hash import hash_columns, is_exact, rows_equal
from penstock.data.kernel import kernel
from penstock.data.masks import all_set, positions
from penstock.data.parallel import Gain, are_looked_up_in_ranges, in_ranges
from penstock.data.types import SqlType
from penstock.state.backing import LARGE_BYTES, is_in_file, longer, populated, room
from penstock.state.changes import Arrays, Changes, ChangesPin
from penstock.state.columns import GrowingColumn
from penstock.state.run import KEY_SEED
from penstock.state.storage import StateStore

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: groups entered into the next table: a row inserted, and a call besides. From two fifths to three
#: quarters full there come size / 3 rows, and 3 / 4 size groups have to be entered by then; more a
#: row where the memory of a large table was long in coming.
FILL_PER_ROW = 4
FILL_PER_CALL = 256
#: slots that the processor has at hand anyway
_CACHED = 1 << 14


@kernel("int64(uint64[::1], int32[::1], uint64[::1], int64, boolean, int64[::1], int64[::1])")
def _look_up(
    hashes: Any, slots: Any, stored: Any, count: int, inserts: bool, ids: Any, first: Any
) -> int:
    """ids[i] = the group stored under hashes[i], else a new one (or -1 unless `inserts`).
    A slot holds a group's id + 1, a free one 0.
    first[j] = the row that made the j-th new group. Returns the new number of groups."""
    mask = np.uint64(slots.shape[0] - 1)
    new = 0
    # fetch the slots and hashes of many rows at the same time: see `penstock.state.run._find`
    for i in range(hashes.shape[0] if slots.shape[0] > _CACHED else 0):
        h = hashes[i]
        ids[i] = slots[(h ^ (h >> np.uint64(32))) & mask]
    for i in range(hashes.shape[0] if slots.shape[0] > _CACHED else 0):
        first[i] = np.int64(stored[max(ids[i] - 1, 0)])
    for i in range(hashes.shape[0]):
        h = hashes[i]
        at = (h ^ (h >> np.uint64(32))) & mask
        while True:
            g = np.int64(slots[at]) - 1
            if g < 0:
                if inserts:
                    slots[at] = np.int32(count + 1)
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


@kernel("void(uint64[::1], int64, int64, int32[::1])")
def _fill(stored: Any, start: int, stop: int, slots: Any) -> None:
    """Enter groups start..stop, which are not in it, into `slots`."""
    mask = np.uint64(slots.shape[0] - 1)
    for g in range(start, stop):
        h = stored[g]
        at = (h ^ (h >> np.uint64(32))) & mask
        while slots[at] > 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = np.int32(g + 1)


class GroupTable:
    """Numbers the distinct rows of key columns of `types`."""

    def __init__(self, types: Sequence[SqlType]) -> None:
        self.types = tuple(types)
        self._columns = tuple(GrowingColumn(t) for t in self.types)
        self._slots = np.zeros(32, np.int32)
        self._next: npt.NDArray[np.int32] | None = None
        self._filled = 0
        #: until the next table's memory is there, where it is much
        self._coming: Future[None] | None = None
        self._stored = np.zeros(16, np.uint64)
        self._count = 0
        #: whether of the rows last looked up most made a group
        self._are_new = False
        #: of look-ups, and of comparing keys; made when they are needed, as the next is
        self._gains: tuple[Gain, Gain] | None = None
        #: made when it is needed: most tables live for a step, and a cycle would outlive it
        self._changes: Changes | None = None

    def __len__(self) -> int:
        return self._count

    def lookup_or_insert(self, keys: Sequence[Column], n: int) -> I64:
        """The group id of each of the `n` rows; unknown keys become new groups, in row order."""
        return self._find(keys, n, inserts=True)

    def hashed(self, keys: Sequence[Column], n: int) -> tuple[I64, U64]:
        """The same, and the hashes of the rows by `KEY_SEED`."""
        hashes = hash_columns(keys, KEY_SEED, n=n)
        return self._find(keys, n, inserts=True, hashes=hashes), hashes

    def lookup(self, keys: Sequence[Column], n: int) -> I64:
        """The group id of each row, -1 where there is none."""
        return self._find(keys, n, inserts=False)

    def take(self, ids: I64) -> tuple[Column, ...]:
        """The keys of groups `ids`."""
        return tuple(take_column(c.column(), ids) for c in self._columns)

    def keys(self) -> tuple[Column, ...]:
        """The keys of all groups, by id."""
        return tuple(c.column() for c in self._columns)

    def _find(
        self, keys: Sequence[Column], n: int, *, inserts: bool, hashes: U64 | None = None
    ) -> I64:
        known = self._count
        hashes = hash_columns(keys, KEY_SEED, n=n) if hashes is None else hashes
        ids = self._under(hashes, keys, None, inserts)
        if self._count - known == n:
            # each row made the group that it is in
            return ids
        if is_exact(keys, [c.column() for c in self._columns]):
            return ids
        wrong = self._mismatches(keys, np.arange(n), ids)
        if len(wrong):
            hashes = hashes.copy()
        while len(wrong):
            # another key sits under this hash: look under the next of the chain
            hashes[wrong] = hashes[wrong] * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
            ids[wrong] = self._under(hashes[wrong], keys, wrong, inserts)
            wrong = wrong[self._mismatches(keys, wrong, ids[wrong])]
        return ids

    def _under(self, hashes: U64, keys: Sequence[Column], rows: I64 | None, inserts: bool) -> I64:
        """Hash i is that of row rows[i] of `keys`, or of row i."""
        n = len(hashes)
        if are_looked_up_in_ranges(n) and not (inserts and self._are_new):
            return self._gain(0).better(
                n,
                lambda: self._under_in_ranges(hashes, keys, rows, inserts),
                lambda: self._under_at_once(hashes, keys, rows, inserts),
            )
        return self._under_at_once(hashes, keys, rows, inserts)

    def _gain(self, of: int) -> Gain:
        if self._gains is None:
            self._gains = Gain(), Gain()
        return self._gains[of]

    def _under_in_ranges(
        self, hashes: U64, keys: Sequence[Column], rows: I64 | None, inserts: bool
    ) -> I64:
        """The same, of many rows: threads look, and what they do not find one inserts."""
        ids, scratch = np.empty(len(hashes), np.int64), np.empty(len(hashes), np.int64)

        def look(start: int, stop: int) -> None:
            part = slice(start, stop)
            found, first = ids[part], scratch[part]
            _look_up(hashes[part], self._slots, self._stored, self._count, False, found, first)

        in_ranges(look, len(hashes))
        if inserts:
            new = np.flatnonzero(ids < 0)
            if len(new):
                at = new if rows is None else rows[new]
                ids[new] = self._under_at_once(hashes[new], keys, at, inserts)
            self._are_new = 2 * len(new) > len(ids)
        return ids

    def _under_at_once(
        self, hashes: U64, keys: Sequence[Column], rows: I64 | None, inserts: bool
    ) -> I64:
        n = len(hashes)
        if inserts:
            self._make_room(n)
        ids, first = np.empty(n, np.int64), np.empty(n, np.int64)
        before = self._count
        self._count = _look_up(hashes, self._slots, self._stored, before, inserts, ids, first)
        made = self._count - before
        self._are_new = 2 * made > n
        if made == n and rows is None:
            for column, key in zip(self._columns, keys, strict=True):
                column.append(key)
        elif made:
            at = first[:made] if rows is None else rows[first[:made]]
            for column, key in zip(self._columns, keys, strict=True):
                column.append(take_column(key, at))
        return ids

    def _mismatches(self, keys: Sequence[Column], rows: I64, ids: I64) -> I64:
        """Positions in `rows` whose key is not that of their group."""
        known = positions(ids >= 0)
        if len(known) < len(ids):
            rows, ids = rows[known], ids[known]
        stored = [c.column() for c in self._columns]

        def compared(a: int, b: int) -> npt.NDArray[np.uint8]:
            return rows_equal(keys, rows[a:b], stored, ids[a:b])

        if are_looked_up_in_ranges(len(ids)):
            same = self._gain(1).better(
                len(ids),
                lambda: np.concatenate(in_ranges(compared, len(ids))),
                lambda: compared(0, len(ids)),
            )
        else:
            same = compared(0, len(ids))
        return known[:0] if all_set(same) else known[same == 0]

    def _make_room(self, n: int) -> None:
        """Room for `n` more groups, and a share of the work for the next larger table."""
        most = self._count + n
        if most > len(self._stored):
            self._stored = longer(self._stored, most)
        size = len(self._slots)
        if 4 * most > 3 * size:
            # no time to spread it: this very call may overfill the old table
            self._next, self._filled, self._coming = _empty_slots(most), 0, None
            share = self._count
        elif self._next is None and 5 * most > 2 * size:
            self._next, self._filled = _empty_slots(most), 0
            if self._next.nbytes >= LARGE_BYTES and not is_in_file(self._next):
                self._coming = populated(self._next.view(np.uint8))
            share = 0
        else:
            share = FILL_PER_CALL
        if self._coming is not None and self._coming.done():
            self._coming = None
        if self._next is not None and self._coming is None:
            left = -(-(self._count - self._filled) // max(1, 3 * size // 4 - self._count))
            stop = min(self._count, self._filled + share + max(FILL_PER_ROW, left) * n)
            _fill(self._stored, self._filled, stop, self._next)
            self._filled = stop
            if stop == self._count:
                self._slots, self._next = self._next, None

    # saving (see `penstock.state.parts`): a group's hash and key never change; slots are made anew

    def capture(self) -> ChangesPin:
        if self._changes is None:
            self._changes = Changes(self, append_only=True)
        return self._changes.capture()

    def restore(self, store: StateStore, saved: Any) -> None:
        self._changes = Changes(self, append_only=True)
        self._changes.restore(store, saved)

    def entries(self) -> Arrays:
        return {
            "hash": self._stored,
            **{f"key{i}": c.column() for i, c in enumerate(self._columns)},
        }

    def entry_count(self) -> int:
        return self._count

    def load_entries(self, arrays: Arrays, count: int) -> None:
        stored = arrays["hash"]
        assert isinstance(stored, np.ndarray)
        self._stored, self._count = stored, count
        for i, column in enumerate(self._columns):
            keys = arrays[f"key{i}"]
            assert isinstance(keys, Column)
            column.load(keys)
        self._slots, self._next = _empty_slots(max(count, 8)), None
        _fill(stored, 0, count, self._slots)


def _empty_slots(groups: int) -> npt.NDArray[np.int32]:
    """At least four slots a group. The system hands out zero pages as they are touched, so this
    costs next to nothing now."""
    return room(1 << (4 * groups - 1).bit_length(), np.int32)
