"""Queries of every form: what a view holds is what DuckDB answers, or the rows written here.

A query whose meaning DuckDB shares stands in `AGREED`; one that it does not parse, or means
otherwise, in `DECIDED` with its rows.
"""

# ruff: noqa: E501
from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import duckdb
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.errors import RuntimeSqlError, SqlError
from penstock.sql.program import compile_program
from tests.oracle.drive import as_input

TABLES = """
CREATE TABLE emp (empno INT NOT NULL PRIMARY KEY, ename VARCHAR, job VARCHAR, mgr INT, sal INT, deptno INT);
CREATE TABLE dept (deptno INT NOT NULL PRIMARY KEY, dname VARCHAR);
CREATE TABLE a (k INT, x INT, s VARCHAR);
CREATE TABLE b (k INT, y INT, t VARCHAR);
"""
FUNCTIONS = """
CREATE FUNCTION most(n INT) RETURNS INT AS (SELECT MAX(y) FROM b WHERE b.k = n);
CREATE FUNCTION both(n INT) RETURNS BOOLEAN AS n IN (SELECT k FROM b) AND most(n) > 100;
CREATE FUNCTION there(s VARCHAR) RETURNS VARCHAR NOT NULL AS s || '!';
CREATE FUNCTION twice(n INT NOT NULL) RETURNS INT AS n * 2;
CREATE FUNCTION known(s VARCHAR NOT NULL) RETURNS BOOLEAN NOT NULL AS s IS NOT NULL;
"""
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "emp": [
        (1, "SMITH", "CLERK", 7, 800, 20), (2, "ALLEN", "SALESMAN", 5, 1600, 30),
        (3, "WARD", "SALESMAN", 5, 1250, 30), (4, "JONES", "MANAGER", 8, 2975, 20),
        (5, "BLAKE", "MANAGER", 8, 2850, 30), (6, "CLARK", "MANAGER", 8, 2450, 10),
        (7, "SCOTT", "ANALYST", 4, 3000, 20), (8, "KING", "PRESIDENT", None, 5000, 10),
        (9, "ADAMS", "CLERK", 7, 1100, 20), (10, "JAMES", "CLERK", 5, 950, 30),
        (11, "FORD", "ANALYST", 4, 3000, 20), (12, "MILLER", "CLERK", 6, 1300, 10),
    ],
    "dept": [(10, "ACCOUNTING"), (20, "RESEARCH"), (30, "SALES"), (40, "OPERATIONS")],
    "a": [(1, 10, "a"), (1, 20, "b"), (2, 30, None), (3, None, "c"), (None, 5, "d"), (2, 30, None)],
    "b": [(1, 100, "x"), (2, 200, "y"), (2, 300, None), (4, None, "z"), (None, 7, "w")],
}  # fmt: skip

