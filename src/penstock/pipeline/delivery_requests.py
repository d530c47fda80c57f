"""What is asked of an output endpoint (reset, cancel, pause, resume), and what that does to it.

The way back. A reset drops what is queued, since the snapshot will contain it. So that it can
still be cancelled, the dropped deltas and those that come until the publish are kept aside, as
long as they are few (`KEPT_RECORDS`): a cancelled reset then goes on where it was, and nothing is
lost. Without a way back (the deltas were too many, or the sink had never shown a whole snapshot)
a cancelled reset leaves the old contents as they are and the connector paused: what it missed is
owed, and starting it is a reset. A restart keeps both (`way_back`).

Invariant: the durable record is written before the phase or anything else changes (rule 1): an
event whose record cannot be written has not happened, and is tried again.

Not here: who asks (`reset_desk`, the step loop of a full queue), the sink's events
(`delivery_state`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.errors import Conflict
from penstock.pipeline.delivery_facts import Progress
from penstock.pipeline.delivery_knowledge import DeliveryKnowledge, log
from penstock.pipeline.delta_queue import DeltaQueue
from penstock.pipeline.eventlog import event
from penstock.pipeline.phases import CANCELLABLE, Event, Phase
from penstock.pipeline.resets import ResetRecord
from penstock.pipeline.way_back import WayBack

if TYPE_CHECKING:
    from penstock.pipeline.reset_group import ResetGroup


class RequestedDelivery(DeliveryKnowledge):
    """See the module. The caller holds the endpoint's lock in every method."""

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
        self.progress = Progress()
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
