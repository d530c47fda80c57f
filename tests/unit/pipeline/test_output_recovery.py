"""An output goes on after a restart with what its sink holds: nothing lost, nothing twice.

A life is a step loop over the circuit `Identity` with one output. `Life.crash` keeps what a
checkpoint would have kept of an earlier instant, and the target as it is.
"""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows
from penstock.io.contracts import RESTORED, Marker, Parsed, SinkContext
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.output_position import Recovered, Verdict, judge
from penstock.pipeline.outputs import OutputEndpoint, OutputSettings
from penstock.pipeline.phases import Phase
from penstock.pipeline.resets import ResetLog
from tests.unit.pipeline.memory_sink import MemorySink, Target
from tests.unit.pipeline.test_delivery import SCHEMA, Identity, wait_until


class Checkpoint:
    """What is kept of one instant between two steps."""

    def __init__(self, life: Life) -> None:
        with life.loop.step_lock:
            self.rows = [(r, w) for r, w in life.seen.items()]
            self.step = life.loop.step
            self.processed = life.loop.processed_records
            self.output = life.out.position()


class Life:
    def __init__(
        self,
        folder: Path,
        target: Target,
        after: Checkpoint | None = None,
        horizon: int | None = None,
        **settings: Any,
    ) -> None:
        self.target = target
        self.resets = ResetLog(folder)
        self.seen: Counter[Any] = Counter()
        circuit = Identity()
        self.loop = StepLoop(
            circuit,
            max_batch_records=1000,
            min_batch_records=0,
            max_delay_s=0,
            on_failure=lambda e: None,
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
        recovered = None
        if after is not None:
            self.seen.update(dict(after.rows))
            rows = batch_from_rows(SCHEMA, [r for r, w in after.rows for _ in range(w)])
            ops = np.full(len(rows), INSERT, np.uint8)
            circuit.step({"t": [InputBatch(SCHEMA, rows.columns, ops)]})
            self.loop.resume(
                step=after.step,
                processed_records=after.processed,
                transactions=0,
            )
            horizon = after.step if horizon is None else horizon
            recovered = Recovered(after.output, horizon, after.step, after.processed)
        else:
            self.loop.first_step()
        context = SinkContext(pipeline_id="p", view="t", connector="out", schema=SCHEMA, config={})
        self.out = OutputEndpoint(
            name="t.out",
            relation="t",
            connector="out",
            schema=SCHEMA,
            config={},
            owner="p",
            settings=OutputSettings(**{"snapshot": True, **settings}),
            make_sink=lambda: MemorySink(context, target),
            resets=self.resets,
            take_cut=self.loop.take_cut,
            on_progress=self.loop.wake,
            recovered=recovered,
        )
        self.loop.add_output(self.out)
        self.loop.run()
        self.out.start()

    def send(self, *ids: int, op: int = INSERT) -> None:
        """One step that inserts these rows, or deletes them."""
        rows = batch_from_rows(SCHEMA, [(i, "x") for i in ids])
        before = self.input.total_records
        ops = np.full(len(ids), op, np.uint8)
        self.input.push(Parsed((InputBatch(SCHEMA, rows.columns, ops),)), 0)
        for i in ids:
            self.seen[i, "x"] += 1 if op == INSERT else -1
        self.seen = +self.seen
        wait_until(lambda: self.input.step_of(before + len(ids)) is not None)

    def settle(self) -> None:
        step = self.loop.step

        def is_settled() -> bool:
            with self.out.locked() as s:
                is_known = s.unverified is None
                return is_known and s.phase is Phase.FOLLOWING and s.completed_step >= step

        wait_until(is_settled)

    def end(self) -> None:
        self.input.stop()
        self.loop.stop()
        self.out.stop()
        self.resets.close()


class World:
    """A storage folder and a target that outlive each life."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = Target()
        self.life: Life | None = None

    def live(self, after: Checkpoint | None = None, **how: Any) -> Life:
        if self.life is not None:
            self.life.end()
        self.target.is_down = False
        refused = how.pop("is_down", None)
        self.target.failures = [] if refused is None else [(refused, False)] * 1000
        self.life = Life(self.folder, self.target, after, **how)
        return self.life

    def verify(self) -> None:
        assert self.life is not None
        self.life.settle()
        assert self.target.rows == self.life.seen


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    w = World(tmp_path)
    yield w
    if w.life is not None:
        w.life.end()


def test_a_sink_that_kept_up_goes_on_without_another_snapshot(world: World) -> None:
    life = world.live()
    life.send(1, 2)
    life.settle()
    life = world.live(Checkpoint(life))
    life.send(3)
    world.verify()
    assert world.target.calls.count("publish") == 1


def test_deltas_that_the_sink_had_not_taken_come_after_the_restart(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    world.target.is_down = True
    life.send(2)
    life.send(3)
    checkpoint = Checkpoint(life)
    assert len(checkpoint.output.queue) == 2
    life = world.live(checkpoint)
    world.verify()
    assert world.target.calls.count("publish") == 1


def test_steps_made_again_are_not_delivered_again(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    checkpoint = Checkpoint(life)
    life.send(2)
    life.send(3)
    life.settle()
    horizon = life.loop.step
    applied = world.target.calls.count("apply")
    life = world.live(checkpoint, horizon=horizon)
    life.send(2)
    life.send(3)
    life.settle()
    assert world.target.calls.count("apply") == applied
    life.send(4)
    world.verify()
    assert world.target.calls.count("publish") == 1


def test_a_sink_ahead_of_what_can_be_made_again_is_written_anew(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    checkpoint = Checkpoint(life)
    life.send(2)
    life.settle()
    life = world.live(checkpoint)
    life.send(3)
    world.verify()
    assert world.target.rows == Counter({(1, "x"): 1, (3, "x"): 1})
    assert life.out.record.reason == "sink_ahead"


def test_a_target_restored_from_a_backup_is_written_anew(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    backup = (Counter(world.target.rows), world.target.marker)
    life.send(2)
    life.settle()
    checkpoint = Checkpoint(life)
    world.target.rows, world.target.marker = backup
    life = world.live(checkpoint)
    world.verify()
    assert life.out.record.reason == "sink_behind"


@pytest.mark.parametrize("fails", [False, True])
def test_a_target_that_lost_its_marker_is_written_anew_or_left_alone_as_configured(
    world: World, fails: bool
) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    checkpoint = Checkpoint(life)
    world.target.rows, world.target.marker = Counter({(9, "a restored table"): 1}), None
    life = world.live(checkpoint, fails_on_lost_marker=fails)
    if not fails:
        world.verify()
        return
    wait_until(lambda: life.out.fatal_error is not None)
    assert "on_lost_marker" in str(life.out.fatal_error)
    assert world.target.rows == Counter({(9, "a restored table"): 1})
    life.out.request_reset()
    world.verify()


@pytest.mark.parametrize("fails", [False, True])
def test_a_target_that_comes_back_empty_while_the_pipeline_runs_is_written_anew(
    world: World, fails: bool
) -> None:
    # as a Redis does that restarts without persistence, or a topic that was deleted
    life = world.live(fails_on_lost_marker=fails)
    life.send(1)
    life.send(2)
    life.settle()
    world.target.is_down = True
    life.send(3)
    wait_until(lambda: life.out.unhealthy is not None)
    world.target.rows, world.target.marker = Counter(), None
    world.target.is_down = False
    if fails:
        wait_until(lambda: life.out.fatal_error is not None)
        assert "on_lost_marker" in str(life.out.fatal_error)
        assert world.target.rows == Counter()
        return
    world.verify()
    assert life.out.record.reason == "marker_lost"


def test_a_target_that_comes_back_older_while_the_pipeline_runs_is_written_anew(
    world: World,
) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    backup = (Counter(world.target.rows), world.target.marker)
    life.send(2)
    life.settle()
    world.target.is_down = True
    life.send(3)
    wait_until(lambda: life.out.unhealthy is not None)
    world.target.rows, world.target.marker = backup
    world.target.is_down = False
    world.verify()
    assert life.out.record.reason == "sink_behind"


def test_a_reset_of_a_target_that_came_back_empty_cannot_be_cancelled_to_what_it_held(
    world: World,
) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    world.target.is_down = True
    life.send(2)
    wait_until(lambda: life.out.unhealthy is not None)
    life.out.request_reset()
    world.target.rows, world.target.marker = Counter(), None
    world.target.failures = [("begin", False)] * 1000
    world.target.is_down = False
    wait_until(lambda: world.target.calls[-1] == "begin")
    _, follows = life.out.cancel_reset()
    assert not follows
    world.target.failures = []
    life.out.resume()
    world.verify()


def test_a_delta_that_cancels_out_before_it_is_sent_is_not_taken_for_written(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    world.target.gate = threading.Semaphore(0)
    applied = world.target.calls.count("apply")
    life.send(3)
    wait_until(lambda: world.target.calls.count("apply") > applied)
    life.send(2)
    life.send(2, op=DELETE)
    world.target.gate.release()
    life.settle()
    checkpoint = Checkpoint(life)
    world.target.gate = None
    life = world.live(checkpoint)
    world.verify()
    assert life.out.record.reason != "sink_behind"


def test_another_owners_target_is_not_touched(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    checkpoint = Checkpoint(life)
    assert world.target.marker is not None
    world.target.marker = replace(world.target.marker, pipeline_id="somebody else")
    before = Counter(world.target.rows)
    life = world.live(checkpoint)
    wait_until(lambda: life.out.fatal_error is not None)
    assert world.target.rows == before


@pytest.mark.parametrize("got_through", [False, True])
def test_a_snapshot_that_was_owed_is_staged_again_or_adopted_under_the_same_token(
    world: World, got_through: bool
) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    world.target.failures = [("publish", got_through)] + [("open", False)] * 1000
    record = life.out.request_reset()
    wait_until(lambda: life.out.phase is Phase.UNSURE)
    life.send(2)
    checkpoint = Checkpoint(life)
    world.target.failures = []
    published = world.target.calls.count("publish")
    life = world.live(checkpoint)
    world.verify()
    assert world.target.calls.count("publish") == published + (not got_through)
    done = life.resets.find(record.token)
    assert done is not None and done.state == "done"


def test_a_publish_that_a_crash_left_half_done_is_not_taken_for_done(world: World) -> None:
    life = world.live()
    life.send(1, 2)
    life.settle()
    world.target.failures = [("publish", True)] + [("open", False)] * 1000
    record = life.out.request_reset()
    wait_until(lambda: life.out.phase is Phase.UNSURE)
    checkpoint = Checkpoint(life)
    # as sinks do that publish key by key
    assert world.target.marker is not None and world.target.marker.token == record.token
    world.target.marker = replace(world.target.marker, phase="staging")
    del world.target.rows[(2, "x")]
    life = world.live(checkpoint)
    world.verify()
    done = life.resets.find(record.token)
    assert done is not None and done.state == "done"


def test_a_snapshot_that_was_published_after_the_last_checkpoint_counts_as_all_that_it_contains(
    world: World,
) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    world.target.failures = [("publish", True)] + [("open", False)] * 1000
    life.out.request_reset()
    wait_until(lambda: life.out.phase is Phase.UNSURE)
    checkpoint = Checkpoint(life)
    checkpoint.output = replace(checkpoint.output, completed_records=0, completed_step=0)
    life = world.live(checkpoint)
    life.settle()
    assert life.out.completed_records == life.loop.processed_records == 1


def test_a_reset_accepted_after_the_checkpoint_is_carried_out(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    checkpoint = Checkpoint(life)
    world.target.is_down = True
    record = life.out.request_reset()
    life = world.live(checkpoint)
    world.verify()
    assert life.out.record.token == record.token
    assert world.target.marker is not None and world.target.marker.token == record.token


@pytest.mark.parametrize("is_accepted_first", [True, False])
def test_a_pending_reset_can_be_cancelled_without_a_loss_after_a_restart(
    world: World, is_accepted_first: bool
) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    if not is_accepted_first:
        checkpoint = Checkpoint(life)
    world.target.is_down = True
    life.send(2)
    life.out.request_reset()
    if is_accepted_first:
        checkpoint = Checkpoint(life)
    life.send(3)
    horizon = life.loop.step
    # the restart finds the sink, and no more than it: its first call is refused
    life = world.live(checkpoint, horizon=horizon, is_down="begin")
    if not is_accepted_first:
        life.send(2)
    life.send(3)
    wait_until(lambda: life.out.phase is not Phase.UNSURE)
    _, follows = life.out.cancel_reset()
    assert follows
    world.target.failures = []
    life.send(4)
    world.verify()
    assert world.target.calls.count("publish") == 1, "it needed no snapshot"


def test_steps_made_again_while_a_reset_is_pending_count_as_delivered_once_it_is_cancelled(
    world: World,
) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    checkpoint = Checkpoint(life)
    life.send(2)
    life.settle()
    world.target.failures = [("begin", False)] * 1000
    life.out.request_reset()
    life = world.live(checkpoint, horizon=life.loop.step, is_down="begin")
    wait_until(lambda: life.out.phase is not Phase.UNSURE)
    life.send(2)  # again: the sink has it
    assert life.out.cancel_reset()[1]
    life.settle()
    assert world.target.rows == life.seen and world.target.calls.count("publish") == 1


def test_what_a_reset_staged_that_is_cancelled_by_now_is_swept(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    world.target.failures = [("stage", False)] * 1000
    staged = world.target.calls.count("stage")
    life.out.request_reset()
    wait_until(lambda: world.target.calls.count("stage") > staged)
    checkpoint = Checkpoint(life)
    world.target.is_down = True  # until it is killed
    assert life.out.cancel_reset()[1]
    world.target.swept.clear()
    life = world.live(checkpoint, horizon=life.loop.step)
    world.verify()
    # the first generation is in place; the second left its stage behind when it was killed, and
    # that goes once the target is known to be the one it was
    wait_until(lambda: world.target.swept == [2])


def test_a_reset_cancelled_after_the_checkpoint_stays_so(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    world.target.is_down = True
    life.send(2)
    life.out.request_reset()
    checkpoint = Checkpoint(life)
    assert life.out.cancel_reset()[1]
    world.target.is_down = False
    life.send(3)
    life.settle()
    life = world.live(checkpoint, horizon=life.loop.step)
    life.send(3)
    life.send(4)
    world.verify()
    assert world.target.calls.count("publish") == 1


def test_a_connector_that_a_cancellation_left_paused_stays_so_after_a_restart(
    world: World,
) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    life.out.pause()
    world.target.failures = [("begin", False)] * 1000
    life.out.request_reset()
    checkpoint = Checkpoint(life)
    assert not life.out.cancel_reset()[1]
    life = world.live(checkpoint)
    assert life.out.paused
    world.target.failures = []
    life.send(2)
    life.out.resume()
    world.verify()


def test_a_reset_of_a_paused_connector_is_carried_out_after_a_restart(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    life.out.pause()
    checkpoint = Checkpoint(life)
    world.target.is_down = True
    record = life.out.request_reset()
    life = world.live(checkpoint)
    world.verify()
    assert world.target.marker is not None and world.target.marker.token == record.token


def test_a_reset_published_after_the_checkpoint_is_adopted_when_its_steps_are_made_again(
    world: World,
) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    checkpoint = Checkpoint(life)
    life.send(2)
    record = life.out.request_reset()
    life.settle()
    life.send(3)
    life.settle()
    horizon = life.loop.step
    published = world.target.calls.count("publish")
    life = world.live(checkpoint, horizon=horizon)
    life.send(2)
    life.send(3)
    life.send(4)
    world.verify()
    assert world.target.calls.count("publish") == published
    assert life.out.record.token == record.token


def test_a_follow_mode_output_goes_on_behind_what_its_target_has(world: World) -> None:
    life = world.live(snapshot=False)
    life.send(1)
    life.settle()
    checkpoint = Checkpoint(life)
    life.send(2)
    life.settle()
    life = world.live(checkpoint, horizon=life.loop.step, snapshot=False)
    life.send(2)
    life.send(3)
    world.verify()


def test_a_follow_mode_output_ahead_of_its_checkpoint_delivers_at_least_once(world: World) -> None:
    life = world.live(snapshot=False)
    life.send(1)
    life.settle()
    checkpoint = Checkpoint(life)
    life.send(2)
    life.settle()
    life = world.live(checkpoint, snapshot=False)
    life.send(7)
    life.settle()
    wait_until(lambda: (7, "x") in world.target.rows)
    assert all(world.target.rows[r] >= n for r, n in life.seen.items())


def test_a_paused_output_stays_paused_and_is_written_anew_when_it_is_started(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    life.out.pause()
    life.send(2)
    life = world.live(Checkpoint(life))
    assert life.out.paused
    life.send(3)
    life.out.resume()
    world.verify()


OURS = Marker("p", "t", "out", 5, "tok", "following", 7, 1, "s")


@pytest.mark.parametrize(
    ("stored", "is_owed", "marker_step", "horizon", "verdict"),
    [
        (OURS, False, 7, 7, (Verdict.GO_ON, "")),
        (OURS, False, 3, 9, (Verdict.GO_ON, "")),
        (OURS, False, 8, 9, (Verdict.RENEW, "sink_behind")),
        (OURS, False, 3, 6, (Verdict.RENEW, "sink_ahead")),
        (replace(OURS, phase=RESTORED), False, 7, 9, (Verdict.RENEW, "sink_behind")),
        (replace(OURS, phase=RESTORED), True, None, 9, (Verdict.OWED, "")),
        (OURS, True, None, 7, (Verdict.PUBLISHED, "")),
        (OURS, True, None, 6, (Verdict.RENEW, "sink_ahead")),
        (replace(OURS, generation=4, token="old"), False, 7, 9, (Verdict.RENEW, "sink_behind")),
        (replace(OURS, generation=4, token="old"), True, None, 9, (Verdict.OWED, "")),
        (replace(OURS, generation=4, token="old"), False, None, 9, (Verdict.GO_ON, "")),
        (replace(OURS, generation=6), True, None, 9, (Verdict.RENEW, "unknown_generation")),
        (replace(OURS, token="x"), False, 7, 9, (Verdict.RENEW, "unknown_generation")),
        (None, False, 7, 9, (Verdict.RENEW, "marker_lost")),
        (None, False, None, 9, (Verdict.GO_ON, "")),
        (None, True, None, 9, (Verdict.OWED, "")),
    ],
)  # fmt: skip
def test_the_table(
    stored: Marker | None,
    is_owed: bool,
    marker_step: int | None,
    horizon: int,
    verdict: tuple[Verdict, str],
) -> None:
    found = judge(
        stored,
        generation=5,
        token="tok",
        is_owed=is_owed,
        marker_step=marker_step,
        horizon=horizon,
        stores_marker=True,
    )
    assert found == verdict


def test_a_position_survives_as_json(world: World) -> None:
    life = world.live()
    life.send(1)
    life.settle()
    position = life.out.position()
    plain = copy.deepcopy(position.to_json())
    again = type(position).from_json(plain, position.queue, position.way_back)
    assert again == position
