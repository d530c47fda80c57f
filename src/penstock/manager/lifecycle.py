"""The life-cycle's rules: which call is allowed in which state, and what it sets.

    Stopped ──start──► Provisioning ──► Provisioned ──stop──► Stopping ──► Stopped
                                         Initializing → Running ⇄ Paused

Each function takes a record and answers with the changes the call makes (`{}`: nothing to do), or
raises the refusal of contract 1.6. Nothing here waits, stores or starts anything.

Not here: making it so (`deployment.py`), editing (`edits.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from penstock.errors import PenstockError, TransientError, UserError
from penstock.manager.records import PipelineRecord

Changes = dict[str, Any]

_INITIAL = {"running": "Running", "paused": "Paused", "standby": "Standby"}
_POLICIES = ("allow", "reject", "await_approval")
FAILED_PROGRAMS = ("SqlError", "RustError", "SystemError")
# Runtime statuses from which pause and resume lead anywhere.
_STEERABLE = (
    "Initializing", "Paused", "Running", "Replaying", "Bootstrapping", "AwaitingApproval", None,
)  # fmt: skip


class EnterpriseFeature(PenstockError):
    """Part of the contract that the "Open source" edition answers with 501."""

    default_code = "EnterpriseFeature"

    def __init__(self, feature: str) -> None:
        super().__init__(f"{feature} is not offered by this edition", details={"feature": feature})


@dataclass(frozen=True, slots=True)
class StartRequest:
    """The query parameters of a start, as the client wrote them."""

    initial: str = "running"
    bootstrap_policy: str | None = None
    silent_bootstrap: bool = False
    concurrent_bootstrap: bool = False
    dismiss_error: bool = True


def start(record: PipelineRecord, request: StartRequest) -> Changes:
    """Contract 1.6, row start; also accepts the early start of a program still compiling."""
    initial = _INITIAL.get(request.initial)
    if initial is None:
        raise UserError(
            f"Pipelines start as running, paused or standby, not as '{request.initial}'",
            code="UnsupportedPipelineAction",
            details={"action": f"start with initial={request.initial}"},
        )
    if request.silent_bootstrap and request.concurrent_bootstrap:
        raise UserError(
            "A bootstrap cannot be both silent and concurrent", code="InvalidBootstrapConfig"
        )
    if request.bootstrap_policy is not None and request.bootstrap_policy not in _POLICIES:
        raise UserError(
            f"bootstrap_policy must be one of {', '.join(_POLICIES)}", code="InvalidParam"
        )
    if initial == "Standby":
        raise UserError(
            "Starting as standby needs checkpoints in an object store, which are not offered",
            code="InitialStandbyNotAllowed",
        )
    if record.runtime_desired == "Suspended":
        raise _illegal(record, "start", "wait until it is Stopped")
    if record.resources_desired == "Provisioned":
        return _started_already(record, initial, request)
    if record.resources_status != "Stopped":
        raise _illegal(record, "start", "wait until it is Stopped")
    if record.deployment_error is not None and not request.dismiss_error:
        raise UserError(
            f"Pipeline '{record.name}' stopped with an error; dismiss it before starting again",
            code="CannotStartWithUndismissedError",
        )
    if record.storage_status == "Clearing":
        raise UserError(
            f"Pipeline '{record.name}' is clearing its storage; start it when that has finished",
            code="CannotStartWhileClearingStorage",
        )
    if record.program_status in FAILED_PROGRAMS:
        raise UserError(
            f"Pipeline '{record.name}' cannot start: its program does not compile"
            f" ({record.program_status}, see program_error)",
            code="CannotStartWithCompilationError",
            details={"compiler_error": record.program_status},
        )
    return {
        "deployment_error": None,
        "initial": initial,
        "bootstrap_policy": request.bootstrap_policy,
        "silent_bootstrap": request.silent_bootstrap,
        "concurrent_bootstrap": request.concurrent_bootstrap,
        "resources_desired": "Provisioned",
        "runtime_desired": initial,
    }


def _started_already(record: PipelineRecord, initial: str, request: StartRequest) -> Changes:
    if record.initial != initial:
        raise UserError(
            f"Pipeline '{record.name}' was started as {record.initial}; stop it before starting it"
            f" as {initial}",
            code="InitialImmutableUnlessStopped",
        )
    if record.bootstrap_policy != request.bootstrap_policy:
        raise UserError(
            f"Pipeline '{record.name}' is started; its bootstrap policy changes only while stopped",
            code="BootstrapPolicyImmutableUnlessStopped",
        )
    return {}


def stop(record: PipelineRecord, force: bool) -> Changes:
    """Contract 1.6, rows stop. A stop that is not forced takes a checkpoint first, if there is a
    process to take it: `runtime_desired` is then Suspended."""
    if record.resources_desired == "Stopped":
        return {}
    if not force and record.resources_status == "Provisioned":
        return {"runtime_desired": "Suspended"}
    return {"resources_desired": "Stopped", "runtime_desired": None}


def steer(record: PipelineRecord, desired: str) -> Changes:
    """Pause or resume: `desired` is Paused or Running."""
    verb = "pause" if desired == "Paused" else "resume"
    if record.resources_status != "Provisioned" and record.resources_desired != "Provisioned":
        raise not_deployed(record)
    if record.resources_desired == "Stopped" or record.runtime_desired == "Suspended":
        raise _illegal(record, verb, "it is stopping")
    if record.runtime_status not in _STEERABLE:
        raise UserError(
            f"Pipeline '{record.name}' is {record.runtime_status}: cannot {verb} it",
            code="InvalidTransition",
            details={"from": record.runtime_status, "to": desired},
        )
    return {} if record.runtime_desired == desired else {"runtime_desired": desired}


def clear(record: PipelineRecord) -> Changes:
    """Storage InUse → Clearing; the caller empties it and then reports Cleared."""
    if not record.is_stopped:
        raise UserError(
            f"Pipeline '{record.name}' must be stopped before its storage can be cleared",
            code="StorageStatusImmutableUnlessStopped",
            details={"status": record.deployment_status},
        )
    return {} if record.storage_status == "Cleared" else {"storage_status": "Clearing"}


def dismiss_error(record: PipelineRecord) -> Changes:
    if record.deployment_error is None:
        return {}
    if not record.is_stopped:
        raise UserError(
            f"Pipeline '{record.name}' must be fully stopped before its error can be dismissed",
            code="DismissErrorRestrictedToFullyStopped",
        )
    return {"deployment_error": None}


def activate(record: PipelineRecord, initial: str) -> Changes:
    """Standby → running or paused; nothing is ever in standby in this edition."""
    if initial not in ("running", "paused"):
        raise UserError(
            f"A pipeline activates as running or paused, not as '{initial}'", code="InvalidParam"
        )
    if record.resources_status != "Provisioned":
        raise not_deployed(record)
    raise UserError(
        f"Pipeline '{record.name}' is {record.runtime_status}; only standby can be activated",
        code="InvalidActivateStatus",
        details={"status": record.runtime_status},
    )


def approve(record: PipelineRecord) -> Changes:
    """AwaitingApproval → Bootstrapping."""
    if record.resources_status != "Provisioned":
        raise not_deployed(record)
    if record.runtime_status == "AwaitingApproval":
        return {"runtime_status": "Bootstrapping", "runtime_details": None}
    raise UserError(
        f"Pipeline '{record.name}' is {record.runtime_status} and awaits no approval",
        code="BootstrapNotAllowed",
        details={"status": record.runtime_status},
    )


def check_deletable(record: PipelineRecord) -> None:
    if not record.is_stopped:
        raise UserError(
            f"Pipeline '{record.name}' must be stopped before it can be deleted",
            code="DeleteRestrictedToFullyStopped",
            details={"status": record.deployment_status},
        )
    if record.storage_status != "Cleared":
        raise UserError(
            f"Clear the storage of pipeline '{record.name}' before deleting it",
            code="DeleteRestrictedToClearedStorage",
            details={"storage_status": record.storage_status},
        )


def check_recompilable(record: PipelineRecord) -> None:
    if not record.is_stopped:
        raise UserError(
            f"Pipeline '{record.name}' must be stopped before it can be recompiled",
            code="UpdateRestrictedToStopped",
            details={"status": record.deployment_status},
        )


def compile_failed(record: PipelineRecord) -> Changes:
    """An early start whose program turned out not to compile goes back to Stopped."""
    if record.resources_desired == "Stopped":
        return {}
    return _not_started(
        f"The program of pipeline '{record.name}' does not compile"
        f" ({record.program_status}, see program_error)",
        "StartFailedDueToFailedCompilation",
        {"compiler_error": record.program_status},
    )


def without_storage(problem: OSError) -> Changes:
    """A start that finds no room for what the pipeline keeps ends in Stopped."""
    where = problem.filename or "the data directory"
    text = f"{where} cannot be made: {problem.strerror or problem}; mend that and start again"
    return _not_started(text, "StorageError", None)


def _not_started(message: str, code: str, details: Any) -> Changes:
    return {
        "resources_desired": "Stopped",
        "runtime_desired": None,
        "initial": None,
        "deployment_error": {"message": message, "error_code": code, "details": details},
    }


def not_deployed(record: PipelineRecord) -> TransientError:
    """503: there is no process to ask."""
    return TransientError(
        f"Pipeline '{record.name}' is not deployed (status: {record.deployment_status},"
        f" desired: {record.desired_status}); start it and wait until it is Running or Paused",
        code="PipelineInteractionNotDeployed",
        details={
            "pipeline_name": record.name,
            "status": record.deployment_status,
            "desired_status": record.desired_status,
        },
    )


def _illegal(record: PipelineRecord, verb: str, hint: str) -> UserError:
    return UserError(
        f"Cannot {verb} pipeline '{record.name}' while it is {record.deployment_status}"
        f" (desired: {record.desired_status}): {hint}",
        code="IllegalPipelineAction",
        details={"status": record.deployment_status, "desired_status": record.desired_status},
    )
