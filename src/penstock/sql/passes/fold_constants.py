"""Compute what is constant once, at compile time.

    x AND 1 = 1                                     ──►    x
    NOT FALSE                                       ──►    TRUE
    d < DATE '1994-01-01' + INTERVAL '1' YEAR       ──►    d < DATE '1995-01-01'

Arithmetic and casts that could raise are folded because a predicate that holds one may not be
moved (see `push_filters`), and one that is known not to raise may; where a row is asked whether
it would raise (`gates`) the answer is known then, and `no_rows` takes away what waited. What does
raise stays as it is: perhaps no row reaches it. Other constants are evaluated once anyway, when a
query is compiled.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.data.build import column_from_python, column_to_python
from penstock.data.types import NUMBERS, Kind
from penstock.errors import RuntimeSqlError
from penstock.functions.casts import cast_can_fail, cast_kernel
from penstock.functions.definition import Kernel
from penstock.plan.expressions import (
    And,
    Call,
    Case,
    Cast,
    Coalesce,
    Expr,
    Fails,
    IsNull,
    Literal,
    Not,
    Or,
)
from penstock.plan.nodes import Filter, Join, Node, ProgramPlan, Project
from penstock.plan.rewrite import can_fail, transform, with_expressions
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


def folded(e: Expr) -> Expr:
    """`e` with what is constant in it computed."""
    return transform(e, _rule)


def _rule(e: Expr) -> Expr:
    if isinstance(e, Call | Cast):
        return _computed(e)
    if isinstance(e, Case):
        return _decided(e)
    if isinstance(e, Coalesce):
        return _first_of(e)
    if isinstance(e, IsNull) and isinstance(e.operand, Literal):
        return Literal(e.type, (e.operand.value is None) is not e.negated, span=e.span)
    if isinstance(e, Not) and isinstance(e.operand, Literal) and e.operand.value is not None:
        return Literal(e.type, not e.operand.value, span=e.span)
    if isinstance(e, Fails):
        failing = tuple(a for a in e.args if can_fail(a))
        return replace(e, args=failing) if failing else Literal(e.type, False, span=e.span)
    if isinstance(e, And | Or):
        decides = isinstance(e, Or)
        kept = [a for a in e.args if not _is(a, not decides)]
        at = next((i for i, a in enumerate(kept) if _is(a, decides)), None)
        if at is not None:
            if not any(map(can_fail, kept[:at])):
                return Literal(e.type, decides, span=e.span)
            kept = kept[: at + 1]  # what stands behind it is never looked at
        if len(kept) < len(e.args):
            if not kept:
                return Literal(e.type, not decides, span=e.span)
            return kept[0] if len(kept) == 1 else type(e)(e.type, tuple(kept), span=e.span)
    return e


def _decided(e: Case) -> Expr:
    """A CASE without the branches that are never taken, or what it always is."""
    branches: list[tuple[Expr, Expr]] = []
    otherwise = e.otherwise
    for test, result in e.branches:
        if _is(test, True):
            otherwise = result
            break
        if not isinstance(test, Literal):
            branches.append((test, result))
    if len(branches) == len(e.branches):
        return e
    if not branches and not otherwise.type.same_as(e.type):
        return e
    return Case(e.type, tuple(branches), otherwise, span=e.span) if branches else otherwise


def _first_of(e: Coalesce) -> Expr:
    """A COALESCE up to the first constant, without NULLs."""
    args: list[Expr] = []
    for a in e.args:
        if not isinstance(a, Literal) or a.value is not None:
            args.append(a)
        if isinstance(a, Literal) and a.value is not None:
            break
    if not args or len(args) == len(e.args):
        return e
    if len(args) == 1:
        return args[0] if args[0].type.same_as(e.type) else e
    return replace(e, args=tuple(args))


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
    if e.type.nullable and any(map(_is_null, operands)) and not any(map(can_fail, operands)):
        return Literal(e.type, None, span=e.span)
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


def _is_null(e: Expr) -> bool:
    return isinstance(e, Literal) and e.value is None


def _is(e: Expr, value: bool) -> bool:
    return isinstance(e, Literal) and e.type.kind is Kind.BOOLEAN and e.value is value
