"""The pipelines resource: what is accepted, what moves a version, what may be edited when."""

from __future__ import annotations

from typing import Any

import pytest

from tests.http.conftest import code, created, forget, wait_until
from tests.system.conftest import System

PROGRAM = "CREATE TABLE t (a INT);"


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"name": ""}, "EmptyName"),
        ({"name": "x" * 64}, "TooLongName"),
        ({"name": "a b"}, "NameDoesNotMatchPattern"),
        ({"name": "ends-"}, "NameDoesNotMatchPattern"),
        ({"name": 7}, "InvalidParam"),
        ({"program_code": None}, "InvalidParam"),
        ({"program_code": ["SELECT"]}, "InvalidParam"),
        ({"description": "x" * 301}, "TooLongDescription"),
        ({"tags": ["x"] * 51}, "TooManyTags"),
        ({"tags": [""]}, "InvalidTag"),
        ({"tags": ["semi;colon"]}, "InvalidTag"),
        ({"tags": "one"}, "InvalidTag"),
        ({"runtime_config": {"workers": 0}}, "InvalidRuntimeConfig"),
        ({"runtime_config": {"workers": "many"}}, "InvalidRuntimeConfig"),
        ({"runtime_config": {"wrokers": 2}}, "InvalidRuntimeConfig"),
        ({"runtime_config": []}, "InvalidRuntimeConfig"),
        ({"runtime_config": {"env": {"RUST_LOG": "x"}}}, "InvalidRuntimeConfig"),
        ({"runtime_config": {"clock_timezone_offset": "5"}}, "InvalidRuntimeConfig"),
        ({"runtime_config": {"max_rss": "1G", "max_rss_mb": 5}}, "InvalidRuntimeConfig"),
        ({"runtime_config": {"storage": {"compression": "zip"}}}, "InvalidRuntimeConfig"),
        ({"program_config": {"profile": "fast"}}, "InvalidProgramConfig"),
    ],
)
def test_what_cannot_be_a_pipeline_is_refused_and_leaves_nothing(
    system: System, changed: dict[str, Any], expected: str
) -> None:
    body = {"name": "refused", "program_code": PROGRAM, **changed}
    assert code(system.http.post("/pipelines", json=body), 400) == expected
    assert system.http.get("/pipelines/refused").status_code == 404


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b"\xff", b'"x"'])
def test_a_body_that_is_no_object_is_refused(system: System, body: bytes) -> None:
    answer = system.http.post("/pipelines", content=body)
    assert code(answer, 400)


def test_a_new_pipeline_is_stored_with_all_its_defaults(system: System) -> None:
    p = created(system, "fresh", PROGRAM, runtime_config={"workers": 3, "max_rss": "16Gi"})
    assert (p["version"], p["program_version"]) == (1, 1)
    assert (p["description"], p["tags"], p["udf_rust"], p["udf_toml"]) == ("", [], "", "")
    config = p["runtime_config"]
    assert (config["workers"], config["hosts"], config["clock_resolution_usecs"]) == (3, 1, 10**6)
    assert config["storage"]["backend"] == {"name": "default"}
    assert config["fault_tolerance"] == {"model": "none", "checkpoint_interval_secs": 60}
    assert p["storage_status"] == "Cleared" and p["deployment_status"] == "Stopped"
    assert p["deployment_error"] is None and p["deployment_id"] is None
    done = wait_until(lambda: compiled(system, "fresh"))
    assert done["refresh_version"] > p["refresh_version"] and done["version"] == 1
    (table,) = done["program_info"]["schema"]["inputs"]
    assert table["name"] == "t" and table["fields"][0]["columntype"]["type"] == "INTEGER"
    # what was read can be written back: nothing changes
    again = system.http.patch("/pipelines/fresh", json=done)
    assert again.status_code == 200 and again.json()["version"] == 1
    assert again.json()["refresh_version"] == done["refresh_version"]
    forget(system, "fresh")


def compiled(system: System, name: str) -> dict[str, Any] | None:
    p: dict[str, Any] = system.http.get(f"/pipelines/{name}").json()
    return p if p["program_status"] in ("Success", "SqlError") else None


def test_selectors_leave_out_what_is_large(system: System) -> None:
    whole = created(system, "selected", PROGRAM)
    gone = {
        "runtime_config", "program_code", "udf_rust", "udf_toml", "program_error", "program_info",
        "deployment_resources_status_details",
    }  # fmt: skip
    status = system.http.get("/pipelines/selected", params={"selector": "status"}).json()
    assert set(whole) - set(status) == gone and "program_config" in status
    listed = system.http.get("/pipelines", params={"selector": "status_with_connectors"})
    assert listed.headers["cache-control"] == "no-cache"
    (one,) = [p for p in listed.json() if p["name"] == "selected"]
    assert set(one) == {*status, "connectors"}
    assert code(system.http.get("/pipelines/selected", params={"selector": "most"}), 400)
    forget(system, "selected")


