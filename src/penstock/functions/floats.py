"""Functions on DOUBLE: roots, logarithms, powers, trigonometry, tests for NaN (sql-reference 2.3).

Arguments become DOUBLE. Outside a function's domain the result is NaN or ±Infinity, except that
LN, LOG10 and LOG fail for a negative argument.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.types import BOOLEAN, DOUBLE, FLOATS, Kind
from penstock.functions.definition import (
    Literals,
    Overload,
    Types,
    define,
    define_typed,
    fail_where,
)
from penstock.functions.params import FLOAT8

_UNARY: dict[str, Callable[[Array], Array]] = {
    "SQRT": np.sqrt, "CBRT": np.cbrt, "EXP": np.exp,
    "SIN": np.sin, "COS": np.cos, "TAN": np.tan,
    "COT": lambda x: 1 / np.tan(x), "SEC": lambda x: 1 / np.cos(x), "CSC": lambda x: 1 / np.sin(x),
    "ASIN": np.arcsin, "ACOS": np.arccos, "ATAN": np.arctan,
    "SINH": np.sinh, "COSH": np.cosh, "TANH": np.tanh,
    "COTH": lambda x: 1 / np.tanh(x), "SECH": lambda x: 1 / np.cosh(x),
    "CSCH": lambda x: 1 / np.sinh(x),
    "ASINH": np.arcsinh, "ACOSH": np.arccosh, "ATANH": np.arctanh,
    "DEGREES": np.degrees, "RADIANS": np.radians,
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


_logarithm("LN", np.log)
_logarithm("LOG10", np.log10)
_logarithm("LOG", np.log)


@define("LOG", [FLOAT8, FLOAT8], DOUBLE, can_fail=True)
def log_base(x: Column, base: Column, n: int) -> Column:
    fail_where((x.values < 0) | (base.values < 0), (x, base), "LOG of a negative number")
    out = np.log(x.values) / np.log(base.values)
    out = np.where(x.values == 0, -np.inf, np.where(base.values == 0, 0.0, out))
    return Column(DOUBLE, out)


@define(["POWER", "POW"], [FLOAT8, FLOAT8], DOUBLE)
def power(x: Column, exponent: Column, n: int) -> Column:
    return Column(DOUBLE, np.power(x.values, exponent.values))


@define("ATAN2", [FLOAT8, FLOAT8], DOUBLE)
def atan2(y: Column, x: Column, n: int) -> Column:
    return Column(DOUBLE, np.arctan2(y.values, x.values))


@define("PI", [], DOUBLE)
def pi(n: int) -> Column:
    return Column(DOUBLE, np.array([math.pi]))


@define("IS_NAN", [FLOAT8], BOOLEAN)
def is_nan(x: Column, n: int) -> Column:
    return Column(BOOLEAN, np.isnan(x.values).view(np.uint8))


@define("IS_INF", [FLOAT8], BOOLEAN)
def is_inf(x: Column, n: int) -> Column:
    return Column(BOOLEAN, np.isinf(x.values).view(np.uint8))


@define_typed("FINITE_OR_NULL", "FINITE_OR_NULL(float)")
def finite_or_null(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 1 or types[0].kind not in FLOATS | {Kind.NULL}:
        return None
    t = types[0] if types[0].kind in FLOATS else DOUBLE

    def kernel(args: Sequence[Column], n: int) -> Column:
        values = args[0].values
        return Column(t, values, np.isfinite(values).astype(np.uint8))

    return Overload((t,), t, kernel, nullable=True)
