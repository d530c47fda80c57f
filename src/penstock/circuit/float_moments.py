"""Second moments of REAL and DOUBLE: Σa, Σb and Σa·b as double-double sums.

`sums` is float64[g, 6], the pairs (high, low) of Σa, Σb and Σa·b; products are taken with their
rounding error, so about 106 bits of each sum are right and a retraction leaves next to nothing.
Values that are not finite are counted in `specials`, int64[g]; a group with one has the result
NaN, until it is gone.

Limits: those of `penstock.circuit.floating`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.circuit.floating import _product_error, inlined
from penstock.data.kernel import kernel


@inlined
def _sum(high: Any, low: Any, term: Any, error: Any) -> Any:
    """(high + low) + (term + error) as a pair."""
    total = high + term
    if np.isinf(total):
        return total, 0.0
    back = total - high
    rest = (high - (total - back)) + (term - back) + low + error
    first = total + rest
    return first, rest - (first - total)


@inlined
def _times(a: Any, a1: Any, b: Any, b1: Any) -> Any:
    """(a + a1)·(b + b1) as a pair."""
    high = a * b
    low = _product_error(a, b, high) + a * b1 + a1 * b
    first = high + low
    return first, low - (first - high)


@inlined
def _scaled(value: Any, error: Any, weight: Any) -> Any:
    if weight == 1:
        return value, error
    if weight == -1:
        return -value, -error
    return _times(value, error, float(weight), 0.0)


@kernel(
    "void(int64[::1], int64[::1], float64[::1], float64[::1], float64[:, ::1], int64[::1], "
    "int64[::1])"
)
def add_float_moments(
    ids: Any, weights: Any, a: Any, b: Any, sums: Any, specials: Any, counts: Any
) -> None:
    for i in range(ids.shape[0]):
        weight = weights[i]
        if weight == 0:
            continue
        group = ids[i]
        counts[group] += weight
        x, y = a[i], b[i]
        if not (np.isfinite(x) and np.isfinite(y)):
            specials[group] += weight
            continue
        xy = x * y
        terms = (
            _scaled(x, 0.0, weight),
            _scaled(y, 0.0, weight),
            _scaled(xy, _product_error(x, y, xy), weight),
        )
        for k in range(3):
            s, s1 = _sum(sums[group, 2 * k], sums[group, 2 * k + 1], terms[k][0], terms[k][1])
            sums[group, 2 * k], sums[group, 2 * k + 1] = s, s1


@kernel(
    "void(int64[::1], float64[:, ::1], int64[::1], int64[::1], int64, boolean, boolean, "
    "float64[::1], uint8[::1])"
)
def read_float_moments(
    ids: Any, sums: Any, specials: Any, counts: Any, divisor: Any, same: Any, root: Any, out: Any,
    valid: Any,
) -> None:  # fmt: skip
    """out[j] = (n·Σab - Σa·Σb) / divisor of group ids[j] (see `penstock.circuit.moments`)."""
    for j in range(ids.shape[0]):
        group = ids[j]
        count = counts[group]
        out[j] = 0.0
        valid[j] = 1
        if count <= (1 if divisor == 1 else 0):
            valid[j] = 0
            continue
        if specials[group] > 0:
            out[j] = np.nan
            continue
        n = float(count)
        left, left1 = _times(sums[group, 4], sums[group, 5], n, 0.0)
        right, right1 = _times(sums[group, 0], sums[group, 1], sums[group, 2], sums[group, 3])
        number, _ = _sum(left, left1, -right, -right1)
        if same and number < 0.0:
            number = 0.0
        value = number / n
        if divisor == 0:
            value = value / n
        elif divisor == 1:
            value = value / (n - 1.0)
        if root:
            value = np.sqrt(value)
        out[j] = value
        if value == 0.0:
            out[j] = 0.0  # never -0.0
