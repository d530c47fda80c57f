"""Until a pipeline runs, as a client sees it.

    startup/changed-program   from a changed SQL program on, on a warm server
    startup/first-server      from the start of the first server of a new installation on, which
                              compiles the kernels that every pipeline calls before

Nobody does this without compiling or deploying elsewhere, so there is no peer in the run.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import penstock
from bench.figure import Figure, without_peer
from penstock.demo.server import NAME, Server

PROGRAM = """
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR);
CREATE MATERIALIZED VIEW m AS SELECT v, COUNT(*) AS n{i} FROM t GROUP BY v;
"""
ROUNDS = 7


def run(only: str | None) -> Iterator[Figure]:
    if only in (None, "startup", "startup/changed-program"):
        yield _changed_program()
    if only in (None, "startup", "startup/first-server"):
        yield _first_server()


def _changed_program() -> Figure:
    with tempfile.TemporaryDirectory() as name, Server(Path(name) / "state") as server:
        server.create(PROGRAM.format(i=0))
        took = []
        for i in range(1, ROUNDS):
            server.call("POST", f"/pipelines/{NAME}/stop", params={"force": "true"})
            while server.status()["deployment_status"] != "Stopped":
                time.sleep(0.05)
            time.sleep(4)  # the next spare worker warms up meanwhile
            took.append(server.create(PROGRAM.format(i=i)))
    return without_peer("startup/changed-program", statistics.median(took), "s")


def _first_server() -> Figure:
    # the server goes on compiling until it ends
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    with folder as name, _new_installation(Path(name)):
        started = time.monotonic()
        with Server(Path(name) / "state") as server:
            server.create(PROGRAM.format(i=0))
            return without_peer("startup/first-server", time.monotonic() - started, "s")


@contextlib.contextmanager
def _new_installation(folder: Path) -> Iterator[None]:
    """Processes that start meanwhile find a copy of the package without compiled kernels."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(penstock.__file__).parent, folder / "site" / "penstock", ignore=ignored)
    before = dict(os.environ)
    os.environ |= {"PYTHONPATH": str(folder / "site"), "NUMBA_CACHE_DIR": str(folder / "kernels")}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
