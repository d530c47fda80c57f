"""Arrays, maps and rows in JSON, CSV and Arrow."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pytest

from penstock.data.arrow import column_from_arrow, to_arrow
from penstock.data.batch import Batch
from penstock.data.build import batch_to_rows, column_to_python
from penstock.data.types import INTEGER, VARCHAR, VARIANT, Schema, SqlType, decimal, schema
from penstock.errors import UserError
from penstock.io.contracts import Parsed
from penstock.io.formats.csv_encoder import CsvEncoder
from penstock.io.formats.csv_parser import CsvParser
from penstock.io.formats.json_encoder import JsonEncoder
from penstock.io.formats.json_parser import JsonParser
from penstock.sql.program import compile_program

TABLE = """CREATE TYPE part AS (name VARCHAR NOT NULL, price DECIMAL(8, 2), "Tags" VARCHAR ARRAY);
CREATE TABLE t (a INT ARRAY, m MAP<VARCHAR, DATE>, n MAP<INT, INT ARRAY>, p part,
    ps part ARRAY, v VARIANT)"""
SCHEMA = compile_program(TABLE).tables[0].schema
PART = {"name": "bolt", "price": 1.25, "Tags": ["x", None]}
ROWS: list[dict[str, Any]] = [
    {
        "a": [1, None, 3], "m": {"k": "2020-01-02", "j": None}, "n": {"10": [1], "2": None},
        "p": PART, "ps": [PART, None], "v": {"b": [1, -2, 0.5, None, "x"], "a": {}},
    },
    {
        "a": [], "m": {}, "n": {}, "p": {"name": "", "price": None, "Tags": None}, "ps": [],
        "v": "text",
    },
    dict.fromkeys(("a", "m", "n", "p", "ps", "v")),
]  # fmt: skip


def batch(parsed: Parsed, of: Schema = SCHEMA) -> Batch:
    assert not parsed.errors, parsed.errors
    (found,) = parsed.batches
    return Batch(of, found.columns, found.ops.astype("int64"))


def parsed_json(*rows: Any) -> Parsed:
    parser = JsonParser({"update_format": "raw"}, SCHEMA)
    data = b"".join(orjson.dumps(r) + b"\n" for r in rows)
    first, last = parser.feed(data), parser.finish()
    return Parsed(first.batches + last.batches, first.errors + last.errors, 0)


def written(rows: Batch) -> list[Any]:
    lines = b"".join(JsonEncoder(None, SCHEMA).encode(rows)).splitlines()
    return [orjson.loads(line)["insert"] for line in lines]


def in_key_order(row: dict[str, Any]) -> dict[str, Any]:
    """Maps are written in order of their keys."""
    return {**row, "m": row["m"] and dict(sorted(row["m"].items())), "n": row["n"] and dict(
        sorted(row["n"].items(), key=lambda kv: int(kv[0])))}  # fmt: skip


def test_json_goes_in_and_comes_out_the_same() -> None:
    found = written(batch(parsed_json(*ROWS)))
    key = str
    assert sorted(found, key=key) == sorted(map(in_key_order, ROWS), key=key)
    assert all(list(f["n"] or {}) == sorted(f["n"] or {}, key=int) for f in found)


def test_the_quick_and_the_exact_reading_agree() -> None:
    quick = batch_to_rows(batch(parsed_json(*ROWS)))
    bad = {"a": "not an array"}
    parsed = parsed_json(*ROWS, bad)
    assert len(parsed.errors) == 1
    assert batch_to_rows(batch(Parsed(parsed.batches, (), 0))) == quick


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"a": {"x": 1}}, "where an array is expected"),
        ({"a": [1, "x"]}, "at [1]: a string where an integer is expected"),
        ({"m": [1]}, "where an object is expected"),
        ({"m": {"k": "yesterday"}}, "at ['k']: 'yesterday' is not a date"),
        ({"n": {"one": []}}, "at key 'one': 'one' is not an integer"),
        ({"p": {"price": 1}}, "at .name: null or nothing in a field of type VARCHAR NOT NULL"),
        ({"ps": [{"name": "a"}, {"name": 1}]}, "at [1]: at .name: an integer where a string"),
    ],
)
def test_an_error_says_where_inside_the_value_it_is(row: Any, words: str) -> None:
    (error,) = parsed_json(row).errors
    assert words in error.description


def test_a_variant_takes_any_json_with_every_digit() -> None:
    line = b'{"v": {"n": 123456789012345678901234567890.5, "big": 18446744073709551616}}\n'
    found = JsonParser({"update_format": "raw"}, SCHEMA).feed(line)
    text = '{"big":18446744073709551616,"n":123456789012345678901234567890.5}'
    assert batch_to_rows(batch(found))[0][0][5] == text


def test_a_variant_too_deep_is_an_error_and_not_null() -> None:
    (error,) = parsed_json({"v": deep(101)}).errors
    assert "100 levels deep" in error.description
    assert not parsed_json({"v": deep(100)}).errors


def deep(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_other_flavors_carry_a_variant_as_text() -> None:
    one = schema(v=VARIANT)
    parser = JsonParser({"update_format": "raw", "json_flavor": "pandas"}, one)
    found = parser.feed(b'{"v": "[1, 2]"}\n{"v": 5}\n{"v": "nope"}\n')
    assert [e.event_number for e in found.errors] == [2, 3]
    rows = Batch(one, found.batches[0].columns, found.batches[0].ops.astype("int64"))
    (line,) = JsonEncoder({"json_flavor": "snowflake"}, one).encode(rows)
    assert orjson.loads(line) == {"insert": {"v": "[1,2]"}}


def test_field_names_match_as_column_names_do() -> None:
    rows = batch_to_rows(batch(parsed_json({"p": {"NAME": "a", "tags": ["no"], "Tags": ["yes"]}})))
    assert rows[0][0][3] == ("a", None, ["yes"])


def test_csv_carries_nested_values_as_json_text() -> None:
    rows = batch(parsed_json(*ROWS))
    (lines,) = CsvEncoder({"include_weight": False}, SCHEMA).encode(rows)
    parser = CsvParser(None, SCHEMA)
    first, last = parser.feed(lines), parser.finish()
    again = batch(Parsed(first.batches + last.batches, first.errors + last.errors, 0))
    assert sorted(map(str, batch_to_rows(again))) == sorted(map(str, batch_to_rows(rows)))


def test_arrow_has_lists_maps_and_structs_and_reads_them_back() -> None:
    rows = batch(parsed_json(*ROWS))
    arrow = to_arrow(rows)
    arrow.validate(full=True)
    assert str(arrow.schema.field("a").type) == "list<item: int32>"
    assert str(arrow.schema.field("m").type) == "map<string, date32[day]>"
    assert arrow.schema.field("p").type.field("price").type.scale == 2
    assert arrow.to_pylist()[1]["ps"] == []
    sliced = arrow.slice(1)
    columns = tuple(column_from_arrow(t, sliced.column(i)) for i, t in enumerate(SCHEMA.types))
    again = Batch(SCHEMA, columns, rows.weights[1:])
    assert batch_to_rows(again) == batch_to_rows(rows)[1:]


def test_types_are_spelled_for_clients() -> None:
    from penstock.data.types import array_of, json_type, map_of

    assert json_type(array_of(INTEGER))["component"]["type"] == "INTEGER"
    spelled = json_type(map_of(VARCHAR, decimal(4, 1)))
    assert (spelled["key"]["nullable"], spelled["value"]["scale"]) == (False, 1)
    struct: SqlType = schema(p=SCHEMA.types[3]).types[0]
    names = [(f["name"], f["case_sensitive"]) for f in json_type(struct)["fields"]]
    assert names == [("name", False), ("price", False), ("Tags", True)]


def test_structs_of_arrow_are_read_by_field_name() -> None:
    type = SCHEMA.types[3]
    found = column_from_arrow(type, pa.array([{"Tags": ["x"], "price": Decimal(1), "NAME": "a"}]))
    assert column_to_python(found) == [("a", Decimal("1.00"), ["x"])]
    missing = column_from_arrow(type, pa.array([{"name": "a"}]))
    assert column_to_python(missing) == [("a", None, None)]
    with pytest.raises(UserError, match="no field 'name'"):
        column_from_arrow(type, pa.array([{"price": 1}]))


def test_what_arrow_has_in_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match="cannot take int64 as"):
        column_from_arrow(SCHEMA.types[0], pa.array([1]))
    with pytest.raises(UserError, match="1 values are not JSON"):
        column_from_arrow(VARIANT, pa.array(["{bad", None, "1"]))
