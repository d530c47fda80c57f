"""What each event of the step loop and of the delivery does to an output endpoint.

    step loop ──push──►┐                          ┌──cut, staged, published, applied,
    REST ──reset, ─────► DeliveryState (this) ◄───┤  unavailable, rejected, lost── delivery
           cancel,     │                          │
           pause       └── phase, record, queue, progress ──► delivery, statistics

    delivery_knowledge   what is known, and what holds of that now
    delivery_requests    reset, cancel, pause, resume; the way back
    delivery_state       this: the step loop's event, the delivery's events

No thread and no sink in here: every method is one event, runs to its end under the endpoint's
lock and follows the table in `pipeline.phases`. That is what makes it checkable: the model test
plays all interleavings of these events.

Recovery. After a restart an endpoint takes up the position that its checkpoint kept, and the
first look at its sink's marker decides how it goes on (`output_position`); until then deltas only
queue.

Invariants:
* a delta is queued under the generation that it belongs to (reset.md rule 2);
* the durable record is written before the phase or anything else changes (rule 1);
* `completed_step` only moves when the sink has taken the rows of that step (rule 10);
* a sink that is down with a reset pending costs no more memory than the way back (section 2).

Not here: calls of the sink (`delivery`), threads and locks (`outputs`), tokens (`resets`).
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from penstock.data.batch import Batch
from penstock.errors import TransientError
from penstock.pipeline.delivery_facts import Cut
from penstock.pipeline.delivery_knowledge import log
from penstock.pipeline.delivery_requests import RequestedDelivery
from penstock.pipeline.delta_queue import DeltaQueue, Entry
from penstock.pipeline.eventlog import event
from penstock.pipeline.phases import QUEUEING, Event, Phase, WaitingFor, next_phase
from penstock.pipeline.resets import ResetRecord


class DeliveryState(RequestedDelivery):
    """See the module. The caller holds the endpoint's lock in every method."""

    # the step loop's event

    def push(self, step: int, processed: int, delta: Batch) -> None:
        """One step's delta of the view."""
        now = time.monotonic()
        self.pushed_step, self.pushed_records = step, processed
        if self._behind_since is None:
            self._behind_since = now
        if self.paused:
            if not self.settings.snapshot:
                # discarded for good: nothing is owed, so progress may move on
                self.advance(step, processed)
            return
        rows = delta if len(delta) and step >= self.first_step else None
        if step <= self.skip_to:
            self.advance(step, processed)
            return
        entry = Entry(self.record.generation, step, processed, rows, now)
        if self.phase in QUEUEING:
            self.queue.push(entry)
            if self.queue.records > self.settings.max_queued_records:
                self._relieve()
        elif self.way_back is not None:
            self.way_back.push(entry)
        self._bound_way_back()

    def _relieve(self) -> None:
        """The queue is over its bound: consolidate it, or owe a snapshot instead of it."""
        if self.unverified is not None and self.settings.snapshot:
            # its steps must stay apart until the marker is known; a snapshot is always right
            self._exchange_queue()
        elif self.phase is not Phase.FOLLOWING:
            if self.queue.has_doubled:
                self.queue.coalesce()
        elif self.settings.snapshot and self.settings.overflow_resets:
            self._exchange_queue()

    def _exchange_queue(self) -> None:
        event(log, "queue_overflow", endpoint=self.name, records=self.queue.records)
        try:
            self.reset(reason="overflow")
        except TransientError as e:
            # it stays as it is, and where the circuit can wait for it, it does
            event(log, "overflow_kept", logging.WARNING, endpoint=self.name, error=e)

    # the delivery's events

    def begin_attempt(self, bytes_before: int) -> ResetRecord:
        """The sink is open and waits for a cut, on behalf of the record that is returned: for the
        step under way, or for the others of its group."""
        self.progress.attempt += 1
        self.progress.rows_staged = 0
        self.progress.bytes_before = bytes_before
        self._waiting_for = WaitingFor.STEP if self.group is None else WaitingFor.GROUP
        return self.record

    def cut(self, record: ResetRecord, cut: Cut) -> bool:
        """The view is pinned at `cut.step`, and the next delta to be pushed is that of the step
        after. False if `record` is no longer wanted."""
        if not self.is_current(record) or self.phase is not Phase.WAITING:
            return False
        self.queue = DeltaQueue()
        self.group = None
        self.phase = next_phase(self.phase, Event.CUT)
        self.pinned = cut
        self.progress.step = cut.step
        self.progress.rows_total = cut.snapshot.rows
        event(
            log, "cut_taken", endpoint=self.name, generation=record.generation, step=cut.step,
            rows=cut.snapshot.rows,
        )  # fmt: skip
        return True

    def staged(self, record: ResetRecord, cut: Cut) -> bool:
        """Everything is staged and will be published now: there is no way back from here. False
        if it is no longer wanted."""
        if not self.is_staging(record, cut):
            return False
        self.way_back = None
        self.phase = next_phase(self.phase, Event.STAGED)
        return True

    def published(
        self, record: ResetRecord, step: int, processed: int, rows: int, digest: int
    ) -> None:
        """The sink shows the snapshot."""
        if self.record.generation != record.generation:
            return
        phase = next_phase(self.phase, Event.PUBLISHED)
        self.resets.finish(
            self.name, record.generation, step=step, rows=rows,
            attempt=self.progress.attempt, bytes=self.progress.bytes_sent,
        )  # fmt: skip
        self.phase, self.pinned = phase, None
        self.rows, self.digest, self.marker_step = rows, digest, step
        self.failures = 0
        self.unhealthy = None
        self.counters.transmitted_records += rows
        self.counters.published_snapshots += 1
        self.record = replace(self.record, state="done", step=step, rows=rows)
        self.advance(step, processed)
        event(
            log, "snapshot_published", endpoint=self.name, generation=record.generation,
            step=step, rows=rows, seconds=round(time.time() - record.accepted_at, 3),
        )  # fmt: skip

    def lost(self, record: ResetRecord) -> None:
        """The publish did not get through: the snapshot is owed again."""
        if self.record.generation == record.generation and self.phase is Phase.UNSURE:
            self.owe(Event.LOST)

    def begun(self) -> None:
        """A follow-mode connector has taken its target."""
        self.resets.finish(self.name, self.record.generation, step=0, rows=0)
        self.must_begin = False
        self.failures = 0
        self.record = replace(self.record, state="done", step=0, rows=0)

    def send(self, *, one_step: bool) -> list[Entry]:
        """The entries of the next batch, which counts as sent until `applied`."""
        if self.phase is not Phase.FOLLOWING:
            return []
        entries = self.queue.head(self.record.generation, one_step=one_step)
        entries = [e for e in entries if e.step <= self._held_at]
        if entries:
            self.queue.sent_step = entries[-1].step
        return entries

    def applied(
        self, record: ResetRecord, entries: list[Entry], rows: int, digest: int, is_written: bool
    ) -> bool:
        """The sink has taken `entries` on behalf of `record`; `is_written`: with a marker, as they
        were not empty together. False if a reset came meanwhile."""
        last = entries[-1]
        if self.record.generation != record.generation:
            w = self.way_back
            if w is not None and w.record.generation == record.generation:
                w.queue.took(last.step)
                w.taken = (last.step, last.processed)
                if is_written:
                    w.marker_step = last.step
                self.rows, self.digest = rows, digest
            return False
        self.queue.took(last.step)
        if is_written:
            self.marker_step = last.step
        self.failures = 0
        if not len(self.queue):
            self.is_flush_asked = False
        if any(e.rows is not None for e in entries):
            self.unhealthy = None
        self.rows, self.digest = rows, digest
        self.counters.transmitted_records += sum(e.records for e in entries)
        self.advance(last.step, last.processed)
        return True

    def unavailable(self, message: str) -> None:
        """A passing failure: the delivery backs off and goes on from the phase it finds."""
        self.failures += 1
        self._note_error(message)
        if self.phase is Phase.FAILED:
            return
        if self.phase is Phase.STAGING:
            self.set_aside()
            self.owe(Event.UNAVAILABLE)
        else:
            self.phase = next_phase(self.phase, Event.UNAVAILABLE)
        self._waiting_for = WaitingFor.SINK

    def rejected(self, message: str, begun: int, *, is_encoding: bool = False) -> None:
        """The sink refused for good, or a row cannot be encoded: the contents stay as they are
        until somebody resets it. `begun`: the generation in which the work that met this began."""
        if self.phase is Phase.FAILED:
            return
        if self.record.generation > begun:
            # a reset came meanwhile: what was refused is not wanted any more, and the target is
            # looked at anew before anything is written
            event(
                log, "sink_rejected_before_reset", logging.WARNING, endpoint=self.name,
                error=message,
            )  # fmt: skip
            return
        self.resets.fail(self.name, self.record.generation, message)
        self._note_error(message, is_encoding=is_encoding)
        self.fatal_error = message
        self.way_back = None
        self.owe(Event.REJECTED)
        if self.record.is_pending:
            self.record = replace(self.record, state="failed", error=message)
        event(log, "sink_rejected", logging.ERROR, endpoint=self.name, error=message)

    def outbid(self, generation: int) -> None:
        """The target holds `generation`, which is not of this life: go beyond it, so that fencing
        lets us write."""
        r = self.record
        if self.settings.snapshot:
            self.accept(r.reason, r.mode, None, generation + 1)
        else:
            self.record = self.resets.accept(self.name, reason=r.reason, at_least=generation + 1)
            self.queue = DeltaQueue()