AGREED = """
SELECT deptno, (SELECT COUNT(*) FROM (SELECT DISTINCT job FROM emp e WHERE e.deptno = d.deptno) q) AS n FROM dept d
SELECT deptno, (SELECT SUM(sal) FROM (SELECT DISTINCT sal, deptno FROM emp) e WHERE e.deptno = d.deptno) AS n FROM dept d
SELECT k, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 0) AS c0, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 40) AS c1, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 80) AS c2, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 120) AS c3, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 160) AS c4, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 200) AS c5, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 240) AS c6, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 280) AS c7, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 320) AS c8, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 360) AS c9, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 400) AS c10, (SELECT COUNT(*) FROM b WHERE b.k = a.k AND b.y > a.x + 440) AS c11 FROM a
SELECT k, x > ALL (SELECT y / 10 FROM b WHERE b.k <> a.k) AS p, k IN (SELECT k FROM b WHERE b.y > a.x) AS q, EXISTS (SELECT 1 FROM b WHERE b.y < a.x) OR (SELECT MAX(y) FROM b WHERE b.k >= a.k) > 200 AS r FROM a
WITH t0 AS (SELECT DISTINCT k, x FROM a), t1 AS (SELECT l.k, r.x FROM t0 l JOIN t0 r ON l.k = r.k AND l.x = r.x WHERE l.x > 1 AND r.k < 19), t2 AS (SELECT l.k, r.x FROM t1 l JOIN t1 r ON l.k = r.k AND l.x = r.x WHERE l.x > 2 AND r.k < 18), t3 AS (SELECT l.k, r.x FROM t2 l JOIN t2 r ON l.k = r.k AND l.x = r.x WHERE l.x > 3 AND r.k < 17), t4 AS (SELECT l.k, r.x FROM t3 l JOIN t3 r ON l.k = r.k AND l.x = r.x WHERE l.x > 4 AND r.k < 16), t5 AS (SELECT l.k, r.x FROM t4 l JOIN t4 r ON l.k = r.k AND l.x = r.x WHERE l.x > 5 AND r.k < 15), t6 AS (SELECT l.k, r.x FROM t5 l JOIN t5 r ON l.k = r.k AND l.x = r.x WHERE l.x > 6 AND r.k < 14), t7 AS (SELECT l.k, r.x FROM t6 l JOIN t6 r ON l.k = r.k AND l.x = r.x WHERE l.x > 7 AND r.k < 13), t8 AS (SELECT l.k, r.x FROM t7 l JOIN t7 r ON l.k = r.k AND l.x = r.x WHERE l.x > 8 AND r.k < 12), t9 AS (SELECT l.k, r.x FROM t8 l JOIN t8 r ON l.k = r.k AND l.x = r.x WHERE l.x > 9 AND r.k < 11), t10 AS (SELECT l.k, r.x FROM t9 l JOIN t9 r ON l.k = r.k AND l.x = r.x WHERE l.x > 10 AND r.k < 10), t11 AS (SELECT l.k, r.x FROM t10 l JOIN t10 r ON l.k = r.k AND l.x = r.x WHERE l.x > 11 AND r.k < 9) SELECT * FROM t11 UNION ALL SELECT COUNT(*), MAX(x) FROM t10 WHERE k = 2
SELECT deptno, (SELECT MAX(i.sal) FROM emp i WHERE i.sal < SUM(o.sal)) AS n, (SELECT COUNT(*) + SUM(o.sal) FROM b) AS s FROM emp o GROUP BY deptno HAVING EXISTS (SELECT 1 FROM b WHERE y * 10 > MIN(o.sal)) ORDER BY (SELECT COUNT(*) FROM b WHERE y * 10 < MIN(o.sal)), deptno LIMIT 2
SELECT deptno, (SELECT (SELECT COUNT(DISTINCT o.job) FILTER (WHERE o.sal > 1000)) + (SELECT COUNT(*) FROM b WHERE y < SUM(o.sal) / d.deptno) FROM dept d WHERE d.deptno = o.deptno) AS n FROM emp o GROUP BY deptno
SELECT (SELECT MIN(y) FROM b WHERE y > MAX(a.x) * 5) AS m FROM a
SELECT deptno, ARRAY(SELECT e.ename FROM emp e WHERE e.deptno = d.deptno ORDER BY e.sal DESC, e.ename LIMIT 2) AS l, ARRAY(SELECT dname FROM dept ORDER BY deptno % 20, 1) AS m, ARRAY(SELECT DISTINCT deptno + 1 FROM emp ORDER BY deptno + 1 DESC) AS n FROM dept d
SELECT 1 AS one FROM a HAVING TRUE
SELECT 1 AS one FROM a HAVING NULL
SELECT p.k, o.x, s.z FROM a p, b q JOIN LATERAL (SELECT p.x AS x) o ON q.y > o.x * 10 LEFT JOIN LATERAL (SELECT p.x + o.x + q.y AS z) s ON z > 130
SELECT p.k, r.y FROM b q, a p JOIN LATERAL (SELECT p.x + q.y AS z) s ON z > 200 AND k = 2, LATERAL (SELECT s.z - p.x AS y) r
SELECT p.k, q.y, r.x FROM a p LEFT JOIN b q JOIN a r ON r.k = q.k AND q.y < 300 ON p.k = q.k
SELECT p.k, q.y, r.dname, s.x FROM a p JOIN b q LEFT JOIN dept r INNER JOIN a s ON s.k * 10 = r.deptno ON r.deptno > q.y CROSS JOIN dept t ON p.k = q.k
SELECT p.k, z, q.y FROM a p, LATERAL (SELECT p.k + 1 AS z) s LEFT JOIN b q ON q.k = z
SELECT * FROM a p, LATERAL (SELECT p.k AS k) s JOIN b USING (k)
SELECT k FROM a WHERE (k, x) IN (SELECT k, y / 10 FROM b)
SELECT k, x FROM a WHERE (k, x) NOT IN (SELECT k, CAST(y / 10 AS INT) FROM b WHERE y > 100)
SELECT k, x FROM a WHERE (k, x) NOT IN (SELECT k, CAST(y / 10 AS INT) FROM b)
SELECT k, x, (k, x) IN (SELECT k, CAST(y / 10 AS INT) FROM b) AS p, (k, x) NOT IN (SELECT k, 1 FROM b WHERE k IS NOT NULL) AS q FROM a
SELECT k, 1 IN (SELECT 1 FROM b) AS p, NULL IN (SELECT 2 FROM b WHERE y > 100) AS q, 1 NOT IN (SELECT NULL FROM b) AS r FROM a
SELECT k, x FROM a WHERE (k, x) = ANY (SELECT k, y / 10 FROM b)
SELECT k, x FROM a WHERE (k, x) <> ALL (SELECT k, y / 10 FROM b WHERE y IS NOT NULL AND k IS NOT NULL)
SELECT * FROM a AS l CROSS JOIN a AS r
SELECT l.k, r.k FROM a AS l JOIN b AS r ON l.x < r.y
SELECT e.empno, m.empno AS m FROM emp e FULL JOIN emp m ON e.sal < m.sal - 2000
SELECT e.empno, m.empno AS m FROM emp e RIGHT JOIN emp m ON e.deptno = m.deptno AND e.sal < m.sal
SELECT COUNT(NULL) AS a, MAX(NULL) AS b, MIN(NULL) IS NULL AS c FROM a
SELECT empno, LAG(sal, 1 + 1) OVER (ORDER BY empno) AS l, LEAD(sal, 3 - 2, -1) OVER (ORDER BY empno) AS m FROM emp
SELECT empno, LAG(sal, -1) OVER (ORDER BY empno) AS l, LEAD(sal, -2, 0) OVER (ORDER BY empno) AS r FROM emp
SELECT ROW_NUMBER() OVER () AS n, COUNT(*) OVER () AS c FROM emp
SELECT RANK() OVER (ORDER BY TRUE) AS r, COUNT(*) OVER (PARTITION BY k ORDER BY x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS c FROM a
SELECT SUM(NULL) AS s, AVG(NULL) IS NULL AS n, SUM(DISTINCT NULL) + COUNT(*) AS c FROM emp
SELECT k, BOOL_OR(x > 15) OVER (PARTITION BY k) AS o, BIT_XOR(x) OVER (PARTITION BY k) AS b FROM a
SELECT empno FROM emp ORDER BY empno LIMIT 1 + 2 OFFSET 2 - 1
SELECT empno, SUM(sal) OVER (ORDER BY empno ROWS BETWEEN 1 + 1 PRECEDING AND 2 * 1 FOLLOWING) AS l FROM emp
"""

