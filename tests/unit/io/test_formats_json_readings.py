"""The json parser's two readings agree on whole documents: shapes, defects, cuts, formats, keys."""

from __future__ import annotations

import json
from typing import Any

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
    UBIGINT,
    UUID,
    VARBINARY,
    VARCHAR,
    VARIANT,
    Kind,
    SqlType,
    decimal,
    schema,
)
from penstock.io.contracts import ParseError
from penstock.io.formats import make_parser
from tests.examples import examples

LIST = SqlType(Kind.ARRAY, children=(decimal(8, 2),))
TABLE = schema(
    id=BIGINT.with_nullable(False), name=VARCHAR, Exact=INTEGER, price=decimal(6, 2),
    big=decimal(38, 3), x=DOUBLE, r=REAL, ok=BOOLEAN, d=DATE, t=TIME, ts=TIMESTAMP, u=UUID,
    ub=UBIGINT, v=VARIANT, l=LIST, bin=VARBINARY, must=INTEGER.with_nullable(False),
)  # fmt: skip
DEFAULTS = (
    None, column_from_python(VARCHAR, ["somebody, whoever"]), *[None] * 14,
    column_from_python(INTEGER, [7]),
)  # fmt: skip

_NUMBERS = st.sampled_from(
    ["0", "-0", "1", "-1", "12.5", "1.10", "1e2", "1E-2", "-1.5e+3", "0.1234567890123456789",
     "99999.99", "1234.567", "1.100", "9223372036854775807", "9223372036854775808",
     "-9223372036854775808", "18446744073709551615", "18446744073709551616", "1e400", "1e-400",
     "2.2250738585072011e-308", "9007199254740993", "12345678901234567890123456789012345.678",
     "1e99999", "3.4028236e38", "1.7976931348623157e308", "123456789012345678.9",
     "9223372036854775.808", "-9223372036854775.809"]
)  # fmt: skip
_TEXTS = st.sampled_from(
    ['""', '"a"', '"twelve bytes"', '"thirteen byte"', '"é and 😀 in a long text"', '"\\u00e9\\n"',
     '"\\ud83d\\ude00"', '"\\ud83d"', '"\\ude00"', '"\\ud83d\\u0041"', '"2024-02-29"',
     '"2023-02-29"', '"2024-02-29 12:34:56.123456789"', '"2024-02-29T12:34:56Z"',
     '"2024-02-29T12:34:56+01:30"', '"2024-02-29t12:34:56-0130"', '"2024-02-29 12:34:56+01"',
     '"0001-01-01 00:00:00+01:00"', '"12:34:56"', '"12:34:56.5"', '"24:00:00"', '"1.25"', '"+1"',
     '"1."', '".5"', '"1e3"', '"NaN"', '"-12345678901234567890.125"', '"99999999.99"',
     '"123e4567-e89b-12d3-a456-426655440000"', '"123E4567E89B12D3A456426655440000"']
)  # fmt: skip
_NESTED = st.sampled_from(
    ["[]", "[1, 2.5, null]", '["1.25"]', "[300]", "[0, 255]", "{}", '{"a": [1, {"b": "c"}]}',
     '{"a": 1, "a": 2}', "[" * 70 + "]" * 70, "[1e2, -0, -0.0, 1.10]", '{"k": "\\ud83d"}']
)  # fmt: skip
_VALUES = st.one_of(_NUMBERS, _TEXTS, _NESTED, st.sampled_from(["null", "true", "false"]))
_PLAIN = {
    "id": "7", "name": '"ada"', "Exact": "3", "price": "1.50", "big": "123.456", "x": "0.5",
    "r": "1.5", "ok": "true", "d": '"2024-01-02"', "t": '"01:02:03"', "u":
    '"123e4567-e89b-12d3-a456-426655440000"', "ts": '"2024-01-02 03:04:05"', "ub": "8",
    "v": '{"z": [1]}', "l": "[1.5]", "bin": "[1, 2]", "must": "1",
}  # fmt: skip
_KEYS = st.sampled_from(
    [*_PLAIN, "ID", "Name", "exact", "unknown", "\\u0069d", "\u212a", "must", "insert", "K"]
)
_GAPS = st.sampled_from(["", " ", "\n", "\r\n", "\t \n", "\n\n"])


