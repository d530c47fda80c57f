"""Metrics in Prometheus' text format: their names, and samples as text (contract 6.3).

    # HELP output_connector_lag_seconds how long the sink has been behind the circuit
    # TYPE output_connector_lag_seconds gauge
    output_connector_lag_seconds{pipeline="…",pipeline_name="shop",endpoint="m.db"} 0.0

The samples of one metric stand together, also where several pipelines' are merged, as the format
asks for.

Not here: where the values come from (`penstock.pipeline.metrics`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

#: name → (type, what it means)
METRICS: dict[str, tuple[str, str]] = {
    "records_input_total": ("counter", "records that arrived at all inputs"),
    "records_processed_total": ("counter", "records that went through the circuit"),
    "records_input_buffered": ("gauge", "records that wait for a step"),
    "dbsp_steps_total": ("counter", "steps made"),
    "dbsp_step_latency_seconds": ("gauge", "percentiles of the latest steps"),
    "records_late_total": ("counter", "records that LATENESS has dropped"),
    "transaction_state": ("gauge", "0: none, 1: a transaction is open, 2: it is being committed"),
    "storage_usage_bytes": ("gauge", "bytes of the pipeline's storage"),
    "pipeline_start_time_seconds": ("gauge", "when the pipeline's process began, epoch seconds"),
    "pipeline_complete": ("gauge", "1 when inputs have ended and all is processed and delivered"),
    "process_cpu_seconds_total": ("counter", "processor time of the pipeline's process"),
    "feldera_checkpoint_sequence_number": ("gauge", "number of this run's newest durable one"),
    "feldera_checkpoint_failed": ("gauge", "1 while the last checkpoint has failed"),
    "process_resident_memory_bytes": ("gauge", "resident memory of the pipeline's process"),
    "pipeline_paused": ("gauge", "1 while the pipeline is paused"),
    "input_connector_records_total": ("counter", "records that arrived"),
    "input_connector_bytes_total": ("counter", "bytes that arrived"),
    "input_connector_buffered_records": ("gauge", "records that wait for a step"),
    "input_connector_buffered_records_bytes": ("gauge", "bytes that wait for a step"),
    "input_connector_running": ("gauge", "1 while the connector may deliver"),
    "input_connector_healthy": ("gauge", "0 while the source does not answer, or has failed"),
    "input_connector_errors_parse_total": ("counter", "records that did not parse"),
    "input_connector_errors_transport_total": ("counter", "failures of the source"),
    "input_connector_end_of_input": ("gauge", "1 when the source has ended"),
    "output_connector_records_total": ("counter", "records that the sink has taken"),
    "output_connector_bytes_total": ("counter", "bytes written, as well as the sink knows"),
    "output_connector_queued_records": ("gauge", "records on their way to the sink"),
    "output_connector_queued_batches": ("gauge", "steps with rows on their way to the sink"),
    "output_connector_buffered_records": ("gauge", "records in the output buffer"),
    "output_connector_kept_records": ("gauge", "records kept so that a reset can be cancelled"),
    "output_connector_errors_encode_total": ("counter", "batches that could not be encoded"),
    "output_connector_errors_transport_total": ("counter", "failures of the sink"),
    "output_connector_healthy": ("gauge", "0 while the last call of the sink has failed"),
    "output_connector_paused": ("gauge", "1 while the connector is paused"),
    "output_connector_lag_records": ("gauge", "input records that the sink is behind"),
    "output_connector_lag_seconds": ("gauge", "how long the sink has been behind the circuit"),
    "output_connector_generation": ("gauge", "the generation of the sink's contents"),
    "output_connector_phase": ("gauge", "1 for the phase that the connector is in"),
    "output_connector_waiting": ("gauge", "1 for what an owed snapshot waits for"),
    "output_connector_snapshot_rows_done": ("gauge", "rows of the last snapshot that are staged"),
    "output_connector_snapshot_rows": ("gauge", "rows of the last snapshot"),
    "output_connector_snapshots_total": ("counter", "snapshots published"),
    "output_connector_resets_total": ("counter", "resets accepted"),
    "output_connector_resets_cancelled_total": ("counter", "resets called off"),
}


@dataclass(slots=True)
class Exposition:
    """Samples under way to text; every one has `labels`."""

    labels: dict[str, str]
    samples: list[tuple[str, str]] = field(default_factory=list)

    def put(self, name: str, value: float, **labels: str) -> None:
        listed = ",".join(f'{k}="{_escaped(v)}"' for k, v in {**self.labels, **labels}.items())
        self.samples.append((name, f"{name}{{{listed}}} {value}"))

    def text(self) -> str:
        by_name: dict[str, list[str]] = {}
        for name, line in self.samples:
            by_name.setdefault(name, []).append(line)
        return _rendered(by_name)


def _rendered(by_name: dict[str, list[str]]) -> str:
    lines = []
    for name, samples in by_name.items():
        kind, meaning = METRICS[name]
        lines += [f"# HELP {name} {meaning}", f"# TYPE {name} {kind}", *samples]
    return "".join(line + "\n" for line in lines)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def merged(texts: Iterable[str]) -> str:
    """The metrics of several pipelines as one text."""
    by_name: dict[str, list[str]] = {}
    for text in texts:
        for line in text.splitlines():
            if line and not line.startswith("#"):
                by_name.setdefault(line[: line.index("{")], []).append(line)
    return _rendered(by_name)
