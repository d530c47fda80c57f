"""Looking into plans and rebuilding them: children, substitution, column use.

    inputs(node)  with_inputs(node, …)      one level of the relational tree
    expressions(node)  with_expressions     the scalar expressions of one node
    parts(expr)   with_parts(expr, …)       one level of an expression
    transform     bottom-up rewriting of an expression
    remap         the same expression over moved columns

Nothing here knows SQL or changes meaning; rules live in `penstock.sql.passes`.
Unchanged trees come back as the same objects, so a rule that does nothing costs no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

from penstock.data.types import INTEGERS, NUMBERS, Kind
from penstock.functions.casts import cast_can_fail
from penstock.plan.expressions import (
    And,
    Call,
    Case,
    Cast,
    Coalesce,
    Expr,
    Fails,
    InList,
    InputRef,
    IsNull,
    LambdaCall,
    Literal,
    Not,
    Or,
)
from penstock.plan.nodes import (
    Aggregate,
    AsofJoin,
    Difference,
    Distinct,
    Filter,
    Frontier,
    Hop,
    Join,
    LateRows,
    Line,
    Node,
    Project,
    Session,
    TopK,
    UnionAll,
    Unnest,
    Values,
    Window,
)

_ONE_INPUT = (
    Filter, Project, Aggregate, Distinct, TopK, Window, Session, Hop, Unnest, Line, LateRows,
)  # fmt: skip


def inputs(node: Node) -> tuple[Node, ...]:
    """The nodes `node` reads, left to right."""
    if isinstance(node, _ONE_INPUT):
        return (node.input,)
    if isinstance(node, Join | AsofJoin | Difference):
        return (node.left, node.right)
    if isinstance(node, Frontier):
        return (node.input, node.bound)
    if isinstance(node, UnionAll):
        return node.inputs
    return ()


def with_inputs(node: Node, new: Sequence[Node]) -> Node:
    """`node` over other inputs of the same schemas."""
    if all(a is b for a, b in zip(inputs(node), new, strict=True)):
        return node
    if isinstance(node, Join | AsofJoin | Difference):
        return replace(node, left=new[0], right=new[1])
    if isinstance(node, Frontier):
        return replace(node, input=new[0], bound=new[1])
    if isinstance(node, UnionAll):
        return replace(node, inputs=tuple(new))
    return replace(node, input=new[0])  # type: ignore[call-arg]


def expressions(node: Node) -> tuple[Expr, ...]:
    """The scalar expressions that `node` itself evaluates."""
    match node:
        case Filter(predicate=predicate):
            return (predicate,)
        case Project(exprs=exprs):
            return exprs
        case Join(residual=residual):
            return () if residual is None else (residual,)
        case Values(rows=rows):
            return tuple(e for row in rows for e in row)
    return ()


def with_expressions(node: Node, new: Sequence[Expr]) -> Node:
    """`node` evaluating other expressions of the same types, in the order of `expressions`."""
    if all(a is b for a, b in zip(expressions(node), new, strict=True)):
        return node
    match node:
        case Filter():
            return replace(node, predicate=new[0])
        case Project():
            return replace(node, exprs=tuple(new))
        case Join():
            return replace(node, residual=new[0])
        case Values():
            width = len(node.schema)
            return replace(node, rows=tuple(zip(*[iter(new)] * width, strict=True)))
    raise AssertionError(f"{type(node).__name__} has no expressions")


def parts(expr: Expr) -> tuple[Expr, ...]:
    """The operands of `expr`, in order of evaluation."""
    match expr:
        case Call(args=args) | And(args=args) | Or(args=args) | Coalesce(args=args):
            return args
        case Fails(args=args):
            return args
        case Cast(operand=operand) | Not(operand=operand) | IsNull(operand=operand):
            return (operand,)
        case Case(branches=branches, otherwise=otherwise):
            return (*(e for branch in branches for e in branch), otherwise)
        case InList(operand=operand, items=items):
            return (operand, *items)
        case LambdaCall(operand=operand, body=body):
            return (operand, body)
    return ()


def with_parts(expr: Expr, new: Sequence[Expr]) -> Expr:
    """`expr` over other operands of the same types."""
    if all(a is b for a, b in zip(parts(expr), new, strict=True)):
        return expr
    changes: dict[str, Any]
    match expr:
        case Call() | And() | Or() | Coalesce() | Fails():
            changes = {"args": tuple(new)}
        case Cast() | Not() | IsNull():
            changes = {"operand": new[0]}
        case Case():
            pairs = zip(new[0:-1:2], new[1:-1:2], strict=True)
            changes = {"branches": tuple(pairs), "otherwise": new[-1]}
        case LambdaCall():
            changes = {"operand": new[0], "body": new[1]}
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
    """Whether some row can make `expr` raise, or another where it stands says so (Fails)."""
    if isinstance(expr, Call) and expr.function.can_fail:
        return True
    if isinstance(expr, Cast) and cast_can_fail(expr.operand.type, expr.type, expr.safe):
        return True
    return any(can_fail(e) for e in parts(expr))


#: what fails for large numbers alone
_OVERFLOWING = frozenset(("+", "-", "*", "unary-", "ABS", "$FITS"))


def is_risky(expr: Expr) -> bool:
    """Whether a row of sensible size can make `expr` raise: a divisor of zero, a text that is no
    number. Sums, products and casts between numbers fail for what is too large, which is not."""
    match expr:
        case Fails():
            return False
        case Call(function=f) if f.can_fail and f.name not in _OVERFLOWING:
            return True
        case Cast(operand=e, type=t) if cast_can_fail(e.type, t, expr.safe):
            if not {e.type.kind, t.kind} <= NUMBERS:
                return True
    return any(is_risky(e) for e in parts(expr))


#: functions that look at every character, or at all elements
_COSTLY = frozenset((
    "rlike", "like", "ilike", "REGEXP_REPLACE", "REPLACE", "SPLIT", "PARSE_JSON", "MD5",
))  # fmt: skip


def is_costly(expr: Expr) -> bool:
    """Whether it is worth finding out for which rows `expr` matters."""
    if isinstance(expr, LambdaCall) or (isinstance(expr, Call) and expr.function.name in _COSTLY):
        return True
    return any(is_costly(e) for e in parts(expr))


def cheapest_first(operands: Sequence[Expr]) -> list[Expr]:
    """Operands of AND or OR in an order that means the same: none is moved past one that can fail,
    because it may be what keeps that from being reached, or what is not reached behind it."""
    ordered: list[Expr] = []
    for fails, run in groupby(operands, can_fail):
        ordered += sorted(run, key=lambda e: not fails and is_costly(e))
    return ordered


def conjuncts(expr: Expr | None) -> list[Expr]:
    """The operands of a (nested) AND, in order; [] for None."""
    if expr is None:
        return []
    if isinstance(expr, And):
        return [c for a in expr.args for c in conjuncts(a)]
    return [expr]


def shifted(e: Expr) -> tuple[int, int] | None:
    """(column, constant) of a sum of the two, in the column's units."""
    match e:
        case InputRef(index=index):
            return index, 0
        case Call(type=type, function=f, args=(a, b)) if f.name in ("+", "-"):
            if isinstance(a, Literal) and f.name == "+":
                a, b = b, a
            if not isinstance(a, InputRef) or not isinstance(b, Literal):
                return None
            exact = (
                type.kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ)
                and b.type.kind is Kind.INTERVAL_SHORT
            )
            exact |= type.kind in INTEGERS and b.type.kind in INTEGERS
            if exact and isinstance(b.value, int) and a.type.kind is type.kind:
                return a.index, -b.value if f.name == "-" else b.value
    return None
