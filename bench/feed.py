"""What the suites share: rows as input batches, and the collector out of the way as in a worker."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from penstock.data.arrow import column_from_arrow
from penstock.data.batch import DELETE, INSERT, Column, InputBatch
from penstock.data.types import Schema


def from_arrays(
    schema: Schema, arrays: Sequence[npt.NDArray[np.int64]], operation: int = INSERT
) -> InputBatch:
    """Rows of columns whose values are 64-bit numbers (TIMESTAMP: µs)."""
    columns = tuple(Column(t, v) for t, v in zip(schema.types, arrays, strict=True))
    return InputBatch(schema, columns, np.full(len(arrays[0]), operation, np.uint8))


def from_table(schema: Schema, rows: pa.Table, operation: int = INSERT) -> InputBatch:
    """Rows of an Arrow table with the columns of `schema`, by position."""
    columns = tuple(column_from_arrow(t, rows.column(i)) for i, t in enumerate(schema.types))
    return InputBatch(schema, columns, np.full(rows.num_rows, operation, np.uint8))


def settle() -> None:
    """Keep Python's collector out of the steps, as a worker does when it starts."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)


__all__ = ["DELETE", "INSERT", "from_arrays", "from_table", "settle"]
