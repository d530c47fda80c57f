"""CAST between arrays, between maps and between rows: child by child (sql-reference 1.5).

    CAST(ROW(1, 2) AS ROW(a INTEGER, b TINYINT))       as many fields, each castable
    CAST(ARRAY['1', '2'] AS INTEGER ARRAY)             a bad element makes its array bad

Types that differ only in names and nullability share their bytes, so such a cast copies nothing.

Not here: casts of scalars (`casts`), casts to and from VARIANT (`variant_casts`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.nested import build_map, explode, implode
from penstock.data.types import Kind, SqlType

Bad = Array | None
Converter = Callable[[Column], tuple[Column, Bad]]


def same_bytes(a: SqlType, b: SqlType) -> bool:
    """Whether values of both types are the same bytes: names and nullability do not count."""
    if a.kind is Kind.NULL:
        return True
    if a.kind is not b.kind or len(a.children) != len(b.children):
        return False
    if a.children:
        return all(same_bytes(x, y) for x, y in zip(a.children, b.children, strict=True))
    return a.same_as(b)


def nested_converter(
    src: SqlType, dst: SqlType, child: Callable[[SqlType, SqlType], Converter]
) -> Converter:
    """ARRAY → ARRAY, MAP → MAP or ROW → ROW, by `child`, the converter of children."""
    if same_bytes(src, dst):
        return lambda column: (column.with_type(dst), None)
    pairs = list(zip(src.children, dst.children, strict=True))
    # NULLs of no type are the same bytes in a value, but not in a column of their own
    alike = [same_bytes(a, b) and (a.kind is not Kind.NULL or a.kind is b.kind) for a, b in pairs]
    convert = [None if one else child(a, b) for one, (a, b) in zip(alike, pairs, strict=True)]

    def nested(column: Column) -> tuple[Column, Bad]:
        exploded = explode(column)
        columns: list[Column] = []
        bad_rows = np.zeros(len(column), np.bool_)
        for part, (_, type), one in zip(exploded.columns, pairs, convert, strict=True):
            out, bad = (part.with_type(type), None) if one is None else one(part)
            if bad is not None and bad.any():
                bad_rows[exploded.rows[bad]] = True
            columns.append(out)
        if dst.kind is Kind.MAP:
            keys, values = columns
            return build_map(dst, exploded.offsets, keys, values, column.valid), bad_rows
        return implode(dst, exploded.offsets, columns, column.valid), bad_rows

    return nested


def masked_converter(convert: Converter) -> Converter:
    """`convert` for a column of children: NULL stays NULL, with zero bytes, and is never bad."""

    def masked(column: Column) -> tuple[Column, Bad]:
        out, bad = convert(column)
        if column.valid is None:
            return out, bad
        keep = column.valid.view(np.bool_)
        mask = keep[:, None] if out.values.ndim == 2 else keep
        values = np.where(mask, out.values, out.values.dtype.type(0))
        valid = column.valid if out.valid is None else column.valid & out.valid
        return Column(out.type, values, valid, out.heaps), None if bad is None else bad & keep

    return masked
