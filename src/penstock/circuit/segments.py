"""Where a delta changed ordered partitions, and the stretches of them that feel it.

changes      p: 3, 7, 8        q: 5
segments     p: 1 ──── 4   6 ───── 10        q: 3 ──── 7       (joined where they overlap)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids
from penstock.data.batch import Batch, Column
from penstock.data.gather import take_column
from penstock.data.hash import is_exact, rows_equal
from penstock.data.kernel import kernel
from penstock.data.masks import all_set, positions
from penstock.data.order import sorted_by_words
from penstock.state.groups import GroupTable
from penstock.state.ordered import Fresh
from penstock.state.ranges import Places


@dataclass(frozen=True, slots=True)
class Changes:
    """Where a delta changed something: places in order within each partition; `key[i]` numbers
    the partition of place i, `keys` are the partitions and `hashes` theirs, where they are known,
    `of_row` is the partition of each of its rows; `are_among_many`: whoever looked for all rows of
    the partitions has found too many."""

    at: Places
    key: Ids
    keys: tuple[Column, ...]
    of_row: Ids
    hashes: npt.NDArray[np.uint64] | None = None
    are_among_many: bool = False

    @staticmethod
    def of(fresh: Fresh, partition: tuple[int, ...], *, are_among_many: bool = False) -> Changes:
        runs = fresh.runs()
        if not runs:
            nothing = np.zeros(0, np.uint64)
            none = np.zeros(0, np.int64)
            return Changes(Places(nothing, nothing), none, (), none)
        (run,) = runs
        c, d, rows = run.c, run.d, run.batch
        columns = tuple([rows.columns[p] for p in partition])
        n = len(c)
        if n == 1:
            of_row = np.zeros(1, np.int64)
            hashes = run.k if columns else None
            return Changes(Places(c, d), of_row, columns, of_row, hashes, are_among_many)
        key, first, again, kept = np.empty((4, n), np.int64)
        groups, count = _number(
            run.k if columns else c, bool(columns), c, d, key, first, again, kept
        )
        of_row, keys, hashes = key, columns, None
        if columns:
            first, again = first[:groups], again[: n - groups]
            if is_exact(columns, columns) or all_set(
                rows_equal(columns, again - 1, columns, again)
            ):
                # rows of one hash are together, in order, and have one key
                keys = tuple([take_column(k, first) for k in columns])
                hashes = run.k[first]
            else:
                table = GroupTable(tuple(k.type for k in columns))
                key = of_row = table.lookup_or_insert(columns, n)
                keys = table.take(np.arange(len(table)))
                order = sorted_by_words((key.view(np.uint64), c, d))
                c, d, key = c[order], d[order], key[order]
                count = _places(key, c, d, kept)
        if count < n:
            kept = kept[:count]
            c, d, key = c[kept], d[kept], key[kept]
        return Changes(Places(c, d), key, keys, of_row, hashes, are_among_many)

    def by_first_word(self) -> tuple[Changes, Ids]:
        """(the same where second words do not count: they are 0; which of those each is)."""
        c, key = self.at.c, self.key
        is_first = np.ones(len(c), bool)
        is_first[1:] = (key[1:] != key[:-1]) | (c[1:] != c[:-1])
        first = positions(is_first)
        at = Places(c[first], np.zeros(len(first), np.uint64))
        merged = Changes(at, key[first], self.keys, self.of_row, self.hashes)
        return merged, np.cumsum(is_first) - 1

    def keys_at(self, key: Ids) -> tuple[Column, ...]:
        return tuple(take_column(k, key) for k in self.keys)


@kernel(
    "UniTuple(int64, 2)(uint64[::1], boolean, uint64[::1], uint64[::1], int64[::1], int64[::1], "
    "int64[::1], int64[::1])"
)
def _number(
    k: Any, is_keyed: Any, c: Any, d: Any, group: Any, first: Any, again: Any, kept: Any
) -> Any:
    """The runs of equal hashes are groups 0, 1, … (all are one, unless they are keyed): first[g] is
    the first row of group g, `again` are the others; kept = the rows that are not in the place of
    the row before. How many groups and places."""
    groups, places = 0, 0
    for i in range(c.shape[0]):
        is_first = i == 0 or (is_keyed and k[i] != k[i - 1])
        if is_first:
            first[groups] = i
            groups += 1
        else:
            again[i - groups] = i
        group[i] = groups - 1
        kept[places] = i
        places += is_first or c[i] != c[i - 1] or d[i] != d[i - 1]
    return groups, places


@kernel("int64(uint64[::1], int64[::1], int64[::1])")
def number_few(hashes: Any, group: Any, first: Any) -> Any:
    """Equal hashes are groups 0, 1, … in order of appearance, of each of which `first` is the first
    row; how many. Cost: O(rows²), for a few."""
    groups = 0
    for i in range(hashes.shape[0]):
        g = 0
        while g < groups and hashes[first[g]] != hashes[i]:
            g += 1
        if g == groups:
            first[g] = i
            groups += 1
        group[i] = g
    return groups


@kernel("int64(int64[::1], uint64[::1], uint64[::1], int64[::1])")
def _places(key: Any, c: Any, d: Any, kept: Any) -> Any:
    """kept = the rows that are not in the place of the row before; how many."""
    count = 0
    for i in range(key.shape[0]):
        kept[count] = i
        j = max(i, 1) - 1
        count += i == 0 or key[i] != key[j] or c[i] != c[j] or d[i] != d[j]
    return count


@dataclass(frozen=True, slots=True)
class Segments:
    """Disjoint parts of partitions: from `low` to `high` of the partition in row i of `keys`.
    `felt`: the places within that a change is felt from and to, None: all. `whole`: they are the
    partitions as the changes have them, and these are all their rows as of `Spine.probe`."""

    keys: tuple[Column, ...]
    low: Places
    high: Places
    felt: tuple[Places, Places] | None = None
    whole: tuple[Ids, Batch] | None = None

    @staticmethod
    def joined(
        changes: Changes,
        key: Ids,
        low: Places,
        high: Places,
        felt: tuple[Places, Places] | None = None,
    ) -> Segments:
        """Of overlapping ones; `key`, `low`, `high` and what is `felt` ascend together."""
        if not len(key):
            return Segments(changes.keys_at(key), low, high, felt)
        apart = np.ones(len(key), bool)
        before = high.take(np.arange(len(key) - 1))
        after = low.take(np.arange(1, len(key)))
        apart[1:] = (key[1:] != key[:-1]) | before.is_below(after)
        first = positions(apart)
        last = np.append(first[1:], len(key)) - 1
        if felt is not None:
            felt = (felt[0].take(first), felt[1].take(last))
        return Segments(changes.keys_at(key[first]), low.take(first), high.take(last), felt)
