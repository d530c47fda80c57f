"""Compile every kernel ahead: `python -m penstock.data.warm`, with a progress bar.

Imports the rooms that declare kernels, then compiles (or finds in numba's cache) each of
`penstock.data.kernel.REGISTERED`, in as many processes as there are cores: compiling holds the
GIL. A second run takes a few seconds.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pkgutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

import penstock
from penstock.data.kernel import REGISTERED

#: rooms whose modules declare kernels
ROOMS = ("data", "state", "functions", "circuit", "compile")


def import_kernels() -> None:
    """Import every module of the rooms, so that their kernels are registered."""
    for room in ROOMS:
        package = importlib.import_module(f"{penstock.__name__}.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def load_kernels() -> int:
    """Compile or load all kernels quietly; how many there are."""
    import_kernels()
    for k in list(REGISTERED.values()):
        k.compile()
    return len(REGISTERED)


def _compile(name: str) -> None:
    REGISTERED[name].compile()


def main() -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    started = time.perf_counter()
    import_kernels()
    columns = (
        TextColumn("compiling kernels"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    # the longest first, so that none is left for the end
    names = sorted(REGISTERED, key=lambda n: -len(REGISTERED[n].function.__code__.co_code))
    # spawned: the parent has threads of libraries, which a fork would not carry over
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(os.cpu_count(), context, initializer=import_kernels) as pool,
        Progress(*columns) as progress,
    ):
        compiled = [pool.submit(_compile, name) for name in names]
        for done in progress.track(as_completed(compiled), total=len(compiled)):
            done.result()
    print(f"{len(REGISTERED)} kernels ready in {time.perf_counter() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
