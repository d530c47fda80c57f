"""ARRAY, MAP and ROW values: one byte string a value, in which bytes compare as SQL does.

    explode(column)                          implode(type, offsets, children, valid)

    ARRAY [[1, 2], NULL, []]   ──►   offsets [0, 2, 2, 2], children (1, 2)
    MAP   [{a: 4, b: 3}]       ──►   offsets [0, 2], children (a, b), (4, 3)
    ROW   [(1, x), (2, y)]     ──►   offsets [0, 1, 2], children (1, 2), (x, y)

A value is a sequence of tuples of children, in a view column like a string's:

    00                     a NULL
    01 ‖ big-endian code   a value of fixed width, turned so that unsigned bytes keep its order
    01 ‖ text ‖ 00 00      a string or a nested value, where a byte 00 is written 00 FF

Since NULL is below every value, a prefix below what it begins, and each code keeps the order of
its type, `memcmp` of two values is their SQL order and equal values have equal bytes: hashing,
joins, GROUP BY, DISTINCT, MIN, ORDER BY and the sort order of spines work on these columns as
they do on strings. A map is kept sorted by key, so that equal maps are equal bytes too.

Everything above works on whole child columns: a function explodes its argument, computes on the
children as on any columns, and implodes. To build arrays from rows that are in order of their
group (ARRAY_AGG), `implode(type, group_offsets, (values,))` is all there is to it; for maps
`build_map` sorts and keeps the last of equal keys.

Cost: one pass over the bytes either way; no loop over rows in Python.
Source: order and equality as in sql-reference 2.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Column
from penstock.data.build import null_column
from penstock.data.gather import take_column
from penstock.data.hash import rows_equal
from penstock.data.heap import heap_addresses
from penstock.data.kernel import kernel
from penstock.data.order import sort_within
from penstock.data.pointers import load_u8
from penstock.data.types import FLOATS, UNSIGNED, Kind, SqlType
from penstock.data.views import copy_out, make_views

Offsets = npt.NDArray[np.int64]
Mask = npt.NDArray[np.uint8]
_NO_MASK: Mask = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Exploded:
    """The children of n nested values, one value's after the other's.

    `offsets` is int64[n + 1]: children of value i are `columns[…][offsets[i]:offsets[i + 1]]`.
    A NULL has none. `columns`: the elements of arrays; keys and values of maps; fields of rows.
    """

    offsets: Offsets
    columns: tuple[Column, ...]

    @property
    def lengths(self) -> Offsets:
        return np.diff(self.offsets)

    @property
    def rows(self) -> Offsets:
        """For every child the value it belongs to."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.lengths)


# kernels -------------------------------------------------------------------------------------


@kernel("void(uint64[:, ::1], uint64[::1], uint8[::1], int64[::1])")
def _view_sizes(views: Any, addresses: Any, valid: Any, out: Any) -> None:
    """Encoded size of each view child: marker, bytes with 00 doubled, terminator."""
    low = np.uint64(0xFFFFFFFF)
    for i in range(views.shape[0]):
        if valid.shape[0] > 0 and valid[i] == 0:
            out[i] = 1
            continue
        w0, w1 = views[i, 0], views[i, 1]
        length = np.int64(w0 & low)
        size: Any = length + 3
        if length > 12:
            p = addresses[w1 & low] + (w1 >> np.uint64(32))
            for j in range(length):
                if load_u8(p + np.uint64(j)) == 0:
                    size += 1
        else:
            for j in range(length):
                word = w0 >> np.uint64(32 + 8 * j) if j < 4 else w1 >> np.uint64(8 * (j - 4))
                if word & np.uint64(0xFF) == 0:
                    size += 1
        out[i] = size


@kernel("void(uint64[:, ::1], uint64[::1], uint8[::1], int64[::1], uint8[::1])")
def _put_views(views: Any, addresses: Any, valid: Any, at: Any, out: Any) -> None:
    low = np.uint64(0xFFFFFFFF)
    for i in range(views.shape[0]):
        to: Any = at[i]
        if valid.shape[0] > 0 and valid[i] == 0:
            out[to] = 0
            continue
        out[to] = 1
        to += 1
        w0, w1 = views[i, 0], views[i, 1]
        length = np.int64(w0 & low)
        p = np.uint64(0)
        if length > 12:
            p = addresses[w1 & low] + (w1 >> np.uint64(32))
        for j in range(length):
            if length > 12:
                byte = np.uint64(load_u8(p + np.uint64(j)))
            elif j < 4:
                byte = (w0 >> np.uint64(32 + 8 * j)) & np.uint64(0xFF)
            else:
                byte = (w1 >> np.uint64(8 * (j - 4))) & np.uint64(0xFF)
            out[to] = byte
            to += 1
            if byte == 0:
                out[to] = 255
                to += 1
        out[to] = 0
        out[to + 1] = 0


