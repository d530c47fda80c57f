"""What an output endpoint knows about its sink, and what each event does to that knowledge.

    step loop ──push──►┐                          ┌──cut, staged, published, applied,
    REST ──reset, ─────► DeliveryState (this) ◄───┤  unavailable, rejected, lost── delivery
           cancel,     │                          │
           pause       └── phase, record, queue, progress ──► delivery, statistics

No thread and no sink in here: every method is one event, runs to its end under the endpoint's
lock and follows the table in `pipeline.phases`. That is what makes it checkable: the model test
plays all interleavings of these events.

Recovery. After a restart an endpoint takes up the position that its checkpoint kept, and the
first look at its sink's marker decides how it goes on (`output_position`); until then deltas only
queue.

The way back. A reset drops what is queued, since the snapshot will contain it. So that it can
still be cancelled, the dropped deltas and those that come until the publish are kept aside, as
long as they are few (`KEPT_RECORDS`): a cancelled reset then goes on where it was, and nothing is
lost. Without a way back (the deltas were too many, or the sink had never shown a whole snapshot)
a cancelled reset leaves the old contents as they are and the connector paused: what it missed is
owed, and starting it is a reset. A restart keeps both (`way_back`).

Invariants:
* a delta is queued under the generation that it belongs to (reset.md rule 2);
* the durable record is written before the phase or anything else changes (rule 1): an event whose
  record cannot be written has not happened, and is tried again;
* `completed_step` only moves when the sink has taken the rows of that step (rule 10);
* a sink that is down with a reset pending costs no more memory than the way back (section 2).

Not here: calls of the sink (`delivery`), threads and locks (`outputs`), tokens (`resets`).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from penstock.data.batch import Batch
from penstock.errors import Conflict, TransientError
from penstock.pipeline.delivery_facts import Counters, Cut, Hold, Progress
from penstock.pipeline.delivery_recovery import take_up
from penstock.pipeline.delta_queue import DeltaQueue, Entry
from penstock.pipeline.eventlog import event
from penstock.pipeline.output_position import OutputPosition, Recovered
from penstock.pipeline.output_settings import OutputSettings
from penstock.pipeline.phases import CANCELLABLE, QUEUEING, Event, Phase, WaitingFor, next_phase
from penstock.pipeline.resets import ResetLog, ResetRecord
from penstock.pipeline.way_back import WayBack

if TYPE_CHECKING:
    from penstock.pipeline.reset_group import ResetGroup

log = logging.getLogger("penstock.pipeline.outputs")

#: errors kept per endpoint for the statistics (contract 6.2)
KEPT_ERRORS = 100
#: most rows that a reset keeps aside so that it can be cancelled without a loss
KEPT_RECORDS = 100_000


class DeliveryState:
    """See the module. The caller holds the endpoint's lock in every method."""

    def __init__(
        self,
        name: str,
        settings: OutputSettings,
        resets: ResetLog,
        recovered: Recovered | None = None,
    ) -> None:
        self.name, self.settings = name, settings
        self.resets = resets
        self._waiting_for = WaitingFor.DELIVERY
        self.queue = DeltaQueue()
        self.way_back: WayBack | None = None
        self.pinned: Cut | None = None
        #: the group reset that the next cut waits for
        self.group: ResetGroup | None = None
        self.holds: list[Hold] = []
        self.is_flush_asked = False
        #: rows and digest of what the sink shows, as far as we delivered it
        self.rows = self.digest = 0
        #: step of the marker last written under `record`; None for none
        self.marker_step: int | None = None
        #: until the sink's marker has been looked at after a restart
        self.unverified: Recovered | None = None
        #: steps up to this one are in the sink already, though they are made again
        self.skip_to = 0
        self.paused = settings.paused
        self.failures = 0
        self.counters = Counters()
        self.progress = Progress()
        self.fatal_error: str | None = None
        self.unhealthy: str | None = None
        self.errors: deque[dict[str, Any]] = deque(maxlen=KEPT_ERRORS)
        self.encode_errors: deque[dict[str, Any]] = deque(maxlen=KEPT_ERRORS)
        self.completed_step = self.completed_records = 0
        self.pushed_step = self.pushed_records = 0
        self._behind_since: float | None = None
        if recovered is None or not take_up(self, recovered):
            self.record = resets.accept(name, reason="start")
            self.phase = Phase.WAITING if settings.snapshot else Phase.FOLLOWING
            #: a follow-mode connector has not taken its target yet
            self.must_begin = not settings.snapshot

    # what holds now

    def position(self, config: str, schema: str) -> OutputPosition:
        """For a checkpoint, between two steps. `config`, `schema`: digests of those."""
        is_following = self.phase is Phase.FOLLOWING
        return OutputPosition(
            generation=self.record.generation,
            token=self.record.token,
            is_owed=not is_following,
            must_begin=self.must_begin,
            completed_step=self.completed_step,
            completed_records=self.completed_records,
            marker_step=self.marker_step,
            rows=self.rows,
            digest=self.digest,
            is_paused=self.paused,
            is_failed=self.phase is Phase.FAILED,
            transmitted_records=self.counters.transmitted_records,
            config=config,
            schema=schema,
            queue=tuple(self.queue),
            way_back=None if self.way_back is None else self.way_back.kept(),
        )

    @property
    def waiting_for(self) -> WaitingFor | None:
        """Why a snapshot that is owed has not been cut yet; None in every other phase."""
        if self.phase is not Phase.WAITING:
            return None
        return WaitingFor.PAUSED if self.paused else self._waiting_for

    @property
    def can_cancel(self) -> bool:
        return self.phase in CANCELLABLE and self.record.is_pending

    @property
    def kept_records(self) -> int:
        """Rows kept aside for a cancellation."""
        return 0 if self.way_back is None else self.way_back.queue.records

    @property
    def memory_bytes(self) -> int:
        """Bytes of the deltas that wait or are kept aside. Endpoints of one view share theirs, and
        each counts them."""
        kept = 0 if self.way_back is None else self.way_back.queue.byte_size
        return self.queue.byte_size + kept

    def lag(self) -> tuple[int, float]:
        """(input records, seconds) that the sink is behind the circuit."""
        records = max(0, self.pushed_records - self.completed_records)
        since = self._behind_since
        return records, 0.0 if since is None else time.monotonic() - since

    def is_current(self, record: ResetRecord) -> bool:
        """Whether a cut on behalf of `record` is still wanted."""
        return not self.paused and self.record.generation == record.generation

    def is_staging(self, record: ResetRecord, cut: Cut) -> bool:
        """Whether `cut` is still to be staged and published on behalf of `record`: a pause and a
        start in between leave the record as it is, but want another cut."""
        is_pinned = self.phase is Phase.STAGING and self.pinned is cut
        return is_pinned and self.is_current(record)

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
        rows = delta if len(delta) else None
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

    def _bound_way_back(self) -> None:
        bound = min(KEPT_RECORDS, self.settings.max_queued_records)
        if self.way_back is not None and self.way_back.queue.records > bound:
            self.way_back = None

    @property
    def is_due(self) -> bool:
        """Whether there is a delta that may be delivered now."""
        first = next(iter(self.queue), None)
        return first is not None and first.step <= self._held_at

    @property
    def is_still(self) -> bool:
        """Whether the sink must not be called at all now."""
        return any(h.is_still for h in self.holds)

    @property
    def _held_at(self) -> float:
        """The last step that may be delivered now."""
        return min((h.step for h in self.holds), default=float("inf"))

    def shows(self, step: int) -> bool:
        """Whether the target holds the view as of `step`, or will not move by itself."""
        if self.paused or self.phase is Phase.FAILED:
            return True
        is_known = self.phase is Phase.FOLLOWING and self.unverified is None
        return is_known and self.completed_step >= step

    # requests

    def reset(
        self,
        *,
        reason: str,
        mode: str = "replace",
        reset_id: str | None = None,
        group: ResetGroup | None = None,
    ) -> ResetRecord:
        """Owe the sink a fresh snapshot under a new generation; durable on return.

        Before the cut of an earlier reset this is that same reset (reset.md rule 8), unless it
        has a name or a group of its own: then it supersedes it. A name that was used before is
        that earlier reset, whatever became of it."""
        known = None if reset_id is None else self.resets.find_by_id(self.name, reset_id)
        if known is not None:
            return known
        if self._is_same_reset and reset_id is None and group is None:
            self.paused = False
            return self.record
        record = self.accept(reason, mode, reset_id, 1, is_asked=True)
        self.paused = False
        self.counters.resets += 1
        self.group = group
        return record

    def accept(
        self, reason: str, mode: str, reset_id: str | None, at_least: int, *, is_asked: bool = False
    ) -> ResetRecord:
        """Go on under a new generation, with a way back if it was asked for."""
        record = self.resets.accept(
            self.name, reason=reason, mode=mode, reset_id=reset_id, at_least=at_least
        )
        # only now: if that raised, nothing has happened
        self.way_back = self._way_back_of_reset(reason) if is_asked else None
        self.record = record
        self.unverified = None
        self.skip_to = 0
        self.marker_step = None
        self.owe(Event.RESET)
        self.progress = Progress()
        self.fatal_error = None
        self.failures = 0
        event(
            log, "reset_accepted", endpoint=self.name, generation=self.record.generation,
            token=self.record.token, reason=reason, mode=mode,
        )  # fmt: skip
        return self.record

    @property
    def _is_same_reset(self) -> bool:
        is_uncut = self.phase is Phase.WAITING and self.record.is_pending
        return is_uncut and self.record.reason != "start"

    def _way_back_of_reset(self, reason: str) -> WayBack | None:
        """What a cancellation of a reset that is accepted now could go back to."""
        if self.paused or reason == "overflow" or self.unverified is not None:
            return None
        if self.phase is Phase.FOLLOWING and self.settings.snapshot:
            queue, self.queue = self.queue, DeltaQueue()
            return WayBack(self.record, queue, self.marker_step, skip_to=self.skip_to)
        if self.phase is Phase.STAGING:
            self.set_aside()
        return self.way_back if self.phase in CANCELLABLE else None

    def set_aside(self) -> None:
        """What queued after the cut belongs to the way back again."""
        if self.way_back is not None:
            self.way_back.add(self.queue)
            self._bound_way_back()

    def owe(self, by: Event) -> None:
        """The next snapshot will contain what is queued."""
        self.queue = DeltaQueue()
        self.pinned = self.group = None
        self.is_flush_asked = False
        self.phase = next_phase(self.phase, by)
        self._waiting_for = WaitingFor.DELIVERY

    def cancel(self) -> bool:
        """Call the pending reset off; the sink keeps its contents.

        True if it goes on from there; False if it misses deltas: then the connector is paused
        and owes a snapshot. Raises Conflict when there is nothing to cancel, or it is too late."""
        if not self.can_cancel:
            is_late = self.record.is_pending and self.phase in (Phase.PUBLISHING, Phase.UNSURE)
            raise Conflict(
                f"output connector '{self.name}': "
                + ("the snapshot is being published, it is too late to cancel the reset"
                   if is_late else "no reset is in progress"),
                code="ResetTooLateToCancel" if is_late else "NoResetInProgress",
                details={"phase": self.phase.value},
            )  # fmt: skip
        self.resets.cancel(self.name, self.record.generation)
        cancelled = self.record
        if self.phase is Phase.STAGING:
            self.set_aside()
        way_back, self.way_back = self.way_back, None
        if way_back is None:
            self.record = replace(self.record, state="cancelled")
            self.owe(Event.ABANDON)
            self.paused = True
        else:
            self.record = way_back.record
            self.owe(Event.CANCEL)
            # those that came while it was waiting carry the cancelled generation
            self.queue = way_back.queue.then(DeltaQueue(), self.record.generation)
            self.marker_step, self.skip_to = way_back.marker_step, way_back.skip_to
            if way_back.taken is not None:
                self.advance(*way_back.taken)
        self.counters.cancelled_resets += 1
        event(
            log, "reset_cancelled", endpoint=self.name, generation=cancelled.generation,
            follows=way_back is not None,
        )  # fmt: skip
        return way_back is not None

    def pause(self) -> None:
        """Discard updates from now on (contract 6.2). A snapshot that is owed stays owed."""
        self.paused = True
        self.way_back = None
        if self.phase in CANCELLABLE:
            self.owe(Event.ABANDON)
        else:
            self.queue = DeltaQueue()

    def resume(self) -> None:
        """Deliver again. In snapshot mode what was discarded is owed, so this is a reset."""
        if self.paused and self.settings.snapshot:
            self.reset(reason="resumed")
        self.paused = False

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

    def applied(self, record: ResetRecord, entries: list[Entry], rows: int, digest: int) -> bool:
        """The sink has taken `entries` on behalf of `record`. False if a reset came meanwhile."""
        last = entries[-1]
        if self.record.generation != record.generation:
            w = self.way_back
            if w is not None and w.record.generation == record.generation:
                w.queue.took(last.step)
                w.taken = (last.step, last.processed)
                if any(e.rows is not None for e in entries):
                    w.marker_step = last.step
                self.rows, self.digest = rows, digest
            return False
        self.queue.took(last.step)
        if any(e.rows is not None for e in entries):
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

    def rejected(self, message: str, *, is_encoding: bool = False) -> None:
        """The sink refused for good, or a row cannot be encoded: the contents stay as they are
        until somebody resets it."""
        if self.phase is Phase.FAILED:
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

    # shared

    def advance(self, step: int, processed: int) -> None:
        """The sink has everything up to `step`, when `processed` records had been processed."""
        self.completed_step = max(self.completed_step, step)
        self.completed_records = max(self.completed_records, processed)
        if self.completed_step >= self.pushed_step:
            self._behind_since = None
        elif self.queue.oldest is not None:
            self._behind_since = self.queue.oldest

    def _note_error(self, message: str, *, is_encoding: bool = False) -> None:
        if is_encoding:
            self.counters.num_encode_errors += 1
        else:
            self.counters.num_transport_errors += 1
        self.progress.last_error = message
        self.unhealthy = message
        c = self.counters
        (self.encode_errors if is_encoding else self.errors).append(
            {
                "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "index": c.num_encode_errors if is_encoding else c.num_transport_errors,
                "tag": None,
                "message": message,
            }
        )
