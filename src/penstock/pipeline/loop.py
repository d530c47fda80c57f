"""The step loop: one thread that turns what arrived into steps of the circuit.

    wait until there is a reason to step
    wait while an output is full                     (backpressure)
    take a bounded batch from every input endpoint
    ── under the step lock ──────────────────────────
    circuit.step → deltas;  step += 1;  push each delta to its outputs
    ─────────────────────────────────────────────────

The step lock is the only way to see the circuit between two steps: cuts, ad-hoc queries and
subscriptions hold it for as long as it takes to pin a snapshot, which is O(1).

While a transaction is open, inputs are taken in and kept; the commit gives them to the circuit
as one step, so views, queries and outputs show the state before it until then (contract 6.4).

Cost: a step costs its delta; the loop itself a few microseconds per endpoint.

Not here: what arrives (`inputs`), where deltas go (`outputs`), starting and stopping
(`pipeline`).
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from penstock.data.batch import Batch, InputBatch
from penstock.errors import Conflict, PenstockError, UserError
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.outputs import Cut, OutputEndpoint, SnapshotHandle

log = logging.getLogger("penstock.pipeline.loop")

#: latencies kept for the percentiles of the statistics
KEPT_LATENCIES = 10_000


class SteppedCircuit(Protocol):
    """What the loop needs of `penstock.circuit.Circuit`."""

    def step(self, inputs: Mapping[str, Sequence[InputBatch]]) -> Mapping[str, Batch]: ...

    def snapshot(self, name: str) -> SnapshotHandle: ...


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
    ) -> None:
        self.circuit = circuit
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
        self._is_requested = True  # the first step initialises constant and global results
        self._is_quiet = threading.Event()
        self.step = 0
        self.processed_records = 0
        self.failure: PenstockError | None = None
        self.latencies_s: deque[float] = deque(maxlen=KEPT_LATENCIES)
        self.stalled_s = 0.0
        self._first_waiting_since: float | None = None
        self._transactions = 0
        self._open_transaction: int | None = None
        self._is_committing = False
        self._held: list[tuple[InputEndpoint, list[InputBatch]]] = []
        self._held_records = 0
        self._thread = threading.Thread(target=self._run, name="steps", daemon=True)

    def start(self) -> None:
        """Make the first, empty step and start the thread."""
        self._step({})
        self._is_requested = False
        self._thread.start()

    def wake(self) -> None:
        self._wake.set()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(30)

    # endpoints

    def add_input(self, endpoint: InputEndpoint) -> None:
        with self._endpoints_lock:
            self.inputs = {**self.inputs, endpoint.name: endpoint}

    def add_output(self, endpoint: OutputEndpoint) -> None:
        """From the next step on; the endpoint counts as caught up with this one, unless it owes
        a snapshot."""
        with self.step_lock, self._endpoints_lock:
            endpoint.catch_up(self.step, self.processed_records)
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
            return begin(cut)

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
        return sum(e.buffered_records for e in self.inputs.values()) + self._held_records

    # transactions

    @property
    def transaction_id(self) -> int:
        return self._open_transaction or 0

    @property
    def transaction_status(self) -> str:
        if self._open_transaction is None:
            return "NoTransaction"
        return "CommitInProgress" if self._is_committing else "TransactionInProgress"

    @property
    def transaction_records(self) -> int:
        return self._held_records

    def begin_transaction(self) -> int:
        with self.step_lock:
            if self._open_transaction is not None:
                raise Conflict(
                    f"transaction {self._open_transaction} is in progress: commit it first",
                    code="TransactionInProgress",
                )
            self._transactions += 1
            self._open_transaction = self._transactions
            return self._transactions

    def commit_transaction(self) -> None:
        with self.step_lock:
            if self._open_transaction is None:
                raise UserError("there is no transaction to commit", code="NoTransactionInProgress")
            self._is_committing = True
        self.wake()

    # the thread

    def _run(self) -> None:
        try:
            while not self._stopping:
                timeout_s = self._idle_s()
                if timeout_s is None or timeout_s > 0:
                    self._wake.wait(timeout_s)
                    self._wake.clear()
                    continue
                self._wake.clear()
                self._wait_for_outputs()
                if not self._stopping:
                    self._take_and_step()
        except PenstockError as e:
            self._fail(e)
        except Exception as e:
            log.error("step_bug\n%s", traceback.format_exc())
            self._fail(PenstockError(f"internal error in a step: {e!r}", code="StepError"))

    def _fail(self, error: PenstockError) -> None:
        log.error("step_failed step=%d error=%s", self.step + 1, error)
        self.failure = error
        self._on_failure(error)

    def _idle_s(self) -> float | None:
        """Seconds to sleep before the next step: 0 when there is a reason now, None when nothing
        is expected."""
        if self._is_requested or self._is_committing:
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
        taken = [(e, e.take(self._max_batch_records)) for e in self.inputs.values()]
        taken = [(e, batches) for e, batches in taken if batches]
        with self.step_lock:
            if self._open_transaction is not None:
                self._held.extend(taken)
                self._held_records += sum(len(b) for _, batches in taken for b in batches)
                if not self._is_committing:
                    return
                taken, self._held, self._held_records = self._held, [], 0
            try:
                self._step_taken(taken)
            finally:
                if self._is_committing:
                    self._open_transaction = None
                    self._is_committing = False

    def _step_taken(self, taken: list[tuple[InputEndpoint, list[InputBatch]]]) -> None:
        by_table: dict[str, list[InputBatch]] = {}
        for endpoint, batches in taken:
            by_table.setdefault(endpoint.relation, []).extend(batches)
        self._step(by_table)
        completed = self.completed_step
        for endpoint, _ in taken:
            endpoint.mark(self.step)
            endpoint.prune(completed)

    def _step(self, inputs: Mapping[str, list[InputBatch]]) -> None:
        with self.step_lock:
            started = time.perf_counter()
            deltas = self.circuit.step(inputs)
            self.latencies_s.append(time.perf_counter() - started)
            self.step += 1
            self._is_requested = False
            self.processed_records += sum(len(b) for bs in inputs.values() for b in bs)
            for output in self.outputs.values():
                output.push(self.step, self.processed_records, deltas[output.relation])
