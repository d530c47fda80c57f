"""Rows as Redis keys and values: the key fields joined by the separator, the row as a JSON line.

    key_fields ["region", "id"], separator ":"      eu:17  →  {"region":"eu","id":17,"n":5}⏎

Source: contract section 7.4 (redis_output) and 7.5 (update_format redis). Numbers, dates and times
in a key are SQL text (`column_text`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.data.batch import Batch
from penstock.data.types import STRINGS, Schema
from penstock.errors import UserError
from penstock.io.contracts import SinkRejected
from penstock.io.formats.json_encoder import json_lines
from penstock.io.formats.options import ENCODER_ERROR, Options
from penstock.io.formats.spelling import check_columns
from penstock.io.outputs.column_text import check_no_nested, column_text


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
        self._flavor = o.text("json_flavor", "default")
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

    def keys(self, keys: Batch, prefix: str) -> list[bytes]:
        """The names of keys; `keys` has the key's columns only, none of them NULL."""
        columns = [column_text(c) for c in keys.columns]
        if len(columns) > 1:
            for field, texts in zip(keys.schema.fields, columns, strict=True):
                if field.type.kind in STRINGS and any(self._separator in t for t in texts if t):
                    raise SinkRejected(
                        f"redis_output: a value of key field '{field.name}' contains the separator "
                        f"{self._separator!r}, so two keys could have one name: choose another "
                        "'key_separator'"
                    )
        join = self._separator.join
        return [(prefix + join(parts)).encode() for parts in zip(*columns, strict=True)]

    def pairs(self, rows: Batch, prefix: str) -> list[tuple[bytes, bytes]]:
        """Key and value of each row."""
        names = self.keys(rows.select(self.key), prefix)
        return list(zip(names, json_lines(rows, self._flavor), strict=True))
