"""(SELECT …) as a value: a join with the frame, and what is computed of the joined columns.

    SELECT k, (SELECT x FROM s WHERE s.k = t.k)

      Project k, $SINGLE(x, $rows)          an error where there are several rows
        Join left (frame t, Aggregate by k: COUNT(*) AS $rows, MAX(x))

What can fail is computed above the join, of the rows that the expression around it comes to: not
for groups without an outer row, nor for rows that a CASE decides otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.data.types import BIGINT, Field, Kind, Schema
from penstock.errors import Span
from penstock.functions.aggregates import resolve_aggregate
from penstock.plan.expressions import Call, Cast, Expr, InputRef, Literal
from penstock.plan.nodes import AggCall, Aggregate, JoinKind, Node, Project, Values
from penstock.plan.rewrite import can_fail, is_risky
from penstock.sql.bind import build
from penstock.sql.bind.decorrelate import (
    Grouped,
    grouped,
    is_at_most_one_row,
    is_one_row,
    substituted,
)
from penstock.sql.bind.forms import Scalar, outers
from penstock.sql.bind.report import unsupported
from penstock.sql.bind.totals import lazily
from penstock.sql.passes.gates import gate, without_failing
from penstock.sql.passes.join_keys import references

if TYPE_CHECKING:
    from penstock.sql.bind.frame import Frame


def scalar(frame: Frame, e: Scalar) -> Expr:
    """The value of `e` as an expression over the frame."""
    exact = is_one_row(e.query)
    if not outers(e.query):
        above = _above(frame, e.query) if exact else None
        if above is not None:
            return replace(above, type=e.type, span=e.span)
        query = frame.asked(e.query)
        if not exact:
            query = _counted(query, 0, e.span)
        at = frame.attach(JoinKind.INNER, query)
        return replace(frame.column(at), span=e.span) if exact else _single(frame, at, e.span)
    e = replace(e, query=frame.asked(e.query))
    by_key = grouped(lazily(e.query))
    if by_key is not None:
        return _grouped(frame, e, _asked_by_key(frame, by_key))
    is_whole = frame.is_for_all(e.query)
    lifted, on = frame.dependent(e.query)
    n = len(lifted.schema) - len(e.query.schema)
    is_single = is_at_most_one_row(e.query)
    if not is_single:
        lifted = _counted(lifted, n, e.span)
    at = frame.attach(JoinKind.INNER if exact and is_whole else JoinKind.LEFT, lifted, on)
    if not is_single:
        return _single(frame, at + n, e.span)
    return replace(frame.column(at + n), span=e.span)


def _above(frame: Frame, query: Node) -> Expr | None:
    """The value of `query`, one row, as an expression over the frame, where it can fail and some
    rows may not come to it: a constant, or what is computed of aggregates."""
    query = lazily(query)
    value: Expr = InputRef(query.schema.types[0], 0)
    while isinstance(query, Project):
        value = substituted(value, query.exprs)
        query = query.input
    if not can_fail(value):
        return None
    if isinstance(query, Values):
        return substituted(value, query.rows[0])
    if frame.is_reached_by_all() and not is_risky(value):
        return None  # as a rule there is such a row (`Frame.asked`)
    at = frame.attach(JoinKind.INNER, frame.asked(query))
    return substituted(value, [frame.column(at + i) for i in range(len(query.schema))])


def _single(frame: Frame, at: int, span: Span | None) -> Expr:
    """The value of column `at + 1`, an error where column `at` counts several rows."""
    value, rows = frame.column(at + 1), frame.column(at)
    return build.call("$SINGLE", [value, rows], span)


def _counted(query: Node, n: int, span: Span | None) -> Node:
    """How many rows there are for every combination of the first `n` columns, and a value of the
    column behind them: NULL over no rows where there are none."""
    value = query.schema.fields[n]
    if value.type.kind is Kind.NULL:
        raise unsupported(span, "a scalar sub-query that selects NULL from several rows")
    counted = BIGINT.with_nullable(False)
    nullable = value.type.with_nullable(True)
    fields = (*query.schema.fields[:n], Field("$rows", counted), Field(value.name, nullable))
    calls = (
        AggCall(resolve_aggregate("COUNT", []), ()),
        AggCall(resolve_aggregate("MAX", [value.type]), (n,)),
    )
    return Aggregate(Schema(fields), query, tuple(range(n)), calls, span=span)


def _grouped(frame: Frame, e: Scalar, found: Grouped) -> Expr:
    n, value = len(found.keys), found.value
    source: Node = found.query
    is_above = can_fail(value)
    if not is_above:
        fields = (*source.schema.fields[:n], Field("$value", value.type))
        exprs = (*references(source.schema)[:n], value)
        source = Project(Schema(fields), source, exprs)
    on = []
    for i, outer in enumerate(found.keys):
        key = InputRef(source.schema.types[i], frame.width + i)
        on.append(build.call("=", [outer, key], e.span))
    at = frame.attach(JoinKind.LEFT, source, on)
    if is_above:
        columns = [frame.column(at + i) for i in range(len(source.schema))]
        value = substituted(value, columns)
    else:
        value = frame.column(at + n, e.span)
    if _is_null(found.empty):
        return value  # of NULLs, where no group was joined, too
    # the first key is NULL only where no group was joined
    nothing = build.is_null(frame.column(at), e.span)
    chosen = build.case([(nothing, found.empty)], value, e.span)
    return replace(chosen, type=chosen.type.with_nullable(e.type.nullable))


def _asked_by_key(frame: Frame, found: Grouped) -> Grouped:
    """`found`, whose groups are aggregated for all rows of the sub-query: those that would fail
    wait for a row of the frame that has their key."""
    feed, n = found.query.input, len(found.keys)
    assert isinstance(feed, Project)
    keys, values = ([e for e in es if can_fail(e)] for es in (feed.exprs[:n], feed.exprs[n:]))
    asking = frame.reaching_rows() if keys or values else None
    if asking is None:
        return found
    rows = without_failing(feed.input, keys, gate(asking)) if keys else feed.input
    if values:
        schema = Schema(tuple(Field(f"$asked{i}", e.type) for i, e in enumerate(found.keys)))
        asked, width = Project(schema, asking, found.keys), len(rows.schema)
        on = [
            build.call("=", [key, InputRef(e.type, width + i)], None)
            for i, (key, e) in enumerate(zip(feed.exprs[:n], found.keys, strict=True))
        ]
        rows = without_failing(rows, values, asked, on)
    return replace(found, query=replace(found.query, input=replace(feed, input=rows)))


def _is_null(e: Expr) -> bool:
    """Whether `e`, a constant, is NULL because something in it is."""
    match e:
        case Literal(value=value):
            return value is None
        case Call(function=f, args=(total, *_)) if f.name == "$FITS":
            return _is_null(total)
        case Call(function=f, args=args):
            return f.strict and any(map(_is_null, args))
        case Cast(operand=operand):
            return Kind.VARIANT not in (e.type.kind, operand.type.kind) and _is_null(operand)
    return False
