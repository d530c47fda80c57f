"""VARIANT values: a tag for the run-time type, then the value's ordered bytes.

    01                      the variant null (JSON's null), which is not SQL's NULL
    tag ‖ code              numbers, dates and so on, as in `penstock.data.nested`
    tag ‖ bytes             text and binary
    tag ‖ array or map      whose children are VARIANTs themselves, encoded as in `nested`
    tag ‖ double ‖ s ‖ i    a DECIMAL of scale s: i · 10^-s, behind its value as a double

So equal bytes mean equal type and value, and bytes order by type first and then by value (decimals
exactly as far as a double tells them apart). Rows become maps from field name to value.

    wrap(column)      CAST(x AS VARIANT)
    groups(column)    the rows of each run-time type as a typed column; all that a function of
                      VARIANTs needs to work on whole columns, one type after the other
    assemble(n, …)    and back: typed pieces, wrapped, as one column

Cost: one pass over the bytes per level of nesting and per type that occurs.
Source: sql-reference 1.5 (casts to VARIANT), 2.5 (equality), 2.15.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.build import constant_column
from penstock.data.gather import concat_columns, take_column
from penstock.data.nested import Mask, Offsets, explode, fields, from_ordered_bytes, implode
from penstock.data.nested import ordered_bytes as ordered
from penstock.data.types import (
    BINARIES,
    DOUBLE,
    STRINGS,
    VARBINARY,
    VARCHAR,
    VARIANT,
    Kind,
    SqlType,
    array_of,
    decimal,
    map_of,
)
from penstock.data.views import copy_out, make_views

#: run-time types in their order; a value's tag is its place from 1
_ORDER = (
    Kind.NULL, Kind.BOOLEAN, Kind.INT8, Kind.INT16, Kind.INT32, Kind.INT64, Kind.UINT8,
    Kind.UINT16, Kind.UINT32, Kind.UINT64, Kind.DECIMAL, Kind.REAL, Kind.DOUBLE, Kind.VARCHAR,
    Kind.VARBINARY, Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ, Kind.UUID,
    Kind.ARRAY, Kind.MAP,
)  # fmt: skip
TAGS: dict[Kind, int] = {k: i for i, k in enumerate(_ORDER, 1)}
VARIANT_ARRAY = array_of(VARIANT)
VARIANT_MAP = map_of(VARIANT, VARIANT)


def tags(column: Column) -> npt.NDArray[np.uint8]:
    """The tag of each value; 0 for SQL NULL."""
    return ((column.values[:, 0] >> np.uint64(32)) & np.uint64(0xFF)).astype(np.uint8)


# casts to VARIANT ----------------------------------------------------------------------------


def can_wrap(type: SqlType) -> bool:
    """Whether values of `type` can become VARIANTs."""
    if type.children:
        return all(can_wrap(t) for t in type.children)
    return type.kind in TAGS or type.kind in STRINGS | BINARIES or type.kind is Kind.VARIANT


def wrap(column: Column) -> Column:
    """The values as VARIANTs of their own type; NULL stays NULL."""
    kind, n = column.type.kind, len(column)
    result = VARIANT.with_nullable(column.type.nullable)
    if kind is Kind.VARIANT:
        return column
    if kind is Kind.NULL:
        return Column(result, np.zeros((n, 2), np.uint64), np.zeros(n, np.uint8))
    if column.type.children:
        return _wrap_nested(column).with_type(result)
    if column.type.is_view:
        tag = TAGS[Kind.VARCHAR if kind in STRINGS else Kind.VARBINARY]
        return _tagged(tag, column).with_type(result)
    code = _decimal_code(column) if kind is Kind.DECIMAL else ordered(column)
    data = np.empty((n, 1 + code.shape[1]), np.uint8)
    data[:, 0], data[:, 1:] = TAGS[kind], code
    offsets = np.arange(n + 1, dtype=np.int64) * data.shape[1]
    views, heaps = make_views(data.reshape(-1), offsets, column.valid)
    return Column(result, views, column.valid, heaps)


def _tagged(tag: int, column: Column) -> Column:
    """A view column with one byte in front of every value."""
    data, offsets = copy_out(np.ascontiguousarray(column.values))
    new = offsets + np.arange(len(offsets))
    out = np.full(int(new[-1]), tag, np.uint8)
    rest = np.ones(len(out), np.bool_)
    rest[new[:-1]] = False
    out[rest] = data
    views, heaps = make_views(out, new, column.valid)
    return Column(VARIANT, views, column.valid, heaps)


def _decimal_code(column: Column) -> npt.NDArray[np.uint8]:
    values = np.array(column.values, np.uint64, order="C")
    scales = np.full(len(values), column.type.scale or 0, np.uint8)
    negative = values[:, 1] >> np.uint64(63) != 0
    # magnitudes, as a small negative number is two large words
    low = np.where(negative, ~values[:, 0] + np.uint64(1), values[:, 0])
    high = np.where(negative, ~values[:, 1] + (low == 0), values[:, 1])
    size = high.astype(np.float64) * 2.0**64 + low.astype(np.float64)
    approximate = np.where(negative, -size, size) / 10.0 ** scales.astype(np.float64)
    leading = ordered(Column(DOUBLE, approximate + 0.0))
    exact = ordered(Column(decimal(38, 0), values))
    return np.concatenate((leading, scales[:, None], exact), axis=1)


def _wrap_nested(column: Column) -> Column:
    if column.type.kind is Kind.ROW:
        return _wrap_row(column)
    x = explode(column)
    children = [wrap(c) for c in x.columns]
    type = VARIANT_ARRAY if column.type.kind is Kind.ARRAY else VARIANT_MAP
    return _tagged(TAGS[type.kind], implode(type, x.offsets, children, column.valid))


def _wrap_row(column: Column) -> Column:
    """A ROW as a map, its keys in order of their bytes."""
    names = sorted(set(column.type.names), key=str.encode)
    parts = fields(column)
    n, k = len(column), len(names)
    # of two fields of one name the last is what a look-up finds
    last = dict(zip(column.type.names, parts, strict=True))
    order = np.ascontiguousarray(np.arange(n * k).reshape(k, n).T.reshape(-1))
    keys = concat_columns([constant_column(VARCHAR, name, n) for name in names])
    values = concat_columns([wrap(last[name]) for name in names])
    children = (take_column(wrap(keys), order), take_column(values, order))
    return _tagged(
        TAGS[Kind.MAP], implode(VARIANT_MAP, np.arange(n + 1) * k, children, column.valid)
    )


def variant_null(n: int) -> Column:
    """`n` variant nulls."""
    values = np.zeros((n, 2), np.uint64)
    values[:, 0] = 1 | TAGS[Kind.NULL] << 32
    return Column(VARIANT.with_nullable(False), values)


def container(column: Column) -> Column:
    """VARIANTs of an ARRAY<VARIANT> or MAP<VARIANT, VARIANT> column."""
    return _tagged(TAGS[column.type.kind], column)


# looking inside ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Rows of one run-time type. `values` is typed: DECIMAL(38, s) for decimals of scale s,
    ARRAY<VARIANT> and MAP<VARIANT, VARIANT>; NULLs of type NULL for the variant null."""

    rows: Offsets
    values: Column

    @property
    def kind(self) -> Kind:
        return self.values.type.kind


