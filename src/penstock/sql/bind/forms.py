"""Forms that need more than the columns of their input, as placeholders until that is there.

    SUM(x)                   Aggregated      a column of an Aggregate        (`select`)
    (SELECT MAX(x) FROM t)   Scalar          a column joined to the frame    (`frame`)
    EXISTS (…), x IN (…)     Exists, In      a semi or anti join, or a column
    x < ALL (…)              ForAll          the same
    SUM(x) OVER (…)          Windowed        a column of a Window            (`windows`)
    GROUPING(x)              Grouped         a constant of a grouping set    (`grouping`)
    NOW()                    Now             a column of the clock, joined   (`frame`)
    o.x in a sub-query       Outer           a column of the query around it

Placeholders are expressions of the binder only: no plan that leaves it holds one. `has` and
`descend` look into them where `penstock.plan.rewrite` cannot.

The plan of a correlated sub-query holds `Outer` references wherever its text names the query
around it; how it becomes a join is for `decorrelate` and `frame` to see. A column of the query
two levels out is Outer(Outer(column)): each level takes one away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from penstock.functions.aggregates import AggregateFunction
from penstock.plan.expressions import Expr
from penstock.plan.nodes import AggCall, Bounds, Node
from penstock.plan.rewrite import (
    expressions,
    inputs,
    parts,
    with_expressions,
    with_inputs,
    with_parts,
)


@dataclass(frozen=True, slots=True)
class Aggregated(Expr):
    """An aggregate call over the rows of a group; all expressions in it are over its input."""

    function: AggregateFunction
    args: tuple[Expr, ...]
    distinct: bool = False
    filter: Expr | None = None
    within: tuple[Expr, ...] = ()

    @property
    def operands(self) -> tuple[Expr, ...]:
        kept = () if self.filter is None else (self.filter,)
        return (*self.args, *kept, *self.within)

    def placed(self, place: Callable[[Expr], int]) -> AggCall:
        """The call over an input that has expression e in column `place(e)`."""
        return AggCall(
            self.function,
            tuple(map(place, self.args)),
            self.distinct,
            None if self.filter is None else place(self.filter),
            tuple(map(place, self.within)),
        )


@dataclass(frozen=True, slots=True)
class Grouped(Expr):
    """GROUPING(args): which of these grouping expressions the row's grouping set lacks."""

    args: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Outer(Expr):
    """Inside a sub-query: an expression over the row of the query around it."""

    expr: Expr


@dataclass(frozen=True, slots=True)
class Scalar(Expr):
    """(SELECT …) as a value: column 0 of `query`, NULL over no rows, an error over several."""

    query: Node = field(hash=False)  # a plan is no tree: what is read often would be hashed often


@dataclass(frozen=True, slots=True)
class Exists(Expr):
    query: Node = field(hash=False)


@dataclass(frozen=True, slots=True)
class In(Expr):
    """(operands) IN (query): the columns of `query`, one for each."""

    operands: tuple[Expr, ...]
    query: Node = field(hash=False)


@dataclass(frozen=True, slots=True)
class ForAll(Expr):
    """operand op ALL (query): TRUE over no rows, FALSE where `operand op value` is FALSE for some
    value of the one column of `query`, else NULL where it is NULL for some, else TRUE."""

    operand: Expr
    op: str
    query: Node = field(hash=False)


@dataclass(frozen=True, slots=True)
class Now(Expr):
    """The time of day, the same for all of a step."""


@dataclass(frozen=True, slots=True)
class Windowed(Expr):
    """A window function (see `plan.nodes.WindowCall`) over the rows of `partition` in `order`:
    (key, descending, nulls first)."""

    kind: str
    args: tuple[Expr, ...]
    partition: tuple[Expr, ...]
    order: tuple[tuple[Expr, bool, bool], ...]
    frame: Bounds | None = None
    offset: int = 1
    ignore_nulls: bool = False


SUBQUERIES = (Scalar, Exists, In, ForAll)
#: what joins something to the frame
JOINED = (*SUBQUERIES, Now)


def inside(expr: Expr) -> tuple[Expr, ...]:
    """The expressions in `expr`, but for those of sub-queries."""
    match expr:
        case Aggregated():
            return expr.operands
        case In(operands=operands):
            return operands
        case ForAll(operand=operand):
            return (operand,)
        case Grouped(args=args):
            return args
        case Windowed(args=args, partition=partition, order=order):
            return (*args, *partition, *(key for key, _, _ in order))
    return parts(expr)


def find(expr: Expr, *kinds: type[Expr]) -> Expr | None:
    """The first of these forms in `expr`, None without one (sub-queries are not searched)."""
    if isinstance(expr, kinds):
        return expr
    for e in inside(expr):
        found = find(e, *kinds)
        if found is not None:
            return found
    return None


def has(expr: Expr, *kinds: type[Expr]) -> bool:
    return find(expr, *kinds) is not None


def descend(expr: Expr, rule: Callable[[Expr], Expr | None]) -> Expr:
    """Rewrite top-down: where `rule` gives an expression, that is taken as it is.

    Goes into the operands of IN, ALL and window functions and into what sub-queries read of this
    query, not into the arguments of aggregates.
    """
    new = rule(expr)
    if new is not None:
        return new
    match expr:
        case In():
            operands = tuple(descend(e, rule) for e in expr.operands)
            return replace(expr, operands=operands, query=_descend_outers(expr.query, rule))
        case ForAll():
            operand = descend(expr.operand, rule)
            return replace(expr, operand=operand, query=_descend_outers(expr.query, rule))
        case Scalar() | Exists():
            return replace(expr, query=_descend_outers(expr.query, rule))
        case Windowed():
            return replace(
                expr,
                args=tuple(descend(e, rule) for e in expr.args),
                partition=tuple(descend(e, rule) for e in expr.partition),
                order=tuple((descend(e, rule), down, first) for e, down, first in expr.order),
            )
    below = parts(expr)
    return with_parts(expr, [descend(e, rule) for e in below]) if below else expr


def _descend_outers(query: Node, rule: Callable[[Expr], Expr | None]) -> Node:
    return map_outers(query, lambda o: replace(o, expr=descend(o.expr, rule)))


def outers(query: Node) -> tuple[Outer, ...]:
    """What `query` reads of the query around it, each once."""
    found: dict[Outer, None] = {}
    seen: set[int] = set()

    def note(e: Expr) -> None:
        if isinstance(e, Outer):
            found.setdefault(e)
        for x in parts(e):
            note(x)

    def visit(node: Node) -> None:
        if id(node) not in seen:
            seen.add(id(node))
            for e in expressions(node):
                note(e)
            for child in inputs(node):
                visit(child)

    visit(query)
    return tuple(found)


def map_outers(query: Node, rule: Callable[[Outer], Expr]) -> Node:
    """`query` with `rule(o)` for every reference `o` to the query around it."""
    done: dict[int, Node] = {}

    def visit(node: Node) -> Node:
        if id(node) not in done:
            new = [
                descend(e, lambda x: rule(x) if isinstance(x, Outer) else None)
                for e in expressions(node)
            ]
            moved = with_inputs(node, [visit(child) for child in inputs(node)])
            done[id(node)] = with_expressions(moved, new)
        return done[id(node)]

    return visit(query)
