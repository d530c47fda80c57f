"""Views' columns as Delta Lake's: types, and Arrow arrays on their way to Parquet.

    SQL type                          Delta type             Arrow in the file
    ────────────────────────────────  ─────────────────────  ─────────────────
    BOOLEAN REAL DOUBLE               boolean float double   the same
    TINYINT … BIGINT                  byte short … long      the same
    UTINYINT USMALLINT UINTEGER       short integer long     the next wider signed
    UBIGINT                           decimal(20, 0)         decimal128
    DECIMAL(p, s)                     decimal(p, s)          decimal128
    CHAR VARCHAR UUID VARIANT         string                 utf8 (a VARIANT as JSON text)
    BINARY VARBINARY                  binary                 binary
    DATE TIMESTAMP … WITH TIME ZONE   date timestamp_ntz     date32 timestamp[us]
                                      timestamp              timestamp[us, UTC]
    TIME                              long: nanoseconds      int64
    INTERVAL … SECOND, … MONTH        long: µs, integer:     int64, int32
                                      months
    ARRAY MAP ROW                     array map struct of    list map struct
                                      these, which may
                                      all be NULL

Delta has no unsigned integers, times of day or intervals (Delta transaction log protocol,
"Primitive Types"). An existing column may be wider: more bytes, or more digits on both sides; so
may what is in an array, a map or a struct, whose fields have their names and order.

Source of the nested types: the same, "Complex Types".
"""

from __future__ import annotations

import pyarrow as pa

from penstock.data.arrow import arrow_type, to_arrow
from penstock.data.batch import Batch
from penstock.data.nested_arrow import nested_arrow_type
from penstock.data.types import Kind, Schema, SqlType

_INTEGERS = (pa.int8(), pa.int16(), pa.int32(), pa.int64())
_CHANGED = {
    Kind.UINT8: pa.int16(),
    Kind.UINT16: pa.int32(),
    Kind.UINT32: pa.int64(),
    Kind.UINT64: pa.decimal128(20, 0),
    Kind.TIME: pa.int64(),
    Kind.INTERVAL_SHORT: pa.int64(),
    Kind.NULL: pa.int32(),
}


def delta_arrow_type(type: SqlType) -> pa.DataType:
    """The Arrow type in which a column of `type` is written."""
    if type.children:
        # a field that is NOT NULL in a ROW that is NULL is one that can be NULL
        return _with_nullable_fields(nested_arrow_type(type, delta_arrow_type))
    return _CHANGED.get(type.kind, arrow_type(type))


def delta_schema(schema: Schema, *, all_nullable: bool) -> pa.Schema:
    """The columns of a table that we create for `schema`."""
    return pa.schema(
        [
            pa.field(f.name, delta_arrow_type(f.type), all_nullable or f.type.nullable)
            for f in schema.fields
        ]
    )


def fits(wanted: pa.DataType, found: pa.DataType) -> bool:
    """True if every value of type `wanted` can be stored in an existing column of type `found`."""
    wanted, found = small(wanted), small(found)
    if wanted == found:
        return True
    if pa.types.is_nested(wanted):
        return wanted.id == found.id and _children_fit(_fields(wanted), _fields(found))
    if wanted in _INTEGERS:
        if found in _INTEGERS:
            return _INTEGERS.index(found) >= _INTEGERS.index(wanted)
        digits = (3, 5, 10, 19)[_INTEGERS.index(wanted)]
        return bool(pa.types.is_decimal128(found) and found.precision - found.scale >= digits)
    if pa.types.is_decimal128(wanted) and pa.types.is_decimal128(found):
        whole = wanted.precision - wanted.scale
        return bool(found.scale >= wanted.scale and found.precision - found.scale >= whole)
    return bool(wanted == pa.float32() and found == pa.float64())


def _children_fit(wanted: list[pa.Field], found: list[pa.Field]) -> bool:
    return len(wanted) == len(found) and all(
        w.name == f.name and (f.nullable or not w.nullable) and fits(w.type, f.type)
        for w, f in zip(wanted, found, strict=True)
    )


def _fields(type: pa.DataType) -> list[pa.Field]:
    """Those of a struct; element, or key and value, under the names that all writers share."""
    if pa.types.is_list(type):
        return [type.value_field.with_name("element")]
    if pa.types.is_map(type):
        return [type.key_field.with_name("key"), type.item_field.with_name("value")]
    return list(type)


def _of_fields(like: pa.DataType, fields: list[pa.Field]) -> pa.DataType:
    """The list, map or struct of `fields`."""
    if pa.types.is_list(like):
        return pa.list_(fields[0])
    return pa.map_(*fields) if pa.types.is_map(like) else pa.struct(fields)


def _with_nullable_fields(type: pa.DataType) -> pa.DataType:
    if not pa.types.is_struct(type):
        return _of_fields(type, _fields(type))
    return pa.struct([f.with_nullable(True) for f in type])


def small(type: pa.DataType) -> pa.DataType:
    """Delta tells neither large nor view strings from plain ones, nor such lists."""
    if pa.types.is_large_list(type) or pa.types.is_list_view(type):
        type = pa.list_(type.value_field)
    if pa.types.is_nested(type):
        return _of_fields(type, [f.with_type(small(f.type)) for f in _fields(type)])
    if pa.types.is_large_string(type) or pa.types.is_string_view(type):
        return pa.utf8()
    if pa.types.is_large_binary(type) or pa.types.is_binary_view(type):
        return pa.binary()
    return type


def delta_rows(batch: Batch, types: dict[str, pa.DataType]) -> pa.Table:
    """The rows of `batch`, each once, as columns of the Delta types `types` (by name)."""
    found = to_arrow(batch)
    columns = [
        _converted(column, field.type, small(types[field.name]))
        for field, column in zip(batch.schema.fields, found.columns, strict=True)
    ]
    return pa.table(columns, names=list(batch.schema.names))


def _converted(column: pa.Array, type: SqlType, wanted: pa.DataType) -> pa.Array:
    if type.children:
        return _nested(column, type, wanted)
    if type.kind in (Kind.TIME, Kind.INTERVAL_SHORT):
        column = column.view(pa.int64())
    elif type.kind is Kind.UINT64:
        # Arrow asks a target of 20 digits for what it calls an integer of 20 digits
        column = column.cast(pa.decimal128(20, 0))
    return column if column.type == wanted else column.cast(wanted)


def _nested(column: pa.Array, type: SqlType, wanted: pa.DataType) -> pa.Array:
    """`column`, which begins with the first row of its buffers, with its children converted."""
    valid = column.buffers()[0]
    kinds, fields = type.children, _fields(wanted)
    if type.kind is Kind.ROW:
        found = [column.field(i) for i in range(len(kinds))]
        buffers = [valid]
    else:
        found = [column.values] if type.kind is Kind.ARRAY else [column.keys, column.items]
        buffers = [valid, column.offsets.buffers()[1]]
    children = [_converted(c, t, f.type) for c, t, f in zip(found, kinds, fields, strict=True)]
    if type.kind is Kind.MAP:
        entries = pa.struct([wanted.key_field, wanted.item_field])
        count = len(children[0])
        children = [pa.Array.from_buffers(entries, count, [None], 0, children=children)]
    return pa.Array.from_buffers(wanted, len(column), buffers, column.null_count, children=children)
