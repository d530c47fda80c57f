"""Typed constants from their text: numbers, dates, times, timestamps, intervals, UUIDs.

    12 → INTEGER      3000000000 → BIGINT      23.456 → DECIMAL(5, 3)      1e0 → DOUBLE
    DATE '2020-01-31'      TIME '23:59:59.5'      INTERVAL '1 12:00' DAY TO MINUTE

Grammar: sql-reference 1.1 and 2.10.5. Functions raise ValueError with what they wanted; the
binder knows where. The values are those of `penstock.plan.expressions.Literal`.
"""

from __future__ import annotations

import datetime
import re
import uuid
from decimal import Decimal

from penstock.data.types import (
    BIGINT,
    DATE,
    DOUBLE,
    INTEGER,
    REAL,
    TIME,
    TIMESTAMP,
    TIMESTAMP_TZ,
    UUID,
    Kind,
    SqlType,
    decimal,
)
from penstock.errors import Span
from penstock.functions.instants import instant
from penstock.functions.literals import parse_float
from penstock.plan.expressions import Literal

_EPOCH = datetime.datetime(1970, 1, 1)
_DAY_US = 86_400_000_000
_DATE = re.compile(r"(\d{4})-(\d\d?)-(\d\d?)")
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?")


def number(text: str, span: Span | None = None) -> Literal:
    """The literal of an unsigned numeric token."""
    if re.fullmatch(r"\d+", text):
        return integer(int(text), span)
    if "e" in text.lower():
        return Literal(DOUBLE.with_nullable(False), float(text), span=span)
    whole, _, fraction = text.partition(".")
    precision, scale = max(1, len(whole) + len(fraction)), len(fraction)
    if precision > 38 and not whole.strip("0"):
        precision = max(scale, 38)  # a zero before the point may be one digit too many
    if precision > 38:
        raise ValueError(f"a DECIMAL has at most 38 digits; this has {precision}")
    return Literal(decimal(precision, scale).with_nullable(False), Decimal(text), span=span)


def integer(value: int, span: Span | None = None) -> Literal:
    """The literal of an integer of any sign: INTEGER, else BIGINT, else DECIMAL."""
    if -(2**31) <= value < 2**31:
        return Literal(INTEGER.with_nullable(False), value, span=span)
    if -(2**63) <= value < 2**63:
        return Literal(BIGINT.with_nullable(False), value, span=span)
    digits = len(str(abs(value)))
    if digits > 38:
        raise ValueError(f"an exact number has at most 38 digits; this has {digits}")
    return Literal(decimal(digits, 0).with_nullable(False), Decimal(value), span=span)


def negated(literal: Literal, span: Span | None) -> Literal | None:
    """-literal, None where that is not a number of the same family."""
    value = literal.value
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int) and literal.type.kind in (Kind.INT32, Kind.INT64):
        return integer(-value, span)
    if isinstance(value, Decimal):
        if literal.type.scale == 0:
            return integer(-int(value), span)
        # the minus of `decimal` itself rounds to 28 digits
        return Literal(literal.type, value.copy_negate() if value else value, span=span)
    if isinstance(value, float):
        return Literal(literal.type, -value if value else 0.0, span=span)
    return None


def typed(kind: Kind, text: str, span: Span | None = None) -> Literal | None:
    """TYPE 'text' for a kind that has such literals, else None."""
    match kind:
        case Kind.DATE:
            return Literal(DATE.with_nullable(False), date(text), span=span)
        case Kind.TIME:
            return Literal(TIME.with_nullable(False), time_ns(text), span=span)
        case Kind.TIMESTAMP:
            return Literal(TIMESTAMP.with_nullable(False), timestamp_us(text), span=span)
        case Kind.TIMESTAMP_TZ:
            return Literal(TIMESTAMP_TZ.with_nullable(False), instant_us(text), span=span)
        case Kind.UUID:
            return Literal(UUID.with_nullable(False), parse_uuid(text), span=span)
        case Kind.REAL:
            return Literal(REAL.with_nullable(False), parse_float(text.strip()), span=span)
        case Kind.DOUBLE:
            return Literal(DOUBLE.with_nullable(False), parse_float(text.strip()), span=span)
    return None


def date(text: str) -> datetime.date:
    match = _DATE.fullmatch(text)
    if not match:
        raise ValueError(f"a DATE is written 'YYYY-MM-DD', not {text!r}")
    try:
        return datetime.date(*map(int, match.groups()))
    except ValueError:
        raise ValueError(f"there is no day {text!r}") from None


def time_ns(text: str) -> int:
    """Nanoseconds of the day."""
    match = _TIME.fullmatch(text)
    if not match:
        raise ValueError(f"a TIME is written 'HH:MM:SS[.fraction]', not {text!r}")
    hours, minutes, seconds = (int(g) for g in match.groups()[:3])
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError(f"there is no time {text!r}")
    fraction = (match[4] or "").ljust(9, "0")
    return (hours * 3600 + minutes * 60 + seconds) * 1_000_000_000 + int(fraction)


def timestamp_us(text: str) -> int:
    """Microseconds since 1970; a date alone is its midnight."""
    day, separator, clock = text.replace("T", " ", 1).partition(" ")
    try:
        days = (date(day) - _EPOCH.date()).days
        ns = time_ns(clock) if separator else 0
    except ValueError as e:
        raise ValueError(
            f"a TIMESTAMP is written 'YYYY-MM-DD HH:MM:SS[.fraction]', not {text!r} ({e})"
        ) from None
    return days * _DAY_US + ns // 1000


