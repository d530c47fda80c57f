"""Queries mean what DuckDB says they mean, as bound and after all passes, fed in two steps."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import duckdb
import numpy as np
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.errors import RuntimeSqlError
from penstock.plan.nodes import ProgramPlan
from penstock.sql.program import bind_program, compile_program
from tests.property.programs import plain

TABLES = """
CREATE TABLE a (k INT, x INT, s VARCHAR);
CREATE TABLE b (k INT, y INT NOT NULL, s VARCHAR);
CREATE TABLE c (k INT NOT NULL, z INT NOT NULL);
"""
Rows = dict[str, list[tuple[Any, ...]]]

QUERIES = """
SELECT * FROM a WHERE k IN (SELECT k FROM b)
SELECT * FROM a WHERE k NOT IN (SELECT k FROM b)
SELECT * FROM a WHERE k NOT IN (SELECT k FROM b WHERE y > 100)
SELECT * FROM a WHERE k NOT IN (SELECT k FROM c)
SELECT * FROM a WHERE x IN (SELECT y FROM b WHERE b.k = a.k)
SELECT * FROM a WHERE x NOT IN (SELECT z FROM c WHERE c.k = a.k)
SELECT * FROM a WHERE x NOT IN (SELECT y FROM b WHERE b.k > a.k)
SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND b.y > a.x)
SELECT * FROM a WHERE NOT EXISTS (SELECT 1 FROM b WHERE b.k = a.k)
SELECT * FROM a WHERE EXISTS (SELECT * FROM b WHERE y > 2)
SELECT * FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE y > 2)
SELECT * FROM a WHERE EXISTS (SELECT 1 FROM b WHERE b.k = a.k AND EXISTS (SELECT 1 FROM c WHERE c.k = b.k))
SELECT k, x, k IN (SELECT k FROM b) AS i FROM a
SELECT k, k NOT IN (SELECT k FROM c WHERE z > 1) AS i, EXISTS (SELECT * FROM b WHERE b.k = a.k) AS e FROM a
SELECT * FROM a WHERE x > 1 OR k IN (SELECT k FROM c)
SELECT * FROM a WHERE x > 1 OR NOT EXISTS (SELECT k FROM c WHERE c.k = a.k)
SELECT k, (SELECT MAX(y) FROM b) AS m FROM a
SELECT k, (SELECT COUNT(*) FROM b WHERE b.k = a.k) AS m, (SELECT SUM(y) FROM b WHERE b.k = a.k) AS t FROM a
SELECT k, (SELECT COALESCE(SUM(y), -1) + COUNT(*) FROM b WHERE b.k = a.k) AS m FROM a
SELECT * FROM a WHERE x < (SELECT MAX(y) FROM b WHERE b.k = a.k)
SELECT k, COUNT(*) AS n FROM a GROUP BY k HAVING COUNT(*) > (SELECT COUNT(*) FROM c)
SELECT k, SUM(x) + (SELECT MIN(z) FROM c) AS n FROM a GROUP BY k
SELECT SUM((SELECT COUNT(*) FROM c WHERE c.k = a.k)) AS n FROM a
WITH q AS (SELECT k, SUM(y) AS t FROM b GROUP BY k) SELECT * FROM q WHERE t = (SELECT MAX(t) FROM q)
SELECT k, (SELECT y FROM b WHERE b.k = a.k ORDER BY y DESC, s LIMIT 1) AS m FROM a
SELECT k, (SELECT DISTINCT 7 FROM b WHERE b.k < a.k) AS m FROM a
SELECT k, (SELECT a.x + 1) AS m FROM a
SELECT k, (SELECT COUNT(*) FROM b WHERE b.k < a.k) AS m, (SELECT SUM(y) FROM b WHERE b.k <> a.x) AS t FROM a
SELECT k, (SELECT COUNT(*) FROM b WHERE b.k = a.k HAVING COUNT(*) > 1) AS m FROM a
SELECT k, (SELECT MAX(y + a.x) FROM b WHERE b.k = a.k) AS m FROM a
SELECT k, (SELECT MAX(n) FROM (SELECT y, COUNT(*) AS n FROM b WHERE b.k = a.k GROUP BY y) AS q) AS m FROM a
SELECT k, (SELECT COUNT(*) FROM (SELECT k FROM b WHERE b.k = a.k UNION SELECT z FROM c WHERE c.k = a.k) AS q) AS m FROM a
SELECT k, (SELECT COUNT(*) FROM b LEFT JOIN c ON b.k = c.k AND c.z > a.x WHERE b.y > a.k) AS m FROM a
SELECT k, (SELECT SUM(y) FROM b WHERE b.k = a.k AND b.y > (SELECT AVG(z) FROM c WHERE c.k = a.k)) AS m FROM a
SELECT k, (SELECT SUM(y) FROM b WHERE EXISTS (SELECT 1 FROM c WHERE c.k = b.k AND c.z > a.x)) AS m FROM a
SELECT k, x IN (SELECT y FROM b WHERE b.k = a.k) AS i, x NOT IN (SELECT y FROM b WHERE b.k > a.k) AS j FROM a
SELECT k, EXISTS (SELECT 1 FROM b WHERE b.k > a.k AND b.y < a.x) AS i FROM a
SELECT * FROM a WHERE x > 1 OR EXISTS (SELECT k FROM c WHERE c.k < a.k)
SELECT * FROM a WHERE EXISTS (SELECT y FROM b WHERE b.k = a.k GROUP BY y HAVING COUNT(*) > 1)
SELECT * FROM a WHERE NOT EXISTS (SELECT SUM(y) FROM b WHERE b.k = a.k HAVING SUM(y) > a.x)
SELECT * FROM a WHERE x IN (SELECT MAX(y) FROM b WHERE b.k = a.k)
SELECT * FROM a WHERE x NOT IN (SELECT MAX(y) FROM b WHERE b.k = a.k GROUP BY s)
SELECT * FROM a WHERE x > ALL (SELECT y FROM b WHERE b.k = a.k)
SELECT * FROM a WHERE x >= ANY (SELECT y FROM b)
SELECT k, x < ANY (SELECT z FROM c WHERE c.k = a.k) AS i, x <> ALL (SELECT z FROM c) AS j, x = ALL (SELECT z FROM c WHERE c.k = a.k) AS l, x <> ANY (SELECT z FROM c) AS o FROM a
SELECT k, COUNT(*) AS n, (SELECT MAX(y) FROM b WHERE b.k = a.k) AS m FROM a GROUP BY k
SELECT k, COUNT(*) AS n FROM a GROUP BY k HAVING EXISTS (SELECT 1 FROM b WHERE b.k > a.k)
SELECT a.k, q.y FROM a, LATERAL (SELECT y FROM b WHERE b.k = a.k) AS q
SELECT a.k, q.m FROM a CROSS JOIN LATERAL (SELECT MAX(y) AS m FROM b WHERE b.k < a.k) AS q
SELECT a.k, q.y FROM a LEFT JOIN LATERAL (SELECT y FROM b WHERE b.k = a.k ORDER BY y LIMIT 2) AS q ON TRUE
SELECT a.k, q.y, r.m FROM a, LATERAL (SELECT y, k AS kk FROM b WHERE b.k = a.k) AS q, LATERAL (SELECT COUNT(*) AS m FROM c WHERE c.z < q.y AND c.k = a.k) AS r
SELECT a.k, b.y FROM a JOIN b ON a.k = b.k AND b.y > (SELECT AVG(z) FROM c WHERE c.k = a.k)
SELECT a.k, b.y FROM a, b WHERE a.k = b.k AND a.s = b.s
SELECT a.k, b.y, c.z FROM a, b, c WHERE a.k = c.k AND c.z = b.y
SELECT a.k, b.y FROM a LEFT JOIN b ON a.k = b.k AND a.x > 1 AND b.y < 3
SELECT a.k, b.y FROM a RIGHT JOIN b ON a.k = b.k AND a.x > 1 WHERE b.y > 1
SELECT a.k, b.y FROM a FULL JOIN b ON a.k = b.k AND a.x > 1
SELECT a.k, b.y FROM a FULL JOIN b ON a.k = b.k AND a.x > 1 WHERE a.x IS NULL AND b.y > 1
SELECT a.k, b.y FROM a LEFT JOIN b ON a.k + 1 = b.k * 2
SELECT k, x, y FROM a FULL JOIN b USING (k)
SELECT k, x, y FROM a RIGHT JOIN b USING (k) WHERE k > 0
SELECT * FROM a NATURAL LEFT JOIN c
SELECT a.k FROM a JOIN b ON a.x < b.y
SELECT a.k, y FROM a, b WHERE (a.k = b.k AND x = 1) OR (y = 2 AND a.k = b.k) OR a.k = b.k AND x IS NULL
SELECT a.k, y FROM a LEFT JOIN b ON (a.k = b.k AND x = 1) OR (a.k = b.k)
SELECT a.k FROM a LEFT JOIN b ON a.x < b.y WHERE b.k IS NULL
SELECT l.k, r.x FROM a l JOIN a r ON l.k IS NOT DISTINCT FROM r.k
SELECT k FROM a EXCEPT SELECT k FROM b
SELECT k, s FROM a INTERSECT SELECT k, s FROM b
SELECT k, x FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY k ORDER BY x NULLS FIRST, s NULLS FIRST) AS rn FROM a) WHERE rn <= 2
SELECT k, x, rn FROM (SELECT k, x, ROW_NUMBER() OVER (PARTITION BY k ORDER BY x DESC NULLS LAST) AS rn FROM a) WHERE rn = 1
SELECT k, x FROM a QUALIFY ROW_NUMBER() OVER (PARTITION BY k ORDER BY x NULLS FIRST) < 2
SELECT DISTINCT ON (k) k, x FROM a ORDER BY k NULLS FIRST, x NULLS FIRST
SELECT DISTINCT (SELECT MAX(y) FROM b WHERE b.k = a.k) AS top FROM a ORDER BY top DESC NULLS LAST LIMIT 2
SELECT DISTINCT ON (top) (SELECT MAX(y) FROM b WHERE b.k = a.k) AS top, x FROM a ORDER BY top NULLS LAST, x NULLS FIRST
SELECT DISTINCT ON (odd) x % 2 AS odd, k FROM a ORDER BY odd NULLS FIRST, 2 NULLS LAST
SELECT DISTINCT ON (k) k, SUM(x) AS t FROM a GROUP BY k, s ORDER BY k NULLS FIRST, t NULLS FIRST
SELECT DISTINCT ON (k) k, RANK() OVER (ORDER BY x NULLS FIRST) AS r FROM a ORDER BY k NULLS FIRST, r
SELECT x + 1 AS u, u * 2 AS v FROM a WHERE x IS NOT NULL
SELECT x + 1 AS u, COUNT(*) AS n FROM a GROUP BY u HAVING u > 1
SELECT b.s, COUNT(*) FILTER (WHERE y > 1) AS n FROM b GROUP BY 1
SELECT x % 2 AS odd, SUM(x) + 1 AS t FROM a GROUP BY x % 2 ORDER BY SUM(x) NULLS FIRST, 1 NULLS FIRST LIMIT 2
SELECT s, COUNT(*) AS n FROM a GROUP BY ALL
SELECT MAX(s) AS m, COUNT(DISTINCT x) AS d FROM a
SELECT COUNT(*) AS n FROM a WHERE FALSE
SELECT k FROM a WHERE TRUE ORDER BY x NULLS FIRST, k NULLS FIRST LIMIT 3 OFFSET 1
SELECT k, x FROM a UNION ALL SELECT y, k FROM b ORDER BY 1 NULLS FIRST, 2 NULLS FIRST LIMIT 4
SELECT CASE k WHEN 1 THEN 'one' WHEN 2 THEN 'twotwo' END AS w FROM a
SELECT k FROM a WHERE k BETWEEN 1 AND 2 AND s LIKE 'a%' OR x IS NULL
SELECT k, x > 1 IS TRUE AS p, (x > 1) IS NOT FALSE AS q, (x > k) IS UNKNOWN AS r FROM a
SELECT COALESCE(x, k, 9) AS c, NULLIF(x, 2) AS n, x IN (1, 2, NULL) AS i, x NOT IN (k, 2) AS j FROM a
SELECT * EXCLUDE (s) FROM a
SELECT a.*, z FROM a, c WHERE a.k = c.k AND (a.x = 1 OR c.z = 1)
SELECT k FROM a EXCEPT ALL SELECT k FROM b
SELECT k, s FROM a INTERSECT ALL SELECT k, s FROM b
SELECT k FROM a INTERSECT ALL (SELECT k FROM b EXCEPT ALL SELECT z FROM c)
SELECT * FROM a WHERE x IN (SELECT y FROM b WHERE b.k = a.k INTERSECT ALL SELECT z FROM c)
SELECT * FROM (SELECT k, x FROM a) AS q PIVOT (SUM(x) FOR k IN (0, 1 AS one, 2 AS two)) AS p
SELECT * FROM a PIVOT (SUM(x) AS t, COUNT(*) AS n FOR s IN ('a' AS a, 'b' AS b)) AS p
SELECT * FROM a PIVOT (MAX(x) FOR (k, s) IN ((1, 'a') AS m, (2, 'b') AS n)) AS p
SELECT * FROM c UNPIVOT (v FOR n IN (k, z)) AS u
SELECT * FROM a UNPIVOT (v FOR n IN (k AS 'kk', x AS 'xx')) AS u
SELECT * FROM a UNPIVOT INCLUDE NULLS (v FOR n IN (k, x)) AS u
VALUES (1, 'a'), (2, NULL)
SELECT 1 AS one, 'x' AS two
""".strip().split("\n")  # noqa: E501


def _tables(seed: int) -> Rows:
    choose = random.Random(seed)

    def number(n: int) -> int | None:
        return None if choose.random() < 1 / (n + 1) else choose.randrange(n)

    def text() -> str | None:
        return choose.choice([None, "a", "ab", "b"])

    return {
        "a": [(number(4), number(5), text()) for _ in range(12)],
        "b": [(number(4), choose.randrange(5), text()) for _ in range(9)],
        "c": [(choose.randrange(5), choose.randrange(4)) for _ in range(4)],
    }


def _answer(query: str, rows: Rows) -> Counter[Any]:
    with duckdb.connect(config={"threads": 1}) as db:
        for statement in filter(str.strip, TABLES.split(";")):
            db.execute(statement)
        for name, values in rows.items():
            marks = ", ".join("?" * len(values[0]))
            db.executemany(f"INSERT INTO {name} VALUES ({marks})", values)
        return Counter(map(plain, db.execute(query).fetchall()))


def _maintained(plan: ProgramPlan, rows: Rows) -> Counter[Any]:
    circuit = compile_circuit(plan)
    schemas = {t.name: t.schema for t in plan.tables}
    for half in (slice(None, 3), slice(3, None)):
        for name, values in rows.items():
            batch = batch_from_rows(schemas[name], values[half])
            ops = np.full(len(batch), INSERT, np.uint8)
            circuit.step({name: [InputBatch(batch.schema, batch.columns, ops)]})
    found: Counter[Any] = Counter()
    for row, weight in batch_to_rows(circuit.snapshot("v").batch()):
        found[plain(row)] += weight
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_means_what_duckdb_says_before_and_after_the_passes(query: str) -> None:
    rows = _tables(seed=len(query))
    program = f"{TABLES} CREATE MATERIALIZED VIEW v AS {query}"
    expected = _answer(query, rows)

    assert _maintained(bind_program(program), rows) == expected
    assert _maintained(compile_program(program), rows) == expected


def test_the_merged_column_of_using_and_natural_comes_first() -> None:
    plan = compile_program(f"{TABLES} CREATE VIEW v AS SELECT * FROM a NATURAL JOIN b")

    assert plan.views[0].schema.names == ("k", "s", "x", "y")


@pytest.mark.parametrize(
    "value", ["(SELECT y FROM b)", "(SELECT y FROM b WHERE b.k = a.k)", "(VALUES (1), (2))"]
)
def test_a_scalar_sub_query_with_two_rows_is_an_error_and_one_row_is_its_value(value: str) -> None:
    program = f"{TABLES} CREATE MATERIALIZED VIEW v AS SELECT k, {value} AS y FROM a"
    rows: Rows = {"a": [(1, 1, None)], "b": [(1, 5, None)] * 2, "c": []}

    with pytest.raises(RuntimeSqlError, match="more than one row"):
        _maintained(compile_program(program), rows)

    rows["b"].pop()
    if "VALUES" not in value:
        assert _maintained(compile_program(program), rows) == Counter([plain((1, 5))])


@pytest.mark.parametrize("time", ["INT", "BIGINT", "DECIMAL(12, 2)"])
@pytest.mark.parametrize("seed", range(6))
def test_an_asof_join_takes_the_latest_row_that_is_not_later(seed: int, time: str) -> None:
    rows = _tables(seed)
    condition = f"CAST(a.x AS {time}) >= CAST(b.y AS {time})"
    program = f"""{TABLES} CREATE MATERIALIZED VIEW v AS
        SELECT a.k, a.x, b.y, b.s FROM a LEFT ASOF JOIN b MATCH_CONDITION ({condition})
        ON a.k = b.k"""
    expected: Counter[Any] = Counter()
    for k, x, _ in rows["a"]:
        fit = [r for r in rows["b"] if r[0] == k and k is not None and x is not None and r[1] <= x]
        best = max(fit, key=lambda r: (r[1], r[2] is not None, r[2] or ""), default=(k, None, None))
        expected[plain((k, x, *best[1:]))] += 1

    assert _maintained(compile_program(program), rows) == expected
