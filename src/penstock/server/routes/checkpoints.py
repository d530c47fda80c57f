"""Checkpoints of a pipeline: take one, follow it, list them, compare with one (contract 6.5)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.responses import Response

from penstock.errors import NotFound, UserError
from penstock.server.answers import json_response
from penstock.server.parameters import object_body, refuse_odd_version
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


async def diff(call: Call) -> Response:
    """What a start would change, of the pipeline's program or of the one in the body."""
    record = call.pipeline()
    body = await object_body(call.request)
    code = body.get("program_code")
    if code is not None and not isinstance(code, str):
        raise UserError("'program_code' must be a string", details={"parameter": "program_code"})
    refuse_odd_version(body)
    if code is None and record.program_status != "Success":
        raise NotFound(
            f"The program of pipeline '{record.name}' is not compiled: it is "
            f"{record.program_status}",
            code="ProgramNotCompiled",
        )
    storage, udf = call.fleet.storage_of(record), call.fleet.udf_of(record)
    text = record.program_code if code is None else code
    return json_response(await call.thread(_diff, storage, text, udf))


def _diff(storage: Path, text: str, udf: str) -> Mapping[str, Any]:
    # the API process has no engine until somebody asks for this
    from penstock.pipeline.bootstrap import diff_from_storage

    return diff_from_storage(storage, text, udf)


_P = "/pipelines/{pipeline_name}"

ROUTES: RouteTable = (
    ("POST", f"{_P}/checkpoint", "write", take),
    ("POST", f"{_P}/diff", "write", diff),
    ("GET", f"{_P}/checkpoint_status", "read", status),
    ("GET", f"{_P}/checkpoints", "read", list_all),
)
