"""The state table of contract 1.6, cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from penstock.errors import PenstockError
from penstock.manager import lifecycle
from penstock.manager.lifecycle import StartRequest
from penstock.manager.records import PipelineRecord

STOPPED: dict[str, Any] = {"program_status": "Success"}
EARLY: dict[str, Any] = {
    "program_status": "CompilingSql", "resources_desired": "Provisioned",
    "initial": "Running", "runtime_desired": "Running",
}  # fmt: skip
RUNNING: dict[str, Any] = {
    **EARLY, "program_status": "Success", "resources_status": "Provisioned",
    "runtime_status": "Running", "storage_status": "InUse",
}  # fmt: skip
SUSPENDING: dict[str, Any] = {**RUNNING, "runtime_desired": "Suspended"}
STOPPING: dict[str, Any] = {
    "program_status": "Success", "resources_status": "Stopping", "storage_status": "InUse",
}  # fmt: skip
FAILED: dict[str, Any] = {
    **STOPPED, "deployment_error": {"message": "m", "error_code": "E", "details": None},
}  # fmt: skip


def record(state: dict[str, Any]) -> PipelineRecord:
    base = PipelineRecord(
        id="id", tenant_id="t", name="p", program_code="", runtime_config={}, program_config={},
        platform_version="0",
    )  # fmt: skip
    return base.changed(**state)


CALLS: dict[str, Callable[[PipelineRecord], Any]] = {
    "start": lambda r: lifecycle.start(r, StartRequest()),
    "start paused": lambda r: lifecycle.start(r, StartRequest(initial="paused")),
    "start undismissed": lambda r: lifecycle.start(r, StartRequest(dismiss_error=False)),
    "start standby": lambda r: lifecycle.start(r, StartRequest(initial="standby")),
    "start sideways": lambda r: lifecycle.start(r, StartRequest(initial="sideways")),
    "start silent and concurrent": lambda r: lifecycle.start(
        r, StartRequest(silent_bootstrap=True, concurrent_bootstrap=True)
    ),
    "stop": lambda r: lifecycle.stop(r, force=False),
    "stop by force": lambda r: lifecycle.stop(r, force=True),
    "pause": lambda r: lifecycle.steer(r, "Paused"),
    "resume": lambda r: lifecycle.steer(r, "Running"),
    "clear": lifecycle.clear,
    "dismiss": lifecycle.dismiss_error,
    "delete": lifecycle.check_deletable,
    "activate": lambda r: lifecycle.activate(r, "running"),
    "approve": lifecycle.approve,
}


@pytest.mark.parametrize(
    ("call", "state", "code"),
    [
        ("start", STOPPING, "IllegalPipelineAction"),
        ("start undismissed", FAILED, "CannotStartWithUndismissedError"),
        ("start", {**STOPPED, "storage_status": "Clearing"}, "CannotStartWhileClearingStorage"),
        ("start", {"program_status": "SqlError"}, "CannotStartWithCompilationError"),
        ("start paused", RUNNING, "InitialImmutableUnlessStopped"),
        ("start paused", EARLY, "InitialImmutableUnlessStopped"),
        ("start standby", STOPPED, "InitialStandbyNotAllowed"),
        ("start sideways", STOPPED, "UnsupportedPipelineAction"),
        ("start silent and concurrent", STOPPED, "InvalidBootstrapConfig"),
        ("start", SUSPENDING, "IllegalPipelineAction"),
        ("pause", SUSPENDING, "IllegalPipelineAction"),
        ("pause", STOPPED, "PipelineInteractionNotDeployed"),
        ("resume", STOPPED, "PipelineInteractionNotDeployed"),
        ("pause", {**RUNNING, "runtime_status": "Standby"}, "InvalidTransition"),
        ("clear", RUNNING, "StorageStatusImmutableUnlessStopped"),
        ("clear", EARLY, "StorageStatusImmutableUnlessStopped"),
        ("dismiss", {**RUNNING, **FAILED}, "DismissErrorRestrictedToFullyStopped"),
        ("delete", RUNNING, "DeleteRestrictedToFullyStopped"),
        ("delete", EARLY, "DeleteRestrictedToFullyStopped"),
        ("delete", {**STOPPED, "storage_status": "InUse"}, "DeleteRestrictedToClearedStorage"),
        ("activate", STOPPED, "PipelineInteractionNotDeployed"),
        ("activate", RUNNING, "InvalidActivateStatus"),
        ("approve", RUNNING, "BootstrapNotAllowed"),
    ],
)
def test_a_call_in_the_wrong_state_is_refused_by_its_code(
    call: str, state: dict[str, Any], code: str
) -> None:
    with pytest.raises(PenstockError) as refused:
        CALLS[call](record(state))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("call", "state", "field", "value"),
    [
        ("start", STOPPED, "resources_desired", "Provisioned"),
        ("start", {"program_status": "Pending"}, "resources_desired", "Provisioned"),
        ("start", FAILED, "deployment_error", None),
        ("start paused", STOPPED, "initial", "Paused"),
        ("stop by force", RUNNING, "resources_desired", "Stopped"),
        ("stop", EARLY, "resources_desired", "Stopped"),
        ("pause", RUNNING, "runtime_desired", "Paused"),
        ("clear", {**STOPPED, "storage_status": "InUse"}, "storage_status", "Clearing"),
        ("dismiss", FAILED, "deployment_error", None),
    ],
)
def test_a_call_in_the_right_state_sets_what_it_says(
    call: str, state: dict[str, Any], field: str, value: object
) -> None:
    changes = CALLS[call](record(state))
    assert field in changes and changes[field] == value


@pytest.mark.parametrize(
    ("call", "state"),
    [
        ("start", RUNNING), ("start", EARLY), ("stop by force", STOPPED), ("stop", STOPPED),
        ("resume", RUNNING), ("clear", STOPPED), ("dismiss", STOPPED),
    ],
)  # fmt: skip
def test_repeating_a_call_changes_nothing(call: str, state: dict[str, Any]) -> None:
    assert CALLS[call](record(state)) == {}


@pytest.mark.parametrize(
    ("state", "status", "desired"),
    [
        (STOPPED, "Stopped", "Stopped"),
        (EARLY, "Stopped", "Running"),
        ({**RUNNING, "resources_status": "Provisioning"}, "Provisioning", "Running"),
        ({**RUNNING, "runtime_status": None}, "Unavailable", "Running"),
        ({**RUNNING, "runtime_desired": "Paused"}, "Running", "Paused"),
        (STOPPING, "Stopping", "Stopped"),
    ],
)
def test_two_layers_of_status_combine_into_one(
    state: dict[str, Any], status: str, desired: str
) -> None:
    shown = record(state).to_json()
    assert (shown["deployment_status"], shown["deployment_desired_status"]) == (status, desired)


def test_an_early_start_of_a_program_that_fails_goes_back_to_stopped() -> None:
    failed = record({**EARLY, "program_status": "SqlError"})
    changes = lifecycle.compile_failed(failed)
    assert changes["resources_desired"] == "Stopped"
    assert changes["deployment_error"]["error_code"] == "StartFailedDueToFailedCompilation"
    assert lifecycle.compile_failed(record({"program_status": "SqlError"})) == {}


def test_since_stamps_move_only_with_their_status() -> None:
    before = record(RUNNING)
    after = before.changed(runtime_status="Paused", resources_status="Provisioned")
    assert after.runtime_status_since != before.runtime_status_since
    assert after.resources_status_since == before.resources_status_since
    assert before.changed(runtime_status=None).runtime_status_since is None


def test_a_stop_takes_a_checkpoint_where_there_is_a_process_to_take_it() -> None:
    assert lifecycle.stop(record(RUNNING), force=False) == {"runtime_desired": "Suspended"}
    at_once = {"resources_desired": "Stopped", "runtime_desired": None}
    assert lifecycle.stop(record(RUNNING), force=True) == at_once
    assert lifecycle.stop(record(EARLY), force=False) == at_once
    assert lifecycle.stop(record(SUSPENDING), force=True) == at_once
