"""From a changed SQL program to a running pipeline, on a warm server, as a client sees it.

Nobody does this without compiling or deploying elsewhere, so there is no peer in the run.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure, without_peer
from penstock.demo.server import NAME, Server

PROGRAM = """
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR);
CREATE MATERIALIZED VIEW m AS SELECT v, COUNT(*) AS n{i} FROM t GROUP BY v;
"""
ROUNDS = 7


def run(only: str | None) -> Iterator[Figure]:
    if only not in (None, "startup", "startup/changed-program"):
        return
    with tempfile.TemporaryDirectory() as name, Server(Path(name) / "state") as server:
        server.create(PROGRAM.format(i=0))
        took = []
        for i in range(1, ROUNDS):
            server.call("POST", f"/pipelines/{NAME}/stop", params={"force": "true"})
            while server.status()["deployment_status"] != "Stopped":
                time.sleep(0.05)
            time.sleep(4)  # the next spare worker warms up meanwhile
            took.append(server.create(PROGRAM.format(i=i)))
    yield without_peer("startup/changed-program", statistics.median(took), "s")
