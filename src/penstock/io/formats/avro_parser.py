"""The avro parser: messages, one Avro datum each, → rows of one table.

    update_format   raw (default)   the datum is the row, an insert
                    debezium        fields before and after: delete the one, insert the other
    schema          the writer's schema as JSON text  XOR  registry_urls: schemas by the ids in the
                    messages (see `avro_registry`)
    skip_schema_id  true: messages are bare data, without the zero byte and the id

Fields go to the columns of the same name, in any case of letters (a quoted name exactly); others
are ignored, missing ones are NULL or the column's DEFAULT. A datum that does not parse is reported;
the others go on.

A message is what is fed between two `finish`es. Source: contract section 7.5.
Cost: about 5 µs a row.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from penstock.data.batch import DELETE, INSERT, Column
from penstock.data.types import Field, Schema
from penstock.errors import PenstockError, UserError
from penstock.io.contracts import Parsed, ParseError, Parser, ParserState
from penstock.io.formats.avro_registry import Registry, split_id
from penstock.io.formats.avro_schema import library
from penstock.io.formats.avro_values import reader
from penstock.io.formats.columns import from_canonical
from penstock.io.formats.flavors import match_keys
from penstock.io.formats.options import PARSER_ERROR, Options
from penstock.io.formats.rows import input_batch, plain_table
from penstock.io.formats.scalars import Invalid

Row = dict[str, Any]


class AvroParser(Parser):
    def __init__(
        self,
        config: Mapping[str, Any] | None,
        schema: Schema,
        key: tuple[int, ...] = (),
        defaults: Sequence[Column | None] = (),
    ) -> None:
        o = Options.of("avro parser", PARSER_ERROR, config)
        self._is_debezium = o.choice("update_format", "raw", ("raw", "debezium")) == "debezium"
        given = o.text("schema", "")
        self._has_id = not o.boolean("skip_schema_id", False)
        self._registry = Registry.of(o)
        o.done()
        if bool(given) == (self._registry is not None):
            raise o.fail("schema", "or registry_urls is required, and not both")
        if self._registry is not None and not self._has_id:
            raise o.fail("skip_schema_id", "leaves nothing to ask the registry for: give a schema")
        self._static = _parsed(o, given) if given else None
        self._schemas: dict[int, Any] = {}
        self._table = plain_table(schema, key, defaults)
        self._readers = [reader(t) for t in schema.types]
        self._pending = b""
        self._records = 0

    def feed(self, data: bytes) -> Parsed:
        self._pending += data
        return Parsed(())

    def finish(self) -> Parsed:
        message, self._pending = self._pending, b""
        if not message:
            return Parsed(())
        self._records += 1
        try:
            return self._rows(self._events(self._read(message)))
        except _Wrong as e:
            error = ParseError(
                str(e), self._records, field=e.field, invalid_text=e.text, suggestion=e.hint
            )
            return Parsed((), (error,), 1)

    def state(self) -> ParserState | None:
        return ParserState(len(self._pending), {})

    def restore(self, facts: Mapping[str, Any]) -> None:
        """A message begins."""

    def _read(self, message: bytes) -> Any:
        try:
            schema_id, data = split_id(message) if self._has_id else (0, message)
        except ValueError as e:
            raise _Wrong(f"{e}: set skip_schema_id, if it is bare Avro data") from e
        try:
            schema = self._static or self._schema(schema_id)
            source = io.BytesIO(data)
            datum = library().schemaless_reader(source, schema, None)
        except UserError as e:
            raise _Wrong(str(e)) from e
        except PenstockError:
            raise  # the registry is away: the connector tries again
        except EOFError as e:
            raise _Wrong("the record ends before its schema does") from e
        except Exception as e:  # fastavro raises what its decoders happen to run into
            raise _Wrong(f"the record is not valid Avro data of its schema: {e!r}") from e
        if source.read(1):
            raise _Wrong("the record has more bytes than its schema takes")
        return datum

    def _schema(self, schema_id: int) -> Any:
        assert self._registry is not None
        if schema_id not in self._schemas:
            text = self._registry.schema(schema_id)
            self._schemas[schema_id] = library().parse_schema(json.loads(text))
        return self._schemas[schema_id]

    def _events(self, datum: Any) -> list[tuple[int, Row]]:
        if not isinstance(datum, dict):
            raise _Wrong("the record is no Avro record")
        if not self._is_debezium:
            return [(INSERT, datum)]
        found = [
            (op, datum[field])
            for op, field in ((DELETE, "before"), (INSERT, "after"))
            if isinstance(datum.get(field), dict)
        ]
        if not found:
            raise _Wrong("the record has neither 'before' nor 'after'")
        return found

    def _rows(self, events: list[tuple[int, Row]]) -> Parsed:
        names = self._table.schema.names
        keys = [match_keys(tuple(row), names) for _, row in events]
        ops = np.array([op for op, _ in events], np.uint8)
        columns: list[Column] = []
        missing = []
        for i, f in enumerate(self._table.schema.fields):
            values: list[Any] = []
            absent = np.zeros(len(events), np.bool_)
            for e, ((op, row), found) in enumerate(zip(events, keys, strict=True)):
                key = None if self._table.ignores(op, i) else found[i]
                absent[e] = key is None
                if key is None and not self._table.may_lack(op, i):
                    raise _Wrong(f"the record lacks column '{f.name}'", f.name)
                values.append(None if key is None else self._value(f, row[key], i))
            columns.append(from_canonical(f.type, values))
            missing.append(absent if absent.any() else None)
        return Parsed((input_batch(self._table, columns, missing, ops),), (), len(events))

    def _value(self, field: Field, value: Any, i: int) -> Any:
        if value is None:
            if not field.type.nullable:
                raise _Wrong(
                    f"column '{field.name}' is NOT NULL and the record has null", field.name
                )
            return None
        try:
            return self._readers[i](value)
        except Invalid as e:
            raise _Wrong(f"column '{field.name}': {e.description}", field.name, e) from None


class _Wrong(Exception):
    """What is wrong with a record, in which field, and what is known of the value."""

    def __init__(
        self, problem: str, field: str | None = None, value: Invalid | None = None
    ) -> None:
        super().__init__(problem)
        self.field = field
        self.text = None if value is None else value.text
        self.hint = None if value is None else value.hint


def _parsed(o: Options, given: str) -> Any:
    try:
        return library().parse_schema(json.loads(given))
    except (ValueError, KeyError, TypeError, library().schema.SchemaParseException) as e:
        raise o.fail("schema", f"is no Avro schema: {e}") from e
