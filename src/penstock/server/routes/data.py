"""Rows in, rows out: ingress, completion, egress, ad-hoc queries, transactions (contract 3–6)."""

from __future__ import annotations

import base64
import binascii
import codecs
import contextlib
from collections.abc import Callable
from typing import Any

import httpx
import orjson
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from penstock.errors import PenstockError, UserError
from penstock.server.errors import error_body, error_response
from penstock.server.parameters import flag, json_body, object_body, required
from penstock.server.site import Call, RouteTable, Site
from penstock.wire.names import fold_identifier

_INGRESS_PATIENCE_SECONDS = 30.0
_QUERY_SECONDS = 600.0
_FORMATS = ("text", "json", "parquet", "arrow_ipc", "hash")
_TEXT_FORMATS = ("text", "json", "hash")
# How an answer ends whose pipeline ended first (contract section 5); the others break off.
_FAREWELLS: dict[str, Callable[[str], bytes]] = {
    "text": lambda message: f"\nERROR: {message}\n".encode(),
    "json": lambda message: b"\n" + orjson.dumps({"error": message}) + b"\n",
}


async def ingress(call: Call) -> Response:
    record = call.pipeline()
    socket = call.fleet.socket_of(record)
    options = dict(call.request.query_params)
    force = flag(call.request, "force", False)
    options.pop("force", None)
    encoding = call.request.headers.get("content-encoding", "identity")
    if encoding.lower() not in ("", "identity"):
        raise UserError(
            f"the body is sent with Content-Encoding: {encoding}, which is not supported: send it "
            "as it is",
            code="InvalidParam",
        )
    args = {
        "table": fold_identifier(call.request.path_params["table_name"]),
        "format": options.pop("format", "csv"),
        "options": options,
        "force": force,
    }

    def may_wait() -> bool:
        return call.pipeline().deployment_status == "Running"

    with contextlib.suppress(ClientDisconnect):
        return await call.site.forwarder.send(
            record.name,
            socket,
            "/ingress",
            args,
            call.request.stream(),
            may_wait,
            _INGRESS_PATIENCE_SECONDS,
        )
    return Response(status_code=400)  # nobody is left to read it


async def egress(call: Call) -> Response:
    record = call.pipeline()
    socket = call.fleet.socket_of(record)
    options = dict(call.request.query_params)
    connector = await json_body(call.request)
    if connector is not None:
        args = _from_connector(connector, options)
    else:
        options.pop("array", None)  # forced for JSON, meaningless for CSV
        args = {
            "format": options.pop("format", "csv"),
            "backpressure": flag(call.request, "backpressure", False),
            "send_snapshot": flag(call.request, "send_snapshot", False),
        }
        options.pop("backpressure", None)
        options.pop("send_snapshot", None)
        args["options"] = options
    args["relation"] = fold_identifier(call.request.path_params["table_name"])
    return await call.site.forwarder.stream(
        record.name, socket, "/egress", args, 10.0, farewell=lambda message: b""
    )


def _from_connector(connector: object, query: dict[str, str]) -> dict[str, object]:
    """The arguments of an egress whose body holds a connector configuration (contract 4)."""
    if not isinstance(connector, dict):
        raise UserError("The body of an egress must be a connector configuration or empty")
    for key in ("format", "backpressure"):
        if key in query:
            raise UserError(
                f"'{key}' cannot be a query parameter when the body holds a connector",
                details={"parameter": key},
            )
    transport = _object(connector, "transport").get("name", "http_output")
    if transport != "http_output":
        raise UserError(
            f"An egress goes to whoever asks, not to {transport!r}: its transport is http_output",
            details={"parameter": "transport", "value": transport},
        )
    form = _object(connector, "format")
    config = _object(form, "config")
    if form.get("name") == "json" and config.pop("array", None) is not True:
        raise UserError('An egress in the format json needs "array": true')
    transport = _object(_object(connector, "transport"), "config")
    return {
        "format": form.get("name", "csv"),
        "options": {k: v if isinstance(v, str) else orjson.dumps(v).decode()
                    for k, v in config.items()},
        "backpressure": bool(transport.get("backpressure", False)),
        "send_snapshot": bool(connector.get("send_snapshot", False)),
    }  # fmt: skip


def _object(parent: dict[str, Any], key: str) -> dict[str, Any]:
    """A copy of the object under `key`, empty when absent. Raises `InvalidParam`."""
    value = parent.get(key)
    if value is not None and not isinstance(value, dict):
        raise UserError(
            f"'{key}' of a connector must be an object, not {value!r}",
            code="InvalidParam",
            details={"key": key},
        )
    return dict(value or {})