def groups(column: Column) -> Iterator[Group]:
    """The values of a VARIANT column by run-time type (and decimals by scale); NULL is in none."""
    tag = tags(column)
    for t in np.unique(tag).tolist():
        if t == 0:
            continue
        rows = np.flatnonzero(tag == t)
        picked = take_column(column, rows)
        kind = _ORDER[t - 1]
        if kind is Kind.NULL:
            zeros = np.zeros(len(rows), np.uint8)
            yield Group(rows, Column(SqlType(Kind.NULL), zeros, zeros))
            continue
        data, offsets = copy_out(np.ascontiguousarray(picked.values))
        if kind is Kind.DECIMAL:
            yield from _decimal_groups(rows, data.reshape(len(rows), -1))
        elif kind in (Kind.VARCHAR, Kind.VARBINARY, Kind.ARRAY, Kind.MAP):
            yield Group(rows, _untagged(_VIEW_TYPES[kind], data, offsets))
        else:
            codes = np.ascontiguousarray(data.reshape(len(rows), -1)[:, 1:])
            yield Group(rows, from_ordered_bytes(SqlType(kind, False), codes, None))


_VIEW_TYPES = {
    Kind.VARCHAR: VARCHAR, Kind.VARBINARY: VARBINARY, Kind.ARRAY: VARIANT_ARRAY,
    Kind.MAP: VARIANT_MAP,
}  # fmt: skip


def _untagged(type: SqlType, data: npt.NDArray[np.uint8], offsets: Offsets) -> Column:
    rest = np.ones(len(data), np.bool_)
    rest[offsets[:-1]] = False
    views, heaps = make_views(data[rest], offsets - np.arange(len(offsets)), None)
    return Column(type.with_nullable(False), views, None, heaps)


def _decimal_groups(rows: Offsets, data: npt.NDArray[np.uint8]) -> Iterator[Group]:
    scales = data[:, 9]
    codes = np.ascontiguousarray(data[:, 10:])
    for s in np.unique(scales).tolist():
        here = np.flatnonzero(scales == s)
        type = decimal(38, s).with_nullable(False)
        yield Group(rows[here], from_ordered_bytes(type, codes[here], None))


def assemble(type: SqlType, n: int, pieces: Sequence[tuple[Offsets, Column]]) -> Column:
    """A column of `type` with `n` rows from columns of that type on disjoint rows; the rest and
    what is NULL in them is NULL."""
    at = np.full(n, -1, np.int64)
    base = 0
    for rows, _ in pieces:
        at[rows] = np.arange(base, base + len(rows))
        base += len(rows)
    if not base:
        zeros = np.zeros((n, 2) if type.is_wide else n, type.dtype)
        return Column(type, zeros, np.zeros(n, np.uint8) if n else None)
    joined = concat_columns([c.with_type(type) for _, c in pieces])
    out = take_column(joined, at, null_at_minus_one=True)
    valid: Mask | None = out.valid
    if valid is not None and valid.all():
        valid = None
    return Column(type, out.values, valid, out.heaps)
