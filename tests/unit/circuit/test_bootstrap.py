"""State for a changed program: what is kept, computed, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.errors import Conflict, UserError
from penstock.plan.nodes import ProgramPlan
from penstock.sql.program import compile_program
from penstock.state.storage import StateStore
from tests.oracle.drive import as_input

T = "CREATE TABLE t (k INT NOT NULL, x INT) WITH ('materialized' = 'true');"
U = "CREATE TABLE u (k INT NOT NULL, x INT);"
COUNTS = "CREATE VIEW counts AS SELECT k, COUNT(*) AS n FROM t GROUP BY k;"
PLAIN = "CREATE VIEW doubled AS SELECT x * 2 AS x FROM u;"


def started(text: str) -> tuple[ProgramPlan, Circuit]:
    plan = compile_program(text)
    return plan, compile_circuit(plan)


def feed(plan: ProgramPlan, circuit: Circuit, **rows: Any) -> Any:
    schemas = {t.name: t.schema for t in plan.tables}
    changes = circuit.step({n: [as_input(schemas[n], r)] for n, r in rows.items()})
    return {n: dict(batch_to_rows(b)) for n, b in changes.items() if len(b)}


def saved_by(text: str, store: StateStore, **rows: Any) -> Any:
    plan, circuit = started(text)
    feed(plan, circuit, **rows)
    return circuit.capture().write(store)


def test_an_unchanged_view_emits_nothing_and_a_new_one_its_contents(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    saved = saved_by(T + COUNTS, store, t=[((1, 5), 2), ((2, 6), 1)])
    more = "CREATE VIEW big AS SELECT k FROM counts WHERE n > 1;"
    plan, circuit = started(T + COUNTS + more)

    assert circuit.difference(saved).changed == ("big",)
    emitted = circuit.bootstrap(store, saved)
    assert {n: dict(batch_to_rows(b)) for n, b in emitted.items()} == {"big": {(1,): 1}}
    assert feed(plan, circuit, t=[((2, 0), 1)]) == {
        "t": {(2, 0): 1}, "counts": {(2, 1): -1, (2, 2): 1}, "big": {(2,): 1},
    }  # fmt: skip


def test_a_renamed_view_is_new_and_shares_its_state_with_the_old_name(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    saved = saved_by(T + COUNTS, store, t=[((1, 5), 1)])
    _, circuit = started(T + COUNTS.replace("counts", "tallies"))
    difference = circuit.difference(saved)

    assert difference.missing == ("sink tallies",)
    assert dict(batch_to_rows(circuit.bootstrap(store, saved)["tallies"])) == {(1, 1): 1}


def test_a_table_whose_contents_are_not_kept_is_named(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    saved = saved_by(T + U + COUNTS, store, t=[((1, 5), 1)], u=[((1, 5), 1)])
    _, circuit = started(T + U + COUNTS + PLAIN)

    assert circuit.difference(saved).unknown == ("u",)
    with pytest.raises(UserError, match="contents of u are not kept") as e:
        circuit.bootstrap(store, saved)
    assert e.value.code == "BootstrapNotAllowed"


def test_a_table_that_never_had_a_row_needs_no_contents(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    saved = saved_by(T + U + COUNTS, store, t=[((1, 5), 1)])
    plan, circuit = started(T + U + COUNTS + PLAIN)

    assert len(circuit.bootstrap(store, saved)["doubled"]) == 0
    assert feed(plan, circuit, u=[((1, 4), 1)])["doubled"] == {(8,): 1}


def test_a_table_with_other_columns_starts_empty(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    saved = saved_by(T + COUNTS, store, t=[((1, 5), 1)])
    _, circuit = started(T.replace("x INT", "x BIGINT") + COUNTS)
    emitted = circuit.bootstrap(store, saved)

    assert {n: len(b) for n, b in emitted.items()} == {"t": 0, "counts": 0}


def test_state_of_another_version_is_refused(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    saved = saved_by(T, store)
    _, circuit = started(T)

    with pytest.raises(Conflict, match=r"version 1, .*clear the pipeline's storage, or ") as told:
        circuit.bootstrap(store, {**saved, "version": 1})
    assert told.value.code == "StateVersion"


EDGES = "CREATE TABLE edge (s INT NOT NULL, t INT NOT NULL) WITH ('materialized' = 'true');"
PATHS = """
DECLARE RECURSIVE VIEW path (s INT NOT NULL, t INT NOT NULL);
CREATE LOCAL VIEW longer AS SELECT p.s, e.t FROM path p JOIN edge e ON p.t = e.s;
CREATE MATERIALIZED VIEW path AS SELECT s, t FROM edge UNION ALL SELECT s, t FROM longer;
"""
ENDS = "CREATE MATERIALIZED VIEW ends AS SELECT s, MAX(t) AS far FROM path GROUP BY s;"


def test_rows_whose_presence_alone_counts_are_not_kept_until_a_new_view_pairs_them(
    tmp_path: Path,
) -> None:
    missing = T + U.replace(");", ") WITH ('materialized' = 'true');")
    missing += (
        "CREATE VIEW v AS SELECT k FROM t WHERE NOT EXISTS (SELECT * FROM u WHERE u.k = t.k);"
    )
    pairs = "CREATE VIEW w AS SELECT a.k, b.x FROM u a JOIN (SELECT k, x FROM t) b ON a.k = b.k;"
    store = StateStore(tmp_path)
    saved = saved_by(missing, store, t=[((1, 5), 1), ((2, 5), 1)], u=[((1, 7), 4)])
    kept = [n["parts"].keys() for n in saved["nodes"].values() if n["name"].startswith("arrange")]
    assert sorted(map(sorted, kept)) == [["counts", "keys"], ["rows"]]

    plan, circuit = started(missing + pairs)
    emitted = circuit.bootstrap(store, saved)
    assert {n: dict(batch_to_rows(b)) for n, b in emitted.items()} == {"w": {(1, 5): 4}}
    assert feed(plan, circuit, u=[((1, 7), -4), ((2, 7), 1)]) == {
        "u": {(1, 7): -4, (2, 7): 1}, "v": {(1,): 1, (2,): -1}, "w": {(1, 5): -4, (2, 5): 1},
    }  # fmt: skip


def test_a_recursive_view_keeps_its_state_below_a_new_view(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    saved = saved_by(EDGES + PATHS, store, edge=[((1, 2), 1), ((2, 3), 1), ((3, 1), 1)])
    plan, circuit = started(EDGES + PATHS + ENDS)
    steady = started(EDGES + PATHS + ENDS)
    feed(*steady, edge=[((1, 2), 1), ((2, 3), 1), ((3, 1), 1)])

    emitted = circuit.bootstrap(store, saved)
    assert {n: dict(batch_to_rows(b)) for n, b in emitted.items()} == {
        "ends": {(1, 3): 1, (2, 3): 1, (3, 3): 1}
    }
    for rows in ([((3, 1), -1)], [((3, 4), 1)], [((1, 2), -1), ((4, 1), 1)]):
        assert feed(plan, circuit, edge=rows) == feed(*steady, edge=rows)


def test_what_was_captured_does_not_move_on_with_the_circuit(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    text = "CREATE TABLE t (k INT NOT NULL LATENESS 10, x INT) WITH ('materialized' = 'true');"
    plan, circuit = started(text)
    feed(plan, circuit, t=[((20, 1), 1)])
    pinned = circuit.capture()
    feed(plan, circuit, t=[((50, 1), 1)])
    _, again = started(text)
    again.restore(store, pinned.write(store))

    changes = feed(plan, again, t=[((12, 1), 1), ((9, 1), 1)])
    assert changes["t"] == {(12, 1): 1}
    assert [(row[0], row[2]) for row in changes["error_view"]] == [("t", '{"k":9,"x":1}')]
