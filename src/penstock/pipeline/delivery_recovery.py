"""How an output endpoint goes on after a restart.

    the checkpoint's position ──take_up──► deltas only queue, the sink is not known yet
    the sink's marker ──verify──► go on behind it │ published after all │ owed │ a new generation

What the marker means is the table of `output_position`; this applies its verdict.

Not here: what a checkpoint is (`checkpoints`), when the sink is asked (`delivery`).
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.io.contracts import Marker
from penstock.pipeline.delta_queue import DeltaQueue
from penstock.pipeline.eventlog import event
from penstock.pipeline.output_position import Recovered, Verdict, judge
from penstock.pipeline.phases import Event, Phase

if TYPE_CHECKING:
    from penstock.pipeline.delivery_state import DeliveryState

log = logging.getLogger("penstock.pipeline.outputs")


def take_up(state: DeliveryState, recovered: Recovered) -> bool:
    """Go on from an earlier life, as far as it is known without the sink. False if the sink
    had refused for good: a restart tries it anew."""
    p = recovered.position
    record = state.resets.newest(state.name)
    if record is None or record.generation < p.generation:
        return False  # the record of resets is older than the checkpoint: go beyond both
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
    state.paused = p.is_paused
    state.counters.transmitted_records = p.transmitted_records
    state.completed_step, state.completed_records = p.completed_step, p.completed_records
    state.pushed_step, state.pushed_records = p.completed_step, p.completed_records
    for e in state.queue:
        state.pushed_step, state.pushed_records = e.step, e.processed
    state.unverified = recovered
    return True


def verify(state: DeliveryState, stored: Marker | None, stores_marker: bool) -> str | None:
    """Decide by the sink's marker how to go on (the table of `output_position`). Returns why
    the connector has to give up, if it has to."""
    recovered, state.unverified = state.unverified, None
    if recovered is None:
        return None
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
        is_lost = reason in ("marker_lost", "sink_behind")
        if is_lost and state.settings.fails_on_lost_marker:
            return (
                "the target does not hold what was written to it last "
                f'({reason.replace("_", " ")}), and "on_lost_marker" is "fail": restore the '
                "target, or reset the connector to write it anew"
            )
        _renew(state, reason, 1 if stored is None else stored.generation + 1)
    elif verdict is Verdict.PUBLISHED or (verdict is Verdict.GO_ON and stored is not None):
        assert stored is not None
        if stored.token == state.record.token:
            _go_on_behind(state, stored, is_owed)
    elif verdict is Verdict.OWED:
        if state.record.is_pending:
            state.owe(Event.LOST)
        else:
            # published once, and the target has forgotten: a token is not used twice
            _renew(state, "sink_behind", 1)
    return None


def _go_on_behind(state: DeliveryState, stored: Marker, is_owed: bool) -> None:
    """The sink has everything up to its marker's step."""
    state.must_begin = False
    state.skip_to = stored.step
    processed = state.completed_records
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
        state.accept(reason, "replace", None, at_least, None)
    else:
        state.record = state.resets.accept(state.name, reason=reason, at_least=at_least)
        state.queue = DeltaQueue().then(state.queue, state.record.generation)
        state.marker_step = None
        state.rows = state.digest = 0
        state.must_begin = False
        state.resets.finish(state.name, state.record.generation, step=0, rows=0)
