"""Keys in all runs of a spine at once.

    needles ──► run 1  k, table ──► rows low .. high      one call looks into all of them, so that
                run 2  k, table ──► rows low .. high      a small step does not pay for each run
                 ⋮                                        what calling a kernel costs

A kernel cannot take a list of arrays, so it is told where they are in memory (`Run.where`).

Invariants: whoever calls holds the runs while it looks; only hashes are compared here.

Cost: O(needles · runs), a bucket each, plus the rows found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from penstock.data.gather import filter_batch
from penstock.data.hash import is_exact, rows_equal
from penstock.data.kernel import kernel
from penstock.data.masks import all_set
from penstock.data.pointers import load_u32, load_u64

if TYPE_CHECKING:
    from penstock.data.batch import Batch, Column
    from penstock.state.run import Run

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: rows of a run whose hashes the processor has at hand anyway
CACHED_ROWS = 1 << 19


def where(k: U64, table: npt.NDArray[np.int32], shift: int) -> tuple[U64, int]:
    """uint64[4] for the kernel, and the address of that: addresses of `k` and `table`, `shift`,
    the number of rows."""
    words = np.empty(4, np.uint64)
    return words, _tell(k, table, shift, words)


@kernel("int64(uint64[::1], int32[::1], int64, uint64[::1])")
def _tell(k: Any, table: Any, shift: Any, words: Any) -> Any:
    words[0], words[1] = np.uint64(k.ctypes.data), np.uint64(table.ctypes.data)
    words[2], words[3] = np.uint64(shift), np.uint64(k.shape[0])
    return np.int64(words.ctypes.data)


class TooManyMatches(Exception):
    """Of a look-up that is asked for no more than some."""


def rows_in(runs: Sequence[Run], needles: U64) -> tuple[I64, I64, I64]:
    """(low, high, found): rows low[j, i] .. high[j, i] of run j have the hash needles[i], found[j]
    in all; of one run at least."""
    return _rows_in(runs, needles)[:3]


def _rows_in(runs: Sequence[Run], needles: U64) -> tuple[I64, I64, I64, int]:
    """The same, and how many rows that are."""
    n, count = len(needles), len(runs)
    low, high = np.empty((count, n), np.int64), np.empty((count, n), np.int64)
    found = np.empty(count, np.int64)
    # numbers, because numpy puts them together in a tenth of what as many arrays take
    places = np.array([r.where[1] for r in runs], np.uint64)
    return low, high, found, _find_in(places, needles, low, high, found)


def find_in(
    runs: Sequence[Run], needles: U64, most: int | None = None
) -> list[tuple[Batch, I64, I64]]:
    """(its batch, needle, row) for every run that has some: all pairs with equal k, by needle.
    Keys are not compared yet. Raises TooManyMatches if there are more than `most`."""
    low, high, found, total = _rows_in(runs, needles)
    if not total:
        return []
    if most is not None and total > most:
        raise TooManyMatches
    needle, row = np.empty(total, np.int64), np.empty(total, np.int64)
    _expand_in(low, high, needle, row)
    parts, at = [], 0
    for j in found.nonzero()[0].tolist():
        stop = at + int(found[j])
        parts.append((runs[j].batch, needle[at:stop], row[at:stop]))
        at = stop
    return parts


def of_key(rows: Batch, key: Sequence[int], one: Sequence[Column]) -> Batch:
    """Those of `rows`, which have the hash of the one row of `one`, that have its key."""
    stored = [rows.columns[i] for i in key]
    if is_exact(one, stored):
        return rows
    n = len(rows)
    same = rows_equal(one, np.zeros(n, np.int64), stored, np.arange(n))
    return rows if all_set(same) else filter_batch(rows, same)


@kernel("int64(uint64[::1], uint64[::1], int64[:, ::1], int64[:, ::1], int64[::1])")
def _find_in(places: Any, needles: Any, low: Any, high: Any, found: Any) -> Any:
    """Rows low[j, i] .. high[j, i] of run j, told of at the address places[j], have
    k == needles[i]; found[j] is how many, and the sum is returned."""
    total: Any = 0
    word = np.uint64(8)
    for j in range(places.shape[0]):
        told = places[j]
        keys, table = load_u64(told), load_u64(told + word)
        shift, n = load_u64(told + word * 2), np.int64(load_u64(told + word * 3))
        if n > CACHED_ROWS:
            # a search waits for memory at each of its branches; here nothing depends on anything,
            # so that the buckets of many needles are fetched at the same time
            for i in range(needles.shape[0]):
                low[j, i] = load_u32(table + np.uint64(4) * (needles[i] >> shift))
            for i in range(needles.shape[0]):
                near = np.uint64(min(low[j, i] + 4, n - 1))
                high[j, i] = np.int64(load_u64(keys + np.uint64(8) * near))
        rows: Any = 0
        for i in range(needles.shape[0]):
            x = needles[i]
            if i > 0 and x == needles[i - 1]:
                # places of one partition are asked for together
                low[j, i], high[j, i] = low[j, i - 1], high[j, i - 1]
                rows += high[j, i] - low[j, i]
                continue
            bucket = table + np.uint64(4) * (x >> shift)
            a = np.int64(load_u32(bucket))
            end = np.int64(load_u32(bucket + np.uint64(4)))
            b = end
            # a key of many rows has a bucket to itself, which both of its ends tell
            if a < b and load_u64(keys + np.uint64(8) * np.uint64(a)) < x:
                while a < b:
                    m = (a + b) >> 1
                    if load_u64(keys + np.uint64(8) * np.uint64(m)) < x:
                        a = m + 1
                    else:
                        b = m
            low[j, i] = a
            b = end
            if b - a > 8 and load_u64(keys + np.uint64(8) * np.uint64(b - 1)) == x:
                high[j, i] = b
                rows += b - a
                continue
            # most keys have few rows: walk a little before searching
            steps = 0
            while a < b and steps < 8 and load_u64(keys + np.uint64(8) * np.uint64(a)) == x:
                a += 1
                steps += 1
            if steps == 8 and a < b and load_u64(keys + np.uint64(8) * np.uint64(a)) == x:
                while a < b:
                    m = (a + b) >> 1
                    if load_u64(keys + np.uint64(8) * np.uint64(m)) <= x:
                        a = m + 1
                    else:
                        b = m
            high[j, i] = a
            rows += a - low[j, i]
        found[j] = rows
        total += rows
    return total


@kernel("void(int64[:, ::1], int64[:, ::1], int64[::1], int64[::1])")
def _expand_in(low: Any, high: Any, needle: Any, row: Any) -> None:
    """Spell the ranges out, run by run: one (needle, row) a match."""
    at = 0
    for j in range(low.shape[0]):
        for i in range(low.shape[1]):
            for k in range(low[j, i], high[j, i]):
                needle[at] = i
                row[at] = k
                at += 1
