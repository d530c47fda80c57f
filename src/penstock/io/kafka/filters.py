"""Which records an input takes, by their headers (contract section 7.3).

    {"header": {"name": "kind", "pattern": "order.*"}}     a header of that name whose value the
                                                           pattern matches as a whole
    {"and": [f, …]}   {"or": [f, …]}   {"not": f}

Patterns are Python's regular expressions on bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from penstock.io.formats.options import Options

HeaderFilter = Callable[[Sequence[tuple[str, bytes | None]]], bool]


def header_filter(o: Options, given: Any) -> HeaderFilter | None:
    """The filter that option `header_filter` of `o` describes; None if it is absent."""
    return None if given is None else _filter(o, given)


def _filter(o: Options, given: Any) -> HeaderFilter:
    if isinstance(given, dict) and len(given) == 1:
        ((kind, inner),) = given.items()
        if kind == "header":
            return _header(o, inner)
        if kind == "not":
            denied = _filter(o, inner)
            return lambda headers: not denied(headers)
        if kind in ("and", "or") and isinstance(inner, list):
            parts = [_filter(o, part) for part in inner]
            decide = all if kind == "and" else any
            return lambda headers: decide(part(headers) for part in parts)
    raise o.fail(
        "header_filter",
        'has a part that is none of {"header": {…}}, {"and": […]}, {"or": […]}, {"not": {…}}: '
        f"{given!r}",
    )


def _header(o: Options, given: Any) -> HeaderFilter:
    if not isinstance(given, dict) or set(given) != {"name", "pattern"}:
        raise o.fail("header_filter", f'has {given!r} where {{"name", "pattern"}} is expected')
    name = given["name"]
    try:
        pattern = re.compile(str(given["pattern"]).encode())
    except re.error as e:
        raise o.fail("header_filter", f"has the pattern {given['pattern']!r}: {e}") from e
    return lambda headers: any(
        key == name and value is not None and pattern.fullmatch(value) is not None
        for key, value in headers
    )
