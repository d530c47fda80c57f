"""Avro in and out, held against fastavro and Confluent's own serializers."""

from __future__ import annotations

import datetime
import io
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from penstock.data import types as T
from penstock.data.build import batch_from_rows, column_to_python
from penstock.data.types import Schema, SqlType, schema
from penstock.errors import TransientError, UserError
from penstock.io.contracts import Parsed
from penstock.io.formats.avro_encoder import AvroEncoder, AvroRows
from penstock.io.formats.avro_parser import AvroParser
from penstock.io.formats.avro_schema import record_schema
from tests.registry_server import RegistryServer

NOT_NULL = T.INTEGER.with_nullable(False)
PAIR = SqlType(T.Kind.ROW, children=(T.INTEGER, T.VARCHAR), names=("a", "b"))
WIDE = schema(
    k=NOT_NULL, bo=T.BOOLEAN, tiny=T.TINYINT, big=T.BIGINT, huge=T.UBIGINT, re=T.REAL, do=T.DOUBLE,
    de=T.decimal(20, 3), vc=T.VARCHAR, vb=T.VARBINARY, da=T.DATE, ti=T.TIME, ts=T.TIMESTAMP,
    uu=T.UUID, ar=SqlType(T.Kind.ARRAY, children=(T.INTEGER,)),
    ma=SqlType(T.Kind.MAP, children=(T.VARCHAR, T.DATE)), ro=PAIR,
    md=SqlType(T.Kind.MAP, children=(T.DATE, T.TIME)),
)  # fmt: skip
FULL: tuple[Any, ...] = (
    1, True, -5, 2**40, 2**64 - 1, 0.5, 1e300, Decimal("-12345678901234.567"), "Zoë", b"\0\xff",
    datetime.date(1969, 12, 31), datetime.time(23, 59, 59, 123456),
    datetime.datetime(2024, 2, 29, 12, 0, 0, 5), uuid.UUID(int=7), [1, None],
    {"x": datetime.date(2024, 1, 1)}, (7, "b"), {datetime.date(2024, 1, 1): 5000},
)  # fmt: skip
NULLS = (2, *(None,) * 17)
SMALL = schema(id=NOT_NULL, name=T.VARCHAR)


def rows(*parsed: Parsed) -> list[tuple[Any, ...]]:
    return [
        row
        for p in parsed
        for b in p.batches
        for row in zip(*[column_to_python(c) for c in b.columns], b.ops.tolist(), strict=True)
    ]


def encoder(table: Schema = SMALL, key: tuple[int, ...] = (), **config: Any) -> AvroEncoder:
    return AvroEncoder(config, table, key, topic="t", name="m")


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        yield server


def test_every_type_survives_the_way_out_and_in() -> None:
    batch = batch_from_rows(WIDE, [FULL, NULLS])
    written = [v for _, v, _ in encoder(WIDE).messages(batch)]
    text = json.dumps(record_schema(WIDE, "m"))
    parser = AvroParser({"schema": text}, WIDE)
    found = []
    for value in written:
        assert value is not None and value[:5] == bytes(5)
        read = fastavro.schemaless_reader(io.BytesIO(value[5:]), json.loads(text), None)
        assert read["k"] in (1, 2)
        found += rows(parser.feed(value), parser.finish())

    assert found == [(*r, 1) for r in rows_of(batch)]


def rows_of(batch: Any) -> list[tuple[Any, ...]]:
    return list(zip(*[column_to_python(c) for c in batch.columns], strict=True))


def test_confluents_deserializer_reads_what_we_write(registry: RegistryServer) -> None:
    out = encoder(WIDE, registry_urls=[registry.url])
    ((_, value, headers),) = out.messages(batch_from_rows(WIDE, [FULL]))
    read = AvroDeserializer(SchemaRegistryClient({"url": registry.url}))
    datum = read(value, SerializationContext("t", MessageField.VALUE))

    assert headers == [("op", "insert")]
    assert datum["de"] == FULL[7] and datum["uu"] == FULL[13] and datum["ma"] == FULL[15]
    assert datum["ts"] == FULL[12].replace(tzinfo=datetime.UTC)
    assert datum["ro"] == {"a": 7, "b": "b"}
    assert registry.subjects == {"t-value": [1]}


