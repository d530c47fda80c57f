"""Runs in files answer as runs in memory do."""

from __future__ import annotations

import gc
import itertools
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import penstock.state.spill as spill_module
import penstock.state.spine as spine_module
import penstock.state.storage as storage
from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, Batch, Column, InputBatch
from penstock.data.build import batch_to_rows, column_from_python
from penstock.data.heap import MAX_HEAPS
from penstock.errors import StateCorrupt
from penstock.sql.program import compile_program
from penstock.state.backing import use_files, use_memory
from penstock.state.run import Run
from penstock.state.spill import Spill
from penstock.state.spine import Spine
from penstock.state.storage import StateStore, referenced_files
from tests.oracle.drive import Unsynced
from tests.property.programs import History, Program, histories, programs
from tests.property.test_saved_state import bags, contents, inputs_of


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run goes to a file, and merges take a few rows at a time, some in the background."""
    monkeypatch.setattr(spine_module, "BACKGROUND_ROWS", 4)
    monkeypatch.setattr(spill_module, "MIN_RUN_BYTES", 1)
    monkeypatch.setattr(spill_module, "PIECE_ROWS", 3)


@pytest.mark.usefixtures("_small")
@given(program=programs(), history=histories())
@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)
def test_a_program_whose_state_all_lives_in_files_computes_the_same(
    program: Program, history: History
) -> None:
    plan = compile_program(program.text)
    steady, spilled = compile_circuit(plan), compile_circuit(plan)
    with tempfile.TemporaryDirectory() as directory:
        store = StateStore(Path(directory), Unsynced())
        spilled.spill_to(store, 1)
        for step in [[], *history.steps]:
            expected = bags(steady.step(inputs_of(plan, step)))
            use_files(Path(directory), 1)
            try:
                assert bags(spilled.step(inputs_of(plan, step))) == expected
            finally:
                use_memory()
        assert contents(spilled, plan) == contents(steady, plan)
        again = compile_circuit(plan)
        again.restore(store, spilled.capture().write(store))
        assert contents(again, plan) == contents(steady, plan)


PROGRAM = """
CREATE TABLE t (k BIGINT NOT NULL, s VARCHAR) WITH ('materialized' = 'true');
CREATE VIEW pairs AS SELECT a.k, b.s FROM t a JOIN t b ON a.k = b.k + 1;
"""
TEXT = "a string that does not fit a view"


def filled(directory: Path, budget: int | None, rows: int = 60_000) -> tuple[Any, int, int]:
    """(the circuit, the most bytes of runs in memory after a step, bytes of runs in all)."""
    plan = compile_program(PROGRAM)
    circuit = compile_circuit(plan)
    if budget is not None:
        circuit.spill_to(StateStore(directory, Unsynced()), budget)
    most = feed(circuit, 0, rows)
    return circuit, most, sum(r.nbytes for r in runs_of(circuit))


def feed(circuit: Circuit, start: int, stop: int) -> int:
    """Rows of t; the most bytes of runs in memory after a step."""
    table = compile_program(PROGRAM).tables[0].schema
    texts = column_from_python(table.types[1], [TEXT + str(i) for i in range(1000)])
    most = 0
    for at in range(start, stop, 1000):
        keys = Column(table.types[0], np.arange(at, at + 1000))
        ops = np.full(1000, INSERT, np.uint8)
        circuit.step({"t": [InputBatch(table, (keys, texts), ops)]})
        most = max(most, sum(r.resident_bytes for r in runs_of(circuit)))
    return most


def runs_of(circuit: Any) -> list[Any]:
    parts = [p for node in circuit._nodes for p in node.parts().values()]
    return [r for p in parts if isinstance(p, Spine) for r in p.runs()]


def test_state_of_three_times_the_budget_keeps_to_it_and_is_right(tmp_path: Path) -> None:
    steady, resident, everything = filled(tmp_path, None)
    budget = everything // 3
    spilled, most, _ = filled(tmp_path, budget)

    assert resident >= everything * 0.9
    assert most <= 2 * budget
    rows = [Counter(dict(batch_to_rows(c.snapshot("t").batch()))) for c in (steady, spilled)]
    assert rows[0] == rows[1]


def test_runs_that_are_merged_are_waited_for_where_they_are_too_much(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay in memory until then, whoever is written meanwhile."""
    monkeypatch.setattr(spine_module, "BACKGROUND_ROWS", 1000)
    table, is_awaited = compile_program(PROGRAM).tables[0].schema, threading.Event()
    spine = Spine(table, (0,))
    texts = column_from_python(table.types[1], [TEXT] * 3000)

    def delta(start: int) -> Batch:
        keys = Column(table.types[0], np.arange(start, start + 3000))
        return Batch(table, (keys, texts), np.ones(3000, np.int64))

    spine.insert(delta(0))
    budget = spine.runs()[0].nbytes // 2
    spill = Spill(StateStore(tmp_path, Unsynced()), budget, [spine])
    merge, await_merge = spill.merge, spine.await_merge

    def merge_when_awaited(spine: Spine, lower: Run, upper: Run) -> Run | None:
        assert is_awaited.wait(60)
        return merge(spine, lower, upper)

    def note_and_await() -> None:
        is_awaited.set()
        await_merge()

    spine.merge_large = merge_when_awaited
    monkeypatch.setattr(spine, "await_merge", note_and_await)
    spine.insert(delta(3000))
    assert len(spine.merging_runs()) == 2
    spill.tend()
    is_kept, is_noticed = spill.resident_bytes() <= 2 * budget, is_awaited.is_set()
    is_awaited.set()
    assert is_kept and is_noticed
    assert sorted(spine.contents().columns[0].values.tolist()) == list(range(6000))


