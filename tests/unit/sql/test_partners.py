"""Outer, semi and anti joins on inequalities are planned by their pairs (`passes.partners`)."""

from __future__ import annotations

import pytest

from penstock.plan.nodes import Aggregate, Frontier, Join, JoinKind, Node
from penstock.plan.rewrite import inputs
from penstock.sql.program import compile_program

TABLES = "CREATE TABLE a (k INT, x INT); CREATE TABLE b (k INT, x INT, z DOUBLE);"


def nodes(node: Node) -> list[Node]:
    return [node, *(n for child in inputs(node) for n in nodes(child))]


def planned(query: str, before: str = "") -> list[Node]:
    plan = compile_program(f"{TABLES} {before} CREATE VIEW v AS {query};")
    return nodes(next(v.query for v in plan.views if v.name == "v"))


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a.x, b.z FROM a LEFT JOIN b ON a.x BETWEEN b.x AND b.k",
        "SELECT a.x, b.z FROM a FULL JOIN b ON a.x < b.x",
        "SELECT x FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE a.x > b.x AND a.k < b.k)",
    ],
)
def test_who_has_a_partner_is_found_among_the_pairs(query: str) -> None:
    joins = [n for n in planned(query) if isinstance(n, Join)]

    assert {j.kind for j in joins if not j.keys} == {JoinKind.INNER}
    assert all(j.kind in (JoinKind.SEMI, JoinKind.ANTI) for j in joins if j.keys)


def test_one_comparison_alone_asks_the_best_partner_only() -> None:
    found = planned("SELECT x FROM a WHERE EXISTS (SELECT * FROM b WHERE a.x < b.x)")

    assert [n.op for n in found if isinstance(n, Frontier)] == ["<"]
    assert not any(isinstance(n, Join) for n in found)


@pytest.mark.parametrize(
    ("condition", "best"),
    [("b.x > a.x", "MAX"), ("a.x >= b.x", "MIN"), ("b.x - 1 < a.x", "MIN"), ("b.z > a.x", "MAX"),
     ("b.x > a.x AND b.k < a.x", None), ("b.x <> a.x", None)],
)  # fmt: skip
@pytest.mark.parametrize("word", ["", "NOT"])
def test_one_comparison_beside_keys_asks_the_best_of_each_key_only(
    condition: str, best: str | None, word: str
) -> None:
    query = f"SELECT x FROM a WHERE {word} EXISTS (SELECT * FROM b WHERE b.k = a.k AND {condition})"
    found = planned(query)

    calls = [c.function.kind for n in found if isinstance(n, Aggregate) for c in n.calls]
    assert calls == ([] if best is None else [best])


@pytest.mark.parametrize(
    ("late", "forgets"),
    [("k INT LATENESS 5, x INT", True), ("k INT, x INT LATENESS 5", False)],
)
def test_rows_that_lateness_forgets_are_no_best_of_a_key(late: str, forgets: bool) -> None:
    plan = compile_program(f"""
        CREATE TABLE a ({late});
        CREATE VIEW v AS SELECT x FROM a WHERE NOT EXISTS (
            SELECT * FROM a AS b WHERE b.k = a.k AND b.x > a.x);
    """)
    found = [n for v in plan.views for n in nodes(v.query)]

    assert any(isinstance(n, Aggregate) for n in found) is not forgets


@pytest.mark.parametrize("word", ["", "NOT"])
@pytest.mark.parametrize("condition", ["a.x <> b.x", "b.x <> a.x", "b.k = a.k AND b.z <> a.x"])
def test_who_has_a_partner_that_differs_is_not_asked_of_pairs(word: str, condition: str) -> None:
    found = planned(f"SELECT x FROM a WHERE {word} EXISTS (SELECT * FROM b WHERE {condition})")

    assert all(n.residual is None for n in found if isinstance(n, Join))


@pytest.mark.parametrize(
    ("condition", "op"),
    [("x >= ALL", "<"), ("x > ANY", ">"), ("NOT x > ALL", "<="), ("NOT x < ANY", "<")],
)
def test_a_comparison_with_all_values_is_one_with_the_best(condition: str, op: str) -> None:
    found = planned(f"SELECT x FROM a WHERE {condition} (SELECT x FROM b)")

    assert [n.op for n in found if isinstance(n, Frontier)] == [op]
    halves = [n for n in found if isinstance(n, Join) and n.kind is not JoinKind.INNER]
    assert all(n.residual is None for n in halves)


