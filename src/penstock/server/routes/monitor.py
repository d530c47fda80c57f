"""Looking at pipelines and the server: metrics, time series, logs, health (contract 6.3)."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator, Mapping

import orjson
from starlette.responses import Response, StreamingResponse

from penstock.errors import NotFound, PenstockError, UserError
from penstock.manager.logs import LogBuffer, Tail
from penstock.server.answers import json_response, text_response
from penstock.server.parameters import choice
from penstock.server.site import Call, RouteTable
from penstock.wire.prometheus import merged
from penstock.wire.stamps import now_rfc3339

_SECONDS_BETWEEN_SAMPLES = 1.0


async def metrics(call: Call) -> Response:
    wanted = choice(call.request, "format", "prometheus", "json")
    return await call.ask("metrics", format=wanted)


async def all_metrics(call: Call) -> Response:
    """Every running pipeline's metrics in one text."""
    parts = []
    for record in call.fleet.all_of(call.tenant_id):
        if record.deployment_status not in ("Running", "Paused"):
            continue
        answer = await call.site.ask(record, "metrics", {"format": "prometheus"})
        if answer is not None:
            parts.append(bytes(answer.body).decode())
    return text_response(merged(parts))


async def time_series(call: Call) -> Response:
    return await call.ask("time_series")


async def time_series_stream(call: Call) -> Response:
    """NDJSON: the samples so far, then each new one, until the pipeline stops."""
    first = await call.ask("time_series")
    if first.status_code != 200:
        return first

    async def lines() -> AsyncIterator[bytes]:
        answer, newest = first, float("-inf")
        while answer.status_code == 200:
            for sample in orjson.loads(answer.body)["samples"]:
                if sample["t"] > newest:
                    newest = sample["t"]
                    yield orjson.dumps(sample) + b"\n"
            await asyncio.sleep(_SECONDS_BETWEEN_SAMPLES)
            try:
                answer = await call.ask("time_series")
            except PenstockError:
                return

    return StreamingResponse(lines(), headers={"content-type": "application/x-ndjson"})


def _cursor(call: Call, log: LogBuffer) -> int:
    """The line number to go on after; a stale epoch restarts from the buffer's start."""
    text = call.request.query_params.get("cursor", "")
    if not text:
        return log.tail().before
    epoch, colon, sequence = text.partition(":")
    if not colon or not epoch.isdigit() or not sequence.isdigit():
        raise UserError(
            "'cursor' must be <epoch>:<sequence number>",
            details={"parameter": "cursor", "value": text},
        )
    return int(sequence) if int(epoch) == log.epoch else log.tail().before


async def logs(call: Call) -> Response:
    log = call.fleet.log_of(call.pipeline())
    first = log.tail(_cursor(call, log))
    headers = {
        "content-type": "text/plain",
        "feldera-logs-epoch": str(log.epoch),
        "feldera-logs-seq": str(first.before),
        "feldera-logs-gap": str(first.gap),
    }
    return StreamingResponse(_follow(log, first), headers=headers)


async def _follow(log: LogBuffer, tail: Tail) -> AsyncIterator[bytes]:
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def notify() -> None:
        loop.call_soon_threadsafe(changed.set)

    stop = log.listen(notify)
    try:
        while True:
            for line in tail.lines:
                yield f"{line}\n".encode()
            position = tail.before + len(tail.lines)
            changed.clear()
            tail = log.tail(position)
            if not tail.lines:
                if tail.is_closed:
                    return
                await changed.wait()
                tail = log.tail(position)
    finally:
        stop()


async def circuit_json_profile(call: Call) -> Response:
    """What each operator did and keeps (`penstock.pipeline.profile`)."""
    return await call.ask("circuit_profile")


async def circuit_profile(call: Call) -> Response:
    """The same as a file in a zip."""
    answer = await call.ask("circuit_profile")
    if answer.status_code != 200:
        return answer
    packed = zipped({"circuit_profile.json": bytes(answer.body)})
    return Response(packed, headers={"content-type": "application/zip"})


def zipped(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


async def support_bundle(call: Call) -> Response:
    """What a bug report needs, as a zip of JSON and text files."""
    record = call.pipeline()
    files = {
        "pipeline_config.json": orjson.dumps(record.to_json(), option=orjson.OPT_INDENT_2),
        "pipeline_events.json": orjson.dumps(call.fleet.events_of(record)),
        "logs.txt": "\n".join(call.fleet.log_of(record).tail().lines).encode(),
        "system_config.json": orjson.dumps(
            {"version": call.site.version, "edition": call.site.edition}
        ),
    }
    for name, method in (
        ("stats.json", "stats"),
        ("metrics.txt", "metrics"),
        ("circuit_profile.json", "circuit_profile"),
    ):
        answer = await call.site.ask(record, method, {})
        if answer is not None:
            files[name] = bytes(answer.body)
    disposition = f'attachment; filename="{record.name}-support-bundle.zip"'
    return Response(
        zipped(files),
        headers={"content-type": "application/octet-stream", "content-disposition": disposition},
    )


async def cluster_healthz(call: Call) -> Response:
    now, since = now_rfc3339(), call.fleet.started_at
    services = {
        name: {"healthy": ok, "message": text, "unchanged_since": since, "checked_at": now}
        for name, (ok, text) in call.fleet.health().items()
    }
    healthy = all(service["healthy"] for service in services.values())
    return json_response({"all_healthy": healthy, **services}, 200 if healthy else 503)


def _cluster_event(call: Call) -> dict[str, object]:
    """The server's state now, as the one event there is of it."""
    everything = choice(call.request, "selector", "status", "all") == "all"
    health = call.fleet.health()
    details: dict[str, object] = {}
    if everything:
        for name, (_, text) in health.items():
            details |= {f"{name}_self_info": text, f"{name}_resources_info": ""}
    return {
        "id": call.fleet.started_id,
        "recorded_at": call.fleet.started_at,
        "all_healthy": all(ok for ok, _ in health.values()),
        **{f"{name}_status": "Healthy" if ok else "Unhealthy" for name, (ok, _) in health.items()},
        **details,
    }


async def cluster_events(call: Call) -> Response:
    return json_response([_cluster_event(call)])


async def get_cluster_event(call: Call) -> Response:
    event = _cluster_event(call)
    wanted = call.request.path_params["event_id"]
    if wanted not in ("latest", event["id"]):
        raise NotFound(
            f"There is no cluster event '{wanted}'",
            code="UnknownClusterMonitorEvent",
            details={"event_id": wanted},
        )
    return json_response(event)


_P = "/pipelines/{pipeline_name}"
ROUTES: RouteTable = (
    ("GET", "/metrics", "read", all_metrics),
    ("GET", f"{_P}/metrics", "read", metrics),
    ("GET", f"{_P}/time_series", "read", time_series),
    ("GET", f"{_P}/time_series_stream", "read", time_series_stream),
    ("GET", f"{_P}/logs", "read", logs),
    ("GET", f"{_P}/circuit_json_profile", "read", circuit_json_profile),
    ("GET", f"{_P}/circuit_profile", "read", circuit_profile),
    ("GET", f"{_P}/support_bundle", "read", support_bundle),
    ("GET", "/cluster_healthz", "read", cluster_healthz),
    ("GET", "/cluster/events", "read", cluster_events),
    ("GET", "/cluster/events/{event_id}", "read", get_cluster_event),
)
