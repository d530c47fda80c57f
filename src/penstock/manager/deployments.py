"""The pipelines that have a process, or are getting one, and what their processes report.

    deploy ─► Deployment (own thread) ─► on_status, on_checkpoints, on_unsuspended, on_ended
                                                            │
                                                            └─► changes of the record

Invariant: a record says Provisioned exactly while a Deployment exists that has reported a state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.errors import TransientError
from penstock.manager import lifecycle
from penstock.manager.deployment import Deployment, ErrorBody
from penstock.manager.records import PipelineRecord
from penstock.manager.roster import Roster
from penstock.manager.workers import WorkerAnswered, WorkerGone, WorkerPool
from penstock.wire.stamps import uuid7

_log = logging.getLogger(__name__)


class Deployments:
    """`storage_of(record)`: the folder of its state; `udf_of(record)`: the Python functions that
    its process runs."""

    def __init__(
        self,
        roster: Roster,
        pool: WorkerPool,
        *,
        storage_of: Callable[[PipelineRecord], Path],
        udf_of: Callable[[PipelineRecord], str],
    ) -> None:
        self._roster, self._pool = roster, pool
        self._storage_of, self._udf_of = storage_of, udf_of
        self._running: dict[str, Deployment] = {}

    def get(self, pipeline_id: str) -> Deployment | None:
        with self._roster.lock:
            return self._running.get(pipeline_id)

    def all(self) -> dict[str, Deployment]:
        with self._roster.lock:
            return dict(self._running)

    def socket_of(self, record: PipelineRecord) -> Path:
        """Where the pipeline's process listens. Raises `PipelineInteractionNotDeployed`."""
        with self._roster.lock:
            deployment = self._running.get(record.id)
            current = self._roster.get(record.id) or record
            if (
                deployment is None
                or deployment.worker is None
                or current.resources_status != "Provisioned"
            ):
                raise lifecycle.not_deployed(current)
            return deployment.worker.socket

    def deploy_if_wanted(self, record: PipelineRecord) -> None:
        """Start the pipeline's process if it shall have one, its program is compiled, and it has
        none yet. Under the roster's lock."""
        if record.resources_desired != "Provisioned" or record.program_status != "Success":
            return
        if record.id in self._running:
            return
        storage_dir = self._storage_of(record)
        try:
            storage_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as problem:
            self._roster.change(record, **lifecycle.without_storage(problem))
            return
        deployment_id = uuid7()
        self._roster.say(record, "INFO", "Provisioning the pipeline")
        record = self._roster.change(
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
                "udf": self._udf_of(record),
                "runtime_config": record.runtime_config,
                "storage_dir": str(storage_dir),
                "bootstrap_policy": record.bootstrap_policy,
                "silent_bootstrap": record.silent_bootstrap,
                "initial": (record.runtime_desired or "Running").lower(),
                "incarnation_uuid": deployment_id,
            },
            self._pool,
            log=self._roster.log_of(record).append,
            on_status=self._on_status(record.id),
            on_ended=self._on_ended(record.id),
            on_checkpoints=self._on_checkpoints(record.id),
            on_unsuspended=self._on_unsuspended(record.id),
        )
        self._running[record.id] = deployment
        deployment.begin()

    def steer(self, record: PipelineRecord, desired: str) -> None:
        """Tell the process to become Paused or Running. Raises TransientError."""
        deployment = self.get(record.id)
        # While it initialises, `_on_status` sees the difference as soon as it has started.
        if deployment is not None and record.runtime_status in ("Paused", "Running"):
            self._steer(deployment, record, desired)

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
        with self._roster.lock:
            current = self._roster.get(record.id)
            if (
                current is not None
                and current.resources_status == "Provisioned"
                and current.runtime_desired == desired
            ):
                self._roster.change(current, runtime_status=desired)

    # what a process reports, on its deployment's thread

    def _on_status(self, pipeline_id: str) -> Callable[[str, dict[str, Any] | None], None]:
        def on_status(state: str, details: dict[str, Any] | None) -> None:
            with self._roster.lock:
                record = self._roster[pipeline_id]
                deployment = self._running[pipeline_id]
                if record.resources_desired == "Stopped":
                    return
                record = self._roster.change(
                    record,
                    resources_status="Provisioned",
                    runtime_status=state,
                    runtime_details=details,
                )
                self._roster.say(record, "INFO", f"The pipeline is {state}")
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
            with self._roster.lock:
                record = self._roster[pipeline_id]
                self._roster.change(record, storage_details={"checkpoints": found})

        return on_checkpoints

    def _on_unsuspended(self, pipeline_id: str) -> Callable[[ErrorBody], None]:
        def on_unsuspended(error: ErrorBody) -> None:
            with self._roster.lock:
                record = self._roster[pipeline_id]
                if record.resources_desired == "Stopped":
                    return
                self._roster.say(
                    record,
                    "ERROR",
                    f"The pipeline could not be stopped with a checkpoint and goes on:"
                    f" {error['message']}; stop it with force=true to end it without one",
                )
                self._roster.change(record, runtime_desired=record.runtime_status)

        return on_unsuspended

    def _on_ended(self, pipeline_id: str) -> Callable[[ErrorBody | None], None]:
        def on_ended(error: ErrorBody | None) -> None:
            with self._roster.lock:
                del self._running[pipeline_id]
                record = self._roster[pipeline_id]
                changes: dict[str, Any] = {
                    "resources_desired": "Stopped",
                    "runtime_status": None,
                    "runtime_desired": None,
                    "runtime_details": None,
                }
                if error is not None:
                    changes["deployment_error"] = error
                    self._roster.say(record, "ERROR", f"The pipeline failed: {error['message']}")
                record = self._roster.change(record, resources_status="Stopping", **changes)
                self._roster.change(
                    record, resources_status="Stopped", initial=None, deployment_id=None
                )
                self._roster.say(record, "INFO", "The pipeline is Stopped")

        return on_ended