def test_a_join_with_one_row_stays_as_it_is() -> None:
    found = planned("SELECT a.x FROM a LEFT JOIN (SELECT MIN(x) AS m FROM b) AS q ON a.x > q.m")

    assert [j.kind for j in found if isinstance(j, Join)] == [JoinKind.LEFT]


def test_rows_beside_one_value_of_another_type_are_those_on_one_side_of_it() -> None:
    found = planned("SELECT k FROM a WHERE k > (SELECT AVG(z) FROM b)")

    assert [n.op for n in found if isinstance(n, Frontier)] == [">"]
    assert not any(isinstance(n, Join) for n in found)


@pytest.mark.parametrize("condition", ["x > ({})", "({}) > x"])
def test_rows_beside_one_value_are_those_on_one_side_of_it(condition: str) -> None:
    found = planned(f"SELECT k FROM a WHERE {condition.format('SELECT AVG(x) FROM a')}")

    assert [n.op for n in found if isinstance(n, Frontier)] == [">" if condition[0] == "x" else "<"]
    assert not any(isinstance(n, Join) for n in found)


def test_rows_beside_the_one_value_of_their_key_make_no_pairs() -> None:
    found = planned("SELECT k FROM a WHERE x > (SELECT AVG(x) FROM a AS o WHERE o.k = a.k)")

    assert [j.kind for j in found if isinstance(j, Join)] == [JoinKind.SEMI]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT x, q.m FROM a JOIN (SELECT AVG(x) AS m FROM a) q ON x > q.m",  # it is shown
        "SELECT a.k FROM a JOIN b ON a.k = b.k AND a.x > b.x",  # of several
        "SELECT k FROM a JOIN (SELECT MAX(x) AS m, MIN(x) AS n FROM b) q ON x > q.m AND k < q.n",
    ],
)
def test_rows_beside_others_stay_a_join(query: str) -> None:
    assert JoinKind.INNER in [j.kind for j in planned(query) if isinstance(j, Join)]


def test_a_cycle_of_views_keeps_its_semi_join() -> None:
    found = planned(
        "SELECT k, x FROM a WHERE k = 1 UNION "
        "SELECT k, x FROM a WHERE EXISTS (SELECT * FROM v WHERE v.x < a.x)",
        before="DECLARE RECURSIVE VIEW v (k INT, x INT);",
    )

    assert not any(isinstance(n, Frontier) for n in found)


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("SELECT x FROM a WHERE (SELECT COUNT(*) FROM b WHERE b.k = a.k) > 2", ["SEMI"]),
        ("SELECT x FROM a WHERE (SELECT COUNT(*) FROM b WHERE b.k = a.k) = 0", ["SEMI", "ANTI"]),
        ("SELECT x FROM a WHERE k IN (SELECT k FROM b GROUP BY k HAVING SUM(x) > 5)", ["SEMI"]),
        ("SELECT a.x FROM a JOIN (SELECT k FROM b GROUP BY k HAVING SUM(x) > 5) q ON q.k = a.k",
         ["SEMI"]),
        ("SELECT x FROM a QUALIFY x > AVG(x) OVER (PARTITION BY k)", ["SEMI"]),
        # it is shown
        ("SELECT a.x, n FROM a LEFT JOIN (SELECT k, COUNT(*) AS n FROM b GROUP BY k) q ON q.k = a.k"
         " WHERE COALESCE(n, 0) > 2", ["INNER"]),
        # of a row of the other side alone, whose values stay
        ("SELECT a.x FROM a LEFT JOIN b ON a.k = b.k WHERE b.z IS NULL", ["LEFT"]),
        # of both sides
        ("SELECT a.x FROM a LEFT JOIN (SELECT k, COUNT(*) AS n FROM b GROUP BY k) q ON q.k = a.k "
         "WHERE COALESCE(n, 0) > a.x", ["LEFT"]),
        # fails where it has a partner
        ("SELECT a.x FROM a LEFT JOIN (SELECT k, SUM(x) AS n FROM b GROUP BY k) q ON q.k = a.k "
         "WHERE COALESCE(1 / n, 3) > 2", ["LEFT"]),
    ],
)  # fmt: skip
def test_what_a_group_says_of_its_key_is_asked_before_the_join(
    query: str, kinds: list[str]
) -> None:
    assert [n.kind.name for n in planned(query) if isinstance(n, Join)] == kinds


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("SELECT DISTINCT a.x FROM a JOIN b ON a.k = b.k", ["SEMI"]),
        ("SELECT DISTINCT b.z + 1 AS y FROM a, b WHERE a.k = b.k AND a.x > 1", ["SEMI"]),
        ("SELECT DISTINCT a.x, b.z FROM a JOIN b ON a.k = b.k", ["INNER"]),
        ("SELECT DISTINCT a.x FROM a JOIN b ON a.k = b.k AND a.x < b.x", ["INNER"]),
        ("SELECT a.x FROM a JOIN b ON a.k = b.k", ["INNER"]),
    ],
)
def test_distinct_rows_of_one_side_are_asked_whether_they_have_a_partner(
    query: str, kinds: list[str]
) -> None:
    assert [n.kind.name for n in planned(query) if isinstance(n, Join)] == kinds


