"""Reading a request: bodies, query parameters, the pipeline in the path.

Every refusal is `InvalidParam` (or `MissingUrlEncodedParam`) and names the parameter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request

from penstock.errors import UserError
from penstock.wire.program_config import is_runtime_version

MAX_BODY_BYTES = 64 << 20


async def json_body(request: Request) -> Any:
    """The body as JSON; None when there is none (trap 5: `null` may mean an empty object)."""
    size = 0
    parts: list[bytes] = []
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise UserError(f"The request body is larger than {MAX_BODY_BYTES} bytes")
        parts.append(part)
    data = b"".join(parts)
    if not data.strip():
        return None
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise UserError(f"The request body is not valid JSON: {error}") from None


async def object_body(request: Request) -> dict[str, Any]:
    """A JSON object, where nothing and `null` mean the empty one."""
    body = await json_body(request)
    if body is None:
        return {}
    if not isinstance(body, Mapping):
        raise UserError("The request body must be a JSON object")
    return dict(body)


def refuse_odd_version(body: Mapping[str, Any]) -> None:
    """Raise unless `runtime_version` in a body, if there is one, may stand for a version."""
    if not is_runtime_version(body.get("runtime_version")):
        raise UserError(
            "'runtime_version' must be null, vX.Y.Z or 40 hexadecimal digits",
            code="InvalidRuntimeVersion",
            details={"parameter": "runtime_version"},
        )


def flag(request: Request, name: str, default: bool) -> bool:
    """A boolean query parameter, written true or false."""
    text = request.query_params.get(name)
    if text is None:
        return default
    if text.lower() not in ("true", "false"):
        raise UserError(
            f"Query parameter '{name}' must be true or false, not '{text}'",
            details={"parameter": name, "value": text},
        )
    return text.lower() == "true"


def choice(request: Request, name: str, *allowed: str) -> str:
    """A query parameter out of `allowed`; the first is the default."""
    text = request.query_params.get(name, allowed[0])
    if text not in allowed:
        raise UserError(
            f"Query parameter '{name}' must be one of {', '.join(allowed)}, not '{text}'",
            details={"parameter": name, "value": text},
        )
    return text


def required(request: Request, name: str) -> str:
    text = request.query_params.get(name)
    if text is None:
        raise UserError(
            f"Query parameter '{name}' is missing",
            code="MissingUrlEncodedParam",
            details={"parameter": name},
        )
    return text
