"""The json and csv encoders: shapes, order, exactness, and that our parsers read them back."""

from __future__ import annotations

import datetime
import json
import math
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows, column_to_python
from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    REAL,
    TIME,
    TIMESTAMP,
    TIMESTAMP_TZ,
    UBIGINT,
    UUID,
    VARBINARY,
    VARCHAR,
    Kind,
    Schema,
    SqlType,
    decimal,
    schema,
)
from penstock.errors import UserError
from penstock.io.formats import encode_rows, make_encoder, make_parser
from tests.examples import examples

ITEMS = schema(id=BIGINT, name=VARCHAR)


def encode(format: str, batch: Batch, **config: Any) -> list[bytes]:
    return list(make_encoder({"name": format, "config": config}, batch.schema).encode(batch))


def one(type_: SqlType, value: Any, **config: Any) -> str:
    """The JSON text of one value."""
    (buffer,) = encode("json", batch_from_rows(schema(x=type_), [[value]]), **config)
    return buffer.decode().strip().removeprefix('{"insert":{"x":').removesuffix("}}")


def test_deletes_come_first_and_a_weight_is_as_many_records() -> None:
    batch = batch_from_rows(ITEMS, [[1, "a"], [2, "b"], [3, None], [4, "d"]], [2, -1, 0, -2])
    (buffer,) = encode("json", batch)
    assert buffer.decode().splitlines() == [
        '{"delete":{"id":2,"name":"b"}}',
        '{"delete":{"id":4,"name":"d"}}',
        '{"delete":{"id":4,"name":"d"}}',
        '{"insert":{"id":1,"name":"a"}}',
        '{"insert":{"id":1,"name":"a"}}',
    ]
    assert buffer.endswith(b"\n")


def test_buffers_hold_so_many_records_at_most() -> None:
    batch = batch_from_rows(ITEMS, [[i, "x"] for i in range(25)], [1] * 12 + [-1] * 13)
    for buffers in (encode_rows(batch, 10), encode("json", batch, array=True,
                                                   buffer_size_records=10)):  # fmt: skip
        records = [json.loads(b) for b in buffers]
        assert [len(r) for r in records] == [10, 10, 5]
        kinds = [next(iter(e)) for r in records for e in r]
        assert kinds == ["delete"] * 13 + ["insert"] * 12
    assert [b.count(b"\n") for b in encode("csv", batch, buffer_size_records="20")] == [20, 5]


