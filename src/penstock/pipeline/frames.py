"""Rows as bytes, for files that only this pipeline reads: journalled input, undelivered deltas.

    batch ─► arrays (values, validity; strings as bytes and offsets) ─► one frame of bytes

A frame is self-contained except for the schema: whoever reads it must know the relation, and that
its columns are those of then (`schema_hash`, which manifests and journals carry).

    frame   u32 length of the header │ header: JSON [[dtype, shape], …] │ the arrays, one after
            another

Cost: O(bytes), one copy of each column; no Python loop over rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from penstock.data.batch import Array, Batch, Column, InputBatch
from penstock.data.types import Schema, SqlType
from penstock.data.views import copy_out, make_views

_LENGTH = np.dtype("<u4")


def encode_input(batch: InputBatch) -> bytes:
    """An input batch as a frame."""
    arrays = [batch.ops]
    for c in range(len(batch.columns)):
        present = batch.present[c] if batch.present else None
        arrays.extend((*_column_arrays(batch.columns[c]), _or_none(present)))
    return _pack(arrays)


def decode_input(frame: bytes | memoryview, schema: Schema) -> InputBatch:
    """The inverse of `encode_input`. Raises ValueError for bytes that are no such frame."""
    arrays = _unpack(frame)
    ops = next(arrays)
    columns: list[Column] = []
    present: list[Array | None] = []
    for type in schema.types:
        columns.append(_column(type, arrays))
        present.append(_none_or(next(arrays)))
    has_holes = any(p is not None for p in present)
    return InputBatch(schema, tuple(columns), ops, tuple(present) if has_holes else ())


def encode_delta(batch: Batch) -> bytes:
    """A batch with weights as a frame."""
    arrays: list[Array] = [batch.weights, np.array([batch.consolidated], np.uint8)]
    for column in batch.columns:
        arrays.extend(_column_arrays(column))
    return _pack(arrays)


def decode_delta(frame: bytes | memoryview, schema: Schema) -> Batch:
    """The inverse of `encode_delta`. Raises ValueError for bytes that are no such frame."""
    arrays = _unpack(frame)
    weights, consolidated = next(arrays), next(arrays)
    columns = tuple(_column(type, arrays) for type in schema.types)
    return Batch(schema, columns, weights, bool(consolidated[0]))


def _column_arrays(column: Column) -> tuple[Array, Array, Array]:
    """(values or string bytes, offsets or nothing, validity or nothing)"""
    if not column.type.is_view:
        return column.values, np.zeros(0, np.int64), _or_none(column.valid)
    data, offsets = copy_out(column.values)
    return data, offsets, _or_none(column.valid)


def _column(type: SqlType, arrays: Iterator[Array]) -> Column:
    data, offsets, valid = next(arrays), next(arrays), _none_or(next(arrays))
    if not type.is_view:
        return Column(type, data, valid)
    views, heaps = make_views(data, offsets, valid)
    return Column(type, views, valid, heaps)


def _or_none(array: Array | None) -> Array:
    # float64 stands for "there is none": no validity or presence has that type
    return np.zeros(0, np.float64) if array is None else array


def _none_or(array: Array) -> Array | None:
    return None if array.dtype == np.float64 else array


def _pack(arrays: Sequence[Array]) -> bytes:
    header = orjson.dumps([[a.dtype.str, list(a.shape)] for a in arrays])
    parts: list[Any] = [len(header).to_bytes(4, "little"), header]
    parts.extend(np.ascontiguousarray(a).view(np.uint8).reshape(-1).data for a in arrays)
    return b"".join(parts)


def _unpack(frame: bytes | memoryview) -> Iterator[Array]:
    """The arrays, copied out of the frame: aligned and writable, as kernels want them."""
    raw = memoryview(frame)
    start = int.from_bytes(raw[:4], "little") + 4
    try:
        header = orjson.loads(raw[4:start])
    except orjson.JSONDecodeError as e:
        raise ValueError(f"not a frame: {e}") from e
    for dtype, shape in header:
        count = int(np.prod(shape, dtype=np.int64))
        size = count * np.dtype(dtype).itemsize
        piece = raw[start : start + size]
        if len(piece) != size:
            raise ValueError("a frame ends within an array")
        yield np.frombuffer(piece, dtype).reshape(shape).copy()
        start += size
