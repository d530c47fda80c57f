"""Cancelling, group resets and audits of a connector with its thread (spec/reset.md section 6)."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from penstock.cli.reset import _line
from penstock.data.batch import DELETE
from penstock.errors import Conflict, TransientError, UserError
from penstock.io.contracts import Sink
from penstock.pipeline import failpoints, target_probe
from penstock.pipeline.audit import Difference, compare
from penstock.pipeline.endpoints import find_output
from penstock.pipeline.outputs import OutputEndpoint
from penstock.pipeline.phases import Phase, WaitingFor
from penstock.pipeline.reset_desk import ResetDesk
from penstock.pipeline.reset_group import ResetGroup
from penstock.pipeline.target_probe import Look
from tests.unit.pipeline.memory_sink import MemorySink, Target
from tests.unit.pipeline.test_delivery import Bench, wait_until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    b = Bench(tmp_path)
    yield b
    b.target.is_down = False
    b.close()


def desk_of(bench: Bench) -> ResetDesk:
    return ResetDesk(
        loop=bench.loop,
        resets=bench.resets,
        find=partial(find_output, bench.loop),
        readable=frozenset({"t"}),
    )


def state_of(bench: Bench, token: str) -> str:
    record = bench.resets.find(token)
    assert record is not None
    return record.state


class Counting(MemorySink):
    """Has sent something, and may be slow to say that it is valid."""

    may_answer = threading.Event()

    def validate(self) -> None:
        assert self.may_answer.wait(30)
        super().validate()

    def transmitted_bytes(self) -> int:
        return 1000


def test_who_watches_a_reset_of_a_target_that_is_down_is_told_why_it_waits(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    bench.target.is_down = True
    desk = desk_of(bench)
    token = desk.reset("t", "out0", {})["token"]
    wait_until(lambda: desk.status(token)["last_error"] is not None)
    assert _line(out.name, desk.status(token), False) == (
        f"{out.name} waiting for sink: {desk.status(token)['last_error']}"
    )


def test_a_reset_that_has_not_begun_has_sent_nothing(bench: Bench) -> None:
    Counting.may_answer.set()
    out = bench.output(make_sink=lambda context: Counting(context, bench.target))
    bench.settle(out)
    Counting.may_answer.clear()
    try:
        status = out.live_status(out.request_reset())
        assert (status["attempt"], status["bytes"]) == (0, 0)
    finally:
        Counting.may_answer.set()


# cancelling


def test_a_cancelled_reset_leaves_the_old_contents_and_no_delta_is_lost(bench: Bench) -> None:
    out = bench.output()
    bench.send((1, "a"), (2, "b"))
    bench.settle(out)
    bench.target.rows[(99, "by hand")] = 1
    bench.target.is_down = True
    bench.send((3, "queued before"))
    bench.wait_processed()
    record = out.request_reset()
    with out.locked() as state:
        state.progress.attempt = 3
    bench.send((4, "pushed while waiting"), (1, "a"), op=DELETE)
    bench.total = Counter({(2, "b"): 1, (3, "queued before"): 1})
    bench.wait_processed()
    cancelled, follows = out.cancel_reset()
    assert follows and cancelled.token == record.token
    assert out.phase is Phase.FOLLOWING
    with out.locked() as state:
        # what is known of the snapshot is not that of the one that was called off
        assert state.progress.attempt == 0
    bench.target.is_down = False
    bench.send((5, "after"))
    bench.settle(out)

    assert state_of(bench, record.token) == "cancelled"
    assert bench.target.calls.count("publish") == 1
    # (4, …) was deleted though it was not there: a target keeps what somebody did to it
    assert bench.target.rows[(99, "by hand")] == 1
    assert bench.target.rows[(3, "queued before")] == bench.target.rows[(5, "after")] == 1
    assert (1, "a") not in bench.target.rows
    assert bench.target.marker is not None and bench.target.marker.generation == 1


def test_a_reset_that_kept_too_many_deltas_is_cancelled_into_a_pause_and_owes(
    bench: Bench,
) -> None:
    out = bench.output(max_queued_records=10)
    bench.settle(out)
    bench.target.is_down = True
    record = out.request_reset()
    for i in range(5):
        bench.send(*((i * 10 + j, "x") for j in range(10)))
    bench.wait_processed()
    _, follows = out.cancel_reset()
    assert not follows and out.paused and out.phase is Phase.WAITING
    bench.target.is_down = False
    assert state_of(bench, record.token) == "cancelled"
    with pytest.raises(Conflict, match="no reset is in progress"):
        out.cancel_reset()
    assert bench.target.rows == Counter()
    out.resume()
    bench.settle(out)

    assert bench.target.rows == bench.total


def test_a_reset_that_is_being_published_cannot_be_cancelled(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    reached, go_on = threading.Event(), threading.Event()

    class Slow(list[str]):
        def append(self, call: str) -> None:
            super().append(call)
            if call == "publish":
                reached.set()
                assert go_on.wait(10)

    bench.target.calls = Slow(bench.target.calls)
    record = out.request_reset()
    assert reached.wait(5)
    with pytest.raises(Conflict, match="too late"):
        out.cancel_reset()
    go_on.set()
    bench.settle(out)

    assert state_of(bench, record.token) == "done"


def test_a_named_reset_is_made_once(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    first = out.request_reset(reset_id="nightly-1")
    bench.settle(out)
    again = out.request_reset(reset_id="nightly-1")
    other = out.request_reset(reset_id="nightly-2")
    bench.settle(out)

    assert again.token == first.token and other.token != first.token
    assert bench.target.calls.count("publish") == 3
    assert again.state == "done"


def test_a_connector_paused_while_it_waits_starts_again(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    bench.target.is_down = True
    out.request_reset()
    wait_until(lambda: out.unhealthy is not None)
    out.pause()
    bench.send((1, "a"))
    bench.target.is_down = False
    out.resume()
    bench.settle(out)

    assert bench.target.rows == bench.total


def test_a_target_that_takes_long_to_answer_does_not_keep_a_reset_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = bench.output()
    bench.settle(out)
    assert out.probe() == Look()
    monkeypatch.setattr(target_probe, "PROBE_S", 0.05)
    answers = threading.Event()
    monkeypatch.setattr(MemorySink, "validate", lambda _: answers.wait(10))
    assert "no answer" in (out.probe().trouble or "")
    answers.set()


# groups


def group_of(bench: Bench, *outputs: OutputEndpoint) -> ResetGroup:
    return ResetGroup(
        [o.name for o in outputs],
        between_steps=bench.loop.step_lock,
        take_cut=bench.loop.take_cut,
    )


def test_the_connectors_of_a_group_are_cut_at_one_step_while_rows_arrive(bench: Bench) -> None:
    targets = [Target() for _ in range(3)]
    outs = [bench.output(t) for t in targets]
    for o in outs:
        bench.settle(o)
    targets[1].is_down = True
    group = group_of(bench, *outs)
    records = [o.request_reset(group=group) for o in outs]
    waiting = [outs[0], outs[2]]
    wait_until(lambda: all(_waits_for(o) is WaitingFor.GROUP for o in waiting))
    bench.send((1, "a"))
    bench.wait_processed()
    targets[1].is_down = False
    for i in range(20):
        bench.send((i, "more"))
    for o in outs:
        bench.settle(o)
    done = [bench.resets.find(r.token) for r in records]

    assert {d.state for d in done if d} == {"done"}
    assert len({d.step for d in done if d}) == 1
    assert all(t.rows == bench.total for t in targets)


def test_a_group_reset_that_fails_half_way_keeps_nobody_waiting(bench: Bench) -> None:
    targets = [Target(), Target(), Target()]
    outs = [bench.output(t) for t in targets]
    for o in outs:
        bench.settle(o)
    desk = desk_of(bench)
    failpoints.arm(f"reset.requested({outs[1].name})=error")
    try:
        with pytest.raises(TransientError):
            desk.reset_group({"connectors": [o.name for o in outs]})
    finally:
        failpoints.arm("")
    bench.send((1, "a"))
    for o in outs:
        bench.settle(o)
    assert all(t.rows == bench.total for t in targets)
    assert all(not o.record.is_pending for o in outs)


@pytest.mark.parametrize("how", ["cancel", "pause", "reset", "stop"])
def test_who_leaves_a_group_is_not_waited_for(bench: Bench, how: str) -> None:
    targets = [Target(), Target()]
    outs = [bench.output(t) for t in targets]
    for o in outs:
        bench.settle(o)
    targets[1].is_down = True
    group = group_of(bench, *outs)
    record, _ = [o.request_reset(group=group) for o in outs]
    wait_until(lambda: _waits_for(outs[0]) is WaitingFor.GROUP)
    {
        "cancel": outs[1].cancel_reset,
        "pause": outs[1].pause,
        "reset": lambda: outs[1].request_reset(reset_id="by itself"),
        "stop": outs[1].stop,
    }[how]()
    wait_until(lambda: state_of(bench, record.token) == "done")
    targets[1].is_down = False


def _waits_for(out: OutputEndpoint) -> WaitingFor | None:
    with out.locked() as state:
        return state.waiting_for


# audits


def audit(bench: Bench, out: OutputEndpoint, timeout_s: float = 10) -> tuple[int, Difference]:
    with out.reading(bench.loop.take_cut, timeout_s) as (contents, _, cut):
        return cut.step, compare(contents, cut.snapshot.chunks(100), 10)


def test_an_audit_compares_both_at_one_step_while_rows_arrive(bench: Bench) -> None:
    out = bench.output()
    stop = threading.Event()

    def feed() -> None:
        for i in range(100_000):
            if stop.is_set():
                return
            bench.send((i, "x"))

    feeder = threading.Thread(target=feed)
    feeder.start()
    found = [audit(bench, out) for _ in range(5)]
    stop.set()
    feeder.join()
    bench.settle(out)

    assert all(d.is_equal for _, d in found)
    assert bench.target.rows == bench.total


def test_an_audit_finds_what_was_done_by_hand_and_changes_nothing(bench: Bench) -> None:
    out = bench.output()
    bench.send(*((i, "x") for i in range(10)))
    bench.settle(out)
    bench.target.rows.update({(-1, "invented"): 1, (3, "changed"): 1})
    del bench.target.rows[(3, "x")]
    del bench.target.rows[(4, "x")]
    before, calls = Counter(bench.target.rows), len(bench.target.looks)
    _, found = audit(bench, out)

    assert (found.missing, found.extra, found.different) == (1, 1, 1)
    assert bench.target.rows == before and len(bench.target.looks) == calls


def test_an_audit_flushes_the_output_buffer_first(bench: Bench) -> None:
    out = bench.output(buffered=True, buffer_time_s=3600)
    bench.settle(out)
    bench.send((1, "buffered"))
    bench.wait_processed()
    _, found = audit(bench, out)

    assert found.is_equal and found.target.rows == 1


def test_a_target_that_does_not_get_there_is_not_compared(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    bench.target.failures = [("begin", False)] * 50
    out.request_reset()
    bench.send((1, "a"))
    wait_until(lambda: out.unhealthy is not None)
    with pytest.raises(Conflict, match=r"is not at step.*begin failed"):
        audit(bench, out, timeout_s=0.2)
    bench.target.failures = []
    bench.settle(out)
    assert bench.target.rows == bench.total


def test_a_failed_connector_is_compared_as_it_is(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    _rejects(out, "no more")
    bench.send((1, "a"))
    bench.wait_processed()
    _, found = audit(bench, out)

    assert found.missing == 1


def _rejects(out: OutputEndpoint, message: str) -> None:
    with out.locked() as state:
        state.rejected(message, state.record.generation)


def test_a_sink_that_cannot_read_back_says_so(bench: Bench, monkeypatch: Any) -> None:
    monkeypatch.setattr(MemorySink, "read", Sink.read)
    out = bench.output()
    bench.settle(out)
    with pytest.raises(UserError) as refused:
        audit(bench, out)
    assert refused.value.code == "NotSupported"
    bench.send((1, "a"))
    bench.settle(out)
    assert bench.target.rows == bench.total
