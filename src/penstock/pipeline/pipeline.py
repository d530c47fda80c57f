"""One running pipeline: the door to everything that the REST API asks of it.

    Pipeline(config) ─► start() ─► resume()/pause() … ─► stop()

`start` compiles the program, has its parts put together in the state of the newest checkpoint
(`assembly`), repeats what was journalled after it, and opens the connectors.
All methods may be called from any thread; those that wait say so.

Not here: HTTP (`penstock.server`), the record of many pipelines (`penstock.manager`).
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from penstock.compile.program import compile_circuit
from penstock.errors import NotFound, PenstockError, TransientError, UserError
from penstock.io.inputs.clock import Clock
from penstock.pipeline import failpoints
from penstock.pipeline.api import Api, Subscription
from penstock.pipeline.assembly import Assembly
from penstock.pipeline.bootstrap import Diff, is_empty, program_diff, program_facts, rejected
from penstock.pipeline.checkpoints import Checkpointer
from penstock.pipeline.ingress import IngressSession
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.metrics import prometheus
from penstock.pipeline.outputs import OutputEndpoint
from penstock.pipeline.relations import Relations, known
from penstock.pipeline.reset_desk import ResetDesk
from penstock.pipeline.resets import ResetLog
from penstock.pipeline.settings import PipelineSettings
from penstock.pipeline.statistics import Statistics, input_status, output_status
from penstock.pipeline.storage import Storage
from penstock.plan.nodes import ProgramPlan
from penstock.sql.program import compile_program

log = logging.getLogger("penstock.pipeline")

#: a replay shorter than this is part of the start; a longer one goes on as state Replaying
REPLAY_PATIENCE_S = 2.0


class Pipeline:
    """A program that runs; `PipelineSettings.of` says what `config` holds."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._settings = PipelineSettings.of(config)
        self.id, self.name = self._settings.id, self._settings.name
        self.incarnation = self._settings.incarnation
        self._starts_running = self._settings.initial != "paused"
        self._state = "Initializing"
        self._error: PenstockError | None = None
        self._diff: Diff | None = None
        self._is_open = False
        self._lock = threading.RLock()
        self._running, self._stopping = threading.Event(), threading.Event()
        self._ready = threading.Event()
        self._statistics = Statistics(self.incarnation)
        self._storage: Storage | None = None
        self._assembly: Assembly | None = None

    # life

    def start(self) -> None:
        """Compile, take up the newest checkpoint or make the first step, open the connectors.

        Returns in state Running or Paused, in Replaying or Bootstrapping, which lead there, or in
        AwaitingApproval.
        Raises SqlError, UserError or CorruptState and then leaves nothing behind."""
        failpoints.load()
        self.plan: ProgramPlan = compile_program(self._settings.program, self._settings.udf)
        self._relations = Relations(self.plan)
        policy = self._settings.bootstrap_policy
        self._open_storage()
        try:
            self._diff = self._compare()
            if self._diff is not None and policy == "reject":
                raise rejected(self._diff)
        except BaseException:
            self._close_storage()
            raise
        if self._diff is None:
            self._go()
        elif policy == "await_approval":
            self._state = "AwaitingApproval"
            log.info("awaiting_approval name=%s", self.name)
        else:
            self._bootstrap()

    def approve(self, *, silent_bootstrap: bool = False) -> None:
        """Go on with the program that has changed. Raises UserError BootstrapNotAllowed."""
        with self._lock:
            if self._state != "AwaitingApproval":
                raise UserError(
                    f"the pipeline is {self._state} and awaits no approval",
                    code="BootstrapNotAllowed",
                    details={"status": self._state},
                )
            if silent_bootstrap:
                self._settings = replace(self._settings, is_silent=True)
            self._bootstrap()

    def _bootstrap(self) -> None:
        """`_go`, in the background, as it may take long. What it raises fails the pipeline."""
        self._state = "Bootstrapping"

        def go() -> None:
            try:
                self._go()
            except PenstockError as e:
                self._fail(e)
            except Exception as e:
                log.error("start_bug\n%s", traceback.format_exc())
                self._fail(PenstockError(f"internal error at the start: {e!r}"))

        threading.Thread(target=go, name="bootstrap", daemon=True).start()

    def _compare(self) -> Diff | None:
        """How the program differs from that of the newest checkpoint; None if it does not, or
        there is none."""
        manifests = [] if self._storage is None else self._storage.manifests.all()
        if not manifests:
            return None
        facts = program_facts(self.plan, compile_circuit(self.plan))
        diff = program_diff(manifests[-1].body["program"], facts)
        return None if is_empty(diff) else diff

    def _go(self) -> None:
        """Build everything and let it run."""
        started = time.perf_counter()
        try:
            parts = self._build()
        except BaseException:
            if self._checkpointer is not None:
                self._checkpointer.stop()
            self._close_storage()
            raise
        self._is_open = True
        for output in self._loop.outputs.values():
            output.start()
        self._state = "Replaying"
        self._loop.run(parts.replay(), self._on_replayed)
        self._ready.wait(REPLAY_PATIENCE_S)
        threading.Thread(target=self._sample, name="statistics", daemon=True).start()
        log.info(
            "pipeline_started name=%s tables=%d views=%d state=%s ms=%.0f",
            self.name, len(self._relations.tables), len(self._relations.views), self._state,
            (time.perf_counter() - started) * 1e3,
        )  # fmt: skip

    def _open_storage(self) -> None:
        is_kept, directory = self._settings.keeps_state(), self._settings.storage_dir
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            if is_kept:
                self._storage = Storage(directory)
        self._resets = ResetLog(directory)

    def _close_storage(self) -> None:
        self._resets.close()
        if self._storage is not None:
            self._storage.close()

    def _build(self) -> Assembly:
        """Everything, stopped, in the state of the newest checkpoint if there is one."""
        settings, relations = self._settings, self._relations
        parts = self._assembly = Assembly(
            settings,
            self.plan,
            relations,
            storage=self._storage,
            resets=self._resets,
            statistics=self._statistics,
            diff=self._diff,
            is_running=self._running.is_set,
            on_failure=self._fail,
        )
        parts.build()
        self._loop: StepLoop = parts.loop
        self._desk = ResetDesk(
            loop=parts.loop, resets=self._resets, find=self._output, readable=relations.readable
        )
        self._api = Api(
            self.plan,
            relations,
            pipeline_id=self.id,
            loop=parts.loop,
            endpoints=parts.api,
            resets=self._resets,
            life=parts.lineage if settings.is_exactly_once else self.incarnation,
            is_durable=settings.is_exactly_once,
        )
        return parts

    @property
    def _checkpointer(self) -> Checkpointer | None:
        return None if self._assembly is None else self._assembly.checkpointer

    def _on_replayed(self) -> None:
        """All that was is again: go on with what arrives. In the step thread."""
        assert self._assembly is not None
        self._assembly.resume_inputs()
        self._state = "Paused"
        self._set_running(self._starts_running)
        self._ready.set()

    def require_open(self) -> None:
        """Raise TransientError while there is nothing yet to ask anything of."""
        if self._is_open:
            return
        code, text = {
            "AwaitingApproval": (
                "AwaitingApproval",
                "the program has changed since the checkpoint: approve it, or stop the pipeline",
            ),
            "Bootstrapping": (
                "BootstrapInProgress", "what has changed in the program is being computed"
            ),
        }.get(self._state, ("PipelineUnavailable", f"the pipeline is {self._state}"))  # fmt: skip
        raise TransientError(text, code=code)

    def status(self) -> dict[str, Any]:
        """`state` (Initializing, AwaitingApproval, Bootstrapping, Replaying, Paused, Running,
        Suspended or Failed), the error of Failed, and details."""
        e = self._error
        body = (
            None if e is None else {"message": str(e), "error_code": e.code, "details": e.details}
        )
        details = None
        if self._state == "AwaitingApproval":
            details = {"approval_diff": self._diff}
        return {"state": self._state, "error": body, "details": details}

    def pause(self) -> None:
        """Stop taking in; what has arrived is still stepped and delivered."""
        self._set_running(False)

    def resume(self) -> None:
        self._set_running(True)

    def stop(self) -> None:
        """End all threads. Without fault tolerance, what came since the last checkpoint is lost."""
        with self._lock:
            is_stopped = self._stopping.is_set()
            self._stopping.set()
        if is_stopped:
            return
        if not self._is_open:
            if self._state == "AwaitingApproval":
                self._close_storage()
            return
        for e in self._loop.inputs.values():
            e.stop()
        self._loop.stop()
        for o in self._loop.outputs.values():
            o.stop()
        if self._checkpointer is not None:
            self._checkpointer.stop()
        self._close_storage()
        log.info("pipeline_stopped name=%s steps=%d", self.name, self._loop.step)

    def suspend(self) -> None:
        """Stop so that the next start goes on here: step what has arrived, take a checkpoint, end.

        Raises PenstockError if a checkpoint cannot be taken. The pipeline goes on then, unless it
        had closed its inputs already: then it has failed, and a start goes on from what is kept."""
        if self._state == "AwaitingApproval":
            log.info("not_approved name=%s", self.name)
        elif self._checkpointer is None:
            log.warning("suspend_keeps_nothing name=%s reason=no_storage", self.name)
        elif not self._loop.is_replaying:
            self._suspend(self._checkpointer)
        self.stop()
        self._state = "Suspended"

    def _suspend(self, checkpointer: Checkpointer) -> None:
        taken = None
        if self._loop.transaction_id == 0:
            # while the pipeline could still go on, and so that the last one finds little to do
            taken = checkpointer.take()
        for e in self._loop.inputs.values():
            e.stop(is_end=False)
        self._loop.drain()
        is_all = taken is not None and taken.step == self._loop.step
        if self._loop.failure is None and (not is_all or self._loop.transaction_id):
            try:
                checkpointer.take_last()
            except PenstockError as e:
                # its inputs are closed by now: it cannot go on
                self._fail(e)
                raise

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

    def _set_running(self, is_running: bool) -> None:
        with self._lock:
            if self._state == "Failed":
                return
            if self._state in ("AwaitingApproval", "Bootstrapping", "Replaying"):
                self._starts_running = is_running
                return
            self._state = "Running" if is_running else "Paused"
            (self._running.set if is_running else self._running.clear)()
        for e in self._loop.inputs.values():
            e.kick()

    def _fail(self, error: PenstockError) -> None:
        with self._lock:
            self._error = error
            self._state = "Failed"
            self._running.clear()
        if self._is_open:
            self._ready.set()
            for e in self._loop.inputs.values():
                e.close()

    def _sample(self) -> None:
        while not self._stopping.wait(1.0):
            self._statistics.sample(self._loop)

    def _require_alive(self) -> None:
        if self._error is not None:
            raise TransientError(
                f"the pipeline has failed and is stopping: {self._error}",
                code="PipelineUnavailable",
            )

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
        return self._api.completion_token(self._input(table, connector))

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
        endpoint = self._input(table, connector)
        return input_status(endpoint, is_paused=not self._running.is_set(), errors=True)

    def output_stats(self, view: str, connector: str) -> dict[str, Any]:
        return output_status(self._output(view, connector), errors=True)

    def set_connector(self, table: str, connector: str, action: str) -> None:
        """Start or pause an input connector; it runs only while the pipeline does."""
        endpoint = self._input(table, connector)
        endpoint.paused = _wants_pause(action)
        endpoint.kick()

    def set_output_connector(self, view: str, connector: str, action: str) -> None:
        """Start or pause an output connector; a paused one discards its updates."""
        endpoint = self._output(view, connector)
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

    def time_series(self) -> dict[str, Any]:
        return self._statistics.time_series()

    def _input(self, table: str, connector: str) -> InputEndpoint:
        endpoint = self._loop.inputs.get(f"{table}.{connector}")
        if endpoint is None:
            raise NotFound(
                f"unknown input endpoint name '{table}.{connector}'"
                f"{known(self._loop.inputs, f'{table}.{connector}')}",
                code="UnknownInputEndpoint",
            )
        return endpoint

    def _output(self, view: str, connector: str) -> OutputEndpoint:
        endpoint = self._loop.outputs.get(f"{view}.{connector}")
        if endpoint is None:
            raise NotFound(
                f"unknown output endpoint name '{view}.{connector}'"
                f"{known(self._loop.outputs, f'{view}.{connector}')}",
                code="UnknownOutputEndpoint",
            )
        return endpoint

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
