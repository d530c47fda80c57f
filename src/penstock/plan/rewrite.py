"""Looking into plans and rebuilding them: children, substitution, column use.

    inputs(node)  with_inputs(node, …)      one level of the relational tree
    parts(expr)   with_parts(expr, …)       one level of an expression
    transform     bottom-up rewriting of an expression
    remap         the same expression over moved columns

Nothing here knows SQL or changes meaning; rules live in `penstock.sql.passes`.
Unchanged trees come back as the same objects, so a rule that does nothing costs no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from penstock.data.types import INTEGERS, NUMBERS, SIGNED, Kind
from penstock.plan.expressions import (
    And,
    Call,
    Case,
    Cast,
    Coalesce,
    Expr,
    InList,
    InputRef,
    IsNull,
    Literal,
    Not,
    Or,
)
from penstock.plan.nodes import Aggregate, Distinct, Filter, Join, Node, Project, TopK, UnionAll

_ONE_INPUT = (Filter, Project, Aggregate, Distinct, TopK)


def inputs(node: Node) -> tuple[Node, ...]:
    """The nodes `node` reads, left to right."""
    if isinstance(node, _ONE_INPUT):
        return (node.input,)
    if isinstance(node, Join):
        return (node.left, node.right)
    if isinstance(node, UnionAll):
        return node.inputs
    return ()


def with_inputs(node: Node, new: Sequence[Node]) -> Node:
    """`node` over other inputs of the same schemas."""
    if all(a is b for a, b in zip(inputs(node), new, strict=True)):
        return node
    if isinstance(node, Join):
        return replace(node, left=new[0], right=new[1])
    if isinstance(node, UnionAll):
        return replace(node, inputs=tuple(new))
    return replace(node, input=new[0])  # type: ignore[call-arg]


def parts(expr: Expr) -> tuple[Expr, ...]:
    """The operands of `expr`, in order of evaluation."""
    match expr:
        case Call(args=args) | And(args=args) | Or(args=args) | Coalesce(args=args):
            return args
        case Cast(operand=operand) | Not(operand=operand) | IsNull(operand=operand):
            return (operand,)
        case Case(branches=branches, otherwise=otherwise):
            return (*(e for branch in branches for e in branch), otherwise)
        case InList(operand=operand, items=items):
            return (operand, *items)
    return ()


def with_parts(expr: Expr, new: Sequence[Expr]) -> Expr:
    """`expr` over other operands of the same types."""
    if all(a is b for a, b in zip(parts(expr), new, strict=True)):
        return expr
    changes: dict[str, Any]
    match expr:
        case Call() | And() | Or() | Coalesce():
            changes = {"args": tuple(new)}
        case Cast() | Not() | IsNull():
            changes = {"operand": new[0]}
        case Case():
            pairs = zip(new[0:-1:2], new[1:-1:2], strict=True)
            changes = {"branches": tuple(pairs), "otherwise": new[-1]}
        case InList():
            changes = {"operand": new[0], "items": tuple(new[1:])}
        case _:
            raise AssertionError(f"{type(expr).__name__} has no operands")
    return replace(expr, **changes)


def transform(expr: Expr, rule: Callable[[Expr], Expr]) -> Expr:
    """Apply `rule` to every sub-expression, operands first."""
    operands = parts(expr)
    if operands:
        expr = with_parts(expr, [transform(e, rule) for e in operands])
    return rule(expr)


def remap(expr: Expr, position: Mapping[int, int] | Callable[[int], int]) -> Expr:
    """`expr` reading column `position[i]` where it read column i."""
    moved = position.__getitem__ if isinstance(position, Mapping) else position

    def rule(e: Expr) -> Expr:
        if isinstance(e, InputRef) and moved(e.index) != e.index:
            return replace(e, index=moved(e.index))
        return e

    return transform(expr, rule)


def substitute(expr: Expr, columns: Sequence[Expr]) -> Expr:
    """`expr` with column i replaced by `columns[i]`."""
    return transform(expr, lambda e: columns[e.index] if isinstance(e, InputRef) else e)


def columns_of(expr: Expr) -> set[int]:
    """Positions of the input columns `expr` reads."""
    if isinstance(expr, InputRef):
        return {expr.index}
    found: set[int] = set()
    for e in parts(expr):
        found |= columns_of(e)
    return found


def can_fail(expr: Expr) -> bool:
    """Whether some row can make `expr` raise. A cast counts unless it is known to be total."""
    if isinstance(expr, Call) and expr.function.can_fail:
        return True
    if isinstance(expr, Cast) and not expr.safe and not _is_total_cast(expr):
        return True
    return any(can_fail(e) for e in parts(expr))


def conjuncts(expr: Expr | None) -> list[Expr]:
    """The operands of a (nested) AND, in order; [] for None."""
    if expr is None:
        return []
    if isinstance(expr, And):
        return [c for a in expr.args for c in conjuncts(a)]
    return [expr]


def is_constant(expr: Expr) -> bool:
    return isinstance(expr, Literal)


#: decimal digits that every value of an integer kind fits in
_DIGITS = {
    Kind.INT8: 3,
    Kind.INT16: 5,
    Kind.INT32: 10,
    Kind.INT64: 19,
    Kind.UINT8: 3,
    Kind.UINT16: 5,
    Kind.UINT32: 10,
    Kind.UINT64: 20,
}


def _is_total_cast(cast: Cast) -> bool:
    source, target = cast.operand.type, cast.type
    if source.same_as(target) or source.kind is Kind.NULL or source.kind is Kind.VARIANT:
        return True
    match target.kind:
        case Kind.REAL | Kind.DOUBLE:
            return source.kind in NUMBERS
        case Kind.CHAR | Kind.VARCHAR | Kind.VARIANT:
            return True
        case Kind.DECIMAL:
            room = (target.precision or 0) - (target.scale or 0)
            if source.kind is Kind.DECIMAL:
                return (source.precision or 0) - (source.scale or 0) <= room
            return source.kind in _DIGITS and _DIGITS[source.kind] <= room
        case Kind.DATE | Kind.TIMESTAMP | Kind.TIMESTAMP_TZ | Kind.TIME:
            return source.kind in (Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ, Kind.TIME)
        case kind if kind in INTEGERS and source.kind in INTEGERS:
            widths = (source.width_bytes, target.width_bytes)
            if (source.kind in SIGNED) == (kind in SIGNED):
                return widths[0] <= widths[1]
            return kind in SIGNED and widths[0] < widths[1]
    return False
