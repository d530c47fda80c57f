"""What LATENESS lets operators forget never shows in what they emit, and it is forgotten."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.circuit import Circuit, dense
from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.plan.nodes import ProgramPlan
from penstock.sql.bind.expiries import find_expiries
from penstock.sql.program import compile_program
from penstock.state import spine
from penstock.state.spine import Spine
from penstock.state.storage import StateStore
from tests.examples import examples
from tests.oracle.drive import Unsynced, as_input

TABLES = """
CREATE TABLE a (k INT, t INT LATENESS 3, x INT);
CREATE TABLE b (k INT, t INT LATENESS 5, x INT);
CREATE TABLE u (k INT NOT NULL PRIMARY KEY, t INT LATENESS 2, x INT);
CREATE TABLE n (k INT, t INT NOT NULL LATENESS 3, x INT);
CREATE TABLE h (k INT, ts TIMESTAMP LATENESS INTERVAL 3 SECONDS);
"""
OF_ONE = {
    "sums": "SELECT t, COUNT(*) AS n, SUM(x) AS s, AVG(x) AS v FROM a GROUP BY t",
    "extremes": "SELECT t, MIN(x) AS l, MAX(x) AS h, ARG_MAX(k, x) AS g FROM a GROUP BY t",
    "distinct calls": "SELECT t, COUNT(DISTINCT x) AS n, SUM(DISTINCT k) AS s FROM a GROUP BY t",
    "arrays": "SELECT t, ARRAY_AGG(x ORDER BY k) AS a FROM a GROUP BY t",
    "mode": "SELECT t, MODE(x) AS m FROM a GROUP BY t",
    "of a key": "SELECT k, t, MAX(x) AS h FROM u GROUP BY k, t",
    "filtered": "SELECT t, COUNT(*) FILTER (WHERE x > 1) AS n FROM b GROUP BY t",
    "distinct": "SELECT DISTINCT t, x FROM a",
    "except": "SELECT t, x FROM a EXCEPT SELECT t, x FROM b",
    "as often as both": "SELECT t, x FROM a INTERSECT ALL SELECT t, x FROM b",
    "left over": "SELECT t, x FROM a EXCEPT ALL SELECT t, x FROM b",
    "top": "SELECT t, x FROM a QUALIFY ROW_NUMBER() OVER (PARTITION BY t ORDER BY x DESC) <= 2",
    "peers": "SELECT t, x FROM a QUALIFY RANK() OVER (PARTITION BY t ORDER BY x) <= 2",
    "in a time": "SELECT x, RANK() OVER (PARTITION BY t ORDER BY x) AS r, "
    "SUM(k) OVER (PARTITION BY t ORDER BY x) AS s, LAG(x) OVER (PARTITION BY t ORDER BY x) AS l "
    "FROM a",
    "frames": "SELECT x, SUM(x) OVER (PARTITION BY k ORDER BY t RANGE BETWEEN 2 PRECEDING AND "
    "1 FOLLOWING) AS s FROM a",
    "frames, backwards": "SELECT x, MAX(x) OVER (PARTITION BY k ORDER BY t DESC RANGE BETWEEN 2 "
    "PRECEDING AND CURRENT ROW) AS s FROM a",
    "rows": "SELECT x, SUM(x) OVER (PARTITION BY k ORDER BY t ROWS BETWEEN 2 PRECEDING AND "
    "1 FOLLOWING) AS s FROM a",
    "rows, backwards": "SELECT x, MAX(x) OVER (ORDER BY t DESC NULLS LAST ROWS BETWEEN CURRENT ROW "
    "AND 2 FOLLOWING) AS s FROM b",
    "neighbours": "SELECT x, LAG(x, 2) OVER (PARTITION BY k ORDER BY t) AS b, "
    "LEAD(x) OVER (PARTITION BY k ORDER BY t) AS f FROM a",
    "so far": "SELECT x, RANK() OVER (PARTITION BY k ORDER BY t) AS r, "
    "SUM(x) OVER (PARTITION BY k ORDER BY t) AS s, "
    "MAX(x) OVER (PARTITION BY k ORDER BY t) AS m, LAG(NULLIF(x, 2), 2) IGNORE NULLS OVER "
    "(PARTITION BY k ORDER BY t) AS l, AVG(x) OVER (PARTITION BY k ORDER BY t ROWS BETWEEN "
    "UNBOUNDED PRECEDING AND 2 PRECEDING) AS a FROM n",
    "values far back": "SELECT x, LAG(NULLIF(x, 2), 9) IGNORE NULLS OVER (PARTITION BY k ORDER BY "
    "t) AS l FROM a",
    "values far ahead": "SELECT x, LEAD(NULLIF(x, 2), 9) IGNORE NULLS OVER (ORDER BY t DESC) AS l "
    "FROM n",
    "short of it": "SELECT x, SUM(x) OVER (PARTITION BY k ORDER BY t RANGE BETWEEN UNBOUNDED "
    "PRECEDING AND 2 PRECEDING) AS a FROM n",
    "beyond": "SELECT x, MAX(x) OVER (PARTITION BY k ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING "
    "AND 2 FOLLOWING) AS b FROM n",
    "rows beyond": "SELECT x, COUNT(x) OVER (PARTITION BY k ORDER BY t ROWS BETWEEN UNBOUNDED "
    "PRECEDING AND 2 FOLLOWING) AS c FROM n",
    "beyond, in a time": "SELECT x, MIN(k) OVER (PARTITION BY t ORDER BY x RANGE BETWEEN UNBOUNDED "
    "PRECEDING AND 1 PRECEDING) AS a FROM a",
    "union": "SELECT t, COUNT(*) AS n FROM (SELECT t FROM a UNION ALL SELECT t FROM b) GROUP BY t",
}
OF_TWO = {
    "inner": "SELECT a.t, a.x, b.x AS y FROM a JOIN b ON a.t = b.t",
    "left": "SELECT a.t, a.x, b.x AS y FROM a LEFT JOIN b ON a.t = b.t",
    "full": "SELECT a.t, a.x, b.t AS u, b.x AS y FROM a FULL JOIN b ON a.t = b.t",
    "left, residual": "SELECT a.t, b.x FROM a LEFT JOIN b ON a.t = b.t AND a.x < b.x",
    "semi": "SELECT t, x FROM a WHERE t IN (SELECT t FROM b)",
    "anti": "SELECT t, x FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE b.t = a.t)",
}
OF_TIMES = {
    "band": "SELECT a.t, b.t AS u FROM a JOIN b ON a.k = b.k AND a.t BETWEEN b.t - 2 AND b.t + 2",
    "band of any": "SELECT a.t, b.t AS u, a.x FROM a JOIN b ON b.t > a.t AND 2 + a.t > b.t",
}
OF_LATEST = {
    "latest": "SELECT a.t, a.x, b.t AS u, b.x AS y FROM a LEFT ASOF JOIN b "
    "MATCH_CONDITION (a.t >= b.t) ON a.k = b.k",
}
#: nothing equal: pairs, rows in none of them, and what is counted of them by the time of either
OF_NEAR = {
    "left, near": "SELECT a.t, a.x, b.t AS u FROM a LEFT JOIN b ON b.t BETWEEN a.t - 2 AND a.t + 1",
    "full, near": "SELECT a.t, b.t AS u, b.x FROM a FULL JOIN b ON b.t >= a.t - 1 AND b.t <= a.t",
    "none near": "SELECT t, x FROM a WHERE NOT EXISTS "
    "(SELECT * FROM b WHERE b.t >= a.t AND b.t <= a.t + 2)",
    "counted": "SELECT a.t, COUNT(*) AS n, SUM(b.x) AS s FROM a LEFT JOIN b ON a.k = b.k AND "
    "b.t >= a.t AND b.t <= a.t + 2 GROUP BY a.t",
}
OF_WINDOWS = {
    "hops": "SELECT k, window_start, COUNT(*) AS n FROM TABLE(HOP(TABLE h, DESCRIPTOR(ts), "
    "INTERVAL '2' SECOND, INTERVAL '4' SECOND)) GROUP BY k, window_start, window_end",
    "most in a hop": "SELECT m.k, m.n, m.s FROM (SELECT k, COUNT(*) AS n, window_start AS s FROM "
    "TABLE(HOP(TABLE h, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '4' SECOND)) "
    "GROUP BY k, window_start) m JOIN (SELECT MAX(n) AS n, s FROM (SELECT k, COUNT(*) AS n, "
    "window_start AS s FROM TABLE(HOP(TABLE h, DESCRIPTOR(ts), INTERVAL '2' SECOND, "
    "INTERVAL '4' SECOND)) GROUP BY k, window_start) GROUP BY s) w ON m.s = w.s AND m.n >= w.n",
}
#: as they are, as their rows see them, and without a key
OF_SESSIONS = {
    "sessions": "SELECT k, window_start, window_end, COUNT(*) AS n FROM TABLE(SESSION(TABLE h, "
    "DESCRIPTOR(ts), DESCRIPTOR(k), INTERVAL 4 SECONDS)) GROUP BY k, window_start, window_end",
    "rows of sessions": "SELECT k, ts, window_start FROM TABLE(SESSION(TABLE h, DESCRIPTOR(ts), "
    "DESCRIPTOR(k), INTERVAL 5 SECONDS))",
    "sessions of all": "SELECT window_end, COUNT(*) AS n FROM TABLE(SESSION(TABLE h, "
    "DESCRIPTOR(ts), INTERVAL 1 SECOND)) GROUP BY window_end",
}
#: rows of one side only can go: all that is to come may match those of the other
OF_ONE_SIDE = {
    "left, range": "SELECT a.t, b.t AS u, b.x FROM a LEFT JOIN b ON a.k = b.k AND a.t >= b.t",
}
#: what is derived at a time is of that time, whatever comes; one view reads the other
OF_ROUNDS = {
    "reached": "DECLARE RECURSIVE VIEW r (t INT, k INT, x INT); CREATE VIEW r AS "
    "SELECT t, k, x FROM a UNION SELECT r.t, r.k, b.x FROM r JOIN b ON r.t = b.t AND r.x = b.k",
    "counted": "SELECT t, COUNT(*) AS n, MAX(x) AS m FROM r GROUP BY t",
    "one by the other": "DECLARE RECURSIVE VIEW p (k INT, t INT); DECLARE RECURSIVE VIEW q (k INT, "
    "t INT); CREATE VIEW p AS SELECT k, t FROM a UNION SELECT k, t FROM q; CREATE VIEW q AS "
    "SELECT x AS k, t FROM b UNION SELECT p.k + 1, p.t FROM p JOIN n ON p.t = n.t AND p.k < 3",
}
#: one arrangement of `a` for two joins, of which only one lets its rows go
SHARED = {
    "shared": "SELECT a.x, c.x AS y FROM a JOIN b ON a.t = b.t AND a.k > b.k "
    "JOIN (SELECT CAST(x AS INT) AS t, x FROM b) c ON a.t = c.t",
}
#: views that share no arrangement which one of them would keep for the others
PROGRAMS = {
    "one": OF_ONE, "two": OF_TWO, "windows": OF_WINDOWS, "shared": SHARED, "side": OF_ONE_SIDE,
    **{name: {name: query} for name, query in OF_TIMES.items()}, "near": OF_NEAR,
    "latest": OF_LATEST, "rounds": OF_ROUNDS,
}  # fmt: skip
#: nothing may be forgotten of these
KEEPS = (
    "SELECT k, SUM(x) AS s FROM a GROUP BY k",
    "SELECT a.x FROM a JOIN b ON a.k = b.k",
    "DECLARE RECURSIVE VIEW r (t INT); CREATE VIEW r AS SELECT t FROM a UNION SELECT t - 1 FROM r "
    "WHERE t > 0",
    "DECLARE RECURSIVE VIEW r (t INT, x INT); CREATE VIEW r AS SELECT t, x FROM a UNION "
    "SELECT r.t, b.x FROM r JOIN b ON r.x = b.k",
)


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is dropped as soon as it can be."""
    monkeypatch.setattr(dense.Sweep, "is_due", lambda self, ids: ids > 0)
    monkeypatch.setattr(dense.Sweep, "is_worth_it", lambda self, kept, ids: kept < ids)
    monkeypatch.setattr(spine, "SMALL_ROWS", 0)
    monkeypatch.setattr(spine, "RATIO", 1 << 30)


