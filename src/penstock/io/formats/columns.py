"""Lists of decoded values and arrays of text → columns, a whole column at a time.

    quick_json(type, flavor, values)   JSON values  ─┐
    quick_text(type, text)             Arrow strings ─┴─► Column, or None: "not sure"
    from_canonical(type, values)       canonical values of `scalars` ──► Column

The quick readers take what is plainly right and answer None for everything else; the caller then
reads value by value (`flavors`, `scalars`), which decides and explains. So a quick reader may be
as narrow as it likes, but must never accept a value that the exact reader refuses, nor read it
differently.

Cost: 20 to 100 ns a value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.arrow import column_from_arrow
from penstock.data.batch import Column
from penstock.data.build import canonical_floats
from penstock.data.nested_python import nested_from_python
from penstock.data.types import BINARIES, FLOATS, INTEGERS, STRINGS, VARCHAR, Kind, SqlType
from penstock.data.variant_json import parse_json
from penstock.data.views import make_views
from penstock.io.formats import scalars
from penstock.io.formats.flavors import Flavor, match_keys, reader
from penstock.io.formats.nested_values import quick_nested
from penstock.io.formats.scalars import Invalid

NONE = type(None)
Mask = npt.NDArray[np.uint8]


class Missing:
    """The value of a field that a record does not have. There is one, `MISSING`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING = Missing()


def quick_json(type_: SqlType, flavor: Flavor, values: Sequence[Any]) -> Column | None:
    """JSON values (None: null, MISSING: absent) as a column; both are NULL in it."""
    types = set(map(type, values))
    absent = Missing in types
    if NONE in types and not type_.nullable:
        return None
    if absent:
        values = [None if v is MISSING else v for v in values]
    types -= {NONE, Missing}
    kind = type_.kind
    if not types:
        return all_null(type_, len(values))
    try:
        if kind in INTEGERS and types == {int}:
            return _integers(type_, values)
        if kind in FLOATS and str not in types and bool not in types:
            return _floats(type_, values)
        if kind is Kind.BOOLEAN and types == {bool}:
            return _fixed(type_, np.array([v or 0 for v in values], np.uint8), _mask(values))
        if kind is Kind.DECIMAL and types <= {int, float}:
            return _decimals(type_, values)
        if kind is Kind.DECIMAL and types <= {int, Decimal}:
            wanted = pa.decimal128(type_.precision or 38, type_.scale or 0)
            return column_from_arrow(type_, pa.array(values, wanted))
        if types == {str} and kind in STRINGS:
            return _strings(type_, values)
        if types == {str} and _reads_text(kind, flavor):
            return quick_text(type_, pa.array(values, pa.string()))
        if kind in FLOATS or kind is Kind.DECIMAL:
            return None
        if type_.children:
            return quick_nested(type_, values, _child(flavor), match_keys)
        read = reader(type_, flavor)
        return from_canonical(type_, [None if v is None else read(v) for v in values])
    except (Invalid, OverflowError, TypeError, ValueError, pa.ArrowInvalid):
        return None


def _child(flavor: Flavor) -> Callable[[SqlType, list[Any]], Column]:
    def read(type_: SqlType, values: list[Any]) -> Column:
        column = quick_json(type_, flavor, values)
        if column is None:
            raise Invalid("not plainly right")
        return column

    return read


def quick_text(type_: SqlType, text: pa.Array) -> Column | None:
    """Values as they are spelled in text (default flavor), nulls already null."""
    try:
        return _QUICK_TEXT[type_.kind](type_, text)
    except KeyError:
        return None
    except (OverflowError, ValueError, pa.ArrowInvalid):
        return None


def from_canonical(type_: SqlType, values: Sequence[Any]) -> Column:
    """A column of canonical values (see `scalars` and `flavors`), None for NULL."""
    kind = type_.kind
    if type_.children:
        return nested_from_python(type_, values, from_canonical)
    if kind is Kind.VARIANT:
        return parse_json(_strings(VARCHAR, values)).with_type(type_)
    if kind in STRINGS:
        return _strings(type_, values)
    if kind in BINARIES:
        return column_from_arrow(type_, pa.array(values, pa.binary()))
    valid = _mask(values)
    if type_.is_wide:
        zero = bytes(16)
        if kind is Kind.UUID:
            data = b"".join([zero if v is None else v for v in values])
        else:
            data = b"".join(
                [zero if v is None else v.to_bytes(16, "little", signed=True) for v in values]
            )
        return Column(type_, np.frombuffer(bytearray(data), np.uint64).reshape(-1, 2), valid)
    with np.errstate(over="ignore"):
        numbers = np.array([0 if v is None else v for v in values], dtype=type_.dtype)
    return _fixed(type_, numbers, valid)


