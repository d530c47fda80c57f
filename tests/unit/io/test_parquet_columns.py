"""Only columns whose values repeat get a dictionary, and every value comes back either way."""

from __future__ import annotations

import io
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq

from penstock.io.outputs.parquet_columns import repeating


def test_columns_whose_values_repeat_get_a_dictionary_and_others_do_not() -> None:
    n = 3_000
    table = pa.table({
        "id": range(n), "kind": [f"k{i % 7}" for i in range(n)], "none": pa.nulls(n, pa.utf8()),
        "amount": pa.array([Decimal(i) for i in range(n)], pa.decimal128(9, 2)),
        "weight": [1] * n, "list": [[i] for i in range(n)],
    })  # fmt: skip
    assert repeating(table) == ["kind", "none", "weight"]
    file = io.BytesIO()
    pq.write_table(table, file, use_dictionary=repeating(table))
    assert pq.read_table(file).equals(table)
    assert repeating(table.slice(0, 0)) == [*table.column_names[:5]]
