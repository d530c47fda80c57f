"""What a pipeline was told when it was started: the one place that reads its configuration."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.errors import UserError

#: a step takes at most this many records for each worker
BATCH_RECORDS = 10_000


@dataclass(frozen=True)
class PipelineSettings:
    """`initial` is running or paused; `storage_dir` None keeps nothing; `model` is none,
    at_least_once or exactly_once; `interval_s` None takes no checkpoint by itself."""

    id: str
    name: str
    program: str
    udf: str
    runtime: Mapping[str, Any]
    storage_dir: Path | None
    initial: str
    bootstrap_policy: str
    is_silent: bool
    incarnation: str
    model: str
    interval_s: float | None

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> PipelineSettings:
        """Read `config`: pipeline_id, name, program_code, udf (the Python text of its functions
        without a body; may lack), runtime_config, storage_dir, initial, incarnation_uuid."""
        runtime = dict(config.get("runtime_config") or {})
        storage = config.get("storage_dir")
        fault_tolerance = runtime.get("fault_tolerance") or {}
        model = str(fault_tolerance.get("model") or "none")
        interval = fault_tolerance.get("checkpoint_interval_secs", 60)
        return cls(
            id=str(config["pipeline_id"]),
            name=str(config["name"]),
            program=str(config["program_code"]),
            udf=str(config.get("udf", "")),
            runtime=runtime,
            storage_dir=None if storage is None else Path(storage),
            initial=str(config.get("initial") or "running").lower(),
            bootstrap_policy=str(config.get("bootstrap_policy") or "await_approval"),
            is_silent=bool(config.get("silent_bootstrap", False)),
            incarnation=str(config.get("incarnation_uuid") or uuid.uuid4()),
            model=model,
            interval_s=None if interval is None or model == "none" else float(interval),
        )

    @property
    def is_exactly_once(self) -> bool:
        return self.model == "exactly_once"

    def keeps_state(self) -> bool:
        """Whether state outlives the process. Raises UserError if it must and cannot."""
        is_kept = self.storage_dir is not None and self.runtime.get("storage", {}) is not None
        if self.model != "none" and not is_kept:
            raise UserError(
                f"fault tolerance '{self.model}' needs storage: set runtime_config.storage, or "
                "fault_tolerance.model to none",
                code="ConfigError.FtRequiresStorage",
            )
        return is_kept

    @property
    def max_batch_records(self) -> int:
        return BATCH_RECORDS * int(self.runtime.get("workers") or 1)

    @property
    def min_batch_records(self) -> int:
        return int(self.runtime.get("min_batch_size_records") or 0)

    @property
    def max_delay_s(self) -> float:
        return int(self.runtime.get("max_buffering_delay_usecs") or 0) / 1e6
