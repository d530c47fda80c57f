"""The csv parser: contract section 3 cell by cell, cuts anywhere, quick and exact alike."""

from __future__ import annotations

import csv
import datetime
import io
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.data.build import column_to_python
from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    TIME,
    TIMESTAMP,
    UUID,
    VARCHAR,
    Schema,
    SqlType,
    schema,
)
from penstock.data.types import decimal as decimal_type
from penstock.errors import UserError
from penstock.io.contracts import Parsed
from penstock.io.formats import make_parser
from tests.examples import examples

PEOPLE = schema(id=BIGINT.with_nullable(False), name=VARCHAR, score=DOUBLE)


def parse(
    data: str | bytes,
    table: Schema = PEOPLE,
    *,
    chunk: int = 1 << 30,
    exactly: bool = False,
    **config: Any,
) -> Parsed:
    if isinstance(data, str):
        data = data.encode()
    parser = make_parser({"name": "csv", "config": config}, table)
    if exactly:
        parser._quick = lambda _: None  # type: ignore[attr-defined]
    parts = [parser.feed(data[i : i + chunk]) for i in range(0, len(data), chunk)]
    parts.append(parser.finish())
    return Parsed(
        tuple(b for p in parts for b in p.batches),
        tuple(e for p in parts for e in p.errors),
        sum(p.records for p in parts),
    )


def rows_of(parsed: Parsed) -> list[tuple[Any, ...]]:
    return [
        row
        for b in parsed.batches
        for row in zip(*[column_to_python(c) for c in b.columns], strict=True)
    ]


def test_fields_come_in_table_order() -> None:
    assert rows_of(parse("1,a,1.5\n2,b,2\n")) == [(1, "a", 1.5), (2, "b", 2.0)]


def test_empty_and_null_are_null_except_that_an_empty_string_is_a_string() -> None:
    assert rows_of(parse("1,,\n2,NULL,null\n3,null,NULL\n")) == [
        (1, "", None), (2, None, None), (3, None, None),
    ]  # fmt: skip


def test_extra_fields_are_ignored_and_missing_ones_are_empty() -> None:
    assert rows_of(parse("1,a,1.5,zzz\n2\n")) == [(1, "a", 1.5), (2, "", None)]


def test_a_header_is_skipped_when_announced() -> None:
    for chunk in (1, 1000):
        parsed = parse("id,name,score\n1,a,1\n", headers="true", chunk=chunk)
        assert rows_of(parsed) == [(1, "a", 1.0)]
    (error,) = parse("id,name,score\n1,a,1\n").errors
    assert (error.event_number, error.field, error.invalid_text) == (1, "id", "id")
    assert error.suggestion == "set headers=true"


def test_a_header_with_the_columns_in_another_order_is_told() -> None:
    for chunk in (1, 1000):
        (error,) = parse("id,Score,name\n1,2,3\n", headers="true", chunk=chunk).errors
        assert "'Score' as field 2, which is read as column 'name'" in error.sentence
        assert "id,name,score" in error.sentence
    assert not parse("number,who,how much\n1,2,3\n", headers="true").errors


def test_another_delimiter_is_guessed_in_the_error() -> None:
    (error,) = parse("1;a;1.5\n").errors
    assert error.suggestion == "set delimiter to ';'"
    (error,) = parse('{"id": 1, "name": "a"}\n').errors
    assert error.suggestion == "set format to json, if that is what it is"


def test_quotes_hide_delimiters_line_breaks_and_quotes() -> None:
    for chunk in (1, 5, 1000):
        parsed = parse('1,"a,\n""b""",1\r\n2,"",2\r\n', chunk=chunk)
        assert rows_of(parsed) == [(1, 'a,\n"b"', 1.0), (2, "", 2.0)]


def test_a_stray_quote_is_text() -> None:
    data = '1,5" pipe,1\n2,"x\ny",2\n3,6" pipe,3\n'
    for chunk in (4, 1000):
        assert [r[1] for r in rows_of(parse(data, chunk=chunk))] == ['5" pipe', "x\ny", '6" pipe']


