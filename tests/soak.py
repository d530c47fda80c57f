"""A pipeline under load that is killed every minute, for an hour: `make soak`.

    SOAK_MINUTES=10 make soak      shorter; the kills then come every ten seconds at the least

A real server delivers one view to every kind of target, each read by a plain reader throughout,
while made-up rows (`LOAD_RATE` a second) keep a second view busy. Each round damages the targets or
not, asks for a reset or a checkpoint or neither, and changes rows all the while; `Killer` kills the
process once in each minute, whatever it is at, a start included. After a round everything must hold
that `tests.system.faults` checks. In the end the second view, too, must equal its target. The
figures go into docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import re
import signal
import sqlite3
import statistics
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.contract.target import Target
from tests.kafka_server import running_kafka
from tests.servers import Unavailable, running_postgres, running_redis
from tests.system.armed import armed_server, until
from tests.system.fault_targets import TARGETS
from tests.system.faults import Stage

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
MARKS = "<!-- soak -->\n", "<!-- end of soak -->"
LOAD_RATE = 2_000
SERVERS = {"postgres": running_postgres, "redis_server": running_redis, "kafka": running_kafka}


def load_sql(sink: Path) -> str:
    """A second view under steady load."""
    plan = {"rate": LOAD_RATE, "worker_chunk_size": 100}
    made = {"name": "gen", "transport": {"name": "datagen", "config": {"plan": [plan]}}}
    out = {
        "name": "c",
        "index": "by_g",
        "mode": "snapshot_and_follow",
        "transport": {"name": "sqlite_output", "config": {"path": str(sink), "table": "totals"}},
    }
    return f"""
    CREATE TABLE load (id BIGINT NOT NULL) WITH ('connectors' = '{json.dumps([made])}');
    CREATE MATERIALIZED VIEW totals WITH ('connectors' = '{json.dumps([out])}') AS
      SELECT id % 100 AS g, COUNT(*) AS n, SUM(id) AS total FROM load GROUP BY id % 100;
    CREATE INDEX by_g ON totals (g);
    """


class Killer(threading.Thread):
    """Kills the pipeline's process at a random instant of each `every_s` seconds.

    It does not wait for a round to end nor for the process to have recovered; only while `lock` is
    held no kill comes, and one that is due comes as soon as it is free.
    """

    def __init__(self, stage: Stage, every_s: float) -> None:
        super().__init__(daemon=True)
        self._stage, self._every_s = stage, every_s
        self._rng = random.Random(11)
        self._end = threading.Event()
        self.lock = threading.Lock()
        self.kills = 0
        self.back_s: list[float] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        started = time.monotonic()
        try:
            for i in itertools.count():
                due = started + (i + self._rng.random()) * self._every_s
                if self._end.wait(max(0.0, due - time.monotonic())):
                    return
                self._kill(started + (i + 1) * self._every_s)
        except BaseException as e:
            self.error = e

    def _kill(self, end: float) -> None:
        """One kill, and how long it takes to be back, unless that goes beyond `end`."""
        until(self._is_killed, self._stage.patience_s, "a process to kill")
        killed = time.monotonic()
        self.kills += 1
        while time.monotonic() < end:
            if self._stage.got("/completion_status", params={"token": self._stage.token}):
                self.back_s.append(time.monotonic() - killed)
                return
            if self._end.wait(0.05):
                return

    def _is_killed(self) -> bool:
        with self.lock:
            try:
                os.kill(self._stage.p.process(), signal.SIGKILL)
                return True
            except (AssertionError, OSError):  # nobody holds the storage: between two lives
                pass
        # whoever waits for the lock cannot
        self._stage.ensure_up()
        return False

    def stop(self) -> None:
        self._end.set()
        self.join(60)
        if self.error is not None:
            raise self.error


class Soak:
    def __init__(self, stage: Stage, sink: Path, seconds: float) -> None:
        self.stage, self.sink = stage, sink
        self.end = time.monotonic() + seconds
        self.every_s = max(10.0, min(60.0, seconds / 60))
        self.rng = random.Random(7)
        self.acts: Counter[str] = Counter()
        self.killer = Killer(stage, self.every_s)

    def run(self) -> None:
        self.killer.start()
        while time.monotonic() < self.end and self.killer.error is None:
            self._round()
            done = {"kills": self.killer.kills, **self.acts, "versions": len(self.stage.versions)}
            print(json.dumps(done), flush=True)
        self.killer.stop()
        self.stage.settle()
        self.stage.p.post("/pause")
        until(lambda: self._in_sink() == self._in_view(), 120, "totals: equality")

    def _round(self) -> None:
        stage = self.stage
        since = stage.forget()
        act = self.rng.choice(["reset", "reset", "damage and reset", "checkpoint", "nothing"])
        asked, damaged = {}, {}
        # a damaged target shows no delta once its reset is accepted
        with self.killer.lock:
            if act.startswith("damage"):
                damaged = stage.damage()
                asked = stage.ask_reset()
        if act == "reset":
            asked = stage.ask_reset()
        if act == "checkpoint":
            stage.asked("/checkpoint")
        changes_end = time.monotonic() + self.rng.random() * self.every_s / 2
        while time.monotonic() < changes_end:
            stage.change()
        stage.wait_reset(asked)
        stage.settle()
        # a file of a process that dies between a sweep and the look would be taken for a leftover
        with self.killer.lock:
            stage.verify(since, damaged)
        self.acts.update([act])

    def _in_sink(self) -> list[Any]:
        with sqlite3.connect(self.sink) as db:
            return sorted(db.execute("SELECT g, n, total FROM totals"))

    def _in_view(self) -> list[Any]:
        rows = self.stage.p.query("SELECT g, n, total FROM totals")
        return sorted((r["g"], r["n"], r["total"]) for r in rows)

    def figures(self, minutes: float) -> list[tuple[str, str]]:
        back_s = self.killer.back_s
        looks = sum(r.count for r in self.stage.readers.values())
        resets = self.acts["reset"] + self.acts["damage and reset"]
        rows = sum(n for _, n, _ in self._in_sink())
        return [
            ("minutes", f"{minutes:.0f}"),
            ("targets", ", ".join(self.stage.targets)),
            ("kills (SIGKILL)", str(self.killer.kills)),
            ("rounds, each of them verified", str(self.acts.total())),
            ("resets of every target while that happened", str(resets)),
            ("of these after damage by hand", str(self.acts["damage and reset"])),
            ("versions of the view, each sent until it was taken", str(len(self.stage.versions))),
            ("answers that readers got", f"{looks:,}"),
            ("answers that the guarantee does not allow", "0"),
            ("rows of the load, counted once each in view and target", f"{rows:,}"),
            (
                "seconds from a kill until the next process answers, median and longest",
                f"{statistics.median(back_s):.1f}, {max(back_s):.1f}",
            ),
        ]


def targets(stack: contextlib.ExitStack, folder: Path) -> dict[str, Target]:
    """Every target whose server this machine can run."""
    servers: dict[str, Any] = {}
    for name, running in SERVERS.items():
        try:
            servers[name] = stack.enter_context(running())
        except Unavailable as e:
            print(f"without {name}: {e}", flush=True)
    found = {}
    for name, kind in TARGETS.items():
        if kind.server is None:
            where = folder / name.replace(" ", "-")
            where.mkdir()
            found[name] = kind(where)
        elif kind.server in servers:
            found[name] = kind(servers[kind.server])
    return found


def main() -> None:
    minutes = float(os.environ.get("SOAK_MINUTES", "60"))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="penstock-soak-")))
        sink = folder / "totals.sqlite"
        places = targets(stack, folder)
        armed = stack.enter_context(armed_server(folder))
        tolerance = {"model": "exactly_once", "checkpoint_interval_secs": 20}
        stage = stack.enter_context(
            Stage(armed, places, more_sql=load_sql(sink), fault_tolerance=tolerance)
        )
        soak = Soak(stage, sink, 60 * minutes)
        soak.run()
        lines = ["| figure | |", "|---|---|", *(f"| {k} | {v} |" for k, v in soak.figures(minutes))]
    table = f"{MARKS[0]}{os.linesep.join(lines)}\n{MARKS[1]}"
    new = re.sub(f"{MARKS[0]}.*?{MARKS[1]}", lambda _: table, PAGE.read_text(), flags=re.DOTALL)
    PAGE.write_text(new)
    print(table)


if __name__ == "__main__":
    main()
