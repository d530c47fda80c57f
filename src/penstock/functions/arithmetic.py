"""Arithmetic operators on numbers: + - * / %, unary -, MOD, DIV_NULL, ABS.

Integers and decimals are checked (a row that overflows or divides by zero fails, nothing wraps);
floats follow IEEE 754 and never fail. `/` truncates toward zero and `%` has the dividend's sign.
Source: sql-reference 1.3, 2.1. Result types: `numeric_types`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.types import FLOATS, INTEGERS, UNSIGNED, Kind, SqlType
from penstock.functions import int128
from penstock.functions.definition import (
    Kernel,
    Literals,
    Overload,
    Types,
    define_typed,
    fail_where,
)
from penstock.functions.numeric_types import has_room, operand_types

_VERB = {"+": "addition", "-": "subtraction", "*": "multiplication", "/": "division",
         "%": "remainder"}  # fmt: skip


# integers ------------------------------------------------------------------------------------


def _checked_small(ufunc: np.ufunc, a: Array, b: Array, out_type: np.dtype) -> tuple[Array, Array]:
    """In int64, where no result of operands of up to 32 bits can overflow."""
    wide = ufunc(a, b, dtype=np.int64)
    out = wide.astype(out_type)
    return out, out != wide


def _add64(a: Array, b: Array) -> tuple[Array, Array]:
    out = a + b
    return out, ((a ^ out) & (b ^ out)) < 0


def _sub64(a: Array, b: Array) -> tuple[Array, Array]:
    out = a - b
    return out, ((a ^ b) & (a ^ out)) < 0


def _mul64(a: Array, b: Array) -> tuple[Array, Array]:
    out = a * b
    # -2³¹ .. 2³¹ - 1 are 0 .. 2³² - 1 from there, and others are more, however they wrap
    if int(((a + _HALF64) | (b + _HALF64)).view(np.uint64).max(initial=0)) < 1 << 32:
        return out, _NONE
    divisor = np.where((a == 0) | (a == -1), 1, a)
    exact = np.where(a == 0, out == 0, out // divisor == b) & (out % divisor == 0)
    return out, np.where(a == -1, b == _MIN64, ~exact)


def _add_u64(a: Array, b: Array) -> tuple[Array, Array]:
    out = a + b
    return out, out < a


def _sub_u64(a: Array, b: Array) -> tuple[Array, Array]:
    return a - b, a < b


def _mul_u64(a: Array, b: Array) -> tuple[Array, Array]:
    out = a * b
    divisor = np.where(a == 0, np.uint64(1), a)
    return out, (a != 0) & (out // divisor != b)


_MIN64 = np.iinfo(np.int64).min
_HALF64 = np.int64(1 << 31)
#: no row is bad
_NONE = np.zeros(1, np.bool_)
_SIGNED64 = {"+": _add64, "-": _sub64, "*": _mul64}
_UNSIGNED64 = {"+": _add_u64, "-": _sub_u64, "*": _mul_u64}
_UFUNC = {"+": np.add, "-": np.subtract, "*": np.multiply}


def _integer(op: str, t: SqlType) -> Kernel:
    dtype = t.dtype
    if op in "/%":
        return _integer_division(op, t)
    ufunc = _UFUNC[op]
    wide = {Kind.INT64: _SIGNED64, Kind.UINT64: _UNSIGNED64}.get(t.kind)
    message = f"{t.with_nullable(True)} {_VERB[op]} overflows"

    def kernel(args: Sequence[Column], n: int) -> Column:
        a, b = args[0].values, args[1].values
        out, bad = wide[op](a, b) if wide else _checked_small(ufunc, a, b, dtype)
        fail_where(bad, args, message)
        return Column(t, out)

    return kernel


def _truncated(op: str, a: Array, b: Array) -> Array:
    """Quotient toward zero or remainder with the dividend's sign; b is not 0, not MIN / -1."""
    if op == "%":
        return np.fmod(a, b)
    out = a // b
    if a.dtype.kind == "i":
        out = out + ((out < 0) & (out * b != a))
    return out


