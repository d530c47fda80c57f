"""LEFT ASOF JOIN (sql-reference 4.7): beside each left row the latest right row that is not later.

    right row      10:00   10:05   10:20        one row a key and time, the greatest
    is latest      < 10:05 < 10:20   …          until the next one: LEAD

so that the join is one on the keys and a range of times, with at most one match.
"""

from __future__ import annotations

from penstock.data.types import Field, Schema
from penstock.plan.expressions import Call, Expr, InputRef
from penstock.plan.nodes import (
    Filter,
    Join,
    JoinKind,
    Node,
    Project,
    SortKey,
    TopK,
    Window,
    WindowCall,
)
from penstock.plan.rewrite import columns_of, conjuncts, remap
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.catalog import Catalog
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.report import BindError, unsupported
from penstock.sql.bind.scope import Scope
from penstock.sql.passes.join_keys import equality, joined_fields, pick, references


def asof_join(join: ast.Join, left: Node, right: Node, both: Scope, catalog: Catalog) -> Node:
    """The joined rows: left's columns, then right's, which may be NULL. Raises BindError."""
    if join.kind != "LEFT ASOF":
        raise unsupported(join.span, "an ASOF JOIN other than LEFT ASOF JOIN")
    n, m = len(left.schema), len(right.schema)
    time, other = _times(join, both, catalog, n)
    pairs = _keys(join, both, catalog, n)
    inner = [remap(b, lambda i: i - n) for b in (*(b for _, b in pairs), other)]
    extra = tuple(Field(f"$k{i}", e.type) for i, e in enumerate(inner))
    keyed = Schema((*right.schema.fields, *extra))
    rows: Node = Project(keyed, right, (*references(right.schema), *inner), span=join.span)
    at = m + len(pairs)
    rows = Filter(keyed, rows, build.is_null(references(keyed)[at], join.span, negated=True))
    greatest = tuple(SortKey(c, True, False) for c in range(m))
    rows = TopK(keyed, rows, tuple(range(m, at + 1)), greatest, 1, span=join.span)
    until = Field("$until", other.type.with_nullable(True))
    ranged = Schema((*keyed.fields, until))
    call = WindowCall("LEAD", (at,), until.type)
    rows = Window(ranged, rows, tuple(range(m, at)), (SortKey(at),), (call,), span=join.span)
    columns = [InputRef(t, n + i) for i, t in enumerate(ranged.types)]
    before_next = build.or_(
        [
            build.is_null(columns[at + 1], None),
            build.call("<", [time, columns[at + 1]], join.span),
        ]
    )
    on: list[Expr] = [
        build.call("=", [a, columns[m + i]], join.span) for i, (a, _) in enumerate(pairs)
    ]
    on += [build.call(">=", [time, columns[at]], join.span), before_next]
    schema = Schema(joined_fields(JoinKind.LEFT, left.schema, ranged))
    joined = Join(schema, JoinKind.LEFT, left, rows, (), (), build.and_(on), span=join.span)
    return pick(joined, range(n + m))


def _times(join: ast.Join, both: Scope, catalog: Catalog, width: int) -> tuple[Expr, Expr]:
    """(left time, right time) of MATCH_CONDITION."""
    if join.match_condition is None:
        raise BindError(join.span, "an ASOF JOIN needs MATCH_CONDITION (left.time >= right.time)")
    binder = ExpressionBinder(both, aggregates="MATCH_CONDITION", catalog=catalog)
    found = binder.bind(join.match_condition)
    if isinstance(found, Call) and len(found.args) == 2:
        op, (a, b) = found.function.name, found.args
        if op == "<=":
            op, a, b = ">=", b, a
        if op == ">=" and _is_left(a, width) and _is_right(b, width):
            return a, b
    raise BindError(
        join.match_condition.span,
        "MATCH_CONDITION compares a column of the left side with one of the right by >=",
    )


def _keys(join: ast.Join, both: Scope, catalog: Catalog, width: int) -> list[tuple[Expr, Expr]]:
    """(left, right) of every equality of ON."""
    if join.on is None:
        raise BindError(join.span, "an ASOF JOIN needs ON left.key = right.key")
    binder = ExpressionBinder(both, aggregates="ON", catalog=catalog)
    found = []
    for c in conjuncts(binder.condition(join.on, "ON")):
        pair = equality(c, width)
        if pair is None or pair[2]:
            raise unsupported(c.span, "a condition other than equalities in an ASOF JOIN")
        found.append((pair[0], pair[1]))
    return found


def _is_left(e: Expr, width: int) -> bool:
    used = columns_of(e)
    return bool(used) and max(used) < width


def _is_right(e: Expr, width: int) -> bool:
    used = columns_of(e)
    return bool(used) and min(used) >= width
