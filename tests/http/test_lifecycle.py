"""The life of a pipeline over REST: every transition, every refusal, every way to fail."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.http.conftest import code, created, forget, wait_until
from tests.system.conftest import System

PROGRAM = (
    "CREATE TABLE t (a INT NOT NULL PRIMARY KEY);"
    " CREATE MATERIALIZED VIEW v AS SELECT 10 / a AS q FROM t;"
)
BAD_PROGRAM = "CREATE VIEW v AS SELECT * FROM nobody;"


@pytest.fixture(scope="module")
def stopped(system: System) -> Iterator[str]:
    """The path of a compiled pipeline that never runs."""
    created(system, "stopped", PROGRAM)
    wait_until(lambda: state(system, "stopped")["program_status"] == "Success")
    yield "/pipelines/stopped"
    forget(system, "stopped")


def state(system: System, name: str) -> dict[str, Any]:
    found: dict[str, Any] = system.http.get(f"/pipelines/{name}").json()
    return found


@pytest.mark.parametrize(
    ("call", "params", "status", "expected"),
    [
        ("start", {"initial": "asleep"}, 405, "UnsupportedPipelineAction"),
        ("start", {"initial": "standby"}, 400, "InitialStandbyNotAllowed"),
        ("start", {"bootstrap_policy": "maybe"}, 400, "InvalidParam"),
        ("start", {"dismiss_error": "perhaps"}, 400, "InvalidParam"),
        (
            "start", {"silent_bootstrap": "true", "concurrent_bootstrap": "true"}, 400,
            "InvalidBootstrapConfig",
        ),
        ("pause", {}, 503, "PipelineInteractionNotDeployed"),
        ("resume", {}, 503, "PipelineInteractionNotDeployed"),
        ("activate", {"initial": "running"}, 503, "PipelineInteractionNotDeployed"),
        ("approve", {}, 503, "PipelineInteractionNotDeployed"),
        ("ingress/t", {}, 503, "PipelineInteractionNotDeployed"),
        ("egress/v", {}, 503, "PipelineInteractionNotDeployed"),
        ("start_transaction", {}, 503, "PipelineInteractionNotDeployed"),
        ("views/v/connectors/c/reset", {}, 503, "PipelineInteractionNotDeployed"),
        ("checkpoint", {}, 503, "PipelineInteractionNotDeployed"),
        ("diff", {}, 400, "BootstrapNotAllowed"),
    ],
)  # fmt: skip
def test_a_stopped_pipeline_says_what_it_cannot_do(
    system: System, stopped: str, call: str, params: dict[str, str], status: int, expected: str
) -> None:
    assert code(system.http.post(f"{stopped}/{call}", params=params), status) == expected
    assert system.http.get(stopped).json()["deployment_desired_status"] == "Stopped"


def test_what_a_program_is_compared_by_must_be_a_version(system: System, stopped: str) -> None:
    for version, expected in (
        ("newest", "InvalidRuntimeVersion"), (5, "InvalidRuntimeVersion"),
        ("v0.337.0", "BootstrapNotAllowed"), (None, "BootstrapNotAllowed"),
    ):  # fmt: skip
        answer = system.http.post(f"{stopped}/diff", json={"runtime_version": version})
        assert code(answer, 400) == expected


@pytest.mark.parametrize("call", ["stats", "metrics", "time_series", "query?sql=SELECT+1"])
def test_a_stopped_pipeline_has_nothing_to_look_at(system: System, stopped: str, call: str) -> None:
    answer = system.http.get(f"{stopped}/{call}")
    assert code(answer, 503) == "PipelineInteractionNotDeployed"


def test_calls_that_change_nothing_are_accepted(system: System, stopped: str) -> None:
    for call, status in (("clear", 202), ("stop", 202), ("stop?force=true", 202)):
        assert system.http.post(f"{stopped}/{call}").status_code == status
    assert system.http.post(f"{stopped}/dismiss_error").status_code == 200
    recompiled = system.http.post(f"{stopped}/update_runtime")
    assert recompiled.status_code == 200 and recompiled.json()["program_version"] == 1


def test_a_pipeline_pauses_resumes_and_stops(system: System) -> None:
    p = system.pipeline(PROGRAM, initial="paused")
    s = state(system, p.name)
    assert (s["deployment_initial"], s["deployment_desired_status"]) == ("Paused", "Paused")
    assert (s["deployment_resources_status"], s["storage_status"]) == ("Provisioned", "InUse")
    assert code(p.post("/start"), 400) == "InitialImmutableUnlessStopped"
    same = p.post("/start", params={"initial": "paused"})
    assert same.status_code == 202 and same.json() == "Pipeline is starting"
    other = {"initial": "paused", "bootstrap_policy": "allow"}
    assert code(p.post("/start", params=other), 400) == "BootstrapPolicyImmutableUnlessStopped"
    assert p.post("/resume").status_code == 202
    p.wait("deployment_status", "Running")
    assert p.post("/resume").status_code == 202
    assert p.post("/pause").status_code == 202
    p.wait("deployment_status", "Paused")
    assert code(p.post("/activate"), 400) == "InvalidActivateStatus"
    assert code(p.post("/approve"), 400) == "BootstrapNotAllowed"
    assert state(system, p.name)["deployment_status"] == "Paused"
    answer = p.post("/stop", params={"force": "true"})
    assert (answer.status_code, answer.json()) == (202, "Pipeline is forcefully stopping")
    s = p.wait("deployment_status", "Stopped")
    assert s["deployment_runtime_status"] is None and s["deployment_id"] is None
    assert s["deployment_error"] is None
    # newest first, and each step of the way is there
    way = [e["deployment_resources_status"] for e in p.get("/events").json()][::-1]
    steps = [s for i, s in enumerate(way) if i == 0 or way[i - 1] != s]
    assert steps == ["Stopped", "Provisioning", "Provisioned", "Stopping", "Stopped"]
    newest = p.get("/events/latest").json()
    assert p.get(f"/events/{newest['event_id']}").json() == newest
    assert code(p.get("/events/nobody"), 404) == "UnknownPipelineMonitorEvent"
    forget(system, p.name)


def test_a_pipeline_started_again_begins_empty_with_a_new_incarnation(system: System) -> None:
    p = system.pipeline(PROGRAM)
    token = p.send("t", {"a": 5})
    first = p.get("/stats").json()["global_metrics"]["incarnation_uuid"]
    p.stop()
    p.start()
    second = p.get("/stats").json()["global_metrics"]["incarnation_uuid"]
    assert first != second
    old = p.get("/completion_status", params={"token": token})
    assert code(old, 410) == "PipelineRestarted"
    assert code(p.get("/completion_status", params={"token": "?"}), 400) == "InvalidParam"
    assert code(p.get("/completion_status"), 400) == "MissingUrlEncodedParam"
    p.stop()
    forget(system, p.name)


def test_an_early_start_runs_once_compiled(system: System) -> None:
    created(system, "early", PROGRAM)
    answer = system.http.post("/pipelines/early/start", params={"initial": "paused"})
    assert answer.status_code == 202
    wait_until(lambda: state(system, "early")["deployment_status"] == "Paused")
    forget(system, "early")


def test_an_early_start_of_a_bad_program_ends_stopped_with_the_reason(system: System) -> None:
    # programs compile one at a time: behind these the bad one is still waiting when it is started
    ahead = [f"ahead-{i}" for i in range(3)]
    for name in ahead:
        created(system, name, PROGRAM)
    created(system, "bad", BAD_PROGRAM)
    answer = system.http.post("/pipelines/bad/start")
    s = wait_until(lambda: (p := state(system, "bad"))["program_status"] == "SqlError" and p)
    if answer.status_code == 202:
        error = s["deployment_error"]
        assert error["error_code"] == "StartFailedDueToFailedCompilation"
        assert error["details"]["compiler_error"] == "SqlError"
    assert (s["deployment_status"], s["deployment_desired_status"]) == ("Stopped", "Stopped")
    again = system.http.post("/pipelines/bad/start")
    assert code(again, 400) == "CannotStartWithCompilationError"
    (message,) = s["program_error"]["sql_compilation"]["messages"]
    assert message["message"] and "nobody" in message["message"]
    assert (message["start_line_number"], message["warning"]) == (1, False)
    assert code(system.http.get("/pipelines/bad/dataflow_graph"), 404)
    # mended, it runs
    mended = system.http.patch("/pipelines/bad", json={"program_code": PROGRAM})
    assert mended.json()["program_error"]["sql_compilation"] is None
    assert system.http.post("/pipelines/bad/start").status_code == 202
    wait_until(lambda: state(system, "bad")["deployment_status"] == "Running")
    for name in (*ahead, "bad"):
        forget(system, name)


def test_a_worker_that_dies_leaves_its_signal_as_the_deployment_error(system: System) -> None:
    p = system.pipeline(PROGRAM)
    p.send("t", {"a": 5})
    os.kill(p.process(), signal.SIGKILL)
    dead = p.wait("deployment_status", "Stopped")
    error = dead["deployment_error"]
    assert error["error_code"] == "PipelineUnavailable"
    assert "killed by signal 9" in error["message"]
    assert dead["storage_status"] == "InUse"
    refused = p.post("/start", params={"dismiss_error": "false"})
    assert code(refused, 400) == "CannotStartWithUndismissedError"
    assert p.post("/dismiss_error").status_code == 200
    assert state(system, p.name)["deployment_error"] is None
    # the server is whole: the pipeline starts again on a new worker
    p.start()
    p.send("t", {"a": 2})
    assert p.query("SELECT q FROM v") == [{"q": 5}]
    p.stop()
    forget(system, p.name)


def test_a_division_by_zero_stops_the_pipeline_and_names_view_expression_and_row(
    system: System,
) -> None:
    p = system.pipeline(PROGRAM)
    p.send("t", {"a": 5})
    p.send("t", {"a": 0}, wait=False)
    s = p.wait("deployment_status", "Stopped")
    error = s["deployment_error"]
    assert set(error) == {"message", "error_code", "details"}
    for part in ("v", "10 / a", "division by zero"):
        assert part in error["message"].lower()
    assert "0" in str(error["details"]) or "a" in str(error["details"])
    assert p.post("/start").status_code == 202, "starting dismisses the error"
    p.wait("deployment_status", "Running")
    p.stop()
    forget(system, p.name)


@pytest.mark.parametrize("form", ["json", "text", "arrow_ipc"])
def test_half_an_answer_cannot_be_taken_for_a_whole_one(system: System, form: str) -> None:
    p = system.pipeline(PROGRAM)
    params = {"sql": "SELECT range AS x FROM range(3000000)", "format": form}
    received = b""
    broke_off = False
    with system.http.stream("GET", f"{p.path}/query", params=params) as answer:
        assert answer.status_code == 200
        try:
            for chunk in answer.iter_raw():
                if not received:
                    os.kill(p.process(), signal.SIGKILL)
                received += chunk
        except httpx.RemoteProtocolError:
            broke_off = True
    last = received.splitlines()[-1]
    if form == "json":
        assert set(json.loads(last)) == {"error"}
    elif form == "text":
        assert last.startswith(b"ERROR: ")
    else:
        assert broke_off
    p.wait("deployment_status", "Stopped")


def test_half_an_answer_over_a_web_socket_ends_in_an_error(system: System) -> None:
    p = system.pipeline(PROGRAM)
    with connect(f"ws://127.0.0.1:{system.port}/v0{p.path}/query", max_size=None) as s:
        s.send('{"sql": "SELECT range AS x FROM range(3000000)", "format": "arrow_ipc"}')
        frame = s.recv(20)
        os.kill(p.process(), signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            while True:
                frame = s.recv(20)
        assert set(json.loads(frame)) == {"error"} and s.close_code == 1011
    p.wait("deployment_status", "Stopped")


def test_a_subscription_ends_with_its_pipeline(system: System) -> None:
    p = system.pipeline(PROGRAM)
    with system.http.stream("POST", f"{p.path}/egress/v", params={"format": "json"}) as answer:
        lines = answer.iter_lines()
        next(lines)
        p.stop()
        for line in lines:
            assert not line or "sequence_number" in json.loads(line)
