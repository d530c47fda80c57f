"""The structure of the published OpenAPI document, as JSON Schema.

`data/openapi-structure.json` is that document without its prose.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

DOCUMENT = json.loads((Path(__file__).parent / "data/openapi-structure.json").read_text())


def closed(schema: Any) -> Any:
    """OpenAPI's `nullable` as JSON Schema says it."""
    if isinstance(schema, list):
        return [closed(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    out = {k: closed(v) for k, v in schema.items() if k != "nullable"}
    if schema.get("nullable"):
        return {"anyOf": [out, {"type": "null"}]}
    return out


_COMPONENTS = {"components": closed(DOCUMENT["components"])}


def check_body(schema: Any, body: Any) -> None:
    """Raise if `body` is not what `schema`, a part of the document, says."""
    jsonschema.Draft202012Validator({**_COMPONENTS, **closed(schema)}).validate(body)


def check_component(name: str, body: Any) -> None:
    """Raise if `body` is not what the document calls `name`."""
    check_body({"$ref": f"#/components/schemas/{name}"}, body)
