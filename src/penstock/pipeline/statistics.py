"""The numbers of one pipeline, as the REST contract spells them (section 6).

Reads endpoints and loop without stopping them: figures of one answer may be a step apart.
"""

from __future__ import annotations

import os
import resource
import time
from collections import deque
from pathlib import Path
from typing import Any

from penstock import __version__
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.outputs import OutputEndpoint
from penstock.plan.nodes import CLOCK


def input_status(e: InputEndpoint, *, is_paused: bool, errors: bool) -> dict[str, Any]:
    """One element of `inputs` (contract 6.1)."""
    unhealthy = e.unhealthy
    health = {"status": "Unhealthy" if unhealthy else "Healthy", "description": unhealthy}
    completed_frontier, latency_micros = e.frontier
    status: dict[str, Any] = {
        "endpoint_name": e.name,
        "config": {**e.config, "stream": e.relation},
        "metrics": {
            "total_bytes": e.total_bytes,
            "total_records": e.total_records,
            "buffered_records": e.buffered_records,
            "buffered_bytes": e.buffered_bytes,
            "num_transport_errors": e.num_transport_errors,
            "num_parse_errors": e.num_parse_errors,
            "end_of_input": e.is_at_end,
            "processing_latency_p99_micros": latency_micros,
        },
        "paused": e.paused or is_paused,
        "barrier": False,
        "fatal_error": e.fatal_error,
        "health": health,
        "completed_frontier": completed_frontier,
    }
    if errors:
        status["parse_errors"] = list(e.parse_errors)
        status["transport_errors"] = list(e.transport_errors)
    return status


def output_status(o: OutputEndpoint, *, errors: bool) -> dict[str, Any]:
    """One element of `outputs` (contract 6.1), and beyond it the delivery's phase."""
    with o.locked() as s:
        records, batches = o.queued
        lag_records, lag_seconds = s.lag()
        healthy = o.unhealthy is None
        buffered = o.settings.buffered
        status: dict[str, Any] = {
            "endpoint_name": o.name,
            "config": {**o.config, "stream": o.relation},
            "metrics": {
                "transmitted_records": o.counters.transmitted_records,
                "transmitted_bytes": o.transmitted_bytes(),
                "queued_records": 0 if buffered else records,
                "queued_batches": 0 if buffered else batches,
                "buffered_records": records if buffered else 0,
                "buffered_batches": batches if buffered else 0,
                "num_encode_errors": o.counters.num_encode_errors,
                "num_transport_errors": o.counters.num_transport_errors,
                "total_processed_input_records": o.completed_records,
                "total_processed_steps": o.completed_step,
                "memory": s.memory_bytes,
                "batch_records_written": None,
            },
            "fatal_error": o.fatal_error,
            "health": {
                "status": "Healthy" if healthy else "Unhealthy",
                "description": o.unhealthy,
            },
            "paused": o.paused,
            "delivery": {
                "phase": s.phase.value,
                "waiting_for": None if s.waiting_for is None else s.waiting_for.value,
                "generation": s.record.generation,
                "token": s.record.token,
                "resets": s.counters.resets,
                "cancelled_resets": s.counters.cancelled_resets,
                "published_snapshots": s.counters.published_snapshots,
                "kept_records": s.kept_records,
                "lag_records": lag_records,
                "lag_seconds": round(lag_seconds, 3),
                "snapshot": {
                    "step": s.progress.step,
                    "attempt": s.progress.attempt,
                    "rows_done": s.progress.rows_staged,
                    "rows_total": s.progress.rows_total,
                    "last_error": s.progress.last_error,
                },
            },
        }
        if errors:
            status["encode_errors"] = list(s.encode_errors)
            status["transport_errors"] = list(o.errors)
    return status


