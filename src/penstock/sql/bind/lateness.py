"""LATENESS and WATERMARK: a constant that can be taken from a column's values, in its own units.

    ts TIMESTAMP LATENESS INTERVAL '1' HOUR     3,600,000,000 µs
    d DECIMAL(10, 2) LATENESS 1.5               150 hundredths
    n INT LATENESS 1.5                          1: the line is at n - 1.5, and so is n - 1

A value has no fraction of its column's unit, so neither has the constant: rounded down it tells
the same rows apart. A DATE less an interval is floored to days as well (sql-reference 2.10.6).
"""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

from penstock.data.types import FLOATS, INTEGERS, NUMBERS, Kind, SqlType
from penstock.plan.expressions import Expr
from penstock.sql import ast
from penstock.sql.bind.constants import constant
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.report import BindError
from penstock.sql.bind.scope import Scope

#: units of the column in one µs
_PER_MICROSECOND = {
    Kind.TIMESTAMP: Fraction(1), Kind.TIMESTAMP_TZ: Fraction(1), Kind.TIME: Fraction(1000),
    Kind.DATE: Fraction(1, 86_400_000_000),
}  # fmt: skip


def lateness(e: ast.Expr, column: SqlType, what: str = "LATENESS") -> int | float:
    """How far behind the largest value a row of `column` may be. Raises BindError."""
    bound = ExpressionBinder(Scope(), aggregates=what).bind(e)
    value = _constant(bound)
    if value is None:
        raise BindError(e.span, f"{what} takes a constant, such as INTERVAL '1' HOUR")
    unit = _PER_MICROSECOND.get(column.kind)
    if unit is not None and bound.type.kind is Kind.INTERVAL_SHORT and value >= 0:
        return math.floor(Fraction(value) * unit)
    if column.kind in NUMBERS and bound.type.kind in NUMBERS and value >= 0:
        if column.kind in FLOATS:
            return float(value)
        if column.kind in INTEGERS:
            return math.floor(value)
        digits: int = 10 ** (column.scale or 0)
        return math.floor(Fraction(value) * digits)
    raise BindError(
        e.span,
        f"{what} of a column of type {column.with_nullable(True)} cannot be this: times take an "
        "interval of days or less, numbers a number, neither negative",
    )


def _constant(e: Expr) -> int | float | Decimal | None:
    """The value of an expression over literals, None where it has none."""
    literal = constant(e)
    found: Any = None if literal is None else literal.value
    is_number = isinstance(found, int | float | Decimal) and not isinstance(found, bool)
    if not is_number or not math.isfinite(found):
        return None
    number: int | float | Decimal = found
    return number
