"""Each query's memory is its own, not that of the largest one before."""

from __future__ import annotations

import sys
import weakref

import numpy as np
import pytest

from bench import nexmark
from bench.feed import settle
from bench.memory import Peak, let_go
from bench.nexmark_events import tables
from bench.step_cost import CASES
from penstock.compile.program import compile_circuit
from penstock.sql.program import compile_program

MIB = 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_a_peak_is_what_was_held_since_it_was_asked_for() -> None:
    def peak_of(mib: int) -> float:
        peak = Peak()
        assert peak.is_own
        held = np.ones(mib * MIB, np.uint8)
        assert held[-1]
        return peak.mib()

    large = peak_of(400)
    let_go()
    assert large - peak_of(100) > 200


def test_a_circuit_that_nobody_uses_is_gone() -> None:
    plan = compile_program(nexmark._only("q18"))
    step = nexmark.input_batches(plan, tables(100), np.array([0, 100]))[0]
    circuit = compile_circuit(plan)
    circuit.step(step)
    node = weakref.ref(circuit.nodes[0])
    del circuit

    let_go()

    assert node() is None


def test_so_is_one_that_was_kept_from_the_collector_while_it_was_measured() -> None:
    circuit = compile_circuit(compile_program(CASES["top-k"].program))
    circuit.step({})
    nodes = [weakref.ref(node) for node in circuit.nodes]
    settle()
    del circuit

    let_go()

    assert [node() for node in nodes if node() is not None] == []


def test_one_worker_and_two_take_the_same_steps() -> None:
    plan = compile_program(nexmark._only("q2"))
    steps = nexmark.input_batches(plan, tables(500), np.arange(0, 501, 20))

    seconds = nexmark._one_and_two_workers(plan, "q2", steps)

    assert all(s > 0 for s in seconds)