def resident_bytes() -> int:
    """Resident memory of this process now (0 where the system does not tell)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")


_INITIATED = {
    "NoTransaction": None, "TransactionInProgress": "Started", "CommitInProgress": "Committed"
}  # fmt: skip


def is_complete(loop: StepLoop) -> bool:
    """Whether all inputs have ended and everything is processed and delivered."""
    inputs = loop.inputs.values()
    # time does not end, and neither do HTTP requests, but nobody shall wait for that
    configured = [e for e in inputs if ".api-ingress-" not in e.name and e.relation != CLOCK]
    return (
        all(e.is_at_end or e.fatal_error is not None for e in configured)
        and loop.processed_records >= sum(e.total_records for e in inputs)
        and loop.completed_records >= loop.processed_records
    )


def _suspend_error(loop: StepLoop, *, has_storage: bool) -> dict[str, list[str]] | None:
    """Why a checkpoint cannot be taken, or not now."""
    if not has_storage:
        return {"Permanent": ["StorageRequired"]}
    reasons = ["Replaying"] if loop.is_replaying else []
    if loop.transaction.is_open:
        reasons.append("TransactionInProgress")
    return {"Temporary": reasons} if reasons else None


def _size_of(folder: Path) -> int:
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += _size_of(Path(entry.path))
                else:
                    total += _length(entry)
    except FileNotFoundError:  # a folder may go while we look
        return total
    return total


def _length(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:  # so may a file
        return 0


#: percent of the memory limit from which on the pressure has that name
PRESSURES = ((0, "low"), (80, "moderate"), (90, "high"), (100, "critical"))


class Statistics:
    """Figures of the process as a whole, and the last minute of them."""

    def __init__(self, incarnation_uuid: str) -> None:
        self.incarnation_uuid = incarnation_uuid
        self.started = time.time()
        #: when the run began that this one goes on from, epoch seconds
        self.initially_started = self.started
        #: where the pipeline keeps its state; None: in memory only
        self.storage: Path | None = None
        #: what the process may take (`runtime_config.max_rss_mb`); None: no limit, no pressure
        self.limit_bytes: int | None = None
        #: its name, and how often that changed
        self.memory_pressure = (PRESSURES[0][1], 0)
        self._samples: deque[dict[str, float]] = deque(maxlen=60)
        self._byte_seconds = 0.0
        self._sampled = time.monotonic()

    def sample(self, loop: StepLoop) -> None:
        """Note one point of the time series; called about once a second."""
        resident = resident_bytes()
        self.note_pressure(resident)
        stored, now = self.storage_bytes(), time.monotonic()
        self._byte_seconds += stored * (now - self._sampled)
        self._sampled = now
        self._samples.append(
            {
                "t": int(time.time() * 1000),
                "r": loop.processed_records,
                "m": resident,
                "s": stored,
            }
        )

    def note_pressure(self, resident: int) -> None:
        """The process has `resident` bytes: how near that is to the limit."""
        if self.limit_bytes is None:
            return
        percent = 100 * resident // self.limit_bytes
        pressure = next(name for least, name in reversed(PRESSURES) if percent >= least)
        known, epoch = self.memory_pressure
        if pressure != known:
            self.memory_pressure = (pressure, epoch + 1)

    def storage_bytes(self) -> int:
        """Bytes of all files of the pipeline's storage; walks its folders."""
        return 0 if self.storage is None else _size_of(self.storage)

    def time_series(self) -> dict[str, Any]:
        return {"now": int(time.time() * 1000), "samples": list(self._samples)}

    def controller_status(
        self,
        loop: StepLoop,
        *,
        is_paused: bool,
        errors: bool = False,
        checkpoint_activity: dict[str, Any] | None = None,
        recovery: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """ControllerStatus of the contract (6.1)."""
        inputs, outputs = loop.inputs.values(), loop.outputs.values()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        total = sum(e.total_records for e in inputs)
        total_bytes = sum(e.total_bytes for e in inputs)
        completed = loop.completed_records
        uptime_ms = int((time.time() - self.started) * 1000)
        pressure, pressure_epoch = self.memory_pressure
        transaction = loop.transaction
        waiting = loop.buffered_records
        waiting_bytes = total_bytes - sum(e.stepped.bytes for e in inputs) if waiting else 0
        return {
            "global_metrics": {
                "state": "Paused" if is_paused else "Running",
                "bootstrap_in_progress": False,
                "pipeline_complete": is_complete(loop),
                "transaction_status": transaction.status,
                "transaction_id": transaction.id,
                "transaction_msecs": transaction.msecs,
                "transaction_records": transaction.records if transaction.is_open else None,
                "commit_progress": None,
                "transaction_initiators": {
                    "transaction_id": transaction.id or None,
                    "initiated_by_api": _INITIATED[transaction.status],
                    "initiated_by_connectors": {},
                },
                "concurrent_bootstrap_phase": "Inactive",
                "concurrent_bootstrap_progress": None,
                "rss_bytes": resident_bytes(),
                "cpu_msecs": int((usage.ru_utime + usage.ru_stime) * 1000),
                "uptime_msecs": uptime_ms,
                "storage_bytes": self.storage_bytes(),
                "storage_mb_secs": int(self._byte_seconds / 1e6),
                "runtime_elapsed_msecs": int(loop.stepping_s * 1000),
                "output_stall_msecs": int(loop.stalled_s * 1000),
                "memory_pressure": pressure,
                "memory_pressure_epoch": pressure_epoch,
                "start_time": int(self.started),
                "initial_start_time": int(self.initially_started),
                "incarnation_uuid": self.incarnation_uuid,
                "buffered_input_records": waiting,
                "buffered_input_bytes": waiting_bytes,
                "total_input_records": total,
                "total_input_bytes": total_bytes,
                "total_processed_records": loop.processed_records,
                "total_processed_bytes": total_bytes - waiting_bytes,
                "total_completed_records": completed,
                "total_initiated_steps": loop.step,
                "total_completed_steps": loop.completed_step,
                "platform_version": __version__,
                "runtime_version": __version__,
            },
            "inputs": [input_status(e, is_paused=is_paused, errors=errors) for e in inputs],
            "outputs": [output_status(o, errors=errors) for o in outputs],
            "suspend_error": _suspend_error(loop, has_storage=checkpoint_activity is not None),
            "permanent_checkpoint_errors": None if checkpoint_activity else ["StorageRequired"],
            "checkpoint_activity": checkpoint_activity or {"status": "idle"},
            "recovery": recovery,
            "step_latency_ms": step_percentiles(loop),
        }


def step_percentiles(loop: StepLoop) -> dict[str, float]:
    """p50 and p99 of the latest steps, in milliseconds; empty before the first."""
    ordered = sorted(loop.latencies_s.copy())
    if not ordered:
        return {}
    return {
        f"p{q}": round(ordered[min(len(ordered) - 1, len(ordered) * q // 100)] * 1000, 3)
        for q in (50, 99)
    }
