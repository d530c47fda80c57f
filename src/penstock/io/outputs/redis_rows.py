"""Rows as Redis keys and values: the key fields joined by the separator, the row as a JSON line.

    key_fields ["region", "id"], separator ":"      eu:17  →  {"region":"eu","id":17,"n":5}⏎

Source: contract section 7.4 (redis_output) and 7.5 (update_format redis). Numbers, dates and times
in a key are SQL text (`column_text`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Batch
from penstock.data.types import STRINGS, Schema
from penstock.errors import UserError
from penstock.io.contracts import SinkRejected
from penstock.io.formats.flavors import FLAVORS
from penstock.io.formats.joined import join, json_rows
from penstock.io.formats.options import ENCODER_ERROR, Options
from penstock.io.formats.spelling import check_columns
from penstock.io.outputs.column_text import check_no_nested, text_column
from penstock.io.outputs.redis_packing import BYTES, byte_size


@dataclass(frozen=True, slots=True)
class Pairs:
    """Names of keys and their values, both BYTES."""

    keys: pa.Array
    values: pa.Array

    @staticmethod
    def of(found: Sequence[tuple[bytes, bytes]]) -> Pairs:
        return Pairs(pa.array([k for k, _ in found], BYTES), pa.array([v for _, v in found], BYTES))

    def __len__(self) -> int:
        return len(self.keys)

    def and_(self, more: Pairs) -> Pairs:
        return Pairs(
            pa.concat_arrays([self.keys, more.keys]), pa.concat_arrays([self.values, more.values])
        )

    def slice(self, start: int, length: int) -> Pairs:
        return Pairs(self.keys.slice(start, length), self.values.slice(start, length))

    @property
    def byte_size(self) -> int:
        return byte_size(self.keys) + byte_size(self.values)


class RedisRows:
    """Of rows of `schema`, by the connector's `format`; `index`: the columns of its index or ()."""

    def __init__(
        self,
        format: Mapping[str, Any] | None,
        schema: Schema,
        index: tuple[int, ...],
        separator: str,
    ) -> None:
        if format is not None and format.get("name") != "json":
            raise UserError(
                f"redis_output: format '{format.get('name')}' is not possible; use json",
                code="ConfigError.OutputFormatNotSupported",
            )
        o = Options.of(
            "json encoder", ENCODER_ERROR, None if format is None else format.get("config")
        )
        o.choice("update_format", "redis", ("redis",))
        self._flavor = o.choice("json_flavor", "default", tuple(FLAVORS))
        fields = o.raw("key_fields", [schema.names[i] for i in index])
        if o.boolean("array", False):
            raise o.fail("array", "cannot be true: a key has one row")
        o.integer("buffer_size_records", 1)
        if not isinstance(fields, list) or not fields:
            raise o.fail("key_fields", "must name the columns of the key")
        if unknown := [f for f in fields if f not in schema.names]:
            raise o.fail("key_fields", f"names {unknown[0]!r}, which is no column of the view")
        o.done()
        check_columns(schema, "json")
        #: the columns of the key
        self.key = tuple(schema.index(f) for f in fields)
        self.key_text = ", ".join(fields)
        check_no_nested(Schema(tuple(schema.fields[i] for i in self.key)), "a key of redis_output")
        self._separator = separator

    def keys(self, keys: Batch, prefix: str) -> pa.Array:
        """The names of keys as BYTES; `keys` has the key's columns only, none of them NULL."""
        columns = [text_column(c) for c in keys.columns]
        if len(columns) > 1:
            for field, texts in zip(keys.schema.fields, columns, strict=True):
                if field.type.kind not in STRINGS:
                    continue
                if pc.any(pc.match_substring(texts, self._separator)).as_py():
                    raise SinkRejected(
                        f"redis_output: a value of key field '{field.name}' contains the separator "
                        f"{self._separator!r}, so two keys could have one name: choose another "
                        "'key_separator'"
                    )
        between = [prefix, *[self._separator] * (len(columns) - 1), ""]
        return join(columns, between, len(keys)).cast(BYTES)

    def pairs(self, rows: Batch, prefix: str) -> Pairs:
        """Key and value of each row."""
        values = json_rows(rows, FLAVORS[self._flavor], after="\n").cast(BYTES)
        return Pairs(self.keys(rows.select(self.key), prefix), values)
