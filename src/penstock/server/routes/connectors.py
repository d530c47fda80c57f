"""Connectors of a running pipeline: statistics, start, pause, and the reset of outputs.

Look-ups of a reset happen in the order pipeline, deployment, endpoint, support (spec reset 1): the
first two here, the others in the pipeline.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from penstock.errors import UserError
from penstock.server.parameters import flag, object_body, required
from penstock.server.site import Call, RouteTable
from penstock.wire.names import fold_identifier

_ACTIONS = ("start", "pause")
#: an audit reads the whole target before it answers
_AUDIT_S = 3600.0


def _table(call: Call) -> dict[str, Any]:
    path = call.request.path_params
    return {"table": fold_identifier(path["table_name"]), "connector": path["connector_name"]}


def _view(call: Call) -> dict[str, Any]:
    path = call.request.path_params
    return {"view": fold_identifier(path["view_name"]), "connector": path["connector_name"]}


def _action(call: Call) -> str:
    action: str = call.request.path_params["action"]
    if action not in _ACTIONS:
        raise UserError(
            f"Connectors can be told to {' or '.join(_ACTIONS)}, not to '{action}'",
            code="InvalidConnectorAction",
            details={"action": action},
        )
    return action


async def input_stats(call: Call) -> Response:
    return await call.ask("input_stats", **_table(call))


async def output_stats(call: Call) -> Response:
    return await call.ask("output_stats", **_view(call))


async def set_input(call: Call) -> Response:
    call.pipeline()
    return await call.ask("set_connector", **_table(call), action=_action(call))


async def set_output(call: Call) -> Response:
    call.pipeline()
    return await call.ask("set_output_connector", **_view(call), action=_action(call))


async def completion_token(call: Call) -> Response:
    return await call.ask("completion_token", **_table(call))


async def reset(call: Call) -> Response:
    call.fleet.socket_of(call.pipeline())
    body = await object_body(call.request)
    return await call.ask("reset", **_view(call), body=body or None)


async def reset_group(call: Call) -> Response:
    call.fleet.socket_of(call.pipeline())
    return await call.ask("reset_group", body=await object_body(call.request))


async def audit(call: Call) -> Response:
    call.fleet.socket_of(call.pipeline())
    body = await object_body(call.request)
    return await call.ask("audit", timeout=_AUDIT_S, **_view(call), body=body or None)


async def cancel_reset(call: Call) -> Response:
    return await call.ask("cancel_reset", **_view(call))


async def reset_status(call: Call) -> Response:
    call.fleet.socket_of(call.pipeline())
    return await call.ask("reset_status", token=required(call.request, "token"))


async def stats(call: Call) -> Response:
    include = flag(call.request, "include_connector_errors", False)
    return await call.ask("stats", include_errors=include)


_P = "/pipelines/{pipeline_name}"
_T = f"{_P}/tables/{{table_name}}/connectors/{{connector_name}}"
_V = f"{_P}/views/{{view_name}}/connectors/{{connector_name}}"

ROUTES: RouteTable = (
    ("GET", f"{_P}/stats", "read", stats),
    ("GET", f"{_P}/reset_status", "read", reset_status),
    ("GET", f"{_T}/stats", "read", input_stats),
    ("GET", f"{_T}/completion_token", "write", completion_token),
    ("POST", f"{_T}/{{action}}", "write", set_input),
    ("GET", f"{_V}/stats", "read", output_stats),
    ("POST", f"{_V}/reset", "write", reset),
    ("DELETE", f"{_V}/reset", "write", cancel_reset),
    ("POST", f"{_V}/audit", "write", audit),
    ("POST", f"{_P}/reset", "write", reset_group),
    ("POST", f"{_V}/{{action}}", "write", set_output),
)
