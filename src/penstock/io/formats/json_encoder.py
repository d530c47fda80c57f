"""The json encoder: rows → buffers of JSON records, one a line or as one array a buffer.

    insert_delete   {"insert": row} | {"delete": row}
    debezium        {"payload": {"op": "c", "after": row}} | {"payload": {"op": "d", "before": row}}
                    key_fields: columns of the message's key {"payload": {…}} (Kafka)
    snowflake       the row's columns, __action, __stream_id, __seq_number

Source: contract sections 4 and 7.5.
Cost: about 1 µs a row and 100 ns a column.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from penstock.data.batch import Batch
from penstock.data.gather import slice_batch
from penstock.data.types import Schema
from penstock.errors import UserError
from penstock.io.contracts import EncodedMessage, Encoder
from penstock.io.formats.flavors import FLAVORS
from penstock.io.formats.options import ENCODER_ERROR, Options
from penstock.io.formats.ordering import copies
from penstock.io.formats.spelling import check_columns, json_values

_DEFAULT_FLAVOR = {"snowflake": "snowflake", "debezium": "kafka_connect_json_converter"}
_ONE_PER_BUFFER = ("debezium", "snowflake")
_NUMPY = orjson.OPT_SERIALIZE_NUMPY
_LINE = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE

Record = dict[str, Any]


class JsonEncoder(Encoder):
    def __init__(self, config: Mapping[str, Any] | None, schema: Schema) -> None:
        o = Options.of("json encoder", ENCODER_ERROR, config)
        self._update_format = _update_format(o)
        flavor = _DEFAULT_FLAVOR.get(self._update_format, "default")
        self._flavor = FLAVORS[o.choice("json_flavor", flavor, tuple(FLAVORS))]
        self._key = _key_fields(o, self._update_format, schema)
        self._is_array = o.boolean("array", False)
        self._size = o.integer("buffer_size_records", 10_000)
        o.done()
        if self._update_format in _ONE_PER_BUFFER:
            self._size = 1
        check_columns(schema, "json")
        self._schema = schema
        self._stream_id = secrets.randbits(63)
        self._sequence = 0

    def encode(self, rows: Batch) -> Sequence[bytes]:
        repeated, deletes = copies(rows)
        out: list[bytes] = []
        # columns become Python values a slice at a time, to bound memory
        slice_rows = max(self._size, 10_000)
        for start in range(0, len(repeated), slice_rows):
            stop = min(start + slice_rows, len(repeated))
            records = self._records(slice_batch(repeated, start, stop), deletes - start)
            for i in range(0, len(records), self._size):
                out.append(self._buffer(records[i : i + self._size]))
        return out

    def messages(self, rows: Batch) -> Iterator[EncodedMessage]:
        """With key_fields each message has the key of its row."""
        values = self.encode(rows)
        keys: list[bytes | None] = [None] * len(values)
        if self._key:
            repeated, _ = copies(rows)
            keyed = self._records_of(repeated.select(self._key))
            keys = [orjson.dumps({"payload": key}, option=_NUMPY) for key in keyed]
        return ((key, value, ()) for key, value in zip(keys, values, strict=True))

    def _buffer(self, records: list[Record]) -> bytes:
        if self._is_array:
            return orjson.dumps(records, option=_NUMPY)
        return b"".join([orjson.dumps(r, option=_LINE) for r in records])

    def _records(self, rows: Batch, deletes: int) -> list[Record]:
        """One record a row; the first `deletes` are deletes."""
        found = self._records_of(rows)
        n = max(0, deletes)
        match self._update_format:
            case "insert_delete":
                return [{"delete": r} for r in found[:n]] + [{"insert": r} for r in found[n:]]
            case "debezium":
                gone = [{"payload": {"op": "d", "before": r}} for r in found[:n]]
                return gone + [{"payload": {"op": "c", "after": r}} for r in found[n:]]
        for i, r in enumerate(found):
            r["__action"] = "delete" if i < n else "insert"
            r["__stream_id"] = self._stream_id
            r["__seq_number"] = self._sequence
            self._sequence += 1
        return found

    def _records_of(self, rows: Batch) -> list[Record]:
        """Each row as an object of its columns."""
        names = rows.schema.names
        columns = [json_values(c, self._flavor) for c in rows.columns]
        if not columns:
            return [{} for _ in range(len(rows))]
        return [dict(zip(names, v, strict=True)) for v in zip(*columns, strict=True)]


def json_lines(rows: Batch, flavor: str) -> list[bytes]:
    """Each row once, as a JSON object and a line end."""
    names = rows.schema.names
    columns = [json_values(c, FLAVORS[flavor]) for c in rows.columns]
    return [
        orjson.dumps(dict(zip(names, values, strict=True)), option=_LINE)
        for values in zip(*columns, strict=True)
    ]


def _key_fields(o: Options, update_format: str, schema: Schema) -> tuple[int, ...]:
    given = o.raw("key_fields", None)
    if given is None:
        return ()
    if update_format != "debezium":
        raise o.fail("key_fields", "is for update_format debezium")
    if not isinstance(given, list) or not given:
        raise o.fail("key_fields", "must name the columns of the key")
    if unknown := [name for name in given if name not in schema.names]:
        raise o.fail("key_fields", f"names {unknown[0]!r}, which is no column of the view")
    return tuple(schema.index(name) for name in given)


def _update_format(o: Options) -> str:
    supported = ("insert_delete", "debezium", "snowflake")
    known = (*supported, "raw", "redis", "weighted")
    chosen = o.choice("update_format", "insert_delete", known)
    if chosen not in supported:
        raise UserError(
            f"json encoder: update_format '{chosen}' is not supported for output; "
            f"use one of {', '.join(supported)}",
            code="ConfigError.OutputFormatNotSupported",
            details={"option": "update_format", "value": chosen},
        )
    return chosen
