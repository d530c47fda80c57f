"""An output endpoint: the thread that keeps one sink equal to its view, and can start it over.

    StepLoop ──push(step, delta)──► queue ──► delivery thread ──► sink.apply
                                                   │ owes a snapshot
                                                   ▼
        open, validate, owner? ─► cut ─► begin ─► stage … stage ─► publish ─► following

The phases and what each event does are the table in `pipeline.phases`. A reset only bumps the
generation, drops the queue and sets the phase; the delivery thread finds out between two calls
of the sink, so a sink is only ever touched by its own thread.

Invariants:
* every queued entry carries its generation, and the thread delivers only entries of the current
  one: what was buffered before a reset cannot come out after its snapshot (reset.md rule 2);
* the cut is taken between two steps, under the step lock, in the same instant in which the
  endpoint begins to queue: the first queued delta is that of step S+1 (rule 3);
* the durable record is written before the phase changes (rule 1);
* a delta that may have been applied (its reply was lost) is sent again as it was, never merged
  with later ones: only then can the marker's step tell that it got through;
* `completed_step` only moves when the sink has taken the rows of that step (rule 10).

Cost: a delta costs its own size. While a snapshot is being staged, queued deltas are
consolidated whenever they double, so the queue stays within the size of the view's change.

Not here: what a sink does with rows (`penstock.io.outputs`), when steps happen (`loop`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from tenacity import wait_exponential_jitter

from penstock.data.batch import Batch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat
from penstock.data.hash import hash_columns
from penstock.data.types import Schema
from penstock.errors import TransientError, UserError
from penstock.io.contracts import Marker, Sink, SinkRejected
from penstock.pipeline.phases import QUEUEING, Event, Phase, next_phase
from penstock.pipeline.resets import ResetLog, ResetRecord

log = logging.getLogger("penstock.pipeline.outputs")

#: rows of a snapshot handed to the sink at a time; bounds the memory of a reset
STAGE_ROWS = 50_000
#: errors kept per endpoint for the statistics (contract 6.2)
KEPT_ERRORS = 100
_backoff = wait_exponential_jitter(multiplier=0.05, max=5, jitter=0.1)


class SnapshotHandle(Protocol):
    """What `circuit.snapshot` returns: the view at one step, pinned."""

    @property
    def rows(self) -> int: ...

    def batch(self) -> Batch: ...

    def chunks(self, max_rows: int) -> Iterator[Batch]: ...


@dataclass(frozen=True, slots=True)
class Cut:
    """A view pinned between two steps: its contents after `step`, when `processed` input records
    had gone through the circuit."""

    step: int
    processed: int
    snapshot: SnapshotHandle


@dataclass(frozen=True, slots=True)
class Entry:
    """One step's delta of the view on its way to the sink. `rows` None: nothing changed."""

    generation: int
    step: int
    processed: int
    rows: Batch | None
    queued_at: float

    @property
    def records(self) -> int:
        return 0 if self.rows is None else len(self.rows)


@dataclass(frozen=True, slots=True)
class OutputSettings:
    """The generic attributes of an output connector (contract 7.2)."""

    snapshot: bool = False
    max_queued_records: int = 1_000_000
    buffered: bool = False
    buffer_time_s: float = float("inf")
    buffer_records: int = 10_000_000
    overflow_resets: bool = False
    paused: bool = False


@dataclass(slots=True)
class Counters:
    """Cumulative figures of an endpoint; never zeroed by a reset."""

    transmitted_records: int = 0
    num_transport_errors: int = 0
    num_encode_errors: int = 0
    resets: int = 0


