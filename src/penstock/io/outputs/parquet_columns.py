"""Which columns of a Parquet file are worth a dictionary.

Parquet's writers begin every column with one and give up when it is full. A column whose values
hardly repeat then costs several times what writing it plainly does, and no byte is saved.

Cost: a look at SAMPLE_ROWS rows.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

SAMPLE_ROWS = 1_000


def repeating(rows: pa.Table) -> list[str]:
    """Names of the columns of `rows` half of whose first values, or fewer, are different."""
    sample = rows.slice(0, SAMPLE_ROWS)
    return [
        name
        for name, column in zip(sample.column_names, sample.columns, strict=True)
        if not pa.types.is_nested(column.type) and _repeats(column)
    ]


def _repeats(column: pa.ChunkedArray) -> bool:
    return int(pc.count_distinct(column, mode="all").as_py()) * 2 <= len(column)