def test_many_more_rows_than_a_slice_keep_their_kind() -> None:
    n = 25_000
    weights = [-1 if i % 2 else 1 for i in range(n)]
    batch = batch_from_rows(schema(id=BIGINT), [[i] for i in range(n)], weights)
    events = [e for b in encode_rows(batch) for e in json.loads(b)]
    assert [e["delete"]["id"] for e in events[: n // 2]] == list(range(1, n, 2))
    assert [e["insert"]["id"] for e in events[n // 2 :]] == list(range(0, n, 2))


def test_nothing_is_no_buffer() -> None:
    empty = batch_from_rows(ITEMS, [])
    assert encode("json", empty) == encode("csv", empty) == list(encode_rows(empty)) == []


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        (UBIGINT, 2**64 - 1, "18446744073709551615"),
        (BOOLEAN, True, "true"),
        (DOUBLE, 0.1, "0.1"),
        (DOUBLE, math.nan, "null"),
        (DOUBLE, -math.inf, "null"),
        (REAL, 0.1, "0.1"),
        (REAL, math.nan, "null"),
        (decimal(5, 2), Decimal("-12.5"), "-12.50"),
        (decimal(38, 10), Decimal("1e-10"), "0.0000000001"),
        (decimal(38, 0), Decimal(10**38 - 1), "9" * 38),
        (decimal(10, 8), Decimal(0), "0.00000000"),
        (VARCHAR, 'é"\n', '"é\\"\\n"'),
        (DATE, datetime.date(1, 1, 1), '"0001-01-01"'),
        (TIME, 1_500_000_000, '"00:00:01.5"'),
        (TIME, 36_000_000_000_000, '"10:00:00"'),
        (TIMESTAMP, -1, '"1969-12-31 23:59:59.999999"'),
        (TIMESTAMP, 600_000_000, '"1970-01-01 00:10:00"'),
        (TIMESTAMP_TZ, 500_000, '"1970-01-01 00:00:00.5+00:00"'),
        (UUID, uuid.UUID(int=255), '"00000000-0000-0000-0000-0000000000ff"'),
        (VARBINARY, b"\x00\xff", "[0,255]"),
        (INTEGER, None, "null"),
        (decimal(5, 2), None, "null"),
        (REAL, None, "null"),
    ],
)
def test_spellings(type_: SqlType, value: Any, text: str) -> None:
    assert one(type_, value) == text


def test_flavors_spell_otherwise() -> None:
    moment = 1_700_000_000_123_456
    assert one(TIMESTAMP, moment, json_flavor="kafka_connect_json_converter") == "1700000000123"
    assert one(TIME, 5_000_000, json_flavor="kafka_connect_json_converter") == "5"
    assert one(DATE, datetime.date(1970, 1, 11), json_flavor="debezium_mysql") == "10"
    assert one(TIMESTAMP, 0, json_flavor="debezium_mysql") == '"1970-01-01 00:00:00Z"'
    assert one(decimal(5, 2), Decimal("1.5"), json_flavor="snowflake") == '"1.50"'
    assert one(VARBINARY, b"\x00\x00\x20", json_flavor="blockchain") == '"11Z"'
    assert one(VARBINARY, b"\xff", json_flavor="c_hex") == '"0xff"'


def test_debezium_envelopes() -> None:
    batch = batch_from_rows(ITEMS, [[1, "a"], [2, "b"]], [1, -1])
    assert [json.loads(b) for b in encode("json", batch, update_format="debezium")] == [
        {"payload": {"op": "d", "before": {"id": 2, "name": "b"}}},
        {"payload": {"op": "c", "after": {"id": 1, "name": "a"}}},
    ]


def test_snowflake_numbers_its_records() -> None:
    batch = batch_from_rows(ITEMS, [[1, "a"], [2, "b"]], [1, -1])
    records = [json.loads(b) for b in encode("json", batch, update_format="snowflake")]
    assert [(r["id"], r["__action"], r["__seq_number"]) for r in records] == [
        (2, "delete", 0), (1, "insert", 1),
    ]  # fmt: skip
    assert len({r["__stream_id"] for r in records}) == 1


def test_csv_carries_the_weight_last() -> None:
    batch = batch_from_rows(ITEMS, [[1, "a,b"], [2, None], [None, ""]], [1, -2, 3])
    (buffer,) = encode("csv", batch)
    assert buffer.decode() == '2,NULL,-2\n1,"a,b",1\n,,3\n'


def test_csv_without_weights_repeats_rows_and_refuses_deletes() -> None:
    batch = batch_from_rows(ITEMS, [[1, "a"]], [2])
    assert encode("csv", batch, include_weight=False, delimiter=";") == [b"1;a\n1;a\n"]
    with pytest.raises(UserError, match="deleted"):
        encode("csv", batch_from_rows(ITEMS, [[1, "a"]], [-1]), include_weight=False)


def test_a_weight_beyond_all_reason_is_an_error_not_an_avalanche() -> None:
    with pytest.raises(UserError, match="1000001") as caught:
        encode("json", batch_from_rows(ITEMS, [[1, "a"]], [1_000_001]))
    assert caught.value.code == "EncodeError"


@pytest.mark.parametrize(
    ("format", "config", "code"),
    [
        ("json", {"update_format": "raw"}, "ConfigError.OutputFormatNotSupported"),
        ("json", {"update_format": "x"}, "ConfigError.EncoderConfigParseError"),
        ("json", {"buffer_size": 1}, "ConfigError.EncoderConfigParseError"),
        ("csv", {"delimiter": '"'}, "ConfigError.EncoderConfigParseError"),
        ("xml", {}, "ConfigError.UnknownOutputFormat"),
    ],
)
def test_bad_options_are_refused(format: str, config: dict[str, Any], code: str) -> None:
    with pytest.raises(UserError) as caught:
        make_encoder({"name": format, "config": config}, ITEMS)
    assert caught.value.code == code


def test_a_column_that_cannot_be_written_yet_is_refused_at_once() -> None:
    with pytest.raises(UserError, match="'v'"):
        make_encoder({"name": "json"}, schema(v=SqlType(Kind.INTERVAL_SHORT, unit="DAY")))


TABLE = schema(
    a=BIGINT, b=VARCHAR, c=decimal(38, 9), d=TIMESTAMP, e=BOOLEAN, f=DOUBLE, g=REAL, h=DATE,
    i=TIME, j=UUID, k=VARBINARY, l=TIMESTAMP_TZ, m=decimal(6, 2),
)  # fmt: skip
_MICROS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
_ROWS = st.lists(
    st.tuples(
        *[
            st.none() | s
            for s in (
                st.integers(-(2**63), 2**63 - 1),
                st.text(st.characters(codec="utf-8", blacklist_characters="\r\x00"), max_size=30)
                .filter(lambda s: s.lower() != "null"),
                st.decimals(-(10**28), 10**28, places=9),
                _MICROS,
                st.booleans(),
                st.floats(allow_nan=False, allow_infinity=False),
                st.floats(width=32, allow_nan=False, allow_infinity=False),
                st.dates(),
                st.integers(0, 86_399_999_999_999),
                st.uuids(),
                st.binary(max_size=20),
                _MICROS,
                st.decimals(-9999, 9999, places=2),
            )
        ]
    ),
    min_size=1,
    max_size=5,
)  # fmt: skip


def read_back(format: str, table: Schema, data: bytes) -> list[tuple[Any, ...]]:
    parser = make_parser({"name": format}, table)
    parsed = [parser.feed(data), parser.finish()]
    assert [e for p in parsed for e in p.errors] == []
    return [
        row
        for p in parsed
        for b in p.batches
        for row in zip(*[column_to_python(c) for c in b.columns], strict=True)
    ]


@settings(max_examples=examples(80), deadline=None)
@given(_ROWS, st.sampled_from(["json", "csv"]))
def test_our_parsers_read_back_what_we_write(rows: list[tuple[Any, ...]], format: str) -> None:
    batch = batch_from_rows(TABLE, rows)
    expected = list(zip(*[column_to_python(c) for c in batch.columns], strict=True))
    data = b"".join(encode(format, batch))
    assert repr(read_back(format, TABLE, data)) == repr(expected)


def test_columns_that_were_read_hold_the_invariants_of_batches() -> None:
    """No -0.0, zero bytes under NULL, contiguous, writeable, of the layout's dtype."""
    data = b'{"insert":{"a":null,"f":-0.0,"g":-0.0,"c":null,"b":"%s"}}\n' % (b"x" * 50)
    data += b'{"insert":{"a":1,"c":-1.5,"m":-0.5}}\n'
    for exactly in (False, True):
        parser = make_parser({"name": "json"}, TABLE)
        if exactly:
            parser._cells.is_usable = False  # type: ignore[attr-defined]
        (batch,) = parser.feed(data).batches
        for column in batch.columns:
            assert column.values.dtype == column.type.dtype
            assert column.values.flags.c_contiguous
            assert column.values.flags.writeable
            assert column.values.shape == ((2, 2) if column.type.is_wide else (2,))
            if column.valid is not None:
                assert column.valid.dtype == np.uint8
                assert not column.values[column.valid == 0].any()
        assert not np.signbit(batch.columns[5].values).any()
        assert not np.signbit(batch.columns[6].values).any()
