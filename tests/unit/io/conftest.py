"""What the tests of connectors share: an intake that keeps what it gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from penstock.data.build import column_to_python
from penstock.io.contracts import InputConnector, Intake, Parsed, ParseError, Position


class KeepingIntake(Intake):
    """Collects everything; pausing and stopping are up to the test."""

    def __init__(self) -> None:
        self.parsed: list[Parsed] = []
        self.positions: list[Position | None] = []
        self.errors: list[tuple[str, bool]] = []
        self.bytes = 0
        self.ended = threading.Event()
        self.running = threading.Event()
        self.running.set()
        self._stopping = threading.Event()
        self.crash: BaseException | None = None

    def push(self, parsed: Parsed, byte_count: int, *, position: Position | None = None) -> None:
        self.wait_while_paused()
        self.parsed.append(parsed)
        self.positions.append(position)
        self.bytes += byte_count

    def end_of_input(self) -> None:
        self.ended.set()

    def error(self, message: str, *, fatal: bool) -> None:
        self.errors.append((message, fatal))

    def wait_while_paused(self) -> None:
        while not self.running.wait(0.02):
            if self.stopping:
                raise Intake.Stopped
        if self.stopping:
            raise Intake.Stopped

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop(self) -> None:
        self._stopping.set()

    @property
    def rows(self) -> list[tuple[Any, ...]]:
        return [
            row
            for p in self.parsed
            for b in p.batches
            for row in zip(*[column_to_python(c) for c in b.columns], strict=True)
        ]

    @property
    def parse_errors(self) -> list[ParseError]:
        return [e for p in self.parsed for e in p.errors]

    def run(self, connector: InputConnector) -> threading.Thread:
        def body() -> None:
            try:
                connector.run(self)
            except Intake.Stopped:
                pass
            except BaseException as e:
                self.crash = e

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        return thread


def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


@pytest.fixture
def intake() -> Iterator[KeepingIntake]:
    intake = KeepingIntake()
    yield intake
    intake.stop()
    assert intake.crash is None, repr(intake.crash)
