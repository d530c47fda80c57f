"""What a reset can be asked beyond the published contract, and audits, over REST (spec reset 6)."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import httpx

from tests.system.conftest import Pipeline, System
from tests.system.test_reset import damage, expected, program, row, rows, sqlite_connector


def file_connector(path: Path, name: str = "file", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "send_snapshot": True,
        "transport": {"name": "file_output", "config": {"path": str(path)}},
        "format": {"name": "csv"},
        **more,
    }


def audit(p: Pipeline, connector: str, **body: Any) -> httpx.Response:
    return p.post(f"/views/m/connectors/{connector}/audit", json=body or None)


def cancel(p: Pipeline, connector: str) -> httpx.Response:
    return p.system.http.delete(f"{p.path}/views/m/connectors/{connector}/reset")


def test_an_audit_tells_what_differs_and_a_reset_in_either_mode_mends_it(
    system: System, tmp_path: Path
) -> None:
    db, out = tmp_path / "sink.sqlite", tmp_path / "out.csv"
    p = system.pipeline(program(sqlite_connector(db), file_connector(out)))
    p.send("t", *(row(i) for i in range(12)))
    assert audit(p, "db").json()["equal"] and audit(p, "file").json()["equal"]
    damage(db)
    out.write_text(out.read_text().replace("v5", "oops") + "what is this")
    broken = rows(db)
    found = audit(p, "db", sample=2).json()

    # 0, 2 … 10 were deleted, of what is left 3 and 9 changed; -1 came
    assert (found["missing"], found["different"], found["extra"]) == (6, 2, 1)
    assert found["view"]["rows"] == 12 and found["target"]["rows"] == 7
    assert len(found["missing_rows"]) == 2
    assert found["extra_rows"] == [{"id": "-1", "v": "'invented'", "n": "NULL"}]
    assert {d["target"]["v"] for d in found["different_rows"]} == {"'damaged'"}
    assert rows(db) == broken
    in_file = audit(p, "file").json()
    assert (in_file["missing"], in_file["extra"]) == (1, 2)
    assert {"record": "what is this"} in in_file["extra_rows"]

    token = p.reset("m", "db", json={"mode": "diff"}).json()["token"]
    assert p.wait_reset(token)["mode"] == "diff"
    p.reset_and_wait("m", "file")
    assert audit(p, "db").json()["equal"] and audit(p, "file").json()["equal"]
    assert rows(db) == expected(p)
    refused = p.reset("m", "file", json={"mode": "diff"})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "NotSupported")
    assert "m.file" in refused.json()["message"]
    p.stop()


def test_a_dry_run_tells_the_plan_and_touches_nothing(system: System, tmp_path: Path) -> None:
    db = tmp_path / "sink.sqlite"
    follow = sqlite_connector(tmp_path / "f.sqlite", "follow", send_snapshot=False)
    p = system.pipeline(program(sqlite_connector(db), follow))
    p.send("t", *(row(i) for i in range(100)))
    damage(db)
    before, bytes_before = rows(db), db.read_bytes()
    plan = p.reset("m", "db", json={"dry_run": True})

    assert plan.status_code == 200, plan.text
    told = plan.json()
    assert told["dry_run"] is True and told["guarantee"] == "atomic"
    assert told["rows"] == 100 and told["mode"] == "replace" and told["reachable"] is True
    assert 100 * 4 < told["bytes"] < 100 * 100
    assert any(str(db) in privilege for privilege in told["privileges"])
    assert rows(db) == before and db.read_bytes() == bytes_before
    stats = p.get("/views/m/connectors/db/stats").json()
    assert stats["delivery"]["generation"] == 1 and stats["delivery"]["resets"] == 0
    assert p.reset("m", "follow", json={"dry_run": True}).status_code == 400
    p.stop()


def test_a_call_that_is_repeated_under_its_name_is_one_reset(
    system: System, tmp_path: Path
) -> None:
    p = system.pipeline(program(sqlite_connector(tmp_path / "sink.sqlite")))
    p.send("t", *(row(i) for i in range(20)))
    answers = [p.reset("m", "db", json={"reset_id": "monday"}).json() for _ in range(3)]
    status = p.wait_reset(answers[0]["token"])
    late = p.reset("m", "db", json={"reset_id": "monday"}).json()

    assert len({a["token"] for a in (*answers, late)}) == 1
    assert status["reset_id"] == "monday"
    # what it took is known when it is done as well as under way
    assert status["attempt"] == 1 and status["bytes"] > 20 and status["rows_staged"] == 20
    assert p.get("/views/m/connectors/db/stats").json()["delivery"]["generation"] == 2
    for bad in ({"reset_id": ""}, {"dry_run": 1}, {"mode": 7}, {"else": 1}):
        refused = p.reset("m", "db", json=bad)
        assert (refused.status_code, refused.json()["error_code"]) == (400, "InvalidParam")
    p.stop()


def test_a_reset_whose_sink_is_away_can_be_called_off_and_nothing_is_lost(
    system: System, tmp_path: Path
) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    db = folder / "sink.sqlite"
    p = system.pipeline(program(sqlite_connector(db)))
    p.send("t", row(1), row(2))
    assert cancel(p, "db").json()["error_code"] == "NoResetInProgress"
    writer = sqlite3.connect(db, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")  # somebody holds the database
    token = p.reset("m", "db").json()["token"]
    p.send("t", row(3), wait=False)
    answer = cancel(p, "db")
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "token": token, "generation": 2, "phase": "cancelled", "follows": True,
    }  # fmt: skip
    writer.execute("ROLLBACK")
    writer.close()
    p.send("t", row(4))

    assert p.get("/reset_status", params={"token": token}).json()["status"] == "cancelled"
    assert rows(db) == expected(p) and len(rows(db)) == 4
    assert cancel(p, "db").status_code == 409
    assert cancel(p, "nobody").status_code == 404
    p.stop()


def test_a_group_reset_cuts_its_connectors_at_one_step(system: System, tmp_path: Path) -> None:
    one, two, out = tmp_path / "1.sqlite", tmp_path / "2.sqlite", tmp_path / "out.csv"
    p = system.pipeline(
        program(sqlite_connector(one, "one"), sqlite_connector(two, "two"), file_connector(out))
    )
    p.send("t", *(row(i) for i in range(300)))
    damage(one)
    damage(two)
    out.write_text("garbage")
    names = ["m.one", "m.two", "m.file"]
    # views fold as SQL identifiers do, as they do in paths
    answer = p.post("/reset", json={"connectors": ["M.one", '"m".two', "m.file"]})
    for i in range(300, 330):
        p.send("t", row(i), wait=False)
    assert answer.status_code == 200, answer.text
    done = [p.wait_reset(r["token"]) for r in answer.json()["resets"]]
    p.send("t", row(999))

    assert len({d["step"] for d in done}) == 1
    assert rows(one) == rows(two) == expected(p)
    assert all(audit(p, n.split(".")[1]).json()["equal"] for n in names)
    plan = p.post("/reset", json={"connectors": names[:2], "dry_run": True, "mode": "diff"}).json()
    assert [r["connector"] for r in plan["resets"]] == ["one", "two"]
    # all or none: the file cannot be reset in mode diff, so the others are not reset either
    refused = p.post("/reset", json={"connectors": names, "mode": "diff"})
    assert refused.status_code == 400
    assert p.get("/views/m/connectors/one/stats").json()["delivery"]["generation"] == 2
    for bad in ([], ["m"], ["m.one", "m.one"], ["m.one", "M.one"], "m.one", [1]):
        assert p.post("/reset", json={"connectors": bad}).json()["error_code"] == "InvalidParam"
    missing = p.post("/reset", json={"connectors": ["m.absent"]})
    assert (missing.status_code, missing.json()["error_code"]) == (404, "UnknownOutputEndpoint")
    p.stop()


def test_what_cannot_be_audited_says_so(system: System, tmp_path: Path) -> None:
    array = file_connector(tmp_path / "a.json", format={"name": "json", "config": {"array": True}})
    null = {"name": "null", "transport": {"name": "null_output"}}
    p = system.pipeline(program(array, null))
    p.send("t", row(1))
    for name in ("file", "null"):
        answer = audit(p, name)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "NotSupported")
        assert f"'{name}'" in answer.json()["message"]
    assert audit(p, "nobody").status_code == 404
    assert audit(p, "null", sample=-1).json()["error_code"] == "InvalidParam"
    p.stop()


def test_statuses_of_names_that_json_escapes(system: System, tmp_path: Path) -> None:
    """A reset_id may be any text."""
    p = system.pipeline(program(sqlite_connector(tmp_path / "sink.sqlite")))
    name = 'Ω "quoted" \n'
    token = p.reset("m", "db", content=json.dumps({"reset_id": name})).json()["token"]
    assert p.wait_reset(token)["reset_id"] == name
    p.stop()
