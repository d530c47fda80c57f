"""Exact second moments of integers and decimals: Σa, Σb and Σa·b, and what is computed from them.

    n·Σab - Σa·Σb        numerator of VAR, COVAR (a = y, b = x) and REGR_SXX
    ─────────────        n² (POP), n·(n-1) (SAMP) or n (REGR)
          …

All of it is integer arithmetic on unscaled values, so a result is exact until it is cut to its
type's scale, and taking a row back leaves no trace. Σa and Σb are uint64[g, 3], Σab uint64[g, 6],
two's complement, least significant word first: products have 256 bits, weights 64.

Kernels take values as uint64[n, 2], signed 128-bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.wide import _add_scaled, _is_within, _negated, _product, inlined
from penstock.data.batch import Column
from penstock.data.kernel import kernel
from penstock.data.types import Kind

#: what the numerator is divided by
BY_N_SQUARED, BY_N_AND_ONE_LESS, BY_N = 0, 1, 2

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_TOP = np.uint64(63)


def wide_values(column: Column) -> npt.NDArray[np.uint64]:
    """uint64[n, 2]: the unscaled values of an integer or decimal column."""
    if column.values.ndim == 2:
        return column.values
    if column.type.kind is Kind.UINT64:
        return np.stack((column.values, np.zeros_like(column.values)), axis=1)
    words = np.empty((len(column), 2), np.uint64)
    _widen(column.values.astype(np.int64, copy=False), words)
    return words


@kernel("void(int64[::1], uint64[:, ::1])")
def _widen(values: Any, words: Any) -> None:
    for i in range(values.shape[0]):
        words[i, 0], words[i, 1] = np.uint64(values[i]), np.uint64(values[i] >> 63)


def power_of_ten(exponent: int) -> npt.NDArray[np.uint64]:
    """uint64[4], the words of 10**exponent (up to 10**76)."""
    value = 10**exponent
    return np.array([(value >> (64 * i)) & (2**64 - 1) for i in range(4)], dtype=np.uint64)


@inlined
def _magnitude(words: Any) -> Any:
    """Make two's complement `words` a magnitude in place; whether it was negative."""
    if (words[-1] >> _TOP) == _ZERO:
        return False
    carry = _ONE
    for i in range(words.shape[0]):
        words[i] = ~words[i] + carry
        if words[i] != _ZERO:
            carry = _ZERO
    return True


@inlined
def _multiply(a: Any, b: Any, out: Any) -> Any:
    """out[:] = a·b, which must fit."""
    for i in range(out.shape[0]):
        out[i] = _ZERO
    for i in range(a.shape[0]):
        if a[i] == _ZERO:
            continue
        carry = _ZERO
        for j in range(b.shape[0]):
            low, high = _product(a[i], b[j])
            low = low + carry
            if low < carry:
                high = high + _ONE
            low = low + out[i + j]
            if low < out[i + j]:
                high = high + _ONE
            out[i + j] = low
            carry = high
        k = i + b.shape[0]
        while carry != _ZERO and k < out.shape[0]:
            out[k] = out[k] + carry
            carry = _ONE if out[k] < carry else _ZERO
            k += 1


@inlined
def _accumulate(sums: Any, words: Any, negative: Any) -> Any:
    """sums[:] ± words, modulo the width of `sums`."""
    # callers say `negative` in a variable: numba would compile this once more for each literal
    carry = _ZERO
    for i in range(sums.shape[0]):
        x = words[i] if i < words.shape[0] else _ZERO
        if negative:
            before = sums[i]
            rest = before - x
            borrow = _ONE if before < x else _ZERO
            sums[i] = rest - carry
            if rest < carry:
                borrow = _ONE
            carry = borrow
        else:
            total = sums[i] + x
            over = _ONE if total < x else _ZERO
            sums[i] = total + carry
            if sums[i] < carry:
                over = _ONE
            carry = over


@kernel(
    "void(int64[::1], int64[::1], uint64[:, ::1], uint64[:, ::1], boolean, uint64[:, ::1], "
    "uint64[:, ::1], uint64[:, ::1], int64[::1])"
)
def add_moments(
    ids: Any, weights: Any, a: Any, b: Any, same: Any, sum_a: Any, sum_b: Any, sum_ab: Any,
    counts: Any,
) -> None:  # fmt: skip
    """Take a delta in; `same`: b is a, and sum_b is not kept."""
    x, y = np.empty(2, np.uint64), np.empty(2, np.uint64)
    xy, term, factor = np.empty(4, np.uint64), np.empty(6, np.uint64), np.empty(1, np.uint64)
    for i in range(ids.shape[0]):
        weight = weights[i]
        if weight == 0:
            continue
        group = ids[i]
        counts[group] += weight
        _add_scaled(sum_a, group, a[i, 0], a[i, 1], weight)
        if not same:
            _add_scaled(sum_b, group, b[i, 0], b[i, 1], weight)
        x[0], x[1] = a[i, 0], a[i, 1]
        y[0], y[1] = b[i, 0], b[i, 1]
        negative = _magnitude(x) != _magnitude(y)
        if weight < 0:
            negative = not negative
        factor[0] = np.uint64(weight) if weight > 0 else ~np.uint64(weight) + _ONE
        _multiply(x, y, xy)
        if factor[0] == _ONE:
            _accumulate(sum_ab[group], xy, negative)
        else:
            _multiply(xy, factor, term)
            _accumulate(sum_ab[group], term, negative)


