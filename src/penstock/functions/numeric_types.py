"""Result types of arithmetic on two numbers (sql-reference 1.3).

integers   the wider type, no promotion            INTEGER + BIGINT    → BIGINT
decimals   exact digits as far as 38 allow         (5,2) * (4,1)       → (9,3)
floats     any float makes the result a float      DECIMAL + REAL      → DOUBLE
"""

from __future__ import annotations

from penstock.data.types import INTEGERS, NUMBERS, STRINGS, Kind, SqlType, decimal
from penstock.functions.coercion import MAX_PRECISION, as_decimal, common_number, whole_digits

#: fraction digits a product or quotient keeps, however wide its integer part
_KEPT_SCALE = 6


def _parts(t: SqlType) -> tuple[int, int]:
    d = as_decimal(t)
    assert d.precision is not None and d.scale is not None
    return d.precision, d.scale


def _keep_integer_digits(precision: int, scale: int) -> SqlType:
    if precision <= MAX_PRECISION:
        return decimal(max(precision, 1), scale)
    whole = min(precision - scale, MAX_PRECISION)
    return decimal(MAX_PRECISION, min(scale, MAX_PRECISION - whole))


def _keep_some_fraction(precision: int, scale: int) -> SqlType:
    if precision <= MAX_PRECISION:
        return decimal(max(precision, 1), scale)
    whole = precision - scale
    if whole < MAX_PRECISION - _KEPT_SCALE:
        return decimal(MAX_PRECISION, min(scale, MAX_PRECISION - whole))
    return decimal(MAX_PRECISION, min(scale, _KEPT_SCALE))


def decimal_result(op: str, a: SqlType, b: SqlType) -> SqlType:
    """The DECIMAL type of `a op b` for exact numeric types."""
    (p1, s1), (p2, s2) = _parts(a), _parts(b)
    whole1, whole2 = p1 - s1, p2 - s2
    if op in "+-":
        scale = max(s1, s2)
        return _keep_integer_digits(max(whole1, whole2) + scale + 1, scale)
    if op == "%":
        scale = max(s1, s2)
        return _keep_integer_digits(min(whole1, whole2) + scale, scale)
    if op == "*":
        return _keep_some_fraction(p1 + p2, s1 + s2)
    scale = max(6, s1 + p2 + 1)
    return _keep_some_fraction(whole1 + s2 + scale, scale)


def has_room(op: str, a: SqlType, b: SqlType, out: SqlType) -> bool:
    """Whether DECIMAL `out` has the digits before the point for every `a op b`."""
    whole1, whole2, whole = whole_digits(a), whole_digits(b), whole_digits(out)
    if op in "+-":
        return whole > max(whole1, whole2)
    return op == "*" and whole >= whole1 + whole2


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