@st.composite
def rows(draw: Any) -> str:
    """A row as an object that is mostly right, or as an array."""
    if draw(st.integers(0, 9)) == 0:
        return "[" + ", ".join(draw(st.lists(_VALUES, min_size=16, max_size=18))) + "]"
    fields = dict(_PLAIN)
    for gone in draw(st.lists(st.sampled_from(list(_PLAIN)), max_size=3)):
        fields.pop(gone, None)
    pairs = list(fields.items())
    for name in draw(st.lists(_KEYS, max_size=3)):
        at = draw(st.integers(0, len(pairs)))
        pairs.insert(at, (name, draw(_VALUES)))
        if draw(st.booleans()):
            pairs = [p for i, p in enumerate(pairs) if i == at or p[0] != name]
    gap = draw(_GAPS)
    return "{" + f",{gap}".join(f'"{k}"{gap}:{v}' for k, v in pairs) + "}"


@st.composite
def records(draw: Any, update_format: str) -> str:
    if draw(st.integers(0, 14)) == 0:
        return str(draw(st.sampled_from(
            ["null", "17", '"text"', "[]", "{}", "{]", '{"insert": ', '{"insert": 1}', "tru", "}",
             '{"id": 1 "name": 2}', '{"payload": null}', '{"payload": {}}', '{"payload": {"a": 1}}',
             '{"a": "\x01"}', '{"insert": null}', '{"insert": {"id": 01}}', "{,}", '{"a": 1,}',
             '{"\\u0069nsert": {"id": 1}}']
        )))  # fmt: skip
    if update_format == "raw":
        return str(draw(rows()))
    names = ["insert", "delete", "update"] if update_format == "insert_delete" else \
        ["before", "after"]  # fmt: skip
    more = st.tuples(st.sampled_from(["op", "ts_ms", "table"]), _VALUES)
    one = st.tuples(st.sampled_from(names), st.one_of(rows(), rows(), rows(), st.just("null")))
    parts = draw(st.lists(st.one_of(one, one, one, more), min_size=1, max_size=4))
    inner = "{" + ", ".join(f'"{k}": {v}' for k, v in parts) + "}"
    if update_format == "insert_delete":
        return inner
    return draw(st.sampled_from(['{"payload": %s}', '{"schema": {"a": [1]}, "payload": %s}',
                                 '{"payload": %s, "payload": {}}'])) % inner  # fmt: skip


Read = tuple[list[Any], list[ParseError], int]


def read(data: bytes, key: tuple[int, ...], *, exactly: bool, chunk: int, **config: Any) -> Read:
    parser = make_parser({"name": "json", "config": config}, TABLE, key, DEFAULTS)
    if exactly:
        parser._cells.is_usable = False  # type: ignore[attr-defined]
    parts = [parser.feed(data[i : i + chunk]) for i in range(0, len(data), chunk)]
    parts.append(parser.finish())
    found = [row for p in parts for b in p.batches for row in operations(b)]
    return found, [e for p in parts for e in p.errors], sum(p.records for p in parts)


def operations(b: InputBatch) -> list[Any]:
    """(operation, values with None where an update does not set them)"""
    columns = [column_to_python(c) for c in b.columns]
    present = [None if not b.present or p is None else p.tolist() for p in b.present or columns]
    return [
        (op, [c[i] if not b.present or p is None or p[i] else "kept"
              for c, p in zip(columns, present, strict=True)])
        for i, op in enumerate(b.ops.tolist())
    ]  # fmt: skip


