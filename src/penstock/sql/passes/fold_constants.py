"""Compute what is constant once, at compile time.

    x AND 1 = 1                                     ──►    x
    NOT FALSE                                       ──►    TRUE
    d < DATE '1994-01-01' + INTERVAL '1' YEAR       ──►    d < DATE '1995-01-01'

Arithmetic and casts that could raise are folded because a predicate that holds one may not be
moved (see `push_filters`), and one that is known not to raise may. What does raise stays as it is:
perhaps no row reaches it. Other constants are evaluated once anyway, when a query is compiled.
"""

from __future__ import annotations

from penstock.data.build import column_from_python, column_to_python
from penstock.data.types import NUMBERS, Kind
from penstock.errors import RuntimeSqlError
from penstock.functions.casts import cast_can_fail, cast_kernel
from penstock.functions.definition import Kernel
from penstock.plan.expressions import And, Call, Cast, Expr, Literal, Not, Or
from penstock.plan.nodes import Filter, Join, Node, ProgramPlan, Project
from penstock.plan.rewrite import transform, with_expressions
from penstock.sql.passes.each_view import bottom_up

_ARITHMETIC = frozenset("+-*/%")
_COMPARISONS = frozenset(("=", "<>", "<", "<=", ">", ">=", "is_not_distinct", "<=>"))
_FOLDED = NUMBERS | {Kind.DATE, Kind.TIME, Kind.TIMESTAMP}


def fold_constants(program: ProgramPlan) -> ProgramPlan:
    return bottom_up(program, fold)


def fold(node: Node) -> Node:
    """`node` with its logic folded; a filter that is always TRUE disappears."""
    if isinstance(node, Filter):
        predicate = transform(node.predicate, _rule)
        if _is(predicate, True):
            return node.input
        return Filter(node.schema, node.input, predicate, span=node.span)
    if isinstance(node, Project):
        exprs = tuple(transform(e, _rule) for e in node.exprs)
        return Project(node.schema, node.input, exprs, span=node.span)
    if isinstance(node, Join) and node.residual is not None:
        return with_expressions(node, [transform(node.residual, _rule)])
    return node


def _rule(e: Expr) -> Expr:
    if isinstance(e, Call | Cast):
        return _computed(e)
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


def _computed(e: Call | Cast) -> Expr:
    """The value of `e`, where it is arithmetic or a cast of constants that does not raise."""
    operands: tuple[Expr, ...]
    kernel: Kernel
    if isinstance(e, Cast):
        if not cast_can_fail(e.operand.type, e.type, e.safe):
            return e
        operands, kernel = (e.operand,), cast_kernel(e.operand.type, e.type, e.safe)
    else:
        is_comparison = e.function.name in _COMPARISONS
        is_arithmetic = e.function.name in _ARITHMETIC and e.function.can_fail
        if not e.function.strict or not (is_arithmetic or is_comparison):
            return e
        operands, kernel = e.args, e.function.kernel
    if e.type.kind not in _FOLDED | {Kind.BOOLEAN}:
        return e
    columns = []
    for o in operands:
        if not isinstance(o, Literal) or o.value is None:
            return e
        columns.append(column_from_python(o.type.with_nullable(False), [o.value]))
    try:
        (value,) = column_to_python(kernel(columns, 1).with_type(e.type))
    except (RuntimeSqlError, OverflowError):
        return e
    return e if value is None else Literal(e.type, value, span=e.span)


def _is(e: Expr, value: bool) -> bool:
    return isinstance(e, Literal) and e.type.kind is Kind.BOOLEAN and e.value is value