DECIDED: list[tuple[str, list[tuple[Any, ...]]]] = [
    ("SELECT k FROM (SELECT k, RANK() OVER (ORDER BY x) AS n FROM a) WHERE n = -1 OR n IN (-2, -3)", []),
    ("SELECT k FROM (SELECT k, RANK() OVER (ORDER BY x) AS n FROM a) WHERE n = -1", []),
    ("SELECT k FROM a QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY x) IN (-1, 0)", []),
    ("SELECT k, y FROM b ORDER BY y DESC LIMIT 9223372036854775807 OFFSET 3", [(None, 7), (4, None)]),
    ("SELECT k, y FROM b ORDER BY y LIMIT 1 OFFSET 9223372036854775807", []),
    ("SELECT k FROM b ORDER BY y LIMIT 9 OFFSET CAST(18446744073709551615 AS BIGINT UNSIGNED)", []),
    ("SELECT k, COUNT(*) OVER (ORDER BY k ROWS BETWEEN CAST(18446744073709551615 AS BIGINT UNSIGNED) PRECEDING "
     "AND 1 PRECEDING) AS n FROM b WHERE k > 1", [(2, 0), (2, 1), (4, 2)]),
    ("SELECT k, LAG(k, -9223372036854775807, 0) OVER (ORDER BY k) AS n FROM b WHERE k > 1", [(2, 0), (2, 0), (4, 0)]),
    ("SELECT k, x = ANY (ARRAY[k * 10, 20]) AS p, x <> ALL (ARRAY[k, NULL]) AS q, x > ALL (ARRAY[9, k]) AS r "
     "FROM a WHERE k < 3",
     [(1, True, None, True), (1, True, None, True), (2, False, None, True), (2, False, None, True)]),
    ("SELECT s, s LIKE ANY ('a%', '%z', 'b') AS p, s NOT LIKE ALL ('a%', 'b_') AS q, s ILIKE SOME ('C') AS r FROM a",
     [("a", True, False, False), ("b", True, True, False), (None, None, None, None), ("c", False, True, True),
      ("d", False, True, False), (None, None, None, None)]),
    ("SELECT k, most(MAX(k)) AS m, most(k + 1) AS n, both(k) AS o FROM a o GROUP BY k HAVING EXISTS "
     "(SELECT 1 FROM b i WHERE i.k = o.k AND i.y = most(o.k))", [(1, 100, 300, False), (2, 300, None, True)]),
    ("SELECT * FROM (SELECT k, x, LENGTH(s) AS n FROM a) PIVOT (SUM(x * n) AS t FOR k IN (1 AS p, 2 AS q, 3 AS r))",
     [(30, None, None)]),
    ("SELECT * FROM (SELECT k, y, t FROM b) PIVOT (COUNT(*) FILTER (WHERE t > 'x') AS n, SUM(600 / (y - 100)) AS s "
     "FOR k IN (2 AS p, 4 AS q)) AS c",
     [(1, 9, 1, None)]),
    ("SELECT SUM(x / (k - 1)) FILTER (WHERE k <> 1) AS s, MAX(CAST(s AS INT)) FILTER (WHERE s < 'a') AS m, "
     "COUNT(DISTINCT 6 / (k - 2)) FILTER (WHERE k <> 2) AS c, ARRAY_AGG(x ORDER BY 6 / (k - 1), x) "
     "FILTER (WHERE k > 1) AS l FROM a", [(60, None, 2, (None, 30, 30))]),
    ("SELECT there(t) AS t FROM b WHERE t > 'w'", [("x!",), ("y!",), ("z!",)]),
    ("SELECT COUNTIF(NULL) AS c, EVERY(NULL) AS e, ARG_MAX(1, NULL) AS a, COUNT(NULL, 1) AS n "
     "FROM (VALUES (1), (2)) AS t(x)", [(0, None, None, 0)]),
    ("SELECT * FROM UNNEST(ARRAY[1, 2, 3], ARRAY['a', NULL]) AS t(x, y)",
     [(1, "a"), (2, None), (3, None)]),
    ("SELECT a.k, e, t FROM a, UNNEST(ARRAY[x, 20]) AS u(e) LEFT JOIN b ON y = e * 10 WHERE a.k < 2",
     [(1, 10, "x"), (1, 20, "y"), (1, 20, "y"), (1, 20, "y")]),
    ("SELECT p.k, e, f FROM b q, a p CROSS JOIN UNNEST(ARRAY[q.y, 1]) AS u(e), UNNEST(ARRAY[e + p.x]) AS w(f) "
     "WHERE q.t = 'x' AND p.s IN ('a', 'd')",
     [(1, 100, 110), (1, 1, 11), (None, 100, 105), (None, 1, 6)]),
    ("SELECT y, i, x FROM UNNEST(ARRAY['b'], ARRAY[7, 8]) WITH ORDINALITY AS t(x, y, i)",
     [(7, 1, "b"), (8, 2, None)]),
    ("SELECT * FROM UNNEST(MAP['p', 1, 'q', 2], ARRAY[ROW(1, 'x')]) AS t(k, v, f, g)",
     [("p", 1, 1, "x"), ("q", 2, None, None)]),
    ("SELECT k, e, f FROM a, UNNEST(ARRAY[x], SPLIT(s, ',')) AS u(e, f) WHERE k = 2",
     [(2, 30, None), (2, 30, None)]),
    ("SELECT k, (k, s) IN (SELECT k, t FROM b WHERE b.y > a.x) AS z FROM a WHERE x > 5",
     [(1, False), (1, False), (2, None), (2, None)]),
]  # fmt: skip