@kernel("void(uint8[:, ::1], uint8[::1], int64[::1], uint8[::1])")
def _put_fixed(codes: Any, valid: Any, at: Any, out: Any) -> None:
    width = codes.shape[1]
    for i in range(codes.shape[0]):
        to = at[i]
        if valid.shape[0] > 0 and valid[i] == 0:
            out[to] = 0
            continue
        out[to] = 1
        for j in range(width):
            out[to + 1 + j] = codes[i, j]


@kernel("void(uint8[::1], int64[::1], int64[::1], int64[::1], int64[:, ::1])")
def _locate(data: Any, offsets: Any, widths: Any, counts: Any, starts: Any) -> None:
    """counts[i]: tuples in value i. starts[t, c]: where child c of tuple t begins behind its
    marker, -1 for NULL; skipped while `starts` has no rows. Width 0: a view."""
    k = widths.shape[0]
    want = starts.shape[0] > 0
    tuples: Any = 0
    for i in range(offsets.shape[0] - 1):
        at: Any = offsets[i]
        end = offsets[i + 1]
        count: Any = 0
        while at < end:
            for c in range(k):
                marker = data[at]
                at += 1
                if want:
                    starts[tuples, c] = at if marker != 0 else -1
                if marker != 0:
                    if widths[c] > 0:
                        at += widths[c]
                    else:
                        while data[at] != 0 or data[at + 1] != 0:
                            at += 1 if data[at] != 0 else 2
                        at += 2
            tuples += 1
            count += 1
        counts[i] = count


@kernel("void(uint8[::1], int64[::1], uint8[:, ::1])")
def _take_fixed(data: Any, starts: Any, out: Any) -> None:
    for i in range(starts.shape[0]):
        at = starts[i]
        for j in range(out.shape[1]):
            out[i, j] = data[at + j] if at >= 0 else 0


@kernel("void(uint8[::1], int64[::1], int64[::1], uint8[::1])")
def _take_views(data: Any, starts: Any, offsets: Any, out: Any) -> None:
    """With an empty `out`: offsets[i + 1] = length of child i. Else its bytes at offsets[i]."""
    writes = out.shape[0] > 0
    for i in range(starts.shape[0]):
        at: Any = starts[i]
        length: Any = 0
        to: Any = offsets[i]
        if at >= 0:
            while True:
                byte = data[at]
                if byte == 0 and data[at + 1] == 0:
                    break
                if writes:
                    out[to + length] = byte
                length += 1
                at += 1 if byte != 0 else 2
        if not writes:
            offsets[i + 1] = length


# codes of fixed width ------------------------------------------------------------------------

_BITS: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def _width(type: SqlType) -> int:
    return 0 if type.is_view else type.width_bytes


def ordered_bytes(column: Column) -> npt.NDArray[np.uint8]:
    """uint8[n, width]: the values of a fixed-width column so that bytes compare as values do."""
    kind = column.type.kind
    values = np.ascontiguousarray(column.values)
    if kind is Kind.UUID:
        return values.view(np.uint8).reshape(-1, 16)
    if kind is Kind.DECIMAL:
        words = np.stack((values[:, 1] ^ np.uint64(1 << 63), values[:, 0]), axis=1)
        return np.ascontiguousarray(words.byteswap()).view(np.uint8).reshape(-1, 16)
    size = values.dtype.itemsize
    bits = values.view(_BITS[size])
    sign = _BITS[size](1 << (8 * size - 1))
    if kind in FLOATS:
        bits = np.where((bits & sign) != 0, ~bits, bits | sign)
    elif kind not in UNSIGNED and kind not in (Kind.BOOLEAN, Kind.NULL):
        bits = bits ^ sign
    swapped: npt.NDArray[np.uint8] = np.ascontiguousarray(bits.byteswap()).view(np.uint8)
    return swapped.reshape(-1, size).copy()


def from_ordered_bytes(type: SqlType, codes: npt.NDArray[np.uint8], valid: Mask | None) -> Column:
    """The inverse of `ordered_bytes`; NULL where `valid` is 0."""
    kind, n = type.kind, len(codes)
    values: Array
    if kind is Kind.UUID:
        values = codes.reshape(-1).view(np.uint64).reshape(n, 2)
    elif kind is Kind.DECIMAL:
        words = codes.reshape(-1).view(np.uint64).byteswap().reshape(n, 2)
        values = np.stack((words[:, 1], words[:, 0] ^ np.uint64(1 << 63)), axis=1)
    else:
        size = type.width_bytes
        bits = codes.reshape(-1).view(_BITS[size]).byteswap()
        sign = _BITS[size](1 << (8 * size - 1))
        if kind in FLOATS:
            bits = np.where((bits & sign) != 0, bits ^ sign, ~bits)
        elif kind not in UNSIGNED and kind not in (Kind.BOOLEAN, Kind.NULL):
            bits = bits ^ sign
        values = bits.view(type.dtype)
    if valid is not None:
        values = np.where(valid[:, None] if values.ndim == 2 else valid, values, 0)
        values = values.astype(type.dtype, copy=False)
    return Column(type, np.ascontiguousarray(values), valid)


# doors ---------------------------------------------------------------------------------------


