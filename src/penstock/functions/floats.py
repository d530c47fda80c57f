"""Functions on DOUBLE: roots, logarithms, powers, trigonometry, tests for NaN (sql-reference 2.3).

Arguments become DOUBLE. Outside a function's domain the result is NaN or ±Infinity, except that
LN, LOG10 and LOG fail for a negative argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.kernel import kernel
from penstock.data.types import BOOLEAN, DOUBLE, FLOATS, NUMBERS, Kind
from penstock.functions.definition import (
    Literals,
    Overload,
    Types,
    define,
    define_typed,
    fail_where,
)
from penstock.functions.params import FLOAT8

#: functions that the C library computes, in the order of `_c_library`
_C_FUNCTIONS = (
    "EXP", "SIN", "COS", "TAN", "ASIN", "ACOS", "ATAN", "SINH", "COSH", "TANH",
    "ASINH", "ACOSH", "ATANH", "LN", "LOG10",
)  # fmt: skip


@kernel("void(int64, float64[::1], float64[::1])", error_model="numpy")
def _c_library(function: Any, x: Any, out: Any) -> None:
    """One call of the C library a value: unlike numpy's vectorised forms, which differ in the
    last digit from machine to machine, it gives the same result everywhere."""
    for i in range(x.shape[0]):
        v = x[i]
        if function == 0:
            r = math.exp(v)
        elif function == 1:
            r = math.sin(v)
        elif function == 2:
            r = math.cos(v)
        elif function == 3:
            r = math.tan(v)
        elif function == 4:
            r = math.asin(v)
        elif function == 5:
            r = math.acos(v)
        elif function == 6:
            r = math.atan(v)
        elif function == 7:
            r = math.sinh(v)
        elif function == 8:
            r = math.cosh(v)
        elif function == 9:
            r = math.tanh(v)
        elif function == 10:
            r = math.asinh(v)
        elif function == 11:
            r = math.acosh(v)
        elif function == 12:
            r = math.atanh(v)
        elif function == 13:
            r = math.log(v)
        else:
            r = math.log10(v)
        out[i] = r


def _exactly(name: str) -> Callable[[Array], Array]:
    number = _C_FUNCTIONS.index(name)

    def compute(x: Array) -> Array:
        out = np.empty(len(x))
        _c_library(number, np.ascontiguousarray(x), out)
        return out

    return compute


@kernel("void(int64, float64[::1], float64[::1], float64[::1])", error_model="numpy")
def _c_library2(function: Any, x: Any, y: Any, out: Any) -> None:
    sx, sy = np.int64(x.shape[0] > 1), np.int64(y.shape[0] > 1)
    for i in range(out.shape[0]):
        if function == 0:
            out[i] = math.pow(x[i * sx], y[i * sy])
        else:
            out[i] = math.atan2(x[i * sx], y[i * sy])


def _pair(function: int, x: Column, y: Column) -> Column:
    out = np.empty(max(len(x), len(y)))
    _c_library2(function, np.ascontiguousarray(x.values), np.ascontiguousarray(y.values), out)
    return Column(DOUBLE, out)


def _cube_root(x: Array) -> Array:
    """The library's root and one step of Newton's: exact for cubes."""
    root = np.cbrt(x)
    step = (root * root * root - x) / (3 * root * root)
    return np.where(np.isfinite(step), root - step, root)


_C = {name: _exactly(name) for name in _C_FUNCTIONS}
_UNARY: dict[str, Callable[[Array], Array]] = {
    **{name: _C[name] for name in _C_FUNCTIONS if name not in ("LN", "LOG10")},
    "SQRT": np.sqrt, "CBRT": _cube_root,
    "COT": lambda x: 1 / _C["TAN"](x), "SEC": lambda x: 1 / _C["COS"](x),
    "CSC": lambda x: 1 / _C["SIN"](x),
    "COTH": lambda x: 1 / _C["TANH"](x), "SECH": lambda x: 1 / _C["COSH"](x),
    "CSCH": lambda x: 1 / _C["SINH"](x),
    "DEGREES": lambda x: x * (180 / math.pi), "RADIANS": lambda x: x * (math.pi / 180),
}  # fmt: skip


def _declare(name: str, compute: Callable[[Array], Array]) -> None:
    @define(name, [FLOAT8], DOUBLE)
    def kernel(x: Column, n: int) -> Column:
        return Column(DOUBLE, compute(x.values))


for _name, _compute in _UNARY.items():
    _declare(_name, _compute)


def _logarithm(name: str, compute: Callable[[Array], Array]) -> None:
    @define(name, [FLOAT8], DOUBLE, can_fail=True)
    def kernel(x: Column, n: int) -> Column:
        fail_where(x.values < 0, (x,), f"{name} of a negative number")
        return Column(DOUBLE, compute(x.values))


_logarithm("LN", _C["LN"])
_logarithm("LOG10", _C["LOG10"])
_logarithm("LOG", _C["LN"])


@define("LOG", [FLOAT8, FLOAT8], DOUBLE, can_fail=True)
def log_base(x: Column, base: Column, n: int) -> Column:
    fail_where((x.values < 0) | (base.values < 0), (x, base), "LOG of a negative number")
    out = _C["LN"](x.values) / _C["LN"](base.values)
    out = np.where(x.values == 0, -np.inf, np.where(base.values == 0, 0.0, out))
    return Column(DOUBLE, out)


@define(["POWER", "POW"], [FLOAT8, FLOAT8], DOUBLE)
def power(x: Column, exponent: Column, n: int) -> Column:
    return _pair(0, x, exponent)


@define("ATAN2", [FLOAT8, FLOAT8], DOUBLE)
def atan2(y: Column, x: Column, n: int) -> Column:
    return _pair(1, y, x)


@define("PI", [], DOUBLE)
def pi(n: int) -> Column:
    return Column(DOUBLE, np.array([math.pi]))


@define("IS_NAN", [FLOAT8], BOOLEAN)
def is_nan(x: Column, n: int) -> Column:
    return Column(BOOLEAN, np.isnan(x.values).view(np.uint8))


@define("IS_INF", [FLOAT8], BOOLEAN)
def is_inf(x: Column, n: int) -> Column:
    return Column(BOOLEAN, np.isinf(x.values).view(np.uint8))


@define_typed("FINITE_OR_NULL", "FINITE_OR_NULL(number)")
def finite_or_null(types: Types, literals: Literals) -> Overload | None:
    """REAL stays REAL; other numbers become DOUBLE."""
    if len(types) != 1 or types[0].kind not in NUMBERS | {Kind.NULL}:
        return None
    t = types[0] if types[0].kind in FLOATS else DOUBLE

    def kernel(args: Sequence[Column], n: int) -> Column:
        values = args[0].values
        return Column(t, values, np.isfinite(values).astype(np.uint8))

    return Overload((t,), t, kernel, nullable=True)
