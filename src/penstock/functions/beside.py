"""Whether a value is within a distance of another, where their difference has no type.

    $BESIDE(x, y, '-150', '0', …)      x - 150 <= y <= x, in units of the last digit of both

DECIMALs of 38 digits are up to 2·10**38 apart, which is more than 128 bits hold: values are taken
apart into four limbs of 32 bits, the first with the sign, and so are the bounds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.types import BOOLEAN
from penstock.functions.definition import Literals, Overload, Types, define_typed

Limbs = tuple[npt.NDArray[np.int64], ...]

_BITS = 32
_MASK = (1 << _BITS) - 1
#: further than any two values are apart
_FURTHEST = 2 * 10**38


@define_typed("$BESIDE", "whether a row is in the frame of another")
def beside(types: Types, literals: Literals) -> Overload | None:
    """(x, y, least and largest y - x as text or NULL for any, whether a y is beside an x that is
    NULL, whether a y that is NULL is beside an x) → never NULL; two NULLs are beside each other.
    x and y are DECIMALs of one type, of more than 18 digits."""
    _, _, least, largest, of_null, is_null = literals

    def kernel(args: Sequence[Column], n: int) -> Column:
        x, y = args[:2]
        here, there = _limbs(x), _limbs(y)
        found: npt.NDArray[np.bool_] = np.ones(n, dtype=np.bool_)
        if least is not None:
            found = found & ~_less(there, _plus(here, int(least)))
        if largest is not None:
            found = found & ~_less(_plus(here, int(largest)), there)
        no_x, no_y = _missing(x), _missing(y)
        found = np.where(no_x, of_null | no_y, np.where(no_y, is_null, found))
        return Column(BOOLEAN.with_nullable(False), np.broadcast_to(found, n).astype(np.uint8))

    return Overload(types, BOOLEAN, kernel, strict=False, nullable=False)


def _missing(column: Column) -> npt.NDArray[np.bool_]:
    if column.valid is None:
        return np.zeros(1, dtype=np.bool_)
    missing: npt.NDArray[np.bool_] = column.valid == 0
    return missing


def _limbs(column: Column) -> Limbs:
    """int64[n] four times, the highest first: what they stand for is Σ limb · 2**32."""
    low, high = column.values[:, 0], column.values[:, 1]
    parts = (high & _MASK, low >> _BITS, low & _MASK)
    return (high.view(np.int64) >> _BITS, *(p.astype(np.int64) for p in parts))


def _plus(limbs: Limbs, number: int) -> Limbs:
    number = max(-_FURTHEST, min(_FURTHEST, number))
    carry: npt.NDArray[np.int64] | int = 0
    sums: list[npt.NDArray[np.int64]] = []
    for i, limb in enumerate(reversed(limbs[1:])):
        total = limb + ((number >> (_BITS * i)) & _MASK) + carry
        sums.insert(0, total & _MASK)
        carry = total >> _BITS
    return (limbs[0] + (number >> (3 * _BITS)) + carry, *sums)


def _less(a: Limbs, b: Limbs) -> npt.NDArray[np.bool_]:
    less, equal = a[0] < b[0], a[0] == b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        less = less | (equal & (x < y))
        equal = equal & (x == y)
    return less
