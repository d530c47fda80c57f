"""The numbers of one pipeline as Prometheus metrics (contract 6.3, docs/operations.md).

Not here: names and text (`penstock.wire.prometheus`), the same numbers as JSON (`statistics`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.outputs import OutputEndpoint
from penstock.pipeline.phases import Phase, WaitingFor
from penstock.pipeline.statistics import (
    Statistics,
    is_complete,
    resident_bytes,
    step_percentiles,
)
from penstock.wire.prometheus import Exposition

_TRANSACTION_STATES = {"NoTransaction": 0, "TransactionInProgress": 1, "CommitInProgress": 2}


def prometheus(
    loop: StepLoop,
    labels: dict[str, str],
    *,
    process: Statistics,
    is_paused: bool,
    checkpoints: Mapping[str, Any] | None = None,
) -> str:
    """The metrics of one pipeline; `labels` stand on every sample. `checkpoints`: their status
    (contract 6.5), None without storage."""
    e = Exposition(labels)
    e.put("records_input_total", sum(i.total_records for i in loop.inputs.values()))
    e.put("records_processed_total", loop.processed_records)
    e.put("records_input_buffered", loop.buffered_records)
    e.put("dbsp_steps_total", loop.step)
    e.put("records_late_total", loop.circuit.late_records)
    e.put("transaction_state", _TRANSACTION_STATES[loop.transaction.status])
    e.put("process_resident_memory_bytes", resident_bytes())
    e.put("process_cpu_seconds_total", time.process_time())
    e.put("storage_usage_bytes", process.storage_bytes())
    e.put("pipeline_start_time_seconds", process.started)
    e.put("pipeline_complete", int(is_complete(loop)))
    e.put("pipeline_paused", int(is_paused))
    if checkpoints is not None:
        e.put("feldera_checkpoint_sequence_number", checkpoints["success"] or 0)
        e.put("feldera_checkpoint_failed", int(checkpoints["failure"] is not None))
    for q, ms in step_percentiles(loop).items():
        e.put("dbsp_step_latency_seconds", ms / 1000, quantile=f"0.{q[1:]}")
    for i in loop.inputs.values():
        put_input(e, i, is_paused=is_paused)
    for o in loop.outputs.values():
        _put_output(e, o)
    return e.text()


def put_input(e: Exposition, i: InputEndpoint, *, is_paused: bool) -> None:
    """The metrics of one input."""
    for name, value in {
        "records_total": i.total_records,
        "bytes_total": i.total_bytes,
        "buffered_records": i.buffered_records,
        "buffered_records_bytes": i.buffered_bytes,
        "running": int(not (is_paused or i.paused or i.is_waiting or i.fatal_error is not None)),
        "healthy": int(i.unhealthy is None),
        "errors_parse_total": i.num_parse_errors,
        "errors_transport_total": i.num_transport_errors,
        "end_of_input": int(i.is_at_end),
    }.items():
        e.put(f"input_connector_{name}", value, endpoint=i.name)


def _put_output(e: Exposition, o: OutputEndpoint) -> None:
    with o.locked() as s:
        records, batches = s.queue.records, s.queue.batches
        lag_records, lag_seconds = s.lag()
        buffered = s.settings.buffered
        figures: dict[str, float] = {
            "records_total": s.counters.transmitted_records,
            "bytes_total": o.transmitted_bytes(),
            "queued_records": 0 if buffered else records,
            "queued_batches": 0 if buffered else batches,
            "buffered_records": records if buffered else 0,
            "kept_records": s.kept_records,
            "errors_encode_total": s.counters.num_encode_errors,
            "errors_transport_total": s.counters.num_transport_errors,
            "healthy": int(s.unhealthy is None),
            "paused": int(s.paused),
            "lag_records": lag_records,
            "lag_seconds": round(lag_seconds, 3),
            "generation": s.record.generation,
            "snapshot_rows_done": s.progress.rows_staged,
            "snapshot_rows": s.progress.rows_total or 0,
            "snapshots_total": s.counters.published_snapshots,
            "resets_total": s.counters.resets,
            "resets_cancelled_total": s.counters.cancelled_resets,
        }
        in_phase, waiting_for = s.phase, s.waiting_for
    for name, value in figures.items():
        e.put(f"output_connector_{name}", value, endpoint=o.name)
    for phase in Phase:
        is_in = int(phase is in_phase)
        e.put("output_connector_phase", is_in, endpoint=o.name, phase=phase.value)
    for reason in WaitingFor:
        is_for = int(reason is waiting_for)
        e.put("output_connector_waiting", is_for, endpoint=o.name, reason=reason.value)
