"""Arrays addressed by the dense ids that a hash table hands out.

    ids of a delta   3 7 3 9        touched   3 7 9      (each id once, in order of appearance)
                                    slots     0 1 0 2    (each row's position in `touched`)

An operator reads its arrays at `touched`, adds the delta, reads them again: the difference is
what it emits.

Ids whose entries went back to zero are dropped by renumbering, once they are half of all
(`Sweep`), so churn does not pile up.

Cost: O(|delta|); growth is in place where that is possible; sweeping is amortised O(1) per new id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.kernel import kernel
from penstock.state.backing import longer, room
from penstock.state.groups import GroupTable

Ids = npt.NDArray[np.int64]


def grown(array: npt.NDArray[Any], rows: int, fill: int = 0) -> npt.NDArray[Any]:
    """`array` with room for `rows` entries (see `longer`)."""
    return array if array.shape[0] >= rows else longer(array, rows, fill)


def moved(array: npt.NDArray[Any], old: Ids, new: Ids) -> npt.NDArray[Any]:
    """The entries at ids `old`, under the ids `new` (all below their number)."""
    target = room((max(16, len(new)), *array.shape[1:]), array.dtype)
    target[new] = array[old]
    return target


def renumbered(table: GroupTable, kept: Ids) -> tuple[GroupTable, Ids]:
    """A table of the groups `kept` alone, and their new ids."""
    smaller = GroupTable(table.types)
    return smaller, smaller.lookup_or_insert(table.take(kept), len(kept))


class Serials:
    """Numbers that ids keep when they are renumbered, for rows that are kept elsewhere by id.

        id      0   1   2   3   4            ids 1 and 2 go             0   1   2
        serial  0   1   2   3   4      ──────────────────────►          0   3   4

    Serials ascend with ids. The serial of an id that is gone may come back if it was the last,
    which does no harm where nothing was left of its rows; others stay gone (`of_dropped`)."""

    def __init__(self) -> None:
        self._serial = np.zeros(16, dtype=np.int64)
        self._known = 0
        #: whether nothing was renumbered, so that ids need not be looked for
        self._are_ids = True

    def reserve(self, ids: int) -> None:
        """Number the ids below `ids` that have no serial yet."""
        if ids > self._known:
            self._serial = grown(self._serial, ids)
            after = self._serial[self._known - 1] + 1 if self._known else 0
            self._serial[self._known : ids] = np.arange(after, after + ids - self._known)
            self._known = ids

    def of(self, ids: Ids) -> Ids:
        return ids if self._are_ids else self._serial.take(ids)

    def ids_of(self, serials: Ids) -> Ids:
        """The ids of `serials`, all of which belong to one."""
        if self._are_ids:
            return serials
        return np.searchsorted(self._serial[: self._known], serials).astype(np.int64, copy=False)

    def move(self, kept: Ids) -> None:
        """The ids `kept`, ascending, become 0, 1, 2, …"""
        self._serial, self._known = self._serial[kept], len(kept)
        self._are_ids = self._are_counted()

    def _are_counted(self) -> bool:
        """Whether they are 0, 1, 2, …: they ascend, so the last tells."""
        return not self._known or int(self._serial[self._known - 1]) == self._known - 1

    def of_dropped(self) -> Callable[[Ids], npt.NDArray[np.bool_]]:
        """Whether each serial belongs to no id now and will not; for ever, in any thread."""
        live = self._serial[: self._known].copy()

        def dropped(serials: Ids) -> npt.NDArray[np.bool_]:
            at = np.searchsorted(live, serials)
            found: npt.NDArray[np.bool_] = at < len(live)
            found[found] = live[at[found]] != serials[found]
            return found

        return dropped

    def array(self) -> Ids:
        return self._serial

    def load(self, array: Ids) -> None:
        self._serial, self._known = array, len(array)
        self._are_ids = self._are_counted()


class Sweep:
    """When to look for ids that stand for nothing any more: each time their number doubled, if it
    does not show in some of them that most are in use. To look at all takes as long as steps."""

    def __init__(self, first: int = 1024) -> None:
        self._first = self._due_at = first

    def is_due(self, ids: int) -> bool:
        return ids >= self._due_at

    def can_wait(self, ids: int, in_use: Callable[[Ids], npt.NDArray[np.bool_]]) -> bool:
        """Whether so many of the ids stand for something that the look is put off, by some that
        lie everywhere; `in_use` says which of them do."""
        if ids < 16 * _SAMPLE:
            return False
        at = np.arange(_SAMPLE) * _ODD % ids
        waits = int(np.count_nonzero(in_use(at))) > _MOST_IN_USE * _SAMPLE
        if waits:
            self._due_at = 2 * ids
        return waits

    def is_worth_it(self, kept: int, ids: int) -> bool:
        """Whether to renumber; either way the next look is put off."""
        worth = 2 * kept <= ids
        self._due_at = max(self._first, 2 * (kept if worth else ids))
        return worth


#: ids that are looked at before all are; a factor that spreads them; how many of them in use
#: say that not half of all are free
_SAMPLE, _ODD, _MOST_IN_USE = 4096, 0x9E3779B1, 0.6


class Touched:
    """Finds the distinct ids of a delta; its scratch is reused from step to step.

    With few ids in all that is an array by id; a place in a large one is a wait for memory, so a
    small hash table of the delta's ids takes its place."""

    def __init__(self) -> None:
        self._slot_of = np.full(16, -1, dtype=np.int64)
        self._hashed = np.zeros(0, dtype=np.int32)

    def find(self, ids: Ids, groups: int) -> tuple[Ids, Ids]:
        """(touched, slots) of `ids`, all of which are below `groups`."""
        if len(ids) == 1:
            return ids, np.zeros(1, np.int64)
        slots = np.empty(len(ids), dtype=np.int64)
        touched = np.empty(len(ids), dtype=np.int64)
        if groups <= max(_FEW_IDS, len(ids)):
            self._slot_of = grown(self._slot_of, groups, fill=-1)
            count = _touch(ids, self._slot_of, slots, touched)
        else:
            room = 1 << (2 * len(ids)).bit_length()
            if len(self._hashed) < room:
                self._hashed = np.zeros(room, dtype=np.int32)
            count = _touch_hashed(ids, self._hashed[:room], slots, touched)
        return touched[:count], slots


