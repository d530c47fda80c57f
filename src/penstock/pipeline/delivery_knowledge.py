"""What an output endpoint knows about its sink, and what holds of that now.

    phase, record      where it is on its way, under which generation (`phases`, `resets`)
    queue, way back    the deltas that its sink has not got
    rows, digest       what its sink shows, as far as we delivered it
    holds, group       what it waits for

Not here: the events that change it (`delivery_state`, `delivery_requests`).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from penstock.errors import without_hidden
from penstock.pipeline.delivery_facts import Counters, Cut, Hold, Progress
from penstock.pipeline.delivery_recovery import take_up
from penstock.pipeline.delta_queue import DeltaQueue
from penstock.pipeline.output_position import OutputPosition, Recovered
from penstock.pipeline.output_settings import OutputSettings
from penstock.pipeline.phases import CANCELLABLE, Event, Phase, WaitingFor, next_phase
from penstock.pipeline.resets import ResetLog, ResetRecord
from penstock.pipeline.way_back import WayBack

if TYPE_CHECKING:
    from penstock.pipeline.reset_group import ResetGroup

log = logging.getLogger("penstock.pipeline.outputs")

#: errors kept per endpoint for the statistics (contract 6.2)
KEPT_ERRORS = 100
#: most rows that a reset keeps aside so that it can be cancelled without a loss
KEPT_RECORDS = 100_000


class DeliveryKnowledge:
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
        #: what steps before this one change is not for this output, which came later
        self.first_step = 0
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

    def status_of(self, record: ResetRecord, sent_bytes: int) -> dict[str, Any]:
        """Phase and progress of `record`, which belongs to this endpoint; `sent_bytes`: what its
        sink has sent so far."""
        is_live = record.generation == self.record.generation
        progress = self.progress if is_live else Progress(started_at=record.accepted_at)
        waiting_for = self.waiting_for if is_live else None
        return {
            "phase": self.phase.value if is_live else record.state,
            "waiting_for": None if waiting_for is None else waiting_for.value,
            "attempt": progress.attempt,
            "rows_staged": progress.rows_staged,
            "rows_total": progress.rows_total,
            "bytes": max(0, sent_bytes - progress.bytes_before) if progress.attempt else 0,
            "step": progress.step,
            "last_error": progress.last_error,
        }

    def is_current(self, record: ResetRecord) -> bool:
        """Whether a cut on behalf of `record` is still wanted."""
        return not self.paused and self.record.generation == record.generation

    def is_staging(self, record: ResetRecord, cut: Cut) -> bool:
        """Whether `cut` is still to be staged and published on behalf of `record`: a pause and a
        start in between leave the record as it is, but want another cut."""
        is_pinned = self.phase is Phase.STAGING and self.pinned is cut
        return is_pinned and self.is_current(record)

    @property
    def is_due(self) -> bool:
        """Whether there is a delta that may be delivered now."""
        first = next(iter(self.queue), None)
        return first is not None and first.step <= self._held_at

    @property
    def buffered_for_s(self) -> float:
        """Seconds until the output buffer is due; 0 now. Only deltas are buffered, and without
        rows there is nothing to wait for."""
        settings, oldest = self.settings, self.queue.oldest_rows
        if self.phase is not Phase.FOLLOWING or self.must_begin:
            return 0.0
        if not settings.buffered or self.is_flush_asked or oldest is None:
            return 0.0
        if self.queue.records >= settings.buffer_records:
            return 0.0
        return settings.buffer_time_s - (time.monotonic() - oldest)

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

    # what several events do

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

    def _bound_way_back(self) -> None:
        bound = min(KEPT_RECORDS, self.settings.max_queued_records)
        if self.way_back is not None and self.way_back.queue.records > bound:
            self.way_back = None

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
        message = without_hidden(message)
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
