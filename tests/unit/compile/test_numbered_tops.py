"""The numbers of the first rows of a partition, which whoever finds those knows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.plan.nodes import ProgramPlan
from penstock.sql.program import compile_program
from tests.oracle.drive import as_input

TABLE = "CREATE TABLE t (k INT NOT NULL, x INT NOT NULL);\n"
NUMBERED = "SELECT k, x, ROW_NUMBER() OVER (PARTITION BY k ORDER BY x DESC) AS n FROM t"


def compiled(views: str) -> tuple[ProgramPlan, Circuit]:
    plan = compile_program(TABLE + views)
    return plan, compile_circuit(plan)


def test_each_of_the_first_rows_has_its_number_whatever_comes_and_goes() -> None:
    plan, circuit = compiled(f"CREATE MATERIALIZED VIEW v AS {NUMBERED} QUALIFY n <= 3")
    rng = np.random.default_rng(3)
    there: Counter[Any] = Counter()
    for _ in range(40):
        rows = [((int(k), int(x)), 1) for k, x in rng.integers(0, 5, (rng.integers(1, 6), 2))]
        gone = [(r, -1) for r in there if there[r] > 0 and rng.random() < 0.2]
        circuit.step({"t": [as_input(plan.tables[0].schema, rows + gone)]})
        for row, weight in rows + gone:
            there[row] += weight
        expected = {
            (k, x, n): 1
            for k in range(5)
            for n, x in enumerate(sorted((x for g, x in there.elements() if g == k))[::-1][:3], 1)
        }
        assert dict(batch_to_rows(circuit.snapshot("v").batch())) == expected


@pytest.mark.parametrize(
    ("view", "others"),
    [
        (f"{NUMBERED} QUALIFY n <= 3", []),
        (f"SELECT * FROM ({NUMBERED}) AS s WHERE n <= 3", []),
        (f"{NUMBERED.replace('ROW_NUMBER', 'RANK')} QUALIFY n <= 3", ["runningwindow"]),
    ],
)
def test_one_operator_finds_and_numbers_them_where_both_orders_are_the_same(
    view: str, others: list[str]
) -> None:
    _, circuit = compiled(f"CREATE VIEW v AS {view}")
    kinds = {n.name.split()[0] for n in circuit.nodes}
    assert kinds & {"topk", "window", "runningwindow"} == {"topk", *others}
