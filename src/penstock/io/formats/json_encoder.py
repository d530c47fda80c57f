"""The json encoder: rows → buffers of JSON records, one a line or as one array a buffer.

    insert_delete   {"insert": row} | {"delete": row}
    debezium        {"payload": {"op": "c", "after": row}} | {"payload": {"op": "d", "before": row}}
                    key_fields: columns of the message's key {"payload": {…}} (Kafka)
    snowflake       the row's columns, __action, __stream_id, __seq_number

Source: contract sections 4 and 7.5.
Cost: see `joined`; nothing is done row by row.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Batch
from penstock.data.gather import slice_batch
from penstock.data.types import Schema
from penstock.errors import UserError
from penstock.io.contracts import EncodedMessage, Encoder
from penstock.io.formats.flavors import FLAVORS
from penstock.io.formats.joined import TEXT, each, in_one, join, json_rows
from penstock.io.formats.options import ENCODER_ERROR, Options
from penstock.io.formats.ordering import copies
from penstock.io.formats.spelling import check_columns

_DEFAULT_FLAVOR = {"snowflake": "snowflake", "debezium": "kafka_connect_json_converter"}
_ONE_PER_BUFFER = ("debezium", "snowflake")
#: rows whose texts are in memory at a time
SLICE_ROWS = 10_000
#: what is before and after a deleted row, and an inserted one
_AROUND = {
    "insert_delete": (('{"delete":', "}"), ('{"insert":', "}")),
    "debezium": (('{"payload":{"op":"d","before":', "}}"), ('{"payload":{"op":"c","after":', "}}")),
    "snowflake": (("", ""), ("", "")),
}


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
        # texts are made a slice at a time, to bound memory: a whole number of buffers
        slice_rows = self._size * max(1, SLICE_ROWS // self._size)
        for start in range(0, len(repeated), slice_rows):
            stop = min(start + slice_rows, len(repeated))
            out += self._buffers(slice_batch(repeated, start, stop), max(0, deletes - start))
        return out

    def messages(self, rows: Batch) -> Iterator[EncodedMessage]:
        """With key_fields each message has the key of its row."""
        values = self.encode(rows)
        keys: list[bytes | None] = [None] * len(values)
        if self._key:
            repeated, _ = copies(rows)
            keyed = repeated.select(self._key)
            keys = [*each(json_rows(keyed, self._flavor, '{"payload":', "}"))]
        return ((key, value, ()) for key, value in zip(keys, values, strict=True))

    def _buffers(self, rows: Batch, deletes: int) -> Sequence[bytes]:
        """A slice as buffers; its first `deletes` rows are deletes."""
        records = self._records(rows, min(deletes, len(rows)))
        if self._size == 1 and not self._is_array:
            return each(records)
        found = [in_one(records, i, i + self._size) for i in range(0, len(records), self._size)]
        return [b"[" + b[:-1] + b"]" for b in found] if self._is_array else found

    def _records(self, rows: Batch, deletes: int) -> pa.Array:
        """One record a row, each with what follows it: a line end, or a comma."""
        gone, come = _AROUND[self._update_format]
        end = "," if self._is_array else "\n"
        parts = []
        for action, (before, after), start, stop in (
            ("delete", gone, 0, deletes),
            ("insert", come, deletes, len(rows)),
        ):
            if start == stop:
                continue
            piece = slice_batch(rows, start, stop)
            if self._update_format == "snowflake":
                parts.append(self._snowflake(piece, action, end))
            else:
                parts.append(json_rows(piece, self._flavor, before, after + end))
        return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)

    def _snowflake(self, rows: Batch, action: str, end: str) -> pa.Array:
        """The row's columns, what happened to it, and its number in our stream."""
        numbers = pa.array(np.arange(self._sequence, self._sequence + len(rows))).cast(TEXT)
        self._sequence += len(rows)
        more = f'"__action":"{action}","__stream_id":{self._stream_id},"__seq_number":'
        if not rows.columns:
            return join([numbers], [f"{{{more}", f"}}{end}"], len(rows))
        objects = pc.utf8_slice_codeunits(json_rows(rows, self._flavor), 0, -1)
        return join([objects, numbers], ["", f",{more}", f"}}{end}"], len(rows))


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
