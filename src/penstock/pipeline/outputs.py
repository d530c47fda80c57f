"""An output endpoint: the thread that keeps one sink equal to its view, and can start it over.

    StepLoop ──push(step, delta)──► state.queue ──► delivery thread ──► sink.apply
    REST ──reset, cancel, pause──►  state.phase          │ owes a snapshot
                                                         ▼
           open, validate, owner? ─► cut ─► begin ─► stage … stage ─► publish ─► following

These files make one endpoint:

    phases                what may happen when, as one table
    delta_queue           the deltas on their way
    delivery_knowledge    what is known, and what holds of it now: no thread, no sink
    delivery_requests     what a reset, a cancellation, a pause do to it
    delivery_state        what each event of the step loop and of the delivery does to it
    delivery              the calls of the sink, one after the other
    target_probe, _reading   looks at the target on connections of their own
    outputs               this: the lock, the thread, retries, and the door for everybody else

A request only changes the state, under the lock; the delivery thread finds out between two calls
of the sink, so a sink is only ever touched by its own thread.

Not here: what a sink does with rows (`penstock.io.outputs`), when steps happen (`loop`).
"""

from __future__ import annotations

import logging
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace
from typing import Any

from tenacity import wait_exponential_jitter

from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.errors import TransientError, UserError
from penstock.io.contents import Contents
from penstock.io.contracts import Capabilities, Marker, Sink
from penstock.pipeline import failpoints
from penstock.pipeline.delivery import (
    STAGE_ROWS,
    AwaitDurable,
    AwaitReplayed,
    Delivery,
    Identity,
    TakeCut,
    Work,
)
from penstock.pipeline.delivery_facts import Counters, Cut, SnapshotHandle
from penstock.pipeline.delivery_state import DeliveryState
from penstock.pipeline.digest import config_digest, schema_hash
from penstock.pipeline.eventlog import event
from penstock.pipeline.output_position import OutputPosition, Recovered
from penstock.pipeline.output_settings import OutputSettings
from penstock.pipeline.phases import Phase
from penstock.pipeline.reset_group import ResetGroup
from penstock.pipeline.resets import ResetLog, ResetRecord
from penstock.pipeline.target_probe import Look, TargetProbe
from penstock.pipeline.target_reading import TargetReading

__all__ = ["Cut", "OutputEndpoint", "OutputSettings", "SnapshotHandle"]

log = logging.getLogger("penstock.pipeline.outputs")

_backoff = wait_exponential_jitter(multiplier=0.05, max=5, jitter=0.1)


