"""A circuit that is stopped and started anywhere continues as if nothing had happened."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock.circuit.dense as dense
from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.plan.nodes import ProgramPlan
from penstock.sql.program import compile_program
from penstock.state.storage import StateStore
from tests.examples import examples
from tests.oracle.drive import Unsynced
from tests.property.programs import History, Program, edited, histories, plain, programs

quick = settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
#: what to do after each step
deeds = st.lists(st.sampled_from(["go on", "save", "save and restart"]), min_size=8, max_size=8)


def inputs_of(plan: ProgramPlan, step: list[tuple[str, Any, bool]]) -> dict[str, list[InputBatch]]:
    inputs: dict[str, list[InputBatch]] = {}
    for table in plan.tables:
        events = [(row, is_insert) for t, row, is_insert in step if t == table.name]
        if events:
            batch = batch_from_rows(table.schema, [row for row, _ in events])
            ops = np.array([INSERT if i else DELETE for _, i in events], np.uint8)
            inputs[table.name] = [InputBatch(batch.schema, batch.columns, ops)]
    return inputs


def bags(deltas: Any) -> dict[str, Counter[Any]]:
    return {n: Counter({plain(r): w for r, w in batch_to_rows(d)}) for n, d in deltas.items()}


def contents(circuit: Circuit, plan: ProgramPlan) -> dict[str, Counter[Any]]:
    return bags({v.name: circuit.snapshot(v.name).batch() for v in plan.views})


def check_restarts(program: Program, history: History, deeds: list[str]) -> None:
    plan = compile_program(program.text)
    steady, other = compile_circuit(plan), compile_circuit(plan)
    with tempfile.TemporaryDirectory() as directory:
        store = StateStore(Path(directory), Unsynced())
        for step, deed in zip([[], *history.steps], deeds, strict=False):
            expected = bags(steady.step(inputs_of(plan, step)))
            assert bags(other.step(inputs_of(plan, step))) == expected
            if deed != "go on":
                saved = json.loads(json.dumps(other.capture().write(store)))
            if deed == "save and restart":
                other = compile_circuit(plan)
                other.restore(store, saved)
    assert contents(other, plan) == contents(steady, plan)
    assert other.steps == steady.steps


@given(program=programs(), history=histories(), deeds=deeds)
@quick
def test_a_restart_between_any_two_steps_does_not_show(
    program: Program, history: History, deeds: list[str]
) -> None:
    check_restarts(program, history, deeds)


@pytest.mark.slow
@given(program=programs(), history=histories(), deeds=deeds)
@settings(quick, max_examples=1500)
def test_a_restart_does_not_show_at_length(
    program: Program, history: History, deeds: list[str]
) -> None:
    check_restarts(program, history, deeds)


def check_edit(program: Program, changed: Program, before: History, after: History) -> None:
    first, second = compile_program(program.text), compile_program(changed.text)
    kept = {v.name for v in first.views} & {v.name for v in second.views}
    old, steady, new = (compile_circuit(p, ("b",)) for p in (first, second, second))
    with tempfile.TemporaryDirectory() as directory:
        store = StateStore(Path(directory), Unsynced())
        for step in [[], *before.steps]:
            old.step(inputs_of(first, step))
            steady.step(inputs_of(second, step))
        emitted = new.bootstrap(store, old.capture().write(store))
        assert set(emitted) == {v.name for v in second.views} - kept
        everything = contents(steady, second)
        assert bags(emitted) == {n: everything[n] for n in emitted}
        assert contents(new, second) == everything
        for step in after.steps:
            expected = bags(steady.step(inputs_of(second, step)))
            assert bags(new.step(inputs_of(second, step))) == expected
        # and what it saves is whole
        again = compile_circuit(second, ("b",))
        again.restore(store, new.capture().write(store))
        assert contents(again, second) == contents(steady, second)


pairs = programs().flatmap(lambda p: st.tuples(st.just(p), edited(p)))


@given(pair=pairs, before=histories(), after=histories())
@settings(quick, max_examples=examples(25))
def test_an_edited_program_goes_on_as_if_it_had_run_from_the_start(
    pair: tuple[Program, Program], before: History, after: History
) -> None:
    check_edit(*pair, before, after)


@pytest.mark.slow
@given(pair=pairs, before=histories(), after=histories())
@settings(quick, max_examples=1500)
def test_an_edited_program_goes_on_at_length(
    pair: tuple[Program, Program], before: History, after: History
) -> None:
    check_edit(*pair, before, after)


@given(program=programs())
@settings(quick, max_examples=20)
def test_fingerprints_are_the_same_for_the_same_program(program: Program) -> None:
    first = compile_circuit(compile_program(program.text)).fingerprints
    again = compile_circuit(compile_program(program.text)).fingerprints

    assert first == again
    assert len(set(first.values())) == len(first)


@pytest.fixture(autouse=True)
def _swept_at_every_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense.Sweep.__init__, "__defaults__", (1,))
