"""A whole pipeline that is killed between any two changes of its storage (`tests.killing`).

    python -m tests.system.dying_pipeline FOLDER EVERY

plays a life (steps, spilled runs, checkpoints, transactions, resets, a step that a row makes fail,
a restart) for n = EVERY / 2, EVERY * 3 / 2, … to its end, kills the process before its n-th change
of the storage, and has another process go on: from a whole checkpoint, with every row that was
acknowledged and none that was not sent, to the same view in the target, with nothing in the storage
that no checkpoint names. At every third point that process is killed on its way too, and a third
one goes on. Prints how many points were tried and what was wrong at each of them.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.pipeline import Pipeline, memory
from penstock.sql.program import compile_program
from penstock.state import spill, spine
from penstock.state.storage import referenced_files
from tests.killing import in_child, is_possible, killed_at
from tests.unit.pipeline.test_delivery import wait_until

Rows = list[tuple[Any, ...]]

#: x is 100 / (id - BAD)
BAD = 13


class Life:
    """Of one process. What it sends and what of that is acknowledged is in the file `told`."""

    def __init__(self, folder: Path) -> None:
        self._told = folder / "told"
        self._told.touch()
        self._storage = folder / "storage"
        self._target = folder / "v.sqlite"
        self.begin()

    def begin(self) -> None:
        self.pipeline = Pipeline(
            {
                "pipeline_id": "p",
                "name": "p",
                "program_code": program(self._target),
                "runtime_config": {
                    "workers": 1,
                    "max_rss_mb": 1,
                    "fault_tolerance": {"model": "exactly_once", "checkpoint_interval_secs": None},
                },
                "storage_dir": str(self._storage),
            }
        )
        self.pipeline.start()

    def begin_again(self) -> None:
        self.pipeline.stop()
        self.begin()

    @property
    def has_failed(self) -> bool:
        return bool(self.pipeline.status()["state"] == "Failed")

    @property
    def metrics(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.pipeline.stats()["global_metrics"]
        return found

    def send(self, *ids: int) -> str:
        """Returns its completion token."""
        self._tell({"sent": ids})
        rows = [{"id": i, "g": i % 3} for i in ids]
        session = self.pipeline.ingress("t", "json", {"update_format": "raw", "array": "true"})
        try:
            session.feed(json.dumps(rows).encode())
            token = str(session.finish()["token"])
        finally:
            session.close()
        self._tell({"acknowledged": ids})
        return token

    def settle(self, token: str) -> None:
        wait_until(lambda: self.pipeline.completion_status(token)["status"] == "complete")

    def checkpoint(self) -> None:
        n = self.pipeline.checkpoint()["checkpoint_sequence_number"]
        wait_until(lambda: (self.pipeline.checkpoint_status()["success"] or 0) >= n)

    def reset(self) -> None:
        token = self.pipeline.reset("v", "db")["token"]
        wait_until(lambda: self.pipeline.reset_status(token)["status"] == "complete")

    def rows(self, relation: str) -> Rows:
        with self.pipeline._loop.step_lock:
            batch = self.pipeline._loop.circuit.snapshot(relation).batch()
        return sorted(row for row, weight in batch_to_rows(batch) for _ in range(weight))

    def ids(self) -> list[int]:
        return [id for id, _ in self.rows("t")]

    def target(self) -> Rows:
        with sqlite3.connect(self._target) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'v'").fetchone():
                return []
            return sorted(db.execute("SELECT g, n, s FROM v"))

    def promised(self) -> tuple[list[int], list[int]]:
        """Ids that must be there, and those of which nobody knows: all or none of them are."""
        told = [json.loads(line) for line in self._told.read_text().splitlines()]
        sure = [i for t in told for i in t.get("acknowledged", ()) if i != BAD]
        last = [i for i in told[-1].get("sent", ()) if i != BAD] if told else []
        return sorted(sure), last

    def left(self) -> list[str]:
        """Files of the storage that should not be there, when the pipeline has ended."""
        named: set[str] = set()
        manifests = sorted((self._storage / "checkpoints").glob("*.json"))
        for path in manifests:
            named |= referenced_files(json.loads(path.read_bytes().partition(b"\n")[2]))
        oldest = json.loads(manifests[0].read_bytes().partition(b"\n")[2])["step"]
        journal = sorted((self._storage / "journal").glob("*.journal"))
        allowed = {*manifests[-3:], self._storage / "lock", self._storage / "resets.sqlite"}
        allowed |= {self._storage / "state" / f"{name}.state" for name in named}
        # a segment is read as far as the next one begins
        ends = [int(path.stem) for path in journal[1:]] + [oldest + 1]
        allowed |= {p for p, end in zip(journal, ends, strict=False) if end > oldest}
        refused = self._storage / "journal" / "refused.json"
        if refused.exists() and all(r["step"] > oldest for r in json.loads(refused.read_bytes())):
            allowed.add(refused)
        return [str(p) for p in self._storage.rglob("*") if p.is_file() and p not in allowed]

    def _tell(self, what: Mapping[str, Any]) -> None:
        with self._told.open("a") as f:
            f.write(json.dumps(what) + "\n")


def program(target: Path) -> str:
    connector = {
        "name": "db",
        "mode": "snapshot_and_follow",
        "index": "by_g",
        "transport": {"name": "sqlite_output", "config": {"path": str(target), "table": "v"}},
    }
    return f"""
        CREATE TABLE t (id INT NOT NULL, g INT) WITH ('materialized' = 'true');
        CREATE MATERIALIZED VIEW v WITH ('connectors' = '{json.dumps([connector])}') AS
        SELECT g, COUNT(*) AS n, SUM(100 / (id - {BAD})) AS s FROM t GROUP BY g;
        CREATE INDEX by_g ON v (g);
    """


def play(folder: Path) -> None:
    life = Life(folder)
    life.settle(life.send(*range(20, 60)))
    life.settle(life.send(*range(60, 100)))
    life.checkpoint()
    life.reset()
    life.pipeline.start_transaction()
    life.send(100, 101)
    life.send(102)
    life.pipeline.commit_transaction()
    for i in (110, 120, 130):
        life.settle(life.send(i))
        life.checkpoint()
    life.send(140, BAD, 141)
    wait_until(lambda: life.has_failed)
    life.begin_again()
    life.settle(life.send(150))
    life.reset()
    life.pipeline.start_transaction()
    life.send(160)
    life.pipeline.suspend()


def go_on(folder: Path) -> None:
    """What the next process does, and what must hold of it."""
    life = Life(folder)
    if life.has_failed:  # at the bad row, which the next start leaves out
        life.begin_again()
    assert not life.has_failed, life.pipeline.status()
    skipped = (life.pipeline.stats()["recovery"] or {}).get("skipped")
    assert not skipped, f"a kill has made a checkpoint unusable: {skipped}"
    if life.metrics["transaction_id"]:
        life.pipeline.commit_transaction()
        wait_until(lambda: not life.metrics["transaction_id"])
    sure, unsure = life.promised()
    there = life.ids()
    assert there in (sure, sorted([*sure, *unsure])), f"{there}, promised {sure}, sent {unsure}"
    life.settle(life.send(1000))
    assert life.ids() == [*there, 1000]
    wait_until(lambda: life.target() == life.rows("v"))
    life.checkpoint()
    life.pipeline.suspend()
    left = life.left()
    assert not left, f"left behind: {left}"


def problems(where: Path, every: int) -> tuple[int, list[str]]:
    """(points tried, what was wrong)."""
    folder = where / "life"

    def begin() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()

    def killed(work: Callable[[Path], None], at: int) -> int:
        return killed_at(lambda: work(folder), folder / "storage", at)

    warm(where / "warm")
    begin()
    found = []
    at, tried, was_killed = 1 + every // 2, 0, True
    while was_killed:
        begin()
        told = f"killed before change {at}"
        try:
            was_killed = killed(play, at) == at
            if was_killed and tried % 3 == 1:
                then = 1 + at * 7 % 60
                told += f", the next process before its change {then}"
                killed(go_on, then)
            in_child(lambda: go_on(folder))
        except AssertionError as e:
            found.append(f"{told}: {e}")
        tried += was_killed
        at += every
    return tried, found


def warm(folder: Path) -> None:
    """Load what every child would load anew: kernels. Begins no threads."""
    plan = compile_program(program(folder / "v.sqlite"))
    circuit = compile_circuit(plan)
    for rows in ([], [(1, 1), (2, 2)]):
        batch = batch_from_rows(plan.tables[0].schema, rows)
        ops = np.full(len(rows), INSERT, np.uint8)
        circuit.step({"t": [InputBatch(batch.schema, batch.columns, ops)]})
    assert threading.active_count() == 1, threading.enumerate()


if __name__ == "__main__":
    if not is_possible():
        print(json.dumps({"points": None}))
        sys.exit()
    # every run goes to a file, every merge is made into one
    memory.LEAST_BYTES = spill.MIN_RUN_BYTES = 1
    spine.LOG_ROWS = 8
    # what is written survives a kill of the process alone
    os.fsync = os.fdatasync = lambda fd: None
    logging.disable(logging.CRITICAL)
    tried, wrong = problems(Path(sys.argv[1]), int(sys.argv[2]))
    print(json.dumps({"points": tried, "problems": wrong}))