def _integer_division(op: str, t: SqlType) -> Kernel:
    dtype, one = t.dtype, t.dtype.type(1)
    low = np.iinfo(dtype).min
    by_zero, overflow = f"{_VERB[op]} by zero", f"{t.with_nullable(True)} division overflows"

    def kernel(args: Sequence[Column], n: int) -> Column:
        a, b = args[0].values, args[1].values
        zero = b == 0
        if zero.any():
            fail_where(np.broadcast_to(zero, max(len(a), len(b))), args, by_zero)
            b = np.where(zero, one, b)
        if low < 0:
            edge = (b == -1) & (a == low)
            if edge.any():
                if op == "/":
                    fail_where(edge, args, overflow)
                b = np.where(edge, one, b)
        return Column(t, _truncated(op, a, b).astype(dtype, copy=False))

    return kernel


# floats --------------------------------------------------------------------------------------

_FLOAT_OPS: dict[str, Callable[[Array, Array], Array]] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "%": np.fmod,
}  # fmt: skip


def _float(op: str, t: SqlType) -> Kernel:
    ufunc = _FLOAT_OPS[op]

    def kernel(args: Sequence[Column], n: int) -> Column:
        return Column(t, ufunc(args[0].values, args[1].values))

    return kernel


# decimals ------------------------------------------------------------------------------------


def _scale(t: SqlType) -> int:
    assert t.scale is not None
    return t.scale


def _decimal_call(
    op: str, a: SqlType, b: SqlType, out: SqlType
) -> Callable[[Array, Array, Array, Array], int]:
    """The int128 kernel for `op` with all scales filled in: (a, b, result, bad) → bad rows."""
    s1, s2, s = _scale(a), _scale(b), _scale(out)
    aligned = max(s1, s2)
    precision = out.precision
    if op in "+-":
        return lambda x, y, r, bad: int128.add(
            x, aligned - s1, y, aligned - s2, op == "-", aligned - s, precision, r, bad
        )
    if op == "*":
        return lambda x, y, r, bad: int128.multiply(x, y, s1 + s2 - s, precision, r, bad)
    if op == "/":
        return lambda x, y, r, bad: int128.divide(x, y, s + s2 - s1, precision, r, bad)
    return lambda x, y, r, bad: int128.modulo(
        x, aligned - s1, y, aligned - s2, aligned - s, precision, r, bad
    )


def fail_decimal(bad: Array, args: Sequence[Column], verb: str, t: SqlType) -> None:
    """Raise for the first bad row of an int128 kernel, if it is not NULL."""
    fail_where(bad == int128.ZERO_DIVISOR, args, f"{verb} by zero")
    spelt = t.with_nullable(True)
    fail_where(bad == int128.OUT_OF_RANGE, args, f"result of {verb} does not fit {spelt}")


def _decimal(op: str, a: SqlType, b: SqlType, out: SqlType) -> Kernel:
    call = _decimal_call(op, a, b, out)

    def kernel(args: Sequence[Column], n: int) -> Column:
        rows = max(len(args[0]), len(args[1]))
        result, bad = np.zeros((rows, 2), dtype=np.uint64), np.zeros(rows, dtype=np.uint8)
        if call(args[0].values, args[1].values, result, bad):
            fail_decimal(bad, args, _VERB[op], out)
        return Column(out, result)

    return kernel


# the operators -------------------------------------------------------------------------------


def _kernel(op: str, a: SqlType, b: SqlType, out: SqlType) -> Kernel:
    if out.kind in INTEGERS:
        return _integer(op, out)
    if out.kind in FLOATS:
        return _float(op, out)
    return _decimal(op, a, b, out)


def _binary(op: str) -> Callable[[Types, Literals], Overload | None]:
    def resolver(types: Types, literals: Literals) -> Overload | None:
        found = operand_types(op, *types) if len(types) == 2 else None
        if found is None:
            return None
        a, b, out = found
        is_decimal = out.kind is Kind.DECIMAL
        can_fail = out.kind not in FLOATS and not (is_decimal and has_room(op, a, b, out))
        return Overload((a, b), out, _kernel(op, a, b, out), can_fail=can_fail)

    return resolver


for _op in _VERB:
    define_typed(_op, f"number {_op} number")(_binary(_op))
define_typed("MOD", "MOD(number, number)")(_binary("%"))


