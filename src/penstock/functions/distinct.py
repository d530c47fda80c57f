"""Python functions over columns of text and bytes, called once for each distinct value.

    per_distinct(f, (s, pattern), VARCHAR)      f runs once for every distinct pair of values

For libraries that take one value at a time (digests, decompression) and for text that is rarely
all different. The rest stays in columns: values are numbered by Arrow, combinations by numpy.

Cost: a hash and a few bytes a row, a call a distinct value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.data.batch import Array, Column
from penstock.data.types import VARCHAR, SqlType
from penstock.errors import RuntimeSqlError
from penstock.functions import text


def numbered(column: Column) -> tuple[Array, list[Any]]:
    """(int64 number of each row's value, the values by number, None among them for NULL)."""
    if len(column) == 1:
        return np.zeros(1, np.int64), text.to_list(column)
    if not column.type.is_view:
        values, codes = np.unique(column.values, return_inverse=True, axis=0)
        return codes.reshape(-1), text.to_list(Column(column.type, values))
    encoded = text.to_arrow(column).dictionary_encode()
    codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
    return codes.astype(np.int64), [*encoded.dictionary.to_pylist(), None]


def combinations(columns: Sequence[Column]) -> tuple[Array, list[tuple[Any, ...]], Array]:
    """(number of each row's combination, the combinations, the first row of each)."""
    rows = max(len(c) for c in columns)
    coded = [numbered(c) for c in columns]
    key: Array = np.zeros(rows, np.int64)
    for codes, values in coded:
        # Invariant: renumbered after each column, so that the product cannot overflow
        key = np.unique(key * len(values) + codes, return_inverse=True)[1].reshape(-1)
    _, first = np.unique(key, return_index=True)
    found = [
        tuple(values[codes[row if len(codes) > 1 else 0]] for codes, values in coded)
        for row in first.tolist()
    ]
    return key, found, first


def groups(columns: Sequence[Column]) -> list[tuple[tuple[Any, ...], Array]]:
    """(values, the rows that have them) of every distinct combination of the columns' values.

    Columns of one row each give one group, of row 0.
    """
    key, found, _ = combinations(columns)
    order = np.argsort(key, kind="stable")
    ends = np.searchsorted(key[order], np.arange(1, len(found)))
    return list(zip(found, np.split(order, ends), strict=True))


def in_groups(
    compute: Callable[[tuple[Any, ...], Array], Any], columns: Sequence[Column], n: int
) -> pa.Array:
    """An Arrow array of `n` rows: compute(values, rows) for each combination of the columns."""
    if all(len(c) == 1 for c in columns):
        return compute(tuple(text.to_list(c)[0] for c in columns), np.arange(n))
    found = groups(columns)
    if not found:
        return compute(tuple(None for _ in columns), np.zeros(0, np.int64))
    pieces = [compute(values, rows) for values, rows in found]
    back = np.empty(n, np.int64)
    back[np.concatenate([rows for _, rows in found])] = np.arange(n)
    return pa.concat_arrays(pieces).take(pa.array(back))


def per_distinct(
    compute: Callable[..., Any], columns: Sequence[Column], type: SqlType = VARCHAR
) -> Column:
    """compute(*values) of each row; NULL where one of them is.

    A ValueError becomes the failure of the first row that has these values.
    """
    if not all(len(c) for c in columns):
        return text.from_list([], type)
    key, found, first = combinations(columns)
    results: list[Any] = []
    for values, row in zip(found, first.tolist(), strict=True):
        try:
            results.append(None if None in values else compute(*values))
        except ValueError as e:
            raise RuntimeSqlError(str(e), row=row) from None
    distinct = text.from_list(results, type)
    valid = None if distinct.valid is None else distinct.valid[key]
    return Column(type, distinct.values[key], valid, distinct.heaps)
