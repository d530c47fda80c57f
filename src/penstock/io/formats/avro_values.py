"""One value that fastavro has read → the canonical value of `scalars`, or `Invalid`.

    SQL                          taken from Avro
    ───────────────────────────  ──────────────────────────────────────────────
    BOOLEAN                      boolean
    integers                     int, long, a decimal without a fraction; within the type's range
    REAL, DOUBLE                 float, double, int, long, decimal, string of a number
    DECIMAL(p, s)                the same; no digit is dropped
    CHAR, VARCHAR                string, enum
    BINARY, VARBINARY            bytes, fixed, string (its UTF-8)
    DATE                         date, int (days since 1970), string
    TIME                         time-millis, time-micros, long (nanoseconds), string
    TIMESTAMP, … WITH TIME ZONE  timestamp-…, local-timestamp-…, long (microseconds), string
    UUID                         uuid, string, 16 bytes
    VARIANT                      string of JSON
    ARRAY, MAP, ROW              array, map, record (fields are matched as columns are)

Strings are spelled as in JSON's default flavor (`flavors`). A value never becomes another one:
what its column cannot hold is refused. Source: contract section 7.5; sql-reference 2.15.
"""

from __future__ import annotations

import datetime
import math
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from penstock.data.types import BINARIES, FLOATS, INTEGERS, Kind, SqlType
from penstock.io.formats import flavors, scalars
from penstock.io.formats.nested_values import Reader, nested_reader, read_json, variant_text
from penstock.io.formats.scalars import Invalid

_EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_DAY_NS = 86_400_000_000_000


def reader(type: SqlType) -> Reader:
    """The reading of non-null values of a column of `type`."""
    if type.children:
        return nested_reader(type, reader, flavors.key_reader, flavors.match_keys)
    if type.kind is Kind.VARIANT:
        return _json
    plain = flavors.reader(type, flavors.FLAVORS["default"])
    if type.kind in INTEGERS:
        return lambda v: plain(_whole(v))
    if type.kind in FLOATS:
        return lambda v: v if isinstance(v, float) and not math.isfinite(v) else plain(v)
    if type.kind in BINARIES:
        return _bytes
    own = _OWN.get(type.kind)
    return plain if own is None else lambda v: plain(v) if isinstance(v, str) else own(v)


def _whole(value: Any) -> Any:
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return value


def _json(value: Any) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "a string of JSON text")
    return variant_text(read_json(value))


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, bytes):
        raise _wrong(value, "bytes")
    return value


def _date(value: Any) -> int:
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value.toordinal() - _EPOCH_DAY
    return scalars.check_day(_count(value, "a date"), str(value))


def _time(value: Any) -> int:
    if isinstance(value, datetime.time):
        seconds = (value.hour * 60 + value.minute) * 60 + value.second
        return (seconds * 1_000_000 + value.microsecond) * 1000
    nanoseconds = _count(value, "a time")
    if not 0 <= nanoseconds < _DAY_NS:
        raise Invalid(f"{nanoseconds} ns is not within a day", str(value))
    return nanoseconds


def _timestamp(value: Any) -> int:
    if isinstance(value, datetime.datetime):
        # a local timestamp has no zone: a TIMESTAMP is that of UTC
        instant = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return (instant - _EPOCH) // _MICROSECOND
    return scalars.check_micros(_count(value, "a timestamp"), str(value))


def _uuid(value: Any) -> bytes:
    if isinstance(value, uuid.UUID):
        return value.bytes
    if not isinstance(value, bytes) or len(value) != 16:
        raise _wrong(value, "a UUID")
    return value


def _count(value: Any, expected: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong(value, expected)
    return value


def _wrong(value: Any, expected: str) -> Invalid:
    text = str(value)
    return Invalid(
        f"{_NAMES.get(type(value), type(value).__name__)} where {expected} is expected",
        text if len(text) <= 200 else f"{text[:197]}...",
    )


_OWN: dict[Kind, Callable[[Any], Any]] = {
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIMESTAMP_TZ: _timestamp,
    Kind.UUID: _uuid,
}
_NAMES: dict[type, str] = {
    bool: "a boolean", int: "an integer", float: "a double", Decimal: "a decimal",
    str: "a string", bytes: "bytes", list: "an array", dict: "a map or record",
    datetime.date: "a date", datetime.time: "a time", datetime.datetime: "a timestamp",
    uuid.UUID: "a UUID",
}  # fmt: skip
