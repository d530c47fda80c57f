"""Programs without pipelines: validation, and what can be asked of a compiled program."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from penstock.errors import NotFound, UserError
from penstock.manager.compiler import compile_record, dataflow_of, undefined
from penstock.server.answers import json_response
from penstock.server.parameters import object_body, refuse_odd_version
from penstock.server.site import Call, RouteTable


def _validate(text: str, ir: bool) -> dict[str, Any]:
    # the Python of its functions is no part of what is asked: its stubs stand in for it
    stubs = undefined(text)
    changes = compile_record(text, stubs, "", python_udf=True)
    error = changes["program_error"]
    if changes["program_status"] == "SqlError":
        return {"SqlError": {"info": error["sql_compilation"]}}
    if changes["program_status"] == "SystemError":
        return {"SystemError": {"error": error["system_error"]}}
    info = changes["program_info"]
    if ir:
        info = {**info, "dataflow": dataflow_of(text, stubs)}
    # a program that compiles may have warnings, which stand where errors would
    return {"Success": {"program_info": info, "info": error["sql_compilation"]}}


async def validate_program(call: Call) -> Response:
    body = await object_body(call.request)
    text, ir = body.get("program_code"), body.get("ir")
    if not isinstance(text, str):
        raise UserError(
            "'program_code' is required and must be a string", details={"field": "program_code"}
        )
    if not (ir is None or isinstance(ir, bool)):
        raise UserError("'ir' must be a boolean", details={"field": "ir"})
    # which version is asked for makes no difference: there is one version of the compiler
    refuse_odd_version(body)
    return json_response(await call.thread(_validate, text, ir is True))


async def dataflow_graph(call: Call) -> Response:
    record = call.pipeline()
    if record.program_info is None:
        raise NotFound(
            f"The program of pipeline '{record.name}' has not been compiled",
            code="ProgramNotCompiled",
        )
    udf = call.fleet.udf_of(record)
    return json_response(await call.thread(dataflow_of, record.program_code, udf))


ROUTES: RouteTable = (
    ("POST", "/validate_program", "write", validate_program),
    ("GET", "/pipelines/{pipeline_name}/dataflow_graph", "read", dataflow_graph),
)
