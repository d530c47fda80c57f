"""64-bit hashes of rows, and exact comparison of rows.

A hash only narrows the search: whoever acts on equal hashes compares the rows (`rows_equal`),
unless the hash is the row in other words (`is_exact`).
NULL hashes and compares as equal to NULL (grouping semantics); SQL's `=` is another matter.
Equal values hash equally in every process, whichever heap their long strings live in.

Cost: one multiply-mix per 8 bytes of key.

Not here: SQL comparison (`penstock.functions`), order (`penstock.data.order`).
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
from penstock.data.views import and_equal

U64 = npt.NDArray[np.uint64]
ALL_BITS = 0xFFFFFFFFFFFFFFFF

#: forces collisions in tests: every hash is cut to these bits
_test_mask = ALL_BITS


@kernel("void(uint64[::1], int64, uint8[::1], uint64[::1])")
def _mix(words: Any, width: int, valid: Any, h: Any) -> None:
    """Fold `width` words a row into h[i]; NULL folds a constant of its own."""
    k1, k2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
    has_valid = valid.shape[0] > 0
    for i in range(h.shape[0]):
        x = h[i]
        if has_valid and valid[i] == 0:
            x = (x ^ np.uint64(0xA5A5A5A55A5A5A5A)) * k2
        else:
            for j in range(width):
                x = (x ^ (words[i * width + j] * k1)) * k2
                x ^= x >> np.uint64(32)
        x ^= x >> np.uint64(29)
        h[i] = x * k1


@kernel("void(uint64[::1], uint64[::1], uint64[::1], int64, boolean, uint64, uint64[::1])")
def _mix_plain(a: Any, b: Any, c: Any, count: int, is_first: Any, seed: Any, h: Any) -> None:
    """Fold a word a row of each of the first `count` of the three into h[i], or into `seed` if
    nothing `is_first`, as `_mix` does."""
    k1, k2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
    for i in range(h.shape[0]):
        x = seed if is_first else h[i]
        x = (x ^ (a[i] * k1)) * k2
        x ^= x >> np.uint64(32)
        x = (x ^ (x >> np.uint64(29))) * k1
        if count > 1:
            x = (x ^ (b[i] * k1)) * k2
            x ^= x >> np.uint64(32)
            x = (x ^ (x >> np.uint64(29))) * k1
        if count > 2:
            x = (x ^ (c[i] * k1)) * k2
            x ^= x >> np.uint64(32)
            x = (x ^ (x >> np.uint64(29))) * k1
        h[i] = x


@kernel("void(uint64[:, ::1], uint64[::1], uint8[::1], uint64[::1])")
def _mix_views(views: Any, addresses: Any, valid: Any, h: Any) -> None:
    k1, k2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
    low = np.uint64(0xFFFFFFFF)
    has_valid = valid.shape[0] > 0
    for i in range(h.shape[0]):
        x = h[i]
        if has_valid and valid[i] == 0:
            x = (x ^ np.uint64(0xA5A5A5A55A5A5A5A)) * k2
        else:
            w0, w1 = views[i, 0], views[i, 1]
            x = (x ^ (w0 * k1)) * k2
            x ^= x >> np.uint64(32)
            length = np.int64(w0 & low)
            if length <= 12:
                x = (x ^ (w1 * k1)) * k2
                x ^= x >> np.uint64(32)
            else:
                p = addresses[w1 & low] + (w1 >> np.uint64(32))
                j = 4
                while j + 8 <= length:
                    x = (x ^ (load_u64(p + np.uint64(j)) * k1)) * k2
                    x ^= x >> np.uint64(32)
                    j += 8
                tail = np.uint64(0)
                while j < length:
                    tail = (tail << np.uint64(8)) | np.uint64(load_u8(p + np.uint64(j)))
                    j += 1
                x = (x ^ (tail * k1)) * k2
                x ^= x >> np.uint64(32)
        x ^= x >> np.uint64(29)
        h[i] = x * k1


_NO_MASK = np.zeros(0, np.uint8)
#: numpy looks for the dtype of a class each time
_WORD = np.dtype(np.uint64)
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def words_of(column: Column) -> U64:
    """The values' bits as uint64 words, one a row (two for the wide types), flat."""
    values = np.ascontiguousarray(column.values)
    if values.ndim == 2:
        return values.reshape(-1)
    if values.itemsize == 8:
        words: U64 = values.view(_WORD)
        return words
    bits = values.view(_UNSIGNED[values.dtype.itemsize])
    return bits.astype(np.uint64)


