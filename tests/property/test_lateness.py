"""LATENESS drops what is behind the line of earlier steps, and nothing else (sql-reference 4.2)."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from decimal import Decimal
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
from penstock.data.types import Kind
from penstock.errors import SqlError
from penstock.sql.info import program_info
from penstock.sql.program import compile_program
from penstock.state.storage import StateStore
from tests.examples import examples
from tests.oracle.drive import Unsynced, as_input

VIEW = "CREATE MATERIALIZED VIEW v AS SELECT * FROM t"
times = st.one_of(st.none(), st.integers(0, 30))
CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


def contents(circuit: Circuit, name: str = "v") -> Counter[Any]:
    return Counter(dict(batch_to_rows(circuit.snapshot(name).batch())))


@given(steps=st.lists(st.lists(st.tuples(st.integers(0, 2), times), max_size=4), max_size=7))
@settings(max_examples=examples(60), deadline=None, suppress_health_check=CHECKS)
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


def test_what_is_late_in_a_recursive_view_is_not_seen_by_others() -> None:
    plan = compile_program(
        """
        CREATE TABLE t (n BIGINT); DECLARE RECURSIVE VIEW v (n BIGINT, d INT); LATENESS v.n 2;
        CREATE MATERIALIZED VIEW v AS
            SELECT n, 0 AS d FROM t UNION SELECT n, d + 1 FROM v WHERE d < 2;
        CREATE MATERIALIZED VIEW w AS SELECT n, COUNT(*) AS c FROM v GROUP BY n;
        """
    )
    circuit = compile_circuit(plan)
    for n in (10, 7, 8):
        circuit.step({"t": [as_input(plan.tables[0].schema, [((n,), 1)])]})
    counts = batch_to_rows(circuit.snapshot("w").batch())
    assert sorted(row for row, _ in counts) == [(8, 3), (10, 3)]
    assert circuit.late_records == 3


@pytest.mark.parametrize(
    ("column", "values", "kept"),
    [
        ("DECIMAL(10, 2) LATENESS 1.505", ["-3.00", "2.00", "0.50", "0.49", "-2.00"], 3),
        ("DECIMAL(38, 0) LATENESS 5", [10**30, 10**30 - 5, 10**30 - 6, -(10**30)], 2),
        ("DOUBLE LATENESS 0.5", [1.0, float("nan"), 0.5, 0.4, float("-inf"), float("inf"), 0.6], 6),
        ("REAL LATENESS 1", [1.5, 0.5, 0.25], 2),
        ("BIGINT UNSIGNED LATENESS 5", [3, 0, 2**63 + 1, 2**63 - 4, 2**63 - 5], 4),
        ("TINYINT LATENESS 2 * 100", [100, -100, -101], 2),
        ("INT LATENESS 1.5", [10, 9, 8], 2),
        ("DATE LATENESS INTERVAL 36 HOURS", [dt.date(2024, 1, d) for d in (9, 8, 7)], 2),
        ("TIME LATENESS INTERVAL 1 MINUTE + INTERVAL 1 MINUTE",
         [dt.time(10, 5), dt.time(10, 3), dt.time(10, 2, 59)], 2),
    ],
)  # fmt: skip
def test_every_type_that_can_be_subtracted_from_may_be_late(
    column: str, values: list[Any], kept: int, tmp_path: Path
) -> None:
    plan = compile_program(f"CREATE TABLE t (n {column}); {VIEW}")
    schema = plan.tables[0].schema
    circuit, store = compile_circuit(plan), StateStore(tmp_path, Unsynced())
    for value in values:
        value = Decimal(value) if schema.types[0].kind is Kind.DECIMAL else value
        circuit.step({"t": [as_input(schema, [((value,), 1)])]})
        saved = json.loads(json.dumps(circuit.capture().write(store)))
        circuit = compile_circuit(plan)
        circuit.restore(store, saved)

    assert len(contents(circuit)) == kept


def errors(changes: Any) -> list[Any]:
    return sorted((*row[:2], json.loads(row[2]), w) for row, w in batch_to_rows(changes))


def test_late_records_are_in_the_error_view() -> None:
    plan = compile_program(
        f"""CREATE TABLE t (n INT LATENESS 5, s VARCHAR, d DECIMAL(4, 2), ts TIMESTAMP,
                            b VARBINARY);
            CREATE TABLE k (id INT NOT NULL PRIMARY KEY, n INT LATENESS 5);
            {VIEW}; LATENESS v.n 1;
            CREATE MATERIALIZED VIEW w AS SELECT table_or_view_name AS t, COUNT(*) AS c
            FROM error_view GROUP BY table_or_view_name;"""
    )
    tables = {t.name: t.schema for t in plan.tables}
    circuit = compile_circuit(plan)

    def step(**given: Any) -> list[Any]:
        inputs = {n: [as_input(tables[n], [(r, w)])] for n, (r, w) in given.items()}
        return errors(circuit.step(inputs)["error_view"])

    start = dt.datetime(2024, 1, 1)
    assert step(t=((20, "x", None, start, b""), 1), k=((1, 20), 1)) == []
    text = "this record came later than the LATENESS of n allows"
    record = {"n": 14, "s": "é", "d": 1.5, "ts": "2024-01-01 00:00:00", "b": None}
    late = ("t", text, record, 1)
    found = step(t=((14, "é", Decimal("1.5"), start, None), 1))
    assert [(*x[:2], {**x[2], "d": float(x[2]["d"])}, x[3]) for x in found] == [late]
    # late for the view, a late deletion, and late changes of a table with a key
    (view,) = step(t=((18, None, None, None, None), 1))
    assert view[:2] == ("v", text) and view[2]["n"] == 18
    assert len(step(t=((2, "never there", None, None, None), -1))) == 1
    assert step(k=((1, 14), 1)) == [("k", text, {"id": 1, "n": 14}, 1)]
    assert step(k=((1, 30), 1)) == []
    assert step(k=((1, 0), -1)) == [] and step(k=((2, 21), 1)) == [
        ("k", text, {"id": 2, "n": 21}, 1)
    ]
    assert contents(circuit, "w") == Counter({("t", 2): 1, ("v", 1): 1, ("k", 2): 1})


def test_every_program_has_an_error_view_which_reports_nothing_of_itself() -> None:
    plan = compile_program("CREATE VIEW late AS SELECT LENGTH(message) AS n FROM error_view;"
                           "LATENESS late.n 1;")  # fmt: skip
    assert [v["name"] for v in program_info(plan)["schema"]["outputs"]] == ["late", "error_view"]
    columns = program_info(plan)["schema"]["outputs"][1]["fields"]
    assert [(c["name"], c["columntype"]["type"], c["columntype"]["nullable"]) for c in columns] == [
        (name, "VARCHAR", False) for name in ("table_or_view_name", "message", "metadata")
    ]
    assert not len(compile_circuit(plan).step({})["error_view"])


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("CREATE TABLE t (n INT LATENESS INTERVAL '1' HOUR)", "numbers a number"),
        ("CREATE TABLE t (d DATE LATENESS INTERVAL '1' MONTH)", "an interval of days or less"),
        (
            "CREATE TABLE t (s VARCHAR LATENESS 1)",
            "LATENESS of a column of type VARCHAR cannot be this",
        ),
        ("CREATE TABLE t (n INT LATENESS NULL)", "takes a constant"),
        ("CREATE TABLE t (n INT LATENESS -1)", "neither negative"),
        ("CREATE TABLE t (n INT); LATENESS w.n 1", "no view w"),
        (f"CREATE TABLE t (n INT); {VIEW}; LATENESS v.m 1", "view v has no column m"),
    ],
)
def test_a_lateness_that_makes_no_sense_is_refused(program: str, says: str) -> None:
    with pytest.raises(SqlError) as caught:
        compile_program(program)

    assert says in caught.value.messages[0].message
