"""Sessions equal their definition after any history, and cost what a change touches."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock.data.hash as hashing
from penstock.circuit import Circuit
from penstock.circuit.ops import session, session_totals
from penstock.circuit.ordering import RowOrder
from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.data.types import INTEGER, TIMESTAMP, VARCHAR, Field, Schema, schema
from penstock.errors import RuntimeSqlError
from penstock.sql.program import compile_program
from penstock.state.storage import StateStore
from tests.examples import examples
from tests.oracle.drive import Unsynced, as_input, as_one_step, run, table
from tests.oracle.relational import Bag

ROWS = schema(k=INTEGER, t=TIMESTAMP, v=VARCHAR)
_TIME = TIMESTAMP.with_nullable(False)
OUT = Schema((*ROWS.fields, Field("start", _TIME), Field("end", _TIME)))
LONG = "a string that does not fit a view "
EPOCH = dt.datetime(1970, 1, 1)


def at(micros: int) -> dt.datetime:
    return EPOCH + dt.timedelta(microseconds=micros)


def micros(row: Any) -> Any:
    return row[0], (row[1] - EPOCH) // dt.timedelta(microseconds=1), row[2]


def oracle(rows: Bag, partition: tuple[int, ...], gap: int) -> Bag:
    """From the definition: the times of each key in order, split where a gap is."""
    out: Bag = Counter()

    def key(row: Any) -> Any:
        return [(row[p] is not None, row[p]) for p in partition]

    there = sorted((micros(r) for r, w in rows.items() if w > 0), key=lambda r: (str(key(r)), r[1]))
    for _, mine in groupby(there, key):
        found: list[list[Any]] = []
        for row in mine:
            if not found or row[1] - found[-1][-1][1] >= gap:
                found.append([])
            found[-1].append(row)
        for one in found:
            for row in one:
                weight = rows[(row[0], at(row[1]), row[2])]
                out[(*row, one[0][1], one[-1][1] + gap)] += weight
    return out


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, list[Any]]]:
    """Rows come and go, some go before they come; in the end none is owed."""
    span = draw(st.sampled_from([1, 6, 16, 40]))
    row = st.tuples(
        st.sampled_from([1, 1, 2, None]), st.integers(0, span).map(at),
        st.sampled_from(["a", LONG + "1", None]),
    )  # fmt: skip
    pool = draw(st.lists(row, min_size=1, max_size=30))
    weights = st.sampled_from([1, 1, 1, 2, -1, -1, -2])
    delta = st.lists(st.tuples(st.sampled_from(pool), weights), max_size=12)
    steps = draw(st.lists(st.fixed_dictionaries({"t": delta}), min_size=1, max_size=5))
    return [*steps, {"t": [(row, -w) for row, w in table(steps, "t").items() if w < 0]}]


@pytest.fixture(params=[hashing.ALL_BITS, 0b1], ids=["true", "colliding"], autouse=True)
def _hashes(request: pytest.FixtureRequest) -> Any:
    before, hashing._test_mask = hashing._test_mask, request.param
    yield
    hashing._test_mask = before


@given(
    history=histories(),
    gap=st.sampled_from([1, 2, 3, 5]),
    partition=st.sampled_from([(0,), (), (0, 2), (1,)]),
)
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)  # fmt: skip
def test_sessions_are_what_they_are_defined_to_be(
    history: Any, gap: int, partition: tuple[int, ...]
) -> None:
    def build(c: Circuit, streams: Any) -> Any:
        return c.session(streams["t"], partition, 1, gap, OUT)

    expected = oracle(table(history, "t"), partition, gap)
    assert run({"t": ROWS}, build, history)[0] == expected
    assert run({"t": ROWS}, build, as_one_step(history))[0] == expected


TOTALS = """
CREATE TABLE t (k INT, t TIMESTAMP NOT NULL, x BIGINT, d DOUBLE, s VARCHAR);
CREATE VIEW v AS SELECT k, window_start, window_end, COUNT(*) AS n, COUNT(x) AS c, SUM(x + 1) AS x,
    AVG(d) AS d, SUM(d) AS e, MIN(s) AS least, MAX(s) AS most, MAX(t) AS last, MIN(x + 1) AS y,
    COUNT(*) FILTER (WHERE x > 0) AS f, SUM(x) FILTER (WHERE s IS NOT NULL) AS g,
    MAX(s) FILTER (WHERE d > 0) AS h
    FROM TABLE(SESSION(TABLE t, DESCRIPTOR(t), DESCRIPTOR(k), INTERVAL 3 SECONDS))
    GROUP BY k, window_start, window_end;
