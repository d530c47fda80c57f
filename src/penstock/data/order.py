"""Order: exact sorting of rows, and 64-bit codes that keep the order.

Ascending order is: NULL where asked, then values; -inf … +inf, NaN last; strings by bytes
(= code points); FALSE before TRUE. `descending` turns values around, not the place of NULLs.

Cost: codes O(n); sorting O(n log n), strings compared in full only where 8 bytes do not decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.heap import heap_addresses
from penstock.data.kernel import kernel
from penstock.data.pointers import load_u8, load_u64
from penstock.data.types import UNSIGNED, Kind, SqlType
from penstock.data.views import compare, prefixes

U64 = npt.NDArray[np.uint64]
_SIGN = np.uint64(1 << 63)
_WORD, _LONG = np.dtype(np.uint64), np.dtype(np.int64).str
#: what makes words in order of signed numbers, ascending and descending
_RISING, _FALLING = 1 << 63, (1 << 63) - 1
#: rows that are compared, which takes less than clearing tables of counts
FEW_ROWS = 512
#: sorted runs that are merged however long they are, and more of them if one is most of all
_RUNS, _MORE_RUNS = 4, 16
#: rows of a set that are put in order one after the other, at most
_NEAR = 16
#: bits that a pass sorts by at most
_BITS = 11


def value_codes(column: Column) -> tuple[U64, ...]:
    """Order-preserving words of the values alone, most significant first. Exact for all types
    but strings, whose one word is their first 8 bytes."""
    v = np.ascontiguousarray(column.values)
    kind = column.type.kind
    if column.type.is_view:
        return (prefixes(v),)
    if kind is Kind.DECIMAL:
        return (v[:, 1] ^ _SIGN, np.ascontiguousarray(v[:, 0]))
    if kind is Kind.UUID:
        return (v[:, 0].byteswap(), v[:, 1].byteswap())
    if kind in (Kind.REAL, Kind.DOUBLE):
        bits = v.astype(np.float64).view(np.uint64)
        negative = (bits & _SIGN) != 0
        return (np.where(negative, ~bits, bits | _SIGN),)
    if kind in UNSIGNED or kind in (Kind.BOOLEAN, Kind.NULL):
        return (v.astype(np.uint64),)
    return (v.astype(np.int64, copy=False).view(np.uint64) ^ _SIGN,)


def order_codes(column: Column, descending: bool = False, nulls_first: bool = True) -> U64:
    """One uint64 a row such that code order never contradicts the row order; equal codes may
    hide a difference (strings beyond 8 bytes, decimals beyond 64 bits, the two extremes beside
    NULL)."""
    code = value_codes(column)[0]
    if descending:
        code = ~code
    if column.valid is None:
        return code
    # Invariant: codes saturate next to the extreme that NULL takes, keeping the order weakly
    if nulls_first:
        code = np.maximum(code, np.uint64(1))
        return np.where(column.valid == 0, np.uint64(0), code)
    top = np.uint64(0xFFFFFFFFFFFFFFFF)
    code = np.minimum(code, top - np.uint64(1))
    return np.where(column.valid == 0, top, code)


def sort_indices(
    columns: Sequence[Column], directions: Sequence[tuple[bool, bool]], n: int | None = None
) -> npt.NDArray[np.int64]:
    """Stable exact sort: positions in order of `columns[0]`, then `columns[1]`, …; each direction
    is (descending, nulls_first)."""
    if not columns:
        return np.arange(n or 0)
    return sorted_by_words(_keys(columns, directions))


def sort_and_compare(
    columns: Sequence[Column], directions: Sequence[tuple[bool, bool]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The same of one column or more, and whether each row equals the one before it in them."""
    if len(columns[0]) < FEW_ROWS:
        few = _few_keys(columns, directions)
        if few is not None:
            return _sorted_few(*few)
    keys = _keys(columns, directions)
    order = sorted_by_words(keys)
    equal = np.ones(len(order), np.uint8)
    equal[:1] = 0
    for key in keys:
        ordered = key[order]
        equal[1:] &= ordered[1:] == ordered[:-1]
    return order, equal


