"""Take what all alternatives of an OR demand out of it.

    (a.k = b.k AND p) OR (a.k = b.k AND q)    ──►    a.k = b.k AND (p OR q)

so that `push_filters` finds the join key. Three-valued AND distributes over OR, so the rows for
which the condition is TRUE stay the same. A term that can raise stays behind its guards.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.plan.expressions import And, Expr, Or
from penstock.plan.nodes import Filter, Join, Node, ProgramPlan
from penstock.plan.rewrite import can_fail, conjuncts, transform
from penstock.sql.passes.each_view import bottom_up


def factor_conditions(program: ProgramPlan) -> ProgramPlan:
    return bottom_up(program, factor)


def factor(node: Node) -> Node:
    if isinstance(node, Filter):
        return replace(node, predicate=transform(node.predicate, _rule))
    if isinstance(node, Join) and node.residual is not None:
        return replace(node, residual=transform(node.residual, _rule))
    return node


def _rule(e: Expr) -> Expr:
    if not isinstance(e, Or):
        return e
    branches = [conjuncts(a) for a in e.args]
    common = [
        c
        for c in dict.fromkeys(branches[0])
        if all(c in branch for branch in branches[1:]) and not can_fail(c)
    ]
    if not common:
        return e
    rests = [[c for c in branch if c not in common] for branch in branches]
    factors = list(common)
    if all(rests):  # a branch with nothing left is as weak as the common part
        alternatives = tuple(r[0] if len(r) == 1 else _and(e, r) for r in rests)
        factors.append(Or(e.type, alternatives, span=e.span))
    return factors[0] if len(factors) == 1 else _and(e, factors)


def _and(e: Expr, args: list[Expr]) -> Expr:
    nullable = any(a.type.nullable for a in args)
    return And(e.type.with_nullable(nullable), tuple(args), span=e.span)
