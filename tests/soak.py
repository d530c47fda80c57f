"""A pipeline under load that is killed every minute, for an hour: `make soak`.

    SOAK_MINUTES=10 make soak      shorter; the kills then come every ten seconds at the least

A real server delivers one view to every kind of target, each read by a plain reader throughout,
while made-up rows (`LOAD_RATE` a second) keep a second view busy. Each round damages the targets or
not, asks for a reset or a checkpoint or neither, changes rows all the while, and kills the process
at a random instant. After it everything must hold that `tests.system.faults` checks. In the end the
second view, too, must equal its target. The figures go into docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import statistics
import tempfile
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


class Soak:
    def __init__(self, stage: Stage, sink: Path, seconds: float) -> None:
        self.stage, self.sink = stage, sink
        self.end = time.monotonic() + seconds
        self.round_s = max(10.0, min(60.0, seconds / 60))
        self.rng = random.Random(7)
        self.acts: Counter[str] = Counter()
        self.back_s: list[float] = []

    def run(self) -> None:
        while time.monotonic() < self.end:
            self._round()
            print(json.dumps({**self.acts, "versions": len(self.stage.versions)}), flush=True)
        self.stage.p.post("/pause")
        until(lambda: self._in_sink() == self._in_view(), 120, "totals: equality")

    def _round(self) -> None:
        stage = self.stage
        since = stage.forget()
        act = self.rng.choice(["reset", "reset", "damage and reset", "checkpoint", "nothing"])
        damaged = stage.damage() if act.startswith("damage") else {}
        # a damaged target shows no delta once its reset is accepted
        asked = stage.ask_reset() if act.endswith("reset") else {}
        if act == "checkpoint":
            stage.asked("/checkpoint")
        kill_at = time.monotonic() + self.rng.random() ** 2 * self.round_s / 2
        while time.monotonic() < kill_at:
            stage.change()
        os.kill(stage.p.process(), signal.SIGKILL)
        killed = time.monotonic()
        stage.change()
        self.back_s.append(time.monotonic() - killed)
        while time.monotonic() < killed + self.round_s / 4:
            stage.change()
        stage.wait_reset(asked)
        stage.verify(since, damaged)
        self.acts.update(["kills", act])

    def _in_sink(self) -> list[Any]:
        with sqlite3.connect(self.sink) as db:
            return sorted(db.execute("SELECT g, n, total FROM totals"))

    def _in_view(self) -> list[Any]:
        rows = self.stage.p.query("SELECT g, n, total FROM totals")
        return sorted((r["g"], r["n"], r["total"]) for r in rows)

    def figures(self, minutes: float) -> list[tuple[str, str]]:
        looks = sum(r.count for r in self.stage.readers.values())
        resets = self.acts["reset"] + self.acts["damage and reset"]
        rows = sum(n for _, n, _ in self._in_sink())
        return [
            ("minutes", f"{minutes:.0f}"),
            ("targets", ", ".join(self.stage.targets)),
            ("kills (SIGKILL)", str(self.acts["kills"])),
            ("resets of every target while that happened", str(resets)),
            ("of these after damage by hand", str(self.acts["damage and reset"])),
            ("versions of the view, each sent until it was taken", str(len(self.stage.versions))),
            ("answers that readers got", f"{looks:,}"),
            ("answers that the guarantee does not allow", "0"),
            ("rows of the load, counted once each in view and target", f"{rows:,}"),
            (
                "seconds from a kill to the next answered row, median and longest",
                f"{statistics.median(self.back_s):.1f}, {max(self.back_s):.1f}",
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
