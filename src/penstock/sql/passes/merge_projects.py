"""Collapse a Project over a Project, and drop Projects that change nothing.

    Project [x + 1]            Project [a + 1]
      Project [a AS x]   ──►     Scan t
        Scan t

An inner expression that is used more than once and costs something stays where it is, so that no
work is repeated.
"""

from __future__ import annotations

from collections import Counter

from penstock.plan.expressions import Expr, InputRef, Literal
from penstock.plan.nodes import Node, ProgramPlan, Project
from penstock.plan.rewrite import parts, substitute
from penstock.sql.passes.each_view import bottom_up


def merge_projects(program: ProgramPlan) -> ProgramPlan:
    return bottom_up(program, merge)


def merge(node: Node) -> Node:
    if not isinstance(node, Project):
        return node
    below = node.input
    if isinstance(below, Project) and _is_cheap_to_inline(node.exprs, below.exprs):
        exprs = tuple(substitute(e, below.exprs) for e in node.exprs)
        node = Project(node.schema, below.input, exprs, span=node.span)
        below = below.input
    if _is_identity(node):
        return below
    return node


def _is_identity(node: Project) -> bool:
    return node.schema == node.input.schema and all(
        isinstance(e, InputRef) and e.index == i for i, e in enumerate(node.exprs)
    )


def _is_cheap_to_inline(outer: tuple[Expr, ...], inner: tuple[Expr, ...]) -> bool:
    uses: Counter[int] = Counter()
    for e in outer:
        _count(e, uses)
    return all(n == 1 or isinstance(inner[i], InputRef | Literal) for i, n in uses.items())


def _count(expr: Expr, uses: Counter[int]) -> None:
    if isinstance(expr, InputRef):
        uses[expr.index] += 1
    for e in parts(expr):
        _count(e, uses)