def test_a_bad_line_takes_no_good_one_with_it() -> None:
    lines = [f"{i},n{i},0.5" for i in range(1000)]
    lines[7], lines[900] = "x,n,1", "1,n,much"
    parsed = parse("\n".join(lines))
    assert parsed.records == 998
    assert [(e.event_number, e.field, e.invalid_text) for e in parsed.errors] == [
        (8, "id", "x"), (901, "score", "much"),
    ]  # fmt: skip


def test_not_null_columns_refuse_empty_fields() -> None:
    (error,) = parse(",a,1\n").errors
    assert error.field == "id"


def test_bytes_that_are_not_utf8_spoil_only_their_line() -> None:
    parsed = parse(b"1,\xff,1\n2,b,2\n")
    assert rows_of(parsed) == [(2, "b", 2.0)]
    assert parsed.errors[0].field == "name" and "0xFF is not UTF-8" in parsed.errors[0].sentence


def test_every_type_reads_its_text() -> None:
    table = schema(a=BOOLEAN, b=decimal_type(6, 3), c=DATE, d=TIME, e=TIMESTAMP, f=DOUBLE)
    row = "TRUE,12.5,2024-01-31,00:00:01.5,1970-01-01 00:00:01,1e3\n"
    assert rows_of(parse(row, table)) == [
        (True, Decimal("12.500"), datetime.date(2024, 1, 31), 1_500_000_000, 1_000_000, 1000.0)
    ]


def test_options_change_the_dialect() -> None:
    assert rows_of(parse("1;'a;b';2\n", delimiter=";", quote="'")) == [(1, "a;b", 2.0)]
    assert rows_of(parse('1,"a,2\n', quoting=False)) == [(1, '"a', 2.0)]
    assert rows_of(parse("#1,x,1\n 2 , b , 3 \n", comment="#", trim="all")) == [(2, "b", 3.0)]
    assert rows_of(parse('1,"a\\"b",2\n', escape="\\")) == [(1, 'a"b', 2.0)]
    (error,) = parse("1,a,1\n2,b\n3,c,3\n", flexible=False).errors
    assert error.event_number == 2


def test_bad_options_are_refused_by_name() -> None:
    for config in ({"separator": ";"}, {"delimiter": ";;"}, {"trim": "some"}):
        with pytest.raises(UserError) as caught:
            parse("", **config)
        assert caught.value.code == "ConfigError.ParserConfigParseError"
        assert next(iter(config)) in str(caught.value)


_CELLS = st.one_of(
    st.text(st.characters(blacklist_characters="\r\x00", codec="utf-8"), max_size=6),
    st.sampled_from(["", "NULL", "null", "1", "-0", "+1", "0x1f", " 1", "1e400", "nan", "-inf"]),
    st.sampled_from(["true", "False", "12.50", "1.005", "99999", "1_0", "00:00:01", "1:2:3"]),
    st.integers(-(2**65), 2**65).map(str),
    st.dates().map(str),
    st.datetimes().map(str),
    st.times().map(str),
    st.floats().map(repr),
    st.uuids().map(str),
)
_TYPES = st.sampled_from(
    [INTEGER, BIGINT, DOUBLE, BOOLEAN, VARCHAR, DATE, TIME, TIMESTAMP, UUID, decimal_type(5, 2)]
)


@settings(max_examples=examples(400), deadline=None)
@given(_TYPES, st.booleans(), st.lists(st.tuples(_CELLS, _CELLS), min_size=1, max_size=4),
       st.integers(1, 50))  # fmt: skip
@example(decimal_type(5, 2), False, [("2.26e-55", "")], 1)
def test_quick_exact_and_any_cut_agree(
    type_: SqlType, nullable: bool, rows: list[tuple[str, str]], chunk: int
) -> None:
    table = schema(x=type_.with_nullable(nullable), y=VARCHAR)
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    quick = parse(text.getvalue(), table)
    exact = parse(text.getvalue(), table, exactly=True)
    pieces = parse(text.getvalue(), table, chunk=chunk)
    assert repr(rows_of(quick)) == repr(rows_of(exact)) == repr(rows_of(pieces))
    assert quick.errors == exact.errors == pieces.errors
