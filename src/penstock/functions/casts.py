"""Casts: `cast_kernel(from, to, safe)`, the semantics of sql-reference 1.5.

    numbers → integer      fraction dropped, out of range fails
    decimal → decimal      truncated toward zero, too long fails
    text → decimal         rounded half to even
    float → decimal        the shortest decimal that reads back, truncated
    number ↔ TIMESTAMP     milliseconds since 1970
    text → CHAR, VARCHAR   cut to the length; CHAR padded; CHAR → VARCHAR loses trailing blanks

A converter answers the new column and which rows are bad (None: none can be). CAST fails on the
first bad row, SAFE_CAST makes it NULL.

Cost: numbers and datetimes are vectorised; from and to text most kinds loop over the rows.
Not here: which casts exist (`coercion.can_cast`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pyarrow.compute as pc

from penstock.data.batch import Array, Column
from penstock.data.build import null_column
from penstock.data.types import (
    BINARIES,
    FLOATS,
    INTEGERS,
    NUMBERS,
    STRINGS,
    VIEWS,
    Kind,
    SqlType,
)
from penstock.data.views import lengths_of
from penstock.functions import int128, literals, text
from penstock.functions.coercion import DATETIMES, INTERVALS
from penstock.functions.definition import Kernel, fail_where
from penstock.functions.interval_units import unit_size
from penstock.functions.nested_casts import masked_converter, nested_converter

Bad = Array | None
Converter = Callable[[Column], tuple[Column, Bad]]

_DAY_US, _DAY_NS = 86_400_000_000, 86_400_000_000_000
_TIMESTAMPS = (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ)


def _fixed(dst: SqlType, convert: Callable[[Array], Array]) -> Converter:
    return lambda column: (Column(dst, convert(column.values)), None)


def _retype(dst: SqlType) -> Converter:
    return lambda column: (column.with_type(dst), None)


# numbers -------------------------------------------------------------------------------------


def _integer_to_integer(dst: SqlType) -> Converter:
    def convert(column: Column) -> tuple[Column, Bad]:
        out = column.values.astype(dst.dtype)
        return Column(dst, out), out != column.values

    return convert


def _float_to_integer(dst: SqlType) -> Converter:
    info = np.iinfo(dst.dtype)
    low, high = float(info.min), float(2 ** (info.bits - (info.min < 0)))

    def convert(column: Column) -> tuple[Column, Bad]:
        whole = np.trunc(column.values.astype(np.float64))
        bad = ~((whole >= low) & (whole < high))
        return Column(dst, np.where(bad, 0, whole).astype(dst.dtype)), bad

    return convert


def _widen(values: Array) -> Array:
    """Integers as int128."""
    low = values.astype(np.int64).view(np.uint64)
    if values.dtype == np.uint64:
        return np.stack((values, np.zeros_like(values)), axis=1)
    return np.stack((low, (low.view(np.int64) >> 63).view(np.uint64)), axis=1)


def rescaled(values: Array, src_scale: int, dst: SqlType, mode: int) -> tuple[Array, Array]:
    """(int128 values of scale dst.scale, bad rows)."""
    assert dst.precision is not None and dst.scale is not None
    out, bad = np.zeros((len(values), 2), np.uint64), np.zeros(len(values), np.uint8)
    shift = dst.scale - src_scale
    source = np.ascontiguousarray(values)
    int128.rescale(source, max(shift, 0), max(-shift, 0), mode, dst.precision, out, bad)
    return out, bad.view(np.bool_)


def _integer_to_decimal(dst: SqlType) -> Converter:
    def convert(column: Column) -> tuple[Column, Bad]:
        out, bad = rescaled(_widen(column.values), 0, dst, int128.TRUNCATE)
        return Column(dst, out), bad

    return convert


def _decimal_to_decimal(src: SqlType, dst: SqlType) -> Converter:
    scale = src.scale or 0

    def convert(column: Column) -> tuple[Column, Bad]:
        out, bad = rescaled(column.values, scale, dst, int128.TRUNCATE)
        return Column(dst, out), bad

    return convert


def _decimal_to_integer(src: SqlType, dst: SqlType) -> Converter:
    whole = SqlType(Kind.DECIMAL, precision=38, scale=0)
    unsigned = dst.kind is Kind.UINT64
    narrow = _integer_to_integer(dst)

    def convert(column: Column) -> tuple[Column, Bad]:
        values, bad = rescaled(column.values, src.scale or 0, whole, int128.TRUNCATE)
        low = np.ascontiguousarray(values[:, 0])
        if unsigned:
            return Column(dst, low), bad | (values[:, 1] != 0)
        signed = low.view(np.int64)
        wide = values[:, 1] != (signed >> 63).view(np.uint64)
        out, over = narrow(Column(dst, signed))
        return out, bad | wide | over

    return convert


_EXACT_TENS = 22  # 10^22 is the largest power of ten that is a double


def _decimal_to_float(src: SqlType, dst: SqlType) -> Converter:
    scale = src.scale or 0

    def convert(column: Column) -> tuple[Column, Bad]:
        signed = np.ascontiguousarray(column.values[:, 0]).view(np.int64)
        exact = (np.abs(signed) < 1 << 53) & (column.values[:, 1] == (signed >> 63).view(np.uint64))
        if scale > _EXACT_TENS:
            exact = np.zeros_like(exact)
        out = signed / (10.0 ** min(scale, _EXACT_TENS))
        for i in np.flatnonzero(~exact).tolist():  # rare: beyond 53 bits, int / int rounds right
            low, high = column.values[i].tolist()
            unscaled = low | high << 64
            out[i] = (unscaled - (1 << 128) if high >> 63 else unscaled) / 10**scale
        return Column(dst, out.astype(dst.dtype)), None

    return convert


def _float_to_decimal(src: SqlType, dst: SqlType) -> Converter:
    assert dst.precision is not None and dst.scale is not None
    scale, limit = dst.scale, 10**dst.precision

    def convert(column: Column) -> tuple[Column, Bad]:
        values = column.values
        exact = values.astype(np.float64)
        out, bad = np.zeros((len(values), 2), np.uint64), ~np.isfinite(exact)
        scaled = np.where(bad, 0.0, exact) * 10.0 ** min(scale, _EXACT_TENS)
        whole = np.rint(scaled)
        easy = (np.abs(scaled) < 1 << 53) & (scale <= _EXACT_TENS)
        reads_back = (whole / 10.0 ** min(scale, _EXACT_TENS)).astype(values.dtype) == values
        easy &= reads_back
        out[easy] = _widen(whole[easy].astype(np.int64))
        bad[easy] |= np.abs(whole[easy]) >= float(limit)
        with localcontext(prec=400):
            for i in np.flatnonzero(~easy & ~bad).tolist():
                unscaled = int(Decimal(str(values[i])).scaleb(scale))
                if abs(unscaled) >= limit:
                    bad[i] = True
                else:
                    unscaled &= (1 << 128) - 1
                    out[i] = (unscaled & (2**64 - 1), unscaled >> 64)
        return Column(dst, out), bad

    return convert


def _number(src: SqlType, dst: SqlType) -> Converter:
    s, d = src.kind, dst.kind
    if d in INTEGERS:
        if s in INTEGERS:
            return _integer_to_integer(dst)
        return _float_to_integer(dst) if s in FLOATS else _decimal_to_integer(src, dst)
    if d in FLOATS:
        if s is Kind.DECIMAL:
            return _decimal_to_float(src, dst)
        return _fixed(dst, lambda v: v.astype(dst.dtype))
    if s in INTEGERS:
        return _integer_to_decimal(dst)
    return _decimal_to_decimal(src, dst) if s is Kind.DECIMAL else _float_to_decimal(src, dst)


# text ----------------------------------------------------------------------------------------


def _parser(dst: SqlType) -> Callable[[str], Any]:
    kind = dst.kind
    if kind in INTEGERS:
        info = np.iinfo(dst.dtype)

        def integer(s: str) -> int:
            value = literals.parse_integer(s)
            if not info.min <= value <= info.max:
                raise ValueError("out of range")
            return value

        return integer
    if kind is Kind.DECIMAL:
        assert dst.precision is not None and dst.scale is not None
        precision, scale = dst.precision, dst.scale
        return lambda s: literals.parse_decimal(s, precision, scale)
    return {
        Kind.REAL: literals.parse_float,
        Kind.DOUBLE: literals.parse_float,
        Kind.BOOLEAN: literals.parse_boolean,
        Kind.DATE: literals.parse_date,
        Kind.TIME: literals.parse_time,
        Kind.TIMESTAMP: literals.parse_timestamp,
        Kind.TIMESTAMP_TZ: literals.parse_timestamp_tz,
        Kind.UUID: literals.parse_uuid,
    }[kind]


def _from_text(dst: SqlType) -> Converter:
    parse = _parser(dst)

    def convert(column: Column) -> tuple[Column, Bad]:
        values: list[Any] = []
        bad = np.zeros(len(column), np.bool_)
        for i, word in enumerate(text.to_list(column)):
            try:
                values.append(None if word is None else parse(word))
            except (ValueError, OverflowError):
                values.append(None)
                bad[i] = True
        return text.from_list(values, dst), bad

    return convert


def _float_text(v: float) -> str:
    if v != v:
        return "NaN"
    if v in (float("inf"), float("-inf")):
        return "Infinity" if v > 0 else "-Infinity"
    return repr(v)


def _printer(src: SqlType) -> Callable[[Any], str]:
    kind = src.kind
    if kind is Kind.DOUBLE:
        return _float_text
    if kind is Kind.REAL:
        return lambda v: _float_text(v) if v - v != 0 else str(np.float32(v))
    if kind is Kind.DECIMAL:
        return lambda v: format(v, "f")
    printers: dict[Kind, Callable[[Any], str]] = {
        Kind.BOOLEAN: lambda v: "TRUE" if v else "FALSE",
        Kind.DATE: lambda v: str(v.isoformat()),
        Kind.TIME: literals.print_time,
        Kind.TIMESTAMP: literals.print_timestamp,
        Kind.TIMESTAMP_TZ: literals.print_timestamp,
    }
    return printers.get(kind, str)


def _to_text(src: SqlType, dst: SqlType) -> Converter:
    spell, fit = _printer(src), _fit_text(dst)

    def convert(column: Column) -> tuple[Column, Bad]:
        words = [None if v is None else spell(v) for v in text.to_list(column)]
        return fit(text.from_list(words, dst))

    return convert


def _fit_text(dst: SqlType) -> Converter:
    """Cut to the length of `dst`, and padded with blanks if it is CHAR."""
    length = dst.precision
    if length is None:
        return _retype(dst)

    def convert(column: Column) -> tuple[Column, Bad]:
        sizes = lengths_of(column.values)
        if dst.kind is Kind.VARCHAR and sizes.max(initial=0) <= length:
            return column.with_type(dst), None
        words = pc.utf8_slice_codeunits(text.to_arrow(column), 0, length)
        if dst.kind is Kind.CHAR:
            words = pc.utf8_rpad(words, length)
        return text.from_arrow(words, dst), None

    return convert


def _text_to_text(src: SqlType, dst: SqlType) -> Converter:
    fit = _fit_text(dst)
    if src.kind is not Kind.CHAR or dst.kind is not Kind.VARCHAR:
        return fit

    def convert(column: Column) -> tuple[Column, Bad]:
        return fit(text.from_arrow(pc.utf8_rtrim(text.to_arrow(column), characters=" "), dst))

    return convert


# binary --------------------------------------------------------------------------------------


def _to_binary(src: SqlType, dst: SqlType) -> Converter:
    length = dst.precision

    def fit(raw: bytes) -> bytes:
        if length is None:
            return raw
        return raw[:length].ljust(length, b"\0") if dst.kind is Kind.BINARY else raw[:length]

    def integer(v: int) -> bytes:
        size = length or src.width_bytes
        return (v & (1 << 8 * size) - 1).to_bytes(size, "big")

    def spell(v: Any) -> bytes:
        if src.kind in INTEGERS:
            return integer(v)
        if src.kind is Kind.UUID:
            return fit(v.bytes)
        return fit(v.encode() if isinstance(v, str) else v)

    def convert(column: Column) -> tuple[Column, Bad]:
        if length is None and src.kind in VIEWS:
            return column.with_type(dst), None
        raw = [None if v is None else spell(v) for v in text.to_list(column)]
        return text.from_list(raw, dst), None

    return convert


def _binary_to_text(dst: SqlType) -> Converter:
    fit = _fit_text(dst)

    def convert(column: Column) -> tuple[Column, Bad]:
        words: list[str | None] = []
        bad = np.zeros(len(column), np.bool_)
        for i, raw in enumerate(text.to_list(column)):
            try:
                words.append(None if raw is None else raw.decode())
            except UnicodeDecodeError:
                words.append(None)
                bad[i] = True
        out, _ = fit(text.from_list(words, dst))
        return out, bad

    return convert


def _binary_to_uuid(dst: SqlType) -> Converter:
    def convert(column: Column) -> tuple[Column, Bad]:
        bad = lengths_of(column.values) != 16
        raw = b"".join(
            bytes(16) if wrong or v is None else v
            for v, wrong in zip(text.to_list(column), bad.tolist(), strict=True)
        )
        return Column(dst, np.frombuffer(raw, np.uint64).reshape(-1, 2).copy()), bad

    return convert


# datetimes and intervals ---------------------------------------------------------------------


def _datetime(src: SqlType, dst: SqlType) -> Converter | None:
    s, d = src.kind, dst.kind
    if s is d or (s in _TIMESTAMPS and d in _TIMESTAMPS):
        return _retype(dst)
    if s is Kind.DATE and d in _TIMESTAMPS:
        return _fixed(dst, lambda v: v.astype(np.int64) * _DAY_US)
    if s in _TIMESTAMPS and d is Kind.DATE:
        return _fixed(dst, lambda v: (v // _DAY_US).astype(np.int32))
    if s in _TIMESTAMPS and d is Kind.TIME:
        return _fixed(dst, lambda v: v % _DAY_US * 1000)
    if s is Kind.TIME and d in _TIMESTAMPS:
        return _fixed(dst, lambda v: v // 1000)  # on 1970-01-01: the page does not say which day
    return None


def _then(first: Converter, second: Converter) -> Converter:
    def convert(column: Column) -> tuple[Column, Bad]:
        middle, bad = first(column)
        out, worse = second(middle)
        if bad is None:
            return out, worse
        return out, bad if worse is None else bad | worse

    return convert


_INT64 = SqlType(Kind.INT64)


def _scaled_by(dst: SqlType, factor: int) -> Converter:
    limit = np.iinfo(dst.dtype)

    def convert(column: Column) -> tuple[Column, Bad]:
        v = column.values
        bad = (v > limit.max // factor) | (v < -(limit.max // factor))
        return Column(dst, np.where(bad, 0, v * factor).astype(dst.dtype)), bad

    return convert


def _divided_by(dst: SqlType, divisor: int) -> Converter:
    return _fixed(dst, lambda v: np.sign(v) * (np.abs(v.astype(np.int64)) // divisor))


def _number_to_scaled(src: SqlType, dst: SqlType, unit: int) -> Converter:
    """A number of `unit`s as int64 or int32 of the target's own unit, fractions kept."""
    if src.kind in INTEGERS:
        return _then(_number(src, _INT64), _scaled_by(dst, unit))
    if src.kind is Kind.DECIMAL:
        size = len(str(unit)) - 1
        if 10**size == unit:
            shifted = SqlType(Kind.DECIMAL, precision=38, scale=max((src.scale or 0) - size, 0))

            def shift(column: Column) -> tuple[Column, Bad]:
                scale = (src.scale or 0) - size
                values = column.values
                if scale < 0:
                    values, bad = rescaled(
                        values, 0, SqlType(Kind.DECIMAL, precision=38, scale=-scale), 0
                    )
                    return Column(shifted, values), bad
                return Column(shifted, values), None

            return _then(shift, _then(_decimal_to_integer(shifted, _INT64), _scaled_by(dst, 1)))
    double = SqlType(Kind.DOUBLE)

    def times(column: Column) -> tuple[Column, Bad]:
        return Column(double, column.values * float(unit)), None

    return _then(_number(src, double), _then(times, _float_to_integer(dst)))


