"""Where a delta changed ordered partitions, and the stretches of them that feel it.

changes      p: 3, 7, 8        q: 5
segments     p: 1 ──── 4   6 ───── 10        q: 3 ──── 7       (joined where they overlap)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.circuit.dense import Ids
from penstock.data.batch import Column
from penstock.data.gather import take_column
from penstock.data.hash import is_exact, rows_equal
from penstock.data.masks import all_set, positions
from penstock.data.order import sorted_by_words
from penstock.state.groups import GroupTable
from penstock.state.ordered import Fresh
from penstock.state.ranges import Places


@dataclass(frozen=True, slots=True)
class Changes:
    """Where a delta changed something: places in order within each partition; `key[i]` numbers
    the partition of place i, `keys` are the partitions, `of_row` is that of each of its rows."""

    at: Places
    key: Ids
    keys: tuple[Column, ...]
    of_row: Ids

    @staticmethod
    def of(fresh: Fresh, partition: tuple[int, ...]) -> Changes:
        runs = fresh.runs()
        if not runs:
            nothing = np.zeros(0, np.uint64)
            none = np.zeros(0, np.int64)
            return Changes(Places(nothing, nothing), none, (), none)
        (run,) = runs
        c, d = run.c, run.d
        columns = tuple(run.batch.columns[p] for p in partition)
        key = of_row = np.zeros(len(c), np.int64)
        keys = columns
        if columns:
            is_first = np.append(True, run.k[1:] != run.k[:-1])
            first, again = positions(is_first), positions(~is_first)
            if is_exact(columns, columns) or all_set(
                rows_equal(columns, again - 1, columns, again)
            ):
                # rows of one hash are together, in order, and have one key
                key = of_row = np.cumsum(is_first) - 1
                keys = tuple(take_column(k, first) for k in columns)
            else:
                table = GroupTable(tuple(k.type for k in columns))
                key = of_row = table.lookup_or_insert(columns, len(c))
                keys = table.take(np.arange(len(table)))
                order = sorted_by_words((key.view(np.uint64), c, d))
                c, d, key = c[order], d[order], key[order]
        again = (np.diff(c) == 0) & (np.diff(d) == 0) & (np.diff(key) == 0)
        kept = positions(np.append(True, ~again))
        return Changes(Places(c[kept], d[kept]), key[kept], keys, of_row)

    def keys_at(self, key: Ids) -> tuple[Column, ...]:
        return tuple(take_column(k, key) for k in self.keys)


@dataclass(frozen=True, slots=True)
class Segments:
    """Disjoint parts of partitions: from `low` to `high` of the partition in row i of `keys`.
    `felt`: the places within that a change is felt from and to, None: all. `is_whole`: they are
    the partitions as the changes have them."""

    keys: tuple[Column, ...]
    low: Places
    high: Places
    felt: tuple[Places, Places] | None = None
    is_whole: bool = False

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
