"""Sub-queries that can fail, evaluated only while some row comes to them.

    WHERE k > 100 AND x IN (SELECT 1 / y FROM u)

      Project 1 / y
        Join semi u, gate          gate: one row while there is a row with k > 100, else none

A sub-query that reads nothing of the outer rows is evaluated once for all of them, and not at all
while there are none that the text around it lets through: what fails there must not stop the
pipeline. The price is a copy of the rows below the gate, so it is only built for what a row of
sensible size can make fail (`is_risky`).
"""

from __future__ import annotations

from penstock.data.types import Field, Schema
from penstock.plan.nodes import Distinct, Join, JoinKind, Node, Project, UnionAll, Values
from penstock.plan.rewrite import can_fail, expressions, inputs, is_risky, with_inputs
from penstock.sql.bind import build
from penstock.sql.bind.forms import outers


def gate(rows: Node) -> Node:
    """One row while `rows` has any, else none."""
    schema = Schema((Field("$reached", build.TRUE.type),))
    return Distinct(schema, Project(schema, rows, (build.TRUE,)))


def query_can_fail(query: Node) -> bool:
    """Whether some row can make an expression of `query` raise."""
    return any(map(can_fail, expressions(query))) or any(map(query_can_fail, inputs(query)))


def query_is_risky(query: Node) -> bool:
    """The same of a row of sensible size."""
    return any(map(is_risky, expressions(query))) or any(map(query_is_risky, inputs(query)))


def behind(query: Node, gate: Node) -> Node:
    """`query`, of which the parts that can fail and read no outer row see rows only while `gate`
    has one."""
    new = [behind(x, gate) for x in inputs(query)]
    if not any(map(is_risky, expressions(query))) or outers(query):
        return with_inputs(query, new)
    if isinstance(query, Values):
        rows = tuple(Project(query.schema, gate, row) for row in query.rows)
        return rows[0] if len(rows) == 1 else UnionAll(query.schema, rows)
    return with_inputs(query, [Join(x.schema, JoinKind.SEMI, x, gate, (), (), None) for x in new])
