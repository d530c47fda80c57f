"""The work of an output endpoint: what is done to the sink, one call after the other.

    Before anything else after a restart: verify, the marker (`output_position`).

    phase       work          calls of the sink
    ─────────   ───────────   ──────────────────────────────────────────────────────
    waiting     cut           open, marker (whose is it?), validate · the cut
    staging     replace       begin, stage … stage, publish
    unsure      find_out      marker: did the publish get through?
    following   begin         follow mode's first contact: take the target
    following   deliver       apply
    following   clear         sweep: what an attempt that failed had staged and no other will take
                              (also while a connector is paused)

A piece of work is an iterator that yields between two calls of the sink, where an event may come
in between; after each it looks again whether it is still wanted. The delivery thread just runs
it through, the model test stops it at every yield.

Invariants:
* a sink is only touched by its own thread;
* the cut and the beginning of the queue are one instant between two steps (reset.md rule 3);
* a delta that may have been applied is sent again as it was (`delta_queue`);
* what is staged is published, or taken away: by the next attempt, an abort or a sweep.

Cost: a delta costs its own size; a reset the view's, `STAGE_ROWS` rows at a time.

Not here: what an event means (`delivery_state`), retries (`outputs`), the sinks (`penstock.io`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from penstock.data.consolidate import consolidate
from penstock.data.gather import concat
from penstock.io.contracts import FOLLOWING, Marker, Sink, SinkRejected
from penstock.pipeline import failpoints
from penstock.pipeline.delivery_facts import Cut
from penstock.pipeline.delivery_knowledge import log
from penstock.pipeline.delivery_recovery import rejoin, verify
from penstock.pipeline.delivery_state import DeliveryState
from penstock.pipeline.digest import batch_digest
from penstock.pipeline.eventlog import event
from penstock.pipeline.phases import Phase, WaitingFor
from penstock.pipeline.resets import ResetRecord

#: rows of a snapshot handed to the sink at a time; bounds the memory of a reset
STAGE_ROWS = 50_000

#: what a piece of work yields between two calls of the sink
Work = Iterator[None]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose target it is."""

    pipeline_id: str
    view: str
    connector: str
    schema_hash: str

    def marker(self, record: ResetRecord, step: int, rows: int, digest: int) -> Marker:
        return Marker(
            pipeline_id=self.pipeline_id,
            view=self.view,
            connector=self.connector,
            generation=record.generation,
            token=record.token,
            phase=FOLLOWING,
            step=step,
            rows=rows,
            schema_hash=self.schema_hash,
            digest=digest,
        )

    def check_owner(self, stored: Marker | None) -> None:
        """Raise SinkRejected if the target is another's."""
        mine = (self.pipeline_id, self.view, self.connector)
        if stored is not None and stored.owner != mine:
            raise SinkRejected(
                f"the target of connector '{self.view}.{self.connector}' belongs to view "
                f"'{stored.view}', connector '{stored.connector}' of pipeline "
                f"{stored.pipeline_id}: give this connector a target of its own, or remove that "
                "marker if it is no longer in use",
                details={"owner": list(stored.owner)},
            )


class TakeCut(Protocol):
    """Pins the view between two steps and calls `begin(cut)` before the next one; returns what
    `begin` did."""

    def __call__(self, relation: str, begin: Callable[[Cut], bool], /) -> bool: ...


#: see `Delivery`
AwaitDurable = Callable[[int, Callable[[], bool]], None]
AwaitReplayed = Callable[[Callable[[], bool]], None]


