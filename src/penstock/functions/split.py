"""One part of a string, without the array of all of them: SPLIT(s, delimiter)[index].

    SPLIT('a/b/c', '/')[2] → 'b'     SPLIT('a/b/c', '/')[4] → NULL     SPLIT('', '/')[1] → NULL

Source: sql-reference 2.7 and 2.12, whose SPLIT and [] this is in one. Long parts stay in the heap
of the string they are a part of.

Cost: one pass over the bytes up to the part's end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.data.batch import Column
from penstock.data.heap import heap_addresses
from penstock.data.kernel import kernel
from penstock.data.pointers import load_u8
from penstock.data.types import VARCHAR
from penstock.functions.text_kernels import cut, flat, places


@kernel(
    "void(uint64[:, ::1], uint64[::1], uint8[::1], int64[::1], int64[::1], int64[::1], int64[::1], "
    "uint8[::1])"
)
def _part(
    views: Any, addresses: Any, mark: Any, marks: Any, index: Any, start: Any, stop: Any, valid: Any
) -> None:
    """Bytes start[i] … stop[i] of string i are its part index[i], from 1; valid[i] = 0: none."""
    low = np.uint64(0xFFFFFFFF)
    sv, sm = np.int64(views.shape[0] > 1), np.int64(marks.shape[0] > 2)
    si = np.int64(index.shape[0] > 1)
    short = np.empty(12, np.uint8)
    short_address = np.uint64(short.ctypes.data)
    for i in range(start.shape[0]):
        w0, w1 = views[i * sv, 0], views[i * sv, 1]
        size = np.int64(w0 & low)
        if size > 12:
            p = addresses[w1 & low] + (w1 >> np.uint64(32))
        else:
            p = short_address
            for j in range(4):
                short[j] = np.uint8((w0 >> np.uint64(32 + 8 * j)) & np.uint64(0xFF))
            for j in range(8):
                short[4 + j] = np.uint8((w1 >> np.uint64(8 * j)) & np.uint64(0xFF))
        q, m = marks[i * sm], marks[i * sm + 1] - marks[i * sm]
        wanted = index[i * si]
        n: Any = 1
        a: Any = 0
        at: Any = 0
        found = False
        if m == 1:
            c = mark[q]
            while at < size:
                if load_u8(p + np.uint64(at)) == c:
                    if n == wanted:
                        found = True
                        break
                    n += 1
                    a = at + 1
                at += 1
        else:
            while m > 0 and at + m <= size:
                k: Any = 0
                while k < m and load_u8(p + np.uint64(at + k)) == mark[q + k]:
                    k += 1
                if k < m:
                    at += 1
                    continue
                if n == wanted:
                    found = True
                    break
                n += 1
                at += m
                a = at
        is_there = size > 0 and n == wanted
        valid[i] = np.uint8(is_there)
        start[i] = a if is_there else 0
        stop[i] = (at if found else size) if is_there else 0


def split_item(args: Sequence[Column], n: int) -> Column:
    """The kernel of SPLIT(s, delimiter)[index] for (s, delimiter, index)."""
    s, delimiter, index = args
    rows = max(map(len, args))
    start, stop = np.empty(rows, np.int64), np.empty(rows, np.int64)
    valid = np.empty(rows, np.uint8)
    views = np.ascontiguousarray(s.values)
    _part(views, heap_addresses(), *flat(delimiter), places(index.values), start, stop, valid)
    return Column(VARCHAR, cut(s, start, stop, VARCHAR).values, valid, s.heaps)
