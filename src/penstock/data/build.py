"""Columns and batches from Python values, and back: for tests, constants and other edges.

Python values by type: bool, int, float, str, bytes, decimal.Decimal, datetime.date for DATE,
uuid.UUID; list for ARRAY, dict for MAP (pairs where keys are nested), tuple or dict for ROW, the
JSON text of a VARIANT; TIME as int nanoseconds, TIMESTAMP as int microseconds, intervals as int
microseconds or months (the conventions of `plan.expressions.Literal`). None is NULL. As input,
datetime.time and datetime.datetime are taken too.

Cost: a Python loop over rows; never in the step path.
"""

from __future__ import annotations

import datetime
import decimal
import itertools
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from penstock.data.batch import Batch, Column
from penstock.data.types import FLOATS, NESTED, STRINGS, VARCHAR, Kind, Schema, SqlType
from penstock.data.views import copy_out, make_views

EPOCH_DAY = datetime.date(1970, 1, 1)
EPOCH = datetime.datetime(1970, 1, 1)


def canonical_floats(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """One NaN, no -0.0 (the invariant of `data.batch`); a copy only where something changes."""
    odd = np.isnan(values) | (values == 0)
    if not odd.any():
        return values
    values = values.copy()
    values[np.isnan(values)] = np.nan
    values[values == 0] = 0.0
    return values


def column_from_python(type: SqlType, values: Sequence[Any]) -> Column:
    """A column of `type` from Python values (see the module's docstring); None is NULL."""
    n = len(values)
    is_null = np.fromiter((v is None for v in values), bool, n)
    valid = (~is_null).astype(np.uint8) if is_null.any() else None
    if type.kind in NESTED:
        return _nested(type, values)
    if type.is_view:
        raw = [b"" if v is None else v.encode() if isinstance(v, str) else bytes(v) for v in values]
        offsets = np.zeros(n + 1, np.int64)
        np.cumsum(np.fromiter(map(len, raw), np.int64, n), out=offsets[1:])
        data = np.frombuffer(b"".join(raw), np.uint8)
        views, heaps = make_views(data, offsets, valid)
        return Column(type, views, valid, heaps)
    if type.kind in (Kind.DECIMAL, Kind.UUID):
        return Column(type, _wide(type, values), valid)
    convert = _TO_PHYSICAL.get(type.kind)
    plain = [0 if v is None else v if convert is None else convert(v) for v in values]
    array = np.array(plain, dtype=type.dtype) if n else np.zeros(0, type.dtype)
    if type.kind in FLOATS:
        array = canonical_floats(array)
    return Column(type, array, valid)


def _nested(type: SqlType, values: Sequence[Any]) -> Column:
    from penstock.data.nested_python import nested_from_python

    if type.kind is Kind.VARIANT:
        from penstock.data.variant_json import parse_json

        return parse_json(column_from_python(VARCHAR, values)).with_type(type)
    return nested_from_python(type, values, column_from_python)


def _wide(type: SqlType, values: Sequence[Any]) -> np.ndarray[Any, Any]:
    if type.kind is Kind.UUID:
        raw = b"".join(bytes(16) if v is None else _uuid(v).bytes for v in values)
        return np.frombuffer(raw, np.uint64).reshape(-1, 2).copy()
    scale = type.scale or 0
    ints = [0 if v is None else unscaled(v, scale) for v in values]
    raw = b"".join(i.to_bytes(16, "little", signed=True) for i in ints)
    return np.frombuffer(raw, np.uint64).reshape(-1, 2).copy()


_EXACT = decimal.Context(prec=80)


def unscaled(value: Any, scale: int) -> int:
    """`value` × 10^scale as an integer; digits beyond the scale are an error."""
    d = value if isinstance(value, decimal.Decimal) else decimal.Decimal(value)
    scaled = d.scaleb(scale, _EXACT)
    if scaled != scaled.to_integral_value():
        raise ValueError(f"{value} has more than {scale} digits after the point")
    return int(scaled)


def _uuid(v: Any) -> uuid.UUID:
    return v if isinstance(v, uuid.UUID) else uuid.UUID(v)


def _time(v: Any) -> int:
    if isinstance(v, datetime.time):
        seconds = (v.hour * 60 + v.minute) * 60 + v.second
        return (seconds * 1_000_000 + v.microsecond) * 1000
    return int(v)


def _timestamp(v: Any) -> int:
    if isinstance(v, datetime.datetime):
        if v.tzinfo is not None:
            v = v.astimezone(datetime.UTC).replace(tzinfo=None)
        delta: datetime.timedelta = v - EPOCH
        return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    return int(v)


_TO_PHYSICAL: dict[Kind, Callable[[Any], Any]] = {
    Kind.DATE: lambda v: (v - EPOCH_DAY).days if isinstance(v, datetime.date) else int(v),
    Kind.TIME: _time,
    Kind.TIMESTAMP: _timestamp,
    Kind.TIMESTAMP_TZ: _timestamp,
    Kind.NULL: lambda v: 0,
}


def column_to_python(column: Column) -> list[Any]:
    """The column's values by the conventions above."""
    values = _plain_values(column)
    if column.valid is None:
        return values
    return [v if ok else None for v, ok in zip(values, column.valid.tolist(), strict=True)]


def _plain_values(column: Column) -> list[Any]:
    kind = column.type.kind
    if kind in NESTED:
        return _nested_values(column)
    if column.type.is_view:
        data, offsets = copy_out(np.ascontiguousarray(column.values))
        raw = data.tobytes()
        at = offsets.tolist()
        pieces = [raw[a:b] for a, b in itertools.pairwise(at)]
        return [p.decode() for p in pieces] if kind in STRINGS else list(pieces)
    if kind is Kind.DECIMAL:
        raw = np.ascontiguousarray(column.values).tobytes()
        scale = -(column.type.scale or 0)
        return [
            decimal.Decimal(int.from_bytes(raw[i : i + 16], "little", signed=True)).scaleb(
                scale, _EXACT
            )
            for i in range(0, len(raw), 16)
        ]
    if kind is Kind.UUID:
        raw = np.ascontiguousarray(column.values).tobytes()
        return [uuid.UUID(bytes=raw[i : i + 16]) for i in range(0, len(raw), 16)]
    if kind is Kind.BOOLEAN:
        flags: list[Any] = column.values.astype(bool).tolist()
        return flags
    if kind is Kind.DATE:
        return [EPOCH_DAY + datetime.timedelta(days=d) for d in column.values.tolist()]
    values: list[Any] = column.values.tolist()
    return values


def _nested_values(column: Column) -> list[Any]:
    from penstock.data.nested_python import nested_to_python

    if column.type.kind is Kind.VARIANT:
        from penstock.data.variant_json import to_json

        return column_to_python(to_json(column))
    values = nested_to_python(column, column_to_python)
    if column.type.kind is Kind.MAP and not column.type.children[0].children:
        return [None if v is None else dict(v) for v in values]
    return values


def null_column(type: SqlType, n: int) -> Column:
    """`n` NULLs."""
    shape = (n, 2) if type.is_wide else (n,)
    return Column(type.with_nullable(True), np.zeros(shape, type.dtype), np.zeros(n, np.uint8))


def constant_column(type: SqlType, value: Any, n: int) -> Column:
    """`n` times the same value."""
    one = column_from_python(type, [value])
    valid = None if one.valid is None else np.repeat(one.valid, n)
    return Column(type, np.repeat(one.values, n, axis=0), valid, one.heaps)


def empty_column(type: SqlType) -> Column:
    shape = (0, 2) if type.is_wide else (0,)
    return Column(type, np.zeros(shape, type.dtype))


def empty_batch(schema: Schema) -> Batch:
    columns = tuple(empty_column(t) for t in schema.types)
    return Batch(schema, columns, np.zeros(0, np.int64), True)


def batch_from_rows(
    schema: Schema, rows: Sequence[Sequence[Any]], weights: Sequence[int] | None = None
) -> Batch:
    """A batch from rows of Python values; weights default to +1."""
    columns = tuple(column_from_python(t, [r[i] for r in rows]) for i, t in enumerate(schema.types))
    w = np.ones(len(rows), np.int64) if weights is None else np.array(weights, np.int64)
    return Batch(schema, columns, w)


def batch_to_rows(batch: Batch) -> list[tuple[tuple[Any, ...], int]]:
    """(row, weight) pairs as Python values."""
    if not batch.columns:
        return [((), int(w)) for w in batch.weights]
    columns = [column_to_python(c) for c in batch.columns]
    return list(zip(zip(*columns, strict=True), batch.weights.tolist(), strict=True))
