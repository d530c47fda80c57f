"""A whole pipeline, ended in every way and started again in this process.

`World.crash` ends the threads without a word, as SIGKILL would; what a crash within a write
leaves is for `tests/system/test_recovery.py`, which kills processes.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import CorruptState, PenstockError, TransientError, UserError
from penstock.pipeline import Pipeline, failpoints
from penstock.pipeline.storage import Storage
from penstock.state.storage import referenced_files
from tests.unit.pipeline.test_delivery import wait_until

TABLE = "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, g INT, x VARCHAR)"
VIEW = "SELECT g, COUNT(*) AS n, MAX(x) AS x FROM t GROUP BY g"


class World:
    """A storage folder and a SQLite file that outlive each run of the pipeline."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sink = folder / "v.sqlite"
        self.pipeline: Pipeline | None = None
        self.sent: dict[int, Any] = {}
        self.runtime: dict[str, Any] = {"workers": 1}
        self.table, self.view = TABLE, VIEW
        self.more: dict[str, Any] = {}

    def program(self) -> str:
        connector = {
            "name": "db",
            "mode": "snapshot_and_follow",
            "index": "by_g",
            "transport": {
                "name": "sqlite_output",
                "config": {"path": str(self.sink), "table": "v"},
            },
            **self.more,
        }
        return (
            f"{self.table}; CREATE MATERIALIZED VIEW v WITH ('connectors' = "
            f"'{json.dumps([connector])}') AS {self.view}; CREATE INDEX by_g ON v (g);"
        )

    def start(self, **more: Any) -> Pipeline:
        self.pipeline = Pipeline(
            {
                "pipeline_id": "p",
                "name": "p",
                "program_code": self.program(),
                "runtime_config": self.runtime,
                "storage_dir": str(self.folder / "storage"),
                **more,
            }
        )
        self.pipeline.start()
        return self.pipeline

    def exactly_once(self, model: str = "exactly_once") -> None:
        self.runtime["fault_tolerance"] = {"model": model, "checkpoint_interval_secs": None}

    def send(self, *ids: int) -> str:
        assert self.pipeline is not None
        rows = [{"id": i, "g": i % 3, "x": f"row {i} with a text"} for i in ids]
        options = {"update_format": "raw", "array": "true"}
        session = self.pipeline.ingress("t", "json", options)
        try:
            session.feed(json.dumps(rows).encode())
            token = str(session.finish()["token"])
        finally:
            session.close()
        self.sent |= {r["id"]: r for r in rows}  # type: ignore[misc]
        return token

    def is_complete(self, token: str) -> bool:
        assert self.pipeline is not None
        return bool(self.pipeline.completion_status(token)["status"] == "complete")

    def settle(self, token: str) -> None:
        wait_until(lambda: self.is_complete(token))

    def crash(self) -> None:
        assert self.pipeline is not None
        self.pipeline.stop()

    def expected(self) -> list[tuple[Any, ...]]:
        groups: dict[int, list[str]] = {}
        for r in self.sent.values():
            groups.setdefault(r["g"], []).append(r["x"])
        return sorted((g, len(x), max(x)) for g, x in groups.items())

    def rows(self) -> list[tuple[Any, ...]]:
        assert self.pipeline is not None
        _, chunks = self.pipeline.query("SELECT * FROM v", "json")
        found = b"".join(chunks).splitlines()
        return sorted(tuple(json.loads(line).values()) for line in found)

    def in_sink(self) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.sink) as db:
            if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'v'").fetchone():
                return []
            return sorted(db.execute("SELECT g, n, x FROM v"))

    def verify(self) -> None:
        wait_until(lambda: self.rows() == self.expected() == self.in_sink())

    @property
    def generation(self) -> int:
        assert self.pipeline is not None
        return int(self.pipeline.output_stats("v", "db")["delivery"]["generation"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    w = World(tmp_path)
    yield w
    failpoints.arm("")
    if w.pipeline is not None:
        w.pipeline.stop()


def test_a_suspended_pipeline_goes_on_where_it_was(world: World) -> None:
    p = world.start()
    world.settle(world.send(1, 2, 3))
    p.suspend()
    assert p.status()["state"] == "Suspended"
    p = world.start()
    assert world.rows() == world.expected()
    world.settle(world.send(3, 4))
    world.verify()
    assert world.generation == 1
    assert p.stats()["global_metrics"]["total_processed_records"] == 5


def test_a_stop_takes_one_checkpoint_of_a_step(world: World) -> None:
    p = world.start()
    world.settle(world.send(1, 2, 3))
    p.suspend()
    assert len(list((world.folder / "storage" / "checkpoints").glob("*.json"))) == 1


def test_a_stop_whose_last_checkpoint_fails_says_so_and_is_no_pipeline_that_only_seems_to_run(
    world: World,
) -> None:
    world.runtime["min_batch_size_records"] = 1000
    world.runtime["max_buffering_delay_usecs"] = 10**9
    world.exactly_once()
    p = world.start()
    world.runtime.pop("min_batch_size_records")
    session = p.ingress("t", "json", {"update_format": "raw", "array": "true"})
    session.feed(b'[{"id": 1, "g": 1, "x": "row 1 with a text"}]')
    failpoints.arm("checkpoint.write=error@2")
    with pytest.raises(PenstockError, match="could not be taken"):
        p.suspend()
    session.close()
    assert p.status()["state"] == "Failed"
    failpoints.arm("")
    p.stop()
    world.start()
    world.sent = {1: {"id": 1, "g": 1, "x": "row 1 with a text"}}
    world.verify()


def test_rows_that_had_only_arrived_are_in_the_suspended_state(world: World) -> None:
    world.runtime["min_batch_size_records"] = 1000
    world.runtime["max_buffering_delay_usecs"] = 10**9
    p = world.start()
    world.send(1, 2, 3)
    p.suspend()
    world.start()
    world.verify()


def test_a_crash_loses_nothing_exactly_once_and_sends_no_second_snapshot(world: World) -> None:
    world.exactly_once()
    world.start()
    token = world.send(1, 2)
    world.settle(token)
    for i in range(3):
        world.send(10 + i, 1)
        world.crash()
        world.start()
        world.verify()
    assert world.is_complete(token)
    assert world.generation == 1


def test_deltas_queued_for_a_dead_sink_survive_suspension(world: World) -> None:
    p = world.start()
    world.settle(world.send(1, 2))
    blocker = sqlite3.connect(world.sink, isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    world.send(3)
    wait_until(lambda: p.stats()["global_metrics"]["total_processed_records"] == 3)
    p.checkpoint()
    wait_until(lambda: bool(p.checkpoints()))
    blocker.execute("ROLLBACK")
    p.suspend()
    world.start()
    world.verify()
    assert world.generation == 1


def test_a_reset_that_a_crash_interrupted_takes_its_cut_when_everything_is_replayed(
    world: World,
) -> None:
    """Readers have seen the last step before the crash: they must not see an earlier one."""
    world.exactly_once()
    p = world.start()
    for i in range(4):
        world.settle(world.send(i))
    failpoints.arm("cut.before=error@*")
    token = p.reset("v", "db")["token"]
    world.crash()
    failpoints.arm("step.after=delay:0.1@*")
    p = world.start()
    wait_until(lambda: p.reset_status(token)["status"] == "complete")

    assert p.reset_status(token)["step"] == 5
    world.verify()


@pytest.mark.parametrize("model", ["at_least_once", "exactly_once"])
def test_a_sink_ahead_of_its_checkpoint_ends_equal_to_the_view(world: World, model: str) -> None:
    world.exactly_once(model)
    p = world.start()
    wait_until(lambda: p.output_stats("v", "db")["delivery"]["phase"] == "following")
    world.settle(world.send(1, 2, 3))
    world.crash()
    if model == "at_least_once":
        world.sent = {}  # HTTP cannot be read again
    world.start()
    world.verify()


def test_a_reset_of_an_at_least_once_pipeline_publishes_at_a_checkpoint(world: World) -> None:
    world.exactly_once("at_least_once")
    p = world.start()
    world.settle(world.send(1, 2, 3))
    token = p.reset("v", "db")["token"]
    wait_until(lambda: p.reset_status(token)["status"] == "complete")
    step = p.reset_status(token)["step"]
    assert p.checkpoints()[0]["steps"] == step
    world.crash()
    world.start()
    world.verify()
    assert world.generation == 2  # adopted, not written anew


@pytest.mark.parametrize(
    "point", ["checkpoint.capture", "checkpoint.write", "checkpoint.rename", "checkpoint.gc"]
)
def test_a_failing_checkpoint_is_reported_and_the_older_one_stays(world: World, point: str) -> None:
    world.exactly_once()
    p = world.start()
    world.settle(world.send(1, 2))
    failpoints.arm(f"{point}=error")
    n = p.checkpoint()["checkpoint_sequence_number"]
    wait_until(lambda: p.checkpoint_status()["failure"] is not None)
    failure = p.checkpoint_status()["failure"]
    assert failure["sequence_number"] == n and point in failure["error"]
    world.settle(world.send(3))
    again = p.checkpoint()["checkpoint_sequence_number"]
    wait_until(lambda: p.checkpoint_status()["success"] == again)
    world.crash()
    world.start()
    world.verify()


def test_checkpoints_are_taken_by_themselves_as_often_as_is_asked_for(world: World) -> None:
    world.runtime["fault_tolerance"] = {"model": "at_least_once", "checkpoint_interval_secs": 0.05}
    p = world.start()
    world.settle(world.send(1, 2, 3))
    wait_until(lambda: p.checkpoints()[0]["processed_records"] == 3)
    world.crash()
    world.start()
    world.verify()


def test_older_checkpoints_and_files_that_nobody_names_are_removed(world: World) -> None:
    world.exactly_once()
    p = world.start()
    for i in range(6):
        world.settle(world.send(i))
        n = p.checkpoint()["checkpoint_sequence_number"]
        wait_until(lambda n=n: p.checkpoint_status()["success"] == n)  # type: ignore[misc]
    wait_until(lambda: len(list((world.folder / "storage/checkpoints").iterdir())) == 3)
    assert len(p.checkpoints()) == 3
    p.stop()
    storage = world.folder / "storage"
    named: set[str] = set()
    for path in (storage / "checkpoints").iterdir():
        named |= referenced_files(json.loads(path.read_bytes().split(b"\n", 1)[1]))
    assert {f.name.removesuffix(".state") for f in (storage / "state").iterdir()} == named
    world.start()
    world.verify()


def test_with_a_journal_an_older_checkpoint_gives_the_same(world: World) -> None:
    world.exactly_once()
    p = world.start()
    for i in range(3):
        world.settle(world.send(i, 5 * i))
        n = p.checkpoint()["checkpoint_sequence_number"]
        wait_until(lambda n=n: p.checkpoint_status()["success"] == n)  # type: ignore[misc]
    world.settle(world.send(50))
    world.crash()
    newest = max((world.folder / "storage/checkpoints").iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    p = world.start()
    assert len(p.stats()["recovery"]["skipped"]) == 1
    world.verify()
    assert world.generation == 1


def test_no_usable_checkpoint_is_a_clear_error_and_nothing_is_touched(world: World) -> None:
    p = world.start()
    world.settle(world.send(1))
    p.suspend()
    folder = world.folder / "storage/state"
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    before = world.in_sink()
    with pytest.raises(CorruptState, match="Clear the pipeline's storage"):
        world.start()
    assert world.in_sink() == before


@pytest.mark.parametrize("at", [0, 4_096])
def test_a_damaged_record_of_resets_is_a_clear_error_and_nothing_is_touched(
    world: World, at: int
) -> None:
    p = world.start()
    world.settle(world.send(1))
    p.suspend()
    path = world.folder / "storage/resets.sqlite"
    good = path.read_bytes()
    assert len(good) > 8_000
    path.write_bytes(good[:at] + b"x" * 3_000 + good[at + 3_000 :])
    before = world.in_sink()
    with pytest.raises(CorruptState, match=r"resets\.sqlite is damaged .*clear the pipeline's"):
        world.start()
    assert world.in_sink() == before
    path.write_bytes(good)
    world.start()
    world.settle(world.send(2))


def test_a_transaction_that_a_crash_interrupts_is_open_again(world: World) -> None:
    world.exactly_once()
    p = world.start()
    world.settle(world.send(1))
    shown = world.rows()
    number = p.start_transaction()["transaction_id"]
    world.send(2)
    world.send(3)
    for _ in range(2):
        world.crash()
        p = world.start()
        assert p.stats()["global_metrics"]["transaction_id"] == number
        assert world.rows() == shown
    world.send(4)
    p.commit_transaction()
    world.verify()
    world.crash()
    world.start()
    world.verify()


def test_only_the_row_that_failed_its_step_is_left_out_by_the_next_start_and_said_so(
    world: World,
) -> None:
    world.exactly_once()
    world.view = "SELECT id AS g, 10 / g AS n, x FROM t"
    p = world.start()
    world.settle(world.send(1, 2))
    # g of 3 and of 9 is 0; the answer tells that they are durable, not that they are computed
    token = world.send(4, 3, 5, 7, 9)
    wait_until(lambda: p.status()["state"] == "Failed")
    assert "zero" in str(p.status()["error"])
    p.stop()
    for _ in range(2):  # the second time from the same checkpoint
        p = world.start()
        world.settle(token)
        (endpoint,) = p.stats(include_errors=True)["inputs"]
        (error,) = endpoint["transport_errors"]
        assert "2 of 5 rows" in error["message"] and "division by zero" in error["message"]
        assert "t(3, 0, row 3 with a text), t(9, " in error["message"]
        wait_until(lambda: [r[0] for r in world.in_sink()] == [1, 2, 4, 5, 7])
        p.stop()
    p = world.start()
    world.settle(world.send(8))
    wait_until(lambda: [r[0] for r in world.in_sink()] == [1, 2, 4, 5, 7, 8])
    p.suspend()
    world.start()
    wait_until(lambda: [r[0] for r in world.in_sink()] == [1, 2, 4, 5, 7, 8])


def test_a_row_that_failed_within_a_transaction_leaves_the_rest_of_it_whole(world: World) -> None:
    """A transaction cannot be aborted (contract 6.4): what was acknowledged of it is not lost."""
    world.exactly_once()
    world.view = "SELECT id AS g, 10 / g AS n, x FROM t"
    p = world.start()
    world.settle(world.send(1))
    p.start_transaction()
    world.send(2)
    token = world.send(5, 3)  # g of 3 is 0
    world.send(7)
    p.commit_transaction()
    wait_until(lambda: p.status()["state"] == "Failed")
    p.stop()
    for _ in range(2):  # the second time from the same checkpoint
        p = world.start()
        world.settle(token)
        (endpoint,) = p.stats(include_errors=True)["inputs"]
        (error,) = endpoint["transport_errors"]
        assert "1 of " in error["message"] and "t(3, 0, row 3 with a text)" in error["message"]
        wait_until(lambda: [r[0] for r in world.in_sink()] == [1, 2, 5, 7])
        p.stop()
    p = world.start()
    world.settle(world.send(4))
    wait_until(lambda: [r[0] for r in world.in_sink()] == [1, 2, 4, 5, 7])
    assert p.start_transaction()["transaction_id"] == 2


def test_subscriptions_leave_nothing_in_the_record_but_resets_that_were_asked_for(
    world: World,
) -> None:
    def recorded() -> dict[str, list[tuple[Any, ...]]]:
        with sqlite3.connect(world.folder / "storage" / "resets.sqlite") as db:
            tables = ("reset", "generation")
            return {t: db.execute(f"SELECT * FROM {t} ORDER BY 1").fetchall() for t in tables}

    world.exactly_once()
    p = world.start()
    world.settle(world.send(1))
    before = recorded()
    subscription = p.egress("v", "json", {}, send_snapshot=True)
    assert recorded() != before
    subscription.close()
    assert recorded() == before
    subscription = p.egress("v", "json", {}, send_snapshot=True)
    token = p.reset("v", subscription.name.split(".")[1], {})["token"]
    world.crash()
    p = world.start()
    assert recorded()["generation"] == before["generation"]
    assert len(recorded()["reset"]) == len(before["reset"]) + 1
    assert p.reset_status(token)["phase"] in ("done", "failed")


def test_a_full_journal_stops_the_pipeline_and_what_was_answered_stays(world: World) -> None:
    world.exactly_once()
    p = world.start()
    world.settle(world.send(1))
    failpoints.arm("journal.append=error")
    sent = dict(world.sent)
    with pytest.raises(TransientError):
        world.send(2)
    wait_until(lambda: p.status()["state"] == "Failed")
    world.sent = sent
    p.stop()
    failpoints.arm("")
    world.start()
    world.verify()


def test_two_processes_do_not_share_a_storage(world: World) -> None:
    world.start()
    with pytest.raises(PenstockError, match="in use by another process"):
        Storage(world.folder / "storage", patience_s=0)


@pytest.mark.parametrize("model", ["at_least_once", "exactly_once"])
def test_fault_tolerance_needs_storage(world: World, model: str) -> None:
    world.exactly_once(model)
    world.runtime["storage"] = None
    with pytest.raises(UserError) as refused:
        world.start()
    assert refused.value.code == "ConfigError.FtRequiresStorage"


@pytest.mark.parametrize("how", ["crash", "suspend"])
@pytest.mark.parametrize("model", ["none", "at_least_once", "exactly_once"])
def test_a_generator_makes_each_row_once(world: World, model: str, how: str) -> None:
    world.exactly_once(model)
    plan = [{"limit": 400, "rate": 4000, "worker_chunk_size": 10}]
    connector = {"name": "gen", "transport": {"name": "datagen", "config": {"plan": plan}}}
    with_ = f" WITH ('connectors' = '{json.dumps([connector])}')"
    world.table = TABLE.replace("PRIMARY KEY", "") + with_
    world.view = "SELECT COUNT(*) AS g, COUNT(DISTINCT id) AS n, 'x' AS x FROM t"
    p = world.start()
    wait_until(lambda: p.stats()["global_metrics"]["total_processed_records"] > 50)
    if model == "at_least_once":
        n = p.checkpoint()["checkpoint_sequence_number"]
        wait_until(lambda: p.checkpoint_status()["success"] == n)
    (p.stop if how == "crash" else p.suspend)()
    p = world.start()
    wait_until(lambda: p.stats()["global_metrics"]["pipeline_complete"])
    wait_until(lambda: world.rows() == [(400, 400, "x")] == world.in_sink())
