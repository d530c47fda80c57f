"""Forms that need more than the columns of their input, as placeholders until that is there.

    SUM(x)                   Aggregated      a column of an Aggregate        (`select`)
    (SELECT MAX(x) FROM t)   Scalar          a column joined to the frame    (`frame`)
    EXISTS (…), x IN (…)     Exists, In      a semi or anti join, or a column
    ROW_NUMBER() OVER (…)    Ranked          a column of a `Numbered` node   (`ranks`)
    o.x in a sub-query       Outer           a column of the query around it

Placeholders are expressions of the binder only: no plan that leaves it holds one. `has` and
`descend` look into them where `penstock.plan.rewrite` cannot.

A correlated sub-query holds `on`: its predicates that mention the outer row, over its own columns
and `Outer` references.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from penstock.functions.aggregates import AggregateFunction
from penstock.plan.expressions import Expr
from penstock.plan.nodes import Node
from penstock.plan.rewrite import parts, with_parts


@dataclass(frozen=True, slots=True)
class Aggregated(Expr):
    """An aggregate call over the rows of a group; `args` and `filter` are over its input."""

    function: AggregateFunction
    args: tuple[Expr, ...]
    distinct: bool = False
    filter: Expr | None = None


@dataclass(frozen=True, slots=True)
class Outer(Expr):
    """Inside a sub-query: an expression over the row of the query around it."""

    expr: Expr


@dataclass(frozen=True, slots=True)
class Scalar(Expr):
    """(SELECT …) as a value: column 0 of `query`, which has one row; of a correlated one at most
    one for every combination of its other columns, which `on` equates, and `empty` is the value
    where there is none."""

    query: Node
    on: tuple[Expr, ...] = ()
    empty: Expr | None = None


@dataclass(frozen=True, slots=True)
class Exists(Expr):
    query: Node
    on: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class In(Expr):
    """operand IN (query): column 0 of `query`."""

    operand: Expr
    query: Node
    on: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class Ranked(Expr):
    """ROW_NUMBER() OVER (PARTITION BY … ORDER BY …); `order`: (key, descending, nulls first)."""

    partition: tuple[Expr, ...]
    order: tuple[tuple[Expr, bool, bool], ...]


SUBQUERIES = (Scalar, Exists, In)


def _inside(expr: Expr) -> tuple[Expr, ...]:
    match expr:
        case Aggregated(args=args, filter=condition):
            return args if condition is None else (*args, condition)
        case In(operand=operand):
            return (operand,)
        case Ranked(partition=partition, order=order):
            return (*partition, *(key for key, _, _ in order))
    return parts(expr)


def find(expr: Expr, *kinds: type[Expr]) -> Expr | None:
    """The first of these forms in `expr`, None without one (sub-queries are not searched)."""
    if isinstance(expr, kinds):
        return expr
    for e in _inside(expr):
        found = find(e, *kinds)
        if found is not None:
            return found
    return None


def has(expr: Expr, *kinds: type[Expr]) -> bool:
    return find(expr, *kinds) is not None


def descend(expr: Expr, rule: Callable[[Expr], Expr | None]) -> Expr:
    """Rewrite top-down: where `rule` gives an expression, that is taken as it is.

    Goes into the operands of IN and of rankings, not into the arguments of aggregates.
    """
    new = rule(expr)
    if new is not None:
        return new
    if isinstance(expr, In):
        return replace(expr, operand=descend(expr.operand, rule))
    if isinstance(expr, Ranked):
        return replace(
            expr,
            partition=tuple(descend(e, rule) for e in expr.partition),
            order=tuple((descend(e, rule), down, first) for e, down, first in expr.order),
        )
    operands = parts(expr)
    return with_parts(expr, [descend(e, rule) for e in operands]) if operands else expr
