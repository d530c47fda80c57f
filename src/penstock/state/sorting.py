"""Putting rows in the order of a run: by (k, r), two hashes a row, without comparing them all.

    radix passes over r's top bits, then k's     rows of unlike top bits are in order already
    insertion                                    settles what the top bits did not tell apart

Hashes are spread evenly, so after the passes a row is next to its place; rows of one key are told
apart by r.

Cost: O(n) for hashes that are. Keys that all have the same few top bits cost a comparison sort.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.kernel import kernel

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: more moves a row than this, on average, and the rows are compared after all
_MOVES_PER_ROW = 64


def sort_pairs(k: U64, r: U64) -> tuple[I64, int]:
    """(order, twins): positions in order of (k, r), and how many rows equal the one before."""
    n = len(k)
    order, scratch = np.arange(n, dtype=np.int64), np.empty(n, np.int64)
    bits = min(11, max(4, (n.bit_length() + 3) // 2))
    counts = np.empty(1 << bits, np.int64)
    for word, shift in ((r, 64 - bits), (k, 64 - 2 * bits), (k, 64 - bits)):
        _radix_pass(word, shift, counts, order, scratch)
        order, scratch = scratch, order
    twins = _insertion(k, r, order, _MOVES_PER_ROW * n)
    if twins < 0:
        order = np.lexsort((r, k))
        twins = _insertion(k, r, order, 0)
    return order, int(twins)


@kernel("void(uint64[::1], int64, int64[::1], int64[::1], int64[::1])")
def _radix_pass(word: Any, shift: int, counts: Any, order: Any, out: Any) -> None:
    """`order` by the bits of `word` from `shift` on, as many as `counts` has room for; stable."""
    mask = np.uint64(counts.shape[0] - 1)
    counts[:] = 0
    for i in range(order.shape[0]):
        counts[(word[i] >> np.uint64(shift)) & mask] += 1
    at: Any = 0
    for b in range(counts.shape[0]):
        at, counts[b] = at + counts[b], at
    for i in range(order.shape[0]):
        row = order[i]
        b = (word[row] >> np.uint64(shift)) & mask
        out[counts[b]] = row
        counts[b] += 1


@kernel("int64(uint64[::1], uint64[::1], int64[::1], int64)")
def _insertion(k: Any, r: Any, order: Any, most: int) -> Any:
    """Insertion sort by (k, r): the number of rows that equal the one before, or -1 when it has
    taken more than `most` moves."""
    moves: Any = 0
    twins: Any = 0
    for i in range(1, order.shape[0]):
        row = order[i]
        x, y = k[row], r[row]
        j: Any = i
        while j > 0:
            before = order[j - 1]
            if k[before] < x or (k[before] == x and r[before] <= y):
                if k[before] == x and r[before] == y:
                    twins += 1
                break
            order[j] = before
            j -= 1
        order[j] = row
        moves += i - j
        if moves > most:
            return -1
    return twins
