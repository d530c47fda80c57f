"""LEFT ASOF JOIN (sql-reference 4.7): beside each left row the latest right row that is not later.

    left  (…, key, time)  ─┐
    right (…, key, time)  ─┴─ AsofJoin        keys and times become columns

Times that a word does not tell apart (DECIMAL, floats, strings) and keys that are floats have a
join on a range instead, which reads all rows of a key:

    right row      10:00   10:05   10:20        one row a key and time, the greatest
    is latest      < 10:05 < 10:20   …          until the next one: LEAD
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.data.types import FLOATS, INTEGERS, Field, Kind, Schema
from penstock.plan.expressions import Call, Expr, InputRef
from penstock.plan.nodes import (
    AsofJoin,
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
    if _is_exact(time, other) and not any(e.type.kind in FLOATS for e in inner):
        new_left, outer_at = _with_columns(left, [*(a for a, _ in pairs), time])
        new_right, inner_at = _with_columns(right, inner)
        schema = Schema(joined_fields(JoinKind.LEFT, new_left.schema, new_right.schema))
        *keys, times = zip(outer_at, inner_at, strict=True)
        asof = AsofJoin(schema, new_left, new_right, tuple(keys), times, span=join.span)
        start = len(new_left.schema)
        return pick(asof, [*range(n), *range(start, start + m)])
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


def _with_columns(node: Node, exprs: Sequence[Expr]) -> tuple[Node, list[int]]:
    """`node` with the values of `exprs` as columns, and where these are."""
    new = [e for e in exprs if not isinstance(e, InputRef)]
    width = len(node.schema)
    behind = iter(range(width, width + len(new)))
    at = [e.index if isinstance(e, InputRef) else next(behind) for e in exprs]
    if not new:
        return node, at
    extra = tuple(Field(f"$k{i}", e.type) for i, e in enumerate(new))
    schema = Schema((*node.schema.fields, *extra))
    return Project(schema, node, (*references(node.schema), *new)), at


def _is_exact(a: Expr, b: Expr) -> bool:
    """Whether a word tells the values of both apart, and the same word the same values."""
    of_days = (Kind.DATE, Kind.TIME, Kind.TIMESTAMP)
    return a.type.kind is b.type.kind and (a.type.kind in INTEGERS or a.type.kind in of_days)


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
