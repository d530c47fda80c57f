"""All pipelines of one server: every call of the life-cycle, and the threads that carry it out.

    request ─► rule (lifecycle.py, edits.py) ─► changes ─► stored record ─► event
                                                   │
                          compile queue ◄──────────┴────────► Deployments (a thread each)

Invariant: compilations run one at a time, in order of arrival; `roster` and `deployments` say
theirs. Not here: HTTP, calls into a running pipeline (`server/`).
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from penstock.errors import NotFound, TransientError
from penstock.manager import edits, lifecycle
from penstock.manager.compiler import compile_record
from penstock.manager.deployments import Deployments
from penstock.manager.lifecycle import StartRequest
from penstock.manager.logs import LogBuffer
from penstock.manager.records import PipelineRecord
from penstock.manager.roster import Roster
from penstock.manager.store import Store
from penstock.manager.workers import WorkerAnswered, WorkerGone, WorkerPool
from penstock.wire.stamps import now_rfc3339, uuid7

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
        self._python_udf = python_udf
        self._pool = pool
        self._pipelines_dir = data_dir / "pipelines"
        self._version = platform_version
        self._roster = Roster(store)
        self._lock = self._roster.lock
        self._deployments = Deployments(
            self._roster, pool, storage_of=self.storage_of, udf_of=self.udf_of
        )
        self._to_compile: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._compiler = threading.Thread(target=self._compile_all, name="compiler", daemon=True)
        self.started_at = now_rfc3339()
        self.started_id = uuid7()
        self._load()
        self._compiler.start()

    # Look-ups.

    def find(self, tenant_id: str, name: str) -> PipelineRecord:
        """Raises NotFound `UnknownPipelineName`, also for another tenant's pipeline."""
        return self._roster.find(tenant_id, name)

    def all_of(self, tenant_id: str) -> list[PipelineRecord]:
        """The tenant's pipelines in order of creation."""
        return self._roster.all_of(tenant_id)

    def log_of(self, record: PipelineRecord) -> LogBuffer:
        return self._roster.log_of(record)

    def events_of(self, record: PipelineRecord) -> list[dict[str, Any]]:
        """Newest first, with all keys."""
        return self._roster.events_of(record)

    def socket_of(self, record: PipelineRecord) -> Path:
        """Where the pipeline's process listens. Raises `PipelineInteractionNotDeployed`."""
        return self._deployments.socket_of(record)

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
            self._roster.add(record)
            self._roster.say(record, "INFO", "Pipeline created")
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
            self._roster.remove(record)
        shutil.rmtree(self.storage_of(record), ignore_errors=True)

    def update_runtime(self, tenant_id: str, name: str) -> PipelineRecord:
        """Recompile on this release if the record was compiled by another one."""
        with self._lock:
            record = self.find(tenant_id, name)
            lifecycle.check_recompilable(record)
            if record.platform_version == self._version:
                return record
            record = self._roster.change(
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
            self._roster.put(edited)
            if edited.program_version != record.program_version:
                self._to_compile.put(edited.id)
        return edited

    # Life-cycle.

    def start(self, tenant_id: str, name: str, request: StartRequest) -> None:
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.start(record, request)
            if changes:
                record = self._roster.change(record, **changes)
                self._deployments.deploy_if_wanted(record)

    def stop(self, tenant_id: str, name: str, *, force: bool) -> None:
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.stop(record, force)
            deployment = self._deployments.get(record.id)
            if deployment is None:
                if changes:
                    self._roster.change(record, initial=None, **changes)
                return
            if changes.get("runtime_desired") == "Suspended":
                if record.runtime_desired != "Suspended":
                    self._roster.say(record, "INFO", "Stopping the pipeline with a checkpoint")
                    self._roster.change(record, **changes)
                deployment.request_suspend()
                return
            if changes:
                self._roster.say(record, "INFO", "Stopping the pipeline")
                self._roster.change(
                    record, resources_status="Stopping", runtime_status=None, **changes
                )
            deployment.request_stop()

    def steer(self, tenant_id: str, name: str, desired: str) -> None:
        """Pause or resume."""
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.steer(record, desired)
            if changes:
                record = self._roster.change(record, **changes)
        self._deployments.steer(record, desired)

    def approve(self, tenant_id: str, name: str, *, is_silent: bool) -> None:
        """Let a pipeline whose program has changed go on."""
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.approve(record)
            deployment = self._deployments.get(record.id)
            assert deployment is not None  # a record that awaits approval has one
        try:
            deployment.approve(is_silent)
        except (WorkerGone, WorkerAnswered) as problem:
            raise TransientError(
                f"Pipeline '{name}' could not be told of the approval: {problem}",
                code="PipelineInteractionUnreachable",
                details={"pipeline_name": name, "request": "approve", "error": str(problem)},
            ) from problem
        with self._lock:
            current = self._roster.get(record.id)
            if current is not None and current.runtime_status == "AwaitingApproval":
                self._roster.change(current, **changes)

    def storage_of(self, record: PipelineRecord) -> Path:
        """The folder in which the pipeline keeps its state."""
        return self._pipelines_dir / record.id

    def udf_of(self, record: PipelineRecord) -> str:
        """The Python functions that the pipeline's process runs; none where not allowed."""
        return record.udf_rust if self._python_udf else ""

    def clear(self, tenant_id: str, name: str) -> None:
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.clear(record)
            if changes and record.storage_status != "Clearing":
                self._clear(self._roster.change(record, **changes))

    def dismiss_error(self, tenant_id: str, name: str) -> None:
        with self._lock:
            record = self.find(tenant_id, name)
            changes = lifecycle.dismiss_error(record)
            if changes:
                self._roster.change(record, **changes)

    def close(self) -> None:
        """Stop every pipeline, with a checkpoint where that is possible and takes no longer than
        SECONDS_TO_SUSPEND, and end the threads; records say Stopped, without an error."""
        with self._lock:
            deployments = self._deployments.all()
            for pipeline_id, deployment in deployments.items():
                record = self._roster[pipeline_id]
                self._roster.say(
                    record, "INFO", "The server is shutting down: stopping the pipeline"
                )
                self._roster.change(
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
        self._roster.close()

    # Carrying it out.

    def _load(self) -> None:
        for record in self._roster.load():
            if record.resources_status != "Stopped" or record.resources_desired != "Stopped":
                record = self._roster.change(record, **_interrupted(record))
                if record.resources_desired != "Stopped":
                    text = "The server ended without stopping the pipeline: it goes on"
                    self._roster.say(record, "WARN", text)
                    self._deployments.deploy_if_wanted(record)
            if record.program_status in _COMPILING:
                record = self._roster.change(record, **edits.recompiled(self._version))
                self._to_compile.put(record.id)
            if record.storage_status == "Clearing":
                self._clear(record)

    def _clear(self, record: PipelineRecord) -> None:
        def empty() -> None:
            shutil.rmtree(self.storage_of(record), ignore_errors=True)
            leftover = self.storage_of(record).exists()
            with self._lock:
                current = self._roster.get(record.id)
                if current is None:
                    return
                if leftover:
                    self._roster.say(current, "ERROR", "The storage could not be removed entirely")
                if leftover:
                    self._roster.change(current, storage_status="InUse")
                else:
                    self._roster.change(current, storage_status="Cleared", storage_details=None)

        threading.Thread(target=empty, name="clear-storage", daemon=True).start()

    def _compile_all(self) -> None:
        while (pipeline_id := self._to_compile.get()) is not None:
            with self._lock:
                record = self._roster.get(pipeline_id)
                if record is None or record.program_status != "Pending":
                    continue
                record = self._roster.change(record, program_status="CompilingSql")
            changes = compile_record(
                record.program_code, record.udf_rust, record.udf_toml, python_udf=self._python_udf
            )
            with self._lock:
                self._finish_compiling(record, changes)

    def _finish_compiling(self, compiled: PipelineRecord, changes: dict[str, Any]) -> None:
        record = self._roster.get(compiled.id)
        if record is None or record.program_version != compiled.program_version:
            return  # edited or deleted meanwhile; the edit is in the queue
        status = changes["program_status"]
        moved = {"refresh_version": record.refresh_version + 1}
        if status == "Success":
            self._roster.change(record, **{**changes, **moved, "program_status": "SqlCompiled"})
            self._roster.change(self._roster[record.id], program_status="CompilingRust")
            moved = {}
        record = self._roster.change(self._roster[record.id], **changes, **moved)
        self._roster.say(record, "INFO" if status == "Success" else "ERROR", f"Compiled: {status}")
        if status == "Success":
            self._deployments.deploy_if_wanted(record)
        else:
            failed = lifecycle.compile_failed(record)
            if failed:
                self._roster.change(record, **failed)


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
