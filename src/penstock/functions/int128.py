"""Exact 128-bit decimal arithmetic over columns, compiled with numba.

A DECIMAL value v of scale s is the signed integer v·10^s in two's complement, `uint64[n, 2]`
(low word, high word). Every kernel works on magnitudes in up to 256 bits, so products and
aligned operands never lose a digit before the final range check.

    aligned operands   |a|·10^ka, |b|·10^kb       256 bits
    result             truncated by 10^down, then checked against 10^precision

A kernel fills `out` and `bad` (0 fine, 1 zero divisor, 2 out of range) and returns the number of
bad rows; the caller decides which of them count (rows with NULL do not). A one-row operand is
used for all rows.

Cost: a few ns a row while values fit 64 bits, up to ~1 µs for a full 256-by-128 division.
Not here: result precisions and scales (`numeric_types`), casts (`casts`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from penstock.data.kernel import kernel
from penstock.data.words import high_and_low

U = np.uint64
_M32, _S32 = U(0xFFFFFFFF), U(32)
_0, _1, _63, _64 = U(0), U(1), U(63), U(64)
_TOP = U(1) << U(63)
#: 10^k as (low, high) words, k = 0 .. 38
POW10 = np.array([[10**k & (2**64 - 1), 10**k >> 64] for k in range(39)], dtype=np.uint64)

#: 10^k is below 2^63 for k below this
_WORD_DIGITS = 19

_W = "uint64[:, ::1]"
FINE, ZERO_DIVISOR, OUT_OF_RANGE = 0, 1, 2
TRUNCATE, HALF_UP, HALF_EVEN, FLOOR, CEIL = 0, 1, 2, 3, 4

# without a cache of their own: they are in those of the kernels that call them, and numba would
# refuse to declare them where it finds no directory to write to
_jit: Any = njit(nogil=True, error_model="numpy")
#: a call costs as much as all of its arithmetic, as every word comes back through memory
_inlined: Any = njit(nogil=True, error_model="numpy", forceinline=True)


@_inlined
def _mul128(a1, a0, b1, b0):  # type: ignore[no-untyped-def]
    """128 × 128 → four words, high first."""
    h00, r0 = high_and_low(a0, b0)
    if a1 == _0 and b1 == _0:
        return _0, _0, h00, r0
    h01, l01 = high_and_low(a0, b1)
    h10, l10 = high_and_low(a1, b0)
    h11, l11 = high_and_low(a1, b1)
    r1 = h00 + l01
    c = U(r1 < l01)
    r1 += l10
    c += U(r1 < l10)
    r2 = l11 + c
    c3 = U(r2 < c)
    r2 += h01
    c3 += U(r2 < h01)
    r2 += h10
    c3 += U(r2 < h10)
    return h11 + c3, r2, r1, r0


@_jit
def _div_word(u1, u0, v):  # type: ignore[no-untyped-def]
    """(u1·2^64 + u0) ÷ v for u1 < v → (quotient, remainder); Hacker's Delight, divlu."""
    if u1 == _0:
        return u0 // v, u0 % v
    s = _0
    while v & _TOP == _0:
        v = v << _1
        s += _1
    if s > _0:
        u1 = (u1 << s) | (u0 >> (_64 - s))
        u0 = u0 << s
    base = _1 << _S32
    v1, v0, w1, w0 = v >> _S32, v & _M32, u0 >> _S32, u0 & _M32
    q1 = u1 // v1
    rhat = u1 - q1 * v1
    while q1 >= base or q1 * v0 > ((rhat << _S32) | w1):
        q1 -= _1
        rhat += v1
        if rhat >= base:
            break
    mid = (u1 << _S32) + w1 - q1 * v
    q0 = mid // v1
    rhat = mid - q0 * v1
    while q0 >= base or q0 * v0 > ((rhat << _S32) | w0):
        q0 -= _1
        rhat += v1
        if rhat >= base:
            break
    return (q1 << _S32) + q0, ((mid << _S32) + w0 - q0 * v) >> s


