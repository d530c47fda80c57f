"""Gates of sub-queries that can fail, over plans that are no trees."""

from __future__ import annotations

from penstock.data.types import BOOLEAN, INTEGER, Field, Schema
from penstock.functions.registry import resolve
from penstock.plan.expressions import Call, InputRef
from penstock.plan.nodes import Node, Project, Scan, UnionAll
from penstock.plan.rewrite import inputs
from penstock.sql.bind.forms import Exists, In, Scalar
from penstock.sql.bind.gates import behind, query_can_fail, query_is_risky
from penstock.sql.passes.gates import gate

SCHEMA = Schema((Field("x", INTEGER),))


def doubled(levels: int) -> Node:
    """A relation that is read twice, and so is what reads it, and so on: 2**levels paths."""
    node: Node = Scan(SCHEMA, "t")
    for _ in range(levels):
        node = UnionAll(SCHEMA, (node, node))
    return node


def test_a_node_that_many_read_is_looked_at_once() -> None:
    query = doubled(200)

    assert not query_can_fail(query)
    assert not query_is_risky(query)
    assert behind(query, gate(Scan(SCHEMA, "u"))) is query


def test_a_node_that_many_read_waits_once() -> None:
    x = InputRef(INTEGER, 0)
    divided = Call(INTEGER, resolve("/", [INTEGER, INTEGER]), (x, x))
    query: Node = Project(SCHEMA, Scan(SCHEMA, "t"), (divided,))
    for _ in range(200):
        query = UnionAll(SCHEMA, (query, query))

    waiting = behind(query, gate(Scan(SCHEMA, "u")))

    assert query_is_risky(query)
    while isinstance(waiting, UnionAll):
        first, second = inputs(waiting)
        assert first is second
        waiting = first
    assert isinstance(waiting, Project) and waiting.input != Scan(SCHEMA, "t")


def test_to_look_a_sub_query_up_does_not_walk_it_as_a_tree() -> None:
    query = doubled(200)
    same = InputRef(INTEGER, 0)

    for e in (Scalar(INTEGER, query), Exists(BOOLEAN, query), In(BOOLEAN, (same,), query)):
        assert {e: 1}[e] == 1
