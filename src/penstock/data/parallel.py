"""Work on large batches, spread over the threads of a pipeline's `workers`.

    in_ranges   rows   0 ………… 49,999 │ 50,000 ………… 99,999
                       this thread   │ a helper             each makes its rows of the result
    together    this thread and the others take nodes of the circuit that wait for none
                (`penstock.circuit.schedule`); who is the only one at work may use the other two
    side_by_side   COUNT(DISTINCT a) │ SUM(b)        each thread takes what nobody has taken

What is spread makes every row from that row alone (expressions), looks rows up in state that does
not change meanwhile (keys of groups, rows to join), or has state of its own (the aggregates of one
GROUP BY), so results cannot depend on the number of threads, and neither can state. Merging and
sorting what spines keep has threads of its own anyway (`penstock.state.spine`).

Look-ups and aggregates are spread in steps of many rows only. A thread that comes out of a kernel
asks for the GIL and waits until its peer enters one, some 50 µs where a core sleeps; with
kernels of a tenth of a millisecond that is what a second core saves, and more than it saves where
two processors are threads of one core. So each place tries both ways now and then, by the clock,
and keeps to one thread unless several were seen to gain there (`Gain`). Where threads that sort and
merge have the other processors (`beside_steps`) there is none to gain: what a step would take from
them it waits for later, when a log is full that is not sorted yet. Operators in shards by
key, each with its part of the state, were tried and gained no more in large steps, while those of
up to 1,000 rows took twice as long, as every operator ran for each shard (docs/benchmarks.md).

Kernels, and numpy and Arrow on large arrays, run without the GIL. The number of threads is the
process's: it runs one pipeline.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Generic, ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

#: rows a thread gets at least
LEAST_ROWS = 1 << 13
#: rows whose aggregates are worth several threads, and whose expressions are even where those are
#: not free yet
MANY_ROWS = 1 << 15
#: rows whose look-ups are worth several threads: a kernel or two each, and memory is shared
LOOK_UP_ROWS = 1 << 17

#: several threads gain where they take at most so much of one thread's time
WORTH = 0.95
#: each way is tried so often before they are compared; half of that where it is plain
TRIES = 4
#: uses of what was found to be better before both are tried again: twice as many each time
FIRST_PAUSE, LAST_PAUSE = 64, 1024

_threads = 1
_processors: int | None = None
_clock: Callable[[], float] | None = None
_helpers: ThreadPoolExecutor | None = None
#: of its own: who works together may ask the helpers for ranges
_peers: ThreadPoolExecutor | None = None
_here = threading.local()
#: threads that work beside the steps now
_beside_now = 0
_counting = threading.Lock()
#: whether a place is being tried, by any thread: two that see at once that none is cost a good
#: guess, no more
_trying = False


def use_threads(
    threads: int, clock: Callable[[], float] | None = None, processors: int | None = None
) -> None:
    """Spread work over `threads` from now on, the calling one included: where that gains by
    `clock`, in seconds, and so many of the `processors` are not at work beside the steps (None:
    there are enough); without a clock wherever it may be."""
    global _threads, _clock, _processors, _helpers, _peers
    _clock, _processors = clock, processors
    if threads != _threads:
        # helpers that are dropped end when whoever still uses them is done
        several = threads > 1
        _helpers = ThreadPoolExecutor(threads - 1, "worker") if several else None
        _peers = ThreadPoolExecutor(threads - 1, "peer") if several else None
        _threads = threads


def is_spread(rows: int) -> bool:
    """Whether so many rows are worth several threads, and those are free: or soon will be, which
    many rows can wait for."""
    if _threads == 1 or rows < 2 * LEAST_ROWS or getattr(_here, "is_helping", False):
        return False
    return rows >= MANY_ROWS or not getattr(_here, "is_one_of_many", False)


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


def beside_steps(work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """work(…), in this thread, which has a processor of its own as long as that takes."""
    global _beside_now
    with _counting:
        _beside_now += 1
    try:
        return work(*args, **named)
    finally:
        with _counting:
            _beside_now -= 1


class Errand(Generic[T]):
    """work(…), given to the threads of `executor` beside the steps; who needs what comes of it
    before one of them has begun does it himself, rather than wait for what is before it there."""

    def __init__(
        self, executor: Executor, work: Callable[P, T], *args: P.args, **named: P.kwargs
    ) -> None:
        self._work: Callable[[], T] | None = partial(work, *args, **named)
        self._begun = threading.Lock()
        self._done: Future[T] = Future()
        executor.submit(self._begin)

    def done(self) -> bool:
        return self._done.done()

    def result(self) -> T:
        """What came of it. Raises what the work raised."""
        if self._begun.acquire(blocking=False):
            self._do()
        return self._done.result()

    def _begin(self) -> None:
        if self._begun.acquire(blocking=False):
            beside_steps(self._do)

    def _do(self) -> None:
        # whoever has begun is the only one here; what it was made of is let go
        work, self._work = self._work, None
        assert work is not None
        try:
            made = work()
        except BaseException as e:
            self._done.set_exception(e)
        else:
            self._done.set_result(made)


class Gain:
    """Whether several threads gain at one place, by what both ways took there.

    one ▪ several ▪ one ▪ several … compared ─► the better one, 64 times ─► tried again … 128 …

    By sizes within a factor of two. What is found decides who does the work and nothing else.

    One place tries at a time: nodes that run together contain expressions that are spread, and if
    both were tried in the same steps neither would be seen without the other. So what is within a
    trial does what it was found to be better at.
    """

    __slots__ = ("_by_size",)

    def __init__(self) -> None:
        self._by_size: dict[int, _Trial] = {}

    def better(self, rows: int, several: Callable[[], T], one: Callable[[], T]) -> T:
        """`several()`, or what comes to the same in one thread."""
        global _trying
        clock = _clock
        if clock is None:
            return several()
        if _processors is not None and _beside_now > _processors - _threads:
            return one()
        trial = self._by_size.setdefault(rows.bit_length(), _Trial())
        if not trial.is_due():
            trial.was_used()
            return several() if trial.gains else one()
        if _trying:
            return several() if trial.gains else one()
        spreads = trial.spreads()
        _trying = True
        try:
            began = clock()
            made = several() if spreads else one()
            trial.note(spreads, (clock() - began) / rows)
        finally:
            _trying = False
        return made


class _Trial:
    """What both ways take a row, for one size."""

    __slots__ = ("_left", "_pause", "_took", "gains")

    def __init__(self) -> None:
        #: seconds a row in one thread and in several, in the trial that is under way
        self._took: tuple[list[float], list[float]] = ([], [])
        #: whether several were found to be better
        self.gains = False
        #: uses until the next trial, which come to nothing while there is one
        self._left = 0
        self._pause = FIRST_PAUSE

    def is_due(self) -> bool:
        return not self._left

    def was_used(self) -> None:
        self._left -= 1

    def spreads(self) -> bool:
        """Which way is to be tried next."""
        one, several = self._took
        return len(several) < len(one)

    def note(self, spread: bool, seconds: float) -> None:
        self._took[spread].append(seconds)
        one, several = self._took
        tries = min(len(one), len(several))
        if tries < TRIES // 2:
            return
        is_plain = max(several) < WORTH * min(one) or min(several) > max(one)
        if tries < TRIES and not is_plain:
            return
        gains = median(several) < WORTH * median(one)
        self._pause = min(2 * self._pause, LAST_PAUSE) if gains == self.gains else FIRST_PAUSE
        self.gains, self._left = gains, self._pause
        self._took = ([], [])


def are_many(rows: int) -> bool:
    """Whether so many rows are worth several threads that add up."""
    return rows >= MANY_ROWS and is_spread(rows)


def are_looked_up_in_ranges(rows: int) -> bool:
    """Whether so many rows are worth several threads that look them up."""
    return rows >= LOOK_UP_ROWS and is_spread(rows)


def side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """What each of `works` returns, in order; for a caller who found that rows `are_many`. Raises
    what the first of them raises that raises, when all are over."""
    helpers = _helpers
    assert helpers is not None
    results: list[T | None] = [None] * len(works)
    failures: list[BaseException | None] = [None] * len(works)
    left = list(range(len(works) - 1, -1, -1))

    def take() -> None:
        while True:
            try:
                # popping is atomic
                at = left.pop()
            except IndexError:
                return
            try:
                results[at] = works[at]()
            except BaseException as e:
                failures[at] = e

    count = min(_threads, len(works)) - 1
    given = [helpers.submit(contextvars.copy_context().run, _helping, take) for _ in range(count)]
    # what is taken here is not spread any further: there is nobody to help
    _here.is_helping = True
    try:
        take()
    finally:
        _here.is_helping = False
        for future in given:
            future.result()
    for failure in failures:
        if failure is not None:
            raise failure
    return results  # type: ignore[return-value]


def _helping(work: Callable[..., T], *args: int) -> T:
    """A helper does not ask for help: it would wait for itself."""
    _here.is_helping = True
    return work(*args)


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
