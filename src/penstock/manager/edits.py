"""Creating and editing pipelines: request body → new record, or the error that says why not.

    body ──parse──► Definition ──create──► record version 1
                               ──apply(record)──► record with the versions moved on

Invariants: what the caller did not change does not move a version (contract 1.6, editing rules);
a core edit needs a stopped pipeline, some core edits cleared storage as well.

Not here: uniqueness of names (`store.py`), compiling the new program (`compiler.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.errors import UserError
from penstock.manager.records import NO_PROGRAM_ERROR, PipelineRecord
from penstock.wire.names import check_description, check_pipeline_name, check_tags
from penstock.wire.program_config import normalise_program_config
from penstock.wire.runtime_config import normalise_runtime_config
from penstock.wire.stamps import now_rfc3339, uuid7

_TEXTS = ("name", "description", "program_code", "udf_rust", "udf_toml")
_KNOWN = {*_TEXTS, "tags", "program_config", "runtime_config"}
_PROGRAM = ("program_code", "udf_rust", "udf_toml", "program_config")
_CORE = ("name", "runtime_config", *_PROGRAM)
# Parts of runtime_config that stored state depends on.
_TIED_TO_STORAGE = ("workers", "hosts", "fault_tolerance", "clock_timezone_offset")
_RESOURCES_TIED_TO_STORAGE = ("storage_mb_max", "namespace", "storage_class")


def parse_definition(body: Any) -> dict[str, Any]:
    """The given (non-null) fields of a POST, PUT or PATCH body, checked and normalised.

    Unknown keys are ignored, so that a pipeline object can be sent back as it was received.
    """
    if not isinstance(body, Mapping):
        raise UserError("The request body must be a JSON object", code="InvalidParam")
    given = {k: v for k, v in body.items() if k in _KNOWN and v is not None}
    for key in _TEXTS:
        if key in given and not isinstance(given[key], str):
            raise UserError(
                f"'{key}' must be a string", code="InvalidParam", details={"field": key}
            )
    if "name" in given:
        check_pipeline_name(given["name"])
    if "description" in given:
        check_description(given["description"])
    if "tags" in given:
        tags = given["tags"]
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise UserError(
                "'tags' must be a list of strings", code="InvalidTag", details={"tag": tags}
            )
        check_tags(tags)
    if "program_config" in given:
        given["program_config"] = normalise_program_config(given["program_config"])
    if "runtime_config" in given:
        given["runtime_config"] = normalise_runtime_config(given["runtime_config"])
    return given


def parse_whole_definition(body: Any) -> dict[str, Any]:
    """As `parse_definition`, for a body that replaces everything: omitted fields are defaults."""
    given = parse_definition(body)
    for key in ("name", "program_code"):
        if key not in given:
            raise UserError(f"'{key}' is required", code="InvalidParam", details={"field": key})
    return {
        "description": "",
        "tags": [],
        "udf_rust": "",
        "udf_toml": "",
        "program_config": normalise_program_config(None),
        "runtime_config": normalise_runtime_config(None),
        **given,
    }


def create(definition: Mapping[str, Any], tenant_id: str, platform_version: str) -> PipelineRecord:
    """A new pipeline's record from a whole definition."""
    now = now_rfc3339()
    return PipelineRecord(
        id=uuid7(),
        tenant_id=tenant_id,
        platform_version=platform_version,
        created_at=now,
        program_status_since=now,
        resources_status_since=now,
        resources_desired_since=now,
        **definition,
    )


def apply(
    record: PipelineRecord, definition: Mapping[str, Any], platform_version: str
) -> PipelineRecord:
    """`record` with `definition` (whole or partial) applied; the same object if nothing changes.

    Raises:
        UserError: `UpdateRestrictedToStopped`, `EditRestrictedToClearedStorage`.
    """
    changes = {k: v for k, v in definition.items() if getattr(record, k) != v}
    core = [key for key in _CORE if key in changes]
    if not changes:
        return record
    if not core:
        return record.changed(**changes)
    if not record.is_stopped:
        raise UserError(
            f"Pipeline '{record.name}' must be stopped before {', '.join(core)} can be edited",
            code="UpdateRestrictedToStopped",
            details={"fields": core, "status": record.deployment_status},
        )
    _check_storage(record, changes)
    moved: dict[str, Any] = {
        "version": record.version + 1,
        "refresh_version": record.refresh_version + 1,
    }
    if any(key in changes for key in _PROGRAM):
        moved.update(recompiled(platform_version), program_version=record.program_version + 1)
    return record.changed(**changes, **moved)


def cannot_rename(name: str, new_name: str) -> UserError:
    """PUT of a pipeline that does not exist, under another name than the URL's."""
    return UserError(
        f"There is no pipeline '{name}' that could be renamed to '{new_name}'; to create it, use"
        " the same name in the URL and the body",
        code="CannotRenameNonExistingPipeline",
        details={"name": name, "new_name": new_name},
    )


def recompiled(platform_version: str) -> dict[str, Any]:
    """The changes that send a program back to the compiler."""
    return {
        "program_status": "Pending",
        "program_error": dict(NO_PROGRAM_ERROR),
        "program_info": None,
        "platform_version": platform_version,
    }


def _check_storage(record: PipelineRecord, changes: Mapping[str, Any]) -> None:
    if record.storage_status == "Cleared":
        return
    refused = ["name"] if "name" in changes else []
    new, old = changes.get("runtime_config", record.runtime_config), record.runtime_config
    refused += [f"runtime_config.{k}" for k in _TIED_TO_STORAGE if new[k] != old[k]]
    refused += [
        f"runtime_config.resources.{k}"
        for k in _RESOURCES_TIED_TO_STORAGE
        if new["resources"][k] != old["resources"][k]
    ]
    if refused:
        raise UserError(
            f"Pipeline '{record.name}' has stored state: clear its storage before editing"
            f" {', '.join(refused)}",
            code="EditRestrictedToClearedStorage",
            details={"not_allowed": refused},
        )
