"""An input endpoint: parsed rows on their way to a table, bounded, counted, and paced.

    connector thread / HTTP request ──push──► queue (max_queued_records) ──take──► step loop

A completion token names an endpoint and how many of its records had arrived; the endpoint knows
after which step each of them had gone through the circuit (`step_of`).

Cost: O(1) per pushed batch; the queue holds whole parsed batches, never single rows.

Not here: parsing (`penstock.io.formats`), reading sources (`penstock.io.inputs`).
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from penstock.data.batch import InputBatch
from penstock.errors import PenstockError
from penstock.io.contracts import InputConnector, Intake, Parsed, ParseError

log = logging.getLogger("penstock.pipeline.inputs")

KEPT_ERRORS = 100


class InputEndpoint(Intake):
    """One input connector, or the implicit endpoint of HTTP ingress. Thread-safe."""

    def __init__(
        self,
        *,
        name: str,
        relation: str,
        config: Mapping[str, Any],
        max_queued_records: int,
        is_running: Callable[[], bool],
        wake: Callable[[], None],
        paused: bool = False,
    ) -> None:
        """`is_running` tells whether the pipeline lets connectors deliver; `wake` is called when
        something was queued."""
        self.name, self.relation, self.config = name, relation, config
        self.paused = paused
        self.max_queued_records = max_queued_records
        self._is_running = is_running
        self._wake = wake
        self._cond = threading.Condition()
        self._queue: deque[InputBatch] = deque()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.total_records = 0
        self.total_bytes = 0
        self.buffered_records = 0
        self.num_parse_errors = 0
        self.num_transport_errors = 0
        self.fatal_error: str | None = None
        self.is_at_end = False
        self.parse_errors: deque[dict[str, Any]] = deque(maxlen=KEPT_ERRORS)
        self.transport_errors: deque[dict[str, Any]] = deque(maxlen=KEPT_ERRORS)
        self._taken = 0
        #: (records taken in all, step) per step that took some; pruned once completed
        self._steps: list[tuple[int, int]] = []

    # the connector's side (io.contracts.Intake)

    def push(self, parsed: Parsed, byte_count: int, *, force: bool = False) -> None:
        with self._cond:
            if any(len(b) for b in parsed.batches):
                self._wait_for_room(force)
            for batch in parsed.batches:
                if len(batch):
                    self._queue.append(batch)
                    self.buffered_records += len(batch)
                    self.total_records += len(batch)
            self.total_bytes += byte_count
            for e in parsed.errors:
                self._note_parse_error(e)
        self._wake()

    def _wait_for_room(self, force: bool) -> None:
        while not self._stopping and not (force or self._may_run()):
            self._cond.wait(0.1)
        while not self._stopping and self.buffered_records >= self.max_queued_records:
            self._cond.wait(0.1)
        if self._stopping:
            raise Intake.Stopped

    def end_of_input(self) -> None:
        self.is_at_end = True
        log.info("end_of_input endpoint=%s records=%d", self.name, self.total_records)
        self._wake()

    def error(self, message: str, *, fatal: bool) -> None:
        with self._cond:
            self.num_transport_errors += 1
            self.transport_errors.append(connector_error(self.num_transport_errors, message))
            if fatal:
                self.fatal_error = message
        log.log(
            logging.ERROR if fatal else logging.WARNING,
            "input_error endpoint=%s fatal=%s error=%s", self.name, fatal, message,
        )  # fmt: skip

    def wait_while_paused(self) -> None:
        with self._cond:
            while not self._stopping and not self._may_run():
                self._cond.wait(0.1)
            if self._stopping:
                raise Intake.Stopped

    @property
    def stopping(self) -> bool:
        return self._stopping

    def _may_run(self) -> bool:
        return self._is_running() and not self.paused

    def _note_parse_error(self, e: ParseError) -> None:
        self.num_parse_errors += 1
        self.parse_errors.append(connector_error(self.num_parse_errors, e.description, e.tag))
        log.warning("parse_error endpoint=%s error=%s", self.name, e.description)

    # the pipeline's side

    def run(self, connector: InputConnector) -> None:
        """Run `connector` in a thread of its own."""

        def body() -> None:
            try:
                self.wait_while_paused()
                connector.run(self)
            except Intake.Stopped:
                return
            except PenstockError as e:
                self.error(str(e), fatal=True)
            except Exception as e:
                log.error("connector_bug endpoint=%s\n%s", self.name, traceback.format_exc())
                self.error(f"internal error in the connector: {e!r}", fatal=True)

        self._thread = threading.Thread(target=body, name=f"input {self.name}", daemon=True)
        self._thread.start()

    def take(self, max_records: int) -> list[InputBatch]:
        """Whole batches from the front of the queue, up to about `max_records` rows."""
        taken: list[InputBatch] = []
        with self._cond:
            count = 0
            while self._queue and (count == 0 or count + len(self._queue[0]) <= max_records):
                batch = self._queue.popleft()
                count += len(batch)
                taken.append(batch)
            self.buffered_records -= count
            self._taken += count
            if count:
                self._cond.notify_all()
        return taken

    def mark(self, step: int) -> None:
        """All that was taken so far has gone through the circuit with `step`."""
        with self._cond:
            if not self._steps or self._steps[-1][0] < self._taken:
                self._steps.append((self._taken, step))

    def step_of(self, count: int) -> int | None:
        """The step that took the `count`-th record through the circuit, None if none did yet."""
        with self._cond:
            if count == 0:
                return 0
            at = bisect_left(self._steps, (count, 0))
            return self._steps[at][1] if at < len(self._steps) else None

    def prune(self, completed_step: int) -> None:
        """Forget all but the newest entry at or before `completed_step`: a token that old is
        complete, and that entry says by which step at the latest."""
        with self._cond:
            keep = 0
            while keep + 1 < len(self._steps) and self._steps[keep + 1][1] <= completed_step:
                keep += 1
            del self._steps[:keep]

    def kick(self) -> None:
        """Look again whether the connector may run."""
        with self._cond:
            self._cond.notify_all()

    def close(self) -> None:
        """Take in no more: whoever waits to push gets Stopped, at once."""
        with self._cond:
            self._stopping = True
            self._cond.notify_all()

    def stop(self, timeout_s: float = 5.0) -> None:
        self.close()
        if self._thread is not None:
            self._thread.join(timeout_s)


def connector_error(index: int, message: str, tag: str | None = None) -> dict[str, Any]:
    """A ConnectorError of the REST contract (section 6.1)."""
    return {
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "index": index,
        "tag": tag,
        "message": message,
    }