@_jit
def _divmod256(n3, n2, n1, n0, d1, d0):  # type: ignore[no-untyped-def]
    """256 ÷ 128 → (q3, q2, q1, q0, r1, r0); d is not zero."""
    if d1 == _0:
        q3, r = n3 // d0, n3 % d0
        q2, r = _div_word(r, n2, d0)
        q1, r = _div_word(r, n1, d0)
        q0, r = _div_word(r, n0, d0)
        return q3, q2, q1, q0, _0, r
    r1, r0 = _0, _0
    q3, q2, q1, q0 = _0, _0, _0, _0
    for _step in range(256):
        carry = r1 >> _63
        r1 = (r1 << _1) | (r0 >> _63)
        r0 = (r0 << _1) | (n3 >> _63)
        n3 = (n3 << _1) | (n2 >> _63)
        n2 = (n2 << _1) | (n1 >> _63)
        n1 = (n1 << _1) | (n0 >> _63)
        n0 = n0 << _1
        q3 = (q3 << _1) | (q2 >> _63)
        q2 = (q2 << _1) | (q1 >> _63)
        q1 = (q1 << _1) | (q0 >> _63)
        q0 = q0 << _1
        if carry != _0 or r1 > d1 or (r1 == d1 and r0 >= d0):
            borrow = U(r0 < d0)
            r0 -= d0
            r1 = r1 - d1 - borrow
            q0 |= _1
    return q3, q2, q1, q0, r1, r0


@_inlined
def _magnitude(hi, lo):  # type: ignore[no-untyped-def]
    """(negative?, |v| high, |v| low)."""
    if hi & _TOP:
        lo = ~lo + _1
        return True, ~hi + U(lo == _0), lo
    return False, hi, lo


@_inlined
def _store(out, i, negative, hi, lo):  # type: ignore[no-untyped-def]
    if negative:
        lo = ~lo + _1
        hi = ~hi + U(lo == _0)
    out[i, 0] = lo
    out[i, 1] = hi


@_inlined
def _less4(a3, a2, a1, a0, b3, b2, b1, b0):  # type: ignore[no-untyped-def]
    if a3 != b3:
        return a3 < b3
    if a2 != b2:
        return a2 < b2
    if a1 != b1:
        return a1 < b1
    return a0 < b0


@_inlined
def _sub4(a3, a2, a1, a0, b3, b2, b1, b0):  # type: ignore[no-untyped-def]
    r0 = a0 - b0
    c = U(a0 < b0)
    r1 = a1 - b1
    c1 = U(a1 < b1) + U(r1 < c)
    r1 -= c
    r2 = a2 - b2
    c2 = U(a2 < b2) + U(r2 < c1)
    r2 -= c1
    return a3 - b3 - c2, r2, r1, r0


@_inlined
def _add4(a3, a2, a1, a0, b3, b2, b1, b0):  # type: ignore[no-untyped-def]
    r0 = a0 + b0
    c = U(r0 < a0)
    r1 = a1 + b1
    c1 = U(r1 < a1)
    r1 += c
    c1 += U(r1 < c)
    r2 = a2 + b2
    c2 = U(r2 < a2)
    r2 += c1
    c2 += U(r2 < c1)
    return a3 + b3 + c2, r2, r1, r0


@_inlined
def _finish(out, bad, i, negative, n3, n2, n1, n0, down, precision):  # type: ignore[no-untyped-def]
    """Truncate by 10^down, check against 10^precision, store; returns 1 for a bad row."""
    if down > 0:
        n3, n2, n1, n0, _r1, _r0 = _divmod256(n3, n2, n1, n0, POW10[down, 1], POW10[down, 0])
    limit1, limit0 = POW10[precision, 1], POW10[precision, 0]
    if n3 != _0 or n2 != _0 or n1 > limit1 or (n1 == limit1 and n0 >= limit0):
        bad[i] = OUT_OF_RANGE
        return 1
    _store(out, i, negative, n1, n0)
    return 0


