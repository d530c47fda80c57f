"""Compile every kernel ahead: `python -m penstock.data.warm`, with a progress bar.

Imports the rooms that declare kernels, then compiles (or finds in numba's cache) each of
`penstock.data.kernel.REGISTERED`. A second run takes about a second.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time

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
    with Progress(*columns) as progress:
        for k in progress.track(list(REGISTERED.values())):
            k.compile()
    print(f"{len(REGISTERED)} kernels ready in {time.perf_counter() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
