"""Strings between columns and the libraries that compute on them; equality and order.

equal, order      views compared in place; only strings of more than 12 bytes touch a heap
to_arrow          a column of strings as an Arrow array, NULLs kept
from_arrow        and back
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from penstock.data.arrow import column_from_arrow, column_to_arrow
from penstock.data.batch import Array, Column
from penstock.data.build import column_from_python, column_to_python
from penstock.data.types import VARCHAR, SqlType
from penstock.data.views import compare, same


def order(x: Column, y: Column) -> Array:
    """int8: sign of x against y by bytes, which is the order of code points."""
    return compare(x.values, y.values, _rows(x, y))


def equal(x: Column, y: Column) -> Array:
    return same(x.values, y.values, _rows(x, y))


def _rows(x: Column, y: Column) -> int:
    return max(len(x), len(y)) if len(x) and len(y) else 0


def to_arrow(column: Column) -> pa.Array:
    return column_to_arrow(column)


def from_arrow(array: pa.Array, type: SqlType = VARCHAR) -> Column:
    return column_from_arrow(type, array)


def to_list(column: Column) -> list[Any]:
    """Python values, None for NULL."""
    return column_to_python(column)


def from_list(values: Sequence[Any], type: SqlType = VARCHAR) -> Column:
    return column_from_python(type, values)
