"""Parts of ordered partitions that are evaluated in pieces, until nothing behind them changes.

changes      x      x  x                   x
stretches    ├─┤    ├────┤                 ├─┤        a few rows behind the last change
               ├───►├────┤                            it goes on, and meets the next one:
                    ├────────┤                        they are one, and what came out of that goes
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids
from penstock.data.batch import Batch, Column
from penstock.data.gather import concat, filter_batch, take_column
from penstock.data.masks import positions
from penstock.state.ranges import Places

#: the piece of a stretch that is to be evaluated (again)
NOT_YET = -1
_NONE = np.zeros(0, np.int64), np.zeros(0, np.int64)


@dataclass(slots=True)
class Stretches:
    """Parts of partitions that are evaluated anew, in order. `key` and row i of `keys`: the
    partition; `low`: where it begins; `at`: where it goes on; `last`: its last change; `width`:
    rows to be read behind that; `piece`: the number of what came out; `seed`: the row before `at`
    among `seeds`, or -1, and `was`: that before the changes. `aside`: the number of
    peers that it begins with and that stay as they are, so that it goes on behind them, or -1.
    `done`: (stretch, piece) of what it has behind it."""

    key: Ids
    keys: tuple[Column, ...]
    low: Places
    at: Places
    last: Places
    width: Ids
    piece: Ids
    seed: Ids
    was: Ids
    seeds: Batch
    aside: Ids
    done: tuple[Ids, Ids] = _NONE

    def go_on(self, which: Ids, at: Places, seed: Ids, was: Ids, seeds: Batch) -> None:
        """Some were evaluated up to before `at`, and go on there from rows of `seeds`."""
        of, pieces = self.done
        self.done = np.append(of, which), np.append(pieces, self.piece[which])
        self.piece[which] = NOT_YET
        self.at.c[which], self.at.d[which] = at.c, at.d
        known = len(self.seeds)
        self.seed[which] = np.where(seed < 0, -1, known + seed)
        self.was[which] = np.where(was < 0, -1, known + was)
        self.seeds = concat((self.seeds, seeds))

    @property
    def final(self) -> Ids:
        """The numbers of all pieces that stay."""
        return np.append(self.done[1], self.piece)

    def joined(self, meeting: Ids) -> Stretches:
        """With those at `meeting` and the ones after them made one, which are evaluated again."""
        if not len(meeting):
            return self
        n = len(self.key)
        is_first = np.ones(n, bool)
        is_first[meeting + 1] = False
        first = positions(is_first)
        last = np.append(first[1:], n) - 1
        of, pieces = self.done
        stays = is_first[of]
        done = (np.cumsum(is_first) - 1)[of[stays]], pieces[stays]
        return Stretches(
            self.key[first], tuple(take_column(k, first) for k in self.keys),
            self.low.take(first), self.at.take(first), self.last.take(last),
            np.maximum.reduceat(self.width, first),
            np.where(first < last, NOT_YET, self.piece[first]), self.seed[first], self.was[first],
            self.seeds, self.aside[first], done,
        )  # fmt: skip


@dataclass(slots=True)
class Piece:
    """The rows of several stretches before and after; those of stretch i have number i in
    `old_at` and `new_at`. `is_same[i]`: nothing behind it changes. Stretch i is piece
    `start` + i of all. `more`: (stretch, rows) of what is known of groups besides their rows."""

    old: Batch
    old_at: Ids
    new: Batch
    new_at: Ids
    is_same: npt.NDArray[np.bool_]
    start: int = 0
    more: tuple[Ids, Batch] | None = None

    def only(self, wanted: npt.NDArray[np.bool_]) -> Piece:
        mine = wanted[self.start : self.start + len(self.is_same)]
        if mine.all():
            return self
        old, new, more = mine[self.old_at], mine[self.new_at], self.more
        if more is not None:
            kept = mine[more[0]]
            more = more[0][kept], filter_batch(more[1], kept)
        return replace(
            self, more=more, old=filter_batch(self.old, old), old_at=self.old_at[old],
            new=filter_batch(self.new, new), new_at=self.new_at[new],
        )  # fmt: skip
