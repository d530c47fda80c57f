"""CREATE [LINEAR] AGGREGATE: Python over the rows of every group that has changed."""

from __future__ import annotations

from collections import Counter
from math import prod
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.errors import RuntimeSqlError, SqlError
from penstock.sql.program import compile_program
from tests.oracle.drive import as_input

UDF = """
from math import prod
import pyarrow as pa
import pyarrow.compute as pc

def product(x):
    return [prod(v for v in values if v is not None) for values in x.to_pylist()]

def weighted(x, w):
    pairs = [zip(a, b) for a, b in zip(x.to_pylist(), w.to_pylist())]
    return [sum(v * u for v, u in p if v is not None and u is not None) for p in pairs]

def squares_map(x):
    return pc.multiply(x, x)

def squares_post(total):
    return pc.negate(total)

def wide_map(x, y):
    return pc.add(x, y)

def broken(x):
    return [1]
"""
DECLARE = """
CREATE TABLE t (g INT, x INT, w INT);
CREATE AGGREGATE product(x INT) RETURNS BIGINT;
CREATE AGGREGATE weighted(x INT, w INT) RETURNS INT;
CREATE LINEAR AGGREGATE squares(x INT) RETURNS INT;
CREATE LINEAR AGGREGATE wide(x INT, y INT) RETURNS INT;
"""
VIEW = """
CREATE MATERIALIZED VIEW v AS SELECT g, product(x) AS p, product(DISTINCT x) AS once,
    weighted(x, w + 1) AS s, 1 + squares(x) FILTER (WHERE w > 0) AS q, wide(x, w) AS d
FROM t GROUP BY g;
CREATE MATERIALIZED VIEW every AS SELECT product(x) AS p, squares(x) AS q FROM t
HAVING product(x) < 9;
"""
values = st.one_of(st.none(), st.integers(-3, 3))
steps = st.lists(st.lists(st.tuples(st.integers(0, 2), values, values), max_size=4), max_size=5)


def defined(rows: list[Any]) -> tuple[Any, ...]:
    x = [a for _, a, _ in rows if a is not None]
    squares = [a * a for _, a, w in rows if a is not None and w is not None and w > 0]
    sums = [a + w for _, a, w in rows if a is not None and w is not None]
    weighted = sum(a * (w + 1) for _, a, w in rows if a is not None and w is not None)
    return (
        prod(x),
        prod(set(x)),
        weighted,
        1 - sum(squares) if squares else None,
        (sum(sums) if sums else None),
    )


