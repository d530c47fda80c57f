"""How JSON spells values: the `json_flavor`s, and the exact reading of one JSON value.

`reader(type, flavor)` returns a function from a decoded JSON value (numbers with a fraction or
exponent as `Decimal` or float) to the canonical value of `scalars`; booleans, strings and bytes
stand for themselves. NULL is the caller's business.

Source: contract section 3, "JSON value encodings".
Not here: which records there are (`json_events`), defaults of missing fields (`json_parser`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from penstock.data.types import BINARIES, FLOATS, INTEGERS, STRINGS, Kind, SqlType
from penstock.io.formats import scalars
from penstock.io.formats.nested_values import nested_reader, read_json, variant_text
from penstock.io.formats.scalars import Invalid

Reader = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Flavor:
    """Where a flavor differs from the default. Units: days; us, ms since midnight or 1970."""

    name: str
    date: str = "text"  # "text" | "days" | "text or days"
    time: str = "text"  # "text" | "us" | "ms"
    timestamp: str = "text"  # "text" | "ms"
    timestamp_suffix: str = ""  # what encoders put after a TIMESTAMP's text
    binary: str = "bytes"  # "bytes" | "hex" | "base58"
    decimal_text: bool = False  # encoders write DECIMAL as a string


FLAVORS: dict[str, Flavor] = {
    f.name: f
    for f in (
        Flavor("default"),
        Flavor("debezium_mysql", date="days", time="us", timestamp_suffix="Z", decimal_text=True),
        Flavor("debezium_postgres", date="days", time="us", timestamp="ms", decimal_text=True),
        Flavor("kafka_connect_json_converter", date="days", time="ms", timestamp="ms"),
        Flavor("pandas", date="text or days", timestamp="ms", decimal_text=True),
        Flavor("snowflake", timestamp_suffix="+00:00", decimal_text=True),
        Flavor("blockchain", binary="base58"),
        Flavor("c_hex", binary="hex"),
    )
}


def reader(type: SqlType, flavor: Flavor) -> Reader:
    """The exact reading of non-null JSON values of a column of `type`."""
    kind = type.kind
    if type.children:
        return nested_reader(type, lambda t: reader(t, flavor), key_reader, match_keys)
    if kind is Kind.VARIANT:
        return variant_text if flavor.name == "default" else _json_text
    if kind in INTEGERS:
        return lambda v: _integer(v, type)
    if kind in FLOATS:
        return lambda v: _floating(v, type)
    if kind in STRINGS:
        return _string
    if kind in BINARIES:
        return {"bytes": _byte_list, "hex": _hex, "base58": _base58}[flavor.binary]
    if kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ):
        return _millis if flavor.timestamp == "ms" else _text_only(scalars.timestamp, "a timestamp")
    match kind:
        case Kind.BOOLEAN:
            return _boolean
        case Kind.DECIMAL:
            return lambda v: _decimal(v, type)
        case Kind.DATE:
            return _DATES[flavor.date]
        case Kind.TIME:
            return _TIMES[flavor.time]
        case Kind.UUID:
            return _text_only(scalars.uuid, "a UUID")
    raise AssertionError(f"{type} was not refused by `check_columns`")


def _json_text(value: Any) -> str:
    """A VARIANT as a JSON string that holds JSON."""
    if type(value) is not str:
        raise _wrong(value, "a string of JSON text")
    return variant_text(read_json(value))


def key_reader(type: SqlType) -> Reader:
    """The reading of a map's key, which JSON has as text."""
    kind = type.kind
    if kind in INTEGERS:
        return lambda v: scalars.integer(v, type)
    if kind in FLOATS:
        return lambda v: scalars.floating(v, type, special=True)
    if kind is Kind.DECIMAL:
        return lambda v: scalars.decimal(v, type)
    if kind is Kind.BOOLEAN:
        return scalars.boolean
    read = reader(type, FLAVORS["default"])
    if kind in BINARIES or type.children or kind is Kind.VARIANT:
        return lambda v: read(read_json(v))
    return read


