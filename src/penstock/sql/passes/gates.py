"""Rows that could fail, and wait until somebody asks.

    Project 1 / y                  Project 1 / y
      u                    ──►       UnionAll
                                       Filter NOT FAILS(1 / y) ─ u
                                       Join semi
                                         Filter FAILS(1 / y) ─ u
                                         gate             one row while there is one to ask

Only the rows that would fail are kept, and most relations have none.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.data.types import BOOLEAN, Field, Schema
from penstock.plan.expressions import Expr, Fails, Literal, Not, conjunction
from penstock.plan.nodes import Distinct, Filter, Join, JoinKind, Node, Project, UnionAll
from penstock.plan.rewrite import inputs

_BOOLEAN = BOOLEAN.with_nullable(False)


def gate(rows: Node) -> Node:
    """One row while `rows` has any, else none."""
    schema = Schema((Field("$reached", _BOOLEAN),))
    return Distinct(schema, Project(schema, rows, (Literal(_BOOLEAN, True),)))


def without_failing(rows: Node, exprs: Sequence[Expr], gate: Node, on: Sequence[Expr] = ()) -> Node:
    """`rows`, of which those that make some of `exprs` raise pass only while `gate` has a row: one
    for which `on` holds, over the columns of both."""
    test = Fails(_BOOLEAN, tuple(exprs))
    good = Filter(rows.schema, rows, Not(_BOOLEAN, test))
    bad = Filter(rows.schema, rows, test)
    waiting = Join(rows.schema, JoinKind.SEMI, bad, gate, (), (), conjunction(list(on)))
    return UnionAll(rows.schema, (good, waiting))


def waiting(node: Node) -> Node | None:
    """The rows of which some wait, if `node` is what `without_failing` makes of them."""
    if not isinstance(node, UnionAll) or len(node.inputs) != 2:
        return None
    good, bad = node.inputs
    if not isinstance(good, Filter) or not isinstance(bad, Join) or bad.kind is not JoinKind.SEMI:
        return None
    test = bad.left.predicate if isinstance(bad.left, Filter) else None
    if not isinstance(test, Fails) or good.predicate != Not(_BOOLEAN, test):
        return None
    return good.input if good.input == inputs(bad.left)[0] else None


def is_test(e: Expr) -> bool:
    """Whether `e` is the condition of one of these two."""
    return isinstance(e, Fails) or (isinstance(e, Not) and is_test(e.operand))
