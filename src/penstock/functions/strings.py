"""String functions (sql-reference 2.7): positions and lengths count code points, from 1.

    SUBSTRING('Thomas' FROM 2 FOR 3) → 'hom'      SPLIT_PART('a|b|c|', '|', -2) → 'c'

Whole columns go through Arrow's kernels where one does exactly this; the others loop over the
rows (`_each`), which is honest but slow (~0.3 µs a row).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.compute as pc

from penstock.data.batch import Column
from penstock.data.types import BINARIES, INTEGER, STRINGS, VARBINARY, VARCHAR, SqlType
from penstock.data.views import lengths_of
from penstock.functions import text
from penstock.functions.definition import Literals, Overload, Types, define, define_typed
from penstock.functions.params import ANY_TEXT, BYTES, INT, STRING


def _each(compute: Callable[..., Any], args: tuple[Column, ...], type: SqlType = VARCHAR) -> Column:
    """`compute` on the Python values of every row that has no NULL."""
    rows = max(len(a) for a in args)
    lists = [text.to_list(a) if len(a) == rows else text.to_list(a) * rows for a in args]
    values = [None if None in row else compute(*row) for row in zip(*lists, strict=True)]
    return text.from_list(values, type)


# one string ----------------------------------------------------------------------------------


@define(["CHAR_LENGTH", "CHARACTER_LENGTH", "LENGTH", "LEN"], [STRING], INTEGER)
def char_length(s: Column, n: int) -> Column:
    lengths = pc.utf8_length(text.to_arrow(s)).fill_null(0)
    return Column(INTEGER, lengths.to_numpy(zero_copy_only=False).astype(np.int32))


@define("LOWER", [STRING], VARCHAR)
def lower(s: Column, n: int) -> Column:
    return text.from_arrow(pc.utf8_lower(text.to_arrow(s)))


@define("UPPER", [STRING], VARCHAR)
def upper(s: Column, n: int) -> Column:
    return text.from_arrow(pc.utf8_upper(text.to_arrow(s)))


@define("REVERSE", [STRING], VARCHAR)
def reverse(s: Column, n: int) -> Column:
    return text.from_arrow(pc.utf8_reverse(text.to_arrow(s)))


@define("ASCII", [STRING], INTEGER)
def ascii_(s: Column, n: int) -> Column:
    return _each(lambda v: ord(v[0]) if v else 0, (s,), INTEGER)


def _character(code: int) -> str:
    return chr(code) if 0 <= code < 0x110000 and not 0xD800 <= code < 0xE000 else ""


@define("CHR", [INT], VARCHAR)
def chr_(code: Column, n: int) -> Column:
    return _each(_character, (code,))


def _capitalised(words: str) -> Callable[[str], str]:
    pattern = re.compile(words)
    return lambda s: pattern.sub(lambda m: m[0][0].upper() + m[0][1:].lower(), s)


@define("INITCAP", [STRING], VARCHAR)
def initcap(s: Column, n: int) -> Column:
    return _each(_capitalised(r"[^\W_]+"), (s,))


@define("INITCAP_SPACES", [STRING], VARCHAR)
def initcap_spaces(s: Column, n: int) -> Column:
    return _each(_capitalised(r"[^ ]+"), (s,))


@define("MD5", [STRING], VARCHAR)
def md5(s: Column, n: int) -> Column:
    return _each(lambda v: hashlib.md5(v.encode()).hexdigest(), (s,))


@define("MD5", [BYTES], VARCHAR)
def md5_binary(b: Column, n: int) -> Column:
    return _each(lambda v: hashlib.md5(v).hexdigest(), (b,))


# putting together ----------------------------------------------------------------------------


def _joined(*args: Column) -> Column:
    rows = max(len(a) for a in args)
    arrays = [text.to_arrow(a) if len(a) == rows else text.to_arrow(a)[0] for a in args]
    return text.from_arrow(pc.binary_join_element_wise(*arrays, ""))


@define_typed("||", "string || string", "binary || binary")
def concatenate(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 2:
        return None
    if any(t.kind in BINARIES for t in types):
        if not all(BYTES.exact(t) for t in types):
            return None
        wanted = tuple(BYTES.exact(t) or VARBINARY for t in types)
        return Overload(
            wanted, VARBINARY, lambda a, n: _each(lambda x, y: x + y, (a[0], a[1]), VARBINARY)
        )
    if not any(t.kind in STRINGS for t in types):
        return None
    accepted = [ANY_TEXT.accept(t) for t in types]
    if None in accepted:
        return None
    wanted = tuple(t for t in accepted if t is not None)
    return Overload(wanted, VARCHAR, lambda a, n: _joined(*a))


@define("CONCAT", [ANY_TEXT], VARCHAR, rest=ANY_TEXT)
def concat(*args: Any) -> Column:
    *columns, _n = args
    return _joined(*columns)


@define("CONCAT_WS", [ANY_TEXT], VARCHAR, rest=ANY_TEXT, strict=False)
def concat_ws(*args: Any) -> Column:
    separator, *columns, _n = args
    rows = max(len(c) for c in (separator, *columns))
    lists = [
        text.to_list(c) if len(c) == rows else text.to_list(c) * rows for c in (separator, *columns)
    ]
    return text.from_list(
        [
            None if sep is None else sep.join(v for v in values if v is not None)
            for sep, *values in zip(*lists, strict=True)
        ]
    )


@define("REPEAT", [STRING, INT], VARCHAR)
def repeat(s: Column, times: Column, n: int) -> Column:
    return _each(lambda v, k: v * max(k, 0), (s, times))


# parts ---------------------------------------------------------------------------------------


def _substring(v: Any, start: int, length: int | None = None) -> Any:
    """From the virtual position `start`: a start below 1 uses up part of the length."""
    if length is None:
        return v[max(start - 1, 0) :]
    return v[max(start - 1, 0) : max(start - 1 + length, 0)] if length > 0 else v[:0]


def _slice(s: Column, start: int, stop: int | None) -> Column:
    """Code points start .. stop of every string."""
    return text.from_arrow(pc.utf8_slice_codeunits(text.to_arrow(s), start, stop))


def _fixed(s: Column, *numbers: Column) -> list[int] | None:
    """The values of constant arguments beside a whole column, None if they are not that."""
    if len(s) == 1 or any(len(c) != 1 or c.valid is not None for c in numbers):
        return None
    return [int(c.values[0]) for c in numbers]


def _substr(v: str, start: int, length: int | None = None) -> str:
    if start < 0:
        start = max(len(v) + start, 0) + 1
    return str(_substring(v, max(start, 1), length))


def _binary_substring(v: bytes, start: int, length: int | None = None) -> Any:
    return _substring(v, max(start, 1), length)


@define("SUBSTRING", [STRING, INT], VARCHAR)
def substring_from(s: Column, start: Column, n: int) -> Column:
    fixed = _fixed(s, start)
    if fixed is not None:
        return _slice(s, max(fixed[0] - 1, 0), None)
    return _each(_substring, (s, start))


@define("SUBSTRING", [STRING, INT, INT], VARCHAR)
def substring(s: Column, start: Column, length: Column, n: int) -> Column:
    fixed = _fixed(s, start, length)
    if fixed is not None:
        first, count = fixed
        begin = max(first - 1, 0)
        return _slice(s, begin, max(first - 1 + max(count, 0), begin))
    return _each(_substring, (s, start, length))


@define("SUBSTRING", [BYTES, INT], VARBINARY)
def binary_substring_from(b: Column, start: Column, n: int) -> Column:
    return _each(_binary_substring, (b, start), VARBINARY)


@define("SUBSTRING", [BYTES, INT, INT], VARBINARY)
def binary_substring(b: Column, start: Column, length: Column, n: int) -> Column:
    return _each(_binary_substring, (b, start, length), VARBINARY)


@define("SUBSTR", [STRING, INT], VARCHAR)
def substr_from(s: Column, start: Column, n: int) -> Column:
    return _each(_substr, (s, start))


@define("SUBSTR", [STRING, INT, INT], VARCHAR)
def substr(s: Column, start: Column, length: Column, n: int) -> Column:
    return _each(_substr, (s, start, length))


@define("LEFT", [STRING, INT], VARCHAR)
def left(s: Column, count: Column, n: int) -> Column:
    fixed = _fixed(s, count)
    if fixed is not None:
        return _slice(s, 0, max(fixed[0], 0))
    return _each(lambda v, k: v[: max(k, 0)], (s, count))


@define("RIGHT", [STRING, INT], VARCHAR)
def right(s: Column, count: Column, n: int) -> Column:
    return _each(lambda v, k: v[max(len(v) - k, 0) :] if k > 0 else "", (s, count))


@define("LEFT", [BYTES, INT], VARBINARY)
def binary_left(b: Column, count: Column, n: int) -> Column:
    return _each(lambda v, k: v[: max(k, 0)], (b, count), VARBINARY)


@define("RIGHT", [BYTES, INT], VARBINARY)
def binary_right(b: Column, count: Column, n: int) -> Column:
    return _each(lambda v, k: v[max(len(v) - k, 0) :] if k > 0 else b"", (b, count), VARBINARY)


def _part(s: str, delimiter: str, index: int) -> str:
    parts = s.split(delimiter) if delimiter else [s]
    if index == 0 or abs(index) > len(parts):
        return ""
    return parts[index - 1 if index > 0 else index]


@define("SPLIT_PART", [STRING, STRING, INT], VARCHAR)
def split_part(s: Column, delimiter: Column, index: Column, n: int) -> Column:
    return _each(_part, (s, delimiter, index))


@define("POSITION", [STRING, STRING], INTEGER)
def position(part: Column, s: Column, n: int) -> Column:
    """POSITION(part IN s)."""
    return _each(lambda p, v: v.find(p) + 1, (part, s), INTEGER)


@define("POSITION", [BYTES, BYTES], INTEGER)
def binary_position(part: Column, b: Column, n: int) -> Column:
    return _each(lambda p, v: v.find(p) + 1, (part, b), INTEGER)


# changing ------------------------------------------------------------------------------------


@define("REPLACE", [STRING, STRING, STRING], VARCHAR)
def replace(s: Column, old: Column, new: Column, n: int) -> Column:
    return _each(lambda v, o, w: v.replace(o, w) if o else v, (s, old, new))


def _overlay(s: Any, new: Any, start: int, length: int | None = None) -> Any:
    if start <= 0:
        return s
    if start > len(s):
        return s + new
    length = len(new) if length is None else max(length, 0)
    return s[: start - 1] + new + s[start - 1 + length :]


@define("OVERLAY", [STRING, STRING, INT], VARCHAR)
def overlay_from(s: Column, new: Column, start: Column, n: int) -> Column:
    return _each(_overlay, (s, new, start))


@define("OVERLAY", [STRING, STRING, INT, INT], VARCHAR)
def overlay(s: Column, new: Column, start: Column, length: Column, n: int) -> Column:
    return _each(_overlay, (s, new, start, length))


def _declare_trim(
    name: str | list[str], strip: Callable[[str, str], str], fast: Callable[..., Any]
) -> None:
    @define(name, [STRING], VARCHAR)
    def blanks(s: Column, n: int) -> Column:
        return text.from_arrow(fast(text.to_arrow(s), characters=" "))

    @define(name, [STRING, STRING], VARCHAR)
    def characters(s: Column, chars: Column, n: int) -> Column:
        """TRIM(… chars FROM s) is called as (s, chars)."""
        return _each(strip, (s, chars))


_declare_trim(["TRIM", "TRIM_BOTH"], lambda v, c: v.strip(c) if c else v, pc.utf8_trim)
_declare_trim("TRIM_LEADING", lambda v, c: v.lstrip(c) if c else v, pc.utf8_ltrim)
_declare_trim("TRIM_TRAILING", lambda v, c: v.rstrip(c) if c else v, pc.utf8_rtrim)


# binary --------------------------------------------------------------------------------------


@define("OCTET_LENGTH", [BYTES], INTEGER)
def octet_length(b: Column, n: int) -> Column:
    return Column(INTEGER, lengths_of(b.values).astype(np.int32))


@define("TO_HEX", [BYTES], VARCHAR)
def to_hex(b: Column, n: int) -> Column:
    return _each(bytes.hex, (b,))


@define("TO_INT", [BYTES], INTEGER)
def to_int(b: Column, n: int) -> Column:
    def value(raw: bytes) -> int:
        return int.from_bytes(raw[:4], "big", signed=len(raw) >= 4)

    return _each(value, (b,), INTEGER)


def _utf8(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


@define("BIN2UTF8", [BYTES], VARCHAR, nullable=True)
def bin2utf8(b: Column, n: int) -> Column:
    return _each(_utf8, (b,))