def plan_of(queries: Iterable[str]) -> ProgramPlan:
    views = (
        f"{query};\n" if query.startswith("DECLARE") else f"CREATE VIEW v{i} AS {query};\n"
        for i, query in enumerate(queries)
    )
    plan = compile_program(TABLES + "".join(views))
    return replace(plan, expiries=find_expiries(plan, lag=0))


Rows = list[tuple[tuple[Any, ...], int]]
#: table, key, how far the row is from where its time is by now, x, whether it is a deletion
changes = st.tuples(
    st.sampled_from("aabbunh"), st.integers(0, 2), st.integers(-7, 2) | st.none(),
    st.integers(0, 3), st.booleans(),
)  # fmt: skip


def history(steps: list[list[tuple[str, int, int | None, int, bool]]]) -> list[dict[str, Rows]]:
    """Time passes by 1 a step; deletions are of rows that are there."""
    made: list[dict[str, Rows]] = []
    there: dict[str, list[tuple[Any, ...]]] = {"a": [], "b": [], "u": [], "n": [], "h": []}
    for now, step in enumerate(steps):
        batch: dict[str, Rows] = {}
        for table, k, off, x, deletes in step:
            t = None if off is None and table != "n" else now + (off or 0)
            row: tuple[Any, ...] = (k, t, x)
            if table == "h":
                row = (k, None if t is None else dt.datetime(2024, 1, 1) + dt.timedelta(seconds=t))
            sign = 1
            if deletes and there[table]:
                row, sign = there[table].pop((k + x) % len(there[table])), -1
            else:
                there[table].append(row)
            batch.setdefault(table, []).append((row, sign))
        made.append(batch)
    return made


