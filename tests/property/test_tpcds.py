"""All 99 TPC-DS queries compile as they are published, and stay equal to DuckDB while their tables
change (`tests/property/tpcds.py` has the rules of the comparison)."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.sql.program import compile_program
from tests.property import tpcds
from tests.property.tpcds import FITTED, QUERIES, TEXT, History, Row

#: one of each shape: rollup and rank, FULL JOIN, INTERSECT, EXISTS under OR, self joins of a CTE
SAMPLE = ["q3", "q10", "q36", "q38", "q51", "q67", "q97"]


LARGE = dict.fromkeys(tpcds.FACTS, 400)


def test_all_the_published_queries_compile() -> None:
    plan = compile_program(TEXT)
    assert len(plan.views) == len(QUERIES) == 99


def follow(name: str, seed: int, sizes: dict[str, int] | None = None) -> int:
    """Three random changes, DuckDB's answer after each; how many rows the query had at most."""
    plan = compile_program(tpcds.program(name))
    circuit = compile_circuit(plan)
    schemas = {t.name: t.schema for t in plan.tables}
    history, total, most = History(name, seed, sizes), Counter[Row](), 0
    for share in (1.0, 0.5, 0.3) if name in FITTED else (0.7, 0.3, 0.2):
        inputs = {}
        for table, events in history.step(share).items():
            batch = batch_from_rows(schemas[table], [row for row, _ in events])
            ops = np.array([INSERT if w > 0 else DELETE for _, w in events], np.uint8)
            inputs[table] = [InputBatch(batch.schema, batch.columns, ops)]
        for row, weight in batch_to_rows(circuit.step(inputs)["v"]):
            total[tpcds.plain(row)] += weight
        assert min(total.values(), default=0) >= 0
        ours, theirs = list(total.elements()), tpcds.answer(name, history.tables)
        assert tpcds.is_same(ours, theirs), (ours, theirs)
        most = max(most, len(ours))
    return most


@pytest.mark.parametrize("name", SAMPLE)
def test_a_query_equals_duckdb_after_random_changes(name: str) -> None:
    assert follow(name, seed=1) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", QUERIES)
def test_every_query_equals_duckdb_after_random_changes(name: str) -> None:
    assert max(follow(name, seed, LARGE) for seed in (0, 1)) > 0
