"""Rows on one side of a moving value: the same as filtering everything anew after every step."""

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
from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.plan.nodes import CLOCK, Frontier, ProgramPlan
from penstock.plan.rewrite import inputs
from penstock.sql.program import compile_program
from penstock.state.storage import StateStore
from tests.examples import examples
from tests.oracle.drive import Unsynced, as_input

TABLE = "CREATE TABLE t (id INT, ts TIMESTAMP, d DATE);\n"
START = dt.datetime(2024, 1, 1)
HOUR = dt.timedelta(hours=1)
#: condition, the same in Python, whether it is a frontier
CONDITIONS: list[tuple[str, Any, bool]] = [
    ("ts >= NOW() - INTERVAL '2' HOURS", lambda r, now: r[1] >= now - 2 * HOUR, True),
    ("ts > NOW()", lambda r, now: r[1] > now, True),
    ("NOW() >= ts", lambda r, now: r[1] <= now, True),
    ("ts < NOW() + INTERVAL '1' HOUR AND id < 3", lambda r, now: r[1] < now + HOUR and r[0] < 3,
     True),
    ("ts BETWEEN NOW() - INTERVAL '3' HOURS AND NOW()",
     lambda r, now: now - 3 * HOUR <= r[1] <= now, True),
    ("ts = NOW()", lambda r, now: r[1] == now, True),
    ("ts + INTERVAL '1' HOUR >= TIMESTAMP_TRUNC(NOW(), DAY)",
     lambda r, now: r[1] + HOUR >= dt.datetime(now.year, now.month, now.day), True),
    ("EXTRACT(HOUR FROM NOW()) > id", lambda r, now: now.hour > r[0], True),
    ("TIMESTAMPDIFF(HOUR, ts, NOW()) > 2", lambda r, now: (now - r[1]) / HOUR >= 3, True),
    ("TIMESTAMPDIFF(HOUR, ts, NOW()) BETWEEN -1 AND 0",
     lambda r, now: -2 * HOUR < now - r[1] < HOUR, True),
    ("TIMESTAMPDIFF(MINUTE, NOW(), ts) >= -59", lambda r, now: now - r[1] < HOUR, True),
    ("2 > DATEDIFF(HOUR, NOW(), ts)", lambda r, now: r[1] - now < 2 * HOUR, True),
    ("TIMESTAMPDIFF(HOUR, ts, NOW()) = 2",
     lambda r, now: 2 * HOUR <= now - r[1] < 3 * HOUR, True),
    ("TIMESTAMPDIFF(MONTH, ts, NOW()) < id", lambda r, now: r[0] > 0, False),
    ("ts > NOW() OR id = 1", lambda r, now: r[1] > now or r[0] == 1, True),
    ("NOT (ts < NOW() - INTERVAL '2' HOURS)", lambda r, now: r[1] >= now - 2 * HOUR, True),
    ("CASE WHEN ts = NOW() THEN FALSE ELSE ts >= NOW() - INTERVAL '2' HOURS END",
     lambda r, now: r[1] != now and r[1] >= now - 2 * HOUR, True),
]  # fmt: skip

hours = st.integers(0, 30)
row = st.tuples(st.integers(0, 4), st.one_of(st.none(), hours.map(lambda h: START + h * HOUR)))
steps = st.lists(
    st.tuples(st.lists(st.tuples(row, st.booleans()), max_size=6), st.integers(0, 6)), max_size=7
)


def tick(plan: ProgramPlan, now: dt.datetime) -> InputBatch:
    schema = next(t.schema for t in plan.tables if t.name == CLOCK)
    batch = batch_from_rows(schema, [(now, True)])
    return InputBatch(schema, batch.columns, np.array([INSERT], np.uint8))


def contents(circuit: Circuit) -> Counter[Any]:
    return Counter({r[0]: w for r, w in batch_to_rows(circuit.snapshot("v").batch())})


def has_frontier(node: Any) -> bool:
    return isinstance(node, Frontier) or any(has_frontier(n) for n in inputs(node))


