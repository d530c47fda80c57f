"""The dataflow graph: every operator once, each view's plan on its own."""

from __future__ import annotations

from penstock.sql.dataflow import dataflow
from penstock.sql.program import compile_program

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
