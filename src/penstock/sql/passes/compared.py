"""What a join compares, as columns of its sides, where that is computed.

    l JOIN r ON l.x < CAST(r.z AS BIGINT) + 1        Join  where x < $side0
                                               ──►     l
                                                       Project [r.*, … AS $side0] ─ r

A place in an order is found by search (`penstock.plan.bounds`), and the best of a key is asked for
instead of all (`partners`), of columns. Two types that differ are compared in one that holds both,
as keys are. What can fail stays where it is: it is asked of pairs, and a row may have none; but not
of rows that are in a pair each, beside the one row of an aggregate, and are asked this first; that
one row waits for others if it fails (`gates`):

    l WHERE l.x * 2 > (SELECT AVG(x) FROM r) * 3
"""

from __future__ import annotations

from dataclasses import replace

from penstock.data.types import Schema
from penstock.functions.coercion import key_type
from penstock.functions.registry import resolve
from penstock.plan.bounds import KINDS, ORDERED, bounds_of
from penstock.plan.expressions import Call, Expr, InputRef, conjunction
from penstock.plan.nodes import Filter, Join, JoinKind, Node, ProgramPlan
from penstock.plan.rewrite import can_fail, columns_of, conjuncts, remap
from penstock.sql.passes.each_view import bottom_up
from penstock.sql.passes.gates import gate, without_failing
from penstock.sql.passes.join_keys import Side, converted, is_one_row, joined_fields, pick

_OPS = ("<", "<=", ">", ">=")


def compared_columns(program: ProgramPlan) -> ProgramPlan:
    return bottom_up(program, with_columns)


def with_columns(node: Node) -> Node:
    """A join without bounds, with those of its conditions that can be bounds as such."""
    node = _asked_first(node)
    if not isinstance(node, Join) or node.residual is None:
        return node
    width = len(node.left.schema)
    conditions = conjuncts(node.residual)
    if bounds_of(conditions, width):
        return node
    pairs = [
        sides_of(c, width, may_fail=not i and _is_beside_one(node))
        for i, c in enumerate(conditions)
    ]
    if not any(pairs):
        return node
    sides = Side(node.left, "$side"), Side(node.right, "$side")
    places = [
        None if p is None else (sides[0].key(p[0]), sides[1].key(remap(p[1], lambda i: i - width)))
        for p in pairs
    ]
    failing = [e for e in sides[1].extra if can_fail(e)]
    if failing:
        sides[1].node = without_failing(node.right, failing, gate(node.left))
    left, right = sides[0].build(), sides[1].build()
    at = len(left.schema)
    rest: list[Expr] = []
    for condition, place in zip(conditions, places, strict=True):
        if place is None:
            rest.append(remap(condition, lambda i: i if i < width else i - width + at))
            continue
        assert isinstance(condition, Call)
        a: Expr = InputRef(left.schema.types[place[0]], place[0])
        b: Expr = InputRef(right.schema.types[place[1]], at + place[1])
        if _reads_right(condition.args[0], width):
            a, b = b, a
        function = resolve(condition.function.name, [a.type, b.type], [None, None])
        rest.append(Call(condition.type, function, (a, b), span=condition.span))
    fields = joined_fields(node.kind, left.schema, right.schema)
    residual = conjunction(rest)
    joined = Join(
        Schema(fields), node.kind, left, right, node.keys, node.null_safe, residual, span=node.span
    )
    wanted = list(range(width))
    if node.kind not in (JoinKind.SEMI, JoinKind.ANTI):
        wanted += range(at, at + len(node.right.schema))
    return pick(joined, wanted)


def _asked_first(node: Node) -> Node:
    """Rows beside one row, of which the first comparison is a condition of their join."""
    if not isinstance(node, Filter) or not isinstance(join := node.input, Join):
        return node
    first, *rest = conjuncts(node.predicate)
    if join.residual is not None or not can_fail(first) or not _is_beside_one(join):
        return node
    if sides_of(first, len(join.left.schema), may_fail=True) is None:
        return node
    joined = replace(join, residual=first)
    after = conjunction(rest)
    if after is None:
        return joined
    return Filter(node.schema, with_columns(joined), after, span=node.span)


def _is_beside_one(join: Join) -> bool:
    """Whether every left row is in one pair before any condition is asked."""
    return join.kind is JoinKind.INNER and not join.keys and is_one_row(join.right)


def sides_of(condition: Expr, width: int, *, may_fail: bool) -> tuple[Expr, Expr] | None:
    """The two values of a comparison of a left row with a right one, of a type in which their order
    is found by search, if neither can fail, or they `may_fail`."""
    if not isinstance(condition, Call) or condition.function.name not in _OPS:
        return None
    a, b = condition.args
    if _reads_right(a, width):
        a, b = b, a
    used = columns_of(a), columns_of(b)
    if not all(used) or max(used[0]) >= width or min(used[1]) < width:
        return None
    common = a.type if a.type.same_as(b.type) else key_type(a.type, b.type)
    if common is None or common.kind not in KINDS | ORDERED:
        return None
    a, b = converted(a, common), converted(b, common)
    fails = can_fail(a) or can_fail(b)
    return None if fails and not may_fail else (a, b)


def _reads_right(e: Expr, width: int) -> bool:
    return any(c >= width for c in columns_of(e))
