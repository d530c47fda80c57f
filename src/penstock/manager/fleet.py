"""All pipelines of one server: every call of the life-cycle, and the threads that carry it out.

    request ─► rule (lifecycle.py, edits.py) ─► changes ─► stored record ─► event
                                                   │
                          compile queue ◄──────────┴────────► Deployment (own thread)

Invariants: a record changes only in `_change`, under the lock, and is on disk before the lock is
released. Compilations run one at a time, in order of arrival. A record says Provisioned exactly
while a Deployment exists that has reported a state.

Cost: one SQLite commit per change. Not here: HTTP, calls into a running pipeline (`server/`).
"""

from __future__ import annotations

import logging
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.errors import NotFound, TransientError
from penstock.manager import edits, lifecycle
from penstock.manager.compiler import compile_record
from penstock.manager.deployment import Deployment, ErrorBody
from penstock.manager.lifecycle import StartRequest
from penstock.manager.logs import LogBuffer, manager_line
from penstock.manager.records import PipelineRecord
from penstock.manager.store import Store
from penstock.manager.workers import WorkerAnswered, WorkerGone, WorkerPool
from penstock.wire.stamps import now_rfc3339, uuid7

_log = logging.getLogger(__name__)
MAX_EVENTS = 720
SECONDS_TO_SUSPEND = 8.0
_COMPILING = ("Pending", "CompilingSql", "SqlCompiled", "CompilingRust")


