"""One running pipeline: the door to everything that the REST API asks of it.

    Pipeline(config) ─► start() ─► resume()/pause() … ─► stop()          (`life`)
                          └─► rows, queries, statistics, checkpoints, transactions, resets

All methods may be called from any thread; those that wait say so.

Not here: HTTP (`penstock.server`), the record of many pipelines (`penstock.manager`), what is
done for a request (`api`, `reset_desk`, `statistics`, `checkpoints`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from penstock.errors import UserError
from penstock.io.inputs.clock import Clock
from penstock.pipeline.api import Subscription
from penstock.pipeline.checkpoints import Checkpointer
from penstock.pipeline.endpoints import find_input, find_output
from penstock.pipeline.ingress import IngressSession
from penstock.pipeline.life import PipelineLife
from penstock.pipeline.metrics import prometheus
from penstock.pipeline.profile import circuit_profile
from penstock.pipeline.statistics import input_status, output_status


class Pipeline(PipelineLife):
    """A program that runs; `PipelineSettings.of` says what `config` holds."""

    # rows, by request

    def ingress(
        self, table: str, format: str, options: Mapping[str, str], force: bool = False
    ) -> IngressSession:
        """A session that takes the bytes of one request for `table`."""
        self._require_alive()
        return self._api.ingress(table, format, options, force)

    def completion_status(self, token: str) -> dict[str, Any]:
        """Whether every record up to the token's is processed and delivered (contract 3)."""
        return self._api.completion_status(token)

    def completion_token(self, table: str, connector: str) -> dict[str, Any]:
        return self._api.completion_token(find_input(self._loop, table, connector))

    def egress(
        self,
        relation: str,
        format: str,
        options: Mapping[str, Any],
        backpressure: bool = False,
        send_snapshot: bool = False,
    ) -> Subscription:
        """Subscribe to `relation`; works while paused too."""
        self._require_alive()
        return self._api.egress(relation, format, options, backpressure, send_snapshot)

    def query(self, sql: str, format: str = "text") -> tuple[str, Iterator[bytes]]:
        """Answer an ad-hoc query, or INSERT rows (which waits while the pipeline is paused)."""
        self._require_alive()
        return self._api.query(sql, format)

    # statistics

    def stats(self, include_errors: bool = False) -> dict[str, Any]:
        checkpoint = None if self._assembly is None else self._assembly.checkpoint
        return self._statistics.controller_status(
            self._loop,
            is_paused=not self._running.is_set(),
            errors=include_errors,
            checkpoint_activity=None if self._checkpointer is None else self._checkpointer.activity,
            recovery=None if checkpoint is None else checkpoint.summary(),
        )

    def input_stats(self, table: str, connector: str) -> dict[str, Any]:
        endpoint = find_input(self._loop, table, connector)
        return input_status(endpoint, is_paused=not self._running.is_set(), errors=True)

    def output_stats(self, view: str, connector: str) -> dict[str, Any]:
        return output_status(find_output(self._loop, view, connector), errors=True)

    def set_connector(self, table: str, connector: str, action: str) -> None:
        """Start or pause an input connector; it runs only while the pipeline does."""
        endpoint = find_input(self._loop, table, connector)
        endpoint.paused = _wants_pause(action)
        endpoint.kick()

    def set_output_connector(self, view: str, connector: str, action: str) -> None:
        """Start or pause an output connector; a paused one discards its updates."""
        endpoint = find_output(self._loop, view, connector)
        (endpoint.pause if _wants_pause(action) else endpoint.resume)()

    def metrics(self, format: str = "prometheus") -> str:
        if format == "json":
            return orjson.dumps(self.stats()).decode()
        labels = {"pipeline": self.id, "pipeline_name": self.name}
        checkpoints = None if self._checkpointer is None else self._checkpointer.status()
        return prometheus(
            self._loop, labels, process=self._statistics, checkpoints=checkpoints,
            is_paused=not self._running.is_set(),
        )  # fmt: skip

    def circuit_profile(self) -> dict[str, Any]:
        return circuit_profile(self._loop)

    def time_series(self) -> dict[str, Any]:
        return self._statistics.time_series()

    # checkpoints (contract 6.5), the clock

    def checkpoint(self) -> dict[str, Any]:
        """Take a checkpoint soon (contract 6.5)."""
        sequence = self._require_storage().request()
        return {"checkpoint_sequence_number": sequence, "incarnation_uuid": self.incarnation}

    def checkpoint_status(self, incarnation_uuid: str | None = None) -> dict[str, Any]:
        if incarnation_uuid not in (None, self.incarnation):
            raise UserError(
                f"the pipeline has been restarted: its incarnation is {self.incarnation}, not "
                f"{incarnation_uuid}; ask for the checkpoint again",
                code="IncarnationUuidMismatch",
                details={"incarnation_uuid": self.incarnation},
            )
        return self._require_storage().status()

    def checkpoints(self) -> list[dict[str, Any]]:
        """CheckpointMetadata, newest first."""
        return [] if self._checkpointer is None else self._checkpointer.list()

    @property
    def newest_checkpoint(self) -> int:
        """Sequence number of the newest durable checkpoint; 0 for none."""
        return 0 if self._checkpointer is None else self._checkpointer.newest

    def _require_storage(self) -> Checkpointer:
        if self._checkpointer is None:
            raise UserError(
                "checkpoints need storage: set runtime_config.storage", code="StorageRequired"
            )
        return self._checkpointer

    def advance_clock(self, delta_ms: int | None) -> dict[str, Any]:
        """Move NOW() on by `delta_ms`, rounded up to whole ticks (None: one tick, 0: not at all);
        the time it shows then (contract 6.6)."""
        connectors = [] if self._assembly is None else self._assembly.connectors
        clock = next((c for _, c in connectors if isinstance(c, Clock)), None)
        if not (self._settings.runtime.get("dev_tweaks") or {}).get("now_http_driven"):
            raise UserError(
                "the clock of this pipeline follows the time of day; set "
                "runtime_config.dev_tweaks.now_http_driven to drive it by this call"
            )
        if clock is None:
            raise UserError("no view of this pipeline uses NOW(), so it has no clock to advance")
        if delta_ms is not None and (type(delta_ms) is not int or delta_ms < 0):
            raise UserError(f"delta_ms must be a whole number of 0 or more, not {delta_ms!r}")
        now_us = clock.advance(None if delta_ms is None else delta_ms * 1000)
        text = datetime.fromtimestamp(now_us / 1e6, UTC).isoformat(timespec="milliseconds")
        return {"now_ms": now_us // 1000, "now": text.replace("+00:00", "Z")}

    # transactions

    def start_transaction(self) -> dict[str, Any]:
        self._api.require_replayed()
        return {"transaction_id": self._loop.begin_transaction()}

    def commit_transaction(self) -> str:
        self._loop.commit_transaction()
        return "Transaction commit initiated"

    # resets (spec/reset.md section 1)

    def reset(
        self, view: str, connector: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Owe the connector's sink a fresh snapshot; durable on return."""
        return self._desk.reset(view, connector, body)

    def reset_group(self, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Reset several connectors as of one step."""
        return self._desk.reset_group(body)

    def cancel_reset(self, view: str, connector: str) -> dict[str, Any]:
        return self._desk.cancel(view, connector)

    def reset_status(self, token: str) -> dict[str, Any]:
        """What became of a reset; truthful after a restart too."""
        return self._desk.status(token)

    def audit(
        self, view: str, connector: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Compare a sink's target with its view; touches nothing."""
        return self._desk.audit(view, connector, body)


def _wants_pause(action: str) -> bool:
    if action not in ("start", "pause"):
        raise UserError(
            f"unknown connector action '{action}': expected 'start' or 'pause'",
            code="InvalidConnectorAction",
        )
    return action == "pause"
