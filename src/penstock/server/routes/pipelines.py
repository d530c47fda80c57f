"""The pipelines resource: create, read, replace, edit, delete, events (contract 1)."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from penstock.errors import NotFound
from penstock.manager.records import PipelineRecord
from penstock.server.answers import empty_response, json_response
from penstock.server.parameters import choice, object_body
from penstock.server.site import Call, RouteTable

_NO_CACHE = {"cache-control": "no-cache"}
_SELECTORS = ("all", "status", "status_with_connectors")
#: keys of an event that only selector=all shows
_EVENT_DETAILS = (
    "deployment_error",
    "deployment_resources_status_details",
    "deployment_runtime_status_details",
    "storage_status_details",
)


async def _rendered(call: Call, record: PipelineRecord, selector: str) -> dict[str, Any]:
    body = record.to_json(selector)
    if selector == "status_with_connectors":
        body["connectors"] = await call.site.connector_errors(record)
    return body


async def list_all(call: Call) -> Response:
    selector = choice(call.request, "selector", *_SELECTORS)
    records = await call.thread(call.fleet.all_of, call.tenant_id)
    return json_response([await _rendered(call, r, selector) for r in records], headers=_NO_CACHE)


async def get_one(call: Call) -> Response:
    selector = choice(call.request, "selector", *_SELECTORS)
    return json_response(await _rendered(call, call.pipeline(), selector), headers=_NO_CACHE)


async def create(call: Call) -> Response:
    body = await object_body(call.request)
    record = await call.thread(call.fleet.create, call.tenant_id, body)
    return json_response(record.to_json(), 201)


async def replace(call: Call) -> Response:
    body = await object_body(call.request)
    record, is_new = await call.thread(call.fleet.replace, call.tenant_id, call.pipeline_name, body)
    return json_response(record.to_json(), 201 if is_new else 200)


async def patch(call: Call) -> Response:
    body = await object_body(call.request)
    record = await call.thread(call.fleet.patch, call.tenant_id, call.pipeline_name, body)
    return json_response(record.to_json())


async def delete(call: Call) -> Response:
    await call.thread(call.fleet.delete, call.tenant_id, call.pipeline_name)
    return empty_response()


async def update_runtime(call: Call) -> Response:
    record = await call.thread(call.fleet.update_runtime, call.tenant_id, call.pipeline_name)
    return json_response(record.to_json())


def _event(event: dict[str, Any], selector: str) -> dict[str, Any]:
    if selector == "all":
        return event
    return {k: v for k, v in event.items() if k not in _EVENT_DETAILS}


async def events(call: Call) -> Response:
    selector = choice(call.request, "selector", "status", "all")
    found = call.fleet.events_of(call.pipeline())
    return json_response([_event(e, selector) for e in found])


async def one_event(call: Call) -> Response:
    selector = choice(call.request, "selector", "status", "all")
    found = call.fleet.events_of(call.pipeline())
    wanted = call.request.path_params["event_id"]
    for event in found:
        if wanted in ("latest", event["event_id"]):
            return json_response(_event(event, selector))
    raise NotFound(
        f"Pipeline '{call.pipeline_name}' has no event '{wanted}'",
        code="UnknownPipelineMonitorEvent",
        details={"event_id": wanted},
    )


_P = "/pipelines/{pipeline_name}"
ROUTES: RouteTable = (
    ("GET", "/pipelines", "read", list_all),
    ("POST", "/pipelines", "write", create),
    ("GET", _P, "read", get_one),
    ("PUT", _P, "write", replace),
    ("PATCH", _P, "write", patch),
    ("DELETE", _P, "write", delete),
    ("POST", f"{_P}/update_runtime", "write", update_runtime),
    ("GET", f"{_P}/events", "read", events),
    ("GET", f"{_P}/events/{{event_id}}", "read", one_event),
)
