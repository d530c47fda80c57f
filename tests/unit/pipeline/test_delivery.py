"""Delivery and reset of one connector, against a target that can fail (spec/reset.md 2 and 3)."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.data.batch import DELETE, INSERT, Batch, InputBatch
from penstock.data.build import batch_from_rows
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat
from penstock.data.types import INTEGER, VARCHAR, schema
from penstock.io.contracts import Marker, Parsed, Sink, SinkContext, SinkRejected
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.outputs import OutputEndpoint, OutputSettings
from penstock.pipeline.phases import TABLE, Event, Phase, next_phase
from penstock.pipeline.resets import ResetLog
from penstock.state.spine import Spine
from tests.unit.pipeline.memory_sink import MemorySink, Target

SCHEMA = schema(id=INTEGER, text=VARCHAR)


class Identity:
    """A circuit of one table `t` that is also its view."""

    late_records = 0

    def __init__(self) -> None:
        self._spine = Spine(SCHEMA, (0,))

    def step(self, inputs: Mapping[str, Sequence[InputBatch]]) -> Mapping[str, Batch]:
        batches = [
            Batch(SCHEMA, b.columns, np.where(b.ops == INSERT, 1, -1).astype(np.int64))
            for b in inputs.get("t", ())
        ]
        delta = consolidate(concat(batches)) if batches else batch_from_rows(SCHEMA, [])
        self._spine.insert(delta)
        return {"t": delta}

    def tend(self) -> bool:
        return self._spine.tend(is_idle=True)

    def snapshot(self, name: str) -> Any:
        return self._spine.snapshot()

    def warnings(self) -> list[str]:
        return []


class Bench:
    """A step loop with one output, fed by hand."""

    def __init__(self, folder: Path) -> None:
        self.target = Target()
        self.resets = ResetLog(folder)
        self.failure: list[Exception] = []
        self.loop = StepLoop(
            Identity(),
            max_batch_records=1000,
            min_batch_records=0,
            max_delay_s=0,
            on_failure=self.failure.append,
        )
        self.input = InputEndpoint(
            name="t.in",
            relation="t",
            config={},
            max_queued_records=10_000,
            is_running=lambda: True,
            wake=self.loop.wake,
        )
        self.loop.add_input(self.input)
        self.loop.start()
        self.total: Counter[Any] = Counter()
        self.outputs: list[OutputEndpoint] = []

    def output(
        self,
        target: Target | None = None,
        make_sink: Callable[[SinkContext], Sink] | None = None,
        **settings: Any,
    ) -> OutputEndpoint:
        name = f"out{len(self.outputs)}"
        context = SinkContext(pipeline_id="p", view="t", connector=name, schema=SCHEMA, config={})
        to = self.target if target is None else target
        endpoint = OutputEndpoint(
            name=f"t.{name}",
            relation="t",
            connector=name,
            schema=SCHEMA,
            config={},
            owner="p",
            settings=OutputSettings(**{"snapshot": True, **settings}),
            make_sink=lambda: make_sink(context) if make_sink else MemorySink(context, to),
            resets=self.resets,
            take_cut=self.loop.take_cut,
            on_progress=self.loop.wake,
        )
        self.outputs.append(endpoint)
        self.loop.add_output(endpoint)
        endpoint.start()
        return endpoint

    def send(self, *rows: tuple[Any, ...], op: int = INSERT) -> None:
        batch = batch_from_rows(SCHEMA, rows)
        ops = np.full(len(rows), op, np.uint8)
        self.input.push(Parsed((InputBatch(SCHEMA, batch.columns, ops),)), 0)
        for row in rows:
            self.total[row] += 1 if op == INSERT else -1
        self.total = Counter({r: n for r, n in self.total.items() if n})

    def send_nothing(self) -> None:
        """Input that leaves the view as it is: a row that comes and goes."""
        batch = batch_from_rows(SCHEMA, [(-1, "x"), (-1, "x")])
        ops = np.array([INSERT, DELETE], np.uint8)
        self.input.push(Parsed((InputBatch(SCHEMA, batch.columns, ops),)), 0)

    def wait_processed(self) -> None:
        """Until everything sent has gone through the circuit."""
        wait_until(lambda: self.loop.processed_records == self.input.total_records)

    def settle(self, endpoint: OutputEndpoint) -> None:
        """Until everything sent is in the target."""
        self.wait_processed()
        step = self.loop.step
        wait_until(lambda: endpoint.phase is Phase.FOLLOWING and endpoint.completed_step >= step)

    def close(self) -> None:
        self.input.stop()
        self.loop.stop()
        for o in self.outputs:
            o.stop()
        self.resets.close()


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "this never became true"
        time.sleep(0.002)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    b = Bench(tmp_path)
    yield b
    b.close()


class CountingSink(MemorySink):
    """Ten bytes a call of `apply`, counted from when it was made, as every sink does."""

    sent = 0

    def apply(self, rows: Batch, marker: Marker) -> None:
        super().apply(rows, marker)
        self.sent += 10

    def transmitted_bytes(self) -> int:
        return self.sent


def test_bytes_sent_stay_counted_while_a_target_is_down_and_when_it_is_back(bench: Bench) -> None:
    out = bench.output(make_sink=lambda context: CountingSink(context, bench.target))
    bench.settle(out)
    bench.send((1, "a"))
    bench.settle(out)
    assert out.transmitted_bytes() == 10
    bench.target.is_down = True
    bench.send((2, "b"))
    wait_until(lambda: bench.target.calls[-1] == "open")  # a new one cannot reach it
    assert out.transmitted_bytes() == 10
    bench.target.is_down = False
    bench.settle(out)
    assert out.transmitted_bytes() == 20


def test_the_first_start_delivers_one_snapshot_and_then_deltas(bench: Bench) -> None:
    bench.send((1, "a"), (2, "b"))
    wait_until(lambda: bench.loop.processed_records == 2)
    out = bench.output()
    bench.settle(out)
    bench.send((3, "c"))
    bench.settle(out)

    assert bench.target.rows == bench.total
    assert bench.target.calls.count("publish") == 1
    assert bench.target.calls.count("apply") == 1


def test_a_reset_repairs_whatever_was_done_to_the_target(bench: Bench) -> None:
    out = bench.output()
    bench.send((1, "a"), (1, "a"), (2, "b"))
    bench.settle(out)
    bench.target.rows = Counter({(99, "invented"): 3})
    record = out.request_reset()
    bench.settle(out)

    assert bench.target.rows == bench.total
    done = bench.resets.find(record.token)
    assert done is not None and done.state == "done" and done.rows == 3


def test_what_happens_to_a_reset_is_told_in_the_log_line_by_line(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    out = bench.output()
    bench.send((1, "a"))
    bench.settle(out)
    bench.target.failures = [("begin", False)]
    with caplog.at_level(logging.INFO, "penstock.pipeline"):
        record = out.request_reset()
        bench.settle(out)
        with out.locked():  # its last line is written under the lock
            told = [m for m in caplog.messages if " endpoint=t.out0 " in f"{m} "]

    assert [m.split()[0] for m in told] == [
        "reset_accepted", "cut_taken", "sink_unavailable", "sink_opened",
        "cut_taken", "snapshot_published",
    ]  # fmt: skip
    assert told[0].startswith(
        f"reset_accepted endpoint=t.out0 generation={record.generation} token={record.token} "
    )
    assert told[2].endswith('error="begin failed"')


def test_readers_see_the_old_contents_or_the_new_and_nothing_else(bench: Bench) -> None:
    out = bench.output()
    bench.send(*((i, "x") for i in range(100)))
    bench.settle(out)
    vandalised = Counter({(-1, "vandal"): 1})
    bench.target.rows = vandalised.copy()
    seen = len(bench.target.looks)
    out.request_reset()
    for i in range(100, 120):
        bench.send((i, "y"))
    bench.settle(out)

    generation = out.record.generation
    after = bench.target.looks[seen:]
    # deltas of the old generation may still have been applied to the damaged table ...
    assert all((-1, "vandal") in rows for g, rows in after if g < generation)
    # ... but from the new generation on, every look is a whole view
    assert all(rows.total() >= 100 and (-1, "vandal") not in rows
               for g, rows in after if g == generation)  # fmt: skip
    assert bench.target.rows == bench.total


def test_an_empty_view_resets_to_an_empty_target(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    bench.target.rows = Counter({(1, "stale"): 1})
    out.request_reset()
    bench.settle(out)

    assert bench.target.rows == Counter()


def test_buffered_deltas_never_surface_after_the_snapshot(bench: Bench) -> None:
    out = bench.output(buffered=True, buffer_time_s=3600)
    bench.settle(out)
    bench.send((1, "buffered"))
    wait_until(lambda: out.queued[0] == 1)
    bench.send((1, "buffered"), op=0)
    bench.send((2, "buffered too"))
    wait_until(lambda: out.queued[0] == 3)
    out.request_reset()
    wait_until(lambda: out.phase is Phase.FOLLOWING)
    assert bench.target.rows == bench.total == Counter({(2, "buffered too"): 1})
    bench.send((3, "after it"))
    wait_until(lambda: out.queued[0] > 0)
    out.flush()
    # whatever was left comes with it
    wait_until(lambda: out.queued[0] == 0)

    assert bench.target.rows == bench.total == Counter({(2, "buffered too"): 1, (3, "after it"): 1})
    assert bench.target.calls.count("apply") == 1


def test_the_output_buffer_flushes_by_size(bench: Bench) -> None:
    out = bench.output(buffered=True, buffer_time_s=3600, buffer_records=3)
    bench.settle(out)
    bench.send((1, "a"))
    bench.send((2, "b"))
    time.sleep(0.05)
    assert bench.target.rows == Counter()
    bench.send((3, "c"))
    bench.settle(out)

    assert bench.target.rows == bench.total
    assert bench.target.calls.count("apply") == 1


def test_only_the_connector_that_was_reset_is_written_anew(bench: Bench) -> None:
    other = Target()
    first, second = bench.output(), bench.output(other)
    bench.send((1, "a"))
    bench.settle(first)
    bench.settle(second)
    first.request_reset()
    bench.settle(first)

    assert bench.target.calls.count("publish") == 2
    assert other.calls.count("publish") == 1
    assert bench.target.rows == other.rows == bench.total


def test_a_second_reset_before_the_cut_is_the_same_reset(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    bench.target.is_down = True
    one = out.request_reset()
    two = out.request_reset()
    bench.target.is_down = False
    bench.settle(out)

    assert one.token == two.token
    record = bench.resets.find(one.token)
    assert record is not None and record.state == "done"


def test_a_reset_after_the_cut_supersedes_and_both_tokens_end_done(bench: Bench) -> None:
    out = bench.output()
    bench.send(*((i, "x") for i in range(10)))
    bench.settle(out)
    bench.target.failures = [("stage", False)] * 3
    reached = threading.Event()
    original = bench.target.calls

    class Watched(list[str]):
        def append(self, call: str) -> None:
            super().append(call)
            if call == "stage":
                reached.set()

    bench.target.calls = Watched(original)
    one = out.request_reset()
    assert reached.wait(5)
    two = out.request_reset()
    bench.settle(out)

    states = [bench.resets.find(r.token) for r in (one, two)]
    assert [s.state for s in states if s is not None] == ["done", "done"]
    assert two.generation >= one.generation
    assert bench.target.rows == bench.total


@pytest.mark.parametrize("call", ["open", "begin", "stage", "publish", "apply"])
@pytest.mark.parametrize("is_applied", [False, True], ids=["refused", "applied, reply lost"])
def test_a_failure_at_any_call_is_retried_and_nothing_is_lost_or_doubled(
    bench: Bench, call: str, is_applied: bool
) -> None:
    out = bench.output()
    bench.send((1, "a"), (2, "b"))
    bench.settle(out)
    # a lost connection makes the sink open again
    lost = [("begin", False)] if call == "open" else []
    bench.target.failures = [*lost, (call, is_applied), (call, is_applied)]
    out.request_reset()
    for i in range(5):
        bench.send((10 + i, "z"), (1, "a"))
    bench.settle(out)
    bench.send((20, "last"))
    bench.settle(out)

    assert bench.target.rows == bench.total
    assert out.counters.num_transport_errors >= 1


def test_a_lost_reply_of_publish_is_settled_by_the_marker_not_by_staging_again(
    bench: Bench,
) -> None:
    out = bench.output()
    bench.send((1, "a"))
    bench.settle(out)
    bench.target.failures = [("publish", True)]
    published = bench.target.calls.count("publish")
    out.request_reset()
    bench.settle(out)

    assert bench.target.calls.count("publish") == published + 1
    assert bench.target.rows == bench.total


def test_a_delta_whose_reply_was_lost_is_not_merged_with_later_ones(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    # applied, reply lost; the target stays away long enough for the next step to queue behind
    bench.target.failures = [("apply", True), ("open", False), ("open", False)]

    bench.send((1, "comes"))
    wait_until(lambda: not any(call == "apply" for call, _ in bench.target.failures))
    bench.send((1, "comes"), (2, "stays"), op=DELETE)
    bench.send((2, "stays"))
    bench.send((2, "stays"))
    bench.settle(out)

    assert bench.target.rows == bench.total == Counter({(2, "stays"): 1})


def test_a_step_without_rows_completes_though_it_came_while_a_delta_was_written(
    bench: Bench,
) -> None:
    out = bench.output()
    bench.settle(out)
    bench.target.gate = gate = threading.Semaphore(0)

    def stepped(send: Callable[[], None]) -> None:
        send()
        bench.wait_processed()

    stepped(lambda: bench.send((1, "being written")))
    wait_until(lambda: bench.target.calls.count("apply") == 1)
    stepped(lambda: bench.send((2, "queued")))
    stepped(bench.send_nothing)
    gate.release()
    wait_until(lambda: bench.target.calls.count("apply") == 2)
    stepped(bench.send_nothing)
    gate.release()
    bench.settle(out)

    assert bench.target.rows == bench.total


def test_a_dead_target_with_a_reset_pending_costs_no_queue_and_does_not_stall(
    bench: Bench,
) -> None:
    out = bench.output(max_queued_records=10)
    bench.settle(out)
    bench.target.is_down = True
    out.request_reset()
    for i in range(50):
        bench.send(*((i * 10 + j, "x") for j in range(10)))
    bench.wait_processed()
    assert out.queued == (0, 0)
    bench.target.is_down = False
    bench.settle(out)

    assert bench.target.rows == bench.total


def test_a_full_queue_may_owe_a_snapshot_instead_of_stalling(bench: Bench) -> None:
    out = bench.output(max_queued_records=10, overflow_resets=True)
    bench.settle(out)
    bench.target.is_down = True
    for i in range(50):
        bench.send(*((i * 10 + j, "x") for j in range(10)))
    bench.wait_processed()
    bench.target.is_down = False
    bench.settle(out)

    assert out.counters.resets >= 1
    assert bench.target.rows == bench.total


def test_a_full_queue_holds_the_circuit_back(bench: Bench) -> None:
    out = bench.output(max_queued_records=5)
    bench.settle(out)
    bench.target.is_down = True
    for i in range(10):
        bench.send(*((i * 10 + j, "x") for j in range(10)))
    wait_until(lambda: out.is_full)
    time.sleep(0.1)  # the step under way, if any, ends
    step = bench.loop.step
    bench.send((1000, "y"))
    time.sleep(0.1)
    assert bench.loop.step == step and bench.loop.buffered_records > 0
    bench.target.is_down = False
    bench.settle(out)

    assert bench.target.rows == bench.total


def test_a_foreign_target_is_refused_and_untouched(bench: Bench) -> None:
    foreign = Marker("other", "v", "c", 4, "token", "following", 9, 1, "hash")
    bench.target.marker = foreign
    bench.target.rows = Counter({(1, "theirs"): 1})
    out = bench.output()
    wait_until(lambda: out.phase is Phase.FAILED)

    assert bench.target.rows == Counter({(1, "theirs"): 1})
    assert bench.target.marker is foreign
    assert out.fatal_error is not None and "other" in out.fatal_error


def test_a_reset_revives_a_failed_connector(bench: Bench) -> None:
    bench.target.marker = Marker("other", "v", "c", 4, "token", "following", 9, 1, "hash")
    out = bench.output()
    bench.send((1, "a"))
    wait_until(lambda: out.phase is Phase.FAILED)
    bench.target.marker = None
    out.request_reset()
    bench.settle(out)

    assert bench.target.rows == bench.total
    assert out.fatal_error is None


def test_a_delta_that_is_refused_once_a_reset_was_asked_for_does_not_fail_the_reset(
    bench: Bench,
) -> None:
    gate = threading.Semaphore(0)

    class Refusing(MemorySink):
        def apply(self, rows: Batch, marker: Marker) -> None:
            self.target.calls.append("apply")
            gate.acquire()
            raise SinkRejected("somebody removed what this was for")

    out = bench.output(make_sink=lambda context: Refusing(context, bench.target))
    bench.settle(out)
    bench.send((1, "a"))
    wait_until(lambda: bench.target.calls.count("apply") == 1)
    out.request_reset()
    gate.release()
    bench.settle(out)

    assert bench.target.rows == bench.total
    assert out.fatal_error is None

    bench.send((2, "b"))
    gate.release()
    wait_until(lambda: out.phase is Phase.FAILED)
    assert out.fatal_error is not None


def test_a_marker_of_an_earlier_life_is_outbid(bench: Bench) -> None:
    bench.target.marker = Marker("p", "t", "out0", 41, "earlier", "following", 1000, 5, "hash")
    out = bench.output()
    bench.send((1, "a"))
    bench.settle(out)

    assert bench.target.marker is not None and bench.target.marker.generation == 42
    assert bench.target.rows == bench.total


def test_progress_waits_for_the_snapshot_that_contains_it(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    bench.send((1, "a"))
    bench.settle(out)
    bench.target.is_down = True
    out.request_reset()
    bench.send((2, "b"))
    bench.wait_processed()
    time.sleep(0.05)
    step = bench.input.step_of(2)
    assert step is not None and bench.loop.completed_step < step
    bench.target.is_down = False
    bench.settle(out)

    assert bench.loop.completed_step >= step
    assert bench.target.rows == bench.total


def test_the_marker_counts_rows_and_a_digest_that_a_snapshot_confirms(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    bench.send((1, "a"), (1, "a"), (2, "b"))
    bench.settle(out)
    bench.send((2, "b"), op=0)
    bench.settle(out)
    followed = bench.target.marker
    out.request_reset()
    bench.settle(out)
    snapped = bench.target.marker

    assert followed is not None and snapped is not None
    assert (
        (followed.rows, followed.digest)
        == (snapped.rows, snapped.digest)
        == (
            2,
            snapped.digest,
        )
    )


def test_the_reset_log_outlives_the_process(tmp_path: Path) -> None:
    log = ResetLog(tmp_path)
    first = log.accept("v.c", reason="request")
    second = log.accept("v.c", reason="request")
    log.close()
    log = ResetLog(tmp_path)
    log.finish("v.c", second.generation, step=7, rows=3)

    for token in (first.token, second.token):
        record = log.find(token)
        assert record is not None and record.state == "done" and record.step == 7
    assert log.accept("v.c", reason="request").generation == 3
    log.close()


def test_only_publishing_leads_to_following_and_every_phase_takes_a_reset() -> None:
    for phase in Phase:
        assert next_phase(phase, Event.RESET) is Phase.WAITING
    into = {e for (p, e), q in TABLE.items() if q is Phase.FOLLOWING and p is not Phase.FOLLOWING}
    assert into == {Event.PUBLISHED, Event.CANCEL}
