"""The life-cycle calls. Answers are JSON strings, states are polled (contract 1.6, 1.7)."""

from __future__ import annotations

from starlette.responses import Response

from penstock.errors import UserError
from penstock.manager import lifecycle
from penstock.manager.lifecycle import StartRequest
from penstock.server.answers import json_response
from penstock.server.parameters import flag
from penstock.server.site import Call, RouteTable


async def start(call: Call) -> Response:
    query = call.request.query_params
    request = StartRequest(
        initial=query.get("initial", "running").lower(),
        bootstrap_policy=query.get("bootstrap_policy"),
        silent_bootstrap=flag(call.request, "silent_bootstrap", False),
        concurrent_bootstrap=flag(call.request, "concurrent_bootstrap", False),
        dismiss_error=flag(call.request, "dismiss_error", True),
    )
    await call.thread(call.fleet.start, call.tenant_id, call.pipeline_name, request)
    return json_response("Pipeline is starting", 202)


async def stop(call: Call) -> Response:
    force = flag(call.request, "force", False)
    await call.thread(call.fleet.stop, call.tenant_id, call.pipeline_name, force=force)
    return json_response(
        "Pipeline is forcefully stopping" if force else "Pipeline is stopping", 202
    )


async def pause(call: Call) -> Response:
    await call.thread(call.fleet.steer, call.tenant_id, call.pipeline_name, "Paused")
    return json_response("Pipeline is pausing", 202)


async def resume(call: Call) -> Response:
    await call.thread(call.fleet.steer, call.tenant_id, call.pipeline_name, "Running")
    return json_response("Pipeline is resuming", 202)


async def clear(call: Call) -> Response:
    await call.thread(call.fleet.clear, call.tenant_id, call.pipeline_name)
    return json_response("Pipeline storage is being cleared", 202)


async def dismiss_error(call: Call) -> Response:
    await call.thread(call.fleet.dismiss_error, call.tenant_id, call.pipeline_name)
    return json_response("Pipeline deployment error is dismissed")


async def activate(call: Call) -> Response:
    initial = call.request.query_params.get("initial", "running").lower()
    lifecycle.activate(call.pipeline(), initial)
    raise AssertionError("no pipeline is ever in standby")


async def approve(call: Call) -> Response:
    silent = flag(call.request, "silent_bootstrap", False)
    if silent and flag(call.request, "concurrent_bootstrap", False):
        raise UserError(
            "A bootstrap cannot be both silent and concurrent", code="InvalidBootstrapConfig"
        )
    await call.thread(call.fleet.approve, call.tenant_id, call.pipeline_name, is_silent=silent)
    return json_response("Pipeline bootstrap is approved")


ROUTES: RouteTable = (
    ("POST", "/pipelines/{pipeline_name}/start", "write", start),
    ("POST", "/pipelines/{pipeline_name}/stop", "write", stop),
    ("POST", "/pipelines/{pipeline_name}/pause", "write", pause),
    ("POST", "/pipelines/{pipeline_name}/resume", "write", resume),
    ("POST", "/pipelines/{pipeline_name}/clear", "write", clear),
    ("POST", "/pipelines/{pipeline_name}/dismiss_error", "write", dismiss_error),
    ("POST", "/pipelines/{pipeline_name}/activate", "write", activate),
    ("POST", "/pipelines/{pipeline_name}/approve", "write", approve),
)
