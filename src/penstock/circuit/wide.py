"""Exact sums: 192-bit accumulators for integers and decimals.

An accumulator is a row of uint64[n, 3], two's complement, least significant word first. A value
has at most 128 bits and a weight 64, so a product fits and sums do not wrap; a total is checked
against the range of the result type only when it is read, so that an overflow which a later row
of the same step takes back is none.

Kernels take values as int64[n] or as uint64[n, 2] (see `penstock.data.types`).
"""

from __future__ import annotations

import functools
from typing import Any

import numba
import numpy as np

from penstock.data.kernel import kernel
from penstock.data.types import UNSIGNED, Kind, SqlType
from penstock.data.words import high_and_low

#: a function that is compiled into the kernels that call it: a call costs as much as all of its
#: arithmetic, as every word comes back through memory
inlined = numba.njit(nogil=True, forceinline=True)

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_LOW = np.uint64(0xFFFF_FFFF)
_HALF = np.uint64(32)
_TOP = np.uint64(63)

_BITS = {
    Kind.INT8: 8, Kind.INT16: 16, Kind.INT32: 32, Kind.INT64: 64,
    Kind.UINT8: 8, Kind.UINT16: 16, Kind.UINT32: 32, Kind.UINT64: 64,
    Kind.INTERVAL_SHORT: 64, Kind.INTERVAL_LONG: 32,
}  # fmt: skip


