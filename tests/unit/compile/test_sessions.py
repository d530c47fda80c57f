"""Which aggregates over SESSION windows are totals of sessions, whose rows are not read."""

from __future__ import annotations

import pytest

from penstock.circuit.ops.session_totals import SessionTotals
from penstock.compile.program import compile_circuit
from penstock.sql.program import compile_program

SESSIONS = "TABLE(SESSION(TABLE t, DESCRIPTOR(ts), DESCRIPTOR(k), INTERVAL 10 MINUTES))"


def is_fused(query: str) -> bool:
    program = f"""
    CREATE TABLE t (k INT, j INT, x BIGINT, ts TIMESTAMP NOT NULL);
    CREATE VIEW v AS {query};
    """
    circuit = compile_circuit(compile_program(program))
    return any(isinstance(n, SessionTotals) for n in circuit.nodes)


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT k, COUNT(*) AS n FROM {SESSIONS} GROUP BY k, window_start, window_end",
        f"SELECT window_start, SUM(2 * x) AS s FROM {SESSIONS} GROUP BY window_start, k",
        f"SELECT COUNT(x) FILTER (WHERE j > 0) AS n FROM {SESSIONS} GROUP BY k, window_start",
        f"SELECT MIN(x) AS a, MAX(x) AS b, AVG(x) AS c FROM {SESSIONS} GROUP BY window_end, k",
    ],
)
def test_totals_and_extremes_of_sessions_are(query: str) -> None:
    assert is_fused(query)


@pytest.mark.parametrize(
    "query",
    [
        f"SELECT COUNT(*) AS n FROM {SESSIONS} GROUP BY window_start",  # of several keys
        f"SELECT k, COUNT(*) AS n FROM {SESSIONS} GROUP BY k",
        f"SELECT COUNT(*) AS n FROM {SESSIONS} GROUP BY k, window_start, j",
        f"SELECT COUNT(DISTINCT x) AS n FROM {SESSIONS} GROUP BY k, window_start",
        f"SELECT MAX(x) FILTER (WHERE window_end > ts) FROM {SESSIONS} GROUP BY k, window_end",
        f"SELECT COUNT(*) AS n FROM {SESSIONS} WHERE x > 0 GROUP BY k, window_start",
        f"SELECT MAX(window_end) AS n FROM {SESSIONS} GROUP BY k, window_start",
        f"SELECT ARRAY_AGG(x) AS n FROM {SESSIONS} GROUP BY k, window_start",
    ],
)
def test_what_needs_the_rows_of_sessions_is_not(query: str) -> None:
    assert not is_fused(query)
