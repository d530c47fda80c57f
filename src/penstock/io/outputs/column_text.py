"""Columns as databases take them: SQL text, or sqlite3's native values.

    DECIMAL(8, 2)   'fixed point, exactly scale digits'      -12.50
    DATE            ISO                                      2024-02-29
    TIME            ISO, nanoseconds                         23:59:59.000000001
    TIMESTAMP       ISO with a blank, always microseconds    2024-02-29 12:00:00.000000
     … WITH TZ      the same in UTC                          2024-02-29 12:00:00.000000+00:00
    INTERVAL        PostgreSQL's spelling                    90 microseconds, 14 months
    BINARY          PostgreSQL's hex form                    \\x00ff
    ARRAY MAP ROW VARIANT   JSON without blanks              {"a":[1,null]}

Fixed width makes the texts sort as the values do. NULL is None in every list.

Cost: one pass a column by Arrow; floats, bytes, intervals and nested values are spelled one by one.
This is the edge, so Python values are allowed here.

Not here: bytes of a format such as JSON or CSV (`penstock.io.formats`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.arrow import column_to_arrow
from penstock.data.batch import Batch, Column
from penstock.data.build import column_to_python
from penstock.data.types import BINARIES, FLOATS, INTEGERS, NESTED, TIMESTAMP, Kind, Schema
from penstock.errors import UserError
from penstock.io.formats.joined import TEXT
from penstock.io.formats.spelling import csv_values, decimal_array

_INTERVALS = (Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG)


def check_no_nested(schema: Schema, transport: str, *, but: Kind | None = None) -> None:
    """Raise UserError for columns that a table of scalar columns without JSON cannot hold; `but`
    is a kind that it holds as text."""
    for f in schema.fields:
        if f.type.kind in NESTED and f.type.kind is not but:
            raise UserError(
                f"column '{f.name}': {transport} cannot carry values of type {f.type} yet; cast it "
                "in the view",
                code="ConfigError.InvalidTransportConfig",
                details={"column": f.name},
            )


def sqlite_rows(batch: Batch) -> list[tuple[Any, ...]]:
    """The rows of `batch` as sqlite3 binds them; weights are ignored."""
    return list(zip(*(sqlite_values(c) for c in batch.columns), strict=True))


def sqlite_cells(batch: Batch) -> list[Any]:
    """As `sqlite_rows`, the cells of one row behind those of the one before."""
    n, width = len(batch), len(batch.columns)
    cells: list[Any] = [None] * (n * width)
    for at, column in enumerate(batch.columns):
        cells[at::width] = sqlite_values(column)
    return cells


def column_text(column: Column) -> list[str | None]:
    """One column as SQL text."""
    texts: list[str | None] = text_column(column).to_pylist()
    return texts


def text_column(column: Column) -> pa.Array:
    """One column as SQL text: an Arrow array of strings, NULLs null."""
    kind = column.type.kind
    if kind in NESTED or kind in FLOATS or kind in BINARIES or kind in _INTERVALS:
        return pa.array(_with_nulls(_spelled(column), column), TEXT)
    if kind is Kind.DECIMAL:
        return decimal_array(column).cast(TEXT)
    if kind is Kind.TIMESTAMP_TZ:
        moments = column_to_arrow(column.with_type(TIMESTAMP)).cast(TEXT)
        return pc.binary_join_element_wise(moments, pa.scalar("+00:00", TEXT), pa.scalar("", TEXT))
    return column_to_arrow(column).cast(TEXT)


def sqlite_values(column: Column) -> list[Any]:
    """One column as int, float, str or bytes. UBIGINT is text, as SQLite's integers are signed.
    NaN is the text 'NaN', as SQLite would turn it into NULL; intervals are µs or months."""
    kind = column.type.kind
    if kind in INTEGERS and kind is not Kind.UINT64:
        return _with_nulls(column.values.tolist(), column)
    if kind is Kind.BOOLEAN or kind in _INTERVALS:
        return _with_nulls(column.values.tolist(), column)
    if kind in FLOATS:
        floats = column.values.tolist()
        if np.isnan(column.values).any():
            floats = ["NaN" if v != v else v for v in floats]
        return _with_nulls(floats, column)
    if kind in BINARIES:
        return column_to_python(column)
    return column_text(column)


def _with_nulls(values: list[Any], column: Column) -> list[Any]:
    if column.type.kind is Kind.NULL:
        return [None] * len(column)
    if column.valid is None:
        return values
    return [v if ok else None for v, ok in zip(values, column.valid.tolist(), strict=True)]


def _spelled(column: Column) -> list[Any]:
    """Of the kinds that are spelled one by one."""
    kind, values = column.type.kind, column.values
    if kind in NESTED:
        return csv_values(column)
    if kind in FLOATS:
        return list(map(repr, values.tolist()))
    if kind in BINARIES:
        return [None if v is None else "\\x" + v.hex() for v in column_to_python(column)]
    unit = "microseconds" if kind is Kind.INTERVAL_SHORT else "months"
    return [f"{v} {unit}" for v in values.tolist()]
