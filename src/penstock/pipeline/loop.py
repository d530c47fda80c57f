"""The step loop: one thread that turns what arrived into steps of the circuit.

    replay what was journalled before a crash        (exactly once)
    wait until there is a reason to step
    wait while an output is full                     (backpressure)
    ── under the step lock ──────────────────────────
    take a bounded batch from every input endpoint;  journal it      (exactly once)
    circuit.step → deltas;  step += 1;  push each delta to its outputs
    ─────────────────────────────────────────────────
    capture checkpoints that were asked for, unless a transaction is open

The step lock is the only way to see the circuit between two steps: cuts, ad-hoc queries and
subscriptions hold it for as long as it takes to pin a snapshot, which is O(1).

While a transaction is open, inputs are taken in and kept; the commit gives them to the circuit
as one step, so views, queries and outputs show the state before it until then (contract 6.4).
A transaction that is open when the pipeline ends is open again after it has recovered.

Cost: a step costs its delta; the loop itself a few microseconds per endpoint.

Not here: what arrives (`inputs`), what a transaction holds (`transactions`), steps that fail
(`refused_steps`), where deltas go (`outputs`), checkpoints (`checkpoints`), starting (`life`).
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from penstock.circuit import NodeStats
from penstock.data.batch import Batch, InputBatch
from penstock.errors import PenstockError
from penstock.pipeline import failpoints
from penstock.pipeline.bad_rows import Trial
from penstock.pipeline.eventlog import event
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.journal import Journal, JournalRecord
from penstock.pipeline.outputs import Cut, OutputEndpoint, SnapshotHandle
from penstock.pipeline.refused_steps import RefusedSteps
from penstock.pipeline.taken import Taken, take
from penstock.pipeline.transactions import Transactions
from penstock.plan.nodes import CLOCK
from penstock.state.freed import give_back_much

log = logging.getLogger("penstock.pipeline.loop")

#: a pipeline that had nothing to do for so long merges what waited for more rows
TEND_S = 0.2
#: one that had nothing to do but to see time pass for so long gives memory back
GIVE_BACK_S = 30.0
#: latencies kept for the percentiles of the statistics
KEPT_LATENCIES = 10_000


class SteppedCircuit(Protocol):
    """What the loop needs of `penstock.circuit.Circuit`."""

    def step(self, inputs: Mapping[str, Sequence[InputBatch]]) -> Mapping[str, Batch]: ...

    def tend(self) -> bool: ...

    def snapshot(self, name: str) -> SnapshotHandle: ...

    def stats(self) -> Sequence[NodeStats]: ...

    def warnings(self) -> Sequence[str]: ...

    @property
    def late_records(self) -> int: ...


class StepLoop:
    """Steps one circuit. `failure` is set, and `on_failure` called, when a step raised: the
    pipeline must then be stopped (contract 10.4)."""

    def __init__(
        self,
        circuit: SteppedCircuit,
        *,
        max_batch_records: int,
        min_batch_records: int,
        max_delay_s: float,
        on_failure: Callable[[PenstockError], None],
        journal: Journal | None = None,
        program: str = "",
        begin_trials: Callable[[], Trial] | None = None,
    ) -> None:
        """`program`: a fingerprint of what the circuit computes, for the journal's refusals;
        `begin_trials`: steps on the state that the circuit has now, in circuits of their own."""
        self.circuit = circuit
        self._journal = journal
        self._refused = RefusedSteps(journal, program, begin_trials)
        self.step_lock = threading.RLock()
        self.inputs: dict[str, InputEndpoint] = {}
        self.outputs: dict[str, OutputEndpoint] = {}
        self._endpoints_lock = threading.Lock()
        self._max_batch_records = max_batch_records
        self._min_batch_records = min_batch_records
        self._max_delay_s = max_delay_s
        self._on_failure = on_failure
        self._wake = threading.Event()
        self._stopping = False
        #: from when on a pipeline at rest is to see to its runs, and to give memory back; in
        #: seconds of the monotonic clock
        self._tend_at: float | None = 0.0
        self._give_back_at: float | None = None
        self._is_requested = True  # the first step initialises constant and global results
        self._is_quiet = threading.Event()
        self.step = 0
        self.processed_records = 0
        self.failure: PenstockError | None = None
        self.latencies_s: deque[float] = deque(maxlen=KEPT_LATENCIES)
        #: seconds spent in all steps so far
        self.stepping_s = 0.0
        self.stalled_s = 0.0
        self._first_waiting_since: float | None = None
        #: `completed_step` as the inputs know it
        self._noted_completed = -1
        self.transaction = Transactions()
        #: called under the step lock after each cut (spec/reset.md rule 4)
        self.on_cut: Callable[[], object] = lambda: None
        self._captures: deque[Callable[[], object]] = deque()
        self._is_replaying = False
        self._replayed = threading.Event()
        self._thread = threading.Thread(target=lambda: None)

    def start(self) -> None:
        """Make the first, empty step and start the thread."""
        self.first_step()
        self.run()

    def first_step(self) -> None:
        """The empty step that makes constant and global results; a restored circuit has had it."""
        self._step({})

    def resume(
        self,
        *,
        step: int,
        processed_records: int,
        transactions: int,
    ) -> None:
        """Go on behind `step` with a restored circuit, before the thread is started."""
        self.step, self.processed_records = step, processed_records
        self.transaction.count = transactions
        self._is_requested = False

    def run(
        self,
        replay: Iterable[tuple[JournalRecord, tuple[Taken, ...]]] = (),
        on_replayed: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the thread: it makes the steps of `replay` again, calls `on_replayed`, and goes on
        with what arrives."""
        self._is_replaying = True

        def body() -> None:
            try:
                self._make_again(replay)
                if self._stopping:
                    return
                self._is_replaying = False
                on_replayed()
                self._replayed.set()
                self._run()
            except PenstockError as e:
                self._fail(e)
            except Exception as e:
                log.error("step_bug\n%s", traceback.format_exc())
                self._fail(PenstockError(f"internal error in a step: {e!r}", code="StepError"))

        self._thread = threading.Thread(target=body, name="steps", daemon=True)
        self._thread.start()

    @property
    def is_replaying(self) -> bool:
        return self._is_replaying

    def wake(self) -> None:
        self._wake.set()

    def request_step(self) -> None:
        """Step soon, be there rows or not."""
        self._is_requested = True
        self.wake()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(30)

    def between_steps(self, work: Callable[[], object]) -> None:
        """Have the step thread do `work` (quick, no I/O) under the step lock once no transaction is
        open: a checkpoint must not split one."""
        with self.step_lock:
            self._captures.append(work)
        self.wake()

    def drain(self) -> None:
        """Stop the thread, then step what has arrived, whether or not outputs keep up: what is
        queued for them goes into the checkpoint that follows. Inputs must be closed."""
        self.stop()
        if self.failure is None and not self._is_replaying:
            while any(e.has_queued for e in self.inputs.values()):
                self._take_and_step()

    # endpoints

    def add_input(self, endpoint: InputEndpoint) -> None:
        with self._endpoints_lock:
            self.inputs = {**self.inputs, endpoint.name: endpoint}

    def add_output(self, endpoint: OutputEndpoint) -> None:
        """From the next step on, or from the one after it if that is the commit of a transaction
        that is open now (contract 6.4); the endpoint counts as caught up with this step. One that
        owes a snapshot gets it as of now or later, and all that follows."""
        with self.step_lock, self._endpoints_lock:
            first_step = self.step + 2 if self.transaction.is_open else 0
            endpoint.catch_up(self.step, self.processed_records, first_step=first_step)
            self.outputs = {**self.outputs, endpoint.name: endpoint}

    def remove_output(self, name: str) -> None:
        with self._endpoints_lock:
            self.outputs = {k: v for k, v in self.outputs.items() if k != name}
        self.wake()

    # cuts

    def take_cut(self, relation: str, begin: Callable[[Cut], bool]) -> bool:
        """Pin `relation` as of the last step and call `begin` before the next one."""
        with self.step_lock:
            cut = Cut(self.step, self.processed_records, self.circuit.snapshot(relation))
            is_taken = begin(cut)
            if is_taken:
                self.on_cut()
            return is_taken

    def await_replayed(self, is_wanted: Callable[[], bool]) -> None:
        """Block until what an earlier life did is done again, or nothing is wanted any more: the
        readers of a target have seen it all, so no snapshot may show them less."""
        while not self._replayed.wait(0.1) and is_wanted() and not self._stopping:
            pass

    # progress

    @property
    def completed_step(self) -> int:
        """The last step that every output has taken in full."""
        return min((o.completed_step for o in self.outputs.values()), default=self.step)

    @property
    def completed_records(self) -> int:
        return min(
            (o.completed_records for o in self.outputs.values()), default=self.processed_records
        )

    @property
    def buffered_records(self) -> int:
        return sum(e.buffered_records for e in self.inputs.values()) + self.transaction.records

    # transactions

    def begin_transaction(self) -> int:
        """Its number. Raises Conflict while one is open."""
        with self.step_lock:
            self.transaction.require_none()
            if self._journal is not None:
                self._journal.append(JournalRecord(None, self.transaction.count + 1, ()))
            return self.transaction.begin()

    def commit_transaction(self) -> None:
        """Soon, as one step. Raises UserError if none is open."""
        with self.step_lock:
            self.transaction.ask_commit()
        self.wake()

    # the thread

    def _run(self) -> None:
        while not self._stopping:
            self._note_completed()
            self._capture()
            timeout_s = self._idle_s()
            if timeout_s is None or timeout_s > 0:
                self._rest(timeout_s)
                continue
            self._wake.clear()
            self._wait_for_outputs()
            if not self._stopping:
                self._take_and_step()

    def _rest(self, timeout_s: float | None) -> None:
        """Until `timeout_s` are over, or somebody has something to do."""
        if timeout_s is not None:
            self._wake.wait(timeout_s)
        else:
            due = [at for at in (self._tend_at, self._give_back_at) if at is not None]
            wait_s = max(0.0, min(due) - time.monotonic()) if due else None
            if not self._wake.wait(wait_s):
                self._use_rest()
        self._wake.clear()

    def _use_rest(self) -> None:
        now = time.monotonic()
        if self._tend_at is not None and now >= self._tend_at:
            with self.step_lock:
                is_under_way = self.circuit.tend()
            self._tend_at = now + TEND_S if is_under_way else None
        if self._give_back_at is not None and now >= self._give_back_at:
            give_back_much()
            self._give_back_at = None

    def _note_completed(self) -> None:
        """Outputs wake the loop when they have come further."""
        completed = self.completed_step
        if completed != self._noted_completed:
            self._noted_completed = completed
            for e in self.inputs.values():
                e.note_completed(completed)

    def _capture(self) -> None:
        with self.step_lock:
            while self._captures and not self.transaction.is_open:
                self._captures.popleft()()

    def _make_again(self, replay: Iterable[tuple[JournalRecord, tuple[Taken, ...]]]) -> None:
        refused, open_ = self._refused.known(), self.transaction
        for record, taken in replay:
            self._wait_for_outputs()
            if self._stopping:
                return
            with self.step_lock:
                open_.count = max(open_.count, record.transaction)
                for t in taken:
                    t.endpoint.replayed(t.progress)
                if record.step is None:
                    open_.open_again(record.transaction)
                    open_.hold(taken)
                    continue
                taken = (*open_.release(), *taken)
                open_.end()
                refusal = refused.get(record.step)
                if refusal is None:
                    self._step_noting_refusal(taken)
                else:
                    good, tell = self._refused.leave_out(taken, refusal)
                    self._step_taken(good)
                    tell()
                assert self.step == record.step, "the journal has the steps in order"

    def _fail(self, error: PenstockError) -> None:
        event(log, "step_failed", logging.ERROR, step=self.step + 1, error=error)
        self.failure = error
        self._on_failure(error)

    def _idle_s(self) -> float | None:
        """Seconds to sleep before the next step: 0 when there is a reason now, None when nothing
        is expected."""
        if self._is_requested or self.transaction.is_committing:
            return 0.0
        buffered = sum(e.buffered_records for e in self.inputs.values())
        if buffered == 0:
            self._first_waiting_since = None
            return None
        if buffered > self._min_batch_records or self._max_delay_s <= 0:
            return 0.0
        now = time.monotonic()
        if self._first_waiting_since is None:
            self._first_waiting_since = now
        return max(0.0, self._first_waiting_since + self._max_delay_s - now)

    def _wait_for_outputs(self) -> None:
        """Backpressure: no step while an output's queue is over its bound."""
        started = time.monotonic()
        while not self._stopping and any(o.is_full for o in self.outputs.values()):
            self._wake.wait(0.02)
            self._wake.clear()
        self.stalled_s += time.monotonic() - started

    def _take_and_step(self) -> None:
        transaction = self.transaction
        with self.step_lock:
            taken = take(self.inputs.values(), self._max_batch_records)
            is_held = transaction.is_holding
            if self._journal is not None and (taken or not is_held):
                step = None if is_held else self.step + 1
                inputs = tuple(t.journalled() for t in taken)
                self._journal.append(JournalRecord(step, transaction.id, inputs))
                for t in taken:
                    t.endpoint.note_durable(t.progress.records)
            if is_held:
                transaction.hold(taken)
                return
            try:
                self._step_noting_refusal((*transaction.release(), *taken))
            finally:
                if transaction.is_committing:
                    transaction.end()

    def _step_noting_refusal(self, taken: tuple[Taken, ...]) -> None:
        with self._refused.noting(self.step + 1):
            self._step_taken(taken)

    def _step_taken(self, taken: tuple[Taken, ...]) -> None:
        by_table: dict[str, list[InputBatch]] = {}
        for t in taken:
            by_table.setdefault(t.endpoint.relation, []).extend(t.batches)
        self._step(by_table)
        for t in taken:
            t.endpoint.mark(self.step, t.progress)
        failpoints.passing("step.after")

    def _step(self, inputs: Mapping[str, list[InputBatch]]) -> None:
        with self.step_lock:
            started = time.perf_counter()
            deltas = self.circuit.step(inputs)
            taken_s = time.perf_counter() - started
            self.latencies_s.append(taken_s)
            self.stepping_s += taken_s
            self.step += 1
            self._is_requested = False
            now = time.monotonic()
            self._tend_at = now + TEND_S
            # a clock that ticks gives no rest, but takes no memory either
            if self._give_back_at is None or inputs.keys() != {CLOCK}:
                self._give_back_at = now + GIVE_BACK_S
            self.processed_records += sum(len(b) for bs in inputs.values() for b in bs)
            for output in self.outputs.values():
                output.push(self.step, self.processed_records, deltas[output.relation])
            for warning in self.circuit.warnings():
                event(log, "circuit_warns", logging.WARNING, step=self.step, warning=warning)
