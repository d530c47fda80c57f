"""Sub-queries in the conditions of joins and in VALUES: DuckDB's answer after any history.

Where DuckDB takes no sub-query in ON (FULL and LATERAL joins), it is asked in other words.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter

import numpy as np
from hypothesis import HealthCheck, given, settings

from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.plan.nodes import CLOCK
from penstock.sql.program import compile_program
from tests.property.programs import History, Program, answers, histories
from tests.property.test_programs import run

CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]

LISTED = "b.x IN (SELECT c.x FROM b AS c WHERE c.k = a.k)"
FOUND = "EXISTS (SELECT * FROM a AS z WHERE z.k = b.x)"
#: name → (our query, the same for DuckDB)
QUERIES: dict[str, tuple[str, str | None]] = {
    "one_side": (f"SELECT a.id, b.x FROM a LEFT JOIN b ON a.k = b.k AND {FOUND}", None),
    "both_sides": (f"SELECT a.s, b.x, b.s AS t FROM a LEFT JOIN b ON a.s = b.s AND {LISTED}", None),
    "left_side": (
        "SELECT a.id, b.x FROM a LEFT JOIN b ON a.k = b.k AND a.k IN (SELECT x FROM b)",
        None,
    ),
    "scalar": (
        "SELECT a.id, b.x FROM a LEFT JOIN b ON a.k < b.k AND b.x < (SELECT MAX(k) FROM a)",
        None,
    ),
    "rights": (
        f"SELECT a.s, b.k, b.x FROM a RIGHT JOIN b ON a.k = b.k AND {LISTED}",
        f"SELECT a.s, b.k, b.x FROM b LEFT JOIN a ON a.k = b.k AND {LISTED}",
    ),
    "either": (
        f"SELECT a.s, a.n, b.k, b.x FROM a FULL JOIN b ON a.k = b.k AND {LISTED}",
        f"""SELECT a.s, a.n, b.k, b.x FROM a LEFT JOIN b ON a.k = b.k AND {LISTED}
            UNION ALL
            SELECT NULL, NULL, b.k, b.x FROM b WHERE NOT EXISTS (
                SELECT * FROM a WHERE a.k = b.k AND {LISTED})""",
    ),
    "nested": (
        f"""SELECT a.id, (SELECT COUNT(*) FROM b AS o LEFT JOIN b ON o.k = b.k AND {LISTED}
                          WHERE o.x = a.k) AS n FROM a""",
        None,
    ),
    "constants": (
        "VALUES (1, 2), ((SELECT COUNT(*) FROM b), 0), (3, (SELECT MAX(id) FROM a))",
        None,
    ),
    "laterally": (
        """SELECT a.id, q.v FROM a LEFT JOIN LATERAL (SELECT b.x + a.id AS v, b.x FROM b
           WHERE b.k = a.k) AS q ON q.x IN (SELECT k FROM a AS z WHERE z.id < a.id)""",
        """SELECT a.id, b.x + a.id AS v FROM a LEFT JOIN b ON b.k = a.k
           AND b.x IN (SELECT k FROM a AS z WHERE z.id < a.id)""",
    ),
}


@given(history=histories())
@settings(max_examples=10, deadline=None, suppress_health_check=CHECKS)
def test_they_are_duckdbs_answer_after_any_history(history: History) -> None:
    ours = Program(queries={n: q for n, (q, _) in QUERIES.items()})
    reference = Program(queries={n: other or q for n, (q, other) in QUERIES.items()})

    assert run(compile_program(ours.text), history) == answers(reference, history)


def test_time_passes_in_the_condition_of_an_outer_join_and_in_values() -> None:
    plan = compile_program("""
        CREATE TABLE t (k INT); CREATE TABLE u (k INT, ts TIMESTAMP);
        CREATE MATERIALIZED VIEW v AS SELECT t.k, u.ts FROM t LEFT JOIN u
            ON t.k = u.k AND u.ts <= NOW();
        CREATE MATERIALIZED VIEW w AS SELECT h FROM (
            VALUES (EXTRACT(HOUR FROM NOW())), (-1)) AS q (h);
    """)
    circuit = compile_circuit(plan)
    schemas = {t.name: t.schema for t in plan.tables}
    start, hour = dt.datetime(2024, 1, 1), dt.timedelta(hours=1)

    def step(**rows: object) -> tuple[object, object]:
        inputs = {}
        for name, row in rows.items():
            batch = batch_from_rows(schemas[name], [row])
            ops = np.array([INSERT], np.uint8)
            inputs[name] = [InputBatch(batch.schema, batch.columns, ops)]
        circuit.step(inputs)
        v, w = (batch_to_rows(circuit.snapshot(n).batch()) for n in ("v", "w"))
        return [row for row, _ in v], sorted(row[0] for row, _ in w)

    micros = (start + hour - dt.datetime(1970, 1, 1)) // dt.timedelta(microseconds=1)
    clock = {CLOCK: (start, True)}
    assert step(t=(1,), u=(1, start + hour), **clock) == ([(1, None)], [-1, 0])
    assert step(**{CLOCK: (start + hour, True)}) == ([(1, micros)], [-1, 1])
    assert Counter(v.name for v in plan.views) == Counter(["v", "w"])
