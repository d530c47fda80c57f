"""Totals that need not fit their type: computed in a wider one, and fitted where a row asks.

    HAVING COUNT(*) < 9, SUM(x)       Project $FITS(total, INTEGER)       an error where it does not
                              ──►       Filter n < 9
                                          Aggregate SUM(x) AS total BIGINT, COUNT(*) AS n

SUM of INTEGER is an INTEGER, and what does not fit is an error (contract 10.2), which must not
happen for a group that nobody asks for (10.4). Where every group is asked for, the aggregate says
so itself, and is kept no wider than it must be. A DECIMAL of 38 digits always does; and so does a
DECIMAL of a sub-query, for it has the digits that its program gave it, and to ask late would
compute the sums of money of every report twice.

Not here: a table in FROM (`penstock.sql.passes.late_totals`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from penstock.data.types import INTEGERS, Field, Schema, SqlType
from penstock.functions.aggregates import AggregateFunction
from penstock.functions.coercion import INTERVALS
from penstock.plan.expressions import And, Case, Cast, Coalesce, Expr, Or
from penstock.plan.nodes import AggCall, Aggregate, Node, Project, Window, WindowCall
from penstock.plan.rewrite import inputs, with_inputs
from penstock.sql.bind.forms import Aggregated, inside
from penstock.sql.passes.join_keys import references
from penstock.sql.passes.wide_totals import fitted, fitted_above, widened, wider, written


def can_overflow(node: Node) -> bool:
    """Whether a total of whole numbers that `node` computes may not fit its type."""
    if isinstance(node, Aggregate):
        return any(map(_widened, node.calls))
    return isinstance(node, Window) and any(_wider(c) is not None for c in node.calls)


def _widened(call: AggCall) -> AggregateFunction | None:
    """A wider function for a total of whole numbers."""
    return widened(call.function) if call.function.result.kind in INTEGERS | INTERVALS else None


def _wider(call: WindowCall) -> SqlType | None:
    return wider(call.kind, call.result) if call.result.kind in INTEGERS else None


def widened_call(call: Aggregated) -> Aggregated:
    """The same of `call`."""
    function = widened(call.function)
    return call if function is None else replace(call, type=function.result, function=function)


def always(exprs: Sequence[Expr]) -> Iterator[Aggregated]:
    """The aggregates that are asked for in every row for which `exprs` are evaluated."""
    for e in exprs:
        match e:
            case Aggregated():
                yield e
            case And(args=args) | Or(args=args) | Coalesce(args=args):
                yield from always(args[:1])
            case Case(branches=branches):
                yield from always([branches[0][0]])
            case _:
                yield from always(inside(e))


def lazily(query: Node) -> Node:
    """`query`, of which no total of whole numbers fails before somebody asks for it."""
    done: dict[int, Node] = {}

    def visit(node: Node) -> Node:
        if id(node) not in done:
            moved = with_inputs(node, [visit(x) for x in inputs(node)])
            if can_overflow(moved):
                moved = _of_groups(moved) if isinstance(moved, Aggregate) else _of_frames(moved)
            done[id(node)] = moved
        return done[id(node)]

    return visit(query)


def _of_groups(node: Aggregate) -> Node:
    late = [i for i, call in enumerate(node.calls) if _widened(call) is not None]
    wide, exprs = fitted_above(node, late)
    return Project(node.schema, wide, tuple(exprs), span=node.span)


def _of_frames(node: Node) -> Node:
    assert isinstance(node, Window)
    types = list(map(_wider, node.calls))
    below = references(node.input.schema)
    added: list[Expr] = []
    calls: list[WindowCall] = []
    for call, type in zip(node.calls, types, strict=True):
        if type is None:
            calls.append(call)
            continue
        argument = below[call.args[0]]
        cast = Cast(type.with_nullable(argument.type.nullable), argument)
        calls.append(replace(call, args=(len(below) + len(added),), result=type))
        added.append(cast)
    own = tuple(Field(f"$total{i}", e.type) for i, e in enumerate(added))
    source = Project(Schema((*node.input.schema.fields, *own)), node.input, (*below, *added))
    results = node.schema.fields[len(below) :]
    fields = tuple(Field(f.name, c.result) for f, c in zip(results, calls, strict=True))
    wide = replace(
        node, schema=Schema((*source.schema.fields, *fields)), input=source, calls=tuple(calls)
    )
    columns = references(wide.schema)
    exprs = list(columns[: len(below)])
    for i, (call, type) in enumerate(zip(node.calls, types, strict=True)):
        column = columns[len(source.schema) + i]
        name = written(call.kind, node.input.schema, call.args)
        exprs.append(
            column if type is None else fitted(column, f"{call.kind} OVER", call.result, name)
        )
    return Project(node.schema, wide, tuple(exprs), span=node.span)
