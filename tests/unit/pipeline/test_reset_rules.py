"""Rules of spec/reset.md section 3 that only a whole pipeline can keep or break."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.pipeline.test_delivery import wait_until
from tests.unit.pipeline.test_pipeline_recovery import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    w = World(tmp_path)
    yield w
    if w.pipeline is not None:
        w.pipeline.stop()


def test_a_reset_in_an_open_transaction_shows_the_last_committed_state(world: World) -> None:
    p = world.start()
    world.settle(world.send(1, 2))
    committed = world.expected()
    number = p.start_transaction()["transaction_id"]
    token = world.send(3, 4)
    with sqlite3.connect(world.sink) as db:
        db.execute("DELETE FROM v")
    reset = p.reset("v", "db")["token"]
    # it does not wait for the commit
    wait_until(lambda: p.reset_status(reset)["status"] == "complete")
    assert world.in_sink() == committed
    assert p.stats()["global_metrics"]["transaction_id"] == number
    # rows that a snapshot of a transaction under way does not contain are not delivered (rule 10)
    assert not world.is_complete(token)

    p.commit_transaction()
    world.settle(token)
    assert world.in_sink() == world.expected() != committed


def test_a_pipeline_without_storage_begins_a_new_generation_at_each_start(world: World) -> None:
    p = world.start(storage_dir=None)
    world.settle(world.send(1, 2))
    first = p.output_stats("v", "db")["delivery"]["generation"]
    p.stop()
    world.sent.clear()

    p = world.start(storage_dir=None)
    wait_until(lambda: world.in_sink() == [])
    world.settle(world.send(5))
    assert p.output_stats("v", "db")["delivery"]["generation"] > first
    assert world.in_sink() == world.expected()
