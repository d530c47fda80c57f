"""What is known of a pipeline between calls: one immutable record, and its JSON faces.

    PipelineRecord ──to_json("all")──► contract 1.2, every key
                   ──to_json("status")──► the same without program and configuration texts
                   ──event("status")──► one entry of the pipeline's event list

Invariants: a record is a value; `changed` makes a new one and moves each `…_since` of a status that
differs. The combined statuses are derived, never stored (contract 1.6).

Not here: which change is allowed (`lifecycle.py`, `edits.py`), storing (`store.py`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from penstock.wire.stamps import now_rfc3339

NO_PROGRAM_ERROR: dict[str, Any] = {
    "sql_compilation": None,
    "rust_compilation": None,
    "system_error": None,
}
# Omitted by selector=status (contract 1.2).
_LARGE = (
    "runtime_config",
    "program_code",
    "udf_rust",
    "udf_toml",
    "program_error",
    "program_info",
    "deployment_resources_status_details",
)
# status field -> the field that says since when.
_SINCE = {
    "program_status": "program_status_since",
    "resources_status": "resources_status_since",
    "resources_desired": "resources_desired_since",
    "runtime_status": "runtime_status_since",
    "runtime_desired": "runtime_desired_since",
}


@dataclass(frozen=True, slots=True)
class PipelineRecord:
    """One pipeline. Short names here, published names in `to_json`."""

    id: str
    tenant_id: str
    name: str
    program_code: str
    runtime_config: dict[str, Any]
    program_config: dict[str, Any]
    platform_version: str
    description: str = ""
    tags: list[str] = field(default_factory=list)
    udf_rust: str = ""
    udf_toml: str = ""
    created_at: str = field(default_factory=now_rfc3339)
    version: int = 1
    refresh_version: int = 1
    program_version: int = 1
    program_status: str = "Pending"
    program_status_since: str = field(default_factory=now_rfc3339)
    program_error: dict[str, Any] = field(default_factory=lambda: dict(NO_PROGRAM_ERROR))
    program_info: dict[str, Any] | None = None
    storage_status: str = "Cleared"
    storage_details: dict[str, Any] | None = None
    deployment_error: dict[str, Any] | None = None
    deployment_id: str | None = None
    initial: str | None = None
    bootstrap_policy: str | None = None
    silent_bootstrap: bool = False
    concurrent_bootstrap: bool = False
    resources_status: str = "Stopped"
    resources_status_since: str = field(default_factory=now_rfc3339)
    resources_details: dict[str, Any] | None = None
    resources_desired: str = "Stopped"
    resources_desired_since: str = field(default_factory=now_rfc3339)
    runtime_status: str | None = None
    runtime_status_since: str | None = None
    runtime_details: dict[str, Any] | None = None
    runtime_desired: str | None = None
    runtime_desired_since: str | None = None

    def changed(self, **changes: Any) -> PipelineRecord:
        """A copy with `changes`; a status that differs gets a new since-stamp."""
        now = now_rfc3339()
        for status, since in _SINCE.items():
            if status in changes and changes[status] != getattr(self, status):
                nothing = status.startswith("runtime") and changes[status] is None
                changes[since] = None if nothing else now
        return replace(self, **changes)

    @property
    def is_stopped(self) -> bool:
        """Stopped and meant to be: the only state in which its definition may change."""
        return self.resources_status == self.resources_desired == "Stopped"

    @property
    def deployment_status(self) -> str:
        if self.resources_status != "Provisioned":
            return self.resources_status
        return self.runtime_status or "Unavailable"

    @property
    def desired_status(self) -> str:
        if self.resources_desired == "Stopped":
            return "Stopped"
        return self.runtime_desired or self.initial or "Running"

    def dump(self) -> str:
        """The stored form; `load` reads it."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> PipelineRecord:
        return cls(**json.loads(text))

    def to_json(self, selector: str = "all") -> dict[str, Any]:
        """The published object for `selector` all, status or status_with_connectors.

        The last one's `connectors` is filled in by whoever can ask the pipeline."""
        full = {
            "id": self.id,
            "name": self.name,
            "description": self.description,
            "tags": list(self.tags),
            "created_at": self.created_at,
            "version": self.version,
            "refresh_version": self.refresh_version,
            "platform_version": self.platform_version,
            "runtime_config": self.runtime_config,
            "program_code": self.program_code,
            "udf_rust": self.udf_rust,
            "udf_toml": self.udf_toml,
            "program_config": self.program_config,
            "program_version": self.program_version,
            "program_status": self.program_status,
            "program_status_since": self.program_status_since,
            "program_error": self.program_error,
            "program_info": self.program_info,
            "deployment_error": self.deployment_error,
            "storage_status": self.storage_status,
            "storage_status_details": self.storage_details,
            "deployment_id": self.deployment_id,
            "deployment_initial": self.initial,
            "deployment_status": self.deployment_status,
            "deployment_status_since": max(
                self.resources_status_since, self.runtime_status_since or ""
            ),
            "deployment_desired_status": self.desired_status,
            "deployment_desired_status_since": max(
                self.resources_desired_since, self.runtime_desired_since or ""
            ),
            "deployment_resources_status": self.resources_status,
            "deployment_resources_status_since": self.resources_status_since,
            "deployment_resources_status_details": self.resources_details,
            "deployment_resources_desired_status": self.resources_desired,
            "deployment_resources_desired_status_since": self.resources_desired_since,
            "deployment_runtime_status": self.runtime_status,
            "deployment_runtime_status_since": self.runtime_status_since,
            "deployment_runtime_status_details": self.runtime_details,
            "deployment_runtime_desired_status": self.runtime_desired,
            "deployment_runtime_desired_status_since": self.runtime_desired_since,
            "bootstrap_policy": self.bootstrap_policy,
            "silent_bootstrap": self.silent_bootstrap,
            "concurrent_bootstrap": self.concurrent_bootstrap,
        }
        if selector == "all":
            return full
        return {key: value for key, value in full.items() if key not in _LARGE}

    def monitored(self) -> dict[str, Any]:
        """The statuses an event reports (contract 6.3), without its id and time."""
        return {
            "deployment_resources_status": self.resources_status,
            "deployment_resources_desired_status": self.resources_desired,
            "deployment_runtime_status": self.runtime_status,
            "deployment_runtime_desired_status": self.runtime_desired,
            "deployment_has_error": self.deployment_error is not None,
            "program_status": self.program_status,
            "storage_status": self.storage_status,
            "deployment_error": self.deployment_error,
            "deployment_resources_status_details": self.resources_details,
            "deployment_runtime_status_details": self.runtime_details,
            "storage_status_details": self.storage_details,
        }
