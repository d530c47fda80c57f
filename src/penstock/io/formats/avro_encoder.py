"""The avro encoder: rows → messages, one a row, each with the id of its schema.

    update_format   raw (default)     the row, and a header op = insert | delete; with key fields
                                      also update, for a delete and an insert of one key
                    confluent_jdbc    the row, or no value for a key that is gone (index needed)
    key_mode        key_fields: the columns of the connector's index (default with one), or none
    cdc_field       a string column of this name with I, U or D is added to the value; raw only
    schema          the value's schema as JSON text, else made from the view
    namespace       of the schema that is made
    subject_name_strategy   topic_name (default): <topic>-value; record_name; topic_record_name
    skip_schema_id  true: no zero byte and id before the data
    registry_…      see `avro_registry`; without registry_urls the id is 0
    threads         accepted

Source: contract section 7.5.
Cost: about 5 µs a row.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from penstock.data.batch import Batch
from penstock.data.gather import take
from penstock.data.types import Schema
from penstock.errors import UserError
from penstock.io.contracts import EncodedMessage, Encoder
from penstock.io.formats.avro_registry import Registry, with_id
from penstock.io.formats.avro_schema import Json, avro_values, library, record_schema
from penstock.io.formats.keyed import KeyedEncoder
from penstock.io.formats.options import ENCODER_ERROR, Options
from penstock.io.formats.ordering import copies

_CDC = {"insert": "I", "update": "U", "delete": "D"}
Write = Callable[[Batch, Sequence[str]], list[bytes]]


def update_format_of(format: Mapping[str, Any]) -> str:
    return str((format.get("config") or {}).get("update_format", "raw"))


class AvroRows(KeyedEncoder):
    """Keys and rows as Avro data with their schema ids."""

    def __init__(
        self, config: Mapping[str, Any] | None, schema: Schema, key: Schema, topic: str, name: str
    ) -> None:
        o = Options.of("avro encoder", ENCODER_ERROR, config)
        is_raw = o.choice("update_format", "raw", ("raw", "confluent_jdbc")) == "raw"
        mode = o.choice("key_mode", "key_fields" if len(key) else "none", ("none", "key_fields"))
        if mode == "key_fields" and not len(key):
            raise o.fail("key_mode", "needs an index on the connector")
        self.has_keys = mode == "key_fields"
        if not self.has_keys and not is_raw:
            raise o.fail("key_mode", "must be key_fields with update_format confluent_jdbc")
        self.cdc_field = o.text("cdc_field", "") or None
        if self.cdc_field and not is_raw:
            raise o.fail("cdc_field", "is for update_format raw only")
        strategy = o.choice(
            "subject_name_strategy",
            "topic_name",
            ("topic_name", "record_name", "topic_record_name"),
        )
        namespace = o.text("namespace", "") or None
        given = o.text("schema", "")
        skips_id = o.boolean("skip_schema_id", False)
        registry = Registry.of(o)
        o.integer("threads", 4)
        o.done()
        if self.cdc_field and self.cdc_field in schema.names:
            raise o.fail("cdc_field", "names a column of the view")
        value = record_schema(schema, name, namespace)
        if self.cdc_field:
            value["fields"].append({"name": self.cdc_field, "type": "string"})
        if given:
            value = _checked(o, given, {f["name"] for f in value["fields"]})
        self._value = _Side(value, _subject(strategy, topic, "value"), registry, skips_id)
        self._key = None
        if self.has_keys:
            made = record_schema(key, f"{name}_key", namespace)
            self._key = _Side(made, _subject(strategy, topic, "key"), registry, skips_id)

    def keys(self, keys: Batch) -> pa.Array:
        assert self._key is not None
        return pa.array(self._key.encode(keys, {}), pa.large_binary())

    def values(self, rows: Batch) -> pa.Array:
        return pa.array(self._value.encode(rows, {}), pa.large_binary())

    def values_as(self, rows: Batch, operations: Sequence[str]) -> list[bytes]:
        """Values with the cdc_field, if there is one, as each row's operation has it."""
        extra = {self.cdc_field: [_CDC[o] for o in operations]} if self.cdc_field else {}
        return self._value.encode(rows, extra)


