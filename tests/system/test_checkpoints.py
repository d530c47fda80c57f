"""Checkpoints through the REST API: taken, listed, gone on from, cleared."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from tests.system.conftest import Pipeline, System

PROGRAM = """
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, customer VARCHAR, amount INT){table};
CREATE MATERIALIZED VIEW totals{view} AS
  SELECT customer, COUNT(*) AS n, SUM(amount) AS amount, MAX(id) AS newest FROM t GROUP BY customer;
CREATE INDEX by_customer ON totals (customer);
"""


def program(sink: Path | None = None, table: Any = None, **more: Any) -> str:
    view = ""
    if sink is not None:
        connector = {
            "name": "db",
            "mode": "snapshot_and_follow",
            "index": "by_customer",
            "transport": {"name": "sqlite_output", "config": {"path": str(sink), "table": "v"}},
            **more,
        }
        view = f" WITH ('connectors' = '{json.dumps([connector])}')"
    with_ = "" if table is None else f" WITH ('connectors' = '{json.dumps([table])}')"
    return PROGRAM.format(view=view, table=with_)


def rows(n: int, start: int = 0) -> list[dict[str, Any]]:
    return [{"id": i, "customer": f"c{i % 7}", "amount": i} for i in range(start, start + n)]


def expected(all_rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    found: dict[str, list[int]] = {}
    for r in {r["id"]: r for r in all_rows}.values():
        found.setdefault(r["customer"], []).append(r["amount"])
    return sorted((c, len(a), sum(a), max(a)) for c, a in found.items())


def view(p: Pipeline) -> list[tuple[Any, ...]]:
    return sorted(tuple(r.values()) for r in p.query("SELECT * FROM totals"))


def sink_rows(path: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'v'").fetchone():
            return []
        return sorted(db.execute("SELECT customer, n, amount, newest FROM v"))


def suspend(p: Pipeline) -> dict[str, Any]:
    assert p.post("/stop").status_code == 202
    return p.wait("deployment_status", "Stopped")


def take_checkpoint(p: Pipeline) -> int:
    answer = p.post("/checkpoint")
    assert answer.status_code == 200, answer.text
    n = int(answer.json()["checkpoint_sequence_number"])
    incarnation = answer.json()["incarnation_uuid"]

    def status() -> dict[str, Any]:
        found: dict[str, Any] = p.get(
            "/checkpoint_status", params={"incarnation_uuid": incarnation}
        ).json()
        assert found["failure"] is None, found
        return found

    while (status()["success"] or 0) < n:
        pass
    return n


def wait_equal(look: Any, wanted: Any, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while (found := look()) != wanted:
        assert time.monotonic() < deadline, f"{found}\n{wanted}"
        time.sleep(0.02)


def test_a_pipeline_goes_on_after_a_stop_and_after_a_kill_until_it_is_cleared(
    system: System, tmp_path: Path
) -> None:
    sink = tmp_path / "v.sqlite"
    p = system.pipeline(program(sink))
    p.send("t", *rows(100))
    stopped = suspend(p)
    checkpoint = stopped["storage_status_details"]["checkpoints"][0]
    assert checkpoint["processed_records"] == 100
    assert stopped["storage_status"] == "InUse" and stopped["deployment_error"] is None
    assert p.get("/checkpoints").json()[0] == checkpoint
    p.start()
    assert view(p) == expected(rows(100))
    assert p.get("/views/totals/connectors/db/stats").json()["delivery"]["generation"] == 1
    p.send("t", *rows(100, 50))
    assert view(p) == expected(rows(150)) == sink_rows(sink)
    assert p.get("/stats").json()["global_metrics"]["total_processed_records"] == 200
    assert take_checkpoint(p) > 1
    other = {"incarnation_uuid": "00000000-0000-0000-0000-000000000000"}
    answer = p.get("/checkpoint_status", params=other)
    assert (answer.status_code, answer.json()["error_code"]) == (400, "IncarnationUuidMismatch")
    p.send("t", *rows(10, 1000))
    p.kill()
    p.start()
    # model none: what came after the checkpoint is lost, and the sink says what the view says
    assert view(p) == expected(rows(150))
    wait_equal(lambda: sink_rows(sink), expected(rows(150)))
    p.stop()
    assert p.post("/clear").status_code == 202
    assert p.wait("storage_status", "Cleared")["storage_status_details"] is None
    assert p.get("/checkpoints").json() == []


def test_a_changed_program_awaits_approval(system: System, tmp_path: Path) -> None:
    sink = tmp_path / "v.sqlite"
    p = system.pipeline(program(sink))
    p.send("t", *rows(10))
    suspend(p)
    changed = program(sink).replace("SUM(amount)", "2 * SUM(amount)")
    diff = p.post("/diff", json={"program_code": changed})
    assert diff.status_code == 200, diff.text
    assert diff.json()["program_diff"]["modified_views"] == ["totals"]
    assert p.post("/diff", json=None).json()["program_diff"]["modified_views"] == []
    assert system.http.patch(p.path, json={"program_code": changed}).status_code == 200
    p.wait("program_status", "Success")
    assert p.post("/start", params={"bootstrap_policy": "await_approval"}).status_code == 202
    waiting = p.wait("deployment_status", "AwaitingApproval")
    assert waiting["deployment_runtime_status_details"]["approval_diff"] == diff.json()
    answer = p.get("/stats")
    assert (answer.status_code, answer.json()["error_code"]) == (503, "AwaitingApproval")
    assert p.post("/approve").status_code == 200
    p.wait("deployment_status", "Running")
    doubled = sorted((c, n, 2 * a, m) for c, n, a, m in expected(rows(10)))
    assert view(p) == doubled
    wait_equal(lambda: sink_rows(sink), doubled)
    p.stop()


@pytest.mark.slow
def test_exactly_once_loses_nothing_that_was_acknowledged(system: System, tmp_path: Path) -> None:
    sink = tmp_path / "v.sqlite"
    p = system.pipeline(
        program(sink),
        fault_tolerance={"model": "exactly_once", "checkpoint_interval_secs": 3600},
    )
    token = p.send("t", *rows(100), wait=False)
    p.send("t", *rows(20, 90))
    p.kill()
    p.start()
    assert view(p) == expected(rows(110)) == sink_rows(sink)
    assert p.get("/completion_status", params={"token": token}).json()["status"] == "complete"
    delivery = p.get("/views/totals/connectors/db/stats").json()["delivery"]
    assert delivery["generation"] == 1
    p.send("t", *rows(5, 200))
    p.kill()
    p.start()
    assert view(p) == expected(rows(110) + rows(5, 200)) == sink_rows(sink)
    p.stop()


@pytest.mark.slow
def test_at_least_once_reads_a_source_again_from_its_checkpoint(
    system: System, tmp_path: Path
) -> None:
    source, sink = tmp_path / "in.json", tmp_path / "v.sqlite"
    source.write_text("".join(json.dumps(r) + "\n" for r in rows(2000)))
    connector = {
        "name": "file",
        "transport": {
            "name": "file_input",
            "config": {"path": str(source), "follow": True, "buffer_size_bytes": 1000},
        },
        "format": {"name": "json", "config": {"update_format": "raw"}},
    }
    p = system.pipeline(
        program(sink, connector),
        fault_tolerance={"model": "at_least_once", "checkpoint_interval_secs": 3600},
    )
    wait_equal(lambda: sink_rows(sink), expected(rows(2000)))
    take_checkpoint(p)
    with source.open("a") as f:
        f.write("".join(json.dumps(r) + "\n" for r in rows(100, 5000)))
    wait_equal(lambda: sink_rows(sink), expected(rows(2000) + rows(100, 5000)))
    p.kill()
    p.start()
    wait_equal(lambda: sink_rows(sink), expected(rows(2000) + rows(100, 5000)))
    wait_equal(lambda: p.get("/stats").json()["inputs"][0]["metrics"]["total_records"], 2100)
    p.stop()


@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_and_that_is_said(system: System) -> None:
    p = system.pipeline(program())
    p.send("t", *rows(10))
    take_checkpoint(p)
    p.send("t", *rows(10, 10))
    suspend(p)
    record = system.http.get(p.path).json()
    folder = system.data_dir / "pipelines" / record["id"] / "checkpoints"
    newest = max(folder.iterdir())
    newest.write_bytes(newest.read_bytes()[:-10])
    p.start()
    recovery = p.get("/stats").json()["recovery"]
    assert len(recovery["skipped"]) == 1 and "damaged" in recovery["skipped"][0]
    p.stop()
    for path in folder.iterdir():
        path.write_bytes(b"nonsense")
    assert p.post("/start").status_code == 202
    failed = p.wait("deployment_status", "Stopped")
    while failed["deployment_error"] is None:
        failed = system.http.get(p.path).json()
    assert failed["deployment_error"]["error_code"] == "CorruptState"
    assert "lear the pipeline's storage" in failed["deployment_error"]["message"]
    assert p.post("/clear").status_code == 202


@pytest.mark.slow
def test_an_open_transaction_delays_a_checkpoint_and_survives_a_stop(system: System) -> None:
    p = system.pipeline(program())
    p.send("t", *rows(10))
    assert p.post("/start_transaction").json() == {"transaction_id": 1}
    p.send("t", *rows(10, 10), wait=False)
    n = p.post("/checkpoint").json()["checkpoint_sequence_number"]
    stats = p.get("/stats").json()
    assert stats["checkpoint_activity"]["status"] == "delayed"
    assert (p.get("/checkpoint_status").json()["success"] or 0) < n
    wait_equal(lambda: p.get("/stats").json()["global_metrics"]["transaction_records"], 10)
    suspend(p)
    p.start()
    assert view(p) == expected(rows(10))
    assert p.get("/stats").json()["global_metrics"]["transaction_id"] == 1
    assert p.post("/commit_transaction").status_code == 200
    wait_equal(lambda: view(p), expected(rows(20)))
    p.stop()


@pytest.mark.slow
def test_without_storage_there_are_no_checkpoints_and_that_is_said(system: System) -> None:
    p = system.pipeline(program(), storage=None)
    answer = p.post("/checkpoint")
    assert (answer.status_code, answer.json()["error_code"]) == (400, "StorageRequired")
    assert p.get("/checkpoints").json() == []
    suspend(p)
    body = {
        "name": "needs-storage",
        "program_code": program(),
        "runtime_config": {"storage": None, "fault_tolerance": {"model": "exactly_once"}},
    }
    answer = system.http.put("/pipelines/needs-storage", json=body)
    assert answer.status_code == 201, answer.text
