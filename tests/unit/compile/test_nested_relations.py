"""What relations do with nested columns: group, join, order, remember by key."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penstock.compile.program import compile_circuit, default_columns
from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows, column_to_python
from penstock.errors import SqlError
from penstock.sql.program import compile_program, explain

TABLES = (
    "CREATE TABLE t (k INT, a INT ARRAY, r ROW(x INT NULL, y VARCHAR) NULL, v VARIANT);"
    "CREATE TABLE s (b BIGINT ARRAY, q ROW(x INT NULL, y VARCHAR) NULL, w VARIANT);"
)
T: list[tuple[Any, ...]] = [
    (1, [1, None], (1, "x"), '{"a":1}'),
    (2, [1, None], (None, "x"), '{"a":2}'),
    (3, [], (1, "x"), "1"),
    (4, None, None, None),
]
S: list[tuple[Any, ...]] = [
    ([1, None], (None, "x"), '{"a": 1}'),
    ([], None, "1.5"),
    (None, (1, "y"), None),
]


def answer(query: str) -> list[Any]:
    plan = compile_program(f"{TABLES} CREATE VIEW v1 AS {query}")
    circuit = compile_circuit(plan)
    inputs = {}
    for table, rows in zip(plan.tables, (T, S), strict=True):
        batch = batch_from_rows(table.schema, rows)
        ops = np.full(len(rows), INSERT, np.uint8)
        inputs[table.name] = [InputBatch(table.schema, batch.columns, ops)]
    rows = batch_to_rows(circuit.step(inputs)["v1"])
    return sorted((r for r, w in rows for _ in range(w)), key=str)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT a, COUNT(*) FROM t GROUP BY a", [([1, None], 2), ([], 1), (None, 1)]),
        ("SELECT DISTINCT r FROM t", [((1, "x"),), ((None, "x"),), (None,)]),
        ("SELECT k FROM t JOIN s ON t.a = s.b", [(1,), (2,), (3,)]),
        ("SELECT k FROM t JOIN s ON t.a IS NOT DISTINCT FROM s.b", [(1,), (2,), (3,), (4,)]),
        ("SELECT k FROM t JOIN s ON t.r IS NOT DISTINCT FROM s.q", [(2,), (4,)]),
        ("SELECT k FROM t JOIN s ON t.v = s.w", [(1,)]),
        ("SELECT k FROM t WHERE a IN (SELECT b FROM s)", [(1,), (2,), (3,)]),
        ("SELECT k, q.n FROM (SELECT k, ROW(k, 1) AS p FROM t) o, "
         "LATERAL (SELECT COUNT(*) AS n FROM t WHERE ROW(t.k, 0) < o.p) q WHERE k > 2",
         [(3, 3), (4, 4)]),
        ("SELECT MIN(a), MAX(r), COUNT(DISTINCT v) FROM t", [([], (1, "x"), 3)]),
        ("SELECT k FROM t ORDER BY a DESC, k LIMIT 2", [(1,), (2,)]),
        ("SELECT k, a FROM t ORDER BY r, k LIMIT 2", [(2, [1, None]), (4, None)]),
        ("SELECT a FROM t UNION SELECT b FROM s", [([1, None],), ([],), (None,)]),
        ("SELECT a FROM t EXCEPT SELECT CAST(b AS INT ARRAY) FROM s WHERE b IS NOT NULL",
         [(None,)]),
        ("SELECT ARRAY(SELECT k FROM t WHERE k < 3) AS x", [([1, 2],)]),
        ("SELECT CARDINALITY(ARRAY(SELECT k, a FROM t)) AS x", [(4,)]),
        ("SELECT ARRAY(SELECT k FROM t WHERE k > 9) AS x", [([],)]),
        ("SELECT MAP(SELECT k % 2, k FROM t) AS x", [({0: 4, 1: 3},)]),
        ("SELECT MAP(SELECT a, k FROM t WHERE k < 4) AS x", [([([], 3), ([1, None], 2)],)]),
        ("SELECT k, MAP(SELECT 1, k FROM s WHERE s.b = t.a) AS x FROM t WHERE k > 2",
         [(3, {1: 3}), (4, {})]),
    ],
)  # fmt: skip
def test_nested_columns_group_join_and_order_as_values(query: str, expected: list[Any]) -> None:
    assert answer(query) == sorted(expected, key=str)


def test_a_map_of_a_query_wants_two_columns() -> None:
    with pytest.raises(SqlError, match="two columns, key and value, not 1"):
        answer("SELECT MAP(SELECT k FROM t) AS x")


def test_a_join_on_arrays_has_them_as_keys() -> None:
    text = explain(f"{TABLES} CREATE VIEW v1 AS SELECT k FROM t JOIN s ON t.a = s.b")
    assert "Join inner on" in text


def test_a_key_may_be_an_array_and_a_default_too() -> None:
    plan = compile_program(
        "CREATE TABLE t (a INT ARRAY NOT NULL PRIMARY KEY, m MAP<VARCHAR, INT> DEFAULT MAP['k', 1],"
        " v VARIANT DEFAULT CAST(5 AS VARIANT))"
    )
    table = plan.tables[0]
    defaults = default_columns(plan, table)
    assert [c and column_to_python(c) for c in defaults] == [None, [{"k": 1}], ["5"]]
    circuit = compile_circuit(plan)

    def step(op: int, *rows: Any) -> None:
        columns = batch_from_rows(table.schema, rows).columns
        circuit.step({"t": [InputBatch(table.schema, columns, np.full(len(rows), op, np.uint8))]})

    step(INSERT, ([1], {"a": 1}, None), ([2, None], None, "1"))
    step(INSERT, ([1], {"b": 2}, None))
    step(DELETE, ([2, None], None, None))
    assert batch_to_rows(circuit.snapshot("t").batch()) == [(([1], {"b": 2}, None), 1)]
