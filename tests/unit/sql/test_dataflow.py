"""The dataflow graph: every operator once, each view's plan on its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from penstock.sql.dataflow import dataflow
from penstock.sql.program import compile_program
from tests.openapi import check_component

PROGRAM = """CREATE TABLE orders (id INT, customer VARCHAR, amount INT);
CREATE TABLE people (name VARCHAR);
CREATE LOCAL VIEW big AS
SELECT o.customer, o.amount FROM orders o JOIN people p ON o.customer = p.name WHERE o.amount > 10;
CREATE VIEW totals AS SELECT customer, SUM(amount) AS total FROM big GROUP BY customer;
CREATE VIEW counts AS SELECT customer, COUNT(*) AS n FROM big GROUP BY customer;
"""


def test_every_operator_stands_once_behind_the_views_that_read_it() -> None:
    graph = dataflow(compile_program(PROGRAM))["mir"]

    def behind(name: str) -> set[str]:
        below = [i["node"] for i in graph[name]["inputs"]]
        return set(below).union(*map(behind, below))

    assert {n for n, node in graph.items() if node["operation"] == "table"} == {"orders", "people"}
    for view in ("totals", "counts"):
        assert graph[view]["view"] == view
        assert {"big", "orders", "people"} <= behind(view)
    joins = [node for node in graph.values() if node["operation"] == "Join"]
    assert len(joins) == 1 and "customer" in joins[0]["description"]
    places = [p["start_line_number"] for n in graph.values() for p in n.get("positions", [])]
    assert places and set(places) <= {3, 4, 5, 6}


def test_a_views_plan_names_its_operators_inputs_first() -> None:
    plans = dataflow(compile_program(PROGRAM))["calcite_plan"]
    rels = plans["totals"]["rels"]

    assert [r["id"] for r in rels] == list(range(len(rels)))
    assert all(i < r["id"] for r in rels for i in r["inputs"])
    assert rels[0]["relOp"] == "LogicalTableScan" and rels[0]["table"] == ["big"]
    assert rels[-1]["fields"] == ["customer", "total"]
    assert any(r["relOp"] == "LogicalAggregate" and r["group"] == [0] for r in rels)


def test_what_an_operator_computes_is_said_in_the_json_of_calcites_plans() -> None:
    text = PROGRAM + (
        "CREATE VIEW w AS SELECT CASE WHEN id IN (1, 2) THEN amount + 1.5 END AS x, "
        "COUNT(DISTINCT customer) FILTER (WHERE amount IS NULL) AS n FROM orders "
        "WHERE customer LIKE 'a%' AND id IS DISTINCT FROM 3 GROUP BY id, amount;"
    )
    graph = dataflow(compile_program(text))
    plans = graph["calcite_plan"]
    rels = [r for plan in plans.values() for r in plan["rels"]]
    more = next(r["condition"] for r in plans["big"]["rels"] if r["relOp"] == "LogicalFilter")

    assert more["op"] == {"name": ">", "kind": "GREATER_THAN", "syntax": "BINARY"}
    column, ten = more["operands"]
    assert column == {"input": 1, "name": "$1"}
    assert (ten["literal"], ten["type"]["type"], ten["type"]["nullable"]) == (10, "INTEGER", False)
    joined = next(r for r in plans["big"]["rels"] if r["relOp"] == "LogicalJoin")
    assert joined["condition"]["op"]["kind"] == "EQUALS"
    total = next(r for r in plans["totals"]["rels"] if r["relOp"] == "LogicalAggregate")
    (call,) = total["aggs"]
    assert (call["agg"]["kind"], call["operands"], call["distinct"]) == ("SUM", [1], False)
    check_component("Dataflow", graph)
    kinds = {kind for rel in rels for kind in _kinds(rel)}
    assert {"CASE", "PLUS", "LIKE", "IS_DISTINCT_FROM", "IN", "AND", "IS_NULL"} <= kinds


def _kinds(value: Any) -> Iterator[str]:
    """The kinds of all operators in a plan."""
    if isinstance(value, dict):
        if "op" in value:
            yield value["op"]["kind"]
        for part in value.values():
            yield from _kinds(part)
    elif isinstance(value, list):
        for part in value:
            yield from _kinds(part)


def test_an_operator_has_one_id_in_every_program_that_computes_it() -> None:
    other = PROGRAM.replace("CREATE VIEW", "CREATE VIEW z AS SELECT id FROM orders; CREATE VIEW", 1)
    graphs = [dataflow(compile_program(text))["mir"] for text in (PROGRAM, other)]
    ids = [{n["persistent_id"] for n in g.values() if "persistent_id" in n} for g in graphs]
    assert ids[0] < ids[1]


def test_a_view_that_reads_itself_is_a_cycle() -> None:
    graph = dataflow(
        compile_program(
            "CREATE TABLE edge (a INT, b INT); DECLARE RECURSIVE VIEW path (a INT, b INT);"
            "CREATE VIEW path AS SELECT * FROM edge UNION "
            "SELECT p.a, e.b FROM path p JOIN edge e ON p.b = e.a;"
        )
    )["mir"]
    reads = {i["node"] for node in graph.values() for i in node["inputs"]}
    assert "path" in reads and reads <= set(graph)
