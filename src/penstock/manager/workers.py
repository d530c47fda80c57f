"""Worker processes: one pipeline each, and always a spare that has everything loaded.

    WorkerPool ── fork ──► [spare: imported, kernels loaded, listening] ── take ──► a deployment
                  ▲                                                         │
                  └────────────────── fork the next spare ◄─────────────────┘

A worker is forked from a process that has loaded everything (`forks.py`); where that is not
supported, it is spawned and loads for itself.
A worker listens on a Unix socket in a directory only its owner may enter. Its stdin is a pipe that
this process holds: when this process ends in whatever way, the pipe closes and the worker exits.

Invariants: workers are ended by pid, all of them in `close`; a worker serves one deployment.

Cost: two idle processes that share their memory. Not here: what a worker runs
(`server/worker.py`), what it is told (`deployment.py`).
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import httpx

from penstock.errors import TransientError
from penstock.io.scratch import Scratch
from penstock.manager.allocation import with_large_pages
from penstock.manager.forks import ForkFailed, ForkServer

_log = logging.getLogger(__name__)
_MAX_SOCKET_PATH = 90  # Linux allows 107 bytes; leave room for the file name.
_SECONDS_BETWEEN_FAILED_SPAWNS = 2.0


class WorkerGone(Exception):
    """The worker process ended or cannot be reached."""


class WorkerAnswered(Exception):
    """The worker answered a call with an error body `{message, error_code, details}`."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("message")))
        self.status = status
        self.body = body


