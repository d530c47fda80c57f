"""EXISTS, IN and ALL as values: a left join with the distinct keys that a sub-query answers for.

    SELECT k IN (SELECT x …)        ──►   Join left(frame, Distinct(TRUE, x)), mark IS NOT NULL

IN and ALL know three answers: besides the mark they need to know whether there are rows, and NULLs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.data.types import BOOLEAN, Field, Schema
from penstock.errors import Span
from penstock.functions.aggregates import resolve_aggregate
from penstock.plan.expressions import Call, Expr, InputRef, Literal
from penstock.plan.nodes import AggCall, Aggregate, Distinct, Filter, Join, JoinKind, Node, Project
from penstock.plan.rewrite import can_fail, columns_of, is_risky, remap
from penstock.sql.bind import build
from penstock.sql.bind.decorrelate import same
from penstock.sql.bind.forms import Exists, ForAll, In, outers
from penstock.sql.bind.patterns import by_pattern
from penstock.sql.passes.join_keys import references

if TYPE_CHECKING:
    from penstock.sql.bind.frame import Frame

#: comparisons that are TRUE where those are FALSE (NaN has a place in the order of floats)
NEGATED = {"<": ">=", "<=": ">", ">": "<=", ">=": "<", "=": "<>", "<>": "="}


def exists(frame: Frame, e: Exists) -> Expr:
    return _found(frame, *frame.rows(frame.asked(e.query))[:2], e.span)


def _found(frame: Frame, query: Node, on: Sequence[Expr], span: Span | None) -> Expr:
    """Whether `query` has a row for which `on` holds, as a column of the frame."""
    columns, conditions = _keyed(frame, query, on)
    at = frame.attach(JoinKind.LEFT, columns, conditions)
    return build.is_null(frame.column(at), span, negated=True)


def is_in(frame: Frame, e: In) -> Expr:
    operands = [frame.only_reached(frame.value(x)) for x in e.operands]
    e = replace(e, query=frame.asked(e.query))
    if len(operands) > 1:
        return _in_rows(frame, e, operands)
    operand = operands[0]
    rows = nulls = None
    if e.type.nullable:
        rows, nulls = presence(frame, e.query)
    query, on, values = frame.rows(e.query)
    found = _found(frame, query, matching(equal(operands, values, e.span), on, values), e.span)
    if rows is None or nulls is None:
        return found
    unknown = nulls
    if operand.type.nullable:
        unknown = build.or_([build.is_null(operand, e.span), unknown], e.span)
    branches = [
        (build.not_(rows, e.span), build.FALSE),
        (found, build.TRUE),
        (unknown, Literal(BOOLEAN, None)),
    ]
    return build.case(branches, build.FALSE, e.span)


def for_all(frame: Frame, e: ForAll) -> Expr:
    operand = frame.only_reached(frame.value(e.operand))
    e = replace(e, query=frame.asked(e.query))
    rows = nulls = None
    if e.type.nullable:
        rows, nulls = presence(frame, e.query)
    query, on, values = frame.rows(e.query)
    found = _found(frame, query, failing(e, operand, on, values), e.span)
    if rows is None or nulls is None:
        return build.not_(found, e.span)
    unknown = nulls
    if operand.type.nullable:
        is_unknown = build.or_([build.is_null(operand, e.span), nulls], e.span)
        unknown = build.and_([rows, is_unknown], e.span)
    branches = [(found, build.FALSE), (unknown, Literal(BOOLEAN, None))]
    return build.case(branches, build.TRUE, e.span)


def failing(e: ForAll, operand: Expr, on: Sequence[Expr], values: Sequence[Expr]) -> list[Expr]:
    """When an inner row makes `e` FALSE for an outer one, of which it is `on`."""
    fails = build.call(NEGATED[e.op], [operand, values[0]], e.span)
    return [*on, fails]


def _in_rows(frame: Frame, e: In, operands: Sequence[Expr]) -> Expr:
    """IN over several columns: TRUE where a row is equal, else NULL where one may be."""
    query, on, values = frame.rows(e.query)
    found = _found(frame, query, matching(equal(operands, values, e.span), on, values), e.span)
    if not e.type.nullable:
        return found
    query, on, values = frame.rows(e.query)  # over the frame as it is now
    patterns = by_pattern(query, equal(operands, values, e.span), on, frame.width)
    if patterns is not None:
        return _by_patterns(frame, e, operands, found, len(patterns))
    sure, unsure = _by_nulls(equal(operands, values, e.span))
    unknown = build.is_null(build.and_(unsure), e.span)
    maybe = _found(frame, query, [*sure, unknown, *on], e.span)
    return build.case([(found, build.TRUE), (maybe, Literal(BOOLEAN, None))], build.FALSE, e.span)


def _by_patterns(frame: Frame, e: In, operands: Sequence[Expr], found: Expr, count: int) -> Expr:
    """The same, where a row that is equal or may be is found by equalities."""
    maybe = []
    for i in range(count):
        query, on, values = frame.rows(e.query)  # over the frame as it is now
        patterns = by_pattern(query, equal(operands, values, e.span), on, frame.width)
        assert patterns is not None
        maybe.append(_found(frame, *patterns[i], e.span))
    unknown = build.or_(maybe, e.span)
    branches = [(found, build.TRUE), (unknown, Literal(BOOLEAN, None))]
    return build.case(branches, build.FALSE, e.span)


def _keyed(frame: Frame, query: Node, on: Sequence[Expr]) -> tuple[Node, list[Expr]]:
    """The distinct keys by which `query` answers "is there one?", after a TRUE column, and
    the conditions that join them to the frame. Where `on` is more than equalities, the keys
    are the outer values for which there is one."""
    pairs = [_sides(p, frame.width) for p in on]
    if not all(pairs):
        return _witnessed(frame, query, on)
    keys = [inner for p in pairs if p is not None for inner in (p[1],)]
    exprs = (build.TRUE, *keys)
    schema = Schema(tuple(Field(f"$key{i}", e.type) for i, e in enumerate(exprs)))
    conditions = [
        build.call(p[2], [p[0], InputRef(p[1].type, frame.width + 1 + i)], None)
        for i, p in enumerate(p for p in pairs if p is not None)
    ]
    return Distinct(schema, Project(schema, query, exprs)), conditions


def _witnessed(frame: Frame, query: Node, on: Sequence[Expr]) -> tuple[Node, list[Expr]]:
    used = sorted({c for p in on for c in columns_of(p) if c < frame.width})
    if not used:  # one answer for all rows of the frame
        condition = build.and_([remap(p, lambda i: i - frame.width) for p in on])
        schema = Schema((Field("$found", build.TRUE.type),))
        rows = Filter(query.schema, query, condition)
        return Distinct(schema, Project(schema, rows, (build.TRUE,))), []
    refs = tuple(frame.column(c) for c in used)
    schema = Schema(tuple(Field(c.name or f"$outer{i}", c.type) for i, c in enumerate(refs)))
    domain = Distinct(schema, Project(schema, frame.asking(used, query, on), refs))
    n = len(used)

    def place(i: int) -> int:
        return used.index(i) if i < frame.width else i - frame.width + n

    condition = build.and_([remap(p, place) for p in on])
    there = Join(schema, JoinKind.SEMI, domain, query, (), (), condition)
    exprs = (build.TRUE, *references(schema))
    marked = Schema((Field("$found", build.TRUE.type), *schema.fields))
    conditions = [same(c, InputRef(c.type, frame.width + 1 + i)) for i, c in enumerate(refs)]
    return Project(marked, there, exprs), conditions


def presence(frame: Frame, query: Node) -> tuple[Expr, Expr]:
    """Whether `query` has a row, and whether one of its values is NULL, as columns of the frame.
    Not how many: every row of the frame would be another with each row more."""
    source, keys, value, on = _by_key(frame, query)
    n = len(keys)
    fields = tuple(Field(f"$key{i}", e.type) for i, e in enumerate(keys))
    told = (build.TRUE, build.is_null(value, None))
    marked = Schema((*fields, *(Field(f"$told{i}", e.type) for i, e in enumerate(told))))
    some = resolve_aggregate("BOOL_OR", [BOOLEAN.with_nullable(False)])
    calls = (AggCall(some, (n,)), AggCall(some, (n + 1,)))
    schema = Schema((*fields, Field("$rows", BOOLEAN), Field("$nulls", BOOLEAN)))
    plan = Aggregate(schema, Project(marked, source, (*keys, *told)), tuple(range(n)), calls)
    kind = JoinKind.LEFT if outers(query) else JoinKind.INNER
    at = frame.attach(kind, plan, on) + n
    # of no rows BOOL_OR is NULL
    rows, nulls = (build.coalesce([frame.column(at + i), build.FALSE], None) for i in (0, 1))
    return rows, nulls


def _by_key(frame: Frame, query: Node) -> tuple[Node, Sequence[Expr], Expr, list[Expr]]:
    """The rows of `query`; of these which of them are asked for together, and the first column; and
    what joins the former, as columns behind the frame's, to the frame."""
    if not outers(query):
        return query, (), references(query.schema)[0], []
    rows, on, values = frame.rows(query)
    pairs = [_sides(p, frame.width) for p in on]
    value = values[0]
    is_inner = all(c >= frame.width for c in columns_of(value))
    if all(pairs) and is_inner and not any(map(can_fail, (*on, value))):
        found = [p for p in pairs if p is not None]
        keys = [inner for _, inner, _ in found]
        on = [
            build.call(op, [outer, InputRef(inner.type, frame.width + i)], None)
            for i, (outer, inner, op) in enumerate(found)
        ]
        return rows, keys, remap(value, lambda i: i - frame.width), on
    rows, on = frame.dependent(query)
    refs = references(rows.schema)
    n = len(refs) - len(query.schema)
    return rows, refs[:n], refs[n], on


