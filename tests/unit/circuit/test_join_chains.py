"""A change at the end of a chain of joins stays a change of one row for one row.

Each join of two inputs that both change has up to three products of each pair of rows, of which
one remains: a chain of n joins that hands them on would make 3^n rows of one.
"""

from __future__ import annotations

import numpy as np
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows
from penstock.sql.program import compile_program

N = 8
TABLE = "CREATE TABLE t (k INT, x INT); CREATE VIEW v AS "
SUMS = [f"(SELECT k, SUM(x) AS s{i} FROM t WHERE x > {i} GROUP BY k) q{i}" for i in range(N)]
CHAINS = {
    "scalar sub-queries": "SELECT "
    + ", ".join(f"(SELECT SUM(x) FROM t WHERE x > {i}) AS s{i}" for i in range(N)),
    "inner joins": "SELECT q0.k, "
    + ", ".join(f"s{i}" for i in range(N))
    + f" FROM {SUMS[0]} "
    + " ".join(f"JOIN {q} ON q0.k = q{i}.k" for i, q in enumerate(SUMS) if i),
    "left joins": "SELECT q0.k, "
    + ", ".join(f"s{i}" for i in range(N))
    + f" FROM {SUMS[0]} "
    + " ".join(f"LEFT JOIN {q} ON q0.k = q{i}.k" for i, q in enumerate(SUMS) if i),
}


@pytest.mark.parametrize("query", CHAINS.values(), ids=CHAINS)
def test_a_chain_of_joins_hands_on_two_rows_for_a_changed_row(query: str) -> None:
    plan = compile_program(TABLE + query)
    circuit = compile_circuit(plan)
    (table,) = plan.tables
    for row in ((1, 100), (1, 50)):
        batch = batch_from_rows(table.schema, [row])
        before = {n: n.rows_out for n in circuit.nodes}
        insert = InputBatch(batch.schema, batch.columns, np.array([INSERT], np.uint8))
        circuit.step({"t": [insert]})
    assert max(n.rows_out - before[n] for n in circuit.nodes) == 2
