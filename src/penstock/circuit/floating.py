"""Float sums that can be taken back: double-double accumulators.

`sums` is float64[n, 2], the total as an unevaluated sum of two doubles (about 106 bits), so a
retraction leaves an error far below what a double shows. Values that are not finite would stick
to a sum for ever, so they are counted beside it: `specials` is int64[n, 3], the numbers of NaN,
+∞ and -∞.

Limits: what is left after taking back a value is about 1e-32 of it, and sums of values that lie
further apart than that may depend on their order in the last bit; a finite total beyond the
range of DOUBLE does not come back from infinity.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from penstock.data.kernel import kernel

#: a function that is compiled into the kernels that call it
inlined = numba.njit(nogil=True)

_SPLIT = 134217729.0  # 2**27 + 1
_SAFE = 1e290  # beyond it the splitting below would overflow


@inlined
def _product_error(a: Any, b: Any, product: Any) -> Any:
    """a·b - product, exactly (Dekker)."""
    if abs(a) > _SAFE or abs(b) > _SAFE:
        return 0.0
    c = _SPLIT * a
    a1 = c - (c - a)
    a0 = a - a1
    c = _SPLIT * b
    b1 = c - (c - b)
    b0 = b - b1
    return ((a1 * b1 - product) + a1 * b0 + a0 * b1) + a0 * b0


@kernel("void(int64[::1], int64[::1], float64[::1], float64[:, ::1], int64[:, ::1], int64[::1])")
def add_floats(ids: Any, weights: Any, values: Any, sums: Any, specials: Any, counts: Any) -> None:
    """sums[ids[i]] += values[i]·weights[i] and counts[ids[i]] += weights[i]."""
    for i in range(ids.shape[0]):
        weight = weights[i]
        if weight == 0:
            continue
        group = ids[i]
        value = values[i]
        counts[group] += weight
        if np.isnan(value):
            specials[group, 0] += weight
        elif np.isinf(value):
            specials[group, 1 if value > 0 else 2] += weight
        else:
            term = value * weight
            error = 0.0
            if weight != 1 and weight != -1:
                error = _product_error(value, float(weight), term)
            high = sums[group, 0]
            total = high + term
            if np.isinf(total):  # beyond DOUBLE, and there is nothing left of it to correct
                sums[group, 0] = total
                sums[group, 1] = 0.0
                continue
            back = total - high
            low = sums[group, 1] + (high - (total - back)) + (term - back) + error
            sums[group, 0] = total + low
            sums[group, 1] = low - (sums[group, 0] - total)


@kernel(
    "void(int64[::1], float64[:, ::1], int64[:, ::1], int64[::1], boolean, "
    "float64[::1], uint8[::1])"
)
def read_floats(
    ids: Any, sums: Any, specials: Any, counts: Any, average: Any, out: Any, valid: Any
) -> None:
    """out[j] = total or average of group ids[j], NULL where the group counts nothing."""
    for j in range(ids.shape[0]):
        group = ids[j]
        valid[j] = 1
        if counts[group] <= 0:
            valid[j] = 0
            out[j] = 0.0
        elif specials[group, 0] > 0 or (specials[group, 1] > 0 and specials[group, 2] > 0):
            out[j] = np.nan
        elif specials[group, 1] > 0:
            out[j] = np.inf
        elif specials[group, 2] > 0:
            out[j] = -np.inf
        elif average:
            out[j] = sums[group, 0] / counts[group] + sums[group, 1] / counts[group]
        else:
            out[j] = sums[group, 0] + sums[group, 1]
        if out[j] == 0.0:
            out[j] = 0.0  # never -0.0