class Fleet:
    """The pipelines in `data_dir`. Thread-safe; calls return once the change is stored.

    `python_udf`: programs may bring Python functions, which their workers run."""

    def __init__(
        self,
        store: Store,
        data_dir: Path,
        pool: WorkerPool,
        platform_version: str,
        *,
        python_udf: bool = False,
    ) -> None:
        self._store = store
        self._python_udf = python_udf
        self._pool = pool
        self._pipelines_dir = data_dir / "pipelines"
        self._version = platform_version
        self._lock = threading.RLock()
        self._records: dict[str, PipelineRecord] = {}
        self._logs: dict[str, LogBuffer] = {}
        self._events: dict[str, deque[dict[str, Any]]] = {}
        self._deployments: dict[str, Deployment] = {}
        self._to_compile: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._compiler = threading.Thread(target=self._compile_all, name="compiler", daemon=True)
        self.started_at = now_rfc3339()
        self.started_id = uuid7()
        self._load()
        self._compiler.start()

    # Look-ups.

    def find(self, tenant_id: str, name: str) -> PipelineRecord:
        """Raises NotFound `UnknownPipelineName`, also for another tenant's pipeline."""
        with self._lock:
            for record in self._records.values():
                if record.name == name and record.tenant_id == tenant_id:
                    return record
        raise NotFound(
            f"Unknown pipeline name '{name}'",
            code="UnknownPipelineName",
            details={"pipeline_name": name},
        )

    def all_of(self, tenant_id: str) -> list[PipelineRecord]:
        """The tenant's pipelines in order of creation."""
        with self._lock:
            mine = [r for r in self._records.values() if r.tenant_id == tenant_id]
        return sorted(mine, key=lambda record: record.id)

    def log_of(self, record: PipelineRecord) -> LogBuffer:
        with self._lock:
            return self._logs[record.id]

    def events_of(self, record: PipelineRecord) -> list[dict[str, Any]]:
        """Newest first, with all keys."""
        with self._lock:
            return list(self._events[record.id])

    def socket_of(self, record: PipelineRecord) -> Path:
        """Where the pipeline's process listens. Raises `PipelineInteractionNotDeployed`."""
        with self._lock:
            deployment = self._deployments.get(record.id)
            current = self._records.get(record.id, record)
            if (
                deployment is None
                or deployment.worker is None
                or current.resources_status != "Provisioned"
            ):
                raise lifecycle.not_deployed(current)
            return deployment.worker.socket

    def health(self) -> dict[str, tuple[bool, str]]:
        """{service: (is healthy, message)} for api, compiler and runner."""
        compiles = self._compiler.is_alive()
        failure = self._pool.failure
        return {
            "api": (True, ""),
            "compiler": (compiles, "" if compiles else "the compiler thread has ended"),
            "runner": (failure is None, failure or ""),
        }

    # Definitions.

    def create(self, tenant_id: str, body: Any) -> PipelineRecord:
        definition = edits.parse_whole_definition(body)
        record = edits.create(definition, tenant_id, self._version)
        with self._lock:
            self._store.put(record)
            self._adopt(record)
            self._say(record, "INFO", "Pipeline created")
            self._to_compile.put(record.id)
            return record

    def replace(self, tenant_id: str, name: str, body: Any) -> tuple[PipelineRecord, bool]:
        """The record, and whether it is new. Raises `CannotRenameNonExistingPipeline`."""
        definition = edits.parse_whole_definition(body)
        with self._lock:
            try:
                record = self.find(tenant_id, name)
            except NotFound:
                if definition["name"] != name:
                    raise edits.cannot_rename(name, definition["name"]) from None
                return self.create(tenant_id, body), True
            return self._edit(record, definition), False

    def patch(self, tenant_id: str, name: str, body: Any) -> PipelineRecord:
        definition = edits.parse_definition(body)
        with self._lock:
            return self._edit(self.find(tenant_id, name), definition)

    def delete(self, tenant_id: str, name: str) -> None:
        with self._lock:
            record = self.find(tenant_id, name)
            lifecycle.check_deletable(record)
            self._store.delete(record.id)
            del self._records[record.id], self._events[record.id]
            self._logs.pop(record.id).close()
        shutil.rmtree(self._storage_dir(record), ignore_errors=True)

    def update_runtime(self, tenant_id: str, name: str) -> PipelineRecord:
        """Recompile on this release if the record was compiled by another one."""
        with self._lock:
            record = self.find(tenant_id, name)
            lifecycle.check_recompilable(record)
            if record.platform_version == self._version:
                return record
            record = self._change(
                record,
                version=record.version + 1,
                refresh_version=record.refresh_version + 1,
                program_version=record.program_version + 1,
                **edits.recompiled(self._version),
            )
            self._to_compile.put(record.id)
            return record

    def _edit(self, record: PipelineRecord, definition: dict[str, Any]) -> PipelineRecord:
        edited = edits.apply(record, definition, self._version)
        if edited is not record:
            self._put(edited)
            if edited.program_version != record.program_version:
                self._to_compile.put(edited.id)
        return edited

    # Life-cycle.

    def start(self, tenant_id: str, name: str, request: StartRequest) -> None:
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.start(record, request)
            if changes:
                record = self._change(record, **changes)
                self._deploy_if_wanted(record)

    def stop(self, tenant_id: str, name: str, *, force: bool) -> None:
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.stop(record, force)
            deployment = self._deployments.get(record.id)
            if deployment is None:
                if changes:
                    self._change(record, initial=None, **changes)
                return
            if changes.get("runtime_desired") == "Suspended":
                if record.runtime_desired != "Suspended":
                    self._say(record, "INFO", "Stopping the pipeline with a checkpoint")
                    self._change(record, **changes)
                deployment.request_suspend()
                return
            if changes:
                self._say(record, "INFO", "Stopping the pipeline")
                self._change(record, resources_status="Stopping", runtime_status=None, **changes)
            deployment.request_stop()

    def steer(self, tenant_id: str, name: str, desired: str) -> None:
        """Pause or resume."""
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.steer(record, desired)
            if changes:
                record = self._change(record, **changes)
            deployment = self._deployments.get(record.id)
        # While it initialises, `_on_status` sees the difference as soon as it has started.
        if deployment is not None and record.runtime_status in ("Paused", "Running"):
            self._steer(deployment, record, desired)

    def approve(self, tenant_id: str, name: str, *, is_silent: bool) -> None:
        """Let a pipeline whose program has changed go on."""
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.approve(record)
            deployment = self._deployments[record.id]
        try:
            deployment.approve(is_silent)
        except (WorkerGone, WorkerAnswered) as problem:
            raise TransientError(
                f"Pipeline '{name}' could not be told of the approval: {problem}",
                code="PipelineInteractionUnreachable",
                details={"pipeline_name": name, "request": "approve", "error": str(problem)},
            ) from problem
        with self._lock:
            current = self._records.get(record.id)
            if current is not None and current.runtime_status == "AwaitingApproval":
                self._change(current, **changes)

    def storage_of(self, record: PipelineRecord) -> Path:
        """The folder in which the pipeline keeps its state."""
        return self._storage_dir(record)

    def udf_of(self, record: PipelineRecord) -> str:
        """The Python functions that the pipeline's process runs; none where not allowed."""
        return record.udf_rust if self._python_udf else ""

    def clear(self, tenant_id: str, name: str) -> None:
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.clear(record)
            if changes and record.storage_status != "Clearing":
                self._clear(self._change(record, **changes))

    def dismiss_error(self, tenant_id: str, name: str) -> None:
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.dismiss_error(record)
            if changes:
                self._change(record, **changes)

    def close(self) -> None:
        """Stop every pipeline, with a checkpoint where that is possible and takes no longer than
        SECONDS_TO_SUSPEND, and end the threads; records say Stopped, without an error."""
        with self._lock:
            deployments = dict(self._deployments)
            for pipeline_id, deployment in deployments.items():
                record = self._records[pipeline_id]
                self._say(record, "INFO", "The server is shutting down: stopping the pipeline")
                self._change(
                    record,
                    resources_status="Stopping",
                    resources_desired="Stopped",
                    runtime_status=None,
                    runtime_desired=None,
                )
                deployment.request_suspend()
        deadline = time.monotonic() + SECONDS_TO_SUSPEND
        for deployment in deployments.values():
            deployment.join(max(0.0, deadline - time.monotonic()))
            deployment.request_stop()
        for deployment in deployments.values():
            deployment.join(10)
        self._to_compile.put(None)
        self._compiler.join(10)
        with self._lock:
            for log in self._logs.values():
                log.close()

    # Carrying it out.

    def _load(self) -> None:
        for record in self._store.pipelines():
            self._adopt(record)
            if record.resources_status != "Stopped" or record.resources_desired != "Stopped":
                record = self._change(record, **_interrupted(record))
                if record.resources_desired != "Stopped":
                    text = "The server ended without stopping the pipeline: it goes on"
                    self._say(record, "WARN", text)
                    self._deploy_if_wanted(record)
            if record.program_status in _COMPILING:
                record = self._change(record, **edits.recompiled(self._version))
                self._to_compile.put(record.id)
            if record.storage_status == "Clearing":
                self._clear(record)

    def _adopt(self, record: PipelineRecord) -> None:
        self._records[record.id] = record
        self._logs[record.id] = LogBuffer()
        self._events[record.id] = deque(maxlen=MAX_EVENTS)
        self._record_event(record)

    def _change(self, record: PipelineRecord, **changes: Any) -> PipelineRecord:
        return self._put(record.changed(**changes))

    def _put(self, record: PipelineRecord) -> PipelineRecord:
        self._store.put(record)
        before = self._records[record.id].monitored()
        self._records[record.id] = record
        if before != record.monitored():
            self._record_event(record)
        return record

    def _record_event(self, record: PipelineRecord) -> None:
        event = {"event_id": uuid7(), "recorded_at": now_rfc3339(), **record.monitored()}
        self._events[record.id].appendleft(event)

    def _say(self, record: PipelineRecord, level: str, text: str) -> None:
        self._logs[record.id].append(manager_line(level, text, record.id, record.name))

    def _storage_dir(self, record: PipelineRecord) -> Path:
        return self._pipelines_dir / record.id

    def _clear(self, record: PipelineRecord) -> None:
        def empty() -> None:
            shutil.rmtree(self._storage_dir(record), ignore_errors=True)
            leftover = self._storage_dir(record).exists()
            with self._lock:
                current = self._records.get(record.id)
                if current is None:
                    return
                if leftover:
                    self._say(current, "ERROR", "The storage could not be removed entirely")
                if leftover:
                    self._change(current, storage_status="InUse")
                else:
                    self._change(current, storage_status="Cleared", storage_details=None)

        threading.Thread(target=empty, name="clear-storage", daemon=True).start()

    def _compile_all(self) -> None:
        while (pipeline_id := self._to_compile.get()) is not None:
            with self._lock:
                record = self._records.get(pipeline_id)
                if record is None or record.program_status != "Pending":
                    continue
                record = self._change(record, program_status="CompilingSql")
            changes = compile_record(
                record.program_code, record.udf_rust, record.udf_toml, python_udf=self._python_udf
            )
            with self._lock:
                self._finish_compiling(record, changes)

    def _finish_compiling(self, compiled: PipelineRecord, changes: dict[str, Any]) -> None:
        record = self._records.get(compiled.id)
        if record is None or record.program_version != compiled.program_version:
            return  # edited or deleted meanwhile; the edit is in the queue
        status = changes["program_status"]
        moved = {"refresh_version": record.refresh_version + 1}
        if status == "Success":
            self._change(record, **{**changes, **moved, "program_status": "SqlCompiled"})
            self._change(self._records[record.id], program_status="CompilingRust")
            moved = {}
        record = self._change(self._records[record.id], **changes, **moved)
        self._say(record, "INFO" if status == "Success" else "ERROR", f"Compiled: {status}")
        if status == "Success":
            self._deploy_if_wanted(record)
        else:
            failed = lifecycle.compile_failed(record)
            if failed:
                self._change(record, **failed)

    def _deploy_if_wanted(self, record: PipelineRecord) -> None:
        if record.resources_desired != "Provisioned" or record.program_status != "Success":
            return
        if record.id in self._deployments:
            return
        storage_dir = self._storage_dir(record)
        storage_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        deployment_id = uuid7()
        self._say(record, "INFO", "Provisioning the pipeline")
        record = self._change(
            record,
            resources_status="Provisioning",
            deployment_id=deployment_id,
            storage_status="InUse",
        )
        deployment = Deployment(
            {
                "pipeline_id": record.id,
                "name": record.name,
                "program_code": record.program_code,
                "udf": self.udf_of(record),
                "runtime_config": record.runtime_config,
                "storage_dir": str(storage_dir),
                "bootstrap_policy": record.bootstrap_policy,
                "silent_bootstrap": record.silent_bootstrap,
                "initial": (record.runtime_desired or "Running").lower(),
                "incarnation_uuid": deployment_id,
            },
            self._pool,
            log=self._logs[record.id].append,
            on_status=self._on_status(record.id),
            on_ended=self._on_ended(record.id),
            on_checkpoints=self._on_checkpoints(record.id),
            on_unsuspended=self._on_unsuspended(record.id),
        )
        self._deployments[record.id] = deployment
        deployment.begin()

    def _on_status(self, pipeline_id: str) -> Callable[[str, dict[str, Any] | None], None]:
        def on_status(state: str, details: dict[str, Any] | None) -> None:
            with self._lock:
                record = self._records[pipeline_id]
                deployment = self._deployments[pipeline_id]
                if record.resources_desired == "Stopped":
                    return
                record = self._change(
                    record,
                    resources_status="Provisioned",
                    runtime_status=state,
                    runtime_details=details,
                )
                self._say(record, "INFO", f"The pipeline is {state}")
            desired = record.runtime_desired
            is_steered = desired in ("Paused", "Running")
            if state in ("Paused", "Running") and desired != state and desired and is_steered:
                try:
                    self._steer(deployment, record, desired)
                except TransientError as problem:
                    # If the worker is in trouble, the next look at its status says which.
                    _log.warning("%s", problem)

        return on_status

    def _on_checkpoints(self, pipeline_id: str) -> Callable[[list[dict[str, Any]]], None]:
        def on_checkpoints(found: list[dict[str, Any]]) -> None:
            with self._lock:
                record = self._records[pipeline_id]
                self._change(record, storage_details={"checkpoints": found})

        return on_checkpoints

    def _on_unsuspended(self, pipeline_id: str) -> Callable[[ErrorBody], None]:
        def on_unsuspended(error: ErrorBody) -> None:
            with self._lock:
                record = self._records[pipeline_id]
                if record.resources_desired == "Stopped":
                    return
                self._say(
                    record,
                    "ERROR",
                    f"The pipeline could not be stopped with a checkpoint and goes on:"
                    f" {error['message']}; stop it with force=true to end it without one",
                )
                self._change(record, runtime_desired=record.runtime_status)

        return on_unsuspended

    def _steer(self, deployment: Deployment, record: PipelineRecord, desired: str) -> None:
        try:
            deployment.steer(desired)
        except (WorkerGone, WorkerAnswered) as problem:
            raise TransientError(
                f"Pipeline '{record.name}' could not be told to become {desired}: {problem}",
                code="PipelineInteractionUnreachable",
                details={
                    "pipeline_name": record.name,
                    "request": desired.lower(),
                    "error": str(problem),
                },
            ) from problem
        with self._lock:
            current = self._records.get(record.id)
            if (
                current is not None
                and current.resources_status == "Provisioned"
                and current.runtime_desired == desired
            ):
                self._change(current, runtime_status=desired)

    def _on_ended(self, pipeline_id: str) -> Callable[[ErrorBody | None], None]:
        def on_ended(error: ErrorBody | None) -> None:
            with self._lock:
                del self._deployments[pipeline_id]
                record = self._records[pipeline_id]
                changes: dict[str, Any] = {
                    "resources_desired": "Stopped",
                    "runtime_status": None,
                    "runtime_desired": None,
                    "runtime_details": None,
                }
                if error is not None:
                    changes["deployment_error"] = error
                    self._say(record, "ERROR", f"The pipeline failed: {error['message']}")
                record = self._change(record, resources_status="Stopping", **changes)
                self._change(record, resources_status="Stopped", initial=None, deployment_id=None)
                self._say(record, "INFO", "The pipeline is Stopped")

        return on_ended


def _interrupted(record: PipelineRecord) -> dict[str, Any]:
    """A record found running at start-up: the server ended without stopping it. What somebody
    wanted to run is wanted still (contract 1.6: the desired status is what is worked towards)."""
    changes: dict[str, Any] = {
        "resources_status": "Stopped",
        "runtime_status": None,
        "runtime_details": None,
        "deployment_id": None,
    }
    is_wanted = record.resources_desired == "Provisioned" and record.runtime_desired != "Suspended"
    if not is_wanted:
        changes |= {"resources_desired": "Stopped", "runtime_desired": None, "initial": None}
    return changes
