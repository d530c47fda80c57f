"""Checkpoints of a pipeline: take one, follow it, list them (contract 6.5)."""

from __future__ import annotations

from starlette.responses import Response

from penstock.server.answers import json_response
from penstock.server.parameters import object_body
from penstock.server.site import Call, RouteTable

_SECONDS = 120.0


async def take(call: Call) -> Response:
    call.fleet.socket_of(call.pipeline())
    await object_body(call.request)
    return await call.ask("checkpoint", timeout=_SECONDS)


async def status(call: Call) -> Response:
    incarnation = call.request.query_params.get("incarnation_uuid")
    return await call.ask("checkpoint_status", incarnation_uuid=incarnation)


async def list_all(call: Call) -> Response:
    """Also of a stopped pipeline: what its next start may go on from."""
    record = call.pipeline()
    if record.resources_status == "Provisioned":
        return await call.ask("checkpoints")
    details = record.storage_details or {}
    return json_response(details.get("checkpoints", []))


_P = "/pipelines/{pipeline_name}"

ROUTES: RouteTable = (
    ("POST", f"{_P}/checkpoint", "write", take),
    ("GET", f"{_P}/checkpoint_status", "read", status),
    ("GET", f"{_P}/checkpoints", "read", list_all),
)
