"""Of many rows in order of one column, those that reach some value of another.

    valid from      1   3   7  12  15  20  31  40   …       rows of a key, in order
    valid to        9   8  30  14  29  22  44  41
    of each 4       └────── 30 ──────┘ └──── 44 ────┘       the most of four, of sixteen, …

Who is valid at 25 began by then, at one of the first six, and ends at 25 or later: where the most
of a block is less, none of it does, so that it is passed over, and so is a block of blocks. What is
left of a block may do; its reader decides.

The most is kept of blocks, half a byte a row, and made when it is first asked for: O(n), as the run
was made, which a merge of as many rows is.

Cost: O(log n) a block found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Batch, Column
from penstock.data.gather import take
from penstock.data.hash import is_exact, rows_equal
from penstock.data.kernel import kernel
from penstock.data.masks import positions
from penstock.data.order import order_codes
from penstock.state.ordered import OrderedRun, OrderedSpine
from penstock.state.ranges import Span

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: rows of a block, blocks of the next level's
BLOCK = 16


@dataclass(frozen=True, slots=True)
class Peaks:
    """The greatest codes of the blocks of a run: those of level i are most[at[i] : at[i + 1]]."""

    most: U64
    at: I64


class PeaksOfRuns:
    """The peaks of the runs of one spine in `column`, or (`downward`) its lowest values."""

    def __init__(self, column: int, *, downward: bool) -> None:
        self.column, self._downward = column, downward
        #: by identity of the run, which is kept as long as its entry
        self._made: dict[int, tuple[OrderedRun, Peaks]] = {}

    def of(self, spine: OrderedSpine, found: Sequence[Span]) -> list[Peaks]:
        """Of the runs in `found`; those of runs that `spine` has no more are forgotten."""
        there = {id(run) for run in spine.runs()}
        self._made = {i: entry for i, entry in self._made.items() if i in there}
        peaks = []
        for run, _, _ in found:
            if id(run) not in self._made:
                self._made[id(run)] = run, _peaks(self.codes(run.batch.columns[self.column]))
            peaks.append(self._made[id(run)][1])
        return peaks

    def codes(self, column: Column) -> U64:
        """Of values: one that reaches as far as another has no lower code. NULL is 0."""
        return order_codes(column, descending=self._downward)


def counts_of(found: Sequence[Span], peaks: Sequence[Peaks], wanted: U64) -> list[I64]:
    """How many rows of each span, for each of its keys, are in blocks that reach wanted[i]."""
    counts = []
    for (_, first, last), high in zip(found, peaks, strict=True):
        count = np.zeros(len(first), np.int64)
        _count(first, last, wanted, high.most, high.at, count)
        counts.append(count)
    return counts


def rows_of(found: Sequence[Span], peaks: Sequence[Peaks], wanted: U64) -> list[tuple[I64, I64]]:
    """Which rows those are: (key, row) of each run."""
    rows = []
    for (_, first, last), high, count in zip(
        found, peaks, counts_of(found, peaks, wanted), strict=True
    ):
        total = int(count.sum())
        needle, row = np.empty(total, np.int64), np.empty(total, np.int64)
        _fill(first, last, wanted, high.most, high.at, needle, row)
        rows.append((needle, row))
    return rows


def of_key(
    spine: OrderedSpine, keys: Sequence[Column], run: OrderedRun, needle: I64, row: I64
) -> tuple[I64, Batch]:
    """(needle, rows) of those at `row` that have the key needle[i], and not its hash alone."""
    stored = [run.batch.columns[i] for i in spine.key]
    if not is_exact(keys, stored):
        same = rows_equal(keys, needle, stored, row)
        if not same.all():
            kept = positions(same)
            needle, row = needle[kept], row[kept]
    return needle, take(run.batch, row)


def _peaks(codes: U64) -> Peaks:
    levels: list[U64] = []
    while len(codes) > 1 or not levels:
        codes = np.maximum.reduceat(codes, np.arange(0, len(codes), BLOCK)) if len(codes) else codes
        levels.append(codes)
    ends = np.cumsum([0, *(len(level) for level in levels)])
    return Peaks(np.concatenate(levels), ends.astype(np.int64))


_SIGNATURE = "int64[::1], int64[::1], uint64[::1], uint64[::1], int64[::1], "


@kernel(f"void({_SIGNATURE}int64[::1])")
def _count(first: Any, last: Any, wanted: Any, most: Any, at: Any, count: Any) -> None:
    levels = at.shape[0] - 1
    for i in range(first.shape[0]):
        b, end, w = first[i] // BLOCK, (last[i] + BLOCK - 1) // BLOCK, wanted[i]
        if first[i] >= last[i]:
            continue
        while b < end:
            if most[b] >= w:
                count[i] += min(last[i], (b + 1) * BLOCK) - max(first[i], b * BLOCK)
                b += 1
                continue
            level, block, size = 1, b, 1
            while level < levels and block % BLOCK == 0:
                block //= BLOCK
                if most[at[level] + block] >= w:
                    break
                size *= BLOCK
                level += 1
            b += size


@kernel(f"void({_SIGNATURE}int64[::1], int64[::1])")
def _fill(first: Any, last: Any, wanted: Any, most: Any, at: Any, needle: Any, row: Any) -> None:
    levels, n = at.shape[0] - 1, 0
    for i in range(first.shape[0]):
        b, end, w = first[i] // BLOCK, (last[i] + BLOCK - 1) // BLOCK, wanted[i]
        if first[i] >= last[i]:
            continue
        while b < end:
            if most[b] >= w:
                for j in range(max(first[i], b * BLOCK), min(last[i], (b + 1) * BLOCK)):
                    needle[n], row[n] = i, j
                    n += 1
                b += 1
                continue
            level, block, size = 1, b, 1
            while level < levels and block % BLOCK == 0:
                block //= BLOCK
                if most[at[level] + block] >= w:
                    break
                size *= BLOCK
                level += 1
            b += size
