"""RANGE frames over a DECIMAL of many digits are those of the same numbers with few digits."""

from __future__ import annotations

import random
from collections import Counter
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.sql.program import compile_program

BOUNDS = ["UNBOUNDED PRECEDING", "1.5 PRECEDING", "0.25 PRECEDING", "CURRENT ROW", "0.75 FOLLOWING",
          "UNBOUNDED FOLLOWING"]  # fmt: skip
CALLS = ["COUNT(*)", "COUNT(x)", "SUM(x)", "AVG(x)", "MIN(x)", "MAX(x)"]


def _text(r: random.Random) -> str:
    first, last = sorted(r.sample(range(len(BOUNDS)), 2))
    way = f"{r.choice(['ASC', 'DESC'])} NULLS {r.choice(['FIRST', 'LAST'])}"
    part = r.choice(["", "PARTITION BY p "])
    frame = f"RANGE BETWEEN {BOUNDS[first]} AND {BOUNDS[last]}"
    calls = r.sample(CALLS, 2)

    def view(name: str, key: str) -> str:
        over = f"OVER ({part}ORDER BY {key} {way} {frame})"
        items = ", ".join(f"{call} {over} AS c{i}" for i, call in enumerate(calls))
        return f"CREATE MATERIALIZED VIEW {name} AS SELECT p, d, x, {items} FROM t;"

    table = "CREATE TABLE t (p INT, d DECIMAL(10, 2), x INT);"
    return table + view("near", "d") + view("far", "CAST(d AS DECIMAL(38, 25))")


@pytest.mark.parametrize("seed", range(12))
def test_digits_behind_the_point_change_no_frame(seed: int) -> None:
    r = random.Random(seed)
    plan = compile_program(_text(r))
    circuit, (table,) = compile_circuit(plan), plan.tables
    there: list[tuple[Any, ...]] = []
    for _ in range(4):
        rows, ops = [], []
        for _ in range(r.randrange(1, 8)):
            if there and r.random() < 0.35:
                rows.append(there.pop(r.randrange(len(there))))
                ops.append(DELETE)
                continue
            d = None if r.random() < 0.2 else Decimal(r.randrange(-8, 9)) / 4
            rows.append((r.randrange(2), d, r.choice([None, 1, 2, 3])))
            ops.append(INSERT)
            there.append(rows[-1])
        batch = batch_from_rows(table.schema, rows)
        circuit.step({"t": [InputBatch(batch.schema, batch.columns, np.array(ops, np.uint8))]})
        near, far = (
            Counter(dict(batch_to_rows(circuit.snapshot(v).batch()))) for v in ("near", "far")
        )
        assert far == near
