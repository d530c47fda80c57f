"""Units of time: their spellings and sizes.

    short intervals are microseconds    DAY, HOUR, MINUTE, SECOND
    long intervals are months           YEAR, QUARTER, MONTH

An interval's own unit, in which casts to and from numbers count, is the last of its qualifier:
INTERVAL DAY TO HOUR counts hours.
"""

from __future__ import annotations

from penstock.data.types import SqlType

MICROSECONDS = {
    "MICROSECOND": 1,
    "MILLISECOND": 1_000,
    "SECOND": 1_000_000,
    "MINUTE": 60_000_000,
    "HOUR": 3_600_000_000,
    "DAY": 86_400_000_000,
    "WEEK": 604_800_000_000,
}
MONTHS = {
    "MONTH": 1, "QUARTER": 3, "YEAR": 12, "DECADE": 120, "CENTURY": 1200, "MILLENNIUM": 12000,
}  # fmt: skip


def canonical_unit(name: str) -> str:
    """Upper case, singular, without SQL_TSI_."""
    unit = name.upper().removeprefix("SQL_TSI_")
    return unit[:-1] if unit.endswith("S") and unit[:-1] in MICROSECONDS | MONTHS else unit


def unit_size(interval: SqlType) -> int:
    """Microseconds (short) or months (long) in one unit of an interval type."""
    unit = canonical_unit((interval.unit or "SECOND").split("_")[-1])
    return MICROSECONDS.get(unit) or MONTHS[unit]
