"""Rows as the readers give them: ((column, value), …), to be counted and compared.

Numbers with a point are `Decimal`s, so that two rows that differ in the last digit of a DECIMAL
are two. Values of ARRAY, MAP and ROW are their JSON text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

Row = tuple[tuple[str, Any], ...]


def parsed(text: str) -> Any:
    """JSON, exactly."""
    return json.loads(text, parse_float=Decimal)


def frozen(row: Mapping[str, Any]) -> Row:
    return tuple((k, spelt(v) if isinstance(v, list | dict) else v) for k, v in row.items())


def spelt(value: Any) -> str:
    """JSON again, of what `parsed` gave."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)}: {spelt(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(spelt, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)