def _to_number(src: SqlType, dst: SqlType, divisor: int) -> Converter:
    whole = _divided_by(_INT64, divisor)
    return whole if dst.kind is Kind.INT64 else _then(whole, _number(_INT64, dst))


# the matrix ----------------------------------------------------------------------------------


def _converter(src: SqlType, dst: SqlType) -> Converter | None:
    s, d = src.kind, dst.kind
    if s is d and src.children:
        return nested_converter(src, dst, _child_converter)
    if s in NUMBERS and d in NUMBERS:
        return (
            _retype(dst) if src == dst or (s is d and s is not Kind.DECIMAL) else _number(src, dst)
        )
    if s in STRINGS and d in STRINGS:
        return _text_to_text(src, dst)
    if d in STRINGS:
        if s is Kind.UUID:
            return lambda c: _fit_text(dst)(text.from_arrow(text.to_arrow(c), dst))
        return _binary_to_text(dst) if s in BINARIES else _to_text(src, dst)
    if d in BINARIES:
        return _to_binary(src, dst)
    if s in STRINGS and d not in INTERVALS:
        return _from_text(dst)
    if s in BINARIES and d is Kind.UUID:
        return _binary_to_uuid(dst)
    if s in DATETIMES and d in DATETIMES:
        return _datetime(src, dst)
    if s in NUMBERS and d in _TIMESTAMPS:
        return _number_to_scaled(src, dst, 1000)
    if s in _TIMESTAMPS and d in NUMBERS:
        return _to_number(src, dst, 1000)
    if s in NUMBERS and d in INTERVALS:
        return _number_to_scaled(src, dst, unit_size(dst))
    if s in INTERVALS and d in NUMBERS:
        return _to_number(src, dst, unit_size(src))
    return _retype(dst) if s is d else None