@given(history=steps)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_aggregate_is_its_function_of_the_rows_of_a_group(history: Any) -> None:
    plan = compile_program(DECLARE + VIEW, UDF)
    circuit = compile_circuit(plan)
    circuit.step({})
    there: list[Any] = []
    for step in history:
        gone = there[:2]
        changes = [(r, 1) for r in step] + [(r, -1) for r in gone]
        there = there[2:] + step
        circuit.step({"t": [as_input(plan.tables[0].schema, changes)]})
        groups = {g: [r for r in there if r[0] == g] for g, _, _ in there}
        found = Counter(dict(batch_to_rows(circuit.snapshot("v").batch())))
        assert found == Counter((g, *defined(rows)) for g, rows in groups.items())
        x = [a for _, a, _ in there if a is not None]
        everything = (prod(x), -sum(a * a for a in x) if x else None)
        (row,) = [r for r, _ in batch_to_rows(circuit.snapshot("every").batch())] or [None]
        assert row == (everything if everything[0] < 9 else None)


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        ("CREATE AGGREGATE product(x INT NOT NULL) RETURNS INT", "must not be NOT NULL"),
        ("CREATE AGGREGATE product(x INT) RETURNS INT NOT NULL", "the result of aggregate product"),
        ("CREATE AGGREGATE product() RETURNS INT", "needs an argument"),
        ("CREATE AGGREGATE product(x INT, y INT) RETURNS INT", "takes 1 arguments, not 2"),
        ("CREATE AGGREGATE missing(x INT) RETURNS INT", "udf.py defines no function missing"),
        ("CREATE LINEAR AGGREGATE product(x INT) RETURNS INT", "no function product_map"),
        ("CREATE LINEAR AGGREGATE squares(x INT) RETURNS VARCHAR", "is a number"),
        ("CREATE AGGREGATE sum(x INT) RETURNS INT", "SUM is a built-in function"),
        ("CREATE AGGREGATE product(x INT) RETURNS INT;"
         "CREATE FUNCTION product(x INT) RETURNS INT AS x", "there is a function product already"),
        ("CREATE AGGREGATE product(x INT) RETURNS INT; CREATE TABLE t (x INT, s VARCHAR);"
         "CREATE VIEW v AS SELECT product(s) AS p FROM t", "write a CAST"),
        ("CREATE AGGREGATE product(x INT) RETURNS INT; CREATE TABLE t (x INT);"
         "CREATE VIEW v AS SELECT x FROM t WHERE product(x) > 1",
         "the aggregate product cannot be used in WHERE"),
        ("CREATE AGGREGATE product(x INT) RETURNS INT; CREATE TABLE t (x INT);"
         "CREATE VIEW v AS SELECT product(*) AS p FROM t", "product(*) makes no sense"),
        ("CREATE AGGREGATE product(x INT) RETURNS INT; CREATE TABLE t (x INT);"
         "CREATE VIEW v AS SELECT product(product(x)) AS p FROM t", "an argument of product"),
        ("CREATE AGGREGATE product(x INT) RETURNS INT; CREATE TABLE t (x INT);"
         "CREATE VIEW v AS SELECT product(x) WITHIN DISTINCT (x) AS p FROM t", "in product is not"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_or_call_is_refused(declare: str, says: str) -> None:
    with pytest.raises(SqlError) as caught:
        compile_program(declare, UDF)

    assert any(says in m.message for m in caught.value.messages), caught.value.messages


def test_distinct_of_a_linear_aggregate_is_about_its_arguments() -> None:
    """2 and -2 have one square and are two values; their pairs with 1 and 3 are three."""
    plan = compile_program(
        "CREATE TABLE t (x INT, y INT); CREATE LINEAR AGGREGATE squares(x INT) RETURNS INT;"
        "CREATE LINEAR AGGREGATE wide(x INT, y INT) RETURNS INT;"
        "CREATE MATERIALIZED VIEW v AS SELECT squares(DISTINCT x) AS s, wide(DISTINCT x, y) AS w,"
        " squares(DISTINCT x) FILTER (WHERE y > 1) AS f FROM t;",
        UDF,
    )
    circuit = compile_circuit(plan)
    rows = [(2, 1), (-2, 1), (2, 3), (2, 3), (None, 1)]
    circuit.step({"t": [as_input(plan.tables[0].schema, [(row, 1) for row in rows])]})
    assert [row for row, _ in batch_to_rows(circuit.snapshot("v").batch())] == [(-8, 7, -4)]

    circuit.step({"t": [as_input(plan.tables[0].schema, [((-2, 1), -1), ((2, 3), -1)])]})
    assert [row for row, _ in batch_to_rows(circuit.snapshot("v").batch())] == [(-4, 8, -4)]


def test_without_python_a_declaration_is_refused() -> None:
    with pytest.raises(SqlError, match="aggregate product has no definition"):
        compile_program("CREATE AGGREGATE product(x INT) RETURNS INT;")


def test_an_answer_of_another_length_fails_the_step() -> None:
    plan = compile_program(
        "CREATE TABLE t (g INT); CREATE AGGREGATE broken(x INT) RETURNS INT;"
        "CREATE VIEW v AS SELECT g, broken(g) AS b FROM t GROUP BY g",
        UDF,
    )
    circuit = compile_circuit(plan)
    with pytest.raises(RuntimeSqlError, match="broken answered 1 rows for 2"):
        circuit.step({"t": [as_input(plan.tables[0].schema, [((1,), 1), ((2,), 1)])]})
