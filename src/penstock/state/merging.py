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

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


@kernel(
    "int64(uint64[::1], uint64[::1], uint64[::1], uint64[::1], int64[::1], uint64[::1], "
    "uint64[::1])"
)
def interleave(ka: Any, ra: Any, kb: Any, rb: Any, source: Any, k: Any, r: Any) -> int:
    """Row i of the merged run is row source[i] of a, or row source[i] - len(a) of b, and has the
    hashes k[i], r[i]. Returns how many rows have the same as the row before."""
    na, nb = ka.shape[0], kb.shape[0]
    i, j, twins = 0, 0, 0
    for at in range(na + nb):
        if j >= nb or (i < na and (ka[i] < kb[j] or (ka[i] == kb[j] and ra[i] <= rb[j]))):
            source[at], k[at], r[at] = i, ka[i], ra[i]
            i += 1
        else:
            source[at], k[at], r[at] = na + j, kb[j], rb[j]
            j += 1
        if at > 0 and k[at] == k[at - 1] and r[at] == r[at - 1]:
            twins += 1
    return twins


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
    """Rows source[i] of `a` followed by `b`, with their long strings in heaps of their own."""
    if a.valid is not None or b.valid is not None:
        return compact_heaps(take_column(concat_columns((a, b)), source))
    values = pick_array(a.values, b.values, source)
    return compact_heaps(Column(a.type, values, None, union((a.heaps, b.heaps))))
