"""The json parser: what it reads, what it refuses, and that its two readings agree."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.batch import DELETE, INSERT, UPDATE, InputBatch
from penstock.data.build import column_from_python, column_to_python
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
    TINYINT,
    UBIGINT,
    UUID,
    VARBINARY,
    VARCHAR,
    Kind,
    Schema,
    SqlType,
    schema,
)
from penstock.data.types import decimal as decimal_type
from penstock.errors import UserError
from penstock.io.contracts import Parsed
from penstock.io.formats import make_parser
from penstock.io.formats.json_parser import JsonParser
from tests.examples import examples

D = decimal.Decimal
PEOPLE = schema(id=BIGINT.with_nullable(False), name=VARCHAR)


def parse(
    data: bytes | str,
    table: Schema = PEOPLE,
    *,
    key: tuple[int, ...] = (),
    defaults: tuple[Any, ...] = (),
    chunk: int = 1 << 30,
    exactly: bool = False,
    **config: Any,
) -> Parsed:
    """Feed `data` in pieces of `chunk` bytes and finish; all results in one."""
    if isinstance(data, str):
        data = data.encode()
    parser = make_parser({"name": "json", "config": config}, table, key, defaults)
    if exactly:
        parser._cells.is_usable = False  # type: ignore[attr-defined]
    parts = [parser.feed(data[i : i + chunk]) for i in range(0, len(data), chunk)]
    parts.append(parser.finish())
    batches = tuple(b for p in parts for b in p.batches)
    errors = tuple(e for p in parts for e in p.errors)
    return Parsed(batches, errors, sum(p.records for p in parts))


def rows_of(parsed: Parsed) -> list[tuple[Any, ...]]:
    return [row for b in parsed.batches for row in rows_of_batch(b)]


def rows_of_batch(b: InputBatch) -> list[tuple[Any, ...]]:
    return list(zip(*[column_to_python(c) for c in b.columns], strict=True))


def ops_of(parsed: Parsed) -> list[int]:
    return [op for b in parsed.batches for op in b.ops.tolist()]


def one(type_: SqlType, literal: str, **config: Any) -> Any:
    """The value that JSON `literal` has in a column of `type_`, by both readings."""
    record = f'{{"x": {literal}}}\n'
    both = [
        parse(record, schema(x=type_), update_format="raw", exactly=e, **config)
        for e in (False, True)
    ]
    assert not both[0].errors, both[0].errors
    values = [rows_of(p)[0][0] for p in both]
    assert values[0] == values[1]
    return values[0]


def refused(type_: SqlType, literal: str, **config: Any) -> str:
    record = f'{{"x": {literal}}}\n'
    parsed = parse(record, schema(x=type_), update_format="raw", **config)
    assert parsed.records == 0
    (error,) = parsed.errors
    assert error.event_number == 1
    assert error.field == "x"
    return error.description


# records


def test_an_event_applies_delete_then_insert_then_update() -> None:
    event = '{"update": {"id": 3}, "insert": {"id": 2}, "delete": {"id": 1}}'
    parsed = parse(event, key=(0,))
    assert ops_of(parsed) == [DELETE, INSERT, UPDATE]
    assert [r[0] for r in rows_of(parsed)] == [1, 2, 3]


def test_an_update_marks_which_columns_it_has() -> None:
    parsed = parse('{"update": {"id": 1}}\n{"update": {"id": 2, "name": "b"}}\n', key=(0,))
    (batch,) = parsed.batches
    assert batch.present[1] is not None
    assert batch.present[1].tolist() == [0, 1]


def test_batches_of_one_feed_are_one_and_keep_what_updates_lack() -> None:
    events = [f'{{"insert": {{"id": {i}, "name": "a long name of row {i}"}}}}' for i in range(3000)]
    events[2000] = '{"update": {"id": 7}}'
    parsed = parse("\n".join(events) + "\n", key=(0,))
    (batch,) = parsed.batches
    assert batch.present[0] is None
    assert batch.present[1] is not None
    assert np.flatnonzero(batch.present[1] == 0).tolist() == [2000]
    assert rows_of(parsed)[1999] == (1999, "a long name of row 1999")
    assert np.flatnonzero(batch.ops == UPDATE).tolist() == [2000]


def test_a_value_of_many_lines_takes_time_in_proportion() -> None:
    data = json.dumps([{"id": i} for i in range(20_000)], indent=1)
    parsed = parse(data, update_format="raw", chunk=50_000)
    assert parsed.records == 0
    assert len(parsed.errors) == 1


def test_an_update_needs_a_primary_key() -> None:
    (error,) = parse('{"update": {"id": 1}}').errors
    assert "primary key" in error.description


def test_a_keyed_delete_needs_the_key_only() -> None:
    table = schema(id=BIGINT.with_nullable(False), name=VARCHAR.with_nullable(False))
    parsed = parse('{"delete": {"id": 1}}\n{"delete": {"id": 2, "name": 7}}', table, key=(0,))
    assert not parsed.errors
    assert rows_of(parsed) == [(1, ""), (2, "")]
    assert parse('{"delete": {"name": "a"}}', table, key=(0,)).errors[0].field == "id"


def test_debezium_deletes_before_and_inserts_after() -> None:
    record = {"payload": {"op": "u", "before": {"id": 1}, "after": {"id": 2}}}
    parsed = parse(json.dumps(record), update_format="debezium")
    assert ops_of(parsed) == [DELETE, INSERT]


def test_rows_may_be_arrays_in_column_order() -> None:
    assert rows_of(parse('{"insert": [1, "a"]}')) == [(1, "a")]
    (error,) = parse('{"insert": [1]}').errors
    assert "2 columns" in error.description


def test_values_may_be_concatenated_with_any_white_space() -> None:
    data = '{"id":1}{"id":2}\r\n\t {"id"\n:\n3} \n\n'
    for chunk in (1, 3, 1000):
        assert [r[0] for r in rows_of(parse(data, update_format="raw", chunk=chunk))] == [1, 2, 3]


def test_a_number_that_is_cut_is_one_value() -> None:
    (error,) = parse("1234 ", update_format="raw", chunk=2).errors
    assert error.invalid_text == "1234"


def test_null_is_the_empty_list() -> None:
    for array in (True, False):
        parsed = parse("null", array=array, update_format="raw")
        assert (parsed.records, parsed.errors) == (0, ())


def test_unquoted_columns_match_any_case_and_quoted_ones_their_own() -> None:
    table = schema(id=INTEGER, Name=VARCHAR)
    assert rows_of(parse('{"ID": 1, "Name": "a"}', table, update_format="raw")) == [(1, "a")]
    assert rows_of(parse('{"Id": 1, "name": "a"}', table, update_format="raw")) == [(1, None)]


def test_unknown_keys_are_ignored() -> None:
    assert rows_of(parse('{"insert": {"id": 1, "zzz": [{}]}, "table": "t"}')) == [(1, None)]


def test_a_missing_field_takes_the_default_and_an_explicit_null_does_not() -> None:
    default = column_from_python(VARCHAR, ["anonymous, whoever that is"])
    data = '{"insert": {"id": 1}}\n{"insert": {"id": 2, "name": null}}'
    for exactly in (False, True):
        parsed = parse(data, defaults=(None, default), exactly=exactly)
        assert rows_of(parsed) == [(1, "anonymous, whoever that is"), (2, None)]


def test_a_missing_field_without_a_default_is_an_error_of_its_record() -> None:
    parsed = parse('{"insert": {"name": "a"}}\n{"insert": {"id": 2}}')
    assert rows_of(parsed) == [(2, None)]
    (error,) = parsed.errors
    assert (error.event_number, error.field) == (1, "id")
    assert error.suggestion


@pytest.mark.parametrize(
    ("config", "record", "hint"),
    [
        ({"update_format": "raw"}, '[{"id": 1}, {"id": 2}]', "array=true"),
        ({"update_format": "raw"}, '{"insert": {"id": 1}}', "update_format=insert_delete"),
        ({"update_format": "raw"}, '{"payload": {"after": {}}}', "update_format=debezium"),
        ({"update_format": "debezium"}, '{"after": {"id": 1}}', "schemas.enable=true"),
        ({}, '{"id": 1}', "update_format=raw"),
        ({}, '[{"insert": {"id": 1}}]', "; set array=true"),
    ],
)
def test_a_record_of_another_format_is_told_which(
    config: dict[str, Any], record: str, hint: str
) -> None:
    (error,) = parse(record, **config).errors
    assert hint in error.sentence


def test_a_bad_record_takes_no_good_one_with_it() -> None:
    lines = [f'{{"insert": {{"id": {i}}}}}' for i in range(1000)]
    lines[3], lines[500], lines[999] = '{"insert": {"id": "x"}}', '{"insert": {"id": ', "]"
    for chunk in (100, 1 << 20):
        parsed = parse("\n".join(lines), chunk=chunk)
        assert [e.event_number for e in parsed.errors] == [4, 501, 1000]
        expected = [i for i in range(1000) if i not in (3, 500, 999)]
        assert [r[0] for r in rows_of(parsed)] == expected


def test_a_record_with_a_bad_half_is_dropped_whole() -> None:
    parsed = parse('{"delete": {"id": 1}, "insert": {"id": "x"}}')
    assert (parsed.records, len(parsed.errors)) == (0, 1)


def test_an_array_with_a_bad_element_is_dropped_whole() -> None:
    data = '[{"id": 1}, {"id": 2}]\n[{"id": 3}, {"id": "x"}, {"id": false}]\n[{"id": 4}]'
    parsed = parse(data, update_format="raw", array=True)
    assert [r[0] for r in rows_of(parsed)] == [1, 2, 4]
    assert [e.event_number for e in parsed.errors] == [4, 5]


def test_a_large_array_in_small_pieces_is_one_array() -> None:
    data = json.dumps([{"id": i, "name": "]}[{" * 20} for i in range(3000)])
    parsed = parse(data, update_format="raw", array=True, chunk=4096)
    assert parsed.records == 3000


def test_a_single_line_is_a_single_value_when_asked() -> None:
    data = '{"id": 1}\n{"id": 2} {"id": 3}\n{"id":\n4}\n'
    parsed = parse(data, update_format="raw", lines="single")
    assert [r[0] for r in rows_of(parsed)] == [1]
    assert len(parsed.errors) == 3


def test_bytes_that_are_not_utf8_spoil_only_their_record() -> None:
    parsed = parse(b'{"id": 1, "name": "\xff"}\n{"id": 2}\n', update_format="raw")
    assert rows_of(parsed) == [(2, None)]
    assert parsed.errors[0].field == "name"


def test_deep_nesting_is_an_error_not_a_crash() -> None:
    parsed = parse("[" * 100_000 + '\n{"id": 1}', update_format="raw")
    assert rows_of(parsed) == [(1, None)]
    assert len(parsed.errors) == 1


def test_a_parser_is_as_new_after_finish() -> None:
    parser = make_parser({"name": "json", "config": {"update_format": "raw"}}, PEOPLE)
    parser.feed(b'{"id": ')
    assert len(parser.finish().errors) == 1
    parser.feed(b'{"id": 1}')
    assert parser.finish().errors == ()


# values


@pytest.mark.parametrize(
    ("type_", "literal", "value"),
    [
        (TINYINT, "-128", -128),
        (UBIGINT, "18446744073709551615", 2**64 - 1),
        (BIGINT, "-9223372036854775808", -(2**63)),
        (BOOLEAN, "true", True),
        (DOUBLE, "1", 1.0),
        (DOUBLE, '"-1.5e3"', -1500.0),
        (REAL, '"0.5"', 0.5),
        (decimal_type(5, 2), "12.5", D("12.50")),
        (decimal_type(5, 2), "-0.0", D(0)),
        (decimal_type(5, 2), '"1.25e2"', D(125)),
        (decimal_type(38, 10), "1234567890123456789012345678.0123456789",
         D("1234567890123456789012345678.0123456789")),
        (decimal_type(20, 0), "12345678901234567890", D("12345678901234567890")),
        (decimal_type(10, 2), "1.100000000000000000000000", D("1.10")),
        (VARCHAR, '"\\u00fc\\ud83d\\ude00"', "ü😀"),
        (VARCHAR, '""', ""),
        (DATE, '"2024-02-29"', datetime.date(2024, 2, 29)),
        (TIME, '"23:59:59.123456789"', 86399_123456789),
        (TIMESTAMP, '"1970-01-01 00:00:01.5"', 1_500_000),
        (TIMESTAMP, '"1970-01-01t00:00:01"', 1_000_000),
        (TIMESTAMP, '"1970-01-01T02:00:00+01:00"', 3_600_000_000),
        (TIMESTAMP, '"1970-01-01T00:00:00.123456789Z"', 123_456),
        (TIMESTAMP_TZ, '"1970-01-01 00:00:00-00:01"', 60_000_000),
        (TIMESTAMP, '"1970-01-02"', 86_400_000_000),
        (UUID, '"123E4567-e89b-12d3-a456-426655440000"',
         uuid.UUID("123e4567-e89b-12d3-a456-426655440000")),
        (UUID, '"123e4567e89b12d3a456426655440000"',
         uuid.UUID("123e4567-e89b-12d3-a456-426655440000")),
        (VARBINARY, "[0, 255, 7]", b"\x00\xff\x07"),
        (INTEGER, "null", None),
    ],
)  # fmt: skip
def test_default_spellings(type_: SqlType, literal: str, value: Any) -> None:
    assert one(type_, literal) == value


@pytest.mark.parametrize(
    ("type_", "literal", "complaint"),
    [
        (TINYINT, "128", "out of range"),
        (UBIGINT, "-1", "out of range"),
        (BIGINT, "123456789012345678901234567890", "out of range"),
        (INTEGER, "1.0", "a number where an integer"),
        (INTEGER, '"1"', "a string where an integer"),
        (INTEGER, "true", "a boolean where an integer"),
        (BOOLEAN, "1", "an integer where a boolean"),
        (VARCHAR, "1", "an integer where a string"),
        (VARCHAR, '"\\ud800"', "surrogate"),
        (decimal_type(5, 2), "1000", "out of range"),
        (decimal_type(5, 2), "1e999999999", "out of range"),
        (decimal_type(5, 2), "1.005", "fractional digits"),
        (decimal_type(5, 2), "1e-30", "fractional digits"),
        (decimal_type(5, 2), '"abc"', "not a number"),
        (DOUBLE, "1e400", "out of range"),
        (REAL, "1e39", "out of range"),
        (DOUBLE, '"NaN"', "not a number"),
        (DATE, '"2023-02-29"', "calendar"),
        (DATE, '"0000-01-01"', "calendar"),
        (TIMESTAMP, '"0000-12-31 23:59:59"', "calendar"),
        (TIMESTAMP, '"0001-01-01T00:00:00+01:00"', "years 0001"),
        (DATE, "19000", "a date as a string"),
        (TIME, '"24:00:00"', "time of the day"),
        (TIMESTAMP, '"2024-01-01 10:11"', "not a timestamp"),
        (TIMESTAMP, '"2024-01-01 10:11:12+25:00"', "offset"),
        (UUID, '"123e4567"', "not a UUID"),
        (VARBINARY, "[256]", "0 to 255"),
        (INTEGER.with_nullable(False), "null", "null in a column"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_reason(
    type_: SqlType, literal: str, complaint: str
) -> None:
    assert complaint in refused(type_, literal)


def test_flavors_spell_times_as_numbers() -> None:
    day, ms = datetime.date(1970, 1, 11), 1_700_000_000_123
    assert one(DATE, "10", json_flavor="debezium_mysql") == day
    assert one(TIME, "5", json_flavor="debezium_mysql") == 5000
    assert one(TIME, "5", json_flavor="kafka_connect_json_converter") == 5_000_000
    assert one(TIMESTAMP, str(ms), json_flavor="debezium_postgres") == ms * 1000
    assert one(TIMESTAMP, str(ms), json_flavor="pandas") == ms * 1000
    assert one(DATE, "10", json_flavor="pandas") == day
    assert one(DATE, '"1970-01-11"', json_flavor="pandas") == day
    assert one(decimal_type(5, 2), '"1.5"', json_flavor="pandas") == D("1.50")
    assert one(TIMESTAMP, '"2024-01-01T00:00:00Z"', json_flavor="debezium_mysql") > 0
    assert one(VARBINARY, '"0xFF00"', json_flavor="c_hex") == b"\xff\x00"
    assert one(VARBINARY, '"11Z"', json_flavor="blockchain") == b"\x00\x00\x20"


# the two readings

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-300, 300),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(-1000, 1000, places=2).map(float),
    st.text(max_size=20),
    st.dates().map(str),
    st.datetimes().map(str),
    st.datetimes().map(lambda t: t.isoformat() + "Z"),
    st.times().map(str),
    st.uuids().map(str),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.from_regex(r"[0-9]{4}-[01][0-9]-[0-3][0-9]([T ][0-2][0-9](:[0-5][0-9]){0,2}(\.[0-9]{1,9})?"
                  r"(Z|[+-][0-2][0-9](:?[0-6][0-9])?)?)?", fullmatch=True),
)  # fmt: skip
_TYPES = st.sampled_from(
    [TINYINT, BIGINT, UBIGINT, DOUBLE, REAL, BOOLEAN, VARCHAR, DATE, TIME, TIMESTAMP, UUID,
     decimal_type(5, 2), decimal_type(38, 6), VARBINARY]
)  # fmt: skip


@settings(max_examples=examples(400), deadline=None)
@given(_TYPES, st.lists(_SCALARS, min_size=1, max_size=3), st.booleans())
def test_the_quick_reading_agrees_with_the_exact_one(
    type_: SqlType, values: list[Any], nullable: bool
) -> None:
    table = schema(x=type_.with_nullable(nullable), y=INTEGER)
    data = "\n".join(json.dumps({"x": v}) for v in values)
    quick = parse(data, table, update_format="raw")
    exact = parse(data, table, update_format="raw", exactly=True)
    assert repr(rows_of(quick)) == repr(rows_of(exact))
    assert quick.errors == exact.errors


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.integers(0, 99), max_size=12), st.integers(1, 40), st.randoms())
def test_how_the_stream_is_cut_does_not_matter(ids: list[int], chunk: int, random: Any) -> None:
    gaps = [" ", "\n", "\r\n", "", "\n\n"]
    data = "".join(f'{{"id": {i}, "name": "é{i}"}}' + random.choice(gaps) for i in ids)
    assert [r[0] for r in rows_of(parse(data, update_format="raw", chunk=chunk))] == ids


# options


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"update_format": "weighted"}, "ConfigError.InputFormatNotSupported"),
        ({"update_format": "sideways"}, "ConfigError.ParserConfigParseError"),
        ({"json_flavour": "pandas"}, "ConfigError.ParserConfigParseError"),
        ({"array": "perhaps"}, "ConfigError.ParserConfigParseError"),
    ],
)
def test_bad_options_are_refused_by_name(config: dict[str, Any], code: str) -> None:
    with pytest.raises(UserError) as caught:
        JsonParser(config, PEOPLE)
    assert caught.value.code == code
    assert next(iter(config)) in str(caught.value)


def test_an_unknown_format_is_named() -> None:
    with pytest.raises(UserError, match="yaml") as caught:
        make_parser({"name": "yaml"}, PEOPLE)
    assert caught.value.code == "ConfigError.UnknownInputFormat"


def test_a_column_that_json_cannot_fill_yet_is_refused_at_once() -> None:
    with pytest.raises(UserError, match="'v'"):
        JsonParser({}, schema(v=SqlType(Kind.INTERVAL_LONG)))