def _query_args(sql: str, wanted: str | None) -> dict[str, str]:
    form = wanted or "text"
    if form not in _FORMATS:
        raise UserError(
            f"'format' must be one of {', '.join(_FORMATS)}, not '{form}'",
            details={"parameter": "format", "value": form},
        )
    return {"sql": sql, "format": form}


async def query(call: Call) -> Response:
    record = call.pipeline()
    socket = call.fleet.socket_of(record)
    args = _query_args(required(call.request, "sql"), call.request.query_params.get("format"))
    return await call.site.forwarder.stream(
        record.name, socket, "/query", args, _QUERY_SECONDS, _FAREWELLS.get(args["format"])
    )


async def query_socket(site: Site, socket: WebSocket) -> None:
    """One query over a WebSocket: a text frame in, result frames out, then the close frame. Whom
    or what the server does not know is refused at the upgrade, as a GET of the same path is."""
    try:
        principal = await site.auth.authenticate(_with_tenant(dict(socket.headers)))
        principal.require("write")
        record = site.fleet.find(principal.tenant.id, socket.path_params["pipeline_name"])
        worker = site.fleet.socket_of(record)
    except PenstockError as error:
        await socket.send_denial_response(error_response(error))
        return
    offered = socket.headers.get("sec-websocket-protocol", "")
    await socket.accept("feldera-ws-v1" if "feldera-ws-v1" in offered else None)
    try:
        asked = orjson.loads(await socket.receive_text())
        if not isinstance(asked, dict) or not isinstance(asked.get("sql"), str):
            raise UserError('Send {"sql": "…", "format": "…"} as one text frame')
        args = _query_args(asked["sql"], asked.get("format"))
        answer = await site.forwarder.open(
            record.name, worker, "/query", dict(args), _QUERY_SECONDS
        )
        try:
            if not answer.is_success:
                message = orjson.loads(await answer.aread()).get("message")
                await _refuse(socket, message)
                return
            decoder = codecs.getincrementaldecoder("utf-8")()
            async for chunk in answer.aiter_raw():
                if args["format"] in _TEXT_FORMATS:
                    await socket.send_text(decoder.decode(chunk))
                else:
                    await socket.send_bytes(chunk)
        finally:
            await answer.aclose()
        await socket.close(1000)
    except WebSocketDisconnect:
        return
    except httpx.TransportError as error:
        await _refuse(socket, f"the pipeline ended within the answer: {error}")
    except (PenstockError, orjson.JSONDecodeError) as error:
        is_ours = isinstance(error, PenstockError)
        await _refuse(socket, error_body(error)["message"] if is_ours else f"not JSON: {error}")


def _with_tenant(headers: dict[str, str]) -> dict[str, str]:
    for protocol in headers.get("sec-websocket-protocol", "").split(","):
        kind, _, encoded = protocol.strip().partition(".")
        if kind == "feldera-tenant":
            with contextlib.suppress(binascii.Error, UnicodeDecodeError):
                padded = encoded + "=" * (-len(encoded) % 4)
                headers["feldera-tenant"] = base64.urlsafe_b64decode(padded).decode()
    return headers


async def _refuse(socket: WebSocket, message: str) -> None:
    await socket.send_text(orjson.dumps({"error": message}).decode())
    await socket.close(1011)


async def completion_status(call: Call) -> Response:
    call.fleet.socket_of(call.pipeline())
    return await call.ask("completion_status", token=required(call.request, "token"))


async def start_transaction(call: Call) -> Response:
    return await call.ask("start_transaction")


async def commit_transaction(call: Call) -> Response:
    return await call.ask("commit_transaction", timeout=120.0)


async def advance_clock(call: Call) -> Response:
    call.fleet.socket_of(call.pipeline())
    body = await object_body(call.request)
    return await call.ask("advance_clock", delta_ms=body.get("delta_ms"))


ROUTES: RouteTable = (
    ("POST", "/pipelines/{pipeline_name}/clock/advance", "write", advance_clock),
    ("POST", "/pipelines/{pipeline_name}/ingress/{table_name}", "write", ingress),
    ("POST", "/pipelines/{pipeline_name}/egress/{table_name}", "write", egress),
    ("GET", "/pipelines/{pipeline_name}/query", "write", query),
    ("GET", "/pipelines/{pipeline_name}/completion_status", "read", completion_status),
    ("POST", "/pipelines/{pipeline_name}/start_transaction", "write", start_transaction),
    ("POST", "/pipelines/{pipeline_name}/commit_transaction", "write", commit_transaction),
)
