"""Rows of one key that share their place in an ordered spine, when they are too many to be read.

    words of d in a run     7 7 7 7 7 7 7 7 9 9 9 9 9 9 9 9 9 9 12 …
    words_between           7 ─────────────► 9 ─────────────────► 12        few words, many rows
    copies_of               a row that is known, among those of its words by its hash

    words_between(spines, keys, low, high)   which words there are from one place to another
    copies_of(spine, run)                    how often each row of a run is there

Cost: O(runs · log n) a word that is found, and a row that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.hash import rows_equal
from penstock.data.kernel import kernel
from penstock.state.lookup import rows_in
from penstock.state.ordered import Fresh, OrderedRun, OrderedSpine
from penstock.state.ranges import Places, search, spans
from penstock.state.run import _expand

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


def words_between(
    spines: Sequence[OrderedSpine | Fresh],
    keys: Sequence[Column],
    low: Places,
    high: Places,
    most: int,
    *,
    in_second: bool,
) -> tuple[I64, U64] | None:
    """For row i of `keys` the first words (or, `in_second`, the second ones of places that have the
    first in common) of all rows from low[i] to high[i] of any spine: (i, word), in order, each
    once. Those of rows that cancel out are among them. None if a run has more than `most`."""
    of, words = [np.zeros(0, np.int64)], [np.zeros(0, np.uint64)]
    room_of, room = np.empty(most, np.int64), np.empty(most, np.uint64)
    for spine in spines:
        for run, first, last in spans(spine, keys, low, high):
            found = _words(run.d if in_second else run.c, first, last, room_of, room)
            if found < 0:
                return None
            of.append(room_of[:found].copy())
            words.append(room[:found].copy())
    whose, word = np.concatenate(of), np.concatenate(words)
    order = np.lexsort((word, whose))
    whose, word = whose[order], word[order]
    is_new = np.ones(len(whose), bool)
    is_new[1:] = (whose[1:] != whose[:-1]) | (word[1:] != word[:-1])
    return whose[is_new], word[is_new]


@kernel("int64(uint64[::1], int64[::1], int64[::1], int64[::1], uint64[::1])")
def _words(words: Any, first: Any, last: Any, out_of: Any, out: Any) -> Any:
    """The different `words` of rows first[i] .. last[i], where they ascend, and which i; how many,
    -1 if there is no room for them."""
    count = 0
    for i in range(first.shape[0]):
        at = first[i]
        while at < last[i]:
            if count == out.shape[0]:
                return -1
            word = words[at]
            out_of[count], out[count] = i, word
            count += 1
            # steps of twice the size, then halves of the last
            a, step = at + 1, 1
            b = last[i]
            while a + step <= b:
                m = a + step - 1
                if words[m] == word:
                    a, step = m + 1, 2 * step
                else:
                    b = m
            while a < b:
                m = (a + b) >> 1
                if words[m] == word:
                    a = m + 1
                else:
                    b = m
            at = a
    return count


def copies_of(spine: OrderedSpine, run: OrderedRun) -> I64:
    """int64[n]: how often each row of `run`, which has the words of the spine, is in it."""
    total = np.zeros(len(run), np.int64)
    runs = spine.runs()
    if not len(run) or not runs:
        return total
    low, high, found = rows_in(runs, run.k)
    for j in found.nonzero()[0].tolist():
        other = runs[j]
        assert isinstance(other, OrderedRun)
        first, last = np.empty(len(run), np.int64), np.empty(len(run), np.int64)
        search(other.c, other.d, low[j], high[j], run.c, run.d, False, first)
        search(other.c, other.d, low[j], high[j], run.c, run.d, True, last)
        last = np.maximum(first, last)
        narrow(other.r, first, last, run.r)
        size = int((last - first).sum())
        needle, at = np.empty(size, np.int64), np.empty(size, np.int64)
        _expand(first, last, needle, at)
        same = rows_equal(run.batch.columns, needle, other.batch.columns, at) != 0
        np.add.at(total, needle[same], other.batch.weights[at[same]])
    return total


@kernel("void(uint64[::1], int64[::1], int64[::1], uint64[::1])")
def narrow(r: Any, first: Any, last: Any, wanted: Any) -> None:
    """Of rows first[i] .. last[i], which ascend by r: those whose r is wanted[i]."""
    for i in range(first.shape[0]):
        a, b = first[i], last[i]
        while a < b:
            m = (a + b) >> 1
            if r[m] < wanted[i]:
                a = m + 1
            else:
                b = m
        first[i] = a
        while a < last[i] and r[a] == wanted[i]:
            a += 1
        last[i] = a