def instant_us(text: str) -> int:
    """Microseconds since 1970 UTC of a timestamp with an offset or a zone's name (none: UTC)."""
    us = instant(text)
    if us is None:
        raise ValueError(
            "a TIMESTAMP WITH TIME ZONE is written 'YYYY-MM-DD HH:MM:SS[.fraction] zone', with a "
            f"zone that exists and a time that its clocks show, not {text!r}"
        )
    return us


def parse_uuid(text: str) -> uuid.UUID:
    body = text[1:-1] if text.startswith("{") and text.endswith("}") else text
    groups = r"[0-9a-fA-F]{4}-?" * 7 + r"[0-9a-fA-F]{4}"
    if not re.fullmatch(groups, body):
        raise ValueError(f"{text!r} is not a UUID")
    return uuid.UUID(body.replace("-", ""))


# --------------------------------------------------------------------------------- intervals

_SHORT_US = {
    "WEEK": 7 * _DAY_US,
    "DAY": _DAY_US,
    "HOUR": 3_600_000_000,
    "MINUTE": 60_000_000,
    "SECOND": 1_000_000,
    "MILLISECOND": 1_000,
    "MICROSECOND": 1,
}
_LONG_MONTHS = {"YEAR": 12, "QUARTER": 3, "MONTH": 1}
_ORDER = ("DAY", "HOUR", "MINUTE", "SECOND")


def unit_name(word: str) -> str:
    """DAYS → DAY; unknown words come back as they are, in upper case."""
    unit = word.upper()
    single = unit.removesuffix("S")
    return single if single in _SHORT_US or single in _LONG_MONTHS else unit


def interval(text: str, start: str, end: str | None, span: Span | None = None) -> Literal:
    """INTERVAL 'text' start [TO end]."""
    first, last = unit_name(start), unit_name(end) if end else None
    type = interval_type(first, last)
    body = text.strip()
    sign = -1 if body.startswith("-") else 1
    if body.startswith(("+", "-")):
        body = body[1:].strip()
    is_long = type.kind is Kind.INTERVAL_LONG
    value = (_months if is_long else _microseconds)(body, first, last)
    if value >= 2**31 if is_long else value >= 2**63:
        raise ValueError(f"{text!r} {first}s are more than an INTERVAL holds")
    return Literal(type, sign * value, span=span)


def interval_type(first: str, last: str | None) -> SqlType:
    """The type INTERVAL first [TO last], NOT NULL; units as `unit_name` gives them."""
    name = first if last is None or last == first else f"{first}_{last}"
    if first in _LONG_MONTHS:
        if last not in (None, first) and name != "YEAR_MONTH":
            raise ValueError(f"{first} TO {last} is not a range of units")
        return SqlType(Kind.INTERVAL_LONG, False, unit="MONTH" if first == "QUARTER" else name)
    if first in _SHORT_US:
        if last not in (None, first) and not _is_range(first, last):
            raise ValueError(f"{first} TO {last} is not a range of units")
        shown = {"WEEK": "DAY", "MILLISECOND": "SECOND", "MICROSECOND": "SECOND"}.get(name, name)
        return SqlType(Kind.INTERVAL_SHORT, False, unit=shown)
    raise ValueError(f"{first} is not a unit of time")


def _is_range(first: str, last: str | None) -> bool:
    return first in _ORDER and last in _ORDER and _ORDER.index(first) < _ORDER.index(last)


def _months(body: str, first: str, last: str | None) -> int:
    if last is None or last == first:
        if not re.fullmatch(r"\d+", body):
            raise ValueError(f"an INTERVAL {first} is a whole number, not {body!r}")
        return int(body) * _LONG_MONTHS[first]
    match = re.fullmatch(r"(\d+)-(\d+)", body)
    if (first, last) != ("YEAR", "MONTH") or not match or int(match[2]) > 11:
        raise ValueError(f"an INTERVAL YEAR TO MONTH is written 'Y-M', not {body!r}")
    return int(match[1]) * 12 + int(match[2])


def _microseconds(body: str, first: str, last: str | None) -> int:
    if last is None or last == first:
        match = re.fullmatch(r"(\d+)(?:\.(\d+))?", body)
        if not match or (match[2] and first not in ("SECOND", "MILLISECOND")):
            raise ValueError(f"{body!r} is not a number of {first}s")
        return int(Decimal(body) * _SHORT_US[first])
    units = _ORDER[_ORDER.index(first) : _ORDER.index(last) + 1]
    pattern = r"(\d+)"
    for unit in units[1:]:
        separator = " +" if unit == "HOUR" else ":"
        pattern += separator + (r"(\d+(?:\.\d+)?)" if unit == "SECOND" else r"(\d+)")
    match = re.fullmatch(pattern, body)
    if not match:
        raise ValueError(f"{body!r} is not an INTERVAL {first} TO {last}")
    limits = {"HOUR": 24, "MINUTE": 60, "SECOND": 60}
    total = Decimal(0)
    for i, (unit, digits) in enumerate(zip(units, match.groups(), strict=True)):
        if i and Decimal(digits) >= limits[unit]:
            raise ValueError(f"{digits} {unit}s are more than fit in {body!r}")
        total += Decimal(digits) * _SHORT_US[unit]
    return int(total)