@define_typed("DIV_NULL", "DIV_NULL(number, number)")
def div_null(types: Types, literals: Literals) -> Overload | None:
    """Division that is NULL for a zero divisor (and where the quotient overflows or is no finite
    float)."""
    found = operand_types("/", *types) if len(types) == 2 else None
    if found is None:
        return None
    a, b, out = found
    divide = _kernel("/", a, b, out)

    def undefined(x: Column, y: Column) -> Array:
        if out.kind is Kind.DECIMAL:
            return np.asarray(~y.values.any(axis=1))
        zero = y.values == 0
        if out.kind in UNSIGNED:
            return np.asarray(zero)
        return np.asarray(zero | ((y.values == -1) & (x.values == np.iinfo(out.dtype).min)))

    def kernel(args: Sequence[Column], n: int) -> Column:
        x, y = args
        if out.kind in FLOATS:
            values = divide(args, n).values
            return Column(out, values, np.isfinite(values).astype(np.uint8))
        rows = max(len(x), len(y))
        null = np.broadcast_to(undefined(x, y), rows)
        # 0 / 1 in their place: a long DECIMAL over 1 may not fit the quotient
        sides = (_with(x, rows, null, 0), _with(y, rows, null, 1))
        return Column(out, divide(sides, n).values, (~null).astype(np.uint8))

    return Overload((a, b), out, kernel, out.kind is Kind.DECIMAL, nullable=True)


def _with(column: Column, rows: int, where: Array, unscaled: int) -> Column:
    """The column, of `rows` rows, with another value where `where` says."""
    values = np.array(np.broadcast_to(column.values, (rows, *column.values.shape[1:])), order="C")
    values[where] = (unscaled, 0) if column.type.kind is Kind.DECIMAL else unscaled
    valid = None if column.valid is None else np.broadcast_to(column.valid, rows)
    return Column(column.type, values, valid)


def _negate_decimal(values: Array) -> Array:
    low = ~values[:, 0] + np.uint64(1)
    high = ~values[:, 1] + (low == 0)
    return np.stack((low, high), axis=1)


@define_typed("unary-", "- number", "- interval")
def negate(types: Types, literals: Literals) -> Overload | None:
    t = types[0]
    if len(types) != 1 or t.kind in UNSIGNED:
        return None
    if t.kind is Kind.DECIMAL:
        return Overload((t,), t, lambda args, n: Column(t, _negate_decimal(args[0].values)))
    if t.kind in FLOATS:
        return Overload((t,), t, lambda args, n: Column(t, -args[0].values))
    if t.kind not in INTEGERS and t.kind not in (Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG):
        return None
    low = np.iinfo(t.dtype).min

    def kernel(args: Sequence[Column], n: int) -> Column:
        values = args[0].values
        fail_where(values == low, args, f"{t.with_nullable(True)} negation overflows")
        return Column(t, -values)

    return Overload((t,), t, kernel, can_fail=True)


@define_typed("unary+", "+ number", "+ interval")
def plus(types: Types, literals: Literals) -> Overload | None:
    t = types[0]
    signed = INTEGERS | FLOATS | {Kind.DECIMAL, Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG}
    if len(types) != 1 or t.kind not in signed:
        return None
    return Overload((t,), t, lambda args, n: args[0])


@define_typed("ABS", "ABS(number)", "ABS(interval)")
def absolute(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 1:
        return None
    t = types[0]
    if t.kind is Kind.DECIMAL:

        def decimal_kernel(args: Sequence[Column], n: int) -> Column:
            values = args[0].values
            negative = (values[:, 1] >> np.uint64(63)).astype(np.bool_)
            return Column(t, np.where(negative[:, None], _negate_decimal(values), values))

        return Overload((t,), t, decimal_kernel)
    if t.kind in FLOATS or t.kind in UNSIGNED:
        return Overload((t,), t, lambda args, n: Column(t, np.abs(args[0].values)))
    if t.kind not in INTEGERS and t.kind not in (Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG):
        return None
    low = np.iinfo(t.dtype).min

    def kernel(args: Sequence[Column], n: int) -> Column:
        fail_where(args[0].values == low, args, f"ABS of the least {t.with_nullable(True)}")
        return Column(t, np.abs(args[0].values))

    return Overload((t,), t, kernel, can_fail=True)
