"""Cells of JSON records → columns, and which rows only the exact reading can judge.

    plain values        by kernels (`penstock.data.cell_values`)
    odd ones            all of a column's at once: long numbers by Arrow, escapes by orjson
    VARIANT             its texts as they are, by the kernels of `parse_json`
    ARRAY, MAP, ROW, …  by orjson and `columns.quick_json`, in halves where something is odd

A row that is marked is left out by the caller, so its place may hold anything.
Cost: 10 to 30 ns a plain value.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data import cell_times, cell_values
from penstock.data.batch import Column
from penstock.data.build import canonical_floats
from penstock.data.cell_values import Spans
from penstock.data.gather import concat_columns, take_column
from penstock.data.json_cells import Cells
from penstock.data.json_grammar import ESCAPED, MISSING, NULL, STRING, TRUE
from penstock.data.types import FLOATS, INTEGERS, STRINGS, VARCHAR, Kind, SqlType, has_kind
from penstock.data.variant_json import parse_json
from penstock.data.views import make_views
from penstock.io.formats import scalars
from penstock.io.formats.columns import all_null, quick_json, quick_text
from penstock.io.formats.flavors import Flavor
from penstock.io.formats.json_scan import loads_exact, may_lose_digits

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
#: rows that are not halved again when quick_json is unsure
_FEW = 8
_DAY_NS = 86_400_000_000_000


def cell_column(type_: SqlType, flavor: Flavor, cells: Cells, c: int, odd: Bytes) -> Column:
    """Column `c` of the cells; NULL where a cell is MISSING. Marks in `odd` what it cannot read."""
    spans = (cells.data, cells.kinds[c], cells.starts[c], cells.stops[c])
    has_value = spans[1] > NULL
    if not has_value.any():
        return all_null(type_, len(cells))
    valid = None if has_value.all() else has_value.astype(np.uint8)
    kind = type_.kind
    if kind in INTEGERS:
        low, high = scalars.INT_BOUNDS[kind]
        values, wrong = cell_values.integers(spans, low, high)
        odd |= wrong
        return _fixed(type_, values, valid)
    if kind in FLOATS:
        return _floats(type_, spans, valid, odd)
    if kind is Kind.BOOLEAN:
        odd |= spans[1] > TRUE
        return _fixed(type_, (spans[1] == TRUE).view(np.uint8), valid)
    if kind is Kind.DECIMAL:
        return _decimals(type_, spans, valid, odd)
    if kind in STRINGS:
        return _strings(type_, spans, valid, odd)
    if kind is Kind.UUID:
        words, wrong = cell_values.uuids(spans)
        odd |= wrong
        return Column(type_, words, valid)
    if kind is Kind.VARIANT and flavor.name == "default":
        return _variants(type_, spans, valid, odd)
    moments = _moments(kind, flavor, spans)
    if moments is not None:
        odd |= moments[1]
        return _fixed(type_, moments[0], valid)
    return _others(type_, flavor, spans, odd)


def _fixed(type_: SqlType, values: npt.NDArray[np.int64] | Bytes, valid: Bytes | None) -> Column:
    return Column(type_, np.ascontiguousarray(values.astype(type_.dtype, copy=False)), valid)


def _floats(type_: SqlType, spans: Spans, valid: Bytes | None, odd: Bytes) -> Column:
    values, wrong = cell_values.floats(spans)
    is_long = (wrong != 0) & (spans[1] != STRING) & (spans[1] < STRING) & (spans[1] > TRUE)
    if is_long.any():
        at = np.flatnonzero(is_long)
        values[at] = pc.cast(_texts(spans, at), pa.float64()).to_numpy(zero_copy_only=False)
        wrong[at] = 0
    with np.errstate(over="ignore"):
        narrow = values.astype(type_.dtype, copy=False)
    odd |= wrong
    odd |= ~np.isfinite(narrow)
    return Column(type_, np.ascontiguousarray(canonical_floats(narrow), type_.dtype), valid)


def _decimals(type_: SqlType, spans: Spans, valid: Bytes | None, odd: Bytes) -> Column:
    precision, scale = type_.precision or 38, type_.scale or 0
    low, wrong = cell_values.decimals(spans, precision, scale)
    words = np.empty((len(low), 2), np.int64)
    words[:, 0] = low
    words[:, 1] = low >> 63
    column = Column(type_, words.view(np.uint64), valid)
    is_long = (wrong != 0) & (spans[1] > TRUE) & (spans[1] <= STRING)
    if is_long.any():
        at = np.flatnonzero(is_long)
        read = quick_text(type_, _texts(spans, at))
        if read is not None:
            column.values[at] = read.values
            wrong[at] = 0
    odd |= wrong
    return column


def _strings(type_: SqlType, spans: Spans, valid: Bytes | None, odd: Bytes) -> Column:
    views, heaps, wrong = cell_values.strings(spans)
    at = np.flatnonzero(spans[1] == ESCAPED)
    if len(at):
        texts: list[str] = orjson.loads(_array(spans, at))
        raw = [t.encode() for t in texts]
        offsets = np.zeros(len(raw) + 1, np.int64)
        np.cumsum([len(r) for r in raw], out=offsets[1:])
        data = np.frombuffer(bytearray(b"".join(raw)), np.uint8)
        views[at], more = make_views(data, offsets, None)
        heaps, wrong[at] = (*heaps, *more), 0
    odd |= wrong
    return Column(type_, views, valid, heaps)


def _variants(type_: SqlType, spans: Spans, valid: Bytes | None, odd: Bytes) -> Column:
    """NULL, not JSON's null, where a text is no VARIANT: those are odd."""
    at = np.flatnonzero(spans[1] > NULL)
    data, offsets = cell_values.texts(spans[0], *_whole(spans, at))
    odd[at] |= cell_values.has_minus_zero(data, offsets)
    texts, heaps = make_views(data, offsets, None)
    parsed = parse_json(Column(VARCHAR, texts, None, heaps)).with_type(type_)
    if parsed.valid is not None:
        odd[at[parsed.valid == 0]] = 1
    if len(at) == len(odd):
        return parsed
    both = concat_columns([parsed, all_null(type_, 1)])
    places = np.full(len(odd), len(at), np.int64)
    places[at] = np.arange(len(at))
    return take_column(both, places)


