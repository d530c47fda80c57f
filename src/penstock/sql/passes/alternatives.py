"""Joins by OR, one alternative after the other.

    l JOIN r ON l.k = r.k OR l.m = r.m                  UnionAll
                                                          Join inner  on k = k
                                                ──►       Join inner  on m = m  where k <> k
                                                            or one of them is NULL

Pairs of a later alternative are those that none before it has, so that each is there once. A row
without a partner is left by one anti join after the other, and one that has some is let in by the
first alternative that finds it:

    l WHERE EXISTS (… r.k = l.k OR r.m = l.m)           UnionAll
                                                          Join semi  on k = k
                                                ──►       Join semi  on m = m
                                                            #1 Join anti  on k = k

    l LEFT JOIN r ON …            the pairs, and (l anti by k) anti by m, padded with NULLs

So a change costs the rows that the keys find. As one join, without keys, it read all of the other
side. This is done where each alternative has equal columns, compares columns of both sides in an
order or is about one side (`r.k IS NULL`), and some has more than the last; and where no key fails
for rows of sensible size, which an alternative before it may have kept from being asked. Joins that
have keys besides are left as they are: as a rule these find few rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.data.types import BOOLEAN
from penstock.plan.bounds import bounds_of
from penstock.plan.expressions import Case, Expr, Literal, Or, conjunction
from penstock.plan.nodes import Filter, Join, JoinKind, Node, ProgramPlan, Project, UnionAll
from penstock.plan.rewrite import can_fail, columns_of, conjuncts, is_risky, remap
from penstock.sql.bind import expiries  # which needs the passes itself
from penstock.sql.cycles import views_in_cycles
from penstock.sql.passes.each_view import bottom_up
from penstock.sql.passes.join_keys import equality, join_on, nulls_of, references

_BOOLEAN = BOOLEAN.with_nullable(False)
_HALF = (JoinKind.SEMI, JoinKind.ANTI)
_PADS_RIGHT = (JoinKind.LEFT, JoinKind.FULL)
_PADS_LEFT = (JoinKind.RIGHT, JoinKind.FULL)
#: alternatives of a join, in all: each asks about those before it
_MOST = 8


def by_alternatives(program: ProgramPlan) -> ProgramPlan:
    cyclic = frozenset(views_in_cycles(program.views))
    forgets = expiries.is_forgetful(program)

    def rule(node: Node) -> Node:
        node = _with_filter(node)
        return _pairs_alone(node) if forgets(node) else of_join(node)

    rewritten = bottom_up(program, rule)
    if not cyclic:
        return rewritten
    # an anti join is not monotone
    monotone = bottom_up(program, lambda node: _pairs_alone(_with_filter(node)))
    views = zip(rewritten.views, monotone.views, strict=True)
    return replace(rewritten, views=tuple(b if b.name in cyclic else a for a, b in views))


def _pairs_alone(node: Node) -> Node:
    return of_join(node) if isinstance(node, Join) and node.kind is JoinKind.INNER else node


def of_join(node: Node, most: int = _MOST) -> Node:
    """`node` by its alternatives, if it is a join that has some, and no more than `most`."""
    if not isinstance(node, Join) or (found := _alternatives(node, most)) is None:
        return node
    most //= len(found)
    left, right, width = node.left, node.right, len(node.left.schema)
    if node.kind is JoinKind.SEMI:
        parts: list[Node] = []
        for on in found:
            parts.append(_joined(JoinKind.SEMI, left, right, on, most))
            left = _lacking(left, right, on, most)
        return UnionAll(node.schema, tuple(parts), span=node.span)
    if node.kind is JoinKind.ANTI:
        for on in found:
            left = _lacking(left, right, on, most)
        return left
    parts = [_joined(JoinKind.INNER, left, right, on, most) for on in _apart(node, found)]
    if node.kind in _PADS_RIGHT:
        for on in found:
            left = _lacking(left, right, on, most)
        nulls = nulls_of(node.schema.types[width:])
        parts.append(Project(node.schema, left, (*references(left.schema), *nulls)))
    if node.kind in _PADS_LEFT:
        n = len(right.schema)
        for on in found:
            turned = [remap(c, lambda i: i + n if i < width else i - width) for c in on]
            right = _lacking(right, node.left, turned, most)
        nulls = nulls_of(node.schema.types[:width])
        parts.append(Project(node.schema, right, (*nulls, *references(right.schema))))
    return UnionAll(node.schema, tuple(parts), span=node.span)


def _with_filter(node: Node) -> Node:
    """A join whose alternatives are asked of its pairs, with them among its conditions."""
    if not isinstance(node, Filter) or not isinstance(join := node.input, Join):
        return node
    if join.kind is not JoinKind.INNER:
        return node
    asked = replace(join, residual=conjunction([*conjuncts(join.residual), node.predicate]))
    return node if _alternatives(asked) is None else asked


def _alternatives(node: Join, most: int = _MOST) -> list[list[Expr]] | None:
    """What must hold for a pair, by one alternative or another, of an OR by which partners are
    found sooner than by asking each pair."""
    if node.keys:
        return None
    width, conditions = len(node.left.schema), conjuncts(node.residual)
    for i, condition in enumerate(conditions):
        terms = _terms(condition)
        found = [[*conditions[:i], *conjuncts(t), *conditions[i + 1 :]] for t in terms]
        if 1 < len(terms) <= most and _is_found(terms, width):
            return found
    return None


def _is_found(terms: Sequence[Expr], width: int) -> bool:
    """Whether columns say for each of `terms` which pairs it holds of, and for some, more than that
    all rows of a side are partners."""
    is_narrow = False
    for term in terms:
        both = _both_sides(conjuncts(term), width)[2]
        equal = [e for e in (equality(c, width) for c in both) if e is not None]
        if any(is_risky(key) for a, b, _ in equal for key in (a, b)):
            return False
        is_narrow |= bool(both)
        if not equal and len(bounds_of(both, width)) < len(both):
            return False
    return is_narrow


def _terms(condition: Expr) -> list[Expr]:
    """The operands of a (nested) OR, in order."""
    if isinstance(condition, Or):
        return [t for a in condition.args for t in _terms(a)]
    return [condition]


def _apart(node: Join, found: Sequence[list[Expr]]) -> list[list[Expr]]:
    """The conditions `found` of each alternative, for pairs that none before it has."""
    before: list[tuple[Expr, Expr]] = []
    parts = []
    for on in found:
        untaken = [Case(_BOOLEAN, tuple(before), Literal(_BOOLEAN, True))] if before else []
        parts.append([*untaken, *on])
        taken = conjunction(on)
        assert taken is not None
        before.append((taken, Literal(_BOOLEAN, False)))
    return parts


def _lacking(left: Node, right: Node, on: Sequence[Expr], most: int) -> Node:
    """The left rows that have no partner."""
    own, _, _ = _both_sides(on, len(left.schema))
    condition = conjunction(own)
    if condition is None:
        return _joined(JoinKind.ANTI, left, right, on, most)
    false = Literal(_BOOLEAN, False)
    others = Case(_BOOLEAN, ((condition, false),), Literal(_BOOLEAN, True))
    rows = _joined(JoinKind.ANTI, left, right, on, most)
    return UnionAll(left.schema, (Filter(left.schema, left, others), rows))


def _joined(kind: JoinKind, left: Node, right: Node, on: Sequence[Expr], most: int) -> Node:
    """The join of the left rows and of the right ones of which `on` may hold."""
    width = len(left.schema)
    own, theirs, both = _both_sides(on, width)
    left, right = _filtered(left, own), _filtered(right, theirs)
    return of_join(join_on(kind, left, right, both), most)


def _both_sides(on: Sequence[Expr], width: int) -> tuple[list[Expr], list[Expr], list[Expr]]:
    """The conditions about left rows alone, about right ones (over their own columns), and about
    both, or that can fail for a row that has no partner."""
    own: list[Expr] = []
    theirs: list[Expr] = []
    both: list[Expr] = []
    for condition in on:
        used = columns_of(condition)
        if can_fail(condition) or not used or min(used) < width <= max(used):
            both.append(condition)
        elif max(used) < width:
            own.append(condition)
        else:
            theirs.append(remap(condition, lambda i: i - width))
    return own, theirs, both


def _filtered(rows: Node, conditions: Sequence[Expr]) -> Node:
    predicate = conjunction(list(conditions))
    return rows if predicate is None else Filter(rows.schema, rows, predicate)
