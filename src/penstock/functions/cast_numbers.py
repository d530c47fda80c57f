"""Casts between numbers (sql-reference 1.5).

numbers → integer      fraction dropped, out of range is bad
decimal → decimal      truncated toward zero, too long is bad
float → decimal        the shortest decimal that reads back, truncated
numbers → float        nearest; too large is infinite
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from penstock.data.batch import Array, Column
from penstock.data.types import FLOATS, INTEGERS, Kind, SqlType
from penstock.functions import int128, text, text_parse, text_print
from penstock.functions.cast_parts import Bad, Converter, fixed
from penstock.functions.coercion import holds_all


def _integer_to_integer(dst: SqlType) -> Converter:
    def convert(column: Column) -> tuple[Column, Bad]:
        out = column.values.astype(dst.dtype)
        return Column(dst, out), out != column.values

    return convert


def float_to_integer(dst: SqlType) -> Converter:
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


def _integer_to_decimal(src: SqlType, dst: SqlType) -> Converter:
    is_retyped = dst.scale == 0 and holds_all(src, dst)

    def convert(column: Column) -> tuple[Column, Bad]:
        wide = _widen(column.values)
        if is_retyped:
            return Column(dst, wide), None
        out, bad = rescaled(wide, 0, dst, int128.TRUNCATE)
        return Column(dst, out), bad

    return convert


def _decimal_to_decimal(src: SqlType, dst: SqlType) -> Converter:
    scale = src.scale or 0

    def convert(column: Column) -> tuple[Column, Bad]:
        out, bad = rescaled(column.values, scale, dst, int128.TRUNCATE)
        return Column(dst, out), bad

    return convert


def decimal_to_integer(src: SqlType, dst: SqlType) -> Converter:
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
#: the bits of a DOUBLE that a REAL has not, and their value halfway between two REALs
_REAL_CUT, _REAL_HALF = np.uint64((1 << 29) - 1), np.uint64(1 << 28)
#: from here on down REALs have fewer bits
_LEAST_REAL = 2.0**-126


def _decimal_to_float(src: SqlType, dst: SqlType) -> Converter:
    scale = src.scale or 0

    def convert(column: Column) -> tuple[Column, Bad]:
        signed = np.ascontiguousarray(column.values[:, 0]).view(np.int64)
        exact = (np.abs(signed) < 1 << 53) & (column.values[:, 1] == (signed >> 63).view(np.uint64))
        if scale > _EXACT_TENS:
            exact = np.zeros_like(exact)
        out = signed / (10.0 ** min(scale, _EXACT_TENS))
        if dst.kind is Kind.REAL:  # what looks halfway between two REALs may be beside it
            low = out.view(np.uint64) & _REAL_CUT
            exact &= (low != _REAL_HALF) & ((np.abs(out) > _LEAST_REAL) | (out == 0))
            out = out.astype(np.float32)
        rest = np.flatnonzero(~exact)
        if len(rest):  # beyond 53 bits: read back from the digits, which rounds right
            digits = text.to_arrow(text_print.decimals(column.values[rest], scale))
            read = digits.cast(pa.from_numpy_dtype(dst.dtype))
            out[rest] = read.to_numpy(zero_copy_only=False)
        return Column(dst, out), None

    return convert


def _float_to_decimal(src: SqlType, dst: SqlType) -> Converter:
    assert dst.precision is not None and dst.scale is not None
    scale, precision, limit = dst.scale, dst.precision, 10**dst.precision
    # up to so many digits there is only one decimal near a float
    unique = 1e6 if src.kind is Kind.REAL else 1e15

    def convert(column: Column) -> tuple[Column, Bad]:
        values = column.values
        exact = values.astype(np.float64)
        out, bad = np.zeros((len(values), 2), np.uint64), ~np.isfinite(exact)
        scaled = np.where(bad, 0.0, exact) * 10.0 ** min(scale, _EXACT_TENS)
        whole = np.rint(scaled)
        easy = (np.abs(scaled) < unique) & (scale <= _EXACT_TENS)
        reads_back = (whole / 10.0 ** min(scale, _EXACT_TENS)).astype(values.dtype) == values
        easy &= reads_back
        out[easy] = _widen(whole[easy].astype(np.int64))
        bad[easy] |= np.abs(whole[easy]) >= float(limit)
        rest = np.flatnonzero(~easy & ~bad)
        if len(rest):
            digits = text.from_arrow(pa.array(values[rest]).cast(pa.utf8()))
            out[rest], bad[rest] = text_parse.decimals(digits, precision, scale, truncate=True)
        return Column(dst, out), bad

    return convert


def number(src: SqlType, dst: SqlType) -> Converter:
    s, d = src.kind, dst.kind
    if d in INTEGERS:
        if s in INTEGERS:
            return _integer_to_integer(dst)
        return float_to_integer(dst) if s in FLOATS else decimal_to_integer(src, dst)
    if d in FLOATS:
        if s is Kind.DECIMAL:
            return _decimal_to_float(src, dst)
        return fixed(dst, lambda v: v.astype(dst.dtype))
    if s in INTEGERS:
        return _integer_to_decimal(src, dst)
    return _decimal_to_decimal(src, dst) if s is Kind.DECIMAL else _float_to_decimal(src, dst)
