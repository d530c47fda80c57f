"""Avro schemas of relations, and columns as values that fastavro writes.

    SQL                          Avro
    ───────────────────────────  ──────────────────────────────────────────────
    BOOLEAN                      boolean
    integers up to 32 bits       int           BIGINT, unsigned INTEGER: long
    BIGINT UNSIGNED              bytes, decimal(20, 0)
    REAL, DOUBLE                 float, double
    DECIMAL(p, s)                bytes, decimal(p, s)
    CHAR, VARCHAR, VARIANT       string (a VARIANT as JSON text)
    BINARY, VARBINARY            bytes
    DATE                         int, date
    TIME                         long, time-micros (what is below a microsecond is cut off)
    TIMESTAMP, … WITH TIME ZONE  long, timestamp-micros
    UUID                         string, uuid
    ARRAY, MAP, ROW              array, map (a key that is no text as CSV spells it), record
    intervals                    refused

A nullable type is the union ["null", T]. How what is read becomes a value: `avro_values`.
Source: contract section 7.5; the Avro specification.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from penstock.data.batch import Column
from penstock.data.build import column_to_python
from penstock.data.types import BINARIES, STRINGS, Kind, Schema, SqlType
from penstock.errors import UserError
from penstock.io.formats.nested_values import json_nested
from penstock.io.formats.spelling import csv_values

Json = dict[str, Any]


def library() -> Any:
    """The module `fastavro`; UserError if it is not installed."""
    try:
        import fastavro
    except ImportError as e:
        raise UserError(
            "the avro format needs the package fastavro: pip install 'penstock[kafka]'",
            code="ConfigError.UnknownFormat",
        ) from e
    return fastavro


_PLAIN: dict[Kind, Any] = {
    Kind.BOOLEAN: "boolean",
    Kind.INT8: "int",
    Kind.INT16: "int",
    Kind.INT32: "int",
    Kind.INT64: "long",
    Kind.UINT8: "int",
    Kind.UINT16: "int",
    Kind.UINT32: "long",
    Kind.UINT64: {"type": "bytes", "logicalType": "decimal", "precision": 20, "scale": 0},
    Kind.REAL: "float",
    Kind.DOUBLE: "double",
    Kind.VARIANT: "string",
    Kind.DATE: {"type": "int", "logicalType": "date"},
    Kind.TIME: {"type": "long", "logicalType": "time-micros"},
    Kind.TIMESTAMP: {"type": "long", "logicalType": "timestamp-micros"},
    Kind.TIMESTAMP_TZ: {"type": "long", "logicalType": "timestamp-micros"},
    Kind.UUID: {"type": "string", "logicalType": "uuid"},
}


def record_schema(schema: Schema, name: str, namespace: str | None = None) -> Json:
    """The schema of rows of `schema` as a record called `name`.

    Raises UserError for a column that Avro cannot carry or name."""
    fields = []
    for f in schema.fields:
        if not f.name.isidentifier() or not f.name.isascii():
            raise _refused(f.name, "is no Avro name (letters, digits and _): rename it in the view")
        fields.append({"name": f.name, "type": _type(f.type, f"{name}_{f.name}", f.name)})
        if f.type.nullable:
            fields[-1]["default"] = None
    record: Json = {"type": "record", "name": name, "fields": fields}
    return record | ({"namespace": namespace} if namespace else {})


def _type(t: SqlType, name: str, column: str) -> Any:
    made = _bare(t, name, column)
    return ["null", made] if t.nullable else made


def _bare(t: SqlType, name: str, column: str) -> Any:
    if t.kind in STRINGS:
        return "string"
    if t.kind in BINARIES:
        return "bytes"
    match t.kind:
        case Kind.DECIMAL:
            return {
                "type": "bytes", "logicalType": "decimal",
                "precision": t.precision or 38, "scale": t.scale or 0,
            }  # fmt: skip
        case Kind.ARRAY:
            return {"type": "array", "items": _type(t.children[0], name, column)}
        case Kind.MAP:
            return {"type": "map", "values": _type(t.children[1], name, column)}
        case Kind.ROW:
            fields = [
                {"name": n, "type": _type(c, f"{name}_{n}", column)}
                for n, c in zip(t.names, t.children, strict=True)
            ]
            return {"type": "record", "name": name, "fields": fields}
    if t.kind in _PLAIN:
        return _PLAIN[t.kind]
    raise _refused(column, f"is {t}, which the avro format cannot carry: cast it in the view")


def _refused(column: str, problem: str) -> UserError:
    return UserError(
        f"column '{column}' {problem}",
        code="ConfigError.InvalidEncoderConfig",
        details={"column": column},
    )


def avro_values(column: Column) -> list[Any]:
    """The column as values that fastavro writes under its type of the table above."""
    if column.type.children:
        return json_nested(column, avro_values, csv_values)
    values = column_to_python(column)
    convert = _WRITTEN.get(column.type.kind)
    return values if convert is None else [None if v is None else convert(v) for v in values]


_WRITTEN: dict[Kind, Callable[[Any], Any]] = {
    Kind.TIME: lambda nanoseconds: nanoseconds // 1000,
    Kind.UINT64: Decimal,
}