def _child_converter(src: SqlType, dst: SqlType) -> Converter:
    """The conversion of the children of a nested value; NULL stays NULL."""
    if src.kind is Kind.NULL:
        return lambda column: (null_column(dst, len(column)), None)
    convert = _converter(src, dst)
    if convert is None:
        raise NotImplementedError(f"CAST({src} AS {dst}) has no kernel")
    return masked_converter(convert)


def cast_can_fail(src: SqlType, dst: SqlType, safe: bool) -> bool:
    """Whether CAST(src AS dst) fails for some value."""
    s, d = src.kind, dst.kind
    if safe or s is Kind.NULL or src.same_as(dst) or (d in FLOATS and s in NUMBERS):
        return False
    if s is d and src.children:
        pairs = zip(src.children, dst.children, strict=True)
        return any(cast_can_fail(a, b, safe) for a, b in pairs)
    if d in STRINGS and s not in BINARIES:
        return False
    if s in DATETIMES and d in DATETIMES:
        return False
    if s in INTEGERS and d in INTEGERS:
        a, b = np.iinfo(src.dtype), np.iinfo(dst.dtype)
        return bool(a.min < b.min or a.max > b.max)
    return True


def cast_kernel(src: SqlType, dst: SqlType, safe: bool = False) -> Kernel:
    """The strict kernel of CAST(src AS dst); with `safe` bad rows are NULL. The cast exists."""
    if src.kind is Kind.NULL:
        return lambda args, n: null_column(dst, 1)
    convert = _converter(src, dst)
    if convert is None:
        raise NotImplementedError(f"CAST({src} AS {dst}) has no kernel")
    target = dst.with_nullable(True)

    def kernel(args: Sequence[Column], n: int) -> Column:
        (column,) = args
        out, bad = convert(column)
        if bad is None or not bad.any():
            return out
        if safe:
            return Column(out.type, out.values, (~bad).astype(np.uint8), out.heaps)
        fail_where(bad, args, f"value cannot be cast to {target}")
        return out

    return kernel