class AvroEncoder(Encoder):
    """The changes of a view as messages of update_format raw."""

    def __init__(
        self,
        config: Mapping[str, Any] | None,
        schema: Schema,
        key: tuple[int, ...] = (),
        *,
        topic: str,
        name: str,
    ) -> None:
        key_schema = Schema(tuple(schema.fields[i] for i in key))
        self._rows = AvroRows(config, schema, key_schema, topic, name)
        self._key = key
        if update_format_of({"config": config}) != "raw":
            raise UserError(
                "avro encoder: update_format 'confluent_jdbc' needs an index on the connector",
                code="ConfigError.InvalidEncoderConfig",
            )

    def encode(self, rows: Batch) -> Sequence[bytes]:
        return [value for _, value, _ in self.messages(rows) if value is not None]

    def messages(self, rows: Batch) -> Iterator[EncodedMessage]:
        ordered, deletes = copies(rows)
        operations = ["delete"] * deletes + ["insert"] * (len(ordered) - deletes)
        keys: Sequence[bytes | None] = [None] * len(ordered)
        if self._rows.has_keys:
            own: list[bytes] = self._rows.keys(ordered.select(self._key)).to_pylist()
            ordered, keys, operations = _updates(ordered, own, operations)
        values = self._rows.values_as(ordered, operations)
        for key, value, operation in zip(keys, values, operations, strict=True):
            yield key, value, [("op", operation)]


def _updates(
    rows: Batch, keys: list[bytes], operations: list[str]
) -> tuple[Batch, list[bytes], list[str]]:
    """A delete and an insert of one key become one update, which has the new row."""
    gone = {k for k, o in zip(keys, operations, strict=True) if o == "delete"}
    come = {k for k, o in zip(keys, operations, strict=True) if o == "insert"}
    both = gone & come
    if not both:
        return rows, keys, operations
    kept = [
        i for i, (k, o) in enumerate(zip(keys, operations, strict=True))
        if o == "insert" or k not in both
    ]  # fmt: skip
    told = ["update" if keys[i] in both else operations[i] for i in kept]
    return take(rows, np.array(kept, np.int64)), [keys[i] for i in kept], told


class _Side:
    """Keys or values: one schema, its id once it is needed."""

    def __init__(
        self, schema: Json, subject: str, registry: Registry | None, skips_id: bool
    ) -> None:
        self._schema = schema
        self._parsed = library().parse_schema(schema)
        self._write = library().schemaless_writer
        self._subject = subject.format(record=self._parsed["name"])
        self._registry, self._skips_id = registry, skips_id
        self._id: int | None = None if registry else 0

    def encode(self, rows: Batch, extra: Mapping[str, list[Any]]) -> list[bytes]:
        if self._id is None:
            assert self._registry is not None
            self._id = self._registry.register(self._subject, self._schema)
        names = (*rows.schema.names, *extra)
        columns = [*map(avro_values, rows.columns), *extra.values()]
        out = []
        for values in zip(*columns, strict=True):
            data = io.BytesIO()
            try:
                self._write(data, self._parsed, dict(zip(names, values, strict=True)))
            except (ValueError, TypeError, OverflowError) as e:
                raise UserError(
                    f"avro encoder: a row does not fit the schema: {e}", code="EncodeError"
                ) from e
            raw = data.getvalue()
            out.append(raw if self._skips_id else with_id(self._id, raw))
        return out


def _subject(strategy: str, topic: str, side: str) -> str:
    match strategy:
        case "topic_name":
            return f"{topic}-{side}".replace("{", "{{").replace("}", "}}")
        case "record_name":
            return "{record}"
    return f"{topic}-" + "{record}"


def _checked(o: Options, given: str, known: set[str]) -> Json:
    """The user's schema: a record whose fields the view has, or that have a default."""
    try:
        schema = json.loads(given)
        library().parse_schema(schema)
    except (ValueError, KeyError, TypeError, library().schema.SchemaParseException) as e:
        raise o.fail("schema", f"is no Avro schema: {e}") from e
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise o.fail("schema", "must be that of a record")
    record: Json = schema
    fields: list[Json] = record["fields"]
    lacking = [f["name"] for f in fields if f["name"] not in known and "default" not in f]
    if lacking:
        raise o.fail("schema", f"has fields that the view has not: {', '.join(lacking)}")
    return record
