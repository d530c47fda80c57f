"""One deployment: from taking a worker until its process is gone.

    take worker ─► deploy ─► follow its status ─┬─ stop requested ─► stop ─┐
                                                ├─ suspended ──────────────┤
                                                ├─ state Failed ───────────┼─► end worker ─► ended
                                                └─ process died ───────────┘

A suspension is a stop with a checkpoint. If none can be taken the pipeline goes on.

Two threads: `run` follows the worker, a short-lived one carries out a stop. All effects on the
record go through the two callbacks, which take the fleet's lock themselves.

Invariants: `on_ended` is called exactly once, after the process is gone. Whatever went wrong is
in its error, with the error code the worker gave or `PipelineUnavailable`.

Not here: which call is allowed when (`lifecycle.py`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from penstock.errors import PenstockError
from penstock.manager.workers import Worker, WorkerAnswered, WorkerGone, WorkerPool

_log = logging.getLogger(__name__)
#: a process that ends is noticed at once; a machine that is busy may take its time
_SECONDS_TO_PROVISION = 300.0
_SECONDS_TO_STOP = 5.0
_SECONDS_TO_SUSPEND = 600.0
_SECONDS_PER_POLL = 10.0

ErrorBody = dict[str, Any]


class Deployment:
    """A running pipeline as the manager sees it.

    Args:
        config: what the worker gets; see `penstock.pipeline.Pipeline`.
        on_status: called with (state, details) whenever the pipeline's state differs.
        on_checkpoints: called with their metadata, newest first, whenever they differ.
        on_unsuspended: called with the error body when a suspension failed.
        on_ended: called with the error body, or None after a requested stop.
    """

    def __init__(
        self,
        config: dict[str, Any],
        pool: WorkerPool,
        *,
        log: Callable[[str], None],
        on_status: Callable[[str, dict[str, Any] | None], None],
        on_ended: Callable[[ErrorBody | None], None],
        on_checkpoints: Callable[[list[dict[str, Any]]], None] = lambda found: None,
        on_unsuspended: Callable[[ErrorBody], None] = lambda error: None,
    ) -> None:
        self._config = config
        self._pool = pool
        self._log = log
        self._on_status = on_status
        self._on_ended = on_ended
        self._on_checkpoints = on_checkpoints
        self._on_unsuspended = on_unsuspended
        self._suspending = threading.Event()
        self._stopping = threading.Event()
        self.worker: Worker | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"deployment-{config['name']}", daemon=True
        )

    def begin(self) -> None:
        self._thread.start()

    def join(self, timeout: float) -> None:
        self._thread.join(timeout)

    def request_stop(self) -> None:
        """Stop the pipeline; returns at once. Repeating it is harmless."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        threading.Thread(target=self._stop_worker, name="deployment-stop", daemon=True).start()

    def request_suspend(self) -> None:
        """Stop the pipeline with a checkpoint; returns at once. Repeating it is harmless."""
        if self._stopping.is_set() or self._suspending.is_set():
            return
        if self.worker is None:
            self.request_stop()
            return
        self._suspending.set()
        threading.Thread(target=self._suspend_worker, name="suspend", daemon=True).start()

    def _suspend_worker(self) -> None:
        assert self.worker is not None
        try:
            self._on_checkpoints(self.worker.call("suspend", timeout=_SECONDS_TO_SUSPEND))
        except WorkerAnswered as answered:
            self._suspending.clear()
            self._on_unsuspended(answered.body)
        except WorkerGone as gone:
            _log.info("a worker ended while it was suspended: %s", gone)
        else:
            self.request_stop()

    def approve(self, is_silent: bool) -> None:
        """Tell a pipeline that awaits it. Raises WorkerAnswered or WorkerGone."""
        if self.worker is not None:
            self.worker.call("approve", {"silent_bootstrap": is_silent})

    def steer(self, desired: str) -> None:
        """Tell the pipeline to become Paused or Running. Raises WorkerAnswered or WorkerGone."""
        if self.worker is not None:
            self.worker.call("pause" if desired == "Paused" else "resume")

    def _run(self) -> None:
        error: ErrorBody | None = None
        try:
            error = self._follow()
        except WorkerAnswered as answered:
            error = answered.body
        except PenstockError as failure:
            error = {
                "message": failure.message,
                "error_code": failure.code,
                "details": failure.details,
            }
        except Exception as bug:
            _log.exception("a deployment failed")
            error = _unavailable(f"{type(bug).__name__}: {bug}")
        if self.worker is not None:
            self._pool.release(self.worker)
        self._on_ended(None if self._stopping.is_set() else error)

    def _follow(self) -> ErrorBody | None:
        self.worker = worker = self._pool.take(self._stopping, _SECONDS_TO_PROVISION)
        worker.follow(self._log)
        state, checkpoint = "", 0
        try:
            worker.call("deploy", self._config, timeout=_SECONDS_TO_PROVISION)
            while not self._stopping.is_set():
                status = worker.call(
                    "wait_status",
                    {"known": state, "seconds": _SECONDS_PER_POLL, "checkpoint": checkpoint},
                    timeout=_SECONDS_PER_POLL + 30,
                )
                if status["checkpoint"] != checkpoint:
                    checkpoint = status["checkpoint"]
                    self._on_checkpoints(status["checkpoints"])
                if status["state"] == "Failed":
                    error: ErrorBody = status["error"]
                    return error
                if status["state"] != state:
                    state = status["state"]
                    self._on_status(state, status.get("details"))
        except WorkerGone:
            return _unavailable(f"The pipeline ended unexpectedly: {worker.epitaph()}")
        return None

    def _stop_worker(self) -> None:
        worker = self.worker
        if worker is None:
            return
        try:
            worker.call("stop", timeout=_SECONDS_TO_STOP)
        except (WorkerGone, WorkerAnswered) as problem:
            _log.info("a worker did not stop by itself: %s", problem)
        # The follower sees its connection end, reaps the process and reports.
        worker.process.terminate()


def _unavailable(message: str) -> ErrorBody:
    return {"message": message, "error_code": "PipelineUnavailable", "details": None}
