"""Numbers as text, whole columns: integers, padded integers, decimals.

    integers([7, -12])                      '7'  '-12'
    padded([7, 12], width=3, pad="0")       '007'  '012'
    decimals([150, -5] of scale 2)          '1.50'  '-0.05'

Cost: two passes over the values, the first to find how long each will be.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.kernel import kernel
from penstock.data.types import VARCHAR
from penstock.data.views import make_views


@kernel("void(uint64[::1], uint8[::1], int64, uint8, int64[::1], uint8[::1])")
def _integers(magnitudes: Any, negative: Any, width: Any, pad: Any, ends: Any, out: Any) -> None:
    """With `out` empty the lengths go to ends[1:], else the text to out[ends[i]:]."""
    writing = out.shape[0] > 0
    digits = np.empty(24, np.uint8)
    for i in range(magnitudes.shape[0]):
        v = magnitudes[i]
        n = np.int64(0)
        while v > np.uint64(0) or n == 0:
            digits[n] = np.uint8(48 + np.int64(v % np.uint64(10)))
            v //= np.uint64(10)
            n += 1
        size = max(n, width) + np.int64(negative[i])
        if not writing:
            ends[i + 1] = size
            continue
        at = ends[i]
        if negative[i]:
            out[at] = np.uint8(45)
            at += 1
        for _j in range(width - n):
            out[at] = pad
            at += 1
        for j in range(n):
            out[at] = digits[n - 1 - j]
            at += 1


def _texts(fill: Any, n: int) -> Column:
    """A column of `n` texts from a kernel that counts and then writes."""
    ends = np.zeros(n + 1, np.int64)
    fill(ends, np.zeros(0, np.uint8))
    np.cumsum(ends, out=ends)
    out = np.empty(int(ends[-1]), np.uint8)
    if len(out):
        fill(ends, out)
    views, heaps = make_views(out, ends, None)
    return Column(VARCHAR, views, None, heaps)


def padded(values: Array, width: int, pad: str) -> Column:
    """Integers of any width and sign, filled up to `width` digits."""
    negative = np.ascontiguousarray(values < 0).view(np.uint8)
    wide = values.astype(np.uint64) if values.dtype.kind == "u" else values.astype(np.int64)
    magnitudes = np.ascontiguousarray(np.where(values < 0, -wide, wide)).view(np.uint64)
    fill = ord(pad) if pad else 0

    def run(ends: Array, out: Array) -> None:
        _integers(magnitudes, negative, width if pad else 0, np.uint8(fill), ends, out)

    return _texts(run, len(values))


def integers(values: Array) -> Column:
    return padded(values, 0, "")


@kernel("void(uint64[:, ::1], int64, int64[::1], uint8[::1])")
def _decimals(values: Any, scale: Any, ends: Any, out: Any) -> None:
    writing = out.shape[0] > 0
    digits = np.empty(48, np.uint8)
    mask, ten = np.uint64(0xFFFFFFFF), np.uint64(1_000_000_000)
    s32 = np.uint64(32)
    for i in range(values.shape[0]):
        low, high = values[i, 0], values[i, 1]
        negative = high >> np.uint64(63) != np.uint64(0)
        if negative:
            low = ~low + np.uint64(1)
            high = ~high
            if low == np.uint64(0):
                high += np.uint64(1)
        n = np.int64(0)
        while high != np.uint64(0) or low != np.uint64(0):  # nine digits off the end at a time
            q3 = (high >> s32) // ten
            r = (high >> s32) % ten
            t = (r << s32) | (high & mask)
            q2, r = t // ten, t % ten
            t = (r << s32) | (low >> s32)
            q1, r = t // ten, t % ten
            t = (r << s32) | (low & mask)
            q0, r = t // ten, t % ten
            high, low = (q3 << s32) | q2, (q1 << s32) | q0
            for _j in range(9):
                digits[n] = np.uint8(48 + np.int64(r % np.uint64(10)))
                r //= np.uint64(10)
                n += 1
        while n > 0 and digits[n - 1] == np.uint8(48):
            n -= 1
        while n <= scale:
            digits[n] = np.uint8(48)
            n += 1
        if not writing:
            ends[i + 1] = n + np.int64(negative) + np.int64(scale > 0)
            continue
        at = ends[i]
        if negative:
            out[at] = np.uint8(45)
            at += 1
        for j in range(n):
            if j == n - scale:
                out[at] = np.uint8(46)
                at += 1
            out[at] = digits[n - 1 - j]
            at += 1


def decimals(values: Array, scale: int) -> Column:
    """int128 values of a scale, with all digits of the scale."""
    source = np.ascontiguousarray(values)
    return _texts(lambda ends, out: _decimals(source, scale, ends, out), len(values))
