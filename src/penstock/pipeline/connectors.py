"""The connectors of a program as endpoints: their configuration, checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from penstock.compile.program import default_columns, record_defaults
from penstock.data.batch import Column
from penstock.errors import UserError
from penstock.functions.connector_metadata import DELETED
from penstock.io.contracts import InputConnector, InputContext, Sink, SinkContext
from penstock.io.formats.rows import SoftDeletes
from penstock.io.registry import INPUTS, OUTPUTS
from penstock.io.secrets import resolve_secrets
from penstock.pipeline.delivery import STAGE_ROWS, AwaitDurable, AwaitReplayed, TakeCut
from penstock.pipeline.digest import schema_hash
from penstock.pipeline.inputs import InputEndpoint
from penstock.pipeline.output_position import Recovered
from penstock.pipeline.output_settings import OutputSettings
from penstock.pipeline.outputs import OutputEndpoint
from penstock.pipeline.resets import ResetLog
from penstock.plan.nodes import ConnectorPlan, ProgramPlan, TablePlan, ViewPlan


def make_input(
    program: ProgramPlan,
    plan: ConnectorPlan,
    *,
    is_running: Callable[[], bool],
    wake: Callable[[], None],
    workers: int = 1,
) -> tuple[InputEndpoint, InputConnector]:
    """The endpoint of an input connector, and the connector that will run in it. Raises UserError,
    naming the endpoint, for a configuration that cannot work."""
    with _naming(plan.endpoint):
        return _make_input(program, plan, is_running, wake, workers)


def _make_input(
    program: ProgramPlan,
    plan: ConnectorPlan,
    is_running: Callable[[], bool],
    wake: Callable[[], None],
    workers: int,
) -> tuple[InputEndpoint, InputConnector]:
    config = dict(plan.config)
    transport = _resolved(config.get("transport") or {})
    kind = INPUTS.get(transport.get("name", ""))
    if kind is None:
        raise UserError(
            f"connector '{plan.endpoint}': input transport '{transport.get('name')}' is not "
            f"supported: use one of {', '.join(sorted(set(INPUTS) - {'clock'}))}",
            code="ConfigError.UnknownInputTransport",
        )
    table = next(t for t in program.tables if t.name == plan.relation)
    context = InputContext(
        relation=plan.relation,
        connector=plan.name,
        schema=table.schema,
        key=table.key,
        config=transport.get("config") or {},
        format=_resolved(config["format"]) if config.get("format") else None,
        defaults=_defaults(program, table, soft_delete=config.get("soft_delete") is True),
        append_only=table.append_only,
        defaults_of=partial(record_defaults, program, table),
    )
    connector = kind(context)
    connector.validate()
    endpoint = InputEndpoint(
        name=plan.endpoint,
        relation=plan.relation,
        config=config,
        max_queued_records=int(config.get("max_queued_records") or 1_000_000),
        is_running=is_running,
        wake=wake,
        paused=bool(config.get("paused", False)),
        schema=schema_hash(table.schema),
        max_queued_bytes=config.get("max_queued_bytes") or None,
        max_batch_records=_batch_records(config, workers),
    )
    return endpoint, connector


def _batch_records(config: Mapping[str, Any], workers: int) -> int | None:
    """How many rows of the connector a step takes, if it says so."""
    each = config.get("max_worker_batch_size")
    given: int | None = config.get("max_batch_size")
    if given is None and each is not None:
        given = int(each) * workers
    return given


def _defaults(
    program: ProgramPlan, table: TablePlan, *, soft_delete: bool
) -> tuple[Column | None, ...]:
    defaults = default_columns(program, table)
    if not soft_delete:
        return defaults
    return SoftDeletes.of(defaults, default_columns(program, table, DELETED))


def clock_config(runtime: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the clock connector (contract 1.4)."""
    tweaks = runtime.get("dev_tweaks") or {}
    return {
        "clock_resolution_usecs": int(runtime.get("clock_resolution_usecs") or 1_000_000),
        "timezone_offset_ms": _offset_ms(runtime.get("clock_timezone_offset")),
        "now_offset_ms": _start_ms(tweaks.get("now_offset")),
        "http_driven": bool(tweaks.get("now_http_driven")),
    }


def _start_ms(given: Any) -> int | None:
    """Milliseconds since the epoch of a time as the published API has it ("2024-01-01T00:00:00Z",
    in UTC unless it says otherwise), or of such a number itself. Raises UserError."""
    if given is None or (isinstance(given, int) and not isinstance(given, bool)):
        return given
    try:
        time = datetime.fromisoformat(given)
    except (TypeError, ValueError) as e:
        raise UserError(
            f"dev_tweaks.now_offset is {given!r}, which is no time; it is written as "
            '"2024-01-01T00:00:00Z"',
            code="InvalidRuntimeConfig",
        ) from e
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return int((time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1))


def _offset_ms(text: str | None) -> int:
    """Milliseconds of "+05:30"."""
    if not text:
        return 0
    hours, _, minutes = text[1:].partition(":")
    sign = -1 if text[0] == "-" else 1
    return sign * (int(hours) * 60 + int(minutes or 0)) * 60_000


def stage_rows(runtime: Mapping[str, Any]) -> int:
    """How many rows of a snapshot a sink is given at a time; a test wants many small chunks."""
    return int((runtime.get("dev_tweaks") or {}).get("stage_rows") or STAGE_ROWS)