def _moments(kind: Kind, flavor: Flavor, spans: Spans) -> tuple[Ints, Bytes] | None:
    """Dates and times as `flavor` spells them: values and which are odd. None for other kinds."""
    if kind is Kind.DATE:
        if flavor.date == "text or days" and not (spans[1] == STRING).any():
            return cell_values.integers(spans, scalars.MIN_DAY, scalars.MAX_DAY)
        if flavor.date == "days":
            return cell_values.integers(spans, scalars.MIN_DAY, scalars.MAX_DAY)
        return cell_times.times(spans, cell_times.DATE)
    if kind is Kind.TIME:
        if flavor.time == "text":
            return cell_times.times(spans, cell_times.TIME)
        nanos = 1000 if flavor.time == "us" else 1_000_000
        values, wrong = cell_values.integers(spans, 0, _DAY_NS // nanos - 1)
        return values * nanos, wrong
    if kind in (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ):
        if flavor.timestamp == "text":
            return cell_times.times(spans, cell_times.TIMESTAMP)
        # rounded towards zero, so that no bound is passed
        low, high = -(-scalars.MIN_US // 1000), scalars.MAX_US // 1000
        values, wrong = cell_values.integers(spans, low, high)
        return values * 1000, wrong
    return None


def _others(type_: SqlType, flavor: Flavor, spans: Spans, odd: Bytes) -> Column:
    def read(start: int, stop: int) -> Column:
        part = (spans[0], spans[1][start:stop], spans[2][start:stop], spans[3][start:stop])
        text = _array(part, np.arange(stop - start))
        column = None
        try:
            column = quick_json(type_.with_nullable(True), flavor, loads(text))
        except (ValueError, ArithmeticError, RecursionError):
            column = None
        if column is not None:
            return column.with_type(type_)
        if stop - start <= _FEW:
            odd[start:stop] |= part[1] > NULL
            return all_null(type_, stop - start)
        middle = (start + stop) // 2
        return concat_columns([read(start, middle), read(middle, stop)])

    loads: Callable[[bytes], list[object]] = orjson.loads
    if has_kind(type_, Kind.DECIMAL, Kind.VARIANT) and may_lose_digits(bytes(spans[0])):
        loads = loads_exact
    return read(0, len(odd))


def _whole(spans: Spans, at: Ints) -> tuple[Ints, Ints]:
    """Where the cells `at` begin and end, a string's quotes included."""
    quotes = (spans[1][at] == STRING) | (spans[1][at] == ESCAPED)
    return spans[2][at] - quotes, spans[3][at] + quotes


def _array(spans: Spans, at: Ints) -> bytes:
    """The cells `at` as one JSON array; null for those that are NULL or MISSING."""
    starts, stops = (x.tolist() for x in _whole(spans, at))
    data = spans[0].tobytes()
    has_value = (spans[1][at] > NULL).tolist()
    parts = [
        data[a:b] if has else b"null" for a, b, has in zip(starts, stops, has_value, strict=True)
    ]
    return b"[" + b",".join(parts) + b"]"


def _texts(spans: Spans, at: Ints) -> pa.Array:
    """The bytes of the cells `at` as Arrow strings."""
    data, offsets = cell_values.texts(spans[0], spans[2][at], spans[3][at])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_utf8(), len(at), buffers).cast(pa.string())


assert MISSING < NULL < TRUE < STRING < ESCAPED, "kinds are compared"
