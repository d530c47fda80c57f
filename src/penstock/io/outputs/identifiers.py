"""Names in SQL text: quoting them, and reading `schema.table` as SQL does."""

from __future__ import annotations

import re

_PART = re.compile(r'"(?:[^"]|"")+"|[^."\s]+')


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def text_literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def table_name(text: str) -> tuple[str | None, str]:
    """(schema or None, table) of `orders`, `app.orders` or `"App"."Orders"`; unquoted parts fold
    to lower case as in SQL. ValueError for anything else."""
    parts = _PART.findall(text)
    if ".".join(parts) != text.strip() or not 1 <= len(parts) <= 2:
        raise ValueError(text)
    names = [p[1:-1].replace('""', '"') if p[0] == '"' else p.lower() for p in parts]
    return (names[0] if len(names) == 2 else None), names[-1]
