"""Work on large batches, spread over the threads of a pipeline's `workers`.

    in_ranges   rows   0 ………… 49,999 │ 50,000 ………… 99,999
                       this thread   │ a helper             each makes its rows of the result
    together    this thread and the others take nodes of the circuit that wait for none
                (`penstock.circuit.schedule`); who is the only one at work may use `in_ranges`

What is spread over ranges (expressions) makes every row from that row alone, so results cannot
depend on the number of threads, and neither can state: what groups, sorts and adds up stays in one
thread, while merging and sorting what spines keep has threads of its own anyway
(`penstock.state.spine`). Hashes, comparisons and gathers are not spread: at a few nanoseconds a
row, handing over (about 50 µs) costs what a second core saves.

Kernels, and numpy and Arrow on large arrays, run without the GIL. The number of threads is the
process's: it runs one pipeline.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TypeVar

T = TypeVar("T")

#: rows a thread gets at least
LEAST_ROWS = 1 << 13

_threads = 1
_helpers: ThreadPoolExecutor | None = None
#: of its own: who works together may ask the helpers for ranges
_peers: ThreadPoolExecutor | None = None
_here = threading.local()


def use_threads(threads: int) -> None:
    """Spread work over `threads` from now on, the calling one included."""
    global _threads, _helpers, _peers
    if threads != _threads:
        # helpers that are dropped end when whoever still uses them is done
        several = threads > 1
        _helpers = ThreadPoolExecutor(threads - 1, "worker") if several else None
        _peers = ThreadPoolExecutor(threads - 1, "peer") if several else None
        _threads = threads


def is_spread(rows: int) -> bool:
    """Whether so many rows are worth several threads, and those are free."""
    return _threads > 1 and rows >= 2 * LEAST_ROWS and not getattr(_here, "is_one_of_many", False)


def in_ranges(work: Callable[[int, int], T], rows: int) -> list[T]:
    """work(start, stop) for ranges that cover `rows`, in order; one range unless there are many
    rows. Raises what the first range raises that raises."""
    helpers = _helpers
    if helpers is None or not is_spread(rows):
        return [work(0, rows)]
    parts = min(_threads, rows // LEAST_ROWS)
    edges = [rows * i // parts for i in range(parts + 1)]
    given = [
        helpers.submit(contextvars.copy_context().run, _helping, work, a, b)
        for a, b in pairwise(edges[1:])
    ]
    try:
        first = work(edges[0], edges[1])
    finally:
        # nobody may still be writing into what the caller then lets go
        for future in given:
            future.exception()
    return [first, *(future.result() for future in given)]


def _helping(work: Callable[[int, int], T], start: int, stop: int) -> T:
    """A helper does not ask for help: it would wait for itself."""
    _here.is_one_of_many = True
    return work(start, stop)


def together(work: Callable[[], None]) -> None:
    """work() in as many threads as there are, this one included; when all have returned, raises
    what one of them raised."""
    given = []
    if _peers is not None:
        for _ in range(_threads - 1):
            given.append(_peers.submit(contextvars.copy_context().run, _beside, work))
    try:
        _beside(work)
    finally:
        for future in given:
            future.exception()
    for future in given:
        future.result()


def are_together(rows: int) -> bool:
    """Whether so many rows are worth `together`, which cannot be used within itself."""
    return is_spread(rows) and not getattr(_here, "is_together", False)


def _beside(work: Callable[[], None]) -> None:
    _here.is_together = True
    try:
        work()
    finally:
        _here.is_together = _here.is_one_of_many = False


def is_alone(alone: bool) -> None:
    """Within `together`: whether this thread's peers have nothing to do, so that what it does next
    may be spread."""
    _here.is_one_of_many = not alone
