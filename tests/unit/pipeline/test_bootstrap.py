"""A pipeline whose program has changed: what stays, what is computed anew, and who decides."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import Conflict, TransientError, UserError
from penstock.pipeline import Pipeline
from penstock.pipeline.bootstrap import diff_from_storage
from tests.unit.pipeline.test_delivery import wait_until

T = "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, g INT);"
U = "CREATE TABLE u (x INT NOT NULL PRIMARY KEY);"


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pipeline: Pipeline | None = None
        self.runtime: dict[str, Any] = {"workers": 1}

    def view(self, name: str, query: str, *, mode: str = "snapshot_and_follow", **more: Any) -> str:
        transport = {
            "name": "sqlite_output",
            "config": {"path": str(self.folder / f"{name}.sqlite"), "table": name},
        }
        connector = {
            "name": "db", "mode": mode, "index": f"by_{name}", "transport": transport, **more
        }  # fmt: skip
        return (
            f"CREATE MATERIALIZED VIEW {name} WITH ('connectors' = '{json.dumps([connector])}') AS "
            f"{query}; CREATE INDEX by_{name} ON {name} (g);"
        )

    def start(self, program: str, policy: str | None = "allow", *, wait: bool = True) -> Pipeline:
        if self.pipeline is not None:
            self.pipeline.suspend()
        p = self.pipeline = Pipeline(
            {
                "pipeline_id": "p",
                "name": "p",
                "program_code": program,
                "runtime_config": self.runtime,
                "storage_dir": str(self.folder / "storage"),
                "bootstrap_policy": policy,
            }
        )
        p.start()
        if wait:
            self.wait_running()
        return p

    def wait_running(self) -> None:
        p = self.pipeline
        assert p is not None
        wait_until(lambda: p.status()["state"] in ("Running", "Failed"))
        assert p.status()["state"] == "Running", p.status()

    def send(self, table: str, *rows: dict[str, Any]) -> None:
        assert self.pipeline is not None
        session = self.pipeline.ingress(table, "json", {"update_format": "raw", "array": "true"})
        session.feed(json.dumps(rows).encode())
        session.finish()
        session.close()

    def sink(self, name: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.folder / f"{name}.sqlite") as db:
            if not db.execute(f"SELECT 1 FROM sqlite_master WHERE name = '{name}'").fetchone():
                return []
            return sorted(db.execute(f"SELECT g, n FROM {name}"))

    def verify(self, name: str, rows: list[tuple[Any, ...]]) -> None:
        wait_until(lambda: self.sink(name) == rows)

    def generation(self, view: str) -> int:
        assert self.pipeline is not None
        return int(self.pipeline.output_stats(view, "db")["delivery"]["generation"])


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    w = World(tmp_path)
    yield w
    if w.pipeline is not None:
        w.pipeline.stop()


COUNT = "SELECT g, COUNT(*) AS n FROM t GROUP BY g"
SUM = "SELECT g, SUM(id) AS n FROM t GROUP BY g"


@pytest.mark.parametrize("model", ["none", "exactly_once"])
def test_an_unchanged_view_goes_on_and_a_changed_one_is_written_anew(
    world: World, model: str
) -> None:
    world.runtime["fault_tolerance"] = {"model": model}
    world.start(T + world.view("a", COUNT) + world.view("b", COUNT))
    world.send("t", {"id": 1, "g": 1}, {"id": 2, "g": 1})
    world.verify("a", [(1, 2)])
    world.verify("b", [(1, 2)])
    world.start(T + world.view("a", COUNT) + world.view("b", SUM) + world.view("c", SUM))
    world.verify("b", [(1, 3)])
    world.verify("c", [(1, 3)])
    world.send("t", {"id": 5, "g": 2})
    world.verify("a", [(1, 2), (2, 1)])
    world.verify("b", [(1, 3), (2, 5)])
    assert (world.generation("a"), world.generation("b")) == (1, 2)
    # the new program has its own checkpoint at once: nothing is computed a second time
    p = world.start(
        T + world.view("a", COUNT) + world.view("b", SUM) + world.view("c", SUM), "reject"
    )
    world.verify("a", [(1, 2), (2, 1)])
    assert p.output_stats("b", "db")["delivery"]["generation"] == 2


def test_a_comment_is_no_change(world: World) -> None:
    world.start(T + world.view("a", COUNT))
    world.start("-- a comment\n" + T + "\n" + world.view("a", COUNT), "reject")


def test_reject_names_the_modifications_and_keeps_the_checkpoint(world: World) -> None:
    world.start(T + world.view("a", COUNT))
    world.send("t", {"id": 1, "g": 1})
    world.verify("a", [(1, 1)])
    with pytest.raises(Conflict, match="modified views: a") as refused:
        world.start(T + world.view("a", SUM), "reject")
    assert refused.value.code == "BootstrapRejected"
    world.pipeline = None
    world.start(T + world.view("a", COUNT), "reject")
    world.send("t", {"id": 2, "g": 1})
    world.verify("a", [(1, 2)])


@pytest.mark.parametrize("policy", [None, "await_approval"])
def test_a_changed_program_waits_for_approval(world: World, policy: str | None) -> None:
    world.start(T + world.view("a", COUNT))
    world.send("t", {"id": 7, "g": 1})
    world.verify("a", [(1, 1)])
    p = world.start(T + world.view("a", SUM), policy, wait=False)
    status = p.status()
    assert status["state"] == "AwaitingApproval"
    assert status["details"]["approval_diff"]["program_diff"]["modified_views"] == ["a"]
    with pytest.raises(TransientError) as refused:
        p.require_open()
    assert refused.value.code == "AwaitingApproval"
    assert world.sink("a") == [(1, 1)]
    p.approve()
    world.wait_running()
    world.verify("a", [(1, 7)])
    with pytest.raises(UserError) as again:
        p.approve()
    assert again.value.code == "BootstrapNotAllowed"


def test_a_pipeline_that_was_not_approved_stops_and_keeps_its_checkpoint(world: World) -> None:
    world.start(T + world.view("a", COUNT))
    world.start(T + world.view("a", SUM), "await_approval", wait=False)
    world.start(T + world.view("a", COUNT), "reject")


def test_a_follow_mode_output_gets_the_new_contents_in_full(world: World) -> None:
    world.start(T + world.view("a", COUNT, mode="follow"))
    world.send("t", {"id": 3, "g": 1})
    world.verify("a", [(1, 1)])
    world.start(T + world.view("a", SUM, mode="follow"))
    world.verify("a", [(1, 3)])


def test_a_modified_table_is_emptied_and_a_removed_one_is_gone(world: World) -> None:
    a = world.view("a", COUNT)
    world.start(T + U + a)
    world.send("t", {"id": 3, "g": 1})
    world.send("u", {"x": 1})
    world.verify("a", [(1, 1)])
    wider = T.replace("g INT", "g INT, more VARCHAR")
    world.start(wider + a)
    world.verify("a", [])
    world.send("t", {"id": 4, "g": 2, "more": "x"})
    world.verify("a", [(2, 1)])


def test_a_table_whose_rows_are_not_kept_cannot_be_computed_from(world: World) -> None:
    t = "CREATE TABLE t (id INT NOT NULL, g INT);"
    world.start(t + world.view("a", COUNT))
    world.send("t", {"id": 3, "g": 1})
    world.verify("a", [(1, 1)])
    p = world.start(t + world.view("a", SUM), wait=False)
    wait_until(lambda: p.status()["state"] == "Failed")
    assert "PRIMARY KEY" in p.status()["error"]["message"]
    assert p.status()["error"]["error_code"] == "BootstrapNotAllowed"
    p.stop()
    world.pipeline = None
    world.start(t + world.view("a", COUNT), "reject")


def test_a_changed_connector_is_a_change_of_its_own(world: World) -> None:
    world.start(T + world.view("a", COUNT))
    world.send("t", {"id": 3, "g": 1})
    world.verify("a", [(1, 1)])
    changed = T + world.view("a", COUNT, max_queued_records=77)
    diff = diff_from_storage(world.folder / "storage", changed) if suspend(world) else {}
    assert diff["modified_output_connectors"] == ["a.db"]
    assert not any(diff["program_diff"].values())
    world.start(changed)
    world.verify("a", [(1, 1)])
    assert world.generation("a") == 2


def suspend(world: World) -> bool:
    assert world.pipeline is not None
    world.pipeline.suspend()
    world.pipeline = None
    return True


def test_a_difference_can_be_asked_for(world: World) -> None:
    storage = world.folder / "storage"
    with pytest.raises(UserError) as nothing:
        diff_from_storage(storage, T)
    assert nothing.value.code == "BootstrapNotAllowed"
    world.start(T + world.view("a", COUNT))
    suspend(world)
    found = diff_from_storage(storage, T + U + world.view("b", SUM))
    assert found["program_diff"] == {
        "added_tables": ["u"], "removed_tables": [], "modified_tables": [],
        "added_views": ["b"], "removed_views": ["a"], "modified_views": [],
    }  # fmt: skip
    assert found["added_output_connectors"] == ["b.db"]
    with pytest.raises(UserError) as wrong:
        diff_from_storage(storage, "SELECT nonsense")
    assert wrong.value.code == "InvalidNewProgramSql"


def test_a_poisoned_journal_is_got_over_by_changing_the_program(world: World) -> None:
    world.runtime["fault_tolerance"] = {"model": "exactly_once", "checkpoint_interval_secs": None}
    p = world.start(T + world.view("a", "SELECT g, 10 / id AS n FROM t"))
    world.send("t", {"id": 5, "g": 1})
    world.verify("a", [(1, 2)])
    world.send("t", {"id": 0, "g": 2})
    wait_until(lambda: p.status()["state"] == "Failed")
    p.stop()
    world.pipeline = None
    world.start(T + world.view("a", "SELECT g, 10 / NULLIF(id, 0) AS n FROM t WHERE id <> 0"))
    world.verify("a", [(1, 2)])