def test_we_read_what_confluents_serializer_writes(registry: RegistryServer) -> None:
    text = json.dumps(
        {"type": "record", "name": "r", "fields": [
            {"name": "NAME", "type": ["null", "string"]}, {"name": "id", "type": "int"},
            {"name": "more", "type": "double"}]}
    )  # fmt: skip
    write = AvroSerializer(SchemaRegistryClient({"url": registry.url}), text)
    where = SerializationContext("t", MessageField.VALUE)
    parser = AvroParser({"registry_urls": ["http://127.0.0.1:1", registry.url]}, SMALL)
    for i in range(3):
        parser.feed(write({"NAME": "x", "id": i, "more": 0.5}, where))
        assert rows(parser.finish()) == [(i, "x", 1)]
    assert registry.requests.count("GET /schemas/ids/1") == 1


def test_changes_of_a_key_are_told_in_a_header(registry: RegistryServer) -> None:
    out = encoder(key=(0,), registry_urls=[registry.url], cdc_field="cdc")
    batch = batch_from_rows(SMALL, [(1, "a"), (1, "b"), (2, "c"), (3, "d")], [-1, 1, -1, 1])
    found = list(out.messages(batch))
    keys = [fastavro.schemaless_reader(io.BytesIO((k or b"")[5:]), KEY, None) for k, _, _ in found]
    told = {k["id"]: (h[0][1], _cdc(v)) for k, (_, v, h) in zip(keys, found, strict=True)}

    assert told == {2: ("delete", "D"), 1: ("update", "U"), 3: ("insert", "I")}
    assert set(registry.subjects) == {"t-value", "t-key"}


KEY = {"type": "record", "name": "k", "fields": [{"name": "id", "type": "int"}]}


def _cdc(value: bytes | None) -> str:
    made = record_schema(SMALL, "m")
    made["fields"].append({"name": "cdc", "type": "string"})
    read: Any = fastavro.schemaless_reader(io.BytesIO((value or b"")[5:]), made, None)
    return str(read["cdc"])


@pytest.mark.parametrize(
    ("strategy", "subject"),
    [("topic_name", "t-value"), ("record_name", "n.m"), ("topic_record_name", "t-n.m")],
)
def test_subjects_are_named_by_the_strategy(
    registry: RegistryServer, strategy: str, subject: str
) -> None:
    config = {"registry_urls": [registry.url], "namespace": "n", "subject_name_strategy": strategy}
    encoder(**config).encode(batch_from_rows(SMALL, [(1, "a")]))
    assert list(registry.subjects) == [subject]


def test_a_schema_of_ones_own_may_leave_columns_out() -> None:
    own = {"type": "record", "name": "mine", "fields": [{"name": "name", "type": "string"}]}
    out = encoder(schema=json.dumps(own), skip_schema_id=True)
    (value,) = out.encode(batch_from_rows(SMALL, [(1, "a")]))
    assert value == b"\x02a"
    with pytest.raises(UserError, match="does not fit the schema"):
        out.encode(batch_from_rows(SMALL, [(1, None)]))


def test_debezium_deletes_what_was_before_and_inserts_what_is_after() -> None:
    row = {"type": "record", "name": "row", "fields": [
        {"name": "id", "type": "int"}, {"name": "name", "type": "string"}]}  # fmt: skip
    envelope = {"type": "record", "name": "e", "fields": [
        {"name": "before", "type": ["null", row]},
        {"name": "after", "type": ["null", "row"]}]}  # fmt: skip
    parser = AvroParser(
        {"schema": json.dumps(envelope), "update_format": "debezium", "skip_schema_id": True}, SMALL
    )
    data = io.BytesIO()
    fastavro.schemaless_writer(
        data, envelope, {"before": {"id": 1, "name": "a"}, "after": {"id": 1, "name": "b"}}
    )
    parser.feed(data.getvalue())
    assert rows(parser.finish()) == [(1, "a", 0), (1, "b", 1)]