def sort_few(*words: U64) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Positions in order of one to three words, stable, and whether each row has those of the one
    before: in one call instead of some ten, which is what a few rows take."""
    return _sorted_few(words, (0,) * len(words))


def _sorted_few(
    words: Sequence[U64], turns: Sequence[int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The same of words each of which is to be xored with its turn first."""
    n, middle = len(words[0]), len(words) // 2
    order, equal = np.empty(n, np.int64), np.empty(n, np.uint8)
    _sort_few(words[0], words[middle], words[-1], turns[0], turns[middle], turns[-1], order, equal)
    return order, equal


def _few_keys(
    columns: Sequence[Column], directions: Sequence[tuple[bool, bool]]
) -> tuple[list[U64], list[int]] | None:
    """The words of `_keys`, and what each is to be xored with to be one; None if they are more than
    three. Of a few rows a number's word is not made before it is compared."""
    words: list[U64] = []
    turns: list[int] = []
    for column, direction in zip(columns, directions, strict=True):
        values = column.values
        if values.dtype.str == _LONG and column.valid is None and values.flags.c_contiguous:
            words.append(values.view(_WORD))
            turns.append(_FALLING if direction[0] else _RISING)
        else:
            keys = _keys((column,), (direction,))
            words += keys
            turns += [0] * len(keys)
    return (words, turns) if len(words) <= 3 else None


def _keys(columns: Sequence[Column], directions: Sequence[tuple[bool, bool]]) -> list[U64]:
    """Words by which rows are sorted, and equal where they are."""
    keys: list[U64] = []
    for column, (descending, nulls_first) in zip(columns, directions, strict=True):
        if column.valid is not None:
            is_null = column.valid == 0
            keys.append((is_null ^ nulls_first).astype(np.uint64))
        words = (dense_ranks(column),) if column.type.is_view else value_codes(column)
        keys.extend(~w if descending else w for w in words)
    return keys


def sorted_by_words(words: Sequence[U64]) -> npt.NDArray[np.int64]:
    """Positions in order of words[0], then words[1], …; stable. Cost: a few passes over rows of
    sorted runs, one after the other, or in order but for small sets that share words[0]; else for
    each word a pass for every eleven bits in which its values differ."""
    n = len(words[0])
    if n < FEW_ROWS:
        return np.lexsort(words[::-1])
    order, scratch = np.arange(n), np.empty(n, np.int64)
    stacked = np.stack(words)
    merged = _merge(stacked, order, scratch)
    if merged >= 0:
        return scratch if merged else order
    if _settle(stacked, order):
        return order
    bits = min(_BITS, max(4, n.bit_length() - 1))
    in_scratch = _radix(stacked, order, scratch, np.empty(1 << bits, np.int64), bits)
    return scratch if in_scratch else order