class OutputEndpoint:
    """One output connector of a running pipeline. Thread-safe."""

    def __init__(
        self,
        *,
        name: str,
        relation: str,
        connector: str,
        schema: Schema,
        config: Mapping[str, Any],
        owner: str,
        settings: OutputSettings,
        make_sink: Callable[[], Sink],
        resets: ResetLog,
        take_cut: TakeCut,
        on_progress: Callable[[], None],
        can_probe: bool = True,
        is_transient: bool = False,
        recovered: Recovered | None = None,
        await_durable: AwaitDurable = lambda step, is_wanted: None,
        await_replayed: AwaitReplayed = lambda is_wanted: None,
        stage_rows: int = STAGE_ROWS,
    ) -> None:
        """`on_progress` is told whenever `completed_step` or the queue moved. A transient endpoint
        belongs to an HTTP request and is in no checkpoint; `recovered` is what the checkpoint
        knows of this one; `await_durable` and what follows: see `delivery`."""
        self.is_transient = is_transient
        self.name, self.relation, self.connector = name, relation, connector
        self.config = config
        self.settings = settings
        self.can_probe = can_probe
        self._identity = Identity(owner, relation, connector, schema_hash(schema))
        self._make_sink = make_sink
        self._on_progress = on_progress
        self._cond = threading.Condition(threading.RLock())
        self._state = DeliveryState(name, settings, resets, recovered)
        self._delivery = Delivery(
            identity=self._identity,
            state=self._state,
            lock=self._cond,
            make_sink=make_sink,
            take_cut=take_cut,
            on_progress=on_progress,
            await_durable=await_durable,
            await_replayed=await_replayed,
            stage_rows=stage_rows,
        )
        self._stopping = False
        #: the generation in which the present work began
        self._begun = 0
        self._thread = threading.Thread(target=self._run, name=f"output {name}", daemon=True)

    # the step loop's side

    def start(self) -> None:
        self._thread.start()

    def push(self, step: int, processed: int, delta: Batch) -> None:
        """Queue one step's delta. Called by the step loop, under the step lock."""
        with self._cond:
            self._state.push(step, processed, delta)
            self._cond.notify_all()

    def position(self) -> OutputPosition:
        """What a checkpoint keeps of this output; between two steps, under the step lock."""
        with self._cond:
            return self._state.position(config_digest(self.config), self._identity.schema_hash)

    def catch_up(self, step: int, processed: int, *, first_step: int) -> None:
        """A new endpoint that owes no snapshot counts as caught up with `step`, and is not sent
        what steps before `first_step` change."""
        with self._cond:
            if not self.settings.snapshot:
                self._state.advance(step, processed)
                self._state.first_step = first_step

    @property
    def is_full(self) -> bool:
        """True while the circuit must wait for this endpoint (backpressure)."""
        return (
            self._state.phase is Phase.FOLLOWING
            and self._state.queue.records > self.settings.max_queued_records
            and not self._stopping
        )

    @property
    def is_over(self) -> bool:
        """Whether nothing more will be delivered unless somebody asks for it: the endpoint is
        stopped, or its sink has refused for good."""
        return self._stopping or self._state.phase is Phase.FAILED

    @property
    def completed_step(self) -> int:
        """The last step that the sink has taken in full."""
        return self._state.completed_step

    @property
    def completed_records(self) -> int:
        return self._state.completed_records

    # resets

    def request_reset(
        self,
        *,
        reason: str = "request",
        mode: str = "replace",
        reset_id: str | None = None,
        group: ResetGroup | None = None,
    ) -> ResetRecord:
        """Owe the sink a fresh snapshot under a new generation; durable on return."""
        failpoints.passing("reset.requested", self.name)
        with self._changing():
            record = self._state.reset(reason=reason, mode=mode, reset_id=reset_id, group=group)
            failpoints.passing("reset.accepted", self.name)
        if group is not None and not self._is_in(group):
            group.leave(self.name)  # a reset of that name was made before
        self._on_progress()
        return record

    def cancel_reset(self) -> tuple[ResetRecord, bool]:
        """Call the pending reset off: (its record, whether the sink goes on from where it is)."""
        with self._changing():
            record = self._state.record
            follows = self._state.cancel()
        self._on_progress()
        return record, follows

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change the state under the lock and wake the thread; a group reset that the connector
        is no longer part of is told afterwards, without the lock."""
        with self._cond:
            group = self._state.group
            yield
            self._cond.notify_all()
        if group is not None and not self._is_in(group):
            group.leave(self.name)

    def _is_in(self, group: ResetGroup) -> bool:
        return self._state.group is group

    def probe(self) -> Look:
        """Open the target on a connection of its own and check that it may be reset
        (`target_probe`)."""
        if not self.can_probe:
            return Look()
        return TargetProbe(self.name, self._identity, self._make_sink).look()

    def capabilities(self) -> Capabilities:
        return self._make_sink().capabilities

    def reading(
        self, take_cut: TakeCut, timeout_s: float
    ) -> AbstractContextManager[tuple[Contents, Marker | None, Cut]]:
        """What the target holds and the view, both as of one step (`target_reading`)."""
        reading = TargetReading(self._identity, self._state, self._cond, self._make_sink)
        return reading.at_one_step(take_cut, timeout_s)

    def live_status(self, record: ResetRecord) -> dict[str, Any]:
        """Phase and progress of `record`, which belongs to this endpoint."""
        with self._cond:
            return self._state.status_of(record, self._delivery.transmitted_bytes())

    # pausing

    def pause(self) -> None:
        """Discard updates from now on (contract 6.2)."""
        with self._changing():
            self._state.pause()

    def resume(self) -> None:
        """Deliver again. In snapshot mode what was discarded is owed, so this is a reset."""
        with self._changing():
            self._state.resume()

    def flush(self) -> None:
        """Deliver what the output buffer holds without waiting for its time or size."""
        with self._cond:
            self._state.is_flush_asked = True
            self._cond.notify_all()

    # the end

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the thread; what is staged but not published stays unpublished."""
        with self._changing():
            self._stopping = True
            self._state.group = None
            self._delivery.end()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    # the delivery thread

    def _run(self) -> None:
        while not self._stopping:
            try:
                work = self._await_work()
                if work is None:
                    break
                for _ in work():
                    pass
            except TransientError as e:
                self._unavailable(e)
            except UserError as e:
                self._rejected(str(e), is_encoding=e.code == "EncodeError")
            except Exception as e:
                log.error("sink_bug endpoint=%s\n%s", self.name, traceback.format_exc())
                self._rejected(f"internal error in the connector: {e!r}")
        self._delivery.disconnect()

    def _await_work(self) -> Callable[[], Work] | None:
        """Block until there is something to do; None when stopping."""
        with self._cond:
            while not self._stopping:
                work = self._delivery.next_work()
                wait_s = self._state.buffered_for_s
                if work is not None and wait_s <= 0:
                    self._begun = self._state.record.generation
                    return work
                self._cond.wait(None if work is None else min(wait_s, 3600))
        return None

    def _unavailable(self, error: TransientError) -> None:
        """A passing failure: back off and try again, from the phase that the table says."""
        self._delivery.disconnect()
        with self._cond:
            s = self._state
            s.unavailable(str(error))
            delay_s = _backoff(SimpleNamespace(attempt_number=s.failures))  # type: ignore[arg-type]
            event(
                log, "sink_unavailable", logging.WARNING, endpoint=self.name,
                phase=s.phase.value, attempt=s.failures, retry_in_s=f"{delay_s:.2f}", error=error,
            )  # fmt: skip
            generation = s.record.generation
            self._cond.wait_for(
                lambda: self._stopping or s.record.generation != generation, delay_s
            )

    def _rejected(self, message: str, *, is_encoding: bool = False) -> None:
        self._delivery.give_up()
        self._delivery.disconnect()
        try:
            with self._changing():
                self._state.rejected(message, self._begun, is_encoding=is_encoding)
        except TransientError as e:
            self._unavailable(e)  # it will be refused again, until that can be recorded
        self._on_progress()

    # for the statistics

    @contextmanager
    def locked(self) -> Iterator[DeliveryState]:
        """Hold the endpoint still while several of its fields are read."""
        with self._cond:
            yield self._state

    @property
    def phase(self) -> Phase:
        return self._state.phase

    @property
    def record(self) -> ResetRecord:
        return self._state.record

    @property
    def paused(self) -> bool:
        return self._state.paused

    @property
    def counters(self) -> Counters:
        return self._state.counters

    @property
    def fatal_error(self) -> str | None:
        return self._state.fatal_error

    @property
    def unhealthy(self) -> str | None:
        return self._state.unhealthy

    @property
    def errors(self) -> deque[dict[str, Any]]:
        return self._state.errors

    @property
    def queued(self) -> tuple[int, int]:
        """(records, batches) that the sink has not taken yet."""
        return self._state.queue.records, self._state.queue.batches

    def transmitted_bytes(self) -> int:
        return self._delivery.transmitted_bytes()