@inlined
def _bits(words: Any) -> Any:
    """How many binary digits `words` have."""
    top = words.shape[0] - 1
    while top > 0 and words[top] == _ZERO:
        top -= 1
    bits = 0
    while bits < 64 and (words[top] >> np.uint64(bits)) != _ZERO:
        bits += 1
    return 64 * top + bits


@inlined
def _divide(words: Any, divisor: Any, rest: Any) -> Any:
    """words[:] = words // divisor, bit by bit; `rest` is scratch, one word longer than divisor."""
    size = divisor.shape[0]
    while size > 1 and divisor[size - 1] == _ZERO:
        size -= 1
    left = rest[: size + 1]
    for i in range(size + 1):
        left[i] = _ZERO
    for k in range(_bits(words) - 1, -1, -1):
        at, bit = k // 64, np.uint64(k % 64)
        for i in range(size, 0, -1):
            left[i] = (left[i] << _ONE) | (left[i - 1] >> _TOP)
        left[0] = (left[0] << _ONE) | ((words[at] >> bit) & _ONE)
        reaches = left[size] != _ZERO
        if not reaches:
            reaches = True
            for i in range(size - 1, -1, -1):
                if left[i] != divisor[i]:
                    reaches = left[i] > divisor[i]
                    break
        if reaches:
            _accumulate(left, divisor[:size], reaches)
            words[at] = words[at] | (_ONE << bit)
        else:
            words[at] = words[at] & ~(_ONE << bit)


@inlined
def _root(words: Any, root: Any, square: Any) -> Any:
    """words[:] = ⌊√words⌋, below 2**128 (words beyond 256 bits stay, for they are too large)."""
    for i in range(4, words.shape[0]):
        if words[i] != _ZERO:
            return
    root[0], root[1] = _ZERO, _ZERO
    for k in range((_bits(words[:4]) + 1) // 2 - 1, -1, -1):
        at, bit = k // 64, np.uint64(k % 64)
        root[at] = root[at] | (_ONE << bit)
        _multiply(root, root, square)
        for i in range(3, -1, -1):
            if square[i] != words[i]:
                if square[i] > words[i]:
                    root[at] = root[at] & ~(_ONE << bit)
                break
    for i in range(words.shape[0]):
        words[i] = root[i] if i < 2 else _ZERO


@kernel(
    "int64(int64[::1], uint64[:, ::1], uint64[:, ::1], uint64[:, ::1], int64[::1], int64, "
    "uint64[::1], uint64[::1], boolean, boolean, uint64, uint64, uint64, uint64, uint64[:, ::1], "
    "uint8[::1])"
)
def read_moments(
    ids: Any, sum_a: Any, sum_b: Any, sum_ab: Any, counts: Any, divisor: Any, factor: Any,
    cut: Any, root: Any, same: Any, least0: Any, least1: Any, most0: Any, most1: Any,
    out: Any, valid: Any,
) -> int:  # fmt: skip
    """out[j] = (n·Σab - Σa·Σb)·factor / (divisor·cut) of group ids[j], its square root if `root`,
    cut toward zero.

    NULL where the divisor would be zero. Returns the first j whose result is outside of
    [least, most], -1 if there is none.
    """
    bad = -1
    a, b = np.empty(3, np.uint64), np.empty(3, np.uint64)
    ab, n = np.empty(6, np.uint64), np.empty(1, np.uint64)
    other, by, whole = np.empty(1, np.uint64), np.empty(2, np.uint64), np.empty(6, np.uint64)
    number, product = np.empty(8, np.uint64), np.empty(6, np.uint64)
    result, rest = np.empty(12, np.uint64), np.empty(7, np.uint64)
    r, square = np.empty(2, np.uint64), np.empty(4, np.uint64)
    for j in range(ids.shape[0]):
        group = ids[j]
        count = counts[group]
        out[j, 0], out[j, 1] = _ZERO, _ZERO
        valid[j] = 1
        if count <= (1 if divisor == BY_N_AND_ONE_LESS else 0):
            valid[j] = 0
            continue
        n[0] = np.uint64(count)
        other[0] = n[0] - _ONE if divisor == BY_N_AND_ONE_LESS else n[0]
        if divisor == BY_N:
            other[0] = _ONE
        for i in range(3):
            a[i], b[i] = sum_a[group, i], sum_b[group, i]
        for i in range(6):
            ab[i] = sum_ab[group, i]
        minus = _magnitude(ab)
        _multiply(ab, n, number)
        if minus:
            for i in range(8):
                number[i] = ~number[i]
            ab[0] = _ONE
            _accumulate(number, ab[:1], not minus)
        opposite = _magnitude(a) != _magnitude(b)
        _multiply(a, b, product)
        _accumulate(number, product, not opposite)
        negative = _magnitude(number)
        _multiply(number, factor, result)
        _multiply(n, other, by)
        _multiply(by, cut, whole)
        _divide(result, whole, rest)
        if same and negative:  # rows are missing: retractions came before their insertions
            valid[j] = 0
            continue
        if root:
            _root(result, r, square)
        w0, w1, w2 = result[0], result[1], result[2]
        fits = True
        for i in range(2, 12):
            fits = fits and result[i] == _ZERO
        if negative:
            w0, w1, w2 = _negated(w0, w1, w2)
        out[j, 0], out[j, 1] = w0, w1
        if bad < 0 and not (fits and _is_within(w0, w1, w2, least0, least1, most0, most1)):
            bad = j
    return bad
