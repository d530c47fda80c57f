"""Compute what is constant once, at compile time.

    x AND TRUE     ──►    x
    NOT FALSE      ──►    TRUE

Only three-valued logic over literals is folded here: arithmetic and casts of constants are
evaluated once a batch anyway, on one row, so folding them would save nothing worth the second
evaluator.
"""

from __future__ import annotations

from penstock.data.types import Kind
from penstock.plan.expressions import And, Expr, Literal, Not, Or
from penstock.plan.nodes import Filter, Node, ProgramPlan, Project
from penstock.plan.rewrite import inputs, transform, with_inputs
from penstock.sql.passes.each_view import each_view


def fold_constants(program: ProgramPlan) -> ProgramPlan:
    return each_view(program, fold)


def fold(node: Node) -> Node:
    """`node` with its logic folded; a filter that is always TRUE disappears."""
    node = with_inputs(node, [fold(child) for child in inputs(node)])
    if isinstance(node, Filter):
        predicate = transform(node.predicate, _rule)
        if _is(predicate, True):
            return node.input
        return Filter(node.schema, node.input, predicate, span=node.span)
    if isinstance(node, Project):
        exprs = tuple(transform(e, _rule) for e in node.exprs)
        return Project(node.schema, node.input, exprs, span=node.span)
    return node


def _rule(e: Expr) -> Expr:
    if isinstance(e, Not) and isinstance(e.operand, Literal) and e.operand.value is not None:
        return Literal(e.type, not e.operand.value, span=e.span)
    if isinstance(e, And | Or):
        decides = isinstance(e, Or)
        kept = [a for a in e.args if not _is(a, not decides)]
        if any(_is(a, decides) for a in kept[:1]):
            return Literal(e.type, decides, span=e.span)
        if len(kept) < len(e.args):
            if not kept:
                return Literal(e.type, not decides, span=e.span)
            return kept[0] if len(kept) == 1 else type(e)(e.type, tuple(kept), span=e.span)
    return e


def _is(e: Expr, value: bool) -> bool:
    return isinstance(e, Literal) and e.type.kind is Kind.BOOLEAN and e.value is value
