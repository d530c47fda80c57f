"""Float sums that are exact, so that taking a row back leaves the sum of the others.

A total is kept as an unevaluated sum of doubles that do not overlap (Shewchuk's expansions):

    parts[group]   0.1 + 0.2 + 1e300  →  -2.77e-17  0.3  1e300  0 …      smallest first

No bit is lost, whatever the magnitudes, and equal multisets have equal totals in whatever order
they came. Most data needs two parts; the array gets another column when a group needs one.

Totals beyond DOUBLE: values from `HUGE` on are kept apart and scaled down (`Totals.huge`), so no
sum overflows before it is read; a finite total comes back from infinity. Values that are not
finite are no numbers to add: their owner counts them.

    add     O(|delta|) times the parts of a group
    read    (high, low): the total rounded to nearest, and what is left of it, rounded to nearest

Limits: a product with a weight or of two values is exact unless it is below 2**-900.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, grown, moved
from penstock.data.batch import Weights
from penstock.data.kernel import kernel

Floats = npt.NDArray[np.float64]

#: a function that is compiled into the kernels that call it
inlined = numba.njit(nogil=True, forceinline=True)

#: finite values from here on are scaled: 2**63 copies of what is below do not overflow
HUGE = 2.0**900
#: by which power of two
SHIFT = 600
_DOWN = 2.0**-SHIFT
_UP = 2.0**SHIFT
#: a total below it may be unscaled and still be added to
_NOT_HUGE = 2.0**980
_TINY = 2.0**-800
_SPLIT = 134217729.0  # 2**27 + 1
#: terms of a value times its weight
_TERMS = 4


@inlined
def product_error(a: Any, b: Any, product: Any) -> Any:
    """a·b - product, exactly (Dekker); |a|, |b| < 2**990 and a·b not tiny."""
    c = _SPLIT * a
    a1 = c - (c - a)
    a0 = a - a1
    c = _SPLIT * b
    b1 = c - (c - b)
    b0 = b - b1
    return ((a1 * b1 - product) + a1 * b0 + a0 * b1) + a0 * b0


@inlined
def _term(value: Any, weight: Any, k: Any) -> Any:
    """Term k of value·weight, whose sum over k < _TERMS is exact."""
    if weight == 1 or weight == -1:
        return value * weight if k == 0 else 0.0
    low = weight & 0xFFFFFFFF
    factor = float(low) if k >= 2 else float(weight - low)
    if factor == 0.0:
        return 0.0
    scale = 1.0
    if abs(value) < _TINY:
        value, scale = value * 2.0**200, 2.0**-200
    product = value * factor
    if k % 2 == 0:
        return product * scale
    return product_error(value, factor, product) * scale


@inlined
def grow(parts: Any, group: Any, x: Any, spare: Any) -> Any:
    """parts[group] += x; False, and nothing has changed, if that needs one more part."""
    room = parts.shape[1]
    count = 0
    for k in range(room):
        y = parts[group, k]
        if y == 0.0:
            break
        total = x + y
        back = total - x
        rest = (x - (total - back)) + (y - back)
        if rest != 0.0:
            spare[count] = rest
            count += 1
        x = total
    if x != 0.0:
        spare[count] = x
        count += 1
    if count > room:
        return False
    for k in range(room):
        parts[group, k] = spare[k] if k < count else 0.0
    return True


@kernel("int64(int64[::1], int64[::1], float64[::1], float64[:, ::1], int64)")
def _add(ids: Any, weights: Any, values: Any, parts: Any, at: Any) -> Any:
    """parts[ids[i]] += values[i]·weights[i], from term `at` on; the term for which there was no
    room, or -1."""
    spare = np.empty(parts.shape[1] + 1, np.float64)
    for i in range(at // _TERMS, ids.shape[0]):
        weight = weights[i]
        for k in range(at % _TERMS if i == at // _TERMS else 0, _TERMS):
            if (weight == 1 or weight == -1) and k > 0:
                break
            x = _term(values[i], weight, k)
            if x != 0.0 and not grow(parts, ids[i], x, spare):
                return i * _TERMS + k
    return -1


@inlined
def rounded(parts: Any) -> Any:
    """The sum of parts[0], smallest first without overlap, rounded to nearest."""
    k = parts.shape[1] - 1
    while k >= 0 and parts[0, k] == 0.0:
        k -= 1
    if k < 0:
        return 0.0
    high = parts[0, k]
    rest = 0.0
    while k > 0 and rest == 0.0:
        k -= 1
        before, low = high, parts[0, k]
        high = before + low
        rest = low - (high - before)
    # a tie that what is left decides
    if k > 0 and ((rest < 0.0 and parts[0, k - 1] < 0.0) or (rest > 0.0 and parts[0, k - 1] > 0.0)):
        low = rest * 2.0
        other = high + low
        if low == other - high:
            high = other
    return high


@kernel(
    "void(int64[::1], float64[:, ::1], float64[:, ::1], boolean, float64[:, ::1], boolean[::1])"
)
def _read(ids: Any, parts: Any, huge: Any, twice: Any, out: Any, scaled: Any) -> None:
    wide = parts.shape[1] + huge.shape[1] + 2
    total = np.zeros((1, wide), np.float64)
    spare = np.empty(wide + 1, np.float64)
    for j in range(ids.shape[0]):
        group = ids[j]
        total[0, :] = 0.0
        largest = 0.0
        for k in range(huge.shape[1]):
            total[0, k] = huge[group, k]
            largest = max(largest, abs(huge[group, k]))
        scaled[j] = largest >= (_NOT_HUGE * _DOWN * _DOWN if twice else _NOT_HUGE * _DOWN)
        if largest > 0.0 and not scaled[j]:
            for k in range(huge.shape[1]):
                total[0, k] *= _UP
                if twice:
                    total[0, k] *= _UP
        for k in range(parts.shape[1]):
            x = parts[group, k]
            if scaled[j]:
                x *= _DOWN
                if twice:
                    x *= _DOWN
            if x != 0.0:
                grow(total, 0, x, spare)
        out[j, 0] = rounded(total)
        if out[j, 0] == 0.0:
            out[j, 0] = 0.0  # never -0.0
        grow(total, 0, -out[j, 0], spare)
        out[j, 1] = rounded(total)


class Totals:
    """The exact total of every group. What is huge is scaled by 2**-SHIFT, if `twice` by
    2**-2·SHIFT."""

    def __init__(self, *, twice: bool = False) -> None:
        self._twice = twice
        self.parts = np.zeros((16, 2), np.float64)
        self.huge = np.zeros((16, 0), np.float64)

    def reserve(self, groups: int) -> None:
        self.parts, self.huge = grown(self.parts, groups), grown(self.huge, groups)

    def move(self, old: Ids, new: Ids) -> None:
        self.parts, self.huge = moved(self.parts, old, new), moved(self.huge, old, new)

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        """bool[groups]: which totals are not 0."""
        used: npt.NDArray[np.bool_] = (self.parts[:groups] != 0.0).any(axis=1)
        used |= (self.huge[:groups] != 0.0).any(axis=1)
        return used

    def add(self, ids: Ids, weights: Weights, values: Floats) -> None:
        """Add values·weights, all finite, to the totals of `ids`."""
        if not np.abs(values).max(initial=0.0) < HUGE:
            is_huge = np.abs(values) >= HUGE
            self.add_huge(ids, weights, np.ldexp(values, -SHIFT), is_huge)
            values = np.where(is_huge, 0.0, values)
        self.add_small(ids, weights, values)

    def add_small(self, ids: Ids, weights: Weights, values: Floats) -> None:
        """The same, where none is huge."""
        self.parts = _added(ids, weights, values, self.parts)

    def add_huge(
        self, ids: Ids, weights: Weights, scaled: Floats, chosen: npt.NDArray[np.bool_]
    ) -> None:
        """Add the `chosen` of values that are scaled down."""
        at = np.flatnonzero(chosen)
        self.huge = _added(ids[at], weights[at], scaled[at], self.huge)

    def read(self, ids: Ids) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """(float64[n, 2]: high and low of each total, bool[n]: whether they are scaled down)."""
        out, scaled = np.empty((len(ids), 2), np.float64), np.empty(len(ids), np.bool_)
        _read(ids, self.parts, self.huge, self._twice, out, scaled)
        return out, scaled


def _added(ids: Ids, weights: Weights, values: Floats, parts: Floats) -> Floats:
    """`parts`, or what takes its place with more columns, after the addition."""
    at = 0
    while (at := _add(ids, weights, values, parts, at)) >= 0:
        wider = np.zeros((len(parts), parts.shape[1] + 1), np.float64)
        wider[:, :-1] = parts
        parts = wider
    return parts
