"""Strings between columns and the libraries that compute on them; equality and order.

equal, order      views compared in place; only strings of more than 12 bytes touch a heap
to_arrow          a column of strings as an Arrow array, NULLs kept
from_arrow        and back
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.data.arrow import column_from_arrow, column_to_arrow
from penstock.data.batch import Array, Column
from penstock.data.build import column_from_python, column_to_python
from penstock.data.types import VARCHAR, SqlType
from penstock.data.views import INLINE, compare


def order(x: Column, y: Column) -> Array:
    """int8: sign of x against y by bytes, which is the order of code points."""
    return compare(x.values, y.values, max(len(x), len(y)))


def equal(x: Column, y: Column) -> Array:
    a, b = x.values, y.values
    head, rest = a[:, 0] == b[:, 0], a[:, 1] == b[:, 1]
    same = head & rest
    # equal length and first bytes, different second words: long strings in different places
    open_ = head & ~rest & ((a[:, 0] & np.uint64(0xFFFFFFFF)) > INLINE)
    if open_.any():
        same = order(x, y) == 0
    return np.asarray(same)


def to_arrow(column: Column) -> pa.Array:
    return column_to_arrow(column)


def from_arrow(array: pa.Array, type: SqlType = VARCHAR) -> Column:
    return column_from_arrow(type, array)


def to_list(column: Column) -> list[Any]:
    """Python values, None for NULL."""
    return column_to_python(column)


def from_list(values: Sequence[Any], type: SqlType = VARCHAR) -> Column:
    return column_from_python(type, values)
