"""emit_final and WATERMARK: rows come out, or are let in, when time has passed them by (4.4)."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.errors import SqlError
from penstock.plan.nodes import ProgramPlan
from penstock.sql.info import program_info
from penstock.sql.program import compile_program
from penstock.state.storage import StateStore
from tests.examples import examples
from tests.oracle.drive import Unsynced

CHECKS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
START = dt.datetime(2024, 1, 1)
MINUTE = dt.timedelta(minutes=1)
TABLES = """
    CREATE TABLE t (a INT, n INT LATENESS 5, ts TIMESTAMP);
    CREATE TABLE u (n INT LATENESS 8, b INT);
"""
#: the view's query; its first column is final below what this makes of (t's line, u's line)
VIEWS: list[tuple[str, Any]] = [
    ("SELECT n, a FROM t", lambda t, _: t),
    ("SELECT n + 2 AS m, a FROM t WHERE a > 0", lambda t, _: t + 2),
    ("SELECT FLOOR(n / 10.0) AS g, SUM(a) AS s, COUNT(*) AS c FROM t GROUP BY FLOOR(n / 10.0)",
     lambda t, _: t // 10),
    ("SELECT t.n, a, b FROM t JOIN u ON t.n = u.n", min),
    ("SELECT t.n, a, b FROM t LEFT JOIN u ON t.n = u.n", min),
    ("SELECT t.n, a, u.n AS m FROM t LEFT ASOF JOIN u MATCH_CONDITION (t.n >= u.n) ON t.a = u.b",
     min),
    ("SELECT n FROM t UNION SELECT n FROM u", min),
    ("SELECT n, a, SUM(a) OVER (ORDER BY n RANGE BETWEEN 3 PRECEDING AND CURRENT ROW) AS s FROM t",
     lambda t, _: t),
    ("SELECT n, a, ROW_NUMBER() OVER (PARTITION BY n ORDER BY a DESC) AS r FROM t QUALIFY r < 3",
     lambda t, _: t),
    ("SELECT n, MAX(a) AS m FROM (SELECT DISTINCT n, a FROM t) GROUP BY n", lambda t, _: t),
]  # fmt: skip

rows = st.lists(st.tuples(st.integers(-2, 2), st.one_of(st.none(), st.integers(1, 40))), max_size=5)
steps = st.lists(st.tuples(rows, rows), max_size=6)


def feed(plan: ProgramPlan, t: list[Any], u: list[Any]) -> dict[str, list[InputBatch]]:
    schemas = {x.name: x.schema for x in plan.tables}
    given = {"t": [(a, n, None) for a, n in t], "u": [(n, b) for b, n in u]}
    batches = {name: batch_from_rows(schemas[name], r) for name, r in given.items() if r}
    return {
        name: [InputBatch(b.schema, b.columns, np.full(len(b), INSERT, np.uint8))]
        for name, b in batches.items()
    }


def contents(circuit: Circuit, name: str) -> Counter[Any]:
    return Counter(dict(batch_to_rows(circuit.snapshot(name).batch())))


@pytest.mark.parametrize(("query", "line"), VIEWS, ids=[q for q, _ in VIEWS])
@given(history=steps)
@example(history=[([(0, 10)], [(0, 10)]), ([(0, 25)], [(0, 25)])])
@settings(max_examples=12, deadline=None, suppress_health_check=CHECKS)
def test_a_row_comes_out_once_and_when_nothing_can_change_it(
    query: str, line: Any, history: Any, tmp_path: Path
) -> None:
    plan = compile_program(
        f"{TABLES} CREATE MATERIALIZED VIEW v WITH ('emit_final' = '0') AS {query};"
        f"CREATE MATERIALIZED VIEW now_and_then AS SELECT * FROM v;"
    )
    circuit, store = compile_circuit(plan), StateStore(tmp_path, Unsynced())
    emitted: Counter[Any] = Counter()
    seen: list[list[int]] = [[], []]
    for i, (t, u) in enumerate(history):
        lines = [max(x, default=None) for x in seen]
        for given_rows, x, line_of, behind in zip((t, u), seen, lines, (5, 8), strict=True):
            for _, n in given_rows:
                if n is not None and (line_of is None or n >= line_of - behind):
                    x.append(n)
        changes = batch_to_rows(circuit.step(feed(plan, t, u))["v"])
        assert all(weight > 0 for _, weight in changes), "nothing is taken back"
        emitted.update(dict(changes))
        if i == len(history) // 2:
            saved = json.loads(json.dumps(circuit.capture().write(store)))
            circuit = compile_circuit(plan)
            circuit.restore(store, saved)
    at = [max(x) - behind if x else None for x, behind in zip(seen, (5, 8), strict=True)]
    needed = at if line is min else at[:1]
    end = None if None in needed else line(*at)
    everything = contents(circuit, "now_and_then")
    final = Counter({
        row: n for row, n in everything.items()
        if end is not None and row[0] is not None and row[0] < end
    })  # fmt: skip
    assert emitted == final
    assert contents(circuit, "v") == final


def test_the_example_of_the_reference() -> None:
    plan = compile_program("""
        CREATE TABLE t (a INT, ts TIMESTAMP NOT NULL LATENESS INTERVAL '1' HOUR);
        CREATE VIEW v WITH ('emit_final' = 'd') AS
        SELECT TIMESTAMP_TRUNC(ts, DAY) AS d, SUM(a) AS total FROM t
        GROUP BY TIMESTAMP_TRUNC(ts, DAY);
    """)
    circuit = compile_circuit(plan)
    found = []
    for hours in (1, 2, 24, 25):
        batch = batch_from_rows(plan.tables[0].schema, [(10, START + dt.timedelta(hours=hours))])
        inputs = {"t": [InputBatch(batch.schema, batch.columns, np.array([INSERT], np.uint8))]}
        found.append([row[1] for row, _ in batch_to_rows(circuit.step(inputs)["v"])])

    assert found == [[], [], [], [20]]


def test_windows_are_final_when_no_row_can_fall_into_them() -> None:
    for function, expected in (
        ("TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL 10 MINUTES)", [[], [], [0]]),
        ("HOP(TABLE t, DESCRIPTOR(ts), INTERVAL 5 MINUTES, INTERVAL 10 MINUTES)",
         [[-5], [], [0]]),
    ):  # fmt: skip
        plan = compile_program(f"""
            CREATE TABLE t (ts TIMESTAMP LATENESS INTERVAL '1' MINUTE);
            CREATE VIEW v WITH ('emit_final' = 'window_start') AS
            SELECT window_start, COUNT(*) AS n FROM TABLE({function}) GROUP BY window_start;
        """)
        circuit = compile_circuit(plan)
        found = []
        for minute in (6, 10, 11):
            batch = batch_from_rows(plan.tables[0].schema, [(START + minute * MINUTE,)])
            inputs = {"t": [InputBatch(batch.schema, batch.columns, np.array([INSERT], np.uint8))]}
            if minute == 6 and "HOP" in function:
                early = batch_from_rows(plan.tables[0].schema, [(START + 2 * MINUTE,)])
                inputs["t"].insert(
                    0, InputBatch(early.schema, early.columns, np.array([INSERT], np.uint8))
                )
            rows = batch_to_rows(circuit.step(inputs)["v"])
            micros = (START - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
            found.append(sorted((row[0] - micros) // 60_000_000 for row, _ in rows))
        assert found == expected, function


@pytest.mark.parametrize(
    ("query", "property", "words"),
    [
        ("SELECT a FROM t", "a", "column a of view v has no waterline"),
        ("SELECT n FROM t", "m", "view v has no column m"),
        ("SELECT n FROM t", "1", "view v has no column 1"),
        ("SELECT -n AS n FROM t", "n", "no waterline"),
        ("SELECT t.n FROM t JOIN u ON t.a = u.b", "n", "no waterline"),
        ("SELECT n, SUM(a) OVER (ORDER BY n DESC) AS s FROM t", "n", "no waterline"),
        ("SELECT n, LEAD(a) OVER (ORDER BY n) AS s FROM t", "n", "no waterline"),
        ("SELECT ts FROM t WHERE ts > NOW() - INTERVAL '1' HOUR", "ts", "no waterline"),
        ("SELECT n FROM t ORDER BY n LIMIT 3", "n", "no waterline"),
        ("SELECT MAX(n) AS n FROM t", "n", "no waterline"),
    ],
)
def test_without_a_waterline_it_is_refused(query: str, property: str, words: str) -> None:
    with pytest.raises(SqlError, match=words):
        compile_program(f"{TABLES} CREATE VIEW v WITH ('emit_final' = '{property}') AS {query};")


def test_it_is_for_views_that_come_out() -> None:
    with pytest.raises(SqlError, match="LOCAL view v is no output"):
        compile_program(
            f"{TABLES} CREATE LOCAL VIEW v WITH ('emit_final' = 'n') AS SELECT n FROM t;"
        )


@given(history=st.lists(rows, max_size=6), deleted=st.integers(0, 3))
@settings(max_examples=examples(30), deadline=None, suppress_health_check=CHECKS)
def test_a_watermark_holds_rows_back_until_a_row_so_much_later_has_come(
    history: Any, deleted: int
) -> None:
    plan = compile_program(
        "CREATE TABLE t (a INT, n INT WATERMARK 4); CREATE MATERIALIZED VIEW v AS SELECT * FROM t"
    )
    circuit = compile_circuit(plan)
    schema = plan.tables[0].schema
    there: Counter[Any] = Counter()
    for i, rows in enumerate([*history, []]):
        gone = list(there)[:deleted] if i == len(history) else []
        there.update(rows)
        there.subtract(gone)
        batch = batch_from_rows(schema, [*rows, *gone])
        ops = np.array([INSERT] * len(rows) + [DELETE] * len(gone), np.uint8)
        circuit.step({"t": [InputBatch(batch.schema, batch.columns, ops)]})
        latest = max((n for r in history[: i + 1] for _, n in r if n is not None), default=None)
        assert contents(circuit, "v") == +Counter({
            (a, n): w for (a, n), w in there.items()
            if n is None or (latest is not None and n <= latest - 4)
        })  # fmt: skip
    (table,) = program_info(plan)["schema"]["inputs"]
    assert [f["watermark"] for f in table["fields"]] == [None, "4"]
