"""For random programs and histories: the sum of every view's deltas is DuckDB's answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.compile.program import compile_circuit
from penstock.data import hash as hashing
from penstock.data import parallel
from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.plan.nodes import ProgramPlan
from penstock.sql.passes import PASSES, Pass, optimise
from penstock.sql.program import bind_program, compile_program
from tests.examples import examples
from tests.property.programs import History, Program, answers, histories, plain, programs

CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large]


def run(plan: ProgramPlan, history: History) -> dict[str, Counter[Any]]:
    """The sum of the deltas of every view, and a check of the snapshots on the way."""
    circuit = compile_circuit(plan)
    totals: dict[str, Counter[Any]] = {v.name: Counter() for v in plan.views}
    take(circuit.step({}), totals)
    schemas = {t.name: t.schema for t in plan.tables}
    for step in history.steps:
        inputs: dict[str, list[InputBatch]] = {}
        for table in ("a", "b"):
            events = [(row, is_insert) for t, row, is_insert in step if t == table]
            if events:
                batch = batch_from_rows(schemas[table], [row for row, _ in events])
                ops = np.array([INSERT if i else DELETE for _, i in events], np.uint8)
                inputs[table] = [InputBatch(batch.schema, batch.columns, ops)]
        take(circuit.step(inputs), totals)
    for name, total in totals.items():
        snapshot: Counter[Any] = Counter()
        for row, weight in batch_to_rows(circuit.snapshot(name).batch()):
            snapshot[plain(row)] += weight
        assert snapshot == total
    return totals


def take(deltas: Any, totals: dict[str, Counter[Any]]) -> None:
    for name, total in totals.items():
        for row, weight in batch_to_rows(deltas[name]):
            total[plain(row)] += weight
            if total[plain(row)] == 0:
                del total[plain(row)]


@given(program=programs(), history=histories())
@settings(max_examples=examples(120), deadline=None, suppress_health_check=CHECKS)
def test_views_equal_duckdb_after_any_history(program: Program, history: History) -> None:
    assert run(compile_program(program.text), history) == answers(program, history)


@given(program=programs(), history=histories())
@settings(max_examples=examples(60), deadline=None, suppress_health_check=CHECKS)
def test_many_small_steps_are_one_big_step(program: Program, history: History) -> None:
    plan = compile_program(program.text)
    together = History([[event for step in history.steps for event in step]])
    single = History([[event] for step in history.steps for event in step])

    assert run(plan, single) == run(plan, together)


@given(program=programs(), history=histories())
@settings(max_examples=examples(30), deadline=None, suppress_health_check=CHECKS)
def test_the_number_of_threads_cannot_be_seen(program: Program, history: History) -> None:
    plan = compile_program(program.text)
    alone = run(plan, history)
    least = parallel.LEAST_ROWS
    parallel.LEAST_ROWS = 1
    try:
        for threads in (2, 3):
            parallel.use_threads(threads)
            assert run(plan, history) == alone
    finally:
        parallel.LEAST_ROWS = least
        parallel.use_threads(1)


@given(program=programs(), history=histories())
@settings(max_examples=examples(40), deadline=None, suppress_health_check=CHECKS)
def test_colliding_hashes_cost_time_and_nothing_else(program: Program, history: History) -> None:
    hashing._test_mask = 0b111
    try:
        assert run(compile_program(program.text), history) == answers(program, history)
    finally:
        hashing._test_mask = hashing.ALL_BITS


@given(program=programs(), history=histories(), last=st.sampled_from([None, *PASSES]))
@settings(max_examples=examples(40), deadline=None, suppress_health_check=CHECKS)
def test_no_pass_changes_an_answer(program: Program, history: History, last: Pass | None) -> None:
    bound = bind_program(program.text)

    assert run(optimise(bound, last), history) == run(bound, history)


@pytest.mark.slow
@given(program=programs(), history=histories())
@settings(max_examples=3000, deadline=None, suppress_health_check=CHECKS)
def test_views_equal_duckdb_at_length(program: Program, history: History) -> None:
    assert run(compile_program(program.text), history) == answers(program, history)
