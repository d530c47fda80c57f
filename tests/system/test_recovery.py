"""Pipelines killed at every boundary of delivery and recovery, and at random instants.

A real server runs the pipeline; a failpoint, or the test, kills its process with SIGKILL. Then it
is started again, and in the end the targets, read by SQLite, psycopg and plain Python, hold the
view: nothing lost, nothing twice. Failpoints are armed through a file that every start reads.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.servers import PostgresServer, postgres
from tests.system.armed import Armed, armed_server, until
from tests.system.conftest import Pipeline, System

__all__ = ["postgres"]

FILE_ROWS, MADE_ROWS = 3000, 2500


@pytest.fixture(scope="module")
def armed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Armed]:
    with armed_server(tmp_path_factory.mktemp("armed")) as a:
        yield a


class Story:
    """One pipeline: rows over HTTP, from a file and made up; targets of three kinds."""

    def __init__(self, armed: Armed, folder: Path, model: str, postgres: str | None) -> None:
        self.armed, self.folder, self.postgres = armed, folder, postgres
        self.model = model
        self.sent: dict[int, str] = {}
        self.source = folder / "in.json"
        self.source.write_text("".join(f'{{"id": {i}}}\n' for i in range(FILE_ROWS)))
        self.next = 0
        self.p = Pipeline.create(
            armed.system,
            self.program(),
            fault_tolerance={"model": model, "checkpoint_interval_secs": None},
        )

    def program(self) -> str:
        def with_(connectors: list[dict[str, Any]]) -> str:
            return f" WITH ('connectors' = '{json.dumps(connectors)}')"

        json_format = {"name": "json", "config": {"update_format": "raw"}}
        file_in = {
            "name": "in",
            "transport": {
                "name": "file_input",
                "config": {"path": str(self.source), "follow": True, "buffer_size_bytes": 2000},
            },
            "format": json_format,
        }
        plan = {"limit": MADE_ROWS, "rate": 5000, "worker_chunk_size": 50}
        made = {"name": "gen", "transport": {"name": "datagen", "config": {"plan": [plan]}}}
        follow = {"mode": "snapshot_and_follow"}
        rows = {
            **follow, "name": "db", "index": "by_id",
            "transport": {
                "name": "sqlite_output",
                "config": {"path": str(self.folder / "t.sqlite"), "table": "t"},
            },
        }  # fmt: skip
        counts: list[dict[str, Any]] = [
            {
                **follow, "name": "log", "format": {"name": "json"},
                "transport": {
                    "name": "file_output", "config": {"path": str(self.folder / "counts.json")}
                },
            }
        ]  # fmt: skip
        if self.postgres:
            counts.append(
                {
                    **follow, "name": "pg", "index": "by_source",
                    "transport": {
                        "name": "postgres_output",
                        "config": {"uri": self.postgres, "table": "counts"},
                    },
                }
            )  # fmt: skip
        return f"""
        CREATE TABLE t (id INT NOT NULL PRIMARY KEY, x VARCHAR);
        CREATE TABLE f (id INT){with_([file_in])};
        CREATE TABLE d (id INT){with_([made])};
        CREATE MATERIALIZED VIEW v{with_([rows])} AS SELECT id, x FROM t;
        CREATE INDEX by_id ON v (id);
        CREATE MATERIALIZED VIEW counts{with_(counts)} AS
          SELECT 'file' AS source, COUNT(*) AS n, COUNT(DISTINCT id) AS ids FROM f
          UNION ALL SELECT 'made', COUNT(*), COUNT(*) FROM d;
        CREATE INDEX by_source ON counts (source);
        """

    # acts

    def start(self, points: str = "") -> None:
        self.armed.arm(points)
        self.p.post("/start")
        self.wait_up_or_down()

    def wait_up_or_down(self) -> str:
        def state() -> str | None:
            found = self.p.system.http.get(self.p.path).json()
            status, desired = found["deployment_status"], found["deployment_desired_status"]
            is_down = status == "Stopped" and desired == "Stopped"
            return str(status) if status == "Running" or is_down else None

        return str(until(state))

    @property
    def is_up(self) -> bool:
        return bool(self.p.system.http.get(self.p.path).json()["deployment_status"] == "Running")

    def send(self, n: int = 20) -> None:
        """Some rows; `verify` sends them once more, as a client does that got no answer."""
        rows = {i: f"text of row {i}" for i in range(self.next, self.next + n)}
        self.next += n // 2  # half of them again with the next call
        body = "\n".join(json.dumps({"id": i, "x": x}) for i, x in rows.items())
        parameters = {"format": "json", "update_format": "raw"}
        self.sent |= rows
        with suppress(httpx.TransportError):
            self.p.post("/ingress/t", params=parameters, content=body)

    def reset(self, view: str, connector: str) -> str | None:
        answer = self.p.reset(view, connector)
        return str(answer.json()["token"]) if answer.status_code == 200 else None

    # looks, with other programs' eyes

    def in_sqlite(self) -> dict[int, str]:
        with sqlite3.connect(self.folder / "t.sqlite") as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 't'").fetchone():
                return {}
            found = db.execute("SELECT id, x FROM t").fetchall()
        assert len(found) == len(dict(found)), "a key twice"
        return dict(found)

    def in_file(self) -> Counter[Any]:
        rows: Counter[Any] = Counter()
        path = self.folder / "counts.json"
        if not path.exists():  # not delivered to yet
            return rows
        for line in path.read_text().splitlines():
            for what, row in json.loads(line).items():
                rows[tuple(row.values())] += 1 if what == "insert" else -1
        assert all(n >= 0 for n in rows.values()), rows
        return +rows

    def in_postgres(self) -> Counter[Any]:
        with psycopg.connect(str(self.postgres)) as db:
            if db.execute("SELECT to_regclass('counts')").fetchone() == (None,):
                return Counter()
            return Counter(db.execute("SELECT source, n, ids FROM counts").fetchall())

    def verify(self) -> None:
        """Send everything once more; then every target must come to hold the view."""
        rows = "\n".join(json.dumps({"id": i, "x": x}) for i, x in self.sent.items())
        parameters = {"format": "json", "update_format": "raw"}
        assert self.p.post("/ingress/t", params=parameters, content=rows).status_code == 200
        until(lambda: self.in_sqlite() == self.sent)
        wanted = Counter({("file", FILE_ROWS, FILE_ROWS): 1, ("made", MADE_ROWS, MADE_ROWS): 1})
        until(lambda: self.in_file() == wanted)
        if self.postgres:
            until(lambda: self.in_postgres() == wanted)
        shown = self.p.query("SELECT source, n, ids FROM counts")
        assert Counter(tuple(r.values()) for r in shown) == wanted

    def end(self) -> None:
        self.armed.arm("")
        if self.is_up:
            self.p.stop()


#: failpoint → what makes the pipeline pass it
ACTS: dict[str, Callable[[Story], object]] = {
    "reset.accepted": lambda s: s.reset("v", "db"),
    "cut": lambda s: s.reset("v", "db"),
    "begin": lambda s: s.reset("v", "db"),
    "stage": lambda s: s.reset("v", "db"),
    "publish": lambda s: s.reset("v", "db"),
    "publish.after": lambda s: s.reset("v", "db"),
    "delta": lambda s: s.send(),
    "delta.after": lambda s: s.send(),
    "journal.append": lambda s: s.send(),
    "journal.after": lambda s: s.send(),
    "step.after": lambda s: s.send(),
    "checkpoint.capture": lambda s: s.p.post("/checkpoint"),
    "checkpoint.write": lambda s: s.p.post("/checkpoint"),
    "checkpoint.rename": lambda s: s.p.post("/checkpoint"),
    "checkpoint.gc": lambda s: s.p.post("/checkpoint"),
}


def play(story: Story, point: str, passage: int) -> None:
    """Run until `point` is passed for the `passage`-th time and kills, then recover twice."""
    story.start(f"{point}=crash@{passage}")
    for _ in range(40):
        if not story.is_up:
            break
        story.send()
        try:
            ACTS[point](story)
        except httpx.TransportError:
            break
    else:
        pytest.fail(f"{point} was not passed {passage} times")
    until(lambda: story.wait_up_or_down() == "Stopped")
    # the recovery is killed as well, before it has done anything and when it has replayed
    for recovery in ("recover=crash", "recover.replayed=crash"):
        story.start(recovery)
        if story.is_up:
            story.p.kill()  # it died before its first checkpoint: there was nothing to recover from
    story.start()
    story.verify()


def test_a_pipeline_killed_after_a_delivery_and_within_recovery_is_whole_again(
    armed: Armed, tmp_path: Path
) -> None:
    story = Story(armed, tmp_path, "exactly_once", None)
    story.start("delta.after=crash@4")
    while story.is_up:
        story.send()
    story.start("recover.replayed=crash")
    until(lambda: story.wait_up_or_down() == "Stopped")
    story.start()
    story.verify()
    story.end()


@pytest.mark.slow
@pytest.mark.parametrize("passage", [1, 3, 6])
@pytest.mark.parametrize("point", ACTS)
def test_exactly_once_survives_a_kill_at_every_boundary(
    armed: Armed, tmp_path: Path, postgres: PostgresServer, point: str, passage: int
) -> None:
    story = Story(armed, tmp_path, "exactly_once", postgres.new_database())
    play(story, point, passage)
    story.end()


@pytest.mark.slow
@pytest.mark.parametrize("point", [p for p in ACTS if not p.startswith("journal")])
def test_at_least_once_ends_equal_to_its_view_after_a_kill_at_every_boundary(
    armed: Armed, tmp_path: Path, postgres: PostgresServer, point: str
) -> None:
    story = Story(armed, tmp_path, "at_least_once", postgres.new_database())
    play(story, point, 2)
    story.end()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("model", ["exactly_once", "at_least_once"])
def test_a_pipeline_killed_at_random_instants_ends_equal_to_its_view(
    armed: Armed, tmp_path: Path, postgres: PostgresServer, model: str, seed: int
) -> None:
    rng = random.Random(seed)
    story = Story(armed, tmp_path, model, postgres.new_database())
    tokens: list[str | None] = []
    for _ in range(4):
        story.start()
        for _ in range(rng.randrange(1, 8)):
            act = rng.choice(["send", "send", "reset", "checkpoint"])
            if act == "send":
                story.send()
            elif act == "reset":
                tokens.append(story.reset(*rng.choice([("v", "db"), ("counts", "log")])))
            else:
                story.p.post("/checkpoint")
            time.sleep(rng.random() * 0.05)
        story.p.kill()
    story.start()
    story.verify()
    for token in filter(None, tokens):
        assert story.p.wait_reset(token)["status"] == "complete"
    story.end()


def test_a_target_restored_from_a_backup_while_the_pipeline_runs_is_written_anew(
    system: System, tmp_path: Path
) -> None:
    path = tmp_path / "out.sqlite"
    connector = {
        "name": "c",
        "index": "i",
        "mode": "snapshot_and_follow",
        "transport": {"name": "sqlite_output", "config": {"path": str(path), "table": "v"}},
    }
    p = Pipeline(
        system,
        f"""CREATE TABLE t (k INT NOT NULL PRIMARY KEY);
        CREATE MATERIALIZED VIEW v WITH ('connectors' = '[{json.dumps(connector)}]')
          AS SELECT k FROM t;
        CREATE INDEX i ON v (k);""",
        {},
    )
    with sqlite3.connect(path) as target, sqlite3.connect(":memory:") as backup:
        p.send("t", {"k": 1})
        target.backup(backup)
        p.send("t", {"k": 2})
        backup.backup(target)
        assert target.execute("SELECT k FROM v").fetchall() == [(1,)]
        p.send("t", {"k": 3})
        assert target.execute("SELECT k FROM v ORDER BY k").fetchall() == [(1,), (2,), (3,)]
    p.stop()