CREATE VIEW w AS SELECT window_end, SUM(x) AS x, MAX(d) AS d
    FROM TABLE(SESSION((SELECT * FROM t WHERE k IS NOT NULL), DESCRIPTOR(t), DESCRIPTOR(t),
                       INTERVAL 3 SECONDS))
    GROUP BY t, window_end;
CREATE VIEW plain AS SELECT k, window_start, window_end, COUNT(*) AS n, COUNT(x) AS c,
    SUM(x + 1) AS x, AVG(d) AS d, SUM(d) AS e, MIN(s) AS least, MAX(s) AS most, MAX(t) AS last,
    MIN(x + 1) AS y, COUNT(*) FILTER (WHERE x > 0) AS f, SUM(x) FILTER (WHERE s IS NOT NULL) AS g,
    MAX(s) FILTER (WHERE d > 0) AS h FROM (SELECT DISTINCT * FROM (SELECT *, ROW_NUMBER() OVER (
        PARTITION BY k, t, x, d, s ORDER BY t) AS copy FROM TABLE(SESSION(TABLE t, DESCRIPTOR(t),
        DESCRIPTOR(k), INTERVAL 3 SECONDS))) r) q
    GROUP BY k, window_start, window_end;
"""


@st.composite
def rows_with_values(draw: st.DrawFn) -> list[list[tuple[Any, int]]]:
    """Steps of rows that come, or go, in part before they come."""
    span = draw(st.sampled_from([1, 6, 20, 60]))
    row = st.tuples(
        st.sampled_from([1, 1, 2, None]), st.integers(0, span).map(lambda s: at(s * 1_000_000)),
        st.sampled_from([None, 0, 7, -(2**40)]), st.sampled_from([None, 0.1, 1e300, -2.5]),
        st.sampled_from([None, "a", "b", LONG + "1", LONG + "2"]),
    )  # fmt: skip
    pool = draw(st.lists(row, min_size=1, max_size=30))
    change = st.tuples(st.sampled_from(pool), st.sampled_from([1, 1, 1, 2, -1, -1, -2]))
    return draw(st.lists(st.lists(change, max_size=12), min_size=1, max_size=6))


@given(history=rows_with_values())
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)  # fmt: skip
def test_what_sessions_come_to_is_what_their_rows_come_to(history: Any, tmp_path: Path) -> None:
    plan = compile_program(TOTALS)
    circuit = compile_circuit(plan)
    kinds = Counter(type(n).__name__ for n in circuit.nodes)
    assert (kinds["Session"], kinds["SessionTotals"]) == (1, 2)
    rows = plan.tables[0].schema
    store = StateStore(tmp_path, Unsynced())
    shown: dict[str, Bag] = {name: Counter() for name in ("v", "w", "plain")}
    owed: Bag = Counter()
    for i, delta in enumerate(history):
        changes = circuit.step({"t": [as_input(rows, delta)]})
        for name, bag in shown.items():
            for row, weight in batch_to_rows(changes[name]):
                bag[row] += weight
        for row, weight in delta:
            owed[row] += weight
        if all(w >= 0 for w in owed.values()):
            assert +shown["v"] == +shown["plain"] and not -shown["v"]
            assert not -shown["w"]
        if i == len(history) // 2:
            saved = json.loads(json.dumps(circuit.capture().write(store)))
            circuit = compile_circuit(plan)
            circuit.restore(store, saved)


def test_a_session_that_goes_on_costs_what_comes_and_not_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[int] = []
    between = session.between

    def counting(*args: Any) -> Any:
        found = between(*args)
        read.append(len(found[1]))
        return found

    for room in (session, session_totals):
        monkeypatch.setattr(room, "between", counting)
    plan = compile_program(TOTALS.split("CREATE VIEW w")[0])
    rows, circuit = plan.tables[0].schema, compile_circuit(plan)

    def step(*found: tuple[int, int]) -> list[Any]:
        read.clear()
        delta = [((1, at(s * 1_000_000), s, 0.5, "a"), weight) for s, weight in found]
        return batch_to_rows(circuit.step({"t": [as_input(rows, delta)]})["v"])

    step(*((s, 1) for s in range(2000)))
    for found in (((2000, 1),), ((1000, -1),), ((999, -1), (1001, -1)), ((1000, 1),)):
        assert 2 <= len(step(*found)) <= 3 and sum(read) < 20


@pytest.mark.parametrize("query", ["id, window_start", "COUNT(*) AS n, MAX(id) AS most"])
def test_a_change_among_many_rows_of_its_time_reads_none_of_them(
    query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_session = "" if "id," in query else "GROUP BY k, window_start, window_end"
    plan = compile_program(f"""
        CREATE TABLE t (id BIGINT NOT NULL, k INT, ts TIMESTAMP NOT NULL);
        CREATE VIEW v AS SELECT {query} FROM TABLE(SESSION(TABLE t, DESCRIPTOR(ts), DESCRIPTOR(k),
            INTERVAL 3 SECONDS)) {by_session};
    """)
    circuit, rows = compile_circuit(plan), plan.tables[0].schema

    def step(*found: tuple[int, int, int]) -> Bag:
        delta = [((i, 1, at(second * 1_000_000)), weight) for i, second, weight in found]
        changes = batch_to_rows(circuit.step({"t": [as_input(rows, delta)]})["v"])
        return Counter(dict(changes))

    step(*((i, 2 * (i % 2), 1) for i in range(4000)), (4000, 1, 1))
    read: list[int] = []
    between, settled = session.between, RowOrder.settled

    def counting(*args: Any) -> Any:
        found = between(*args)
        read.append(len(found[1]))
        return found

    def sorting(self: Any, places: Any, found: Any) -> Any:
        read.append(len(found))
        return settled(self, places, found)

    monkeypatch.setattr(session, "between", counting)
    monkeypatch.setattr(RowOrder, "settled", sorting)
    # within times that others have, and the only one of its time
    found = step((4001, 0, 1), (1000, 0, -1), (4002, 2, 1), (4000, 1, -1))

    if by_session:
        assert found == {(4001, 4000): -1, (4001, 4002): 1}
    else:
        assert found == {
            (4001, 0): 1, (1000, 0): -1, (4002, 0): 1, (4000, 0): -1
        }  # fmt: skip
    # by its hash, unless all rows have the same
    assert 0 < sum(read) < 60 or hashing._test_mask != hashing.ALL_BITS


def test_a_total_of_a_session_that_does_not_fit_says_whose() -> None:
    plan = compile_program(TOTALS.split("CREATE VIEW w")[0])
    rows, circuit = plan.tables[0].schema, compile_circuit(plan)
    large = [((1, at(0), 2**62, None, str(i)), 1) for i in range(3)]
    with pytest.raises(RuntimeSqlError, match="SUM overflows: a group's total does not fit BIGINT"):
        circuit.step({"t": [as_input(rows, large)]})


def test_a_change_within_a_session_reads_none_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    between = session.between

    def counting(*args: Any) -> Any:
        at, rows = between(*args)
        read.append(len(rows))
        return at, rows

    monkeypatch.setattr(session, "between", counting)
    circuit = Circuit()
    circuit.sink("out", circuit.session(circuit.source("t", ROWS), (0,), 1, 10, OUT))
    circuit.step({"t": [as_input(ROWS, [((1, at(4 * i), "v"), 1) for i in range(400)])]})
    read.clear()

    inside = [((1, at(801), "new"), 1), ((1, at(400), "v"), -1)]
    change = circuit.step({"t": [as_input(ROWS, inside)]})["out"]

    assert sum(read) < 10
    assert sorted(w for _, w in batch_to_rows(change)) == [-1, 1]
