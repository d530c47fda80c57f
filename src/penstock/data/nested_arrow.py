"""Nested columns as Arrow's list, map and struct arrays, and back, a level at a time.

    ARRAY → list<element>    MAP → map<key, value>    ROW → struct<fields>

Scalars are `penstock.data.arrow`'s business, which calls this for the nested kinds.
Cost: what exploding costs; offsets and masks are shared or packed in bulk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Column
from penstock.data.build import null_column
from penstock.data.nested import build_map, build_row, explode, fields, implode
from penstock.data.types import Kind, SqlType
from penstock.errors import UserError

ToArrow = Callable[[Column], pa.Array]
_IS_OF: dict[Kind, Callable[[pa.DataType], bool]] = {
    Kind.ARRAY: lambda t: pa.types.is_list(t) or pa.types.is_large_list(t),
    Kind.MAP: pa.types.is_map,
    Kind.ROW: pa.types.is_struct,
}
FromArrow = Callable[[SqlType, pa.Array], Column]
ArrowType = Callable[[SqlType], pa.DataType]


def nested_arrow_type(type: SqlType, child: ArrowType) -> pa.DataType:
    """The Arrow type of an ARRAY, MAP or ROW; `child` is that of its children."""
    parts = [child(t) for t in type.children]
    if type.kind is Kind.ARRAY:
        return pa.list_(parts[0])
    if type.kind is Kind.MAP:
        return pa.map_(parts[0], parts[1])
    named = zip(type.names, parts, type.children, strict=True)
    return pa.struct([pa.field(n, p, t.nullable or type.nullable) for n, p, t in named])


def nested_to_arrow(column: Column, type: pa.DataType, child: ToArrow) -> pa.Array:
    """`column` as an array of `type`."""
    n = len(column)
    valid, nulls = None, 0
    if column.valid is not None:
        valid = pa.py_buffer(np.packbits(column.valid, bitorder="little"))
        nulls = n - int(np.count_nonzero(column.valid))
    if column.type.kind is Kind.ROW:
        parts = [child(c) for c in fields(column)]
        return pa.Array.from_buffers(type, n, [valid], nulls, children=parts)
    exploded = explode(column)
    offsets = pa.py_buffer(exploded.offsets.astype(np.int32))
    parts = [child(c) for c in exploded.columns]
    if column.type.kind is Kind.MAP:
        entries = pa.struct([type.key_field, type.item_field])
        parts = [pa.Array.from_buffers(entries, len(parts[0]), [None], 0, children=parts)]
    return pa.Array.from_buffers(type, n, [valid, offsets], nulls, children=parts)


def _fields_from_arrow(type: SqlType, array: pa.Array, child: FromArrow) -> list[Column]:
    """The fields of a struct array by name, in any case where that is unambiguous."""
    found = [array.type.field(i).name for i in range(array.type.num_fields)]
    columns = []
    for name, t in zip(type.names, type.children, strict=True):
        at = [i for i, n in enumerate(found) if n == name]
        at = at or [i for i, n in enumerate(found) if n.lower() == name.lower()]
        if len(at) > 1 or not (at or t.nullable):
            told = "several fields" if at else "no field"
            raise UserError(f"a struct with {told} '{name}' cannot be {type.with_nullable(True)}")
        if not at:
            columns.append(null_column(t, len(array)))
            continue
        values = pc.struct_field(array, at)
        # a NULL row has NULLs in every field, whatever its type
        if not t.nullable and values.null_count > array.null_count:
            raise UserError(f"NULL in field '{name}', which is {t}")
        columns.append(child(t.with_nullable(True), values).with_type(t))
    return columns


def nested_from_arrow(type: SqlType, array: pa.Array, child: FromArrow) -> Column:
    """A column of `type` from a list, map or struct array. Raises UserError where that is no such
    array."""
    if not _IS_OF[type.kind](array.type):
        raise UserError(f"cannot take {array.type} as {type.with_nullable(True)}")
    valid = None
    if array.null_count:
        valid = np.asarray(pc.is_valid(array).to_numpy(zero_copy_only=False)).astype(np.uint8)
    if type.kind is Kind.ROW:
        return build_row(type, _fields_from_arrow(type, array, child), valid)
    offsets = np.asarray(array.offsets.to_numpy(zero_copy_only=False)).astype(np.int64)
    lengths = np.diff(offsets)
    if valid is not None:
        lengths = lengths * valid
    new = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    order = np.repeat(offsets[:-1] - new[:-1], lengths) + np.arange(int(new[-1]))
    picked: Any = pa.array(order)
    if type.kind is Kind.MAP:
        keys, items = array.keys.take(picked), array.items.take(picked)
        key, item = child(type.children[0], keys), child(type.children[1], items)
        return build_map(type, new, key, item, valid)
    return implode(type, new, (child(type.children[0], array.values.take(picked)),), valid)