def spell(value: Any) -> str:
    """A decoded JSON value as JSON again, shortened, for messages."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _wrong(value: Any, expected: str) -> Invalid:
    names = {
        bool: "a boolean", int: "an integer", float: "a number", Decimal: "a number",
        str: "a string", list: "an array", dict: "an object",
    }  # fmt: skip
    name = "null" if value is None else names.get(type(value), type(value).__name__)
    return Invalid(f"{name} where {expected} is expected", spell(value))


def _integer(value: Any, t: SqlType) -> int:
    if type(value) is not int:
        raise _wrong(value, "an integer")
    try:
        return scalars.check_integer(value, t)
    except Invalid as e:
        raise Invalid(e.description, spell(value), e.hint) from None


def _floating(value: Any, t: SqlType) -> float:
    if isinstance(value, str):
        return scalars.floating(value, t)
    if type(value) is bool or not isinstance(value, int | float | Decimal):
        raise _wrong(value, "a number")
    try:
        number = float(value)
    except OverflowError:
        raise Invalid(f"the number is out of range for {t.with_nullable(True)}") from None
    return scalars.check_float(number, t)


def _decimal(value: Any, t: SqlType) -> int:
    if isinstance(value, str):
        return scalars.decimal(value, t)
    if type(value) is bool or not isinstance(value, int | float | Decimal):
        raise _wrong(value, "a number")
    if isinstance(value, float):
        value = Decimal(repr(value))
    try:
        return scalars.unscaled(Decimal(value), t)
    except Invalid as e:
        raise Invalid(e.description, spell(value), e.hint) from None


def _string(value: Any) -> str:
    if type(value) is not str:
        raise _wrong(value, "a string")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as e:
            text = value.encode("utf-8", "replace").decode()
            if "\udc80" <= value[e.start] <= "\udcff":  # as `surrogateescape` reads such a byte
                byte = ord(value[e.start]) - 0xDC00
                problem = f"the byte 0x{byte:02X} is not UTF-8"
                raise Invalid(problem, text, "convert the data to UTF-8") from None
            raise Invalid("the string holds half of a surrogate pair", text) from None
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise _wrong(value, "a boolean")
    return value


def _text_only(parse: Callable[[str], Any], expected: str) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not str:
            raise _wrong(value, f"{expected} as a string")
        return parse(value)

    return read


def _number_only(check: Callable[[int, str], int], expected: str) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if type(value) is not int:
            raise _wrong(value, expected)
        return check(value, spell(value))

    return read


_text_date = _text_only(scalars.date, "a date")
_day_number = _number_only(scalars.check_day, "an integer (days since 1970-01-01)")
_millis = _number_only(
    lambda ms, text: scalars.check_micros(ms * 1000, text), "an integer (milliseconds since 1970)"
)
_DATES: dict[str, Reader] = {
    "text": _text_date,
    "days": _day_number,
    "text or days": lambda v: _text_date(v) if isinstance(v, str) else _day_number(v),
}


def _time_of_day(nanos: int) -> Reader:
    def check(value: int, text: str) -> int:
        if not 0 <= value * nanos < 86_400_000_000_000:
            raise Invalid(f"{text} is not within a day", text)
        return value * nanos

    return _number_only(check, "an integer (time of the day)")


_TIMES: dict[str, Reader] = {
    "text": _text_only(scalars.time, "a time"),
    "us": _time_of_day(1000),
    "ms": _time_of_day(1_000_000),
}


def _byte_list(value: Any) -> bytes:
    if not isinstance(value, list):
        raise _wrong(value, "an array of bytes")
    if not all(type(b) is int and 0 <= b <= 255 for b in value):
        raise Invalid("an array of bytes may only hold integers from 0 to 255", spell(value))
    return bytes(value)


def _hex(value: Any) -> bytes:
    if type(value) is not str or value[:2].lower() != "0x":
        raise _wrong(value, "a string of hexadecimal digits after 0x")
    try:
        return bytes.fromhex(value[2:])
    except ValueError:
        raise Invalid("not a string of hexadecimal digits after 0x", value) from None


_BASE58 = {c: i for i, c in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")}


def _base58(value: Any) -> bytes:
    if type(value) is not str:
        raise _wrong(value, "a base58 string")
    number = 0
    for c in value:
        if c not in _BASE58:
            raise Invalid("not a base58 string", value)
        number = number * 58 + _BASE58[c]
    zeros = len(value) - len(value.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def match_keys(keys: tuple[str, ...], names: tuple[str, ...]) -> tuple[str | None, ...]:
    """For each column name the key that spells it, None where there is none.

    A lower-case name matches in any case; a name with capitals was quoted and matches exactly.
    Of several spellings of one name the last wins, as it does for equal JSON keys.
    """
    exact = set(keys)
    folded = {key.lower(): key for key in keys}
    return tuple(folded.get(n) if n == n.lower() else (n if n in exact else None) for n in names)
