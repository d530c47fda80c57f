"""Formats by name: bytes → rows (`make_parser`) and rows → bytes (`make_encoder`).

To add one: a file here with a `Parser` or `Encoder` and a line in PARSERS or ENCODERS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from penstock.data.batch import Batch, Column
from penstock.data.types import Schema
from penstock.errors import UserError
from penstock.io.contracts import Encoder, Parser
from penstock.io.formats.append_only import AppendOnly
from penstock.io.formats.avro_parser import AvroParser
from penstock.io.formats.csv_encoder import CsvEncoder
from penstock.io.formats.csv_parser import CsvParser
from penstock.io.formats.json_encoder import JsonEncoder
from penstock.io.formats.json_parser import JsonParser
from penstock.io.formats.parquet_parser import ParquetParser
from penstock.io.formats.raw_parser import RawParser

T = TypeVar("T")

PARSERS: dict[str, Callable[..., Parser]] = {
    "json": JsonParser,
    "csv": CsvParser,
    "raw": RawParser,
    "avro": AvroParser,
    "parquet": ParquetParser,
}
ENCODERS: dict[str, Callable[..., Encoder]] = {"json": JsonEncoder, "csv": CsvEncoder}


def make_parser(
    format: Mapping[str, Any],
    schema: Schema,
    key: tuple[int, ...] = (),
    defaults: Sequence[Column | None] = (),
    *,
    append_only: str | None = None,
) -> Parser:
    """The parser that `format` (`{"name": …, "config": {…}}`) asks for, for one table.

    `defaults` holds a one-row Column per column that has a DEFAULT, else None.
    `append_only`: the table's name, where its rows may not be taken away. Raises UserError
    (ConfigError.…) for an unknown format, an unknown or bad option, or an unreadable column type.
    """
    make = _find(format, PARSERS, "ConfigError.UnknownInputFormat", "input")
    parser: Parser = make(format.get("config"), schema, tuple(key), defaults)
    return parser if append_only is None else AppendOnly(parser, append_only)


def make_encoder(format: Mapping[str, Any], schema: Schema) -> Encoder:
    """The encoder that `format` asks for, for rows of `schema`; errors as in `make_parser`."""
    make = _find(format, ENCODERS, "ConfigError.UnknownOutputFormat", "output")
    return make(format.get("config"), schema)


def encode_rows(rows: Batch, max_records: int = 10_000) -> Sequence[bytes]:
    """JSON arrays of `{"insert": row}` and `{"delete": row}`, of at most `max_records` each, for
    the chunks of HTTP egress (contract section 4)."""
    config = {"array": True, "buffer_size_records": max_records}
    return JsonEncoder(config, rows.schema).encode(rows)


def _find(
    format: Mapping[str, Any], known: Mapping[str, Callable[..., T]], code: str, direction: str
) -> Callable[..., T]:
    name = str(format.get("name"))
    if name not in known:
        raise UserError(
            f"unknown {direction} format {name!r}; known are {', '.join(sorted(known))}",
            code=code,
            details={"format": name},
        )
    return known[name]
