"""An input endpoint: parsed rows on their way to a table, bounded, counted, and paced.

    connector thread / HTTP request ──push──► queue (max_queued_records) ──take──► step loop

A completion token names an endpoint and how many of its records had arrived; the endpoint knows
after which step each of them had gone through the circuit (`step_of`).

Positions travel with the rows:

    push(rows, position) ─► queue ─► take: `taken` ─► step ─► mark: `stepped` ─► checkpoint
                                      what a step gets       what the circuit contains

A push is taken whole, so a position never stands in the middle of what a step got. Progress that
brings no rows (blank lines, the end of the input) queues as well, and is taken with its neighbours.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from penstock.data.batch import InputBatch
from penstock.errors import PenstockError, UserError, without_hidden
from penstock.io.contracts import InputConnector, Intake, Parsed, ParseError, Position
from penstock.pipeline.eventlog import event
from penstock.pipeline.frontier import Frontier

log = logging.getLogger("penstock.pipeline.inputs")

KEPT_ERRORS = 100
#: of one push; a file in another format than was said is bad in every line
LOGGED_ERRORS = 10


@dataclass(frozen=True, slots=True)
class InputProgress:
    """How far an input is: records and bytes so far, where its source goes on (None: it cannot
    tell, or has not begun), whether it has reached its end."""

    records: int = 0
    bytes: int = 0
    position: Position | None = None
    is_at_end: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> InputProgress:
        return InputProgress(**fields)

    def then(self, push: _Push) -> InputProgress:
        return InputProgress(
            self.records + push.records,
            self.bytes + push.bytes,
            self.position if push.position is None else push.position,
            self.is_at_end or push.is_end,
        )


@dataclass(frozen=True, slots=True)
class _Push:
    batches: tuple[InputBatch, ...]
    records: int
    bytes: int
    position: Position | None
    is_end: bool = False


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
        schema: str = "",
        is_implicit: bool = False,
        max_queued_bytes: int | None = None,
        max_batch_records: int | None = None,
    ) -> None:
        """`is_running` tells whether the pipeline lets connectors deliver; `wake` is called when
        something was queued. `schema` is the hash of the table's; an implicit endpoint belongs to
        HTTP requests and not to the program. `max_batch_records`: what one step takes, about."""
        self.name, self.relation, self.config = name, relation, config
        self.schema, self.is_implicit = schema, is_implicit
        self.paused = paused
        self.max_queued_records = max_queued_records
        self._max_queued_bytes = max_queued_bytes
        self._max_batch_records = max_batch_records
        #: the endpoints at whose end of input the connector begins
        self.start_after: tuple[InputEndpoint, ...] = ()
        self._is_running = is_running
        self._wake = wake
        self._cond = threading.Condition()
        self._queue: deque[_Push] = deque()
        self._stopping = self._ended = False
        self._thread: threading.Thread | None = None
        self.total_records = 0
        self.total_bytes = 0
        self.buffered_records = 0
        self.num_parse_errors = 0
        self.num_transport_errors = 0
        self.fatal_error: str | None = None
        self._trouble: str | None = None
        self.is_at_end = False
        self.parse_errors: deque[dict[str, Any]] = deque(maxlen=KEPT_ERRORS)
        self.transport_errors: deque[dict[str, Any]] = deque(maxlen=KEPT_ERRORS)
        #: what keeps a position (see `keep_position`); None where nothing has to
        self.keep: Callable[[InputEndpoint], None] | None = None
        self.taken = InputProgress()
        #: `taken` as of the last step; what a checkpoint keeps
        self.stepped = InputProgress()
        #: records that the journal has
        self._durable = 0
        #: (records taken in all, step) per step that took some; pruned once completed
        self._steps: list[tuple[int, int]] = []
        self._frontier = Frontier()

    # the connector's side (io.contracts.Intake)

    def push(
        self,
        parsed: Parsed,
        byte_count: int,
        *,
        position: Position | None = None,
        force: bool = False,
    ) -> None:
        batches = tuple(b for b in parsed.batches if len(b))
        records = sum(map(len, batches))
        with self._cond:
            if batches:
                self._wait_for_room(force)
            self._enqueue(_Push(batches, records, byte_count, position))
            self.buffered_records += records
            self.total_records += records
            self.total_bytes += byte_count
            if records or byte_count:
                self._trouble = None
            if records:
                self._frontier.arrive(self.total_records)
            self._note_parse_errors(parsed.errors)
        self._wake()

    def _enqueue(self, push: _Push) -> None:
        last = self._queue[-1] if self._queue else None
        if last is not None and not push.batches and not last.is_end:
            # progress without rows joins its neighbour, so that it cannot pile up
            position = last.position if push.position is None else push.position
            byte_count = last.bytes + push.bytes
            self._queue[-1] = replace(last, bytes=byte_count, position=position, is_end=push.is_end)
        else:
            self._queue.append(push)

    def _wait_for_room(self, force: bool) -> None:
        while not self._stopping and not (force or self._may_run()):
            self._cond.wait(0.1)
        while not self._stopping and self._is_full():
            self._cond.wait(0.1)
        if self._stopping:
            raise Intake.Stopped

    def _is_full(self) -> bool:
        if self.buffered_records >= self.max_queued_records:
            return True
        limit = self._max_queued_bytes
        return limit is not None and self.buffered_bytes >= limit

    def keep_position(self) -> None:
        if self.keep is not None:
            self.keep(self)
        if self._stopping:
            raise Intake.Stopped

    def end_of_input(self) -> None:
        self.is_at_end = True
        with self._cond:
            self._enqueue(_Push((), 0, 0, None, is_end=True))
        log.info("end_of_input endpoint=%s records=%d", self.name, self.total_records)
        self._wake()

    def error(self, message: str, *, fatal: bool) -> None:
        message = without_hidden(message)
        with self._cond:
            self.num_transport_errors += 1
            self.transport_errors.append(connector_error(self.num_transport_errors, message))
            if fatal:
                self.fatal_error = message
        log.log(
            logging.ERROR if fatal else logging.WARNING,
            "input_error endpoint=%s fatal=%s error=%s", self.name, fatal, message,
        )  # fmt: skip

    def trouble(self, message: str | None) -> None:
        super().trouble(message)
        self._trouble = None if message is None else without_hidden(message)

    @property
    def unhealthy(self) -> str | None:
        """Why nothing comes from the source, or never will again."""
        return self.fatal_error or self._trouble

    def wait_while_paused(self) -> None:
        with self._cond:
            while not self._stopping and not self._may_run():
                self._cond.wait(0.1)
            if self._stopping:
                raise Intake.Stopped

    def _wait_for_others(self) -> None:
        """Until all that come before have ended. Raises UserError if one of them never will."""
        with self._cond:
            while not self._stopping and self.is_waiting:
                for e in self.start_after:
                    if e.fatal_error is not None and not e.is_at_end:
                        raise UserError(
                            f"begins after connector '{e.name}', which failed before its end: "
                            f"mend that one and restart the pipeline ({e.fatal_error})"
                        )
                self._cond.wait(0.1)
            if self._stopping:
                raise Intake.Stopped

    @property
    def is_waiting(self) -> bool:
        """Whether it has not begun because others have not ended."""
        return not all(e.is_at_end for e in self.start_after)

    @property
    def stopping(self) -> bool:
        return self._stopping

    def _may_run(self) -> bool:
        return self._is_running() and not self.paused

    def _note_parse_errors(self, errors: Sequence[ParseError]) -> None:
        for e in errors:
            self.num_parse_errors += 1
            self.parse_errors.append(connector_error(self.num_parse_errors, e.sentence, e.tag))
        for e in errors[:LOGGED_ERRORS]:
            event(log, "parse_error", logging.WARNING, endpoint=self.name, error=e.sentence)
        if len(errors) > LOGGED_ERRORS:
            more = len(errors) - LOGGED_ERRORS
            log.warning("parse_errors_not_shown endpoint=%s count=%d", self.name, more)

    # the pipeline's side

    def run(self, connector: InputConnector) -> None:
        """Run `connector` in a thread of its own."""

        def body() -> None:
            try:
                self._wait_for_others()
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

    def restore(self, progress: InputProgress, step: int) -> None:
        """Go on with the numbers of an earlier life; before anything is pushed. All of `progress`
        is in the circuit as of `step`."""
        with self._cond:
            assert not self._queue, "restored after rows had arrived"
            self.taken = self.stepped = progress
            self.total_records, self.total_bytes = progress.records, progress.bytes
            self.is_at_end = progress.is_at_end
            self._durable = progress.records
            self._steps = [(progress.records, step)]

    def take(self, max_records: int) -> list[InputBatch]:
        """Whole pushes from the front of the queue, up to about `max_records` rows."""
        taken: list[InputBatch] = []
        if self._max_batch_records is not None:
            max_records = min(max_records, self._max_batch_records)
        with self._cond:
            count = 0
            while self._queue and (count == 0 or count + self._queue[0].records <= max_records):
                push = self._queue.popleft()
                count += push.records
                taken.extend(push.batches)
                self.taken = self.taken.then(push)
            self.buffered_records -= count
            if count:
                self._cond.notify_all()
        return taken

    @property
    def buffered_bytes(self) -> int:
        """Bytes that arrived and that no step has taken yet."""
        with self._cond:
            # the bytes of a push without rows wait for nothing, though they are taken later
            return self.total_bytes - self.taken.bytes if self.buffered_records else 0

    @property
    def has_queued(self) -> bool:
        """Whether anything waits to be taken, be it progress without rows."""
        return bool(self._queue)

    def replayed(self, progress: InputProgress) -> None:
        """The journal's rows up to `progress` are taken once more."""
        with self._cond:
            self.taken = progress
            self.total_records, self.total_bytes = progress.records, progress.bytes
            self.is_at_end = progress.is_at_end
            self._durable = progress.records

    def note_durable(self, records: int) -> None:
        """The first `records` records are in the journal."""
        with self._cond:
            self._durable = records
            self._cond.notify_all()

    def wait_durable(self, records: int) -> None:
        """Block until the first `records` records are in the journal. Raises Stopped."""
        with self._cond:
            while self._durable < records:
                if self._ended:
                    raise Intake.Stopped
                self._cond.wait(0.1)

    def mark(self, step: int, progress: InputProgress) -> None:
        """What was taken up to `progress` has gone through the circuit with `step`."""
        with self._cond:
            self.stepped = progress
            self._frontier.process(step, progress.records, progress.position)
            if not self._steps or self._steps[-1][0] < progress.records:
                self._steps.append((progress.records, step))

    def step_of(self, count: int) -> int | None:
        """The step that took the `count`-th record through the circuit, None if none did yet."""
        with self._cond:
            if count == 0:
                return 0
            at = bisect_left(self._steps, (count, 0))
            return self._steps[at][1] if at < len(self._steps) else None

    @property
    def frontier(self) -> tuple[dict[str, Any] | None, int | None]:
        """The contract's `completed_frontier` and `processing_latency_p99_micros`."""
        with self._cond:
            return self._frontier.completed(), self._frontier.latency_p99_micros()

    def note_completed(self, completed_step: int) -> None:
        """Every output has all steps up to `completed_step`: of the steps that tokens ask for,
        forget all but the newest at or before `completed_step`: a token that old is
        complete, and that entry says by which step at the latest."""
        with self._cond:
            self._frontier.complete(completed_step)
            keep = 0
            while keep + 1 < len(self._steps) and self._steps[keep + 1][1] <= completed_step:
                keep += 1
            del self._steps[:keep]

    def kick(self) -> None:
        """Look again whether the connector may run."""
        with self._cond:
            self._cond.notify_all()

    def close(self, *, is_end: bool = True) -> None:
        """Take in no more: whoever waits to push gets Stopped, at once. `is_end`: nothing that is
        queued will be stepped either."""
        with self._cond:
            self._stopping = True
            self._ended = self._ended or is_end
            self._cond.notify_all()

    def stop(self, timeout_s: float = 5.0, *, is_end: bool = True) -> None:
        self.close(is_end=is_end)
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