def hash_columns(
    columns: Sequence[Column], seed: int = 0, mask: int = ALL_BITS, n: int | None = None
) -> U64:
    """One hash per row over all `columns`; `n` is needed when there are none. `mask` keeps only
    these bits (tests force collisions with it)."""
    h = np.empty(len(columns[0]) if n is None else n, _WORD)
    start = (seed * 0x9E3779B97F4A7C15 + 0x1234567) & ALL_BITS
    plain: list[U64] = []
    # small steps pay for calls: columns go in with their neighbours, the first with the seed
    is_first = True
    for c in columns:
        if c.valid is None and not c.type.is_wide:
            plain.append(words_of(c))
            if len(plain) == 3:
                _mix_plain(*plain, 3, is_first, start, h)
                plain, is_first = [], False
            continue
        if plain:
            _mix_plain(plain[0], plain[-1], plain[0], len(plain), is_first, start, h)
            plain = []
        elif is_first:
            h.fill(start)
        is_first = False
        valid = _NO_MASK if c.valid is None else np.ascontiguousarray(c.valid)
        if c.type.is_view:
            _mix_views(np.ascontiguousarray(c.values), heap_addresses(), valid, h)
        else:
            _mix(words_of(c), 2 if c.type.is_wide else 1, valid, h)
    if plain:
        _mix_plain(plain[0], plain[-1], plain[0], len(plain), is_first, start, h)
    elif is_first:
        h.fill(start)
    mask &= _test_mask
    if mask != ALL_BITS:
        h &= np.uint64(mask)
    return h


def is_exact(a: Sequence[Column], b: Sequence[Column]) -> bool:
    """Whether rows of `a` and of `b` are equal as soon as their hashes are: one column of at most
    64 bits without NULLs, because `_mix` maps different words to different hashes (products with
    odd numbers and shifted xors can be undone). Saves a look at rows far apart in memory."""
    if len(a) != 1 or _test_mask != ALL_BITS:
        return False
    x, y = a[0], b[0]
    return not x.type.is_wide and x.valid is None and y.valid is None


@kernel("void(uint64[::1], int64[::1], uint64[::1], int64[::1], uint8[::1])")
def _and_equal(a: Any, ia: Any, b: Any, ib: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        out[i] &= np.uint8(a[ia[i]] == b[ib[i]])


def rows_equal(
    a: Sequence[Column],
    ia: npt.NDArray[np.int64],
    b: Sequence[Column],
    ib: npt.NDArray[np.int64],
) -> npt.NDArray[np.uint8]:
    """uint8[n]: row ia[i] of `a` equals row ib[i] of `b` in every column (NULL = NULL)."""
    out = np.empty(len(ia), np.uint8)
    out.fill(1)
    if not len(ia):
        return out
    for x, y in zip(a, b, strict=True):
        if x.valid is not None or y.valid is not None:
            vx = np.uint8(1) if x.valid is None else x.valid[ia]
            vy = np.uint8(1) if y.valid is None else y.valid[ib]
            out &= (vx == vy).astype(np.uint8)
        if x.type.is_view:
            and_equal(np.ascontiguousarray(x.values), ia, np.ascontiguousarray(y.values), ib, out)
        elif x.type.is_wide:
            out &= (x.values[ia] == y.values[ib]).all(axis=1).astype(np.uint8)
        elif x.values.itemsize == 8:
            # bits, not values: NaN equals NaN (floats are canonical, see data.batch)
            _and_equal(words_of(x), ia, words_of(y), ib, out)
        else:
            bits = _UNSIGNED[x.values.dtype.itemsize]
            out &= (x.values.view(bits)[ia] == y.values.view(bits)[ib]).astype(np.uint8)
    return out
