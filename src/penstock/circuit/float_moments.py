"""Second moments of REAL and DOUBLE: Σa, Σb and Σa·b as exact sums, read as pairs of doubles.

A product is taken with its rounding error, so all three sums are exact and a retraction leaves
nothing behind (`penstock.circuit.floating`). Only the result n·Σab - Σa·Σb is rounded: to about
106 bits of its terms, or exactly where these nearly cancel out, so that equal values vary by 0.

Products from `HUGE` on are scaled by 2**-2·SHIFT, as is everything that is computed with them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit import floating
from penstock.circuit.floating import (
    HUGE,
    SHIFT,
    Floats,
    grow,
    inlined,
    product_error,
    rounded,
)
from penstock.data.kernel import kernel

_DOWN = 2.0**-SHIFT
_UP = 2.0**SHIFT
#: a result below this share of its terms is computed again from all that is known of them
_CANCELS = 2.0**-40


@inlined
def _sum(high: Any, low: Any, term: Any, error: Any) -> Any:
    """(high + low) + (term + error) as a pair."""
    total = high + term
    back = total - high
    rest = (high - (total - back)) + (term - back) + low + error
    first = total + rest
    return first, rest - (first - total)


@inlined
def _times(a: Any, a1: Any, b: Any, b1: Any) -> Any:
    """(a + a1)·(b + b1) as a pair."""
    high = a * b
    low = product_error(a, b, high) + a * b1 + a1 * b
    first = high + low
    return first, low - (first - high)


@kernel("void(float64[::1], float64[::1], float64[::1], float64[::1], boolean[::1])")
def _products(a: Any, b: Any, out: Any, errors: Any, is_huge: Any) -> None:
    for i in range(a.shape[0]):
        x, y = a[i], b[i]
        is_huge[i] = not abs(x * y) < HUGE
        if is_huge[i]:
            x, y = x * _DOWN, y * _DOWN
        elif abs(x) > 1.0 / _DOWN**0.5 and abs(y) < 1.0:  # so that nothing overflows on the way
            x, y = x * _DOWN**0.5, y / _DOWN**0.5
        elif abs(y) > 1.0 / _DOWN**0.5 and abs(x) < 1.0:
            x, y = x / _DOWN**0.5, y * _DOWN**0.5
        out[i] = x * y
        errors[i] = product_error(x, y, out[i])


def products(a: Floats, b: Floats) -> tuple[Floats, Floats, npt.NDArray[np.bool_]]:
    """a·b as values + errors, and which are huge: scaled by 2**-2·SHIFT. `a` and `b` are finite."""
    values, errors, is_huge = np.empty_like(a), np.empty_like(a), np.empty(len(a), np.bool_)
    _products(a, b, values, errors, is_huge)
    return values, errors, is_huge


@inlined
def _exact(a: Any, b: Any, ab: Any, group: Any, n: Any, total: Any, spare: Any) -> Any:
    """n·Σab - Σa·Σb rounded once, from the parts of the totals of `group`, in scratch `total`."""
    total[0, :] = 0.0
    for k in range(ab.shape[1]):
        x = ab[group, k]
        if x != 0.0:
            product = x * n
            grow(total, 0, product, spare)
            grow(total, 0, product_error(x, n, product), spare)
    for i in range(a.shape[1]):
        for k in range(b.shape[1]):
            x, y = a[group, i], -b[group, k]
            if x != 0.0 and y != 0.0:
                product = x * y
                grow(total, 0, product, spare)
                grow(total, 0, product_error(x, y, product), spare)
    return rounded(total)


@kernel(
    "void(float64[:, ::1], boolean[::1], float64[:, ::1], boolean[::1], float64[:, ::1], "
    "boolean[::1], int64[::1], int64[::1], int64[::1], float64[:, ::1], float64[:, ::1], "
    "float64[:, ::1], boolean, int64, boolean, boolean, float64[::1], uint8[::1])",
    helpers=(floating,),
)
def read_float_moments(
    a: Any, a_scaled: Any, b: Any, b_scaled: Any, ab: Any, ab_scaled: Any, counts: Any,
    specials: Any, groups: Any, a_parts: Any, b_parts: Any, ab_parts: Any, are_all: Any,
    divisor: Any, same: Any, root: Any, out: Any, valid: Any,
) -> None:  # fmt: skip
    """out[j] = (n·Σab - Σa·Σb) / divisor of groups[j] (see `penstock.circuit.moments`), from the
    totals of groups[j] as `Totals.read` gives them, and their parts, if they `are_all`."""
    room = 2 * ab_parts.shape[1] + 2 * a_parts.shape[1] * b_parts.shape[1] + 1
    total, spare = np.empty((1, room), np.float64), np.empty(room + 1, np.float64)
    for j in range(counts.shape[0]):
        count = counts[j]
        out[j] = 0.0
        valid[j] = 1
        if count <= (1 if divisor == 1 else 0):
            valid[j] = 0
            continue
        if specials[j] > 0:
            out[j] = np.nan
            continue
        n = float(count)
        x, x1, y, y1, xy, xy1 = a[j, 0], a[j, 1], b[j, 0], b[j, 1], ab[j, 0], ab[j, 1]
        scaled = a_scaled[j] or b_scaled[j] or ab_scaled[j]
        scaled = scaled or not abs(x * y) < HUGE or not abs(xy * n) < HUGE
        if scaled and not a_scaled[j]:
            x, x1 = x * _DOWN, x1 * _DOWN
        if scaled and not b_scaled[j]:
            y, y1 = y * _DOWN, y1 * _DOWN
        if scaled and not ab_scaled[j]:
            xy, xy1 = xy * _DOWN * _DOWN, xy1 * _DOWN * _DOWN
        left, left1 = _times(xy, xy1, n, 0.0)
        right, right1 = _times(x, x1, y, y1)
        number, _ = _sum(left, left1, -right, -right1)
        if are_all and not scaled and abs(number) < _CANCELS * abs(left):
            number = _exact(a_parts, b_parts, ab_parts, groups[j], n, total, spare)
        if same and number < 0.0:
            number = 0.0
        value = number / n
        if divisor == 0:
            value = value / n
        elif divisor == 1:
            value = value / (n - 1.0)
        if root:
            value = np.sqrt(value)
        if scaled:
            value = value * _UP if root else value * _UP * _UP
        out[j] = value
        if value == 0.0:
            out[j] = 0.0  # never -0.0
