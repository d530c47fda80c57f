"""A pipeline with a memory limit keeps its runs in its storage, and still does checkpoints."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.pipeline import loop, memory
from penstock.plan.nodes import CLOCK
from penstock.state import spill, spine
from tests.unit.pipeline.test_delivery import Identity, wait_until
from tests.unit.pipeline.test_pipeline_recovery import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(memory, "LEAST_BYTES", 1)
    monkeypatch.setattr(spill, "MIN_RUN_BYTES", 1)
    # rows that only come become a run when there are enough of them
    monkeypatch.setattr(spine, "LOG_ROWS", 8)
    world = World(tmp_path)
    world.runtime["max_rss_mb"] = 1
    yield world
    if world.pipeline is not None:
        world.pipeline.stop()


def test_runs_go_to_storage_and_survive_checkpoints_and_a_restart(world: World) -> None:
    pipeline = world.start()
    files = world.folder / "storage" / "state"
    for start in range(0, 60, 20):
        world.settle(world.send(*range(start, start + 20)))
    wait_until(lambda: world.settle(world.send(99)) or any(files.glob("run-*.state")))
    # removes all files that it does not name: spilled runs that were merged meanwhile
    pipeline.checkpoint()
    wait_until(lambda: bool(pipeline.checkpoints()))
    world.settle(world.send(*range(10, 30), 200))

    assert world.rows() == world.expected()
    pipeline.suspend()
    world.start()
    assert world.rows() == world.expected()


def test_without_storage_the_limit_is_only_a_wish(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        world.start(storage_dir=None)
    world.settle(world.send(1, 2, 3))

    assert world.rows() == world.expected()
    assert "memory_limit_without_storage" in caplog.text


def test_a_pipeline_that_rests_gives_memory_back_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[int] = []
    monkeypatch.setattr(loop, "GIVE_BACK_S", 0.01)
    monkeypatch.setattr(loop, "give_back_much", lambda: given_back.append(len(given_back)))
    world.start()
    wait_until(lambda: bool(given_back))
    before = len(given_back)
    world.settle(world.send(1, 2, 3))
    wait_until(lambda: len(given_back) > before)

    assert world.rows() == world.expected()
    # who is not woken looks no more: there is a step before each time
    assert world.pipeline is not None
    assert len(given_back) <= world.pipeline._loop.step


def test_a_pipeline_that_rests_merges_what_waited_for_more_rows(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "TEND_S", 0.01)
    world.start()
    assert world.pipeline is not None
    circuit = world.pipeline._loop.circuit
    left, tend = [3], type(circuit).tend

    def tended(self: Any) -> bool:
        left[0] -= 1
        return tend(self) or left[0] > 0

    monkeypatch.setattr(type(circuit), "tend", tended)
    world.settle(world.send(1, 2, 3))
    wait_until(lambda: left[0] <= 0)

    assert world.rows() == world.expected()


def test_a_clock_that_ticks_leaves_time_to_give_memory_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given_back: list[int] = []
    monkeypatch.setattr(loop, "GIVE_BACK_S", 0.3)
    monkeypatch.setattr(loop, "give_back_much", lambda: given_back.append(1))
    failures: list[Exception] = []
    steps = loop.StepLoop(
        Identity(), max_batch_records=10, min_batch_records=0, max_delay_s=0,
        on_failure=failures.append,
    )  # fmt: skip
    steps.start()
    try:
        while not given_back:
            steps._step({CLOCK: []})
            steps.wake()
            time.sleep(0.02)
    finally:
        steps.stop()
    assert steps.step > 3 and not failures
