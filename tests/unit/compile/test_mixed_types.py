"""Values of different types that are compared: by a join's key as by `=`, by IN as by each `=`.

Source: sql-reference 1.4 and 2.5. A negative number equals no unsigned one and is no error; a
DECIMAL that is cut to the other's scale equals what it did before; CHAR is not cut.
"""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.sql.program import compile_program
from tests.oracle.drive import as_input

TABLE = """CREATE TABLE t (id INT NOT NULL PRIMARY KEY, w DECIMAL(38, 0), n DECIMAL(38, 10),
    c CHAR(3), ub BIGINT UNSIGNED, u4 INT UNSIGNED, i INT, t1 TINYINT);"""
ROWS: list[tuple[Any, ...]] = [
    (1, Decimal(1), Decimal("1.5"), "a  ", 1, 1, 1, -1),
    (2, Decimal(2), Decimal(2), "abc", 2**64 - 1, 2**32 - 1, -1, 1),
    (3, None, None, None, None, None, None, None),
]
#: query → its rows
ANSWERS: dict[str, list[tuple[Any, ...]]] = {
    "SELECT l.id, r.id FROM t l JOIN t r ON l.w = r.n": [(2, 2)],
    "SELECT l.id, r.id FROM t l LEFT JOIN t r ON l.w = r.n": [(1, None), (2, 2), (3, None)],
    "SELECT l.id, r.id FROM t l JOIN t r ON l.w IS NOT DISTINCT FROM r.n": [(2, 2), (3, 3)],
    "SELECT id FROM t WHERE w IN (1.5, 2)": [(2,)],
    "SELECT id FROM t WHERE w IN (SELECT n FROM t)": [(2,)],
    "SELECT id FROM t WHERE w NOT IN (SELECT n FROM t WHERE n IS NOT NULL)": [(1,)],
    "SELECT l.id, r.id FROM t l JOIN t r ON l.u4 = r.t1": [(1, 2)],
    "SELECT l.id, r.id FROM t l JOIN t r ON l.u4 = r.i": [(1, 1)],
    "SELECT l.id, r.id FROM t l FULL JOIN t r ON l.ub = r.i":
        [(1, 1), (2, None), (3, None), (None, 2), (None, 3)],
    "SELECT id FROM t WHERE ub IN (-1, 1)": [(1,)],
    "SELECT id FROM t WHERE ub NOT IN (-1, 1)": [(2,)],
    "SELECT id FROM t WHERE ub <> ALL (SELECT i FROM t WHERE i IS NOT NULL)": [(2,)],
    "SELECT id, ub IN (SELECT i FROM t) AS x FROM t": [(1, True), (2, None), (3, None)],
    "SELECT id FROM t WHERE EXISTS (SELECT 1 FROM t o WHERE o.ub = t.i)": [(1,)],
    "SELECT l.id FROM t l JOIN (VALUES (-1), (1)) AS v (ub) USING (ub)": [(1,)],
    "SELECT NULLIF(ub, -1) AS x FROM t": [(1,), (2**64 - 1,), (None,)],
    "SELECT id FROM t WHERE c IN ('a', 'abc')": [(2,)],
    "SELECT id FROM t WHERE c IN ('a  ', 'a')": [(1,)],
    "SELECT id FROM t WHERE c IN ('abc', 'abd')": [(2,)],
}  # fmt: skip


def test_values_of_different_types_are_equal_where_the_equality_says_so() -> None:
    views = [f"CREATE VIEW v{i} AS {query};" for i, query in enumerate(ANSWERS)]
    plan = compile_program(TABLE + "".join(views))
    batch = as_input(plan.tables[0].schema, [(row, 1) for row in ROWS])
    deltas = compile_circuit(plan).step({"t": [batch]})

    for i, (query, rows) in enumerate(ANSWERS.items()):
        assert Counter(dict(batch_to_rows(deltas[f"v{i}"]))) == Counter(rows), query