def plain(value: Any) -> Any:
    if isinstance(value, Decimal | float):
        return round(float(value), 6)
    return tuple(map(plain, value)) if isinstance(value, list | tuple) else value


def ours(query: str) -> Counter[Any]:
    """The rows of a view of the query: once all came in one step, and once each in its own, after
    as many that went away again."""
    plan = compile_program(f"{TABLES} {FUNCTIONS} CREATE MATERIALIZED VIEW v AS {query};")
    schemas = {t.name: t.schema for t in plan.tables}
    at_once = compile_circuit(plan)
    at_once.step({n: [as_input(schemas[n], [(r, 1) for r in rows])] for n, rows in ROWS.items()})
    found = contents(at_once)
    one_by_one = compile_circuit(plan)
    for name, rows in ROWS.items():
        for row in (*rows[:2], *rows[2:]):
            one_by_one.step({name: [as_input(schemas[name], [(row, 1)])]})
        for w in (-1, 1):
            one_by_one.step({name: [as_input(schemas[name], [(r, w) for r in rows[::2]])]})
    assert contents(one_by_one) == found
    return found


def contents(circuit: Any) -> Counter[Any]:
    return Counter({plain(r): w for r, w in batch_to_rows(circuit.snapshot("v").batch())})


@pytest.fixture(scope="module")
def duck() -> Any:
    connection = duckdb.connect()
    connection.execute(TABLES)
    for name, rows in ROWS.items():
        connection.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(rows[0]))})", rows)
    return connection


