"""Casts from and to bytes (sql-reference 1.5).

text → BINARY(n)       UTF-8, cut on the right, padded with zeros
INTEGER → BINARY(n)    big-endian, cut or extended on the left
BINARY → UUID          exactly sixteen bytes
"""

from __future__ import annotations

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.types import INTEGERS, UNSIGNED, VARBINARY, Kind, SqlType
from penstock.data.views import copy_out, lengths_of, make_views
from penstock.functions import text_kernels
from penstock.functions.binary import utf8
from penstock.functions.cast_parts import Bad, Converter
from penstock.functions.cast_text import fit_text
from penstock.functions.parts import joined


def _bytes(rows: Array, dst: SqlType) -> Column:
    """uint8[n, size] as strings of `size` bytes."""
    n, size = rows.shape
    data = np.ascontiguousarray(rows).reshape(-1)
    views, heaps = make_views(data, np.arange(n + 1, dtype=np.int64) * size, None)
    return Column(dst, views, None, heaps)


def _fit(column: Column, dst: SqlType) -> Column:
    """Cut to the length of `dst`; BINARY is filled up with zeros."""
    length = dst.precision
    if length is None:
        return column.with_type(dst)
    if dst.kind is Kind.BINARY and (lengths_of(column.values) < length).any():
        zeros = _bytes(np.zeros((1, length), np.uint8), VARBINARY)
        plain = Column(VARBINARY, column.values, None, column.heaps)
        column = joined(plain, zeros, type=VARBINARY)
    first = np.zeros(1, np.int64)
    return text_kernels.cut_bytes(column, first, np.full(1, length), dst)


def _integers(column: Column, dst: SqlType) -> Column:
    values = column.values
    size = dst.precision or values.dtype.itemsize
    wide = values.astype(np.uint64 if column.type.kind in UNSIGNED else np.int64)
    raw = wide[:, None].view(np.uint8).reshape(-1, 8)[:, ::-1]
    sign = np.where(values < 0, 0xFF, 0).astype(np.uint8)
    rows = np.repeat(sign[:, None], max(size, 8), axis=1)
    rows[:, max(size, 8) - 8 :] = raw
    return _bytes(rows[:, max(size, 8) - size :], dst)


def to_binary(src: SqlType, dst: SqlType) -> Converter:
    if src.kind in INTEGERS:
        return lambda column: (_integers(column, dst), None)
    if src.kind is Kind.UUID:

        def uuid(column: Column) -> tuple[Column, Bad]:
            raw = np.ascontiguousarray(column.values).view(np.uint8).reshape(-1, 16)
            return _fit(_bytes(raw, VARBINARY), dst), None

        return uuid
    return lambda column: (_fit(column, dst), None)


def binary_to_text(dst: SqlType) -> Converter:
    fit = fit_text(dst)

    def convert(column: Column) -> tuple[Column, Bad]:
        words = utf8(column)
        out, _ = fit(words)
        if words.valid is None:
            return out, None
        bad = words.valid == 0
        if column.valid is not None:
            bad &= column.valid == 1
        return out, bad

    return convert


def binary_to_uuid(dst: SqlType) -> Converter:
    def convert(column: Column) -> tuple[Column, Bad]:
        good = lengths_of(column.values) == 16
        out = np.zeros((len(column), 2), np.uint64)
        data, _ = copy_out(np.ascontiguousarray(column.values[good]))
        out[good] = data.view(np.uint64).reshape(-1, 2)
        return Column(dst, out), ~good

    return convert
