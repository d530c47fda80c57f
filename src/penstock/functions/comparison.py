"""Comparisons: = <> < <= > >= and IS [NOT] DISTINCT FROM.

    integers      exact, whatever the widths and signs
    decimals      exact, scales aligned in 256 bits
    floats        NaN is above everything in < <= > >=; NaN = anything is FALSE (IEEE 754)
    strings       by code point (UTF-8 byte order is code point order); CHAR is not padded
    UUID          by its bytes
    intervals     by length; a short and a long one cannot be compared

IS DISTINCT FROM is never NULL and takes NULL, and NaN, as equal to itself.
Source: sql-reference 2.5. Both sides arrive in their common type, except exact numbers, which
need no cast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.types import (
    BOOLEAN,
    FLOATS,
    INTEGERS,
    NESTED,
    VIEWS,
    Kind,
    SqlType,
)
from penstock.functions import int128, text
from penstock.functions.coercion import EXACT, as_decimal, common_type
from penstock.functions.definition import Literals, Overload, Types, define_typed

_BY_ORDER: dict[str, Callable[[Array, int], Array]] = {
    "=": np.equal, "<>": np.not_equal,
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal,
}  # fmt: skip
#: the order three-way comparison kernels answer with
Order = Callable[[Column, Column], Array]
_FLIPPED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def _rows(a: Column, b: Column) -> int:
    return max(len(a), len(b)) if len(a) and len(b) else 0


def _decimal_order(a: SqlType, b: SqlType) -> Order:
    assert a.scale is not None and b.scale is not None
    scale = max(a.scale, b.scale)
    ka, kb = scale - a.scale, scale - b.scale

    def order(x: Column, y: Column) -> Array:
        out = np.empty(_rows(x, y), dtype=np.int8)
        int128.compare(x.values, ka, y.values, kb, out)
        return out

    return order


def _uuid_order(x: Column, y: Column) -> Array:
    a, b = x.values.byteswap(), y.values.byteswap()
    first = (a[:, 0] > b[:, 0]).astype(np.int8) - (a[:, 0] < b[:, 0])
    second = (a[:, 1] > b[:, 1]).astype(np.int8) - (a[:, 1] < b[:, 1])
    return np.where(first != 0, first, second)


def _wide_equal(x: Column, y: Column) -> Array:
    return np.asarray((x.values == y.values).all(axis=1))


def _float_compare(op: str, x: Array, y: Array) -> Array:
    if op in ("=", "<>"):
        return _BY_ORDER[op](x, y)  # type: ignore[arg-type]
    if op in (">", ">="):
        return _float_compare(_FLIPPED[op], y, x)
    xn, yn = np.isnan(x), np.isnan(y)
    if op == "<":
        return np.asarray((x < y) | (yn & ~xn))
    return np.asarray((x <= y) | yn)


def compare_kernel(op: str, a: SqlType, b: SqlType) -> Callable[[Column, Column], Array]:
    """Booleans of `x op y` for columns of types `a` and `b`; whatever under NULL.

    `op` "is_same" is equality with NaN equal to itself. The types are equal up to length, or
    both integers, or both DECIMAL.
    """
    ufunc = _BY_ORDER["=" if op == "is_same" else op]
    if a.kind in FLOATS:
        if op == "is_same":
            return lambda x, y: (x.values == y.values) | (np.isnan(x.values) & np.isnan(y.values))
        return lambda x, y: _float_compare(op, x.values, y.values)
    order: Order
    if a.kind is Kind.DECIMAL:
        if a.scale == b.scale and op in ("=", "is_same"):
            return _wide_equal
        order = _decimal_order(a, b)
    elif a.kind is Kind.UUID:
        order = _uuid_order
    elif a.kind in VIEWS:
        if op in ("=", "is_same"):
            return text.equal
        if op == "<>":
            return lambda x, y: ~text.equal(x, y)
        order = text.order
    else:
        return lambda x, y: ufunc(x.values, y.values)  # type: ignore[arg-type]
    return lambda x, y: ufunc(order(x, y), 0)


def compared_types(types: Types) -> tuple[SqlType, SqlType] | None:
    """The types in which the two sides are compared; None when they cannot be."""
    if len(types) != 2:
        return None
    a, b = types
    if a.kind in INTEGERS and b.kind in INTEGERS:
        return a, b
    if a.kind in EXACT and b.kind in EXACT:
        return as_decimal(a), as_decimal(b)
    common = common_type(types)
    if common is None:
        return None
    if common.kind in VIEWS and common.kind not in NESTED and a.kind is b.kind:
        return a, b  # no padding, no cast: lengths do not matter
    return common, common


def _comparison(op: str) -> Callable[[Types, Literals], Overload | None]:
    def resolver(types: Types, literals: Literals) -> Overload | None:
        found = compared_types(types)
        if found is None or (found[0].kind is Kind.ROW and op in ("=", "<>")):
            return None
        compare = compare_kernel(op, *found)

        def kernel(args: Sequence[Column], n: int) -> Column:
            return Column(BOOLEAN, compare(args[0], args[1]).view(np.uint8))

        return Overload(found, BOOLEAN, kernel)

    return resolver


for _op in _BY_ORDER:
    define_typed(_op, f"value {_op} value")(_comparison(_op))
define_typed("!=", "value != value")(_comparison("<>"))


def _validity(x: Column) -> Array:
    return np.ones(len(x), np.bool_) if x.valid is None else x.valid.view(np.bool_)


def same_rows(a: SqlType, b: SqlType) -> Callable[[Column, Column], Array]:
    """Booleans of `x IS NOT DISTINCT FROM y`."""
    compare = compare_kernel("is_same", a, b)

    def same(x: Column, y: Column) -> Array:
        equal = compare(x, y)
        if x.valid is None and y.valid is None:
            return equal
        p, q = _validity(x), _validity(y)
        return (equal & p & q) | ~(p | q)

    return same


def _distinct(negated: bool) -> Callable[[Types, Literals], Overload | None]:
    def resolver(types: Types, literals: Literals) -> Overload | None:
        found = compared_types(types)
        if found is None:
            return None
        same = same_rows(*found)

        def kernel(args: Sequence[Column], n: int) -> Column:
            answer = same(args[0], args[1])
            return Column(BOOLEAN, (answer if negated else ~answer).view(np.uint8))

        result = BOOLEAN.with_nullable(False)
        return Overload(found, result, kernel, strict=False, nullable=False)

    return resolver


define_typed("is_distinct", "value IS DISTINCT FROM value")(_distinct(negated=False))
define_typed("is_not_distinct", "value IS NOT DISTINCT FROM value")(_distinct(negated=True))
define_typed("<=>", "value <=> value")(_distinct(negated=True))
