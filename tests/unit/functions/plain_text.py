"""Text as values and back, one at a time and in plain Python: what the kernels must agree with."""

from __future__ import annotations

import datetime
import re
import uuid
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UUID = re.compile(r"\{?[0-9a-fA-F]{4}(-?[0-9a-fA-F]{4}){7}\}?", re.ASCII)
_EPOCH = datetime.date(1970, 1, 1)
DAY_US = 86_400_000_000
_WIDE = Context(prec=200)


def parse_integer(text: str) -> int:
    if _INTEGER.fullmatch(text) is None:
        raise ValueError(f"not an integer: {text!r}")
    return int(text)


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
