"""Pieces of a snapshot that are written while the next ones are made.

    add(write 1) ─► add(write 2) … ─► finish()       a thread of its own writes, one after the other
         └ returns at once             └ all is written, or what went wrong is raised

A reset's pieces come from the view (a cut of its runs, consolidated, put into the target's columns)
and go into a file (encoded, compressed, synced). Both take about as long, on one core each.

A write that fails takes those behind it with it: `add` and `finish` raise its error from then on,
so whoever staged begins again, and nothing is written behind a gap.

Memory: the piece that is written, those that wait (WAITING), and the one that is being made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

WAITING = 1


class WriteBehind:
    """See the module. One per snapshot; not thread-safe. `finish` or `drop` ends its thread."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write behind")
        self._calls: deque[Future[None]] = deque()
        self._error: BaseException | None = None

    def add(self, write: Callable[[], None]) -> None:
        """Have `write` called when those before it are done. Waits while too many are; raises what
        one of them raised."""
        self._settle(WAITING)
        self._calls.append(self._thread.submit(self._run, write))

    def finish(self) -> None:
        """All is written; repeatable. Raises what a write raised."""
        self._settle(0)
        self._thread.shutdown()

    def drop(self) -> None:
        """Nothing more is written, and nothing is being written. What failed no longer matters."""
        self._thread.shutdown(cancel_futures=True)
        self._calls.clear()

    def _run(self, write: Callable[[], None]) -> None:
        if self._error is None:
            try:
                write()
            except BaseException as e:
                self._error = e

    def _settle(self, left: int) -> None:
        while len(self._calls) > left:
            self._calls.popleft().result()
        if self._error is not None:
            self.drop()
            raise self._error