def make_output(
    program: ProgramPlan,
    plan: ConnectorPlan,
    *,
    pipeline_id: str,
    resets: ResetLog,
    take_cut: TakeCut,
    on_progress: Callable[[], None],
    recovered: Recovered | None,
    await_durable: AwaitDurable,
    await_replayed: AwaitReplayed,
    runtime: Mapping[str, Any],
) -> OutputEndpoint:
    """The endpoint of an output connector. `recovered`: what a checkpoint knows of it, if the
    connector and its view are what they were; `runtime`: the runtime_config, whose
    `dev_tweaks.stage_rows` says how many rows of a snapshot are staged at a time. Raises UserError,
    naming the endpoint, for a configuration that cannot work."""
    config = dict(plan.config)
    with _naming(plan.endpoint):
        make_sink, settings = _make_sink(program, plan, config, pipeline_id)
    return OutputEndpoint(
        name=plan.endpoint,
        relation=plan.relation,
        connector=plan.name,
        schema=_view(program, plan).schema,
        config=config,
        owner=pipeline_id,
        settings=settings,
        make_sink=make_sink,
        resets=resets,
        take_cut=take_cut,
        on_progress=on_progress,
        recovered=recovered,
        await_durable=await_durable,
        await_replayed=await_replayed,
        stage_rows=stage_rows(runtime),
    )


@contextmanager
def _naming(endpoint: str) -> Iterator[None]:
    """Options are checked where nobody knows whose they are; a program has many connectors."""
    try:
        yield
    except UserError as e:
        if f"'{endpoint}'" in e.message:
            raise
        message = f"connector '{endpoint}': {e.message}"
        raise UserError(message, code=e.code, details=e.details) from e


def _view(program: ProgramPlan, plan: ConnectorPlan) -> ViewPlan:
    return next(v for v in program.views if v.name == plan.relation)


def _make_sink(
    program: ProgramPlan, plan: ConnectorPlan, config: Mapping[str, Any], pipeline_id: str
) -> tuple[Callable[[], Sink], OutputSettings]:
    """What makes the connector's sink, and its generic attributes. Raises UserError."""
    transport = _resolved(config.get("transport") or {})
    kind = OUTPUTS.get(transport.get("name", ""))
    if kind is None:
        raise UserError(
            f"connector '{plan.endpoint}': output transport '{transport.get('name')}' is not "
            f"supported: use one of {', '.join(sorted(OUTPUTS))}",
            code="ConfigError.UnknownOutputTransport",
        )
    view = _view(program, plan)
    settings = output_settings(plan.endpoint, config)
    if settings.snapshot and view.kind != "materialized":
        raise UserError(
            f"connector '{plan.endpoint}': 'send_snapshot: true' requires a materialized "
            f"output view: declare {view.name} with CREATE MATERIALIZED VIEW",
            code="ConfigError.InvalidTransportConfig",
        )
    context = SinkContext(
        pipeline_id=pipeline_id,
        view=plan.relation,
        connector=plan.name,
        schema=view.schema,
        config=transport.get("config") or {},
        format=_resolved(config["format"]) if config.get("format") else None,
        key=_index_key(program, plan, config),
    )
    kind(context)  # a config that cannot work is refused here, before anything runs
    return partial(kind, context), settings


def _index_key(
    program: ProgramPlan, plan: ConnectorPlan, config: Mapping[str, Any]
) -> tuple[int, ...]:
    name = config.get("index")
    if not name:
        return ()
    for index in program.indexes:
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


def output_settings(endpoint: str, config: Mapping[str, Any]) -> OutputSettings:
    """The generic attributes of an output connector, checked (contract 7.2)."""
    mode = config.get("mode")
    if mode not in (None, "follow", "snapshot_and_follow"):
        raise UserError(
            f"connector '{endpoint}': unknown mode '{mode}': expected 'follow' or "
            "'snapshot_and_follow'",
            code="ConfigError.InvalidTransportConfig",
        )
    if config.get("on_overflow") not in (None, "reset"):
        raise UserError(
            f"connector '{endpoint}': unknown on_overflow '{config['on_overflow']}': expected "
            "'reset', or leave it out",
            code="ConfigError.InvalidTransportConfig",
        )
    on_lost_marker = config.get("on_lost_marker")
    if on_lost_marker not in (None, "reset", "fail"):
        raise UserError(
            f"connector '{endpoint}': unknown on_lost_marker '{on_lost_marker}': expected 'reset' "
            "or 'fail'",
            code="ConfigError.InvalidTransportConfig",
        )
    snapshot = bool(config.get("send_snapshot", False)) or mode == "snapshot_and_follow"
    buffered = bool(config.get("enable_output_buffer", False))
    time_ms, records = (
        config.get("max_output_buffer_time_millis"),
        config.get("max_output_buffer_size_records"),
    )
    if not buffered and (time_ms is not None or records is not None):
        raise UserError(
            f"connector '{endpoint}': max_output_buffer_time_millis and "
            'max_output_buffer_size_records need "enable_output_buffer": true',
            code="ConfigError.InvalidOutputBufferConfig",
        )
    return OutputSettings(
        snapshot=snapshot,
        max_queued_records=int(config.get("max_queued_records") or 1_000_000),
        buffered=buffered,
        buffer_time_s=float("inf") if time_ms is None else int(time_ms) / 1000,
        buffer_records=10_000_000 if records is None else int(records),
        overflow_resets=config.get("on_overflow") == "reset",
        paused=bool(config.get("paused", False)),
        fails_on_lost_marker=on_lost_marker == "fail",
    )


def _resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    return dict(resolve_secrets(config))
