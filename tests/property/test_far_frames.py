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


def _text(r: random.Random, *, is_small: bool) -> str:
    first, last = sorted(r.sample(range(len(BOUNDS)), 2))
    way = f"{r.choice(['ASC', 'DESC'])} NULLS {r.choice(['FIRST', 'LAST'])}"
    part = r.choice(["", "PARTITION BY p "])
    frame = f"RANGE BETWEEN {BOUNDS[first]} AND {BOUNDS[last]}"
    calls = r.sample(CALLS, 2)

    def view(name: str, key: str) -> str:
        over = f"OVER ({part}ORDER BY {key} {way} {frame})"
        items = ", ".join(f"{call} {over} AS c{i}" for i, call in enumerate(calls))
        return f"CREATE MATERIALIZED VIEW {name} AS SELECT p, d, x, {items} FROM t;"

    table = "CREATE TABLE t (p INT, d DECIMAL(22, 4), x INT);"
    near = view("near", "CAST(d AS DECIMAL(10, 2))") if is_small else view("near", "d")
    far = "DECIMAL(38, 25)" if is_small else "DECIMAL(38, 20)"
    return table + near + view("far", f"CAST(d AS {far})")


#: what 18 digits, four of them behind the point, do not hold, and the largest that they do
LARGE = [Decimal(10) ** 15, -(Decimal(10) ** 15), Decimal(10) ** 14 - 1, 1 - Decimal(10) ** 14]


def _key(r: random.Random, *, is_small: bool) -> Decimal | None:
    if r.random() < 0.2:
        return None
    return Decimal(r.randrange(-8, 9)) / 4 + (0 if is_small else r.choice([0, *LARGE]))


@pytest.mark.parametrize("is_small", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_digits_change_no_frame(seed: int, *, is_small: bool) -> None:
    r = random.Random(seed)
    plan = compile_program(_text(r, is_small=is_small))
    circuit, (table,) = compile_circuit(plan), plan.tables
    there: list[tuple[Any, ...]] = []
    for _ in range(4):
        rows, ops = [], []
        for _ in range(r.randrange(1, 8)):
            if there and r.random() < 0.35:
                rows.append(there.pop(r.randrange(len(there))))
                ops.append(DELETE)
                continue
            rows.append((r.randrange(2), _key(r, is_small=is_small), r.choice([None, 1, 2, 3])))
            ops.append(INSERT)
            there.append(rows[-1])
        batch = batch_from_rows(table.schema, rows)
        circuit.step({"t": [InputBatch(batch.schema, batch.columns, np.array(ops, np.uint8))]})
        near, far = (
            Counter(dict(batch_to_rows(circuit.snapshot(v).batch()))) for v in ("near", "far")
        )
        assert far == near


def test_a_total_that_no_frame_has_is_no_error() -> None:
    """Numbers that 64 bits do not count are told apart."""
    frame = "ORDER BY d RANGE BETWEEN 1 PRECEDING AND CURRENT ROW"
    plan = compile_program(
        f"CREATE TABLE t (d DECIMAL(22, 4), x INT); CREATE MATERIALIZED VIEW v AS "
        f"SELECT d, SUM(x) OVER ({frame}) AS s, COUNT(*) OVER ({frame}) AS n FROM t;"
    )
    circuit, (table,) = compile_circuit(plan), plan.tables
    large = [(Decimal(10) ** 15 + 2 * i, 2**31 - 1) for i in range(3)]
    batch = batch_from_rows(table.schema, large)
    inserted = InputBatch(batch.schema, batch.columns, np.full(3, INSERT, np.uint8))
    circuit.step({"t": [inserted]})

    found = Counter(dict(batch_to_rows(circuit.snapshot("v").batch())))
    assert found == Counter((d, x, 1) for d, x in large)
