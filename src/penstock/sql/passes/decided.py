"""Left joins whose rows are kept by what the right side says alone.

    l WHERE (SELECT COUNT(*) FROM r WHERE r.k = l.k) >= 3

      Filter COALESCE(n, 0) >= 3                    Join inner  on k = k
        Join left  on k = k                  ──►      l
          l                                           Filter n >= 3
          #1 Aggregate k, COUNT(*) AS n ─ r             #1

A count that changes told each row of its key anew, though it is still above 3. Asked before the
join, only those of keys that get there or leave are told. A row without a partner has NULLs: if the
condition is not TRUE of these, they are not padded; if it is (`COUNT(*) = 0`), they are those of an
anti join, beside the others. The latter where the right side is an aggregate, whose values change
as a rule while its keys stay. What can fail is asked where it was, of rows that have a partner.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.data.types import Schema
from penstock.plan.expressions import Expr, Literal, conjunction
from penstock.plan.nodes import (
    Aggregate,
    Filter,
    Join,
    JoinKind,
    Node,
    ProgramPlan,
    Project,
    UnionAll,
    Values,
)
from penstock.plan.rewrite import can_fail, columns_of, conjuncts, inputs, remap, substitute
from penstock.sql.bind import expiries  # which needs the passes itself
from penstock.sql.cycles import views_in_cycles
from penstock.sql.passes.each_view import bottom_up
from penstock.sql.passes.fold_constants import folded
from penstock.sql.passes.join_keys import joined_fields, nulls_of, references


def decided_by_partner(program: ProgramPlan) -> ProgramPlan:
    cyclic = frozenset(views_in_cycles(program.views))
    forgets = expiries.is_forgetful(program)

    def rule(node: Node) -> Node:
        return node if isinstance(node, Filter) and forgets(node.input) else before_join(node)

    rewritten = bottom_up(program, rule)
    # an anti join is not monotone
    views = zip(program.views, rewritten.views, strict=True)
    return replace(rewritten, views=tuple(a if a.name in cyclic else b for a, b in views))


def before_join(node: Node) -> Node:
    """A filtered left join, with what reads the right side alone asked of that."""
    if not isinstance(node, Filter) or not isinstance(join := node.input, Join):
        return node
    if join.kind is not JoinKind.LEFT or not join.keys:
        return node
    width = len(join.left.schema)
    theirs, rest = _of_right(conjuncts(node.predicate), width)
    padded = (*references(join.left.schema), *nulls_of(join.right.schema.types))
    alone = [folded(substitute(p, padded)) for p in theirs]
    dropped = [p for p in alone if isinstance(p, Literal) and p.value is not True]
    is_kept = all(isinstance(p, Literal) and p.value is True for p in alone)
    if not theirs or not (dropped or (is_kept and is_aggregate(join.right))):
        return node
    condition = conjunction([remap(p, lambda i: i - width) for p in theirs])
    assert condition is not None
    right = Filter(join.right.schema, join.right, condition)
    inner = Schema(joined_fields(JoinKind.INNER, join.left.schema, right.schema))
    found: Node = replace(join, schema=inner, kind=JoinKind.INNER, right=right)
    if is_kept:
        lonely = replace(join, schema=join.left.schema, kind=JoinKind.ANTI)
        nulls = nulls_of(join.schema.types[width:])
        pads = Project(join.schema, lonely, (*references(lonely.schema), *nulls))
        found = UnionAll(join.schema, (found, pads))
    after = conjunction(rest)
    return found if after is None else Filter(found.schema, found, after, span=node.span)


def is_aggregate(node: Node) -> bool:
    """Whether the rows of `node` are those of groups, or some of them."""
    while isinstance(node, Filter | Project):
        node = node.input
    return isinstance(node, Aggregate)


def _of_right(conditions: list[Expr], width: int) -> tuple[list[Expr], list[Expr]]:
    """Those that read columns behind the first `width` alone and cannot fail, and the others."""
    theirs: list[Expr] = []
    rest: list[Expr] = []
    for p in conditions:
        used = columns_of(p)
        (theirs if used and min(used) >= width and not can_fail(p) else rest).append(p)
    return theirs, rest


def is_small(node: Node) -> bool:
    """Whether `node` has one row, or only constants."""
    match node:
        case Values():
            return True
        case Aggregate(keys=keys):
            return not keys
        case Project() | Filter() | Join(kind=JoinKind.INNER, keys=()):
            return all(map(is_small, inputs(node)))
    return False
