"""How rows compare with one row, or with one of their key, where that is shown and nothing else is.

    SELECT CASE WHEN l.x > (SELECT AVG(x) FROM l) THEN 'high' ELSE 'low' END FROM l

      Project CASE WHEN x > m …                  Project CASE WHEN $mark …
        Join inner                        ──►      Marks x > m
          l                                          l
          #1 Aggregate AVG(x) AS m ─ l               #1

    SELECT l.x > AVG(l.x) OVER (PARTITION BY l.k) FROM l

      Project x > m                              UnionAll
        Join inner  on k = k                       Project TRUE
          l                               ──►        Join semi  on k = k where x > m
          #1 Aggregate k, AVG(x) AS m ─ l          Project FALSE
                                                     Join semi  on k = k where x <= m

An average moves with each change, and told all rows anew, or all of its key; so those between the
old one and the new one are told (`circuit.ops.frontier`, `circuit.band`). What is not known, as
one side is NULL, and rows of a left join that have no partner are further parts of the union.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from penstock.data.types import BOOLEAN, FLOATS, Field, Schema
from penstock.functions.registry import resolve
from penstock.plan.bounds import bounds_of
from penstock.plan.expressions import Call, Expr, InputRef, IsNull, Literal
from penstock.plan.nodes import Filter, Frontier, Join, JoinKind, Node, Project, UnionAll
from penstock.plan.rewrite import columns_of, parts, remap, transform
from penstock.sql.passes.compared import sides_of
from penstock.sql.passes.decided import is_aggregate, is_small
from penstock.sql.passes.distinct_rows import keys_of
from penstock.sql.passes.fold_constants import folded
from penstock.sql.passes.join_keys import Side, is_one_row, pick, references

_BOOLEAN = BOOLEAN.with_nullable(False)
_OTHER_WAY = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_FAILS = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def marked_by_one(node: Node) -> Node:
    """Columns of rows that are computed from how they compare with one row, or one of their key,
    without the pairs."""
    if not isinstance(node, Project) or not isinstance(join := node.input, Join):
        return node
    condition = _shown_comparison(node.exprs, join)
    if condition is None:
        return node
    width = len(join.left.schema)
    if join.keys:
        return _by_kind_of_pair(node, join, condition)
    ends = sides_of(condition, width, may_fail=False)
    if join.kind is not JoinKind.INNER or not is_one_row(join.right) or ends is None:
        return node
    sides = Side(join.left, "$side"), Side(join.right, "$side")
    column = sides[0].key(ends[0])
    right = sides[1].key(remap(ends[1], lambda i: i - width))
    left, bound = sides[0].build(), pick(sides[1].build(), [right])
    value = references(bound.schema)[0]
    if value.type.nullable:
        bound = Filter(bound.schema, bound, IsNull(_BOOLEAN, value, negated=True))
    at, op = len(left.schema), condition.function.name
    if any(c >= width for c in columns_of(condition.args[0])):
        op = _OTHER_WAY[op]
    args = references(left.schema)[column], InputRef(value.type, at)
    function = resolve(op, [a.type for a in args], [None, None])
    test = Call(condition.type, function, args, span=condition.span)
    mark = Field("$mark", condition.type)
    schema = Schema((*left.schema.fields, mark))
    rows = Frontier(schema, left, bound, column, op, test, False, True, span=join.span)
    shown = InputRef(mark.type, at)
    exprs = tuple(transform(e, lambda x: shown if x == condition else x) for e in node.exprs)
    return replace(node, input=rows, exprs=exprs)


def _shown_comparison(exprs: Sequence[Expr], join: Join) -> Call | None:
    """The one comparison of both sides that `exprs`, over the pairs of `join`, read of the right
    one, if that is all they do."""
    width = len(join.left.schema)
    asked = {e for shown in exprs for e in _comparisons(shown, width)}
    if join.residual is not None or len(asked) != 1 or is_small(join.left):
        return None
    (condition,) = asked
    others = _decided(exprs, condition, None)
    return None if any(c >= width for e in others for c in columns_of(e)) else condition


def _decided(exprs: Sequence[Expr], condition: Call, value: bool | None) -> tuple[Expr, ...]:
    """`exprs` where `condition` is `value`."""
    type = condition.type.with_nullable(condition.type.nullable or value is None)
    known = Literal(type, value)
    return tuple(folded(transform(e, lambda x: known if x == condition else x)) for e in exprs)


def _by_kind_of_pair(node: Project, join: Join, condition: Call) -> Node:
    """`node` as a union: of rows whose pair passes `condition`, whose pair fails it, of which it is
    not known, and that have no pair."""
    width, types = len(join.left.schema), [a.type for a in condition.args]
    matched = {b for _, b in join.keys}
    if join.kind not in (JoinKind.INNER, JoinKind.LEFT) or not is_aggregate(join.right):
        return node
    if not any(key <= matched for key in keys_of(join.right, {})):
        return node
    if len(bounds_of([condition], width)) != 1 or {t.kind for t in types} & FLOATS:
        return node  # a NaN is on neither side
    op = _FAILS[condition.function.name]
    fails = replace(condition, function=resolve(op, types, [None, None]))
    left, right = join.left, join.right
    half = replace(join, schema=left.schema, kind=JoinKind.SEMI)
    rows: list[tuple[bool | None, Node]] = [
        (True, replace(half, residual=condition)), (False, replace(half, residual=fails)),
    ]  # fmt: skip
    mine, theirs = (min(columns_of(a)) for a in condition.args)
    if mine >= width:
        mine, theirs = theirs, mine
    if left.schema.types[mine].nullable:
        null = Filter(left.schema, left, IsNull(_BOOLEAN, references(left.schema)[mine]))
        rows.append((None, replace(half, left=null)))
        known = IsNull(_BOOLEAN, references(left.schema)[mine], negated=True)
        left = Filter(left.schema, left, known)
    value = references(right.schema)[theirs - width]
    if value.type.nullable:
        null = Filter(right.schema, right, IsNull(_BOOLEAN, value))
        rows.append((None, replace(half, left=left, right=null)))
    if join.kind is JoinKind.LEFT:
        rows.append((None, replace(half, kind=JoinKind.ANTI)))
    parts = (Project(node.schema, r, _decided(node.exprs, condition, v)) for v, r in rows)
    return UnionAll(node.schema, tuple(parts), span=node.span)


def _comparisons(e: Expr, width: int) -> Iterator[Call]:
    """What of `e` compares the first `width` columns with others."""
    used = columns_of(e)
    if not used or max(used) < width:
        return
    if isinstance(e, Call) and e.function.name in _OTHER_WAY and min(used) < width:
        yield e
    else:
        for part in parts(e):
            yield from _comparisons(part, width)
