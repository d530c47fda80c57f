"""agg(x) WITHIN DISTINCT (k): one row of each k counts, and they all have the same x (3.1)."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.errors import RuntimeSqlError, SqlError
from penstock.sql.program import compile_program
from tests.oracle.drive import as_input

TABLE = "CREATE TABLE t (g INT, k INT, x INT, ok BOOLEAN);\n"
#: a customer's age beside each of its orders
ROWS = [(1, 1, 30, True), (1, 1, 30, True), (1, 2, 30, False), (1, None, 50, True),
        (1, None, 50, True), (2, 3, None, True), (2, 3, 7, True)]  # fmt: skip


def circuit_of(query: str) -> Circuit:
    return compile_circuit(compile_program(f"{TABLE} CREATE MATERIALIZED VIEW v AS {query}"))


def step(circuit: Circuit, rows: list[Any]) -> list[Any]:
    schema = next(n.schema for n in circuit.nodes if n.name == "source t")
    circuit.step({"t": [as_input(schema, rows)]})
    return sorted(row for row, _ in batch_to_rows(circuit.snapshot("v").batch()))


def test_of_the_rows_that_agree_in_the_key_one_counts() -> None:
    circuit = circuit_of(
        "SELECT g, SUM(x) WITHIN DISTINCT (k) AS s, COUNT(*) WITHIN DISTINCT (k) AS n,"
        " SUM(x) WITHIN DISTINCT (k) FILTER (WHERE ok) AS f, COUNT(*) AS every FROM t GROUP BY g"
    )

    assert step(circuit, [(row, 1) for row in ROWS]) == [(1, 110, 3, 80, 5), (2, 7, 1, 7, 2)]
    # one of two equal rows goes, and then the other
    assert step(circuit, [(ROWS[0], -1)])[0] == (1, 110, 3, 80, 4)
    assert step(circuit, [(ROWS[1], -1)])[0] == (1, 80, 2, 50, 3)


def test_the_key_may_be_any_expression_and_stand_in_a_pivot() -> None:
    query = "SELECT AVG(x) WITHIN DISTINCT (g, k + 1) AS a FROM t WHERE k IS NOT NULL"
    assert step(circuit_of(query), [(row, 1) for row in ROWS]) == [(22,)]  # 30, 30 and 7
    pivot = (
        "SELECT * FROM (SELECT g, k, x FROM t) PIVOT (SUM(x) WITHIN DISTINCT (k) FOR g IN (1 AS a))"
    )
    assert step(circuit_of(pivot), [(row, 1) for row in ROWS]) == [(110,)]


def test_rows_of_one_key_that_differ_are_an_error_unless_the_step_sets_it_right() -> None:
    circuit = circuit_of("SELECT MAX(x) WITHIN DISTINCT (k) AS s FROM t")
    step(circuit, [((1, 1, 5, True), 1)])
    assert step(circuit, [((1, 1, 6, True), 1), ((1, 1, 5, True), -1)]) == [(6,)]

    with pytest.raises(RuntimeSqlError, match="MAX WITHIN DISTINCT: two rows agree"):
        step(circuit, [((2, 1, 7, True), 1)])


def test_beside_distinct_it_is_refused() -> None:
    with pytest.raises(SqlError, match="WITHIN DISTINCT in SUM is not supported yet"):
        circuit_of("SELECT SUM(DISTINCT x) WITHIN DISTINCT (k) AS s FROM t")