def implode(
    type: SqlType, offsets: Offsets, columns: Sequence[Column], valid: Mask | None = None
) -> Column:
    """Nested values of `type` from their children: value i takes rows offsets[i]:offsets[i + 1]
    of `columns` (see `Exploded`). `valid`: uint8[n], None for no NULLs. A ROW takes one row each;
    a map's rows must be sorted by key and their keys unique (`build_map`)."""
    masks = [_NO_MASK if c.valid is None else np.ascontiguousarray(c.valid) for c in columns]
    sizes = [_sizes(c, m) for c, m in zip(columns, masks, strict=True)]
    n = len(columns[0])
    ends = np.cumsum(np.sum(sizes, axis=0)) if n else np.zeros(0, np.int64)
    starts = np.concatenate((np.zeros(1, np.int64), ends))
    out = np.empty(int(starts[-1]), np.uint8)
    at = starts[:-1].copy()
    for c, mask, size in zip(columns, masks, sizes, strict=True):
        if c.type.is_view:
            _put_views(np.ascontiguousarray(c.values), heap_addresses(), mask, at, out)
        else:
            _put_fixed(ordered_bytes(c), mask, at, out)
        at = at + size
    views, heaps = make_views(out, starts[offsets], valid)
    return Column(type, views, valid, heaps)


def _sizes(column: Column, mask: Mask) -> Offsets:
    n = len(column)
    if column.type.is_view:
        sizes = np.empty(n, np.int64)
        _view_sizes(np.ascontiguousarray(column.values), heap_addresses(), mask, sizes)
        return sizes
    width = column.type.width_bytes
    return mask.astype(np.int64) * width + 1 if len(mask) else np.full(n, width + 1, np.int64)


def lengths(column: Column) -> Offsets:
    """Children of each value, without reading them: CARDINALITY. NULL has none."""
    data, offsets = copy_out(np.ascontiguousarray(column.values))
    counts = np.empty(len(column), np.int64)
    nothing = np.empty((0, len(column.type.children)), np.int64)
    _locate(data, offsets, _widths(column.type), counts, nothing)
    return counts


def _widths(type: SqlType) -> Offsets:
    return np.array([_width(t) for t in type.children], np.int64)


def explode(column: Column) -> Exploded:
    """The children of every value of an ARRAY, MAP or ROW column."""
    data, at = copy_out(np.ascontiguousarray(column.values))
    widths = _widths(column.type)
    counts = np.empty(len(column), np.int64)
    _locate(data, at, widths, counts, np.empty((0, len(widths)), np.int64))
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    starts = np.empty((int(offsets[-1]), len(widths)), np.int64)
    if len(starts):
        _locate(data, at, widths, counts, starts)
    children = tuple(
        _child(t, data, np.ascontiguousarray(starts[:, c]))
        for c, t in enumerate(column.type.children)
    )
    return Exploded(offsets, children)


def _child(type: SqlType, data: npt.NDArray[np.uint8], starts: Offsets) -> Column:
    present = starts >= 0
    valid = None if present.all() else present.astype(np.uint8)
    if not type.is_view:
        codes = np.empty((len(starts), type.width_bytes), np.uint8)
        _take_fixed(data, starts, codes)
        return from_ordered_bytes(type, codes, valid)
    offsets = np.zeros(len(starts) + 1, np.int64)
    _take_views(data, starts, offsets, _NO_MASK)
    np.cumsum(offsets, out=offsets)
    out = np.empty(int(offsets[-1]), np.uint8)
    if len(out):
        _take_views(data, starts, offsets, out)
    views, heaps = make_views(out, offsets, valid)
    return Column(type, views, valid, heaps)


def build_map(
    type: SqlType, offsets: Offsets, keys: Column, values: Column, valid: Mask | None = None
) -> Column:
    """Maps of `type` from entries in any order; of equal keys in one map the last wins."""
    rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    kept = order = sort_within(keys, offsets)
    if len(order) > 1:
        same = rows_equal([keys], order[:-1], [keys], order[1:]).view(np.bool_)
        kept = order[np.append(~same | (rows[1:] != rows[:-1]), True)]
    counts = np.bincount(rows[kept], minlength=len(offsets) - 1)
    new = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
    return implode(type, new, (take_column(keys, kept), take_column(values, kept)), valid)


def fields(column: Column) -> tuple[Column, ...]:
    """The fields of a ROW column, each of as many rows; NULL where the row is."""
    exploded = explode(column)
    if column.valid is None:
        return exploded.columns
    if not len(exploded.rows):
        return tuple(null_column(t, len(column)) for t in column.type.children)
    at = np.where(column.valid == 1, np.cumsum(column.valid, dtype=np.int64) - 1, -1)
    return tuple(take_column(c, at, null_at_minus_one=True) for c in exploded.columns)


def build_row(type: SqlType, columns: Sequence[Column], valid: Mask | None = None) -> Column:
    """ROW values from one column per field, all of n rows."""
    return implode(type, np.arange(len(columns[0]) + 1), columns, valid)