@functools.cache
def range_words(type: SqlType) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Least and greatest value of a type that is summed exactly: (low, high, low, high) words."""
    if type.kind is Kind.DECIMAL:
        assert type.precision is not None
        most = 10**type.precision - 1
        least = -most
    elif type.kind in UNSIGNED:
        least, most = 0, 2 ** _BITS[type.kind] - 1
    else:
        most = 2 ** (_BITS[type.kind] - 1) - 1
        least = -most - 1
    mask = 2**64 - 1
    words = (least & mask, (least >> 64) & mask, most & mask, (most >> 64) & mask)
    return tuple(np.uint64(w) for w in words)  # type: ignore[return-value]


@inlined
def added(s0: Any, s1: Any, s2: Any, w0: Any, w1: Any, w2: Any) -> Any:
    """The three words of (s0, s1, s2) + (w0, w1, w2)."""
    t0 = s0 + w0
    carry = _ONE if t0 < w0 else _ZERO
    t1 = s1 + w1
    carry1 = _ONE if t1 < w1 else _ZERO
    t1 = t1 + carry
    if t1 < carry:
        carry1 = _ONE
    return t0, t1, s2 + w2 + carry1


@inlined
def subtracted(s0: Any, s1: Any, s2: Any, w0: Any, w1: Any, w2: Any) -> Any:
    """The three words of (s0, s1, s2) - (w0, w1, w2)."""
    borrow = _ONE if s0 < w0 else _ZERO
    t1 = s1 - w1
    borrow1 = _ONE if s1 < w1 else _ZERO
    if t1 < borrow:
        borrow1 = _ONE
    return s0 - w0, t1 - borrow, s2 - w2 - borrow1


@inlined
def _add(sums: Any, at: Any, w0: Any, w1: Any, w2: Any) -> Any:
    """sums[at] += (w0, w1, w2)."""
    sums[at, 0], sums[at, 1], sums[at, 2] = added(sums[at, 0], sums[at, 1], sums[at, 2], w0, w1, w2)


@inlined
def _product(a: Any, b: Any) -> Any:
    """(low, high) words of a·b."""
    high, low = high_and_low(a, b)
    return low, high


@inlined
def scaled(low: Any, high: Any, weight: Any) -> Any:
    """The three words of (low, high) · weight."""
    negative = (high >> _TOP) != _ZERO
    if weight == 1:
        return low, high, _ALL if negative else _ZERO
    if negative:
        low = ~low + _ONE
        high = ~high + (_ONE if low == _ZERO else _ZERO)
    if weight < 0:
        negative = not negative
        factor = ~np.uint64(weight) + _ONE
    else:
        factor = np.uint64(weight)
    p0, carry = _product(low, factor)
    p1, p2 = _product(high, factor)
    p1 = p1 + carry
    if p1 < carry:
        p2 = p2 + _ONE
    if negative:
        p0 = ~p0 + _ONE
        c = _ONE if p0 == _ZERO else _ZERO
        p1 = ~p1 + c
        c = _ONE if (p1 == _ZERO and c == _ONE) else _ZERO
        p2 = ~p2 + c
    return p0, p1, p2


@inlined
def _add_scaled(sums: Any, at: Any, low: Any, high: Any, weight: Any) -> Any:
    """sums[at] += (low, high) · weight."""
    w0, w1, w2 = scaled(low, high, weight)
    _add(sums, at, w0, w1, w2)


@kernel("void(int64[::1], int64[::1], int64[::1], uint64[:, ::1], int64[::1])")
def add_narrow(ids: Any, weights: Any, values: Any, sums: Any, counts: Any) -> None:
    """sums[ids[i]] += values[i]·weights[i] and counts[ids[i]] += weights[i], values int64[n];
    `counts` may be empty, for none."""
    is_counted = counts.shape[0] > 0
    for i in range(ids.shape[0]):
        weight = weights[i]
        if weight != 0:
            value = values[i]
            high = _ALL if value < 0 else _ZERO
            _add_scaled(sums, ids[i], np.uint64(value), high, weight)
            if is_counted:
                counts[ids[i]] += weight


@kernel("void(int64[::1], int64[::1], uint64[:, ::1], uint64[:, ::1], int64[::1])")
def add_wide(ids: Any, weights: Any, values: Any, sums: Any, counts: Any) -> None:
    """The same for values uint64[n, 2], signed 128-bit."""
    is_counted = counts.shape[0] > 0
    for i in range(ids.shape[0]):
        weight = weights[i]
        if weight != 0:
            _add_scaled(sums, ids[i], values[i, 0], values[i, 1], weight)
            if is_counted:
                counts[ids[i]] += weight


@inlined
def _quotient(m0: Any, m1: Any, m2: Any, divisor: Any) -> Any:
    """Magnitude (m0, m1, m2) divided by divisor, truncated."""
    rest = _ZERO
    if m1 == _ZERO and m2 == _ZERO:
        return m0 // divisor, _ZERO, _ZERO
    if divisor <= _LOW:
        q0, q1, q2 = _ZERO, _ZERO, _ZERO
        for half in range(6):
            word = m2 if half < 2 else (m1 if half < 4 else m0)
            piece = (word >> _HALF) if half % 2 == 0 else (word & _LOW)
            rest = (rest << _HALF) | piece
            q = rest // divisor
            rest = rest - q * divisor
            if half < 2:
                q2 = (q2 << _HALF) | q
            elif half < 4:
                q1 = (q1 << _HALF) | q
            else:
                q0 = (q0 << _HALF) | q
        return q0, q1, q2
    for _ in range(192):
        rest = (rest << _ONE) | (m2 >> _TOP)
        m2 = (m2 << _ONE) | (m1 >> _TOP)
        m1 = (m1 << _ONE) | (m0 >> _TOP)
        m0 = m0 << _ONE
        if rest >= divisor:
            rest = rest - divisor
            m0 = m0 | _ONE
    return m0, m1, m2


@inlined
def _negated(w0: Any, w1: Any, w2: Any) -> Any:
    w0 = ~w0 + _ONE
    carry = _ONE if w0 == _ZERO else _ZERO
    w1 = ~w1 + carry
    carry = _ONE if (w1 == _ZERO and carry == _ONE) else _ZERO
    return w0, w1, ~w2 + carry


@inlined
def mean(w0: Any, w1: Any, w2: Any, count: Any) -> Any:
    """A total divided by `count`, truncated toward zero."""
    negative = (w2 >> _TOP) != _ZERO
    if negative:
        w0, w1, w2 = _negated(w0, w1, w2)
    w0, w1, w2 = _quotient(w0, w1, w2, count)
    if negative:
        w0, w1, w2 = _negated(w0, w1, w2)
    return w0, w1, w2


@inlined
def _is_within(w0: Any, w1: Any, w2: Any, least0: Any, least1: Any, most0: Any, most1: Any) -> Any:
    negative = (w1 >> _TOP) != _ZERO
    if w2 != (_ALL if negative else _ZERO):
        return False  # not even 128 bits
    if negative:
        if (least1 >> _TOP) == _ZERO:
            return False
        return w1 > least1 or (w1 == least1 and w0 >= least0)
    return w1 < most1 or (w1 == most1 and w0 <= most0)


@kernel(
    "int64(int64[::1], uint64[:, ::1], int64[::1], boolean, uint64, uint64, uint64, uint64, "
    "uint64[:, ::1], uint8[::1])"
)
def read_sums(
    ids: Any,
    sums: Any,
    counts: Any,
    average: Any,
    least0: Any,
    least1: Any,
    most0: Any,
    most1: Any,
    out: Any,
    valid: Any,
) -> int:
    """out[j] (uint64[m, 2]) = total, or average truncated toward zero, of group ids[j].

    NULL (valid[j] = 0) where the group counts nothing. Returns the first j whose result is
    outside of [least, most], -1 if there is none.
    """
    bad = -1
    for j in range(ids.shape[0]):
        group = ids[j]
        count = counts[group]
        if count <= 0:
            valid[j] = 0
            out[j, 0] = _ZERO
            out[j, 1] = _ZERO
            continue
        w0, w1, w2 = sums[group, 0], sums[group, 1], sums[group, 2]
        if average:
            w0, w1, w2 = mean(w0, w1, w2, np.uint64(count))
        valid[j] = 1
        out[j, 0] = w0
        out[j, 1] = w1
        if bad < 0 and not _is_within(w0, w1, w2, least0, least1, most0, most1):
            bad = j
    return bad
