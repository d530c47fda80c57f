"""Columns as lists that databases take: SQL text, or sqlite3's native values.

    DECIMAL(8, 2)   'fixed point, exactly scale digits'      -12.50
    DATE            ISO                                      2024-02-29
    TIME            ISO, nanoseconds                         23:59:59.000000001
    TIMESTAMP       ISO with a blank, always microseconds    2024-02-29 12:00:00.000000
     … WITH TZ      the same in UTC                          2024-02-29 12:00:00.000000+00:00
    INTERVAL        PostgreSQL's spelling                    90 microseconds, 14 months
    BINARY          PostgreSQL's hex form                    \\x00ff
    ARRAY MAP ROW VARIANT   JSON without blanks              {"a":[1,null]}

Fixed width makes the texts sort as the values do. NULL is None in every list.

Cost: one pass a column; dates and times are rendered by numpy, integers and floats by `tolist`.
This is the edge, so Python values are allowed here.

Not here: bytes of a format such as JSON or CSV (`penstock.io.formats`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.data.batch import Batch, Column
from penstock.data.build import column_to_python
from penstock.data.types import BINARIES, FLOATS, INTEGERS, NESTED, Kind, Schema
from penstock.errors import UserError
from penstock.io.formats.spelling import csv_values


def check_no_nested(schema: Schema, transport: str) -> None:
    """Raise UserError for columns that a table of scalar columns without JSON cannot hold."""
    for f in schema.fields:
        if f.type.kind in NESTED:
            raise UserError(
                f"column '{f.name}': {transport} cannot carry values of type {f.type} yet; cast it "
                "in the view",
                code="ConfigError.InvalidTransportConfig",
                details={"column": f.name},
            )


def sqlite_rows(batch: Batch) -> list[tuple[Any, ...]]:
    """The rows of `batch` as sqlite3 binds them; weights are ignored."""
    return list(zip(*(sqlite_values(c) for c in batch.columns), strict=True))


def column_text(column: Column) -> list[str | None]:
    """One column as SQL text."""
    return _with_nulls(_texts(column), column)


def sqlite_values(column: Column) -> list[Any]:
    """One column as int, float, str or bytes. UBIGINT is text, as SQLite's integers are signed.
    NaN is the text 'NaN', as SQLite would turn it into NULL; intervals are µs or months."""
    kind = column.type.kind
    if kind in INTEGERS and kind is not Kind.UINT64:
        return _with_nulls(column.values.tolist(), column)
    if kind in (Kind.BOOLEAN, Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG):
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


def _texts(column: Column) -> list[Any]:
    kind, values = column.type.kind, column.values
    if kind in NESTED:
        return csv_values(column)
    if kind in INTEGERS:
        return list(map(str, values.tolist()))
    if kind in FLOATS:
        return list(map(repr, values.tolist()))
    if kind in BINARIES:
        return [None if v is None else "\\x" + v.hex() for v in column_to_python(column)]
    match kind:
        case Kind.BOOLEAN:
            return ["true" if v else "false" for v in values.tolist()]
        case Kind.DATE:
            days: list[Any] = np.datetime_as_string(values.astype("datetime64[D]")).tolist()
            return days
        case Kind.TIME:
            times = np.datetime_as_string(values.astype("datetime64[ns]"))
            return [t[11:] for t in times.tolist()]
        case Kind.TIMESTAMP | Kind.TIMESTAMP_TZ:
            zone = "+00:00" if kind is Kind.TIMESTAMP_TZ else ""
            stamps = np.datetime_as_string(values.astype("datetime64[us]")).tolist()
            return [t.replace("T", " ") + zone for t in stamps]
        case Kind.INTERVAL_SHORT:
            return [f"{v} microseconds" for v in values.tolist()]
        case Kind.INTERVAL_LONG:
            return [f"{v} months" for v in values.tolist()]
        case Kind.DECIMAL:
            return [None if v is None else f"{v:f}" for v in column_to_python(column)]
        case Kind.UUID:
            return [None if v is None else str(v) for v in column_to_python(column)]
        case _:
            return column_to_python(column)
