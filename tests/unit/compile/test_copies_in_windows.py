"""Window functions of one window that are computed one after the other see copies of a row in the
same order."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.sql.program import compile_program
from tests.oracle.drive import as_input

TABLE = "CREATE TABLE t (k INT NOT NULL, x INT NOT NULL, y INT);\n"
CALLS = """LAG(y) OVER w AS a, ROW_NUMBER() OVER w AS b, LEAD(y) IGNORE NULLS OVER w AS c,
  SUM(x) OVER (PARTITION BY k ORDER BY x {order} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
  AS d, SUM(x) OVER (PARTITION BY k ORDER BY x {order} ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING)
  AS e, RANK() OVER w AS f, LAG(y, 9) IGNORE NULLS OVER w AS g,
  SUM(x) OVER (PARTITION BY k ORDER BY x {order} ROWS BETWEEN UNBOUNDED PRECEDING AND 2 FOLLOWING)
  AS h"""


def expected(rows: list[tuple[int, int, int | None]], sign: int) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for k in {r[0] for r in rows}:
        # NULL is the smallest
        part = sorted((r for r in rows if r[0] == k), key=lambda r: (sign * r[1], r[2] or -99))
        for i, row in enumerate(part):
            behind = [r[2] for r in part[i + 1 :] if r[2] is not None]
            before = [r[2] for r in part[:i] if r[2] is not None]
            near = [r[1] for r in part[max(0, i - 2) : i]]
            found[
                *row, part[i - 1][2] if i else None, i + 1, behind[0] if behind else None,
                sum(r[1] for r in part[i:]), sum(near) if near else None,
                1 + sum(sign * r[1] < sign * row[1] for r in part),
                before[-9] if len(before) >= 9 else None, sum(r[1] for r in part[: i + 3]),
            ] += 1  # fmt: skip
    return found


@pytest.mark.parametrize("order", ["", "DESC"])
def test_each_copy_is_one_row_to_all_functions(order: str) -> None:
    query = f"SELECT k, x, y, {CALLS.format(order=order)} FROM t"
    window = f"WINDOW w AS (PARTITION BY k ORDER BY x {order})"
    plan = compile_program(f"{TABLE}CREATE MATERIALIZED VIEW v AS {query} {window}")
    circuit = compile_circuit(plan)
    rng = np.random.default_rng(11)
    there: list[tuple[int, int, int | None]] = []
    for _ in range(12):
        new = [
            (int(k), int(x), int(y) or None) for k, x, y in rng.integers(0, 3, (6, 3)) - [0, 1, 0]
        ]
        gone = [r for r in there if rng.random() < 0.3]
        for row in gone:
            there.remove(row)
        there += new
        changes = [(r, 1) for r in new] + [(r, -1) for r in gone]
        circuit.step({"t": [as_input(plan.tables[0].schema, changes)]})
        found = Counter(dict(batch_to_rows(circuit.snapshot("v").batch())))
        assert found == expected(there, -1 if order else 1)


def test_copies_are_numbered_only_where_two_operators_tell_them_apart() -> None:
    def schemas(calls: str) -> list[str]:
        plan = compile_program(f"{TABLE}CREATE VIEW v AS SELECT x, {calls} FROM t")
        return [name for n in compile_circuit(plan).nodes for name in n.schema.names]

    assert "$copy" in schemas("LAG(x) OVER (ORDER BY x), ROW_NUMBER() OVER (ORDER BY x)")
    assert "$copy" not in schemas("LAG(x) OVER (ORDER BY x), RANK() OVER (ORDER BY x)")
    assert "$copy" not in schemas("LAG(x) OVER (ORDER BY x), ROW_NUMBER() OVER (ORDER BY y)")
