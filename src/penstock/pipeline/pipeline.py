"""One running pipeline: the door to everything that the REST API asks of it.

    Pipeline(config) ─► start() ─► resume()/pause() … ─► stop()

`start` compiles the program, builds the circuit, makes the first step, opens the connectors.
All methods may be called from any thread; those that wait say so.

Not here: HTTP (`penstock.server`), the record of many pipelines (`penstock.manager`).
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from penstock.compile.program import compile_circuit, default_columns
from penstock.data.arrow import column_from_arrow
from penstock.data.batch import INSERT, Column, InputBatch
from penstock.data.build import null_column
from penstock.data.gather import take_column
from penstock.errors import Gone, NotFound, PenstockError, TransientError, UserError
from penstock.io.contracts import (
    InputContext,
    Intake,
    Parsed,
    ParseError,
    SinkContext,
    SinkRejected,
)
from penstock.io.formats import make_parser
from penstock.io.outputs.http_egress import HttpEgressSink
from penstock.io.registry import INPUTS, OUTPUTS
from penstock.io.secrets import resolve_secrets
from penstock.pipeline.adhoc import AdHoc
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.loop import StepLoop
from penstock.pipeline.outputs import OutputEndpoint, OutputSettings, SnapshotHandle
from penstock.pipeline.resets import ResetLog
from penstock.pipeline.statistics import Statistics, input_status, output_status, prometheus
from penstock.pipeline.tokens import CompletionToken, decode
from penstock.plan.nodes import ConnectorPlan, ProgramPlan, TablePlan, ViewPlan
from penstock.sql.program import compile_program

log = logging.getLogger("penstock.pipeline")

INGRESS_QUEUE_RECORDS = 100_000
#: parse errors that one ingress request reports (contract section 3)
REPORTED_ERRORS = 1000
#: HTTP subscriptions and ingress requests at one time (contract section 3)
MAX_API_CONNECTIONS = 100


class Pipeline:
    """A program that runs. `config` holds pipeline_id, name, program_code, runtime_config,
    storage_dir (None: nothing is kept), initial ("running" or "paused"), incarnation_uuid."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.id = str(config["pipeline_id"])
        self.name = str(config["name"])
        self._program = str(config["program_code"])
        self._runtime = dict(config.get("runtime_config") or {})
        storage = config.get("storage_dir")
        self._storage_dir = None if storage is None else Path(storage)
        self._initial = str(config.get("initial") or "running").lower()
        self.incarnation = str(config.get("incarnation_uuid") or uuid.uuid4())
        self._state = "Initializing"
        self._error: PenstockError | None = None
        self._running = threading.Event()
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._api_connections = 0
        self._statistics = Statistics(self.incarnation)

    # life

    def start(self) -> None:
        """Compile, build, make the first step, open the connectors. Raises SqlError or UserError
        and then leaves nothing behind."""
        started = time.perf_counter()
        self.plan: ProgramPlan = compile_program(self._program)
        self._tables = {t.name: t for t in self.plan.tables}
        self._views = {v.name: v for v in self.plan.views if v.kind != "local"}
        if self._storage_dir is not None:
            self._storage_dir.mkdir(parents=True, exist_ok=True)
        self._resets = ResetLog(self._storage_dir)
        circuit = compile_circuit(self.plan)
        workers = int(self._runtime.get("workers") or 1)
        self._loop = StepLoop(
            circuit,
            max_batch_records=10_000 * workers,
            min_batch_records=int(self._runtime.get("min_batch_size_records") or 0),
            max_delay_s=int(self._runtime.get("max_buffering_delay_usecs") or 0) / 1e6,
            on_failure=self._fail,
        )
        self._adhoc = AdHoc(self._readable(), frozenset(self._tables | self._views), self._pin)
        connectors = [(self._make_input(c), c) for c in self.plan.inputs]
        outputs = [self._make_output(c) for c in self.plan.outputs]
        for output in outputs:
            self._loop.add_output(output)
        self._loop.start()
        for output in outputs:
            output.start()
        for (endpoint, connector), _ in connectors:
            self._loop.add_input(endpoint)
            endpoint.run(connector)
        self._set_running(self._initial != "paused")
        threading.Thread(target=self._sample, name="statistics", daemon=True).start()
        log.info(
            "pipeline_started name=%s tables=%d views=%d ms=%.0f",
            self.name, len(self._tables), len(self._views), (time.perf_counter() - started) * 1e3,
        )  # fmt: skip

    def status(self) -> dict[str, Any]:
        """`state` Initializing, Paused, Running or Failed, and the error of Failed."""
        e = self._error
        body = (
            None if e is None else {"message": str(e), "error_code": e.code, "details": e.details}
        )
        return {"state": self._state, "error": body}

    def pause(self) -> None:
        """Stop taking in; what has arrived is still stepped and delivered."""
        self._set_running(False)

    def resume(self) -> None:
        self._set_running(True)

    def stop(self) -> None:
        """End all threads. What outputs have not taken is lost with the state."""
        self._stopping.set()
        if not hasattr(self, "_loop"):
            return
        for e in self._loop.inputs.values():
            e.stop()
        self._loop.stop()
        for o in self._loop.outputs.values():
            o.stop()
        self._resets.close()
        log.info("pipeline_stopped name=%s steps=%d", self.name, self._loop.step)

    def _set_running(self, is_running: bool) -> None:
        with self._lock:
            if self._state == "Failed":
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

    def _make_input(self, plan: ConnectorPlan) -> tuple[InputEndpoint, Any]:
        config = dict(plan.config)
        transport = _resolved(config.get("transport") or {})
        kind = INPUTS.get(transport.get("name", ""))
        if kind is None:
            raise UserError(
                f"connector '{plan.endpoint}': unknown input transport "
                f"'{transport.get('name')}': expected one of {', '.join(sorted(INPUTS))}",
                code="ConfigError.UnknownInputTransport",
            )
        table = self._tables[plan.relation]
        context = InputContext(
            relation=plan.relation,
            connector=plan.name,
            schema=table.schema,
            key=table.key,
            config=transport.get("config") or {},
            format=_resolved(config["format"]) if config.get("format") else None,
            defaults=default_columns(self.plan, table),
        )
        connector = kind(context)
        connector.validate()
        endpoint = InputEndpoint(
            name=plan.endpoint,
            relation=plan.relation,
            config=config,
            max_queued_records=int(config.get("max_queued_records") or 1_000_000),
            is_running=self._running.is_set,
            wake=self._loop.wake,
            paused=bool(config.get("paused", False)),
        )
        return endpoint, connector

    def _make_output(self, plan: ConnectorPlan) -> OutputEndpoint:
        config = dict(plan.config)
        transport = _resolved(config.get("transport") or {})
        kind = OUTPUTS.get(transport.get("name", ""))
        if kind is None:
            raise UserError(
                f"connector '{plan.endpoint}': unknown output transport "
                f"'{transport.get('name')}': expected one of {', '.join(sorted(OUTPUTS))}",
                code="ConfigError.UnknownOutputTransport",
            )
        view = self._views[plan.relation]
        settings = output_settings(plan.endpoint, config)
        if settings.snapshot and view.kind != "materialized":
            raise UserError(
                f"connector '{plan.endpoint}': 'send_snapshot: true' requires a materialized "
                f"output view: declare {view.name} with CREATE MATERIALIZED VIEW",
                code="ConfigError.InvalidTransportConfig",
            )
        context = SinkContext(
            pipeline_id=self.id,
            view=plan.relation,
            connector=plan.name,
            schema=view.schema,
            config=transport.get("config") or {},
            format=_resolved(config["format"]) if config.get("format") else None,
            key=self._index_key(plan, config),
        )
        kind(context)  # a config that cannot work is refused here, before anything runs
        return OutputEndpoint(
            name=plan.endpoint,
            relation=plan.relation,
            connector=plan.name,
            schema=view.schema,
            config=config,
            owner=self.id,
            settings=settings,
            make_sink=lambda: kind(context),
            resets=self._resets,
            take_cut=self._loop.take_cut,
            on_progress=self._loop.wake,
        )

    def _index_key(self, plan: ConnectorPlan, config: Mapping[str, Any]) -> tuple[int, ...]:
        name = config.get("index")
        if not name:
            return ()
        for index in self.plan.indexes:
            if index.name == str(name).lower() or index.name == name:
                if index.view == plan.relation:
                    return index.columns
                raise UserError(
                    f"connector '{plan.endpoint}': index '{name}' is on view '{index.view}', not "
                    f"on '{plan.relation}'",
                    code="ConfigError.NotAnIndex",
                )
        raise UserError(
            f"connector '{plan.endpoint}': unknown index '{name}': declare it with CREATE INDEX "
            f"{name} ON {plan.relation}(…)",
            code="ConfigError.UnknownIndex",
        )

    # ingress

    def ingress(
        self, table: str, format: str, options: Mapping[str, str], force: bool = False
    ) -> IngressSession:
        """A session that takes the bytes of one request for `table`."""
        self._require_alive()
        plan = self._tables.get(table)
        if plan is None:
            raise NotFound(
                f"unknown table '{table}'{_known(self._tables)}",
                code="ConfigError.UnknownInputStream",
            )
        config = {"name": format, "config": dict(options)}
        parser = make_parser(config, plan.schema, plan.key, default_columns(self.plan, plan))
        digest = hashlib.sha256(orjson.dumps(config, option=orjson.OPT_SORT_KEYS)).hexdigest()
        endpoint = self._api_endpoint(plan, f"{table}.api-ingress-{digest[:16]}", config)
        self._connect()
        return IngressSession(endpoint, parser, self.incarnation, force, self._disconnect)

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
        t = decode(token, self.incarnation)
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
        token = CompletionToken(self.incarnation, endpoint.name, endpoint.total_records)
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
                f"unknown table or view '{relation}'{_known(self._views | self._tables)}",
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
        )
        self._connect()
        self._loop.add_output(endpoint)
        endpoint.start()
        return Subscription(self, endpoint, sink)

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
            insert = _INSERT.match(statement)
            reading.append(
                statement if insert is None else f'SELECT {self._insert(insert)}::BIGINT AS "count"'
            )
        joined = ";\n".join(s.strip().rstrip(";") for s in reading)
        return self._adhoc.query(joined, format)

    def _insert(self, statement: re.Match[str]) -> int:
        name = _fold(statement["table"])
        table = self._tables.get(name)
        if table is None:
            raise UserError(
                f"Error during query processing: there is no table '{name}' to insert into"
                f"{_known(self._tables)}",
                code="AdHocQueryError",
            )
        rows = self._adhoc.table(statement["source"])
        columns = statement["columns"]
        names = (
            [_fold(c.strip()) for c in columns.split(",")] if columns else list(table.schema.names)
        )
        batch = _insert_batch(table, names, rows, default_columns(self.plan, table))
        endpoint = self._api_endpoint(table, f"{name}.adhoc", {"name": "adhoc"})
        endpoint.push(Parsed((batch,), records=len(batch)), 0)
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
            self._loop, is_paused=not self._running.is_set(), errors=include_errors
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
        return prometheus(self._loop, labels, is_paused=not self._running.is_set())

    def time_series(self) -> dict[str, Any]:
        return self._statistics.time_series()

    def _input(self, table: str, connector: str) -> InputEndpoint:
        endpoint = self._loop.inputs.get(f"{table}.{connector}")
        if endpoint is None:
            raise NotFound(
                f"unknown input endpoint name '{table}.{connector}'{_known(self._loop.inputs)}",
                code="UnknownInputEndpoint",
            )
        return endpoint

    def _output(self, view: str, connector: str) -> OutputEndpoint:
        endpoint = self._loop.outputs.get(f"{view}.{connector}")
        if endpoint is None:
            raise NotFound(
                f"unknown output endpoint name '{view}.{connector}'{_known(self._loop.outputs)}",
                code="UnknownOutputEndpoint",
            )
        return endpoint

    # transactions

    def start_transaction(self) -> dict[str, Any]:
        return {"transaction_id": self._loop.begin_transaction()}

    def commit_transaction(self) -> str:
        self._loop.commit_transaction()
        return "Transaction commit initiated"

    # resets (spec/reset.md section 1)

    def reset(
        self, view: str, connector: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Owe the connector's sink a fresh snapshot; durable on return."""
        endpoint = self._output(view, connector)
        refuse_unknown_options(body)
        guarantee = self._check_resettable(endpoint)
        record = endpoint.request_reset()
        return {
            "token": record.token,
            "generation": record.generation,
            "guarantee": guarantee,
            "step": self._loop.step,
        }

    def _check_resettable(self, endpoint: OutputEndpoint) -> str:
        name = endpoint.name
        plan: ViewPlan | TablePlan | None = self._views.get(endpoint.relation)
        if isinstance(plan, ViewPlan) and plan.kind != "materialized":
            raise _not_supported(
                f"output connector '{name}' cannot be reset: view '{plan.name}' is not "
                "materialized, so there is no snapshot to replay: declare it CREATE MATERIALIZED "
                'VIEW and set "send_snapshot": true on the connector'
            )
        if not endpoint.settings.snapshot:
            raise _not_supported(
                f"output connector '{name}' cannot be reset: it is in follow mode; set "
                '"send_snapshot": true (or "mode": "snapshot_and_follow") on it'
            )
        guarantee = endpoint.guarantee()
        if guarantee == "none":
            raise _not_supported(
                f"output connector '{name}' cannot be reset: its sink can only append in this mode"
            )
        try:
            endpoint.probe()
        except SinkRejected as e:
            raise _not_supported(f"output connector '{name}' cannot be reset: {e}") from e
        return guarantee

    def reset_status(self, token: str) -> dict[str, Any]:
        """What became of a reset; truthful after a restart too."""
        record = self._resets.find(token)
        if record is None:
            raise Gone(
                f"unknown reset token '{token}': the storage that knew it was cleared, or it never "
                "existed; reset again if in doubt",
                code="PipelineRestarted",
            )
        endpoint = self._loop.outputs.get(record.endpoint)
        status: dict[str, Any] = {
            "phase": record.state,
            "attempt": 0,
            "rows_staged": record.rows or 0,
            "rows_total": record.rows,
            "bytes": 0,
            "step": record.step,
            "last_error": record.error,
        }
        if record.state == "accepted" and endpoint is not None:
            status |= endpoint.live_status(record)
        outcome = {"done": "complete", "failed": "failed"}.get(record.state, "inprogress")
        return {
            "status": outcome,
            "token": record.token,
            "endpoint": record.endpoint,
            "generation": record.generation,
            "accepted_at": _rfc3339(record.accepted_at),
            "finished_at": None if record.finished_at is None else _rfc3339(record.finished_at),
            "error": record.error,
            **status,
        }

    def cancel_reset(self, view: str, connector: str) -> dict[str, Any]:
        endpoint = self._output(view, connector)
        raise _not_supported(
            f"a reset of '{endpoint.name}' cannot be cancelled yet; a new reset supersedes it"
        )


class IngressSession:
    """One ingress request: bytes in, a completion token out. Good rows are taken even when
    others of the request fail."""

    def __init__(
        self, endpoint: InputEndpoint, parser: Any, incarnation: str, force: bool, done: Any
    ) -> None:
        self._endpoint, self._parser, self._force, self._done = endpoint, parser, force, done
        self._incarnation = incarnation
        self._errors: list[ParseError] = []
        self._num_errors = 0

    def feed(self, data: bytes) -> None:
        """Parse and queue; waits while the queue is full or the pipeline paused (unless forced)."""
        self._take(self._parser.feed(data), len(data))

    def finish(self) -> dict[str, Any]:
        """End of the request. Raises UserError ParseErrors when some records failed."""
        self._take(self._parser.finish(), 0)
        if self._num_errors:
            raise parse_errors(self._errors, self._num_errors)
        e = self._endpoint
        return {"token": CompletionToken(self._incarnation, e.name, e.total_records).encode()}

    def close(self) -> None:
        """Always call this last, also after an error."""
        done, self._done = self._done, None
        if done is not None:
            done()

    def _take(self, parsed: Parsed, byte_count: int) -> None:
        try:
            self._endpoint.push(parsed, byte_count, force=self._force)
        except Intake.Stopped:
            raise TransientError(
                "the pipeline is stopping and takes in no more", code="PipelineUnavailable"
            ) from None
        self._num_errors += len(parsed.errors)
        self._errors.extend(parsed.errors[: REPORTED_ERRORS - len(self._errors)])


class Subscription:
    """A running HTTP subscription: iterate it for chunks, then close it."""

    def __init__(self, pipeline: Pipeline, endpoint: OutputEndpoint, sink: HttpEgressSink) -> None:
        self._pipeline, self._endpoint, self._sink = pipeline, endpoint, sink
        self._chunks = sink.chunks()
        self._is_closed = False

    @property
    def name(self) -> str:
        return self._endpoint.name

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._sink.close()
            self._pipeline._unsubscribe(self._endpoint)


_INSERT = re.compile(
    r"""(?:\s|--[^\n]*\n|/\*.*?\*/)*insert\s+into\s+(?P<table>"[^"]+"|\w+)\s*(?:\((?P<columns>[^()]*)\))?\s*
        (?P<source>(?:values|select|with)\b.*?);?\s*$""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def _fold(identifier: str) -> str:
    return identifier[1:-1] if identifier.startswith('"') else identifier.lower()


def _insert_batch(
    table: TablePlan, names: list[str], rows: pa.Table, defaults: tuple[Column | None, ...]
) -> InputBatch:
    """The rows of an ad-hoc INSERT as the table wants them; absent columns have their DEFAULT."""

    def refuse(text: str) -> UserError:
        return UserError(f"Error during query processing: {text}", code="AdHocQueryError")

    if len(names) != rows.num_columns:
        raise refuse(f"INSERT names {len(names)} columns but gives {rows.num_columns} values")
    unknown = [n for n in names if n not in table.schema.names]
    if unknown:
        raise refuse(f"table '{table.name}' has no column '{unknown[0]}'")
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise refuse(f"INSERT names column '{twice[0]}' twice")
    columns: list[Column] = []
    first = np.zeros(rows.num_rows, np.int64)
    for f, default in zip(table.schema.fields, defaults, strict=True):
        if f.name in names:
            values = rows.column(names.index(f.name)).combine_chunks()
            try:
                column = column_from_arrow(f.type, values)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UserError) as e:
                raise refuse(f"column '{f.name}' ({f.type}): {e}") from e
        elif default is not None:
            column = take_column(default.with_type(f.type), first)
        else:
            column = null_column(f.type.with_nullable(True), rows.num_rows)
        if not f.type.nullable and column.valid is not None and not column.valid.all():
            raise refuse(f"column '{f.name}' of table '{table.name}' is NOT NULL")
        columns.append(column)
    ops = np.full(rows.num_rows, INSERT, np.uint8)
    return InputBatch(table.schema, tuple(columns), ops)


def refuse_unknown_options(body: Mapping[str, Any] | None) -> None:
    """A reset's body may name what is offered and nothing else (spec/reset.md section 6)."""
    for key, value in (body or {}).items():
        if key == "mode" and value == "replace":
            continue
        raise UserError(
            f"reset does not take {orjson.dumps({key: value}).decode()}: the body may be empty or "
            '{"mode": "replace"}',
            code="InvalidParam",
        )


def output_settings(endpoint: str, config: Mapping[str, Any]) -> OutputSettings:
    """The generic attributes of an output connector, checked (contract 7.2)."""
    mode = config.get("mode")
    if mode not in (None, "follow", "snapshot_and_follow"):
        raise UserError(
            f"connector '{endpoint}': unknown mode '{mode}': expected 'follow' or "
            "'snapshot_and_follow'",
            code="ConfigError.InvalidTransportConfig",
        )
    snapshot = bool(config.get("send_snapshot", False)) or mode == "snapshot_and_follow"
    buffered = bool(config.get("enable_output_buffer", False))
    time_ms, records = (
        config.get("max_output_buffer_time_millis"),
        config.get("max_output_buffer_size_records"),
    )
    return OutputSettings(
        snapshot=snapshot,
        max_queued_records=int(config.get("max_queued_records") or 1_000_000),
        buffered=buffered,
        buffer_time_s=float("inf") if time_ms is None else int(time_ms) / 1000,
        buffer_records=10_000_000 if records is None else int(records),
        overflow_resets=config.get("on_overflow") == "reset",
        paused=bool(config.get("paused", False)),
    )


def parse_errors(errors: list[ParseError], count: int) -> UserError:
    """The ParseErrors answer of an ingress request (contract section 3)."""
    lines = "\n".join(e.description for e in errors)
    return UserError(
        f"Errors parsing input data ({count} errors):\n{lines}",
        code="ParseErrors",
        details={"num_errors": count, "errors": [e.to_json() for e in errors]},
    )


def _resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    return dict(resolve_secrets(config))


def _wants_pause(action: str) -> bool:
    if action not in ("start", "pause"):
        raise UserError(
            f"unknown connector action '{action}': expected 'start' or 'pause'",
            code="InvalidConnectorAction",
        )
    return action == "pause"


def _not_supported(message: str) -> UserError:
    return UserError(message, code="NotSupported")


def _known(names: Mapping[str, Any]) -> str:
    return f" (there are: {', '.join(sorted(names))})" if names else ""


def _rfc3339(seconds: float) -> str:
    return (
        time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1e6):06d}Z"
    )
