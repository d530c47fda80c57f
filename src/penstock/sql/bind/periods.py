"""Period predicates (sql-reference 2.10.7) → comparisons of their ends.

    (a, b) OVERLAPS (c, d)   →   LEAST(a, b) <= GREATEST(c, d) AND GREATEST(a, b) >= LEAST(c, d)

A period is a pair of points in time, or a point and an interval; its ends may come in any order,
and both belong to it. A predicate is NULL where an end is: LEAST and GREATEST are.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.data.types import Kind
from penstock.errors import Span
from penstock.functions.coercion import DATETIMES, INTERVALS
from penstock.plan.expressions import Expr
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.report import BindError

Bind = Callable[[ast.Expr], Expr]
#: (first, last)
Ends = tuple[Expr, Expr]
#: an end may be an untyped NULL
_POINTS = DATETIMES | {Kind.NULL}

#: predicate → the comparisons that must hold, between ends 0 (first) and 1 (last) of both periods
_RULES: dict[str, tuple[tuple[int, str, int], ...]] = {
    "CONTAINS": ((0, "<=", 0), (1, ">=", 1)),
    "OVERLAPS": ((0, "<=", 1), (1, ">=", 0)),
    "EQUALS": ((0, "=", 0), (1, "=", 1)),
    "PRECEDES": ((1, "<=", 0),),
    "IMMEDIATELY PRECEDES": ((1, "=", 0),),
    "SUCCEEDS": ((0, ">=", 1),),
    "IMMEDIATELY SUCCEEDS": ((0, "=", 1),),
}


def predicate(e: ast.Binary, bind: Bind) -> Expr:
    """The predicate `e.op` over two periods; CONTAINS also takes a point. Raises BindError."""
    left = _period(e.left, bind)
    point = e.op == "CONTAINS" and not isinstance(e.right, ast.RowConstructor)
    right = _point(e.right, bind) if point else _period(e.right, bind)
    tests = [build.call(op, [left[i], right[j]], e.span) for i, op, j in _RULES[e.op]]
    return build.and_(tests, e.span)


def _refuse(span: Span, what: str) -> BindError:
    return BindError(
        span, f"{what}: a period is (start, end) or (start, interval) of DATE, TIME or TIMESTAMP"
    )


def _point(e: ast.Expr, bind: Bind) -> Ends:
    at = bind(e)
    if at.type.kind not in _POINTS:
        raise _refuse(e.span, f"{build.bare(at.type)} is no point in time")
    return at, at


def _period(e: ast.Expr, bind: Bind) -> Ends:
    if not isinstance(e, ast.RowConstructor) or len(e.items) != 2:
        raise _refuse(e.span, "this is no period")
    start, end = bind(e.items[0]), bind(e.items[1])
    if end.type.kind in INTERVALS:
        end = build.call("+", [start, end], e.span)
    kinds = {start.type.kind, end.type.kind}
    if kinds - _POINTS or kinds == {Kind.NULL}:
        raise _refuse(e.span, f"({build.bare(start.type)}, {build.bare(end.type)}) is no period")
    ends = [start, end]
    return build.call("LEAST", ends, e.span), build.call("GREATEST", ends, e.span)