def _strings(type_: SqlType, values: Sequence[Any]) -> Column:
    if None not in values:
        joined = "".join(values)
        if joined.isascii():  # one byte a character: the lengths are the offsets
            offsets = np.zeros(len(values) + 1, np.int64)
            np.cumsum(np.fromiter(map(len, values), np.int64, len(values)), out=offsets[1:])
            data = np.frombuffer(bytearray(joined, "ascii"), np.uint8)
            views, heaps = make_views(data, offsets, None)
            return Column(type_, views, None, heaps)
    return column_from_arrow(type_, pa.array(values, pa.string()))


def all_null(type_: SqlType, n: int) -> Column:
    shape = (n, 2) if type_.is_wide else (n,)
    return Column(type_, np.zeros(shape, type_.dtype), np.zeros(n, np.uint8) if n else None)


def _mask(values: Sequence[Any]) -> Mask | None:
    return np.array([v is not None for v in values], np.uint8) if None in values else None


def _fixed(type_: SqlType, values: npt.NDArray[Any], valid: Mask | None) -> Column:
    if type_.kind in FLOATS:
        values = canonical_floats(values)
    values = np.ascontiguousarray(values, type_.dtype)
    return Column(type_, values if values.flags.writeable else values.copy(), valid)


def _integers(type_: SqlType, values: Sequence[Any]) -> Column | None:
    wide = np.uint64 if type_.kind is Kind.UINT64 else np.int64
    numbers = np.array([v or 0 for v in values], wide)
    return _bounded(type_, numbers, _mask(values))


def _bounded(type_: SqlType, numbers: npt.NDArray[Any], valid: Mask | None) -> Column | None:
    low, high = scalars.INT_BOUNDS[type_.kind]
    if len(numbers) and (numbers.min() < low or numbers.max() > high):
        return None
    return _fixed(type_, numbers.astype(type_.dtype, copy=False), valid)


def _floats(type_: SqlType, values: Sequence[Any]) -> Column | None:
    return _checked_floats(type_, np.array([v or 0 for v in values], np.float64), _mask(values))


def _checked_floats(
    type_: SqlType, numbers: npt.NDArray[np.float64], valid: Mask | None
) -> Column | None:
    with np.errstate(over="ignore"):
        narrow = numbers.astype(type_.dtype, copy=False)
    return _fixed(type_, narrow, valid) if np.isfinite(narrow).all() else None


def _decimals(type_: SqlType, values: Sequence[Any]) -> Column | None:
    """Decimals that arrived as floats. Precondition: each was spelled with ≤ 15 digits.

    A double identifies a decimal of at most 15 significant digits uniquely, so if the integer m
    below 10^15 divided by the scale's power of ten rounds to the double, m is what was written.
    """
    precision, scale = type_.precision or 38, type_.scale or 0
    if scale > 15:
        return None
    numbers = np.array([v or 0 for v in values], np.float64)
    power = 10.0**scale
    unscaled = np.rint(numbers * power)
    bound = 10.0 ** min(15, precision)
    if (np.abs(unscaled) >= bound).any() or (unscaled / power != numbers).any():
        return None
    return _wide_integers(type_, unscaled.astype(np.int64), _mask(values))


def _wide_integers(type_: SqlType, low: npt.NDArray[np.int64], valid: Mask | None) -> Column:
    words = np.empty((len(low), 2), np.int64)
    words[:, 0] = low
    words[:, 1] = low >> 63
    return Column(type_, words.view(np.uint64), valid)


def _reads_text(kind: Kind, flavor: Flavor) -> bool:
    """Is a JSON string of this kind the same text that CSV has? (Floats differ: NaN.)"""
    match kind:
        case Kind.DATE:
            return flavor.date != "days"
        case Kind.TIME:
            return flavor.time == "text"
        case Kind.TIMESTAMP | Kind.TIMESTAMP_TZ:
            return flavor.timestamp == "text"
        case _:
            return kind in (Kind.DECIMAL, Kind.UUID)


def _text_mask(text: pa.Array) -> Mask | None:
    return (
        text.is_valid().to_numpy(zero_copy_only=False).astype(np.uint8) if text.null_count else None
    )


def _numbers(cast: pa.Array, as_type: pa.DataType) -> npt.NDArray[Any]:
    zero = cast.view(as_type)
    if zero.null_count:
        zero = pc.fill_null(zero, pa.scalar(0, as_type))
    return np.asarray(zero.to_numpy(zero_copy_only=False))


