"""Casts from and to text (sql-reference 1.5).

    text → number, date …  the grammar of `text_parse`
    anything → text        how the value is written as a literal; floats the shortest way back
    text → CHAR, VARCHAR   cut to the length; CHAR padded; CHAR → VARCHAR loses trailing blanks

Kernels and Arrow do all of it; only floats of an odd size are spelled, and
intervals read, one distinct value at a time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Array, Column
from penstock.data.types import FLOATS, INTEGERS, TIMESTAMP, VARCHAR, Kind, SqlType
from penstock.data.views import lengths_of, make_views
from penstock.functions import interval_text, text, text_kernels, text_parse, text_print
from penstock.functions.cast_parts import Bad, Converter, retype, then
from penstock.functions.coercion import INTERVALS
from penstock.functions.distinct import per_distinct
from penstock.functions.instants import instants
from penstock.functions.text_parse import DATE_PART, TIME_PART

_DAY_US = 86_400_000_000

# from text -----------------------------------------------------------------------------------


def _to_moment(dst: SqlType) -> Converter:
    parts = {Kind.DATE: DATE_PART, Kind.TIME: TIME_PART}.get(dst.kind, DATE_PART | TIME_PART)

    def convert(column: Column) -> tuple[Column, Bad]:
        days, clock, bad = text_parse.moments(column, parts)
        if parts == DATE_PART:
            return Column(dst, np.where(bad, 0, days).astype(np.int32)), bad
        if parts == TIME_PART:
            return Column(dst, clock), bad
        return Column(dst, np.where(bad, 0, days) * _DAY_US + clock // 1000), bad

    return convert


def _to_float(dst: SqlType) -> Converter:
    arrow = pa.float32() if dst.kind is Kind.REAL else pa.float64()
    special = np.array([0.0, 0.0, np.inf, -np.inf, np.nan], dst.dtype)

    def convert(column: Column) -> tuple[Column, Bad]:
        kind, start, stop = text_parse.float_classes(column)
        plain = kind == text_parse.PLAIN
        words = text_kernels.cut(column, start, stop, VARCHAR)
        numbers = text.to_arrow(
            Column(VARCHAR, words.values, plain.astype(np.uint8), words.heaps)
        ).cast(arrow)
        read = numbers.fill_null(0).to_numpy(zero_copy_only=False)
        return Column(dst, np.where(plain, read, special[kind])), kind == text_parse.NOT_A_NUMBER

    return convert


def _to_boolean(dst: SqlType) -> Converter:
    def convert(column: Column) -> tuple[Column, Bad]:
        words = pc.utf8_lower(pc.utf8_trim_whitespace(text.to_arrow(column))).fill_null("")
        true, false = (pc.equal(words, w).to_numpy(zero_copy_only=False) for w in ("true", "false"))
        return Column(dst, true.astype(np.uint8)), ~(true | false)

    return convert


def _per_distinct(dst: SqlType, read: Callable[[str], object]) -> Converter:
    """For text that is read in Python: `read` gives None for what is not of the grammar."""

    def convert(column: Column) -> tuple[Column, Bad]:
        out = per_distinct(read, (column,), dst)
        return Column(dst, out.values), None if out.valid is None else out.valid == 0

    return convert


def from_text(dst: SqlType) -> Converter:
    kind = dst.kind
    if kind in INTEGERS:

        def integer(column: Column) -> tuple[Column, Bad]:
            values, bad = text_parse.integers(column, dst.dtype)
            return Column(dst, values), bad

        return integer
    if kind is Kind.DECIMAL:
        assert dst.precision is not None and dst.scale is not None
        precision, scale = dst.precision, dst.scale

        def decimal(column: Column) -> tuple[Column, Bad]:
            values, bad = text_parse.decimals(column, precision, scale)
            return Column(dst, values), bad

        return decimal
    if kind is Kind.UUID:

        def uuid(column: Column) -> tuple[Column, Bad]:
            values, bad = text_parse.uuids(column)
            return Column(dst, values), bad

        return uuid
    if kind in FLOATS:
        return _to_float(dst)
    if kind is Kind.BOOLEAN:
        return _to_boolean(dst)
    if kind is Kind.TIMESTAMP_TZ:
        return instants
    if kind in INTERVALS:
        return _per_distinct(dst, interval_text.reader(dst))
    return _to_moment(dst)


# to text -------------------------------------------------------------------------------------


def _float_word(v: float, spell: Callable[[float], str]) -> str:
    """`spell` gives the shortest text with Python's exponents: 1e+20, which is written 1e20."""
    digits, e, exponent = spell(v).partition("e")
    return f"{digits}e{int(exponent)}" if e else digits