#: ids that an array with an entry for each is at hand for
_FEW_IDS = 1 << 13


@kernel("int64(int64[::1], int64[::1], int64[::1], int64[::1])")
def _touch(ids: Any, slot_of: Any, slots: Any, touched: Any) -> int:
    count = 0
    for i in range(ids.shape[0]):
        group = ids[i]
        slot = slot_of[group]
        if slot < 0:
            slot = count
            slot_of[group] = slot
            touched[count] = group
            count += 1
        slots[i] = slot
    for j in range(count):
        slot_of[touched[j]] = -1
    return count


@kernel("int64(int64[::1], int32[::1], int64[::1], int64[::1])")
def _touch_hashed(ids: Any, hashed: Any, slots: Any, touched: Any) -> int:
    """The same; `hashed` has a power of two of entries, more than twice the ids: a slot + 1, or
    0, as they all are before and after."""
    mask = np.uint64(hashed.shape[0] - 1)
    count = 0
    for i in range(ids.shape[0]):
        group = ids[i]
        at: Any = ((np.uint64(group) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & mask
        slot = np.int64(hashed[at]) - 1
        while slot >= 0 and touched[slot] != group:
            at = (at + np.uint64(1)) & mask
            slot = np.int64(hashed[at]) - 1
        if slot < 0:
            slot = np.int64(count)
            touched[count] = group
            count += 1
            hashed[at] = count
        slots[i] = slot
    for place in range(hashed.shape[0]):
        hashed[place] = 0
    return count


@kernel("void(int64[::1], int64[::1], int64[::1])")
def add_totals(ids: Any, weights: Any, totals: Any) -> None:
    """totals[ids[i]] += weights[i], for every i."""
    for i in range(ids.shape[0]):
        totals[ids[i]] += weights[i]


def crossed(ids: Ids, weights: Ids, totals: Ids, touched: Ids, most: int) -> tuple[Ids, Ids]:
    """totals[ids[i]] += weights[i], for every i; the ids of `touched`, which are those of `ids`
    once, whose total cut to 0 .. `most` changed, and by how much."""
    at, change = np.empty(len(touched), np.int64), np.empty(len(touched), np.int64)
    count = _cross(ids, weights, totals, touched, most, at, change)
    return at[:count], change[:count]


@kernel("int64(int64[::1], int64[::1], int64[::1], int64[::1], int64, int64[::1], int64[::1])")
def _cross(
    ids: Any, weights: Any, totals: Any, touched: Any, most: Any, at: Any, change: Any
) -> int:
    for j in range(touched.shape[0]):
        change[j] = min(max(totals[touched[j]], 0), most)
    for i in range(ids.shape[0]):
        totals[ids[i]] += weights[i]
    count = 0
    for j in range(touched.shape[0]):
        difference = min(max(totals[touched[j]], 0), most) - change[j]
        at[count], change[count] = touched[j], difference
        count += difference != 0
    return count