def _text_integers(type_: SqlType, text: pa.Array) -> Column | None:
    wide = pa.uint64() if type_.kind is Kind.UINT64 else pa.int64()
    if _any_match(text, "[^0-9-]"):  # Arrow also reads hexadecimal
        return None
    return _bounded(type_, _numbers(text.cast(wide), wide), _text_mask(text))


def _text_floats(type_: SqlType, text: pa.Array) -> Column | None:
    numbers = _numbers(text.cast(pa.float64()), pa.float64())
    return _checked_floats(type_, numbers, _text_mask(text))


def _text_decimals(type_: SqlType, text: pa.Array) -> Column | None:
    if _any_match(text, "[eE]"):  # Arrow takes 1e-55 for 0, whatever the scale
        return None
    cast = text.cast(pa.decimal128(type_.precision or 38, type_.scale or 0))
    n = len(cast)
    raw = np.frombuffer(cast.buffers()[1], np.uint64)
    words = raw[2 * cast.offset : 2 * (cast.offset + n)].reshape(n, 2)
    valid = _text_mask(text)
    if valid is not None:
        words = words * valid[:, None].astype(np.uint64)
    return Column(type_, words.copy(), valid)


def _text_booleans(type_: SqlType, text: pa.Array) -> Column | None:
    lower = pc.utf8_lower(text)
    if _any_match(lower, "^(true|false)$", invert=True):
        return None
    values = pc.fill_null(pc.equal(lower, "true"), False)
    return _fixed(type_, values.to_numpy(zero_copy_only=False).astype(np.uint8), _text_mask(text))


def _text_dates(type_: SqlType, text: pa.Array) -> Column | None:
    days = _numbers(text.cast(pa.date32()), pa.int32())
    if len(days) and days.min() < scalars.MIN_DAY:
        return None
    return _fixed(type_, days, _text_mask(text))


def _text_times(type_: SqlType, text: pa.Array) -> Column | None:
    if _any_match(text, r"^\d\d:\d\d:\d\d", invert=True):
        return None
    moment = pc.binary_join_element_wise("1970-01-01T", text, "").cast(pa.timestamp("ns"))
    return _fixed(type_, _numbers(moment, pa.int64()), _text_mask(text))


def _text_timestamps(type_: SqlType, text: pa.Array) -> Column | None:
    """Arrow also reads `2020-01-01 10` and `10:11` without seconds; the exact reader does not."""
    lengths = _numbers(pc.binary_length(text), pa.int32())
    if (((lengths < 19) & (lengths != 10)) & (lengths > 0)).any():
        return None
    try:
        moment = text.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:
        pattern = r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)$"
        if _any_match(text, pattern, invert=True):
            return None
        moment = text.cast(pa.timestamp("us", "UTC"))
    micros = _numbers(moment, pa.int64())
    if len(micros) and (micros.min() < scalars.MIN_US or micros.max() > scalars.MAX_US):
        return None
    return _fixed(type_, micros, _text_mask(text))


def _text_uuids(type_: SqlType, text: pa.Array) -> Column | None:
    """All in the canonical form with hyphens, in any case, none null."""
    n = len(text)
    joined = "".join(text.to_pylist()) if not text.null_count else ""
    if not n or len(joined) != 36 * n or not joined.isascii():
        return None
    letters = np.frombuffer(joined.encode(), np.uint8).reshape(n, 36)
    hyphens = [8, 13, 18, 23]
    if not (letters[:, hyphens] == ord("-")).all():
        return None
    data = bytes.fromhex(np.delete(letters, hyphens, axis=1).tobytes().decode())
    if len(data) != 16 * n:  # fromhex skips blanks
        return None
    return Column(type_, np.frombuffer(bytearray(data), np.uint64).reshape(n, 2), None)


def _any_match(text: pa.Array, pattern: str, *, invert: bool = False) -> bool:
    found = pc.match_substring_regex(text, pattern)
    wrong = pc.any(pc.invert(found) if invert else found).as_py()
    return bool(wrong)


_QUICK_TEXT: dict[Kind, Callable[[SqlType, pa.Array], Column | None]] = {
    **dict.fromkeys(INTEGERS, _text_integers),
    **dict.fromkeys(FLOATS, _text_floats),
    **dict.fromkeys(STRINGS, column_from_arrow),
    Kind.BOOLEAN: _text_booleans,
    Kind.DECIMAL: _text_decimals,
    Kind.DATE: _text_dates,
    Kind.TIME: _text_times,
    Kind.TIMESTAMP: _text_timestamps,
    Kind.TIMESTAMP_TZ: _text_timestamps,
    Kind.UUID: _text_uuids,
}