def perhaps(equal: list[Expr], span: Span | None) -> list[Expr]:
    """What holds where all of `equal` are TRUE or NULL. Those that are never NULL stay as they are,
    for a join to have keys."""
    sure, unsure = _by_nulls(equal)
    return sure + [build.is_truth(e, False, span, negated=True) for e in unsure]


def _by_nulls(tests: list[Expr]) -> tuple[list[Expr], list[Expr]]:
    """Those that are never NULL, and the others."""
    sure = [e for e in tests if not e.type.nullable]
    return sure, [e for e in tests if e.type.nullable]


def equal(a: Sequence[Expr], b: Sequence[Expr], span: Span | None) -> list[Expr]:
    return [build.call("=", [x, y], span) for x, y in zip(a, b, strict=True)]


def matching(equal: list[Expr], on: Sequence[Expr], values: Sequence[Expr]) -> list[Expr]:
    """When an inner row answers for an outer one: those `equal`, and the sub-query's own `on`. What
    can fail of the inner row is no key of a join, which is computed of rows without a partner."""
    if on and any(map(is_risky, values)):
        return [*on, build.is_truth(build.and_(equal), True, None)]
    return [*equal, *on]


def _sides(p: Expr, width: int) -> tuple[Expr, Expr, str] | None:
    """(frame's side, other side over its own columns, operator) of an equality between a frame of
    `width` columns and what is joined to it."""
    if not isinstance(p, Call) or p.function.name not in ("=", "is_not_distinct"):
        return None
    for a, b in (p.args, p.args[::-1]):
        left, right = columns_of(a), columns_of(b)
        if right and min(right) >= width and (not left or max(left) < width):
            return a, remap(b, lambda i: i - width), p.function.name
    return None
