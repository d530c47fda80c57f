"""Rounding: CEIL, FLOOR, ROUND, BROUND, TRUNCATE, SIGN on numbers (sql-reference 2.1 to 2.3).

    ROUND(2.5) → 3   BROUND(2.5, 0) → 2   TRUNCATE(-2.9) → -2   ROUND(123.45, -1) → 120

Decimals keep their scale under ROUND(d, n) (digits beyond n become 0) and get room for one digit
more; without n, and for CEIL
and FLOOR, the result has scale 0. Integers are themselves. FLOOR and CEIL to a unit of time
are in `dates`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.types import FLOATS, INTEGER, INTEGERS, Kind, SqlType, decimal
from penstock.functions import int128
from penstock.functions.arithmetic import fail_decimal
from penstock.functions.definition import (
    Kernel,
    Literals,
    Overload,
    Types,
    define_typed,
    fail_where,
)

_FLOAT_ROUND: dict[int, Callable[[Array], Array]] = {
    int128.TRUNCATE: np.trunc,
    int128.FLOOR: np.floor,
    int128.CEIL: np.ceil,
    int128.HALF_EVEN: np.rint,
    int128.HALF_UP: lambda v: np.trunc(v) + np.sign(v) * (np.abs(v - np.trunc(v)) >= 0.5),
}
_NAMES = {
    "CEIL": int128.CEIL, "CEILING": int128.CEIL, "FLOOR": int128.FLOOR,
    "ROUND": int128.HALF_UP, "BROUND": int128.HALF_EVEN,
    "TRUNCATE": int128.TRUNCATE, "TRUNC": int128.TRUNCATE,
}  # fmt: skip


def _rescale(values: Array, up: int, down: int, mode: int, precision: int) -> tuple[Array, Array]:
    out, bad = np.zeros((len(values), 2), np.uint64), np.zeros(len(values), np.uint8)
    int128.rescale(np.ascontiguousarray(values), up, down, mode, precision, out, bad)
    return out, bad


def _to_whole(t: SqlType, mode: int) -> tuple[SqlType, Kernel]:
    """Round a decimal to scale 0; its digits are enough for one more before the point."""
    assert t.precision is not None and t.scale is not None
    scale, precision = t.scale, t.precision
    out = decimal(precision, 0)

    def kernel(args: Sequence[Column], n: int) -> Column:
        return Column(out, _rescale(args[0].values, 0, scale, mode, precision)[0])

    return out, kernel


def _digits_kernel(t: SqlType, out: SqlType, mode: int) -> Kernel:
    """Round a decimal to a number of digits given per row; the scale stays."""
    assert t.scale is not None and out.precision is not None
    scale, precision = t.scale, out.precision

    def kernel(args: Sequence[Column], n: int) -> Column:
        x, digits = args
        rows = max(len(x), len(digits))
        values = np.array(np.broadcast_to(x.values, (rows, 2)), order="C")
        wanted = np.broadcast_to(digits.values, rows)
        for d in np.unique(wanted).tolist():  # a handful of distinct digit counts, not rows
            drop = scale - d
            if drop <= 0:
                continue
            here = wanted == d
            if drop > 38:
                values[here] = 0
                continue
            short, bad = _rescale(values[here], 0, drop, mode, 38)
            back, over = _rescale(short, drop, 0, mode, precision)
            if bad.any() or over.any():
                spots = np.zeros(rows, np.uint8)
                spots[here] = np.maximum(bad, over)
                fail_decimal(spots, args, "rounding", out)
            values[here] = back
        return Column(out, values)

    return kernel


#: past them no DOUBLE has a digit, and a power of ten is still finite
_MOST_DIGITS = 300


def _float_digits(values: Array, digits: Array, mode: int) -> Array:
    far = digits < -_MOST_DIGITS
    digits = np.clip(digits, -_MOST_DIGITS, _MOST_DIGITS)
    power = np.power(10.0, np.abs(digits).astype(np.float64))
    shifted = np.where(digits >= 0, values * power, values / power)
    whole = _FLOAT_ROUND[mode](shifted)
    out = np.where(digits >= 0, whole / power, whole * power)
    # beyond what a double resolves there is nothing to round
    out = np.where(np.isfinite(shifted), out, values)
    return np.where(far & np.isfinite(values), 0.0, out).astype(values.dtype)


def _one_more_digit(t: SqlType) -> SqlType:
    """9.99 rounded up is 10.00."""
    assert t.precision is not None and t.scale is not None
    return decimal(min(t.precision + 1, 38), t.scale)


def _rounding(mode: int, with_digits: bool) -> Callable[[Types, Literals], Overload | None]:
    def resolver(types: Types, literals: Literals) -> Overload | None:
        if len(types) not in ((1, 2) if with_digits else (1,)):
            return None
        t = types[0]
        if len(types) == 2:
            if types[1].kind not in INTEGERS and types[1].kind is not Kind.NULL:
                return None
            args = (t, INTEGER)
            if t.kind is Kind.DECIMAL:
                out = t if mode == int128.TRUNCATE else _one_more_digit(t)
                kernel = _digits_kernel(t, out, mode)
                return Overload(args, out, kernel, can_fail=out.precision == 38)
            if t.kind in FLOATS:
                return Overload(
                    args, t, lambda a, n: Column(t, _float_digits(a[0].values, a[1].values, mode))
                )
            if t.kind in INTEGERS:
                return Overload(args, t, _integer_digits_kernel(t, mode), can_fail=True)
            return None
        if t.kind is Kind.DECIMAL:
            out, kernel = _to_whole(t, mode)
            return Overload((t,), out, kernel)
        if t.kind in FLOATS:
            round_ = _FLOAT_ROUND[mode]
            return Overload((t,), t, lambda a, n: Column(t, round_(a[0].values)))
        if t.kind in INTEGERS:
            return Overload((t,), t, lambda a, n: a[0])
        return None

    return resolver


def _integer_digits_kernel(t: SqlType, mode: int) -> Kernel:
    """Negative digits of an integer: rounded in its own type, as decimals of no scale are."""
    message = f"rounding overflows {t.with_nullable(True)}"

    def kernel(args: Sequence[Column], n: int) -> Column:
        x, digits = args
        rows = max(len(x), len(digits))
        out = np.array(np.broadcast_to(x.values, rows))
        wanted = np.broadcast_to(digits.values, rows)
        over = np.zeros(rows, np.bool_)
        for d in np.unique(wanted[wanted < 0]).tolist():  # distinct digit counts, not rows
            here = wanted == d
            out[here], over[here] = _rounded_integers(out[here], -d, mode)
        fail_where(over, args, message)
        return Column(t, out)

    return kernel


def _rounded_integers(values: Array, digits: int, mode: int) -> tuple[Array, Array]:
    """`values` without their last `digits` digits, and where that does not fit their type."""
    if digits > 19:  # no 64 bits come near half of it
        return np.zeros_like(values), np.zeros(len(values), np.bool_)
    unit = np.uint64(10**digits)
    negative = values < 0
    # the size as uint64: -(2^63) has one there too
    size = np.where(negative, np.uint64(0) - values.astype(np.uint64), values.astype(np.uint64))
    quotient, rest = size // unit, size % unit
    half = unit // np.uint64(2)
    if mode == int128.HALF_UP:
        up = rest >= half
    elif mode == int128.HALF_EVEN:
        up = (rest > half) | ((rest == half) & (quotient % np.uint64(2) == 1))
    else:
        up = np.zeros(len(values), np.bool_)
    quotient = quotient + up
    bounds = np.iinfo(values.dtype)
    most = np.where(negative, np.uint64(-int(bounds.min)), np.uint64(bounds.max))
    over = quotient > most // unit
    total = np.where(over, np.uint64(0), quotient) * unit
    return np.where(negative, np.uint64(0) - total, total).astype(values.dtype), over


for _name, _mode in _NAMES.items():
    _digits = _name not in ("CEIL", "CEILING", "FLOOR")
    define_typed(_name, "{}(number, digits)" if _digits else "{}(number)", "{}(number)")(
        _rounding(_mode, _digits)
    )


@define_typed("SIGN", "SIGN(number)")
def sign(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 1:
        return None
    t = types[0]
    if t.kind not in INTEGERS | FLOATS | {Kind.DECIMAL}:
        return None
    if t.kind is not Kind.DECIMAL:
        return Overload((t,), t, lambda a, n: Column(t, np.sign(a[0].values).astype(t.dtype)))
    out = decimal(1, 0)

    def kernel(args: Sequence[Column], n: int) -> Column:
        v = args[0].values
        negative = v[:, 1] >> np.uint64(63) != 0
        low = np.where(negative, -1, v.any(axis=1).astype(np.int64))
        return Column(out, np.stack((low, low >> 63), axis=1).astype(np.int64).view(np.uint64))

    return Overload((t,), out, kernel)
