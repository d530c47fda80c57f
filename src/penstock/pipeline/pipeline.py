"""One running pipeline: the door to everything that the REST API asks of it.

    Pipeline(config) ─► start() ─► resume()/pause() … ─► stop()

`start` compiles the program, builds the circuit and takes up the newest checkpoint, or makes the
first step; repeats what was journalled after it; opens the connectors.
All methods may be called from any thread; those that wait say so.

Not here: HTTP (`penstock.server`), the record of many pipelines (`penstock.manager`).
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import orjson

from penstock.compile.program import compile_circuit, default_columns
from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.errors import Gone, NotFound, PenstockError, TransientError, UserError
from penstock.io.contracts import InputConnector, Parsed, SinkContext
from penstock.io.formats import make_parser
from penstock.io.inputs.clock import Clock
from penstock.io.outputs.http_egress import HttpEgressSink
from penstock.pipeline import failpoints
from penstock.pipeline.adhoc import AdHoc
from penstock.pipeline.bootstrap import Diff, is_empty, program_diff, program_facts, rejected
from penstock.pipeline.checkpoints import Checkpointer, fingerprint
from penstock.pipeline.connectors import clock_config, make_input, make_output
from penstock.pipeline.digest import config_digest, schema_hash
from penstock.pipeline.ingress import IngressSession
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.inserts import INSERT_STATEMENT, fold, insert_batch
from penstock.pipeline.journal import Journal, JournalRecord
from penstock.pipeline.loop import StepLoop, Taken
from penstock.pipeline.memory import limit_memory
from penstock.pipeline.metrics import prometheus
from penstock.pipeline.output_position import Recovered
from penstock.pipeline.outputs import OutputEndpoint, OutputSettings, SnapshotHandle
from penstock.pipeline.recovery import Checkpoint, recover
from penstock.pipeline.reset_desk import ResetDesk
from penstock.pipeline.resets import ResetLog
from penstock.pipeline.statistics import Statistics, input_status, output_status
from penstock.pipeline.storage import Storage
from penstock.pipeline.tokens import CompletionToken, decode
from penstock.plan.nodes import CLOCK, ProgramPlan, TablePlan
from penstock.sql.program import compile_program

log = logging.getLogger("penstock.pipeline")

INGRESS_QUEUE_RECORDS = 100_000
#: a replay shorter than this is part of the start; a longer one goes on as state Replaying
REPLAY_PATIENCE_S = 2.0
#: HTTP subscriptions and ingress requests at one time (contract section 3)
MAX_API_CONNECTIONS = 100


class Subscription:
    """A running HTTP subscription: iterate it for chunks, then close it."""

    def __init__(
        self, endpoint: OutputEndpoint, sink: HttpEgressSink, done: Callable[[], None]
    ) -> None:
        self._endpoint, self._sink = endpoint, sink
        self._chunks = sink.chunks()
        self._done: Callable[[], None] | None = done

    @property
    def name(self) -> str:
        return self._endpoint.name

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            self._sink.close()
            done()


class Pipeline:
    """A program that runs. `config` holds pipeline_id, name, program_code, udf (the Python text of
    its functions without a body; may lack), runtime_config, storage_dir (None: nothing is kept),
    initial ("running" or "paused"), incarnation_uuid."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.id = str(config["pipeline_id"])
        self.name = str(config["name"])
        self._program = str(config["program_code"])
        self._udf = str(config.get("udf", ""))
        self._runtime = dict(config.get("runtime_config") or {})
        storage = config.get("storage_dir")
        self._storage_dir = None if storage is None else Path(storage)
        self._initial = str(config.get("initial") or "running").lower()
        self._policy = str(config.get("bootstrap_policy") or "await_approval")
        self._is_silent = bool(config.get("silent_bootstrap", False))
        self._diff: Diff | None = None
        self._is_open = False
        self.incarnation = str(config.get("incarnation_uuid") or uuid.uuid4())
        self._state = "Initializing"
        self._error: PenstockError | None = None
        self._running = threading.Event()
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._api_connections = 0
        self._statistics = Statistics(self.incarnation)
        self._storage: Storage | None = None
        self._checkpointer: Checkpointer | None = None
        self._checkpoint: Checkpoint | None = None
        fault_tolerance = self._runtime.get("fault_tolerance") or {}
        self._model = str(fault_tolerance.get("model") or "none")
        interval = fault_tolerance.get("checkpoint_interval_secs", 60)
        self._interval_s = None if interval is None or self._model == "none" else float(interval)
        self._lineage = str(uuid.uuid4())

    # life

    def start(self) -> None:
        """Compile, take up the newest checkpoint or make the first step, open the connectors.

        Returns in state Running or Paused, in Replaying or Bootstrapping, which lead there, or in
        AwaitingApproval.
        Raises SqlError, UserError or CorruptState and then leaves nothing behind."""
        failpoints.load()
        self.plan: ProgramPlan = compile_program(self._program, self._udf)
        self._tables = {t.name: t for t in self.plan.tables}
        self._views = {v.name: v for v in self.plan.all_views if v.kind != "local"}
        self._open_storage()
        try:
            self._diff = self._compare()
            if self._diff is not None and self._policy == "reject":
                raise rejected(self._diff)
        except BaseException:
            self._close_storage()
            raise
        if self._diff is None:
            self._go()
        elif self._policy == "await_approval":
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
            self._is_silent = self._is_silent or silent_bootstrap
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
            self._build()
        except BaseException:
            if self._checkpointer is not None:
                self._checkpointer.stop()
            self._close_storage()
            raise
        self._is_open = True
        for output in self._loop.outputs.values():
            output.start()
        self._state = "Replaying"
        self._loop.run(self._replay(), self._on_replayed)
        self._ready.wait(REPLAY_PATIENCE_S)
        threading.Thread(target=self._sample, name="statistics", daemon=True).start()
        log.info(
            "pipeline_started name=%s tables=%d views=%d state=%s ms=%.0f",
            self.name, len(self._tables), len(self._views), self._state,
            (time.perf_counter() - started) * 1e3,
        )  # fmt: skip

    @property
    def _is_exactly_once(self) -> bool:
        return self._model == "exactly_once"

    def _open_storage(self) -> None:
        is_kept = self._storage_dir is not None and self._runtime.get("storage", {}) is not None
        if self._model != "none" and not is_kept:
            raise UserError(
                f"fault tolerance '{self._model}' needs storage: set runtime_config.storage, or "
                "fault_tolerance.model to none",
                code="ConfigError.FtRequiresStorage",
            )
        if self._storage_dir is not None:
            self._storage_dir.mkdir(parents=True, exist_ok=True)
            if is_kept:
                self._storage = Storage(self._storage_dir)
        self._resets = ResetLog(self._storage_dir)

    def _close_storage(self) -> None:
        self._resets.close()
        if self._storage is not None:
            self._storage.close()

    @property
    def _journal(self) -> Journal | None:
        return self._storage.journal if self._storage and self._is_exactly_once else None

    def _build(self) -> None:
        """Everything, stopped, in the state of the newest checkpoint if there is one."""
        storage, journal = self._storage, self._journal
        schemas: dict[str, Schema] = {t.name: t.schema for t in self.plan.tables}
        schemas |= {v.name: v.schema for v in self.plan.all_views}
        if storage is None:
            circuit, checkpoint = compile_circuit(self.plan), None
        else:
            circuit, checkpoint = recover(storage, lambda: compile_circuit(self.plan), schemas)
        self._checkpoint = checkpoint
        self._statistics.storage = None if storage is None else storage.directory
        files = None if storage is None else storage.state
        limit_memory(circuit, files, self._runtime.get("max_rss_mb"))
        workers = int(self._runtime.get("workers") or 1)
        self._ready = threading.Event()
        self._loop = StepLoop(
            circuit,
            max_batch_records=10_000 * workers,
            min_batch_records=int(self._runtime.get("min_batch_size_records") or 0),
            max_delay_s=int(self._runtime.get("max_buffering_delay_usecs") or 0) / 1e6,
            on_failure=self._fail,
            journal=journal,
            program=str(fingerprint(circuit.fingerprints)),
        )
        self._desk = ResetDesk(
            loop=self._loop, resets=self._resets, find=self._output, readable=self._readable
        )
        self._adhoc = AdHoc(self._readable(), frozenset(self._tables | self._views), self._pin)
        if checkpoint is None:
            self._loop.first_step()
        else:
            self._lineage = checkpoint.lineage
            body = checkpoint.manifest.body
            began = body.get("initial_start_time", self._statistics.started)
            self._statistics.initially_started = began
            self._loop.resume(
                step=checkpoint.step,
                processed_records=body["processed_records"],
                transactions=body["transactions"],
            )
        if storage is not None:
            self._checkpointer = Checkpointer(
                self._loop, storage.manifests, storage.state, journal,
                facts={
                    "lineage": self._lineage, "program": program_facts(self.plan, circuit),
                    "initial_start_time": self._statistics.initially_started,
                },
                interval_s=self._interval_s,
            )  # fmt: skip
        self._connectors = self._make_inputs()
        for output in self._make_outputs():
            self._loop.add_output(output)
            if checkpoint is not None and output.relation in checkpoint.changed:
                self._emit_in_full(output, checkpoint.changed[output.relation])
        if self._checkpointer is not None:
            self._checkpointer.start()
            is_first = self._model != "none" and checkpoint is None
            if is_first and journal is not None:
                journal.clear()
            if is_first or self._diff is not None:
                # so that there always is one to go on from, and what changed is not computed twice
                self._checkpointer.take_last()
            if self._model == "at_least_once":
                self._loop.on_cut = self._checkpointer.take_here

    def _emit_in_full(self, output: OutputEndpoint, contents: Batch) -> None:
        """The contents of a view that has changed, to a follow-mode output: what it held before is
        not taken back (contract 1.6). A snapshot_and_follow output takes a snapshot instead."""
        if not output.settings.snapshot and not self._is_silent:
            output.push(self._loop.step, self._loop.processed_records, contents)

    def _changed(self, kind: str) -> frozenset[str]:
        """Names of what was modified since the checkpoint; `kind` is tables or views."""
        return frozenset(() if self._diff is None else self._diff["program_diff"][kind])

    def _make_inputs(self) -> list[tuple[InputEndpoint, InputConnector]]:
        made = []
        for plan in self.plan.inputs:
            if plan.relation == CLOCK:
                config = clock_config(self._runtime)
                plan = replace(plan, config={"transport": {"name": "clock", "config": config}})
            endpoint, connector = make_input(
                self.plan, plan, is_running=self._running.is_set, wake=self._loop.wake
            )
            if self._model != "none" and not connector.can_resume:
                raise UserError(
                    f"connector '{endpoint.name}' cannot go on where it was after a restart, as "
                    f"fault tolerance '{self._model}' needs: use another transport or format, or "
                    "set fault_tolerance.model to none",
                    code="ConfigError.FtWithNonFtInput",
                )
            self._loop.add_input(endpoint)
            made.append((endpoint, connector))
        if self._checkpoint is not None:
            for name, saved in self._checkpoint.inputs.items():
                self._known_endpoint(name, saved.relation, saved.config)
            for name, saved in self._checkpoint.inputs.items():
                found = self._loop.inputs.get(name)
                is_same = found is not None and saved.digest == config_digest(found.config)
                is_same = is_same and saved.relation not in self._changed("modified_tables")
                if found is not None and is_same:
                    found.restore(saved.progress, self._checkpoint.step)
        return made

    def _make_outputs(self) -> list[OutputEndpoint]:
        checkpoint, journal = self._checkpoint, self._journal
        horizon = 0 if checkpoint is None else checkpoint.step
        if journal is not None and checkpoint is not None:
            horizon = journal.last_step(horizon)
        checkpointer = self._checkpointer
        made = []
        for plan in self.plan.outputs:
            view = self._views[plan.relation]
            position = None if checkpoint is None else checkpoint.outputs.get(plan.endpoint)
            if checkpoint is not None and plan.relation in checkpoint.changed:
                position = None  # its view is another: reset.md rule 11
            is_same = position is not None and (position.config, position.schema) == (
                config_digest(dict(plan.config)), schema_hash(view.schema)
            )  # fmt: skip
            recovered = Recovered(position, horizon) if position is not None and is_same else None
            is_aligned = self._model == "at_least_once" and checkpointer is not None
            made.append(
                make_output(
                    self.plan,
                    plan,
                    pipeline_id=self.id,
                    resets=self._resets,
                    take_cut=self._loop.take_cut,
                    on_progress=self._loop.wake,
                    recovered=recovered,
                    runtime=self._runtime,
                    await_replayed=self._loop.await_replayed,
                    await_durable=checkpointer.await_step
                    if is_aligned and checkpointer is not None
                    else lambda step, is_wanted: None,
                )
            )
        return made

    def _replay(self) -> Iterator[tuple[JournalRecord, tuple[Taken, ...]]]:
        """What has to be done again after the checkpoint, with the endpoints it came through."""
        checkpoint, journal = self._checkpoint, self._journal
        if checkpoint is None:
            return
        emptied = self._changed("modified_tables")
        schemas = {t.name: t.schema for t in self.plan.tables if t.name not in emptied}
        if checkpoint.held is not None:
            yield checkpoint.held, self._taken_again(checkpoint.held)
        if journal is not None:
            for record in journal.records(checkpoint.step, schemas):
                yield record, self._taken_again(record)

    def _taken_again(self, record: JournalRecord) -> tuple[Taken, ...]:
        found = []
        for i in record.inputs:
            endpoint = self._known_endpoint(i.endpoint, i.relation, i.config)
            if endpoint is not None:
                found.append(Taken(endpoint, i.batches, i.progress))
        return tuple(found)

    def _known_endpoint(
        self, name: str, relation: str, config: Mapping[str, Any] | None
    ) -> InputEndpoint | None:
        """An endpoint of an earlier life; implicit ones are made again. None if it is gone."""
        table = self._tables.get(relation)
        if table is None or config is None:
            return self._loop.inputs.get(name)
        return self._api_endpoint(table, name, config["format"])

    def _on_replayed(self) -> None:
        """All that was is again: go on with what arrives. In the step thread."""
        failpoints.passing("recover.replayed")
        if self._journal is not None:
            self._journal.begin_segment(self._loop.step + 1)
        for endpoint, connector in self._connectors:
            self._resume_input(endpoint, connector)
        self._state = "Paused"
        self._set_running(self._initial != "paused")
        self._ready.set()

    def _resume_input(self, endpoint: InputEndpoint, connector: InputConnector) -> None:
        progress = endpoint.taken
        if self._diff is not None and self._is_new(endpoint):
            endpoint.run(connector)
            return
        if progress.is_at_end:
            return
        if progress.position is not None:
            connector.resume(progress.position)
        elif progress.records:
            endpoint.error(
                "the source cannot go on where it was before the restart, since its format gives "
                "no positions: clear the pipeline's storage to read it anew",
                fatal=True,
            )
            return
        endpoint.run(connector)

    def _is_new(self, endpoint: InputEndpoint) -> bool:
        """Whether an input begins anew: its table or its own configuration has changed."""
        assert self._diff is not None
        modified = self._diff["modified_input_connectors"]
        return endpoint.name in modified or endpoint.relation in self._changed("modified_tables")

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

        Raises PenstockError, and the pipeline goes on, if a checkpoint cannot be taken."""
        if self._state == "AwaitingApproval":
            log.info("not_approved name=%s", self.name)
        elif self._checkpointer is None:
            log.warning("suspend_keeps_nothing name=%s reason=no_storage", self.name)
        elif not self._loop.is_replaying:
            self._suspend(self._checkpointer)
        self.stop()
        self._state = "Suspended"

    def _suspend(self, checkpointer: Checkpointer) -> None:
        if self._loop.transaction_id == 0:
            # while the pipeline could still go on, and so that the last one finds little to do
            checkpointer.take()
        for e in self._loop.inputs.values():
            e.stop(is_end=False)
        self._loop.drain()
        if self._loop.failure is None:
            checkpointer.take_last()

    def advance_clock(self, delta_ms: int | None) -> dict[str, Any]:
        """Move NOW() on by `delta_ms`, rounded up to whole ticks (None: one tick, 0: not at all);
        the time it shows then (contract 6.6)."""
        clock = next((c for _, c in self._connectors if isinstance(c, Clock)), None)
        if not (self._runtime.get("dev_tweaks") or {}).get("now_http_driven"):
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

    def _require_replayed(self) -> None:
        if self._loop.is_replaying:
            raise TransientError(
                "the pipeline is repeating what it did before its restart", code="RestoreInProgress"
            )

    def _set_running(self, is_running: bool) -> None:
        with self._lock:
            if self._state == "Failed":
                return
            if self._state in ("AwaitingApproval", "Bootstrapping", "Replaying"):
                self._initial = "running" if is_running else "paused"
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

    # connectors

    # ingress

    def ingress(
        self, table: str, format: str, options: Mapping[str, str], force: bool = False
    ) -> IngressSession:
        """A session that takes the bytes of one request for `table`."""
        self._require_alive()
        if force:
            self._require_replayed()
        plan = self._tables.get(table)
        if plan is None:
            raise NotFound(
                f"unknown table '{table}'{_known(self._tables, table)}",
                code="ConfigError.UnknownInputStream",
            )
        config = {"name": format, "config": dict(options)}
        parser = make_parser(config, plan.schema, plan.key, default_columns(self.plan, plan))
        digest = hashlib.sha256(orjson.dumps(config, option=orjson.OPT_SORT_KEYS)).hexdigest()
        endpoint = self._api_endpoint(plan, f"{table}.api-ingress-{digest[:16]}", config)
        self._connect()
        return IngressSession(
            endpoint, parser, life=self._token_life, force=force,
            is_durable=self._is_exactly_once, done=self._disconnect,
        )  # fmt: skip

    @property
    def _token_life(self) -> str:
        """What completion tokens are good for: with a journal they outlive a restart."""
        return self._lineage if self._is_exactly_once else self.incarnation

    def _api_endpoint(
        self, table: TablePlan, name: str, format: Mapping[str, Any]
    ) -> InputEndpoint:
        with self._lock:
            endpoint = self._loop.inputs.get(name)
            if endpoint is None:
                endpoint = InputEndpoint(
                    name=name,
                    relation=table.name,
                    config={"transport": {"name": "http_input", "config": {}}, "format": format},
                    max_queued_records=INGRESS_QUEUE_RECORDS,
                    is_running=self._running.is_set,
                    wake=self._loop.wake,
                    schema=schema_hash(table.schema),
                    is_implicit=True,
                )
                self._loop.add_input(endpoint)
            return endpoint

    def _connect(self) -> None:
        with self._lock:
            if self._api_connections >= MAX_API_CONNECTIONS:
                raise TransientError(
                    f"more than {MAX_API_CONNECTIONS} simultaneous API connections: close some",
                    code="ApiConnectionLimit",
                )
            self._api_connections += 1

    def _disconnect(self) -> None:
        with self._lock:
            self._api_connections -= 1

    def completion_status(self, token: str) -> dict[str, Any]:
        """Whether every record up to the token's is processed and delivered (contract 3)."""
        t = decode(token, self._token_life)
        endpoint = self._loop.inputs.get(t.endpoint)
        if endpoint is None:
            raise Gone(
                f"the token's endpoint '{t.endpoint}' is gone",
                code="UnknownEndpointInCompletionToken",
            )
        step = endpoint.step_of(t.count)
        is_complete = step is not None and self._loop.completed_step >= step
        return {"status": "complete" if is_complete else "inprogress", "step": step}

    def completion_token(self, table: str, connector: str) -> dict[str, Any]:
        endpoint = self._input(table, connector)
        token = CompletionToken(self._token_life, endpoint.name, endpoint.total_records)
        return {"token": token.encode()}

    # egress and queries

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
        plan = self._views.get(relation) or self._tables.get(relation)
        if plan is None:
            raise NotFound(
                f"unknown table or view '{relation}'{_known(self._views | self._tables, relation)}",
                code="ConfigError.UnknownOutputStream",
            )
        if send_snapshot and relation not in self._readable():
            raise UserError(
                f"'send_snapshot: true' requires a materialized output view: '{relation}' is not",
                code="ConfigError.InvalidTransportConfig",
            )
        connector = f"api-{uuid.uuid4()}"
        encoder = {k: v for k, v in options.items() if k != "array"}
        if format == "json":
            encoder["array"] = True
        context = SinkContext(
            pipeline_id=self.id,
            view=relation,
            connector=connector,
            schema=plan.schema,
            config={"backpressure": backpressure},
            format={"name": format, "config": encoder},
        )
        sink = HttpEgressSink(context)
        endpoint = OutputEndpoint(
            name=f"{relation}.{connector}",
            relation=relation,
            connector=connector,
            schema=plan.schema,
            config={"transport": {"name": "http_output", "config": dict(context.config)}},
            owner=self.id,
            settings=OutputSettings(snapshot=send_snapshot, max_queued_records=100_000),
            make_sink=lambda: sink,
            resets=self._resets,
            take_cut=self._loop.take_cut,
            on_progress=self._loop.wake,
            can_probe=False,
            is_transient=True,
        )
        self._connect()
        self._loop.add_output(endpoint)
        endpoint.start()
        return Subscription(endpoint, sink, lambda: self._unsubscribe(endpoint))

    def _unsubscribe(self, endpoint: OutputEndpoint) -> None:
        self._loop.remove_output(endpoint.name)
        endpoint.stop()
        self._disconnect()

    def query(self, sql: str, format: str = "text") -> tuple[str, Iterator[bytes]]:
        """Answer an ad-hoc query, or INSERT rows (which waits while the pipeline is paused).

        Of several statements the last one answers; INSERTs are made in their order, first."""
        self._require_alive()
        reading: list[str] = []
        for statement in self._adhoc.statements(sql):
            insert = INSERT_STATEMENT.match(statement)
            reading.append(
                statement if insert is None else f'SELECT {self._insert(insert)}::BIGINT AS "count"'
            )
        joined = ";\n".join(s.strip().rstrip(";") for s in reading)
        return self._adhoc.query(joined, format)

    def _insert(self, statement: re.Match[str]) -> int:
        self._require_replayed()
        name = fold(statement["table"])
        table = self._tables.get(name)
        if table is None:
            raise UserError(
                f"Error during query processing: there is no table '{name}' to insert into"
                f"{_known(self._tables, name)}",
                code="AdHocQueryError",
            )
        rows = self._adhoc.table(statement["source"])
        columns = statement["columns"]
        names = (
            [fold(c.strip()) for c in columns.split(",")] if columns else list(table.schema.names)
        )
        batch = insert_batch(table, names, rows, default_columns(self.plan, table))
        endpoint = self._api_endpoint(table, f"{name}.adhoc", {"name": "adhoc"})
        endpoint.push(Parsed((batch,), records=len(batch)), 0)
        if self._is_exactly_once:
            endpoint.wait_durable(endpoint.total_records)
        return len(batch)

    def _readable(self) -> frozenset[str]:
        views = {v.name for v in self._views.values() if v.kind == "materialized"}
        tables = {t.name for t in self._tables.values() if t.materialized or t.key}
        return frozenset(views | tables)

    def _pin(self, names: frozenset[str]) -> tuple[int, Mapping[str, SnapshotHandle]]:
        with self._loop.step_lock:
            return self._loop.step, {n: self._loop.circuit.snapshot(n) for n in names}

    # statistics

    def stats(self, include_errors: bool = False) -> dict[str, Any]:
        return self._statistics.controller_status(
            self._loop,
            is_paused=not self._running.is_set(),
            errors=include_errors,
            checkpoint_activity=None if self._checkpointer is None else self._checkpointer.activity,
            recovery=None if self._checkpoint is None else self._checkpoint.summary(),
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
                f"{_known(self._loop.inputs, f'{table}.{connector}')}",
                code="UnknownInputEndpoint",
            )
        return endpoint

    def _output(self, view: str, connector: str) -> OutputEndpoint:
        endpoint = self._loop.outputs.get(f"{view}.{connector}")
        if endpoint is None:
            raise NotFound(
                f"unknown output endpoint name '{view}.{connector}'"
                f"{_known(self._loop.outputs, f'{view}.{connector}')}",
                code="UnknownOutputEndpoint",
            )
        return endpoint

    # transactions

    def start_transaction(self) -> dict[str, Any]:
        self._require_replayed()
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


def _known(names: Mapping[str, Any], wanted: str = "") -> str:
    """What there is instead of `wanted`: the nearest of it, and all that the program declares."""
    declared = sorted(n for n in names if not _OF_A_REQUEST.search(n))
    near = get_close_matches(wanted, declared, n=1) if wanted else []
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"{meant} (there are: {', '.join(declared)})" if declared else meant


#: endpoints that HTTP requests bring with them
_OF_A_REQUEST = re.compile(r"\.(?:api-|adhoc$)")