def _floats(column: Column) -> Column:
    """The shortest text that reads back, with a point or an exponent: 1.0, 1e20, NaN."""
    values = column.values
    size = np.abs(values)
    real = column.type.kind is Kind.REAL
    words = pa.array(values).cast(pa.utf8())
    has_exponent = pc.match_substring(words, "e").to_numpy(zero_copy_only=False)
    plain = (values == 0) | ((size >= 1e-4) & (size < 1e15) & ~has_exponent)
    # Arrow turns to exponents at 1e15 and 1e-7: between them and ours it is done value by value
    far = has_exponent if real else (size >= 1e16) | (size < 1e-7)
    far = far & np.isfinite(values) & ~plain
    whole = pa.array(plain & (np.trunc(values) == values))
    words = pc.if_else(whole, pc.binary_join_element_wise(words, "0", "."), words)
    words = pc.if_else(pa.array(far), pc.replace_substring(words, "e+", "e"), words)
    for name, which in (
        ("NaN", np.isnan(values)), ("Infinity", values == np.inf), ("-Infinity", values == -np.inf),
    ):  # fmt: skip
        if which.any():
            words = pc.if_else(pa.array(which), name, words)
    out = text.from_arrow(words)
    odd = np.flatnonzero(~(plain | far) & np.isfinite(values))
    if not len(odd):
        return out

    def word(v: float) -> str:
        return _float_word(v, lambda v: str(np.float32(v)) if real else repr(v))

    rest = per_distinct(word, (Column(column.type, values[odd]),))
    views = out.values.copy()
    views[odd] = rest.values
    return Column(VARCHAR, views, None, (*out.heaps, *rest.heaps))


_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)
_HYPHENS = (8, 13, 18, 23)


def _uuids(column: Column) -> Column:
    raw = np.ascontiguousarray(column.values).view(np.uint8).reshape(-1, 16)
    digits = np.stack((_HEX[raw >> 4], _HEX[raw & 15]), axis=2).reshape(-1, 32)
    out = np.full((len(column), 36), ord("-"), np.uint8)
    out[:, [i for i in range(36) if i not in _HYPHENS]] = digits
    views, heaps = make_views(out.reshape(-1), np.arange(len(column) + 1) * 36, None)
    return Column(VARCHAR, views, None, heaps)


def _by_arrow(column: Column) -> Column:
    """Dates, times and timestamps; trailing zeros of a fraction go, and its point with them.
    An instant is written in UTC, which is how it is kept, and says so."""
    naive = Column(TIMESTAMP, column.values) if column.type.kind is Kind.TIMESTAMP_TZ else column
    words = text.to_arrow(Column(naive.type, naive.values)).cast(pa.utf8())
    if column.type.kind is not Kind.DATE:
        words = pc.utf8_rtrim(pc.utf8_rtrim(words, characters="0"), characters=".")
    if column.type.kind is Kind.TIMESTAMP_TZ:
        words = pc.binary_join_element_wise(words, "+00:00", "")
    return text.from_arrow(words)


def _booleans(column: Column) -> Column:
    return text.from_arrow(pa.array(["FALSE", "TRUE"]).take(pa.array(column.values)))


def _spell(src: SqlType) -> Callable[[Column], Column]:
    kind = src.kind
    if kind in INTEGERS:
        return lambda c: text_print.integers(c.values)
    if kind is Kind.DECIMAL:
        return lambda c: text_print.decimals(c.values, src.scale or 0)
    if kind in FLOATS:
        return _floats
    if kind in INTERVALS:
        return interval_text.printer(src)
    return {Kind.BOOLEAN: _booleans, Kind.UUID: _uuids}.get(kind, _by_arrow)


def to_text(src: SqlType, dst: SqlType) -> Converter:
    spell, fit = _spell(src), fit_text(dst)
    return lambda column: fit(spell(column))


# text to text --------------------------------------------------------------------------------


def fit_text(dst: SqlType) -> Converter:
    """Cut to the length of `dst`, and padded with blanks if it is CHAR."""
    length = dst.precision
    if length is None:
        return retype(dst)

    def convert(column: Column) -> tuple[Column, Bad]:
        sizes = lengths_of(column.values)
        if dst.kind is Kind.VARCHAR and sizes.max(initial=0) <= length:
            return column.with_type(dst), None
        first: Array = np.zeros(1, np.int64)
        cut = text_kernels.cut_characters(column, first, np.full(1, length), VARCHAR)
        if dst.kind is Kind.CHAR:
            return text.from_arrow(pc.utf8_rpad(text.to_arrow(cut), length), dst), None
        return cut.with_type(dst), None

    return convert


def _unpadded(column: Column) -> tuple[Column, Bad]:
    return text.from_arrow(pc.utf8_rtrim(text.to_arrow(column), characters=" "), VARCHAR), None


def text_to_text(src: SqlType, dst: SqlType) -> Converter:
    fit = fit_text(dst)
    if src.kind is not Kind.CHAR or dst.kind is not Kind.VARCHAR:
        return fit
    return then(_unpadded, fit)
