"""Bad input: a clear error with its code, the good rows kept, nothing else lost."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.system.conftest import Pipeline, System

PROGRAM = """
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, small TINYINT, d DECIMAL(5, 2), at TIMESTAMP,
                name VARCHAR NOT NULL);
CREATE MATERIALIZED VIEW m AS SELECT * FROM t;
CREATE TABLE numbers (x INT);
CREATE MATERIALIZED VIEW shares AS SELECT x, 100 / x AS share FROM numbers;
"""


@pytest.fixture(scope="module")
def pipeline(system: System) -> Any:
    p = system.pipeline(PROGRAM)
    yield p
    p.stop()


def ids(p: Pipeline) -> list[int]:
    return [r["id"] for r in p.query("SELECT id FROM m ORDER BY id")]


def wait_ids(p: Pipeline, expected: list[int]) -> None:
    deadline = time.monotonic() + 10
    while ids(p) != expected:
        assert time.monotonic() < deadline, ids(p)
        time.sleep(0.02)


BAD_ROWS = {
    "malformed JSON": ('{"id": 2, "name": ', None),
    "a missing NOT NULL column": ('{"id": 2}', "name"),
    "NULL for NOT NULL": ('{"id": 2, "name": null}', "name"),
    "a number out of range": ('{"id": 2, "small": 300, "name": "b"}', "small"),
    "a wrong type": ('{"id": 2, "small": "many", "name": "b"}', "small"),
    "too many digits": ('{"id": 2, "d": 123456.78, "name": "b"}', "d"),
    "no such day": ('{"id": 2, "at": "2024-02-30 00:00:00", "name": "b"}', "at"),
    "not an object": ("17", None),
}


@pytest.mark.parametrize("what", BAD_ROWS)
def test_a_bad_row_is_named_and_the_good_ones_are_kept(pipeline: Pipeline, what: str) -> None:
    bad, field = BAD_ROWS[what]
    good = ['{"id": 1, "name": "a"}', '{"id": 3, "name": "c"}']
    # a broken value cannot be told from what follows it, so it comes last
    lines = [*good, bad] if what == "malformed JSON" else [good[0], bad, good[1]]
    number = lines.index(bad) + 1
    answer = pipeline.post(
        "/ingress/t", params={"format": "json", "update_format": "raw"}, content="\n".join(lines)
    )

    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert body["error_code"] == "ParseErrors"
    assert body["details"]["num_errors"] == 1
    (error,) = body["details"]["errors"]
    assert error["event_number"] == number and error["field"] == field
    assert set(error) == {
        "description", "event_number", "field", "invalid_bytes", "invalid_text", "suggestion",
        "tag",
    }  # fmt: skip
    wait_ids(pipeline, [1, 3])


def test_an_array_with_one_bad_element_is_dropped_whole(pipeline: Pipeline) -> None:
    params = {"format": "json", "update_format": "raw", "array": "true"}
    data = '[{"id": 50, "name": "x"}, {"id": "y", "name": "z"}]\n[{"id": 51, "name": "w"}]'
    answer = pipeline.post("/ingress/t", params=params, content=data)

    assert answer.status_code == 400
    wait_ids(pipeline, [1, 3, 51])
    delete = {"delete": {"id": 51}}
    pipeline.send("t", delete, update_format="insert_delete")


def test_csv_rows_fail_one_by_one(pipeline: Pipeline) -> None:
    data = "10,1,1.50,2024-01-01 00:00:00,ok\n11,999,1,,bad\n12,,,,fine\n"
    answer = pipeline.post("/ingress/t", params={"format": "csv"}, content=data)

    assert answer.status_code == 400
    (error,) = answer.json()["details"]["errors"]
    assert error["event_number"] == 2 and error["field"] == "small"
    wait_ids(pipeline, [1, 3, 10, 12])


def test_unknown_columns_are_ignored_and_missing_ones_are_null(pipeline: Pipeline) -> None:
    pipeline.send("t", {"id": 20, "name": "x", "nobody": "knows"})
    (row,) = pipeline.query("SELECT * FROM m WHERE id = 20")
    assert row == {"id": 20, "small": None, "d": None, "at": None, "name": "x"}


@pytest.mark.parametrize(
    ("path", "params", "status", "code"),
    [
        ("/ingress/nothing", {"format": "json"}, 404, "ConfigError.UnknownInputStream"),
        ("/ingress/t", {"format": "morse"}, 400, "ConfigError.UnknownInputFormat"),
        ("/ingress/t", {"format": "json", "update_format": "?"}, 400, None),
        ("/ingress/t", {"format": "json", "tempo": "1"}, 400, "ConfigError.ParserConfigParseError"),
        ("/egress/nothing", {"format": "json"}, 404, "ConfigError.UnknownOutputStream"),
        ("/egress/m", {"format": "morse"}, 400, "ConfigError.UnknownOutputFormat"),
    ],
)
def test_what_does_not_exist_is_named(
    pipeline: Pipeline, path: str, params: dict[str, str], status: int, code: str | None
) -> None:
    body = "{}" if path.startswith("/ingress") else ""
    answer = pipeline.post(path, params=params, content=body)
    assert answer.status_code == status, answer.text
    assert code is None or answer.json()["error_code"] == code


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT nothing FROM m", "nothing"),
        ("SELECT * FROM numbers", "materialized"),
        ("DROP TABLE m", "not allowed"),
        ("SELECT * FROM read_csv('/etc/passwd')", ""),
        ("INSERT INTO t (id) VALUES (1)", "NOT NULL"),
        ("INSERT INTO t (id, name) VALUES ('abc', 'x')", "id"),
        ("INSERT INTO nothing VALUES (1)", "nothing"),
    ],
)
def test_a_bad_query_answers_before_the_first_byte(pipeline: Pipeline, sql: str, says: str) -> None:
    answer = pipeline.get("/query", params={"sql": sql, "format": "json"})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error_code"] == "AdHocQueryError"
    assert says in answer.json()["message"]


def test_rows_can_be_inserted_by_a_query(pipeline: Pipeline) -> None:
    assert pipeline.query("INSERT INTO t (id, name) VALUES (30, 'q'), (31, 'r')") == [{"count": 2}]
    deadline = time.monotonic() + 10
    while not {30, 31} <= set(ids(pipeline)):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_with_mistakes_reports_all_of_them_with_their_places(system: System) -> None:
    program = (
        "CREATE TABLE t (a INT);\n"
        "CREATE VIEW v AS SELECT b FROM t;\n"
        "CREATE VIEW w AS SELECT a FROM u;"
    )
    body = {"name": "mistakes", "program_code": program}
    assert system.http.put("/pipelines/mistakes", json=body).status_code == 201
    deadline = time.monotonic() + 10
    while True:
        p = system.http.get("/pipelines/mistakes").json()
        if p["program_status"] == "SqlError":
            break
        assert time.monotonic() < deadline, p["program_status"]
        time.sleep(0.02)
    messages = p["program_error"]["sql_compilation"]["messages"]
    places = [(m["start_line_number"], m["start_column"]) for m in messages]
    assert places == [(2, 25), (3, 32)]
    assert all(m["snippet"] and m["error_type"] for m in messages)
    refused = system.http.post("/pipelines/mistakes/start")
    assert refused.status_code == 400
    assert refused.json()["error_code"] == "CannotStartWithCompilationError"
    assert system.http.delete("/pipelines/mistakes").status_code == 200


@pytest.mark.parametrize(
    ("connector", "where", "says"),
    [
        ({"transport": {"name": "pigeon_output"}}, "program", "pigeon_output"),
        ({"transport": {"name": "sqlite_output", "config": {"table": "m"}}}, "program", "path"),
        (
            {"transport": {"name": "sqlite_output",
                           "config": {"path": "x", "table": "m", "journal_mode": "odd"}}},
            "start", "connector 'm.c': sqlite_output: option 'journal_mode'",
        ),
        (
            {"transport": {"name": "file_output", "config": {"path": "x"}},
             "format": {"name": "morse"}},
            "program", "morse",
        ),
        (
            {"transport": {"name": "null_output"}, "index": "nobody"}, "program", "nobody",
        ),
    ],
)  # fmt: skip
def test_a_connector_that_cannot_work_is_refused_by_name(
    system: System, connector: dict[str, Any], where: str, says: str
) -> None:
    program = (
        "CREATE TABLE t (a INT); CREATE MATERIALIZED VIEW m WITH ('connectors' = "
        f"'{json.dumps([{'name': 'c', **connector}])}') AS SELECT * FROM t;"
    )
    name = "refused"
    system.http.put(f"/pipelines/{name}", json={"name": name, "program_code": program})
    system.http.post(f"/pipelines/{name}/start")
    deadline = time.monotonic() + 10
    while True:
        p = system.http.get(f"/pipelines/{name}").json()
        failed = p["program_status"] == "SqlError" or (
            p["deployment_error"] and p["deployment_status"] == "Stopped"
        )
        if failed:
            break
        assert time.monotonic() < deadline, p
        time.sleep(0.02)
    text = json.dumps(p["program_error"] if where == "program" else p["deployment_error"])
    assert says in text
    system.http.post(f"/pipelines/{name}/stop", params={"force": "true"})
    system.http.post(f"/pipelines/{name}/dismiss_error")
    system.http.post(f"/pipelines/{name}/clear")
    time.sleep(0.2)
    assert system.http.delete(f"/pipelines/{name}").status_code == 200


def test_a_sink_that_cannot_be_opened_says_so_and_the_rest_goes_on(
    system: System, tmp_path: Path
) -> None:
    def sink(name: str, folder: Path) -> dict[str, Any]:
        config = {"path": str(folder / "x.sqlite"), "table": "m"}
        return {
            "name": name, "send_snapshot": True,
            "transport": {"name": "sqlite_output", "config": config},
        }  # fmt: skip

    sinks = json.dumps([sink("bad", tmp_path / "missing"), sink("good", tmp_path)])
    p = system.pipeline(
        f"CREATE TABLE t (a INT); CREATE MATERIALIZED VIEW m WITH ('connectors' = '{sinks}') AS "
        "SELECT * FROM t;"
    )
    p.send("t", {"a": 1}, wait=False)
    deadline = time.monotonic() + 10
    while True:
        bad = p.get("/views/m/connectors/bad/stats").json()
        good = p.get("/views/m/connectors/good/stats").json()
        if bad["fatal_error"] and good["metrics"]["transmitted_records"] == 1:
            break
        assert time.monotonic() < deadline, (bad, good)
        time.sleep(0.02)
    assert "does not exist" in bad["fatal_error"]
    assert bad["health"]["status"] == "Unhealthy" and bad["transport_errors"]
    assert p.reset("m", "bad").status_code == 400
    (tmp_path / "missing").mkdir()
    assert p.reset_and_wait("m", "bad")["status"] == "complete"
    p.stop()


def test_a_row_that_fails_in_a_view_stops_the_pipeline_and_is_named(system: System) -> None:
    p = system.pipeline(PROGRAM)
    p.send("numbers", {"x": 4})
    p.send("numbers", {"x": 0}, wait=False)
    stopped = p.wait("deployment_status", "Stopped")
    error = stopped["deployment_error"]
    assert "shares" in error["message"] and "100 / x" in error["message"]
    assert "division by zero" in error["message"].lower()
    assert stopped["storage_status"] == "InUse"
    again = system.http.post(f"{p.path}/start", params={"dismiss_error": "false"})
    assert again.json()["error_code"] == "CannotStartWithUndismissedError"
