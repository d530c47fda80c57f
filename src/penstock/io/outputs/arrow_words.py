"""Arrow columns as words, which is how targets that are read as Arrow are compared (`contents`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.data.arrow import column_from_arrow
from penstock.data.batch import Batch
from penstock.data.types import VARCHAR, Schema


def of_arrow(
    schema: Schema, columns: Sequence[pa.Array], weights: npt.NDArray[np.int64] | None = None
) -> Batch:
    """Columns of one length as a batch of `schema`, which is that of `words.words_schema`."""
    made = tuple(column_from_arrow(VARCHAR, _texts(c)) for c in columns)
    count = len(columns[0])
    return Batch(schema, made, np.ones(count, np.int64) if weights is None else weights)


def _texts(column: pa.Array) -> pa.Array:
    if pa.types.is_binary(column.type):
        return pa.array([None if v is None else v.hex() for v in column.to_pylist()], pa.utf8())
    if pa.types.is_nested(column.type):
        return pa.array([_json(v) for v in column.to_pylist()], pa.utf8())
    return column.cast(pa.utf8())


def _json(value: Any) -> str | None:
    """An array, map (its pairs) or struct as JSON; what JSON has not is spelt as Python does."""
    return None if value is None else json.dumps(value, ensure_ascii=False, default=str)
