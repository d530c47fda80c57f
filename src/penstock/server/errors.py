"""Exception → HTTP answer, the only place that does it (contract sections 0.1 and 8).

    UserError(code="UnknownPipelineName") ──► 404 {"message", "error_code", "details"}

The status follows from the error's class, unless its code is in the contract's table under another
one; what may succeed later is never a 500. An exception outside the tree is a bug: 500, with the
traceback in the log and not in the body.
"""

from __future__ import annotations

import logging
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from penstock.errors import (
    Conflict,
    CorruptState,
    Forbidden,
    Gone,
    NotFound,
    PenstockError,
    SqlError,
    TransientError,
    Unauthorized,
    UserError,
)
from penstock.server.answers import json_response

_log = logging.getLogger(__name__)

# Most specific class first.
_STATUS_OF_CLASS: tuple[tuple[type[PenstockError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (Gone, 410),
    (Unauthorized, 401),
    (Forbidden, 403),
    (UserError, 400),
    (TransientError, 503),
    (CorruptState, 500),
)
_STATUS_OF_CODE: dict[str, int] = {
    **dict.fromkeys(
        (
            "UnknownPipelineName",
            "UnknownPipeline",
            "UnknownApiKey",
            "UnknownTenant",
            "UnknownInputEndpoint",
            "UnknownOutputEndpoint",
            "UnknownClusterMonitorEvent",
            "UnknownPipelineMonitorEvent",
            "NoPipelineMonitorEventsAvailable",
            "NoClusterMonitorEventsAvailable",
            "ProgramNotCompiled",
            "ProgramInfoMissesDataflow",
            "ConfigError.UnknownInputStream",
            "ConfigError.UnknownOutputStream",
        ),
        404,
    ),
    "UnsupportedPipelineAction": 405,
    **dict.fromkeys(("DuplicateName", "TransactionInProgress", "BootstrapRejected"), 409),
    **dict.fromkeys(("Terminating", "PipelineRestarted", "UnknownEndpointInCompletionToken"), 410),
    "ApiConnectionLimit": 429,
    **dict.fromkeys(
        ("InitializationError", "InputTransportError", "OutputTransportError", "EncodeError"), 500
    ),
    "EnterpriseFeature": 501,
    **dict.fromkeys(
        (
            "PipelineInteractionNotDeployed",
            "PipelineInteractionUnreachable",
            "PipelineUnavailable",
            "Initializing",
            "Suspended",
            "BootstrapInProgress",
        ),
        503,
    ),
    "CompilerTimeout": 504,
}


def status_of(error: PenstockError) -> int:
    """The HTTP status of an error."""
    status = _STATUS_OF_CODE.get(error.code)
    if status is not None and not (status == 500 and isinstance(error, TransientError)):
        return status
    for kind, status in _STATUS_OF_CLASS:
        if isinstance(error, kind):
            return status
    return 500


def error_body(error: Exception) -> dict[str, Any]:
    """The contract's error object. A bug's text stays out of it; its class helps a report."""
    if not isinstance(error, PenstockError):
        return {
            "message": f"Internal error ({type(error).__name__}); the server's log has the details",
            "error_code": "InternalError",
            "details": None,
        }
    details: Any = dict(error.details) if error.details is not None else None
    if isinstance(error, SqlError) and details is None:
        details = {"messages": [message.to_json() for message in error.messages]}
    return {"message": error.message, "error_code": error.code, "details": details}


def error_response(error: Exception) -> Response:
    if isinstance(error, PenstockError):
        status = status_of(error)
        headers = {"www-authenticate": "Bearer"} if status == 401 else None
        return json_response(error_body(error), status, headers=headers)
    return json_response(error_body(error), 500)


def on_penstock_error(request: Request, error: Exception) -> Response:
    status = status_of(error) if isinstance(error, PenstockError) else 500
    level = logging.ERROR if status >= 500 and status not in (501, 503) else logging.INFO
    # a record of the log is one line: readers number them
    text = " | ".join(line for line in str(error).splitlines() if line.strip())
    _log.log(level, "%s %s: %d %s", request.method, request.url.path, status, text)
    return error_response(error)


def on_http_exception(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, method not allowed."""
    assert isinstance(error, HTTPException)
    code = {404: "UnknownPath", 405: "MethodNotAllowed"}.get(error.status_code, "InvalidRequest")
    message = f"{request.method} {request.url.path}: {error.detail}"
    body = {"message": message, "error_code": code, "details": None}
    return json_response(body, error.status_code, headers=error.headers)


def on_bug(request: Request, error: Exception) -> Response:
    _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return error_response(error)


EXCEPTION_HANDLERS: dict[Any, Any] = {
    PenstockError: on_penstock_error,
    HTTPException: on_http_exception,
    Exception: on_bug,
}