@kernel(
    f"int64({_W}, int64, {_W}, int64, boolean, int64, int64, {_W}, uint8[::1])", error_model="numpy"
)
def add(a, ka, b, kb, negate, down, precision, out, bad):  # type: ignore[no-untyped-def]
    """out = (a·10^ka ± b·10^kb) / 10^down; `negate` subtracts."""
    sa, sb, count = int(a.shape[0] > 1), int(b.shape[0] > 1), 0
    limit1, limit0 = POW10[precision, 1], POW10[precision, 0]
    ta, tb = POW10[ka, 0], POW10[kb, 0]
    is_short = down == 0 and ka < _WORD_DIGITS and kb < _WORD_DIGITS
    for i in range(out.shape[0]):
        xn, x1, x0 = _magnitude(a[i * sa, 1], a[i * sa, 0])
        yn, y1, y0 = _magnitude(b[i * sb, 1], b[i * sb, 0])
        if negate:
            yn = not yn
        if is_short and (x1 | y1) == _0:
            # either is below 2^64 · 10^18, so their sum has 128 bits
            p1, p0 = high_and_low(x0, ta)
            q1, q0 = high_and_low(y0, tb)
            if xn == yn:
                r0 = p0 + q0
                r1 = p1 + q1 + U(r0 < p0)
                negative = xn
            else:
                negative = p1 < q1 or (p1 == q1 and p0 < q0)
                if negative:
                    p1, p0, q1, q0 = q1, q0, p1, p0
                r0 = p0 - q0
                r1 = p1 - q1 - U(p0 < q0)
                negative = negative != xn
            if r1 < limit1 or (r1 == limit1 and r0 < limit0):
                _store(out, i, negative, r1, r0)
                continue
        p3, p2, p1, p0 = _mul128(x1, x0, POW10[ka, 1], POW10[ka, 0])
        q3, q2, q1, q0 = _mul128(y1, y0, POW10[kb, 1], POW10[kb, 0])
        if xn == yn:
            r3, r2, r1, r0 = _add4(p3, p2, p1, p0, q3, q2, q1, q0)
            negative = xn
        elif _less4(p3, p2, p1, p0, q3, q2, q1, q0):
            r3, r2, r1, r0 = _sub4(q3, q2, q1, q0, p3, p2, p1, p0)
            negative = yn
        else:
            r3, r2, r1, r0 = _sub4(p3, p2, p1, p0, q3, q2, q1, q0)
            negative = xn
        count += _finish(out, bad, i, negative, r3, r2, r1, r0, down, precision)
    return count


@kernel(f"int64({_W}, {_W}, int64, int64, {_W}, uint8[::1])", error_model="numpy")
def multiply(a, b, down, precision, out, bad):  # type: ignore[no-untyped-def]
    """out = a·b / 10^down, truncated."""
    sa, sb, count = int(a.shape[0] > 1), int(b.shape[0] > 1), 0
    limit1, limit0 = POW10[precision, 1], POW10[precision, 0]
    for i in range(out.shape[0]):
        xn, x1, x0 = _magnitude(a[i * sa, 1], a[i * sa, 0])
        yn, y1, y0 = _magnitude(b[i * sb, 1], b[i * sb, 0])
        if down == 0 and (x1 | y1) == _0:
            r1, r0 = high_and_low(x0, y0)
            if r1 < limit1 or (r1 == limit1 and r0 < limit0):
                _store(out, i, xn != yn, r1, r0)
                continue
        r3, r2, r1, r0 = _mul128(x1, x0, y1, y0)
        count += _finish(out, bad, i, xn != yn, r3, r2, r1, r0, down, precision)
    return count


@kernel(f"int64({_W}, {_W}, int64, int64, {_W}, uint8[::1])", error_model="numpy")
def divide(a, b, up, precision, out, bad):  # type: ignore[no-untyped-def]
    """out = a·10^up / b, truncated. 10^up may exceed 128 bits (up ≤ 76) and be a fraction."""
    sa, sb, count = int(a.shape[0] > 1), int(b.shape[0] > 1), 0
    first, down = min(max(up, 0), 38), max(-up, 0)
    second = max(up, 0) - first
    for i in range(out.shape[0]):
        xn, x1, x0 = _magnitude(a[i * sa, 1], a[i * sa, 0])
        yn, y1, y0 = _magnitude(b[i * sb, 1], b[i * sb, 0])
        if y1 == _0 and y0 == _0:
            bad[i] = ZERO_DIVISOR
            count += 1
            continue
        r3, r2, r1, r0 = _mul128(x1, x0, POW10[first, 1], POW10[first, 0])
        if second > 0:
            h3, h2, h1, h0 = _mul128(r3, r2, POW10[second, 1], POW10[second, 0])
            r3, r2, r1, r0 = _mul128(r1, r0, POW10[second, 1], POW10[second, 0])
            r2 = r2 + h0
            carry = _1 if r2 < h0 else _0
            r3 = r3 + h1
            is_over = r3 < h1
            r3 = r3 + carry
            # a dividend beyond 256 bits cannot have a quotient of 38 digits
            if h3 != _0 or h2 != _0 or is_over or r3 < carry:
                bad[i] = OUT_OF_RANGE
                count += 1
                continue
        r3, r2, r1, r0, _m1, _m0 = _divmod256(r3, r2, r1, r0, y1, y0)
        count += _finish(out, bad, i, xn != yn, r3, r2, r1, r0, down, precision)
    return count


