"""Pipelines in processes of their own that cost next to nothing to begin, and can really be killed.

    Nursery ── a process that has everything imported and every kernel loaded, and no thread
       └ fork ──► Life ── one pipeline; it does what it is asked through a socket, until SIGKILL

A start is a fork; the death is that of a crashed machine's process: nothing is flushed, nobody is
told. `python -m tests.histories.nursery ADDRESS` is the nursery's own process.

Not here: what is asked of a pipeline (`world`).
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

from penstock.data.build import batch_to_rows
from penstock.errors import PenstockError, TransientError
from penstock.pipeline import Pipeline, failpoints

ROOT = Path(__file__).parents[2]


class Died(Exception):
    """The process that was asked is dead."""


class Refused(Exception):
    """The pipeline refused; `code` is its error_code, `is_transient`: it may do it later."""

    def __init__(self, code: str, message: str, is_transient: bool) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.is_transient = code, is_transient


class Nursery:
    """Makes lives. One at a time may be waited for."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._listener = Listener(f"{self._folder.name}/s", "AF_UNIX")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __spec__.name, str(self._listener.address)],
            stdin=subprocess.PIPE,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        )

    def life(self) -> Life:
        assert self._process.stdin is not None
        self._process.stdin.write(b"f")
        self._process.stdin.flush()
        return Life(self._listener.accept())

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._listener.close()
        self._folder.cleanup()


class Life:
    """The process of one pipeline, seen from outside."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._pid = int(self.ask("pid"))

    def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """What the method of `Host` or of its pipeline answers. Raises Died or Refused."""
        try:
            self._connection.send((method, args, kwargs))
            is_good, answer = self._connection.recv()
        except (EOFError, OSError) as e:
            raise Died from e
        if is_good:
            return answer
        raise Refused(*answer)

    def kill(self) -> None:
        """SIGKILL; returns when it is over."""
        try:
            os.kill(self._pid, signal.SIGKILL)
            self._connection.recv()
        except (EOFError, OSError):
            self._connection.close()


class Host:
    """What a life does when it is asked, beside what its pipeline can."""

    def __init__(self) -> None:
        self.pipeline: Pipeline | None = None

    def pid(self) -> int:
        return os.getpid()

    def arm(self, text: str) -> None:
        failpoints.arm(text)

    def begin(self, config: Mapping[str, Any]) -> None:
        pipeline = Pipeline(config)
        pipeline.start()
        self.pipeline = pipeline

    def send(self, body: bytes) -> str:
        assert self.pipeline is not None
        options = {"update_format": "insert_delete"}
        session = self.pipeline.ingress("t", "json", options)
        try:
            session.feed(body)
            return str(session.finish()["token"])
        finally:
            session.close()

    def checkpoint_activity(self) -> dict[str, Any]:
        assert self.pipeline is not None
        activity: dict[str, Any] = self.pipeline.stats()["checkpoint_activity"]
        return activity

    def rows(self, relation: str) -> list[tuple[Any, ...]]:
        """What the circuit holds, spelt as readers of targets do."""
        assert self.pipeline is not None
        loop = self.pipeline._loop
        with loop.step_lock:
            snapshot = loop.circuit.snapshot(relation)
        rows = batch_to_rows(snapshot.batch())
        assert all(weight == 1 for _, weight in rows), "a row is there twice"
        return [
            (k, v, None if n is None else f"{n:.2f}", None if d is None else str(d), int(b), x)
            for (k, v, n, d, b, x), _ in rows
        ]


def live(connection: Connection) -> None:
    """Do what is asked until nobody is there to ask."""
    host = Host()
    while True:
        try:
            method, args, kwargs = connection.recv()
        except (EOFError, OSError):
            return
        try:
            of = host if hasattr(host, method) else host.pipeline
            answer = True, getattr(of, method)(*args, **kwargs)
        except PenstockError as e:
            answer = False, (e.code, str(e), isinstance(e, TransientError))
        except Exception:
            answer = False, ("Bug", traceback.format_exc(), False)
        connection.send(answer)


def main(address: str) -> None:
    from penstock.data.warm import load_kernels

    logging.getLogger("penstock").setLevel(os.environ.get("HISTORIES_LOG", "CRITICAL"))
    logging.basicConfig()
    load_kernels()
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while os.read(0, 1):
        if os.fork() == 0:
            os.close(0)
            live(Client(address, "AF_UNIX"))
            os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
