"""Constants from their text, one at a time: the strict grammar of sql-reference 1.1 and 1.5.

    parse_date("2020-01-31")                  days since 1970-01-01
    parse_time("23:59:59.132")                nanoseconds of the day
    parse_timestamp("2020-01-01 10:00:00.5")  microseconds since 1970-01-01

Every parser raises ValueError for anything but its grammar; no blanks are forgiven.
Not here: columns of text (`text_parse`).
"""

from __future__ import annotations

import datetime
import re

_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_TIME = re.compile(r"(\d{2}):(\d{2}):(\d{2})(?:\.(\d{0,9}))?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_SPECIAL = {"infinity": "inf", "inf": "inf", "-infinity": "-inf", "-inf": "-inf", "nan": "nan"}
_EPOCH = datetime.date(1970, 1, 1)
DAY_US = 86_400_000_000


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


def parse_float(text: str) -> float:
    """A decimal number, or Infinity, inf, NaN in any case with blanks around."""
    special = _SPECIAL.get(text.strip().lower())
    if special is not None:
        return float(special)
    if _NUMBER.fullmatch(text) is None:
        raise ValueError(f"not a number: {text!r}")
    return float(text)
