"""Worker processes by fork: one process loads everything once, each worker is a copy of it.

    ForkServer ──JSON, descriptors──► fork server: imported, kernels loaded, one thread of Python
        ▲                                  │ fork, twice
        └──────────── the pid ─────────────┴──► worker: a child of *this* process

Starting a worker that way takes a few hundredths of a second instead of seconds, and workers share
the memory of what they all have loaded.

The process between the two forks ends at once, and an orphan goes to its nearest "child subreaper"
(prctl(2)), which this process declares itself to be. So workers are this process's children as if
it had spawned them: it learns how they ended, and a fork server that dies takes nobody with it.
So are processes that a worker leaves behind (`orphans`).

Linux only: elsewhere the libraries that are loaded do not promise to survive a fork. Those that
have threads by then, jemalloc and OpenBLAS, stop or forget them around a fork (pthread_atfork(3)).

Not here: the other end of the line (`server/fork_server.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from penstock.manager.allocation import with_large_pages
from penstock.manager.orphans import OrphanReaper

_PR_SET_CHILD_SUBREAPER = 36
_MAX_ANSWER = 4096
_LONGEST_PAUSE_S = 0.05


class ForkFailed(Exception):
    """The fork server ended, or could not fork."""


class Forked:
    """A process that a fork server made, with the part of Popen's interface that is needed."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Its exit code, negative for a signal's number, or None while it runs."""
        with self._lock:
            if self._code is None:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self._code = os.waitstatus_to_exitcode(status)
            return self._code

    def wait(self, timeout: float | None = None) -> int:
        """The exit code. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.001
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_S)
        return code

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._lock:
            # once it has been waited for, its pid may be another's
            if self._code is None:
                os.kill(self.pid, number)


class ForkServer:
    """The process that forks. `fork` may be called by one thread at a time."""

    def __init__(self, command: Sequence[str]) -> None:
        """`command` and `--fork-server FD` start it."""
        _adopt_orphans()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*command, "--fork-server", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=with_large_pages(os.environ),
                start_new_session=True,  # Ctrl-C at a terminal is for this process, which ends it
            )
        self._orphans = OrphanReaper(self._process.pid)

    @staticmethod
    def is_supported() -> bool:
        return sys.platform == "linux"

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def fork(self, listen_on: Path, stdin: int, output: int, ready: int) -> Forked:
        """A worker that listens on the socket `listen_on`, with these descriptors as its standard
        input, its output and its ready pipe. Waits while the fork server is still loading.

        Raises ForkFailed."""
        order = json.dumps({"socket": str(listen_on)}).encode()
        try:
            socket.send_fds(self._control, [order], [stdin, output, ready])
            answer = self._control.recv(_MAX_ANSWER)
        except OSError as error:
            raise ForkFailed(f"the fork server is gone: {error}") from error
        if not answer:
            raise ForkFailed("the fork server ended")
        said = json.loads(answer)
        if "error" in said:
            raise ForkFailed(said["error"])
        return Forked(said["pid"])

    def end(self) -> None:
        """Also wakes a `fork` that waits."""
        self._orphans.end()
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()


def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(number)}")
