"""Rows of one key that share their place in an ordered spine, when they are too many to be read.

    words of d in a run     7 7 7 7 7 7 7 7 9 9 9 9 9 9 9 9 9 9 12 …
    words_between           7 ─────────────► 9 ─────────────────► 12        few words, many rows
    copies_of               a row that is known, among those of its words by its hash

    words_between(spines, keys, low, high)   which words there are from one place to another
    copies_of(spine, run)                    how often each row of a run is there
    nth_of(spine, keys, low, high, n)        some row of those places, that is there

Cost: O(runs · log n) a word that is found, and a row that is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch
from penstock.data.gather import concat, take
from penstock.data.hash import hash_columns, rows_equal
from penstock.data.kernel import kernel
from penstock.data.masks import positions
from penstock.data.pointers import load_u64
from penstock.state.lookup import rows_in
from penstock.state.ordered import Fresh, OrderedRun, OrderedSpine
from penstock.state.ranges import Places, search, spans
from penstock.state.run import KEY_SEED, ROW_SEED, _expand

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
    return _copies(spine, run.batch, run.k, Places(run.c, run.d), run.r)


def copies_of_rows(spine: OrderedSpine, rows: Batch) -> I64:
    """int64[n]: how often each of `rows` is in `spine`; theirs are not looked at."""
    k = hash_columns([rows.columns[i] for i in spine.key], KEY_SEED, n=len(rows))
    r = hash_columns(rows.columns, ROW_SEED, n=len(rows))
    return _copies(spine, rows, k, Places(*spine.words(rows, r)), r)


def _copies(spine: OrderedSpine, rows: Batch, k: U64, at: Places, r: U64) -> I64:
    n = len(rows)
    total = np.zeros(n, np.int64)
    runs = spine.runs()
    if not n or not runs:
        return total
    low, high, found = rows_in(runs, k)
    for j in found.nonzero()[0].tolist():
        run = runs[j]
        assert isinstance(run, OrderedRun)
        first, last = np.empty(n, np.int64), np.empty(n, np.int64)
        search(run.c, run.d, low[j], high[j], at.c, at.d, False, first)
        search(run.c, run.d, low[j], high[j], at.c, at.d, True, last)
        last = np.maximum(first, last)
        narrow(run.r, first, last, r)
        size = int((last - first).sum())
        needle, row = np.empty(size, np.int64), np.empty(size, np.int64)
        _expand(first, last, needle, row)
        same = rows_equal(rows.columns, needle, run.batch.columns, row) != 0
        np.add.at(total, needle[same], run.batch.weights[row[same]])
    return total


def nth_of(
    spine: OrderedSpine, keys: Sequence[Column], low: Places, high: Places, nth: int
) -> tuple[I64, Batch]:
    """For row i of `keys` row number `nth` of those that are there from low[i] to high[i], from
    behind: (position or -1, rows). Also -1 where hashes are not what they seem."""
    n = len(low)
    found = spans(spine, keys, low, high)
    chosen, parts = np.full(n, -1, np.int64), [empty_batch(spine.schema)]
    if not found:
        return chosen, parts[0]
    told = []
    for run, _, _ in found:
        arrays = (run.c, run.d, run.r, run.batch.weights)
        told.append([a.__array_interface__["data"][0] for a in arrays])
    first, edge = np.stack([f for _, f, _ in found]), np.stack([e for _, _, e in found])
    which, row = np.full(n, -1, np.int64), np.empty(n, np.int64)
    _from_behind(np.array(told, np.uint64), first, edge, nth, which, row)
    count = 0
    for j, (run, _, _) in enumerate(found):
        mine = positions(which == j)
        parts.append(take(run.batch, row[mine]))
        chosen[mine] = count + np.arange(len(mine))
        count += len(mine)
    rows = concat(parts)
    there = positions(chosen >= 0)
    at = chosen[there]
    stored = [rows.columns[i] for i in spine.key]
    is_it = (rows_equal(keys, there, stored, at) != 0) & (copies_of_rows(spine, rows)[at] > 0)
    chosen[there[~is_it]] = -1
    return chosen, rows


@kernel("void(uint64[:, ::1], int64[:, ::1], int64[:, ::1], int64, int64[::1], int64[::1])")
def _from_behind(told: Any, first: Any, edge: Any, nth: Any, which: Any, row: Any) -> None:
    """Of rows first[j, i] .. edge[j, i] of run j, whose words, hashes and weights are at the
    addresses told[j], the `nth` from behind that is there in all: in run which[i]. `edge` is
    scratch."""
    word = np.uint64(8)
    runs = told.shape[0]
    for i in range(first.shape[1]):
        seen = np.int64(-1)
        while seen < nth:
            c, d, r, best = np.uint64(0), np.uint64(0), np.uint64(0), np.int64(-1)
            for j in range(runs):
                if edge[j, i] > first[j, i]:
                    shift = word * np.uint64(edge[j, i] - 1)
                    x, y = load_u64(told[j, 0] + shift), load_u64(told[j, 1] + shift)
                    z = load_u64(told[j, 2] + shift)
                    if best < 0 or x > c or (x == c and (y > d or (y == d and z > r))):
                        c, d, r, best = x, y, z, np.int64(j)
            if best < 0:
                break
            at, total = edge[best, i] - 1, np.int64(0)
            for j in range(runs):
                while edge[j, i] > first[j, i]:
                    shift = word * np.uint64(edge[j, i] - 1)
                    if load_u64(told[j, 0] + shift) != c or load_u64(told[j, 1] + shift) != d:
                        break
                    if load_u64(told[j, 2] + shift) != r:
                        break
                    total += np.int64(load_u64(told[j, 3] + shift))
                    edge[j, i] -= 1
            if total > 0:
                seen += 1
                if seen == nth:
                    which[i], row[i] = best, at


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