@settings(max_examples=examples(100), deadline=None)
@given(st.data(), st.sampled_from(["raw", "insert_delete", "debezium"]), st.booleans())
def test_both_readings_agree_on_any_document(data: Any, update_format: str, keyed: bool) -> None:
    texts = data.draw(st.lists(records(update_format), max_size=6))
    mode = data.draw(st.sampled_from(["stream", "stream", "array", "lines"]))
    if mode == "array":
        body = "[" + ",\n".join(texts) + "]"
    elif mode == "lines":
        body = "\n".join(texts)
    else:
        body = "".join(t + data.draw(_GAPS) for t in texts)
    raw = body.encode()
    if data.draw(st.integers(0, 9)) == 0 and raw:
        at = data.draw(st.integers(0, len(raw) - 1))
        raw = raw[:at] + bytes([data.draw(st.integers(0, 255))]) + raw[at + 1 :]
    config = {
        "update_format": update_format,
        "array": mode == "array",
        "lines": "single" if mode == "lines" else "multiple",
    }
    chunk = data.draw(st.sampled_from([1 << 20, 1 << 20, 300]))
    key = (0,) if keyed else ()
    quick = read(raw, key, exactly=False, chunk=chunk, **config)
    exact = read(raw, key, exactly=True, chunk=chunk, **config)
    assert repr(quick[0]) == repr(exact[0])
    assert quick[1] == exact[1]
    assert quick[2] == exact[2]


def test_doubtful_records_among_many_keep_their_place() -> None:
    lines = [json.dumps({"insert": {"id": i, "must": i, "name": f"the name of row {i}"}})
             for i in range(20_000)]  # fmt: skip
    for i in range(0, 20_000, 777):
        lines[i] = f'{{"update": {{"id": {i}, "must": null}}}}'
    for i in range(5, 20_000, 1001):
        lines[i] = f'{{"delete": {{"ID": {i}}}, "insert": {{"id": {i}, "id": {i}, "must": 1}}}}'
    found, errors, _ = read(
        "\n".join(lines).encode(), (0,), exactly=False, chunk=1 << 30, update_format="insert_delete"
    )
    assert [e.event_number for e in errors] == [i + 1 for i in range(0, 20_000, 777)]
    expected: list[tuple[int, int]] = []
    for i in range(20_000):
        if i % 1001 == 5:
            expected += [(DELETE, i), (INSERT, i)]
        elif i % 777 != 0:
            expected.append((INSERT, i))
    assert [(op, values[0]) for op, values in found] == expected
    assert UPDATE not in {op for op, _ in found}


@pytest.mark.parametrize("special", [b"", b"\\n", b"\\u00e9", "é".encode(), "😀".encode()])
@pytest.mark.parametrize("behind", [b"", b" " * 20])
def test_strings_are_read_whole_whatever_their_length_and_where_they_stand(
    special: bytes, behind: bytes
) -> None:
    """Eight bytes are looked at at a time, and fewer before the end of what was fed."""
    parser = make_parser({"name": "json", "config": {"update_format": "raw"}}, schema(s=VARCHAR))
    texts = [
        b"abcdefghijklmnopqrstu"[:before] + special + b"ABCDEFGHIJKLMNOPQ"[:after]
        for before in range(18)
        for after in (0, 1, 7, 8, 9, 12)
    ]

    for text in texts:
        parsed = parser.feed(b'{"s":"' + text + b'"}' + behind)
        (batch,), errors = parsed.batches, parsed.errors
        assert column_to_python(batch.columns[0]) == [json.loads(b'"' + text + b'"')]
        assert not errors


@pytest.mark.parametrize(
    "wrong", [b"\n", b"\x01", b"\x1f", b"\\x", b"\xff", b"\xc3(", b"\xed\xa0\x80"]
)
def test_a_byte_that_no_string_has_is_found_wherever_it_stands(wrong: bytes) -> None:
    parser = make_parser({"name": "json", "config": {"update_format": "raw"}}, schema(s=VARCHAR))

    for before in range(18):
        parsed = parser.feed(b'{"s":"' + b"a" * before + wrong + b"a" * 9 + b'"}\n{"s":"b"}\n')
        assert [column_to_python(b.columns[0]) for b in parsed.batches] == [["b"]]
        assert len(parsed.errors) == 1