def outputs(circuit: Circuit, plan: ProgramPlan, batch: dict[str, Rows]) -> dict[str, Any]:
    schemas = {t.name: t.schema for t in plan.tables}
    fed = {name: [as_input(schemas[name], rows)] for name, rows in batch.items()}
    changes = circuit.step(fed)
    return {v.name: {str(r): w for r, w in batch_to_rows(changes[v.name])} for v in plan.views}


@pytest.mark.parametrize("queries", PROGRAMS.values(), ids=PROGRAMS)
@given(steps=st.lists(st.lists(changes, max_size=6), min_size=6, max_size=14))
@settings(
    max_examples=examples(6), deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_what_is_forgotten_does_not_show(
    queries: Mapping[str, str],
    steps: list[list[Any]],
    eager: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    plan = plan_of(queries.values())
    assert plan.expiries
    keeping, forgetting = compile_circuit(replace(plan, expiries=())), compile_circuit(plan)
    store: StateStore | None = None
    for i, batch in enumerate(history(steps)):
        if i == 5:
            store = StateStore(tmp_path_factory.mktemp("state"), Unsynced())
            saved = json.loads(json.dumps(forgetting.capture().write(store)))
            forgetting = compile_circuit(plan)
            forgetting.restore(store, saved)
        assert outputs(forgetting, plan, batch) == outputs(keeping, plan, batch), f"step {i}"


@pytest.mark.parametrize("call", ["ARRAY_AGG(x)", "MIN(x)", "MODE(x)", "COUNT(DISTINCT x)"])
def test_a_group_does_not_inherit_the_rows_of_one_that_is_over(call: str, eager: None) -> None:
    """The last group that was given a number is empty when those before it are over."""
    plan = plan_of([f"SELECT t, {call} AS v FROM a GROUP BY t"])
    forgetting, keeping = compile_circuit(plan), compile_circuit(replace(plan, expiries=()))
    came: list[Rows] = [[((2, -7, 2), 1)], [((1, 0, 0), 1), ((1, 0, 0), -1)], [], [((1, 5, 3), 1)]]
    for rows in came:
        batch = {"a": rows}
        assert outputs(forgetting, plan, batch) == outputs(keeping, plan, batch)


@pytest.mark.parametrize("queries", PROGRAMS.values(), ids=PROGRAMS)
def test_state_of_a_stream_without_end_has_one(queries: Mapping[str, str], eager: None) -> None:
    plan = plan_of(queries.values())
    circuit, keeping = compile_circuit(plan), compile_circuit(replace(plan, expiries=()))
    rng = np.random.default_rng(7)
    sizes, kept = [], []
    for now in range(32):
        step = [
            (table, int(k), -int(ago), int(x), False)
            for table in "abnh"
            for k, ago, x in rng.integers(0, (3, 3, 4), (6, 3))
        ]
        batch = history([*[[]] * now, step])[-1]
        batch["u"] = [((k, now, 1), 1) for k in range(3)]
        assert outputs(circuit, plan, batch) == outputs(keeping, plan, batch)
        sizes.append(state_rows(circuit))
        kept.append(state_rows(keeping))
    assert sum(kept[-1]) > 1.5 * sum(kept[16]), "the state would not grow anyway"
    if queries not in (SHARED, OF_ONE_SIDE):
        early, late = (np.max(s, axis=0) for s in (sizes[8:18], sizes[18:]))
        assert (late <= 1.5 * early + 12).all(), f"rows by node, once and later: {early} {late}"


def test_sessions_that_grow_meet_and_are_split_near_the_line(eager: None) -> None:
    plan = plan_of(OF_SESSIONS.values())
    circuit, keeping = compile_circuit(plan), compile_circuit(replace(plan, expiries=()))
    rng = np.random.default_rng(11)
    start = dt.datetime(2024, 1, 1)
    there: list[tuple[int, int]] = []
    for now in range(16):
        near = [i for i, (_, t) in enumerate(there) if t > now - 4]
        gone = [there.pop(i) for i in sorted(near, reverse=True) if rng.integers(3) == 0]
        come = [(int(k), now - int(ago)) for k, ago in rng.integers(0, (60, 6), (40, 2))]
        there += come
        rows = [(row, sign) for rows, sign in ((gone, -1), (come, 1)) for row in rows]
        batch = {"h": [((k, start + dt.timedelta(seconds=t)), sign) for (k, t), sign in rows]}
        assert outputs(circuit, plan, batch) == outputs(keeping, plan, batch), f"step {now}"


def test_sessions_of_keys_that_come_and_go_leave_nothing_behind(eager: None) -> None:
    plan = plan_of(OF_SESSIONS.values())
    circuit, keeping = compile_circuit(plan), compile_circuit(replace(plan, expiries=()))
    sizes = []
    for now in range(24):
        key = now // 2 * 9  # each comes with two times, and never again
        step = [("h", key + i % 9, 0, 0, False) for i in range(18)]
        batch = history([*[[]] * now, step])[-1]
        assert outputs(circuit, plan, batch) == outputs(keeping, plan, batch)
        sizes.append(state_rows(circuit))
    assert (np.array(sizes[-1]) <= np.array(sizes[15])).all(), f"{sizes[15]} {sizes[-1]}"


def state_rows(circuit: Circuit) -> list[int]:
    """What each operator of the views keeps, apart from the tables' own rows."""
    nodes = [n for n in circuit.nodes if not n.name.startswith(("source", "sink"))]
    for part in (p for n in nodes for p in n.parts().values()):
        if isinstance(part, Spine):
            part.flush()
    return [n.state_rows() for n in nodes]


@pytest.mark.parametrize("query", KEEPS)
def test_a_group_or_row_that_may_be_asked_for_stays(query: str) -> None:
    assert not plan_of([query]).expiries


def test_who_had_a_partner_that_is_over_is_known_to_have_had_one() -> None:
    plan = plan_of([
        "SELECT k, t FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE b.k = a.k AND b.t > a.t "
        "AND b.t < a.t + a.x)"
    ])  # fmt: skip
    circuit, n = compile_circuit(plan), 500
    for t in range(0, 200, 2):
        keys = range(t * n, (t + 2) * n)
        came = {"a": [((k, t, 900), 1) for k in keys], "b": [((k, t + 1, 0), 1) for k in keys]}
        assert outputs(circuit, plan, came) == {"v0": {}}  # type: ignore[arg-type]

    again: dict[str, Rows] = {"b": [((k, 205, 0), 1) for k in range(20 * n)]}
    assert outputs(circuit, plan, again) == {"v0": {}}


def test_without_lateness_nothing_may_be_forgotten() -> None:
    plan = compile_program(
        "CREATE TABLE t (n INT); CREATE VIEW v AS SELECT n, COUNT(*) AS c FROM t GROUP BY n"
    )
    assert not plan.expiries