class Process(Protocol):
    """The part of subprocess.Popen that a worker needs."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


#: starts a process that listens on a socket; its standard input, its output and its ready pipe
Launch = Callable[[Path, int, int, int], Process]


class Worker:
    """A worker process, from its start on. Thread-safe."""

    def __init__(self, launch: Launch, socket: Path) -> None:
        """Raises what `launch` raises."""
        self.socket = socket
        stdin_read, self._stdin_fd = os.pipe()
        self._output_fd, output_write = os.pipe()
        self._ready_fd, ready_write = os.pipe()
        ours = (self._stdin_fd, self._output_fd, self._ready_fd)
        theirs = (stdin_read, output_write, ready_write)
        try:
            self.process = launch(socket, *theirs)
        except BaseException:
            _close(*ours)
            raise
        finally:
            _close(*theirs)
        self._lock = threading.Lock()
        self._early_lines: deque[str] = deque(maxlen=1000)
        self._sink: Callable[[str], None] | None = None
        self._client = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://worker"
        )
        self._reader = threading.Thread(target=self._read_lines, name="worker-log", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def wait_ready(self) -> None:
        """Block until it listens. Raises WorkerGone if it ended instead."""
        try:
            answer = os.read(self._ready_fd, 1)
        finally:
            os.close(self._ready_fd)
        if not answer:
            raise WorkerGone(self.epitaph())

    def follow(self, sink: Callable[[str], None]) -> None:
        """Send every line it writes, also those already written, to `sink`."""
        with self._lock:
            for line in self._early_lines:
                sink(line)
            self._early_lines.clear()
            self._sink = sink

    def call(self, method: str, args: Any = None, timeout: float = 10.0) -> Any:
        """Call a method of the worker and return its JSON answer.

        Raises:
            WorkerAnswered: it answered with an error.
            WorkerGone: it could not be reached or did not answer within `timeout` seconds.
        """
        try:
            answer = self._client.post(f"/call/{method}", json=args or {}, timeout=timeout)
        except httpx.TransportError as error:
            raise WorkerGone(f"{type(error).__name__}: {error}") from error
        if answer.is_success:
            return answer.json()
        try:
            body = answer.json()
        except ValueError:
            body = {"message": answer.text, "error_code": "Error", "details": None}
        raise WorkerAnswered(answer.status_code, body)

    def epitaph(self) -> str:
        """How it ended, in words. Waits a moment for an ending that is under way."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "the worker process does not answer"
        if code < 0:
            return f"the worker process was killed by signal {-code}"
        return f"the worker process exited with code {code}"

    def end(self, grace_seconds: float = 4.0) -> None:
        """Ask it to end, then insist. Returns when it is gone and its log has been read."""
        with self._lock:
            if self._stdin_fd >= 0:
                os.close(self._stdin_fd)
                self._stdin_fd = -1
        self.process.terminate()
        try:
            self.process.wait(timeout=grace_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(timeout=2)
        self._client.close()
        self.socket.unlink(missing_ok=True)

    def _read_lines(self) -> None:
        with os.fdopen(self._output_fd, "rb") as output:
            for raw in output:
                line = raw.decode(errors="replace").rstrip("\r\n")
                with self._lock:
                    if self._sink is None:
                        self._early_lines.append(line)
                    else:
                        self._sink(line)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class WorkerPool:
    """Keeps one spare worker ready. `command` starts a worker process."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)
        self._fork_server: ForkServer | None = None
        parent = None if len(tempfile.gettempdir()) < _MAX_SOCKET_PATH - 30 else "/tmp"
        # one that is killed leaves it for the next one to remove
        self._directory = Scratch("penstock-sockets-", parent)
        self._changed = threading.Condition()
        self._spare: Worker | None = None
        self._all: set[Worker] = set()
        self._count = 0
        self._is_closed = False
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._keep_spare, name="worker-pool", daemon=True)
        self._thread.start()

    def take(self, give_up: threading.Event, timeout: float) -> Worker:
        """The spare worker, as soon as it is ready; another takes its place.

        Raises TransientError after `timeout` seconds or once `give_up` is set."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                if self._spare is not None:
                    worker, self._spare = self._spare, None
                    self._changed.notify_all()
                    if worker.is_alive:
                        return worker
                    continue
                left = deadline - time.monotonic()
                if give_up.is_set() or self._is_closed or left <= 0:
                    reason = self.failure or "it is still starting"
                    raise TransientError(f"There is no worker process: {reason}")
                self._changed.wait(min(left, 0.2))

    def release(self, worker: Worker) -> None:
        """End a worker that was taken."""
        worker.end()
        with self._changed:
            self._all.discard(worker)

    def close(self) -> None:
        """End every worker. Returns when they are gone."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            workers = tuple(self._all)
            if self._fork_server is not None:
                self._fork_server.end()
        for worker in workers:
            worker.process.terminate()
        self._thread.join(timeout=5)
        for worker in workers:
            worker.end()
        self._directory.cleanup()

    def _keep_spare(self) -> None:
        while True:
            try:
                worker = self._start()
            except (ForkFailed, OSError) as error:
                self._report_failure(str(error), [])
                continue
            if worker is None:
                return
            try:
                worker.wait_ready()
            except WorkerGone as gone:
                lines: list[str] = []
                worker.end()
                worker.follow(lines.append)
                with self._changed:
                    self._all.discard(worker)
                self._report_failure(str(gone), lines)
                continue
            with self._changed:
                self._spare, self.failure = worker, None
                self._changed.notify_all()

    def _start(self) -> Worker | None:
        """The next worker, once one is needed; None when there will be no more."""
        with self._changed:
            while not self._is_closed and self._spare is not None:
                self._changed.wait()
            if self._is_closed:
                return None
            self._count += 1
            launch, socket = self._launch(), self._directory.path / f"{self._count}.sock"
        # may take as long as loading takes: without the lock
        worker = Worker(launch, socket)
        with self._changed:
            if not self._is_closed:
                self._all.add(worker)
                return worker
        worker.end()
        return None

    def _launch(self) -> Launch:
        """How the next worker is started; under the lock."""
        if not ForkServer.is_supported():
            return self._spawn
        if self._fork_server is not None and not self._fork_server.is_alive:
            self._fork_server.end()
            self._fork_server = None
        if self._fork_server is None:
            self._fork_server = ForkServer(self._command)
        return self._fork_server.fork

    def _spawn(self, socket: Path, stdin: int, output: int, ready: int) -> Process:
        return subprocess.Popen(
            [*self._command, "--socket", str(socket), "--ready-fd", str(ready)],
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(ready,),
            env=with_large_pages(os.environ),
            start_new_session=True,  # Ctrl-C at a terminal is for the server, which ends us.
        )

    def _report_failure(self, epitaph: str, lines: Sequence[str]) -> None:
        with self._changed:
            if self._is_closed:
                return
            self.failure = epitaph
            _log.error("a worker process failed to start: %s\n%s", epitaph, "\n".join(lines[-30:]))
            self._changed.wait(_SECONDS_BETWEEN_FAILED_SPAWNS)