def test_pipelines_are_listed_in_the_order_of_their_creation(system: System) -> None:
    for name in ("zz", "aa", "mm"):
        created(system, name)
    listed = [p["name"] for p in system.http.get("/pipelines").json()]
    assert [n for n in listed if n in ("zz", "aa", "mm")] == ["zz", "aa", "mm"]
    for name in ("zz", "aa", "mm"):
        forget(system, name)


def test_put_creates_then_replaces_and_omitted_fields_are_defaults_again(system: System) -> None:
    http = system.http
    body = {"name": "put", "program_code": PROGRAM, "description": "d", "tags": ["x"]}
    other = http.put("/pipelines/put", json={**body, "name": "other"})
    assert code(other, 400) == "CannotRenameNonExistingPipeline"
    first = http.put("/pipelines/put", json={**body, "runtime_config": {"workers": 2}})
    assert first.status_code == 201
    wait_until(lambda: compiled(system, "put"))
    second = http.put("/pipelines/put", json={"name": "put", "program_code": PROGRAM})
    assert second.status_code == 200 and second.json()["id"] == first.json()["id"]
    p = second.json()
    assert (p["description"], p["tags"], p["runtime_config"]["workers"]) == ("", [], 8)
    assert (p["version"], p["program_version"], p["program_status"]) == (2, 1, "Success")
    renamed = http.put("/pipelines/put", json={"name": "renamed", "program_code": PROGRAM})
    assert renamed.status_code == 200 and http.get("/pipelines/put").status_code == 404
    assert http.get("/pipelines/renamed").json()["id"] == p["id"]
    forget(system, "renamed")


def test_versions_move_with_what_changed_and_not_otherwise(system: System) -> None:
    created(system, "versions", PROGRAM)
    wait_until(lambda: compiled(system, "versions"))

    def patch(**fields: Any) -> tuple[int, int]:
        answer = system.http.patch("/pipelines/versions", json=fields)
        assert answer.status_code == 200, answer.text
        return answer.json()["version"], answer.json()["program_version"]

    assert patch() == (1, 1)
    assert patch(program_code=PROGRAM, udf_rust=None) == (1, 1)
    assert patch(description="told", tags=["a b"]) == (1, 1)
    assert patch(runtime_config={"workers": 4}) == (2, 1)
    assert patch(runtime_config={"workers": 4}) == (2, 1)
    assert patch(runtime_config={}) == (3, 1), "an object replaces the whole old one"
    assert patch(program_code=PROGRAM + " ") == (4, 2)
    assert patch(program_config={"profile": "dev"}) == (5, 3)
    assert code(system.http.patch("/pipelines/nobody", json={}), 404) == "UnknownPipelineName"
    wait_until(lambda: compiled(system, "versions"))
    forget(system, "versions")


def test_names_are_unique(system: System) -> None:
    created(system, "one")
    created(system, "two")
    again = system.http.post("/pipelines", json={"name": "one", "program_code": ""})
    assert code(again, 409) == "DuplicateName"
    renamed = system.http.patch("/pipelines/two", json={"name": "one"})
    assert code(renamed, 409) == "DuplicateName"
    assert system.http.get("/pipelines/two").json()["name"] == "two"
    forget(system, "one")
    forget(system, "two")


def test_a_deleted_pipeline_is_gone_in_every_way(system: System) -> None:
    created(system, "doomed", PROGRAM)
    deleted = system.http.delete("/pipelines/doomed")
    assert (deleted.status_code, deleted.content) == (200, b"")
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("POST", "/start"), ("GET", "/stats"), ("GET", "/logs"),
        ("GET", "/events"), ("POST", "/views/v/connectors/c/reset"),
    ):  # fmt: skip
        answer = system.http.request(method, f"/pipelines/doomed{path}")
        assert code(answer, 404) == "UnknownPipelineName"


def test_a_started_pipeline_keeps_its_definition_and_its_storage_ties_some_of_it(
    system: System,
) -> None:
    p = system.pipeline(PROGRAM)
    http, path = system.http, p.path
    core: list[dict[str, Any]] = [
        {"program_code": ""}, {"name": "x"}, {"runtime_config": {"workers": 5}}, {"udf_rust": "x"},
    ]  # fmt: skip
    for change in core:
        assert code(http.patch(path, json=change), 400) == "UpdateRestrictedToStopped"
    assert http.patch(path, json={"description": "running"}).status_code == 200
    assert code(http.delete(path), 400) == "DeleteRestrictedToFullyStopped"
    assert code(p.post("/clear"), 400) == "StorageStatusImmutableUnlessStopped"
    p.stop()
    assert http.get(path).json()["storage_status"] == "InUse"
    assert code(http.delete(path), 400) == "DeleteRestrictedToClearedStorage"
    for change in core[1:3]:
        assert code(http.patch(path, json=change), 400) == "EditRestrictedToClearedStorage"
    edited = http.patch(path, json={"program_code": "CREATE TABLE u (b INT);"})
    assert edited.status_code == 200 and edited.json()["program_status"] == "Pending"
    wait_until(lambda: compiled(system, p.name))
    forget(system, p.name)