DATE = {"type": "int", "logicalType": "date"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
LOCAL = {"type": "long", "logicalType": "local-timestamp-millis"}
UUID16 = {"type": "fixed", "name": "u", "size": 16}
INTS = SqlType(T.Kind.ARRAY, children=(T.INTEGER,))
STRICT = SqlType(T.Kind.ROW, children=(NOT_NULL, T.VARCHAR), names=("a", "b"))
NOON = 43_200_000_000


def decimal(precision: int, scale: int) -> dict[str, Any]:
    return {"type": "bytes", "logicalType": "decimal", "precision": precision, "scale": scale}


def record(**fields: Any) -> dict[str, Any]:
    named = [{"name": n, "type": t} for n, t in fields.items()]
    return {"type": "record", "name": "inner", "fields": named}


def read_as(type: SqlType, avro: Any, value: Any) -> Parsed:
    """What the parser makes of a record with one field."""
    outer = {"type": "record", "name": "r", "fields": [{"name": "x", "type": avro}]}
    data = io.BytesIO()
    fastavro.schemaless_writer(data, fastavro.parse_schema(outer), {"x": value})
    config = {"schema": json.dumps(outer), "skip_schema_id": True}
    parser = AvroParser(config, schema(x=type))
    parser.feed(data.getvalue())
    return parser.finish()


@pytest.mark.parametrize(
    ("type", "avro", "value", "expected"),
    [
        (T.TINYINT, "long", 127, 127),
        (T.INTEGER, decimal(9, 2), Decimal("7.00"), 7),
        (T.DOUBLE, "double", float("inf"), float("inf")),
        (T.DOUBLE, "int", 3, 3.0),
        (T.REAL, "string", "1.5", 1.5),
        (T.decimal(5, 2), decimal(10, 4), Decimal("1.2300"), Decimal("1.23")),
        (T.decimal(5, 2), "double", 0.1, Decimal("0.10")),
        (T.VARCHAR, {"type": "enum", "name": "e", "symbols": ["A"]}, "A", "A"),
        (T.VARBINARY, {"type": "fixed", "name": "f", "size": 2}, b"\xffb", b"\xffb"),
        (T.DATE, "int", 1, datetime.date(1970, 1, 2)),
        (T.DATE, "string", "2020-01-01", datetime.date(2020, 1, 1)),
        (T.TIME, "string", "12:00:00", NOON * 1000),
        (T.TIMESTAMP, "string", "1970-01-01T14:00:00+02:00", NOON),
        (T.TIMESTAMP, LOCAL, datetime.datetime(1970, 1, 1, 12), NOON),
        (T.TIMESTAMP_TZ, MICROS, datetime.datetime(1970, 1, 1, 12, tzinfo=datetime.UTC), NOON),
        (T.UUID, UUID16, uuid.UUID(int=7).bytes, uuid.UUID(int=7)),
        (T.VARIANT, "string", '{"b":1,"a":null}', '{"a":null,"b":1}'),
        (T.VARIANT, "string", "null", "null"),
        (STRICT, record(B="string", A="int", c="int"), {"A": 1, "B": "x", "c": 2}, (1, "x")),
        (STRICT, record(a="int"), {"a": 1}, (1, None)),
    ],
)  # fmt: skip
def test_a_value_is_taken_as_other_writers_spell_it(
    type: SqlType, avro: Any, value: Any, expected: Any
) -> None:
    assert rows(read_as(type, avro, value)) == [(expected, 1)]


@pytest.mark.parametrize(
    ("type", "avro", "value", "problem"),
    [
        (T.BOOLEAN, "int", 5, "an integer where a boolean"),
        (T.TINYINT, "int", 128, "out of range for TINYINT"),
        (T.INTEGER, "double", 1.7, "a number where an integer"),
        (T.INTEGER, "string", "5", "a string where an integer"),
        (T.INTEGER, "boolean", True, "a boolean where an integer"),
        (T.UBIGINT, "long", -1, "out of range for BIGINT UNSIGNED"),
        (T.REAL, "double", 1e300, "out of range for REAL"),
        (T.decimal(5, 2), decimal(10, 2), Decimal("12345.67"), "out of range"),
        (T.decimal(5, 2), decimal(10, 4), Decimal("1.2345"), "more fractional digits"),
        (T.VARCHAR, "int", 5, "an integer where a string"),
        (T.VARCHAR, "bytes", b"\xff", "bytes where a string"),
        (T.VARBINARY, "int", 3, "an integer where bytes"),
        (T.DATE, "int", 2**31 - 1, "outside the years"),
        (T.DATE, MICROS, datetime.datetime(2020, 1, 1), "a timestamp where a date"),
        (T.TIME, "long", -5, "not within a day"),
        (T.TIMESTAMP, "long", 2**62, "outside the years"),
        (T.TIMESTAMP, DATE, datetime.date(2020, 1, 1), "a date where a timestamp"),
        (T.UUID, "string", "urn:uuid:123e4567-e89b-12d3-a456-426655440000", "not a UUID"),
        (T.VARIANT, "string", "nope", "not JSON"),
        (INTS, {"type": "array", "items": "long"}, [1, 2**40], "at .1.: .* out of range"),
        (STRICT, record(b="string"), {"b": "x"}, "at .a: null or nothing"),
        (STRICT, "int", 5, "where an object is expected"),
    ],
)
def test_a_value_that_its_column_cannot_hold_is_reported_and_never_another_value(
    type: SqlType, avro: Any, value: Any, problem: str
) -> None:
    parsed = read_as(type, avro, value)
    (error,) = parsed.errors
    assert rows(parsed) == [] and error.field == "x" and re.search(problem, error.description)


def test_a_quoted_column_is_its_own_spelling_only() -> None:
    both = Schema((replace(SMALL.fields[1], name="A"), replace(SMALL.fields[1], name="a")))
    text = record_schema(schema(A=T.VARCHAR, a=T.VARCHAR), "m")
    parser = AvroParser({"schema": json.dumps(text), "skip_schema_id": True}, both)
    data = io.BytesIO()
    fastavro.schemaless_writer(data, fastavro.parse_schema(text), {"A": "x", "a": "y"})
    parser.feed(data.getvalue())
    assert rows(parser.finish()) == [("x", "y", 1)]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\x01\x00\x00\x00\x00\x02", "zero byte and a schema id: set skip_schema_id"),
        (bytes(5), "the record ends before its schema does"),
        (bytes(5) + b"\x02\x02a!", "more bytes"),
    ],
)
def test_a_record_that_is_wrong_is_reported_and_the_next_one_is_read(
    message: bytes, problem: str
) -> None:
    parser = AvroParser({"schema": json.dumps(record_schema(WORD, "m"))}, WORD)
    parser.feed(message)
    (error,) = parser.finish().errors
    assert problem in error.description and error.event_number == 1
    parser.feed(bytes(5) + b"\x02a")
    assert rows(parser.finish()) == [("a", 1)]


