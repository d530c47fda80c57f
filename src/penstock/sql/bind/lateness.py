"""LATENESS: a constant that can be taken from a column's values, in the column's own units."""

from __future__ import annotations

from penstock.data.types import INTEGERS, Kind, SqlType
from penstock.plan.expressions import Literal
from penstock.sql import ast
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.report import BindError, unsupported
from penstock.sql.bind.scope import Scope

#: µs in one unit of the column
_MICROSECONDS = {
    Kind.TIMESTAMP: 1, Kind.TIMESTAMP_TZ: 1, Kind.DATE: 86_400_000_000, Kind.TIME: 0.001,
}  # fmt: skip


def lateness(e: ast.Expr, column: SqlType) -> int:
    """How far behind the largest value a row of `column` may be. Raises BindError."""
    bound = ExpressionBinder(Scope(), aggregates="LATENESS").bind(e)
    if not isinstance(bound, Literal) or bound.value is None:
        raise BindError(e.span, "LATENESS takes a constant, such as INTERVAL '1' HOUR")
    unit = _MICROSECONDS.get(column.kind)
    is_interval = bound.type.kind is Kind.INTERVAL_SHORT
    if unit is not None and is_interval and bound.value >= 0:
        # a fraction of a day is late by a whole one at the most
        return int(-(-bound.value // unit))
    if column.kind in INTEGERS and bound.type.kind in INTEGERS and bound.value >= 0:
        return int(bound.value)
    if column.kind in (Kind.DECIMAL, Kind.REAL, Kind.DOUBLE):
        raise unsupported(e.span, f"LATENESS of a {column.with_nullable(True)} column")
    raise BindError(
        e.span,
        f"a {column.with_nullable(True)} column cannot be late by this: times take an interval of "
        "days or less, whole numbers a whole number, neither negative",
    )
