"""Putting rows in the order of a run: by two words a row, without comparing them all.

    (top bits of a word │ row)   one uint64 a row, and all that a pass reads: it goes through memory
                                 from one end to the other
    radix passes                 over the second word's top bits, then the first's
    insertion                    settles what the top bits did not tell apart, as words are gathered

The first word is a hash, spread evenly, so after the passes a row is next to its place; rows of one
key are told apart by the second, another hash or a word whose order is that of values
(`penstock.state.ordered`), of which those bits count that differ.

Cost: O(n) for words that are spread. Keys that all have the same few top bits, and values most of
which have, cost a sort of each word for itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from penstock.data.kernel import kernel
from penstock.data.order import sort_few, sorted_by_words

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: more moves a row than this, on average, and every bit counts
_MOVES_PER_ROW = 64
#: bits that a pass sorts by at most
_BITS = 11
#: rows that are compared, in one call
_FEW_ROWS = 64


class Sorted(NamedTuple):
    """Rows in order: their positions, both words of each, and how many rows have the words of the
    one before."""

    order: I64
    first: U64
    second: U64
    twins: int


def sort_pairs(k: U64, r: U64) -> Sorted:
    """Rows by (k, r), both hashes."""
    n = len(k)
    if n < _FEW_ROWS:
        order, equal = sort_few(k, r)
        return Sorted(order, k[order], r[order], int(np.count_nonzero(equal)))
    bits, rows = _bits(n), _rows(n)
    packed, other = np.empty(n, np.uint64), np.empty(n, np.uint64)
    counts = np.empty(1 << bits, np.int64)
    _first_pass(r, 0, 0, k, 0, 0, rows, 64 - bits, counts, packed)
    return _by_first_word(k, r, packed, other, counts, bits, rows)


def sort_by_values(k: U64, c: U64) -> Sorted:
    """Rows by (k, c), a hash and a word whose order is that of values; stable."""
    n = len(k)
    bits, rows = _bits(n), _rows(n)
    packed, other = np.empty(n, np.uint64), np.empty(n, np.uint64)
    counts = np.empty(1 << bits, np.int64)
    low = int(c.min()) if n else 0
    width = (int(c.max()) - low).bit_length() if n else 0
    # what differs, as far to the left as it goes: a shift by 64 is undefined
    left = min(64 - width, 63)
    if width <= bits:
        _first_pass(c, low, left, k, 0, 0, rows, 64 - bits, counts, packed)
    else:
        _first_pass(c, low, left, c, low, left, rows, 64 - 2 * bits, counts, other)
        _exchange(other, 64 - bits, counts, k, rows, packed)
    return _by_first_word(k, c, packed, other, counts, bits, rows)


def _bits(n: int) -> int:
    return min(_BITS, max(4, (n.bit_length() + 3) // 2))


def _rows(n: int) -> int:
    """The bits of a packed word that name one of `n` rows."""
    return (1 << n.bit_length()) - 1


def _by_first_word(
    k: U64, c: U64, packed: U64, other: U64, counts: I64, bits: int, rows: int
) -> Sorted:
    """Rows by (k, c), of which `packed` are by c: the top bits of k, and the row."""
    n = len(k)
    _pass(packed, 64 - 2 * bits, counts, other)
    _pass(other, 64 - bits, counts, packed)
    order, first, second = np.empty(n, np.int64), np.empty(n, np.uint64), np.empty(n, np.uint64)
    twins = int(_settle(packed, rows, k, c, _MOVES_PER_ROW * n, order, first, second))
    if twins < 0:
        order = sorted_by_words((k, c))
        first, second = k[order], c[order]
        twins = int(np.count_nonzero((first[1:] == first[:-1]) & (second[1:] == second[:-1])))
    return Sorted(order, first, second, twins)


@kernel(
    "void(uint64[::1], uint64, int64, uint64[::1], uint64, int64, uint64, int64, int64[::1], "
    "uint64[::1])"
)
def _first_pass(
    by: Any, low: Any, left: Any, next: Any, next_low: Any, next_left: Any, rows: Any, shift: Any,
    counts: Any, out: Any,
) -> None:  # fmt: skip
    """Rows by the bits from `shift` on of (by - low) << left, as many as `counts` has room for, in
    `out`: the top bits of (next - next_low) << next_left, and below these the row."""
    digit = np.uint64(counts.shape[0] - 1)
    counts[:] = 0
    for i in range(by.shape[0]):
        counts[(((by[i] - low) << np.uint64(left)) >> np.uint64(shift)) & digit] += 1
    at: Any = 0
    for b in range(counts.shape[0]):
        at, counts[b] = at + counts[b], at
    for i in range(by.shape[0]):
        b = (((by[i] - low) << np.uint64(left)) >> np.uint64(shift)) & digit
        out[counts[b]] = (((next[i] - next_low) << np.uint64(next_left)) & ~rows) | np.uint64(i)
        counts[b] += 1


@kernel("void(uint64[::1], int64, int64[::1], uint64[::1])")
def _pass(packed: Any, shift: Any, counts: Any, out: Any) -> None:
    """`packed` by its bits from `shift` on; stable."""
    digit = np.uint64(counts.shape[0] - 1)
    counts[:] = 0
    for i in range(packed.shape[0]):
        counts[(packed[i] >> np.uint64(shift)) & digit] += 1
    at: Any = 0
    for b in range(counts.shape[0]):
        at, counts[b] = at + counts[b], at
    for i in range(packed.shape[0]):
        b = (packed[i] >> np.uint64(shift)) & digit
        out[counts[b]] = packed[i]
        counts[b] += 1


@kernel("void(uint64[::1], int64, int64[::1], uint64[::1], uint64, uint64[::1])")
def _exchange(packed: Any, shift: Any, counts: Any, word: Any, rows: Any, out: Any) -> None:
    """The same, with the top bits of each row's `word` in place of those it was sorted by."""
    digit = np.uint64(counts.shape[0] - 1)
    counts[:] = 0
    for i in range(packed.shape[0]):
        counts[(packed[i] >> np.uint64(shift)) & digit] += 1
    at: Any = 0
    for b in range(counts.shape[0]):
        at, counts[b] = at + counts[b], at
    for i in range(packed.shape[0]):
        b = (packed[i] >> np.uint64(shift)) & digit
        row = packed[i] & rows
        out[counts[b]] = (word[row] & ~rows) | row
        counts[b] += 1


@kernel(
    "int64(uint64[::1], uint64, uint64[::1], uint64[::1], int64, int64[::1], uint64[::1], "
    "uint64[::1])"
)
def _settle(
    packed: Any, rows: Any, k: Any, c: Any, most: Any, order: Any, first: Any, second: Any
) -> Any:
    """Insertion sort by (k, c) of the rows that `packed` names, into `order` and both words: the
    number of rows that equal the one before, or -1 when it has taken more than `most` moves."""
    moves: Any = 0
    twins: Any = 0
    for i in range(packed.shape[0]):
        row = packed[i] & rows
        x, y = k[row], c[row]
        j: Any = i
        while j > 0 and (first[j - 1] > x or (first[j - 1] == x and second[j - 1] > y)):
            order[j], first[j], second[j] = order[j - 1], first[j - 1], second[j - 1]
            j -= 1
        if j > 0 and first[j - 1] == x and second[j - 1] == y:
            twins += 1
        order[j], first[j], second[j] = np.int64(row), x, y
        moves += i - j
        if moves > most:
            return -1
    return twins
