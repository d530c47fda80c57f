"""LATENESS drops what is behind the line of earlier steps, and nothing else (sql-reference 4.2)."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.errors import SqlError
from penstock.sql.info import program_info
from penstock.sql.program import compile_program
from penstock.state.storage import StateStore
from tests.oracle.drive import Unsynced, as_input

VIEW = "CREATE MATERIALIZED VIEW v AS SELECT * FROM t"
times = st.one_of(st.none(), st.integers(0, 30))
CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


def contents(circuit: Circuit, name: str = "v") -> Counter[Any]:
    return Counter(dict(batch_to_rows(circuit.snapshot(name).batch())))


@given(steps=st.lists(st.lists(st.tuples(st.integers(0, 2), times), max_size=4), max_size=7))
@settings(max_examples=60, deadline=None, suppress_health_check=CHECKS)
def test_a_row_is_dropped_if_it_is_behind_the_line_of_earlier_steps(
    steps: list[list[tuple[int, int | None]]], tmp_path: Path
) -> None:
    plan = compile_program(f"CREATE TABLE t (id INT, n INT LATENESS 5); {VIEW}")
    circuit = compile_circuit(plan)
    store = StateStore(tmp_path, Unsynced())
    expected: Counter[Any] = Counter()
    highest: int | None = None
    for i, rows in enumerate(steps):
        circuit.step({"t": [as_input(plan.tables[0].schema, [(r, 1) for r in rows])]})
        on_time = [r for r in rows if highest is None or r[1] is None or r[1] >= highest - 5]
        expected.update(on_time)
        highest = max((n for _, n in expected if n is not None), default=None)
        if i == len(steps) // 2:
            saved = json.loads(json.dumps(circuit.capture().write(store)))
            circuit = compile_circuit(plan)
            circuit.restore(store, saved)
        assert contents(circuit) == expected


def keyed(schema: Any, *rows: tuple[str, int, int]) -> InputBatch:
    batch = batch_from_rows(schema, [(k, n) for _, k, n in rows])
    ops = [DELETE if op == "delete" else INSERT for op, _, _ in rows]
    return InputBatch(schema, batch.columns, np.array(ops, np.uint8))


def test_a_late_change_of_a_table_with_a_key_is_ignored_as_a_whole() -> None:
    plan = compile_program(f"CREATE TABLE t (k INT NOT NULL PRIMARY KEY, n INT LATENESS 5); {VIEW}")
    schema = plan.tables[0].schema
    circuit = compile_circuit(plan)
    circuit.step({"t": [keyed(schema, ("insert", 1, 10), ("insert", 2, 20))]})

    # the old row of key 1 is behind 15, and so is the new row of key 2
    circuit.step({"t": [keyed(schema, ("insert", 1, 30), ("insert", 2, 3), ("insert", 3, 15))]})
    circuit.step({"t": [keyed(schema, ("delete", 1, 0), ("delete", 3, 0))]})

    assert contents(circuit) == Counter({(1, 10): 1, (2, 20): 1})


def test_the_example_of_the_reference() -> None:
    plan = compile_program(
        f"CREATE TABLE t (ts TIMESTAMP NOT NULL LATENESS INTERVAL '1' HOUR); {VIEW}"
    )
    circuit = compile_circuit(plan)
    for text in ("00:00", "01:00", "00:10", "02:00", "00:20"):
        row = ((dt.datetime.fromisoformat(f"2024-01-01 {text}"),), 1)
        circuit.step({"t": [as_input(plan.tables[0].schema, [row])]})

    assert len(contents(circuit)) == 4


def test_a_view_may_be_late_as_well_and_the_schema_shows_it() -> None:
    plan = compile_program(
        f"LATENESS v.n 2; CREATE TABLE t (n BIGINT); {VIEW}; "
        "CREATE MATERIALIZED VIEW w AS SELECT COUNT(*) AS c FROM v"
    )
    circuit = compile_circuit(plan)
    for n in (5, 9, 6, 8):
        circuit.step({"t": [as_input(plan.tables[0].schema, [((n,), 1)])]})

    assert contents(circuit, "w") == Counter({(3,): 1})
    (field,) = program_info(plan)["schema"]["outputs"][0]["fields"]
    assert field["lateness"] == "2"


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("CREATE TABLE t (n INT LATENESS INTERVAL '1' HOUR)", "whole numbers a whole number"),
        ("CREATE TABLE t (d DATE LATENESS INTERVAL '1' MONTH)", "an interval of days or less"),
        ("CREATE TABLE t (s VARCHAR LATENESS 1)", "cannot be late"),
        ("CREATE TABLE t (n INT LATENESS -1)", "neither negative"),
        ("CREATE TABLE t (n INT); LATENESS w.n 1", "no view w"),
        (f"CREATE TABLE t (n INT); {VIEW}; LATENESS v.m 1", "view v has no column m"),
    ],
)
def test_a_lateness_that_makes_no_sense_is_refused(program: str, says: str) -> None:
    with pytest.raises(SqlError) as caught:
        compile_program(program)

    assert says in caught.value.messages[0].message
