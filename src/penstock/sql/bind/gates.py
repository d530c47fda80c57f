"""Sub-queries that can fail, evaluated only while some row comes to them.

    WHERE k > 100 AND x IN (SELECT 1 / y FROM u)

      Project 1 / y
        u, and of those rows that fail none unless there is a row with k > 100

A sub-query that reads nothing of the outer rows is evaluated once for all of them, and not at all
while there are none that the text around it lets through: what fails there must not stop the
pipeline. So the rows that would fail wait at a gate (`penstock.sql.passes.gates`), and totals are
fitted to their type above it (`totals`). Where a condition joins relations and a row of sensible
size can make it fail (`is_risky`), or it joins them outwards, all rows of both wait below it and
are kept; where only a number that is too large can, the pairs that would fail are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.plan.expressions import Expr, Fails, Not, Or, conjunction
from penstock.plan.nodes import Filter, Join, JoinKind, Node, Project, UnionAll, Values
from penstock.plan.rewrite import (
    can_fail,
    columns_of,
    conjuncts,
    expressions,
    inputs,
    is_risky,
    parts,
    remap,
    with_inputs,
)
from penstock.sql.bind.build import TRUE, and_
from penstock.sql.bind.forms import Outer, has, outers
from penstock.sql.bind.totals import can_overflow, lazily
from penstock.sql.passes.gates import is_test, without_failing
from penstock.sql.passes.join_keys import equality, is_equality

#: joins of which each row of the left side brings its values, as they are
_KEEP_LEFT = (JoinKind.INNER, JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI)


def query_can_fail(query: Node) -> bool:
    """Whether some row can make an expression, or a total, of `query` raise."""
    return any(can_overflow(n) or any(map(can_fail, expressions(n))) for n in _nodes(query))


def query_is_risky(query: Node) -> bool:
    """Whether a row of sensible size can make an expression of `query` raise."""
    return any(any(map(is_risky, expressions(n))) for n in _nodes(query))


def independent(rows: Node) -> Node | None:
    """Rows of which there are some if `rows`, a part of a sub-query, has any for some outer row;
    None where that is not known without one."""
    match rows:
        case _ if not outers(rows):
            return rows
        case Filter(input=below, predicate=predicate):
            there = independent(below)
            own = conjunction([p for p in conjuncts(predicate) if not has(p, Outer)])
            if there is None or own is None or there.schema != below.schema:
                return there
            return Filter(rows.schema, there, own)
        case Project(input=below):
            return independent(below)
    return None


def _nodes(query: Node) -> list[Node]:
    """Each node of `query` once, however many read it."""
    found, seen = [query], {id(query)}
    for node in found:
        for x in inputs(node):
            if id(x) not in seen:
                seen.add(id(x))
                found.append(x)
    return found


def behind(query: Node, gate: Node) -> Node:
    """`query`, of which the rows that could fail and read no outer row pass only while `gate` has
    a row."""
    done: dict[int, Node] = {}

    def visit(node: Node) -> Node:
        if id(node) not in done:
            done[id(node)] = _behind(node, [visit(x) for x in inputs(node)], gate)
        return done[id(node)]

    return visit(lazily(query))


def _behind(query: Node, new: Sequence[Node], gate: Node) -> Node:
    failing = [e for e in expressions(query) if can_fail(e) and not is_test(e)]
    if not failing or outers(query):
        return with_inputs(query, new)
    if isinstance(query, Values):
        rows = tuple(Project(query.schema, gate, row) for row in query.rows)
        return rows[0] if len(rows) == 1 else UnionAll(query.schema, rows)
    if isinstance(query, Project):
        return with_inputs(query, [without_failing(new[0], failing, gate)])
    if isinstance(query, Filter):
        return _filtered(query, new[0], gate)
    assert isinstance(query, Join)
    return _joined(query, new[0], new[1], gate)


def _filtered(query: Filter, rows: Node, gate: Node) -> Node:
    terms = conjuncts(query.predicate)
    keys = [p for p in terms if is_equality(p) and can_fail(p)]
    if any(map(is_risky, keys)):
        return replace(query, input=_waiting(rows, gate))
    # they may join relations, of which the rows wait that make one of their sides fail
    for e in (side for p in keys for side in parts(p)):
        rows = _sparing(rows, e, gate)
    test = conjunction([p for p in terms if p not in keys])
    if test is not None and can_fail(test):
        rows = without_failing(rows, [test], gate)
    return replace(query, input=rows)


def _joined(query: Join, left: Node, right: Node, gate: Node) -> Node:
    terms, width = conjuncts(query.residual), len(left.schema)
    keys = [p for p in terms if can_fail(p) and equality(p, width) is not None]
    failing = [p for p in terms if can_fail(p) and p not in keys]
    if any(map(is_risky, terms)) or (failing and query.kind is not JoinKind.INNER):
        return replace(query, left=_waiting(left, gate), right=_waiting(right, gate))
    for a, b, _ in (e for p in keys if (e := equality(p, width)) is not None):
        left = _sparing(left, a, gate)
        right = _sparing(right, remap(b, lambda i: i - width), gate)
    joined = replace(query, left=left, right=right)
    if not failing:
        return joined
    # pairs for which a condition fails are kept, and asked again once there is a row to ask
    test = Fails(TRUE.type, tuple(failing))
    spared = [Or(p.type, (Fails(TRUE.type, (p,)), p)) if p in failing else p for p in terms]
    pairs = replace(joined, residual=conjunction(spared))
    good = Filter(query.schema, pairs, Not(TRUE.type, test))
    bad = _waiting(Filter(query.schema, pairs, test), gate)
    asked = Filter(query.schema, bad, and_(failing))
    return UnionAll(query.schema, (good, asked))


def _waiting(node: Node, gate: Node) -> Node:
    """`node`, none of whose rows pass while `gate` has none."""
    return Join(node.schema, JoinKind.SEMI, node, gate, (), (), None)


def _sparing(node: Node, e: Expr, gate: Node) -> Node:
    """`node`, of which the rows wait for which `e` fails: there where they come from, so that what
    joins those still can."""
    used = columns_of(e)
    if not can_fail(e):
        return node
    if used and isinstance(node, Join) and node.kind in _KEEP_LEFT:
        width = len(node.left.schema)
        if max(used) < width:
            return replace(node, left=_sparing(node.left, e, gate))
        if min(used) >= width and node.kind is JoinKind.INNER:
            moved = remap(e, lambda i: i - width)
            return replace(node, right=_sparing(node.right, moved, gate))
    return without_failing(node, [e], gate)
