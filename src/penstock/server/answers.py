"""Responses with exactly the content types that clients compare with (contract 0.1, trap 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """`value` as `application/json`. Keys keep their order."""
    return Response(
        orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS),
        status,
        media_type="application/json",
        headers=headers,
    )


def text_response(text: str, status: int = 200) -> Response:
    """`text/plain` without a charset: clients compare the type as a whole."""
    return Response(text.encode(), status, headers={"content-type": "text/plain"})


def empty_response(status: int = 200) -> Response:
    return Response(b"", status)