class Delivery:
    """The work on one sink. Used by one thread; `lock` guards `state`."""

    def __init__(
        self,
        *,
        identity: Identity,
        state: DeliveryState,
        lock: threading.Condition,
        make_sink: Callable[[], Sink],
        take_cut: TakeCut,
        on_progress: Callable[[], None],
        await_durable: AwaitDurable = lambda step, is_wanted: None,
        await_replayed: AwaitReplayed = lambda is_wanted: None,
        stage_rows: int = STAGE_ROWS,
    ) -> None:
        """`await_durable(step, is_wanted)` returns once a restart would go on from `step` or a
        later one, `await_replayed(is_wanted)` once the circuit is where it was before a restart;
        both also when nothing is wanted any more (spec/reset.md rule 4 and section 2)."""
        self._await_durable = await_durable
        self._await_replayed = await_replayed
        self._stage_rows = stage_rows
        self._identity = identity
        self._state = state
        self._lock = lock
        self._make_sink = make_sink
        self._take_cut = take_cut
        self._on_progress = on_progress
        self._sink: Sink | None = None
        #: what sinks before it have sent, and the sink; replaced at once, as other threads ask
        self._sent: tuple[int, Sink | None] = (0, None)
        #: the generation of which something may be staged at the sink
        self._staged: int | None = None
        self._is_ending = False

    # connecting

    def connected(self) -> Sink:
        """The sink, opened, valid and ours."""
        if self._sink is None:
            sink = self._make_sink()
            try:
                sink.open()
                sink.validate()
                self._adopt(sink.marker(), sink.capabilities.stores_marker)
            except BaseException:
                sink.close()
                raise
            self._sink, self._sent = sink, (self._sent[0], sink)
            event(log, "sink_opened", endpoint=self._state.name)
        return self._sink

    def disconnect(self) -> None:
        if self._sink is not None:
            self._sent = (self.transmitted_bytes(), None)
            self._sink.close()
            self._sink = None

    def end(self) -> None:
        """What is staged is not to be published any more."""
        self._is_ending = True

    def transmitted_bytes(self) -> int:
        """Bytes written in this life; never fewer than were told before."""
        before, sink = self._sent
        return before + (0 if sink is None else sink.transmitted_bytes())

    def _note_bytes(self) -> None:
        progress = self._state.progress
        progress.bytes_sent = max(0, self.transmitted_bytes() - progress.bytes_before)

    def _adopt(self, stored: Marker | None, stores_marker: bool) -> None:
        """Take the target as ours. A marker of our own generation or a later one that is not of
        this life means that our record was cleared: go beyond it. A target that does not hold any
        more what we wrote is written anew."""
        self._identity.check_owner(stored)
        with self._lock:
            record = self._state.record
            if self._state.unverified is not None:
                return  # `_verify` decides
            if (
                stored is not None
                and stored.generation >= record.generation
                and stored.token != record.token
            ):
                self._state.outbid(stored.generation)
                return
            problem = rejoin(self._state, stored, stores_marker)
        if problem is not None:
            raise SinkRejected(problem)

    def _call(self, name: str, call: Callable[[], object]) -> None:
        """A call of the sink that changes something."""
        failpoints.calling(name, self._state.name, call)

    # choosing

    def next_work(self) -> Callable[[], Work] | None:
        """What there is to do in the present phase; None if there is nothing. Under the lock."""
        s = self._state
        if s.is_still:
            return None
        if s.unverified is not None:
            return None if s.paused else self._verify
        match s.phase:
            case Phase.WAITING if s.paused:
                return None if self._staged is None else self._clear
            case Phase.WAITING:
                return None if s.waiting_for is WaitingFor.GROUP else self._cut
            case Phase.STAGING:
                return None if s.paused else self._replace
            case Phase.UNSURE:
                return self._find_out
            case Phase.FOLLOWING if s.must_begin:
                return None if s.paused else self._begin_following
            case Phase.FOLLOWING if self._staged is not None:
                return self._clear
            case Phase.FOLLOWING if s.is_due:
                return self._deliver
        return None

    # recovery

    def _verify(self) -> Work:
        """The first look at the sink after a restart."""
        sink = self.connected()
        yield
        stored = sink.marker()
        yield
        with self._lock:
            problem = verify(self._state, stored, sink.capabilities.stores_marker)
            step, generation = self._state.completed_step, self._state.record.generation
            # a reset of an earlier life may have staged and been cancelled since
            last = self._state.resets.last_generation(self._state.name)
        if problem is not None:
            raise SinkRejected(problem)
        self._staged = max(generation, last)
        self._sweep(sink)
        sink.progress(step)
        self._on_progress()

    # snapshot_and_follow

    def _cut(self) -> Work:
        """Pin the view once the sink is there to take it (rule 7: a target that was opened long
        ago may have changed since)."""
        was_open = self._sink is not None
        sink = self.connected()
        if was_open:
            sink.validate()
        yield
        self._await_replayed(lambda: not self._is_ending)
        with self._lock:
            record = self._state.begin_attempt(self.transmitted_bytes())
            group = self._state.group

        def begin(cut: Cut) -> bool:
            with self._lock:
                self._lock.notify_all()
                return self._state.cut(record, cut)

        failpoints.passing("cut.before", self._state.name)
        if group is None:
            self._take_cut(self._identity.view, begin)
        else:
            group.arrive(self._state.name, self._identity.view, begin)
        failpoints.passing("cut", self._state.name)

    def _replace(self) -> Work:
        """Stage the pinned snapshot and publish it; from then on, follow."""
        with self._lock:
            record, cut = self._state.record, self._state.pinned
            # a newer reset, or none any more, has a progress of its own
            progress = self._state.progress
        if cut is None:
            return
        sink = self.connected()
        yield
        begin = sink.begin_diff if record.mode == "diff" else sink.begin
        self._staged = record.generation
        self._call("begin", lambda: begin(record.generation, record.token, cut.step))
        rows, digest = 0, 0
        for k, chunk in enumerate(cut.snapshot.chunks(self._stage_rows)):
            yield
            if not self._is_wanted(record, cut):
                self._abort(sink, record.generation)
                return
            self._call("stage", partial(sink.stage, record.generation, k, chunk))
            rows += int(chunk.weights.sum())
            digest = (digest + batch_digest(chunk)) % 2**64
            progress.rows_staged = rows
        yield
        self._await_durable(cut.step, lambda: self._is_wanted(record, cut))
        with self._lock:
            is_wanted = not self._is_ending and self._state.staged(record, cut)
        if not is_wanted:
            self._abort(sink, record.generation)
            return
        yield
        shown = self._identity.marker(record, cut.step, rows, digest)
        self._call("publish", lambda: sink.publish(record.generation, shown))
        self._staged = None
        yield
        with self._lock:
            self._note_bytes()
            self._state.published(record, cut.step, cut.processed, rows, digest)
            self._lock.notify_all()
        self._on_progress()
        sink.progress(cut.step)

    def _abort(self, sink: Sink, generation: int) -> None:
        sink.abort(generation)
        self._staged = None

    def _clear(self) -> Work:
        """Nothing is to be published any more (a cancelled reset, a pause), and an attempt that
        failed left something at the sink."""
        sink = self.connected()
        yield
        self._sweep(sink)

    def _sweep(self, sink: Sink) -> None:
        if self._staged is not None:
            sink.sweep(self._staged)
            self._staged = None

    def give_up(self) -> None:
        """The sink has refused for good: take away what is staged if it lets us; if not, the next
        reset does."""
        if self._sink is None or self._staged is None:
            return
        try:
            self._sink.abort(self._staged)
            self._sweep(self._sink)
        except Exception as e:
            event(log, "stage_left", logging.WARNING, endpoint=self._state.name, error=e)

    def _is_wanted(self, record: ResetRecord, cut: Cut) -> bool:
        with self._lock:
            return not self._is_ending and self._state.is_staging(record, cut)

    def _find_out(self) -> Work:
        """The reply to `publish` was lost: ask the sink's marker whether it got through."""
        with self._lock:
            record, cut = self._state.record, self._state.pinned
        sink = self.connected()
        yield
        stored = sink.marker()
        yield
        with self._lock:
            is_there = stored is not None and stored.token == record.token
            if stored is not None and is_there and stored.phase == FOLLOWING and cut is not None:
                self._staged = None
                self._note_bytes()
                self._state.published(
                    record, stored.step, cut.processed, stored.rows, stored.digest
                )
            else:
                self._state.lost(record)
            self._lock.notify_all()
        self._on_progress()

    # follow

    def _begin_following(self) -> Work:
        """Follow mode's first contact: take the target, empty it if that is what it does."""
        sink = self.connected()
        with self._lock:
            record = self._state.record
        if sink.capabilities.starts_empty:
            sink.begin(record.generation, record.token, 0)
            sink.publish(record.generation, self._identity.marker(record, 0, 0, 0))
        yield
        with self._lock:
            self._state.begun()
            step = self._state.completed_step
        sink.progress(step)

    def _deliver(self) -> Work:
        """Apply what is queued: one batch per step where the sink keeps a history of steps, else
        everything at once."""
        sink = self.connected()
        s = self._state
        yield
        with self._lock:
            # under the same lock as the look at the queue: a reset in between forgets both
            one_step = sink.capabilities.is_log and not s.settings.buffered
            entries = s.send(one_step=one_step)
            record, rows, digest = s.record, s.rows, s.digest
        if not entries:
            return
        batches = [e.rows for e in entries if e.rows is not None]
        is_written = False
        step = entries[-1].step
        if batches:
            delta = batches[0] if len(batches) == 1 else consolidate(concat(batches))
            rows += int(delta.weights.sum())
            digest = (digest + batch_digest(delta)) % 2**64
            if len(delta):
                yield
                shown = self._identity.marker(record, step, rows, digest)
                self._call("delta", partial(sink.apply, delta, shown))
                is_written = True
                yield
        with self._lock:
            if not s.applied(record, entries, rows, digest, is_written):
                return
            self._lock.notify_all()
        sink.progress(step)
        self._on_progress()