@pytest.mark.parametrize(("condition", "holds", "is_frontier"), CONDITIONS)
@given(history=steps)
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_a_temporal_filter_equals_filtering_everything_anew(
    condition: str, holds: Any, is_frontier: bool, history: Any, tmp_path: Path
) -> None:
    query = f"SELECT id, COUNT(*) AS n FROM t WHERE {condition} GROUP BY id"
    plan = compile_program(f"{TABLE} CREATE MATERIALIZED VIEW v AS {query}")
    assert has_frontier(plan.views[0].query) == is_frontier
    schema = plan.tables[0].schema
    circuit = compile_circuit(plan)
    store = StateStore(tmp_path, Unsynced())
    rows: list[Any] = []
    now = START + 5 * HOUR
    for i, (changes, passed) in enumerate(history):
        weighted = []
        for (id_, ts), removes in changes:
            full = (id_, ts, None)
            if removes and rows:
                full = rows.pop()
                weighted.append((full, -1))
            else:
                rows.append(full)
                weighted.append((full, 1))
        now += passed * HOUR
        fed = {"t": [as_input(schema, weighted)], CLOCK: [tick(plan, now)]}
        circuit.step(fed if passed or i == 0 else {"t": fed["t"]})
        if i == len(history) // 2:
            saved = json.loads(json.dumps(circuit.capture().write(store)))
            circuit = compile_circuit(plan)
            circuit.restore(store, saved)
        kept = Counter(r[0] for r in rows if r[1] is not None and holds(r, now))
        if condition.startswith("EXTRACT"):
            kept = Counter(r[0] for r in rows if holds(r, now))
        if "OR" in condition:
            kept = Counter(r[0] for r in rows if r[0] == 1 or (r[1] is not None and r[1] > now))
        found = {r[0]: r[1] for r, _ in batch_to_rows(circuit.snapshot("v").batch())}
        assert found == dict(kept)


def test_what_time_has_passed_for_good_is_not_kept() -> None:
    query = "SELECT id FROM t WHERE ts >= NOW() - INTERVAL '2' HOURS"
    plan = compile_program(f"{TABLE} CREATE MATERIALIZED VIEW v AS {query}")
    circuit = compile_circuit(plan)
    for hour in range(50):
        now = START + hour * HOUR
        new = as_input(plan.tables[0].schema, [((i, now, None), 1) for i in range(100)])
        circuit.step({"t": [new], CLOCK: [tick(plan, now)]})

    (kept,) = (s.state_rows for s in circuit.stats() if s.name.startswith("frontier"))
    assert kept <= 2000
    assert len(batch_to_rows(circuit.snapshot("v").batch())) == 100


def test_now_is_a_value_like_any_other() -> None:
    plan = compile_program(
        f"{TABLE} CREATE MATERIALIZED VIEW v AS SELECT NOW() AS n, NOW() + INTERVAL '1' HOUR AS m;"
        "CREATE MATERIALIZED VIEW w AS SELECT id, NOW() AS n FROM t WHERE ts < NOW();"
        "CREATE MATERIALIZED VIEW x AS SELECT COUNT(*) FILTER (WHERE ts < NOW()) AS n FROM t"
    )
    circuit = compile_circuit(plan)
    at = [((1, START + h * HOUR, None), 1) for h in range(3)]
    circuit.step({"t": [as_input(plan.tables[0].schema, at)], CLOCK: [tick(plan, START)]})
    later = START + 2 * HOUR
    circuit.step({CLOCK: [tick(plan, later)]})

    epoch = dt.datetime(1970, 1, 1)
    micros = (later - epoch) // dt.timedelta(microseconds=1)
    found = {n: batch_to_rows(circuit.snapshot(n).batch()) for n in "vwx"}
    assert found == {
        "v": [((micros, micros + 3_600_000_000), 1)],
        "w": [((1, micros), 2)],
        "x": [((2,), 1)],
    }


def test_a_comparison_in_an_expression_reads_only_the_rows_that_time_passes() -> None:
    recent = "ts >= NOW() - INTERVAL '2' HOURS"
    ones = f"CASE WHEN {recent} AND id = 1 THEN 1 END"
    query = f"SELECT COUNT(*) FILTER (WHERE {recent}) AS n, SUM({ones}) AS m FROM t"
    plan = compile_program(f"{TABLE} CREATE MATERIALIZED VIEW v AS {query}")
    circuit = compile_circuit(plan)
    schema = plan.tables[0].schema
    rows = [((h % 2, START + h * HOUR, None), 1) for h in range(200)]
    circuit.step({"t": [as_input(schema, rows)], CLOCK: [tick(plan, START + 100 * HOUR)]})
    before = {s.name: s.rows_in for s in circuit.stats()}
    circuit.step({CLOCK: [tick(plan, START + 101 * HOUR)]})

    read = {s.name: s.rows_in - before[s.name] for s in circuit.stats()}
    assert 2 <= max(read.values()) <= 4, read
    assert sum(s.name.startswith("frontier") for s in circuit.stats()) == 2
    assert batch_to_rows(circuit.snapshot("v").batch()) == [((101, 51), 1)]
    assert not any("join" in s.name for s in circuit.stats())
