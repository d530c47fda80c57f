"""Cells of a text → values of a column, by kernels; exactly, or not at all.

    bytes start:stop of `data`, of a kind of `json_cells`   ──►   out[row]

Each kernel writes the values that it is sure of and marks the other rows in `odd`: nothing that a
value-by-value reading would refuse, or read differently, is written. `out` comes zeroed, and what
is NULL or odd stays zero.

Cost: 5 to 20 ns a value.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.heap import Heap
from penstock.data.kernel import kernel
from penstock.data.pointers import load_u64, store_u64

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

#: decimal digits that an int64 holds whatever they are
DIGITS = 18


@kernel(
    "void(uint8[::1], uint8[::1], int64[::1], int64[::1], uint64, uint64, int64[::1], uint8[::1])"
)
def _integers(
    data: Any, kinds: Any, starts: Any, stops: Any, most_below: Any, most: Any, out: Any, odd: Any
) -> None:
    """From -most_below to most; a value beyond int64 is written as its low 64 bits."""
    for i in range(out.shape[0]):
        if kinds[i] < 2:
            continue
        at, stop = starts[i], stops[i]
        if kinds[i] != 4:
            odd[i] = 1
            continue
        negative = data[at] == 45
        if negative:
            at += 1
        if stop - at > 19:
            odd[i] = 1
            continue
        value = np.uint64(0)
        while at < stop:
            value = value * np.uint64(10) + np.uint64(data[at] - 48)
            at += 1
        if value > (most_below if negative else most):
            odd[i] = 1
        elif negative:
            out[i] = -np.int64(value)
        else:
            out[i] = np.int64(value)


@kernel(
    "void(uint8[::1], uint8[::1], int64[::1], int64[::1], float64[::1], float64[::1], uint8[::1])"
)
def _floats(
    data: Any, kinds: Any, starts: Any, stops: Any, powers: Any, out: Any, odd: Any
) -> None:
    """Numbers of a mantissa below 2^53 and a power of ten within 10^±22: one operation on two exact
    doubles rounds as it must."""
    for i in range(out.shape[0]):
        if kinds[i] < 2:
            continue
        at, stop = starts[i], stops[i]
        if kinds[i] != 4 and kinds[i] != 5:
            odd[i] = 1
            continue
        negative = data[at] == 45
        if negative:
            at += 1
        mantissa = np.uint64(0)
        digits = 0
        power = 0
        after_point = False
        while at < stop:
            c = data[at]
            if c == 46:
                after_point = True
            elif c == 69 or c == 101:
                break
            else:
                if digits > 0 or c != 48:
                    digits += 1
                mantissa = mantissa * np.uint64(10) + np.uint64(c - 48)
                if after_point:
                    power -= 1
            at += 1
        if at < stop:
            at += 1
            minus = data[at] == 45
            if minus or data[at] == 43:
                at += 1
            exponent: Any = 0
            while at < stop:
                exponent = exponent * 10 + np.int64(data[at] - 48)
                at += 1
            power += -exponent if minus else exponent
        if digits > 18 or mantissa > np.uint64(1 << 53) or power < -22 or power > 22:
            odd[i] = 1
            continue
        value = np.float64(mantissa)
        value = value / powers[-power] if power < 0 else value * powers[power]
        out[i] = -value if negative else value


@kernel(
    "void(uint8[::1], uint8[::1], int64[::1], int64[::1], int64, int64, int64[::1], uint8[::1])"
)
def _decimals(
    data: Any, kinds: Any, starts: Any, stops: Any, scale: Any, limit: Any, out: Any, odd: Any
) -> None:
    """Unscaled values below `limit`, of numbers or of strings that hold one; no exponents."""
    for i in range(out.shape[0]):
        if kinds[i] < 2:
            continue
        at, stop = starts[i], stops[i]
        if not 4 <= kinds[i] <= 6 or at == stop:
            odd[i] = 1
            continue
        negative = data[at] == 45
        if negative:
            at += 1
        value: Any = 0
        digits = 0
        fraction = -1
        good = at < stop and 48 <= data[at] <= 57
        while at < stop and good:
            c = data[at]
            if c == 46 and fraction < 0:
                fraction = 0
                good = at + 1 < stop
            elif 48 <= c <= 57:
                if fraction >= 0 and fraction == scale:
                    good = c == 48
                else:
                    if digits > 0 or c != 48:
                        digits += 1
                    good = digits <= 18
                    value = value * 10 + np.int64(c - 48)
                    if fraction >= 0:
                        fraction += 1
            else:
                good = False
            at += 1
        missing = scale - max(fraction, 0)
        if not good or (value > 0 and digits + missing > 18):
            odd[i] = 1
            continue
        if value > 0:
            for _ in range(missing):
                value *= 10
        if value >= limit:
            odd[i] = 1
        else:
            out[i] = -value if negative else value


@kernel("void(uint8[::1], uint8[::1], int64[::1], int64[::1], uint64[:, ::1], uint8[::1])")
def _uuids(data: Any, kinds: Any, starts: Any, stops: Any, out: Any, odd: Any) -> None:
    for i in range(out.shape[0]):
        if kinds[i] < 2:
            continue
        at = starts[i]
        good = kinds[i] == 6 and stops[i] - at == 36
        byte = 0
        first, second = np.uint64(0), np.uint64(0)
        j = 0
        while good and j < 36:
            if j == 8 or j == 13 or j == 18 or j == 23:
                good = data[at + j] == 45
                j += 1
                continue
            value = np.uint64(0)
            for k in range(2):
                h: Any = np.int64(data[at + j + k])
                if 97 <= h <= 102:
                    h -= 87
                elif 65 <= h <= 70:
                    h -= 55
                elif 48 <= h <= 57:
                    h -= 48
                else:
                    good = False
                    h = 0
                value = value * np.uint64(16) + np.uint64(h)
            if byte < 8:
                first |= value << np.uint64(8 * byte)
            else:
                second |= value << np.uint64(8 * (byte - 8))
            byte += 1
            j += 2
        if good:
            out[i, 0], out[i, 1] = first, second
        else:
            odd[i] = 1


@kernel("int64(uint8[::1], int64[::1], int64[::1])")
def _long_bytes(kinds: Any, starts: Any, stops: Any) -> Any:
    total: Any = 0
    for i in range(kinds.shape[0]):
        if kinds[i] == 6 and stops[i] - starts[i] > 12:
            total += stops[i] - starts[i]
    return total


@kernel(
    "void(uint8[::1], uint8[::1], int64[::1], int64[::1], int64, uint8[::1], uint64[:, ::1], "
    "uint8[::1])"
)
def _strings(
    data: Any, kinds: Any, starts: Any, stops: Any, heap_id: Any, heap: Any, out: Any, odd: Any
) -> None:
    """String views (layout in `batch`); the long ones are copied into `heap`."""
    filled = 0
    base, room = np.uint64(data.ctypes.data), np.uint64(heap.ctypes.data)
    eight, half = np.uint64(8), np.uint64(32)
    for i in range(out.shape[0]):
        if kinds[i] < 2:
            continue
        if kinds[i] != 6:
            odd[i] = 1
            continue
        at = starts[i]
        size = stops[i] - at
        w0, w1 = np.uint64(size), np.uint64(0)
        p = base + np.uint64(at)
        if size > 12:
            w0 |= load_u64(p) << half
            w1 = np.uint64(heap_id) | (np.uint64(filled) << half)
            # the last eight bytes may overlap those before
            q, last, k = room + np.uint64(filled), np.uint64(size - 8), np.uint64(0)
            while k < last:
                store_u64(q + k, load_u64(p + k))
                k += eight
            store_u64(q + last, load_u64(p + last))
            filled += size
        elif at + 16 <= data.shape[0]:
            low, high = load_u64(p), load_u64(p + eight)
            if size < 8:
                low &= (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
                high = np.uint64(0)
            else:
                high &= (np.uint64(1) << np.uint64(8 * size - 64)) - np.uint64(1)
            w0 |= low << half
            w1 = (low >> half) | (high << half)
        else:
            for j in range(min(size, 4)):
                w0 |= np.uint64(data[at + j]) << np.uint64(32 + 8 * j)
            for j in range(4, size):
                w1 |= np.uint64(data[at + j]) << np.uint64(8 * (j - 4))
        out[i, 0], out[i, 1] = w0, w1


@kernel("void(uint8[::1], int64[::1], int64[::1], int64[::1], uint8[::1])")
def _copy(data: Any, starts: Any, stops: Any, offsets: Any, out: Any) -> None:
    for i in range(starts.shape[0]):
        at = offsets[i]
        for j in range(stops[i] - starts[i]):
            out[at + j] = data[starts[i] + j]


@kernel("void(uint8[::1], int64[::1], uint8[::1])")
def _minus_zeros(data: Any, offsets: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        start, stop = offsets[i], offsets[i + 1]
        for j in range(start, stop - 1):
            if data[j] != 45 or data[j + 1] != 48:
                continue
            # a digit, a letter or a dash in front of it is within a string
            begins = j == start or data[j - 1] <= 32 or data[j - 1] == 91
            begins = begins or data[j - 1] == 44 or data[j - 1] == 58
            ends = j + 2 == stop
            if not ends:
                c = data[j + 2]
                ends = not (48 <= c <= 57 or c == 46 or c == 69 or c == 101)
            if begins and ends:
                out[i] = 1


_POWERS = np.array([10.0**k for k in range(23)])
Spans = tuple[Bytes, Bytes, Ints, Ints]


def integers(cells: Spans, low: int, high: int) -> tuple[Ints, Bytes]:
    """Values from `low` (≤ 0) to `high` of INTEGER cells, modulo 2^64, and which rows are odd."""
    n = len(cells[1])
    out, odd = np.zeros(n, np.int64), np.zeros(n, np.uint8)
    _integers(*cells, np.uint64(-low), np.uint64(high), out, odd)
    return out, odd


def floats(cells: Spans) -> tuple[npt.NDArray[np.float64], Bytes]:
    """Doubles, correctly rounded; odd are the numbers that need more than one operation, too."""
    n = len(cells[1])
    out, odd = np.zeros(n, np.float64), np.zeros(n, np.uint8)
    _floats(*cells, _POWERS, out, odd)
    return out, odd


def decimals(cells: Spans, precision: int, scale: int) -> tuple[Ints, Bytes]:
    """Unscaled values of at most `DIGITS` digits."""
    n = len(cells[1])
    out, odd = np.zeros(n, np.int64), np.zeros(n, np.uint8)
    _decimals(*cells, scale, 10 ** min(precision, DIGITS), out, odd)
    return out, odd


def uuids(cells: Spans) -> tuple[U64, Bytes]:
    """UUIDs in the form with hyphens."""
    n = len(cells[1])
    out, odd = np.zeros((n, 2), np.uint64), np.zeros(n, np.uint8)
    _uuids(*cells, out, odd)
    return out, odd


def strings(cells: Spans) -> tuple[U64, tuple[Heap, ...], Bytes]:
    """Views of STRING cells and their heap; ESCAPED ones are odd."""
    n = len(cells[1])
    out, odd = np.zeros((n, 2), np.uint64), np.zeros(n, np.uint8)
    size = int(_long_bytes(*cells[1:]))
    heap = Heap(np.empty(size, np.uint8)) if size else None
    buffer, heap_id = (np.empty(0, np.uint8), 0) if heap is None else (heap.data, heap.id)
    _strings(*cells, heap_id, buffer, out, odd)
    return out, () if heap is None else (heap,), odd


def texts(data: Bytes, starts: Ints, stops: Ints) -> tuple[Bytes, Ints]:
    """The bytes of some cells one after the other, and n + 1 offsets into them."""
    offsets = np.zeros(len(starts) + 1, np.int64)
    np.cumsum(stops - starts, out=offsets[1:])
    out = np.empty(int(offsets[-1]), np.uint8)
    _copy(data, starts, stops, offsets, out)
    return out, offsets


def has_minus_zero(data: Bytes, offsets: Ints) -> Bytes:
    """Which of the texts data[offsets[i]:offsets[i + 1]] of JSON have, or may have, the integer -0:
    a BIGINT in a text, but 0 as a number."""
    out = np.zeros(len(offsets) - 1, np.uint8)
    _minus_zeros(data, offsets, out)
    return out
