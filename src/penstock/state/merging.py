"""Two sorted runs into one: the order of the rows, then every column picked by it.

    interleave   (k, r) of both, in order, and where each row comes from
    pick         a column of the merged run, straight from the two it comes from

Cost: one pass over the hashes and one over each column.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Column
from penstock.data.gather import compact_heaps, concat_columns, take_column
from penstock.data.heap import union
from penstock.data.kernel import kernel
from penstock.data.views import long_bytes

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: heaps that a merged column may name, and their bytes a byte of the strings that it has there
MOST_HEAPS, MOST_WASTE = 8, 2


@kernel(
    "int64(uint64[::1], uint64[::1], int64[::1], uint64[::1], uint64[::1], int64[::1], "
    "int64[::1], uint64[::1], uint64[::1], int64[::1], int64[:, ::1], int64[::1])"
)
def interleave(
    ka: Any, ra: Any, wa: Any, kb: Any, rb: Any, wb: Any, source: Any, k: Any, r: Any, w: Any,
    pairs: Any, pair_count: Any,
) -> int:  # fmt: skip
    """Merge two sorted runs of hashes k, r and weights w; rows of a and b with equal hashes are
    taken to be one, which is dropped when its weights cancel out.

    Row i of the merged run is row source[i] of a, or row source[i] - len(a) of b. pairs[j] =
    (row of a, row of b) are the pair_count[0] that were taken to be one, for the caller to
    compare. Returns the merged number of rows, or -1 if two rows of one run have equal hashes."""
    na, nb = ka.shape[0], kb.shape[0]
    i, j, at, found = 0, 0, 0, 0
    while i < na or j < nb:
        if j >= nb:
            order = -1
        elif i >= na:
            order = 1
        elif ka[i] != kb[j]:
            order = -1 if ka[i] < kb[j] else 1
        elif ra[i] != rb[j]:
            order = -1 if ra[i] < rb[j] else 1
        else:
            order = 0
        if order == 0:
            pairs[found, 0], pairs[found, 1] = i, j
            found += 1
        if order <= 0:
            if i > 0 and ka[i] == ka[i - 1] and ra[i] == ra[i - 1]:
                return -1
            weight = wa[i]
            source[at], k[at], r[at] = i, ka[i], ra[i]
            i += 1
        else:
            weight = 0
            source[at], k[at], r[at] = na + j, kb[j], rb[j]
        if order >= 0:
            if j > 0 and kb[j] == kb[j - 1] and rb[j] == rb[j - 1]:
                return -1
            weight += wb[j]
            j += 1
        w[at] = weight
        if weight != 0:
            at += 1
    pair_count[0] = found
    return at


@kernel("void(uint64[::1], uint64[::1], int64[::1], uint64[::1])")
def _pick_words(a: Any, b: Any, source: Any, out: Any) -> None:
    n = a.shape[0]
    for i in range(source.shape[0]):
        j = source[i]
        out[i] = a[j] if j < n else b[j - n]


@kernel("void(uint64[:, ::1], uint64[:, ::1], int64[::1], uint64[:, ::1])")
def _pick_pairs(a: Any, b: Any, source: Any, out: Any) -> None:
    n = a.shape[0]
    for i in range(source.shape[0]):
        j = source[i]
        if j < n:
            out[i, 0], out[i, 1] = a[j, 0], a[j, 1]
        else:
            out[i, 0], out[i, 1] = b[j - n, 0], b[j - n, 1]


def pick_array(a: Array, b: Array, source: I64) -> Array:
    """Values source[i] of `a` followed by `b`."""
    if a.dtype.itemsize != 8:
        return np.concatenate((a, b)).take(source, axis=0)
    out = np.empty((len(source), *a.shape[1:]), np.uint64)
    words = (np.ascontiguousarray(x).view(np.uint64) for x in (a, b))
    (_pick_pairs if a.ndim == 2 else _pick_words)(*words, source, out)
    return out.view(a.dtype)


def pick(a: Column, b: Column, source: I64) -> Column:
    """Rows source[i] of `a` followed by `b`; their heaps hold little else."""
    if a.valid is not None or b.valid is not None:
        return _tidied(take_column(concat_columns((a, b)), source))
    values = pick_array(a.values, b.values, source)
    return _tidied(Column(a.type, values, None, union((a.heaps, b.heaps))))


def _tidied(column: Column) -> Column:
    """With its long strings in a heap of their own, if its heaps are many or hold much else: the
    small merges of a step need not copy strings."""
    heaps = column.heaps
    if not heaps or (
        len(heaps) <= MOST_HEAPS
        and sum(len(h) for h in heaps) <= MOST_WASTE * long_bytes(column.values)
    ):
        return column
    return compact_heaps(column)
