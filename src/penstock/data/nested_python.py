"""Nested columns from and to Python values, a level at a time: the edges' counterpart of `nested`.

    ARRAY  list        MAP  dict, or a list of pairs        ROW  tuple in field order, or dict

`columns_of` turns the children of all rows into one flat list, which `read` (any function from
values of one type to a column) makes a column of; so a parser lends its own reading of scalars.

Not here: values of scalar types (`penstock.data.build`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np

from penstock.data.batch import Column
from penstock.data.nested import build_map, build_row, explode, fields, implode
from penstock.data.types import Kind, SqlType

#: values of a type → a column of it
Read = Callable[[SqlType, list[Any]], Column]
#: a column → Python values, None for NULL
Write = Callable[[Column], list[Any]]


def nested_from_python(type: SqlType, values: Sequence[Any], read: Read) -> Column:
    """An ARRAY, MAP or ROW column; None is NULL. `read` makes the columns of children."""
    n = len(values)
    present = np.fromiter((v is not None for v in values), bool, n)
    valid = None if present.all() else present.astype(np.uint8)
    if type.kind is Kind.ROW:
        rows = [_fields_of(type, v) for v in values]
        columns = [read(t, [r[i] for r in rows]) for i, t in enumerate(type.children)]
        return build_row(type, columns, valid)
    items = [() if v is None else _pairs_of(v) if type.kind is Kind.MAP else v for v in values]
    offsets = np.zeros(n + 1, np.int64)
    np.cumsum(np.fromiter(map(len, items), np.int64, n), out=offsets[1:])
    flat = list(chain.from_iterable(items))
    if type.kind is Kind.MAP:
        keys = read(type.children[0], [k for k, _ in flat])
        return build_map(type, offsets, keys, read(type.children[1], [v for _, v in flat]), valid)
    return implode(type, offsets, (read(type.children[0], flat),), valid)


def _pairs_of(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items() if isinstance(value, Mapping) else value)


def _fields_of(type: SqlType, value: Any) -> Sequence[Any]:
    if value is None:
        return (None,) * len(type.children)
    if isinstance(value, Mapping):
        return [value.get(n) for n in type.names]
    found: Sequence[Any] = value
    return found


def nested_to_python(column: Column, write: Write) -> list[Any]:
    """The values of an ARRAY, MAP or ROW column; `write` spells the columns of children.

    Maps come as lists of pairs in order of their keys, rows as tuples.
    """
    valid = None if column.valid is None else column.valid.tolist()
    values: list[Any]
    if column.type.kind is Kind.ROW:
        values = list(zip(*map(write, fields(column)), strict=True))
    else:
        exploded = explode(column)
        parts = [write(c) for c in exploded.columns]
        flat = parts[0] if len(parts) == 1 else list(zip(*parts, strict=True))
        values = [flat[a:b] for a, b in pairwise(exploded.offsets.tolist())]
    if valid is None:
        return values
    return [v if ok else None for v, ok in zip(values, valid, strict=True)]