def test_the_strings_of_many_pieces_are_told_apart_whatever_ids_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = itertools.count()
    # each id comes twice, the second time for the next piece
    monkeypatch.setattr(storage, "new_file_id", lambda: MAX_HEAPS + next(drawn) // 2)
    monkeypatch.setattr(spill_module, "PIECE_ROWS", 500)
    circuit, _, _ = filled(tmp_path, 1 << 16, 4000)
    rows = Counter(dict(batch_to_rows(circuit.snapshot("t").batch())))
    assert rows == Counter({(k, TEXT + str(k % 1000)): 1 for k in range(4000)})


def test_a_removed_file_is_used_as_long_as_it_is_mapped_and_written_again(tmp_path: Path) -> None:
    circuit, _, _ = filled(tmp_path, 1 << 16, 8000)
    store = StateStore(tmp_path)
    before = Counter(dict(batch_to_rows(circuit.snapshot("t").batch())))
    store.remove(store.files())
    saved = circuit.capture().write(store)
    again = compile_circuit(compile_program(PROGRAM))
    again.restore(store, saved)

    assert Counter(dict(batch_to_rows(again.snapshot("t").batch()))) == before
    store.remove(store.files())
    with pytest.raises(StateCorrupt):
        compile_circuit(compile_program(PROGRAM)).restore(store, saved)


def test_files_that_no_checkpoint_names_go_with_their_last_run(tmp_path: Path) -> None:
    circuit, _, _ = filled(tmp_path, 1 << 16, 4000)
    store = StateStore(tmp_path)
    saved = circuit.capture().write(store)
    before = Counter(dict(batch_to_rows(circuit.snapshot("t").batch())))
    pinned = circuit.snapshot("t")
    feed(circuit, 4000, 12_000)
    gc.collect()
    feed(circuit, 12_000, 13_000)
    used = {r.written.file for r in runs_of(circuit)} | referenced_files(saved)

    # one more may be under way
    assert len(store.files() - used) <= 4
    assert Counter(dict(batch_to_rows(pinned.batch()))) == before
    again = compile_circuit(compile_program(PROGRAM))
    again.restore(store, saved)
    assert Counter(dict(batch_to_rows(again.snapshot("t").batch()))) == before