@pytest.mark.parametrize("query", AGREED.strip().splitlines())
def test_a_view_holds_what_duckdb_answers(query: str, duck: Any) -> None:
    assert ours(query) == Counter(plain(r) for r in duck.execute(query).fetchall())


@pytest.mark.parametrize(("query", "rows"), DECIDED)
def test_a_view_holds_the_rows_that_the_rules_say(query: str, rows: list[tuple[Any, ...]]) -> None:
    assert ours(query) == Counter(rows)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT 1 FROM a OUTER APPLY (SELECT y FROM b WHERE b.k = a.k) q",
         "OUTER APPLY is not supported.*LEFT JOIN LATERAL"),
        ("SELECT 1 FROM a WHERE (k, x) > ALL (SELECT k, y FROM b)", "only = ANY and <> ALL take rows"),
        ("SELECT 1 FROM a WHERE s LIKE ANY (SELECT t FROM b)", "LIKE takes a list of patterns"),
        ("SELECT 1 FROM a WHERE k = ANY (SELECT k, y FROM b)", "compares 1 column"),
        ("SELECT 1 FROM a WHERE x > (SELECT MAX(y) FROM b WHERE y > SUM(a.x))", "SUM cannot be used in WHERE"),
    ],
)  # fmt: skip
def test_what_the_dialect_lacks_is_refused_by_name(query: str, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        compile_program(f"{TABLES} CREATE VIEW v AS {query};")


def test_a_function_that_returns_not_null_stops_at_the_row_that_has_no_value() -> None:
    with pytest.raises(RuntimeSqlError, match="there RETURNS NOT NULL, but its value is NULL"):
        ours("SELECT there(t) AS t FROM b")


def test_a_function_of_what_is_not_null_is_inlined_over_what_may_be() -> None:
    assert ours("SELECT twice(x) AS t, known(s) AS n FROM a WHERE k > 1") == Counter(
        {(60, False): 2, (None, True): 1}
    )
    with pytest.raises(
        SqlError, match=r"argument n of f is NOT NULL, and this may be NULL; .*COAL"
    ):
        compile_program(
            f"{TABLES} CREATE FUNCTION f(n INT NOT NULL) RETURNS INT; "
            "CREATE VIEW v AS SELECT f(x) AS y FROM a;",
            "def f(n):\n    return n\n",
        )


def names(query: str) -> tuple[str, ...]:
    return compile_program(f"{TABLES} CREATE VIEW v AS {query};").views[0].schema.names


def test_columns_that_nobody_named_alike_get_names_of_their_own() -> None:
    assert names("SELECT * FROM a JOIN b ON a.k = b.k") == ("k", "x", "s", "k0", "y", "t")
    assert names("SELECT l.k, r.k, m.k FROM a l, a r, b m") == ("k", "k0", "k1")
    assert names("SELECT a.*, b.k FROM a, b") == ("k", "x", "s", "k0")
    assert names("SELECT * EXCLUDE (k), a.k FROM a") == ("x", "s", "k")
    assert names("SELECT * FROM (SELECT k, k FROM a)") == ("k", "k0")
    assert names("SELECT 1, k, x + 1 FROM a") == ("EXPR$0", "k", "EXPR$2")
    with pytest.raises(SqlError, match="view v has two columns n; give one an alias"):
        names("SELECT k AS n, x AS n FROM a")


def test_a_window_function_in_a_cycle_is_refused_however_it_is_computed() -> None:
    with pytest.raises(SqlError, match="a window function cannot stand in a recursive view"):
        compile_program(
            f"""{TABLES} DECLARE RECURSIVE VIEW r (k INT, n BIGINT);
            CREATE LOCAL VIEW i AS SELECT k, COUNT(*) OVER () AS c FROM r;
            CREATE VIEW r AS SELECT k, CAST(1 AS BIGINT) AS n FROM a UNION SELECT k, c FROM i;"""
        )
