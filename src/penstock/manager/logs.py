"""A pipeline's log: its newest lines, numbered, and readers that follow them.

    append ──► [.. 101 102 103] ──► reader from 101: 101 102 103 … waits for 104

A line's position is (epoch, sequence number). The epoch is new whenever the buffer is, so that a
cursor from before a restart of the server is recognised as stale (contract 6.3).

Cost: at most MAX_LINES lines and MAX_BYTES bytes per pipeline.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from penstock.wire.stamps import now_rfc3339

MAX_LINES = 10_000
MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Tail:
    """Lines after a position. `before`: the number of the line before the first one; `gap`: how
    many lines between the asked-for position and it have been forgotten."""

    lines: tuple[str, ...]
    before: int
    gap: int
    is_closed: bool


class LogBuffer:
    """Thread-safe; `on_change` callbacks run in the appending thread and must not block."""

    def __init__(self) -> None:
        self.epoch = time.time_ns()
        self._lock = threading.Lock()
        self._lines: deque[str] = deque()
        self._bytes = 0
        self._last = 0
        self._is_closed = False
        self._listeners: set[Callable[[], None]] = set()

    def append(self, line: str) -> None:
        """Add one line (without its line end)."""
        with self._lock:
            self._lines.append(line)
            self._last += 1
            self._bytes += len(line)
            while len(self._lines) > MAX_LINES or self._bytes > MAX_BYTES:
                self._bytes -= len(self._lines.popleft())
            listeners = tuple(self._listeners)
        for on_change in listeners:
            on_change()

    def close(self) -> None:
        """No more lines will come: readers end."""
        with self._lock:
            self._is_closed = True
            listeners = tuple(self._listeners)
        for on_change in listeners:
            on_change()

    def tail(self, after: int = 0) -> Tail:
        """Everything retained after line number `after`."""
        with self._lock:
            first = self._last - len(self._lines)
            before = max(after, first)
            skip = before - first
            lines = tuple(self._lines)[skip:] if skip else tuple(self._lines)
            return Tail(lines, before, before - after, self._is_closed)

    def listen(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Call `on_change` after every change, until the returned function is called."""
        with self._lock:
            self._listeners.add(on_change)

        def stop() -> None:
            with self._lock:
                self._listeners.discard(on_change)

        return stop


def manager_line(level: str, text: str, pipeline_id: str, name: str) -> str:
    """A control-plane line in the published layout."""
    return (
        f"[manager] {now_rfc3339()} {level} penstock::manager: {text}"
        f' pipeline-id="{pipeline_id}" pipeline-name="{name}"'
    )
