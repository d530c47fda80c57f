"""How an output endpoint goes on after a restart.

    the checkpoint's position ──take_up──► deltas only queue, the sink is not known yet
    the sink's marker ──verify──► go on behind it │ published after all │ owed │ a new generation
    and whenever it is connected anew ──rejoin──► go on │ a new generation

What the marker means is the table of `output_position`; this applies its verdict.

Not here: what a checkpoint is (`checkpoints`), when the sink is asked (`delivery`).
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.io.contracts import Marker
from penstock.pipeline.delta_queue import DeltaQueue
from penstock.pipeline.eventlog import event
from penstock.pipeline.output_position import OutputPosition, Recovered, Verdict, judge
from penstock.pipeline.phases import Event, Phase
from penstock.pipeline.way_back import gone_back, way_of, way_token

if TYPE_CHECKING:
    from penstock.pipeline.delivery_knowledge import DeliveryKnowledge
    from penstock.pipeline.delivery_state import DeliveryState

log = logging.getLogger("penstock.pipeline.outputs")

#: within one life nothing that a sink holds is uncertain
ANY_STEP = sys.maxsize


def take_up(state: DeliveryKnowledge, recovered: Recovered) -> bool:
    """Go on from an earlier life, as far as it is known without the sink. False if the sink
    had refused for good: a restart tries it anew."""
    p = recovered.position
    record = state.resets.newest(state.name)
    if record is None:
        return False
    if record.generation < p.generation:
        cancelled = state.resets.find(p.token)
        if cancelled is None or cancelled.state != "cancelled":
            return False  # the record of resets is older than the checkpoint: go beyond both
        back = gone_back(p)
        if back is None or back.generation != record.generation:
            # nothing to go back to: paused until somebody starts it, as `cancel` left it
            _take_counts(state, p)
            state.record, state.phase = cancelled, Phase.WAITING
            state.must_begin, state.paused = False, True
            return True
        p = back
    is_newer = record.generation > p.generation
    if p.is_failed or record.state == "failed":
        return False
    state.record = record
    state.must_begin = p.must_begin and not is_newer
    is_owed = state.settings.snapshot and (p.is_owed or is_newer)
    state.phase = Phase.UNSURE if is_owed else Phase.FOLLOWING
    if not is_newer:
        # also when it is owed: if it turns out to be published, these come after it
        state.queue = DeltaQueue(replace(e, queued_at=time.monotonic()) for e in p.queue)
        state.rows, state.digest, state.marker_step = p.rows, p.digest, p.marker_step
    if record.is_pending and is_owed:
        old = state.resets.find(way_token(p, is_newer))
        state.way_back = way_of(p, is_newer, old)
    # a reset ends a pause
    state.paused = p.is_paused and not is_newer
    _take_counts(state, p)
    for e in state.queue:
        state.pushed_step, state.pushed_records = e.step, e.processed
    state.unverified = recovered
    return True


def _take_counts(state: DeliveryKnowledge, p: OutputPosition) -> None:
    state.counters.transmitted_records = p.transmitted_records
    state.completed_step, state.completed_records = p.completed_step, p.completed_records
    state.pushed_step, state.pushed_records = p.completed_step, p.completed_records


def verify(state: DeliveryState, stored: Marker | None, stores_marker: bool) -> str | None:
    """Decide by the sink's marker how to go on (the table of `output_position`). Returns why
    the connector has to give up, if it has to. Raises TransientError if what is decided cannot be
    recorded: it is then decided anew."""
    recovered = state.unverified
    problem = None if recovered is None else _verified(state, recovered, stored, stores_marker)
    state.unverified = None
    return problem


def _verified(
    state: DeliveryState, recovered: Recovered, stored: Marker | None, stores_marker: bool
) -> str | None:
    is_owed = state.phase is Phase.UNSURE
    verdict, reason = judge(
        stored,
        generation=state.record.generation,
        token=state.record.token,
        is_owed=is_owed,
        marker_step=state.marker_step,
        horizon=recovered.horizon,
        stores_marker=stores_marker,
    )
    event(
        log, "output_recovered", endpoint=state.name, generation=state.record.generation,
        verdict=verdict.value, reason=reason or "-",
        sink_step=None if stored is None else stored.step, horizon=recovered.horizon,
    )  # fmt: skip
    if verdict is Verdict.RENEW:
        return _renewed(state, reason, stored)
    elif verdict is Verdict.PUBLISHED or (verdict is Verdict.GO_ON and stored is not None):
        assert stored is not None
        if stored.token == state.record.token:
            _go_on_behind(state, stored, is_owed, recovered)
    elif verdict is Verdict.OWED:
        if state.record.is_pending:
            _keep_way_back(state, stored, recovered.horizon)
            state.owe(Event.LOST)
        else:
            # published once, and the target has forgotten: a token is not used twice
            _renew(state, "sink_behind", 1)
    return None


def rejoin(state: DeliveryState, stored: Marker | None, stores_marker: bool) -> str | None:
    """The sink was connected anew in the midst of a life: a target that came back empty or older
    than it was (restarted without its data, restored, made anew) is owed a snapshot. Returns why
    the connector has to give up, if it has to."""
    if not stores_marker:
        return None
    if state.phase is not Phase.FOLLOWING:
        way = state.way_back
        if way is not None and way.marker_step is not None and not way.leads_to(stored, ANY_STEP):
            state.way_back = None
        return None
    verdict, reason = judge(
        stored,
        generation=state.record.generation,
        token=state.record.token,
        is_owed=False,
        marker_step=state.marker_step,
        horizon=ANY_STEP,
        stores_marker=True,
    )
    return None if verdict is Verdict.GO_ON else _renewed(state, reason, stored)


def _renewed(state: DeliveryState, reason: str, stored: Marker | None) -> str | None:
    """Go on under a new generation; or why not."""
    is_lost = reason in ("marker_lost", "sink_behind")
    if is_lost and state.settings.fails_on_lost_marker:
        return (
            "the target does not hold what was written to it last "
            f'({reason.replace("_", " ")}), and "on_lost_marker" is "fail": restore the '
            "target, or reset the connector to write it anew"
        )
    _renew(state, reason, 1 if stored is None else stored.generation + 1)
    return None


def _keep_way_back(state: DeliveryState, stored: Marker | None, horizon: int) -> None:
    """The snapshot is still owed; it can be cancelled as before if the sink shows what it did."""
    way = state.way_back
    if way is None:
        return
    if stored is None or not way.leads_to(stored, horizon):
        state.way_back = None
        return
    state.set_aside()
    way.begin_behind(stored)
    state.rows, state.digest = stored.rows, stored.digest


def _go_on_behind(
    state: DeliveryState, stored: Marker, is_owed: bool, recovered: Recovered
) -> None:
    """The sink has everything up to its marker's step."""
    state.way_back = None
    state.must_begin = False
    state.skip_to = stored.step
    processed = state.completed_records
    if stored.step >= recovered.step:
        processed = max(processed, recovered.processed)
    for e in state.queue:
        if e.step <= stored.step:
            processed = e.processed
    state.queue.took(stored.step)
    state.rows, state.digest, state.marker_step = stored.rows, stored.digest, stored.step
    if is_owed:
        state.published(state.record, stored.step, processed, stored.rows, stored.digest)
    else:
        state.advance(min(stored.step, state.pushed_step), processed)


def _renew(state: DeliveryState, reason: str, at_least: int) -> None:
    """Go on under a new generation."""
    if state.settings.snapshot:
        state.counters.resets += 1
        state.accept(reason, "replace", None, at_least)
    else:
        state.record = state.resets.accept(state.name, reason=reason, at_least=at_least)
        state.queue = DeltaQueue().then(state.queue, state.record.generation)
        state.marker_step = None
        state.rows = state.digest = 0
        state.must_begin = False
        state.resets.finish(state.name, state.record.generation, step=0, rows=0)
