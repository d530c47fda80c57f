"""Sizes and durations written as text (`"16Gi"`, `"1h30m"`), as newer clients send them.

Not here: which setting takes which unit; see `wire/runtime_config.py`.
"""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGTP]?)(i?)B?")
_POWER = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|us|µs|ns|s|m|h|d)")
_NANOSECONDS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
    "d": 86400 * 10**9,
}


def parse_size_bytes(text: str) -> int:
    """Bytes of a size; `i` makes the unit binary. Raises ValueError.

    >>> parse_size_bytes("4G"), parse_size_bytes("16Gi")
    (4000000000, 17179869184)
    """
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise ValueError(f"'{text}' is not a size such as 512Mi or 4G")
    number, unit, binary = found.groups()
    factor: int = (1024 if binary else 1000) ** _POWER[unit]
    return round(float(number) * factor)


def parse_duration_ns(text: str) -> int:
    """Nanoseconds of a duration, a sum of numbers with units. Raises ValueError.

    >>> parse_duration_ns("1h30m") == 5400 * 10**9
    True
    """
    rest, total = text.strip(), 0.0
    if not rest:
        raise ValueError("an empty string is not a duration")
    while rest:
        found = _DURATION.match(rest)
        if not found:
            raise ValueError(f"'{text}' is not a duration such as 500ms or 1h30m")
        total += float(found[1]) * _NANOSECONDS[found[2]]
        rest = rest[found.end() :].lstrip()
    return round(total)
