"""Casts of dates, times, timestamps and intervals to each other and to numbers (1.5).

number ↔ TIMESTAMP     milliseconds since 1970
number ↔ INTERVAL      the interval's own unit
"""

from __future__ import annotations

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.types import INTEGERS, Kind, SqlType, decimal
from penstock.functions import calendar, int128
from penstock.functions.cast_numbers import decimal_to_integer, float_to_integer, number
from penstock.functions.cast_parts import Bad, Converter, fixed, retype, then

_DAY_US = 86_400_000_000
TIMESTAMPS = (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ)


def datetime_cast(src: SqlType, dst: SqlType) -> Converter | None:
    s, d = src.kind, dst.kind
    if s is d or (s in TIMESTAMPS and d in TIMESTAMPS):
        return retype(dst)
    if s is Kind.DATE and d in TIMESTAMPS:
        return fixed(dst, lambda v: v.astype(np.int64) * _DAY_US)
    if s in TIMESTAMPS and d is Kind.DATE:
        return fixed(dst, lambda v: (v // _DAY_US).astype(np.int32))
    if s in TIMESTAMPS and d is Kind.TIME:
        return fixed(dst, lambda v: v % _DAY_US * 1000)
    if s is Kind.TIME and d in TIMESTAMPS:
        return fixed(dst, lambda v: v // 1000)  # on 1970-01-01: the page does not say which day
    return None


_INT64 = SqlType(Kind.INT64)
_WHOLE = decimal(38, 0)


def _scaled_by(dst: SqlType, factor: int) -> Converter:
    limit = np.iinfo(dst.dtype)

    def convert(column: Column) -> tuple[Column, Bad]:
        v = column.values
        bad = (v > limit.max // factor) | (v < -(-limit.min // factor))
        return Column(dst, np.where(bad, 0, v * factor).astype(dst.dtype)), bad

    return convert


def _divided_by(dst: SqlType, divisor: int) -> Converter:
    def convert(values: Array) -> Array:
        wide = values.astype(np.int64)  # not np.abs: the least one has none
        return np.asarray(wide // divisor + ((wide < 0) & (wide % divisor != 0)))

    return fixed(dst, convert)


def _times(src: SqlType, unit: int) -> Converter:
    """A DECIMAL as whole numbers of what `unit` of it are, without the fraction."""

    def convert(column: Column) -> tuple[Column, Bad]:
        n, factor = len(column), np.array([[unit, 0]], np.uint64)
        out, bad = np.zeros((n, 2), np.uint64), np.zeros(n, np.uint8)
        values = np.ascontiguousarray(column.values)
        int128.multiply(values, factor, src.scale or 0, 38, out, bad)
        return Column(_WHOLE, out), bad.view(np.bool_)

    return convert


def number_to_scaled(src: SqlType, dst: SqlType, unit: int) -> Converter:
    """A number of `unit`s as int64 or int32 of the target's own unit, fractions kept."""
    if src.kind in INTEGERS:
        return then(number(src, _INT64), _scaled_by(dst, unit))
    if src.kind is Kind.DECIMAL:
        whole = then(decimal_to_integer(_WHOLE, _INT64), _scaled_by(dst, 1))
        return then(_times(src, unit), whole)
    double = SqlType(Kind.DOUBLE)

    def times(column: Column) -> tuple[Column, Bad]:
        return Column(double, column.values * float(unit)), None

    return then(number(src, double), then(times, float_to_integer(dst)))


def to_number(src: SqlType, dst: SqlType, divisor: int) -> Converter:
    whole = _divided_by(_INT64, divisor)
    return whole if dst.kind is Kind.INT64 else then(whole, number(_INT64, dst))


def within_calendar(dst: SqlType) -> Converter:
    """Timestamps outside the years 1 to 9999 are bad: they could not be written down."""

    def convert(column: Column) -> tuple[Column, Bad]:
        days = column.values // _DAY_US
        return column.with_type(dst), (days < calendar.FIRST_DAY) | (days > calendar.LAST_DAY)

    return convert
