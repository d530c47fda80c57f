"""The nearest row in time, as the first or the greatest of those before (`passes.as_of`)."""

from __future__ import annotations

import pytest

from penstock.plan.nodes import AsofJoin, Join, JoinKind, Node
from penstock.plan.rewrite import inputs
from penstock.sql.program import compile_program

TABLES = """CREATE TABLE a (id INT NOT NULL, k INT, t TIMESTAMP{late});
            CREATE TABLE b (k INT, x INT, t TIMESTAMP{late});"""
FIRST = "SELECT b.x FROM b WHERE b.k = a.k AND b.t {} a.t ORDER BY b.t {} LIMIT 1"
LATEST = "SELECT MAX(o.t) FROM b AS o WHERE o.k = a.k AND o.t <= a.t"
END = "SELECT {}(b.t) FROM b WHERE b.k = a.k AND b.t {} a.t"


def nodes(query: str, late: str = "") -> list[Node]:
    plan = compile_program(f"{TABLES.format(late=late)} CREATE VIEW v AS {query};")

    def below(node: Node) -> list[Node]:
        return [node, *(n for child in inputs(node) for n in below(child))]

    return below(plan.views[0].query)


@pytest.mark.parametrize(
    ("of", "op"),
    [(FIRST.format("<=", "DESC"), ">="), (FIRST.format("<", "DESC"), ">"),
     (FIRST.format(">", ""), "<"), (END.format("MAX", "<="), ">="), (END.format("MIN", ">"), "<")],
)  # fmt: skip
@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, ({}) AS x FROM a",
        "SELECT id, q.x FROM a LEFT JOIN LATERAL ({}) AS q (x) ON TRUE",
    ],
)
def test_the_nearest_row_is_asked_for_alone(query: str, of: str, op: str) -> None:
    found = nodes(query.format(of))

    assert [n.op for n in found if isinstance(n, AsofJoin)] == [op]
    assert all(n.residual is None for n in found if isinstance(n, Join))


@pytest.mark.parametrize(
    "of",
    [
        FIRST.format("<=", ""),  # the first of all
        FIRST.format("<=", "DESC").replace("LIMIT 1", "LIMIT 2"),
        FIRST.format("<=", "DESC").replace("ORDER BY b.t", "ORDER BY b.x"),
        FIRST.format("<=", "DESC").replace("ORDER BY b.t DESC", "ORDER BY b.t DESC, b.x DESC"),
        FIRST.format("<=", "DESC").replace("WHERE", "WHERE b.x <> a.id AND"),
        FIRST.format("<=", "DESC").replace("b.x FROM", "b.x + a.id FROM"),
        END.format("MAX", "<=").replace("(b.t)", "(b.x)"),
        END.format("MIN", "<="),
        END.format("MAX", "<=").replace("(b.t)", "(b.t) FILTER (WHERE b.x > a.id)"),
    ],
)
def test_other_rows_before_are_asked_for_as_they_were(of: str) -> None:
    if "LIMIT 2" in of:
        query = f"SELECT id, q.x FROM a, LATERAL ({of}) AS q"
    else:
        query = f"SELECT id, ({of}) AS x FROM a"

    assert not any(isinstance(n, AsofJoin) for n in nodes(query))


@pytest.mark.parametrize("word", ["AND", "WHERE"])
def test_the_row_of_the_nearest_time_is_found_by_that(word: str) -> None:
    found = nodes(f"SELECT a.id, b.x FROM a JOIN b ON b.k = a.k {word} b.t = ({LATEST})")

    wide = [n for n in found if isinstance(n, Join) and n.kind is JoinKind.INNER]
    assert all(len(n.keys) == 2 for n in wide)


def test_rows_that_lateness_forgets_are_not_looked_for_as_nearest() -> None:
    query = f"SELECT id, ({FIRST.format('<', 'DESC')}) AS x FROM a"
    late = " LATENESS INTERVAL 1 HOURS"

    assert not any(isinstance(n, AsofJoin) for n in nodes(query, late))