def test_distinct_rows_of_one_side_are_of_pairs_in_a_cycle() -> None:
    plan = compile_program(f"""{TABLES} DECLARE RECURSIVE VIEW r (n INT);
        CREATE VIEW r AS SELECT k AS n FROM a UNION (
            SELECT DISTINCT b.x AS n FROM r JOIN b ON r.n = b.k);""")

    kinds = [n.kind for n in nodes(plan.views[0].query) if isinstance(n, Join)]
    assert kinds == [JoinKind.INNER]


@pytest.mark.parametrize(
    ("shown", "marks"),
    [
        ("CASE WHEN x > (SELECT AVG(x) FROM a) THEN 1 ELSE 0 END AS c", True),
        ("(SELECT AVG(x) FROM a) >= x AS p, x < 5 AS q", True),
        ("CASE WHEN x > (SELECT AVG(x) FROM a) THEN (SELECT AVG(x) FROM a) END AS c", False),
        ("k > 0 AND 1 / k > (SELECT AVG(x) FROM a) AS p", False),
    ],
)
def test_rows_that_show_on_which_side_of_one_value_they_are_are_marked(
    shown: str, marks: bool
) -> None:
    found = planned(f"SELECT k, {shown} FROM a")

    assert [n.marks for n in found if isinstance(n, Frontier)] == [True] * marks
    assert any(isinstance(n, Join) for n in found) is not marks


def test_a_value_that_is_shown_beside_how_it_compares_is_a_value() -> None:
    found = planned("SELECT k, x > m AS p, m FROM a, (SELECT MAX(x) AS m FROM a) AS q")

    assert not any(isinstance(n, Frontier) for n in found)


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("SELECT z, x < MAX(x) OVER (PARTITION BY k) AS p FROM b", ["SEMI"] * 4),
        ("SELECT a.k, CASE WHEN n > a.x THEN 1 END AS p FROM a LEFT JOIN (SELECT k, COUNT(*) AS n "
         "FROM b GROUP BY k) q ON q.k = a.k", ["SEMI"] * 3 + ["ANTI"]),
        # a NaN is on neither side
        ("SELECT x, z < MAX(z) OVER (PARTITION BY k) AS p FROM b", ["INNER"]),
        # shown itself
        ("SELECT x, m, x < m AS p FROM (SELECT x, MAX(x) OVER (PARTITION BY k) AS m FROM a) AS q",
         ["INNER"]),
        # of many rows
        ("SELECT a.k, a.x > b.x AS p FROM a JOIN b ON a.k = b.k", ["INNER"]),
    ],
)  # fmt: skip
def test_rows_that_show_on_which_side_of_a_value_of_their_key_they_are_make_no_pairs(
    query: str, kinds: list[str]
) -> None:
    assert [n.kind.name for n in planned(query) if isinstance(n, Join)] == kinds
