"""A disk that takes no more records of resets: nothing happens that is not recorded, nothing is
lost, and what had to wait happens once there is room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.errors import TransientError
from penstock.io.contracts import SinkRejected
from penstock.pipeline.phases import Phase
from tests.unit.pipeline.memory_sink import MemorySink
from tests.unit.pipeline.test_delivery import Bench, wait_until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    b = Bench(tmp_path)
    yield b
    b.target.is_down = False
    b.close()


@contextmanager
def full(bench: Bench) -> Iterator[None]:
    """The record cannot be written."""
    bench.resets._db.execute("PRAGMA query_only = 1")
    try:
        yield
    finally:
        bench.resets._db.execute("PRAGMA query_only = 0")


def test_a_reset_that_cannot_be_recorded_is_refused_and_nothing_is_lost(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    before = out.record
    bench.target.is_down = True
    bench.send((1, "queued"))
    bench.wait_processed()
    with full(bench), pytest.raises(TransientError, match="make room") as refused:
        out.request_reset()
    assert refused.value.code == "StorageError"
    bench.target.is_down = False
    bench.send((2, "after"))
    bench.settle(out)
    assert bench.target.rows == bench.total
    assert out.record.token == before.token and out.counters.resets == 0


def test_a_publish_that_cannot_be_recorded_is_recorded_later_and_not_made_again(
    bench: Bench,
) -> None:
    out = bench.output()
    bench.send((1, "a"))
    bench.settle(out)
    bench.target.is_down = True
    record = out.request_reset()
    published = bench.target.calls.count("publish")
    with full(bench):
        bench.target.is_down = False
        wait_until(lambda: out.phase is Phase.UNSURE)
        bench.send((2, "b"))
        bench.wait_processed()
    bench.settle(out)
    assert bench.target.calls.count("publish") == published + 1
    assert bench.target.rows == bench.total
    found = bench.resets.find(record.token)
    assert found is not None and found.state == "done"


def test_a_refusal_for_good_that_cannot_be_recorded_is_met_again_until_it_can(
    bench: Bench,
) -> None:
    class Refusing(MemorySink):
        begun = 0

        def begin(self, generation: int, token: str, step: int) -> None:
            Refusing.begun += 1
            raise SinkRejected("not this table")

    bench.target.is_down = True
    out = bench.output(make_sink=lambda context: Refusing(context, bench.target))
    record = out.request_reset()
    with full(bench):
        bench.target.is_down = False
        wait_until(lambda: Refusing.begun > 1)
        assert out.phase is not Phase.FAILED
    wait_until(lambda: out.phase is Phase.FAILED)
    found = bench.resets.find(record.token)
    assert found is not None and found.state == "failed"


def test_a_full_queue_that_cannot_be_exchanged_for_a_snapshot_is_kept(bench: Bench) -> None:
    out = bench.output(max_queued_records=2, overflow_resets=True)
    bench.settle(out)
    bench.target.is_down = True
    with full(bench):
        bench.send((1, "a"), (2, "a"), (3, "a"))
        bench.wait_processed()
    bench.target.is_down = False
    bench.settle(out)
    assert bench.target.rows == bench.total and not bench.failure
