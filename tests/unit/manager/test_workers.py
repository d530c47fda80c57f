"""How worker processes are started, and what is told when they cannot be."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from penstock.errors import TransientError
from penstock.manager.forks import ForkServer
from penstock.manager.workers import WorkerAnswered, WorkerPool
from penstock.server.serve import WORKER_COMMAND


def test_where_forks_are_not_safe_a_worker_is_spawned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ForkServer, "is_supported", staticmethod(lambda: False))
    pool = WorkerPool(WORKER_COMMAND)
    try:
        worker = pool.take(threading.Event(), 120)
        with pytest.raises(WorkerAnswered, match="no pipeline is deployed"):
            worker.call("status")
        pool.release(worker)
        assert worker.process.poll() is not None
    finally:
        pool.close()


def test_a_fork_server_that_cannot_load_is_named_as_the_reason() -> None:
    pool = WorkerPool([sys.executable, "-c", "raise SystemExit(3)"])
    try:
        deadline = time.monotonic() + 60
        while pool.failure is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(TransientError, match=r"no worker process: .*fork server"):
            pool.take(threading.Event(), 0)
    finally:
        pool.close()


def test_a_fork_server_that_still_loads_ends_with_who_has_asked_it_for_a_worker() -> None:
    program = (
        "import sys, time\n"
        "from penstock.server.fork_server import serve_forks\n"
        "serve_forks(int(sys.argv[1]), lambda: (print('loading', flush=True), time.sleep(600)))\n"
    )
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdout=subprocess.PIPE,
        )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"loading\n"
        null = os.open(os.devnull, os.O_RDWR)
        socket.send_fds(ours, [b'{"socket": "nowhere"}'], [null] * 3)
        os.close(null)
        ours.close()
        try:
            assert process.wait(60) == 0
        finally:
            process.kill()


def test_the_sockets_of_a_server_that_was_killed_are_removed_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # elsewhere its name may be too long for a socket
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        monkeypatch.setattr("tempfile.tempdir", place)
        left = Path(place) / "penstock-sockets-1"
        left.mkdir()
        (left / "1.sock").touch()
        pool = WorkerPool([sys.executable, "-c", "raise SystemExit(3)"])
        (mine,) = Path(place).iterdir()
        assert mine != left
        pool.close()
        assert not list(Path(place).iterdir())
