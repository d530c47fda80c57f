"""Compile every kernel ahead: `python -m penstock.data.warm`, with a progress bar. Whoever did not
has it done by the first process that runs pipelines (`load_kernels`).

Imports the rooms that declare kernels, then compiles (or finds in numba's cache) each of
`penstock.data.kernel.REGISTERED`, in as many processes as there are cores: compiling holds the
GIL. A second run takes a few seconds.
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
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

import penstock
from penstock.data.kernel import REGISTERED

log = logging.getLogger(__name__)

_LOOK_S = 0.5
#: rooms whose modules declare kernels
ROOMS = ("data", "state", "functions", "circuit", "compile")


def import_kernels(rooms: Sequence[str] = ROOMS) -> None:
    """Import every module of `rooms`, so that their kernels are registered."""
    for room in rooms:
        package = importlib.import_module(f"{penstock.__name__}.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def load_kernels() -> int:
    """Load all kernels, and compile those that nobody compiled yet; how many there are. Quietly,
    unless there are any to compile, which takes a minute: the log tells."""
    import_kernels()
    missing = [name for name, k in list(REGISTERED.items()) if not k.load()]
    if missing:
        log.info(
            "compiling_kernels: %d of %d, once for this installation and processor, which takes "
            "about a minute; a pipeline that is started meanwhile waits for them",
            len(missing), len(REGISTERED),
        )  # fmt: skip
        started = time.perf_counter()
        if REGISTERED[missing[0]].is_kept:
            # by a process of its own: this one may be about to fork. What fails there fails below
            command = [sys.executable, "-m", __name__, "--parent", str(os.getpid())]
            subprocess.run([*command, "--rooms", *ROOMS, "--names", *missing], check=False)
        for name in missing:
            REGISTERED[name].compile()
        log.info("kernels_ready: after %.0f s", time.perf_counter() - started)
    return len(REGISTERED)


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
    # the longest first, so that none is left for the end
    longest_first = sorted(names, key=lambda n: -len(REGISTERED[n].function.__code__.co_code))
    # spawned: the parent has threads of libraries, which a fork would not carry over
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), context, _begin, (os.getpid(), rooms)) as pool:
        for done in as_completed([pool.submit(_compile, name) for name in longest_first]):
            yield done.result()


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
    REGISTERED[name].compile()


if __name__ == "__main__":
    sys.exit(main())
