"""The text forms of values: strict parsing (sql-reference 1.1, 1.5) and printing.

    parse_date("2020-01-31")                  days since 1970-01-01
    parse_time("23:59:59.132")                nanoseconds of the day
    parse_timestamp("2020-01-01 10:00:00.5")  microseconds since 1970-01-01

Every parser raises ValueError for anything but its grammar; no blanks are forgiven.
"""

from __future__ import annotations

import datetime
import re
import uuid
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_TIME = re.compile(r"(\d{2}):(\d{2}):(\d{2})(?:\.(\d{0,9}))?", re.ASCII)
_ZONE = re.compile(r"(.*?)(?: ?(Z|[+-]\d{2}(?::?\d{2})?))?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UUID = re.compile(r"\{?[0-9a-fA-F]{4}(-?[0-9a-fA-F]{4}){7}\}?", re.ASCII)
_SPECIAL = {"infinity": "inf", "inf": "inf", "-infinity": "-inf", "-inf": "-inf", "nan": "nan"}
_EPOCH = datetime.date(1970, 1, 1)
DAY_US = 86_400_000_000
_WIDE = Context(prec=200)


def parse_date(text: str) -> int:
    """Days since 1970-01-01 of YYYY-MM-DD, years 0001 to 9999."""
    m = _DATE.fullmatch(text)
    if m is None:
        raise ValueError(f"not a date: {text!r}")
    return (datetime.date(*map(int, m.groups())) - _EPOCH).days


def parse_time(text: str) -> int:
    """Nanoseconds of the day of HH:MM:SS[.fraction], up to nine digits of fraction."""
    m = _TIME.fullmatch(text)
    if m is None:
        raise ValueError(f"not a time: {text!r}")
    hour, minute, second = int(m[1]), int(m[2]), int(m[3])
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError(f"not a time of day: {text!r}")
    fraction = int((m[4] or "").ljust(9, "0"))
    return ((hour * 60 + minute) * 60 + second) * 1_000_000_000 + fraction


def parse_timestamp(text: str) -> int:
    """Microseconds since 1970 of a date and, after one blank or T, a time; a date is midnight."""
    day, separator, clock = text.partition("T" if "T" in text else " ")
    days = parse_date(day)
    return days * DAY_US + (parse_time(clock) // 1000 if separator else 0)


def parse_timestamp_tz(text: str) -> int:
    """As `parse_timestamp`, with an optional offset (Z, +05, +05:30); without one it is UTC."""
    m = _ZONE.fullmatch(text)
    if m is None or "-" not in m[1]:
        raise ValueError(f"not a timestamp with time zone: {text!r}")
    at, zone = m[1], m[2]
    if len(at) <= 10 and zone not in (None, "Z"):
        at, zone = text, None  # the "-05" of a bare date is its day
    shift = 0
    if zone and zone != "Z":
        digits = zone[1:].replace(":", "")
        shift = int(digits[:2]) * 60 + int(digits[2:] or 0)
        shift = -shift if zone[0] == "-" else shift
    return parse_timestamp(at) - shift * 60_000_000


def parse_integer(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(f"not an integer: {text!r}")
    return int(text)


def parse_float(text: str) -> float:
    """A decimal number, or Infinity, inf, NaN in any case with blanks around."""
    special = _SPECIAL.get(text.strip().lower())
    if special is not None:
        return float(special)
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"not a number: {text!r}")
    return float(text)


def parse_decimal(text: str, precision: int, scale: int) -> Decimal:
    """Rounded to `scale` with ties to even; ValueError where the integer part is too long."""
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"not a number: {text!r}")
    try:
        value = Decimal(text).quantize(Decimal(1).scaleb(-scale), ROUND_HALF_EVEN, context=_WIDE)
    except InvalidOperation:
        raise ValueError(f"out of range: {text!r}") from None
    if abs(value) >= Decimal(10) ** (precision - scale):
        raise ValueError(f"out of range for DECIMAL({precision}, {scale}): {text!r}")
    return value


def parse_boolean(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("true", "false"):
        raise ValueError(f"not a boolean: {text!r}")
    return word == "true"


def parse_uuid(text: str) -> uuid.UUID:
    """32 hex digits, optional braces, a hyphen after any complete group of four digits."""
    if _UUID.fullmatch(text) is None or text.startswith("{") != text.endswith("}"):
        raise ValueError(f"not a UUID: {text!r}")
    return uuid.UUID(text.strip("{}").replace("-", ""))


def print_date(days: int) -> str:
    return (_EPOCH + datetime.timedelta(days=days)).isoformat()


def print_time(nanoseconds: int) -> str:
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return f"{clock}.{fraction:09}".rstrip("0") if fraction else clock


def print_timestamp(microseconds: int) -> str:
    days, rest = divmod(microseconds, DAY_US)
    return f"{print_date(days)} {print_time(rest * 1000)}"
