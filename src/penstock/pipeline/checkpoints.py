"""Checkpoints: the whole pipeline between two steps, on disk, while it goes on.

    request ─► step thread: capture ─► writer thread: write the files, then the manifest ─► prune
                (under the step lock,    (no lock; the loop steps on)
                 no I/O)

A checkpoint of step S holds

    circuit       what every operator remembers after S
    inputs        the progress of what went through the circuit up to S; where each source goes on
    outputs       for each: generation and token, the last step its sink took, the marker as we
                  last wrote it, whether it owes a snapshot, and the deltas up to S that its sink
                  has not taken: a checkpoint waits for no sink, and nothing queued is lost with
                  it; of a pending reset also what it could be cancelled to (`way_back`)
    transaction   how many there were; when the pipeline ends in an open one, what that has taken in

Taken on request, every `checkpoint_interval_secs` when fault tolerance is on, at a stop that is
not forced, at the first start with fault tolerance (so that there is always one), by the cut of a
reset (spec/reset.md rule 4), and when an input has found a beginning that another start would not
find again. An open transaction delays it, except for the stop's and the
cut's.

Stall: capturing costs what changed since the last one, and no I/O. Failing is no harm: the reason
is told by `status`, the older checkpoints stay, and the next one is taken when it is due.

Not here: what is done with one (`recovery`), the files (`manifests`, `penstock.state.storage`).
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import orjson

from penstock.errors import PenstockError, TransientError
from penstock.pipeline import failpoints
from penstock.pipeline.delta_queue import Entry
from penstock.pipeline.digest import config_digest
from penstock.pipeline.eventlog import event
from penstock.pipeline.frames import encode_delta
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.journal import Journal, JournalRecord, encode_record
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.manifests import Manifest, ManifestStore
from penstock.pipeline.output_position import OutputPosition
from penstock.state.storage import StateStore, file_reference, referenced_files
from penstock.wire.stamps import rfc3339

log = logging.getLogger("penstock.pipeline.checkpoints")


class Captured(Protocol):
    """What `Circuit.capture` returns: the state of one step, pinned."""

    def write(self, store: StateStore) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Image:
    """All that a checkpoint holds, in memory; immutable."""

    step: int
    processed_records: int
    circuit: Captured
    fingerprint: int
    inputs: Mapping[str, Any]
    outputs: Mapping[str, OutputPosition]
    transactions: int
    held: JournalRecord | None


class Checkpointer:
    """Takes the checkpoints of one running pipeline. Thread-safe."""

    def __init__(
        self,
        loop: StepLoop,
        manifests: ManifestStore,
        store: StateStore,
        journal: Journal | None,
        *,
        facts: Mapping[str, Any],
        interval_s: float | None,
    ) -> None:
        """`facts` go into every manifest as they are; `interval_s`: None for none by the clock."""
        self._loop = loop
        self._manifests = manifests
        self._store = store
        self._journal = journal
        self._facts = facts
        self._interval_s = interval_s
        self._cond = threading.Condition()
        self._images: list[tuple[int, Image, Future[Manifest]]] = []
        self._sequence = max(manifests.sequences(), default=0)
        self._kept = manifests.all()
        self._success: int | None = None
        self._failure: dict[str, Any] | None = None
        self._failed_step = 0
        self._is_writing = False
        self._pending = 0
        self._busy_since = time.time()
        self._stopping = False
        self._last_taken = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def start(self) -> None:
        self._thread.start()

    # the door

    def request(self) -> int:
        """Take a checkpoint soon; returns its sequence number."""
        with self._cond:
            if self._stopping:
                raise TransientError("the pipeline is stopping", code="PipelineUnavailable")
            sequence = self._number()
        self._loop.between_steps(lambda: self._enqueue(sequence))
        return sequence

    def take_here(self) -> Future[Manifest]:
        """Capture at once; the caller holds the step lock. Done once it is durable."""
        with self._cond:
            sequence = self._number()
        return self._enqueue(sequence)

    def take(self) -> Manifest:
        """Take one and wait for it. Raises PenstockError if it fails."""
        ticket: Future[Future[Manifest]] = Future()
        with self._cond:
            sequence = self._number()
        self._loop.between_steps(lambda: ticket.set_result(self._enqueue(sequence)))
        while True:
            try:
                return ticket.result(0.2).result()
            except TimeoutError:
                if self._stopping or self._loop.failure is not None:
                    raise TransientError(
                        "the pipeline is stopping", code="PipelineUnavailable"
                    ) from None

    def take_last(self) -> Manifest:
        """The checkpoint of a pipeline whose step thread has ended, with the input that an open
        transaction holds. Waits; raises PenstockError if it fails."""
        with self._loop.step_lock:
            done = self.take_here()
        return done.result()

    def status(self) -> dict[str, Any]:
        """`{success, failure}` of the contract (6.5)."""
        with self._cond:
            return {"success": self._success, "failure": self._failure}

    def list(self) -> list[dict[str, Any]]:
        """CheckpointMetadata of all kept checkpoints, newest first."""
        with self._cond:
            return [m.metadata() for m in reversed(self._kept)]

    @property
    def newest(self) -> int:
        """The sequence number of the newest durable checkpoint; 0 for none."""
        with self._cond:
            return self._kept[-1].sequence if self._kept else 0

    def await_step(self, step: int, is_wanted: Callable[[], bool]) -> None:
        """Block until a restart would go on from `step` or later, or nothing is wanted any more.
        Raises TransientError if the checkpoint that was to make it so has failed."""
        with self._cond:
            while not self._kept or self._kept[-1].step < step:
                if not is_wanted():
                    return
                if self._failed_step >= step:
                    raise TransientError(f"the checkpoint of step {step} failed: {self._failure}")
                self._cond.wait(0.1)

    def keep_position(self, endpoint: InputEndpoint) -> None:
        """Return when a checkpoint has a position of the input; or when a transaction is open, as
        that would be waited for, or none can be taken, which is told by `status`."""

        def is_wanted() -> bool:
            ended = endpoint.stopping or self._loop.failure is not None
            return not ended and not self._loop.transaction.is_open

        while endpoint.stepped.position is None and is_wanted():
            self._loop.request_step()
            time.sleep(0.05)
        if is_wanted():
            with suppress(TransientError):
                step = self._loop.step
                self.request()
                self.await_step(step, is_wanted)

    @property
    def activity(self) -> dict[str, Any]:
        """`checkpoint_activity` of the statistics."""
        with self._cond:
            since = rfc3339(self._busy_since)
            if self._is_writing or (self._pending and not self._loop.transaction.is_open):
                return {"status": "in_progress", "started_at": since}
            if self._pending:
                reasons = ["TransactionInProgress"]
                return {"status": "delayed", "reasons": reasons, "delayed_since": since}
            return {"status": "idle"}

    def stop(self) -> None:
        """End the thread when what was captured is written; what was asked for is not taken."""
        with self._cond:
            self._stopping = True
            self._cond.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    # capturing

    def _number(self) -> int:
        """The number of a checkpoint that is asked for now; under the lock."""
        self._sequence += 1
        self._pending += 1
        self._busy_since, self._last_taken = time.time(), time.monotonic()
        return self._sequence

    def _enqueue(self, sequence: int) -> Future[Manifest]:
        """Capture; called under the step lock, between two steps."""
        done: Future[Manifest] = Future()
        try:
            image = self._capture()
        except PenstockError as e:
            with self._cond:
                self._pending -= 1
            done.set_exception(self._failed(sequence, self._loop.step, e))
            return done
        with self._cond:
            self._pending -= 1
            self._images.append((sequence, image, done))
            self._cond.notify_all()
        return done

    def _capture(self) -> Image:
        loop = self._loop
        circuit: Any = loop.circuit
        held = None
        if self._journal is not None:
            self._journal.begin_segment(loop.step + 1)
        elif loop.transaction.held:
            inputs = tuple(t.journalled() for t in loop.transaction.held)
            held = JournalRecord(None, loop.transaction.id, inputs)
        image = Image(
            step=loop.step,
            processed_records=loop.processed_records,
            circuit=circuit.capture(),
            fingerprint=fingerprint(circuit.fingerprints),
            inputs={
                e.name: {
                    "relation": e.relation,
                    "config": e.config if e.is_implicit else None,
                    "schema": e.schema,
                    "digest": config_digest(e.config),
                    "progress": e.stepped.to_json(),
                }
                for e in loop.inputs.values()
            },
            outputs={o.name: o.position() for o in loop.outputs.values() if not o.is_transient},
            transactions=loop.transaction.count,
            held=held,
        )
        failpoints.passing("checkpoint.capture")
        return image

    # the writer's thread

    def _run(self) -> None:
        while (work := self._next()) is not None:
            sequence, image, done = work
            try:
                done.set_result(self._write(sequence, image))
            except Exception as e:
                done.set_exception(self._failed(sequence, image.step, e))
            finally:
                with self._cond:
                    self._is_writing = False
                    self._cond.notify_all()

    def _next(self) -> tuple[int, Image, Future[Manifest]] | None:
        """The next image to write; None at the end. Asks for one when the clock says so."""
        while True:
            with self._cond:
                if self._images:
                    self._is_writing = True
                    return self._images.pop(0)
                if self._stopping:
                    return None
                due_s = None if self._pending else self._due_in()
                if due_s is None or due_s > 0:
                    self._cond.wait(due_s)
                    continue
            self.request()

    def _due_in(self) -> float | None:
        """Seconds until the next one by the clock; None for never."""
        if self._interval_s is None:
            return None
        return max(0.0, self._last_taken + self._interval_s - time.monotonic())

    def _write(self, sequence: int, image: Image) -> Manifest:
        started = time.perf_counter()
        body: dict[str, Any] = {
            **self._facts,
            "uuid": str(uuid.uuid4()),
            "created_at": time.time(),
            "step": image.step,
            "processed_records": image.processed_records,
            "fingerprint": image.fingerprint,
            "circuit": image.circuit.write(self._store),
            "inputs": image.inputs,
            "outputs": {name: self._output(p) for name, p in image.outputs.items()},
            "transactions": image.transactions,
            "held": None if image.held is None else self._held(image.held),
        }
        files = referenced_files(body)
        body["size"] = sum(self._store.size(f) for f in files)
        failpoints.passing("checkpoint.write")
        manifest = self._manifests.write(sequence, body)
        log.info(
            "checkpoint_taken sequence=%d step=%d bytes=%d ms=%.0f",
            sequence, image.step, body["size"], (time.perf_counter() - started) * 1e3,
        )  # fmt: skip
        failpoints.passing("checkpoint.gc")
        kept = self._manifests.prune()
        with self._cond:
            self._success, self._kept = sequence, kept
            self._cond.notify_all()
        self._collect(kept)
        failpoints.passing("checkpoint.gc.after")
        return manifest

    def _output(self, position: OutputPosition) -> dict[str, Any]:
        way = position.way_back
        kept = None
        if way is not None:
            kept = {
                "generation": way.generation,
                "token": way.token,
                "marker_step": way.marker_step,
                "queue": self._queue(way.queue),
            }
        return {**position.to_json(), "queue": self._queue(position.queue), "way_back": kept}

    def _queue(self, entries: Sequence[Entry]) -> Sequence[dict[str, Any]]:
        queue = []
        for entry in entries:
            rows = None
            if entry.rows is not None:
                frame = np.frombuffer(encode_delta(entry.rows), np.uint8)
                rows = file_reference(self._store.put("delta", {"frame": frame}))
            queue.append({"step": entry.step, "processed": entry.processed, "rows": rows})
        return queue

    def _held(self, record: JournalRecord) -> dict[str, str]:
        frame = np.frombuffer(encode_record(record), np.uint8)
        return file_reference(self._store.put("held", {"record": frame}))

    def _collect(self, kept: Sequence[Manifest]) -> None:
        """Remove what no kept checkpoint names."""
        named: set[str] = set()
        for manifest in kept:
            named |= referenced_files(manifest.body)
        garbage = self._store.files() - named
        if garbage:
            self._store.remove(garbage)
        if self._journal is not None and kept:
            self._journal.prune(kept[0].step)

    def _failed(self, sequence: int, step: int, error: Exception) -> PenstockError:
        if not isinstance(error, PenstockError | OSError):
            log.error("checkpoint_bug sequence=%d\n%s", sequence, traceback.format_exc())
        event(log, "checkpoint_failed", logging.ERROR, sequence=sequence, error=error)
        with self._cond:
            self._failed_step = max(self._failed_step, step)
            self._failure = {
                "sequence_number": sequence,
                "error": str(error),
                "failed_at": rfc3339(time.time()),
            }
        return PenstockError(f"the checkpoint could not be taken: {error}", code="StorageError")


def fingerprint(nodes: Mapping[str, str]) -> int:
    """One u64 for all nodes of a circuit: equal for circuits that mean the same."""
    digest = hashlib.sha256(orjson.dumps(sorted(nodes.items()))).digest()
    return int.from_bytes(digest[:8], "little")
