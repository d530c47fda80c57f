"""What the statistics say of an input's rows: how far they are delivered, how long they took."""

from __future__ import annotations

import numpy as np

from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows
from penstock.data.types import BIGINT, schema
from penstock.io.contracts import Parsed
from penstock.pipeline.frontier import Frontier
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.statistics import input_status

SCHEMA = schema(x=BIGINT)
NOON = 1_700_000_000.0  # 2023-11-14T22:13:20Z


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


def test_the_frontier_is_the_newest_rows_that_every_output_has_and_when_they_came() -> None:
    clock = Clock()
    f = Frontier(clock)
    for records in (10, 20, 30):
        f.arrive(records)
        clock.now += 1
    assert f.completed() is None and f.latency_p99_micros() is None
    f.process(1, 20, {"offset": 20})  # rows that came at 0 s and at 1 s
    clock.now += 1
    f.process(2, 30, {"offset": 30})
    clock.now += 0.5
    f.complete(1)
    assert f.completed() == {
        "metadata": {"offset": 20},
        "ingested_at": "2023-11-14T22:13:21.000000Z",
        "processed_at": "2023-11-14T22:13:23.000000Z",
        "completed_at": "2023-11-14T22:13:24.500000Z",
    }
    f.complete(1)
    f.complete(5)
    completed = f.completed()
    assert completed is not None and completed["metadata"] == {"offset": 30}
    # the first row of step 1 took 3 s, that of step 2 as long as from 2 s to 4 s
    assert f.latency_p99_micros() == 3_000_000


def test_a_step_without_new_rows_leaves_the_frontier_where_it_is() -> None:
    f = Frontier(Clock())
    f.process(1, 0, {"offset": 5})
    f.complete(1)
    assert f.completed() is None and f.latency_p99_micros() is None


def test_an_input_tells_its_frontier_once_its_rows_are_delivered() -> None:
    e = InputEndpoint(
        name="t.a", relation="t", config={}, max_queued_records=1000, is_running=lambda: True,
        wake=lambda: None,
    )  # fmt: skip
    columns = batch_from_rows(SCHEMA, [(1,), (2,)]).columns
    rows = InputBatch(SCHEMA, columns, np.full(2, INSERT, np.uint8))
    e.push(Parsed((rows,)), 10, position={"offset": 2})
    e.take(100)
    e.mark(1, e.taken)
    status = input_status(e, is_paused=False, errors=False)
    assert status["completed_frontier"] is None
    assert status["metrics"]["processing_latency_p99_micros"] >= 0
    e.note_completed(1)
    frontier = input_status(e, is_paused=False, errors=False)["completed_frontier"]
    assert frontier["metadata"] == {"offset": 2}
    assert frontier["ingested_at"] <= frontier["processed_at"] <= frontier["completed_at"]
