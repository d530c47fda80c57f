"""What the passes make of plans; that they keep their meaning is tested with the queries."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.plan.nodes import (
    CLOCK,
    Aggregate,
    Distinct,
    Join,
    JoinKind,
    Node,
    Project,
    Scan,
    Values,
)
from penstock.plan.rewrite import inputs
from penstock.sql import ast
from penstock.sql.parser import parse_program
from penstock.sql.program import compile_program, explain

PROGRAMS = Path(__file__).parent / "programs"
TABLES = """
CREATE TABLE a (k INT NOT NULL, x INT, y INT);
CREATE TABLE b (k BIGINT NOT NULL, z INT);
CREATE TABLE c (k INT NOT NULL, w INT, s VARCHAR);
CREATE TABLE d (id INT NOT NULL PRIMARY KEY, p INT, ts TIMESTAMP);
"""


def plan_of(query: str, after: str | None = None) -> str:
    text = explain(f"{TABLES} CREATE VIEW v AS {query}", after)
    return text.split("\n", 1)[1].strip("\n")


def nodes(node: Node) -> list[Node]:
    return [node, *(n for child in inputs(node) for n in nodes(child))]


def test_filters_reach_the_tables_and_equalities_become_keys() -> None:
    plan = plan_of("SELECT x, z FROM a, b WHERE a.k = b.k AND x > 1 AND z < x AND z IS NOT NULL")

    assert "Filter x > 1\n" in plan
    assert "Filter z IS NOT NULL\n" in plan
    assert "Join inner on" in plan
    assert "z < x" in next(line for line in plan.split("\n") if "Join" in line)


def test_a_comma_list_is_joined_along_its_equalities_not_as_written() -> None:
    plan = compile_program(
        f"{TABLES} CREATE VIEW v AS SELECT x FROM a, b, c WHERE a.x = c.w AND c.k = b.k"
    )

    joins = [n for n in nodes(plan.views[0].query) if isinstance(n, Join)]
    assert len(joins) == 2
    assert all(j.keys for j in joins)


def test_what_all_alternatives_demand_is_taken_out_of_the_or() -> None:
    plan = plan_of("SELECT z FROM a, b WHERE (a.k = b.k AND x = 1) OR (z = 2 AND a.k = b.k)")

    assert "Join inner on" in plan
    assert "x = 1 OR z = 2" in plan


def test_a_predicate_that_can_fail_stays_behind_what_guards_it() -> None:
    plan = plan_of("SELECT x FROM a JOIN c ON a.k = c.k WHERE x <> 0 AND 10 / x > 1")

    lines = [line.strip() for line in plan.split("\n")]
    failing = next(i for i, line in enumerate(lines) if "10 / " in line)
    guard = next(i for i, line in enumerate(lines) if "<> 0" in line)
    join = next(i for i, line in enumerate(lines) if line.startswith("Join"))
    assert failing < join < guard


def test_the_condition_of_a_left_join_does_not_filter_its_left_side() -> None:
    plan = plan_of("SELECT x, w FROM a LEFT JOIN c ON a.k = c.k AND x > 1 AND w > 2")

    assert "Filter w > 2" in plan
    assert "Filter x > 1" not in plan


def test_joins_carry_only_the_columns_that_somebody_reads() -> None:
    plan = compile_program(f"{TABLES} CREATE VIEW v AS SELECT x FROM a JOIN c ON a.k = c.k")

    (join,) = [n for n in nodes(plan.views[0].query) if isinstance(n, Join)]
    assert join.left.schema.names == ("k", "x")
    assert join.right.schema.names == ("k",)


def test_equal_parts_of_different_views_are_one_object() -> None:
    query = "SELECT k, SUM(x) AS t FROM a WHERE y > 1 GROUP BY k"
    having = f"{query} HAVING SUM(x) > 2"
    plan = compile_program(f"{TABLES} CREATE VIEW u AS {query}; CREATE VIEW v AS {having}")

    first, second = (nodes(view.query) for view in plan.views)
    (shared,) = [n for n in first if isinstance(n, Aggregate)]
    assert any(n is shared for n in second)


def test_a_view_reads_another_by_scanning_it() -> None:
    plan = compile_program(
        f"{TABLES} CREATE VIEW u AS SELECT k FROM a; CREATE VIEW v AS SELECT k FROM u"
    )

    assert plan.views[1].query == Scan(plan.views[0].schema, "u")


def test_projects_on_projects_collapse() -> None:
    plan = plan_of("SELECT p + 1 AS q FROM (SELECT x AS p FROM (SELECT * FROM a) i) o")

    assert plan.count("Project") == 1


@pytest.mark.parametrize(
    ("query", "predicate"),
    [
        ("SELECT k FROM a WHERE TRUE AND x > 1", "Filter x > 1"),
        ("SELECT k FROM a WHERE NOT FALSE", None),
        ("SELECT k FROM a WHERE x > 1 OR FALSE", "Filter x > 1"),
    ],
)
def test_constant_logic_folds(query: str, predicate: str | None) -> None:
    plan = plan_of(query)

    assert ("Filter" in plan) == (predicate is not None)
    assert predicate is None or predicate in plan


@pytest.mark.parametrize(
    ("query", "predicate"),
    [
        (
            "SELECT k FROM d WHERE day < DATE '1994-01-31' + INTERVAL '1' MONTH",
            "day < DATE '1994-02-28'",
        ),
        ("SELECT k FROM d WHERE k < 2 * 3 + 1", "k < 7"),
        ("SELECT k FROM d WHERE day < CAST('1994-01-31' AS DATE)", "day < DATE '1994-01-31'"),
        ("SELECT k FROM d WHERE k < 1 / 0", "k < 1 / 0"),
        ("SELECT k FROM d WHERE k < 2147483647 + 1", "k < 2147483647 + 1"),
        (
            "SELECT k FROM d WHERE day < DATE '9999-12-31' + INTERVAL '1' DAY",
            "day < DATE '9999-12-31' + INTERVAL '86400' SECOND",
        ),
    ],
)
def test_constants_that_could_have_failed_are_computed_unless_they_do(
    query: str, predicate: str
) -> None:
    text = explain(f"CREATE TABLE d (k INT NOT NULL, day DATE); CREATE VIEW v AS {query}")

    assert f"Filter {predicate}\n" in text


def test_a_sum_of_constants_does_not_keep_a_filter_above_a_join() -> None:
    plan = plan_of("SELECT x FROM a JOIN c ON a.k = c.k WHERE x < 1 + 1")

    lines = [line.strip() for line in plan.split("\n")]
    join = next(i for i, line in enumerate(lines) if line.startswith("Join"))
    assert lines.index("Filter x < 2") > join


@pytest.mark.parametrize(
    ("condition", "limit", "left"),
    [
        ("n <= 3", 3, None), ("n < 3", 2, None), ("3 >= n", 3, None), ("3 > n", 2, None),
        ("n = 1", 1, None), ("1 = n", 1, None), ("n = 2", 2, "= 2"),
        ("n IN (1, 4)", 4, "IN (1, 4)"),
        ("n BETWEEN 2 AND 3", 3, "2 <="), ("n < 1 + 1", 1, None), ("n <= 0", 0, None),
        ("n = 2 AND n IN (2, 3) AND n <= 9", 2, "= 2"),
        ("NOT n > 3", 3, None), ("n + 1 <= 4", 3, None), ("n < 3.5", 3, None),
        ("(n <= 3) IS TRUE", 3, None), ("n = 1 OR n = 2 AND x > 1", 2, "= 2"),
        ("n BETWEEN 1 AND 3", 3, None), ("n <= 3 AND n > 0", 3, None), ("n IN (1)", 1, None),
        ("CAST(n AS INT) <= 3", 3, None), ("n = 1 OR x <= 2", None, "OR"),
        ("n > 3", None, "> 3"), ("n <> 1", None, "<> 1"), ("n NOT IN (1, 2)", None, "IN (1, 2)"),
        ("n <= x", None, "<= x"), ("n <= 3 OR x = 1", None, "<= 3"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rank", ["ROW_NUMBER", "RANK"])
def test_a_rank_compared_with_a_constant_keeps_the_first_rows_only(
    rank: str, condition: str, limit: int | None, left: str | None
) -> None:
    numbered = f"SELECT x, {rank}() OVER (PARTITION BY k ORDER BY y) AS n FROM a"
    plan = plan_of(f"SELECT x FROM ({numbered}) AS q WHERE {condition}")

    assert (f"limit {limit}" in plan) == (limit is not None)
    assert ("TopK" in plan) == (limit is not None)
    assert ("Filter" in plan) == (left is not None)
    assert left is None or left in plan


def test_explain_shows_the_plan_after_any_pass() -> None:
    query = "SELECT x FROM a, c WHERE a.k = c.k AND x > 1"

    assert "Filter a" not in plan_of(query, "bind")
    assert "Join inner on" not in plan_of(query, "fold_constants")
    assert "Join inner on" in plan_of(query, "push_filters")


def _one_row(node: Node) -> bool:
    while isinstance(node, Project):
        node = node.input
    if isinstance(node, Distinct):  # whether somebody asks
        return isinstance(node.input, Project) and node.schema.names == ("$reached",)
    return (isinstance(node, Aggregate) and not node.keys) or isinstance(node, Values)


def _tpch() -> tuple[str, list[str]]:
    text = (PROGRAMS / "tpch.sql").read_text()
    statements = [(s, text[s.span.start : s.span.end]) for s in parse_program(text)]
    tables = ";\n".join(t for s, t in statements if isinstance(s, ast.CreateTable))
    return tables + ";\n", [t for s, t in statements if isinstance(s, ast.CreateView)]


def test_no_tpch_query_multiplies_tables() -> None:
    tables, views = _tpch()
    assert len(views) == 22

    for view in views:
        plan = compile_program(tables + view)
        for node in (n for v in plan.views for n in nodes(v.query)):
            if isinstance(node, Join) and not node.keys:
                assert node.kind in (JoinKind.INNER, JoinKind.SEMI)
                assert _one_row(node.right), view


STAR = """
CREATE TABLE item (o INT NOT NULL, s INT NOT NULL, price INT NOT NULL);
CREATE TABLE orders (id INT NOT NULL PRIMARY KEY, c INT NOT NULL);
CREATE TABLE customer (id INT NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE supplier (id INT NOT NULL PRIMARY KEY, n INT NOT NULL);
CREATE TABLE nation (id INT NOT NULL PRIMARY KEY, name VARCHAR NOT NULL);
"""


def _joined(query: str) -> list[set[str]]:
    """The tables below each join, the last join first."""
    plan = compile_program(f"{STAR} CREATE VIEW v AS {query}")

    def scans(node: Node) -> set[str]:
        return {n.relation for n in nodes(node) if isinstance(n, Scan)}

    return [scans(n) for n in nodes(plan.views[0].query) if isinstance(n, Join)]


def test_filtered_lookups_are_joined_to_what_names_them_before_anything_else() -> None:
    joined = _joined(
        "SELECT price FROM customer, nation, supplier, orders, item WHERE item.o = orders.id"
        " AND orders.c = customer.id AND customer.n = nation.id AND item.s = supplier.id"
        " AND nation.name = 'FRANCE'"
    )

    assert {"customer", "nation"} in joined
    assert {"orders", "customer", "nation"} in joined
    assert {"item", "orders", "customer", "nation"} in joined


def test_without_a_filter_inputs_are_joined_as_written() -> None:
    joined = _joined(
        "SELECT price FROM item, orders, customer WHERE item.o = orders.id"
        " AND orders.c = customer.id"
    )

    assert joined == [{"item", "orders", "customer"}, {"item", "orders"}]


def test_lookups_that_name_each_other_are_joined_once() -> None:
    joined = _joined(
        "SELECT price FROM orders, customer, supplier, item WHERE orders.id = customer.id"
        " AND customer.id = supplier.id AND supplier.id = orders.id AND item.o = orders.id"
        " AND orders.c > 1 AND customer.n > 1 AND supplier.n > 1"
    )

    assert len(joined) == 3


def test_what_an_or_implies_for_one_input_filters_it() -> None:
    text = explain(
        f"{STAR} CREATE VIEW v AS SELECT price FROM item, supplier, nation WHERE s = supplier.id"
        " AND supplier.n = nation.id"
        " AND ((name = 'FRANCE' AND price > 1) OR (name = 'GERMANY' AND price > 2))"
    )

    assert "Filter name = 'FRANCE' OR name = 'GERMANY'\n" in text
    assert "Filter price > 1 OR price > 2\n" in text
    assert "name = 'FRANCE' AND price > 1 OR name = 'GERMANY' AND price > 2" in text


@pytest.mark.parametrize(
    ("query", "lines"),
    [
        ("SELECT x, w FROM a JOIN c ON a.k = c.k WHERE a.k = 5",
         ["Join inner", "Filter k = 5", "Scan a", "Filter k = 5", "Scan c"]),
        ("SELECT x, w FROM a LEFT JOIN c ON a.k = c.k WHERE a.k = 5",
         ["Join left", "Filter k = 5", "Scan a", "Filter k = 5", "Scan c"]),
        ("SELECT x, w FROM a LEFT JOIN c ON a.k = c.k WHERE w > 5",
         ["Join inner", "Scan a", "Filter w > 5", "Scan c"]),
        ("SELECT x, w FROM a LEFT JOIN c ON a.k = c.k WHERE NOT UPPER(s) IN ('A', 'B')",
         ["Join inner", "Scan a", "Filter NOT UPPER(s) IN ('A', 'B')", "Scan c"]),
        ("SELECT x, w FROM a LEFT JOIN c ON a.k = c.k WHERE w IS NOT NULL",
         ["Join inner", "Scan a", "Filter w IS NOT NULL", "Scan c"]),
        ("SELECT x, w FROM a RIGHT JOIN c ON a.k = c.k WHERE x < 5",
         ["Join inner", "Filter x < 5", "Scan a", "Scan c"]),
        ("SELECT x, w FROM a FULL JOIN c ON a.k = c.k WHERE x < 5",
         ["Join left", "Filter x < 5", "Scan a", "Scan c"]),
        ("SELECT x, w FROM a FULL JOIN c ON a.k = c.k WHERE x < w",
         ["Join inner", "Scan a", "Scan c"]),
        # no padded row meets one of what is joined behind
        ("SELECT x, w, z FROM a LEFT JOIN c ON a.k = c.k JOIN b ON b.k = c.w",
         ["Join inner", "Join inner", "Scan a", "Scan c", "Scan b"]),
        ("SELECT x, q FROM (SELECT x, w + 1 AS q FROM a LEFT JOIN c ON a.k = c.k) JOIN b "
         "ON q = b.k",
         ["Join inner", "Join inner", "Scan a", "Scan c", "Scan b"]),
        ("SELECT x, w, z FROM a FULL JOIN c ON a.k = c.k JOIN b ON b.k = c.w AND b.z = x",
         ["Join inner", "Join inner", "Scan a", "Scan c", "Scan b"]),
        ("SELECT x, w, z FROM a LEFT JOIN c ON a.k = c.k JOIN b ON b.k = a.k",
         ["Join inner", "Join left", "Scan a", "Scan c", "Scan b"]),
        ("SELECT x, w, z FROM a LEFT JOIN c ON a.k = c.k JOIN b ON b.k <=> c.w",
         ["Join inner", "Join left", "Scan a", "Scan c", "Scan b"]),
        # a padded row may pass
        ("SELECT x, w FROM a LEFT JOIN c ON a.k = c.k WHERE w IS NULL",
         ["Filter w IS NULL", "Join left", "Scan a", "Scan c"]),
        ("SELECT x, w FROM a LEFT JOIN c ON a.k = c.k WHERE COALESCE(w, 7) > 5",
         ["Filter COALESCE(w, 7) > 5", "Join left", "Scan a", "Scan c"]),
        ("SELECT x, w FROM a LEFT JOIN c ON a.k = c.k WHERE w > 5 OR x > 5",
         ["Filter w > 5 OR x > 5", "Join left", "Scan a", "Scan c"]),
        ("SELECT * FROM (SELECT x, SUM(y) AS n FROM a GROUP BY x) WHERE x = 5",
         ["Aggregate", "Filter x = 5", "Scan a"]),
        ("SELECT * FROM (SELECT x, RANK() OVER (PARTITION BY x ORDER BY y) AS r FROM a) "
         "WHERE x = 5",
         ["Window", "Filter x = 5", "Scan a"]),
        ("SELECT * FROM (SELECT x FROM a UNION SELECT w FROM c) WHERE x = 5",
         ["Distinct", "UnionAll", "Filter x = 5", "Scan a", "Filter w = 5", "Scan c"]),
        ("SELECT n FROM (SELECT x, COUNT(*) AS n, SUM(y) AS s FROM a GROUP BY x)",
         ["Aggregate by x: COUNT(*)", "Scan a"]),
        ("SELECT x FROM (SELECT x, ROW_NUMBER() OVER (PARTITION BY k ORDER BY y) AS r FROM a) "
         "WHERE r <= 3", ["TopK partition by k order by y limit 3", "Scan a"]),
        ("SELECT x + 2 * 3 AS z FROM a WHERE x > 2 + 3", ["Filter x > 5", "Scan a"]),
        ("SELECT x FROM a WHERE 1 = 1 AND 'a' < 'b' AND x > 5", ["Filter x > 5", "Scan a"]),
        ("SELECT x FROM a WHERE x > 5 OR 2 < 1", ["Filter x > 5", "Scan a"]),
        # the right side of a set operation, and of IN
        ("SELECT * FROM (SELECT x FROM a EXCEPT SELECT w FROM c) WHERE x > 5",
         ["Join anti", "Distinct", "Filter x > 5", "Scan a", "Filter w > 5", "Scan c"]),
        ("SELECT * FROM (SELECT x FROM a EXCEPT ALL SELECT w FROM c) WHERE x > 5",
         ["Difference", "Filter x > 5", "Scan a", "Filter w > 5", "Scan c"]),
        ("SELECT x FROM a WHERE x IN (SELECT w FROM c) AND x > 5",
         ["Join semi", "Filter x > 5", "Scan a", "Filter w > 5", "Scan c"]),
        ("SELECT x FROM a WHERE x IN (SELECT w FROM c WHERE w > 5)",
         ["Join semi", "Filter x > 5", "Scan a", "Filter w > 5", "Scan c"]),
        ("SELECT x FROM a WHERE NOT EXISTS (SELECT 1 FROM c WHERE w = x) AND x > 5",
         ["Join anti", "Filter x > 5", "Scan a", "Filter w > 5", "Scan c"]),
        # a column that is computed
        ("SELECT * FROM (SELECT x, UPPER(s) AS u FROM a JOIN c ON a.k = c.k) WHERE u = 'X'",
         ["Join inner", "Scan a", "Filter UPPER(s) = 'X'", "Scan c"]),
        ("SELECT * FROM (SELECT x, 10 / w AS u FROM a JOIN c ON a.k = c.k) WHERE u = 1",
         ["Filter u = 1", "Join inner", "Scan a", "Scan c"]),
        # rows that are distinct already
        ("SELECT DISTINCT id, p FROM d", ["Scan d"]),
        ("SELECT DISTINCT p FROM d", ["Distinct", "Scan d"]),
        ("SELECT DISTINCT x, COUNT(*) AS n FROM a GROUP BY x", ["Aggregate", "Scan a"]),
        ("SELECT DISTINCT id, p FROM d WHERE p IN (SELECT w FROM c)",
         ["Join semi", "Scan d", "Scan c"]),
        ("SELECT DISTINCT d.id, e.p FROM d JOIN d e ON d.p = e.id",
         ["Join inner", "#1", "Scan d", "same as #1"]),
        ("SELECT DISTINCT id, w FROM d JOIN c ON id = w",
         ["Distinct", "Join inner", "Scan d", "Scan c"]),
        # the time of day
        ("SELECT p, w FROM d JOIN c ON p = w WHERE ts > NOW() - INTERVAL 1 HOUR",
         ["Join inner", "Frontier ts > $bound", "Scan d", "Scan now", "Scan c"]),
        ("SELECT p, w FROM c LEFT JOIN d ON p = w WHERE ts > NOW() - INTERVAL 1 HOUR",
         ["Join inner", "Scan c", "Frontier ts > $bound", "Scan d", "Scan now"]),
        ("SELECT p, w FROM c RIGHT JOIN d ON p = w WHERE ts > NOW() - INTERVAL 1 HOUR",
         ["Join right", "Scan c", "Frontier ts > $bound", "Scan d", "Scan now"]),
        ("SELECT w FROM (SELECT CAST(ts AS DATE) AS day, w FROM d JOIN c ON p = w) "
         "WHERE day < CAST(NOW() AS DATE)",
         ["Join inner", "Frontier $time < $bound", "Scan d", "Scan now", "Scan c"]),
        ("SELECT p FROM d WHERE TIMESTAMPDIFF(MINUTE, ts, NOW()) < 10",
         ["Frontier ts > $bound", "Scan d", "Scan now"]),
        ("SELECT p FROM d WHERE 0 = DATEDIFF(DAY, ts, NOW())",
         ["Frontier ts < $bound", "Frontier ts > $bound", "Scan d", "Scan now", "Scan now"]),
        ("SELECT p FROM d WHERE TIMESTAMPDIFF(MONTH, ts, NOW()) < 10",
         ["Frontier ts > $bound", "Scan d", "Scan now"]),
        ("SELECT p FROM d WHERE TIMESTAMPDIFF(MONTH, ts, NOW()) < p",
         ["Filter", "Join inner", "Scan d", "Scan now"]),
        ("SELECT p FROM d WHERE NOT (ts < NOW() - INTERVAL 1 HOUR OR p = 1)",
         ["Frontier ts >= $bound", "Filter p <> 1", "Scan d", "Scan now"]),
        ("SELECT p FROM d WHERE (ts > NOW()) IS TRUE", ["Frontier ts > $bound", "Scan d",
         "Scan now"]),
        ("SELECT p FROM d WHERE (NOW() - ts) HOURS < INTERVAL '10' HOUR",
         ["Frontier ts > $bound", "Scan d", "Scan now"]),
        ("SELECT p FROM d WHERE ts > NOW() - INTERVAL 1 HOUR * p",
         ["Frontier $time3 > $bound", "Scan d", "Scan now"]),
        ("SELECT p, w FROM (SELECT * FROM d JOIN c ON p = w WHERE s = 'a' OR p = 1) "
         "WHERE ts > NOW() AND ts < NOW() + INTERVAL 1 HOUR",
         ["Join inner", "Frontier ts > $bound", "Frontier ts < $bound", "Scan d", "Scan now",
          "Scan now", "Scan c"]),
        ("SELECT * FROM (SELECT DISTINCT p, ts FROM d) WHERE ts > NOW()",
         ["Distinct", "Frontier ts > $bound", "Scan d", "Scan now"]),
        ("SELECT * FROM (SELECT p, RANK() OVER (PARTITION BY ts ORDER BY p) AS r, ts FROM d) "
         "WHERE ts > NOW()", ["Window", "Frontier ts > $bound", "Scan d", "Scan now"]),
        ("SELECT * FROM (SELECT p, RANK() OVER (PARTITION BY p ORDER BY ts) AS r, ts FROM d) "
         "WHERE ts > NOW()", ["Frontier ts > $bound", "Window", "Scan d", "Scan now"]),
        # a value of groups that are NULL where there is none
        ("SELECT x FROM a WHERE x > (SELECT 1.2 * AVG(w) FROM c WHERE c.k = a.k)",
         ["Join semi", "Scan a", "Aggregate by $k0", "Scan c"]),
        ("SELECT x FROM a WHERE x > (SELECT AVG(w) + COUNT(w) FROM c WHERE c.k = a.k)",
         ["Filter x > ", "Join inner", "Scan a", "Aggregate by $k0", "Scan c"]),
        ("SELECT x FROM a WHERE x > (SELECT COUNT(w) FROM c WHERE c.k = a.k)",
         ["Filter x > ", "Join left", "Scan a", "Aggregate by $k0", "Scan c"]),
        # conditions in other words
        ("SELECT x, z FROM a JOIN b ON x = z OR x IS NULL AND z IS NULL",
         ["Join inner on x <=> z", "Scan a", "Scan b"]),
        ("SELECT x, z FROM a JOIN b ON NOT (x <> z)", ["Join inner on x = z", "Scan a", "Scan b"]),
        ("SELECT x, z FROM a, b WHERE (x = z) IS TRUE", ["Join inner on x = z", "Scan a",
         "Scan b"]),
        ("SELECT x, z FROM a, b WHERE x IN (z) AND x IN (5)",
         ["Join inner on x = z", "Filter x = 5", "Scan a", "Filter z = 5", "Scan b"]),
        # what a FULL JOIN merges, the whole of a partition, what never has a row
        ("SELECT * FROM (SELECT k, x FROM a) p NATURAL FULL JOIN c WHERE k > 5",
         ["Join full", "Filter k > 5", "Scan a", "Filter k > 5", "Scan c"]),
        ("SELECT * FROM (SELECT k, x FROM a) p FULL JOIN c ON p.k = c.k WHERE COALESCE(x, w) > 5",
         ["Filter", "Join full", "Scan a", "Scan c"]),
        ("SELECT * FROM (SELECT x, SUM(y) OVER (PARTITION BY x) AS n FROM a) WHERE x = 5",
         ["Join inner", "Filter x = 5", "Scan a", "Aggregate by x", "Filter x = 5", "Scan a"]),
        ("SELECT * FROM (SELECT p % 2 AS e, RANK() OVER (PARTITION BY p % 2 ORDER BY ts) AS r "
         "FROM d JOIN c ON p = w) WHERE e = 1",
         ["Window", "Filter", "Join inner", "Scan d", "Scan c"]),
        ("SELECT * FROM (SELECT x, y, COUNT(*) AS n FROM a GROUP BY ROLLUP (x, y)) WHERE x = 5 "
         "AND y = 1", ["Aggregate by x, y", "Filter x = 5 AND y = 1", "Scan a"]),
        ("SELECT x FROM a WHERE x > 5 AND FALSE", ["Values"]),
        ("SELECT x FROM a WHERE x = NULL", ["Values"]),
        ("SELECT x FROM a JOIN c ON a.k = c.k AND 1 = 2", ["Values"]),
        ("SELECT x FROM a WHERE CASE WHEN 1 = 1 THEN x > 5 ELSE y > 6 END AND "
         "COALESCE(TRUE, x > 1)", ["Filter x > 5", "Scan a"]),
        ("SELECT x FROM a UNION ALL SELECT w FROM c WHERE w > 5 AND w IS NULL AND FALSE",
         ["Scan a"]),
    ],
)  # fmt: skip
def test_a_query_is_computed_from_as_few_rows_as_its_text_allows(
    query: str, lines: list[str]
) -> None:
    found = [x.strip() for x in plan_of(query).split("\n")]
    found = [x for x in found if not x.startswith("Project")]
    assert len(found) == len(lines), found
    assert all(x.startswith(start) for x, start in zip(found, lines, strict=True)), found


def test_what_is_known_not_to_fail_waits_for_nobody() -> None:
    plan = plan_of(
        "SELECT k FROM a WHERE x > 1 AND EXISTS (SELECT 1 FROM d WHERE d.p = a.k "
        "AND ts < TIMESTAMP '2024-01-01 00:00:00' + INTERVAL '1' YEAR AND p < 5 + 6)"
    )

    assert "FAILS" not in plan and "UnionAll" not in plan
    assert "Filter ts < TIMESTAMP '2025-01-01 00:00:00' AND p < 11" in plan


@pytest.mark.parametrize(
    ("views", "ticks"),
    [
        ("CREATE VIEW v AS SELECT k, NOW() AS n FROM t", True),
        ("CREATE VIEW v AS SELECT k FROM t WHERE ts > NOW()", True),
        ("CREATE VIEW v AS SELECT k FROM (SELECT k, NOW() AS n FROM t) x", False),
        ("CREATE VIEW v AS SELECT k FROM (SELECT k, ts, NOW() AS n FROM t) x WHERE n > ts", True),
        ("CREATE VIEW v AS SELECT k FROM t WHERE ts > NOW() AND 1 > 2", False),
        ("CREATE LOCAL VIEW l AS SELECT k, NOW() AS n FROM t; CREATE VIEW v AS SELECT n FROM l",
         True),
        ("CREATE LOCAL VIEW l AS SELECT k, NOW() AS n FROM t; CREATE VIEW v AS SELECT k FROM l",
         False),
        ("DECLARE RECURSIVE VIEW r (k INT); CREATE LOCAL VIEW l AS SELECT t.k FROM t, r WHERE "
         "ts > NOW() AND FALSE; CREATE VIEW r AS SELECT k FROM t UNION SELECT k FROM l", False),
    ],
)  # fmt: skip
def test_only_a_program_that_reads_the_clock_ticks(views: str, ticks: bool) -> None:
    plan = compile_program(f"CREATE TABLE t (k INT, ts TIMESTAMP);{views};")
    assert any(t.name == CLOCK for t in plan.tables) is ticks
    assert any(c.relation == CLOCK for c in plan.inputs) is ticks
