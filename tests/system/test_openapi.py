"""Every answer has the shape that the published OpenAPI document says (contract 0.1, trap 8)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.openapi import DOCUMENT, check_body, check_component
from tests.system.conftest import Pipeline, System

PROGRAM = """
CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR);
CREATE MATERIALIZED VIEW m WITH ('connectors' = '[{"name": "c", "send_snapshot": true,
    "transport": {"name": "null_output"}}, {"name": "own", "index": "by_id",
    "transport": {"name": "sqlite_output", "config": {"path": "PATH", "table": "m"}}}]')
    AS SELECT * FROM t;
CREATE INDEX by_id ON m (id);
"""


def check(method: str, path: str, status: int, body: Any) -> None:
    """Raise if `body` is not what the document says of this answer."""
    answers = DOCUMENT["paths"][path][method]["responses"]
    assert str(status) in answers, f"{method} {path} may not answer {status}"
    content = answers[str(status)].get("content", {}).get("application/json")
    if content is None or "schema" not in content:
        return
    check_body(content["schema"], body)


@pytest.fixture(scope="module")
def running(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    path = tmp_path_factory.mktemp("own") / "m.sqlite"
    p = system.pipeline(PROGRAM.replace("PATH", str(path)))
    p.send("t", {"id": 1, "v": "a"})
    yield p
    p.stop()


P = "/v0/pipelines/{pipeline_name}"
GETS = [
    ("/v0/config", ""),
    ("/v0/config/session", ""),
    ("/v0/config/demos", ""),
    ("/v0/api_keys", ""),
    ("/v0/cluster_healthz", ""),
    ("/v0/pipelines", ""),
    ("/v0/pipelines", "?selector=status"),
    (P, ""),
    (P, "?selector=status"),
    (f"{P}/stats", ""),
    # not time_series: its times are numbers, whatever the document says (contract 6.3)
    (f"{P}/events", ""),
    (f"{P}/dataflow_graph", ""),
    (f"{P}/completion_status", "?token={token}"),
    (f"{P}/tables/{{table_name}}/connectors/{{connector_name}}/stats", ""),
    (f"{P}/views/{{view_name}}/connectors/{{connector_name}}/stats", ""),
]


@pytest.mark.parametrize(("path", "query"), GETS)
def test_a_running_pipeline_answers_as_published(
    system: System, running: Pipeline, path: str, query: str
) -> None:
    token = running.send("t", {"id": 2, "v": "b"})
    inputs = running.get("/stats").json()["inputs"]
    names = {
        "pipeline_name": running.name, "table_name": "t", "view_name": "m", "token": token,
        "connector_name": inputs[0]["endpoint_name"].split(".", 1)[1] if "tables" in path else "c",
    }  # fmt: skip
    answer = system.http.get((path.removeprefix("/v0") + query).format(**names))

    assert answer.status_code == 200, answer.text
    body = answer.json()
    if path == "/v0/pipelines":
        # other tests leave pipelines whose connectors say more than the document knows
        body = [p for p in body if p["name"] == running.name]
        assert len(body) == 1
    check("get", path, 200, body)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("get", P, 404),
        ("get", f"{P}/stats", 404),
        ("post", f"{P}/start", 404),
        ("post", f"{P}/ingress/{{table_name}}", 404),
        ("post", f"{P}/views/{{view_name}}/connectors/{{connector_name}}/reset", 404),
    ],
)
def test_refusals_have_the_published_body(
    system: System, method: str, path: str, status: int
) -> None:
    names = {"pipeline_name": "nobody", "table_name": "t", "view_name": "v", "connector_name": "c"}
    answer = system.http.request(method, path.removeprefix("/v0").format(**names))

    assert answer.status_code == status
    check(method, path, status, answer.json())
    assert set(answer.json()) == {"message", "error_code", "details"}


def test_creating_replacing_and_editing_answer_the_whole_object(system: System) -> None:
    body = {"name": "shape", "program_code": "CREATE TABLE t (a INT);"}
    created = system.http.post("/pipelines", json=body)
    check("post", "/v0/pipelines", created.status_code, created.json())
    assert created.status_code == 201
    replaced = system.http.put("/pipelines/shape", json={**body, "description": "x"})
    check("put", P, replaced.status_code, replaced.json())
    assert replaced.status_code == 200
    edited = system.http.patch("/pipelines/shape", json={"tags": ["a"]})
    check("patch", P, edited.status_code, edited.json())
    assert edited.json()["version"] == 1, "tags and description are no core edits"
    again = system.http.post("/pipelines", json=body)
    assert (again.status_code, again.json()["error_code"]) == (409, "DuplicateName")
    assert system.http.delete("/pipelines/shape").status_code == 200


def test_programs_are_validated_without_a_pipeline(system: System) -> None:
    for program in ("CREATE TABLE t (a INT);", "CREATE TABLE t (a INT"):
        answer = system.http.post("/validate_program", json={"program_code": program})
        assert answer.status_code == 200
        check("post", "/v0/validate_program", 200, answer.json())
    # what it defines elsewhere is no part of the question: the answer says what that must be
    program = "CREATE FUNCTION f(x INT) RETURNS INT; CREATE VIEW v AS SELECT f(1) AS y;"
    answer = system.http.post("/validate_program", json={"program_code": program}).json()
    info = answer["Success"]["program_info"]
    assert "def f(x):" in info["udf_stubs"] and "dataflow" not in info
    for wrong in ({}, {"program_code": 1}, {"ir": "yes"}, {"runtime_version": 5}):
        body = {"program_code": "", **wrong} if wrong else wrong
        answer = system.http.post("/validate_program", json=body)
        assert answer.status_code == 400, wrong
        check("post", "/v0/validate_program", 400, answer.json())


def test_a_validated_program_is_told_with_its_warnings_and_if_asked_with_its_dataflow(
    system: System,
) -> None:
    program = (
        "CREATE TABLE t (a INT, b INT); CREATE FUNCTION f(x INT) RETURNS INT;"
        "CREATE VIEW v AS SELECT f(a) AS y FROM t WHERE a > 10;"
    )
    body = {"program_code": program, "ir": True, "runtime_version": "v0.337.0"}
    answer = system.http.post("/validate_program", json=body).json()
    check_component("ProgramInfo", answer["Success"]["program_info"])
    assert set(answer["Success"]["program_info"]["dataflow"]["mir"]) >= {"t", "v"}
    check_component("SqlCompilationInfo", answer["Success"]["info"])
    (warning,) = answer["Success"]["info"]["messages"]
    assert warning["warning"] and "column b of table t" in warning["message"]
    refused = system.http.post("/validate_program", json={**body, "runtime_version": "newest"})
    assert (refused.status_code, refused.json()["error_code"]) == (400, "InvalidRuntimeVersion")


def test_texts_and_bytes_have_exactly_the_content_types_that_clients_compare(
    running: Pipeline,
) -> None:
    kinds = {
        "text": "text/plain", "hash": "text/plain", "json": "application/json",
        "arrow_ipc": "application/octet-stream", "parquet": "application/octet-stream",
    }  # fmt: skip
    for format, kind in kinds.items():
        answer = running.get("/query", params={"sql": "SELECT * FROM m", "format": format})
        assert answer.headers["content-type"] == kind, format
    metrics = running.get("/metrics")
    assert metrics.headers["content-type"] == "text/plain"
    assert f'pipeline_name="{running.name}"' in metrics.text


def _properties(schema: Any) -> dict[str, Any]:
    """What the document says that an object has, whatever it is put together from."""
    if "$ref" in schema:
        return _properties(DOCUMENT["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    found = dict(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        found |= _properties(part)
    return found


def test_statistics_have_every_field_that_is_published(running: Pipeline) -> None:
    stats = running.get("/stats", params={"include_connector_errors": "true"}).json()
    whole = _properties({"$ref": "#/components/schemas/ControllerStatus"})
    ends = {side: _properties(whole[side]["items"]) for side in ("inputs", "outputs")}
    pairs = [("stats", whole, stats)]
    pairs.append(("global_metrics", _properties(whole["global_metrics"]), stats["global_metrics"]))
    for side, published in ends.items():
        for found in stats[side]:
            pairs.append((side, published, found))
            pairs.append((f"{side} metrics", _properties(published["metrics"]), found["metrics"]))
    missing = {
        (name, key) for name, published, found in pairs for key in set(published) - set(found)
    }
    assert all(published for _, published, _ in pairs)
    assert missing == set()
