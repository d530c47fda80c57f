"""Avro in and out, held against fastavro and Confluent's own serializers."""

from __future__ import annotations

import datetime
import io
import json
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
)  # fmt: skip
FULL: tuple[Any, ...] = (
    1, True, -5, 2**40, 2**64 - 1, 0.5, 1e300, Decimal("-12345678901234.567"), "Zoë", b"\0\xff",
    datetime.date(1969, 12, 31), datetime.time(23, 59, 59, 123456),
    datetime.datetime(2024, 2, 29, 12, 0, 0, 5), uuid.UUID(int=7), [1, None],
    {"x": datetime.date(2024, 1, 1)}, (7, "b"),
)  # fmt: skip
NULLS = (2, *(None,) * 16)
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


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\x01\x00\x00\x00\x00\x02", "zero byte"),
        (bytes(5), "not valid Avro"),
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