def sort_within(column: Column, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Stable exact ascending order of each part offsets[i]:offsets[i + 1] of a column, NULL first:
    positions, part after part."""
    if column.type.is_view and column.valid is None:
        order = np.arange(len(column))
        values = np.ascontiguousarray(column.values)
        ends = np.ascontiguousarray(offsets[1:])
        starts = np.ascontiguousarray(offsets[:-1])
        _sort_runs(values, heap_addresses(), starts, ends, order, np.empty_like(order))
        return order
    parts = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    owner = Column(SqlType(Kind.INT64, False), parts)
    return sort_indices([owner, column], [(False, True)] * 2)


def dense_ranks(column: Column) -> U64:
    """Rank of each string among the distinct ones; exact."""
    values = np.ascontiguousarray(column.values)
    code = prefixes(values)
    order = np.argsort(code, kind="stable")
    order = _settle_ties(values, code, order)
    ordered = values[order]
    ranks = np.zeros(len(values), np.uint64)
    if len(values) > 1:
        differs = compare(ordered[1:], ordered[:-1], len(values) - 1)
        ranks[order] = np.concatenate(([0], np.cumsum(differs != 0))).astype(np.uint64)
    return ranks


def _settle_ties(
    values: npt.NDArray[np.uint64], code: U64, order: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Sort runs of equal 8-byte prefixes by the whole strings, stably."""
    sorted_code = code[order]
    starts = np.flatnonzero(np.diff(sorted_code, prepend=~sorted_code[:1]))
    ends = np.append(starts[1:], len(order))
    tied = np.flatnonzero(ends - starts > 1)
    if len(tied):
        order = order.copy()
        scratch = np.empty_like(order)
        _sort_runs(values, heap_addresses(), starts[tied], ends[tied], order, scratch)
    return order


@kernel("void(uint64[:, ::1], uint64[::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def _sort_runs(
    views: Any, addresses: Any, starts: Any, ends: Any, order: Any, scratch: Any
) -> None:
    """Merge sort of order[starts[r]:ends[r]] by the strings they name, bottom-up, for every r."""
    low = np.uint64(0xFFFFFFFF)
    for r in range(starts.shape[0]):
        first, last = starts[r], ends[r]
        width: Any = 1
        while width < last - first:
            left: Any = first
            while left < last:
                middle = min(left + width, last)
                right = min(left + 2 * width, last)
                i: Any = left
                j: Any = middle
                for k in range(left, right):
                    take_left = j >= right
                    if i < middle and j < right:
                        a, b = order[i], order[j]
                        a0, a1, b0, b1 = views[a, 0], views[a, 1], views[b, 0], views[b, 1]
                        take_left = True
                        if a0 != b0 or a1 != b1:
                            la, lb = np.int64(a0 & low), np.int64(b0 & low)
                            p, q = np.uint64(0), np.uint64(0)
                            if la > 12:
                                p = addresses[a1 & low] + (a1 >> np.uint64(32))
                            if lb > 12:
                                q = addresses[b1 & low] + (b1 >> np.uint64(32))
                            shorter = min(la, lb)
                            at: Any = 0
                            # eight bytes at a time where both are in a heap
                            while p != 0 and q != 0 and at + 8 <= shorter:
                                if load_u64(p + np.uint64(at)) != load_u64(q + np.uint64(at)):
                                    break
                                at += 8
                            take_left = la <= lb
                            while at < shorter:
                                if la > 12:
                                    x = np.uint64(load_u8(p + np.uint64(at)))
                                elif at < 4:
                                    x = (a0 >> np.uint64(32 + 8 * at)) & np.uint64(0xFF)
                                else:
                                    x = (a1 >> np.uint64(8 * (at - 4))) & np.uint64(0xFF)
                                if lb > 12:
                                    y = np.uint64(load_u8(q + np.uint64(at)))
                                elif at < 4:
                                    y = (b0 >> np.uint64(32 + 8 * at)) & np.uint64(0xFF)
                                else:
                                    y = (b1 >> np.uint64(8 * (at - 4))) & np.uint64(0xFF)
                                if x != y:
                                    take_left = x < y
                                    break
                                at += 1
                    if take_left:
                        scratch[k] = order[i]
                        i += 1
                    else:
                        scratch[k] = order[j]
                        j += 1
                left = right
            for k in range(first, last):
                order[k] = scratch[k]
            width *= 2


@kernel(
    "void(uint64[::1], uint64[::1], uint64[::1], uint64, uint64, uint64, int64[::1], uint8[::1])"
)
def _sort_few(
    a: Any, b: Any, c: Any, turn_a: Any, turn_b: Any, turn_c: Any, order: Any, equal: Any
) -> None:
    """`order`: positions by (a, b, c), each xored with its turn, stable; equal[i]: whether row i of
    it has the words of the one before. A word may be given twice, where there are fewer than
    three."""
    n = order.shape[0]
    scratch = np.empty(n, np.int64)
    for i in range(n):
        order[i] = i
    width: Any = 1
    while width < n:
        left: Any = 0
        while left < n:
            middle = min(left + width, n)
            right = min(left + 2 * width, n)
            p: Any = left
            q: Any = middle
            for at in range(left, right):
                take_left = q >= right
                if p < middle and q < right:
                    x, y = order[p], order[q]
                    if a[x] != a[y]:
                        take_left = (a[x] ^ turn_a) < (a[y] ^ turn_a)
                    elif b[x] != b[y]:
                        take_left = (b[x] ^ turn_b) < (b[y] ^ turn_b)
                    else:
                        take_left = (c[x] ^ turn_c) <= (c[y] ^ turn_c)
                if take_left:
                    scratch[at] = order[p]
                    p += 1
                else:
                    scratch[at] = order[q]
                    q += 1
            left = right
        for i in range(n):
            order[i] = scratch[i]
        width *= 2
    for i in range(n):
        x, y = order[max(i, 1) - 1], order[i]
        equal[i] = i > 0 and a[x] == a[y] and b[x] == b[y] and c[x] == c[y]


@kernel("int64(uint64[:, ::1], int64[::1], int64[::1])")
def _merge(words: Any, order: Any, scratch: Any) -> Any:
    """Sort `order`, which is 0, 1, …, by `words` where its rows are few sorted runs: 1 if the
    outcome is in `scratch`, 0 if it is in `order`, -1 where they are not."""
    n = words.shape[1]
    ends = np.empty(_MORE_RUNS, np.int64)
    runs, longest, begin = 0, 0, 0
    for i in range(1, n):
        falls = False
        for k in range(words.shape[0]):
            if words[k, i - 1] != words[k, i]:
                falls = words[k, i - 1] > words[k, i]
                break
        if falls:
            if runs == _MORE_RUNS - 1:
                return -1
            ends[runs] = i
            runs += 1
            longest, begin = max(longest, i - begin), i
    ends[runs] = n
    runs += 1
    if runs > _RUNS and 4 * max(longest, n - begin) < 3 * n:
        return -1
    given, made = order, scratch
    in_scratch = 0
    while runs > 1:
        first: Any = 0
        merged = 0
        for r in range(0, runs, 2):
            middle: Any = ends[r]
            last: Any = ends[min(r + 1, runs - 1)]
            p: Any = first
            q: Any = middle
            for at in range(first, last):
                take_left = q >= last
                if p < middle and q < last:
                    a, b = given[p], given[q]
                    take_left = True
                    for k in range(words.shape[0]):
                        if words[k, a] != words[k, b]:
                            take_left = words[k, a] < words[k, b]
                            break
                if take_left:
                    made[at] = given[p]
                    p += 1
                else:
                    made[at] = given[q]
                    q += 1
            ends[merged] = last
            merged += 1
            first = last
        runs = merged
        given, made = made, given
        in_scratch = 1 - in_scratch
    return in_scratch


@kernel("boolean(uint64[:, ::1], int64[::1])")
def _settle(words: Any, order: Any) -> Any:
    """Sort `order`, which is 0, 1, …, by `words` where the first of them rises and few rows share
    it; whether that is so."""
    n = words.shape[1]
    begin = 0
    for i in range(1, n):
        if words[0, i] != words[0, i - 1]:
            begin = i
        if words[0, i] < words[0, i - 1] or i - begin >= _NEAR:
            return False
    begin = 0
    for i in range(1, n):
        if words[0, i] != words[0, i - 1]:
            begin = i
        at = i
        while at > begin:
            falls = False
            for k in range(1, words.shape[0]):
                a, b = words[k, order[at - 1]], words[k, i]
                if a != b:
                    falls = a > b
                    break
            if not falls:
                break
            order[at] = order[at - 1]
            at -= 1
        order[at] = i
    return True


@kernel("boolean(uint64[:, ::1], int64[::1], int64[::1], int64[::1], int64)")
def _radix(words: Any, order: Any, scratch: Any, counts: Any, bits: Any) -> Any:
    """Sort `order`, which is 0, 1, …, by `words`, the first of which counts most; whether the
    outcome is in `scratch`. `counts` has 2**bits entries."""
    n = words.shape[1]
    given, made = order, scratch
    in_scratch = False
    for k in range(words.shape[0] - 1, -1, -1):
        low, high = words[k, 0], words[k, 0]
        for i in range(n):
            low, high = min(low, words[k, i]), max(high, words[k, i])
        span = high - low
        width = 0
        while width < 64 and (span >> np.uint64(width)) != np.uint64(0):
            width += 1
        passes = (width + bits - 1) // bits
        each = (width + passes - 1) // passes if passes else 0
        mask = np.uint64((1 << each) - 1)
        for p in range(passes):
            shift = np.uint64(p * each)
            for b in range(1 << each):
                counts[b] = 0
            for i in range(n):
                counts[((words[k, i] - low) >> shift) & mask] += 1
            at = 0
            for b in range(1 << each):
                at, counts[b] = at + counts[b], at
            for i in range(n):
                row = given[i]
                b = ((words[k, row] - low) >> shift) & mask
                made[counts[b]] = row
                counts[b] += 1
            given, made = made, given
            in_scratch = not in_scratch
    return in_scratch