@dataclass(slots=True)
class Progress:
    """How far the current snapshot is."""

    attempt: int = 0
    rows_staged: int = 0
    rows_total: int | None = None
    step: int | None = None
    bytes_before: int = 0
    last_error: str | None = None
    started_at: float = field(default_factory=time.time)


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
        take_cut: Callable[[str, Callable[[Cut], bool]], bool],
        on_progress: Callable[[], None],
        can_probe: bool = True,
    ) -> None:
        """`take_cut(relation, begin)` pins the view between two steps and calls `begin(cut)`
        before the next one; it returns what `begin` did. `on_progress` is told whenever
        `completed_step` or the queue moved."""
        self.name, self.relation, self.connector = name, relation, connector
        self.config = config
        self.settings = settings
        self.can_probe = can_probe
        self._schema = schema
        self._owner = owner
        self._make_sink = make_sink
        self._resets = resets
        self._take_cut = take_cut
        self._on_progress = on_progress
        self._cond = threading.Condition(threading.RLock())
        self._queue: deque[Entry] = deque()
        self._queued_records = 0
        self._coalesced_records = 0
        self._flush_asked = False
        #: last step of the batch that was sent and not answered yet
        self._sent_step: int | None = None
        self._stopping = False
        self._sink: Sink | None = None
        self._failures = 0
        self._rows = 0
        self._digest = 0
        self._cut_processed = 0
        self.paused = settings.paused
        self.counters = Counters()
        self.progress = Progress()
        self.fatal_error: str | None = None
        self.unhealthy: str | None = None
        self.errors: deque[dict[str, Any]] = deque(maxlen=KEPT_ERRORS)
        self.completed_step = 0
        self.completed_records = 0
        record = resets.accept(name, reason="start")
        self._record: ResetRecord = record
        self.phase = Phase.WAITING if settings.snapshot else Phase.FOLLOWING
        self._follow_begun = settings.snapshot
        self._thread = threading.Thread(target=self._run, name=f"output {name}", daemon=True)

    # the step loop's side

    def start(self) -> None:
        self._thread.start()

    def push(self, step: int, processed: int, delta: Batch) -> None:
        """Queue one step's delta. Called by the step loop, under the step lock."""
        with self._cond:
            if self.paused or self.phase not in QUEUEING:
                if self.paused and not self.settings.snapshot:
                    # discarded for good: nothing is owed, so progress may move on
                    self._advance(step, processed)
                return
            rows = delta if len(delta) else None
            entry = Entry(self._record.generation, step, processed, rows, time.monotonic())
            if rows is None and self._queue and self._queue[-1].rows is None:
                self._queue[-1] = entry
            else:
                self._queue.append(entry)
            self._queued_records += entry.records
            if self._queued_records > self.settings.max_queued_records:
                self._relieve()
            self._cond.notify_all()

    def _relieve(self) -> None:
        """The queue is over its bound: consolidate it, or owe a snapshot instead of it."""
        if self.phase is not Phase.FOLLOWING:
            if self._queued_records > 2 * self._coalesced_records:
                self._coalesce()
        elif self.settings.snapshot and self.settings.overflow_resets:
            log.warning("queue_overflow_owes_snapshot endpoint=%s", self.name)
            self.request_reset(reason="overflow")

    def _coalesce(self) -> None:
        last = self._queue[-1]
        batches = [e.rows for e in self._queue if e.rows is not None]
        rows = consolidate(concat(batches)) if batches else None
        first = self._queue[0].queued_at
        self._queue.clear()
        self._queue.append(Entry(last.generation, last.step, last.processed, rows, first))
        self._queued_records = self._coalesced_records = 0 if rows is None else len(rows)

    @property
    def is_full(self) -> bool:
        """True while the circuit must wait for this endpoint (backpressure)."""
        return (
            self.phase is Phase.FOLLOWING
            and self._queued_records > self.settings.max_queued_records
            and not self._stopping
        )

    # resets

    @property
    def record(self) -> ResetRecord:
        return self._record

    def request_reset(self, *, reason: str = "request") -> ResetRecord:
        """Owe the sink a fresh snapshot under a new generation; durable on return.

        Before the cut of an earlier reset this is that same reset (reset.md rule 8)."""
        with self._cond:
            if self.phase is Phase.WAITING and self._record.reason != "start":
                return self._record
            self._record = self._resets.accept(self.name, reason=reason)
            self._drop_queue()
            self.phase = next_phase(self.phase, Event.RESET)
            self.progress = Progress()
            self.fatal_error = None
            self._failures = 0
            self.paused = False
            self.counters.resets += 1
            log.info(
                "reset_accepted endpoint=%s generation=%d reason=%s",
                self.name, self._record.generation, reason,
            )  # fmt: skip
            self._cond.notify_all()
            record = self._record
        self._on_progress()
        return record

    def probe(self) -> None:
        """Open the target on a connection of its own and check that it may be reset.

        Raises SinkRejected if not; a target that cannot be reached now passes (the reset then
        waits for it)."""
        if not self.can_probe:
            return
        sink = self._make_sink()
        try:
            sink.open()
            sink.validate()
            self._check_owner(sink.marker())
        except TransientError as e:
            log.info("probe_unreachable endpoint=%s error=%s", self.name, e)
        finally:
            sink.close()

    def guarantee(self) -> str:
        return self._make_sink().capabilities.guarantee

    def live_status(self, record: ResetRecord) -> dict[str, Any]:
        """Phase and progress of `record`, which belongs to this endpoint."""
        with self._cond:
            live = record.generation == self._record.generation
            progress = self.progress if live else Progress(started_at=record.accepted_at)
            phase = self.phase.value if live else record.state
            sent = 0 if self._sink is None else self._sink.transmitted_bytes()
            return {
                "phase": phase,
                "attempt": progress.attempt,
                "rows_staged": progress.rows_staged,
                "rows_total": progress.rows_total,
                "bytes": max(0, sent - progress.bytes_before) if live else 0,
                "step": progress.step,
                "last_error": progress.last_error,
            }

    # pausing

    def pause(self) -> None:
        """Discard updates from now on (contract 6.2)."""
        with self._cond:
            self.paused = True
            self._drop_queue()
            self._cond.notify_all()

    def resume(self) -> None:
        """Deliver again. In snapshot mode what was discarded is owed, so this is a reset."""
        if not self.paused:
            return
        if self.settings.snapshot:
            self.request_reset(reason="resumed")
        else:
            with self._cond:
                self.paused = False
                self._cond.notify_all()

    # the end

    def stop(self, timeout_s: float = 10.0) -> None:
        """End the thread; what is staged but not published stays unpublished."""
        with self._cond:
            self._stopping = True
            self._cond.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    # the delivery thread

    def _run(self) -> None:
        while not self._stopping:
            try:
                work = self._await_work()
                if work is None:
                    break
                work()
                self._failures = 0
            except TransientError as e:
                self._unavailable(e)
            except UserError as e:
                self._rejected(str(e))
            except Exception as e:
                log.error("sink_bug endpoint=%s\n%s", self.name, traceback.format_exc())
                self._rejected(f"internal error in the connector: {e!r}")
        if self._sink is not None:
            self._sink.close()

    def _await_work(self) -> Callable[[], None] | None:
        """Block until there is something to do; None when stopping."""
        with self._cond:
            while not self._stopping:
                if self.phase is Phase.WAITING and not self.paused:
                    return self._replace
                if self.phase is Phase.UNSURE:
                    return self._find_out
                if self.phase is Phase.FOLLOWING and not self._follow_begun and not self.paused:
                    return self._begin_following
                if self.phase is Phase.FOLLOWING and self._queue:
                    wait_s = self._flush_in()
                    if wait_s <= 0:
                        return self._deliver
                    self._cond.wait(min(wait_s, 3600))
                    continue
                self._cond.wait()
        return None

    def _flush_in(self) -> float:
        """Seconds until the queue is due; 0 now. Without rows there is nothing to wait for."""
        s = self.settings
        if not s.buffered or self._flush_asked or self._queued_records == 0:
            return 0.0
        if self._queued_records >= s.buffer_records:
            return 0.0
        first = next(e for e in self._queue if e.rows is not None)
        return s.buffer_time_s - (time.monotonic() - first.queued_at)

    def flush(self) -> None:
        """Deliver what the output buffer holds without waiting for its time or size."""
        with self._cond:
            self._flush_asked = True
            self._cond.notify_all()

    def _connected(self) -> Sink:
        if self._sink is None:
            sink = self._make_sink()
            try:
                sink.open()
                sink.validate()
                self._adopt(sink.marker())
            except BaseException:
                sink.close()
                raise
            self._sink = sink
            log.info("sink_opened endpoint=%s", self.name)
        return self._sink

    def _disconnect(self) -> None:
        if self._sink is not None:
            self._sink.close()
            self._sink = None

    def _check_owner(self, stored: Marker | None) -> None:
        mine = (self._owner, self.relation, self.connector)
        if stored is not None and stored.owner != mine:
            raise SinkRejected(
                f"the target of connector '{self.name}' belongs to view '{stored.view}', connector "
                f"'{stored.connector}' of pipeline {stored.pipeline_id}: give this connector a "
                "target of its own, or remove that marker if it is no longer in use",
                details={"owner": list(stored.owner)},
            )

    def _adopt(self, stored: Marker | None) -> None:
        """Take the target as ours. A marker of our own generation or a later one that is not of
        this life means our record was cleared: go beyond it, so that fencing lets us write."""
        self._check_owner(stored)
        with self._cond:
            record = self._record
            if stored is None or stored.generation < record.generation:
                return
            if stored.token == record.token:
                return
            reason, at_least = record.reason, stored.generation + 1
            self._record = self._resets.accept(self.name, reason=reason, at_least=at_least)
            self._drop_queue()
            if self.settings.snapshot:
                self.phase = next_phase(self.phase, Event.RESET)

    def _marker(self, record: ResetRecord, step: int, rows: int, digest: int) -> Marker:
        return Marker(
            pipeline_id=self._owner,
            view=self.relation,
            connector=self.connector,
            generation=record.generation,
            token=record.token,
            phase="following",
            step=step,
            rows=rows,
            schema_hash=schema_hash(self._schema),
            digest=digest,
        )

    # snapshot_and_follow

    def _replace(self) -> None:
        """Stage one full snapshot and publish it; from then on, follow."""
        sink = self._connected()
        with self._cond:
            record = self._record
            self.progress.attempt += 1
            self.progress.rows_staged = 0
            self.progress.bytes_before = sink.transmitted_bytes()
        cut = self._cut(record)
        if cut is None:
            return
        sink.begin(record.generation, record.token, cut.step)
        rows, digest = 0, 0
        for k, chunk in enumerate(cut.snapshot.chunks(STAGE_ROWS)):
            if self._is_stale(record):
                sink.abort(record.generation)
                return
            sink.stage(record.generation, k, chunk)
            rows += int(chunk.weights.sum())
            digest = (digest + batch_digest(chunk)) % 2**64
            self.progress.rows_staged = rows
        with self._cond:
            stale = self._is_stale(record)
            if not stale:
                self.phase = next_phase(self.phase, Event.STAGED)
        if stale:
            sink.abort(record.generation)
            return
        sink.publish(record.generation, self._marker(record, cut.step, rows, digest))
        self._published(record, cut.step, cut.processed, rows, digest)
        sink.progress(cut.step)

    def _cut(self, record: ResetRecord) -> Cut | None:
        """Pin the view and begin to queue, in one instant between two steps."""
        taken: list[Cut] = []

        def begin(cut: Cut) -> bool:
            with self._cond:
                if self._is_stale(record):
                    return False
                self._drop_queue()
                self.phase = next_phase(self.phase, Event.CUT)
                self.progress.step = cut.step
                self.progress.rows_total = cut.snapshot.rows
                self._cut_processed = cut.processed
                taken.append(cut)
                return True

        self._take_cut(self.relation, begin)
        return taken[0] if taken else None

    def _is_stale(self, record: ResetRecord) -> bool:
        return self._stopping or self.paused or self._record.generation != record.generation

    def _published(
        self, record: ResetRecord, step: int, processed: int, rows: int, digest: int
    ) -> None:
        with self._cond:
            if self._record.generation == record.generation:
                self.phase = next_phase(self.phase, Event.PUBLISHED)
                self._rows, self._digest = rows, digest
                self.unhealthy = None
                self.counters.transmitted_records += rows
                self._resets.finish(self.name, record.generation, step=step, rows=rows)
                self._advance(step, processed)
                log.info(
                    "snapshot_published endpoint=%s generation=%d step=%d rows=%d",
                    self.name, record.generation, step, rows,
                )  # fmt: skip
        self._on_progress()

    def _find_out(self) -> None:
        """The reply to `publish` was lost: ask the sink's marker whether it got through."""
        with self._cond:
            record = self._record
        sink = self._connected()
        stored = sink.marker()
        if stored is not None and stored.token == record.token and stored.phase == "following":
            self._published(record, stored.step, self._cut_processed, stored.rows, stored.digest)
            return
        with self._cond:
            if self._record.generation == record.generation and self.phase is Phase.UNSURE:
                self._drop_queue()
                self.phase = next_phase(self.phase, Event.LOST)

    # follow

    def _begin_following(self) -> None:
        """Follow mode's first contact: take the target, empty it if that is what it does."""
        sink = self._connected()
        with self._cond:
            record = self._record
        if sink.capabilities.starts_empty:
            sink.begin(record.generation, record.token, 0)
            sink.publish(record.generation, self._marker(record, 0, 0, 0))
        self._resets.finish(self.name, record.generation, step=0, rows=0)
        self._follow_begun = True
        sink.progress(self.completed_step)

    def _deliver(self) -> None:
        """Apply what is queued: one batch per step, several steps at once when far behind."""
        sink = self._connected()
        with self._cond:
            entries = self._head(sink)
            record = self._record
            if not entries:
                return
            # under the same lock as the look at the queue: a reset in between forgets both
            self._sent_step = entries[-1].step
            rows_before, digest_before = self._rows, self._digest
        batches = [e.rows for e in entries if e.rows is not None]
        last = entries[-1]
        rows, digest = rows_before, digest_before
        if batches:
            delta = batches[0] if len(batches) == 1 else consolidate(concat(batches))
            rows += int(delta.weights.sum())
            digest = (digest + batch_digest(delta)) % 2**64
            if len(delta):
                sink.apply(delta, self._marker(record, last.step, rows, digest))
                self.unhealthy = None
        with self._cond:
            if self._record.generation != record.generation:
                return
            self._sent_step = None
            # by step: meanwhile a step without rows may have taken the place of the last entry
            while self._queue and self._queue[0].step <= last.step:
                self._queued_records -= self._queue.popleft().records
            if not self._queue:
                self._flush_asked = False
            self._rows, self._digest = rows, digest
            self.counters.transmitted_records += sum(len(b) for b in batches)
            self._advance(last.step, last.processed)
        sink.progress(last.step)
        self._on_progress()

    def _head(self, sink: Sink) -> list[Entry]:
        """The entries of the next sink batch: those of an attempt without an answer; else all that
        are buffered; else one step's delta, or everything queued where the sink keeps no history
        of steps."""
        if self.phase is not Phase.FOLLOWING:
            return []
        if self._sent_step is not None:
            return [e for e in self._queue if e.step <= self._sent_step]
        if self.settings.buffered or not sink.capabilities.is_log:
            return list(self._queue)
        head: list[Entry] = []
        for e in self._queue:
            if e.rows is not None and any(h.rows is not None for h in head):
                break
            head.append(e)
        return head

    # shared

    def _advance(self, step: int, processed: int) -> None:
        self.completed_step = max(self.completed_step, step)
        self.completed_records = max(self.completed_records, processed)

    def _drop_queue(self) -> None:
        self._queue.clear()
        self._queued_records = self._coalesced_records = 0
        self._flush_asked = False
        self._sent_step = None

    def _note_error(self, message: str) -> None:
        self.counters.num_transport_errors += 1
        self.progress.last_error = message
        self.unhealthy = message
        self.errors.append(
            {
                "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "index": self.counters.num_transport_errors,
                "tag": None,
                "message": message,
            }
        )

    def _unavailable(self, error: TransientError) -> None:
        """A passing failure: back off and try again, from the phase that the table says."""
        self._disconnect()
        with self._cond:
            self._failures += 1
            self._note_error(str(error))
            if self.phase is not Phase.FAILED:
                was = self.phase
                self.phase = next_phase(was, Event.UNAVAILABLE)
                if self.phase is Phase.WAITING:
                    self._drop_queue()
            delay_s = _backoff(SimpleNamespace(attempt_number=self._failures))  # type: ignore[arg-type]
            log.warning(
                "sink_unavailable endpoint=%s attempt=%d retry_in_s=%.2f error=%s",
                self.name, self._failures, delay_s, error,
            )  # fmt: skip
            generation = self._record.generation
            self._cond.wait_for(
                lambda: self._stopping or self._record.generation != generation, delay_s
            )

    def _rejected(self, message: str) -> None:
        """The sink refused for good: its contents stay as they are until somebody resets it."""
        self._disconnect()
        with self._cond:
            if self.phase is Phase.FAILED:
                return
            self._note_error(message)
            self.fatal_error = message
            self.phase = next_phase(self.phase, Event.REJECTED)
            self._drop_queue()
            self._resets.fail(self.name, self._record.generation, message)
            log.error("sink_rejected endpoint=%s error=%s", self.name, message)
        self._on_progress()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the endpoint still while several of its fields are read."""
        with self._cond:
            yield

    @property
    def queued(self) -> tuple[int, int]:
        """(records, batches) that the sink has not taken yet."""
        return self._queued_records, sum(e.rows is not None for e in list(self._queue))

    def transmitted_bytes(self) -> int:
        return 0 if self._sink is None else self._sink.transmitted_bytes()


def schema_hash(schema: Schema) -> str:
    """A short fingerprint of column names and types."""
    text = "\n".join(f"{f.name} {f.type}" for f in schema.fields)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def batch_digest(batch: Batch) -> int:
    """Σ weight × hash(row) mod 2⁶⁴: the same for equal multisets, whatever the order."""
    if len(batch) == 0:
        return 0
    hashes = hash_columns(batch.columns, 0)
    with np.errstate(over="ignore"):
        return int((hashes * batch.weights.view(np.uint64)).sum(dtype=np.uint64))
