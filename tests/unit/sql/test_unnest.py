"""UNNEST: which columns it has, what it may follow, and what it costs the plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.errors import SqlError
from penstock.sql.program import compile_program, explain

TABLE = (
    "CREATE TYPE part AS (name VARCHAR NOT NULL, n INT);"
    "CREATE TABLE t (k INT NOT NULL, a INT ARRAY, m MAP<VARCHAR, INT>,"
    " ps part ARRAY, aa INT ARRAY ARRAY);"
    "CREATE TABLE s (k INT NOT NULL, y INT);"
)
ROWS = [
    (1, [10, None, 10], {"b": 2, "a": 1}, [("bolt", 3), None], [[1, 2], [], None, [3]]),
    (2, [], {}, [], []),
    (3, None, None, None, None),
]


def answer(query: str) -> list[Any]:
    plan = compile_program(f"{TABLE} CREATE VIEW v AS {query}")
    circuit = compile_circuit(plan)
    schema = plan.tables[0].schema
    ops = np.full(len(ROWS), INSERT, np.uint8)
    t = InputBatch(schema, batch_from_rows(schema, ROWS).columns, ops)
    s_schema = plan.tables[1].schema
    s = InputBatch(s_schema, batch_from_rows(s_schema, [(1, 7)]).columns, ops[:1])
    rows = batch_to_rows(circuit.step({"t": [t], "s": [s]})["v"])
    return sorted((r for r, w in rows for _ in range(w)), key=str)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT k, x FROM t, UNNEST(t.a) AS u(x)", [(1, 10), (1, 10), (1, None)]),
        ("SELECT k, x, i FROM t CROSS JOIN UNNEST(a) WITH ORDINALITY AS u(x, i)",
         [(1, 10, 1), (1, 10, 3), (1, None, 2)]),
        ("SELECT u.key, u.value FROM t, UNNEST(t.m) AS u", [("a", 1), ("b", 2)]),
        ("SELECT name, u.n FROM t, UNNEST(t.ps) AS u", [("bolt", 3), (None, None)]),
        ("SELECT x FROM t, UNNEST(t.aa) AS u(b), UNNEST(u.b) AS v(x)", [(1,), (2,), (3,)]),
        ("SELECT x FROM UNNEST(ARRAY[2, 1]) AS u(x)", [(1,), (2,)]),
        ("SELECT * FROM UNNEST(ARRAY[5]) WITH ORDINALITY AS u", [(5, 1)]),
        ("SELECT k, x FROM t, UNNEST(COALESCE(a, ARRAY[NULL])) AS u(x) WHERE k = 3", [(3, None)]),
        ("SELECT x, SUM(k) FROM t, UNNEST(SPLIT('p,q')) AS u(x) GROUP BY x", [("p", 6), ("q", 6)]),
        ("SELECT x, y FROM t, UNNEST(t.a) AS u(x), s WHERE s.k = t.k AND x > 1",
         [(10, 7), (10, 7)]),
        ("SELECT k, (SELECT SUM(x) FROM UNNEST(t.a) AS u(x)) AS s FROM t",
         [(1, 20), (2, None), (3, None)]),
        ("SELECT k FROM t WHERE EXISTS (SELECT 1 FROM UNNEST(t.a) AS u(x) WHERE x > 5)", [(1,)]),
        ("SELECT x FROM t JOIN UNNEST(t.a) AS u(x) ON x = t.k * 10", [(10,), (10,)]),
        ("SELECT x FROM t, UNNEST(TRANSFORM(a, e -> e + k)) AS u(x) WHERE x IS NOT NULL",
         [(11,), (11,)]),
    ],
)  # fmt: skip
def test_rows_of_elements(query: str, expected: list[Any]) -> None:
    assert answer(query) == sorted(expected, key=str)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT * FROM t LEFT JOIN UNNEST(t.a) AS u ON TRUE", "COALESCE(a, ARRAY[NULL])"),
        ("SELECT * FROM t, UNNEST(t.k) AS u", "UNNEST takes an ARRAY or a MAP, not INTEGER"),
        ("SELECT * FROM UNNEST(t.a) AS u, t", "there is no table t"),
        ("SELECT * FROM t, UNNEST(t.m) AS u(x)", "names 1 columns, but UNNEST has 2"),
        ("SELECT * FROM UNNEST(ARRAY()) AS u", "without a type"),
    ],
)
def test_what_cannot_be_unnested_says_why(query: str, words: str) -> None:
    with pytest.raises(SqlError) as error:
        compile_program(f"{TABLE} CREATE VIEW v AS {query}")
    assert words in error.value.messages[0].message


def test_filters_go_below_and_unused_columns_are_not_carried() -> None:
    text = explain(f"{TABLE} CREATE VIEW v AS SELECT x FROM t, UNNEST(t.a) AS u(x) WHERE t.k > 1")
    assert text.splitlines()[1:] == [
        "  Unnest a",
        "    Filter k > 1",
        "      Project k, a",
        "        Scan t",
    ]
