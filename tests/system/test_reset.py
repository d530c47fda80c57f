"""Reset over the REST API (spec/reset.md), against real SQLite files and a real server."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from penstock.client import EgressReader
from tests.system.conftest import Pipeline, System

TABLE = "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR, n DECIMAL(10, 2));"


def program(*connectors: dict[str, Any], view: str = "MATERIALIZED VIEW") -> str:
    quoted = json.dumps(list(connectors)).replace("'", "''")
    return (
        f"{TABLE} CREATE {view} m WITH ('connectors' = '{quoted}') AS SELECT id, v, n FROM t "
        "WHERE id < 1000000; CREATE INDEX m_by_id ON m (id);"
    )


def sqlite_connector(path: Path, name: str = "db", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "index": "m_by_id",
        "send_snapshot": True,
        "transport": {"name": "sqlite_output", "config": {"path": str(path), "table": "m"}},
        **more,
    }


def rows(path: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as db:
        return sorted(db.execute("SELECT id, v, n FROM m").fetchall())


def damage(path: Path) -> None:
    with sqlite3.connect(path, timeout=10) as db:
        db.execute("DELETE FROM m WHERE id % 2 = 0")
        db.execute("UPDATE m SET v = 'damaged' WHERE id % 3 = 0")
        db.execute("INSERT INTO m (id, v) VALUES (-1, 'invented')")


def row(i: int, v: str = "v") -> dict[str, Any]:
    return {"id": i, "v": f"{v}{i}", "n": "1.50"}


def expected(p: Pipeline) -> list[tuple[Any, ...]]:
    found = p.query("SELECT id, v, n::VARCHAR AS n FROM m")
    return sorted((r["id"], r["v"], r["n"]) for r in found)


def test_a_damaged_table_is_whole_again_while_rows_keep_arriving(
    system: System, tmp_path: Path
) -> None:
    db = tmp_path / "sink.sqlite"
    p = system.pipeline(program(sqlite_connector(db)))
    p.send("t", *(row(i) for i in range(500)))
    assert rows(db) == expected(p)
    damage(db)
    stop = threading.Event()
    sent: list[str] = []

    def feed() -> None:
        i = 500
        while not stop.is_set():
            sent.append(p.send("t", row(i), {**row(i - 499), "v": "updated"}, wait=False))
            i += 1

    feeder = threading.Thread(target=feed)
    feeder.start()
    status = p.reset_and_wait("m", "db")
    stop.set()
    feeder.join()
    p.wait_for(sent[-1])

    assert status["status"] == "complete" and status["phase"] == "done"
    assert status["rows_staged"] == status["rows_total"] >= 500
    assert rows(db) == expected(p)
    p.stop()


def test_readers_of_the_table_see_whole_contents_only(system: System, tmp_path: Path) -> None:
    db = tmp_path / "sink.sqlite"
    p = system.pipeline(program(sqlite_connector(db)))
    p.send("t", *(row(i) for i in range(3000)))
    damage(db)
    looks: list[tuple[int, bool]] = []
    stop = threading.Event()

    def look() -> None:
        reader = sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=5)
        while not stop.is_set():
            found = reader.execute("SELECT v FROM m").fetchall()
            looks.append((len(found), any(v in ("damaged", "invented") for (v,) in found)))
        reader.close()

    reader = threading.Thread(target=look)
    reader.start()
    time.sleep(0.05)
    for _ in range(3):
        p.reset_and_wait("m", "db")
    time.sleep(0.05)
    stop.set()
    reader.join()

    kinds = [kind for i, kind in enumerate(looks) if i == 0 or looks[i - 1] != kind]
    assert kinds == [(1501, True), (3000, False)] or kinds == [(3000, False)]
    p.stop()


def test_an_empty_view_empties_the_table(system: System, tmp_path: Path) -> None:
    db = tmp_path / "sink.sqlite"
    p = system.pipeline(program(sqlite_connector(db)))
    p.wait_for(p.send("t", row(1)))
    p.send("t", {"delete": {"id": 1}}, update_format="insert_delete")
    damage(db)
    assert rows(db) != []
    p.reset_and_wait("m", "db")

    assert rows(db) == []
    p.stop()


def test_a_paused_pipeline_resets_without_new_input(system: System, tmp_path: Path) -> None:
    db = tmp_path / "sink.sqlite"
    p = system.pipeline(program(sqlite_connector(db)))
    p.send("t", *(row(i) for i in range(10)))
    p.post("/pause")
    p.wait("deployment_status", "Paused")
    damage(db)
    p.reset_and_wait("m", "db")

    assert rows(db) == expected(p)
    p.stop()


def test_two_resets_in_a_row_end_done_both(system: System, tmp_path: Path) -> None:
    db = tmp_path / "sink.sqlite"
    p = system.pipeline(program(sqlite_connector(db)))
    p.send("t", *(row(i) for i in range(2000)))
    damage(db)
    tokens = [p.reset("m", "db").json()["token"] for _ in range(2)]
    states = [p.wait_reset(t)["status"] for t in tokens]

    assert states == ["complete", "complete"]
    assert rows(db) == expected(p)
    p.stop()


def test_of_two_connectors_on_one_view_only_the_one_named_is_reset(
    system: System, tmp_path: Path
) -> None:
    one, two = tmp_path / "one.sqlite", tmp_path / "two.sqlite"
    p = system.pipeline(program(sqlite_connector(one, "one"), sqlite_connector(two, "two")))
    p.send("t", *(row(i) for i in range(10)))
    damage(one)
    damage(two)
    broken = rows(two)
    p.reset_and_wait("m", "one")

    assert rows(one) == expected(p)
    assert rows(two) == broken
    p.stop()


def test_buffered_deltas_do_not_come_out_after_the_snapshot(system: System, tmp_path: Path) -> None:
    db = tmp_path / "sink.sqlite"
    buffered = {"enable_output_buffer": True, "max_output_buffer_time_millis": 700}
    p = system.pipeline(program(sqlite_connector(db, **buffered)))
    p.send("t", row(1, "old"), wait=False)
    p.send("t", row(1, "new"), wait=False)
    time.sleep(0.1)
    p.reset_and_wait("m", "db")
    assert rows(db) == [(1, "new1", "1.50")]
    time.sleep(1.0)

    assert rows(db) == [(1, "new1", "1.50")]
    p.stop()


def test_duplicate_rows_of_a_keyless_view_keep_their_number(system: System, tmp_path: Path) -> None:
    db = tmp_path / "sink.sqlite"
    sink = sqlite_connector(db)
    del sink["index"]
    quoted = json.dumps([sink])
    p = system.pipeline(
        "CREATE TABLE t (v VARCHAR); CREATE MATERIALIZED VIEW m WITH ('connectors' = "
        f"'{quoted}') AS SELECT v FROM t;"
    )
    p.send("t", {"v": "a"}, {"v": "a"}, {"v": "a"}, {"v": None}, {"v": None})
    with sqlite3.connect(db) as c:
        c.execute("DELETE FROM m WHERE v = 'a'")
    p.reset_and_wait("m", "db")
    with sqlite3.connect(db) as c:
        found = Counter(c.execute("SELECT v FROM m").fetchall())

    assert found == {("a",): 3, (None,): 2}
    p.stop()


def test_the_statuses_of_the_call(system: System, tmp_path: Path) -> None:
    follow = sqlite_connector(tmp_path / "a.sqlite", "follow")
    follow["send_snapshot"] = False
    p = system.pipeline(program(sqlite_connector(tmp_path / "b.sqlite"), follow))

    ok = p.reset("m", "db")
    assert ok.status_code == 200
    assert set(ok.json()) == {"token", "generation", "guarantee", "step"}
    assert ok.json()["guarantee"] == "atomic"
    refusals = [
        (p.reset("m", "follow"), 400, "NotSupported"),
        (p.reset("m", "nobody"), 404, "UnknownOutputEndpoint"),
        (p.reset("nothing", "db"), 404, "UnknownOutputEndpoint"),
        (p.reset("t", "db"), 404, "UnknownOutputEndpoint"),
        (system.http.post("/pipelines/absent/views/m/connectors/db/reset"), 404,
         "UnknownPipelineName"),
        (p.reset("m", "db", json={"mode": "sideways"}), 400, "InvalidParam"),
    ]  # fmt: skip
    for answer, status, code in refusals:
        assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
        assert set(answer.json()) == {"message", "error_code", "details"}
    # names fold as SQL identifiers do
    assert p.reset("M", "db").status_code == 200
    p.stop()
    stopped = p.reset("m", "db")
    assert stopped.status_code == 503
    assert stopped.json()["error_code"] == "PipelineInteractionNotDeployed"


def test_a_view_that_is_not_materialized_cannot_promise_snapshots(
    system: System, tmp_path: Path
) -> None:
    plain = sqlite_connector(tmp_path / "a.sqlite")
    plain["send_snapshot"] = False
    p = system.pipeline(program(plain, view="VIEW"))
    answer = p.reset("m", "db")

    assert answer.status_code == 400
    assert answer.json()["error_code"] == "NotSupported"
    assert "MATERIALIZED" in answer.json()["message"]
    p.stop()


def test_a_target_that_is_anothers_is_refused_and_untouched(system: System, tmp_path: Path) -> None:
    db = tmp_path / "sink.sqlite"
    owner = system.pipeline(program(sqlite_connector(db)))
    owner.send("t", row(1))
    owner.stop()
    thief = system.pipeline(program(sqlite_connector(db)))
    answer = thief.reset("m", "db")

    assert answer.status_code == 400, answer.text
    assert answer.json()["error_code"] == "NotSupported"
    assert rows(db) == [(1, "v1", "1.50")]
    thief.stop()


def test_an_unnamed_connector_is_reset_by_its_position(system: System, tmp_path: Path) -> None:
    db = tmp_path / "sink.sqlite"
    sink = sqlite_connector(db)
    del sink["name"]
    p = system.pipeline(program(sink))
    p.send("t", row(1))
    damage(db)
    p.reset_and_wait("m", "unnamed-0")

    assert rows(db) == expected(p)
    p.stop()


def test_a_reset_token_is_answered_after_a_restart_of_the_pipeline(
    system: System, tmp_path: Path
) -> None:
    db = tmp_path / "sink.sqlite"
    p = system.pipeline(program(sqlite_connector(db)))
    token = p.reset("m", "db").json()["token"]
    p.wait_reset(token)
    p.stop()
    p.start()

    assert p.get("/reset_status", params={"token": token}).json()["status"] == "complete"
    unknown = p.get("/reset_status", params={"token": "0" * 32})
    assert (unknown.status_code, unknown.json()["error_code"]) == (410, "PipelineRestarted")
    for garbage in ("nobody-knows", "", token[:-1], token + "0"):
        never = p.get("/reset_status", params={"token": garbage})
        assert (never.status_code, never.json()["error_code"]) == (400, "InvalidParam"), garbage
    p.stop()


def test_a_subscriber_to_egress_sees_a_reset_as_one_swap(system: System) -> None:
    p = system.pipeline(program())
    p.send("t", row(1), row(2))
    with EgressReader(system.url, p.name, "m") as reader:
        reader.wait_for_generation(1)
        assert reader.rows().total() == 2
        endpoints = [o["endpoint_name"] for o in p.get("/stats").json()["outputs"]]
        (name,) = [e.split(".", 1)[1] for e in endpoints if e.startswith("m.api-")]
        answer = p.reset("m", name)
        assert answer.status_code == 200, answer.text
        assert answer.json()["guarantee"] == "marked"
        reader.wait_for_generation(answer.json()["generation"])
        p.send("t", row(3))
        deadline = time.monotonic() + 10
        while reader.rows().total() < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert reader.rows().total() == 3
        token = p.send("t", row(4))
        step = p.get("/completion_status", params={"token": token}).json()["step"]
        reader.wait_for_step(step)
        assert reader.rows().total() == 4
    p.stop()


@pytest.mark.parametrize("format", ["json", "csv"])
def test_a_file_is_replaced_and_appended_to(system: System, tmp_path: Path, format: str) -> None:
    out = tmp_path / "out.txt"
    sink = {
        "name": "file",
        "send_snapshot": True,
        "transport": {"name": "file_output", "config": {"path": str(out)}},
        "format": {"name": format},
    }
    p = system.pipeline(program(sink))
    p.send("t", row(1), row(2))
    out.write_text("garbage")
    p.reset_and_wait("m", "file")
    p.send("t", row(3))
    lines = out.read_text().splitlines()

    assert "garbage" not in out.read_text()
    assert len(lines) == 3
    if format == "json":
        assert {json.loads(x)["insert"]["id"] for x in lines} == {1, 2, 3}
    else:
        assert all(x.endswith(",1") for x in lines)
    p.stop()
