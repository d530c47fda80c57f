"""Batches as Arrow, and Arrow as columns: the edge to everything outside.

Numbers, dates, timestamps and decimals share their memory with Arrow both ways; booleans, NULL
masks and strings are converted in bulk (Arrow packs bits; its utf8 wants one run of bytes).

Arrow types: bool, int8 … uint64, float32/64, decimal128(p, s), utf8 (CHAR, VARCHAR, UUID),
binary, date32, time64[ns], timestamp[us] (with UTC for TIMESTAMP WITH TIME ZONE),
duration[us] and int32 months for intervals; list, map and struct; the
JSON text of a VARIANT (contract section 5).

Cost: O(1) for shared columns, O(bytes) for the others; no Python loop over rows.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Batch, Column
from penstock.data.build import canonical_floats
from penstock.data.nested_arrow import (
    nested_arrow_type,
    nested_from_arrow,
    nested_to_arrow,
)
from penstock.data.types import FLOATS, VARCHAR, Kind, SqlType
from penstock.data.views import copy_out, make_views
from penstock.errors import UserError

WEIGHT = "__weight"
_UUID = re.compile(r"\{?[0-9a-f]{4}(?:-?[0-9a-f]{4}){7}\}?", re.ASCII | re.IGNORECASE)

_ARROW: dict[Kind, pa.DataType] = {
    Kind.NULL: pa.null(),
    Kind.BOOLEAN: pa.bool_(),
    Kind.INT8: pa.int8(),
    Kind.INT16: pa.int16(),
    Kind.INT32: pa.int32(),
    Kind.INT64: pa.int64(),
    Kind.UINT8: pa.uint8(),
    Kind.UINT16: pa.uint16(),
    Kind.UINT32: pa.uint32(),
    Kind.UINT64: pa.uint64(),
    Kind.REAL: pa.float32(),
    Kind.DOUBLE: pa.float64(),
    Kind.CHAR: pa.utf8(),
    Kind.VARCHAR: pa.utf8(),
    Kind.BINARY: pa.binary(),
    Kind.VARBINARY: pa.binary(),
    Kind.UUID: pa.utf8(),
    Kind.VARIANT: pa.utf8(),
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.time64("ns"),
    Kind.TIMESTAMP: pa.timestamp("us"),
    Kind.TIMESTAMP_TZ: pa.timestamp("us", "UTC"),
    Kind.INTERVAL_SHORT: pa.duration("us"),
    Kind.INTERVAL_LONG: pa.int32(),
}


def arrow_type(type: SqlType) -> pa.DataType:
    """The Arrow type that a column of `type` converts to."""
    if type.kind is Kind.DECIMAL:
        return pa.decimal128(type.precision or 38, type.scale or 0)
    if type.children:
        return nested_arrow_type(type, arrow_type)
    return _ARROW[type.kind]


def column_to_arrow(column: Column) -> pa.Array:
    """The column as an Arrow array of `arrow_type(column.type)`."""
    n = len(column)
    type = arrow_type(column.type)
    if column.type.kind is Kind.NULL:
        return pa.nulls(n)
    if column.type.kind is Kind.VARIANT:
        from penstock.data.variant_json import json_texts

        return json_texts(column)
    if column.type.children:
        return nested_to_arrow(column, type, column_to_arrow)
    valid = _bitmap(column.valid)
    nulls = 0 if column.valid is None else n - int(np.count_nonzero(column.valid))
    values = np.ascontiguousarray(column.values)
    if column.type.kind is Kind.UUID:
        return _uuid_text(values, column.valid)
    if column.type.is_view:
        data, offsets = copy_out(values)
        if offsets[-1] < 2**31:
            offsets = offsets.astype(np.int32)
        elif pa.types.is_string(type):
            type = pa.large_utf8()
        else:
            type = pa.large_binary()
        buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(data)]
        return pa.Array.from_buffers(type, n, buffers, nulls)
    if column.type.kind is Kind.BOOLEAN:
        bits = pa.py_buffer(np.packbits(values, bitorder="little"))
        return pa.Array.from_buffers(type, n, [valid, bits], nulls)
    return pa.Array.from_buffers(type, n, [valid, pa.py_buffer(values)], nulls)


def _bitmap(valid: npt.NDArray[np.uint8] | None) -> pa.Buffer | None:
    return None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))


def _uuid_text(values: npt.NDArray[np.uint64], valid: npt.NDArray[np.uint8] | None) -> pa.Array:
    """Canonical lower-case text, 36 characters a value, by table look-up."""
    n = len(values)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    raw = values.view(np.uint8).reshape(n, 16)
    hex_digits = np.empty((n, 32), np.uint8)
    hex_digits[:, 0::2] = digits[raw >> 4]
    hex_digits[:, 1::2] = digits[raw & 15]
    text = np.full((n, 36), ord("-"), np.uint8)
    at = 0
    for start, length in ((0, 8), (9, 4), (14, 4), (19, 4), (24, 12)):
        text[:, start : start + length] = hex_digits[:, at : at + length]
        at += length
    offsets = np.arange(n + 1, dtype=np.int32) * 36
    buffers = [_bitmap(valid), pa.py_buffer(offsets), pa.py_buffer(text.reshape(-1))]
    return pa.Array.from_buffers(pa.utf8(), n, buffers)


def to_arrow(batch: Batch, *, weights: bool = False) -> pa.RecordBatch:
    """The batch's rows; with `weights` also its weights, as last column `__weight` (int64)."""
    arrays = [column_to_arrow(c) for c in batch.columns]
    fields = [
        pa.field(f.name, a.type, f.type.nullable)
        for f, a in zip(batch.schema.fields, arrays, strict=True)
    ]
    if weights:
        arrays.append(pa.array(batch.weights))
        fields.append(pa.field(WEIGHT, pa.int64(), False))
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * len(batch), pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def column_from_arrow(type: SqlType, array: pa.Array | pa.ChunkedArray) -> Column:
    """A column of `type` from an Arrow array, cast if its type differs.

    Raises UserError if the values do not fit the type."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks)
    if type.kind is Kind.VARIANT:
        from penstock.data.variant_json import parse_json

        texts = column_from_arrow(VARCHAR, array)
        found = parse_json(texts)
        nulls = 0 if found.valid is None else int(np.count_nonzero(found.valid == 0))
        if nulls > array.null_count:
            raise UserError(f"{nulls - array.null_count} values are not JSON, as a VARIANT must be")
        return found.with_type(type)
    if type.children:
        return nested_from_arrow(type, array, column_from_arrow)
    wanted = arrow_type(type)
    if type.kind is Kind.NULL:
        return Column(type, np.zeros(len(array), np.uint8), np.zeros(len(array), np.uint8))
    is_bytes = pa.types.is_binary(array.type) or pa.types.is_fixed_size_binary(array.type)
    if type.kind is Kind.UUID and is_bytes:
        wanted = array.type
    if array.type != wanted and not pa.types.is_large_string(array.type):
        try:
            exact = array
            if type.kind is Kind.DECIMAL and pa.types.is_integer(array.type):
                # Arrow wants room for every value of the type: what fits is for the next cast
                exact = array.cast(pa.decimal256(76, type.scale or 0))
            array = exact.cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as e:
            raise UserError(f"cannot take {array.type} as {type}: {e}") from e
    n = len(array)
    valid = None
    if array.null_count:
        valid = np.asarray(pc.is_valid(array).to_numpy(zero_copy_only=False)).astype(np.uint8)
    if type.kind is Kind.UUID:
        return Column(type, _uuids(array), valid)
    if type.is_view:
        return _views_from_arrow(type, array, valid)
    if type.kind is Kind.BOOLEAN:
        filled = array.fill_null(False) if array.null_count else array
        return Column(type, filled.to_numpy(zero_copy_only=False).astype(np.uint8), valid)
    data = array.buffers()[1]
    width = type.width_bytes
    start = array.offset * width
    raw = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    values = raw[start : start + n * width].view(type.dtype)
    if type.is_wide:
        values = values.reshape(n, 2)
    if valid is not None:
        values = values.copy()
        values[valid == 0] = 0
    if type.kind in FLOATS:
        values = canonical_floats(values)
    if not values.flags.writeable:
        # Invariant: kernels take writable-typed arrays only (a second typing would compile again)
        values = values.copy()
    return Column(type, values, valid)


def _views_from_arrow(
    type: SqlType, array: pa.Array, valid: npt.NDArray[np.uint8] | None
) -> Column:
    n = len(array)
    is_large = pa.types.is_large_string(array.type) or pa.types.is_large_binary(array.type)
    _, offset_buffer, data = array.buffers()
    dtype = np.int64 if is_large else np.int32
    offsets = np.zeros(n + 1, np.int64)
    if offset_buffer is not None and n:
        offsets = np.frombuffer(offset_buffer, dtype)[array.offset : array.offset + n + 1].astype(
            np.int64
        )
    start = int(offsets[0])
    raw = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    views, heaps = make_views(raw[start : int(offsets[-1])].copy(), offsets - start, valid)
    return Column(type, views, valid, heaps)


def _uuids(array: pa.Array) -> npt.NDArray[np.uint64]:
    """Of canonical text in any case, with or without braces and hyphens, or of 16 bytes."""
    raw = b"".join(bytes(16) if v is None else _uuid_bytes(v) for v in array.to_pylist())
    return np.frombuffer(raw, np.uint64).reshape(-1, 2).copy()


def _uuid_bytes(value: str | bytes) -> bytes:
    if isinstance(value, bytes):
        if len(value) == 16:
            return value
    elif _UUID.fullmatch(value) and value.startswith("{") == value.endswith("}"):
        return bytes.fromhex(value.strip("{}").replace("-", ""))
    raise UserError(f"{value!r} is not a UUID")
