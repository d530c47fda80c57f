"""Sub-queries that can fail, evaluated only while some row comes to them.

    WHERE k > 100 AND x IN (SELECT 1 / y FROM u)

      Project 1 / y
        u, and of those rows that fail none unless there is a row with k > 100

A sub-query that reads nothing of the outer rows is evaluated once for all of them, and not at all
while there are none that the text around it lets through: what fails there must not stop the
pipeline. So the rows that would fail wait at a gate (`penstock.sql.passes.gates`). Where a
condition that can fail joins relations, all rows of both wait below it and are kept: such a gate is
only built for what a row of sensible size can make fail (`is_risky`).
"""

from __future__ import annotations

from penstock.plan.nodes import Filter, Join, JoinKind, Node, Project, UnionAll, Values
from penstock.plan.rewrite import can_fail, conjuncts, expressions, inputs, is_risky, with_inputs
from penstock.sql.bind.forms import outers
from penstock.sql.passes.gates import is_test, without_failing
from penstock.sql.passes.join_keys import is_equality


def query_can_fail(query: Node) -> bool:
    """Whether some row can make an expression of `query` raise."""
    return any(map(can_fail, expressions(query))) or any(map(query_can_fail, inputs(query)))


def behind(query: Node, gate: Node) -> Node:
    """`query`, of which the rows that could fail and read no outer row pass only while `gate` has
    a row."""
    new = [behind(x, gate) for x in inputs(query)]
    failing = [e for e in expressions(query) if can_fail(e) and not is_test(e)]
    if not failing or outers(query):
        return with_inputs(query, new)
    if isinstance(query, Values):
        rows = tuple(Project(query.schema, gate, row) for row in query.rows)
        return rows[0] if len(rows) == 1 else UnionAll(query.schema, rows)
    if isinstance(query, Project) or (isinstance(query, Filter) and not _joins(query)):
        return with_inputs(query, [without_failing(new[0], failing, gate)])
    if not any(map(is_risky, failing)):
        return with_inputs(query, new)
    return with_inputs(query, [Join(x.schema, JoinKind.SEMI, x, gate, (), (), None) for x in new])


def _joins(query: Filter) -> bool:
    """Whether relations may be joined by a term of its predicate that can fail."""
    return any(is_equality(p) and can_fail(p) for p in conjuncts(query.predicate))
