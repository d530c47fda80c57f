"""Result types of arithmetic on two numbers (sql-reference 1.3).

integers   the wider type, no promotion            INTEGER + BIGINT    → BIGINT
decimals   exact digits, 38 at most                (5,2) * (4,1)       → (9,3)
floats     any float makes the result a float      DECIMAL + REAL      → DOUBLE
"""

from __future__ import annotations

from penstock.data.types import INTEGERS, NUMBERS, STRINGS, Kind, SqlType, decimal
from penstock.functions.coercion import MAX_PRECISION, as_decimal, common_number

#: fraction digits that a quotient of many digits keeps
_QUOTIENT_SCALE = 6


def _parts(t: SqlType) -> tuple[int, int]:
    d = as_decimal(t)
    assert d.precision is not None and d.scale is not None
    return d.precision, d.scale


def _capped(precision: int, scale: int) -> SqlType:
    """Each at most 38: what is given up are digits before the point, so that a result that does
    not fit is an error and never one that has lost its last digits."""
    return decimal(max(min(precision, MAX_PRECISION), 1), min(scale, MAX_PRECISION))


def decimal_result(op: str, a: SqlType, b: SqlType) -> SqlType:
    """The DECIMAL type of `a op b` for exact numeric types (the base library's published rules:
    SQL:2003, and for a quotient of more than 32 digits SQL Server's reduced scale)."""
    (p1, s1), (p2, s2) = _parts(a), _parts(b)
    whole1, whole2 = p1 - s1, p2 - s2
    scale = max(s1, s2)
    if op in "+-":
        return _capped(max(whole1, whole2) + scale + 1, scale)
    if op == "%":
        return _capped(min(whole1, whole2) + scale, scale)
    if op == "*":
        return _capped(p1 + p2, s1 + s2)
    scale = max(_QUOTIENT_SCALE, s1 + p2 + 1)
    precision = whole1 + s2 + scale
    if precision > MAX_PRECISION - _QUOTIENT_SCALE:
        scale = _QUOTIENT_SCALE
    return _capped(precision, scale)


def operand_types(op: str, a: SqlType, b: SqlType) -> tuple[SqlType, SqlType, SqlType] | None:
    """(type of a, type of b, result) of `a op b`, or None when these are not two numbers.

    A string or an untyped NULL takes the other operand's type.
    """
    if a.kind in STRINGS or a.kind is Kind.NULL:
        a = b
    elif b.kind in STRINGS or b.kind is Kind.NULL:
        b = a
    if a.kind not in NUMBERS or b.kind not in NUMBERS:
        return None
    if a.kind in INTEGERS and b.kind in INTEGERS:
        common = common_number(a, b)
        return common, common, common
    if {a.kind, b.kind} & {Kind.REAL, Kind.DOUBLE}:
        common = common_number(a, b)
        return common, common, common
    x, y = as_decimal(a), as_decimal(b)
    return x, y, decimal_result(op, x, y)
