"""Compile every kernel ahead: `python -m penstock.data.warm`, with a progress bar. Whoever did not
has it done by the first process that runs pipelines (`load_kernels`).

Imports the rooms that declare kernels, then compiles (or finds in numba's cache) each of
`penstock.data.kernel.REGISTERED`, in as many processes as there are cores: compiling holds the
GIL. A second run takes a few seconds.

    a first server    ALWAYS ──► pipelines start ── OFTEN ── the rest, beside them
"""

from __future__ import annotations

import argparse
import importlib
import logging
import multiprocessing
import os
import pkgutil
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import penstock
from penstock.data.kernel import REGISTERED

log = logging.getLogger(__name__)

_LOOK_S = 0.5
_LAST, _NICE = 2, 10
#: how many of those that lack are looked for at a time
_AHEAD = 6
#: rooms whose modules declare kernels
ROOMS = ("data", "state", "functions", "circuit", "compile")


def _names(text: str) -> frozenset[str]:
    """Of lines of a module and its kernels."""
    lines = (line.split() for line in text.split("\n") if line.strip())
    return frozenset(
        f"{penstock.__name__}.{m}.{kernel}" for m, *kernels in lines for kernel in kernels
    )


#: kernels that a pipeline of one table, one GROUP BY and JSON calls: no pipeline starts without
ALWAYS = _names("""
    circuit.dense _touch
    circuit.ops.at_once _take_in
    circuit.ops.source _last
    data.cell_times _times
    data.cell_values _decimals _integers _long_bytes _strings
    data.consolidate _first_of _repeats_of _sum_up
    data.hash _and_equal _mix _mix_plain _mix_views
    data.json_cells _scan
    data.order _sort_few
    data.views _append _copy_out _equal _prefix _relocate _rename long_bytes
    state.few _few
    state.groups _fill _look_up
    state.log _chain _count_rows _fill
    state.lookup _expand_in _find_in _tell
    state.pile _find
    state.run _add_up _index
    state.sorting _first_pass _pass _settle
""")
#: what joins, other aggregates, orders and windows call: compiled next
OFTEN = _names("""
    circuit.changed _differing _pair
    circuit.dense _cross _touch_hashed add_totals
    circuit.first_rows first_rows not_behind
    circuit.floating _add _read
    circuit.frames frame_sums
    circuit.ops.extremum _advance _choose
    circuit.wide read_sums
    data.cell_values _floats
    data.consolidate _mark_repeats _marked_repeats _put_together
    data.order _merge _radix _settle _sort_runs
    data.views _compare _make
    functions.int128 compare
    functions.text_kernels _map_ascii
    state.merging _pick_pairs _pick_words interleave
    state.ordered _interleave
    state.sorting _exchange
    state.ranges _near_ends _walk search
    state.run _expand _find
""")


def import_kernels(rooms: Sequence[str] = ROOMS) -> None:
    """Import every module of `rooms`, so that their kernels are registered."""
    for room in rooms:
        package = importlib.import_module(f"{penstock.__name__}.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


class Loading:
    """The kernels that this process has, and those that a process of its own still compiles."""

    def __init__(self, names: Sequence[str]) -> None:
        """`names`: those that nobody compiled yet."""
        self._missing = _in_turn(names)
        self._begun = time.perf_counter()
        self._compiler: subprocess.Popen[bytes] | None = None
        if names and REGISTERED[names[0]].is_kept:
            # by another process: this one may be about to fork
            command = [sys.executable, "-m", __name__, "--parent", str(os.getpid())]
            self._compiler = subprocess.Popen([*command, "--rooms", *ROOMS, "--names", *names])

    def wait(self, for_what: Collection[str]) -> None:
        """Until those of them are there. Raises what compiling raises."""
        while True:
            is_over = self.more()
            if is_over or not any(name in for_what for name in self._missing):
                break
            time.sleep(_LOOK_S)
        for name in self._missing if self._compiler is None else ():
            REGISTERED[name].compile()

    def more(self) -> bool:
        """Load what has come meanwhile. True once no more will come; a kernel that is not there
        then is compiled by its first call, as is one that somebody calls before."""
        if self._compiler is None:
            return True
        is_over = self._compiler.poll() is not None
        before = len(self._missing)
        # they come about in turn, and looking for one costs 2 ms
        at = 0
        while at < len(self._missing) and (at < _AHEAD or is_over):
            if REGISTERED[self._missing[at]].load():
                del self._missing[at]
            else:
                at += 1
        if before and not self._missing:
            log.info("kernels_ready: all, after %.0f s", time.perf_counter() - self._begun)
        if is_over:
            self._compiler = None
        return is_over


def load_kernels() -> Loading:
    """Load all kernels. Those that nobody compiled yet are compiled, which takes a minute: when
    this returns those are there that every pipeline calls, and others may still come. Quietly,
    unless there are any to compile: the log tells."""
    import_kernels()
    missing = [name for name, k in list(REGISTERED.items()) if not k.load()]
    loading = Loading(missing)
    if missing:
        if REGISTERED[missing[0]].is_kept:
            how = (
                "once for this installation and processor, which takes about a minute; pipelines "
                "start before, and wait where they come to one that lacks"
            )
        else:
            how = "at this start and at each other, which takes about a minute each time"
        log.info("compiling_kernels: %d of %d, %s", len(missing), len(REGISTERED), how)
        started = time.perf_counter()
        loading.wait(ALWAYS)
        log.info("kernels_ready: those that all need, after %.0f s", time.perf_counter() - started)
    return loading


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m penstock.data.warm")
    parser.add_argument("--rooms", nargs="+", default=ROOMS, help=argparse.SUPPRESS)
    parser.add_argument("--names", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.parent:  # asked by `load_kernels`, which tells how it goes
        _end_with(options.parent)
        import_kernels(options.rooms)
        for _ in _side_by_side(options.names, options.rooms):
            pass
        return 0
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    started = time.perf_counter()
    import_kernels()
    columns = (
        TextColumn("compiling kernels"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns) as progress:
        for _ in progress.track(_side_by_side(list(REGISTERED), ROOMS), total=len(REGISTERED)):
            pass
    print(f"{len(REGISTERED)} kernels ready in {time.perf_counter() - started:.1f} s")
    return 0


def _side_by_side(names: Sequence[str], rooms: Sequence[str]) -> Iterator[None]:
    """Compile or load kernels of `rooms` in as many processes as there are cores; one item for
    each. Raises what compiling raises."""
    # spawned: the parent has threads of libraries, which a fork would not carry over
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, _begin, (os.getpid(), rooms)) as pool:
        for done in as_completed([pool.submit(_compile, name) for name in _in_turn(names)]):
            yield done.result()


def _in_turn(names: Sequence[str]) -> list[str]:
    """As they are compiled: within a turn the longest first, so that none is left for the end."""
    return sorted(names, key=lambda n: (_turn(n), -len(REGISTERED[n].function.__code__.co_code)))


def _turn(name: str) -> int:
    return 0 if name in ALWAYS else 1 if name in OFTEN else _LAST


def _begin(parent: int, rooms: Sequence[str]) -> None:
    _end_with(parent)
    import_kernels(rooms)


def _end_with(parent: int) -> None:
    """End this process when its parent does, however it did: nobody else would tell it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _compile(name: str) -> None:
    if _turn(name) == _LAST:
        # pipelines may run already
        os.setpriority(os.PRIO_PROCESS, 0, max(_NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    REGISTERED[name].compile()


if __name__ == "__main__":
    sys.exit(main())