@kernel(f"int64({_W}, int64, {_W}, int64, int64, int64, {_W}, uint8[::1])", error_model="numpy")
def modulo(a, ka, b, kb, down, precision, out, bad):  # type: ignore[no-untyped-def]
    """out = remainder of a·10^ka by b·10^kb with the dividend's sign (ka or kb is 0)."""
    sa, sb, count = int(a.shape[0] > 1), int(b.shape[0] > 1), 0
    for i in range(out.shape[0]):
        xn, x1, x0 = _magnitude(a[i * sa, 1], a[i * sa, 0])
        _yn, y1, y0 = _magnitude(b[i * sb, 1], b[i * sb, 0])
        if y1 == _0 and y0 == _0:
            bad[i] = ZERO_DIVISOR
            count += 1
            continue
        n3, n2, n1, n0 = _mul128(x1, x0, POW10[ka, 1], POW10[ka, 0])
        d3, d2, d1, d0 = _mul128(y1, y0, POW10[kb, 1], POW10[kb, 0])
        if d3 == _0 and d2 == _0:
            _q3, _q2, _q1, _q0, n1, n0 = _divmod256(n3, n2, n1, n0, d1, d0)
        # else: ka is 0 and the dividend is below the divisor, so it is the remainder
        count += _finish(out, bad, i, xn, _0, _0, n1, n0, down, precision)
    return count


@kernel(f"void({_W}, int64, {_W}, int64, int8[::1])", error_model="numpy")
def compare(a, ka, b, kb, out):  # type: ignore[no-untyped-def]
    """out[i] = -1, 0 or 1: the order of a·10^ka and b·10^kb."""
    sa, sb = int(a.shape[0] > 1), int(b.shape[0] > 1)
    ta, tb = POW10[ka, 0], POW10[kb, 0]
    is_short = ka < _WORD_DIGITS and kb < _WORD_DIGITS
    for i in range(out.shape[0]):
        xn, x1, x0 = _magnitude(a[i * sa, 1], a[i * sa, 0])
        yn, y1, y0 = _magnitude(b[i * sb, 1], b[i * sb, 0])
        if is_short and (x1 | y1) == _0 and xn == yn:
            p1, p0 = high_and_low(x0, ta)
            q1, q0 = high_and_low(y0, tb)
            greater = p1 > q1 or (p1 == q1 and p0 > q0)
            less = p1 < q1 or (p1 == q1 and p0 < q0)
            order = np.int8(greater) - np.int8(less)
            out[i] = -order if xn else order
            continue
        p3, p2, p1, p0 = _mul128(x1, x0, POW10[ka, 1], POW10[ka, 0])
        q3, q2, q1, q0 = _mul128(y1, y0, POW10[kb, 1], POW10[kb, 0])
        if xn != yn:
            out[i] = -1 if xn else 1
        elif _less4(p3, p2, p1, p0, q3, q2, q1, q0):
            out[i] = 1 if xn else -1
        elif _less4(q3, q2, q1, q0, p3, p2, p1, p0):
            out[i] = -1 if xn else 1
        else:
            out[i] = 0


@kernel(f"int64({_W}, int64, int64, int64, int64, {_W}, uint8[::1])", error_model="numpy")
def rescale(a, up, down, mode, precision, out, bad):  # type: ignore[no-untyped-def]
    """out = a·10^up / 10^down, the discarded digits rounded by `mode`."""
    count = 0
    limit1, limit0 = POW10[precision, 1], POW10[precision, 0]
    times, is_short = POW10[up, 0], down == 0 and up < _WORD_DIGITS
    for i in range(out.shape[0]):
        negative, x1, x0 = _magnitude(a[i, 1], a[i, 0])
        if is_short and x1 == _0:
            r1, r0 = high_and_low(x0, times)
            if r1 < limit1 or (r1 == limit1 and r0 < limit0):
                _store(out, i, negative, r1, r0)
                continue
        r3, r2, r1, r0 = _mul128(x1, x0, POW10[up, 1], POW10[up, 0])
        if down > 0:
            d1, d0 = POW10[down, 1], POW10[down, 0]
            r3, r2, r1, r0, m1, m0 = _divmod256(r3, r2, r1, r0, d1, d0)
            away = False
            if mode in (HALF_UP, HALF_EVEN):
                h1, h0 = d1 >> _1, (d0 >> _1) | (d1 << _63)  # 10^down is even: half is exact
                if m1 == h1 and m0 == h0:
                    away = mode == HALF_UP or (r0 & _1) == _1
                else:
                    away = m1 > h1 or (m1 == h1 and m0 > h0)
            elif mode == FLOOR:
                away = negative and (m1 | m0) != _0
            elif mode == CEIL:
                away = (not negative) and (m1 | m0) != _0
            if away:
                r3, r2, r1, r0 = _add4(r3, r2, r1, r0, _0, _0, _0, _1)
        count += _finish(out, bad, i, negative, r3, r2, r1, r0, 0, precision)
    return count