WORD = schema(w=T.VARCHAR.with_nullable(False))


def test_a_registry_that_is_away_is_worth_another_try_and_one_that_refuses_is_not(
    registry: RegistryServer,
) -> None:
    batch = batch_from_rows(SMALL, [(1, "a")])
    with pytest.raises(TransientError, match="refused"):
        encoder(registry_urls=["http://127.0.0.1:1"]).encode(batch)
    with RegistryServer(("ada", "secret")) as closed:
        with pytest.raises(UserError, match="401"):
            encoder(registry_urls=[closed.url]).encode(batch)
        login = {"registry_username": "ada", "registry_password": "secret"}
        assert encoder(registry_urls=[closed.url], **login).encode(batch)
    parser = AvroParser({"registry_urls": [registry.url]}, SMALL)
    parser.feed(b"\0\0\0\0\x63x")
    assert "Schema not found" in parser.finish().errors[0].description


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"key_mode": "key_fields"}, "needs an index"),
        ({"update_format": "confluent_jdbc"}, "key_fields"),
        ({"cdc_field": "name"}, "names a column"),
        ({"schema": "{"}, "is no Avro schema"),
        ({"schema": '{"type": "record", "name": "r", "fields": [{"name": "z", "type": "int"}]}'},
         "the view has not: z"),
        ({"registry_username": "x"}, "belong together"),
        ({"registry": "x"}, "'registry' is unknown"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_work_is_refused_by_name(
    config: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        encoder(**config)


def test_a_parser_needs_one_source_of_schemas_and_columns_need_avro_names() -> None:
    for config in ({}, {"schema": '"int"', "registry_urls": ["http://x"]}):
        with pytest.raises(UserError, match="is required, and not both"):
            AvroParser(config, SMALL)
    odd = Schema((replace(SMALL.fields[0], name="a b"),))
    with pytest.raises(UserError, match="is no Avro name"):
        AvroRows({}, odd, Schema(()), "t", "m")
