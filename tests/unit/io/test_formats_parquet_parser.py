"""The parquet parser: a file into rows, by columns' names."""

from __future__ import annotations

import datetime as dt
import io
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.build import column_from_python, column_to_python
from penstock.data.types import (
    BIGINT,
    DATE,
    DOUBLE,
    INTEGER,
    TIME,
    TIMESTAMP,
    UUID,
    VARCHAR,
    Kind,
    Schema,
    SqlType,
    decimal,
    schema,
)
from penstock.errors import UserError
from penstock.io.contracts import Parsed
from penstock.io.formats import parquet_parser
from penstock.io.formats.parquet_parser import ParquetParser
from tests.examples import examples


def file_of(**columns: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out, row_group_size=3)
    return out.getvalue()


def parse(data: bytes, into: Schema, **options: Any) -> Parsed:
    parser = ParquetParser(None, into, **options)
    for at in range(0, len(data), 100):
        assert parser.feed(data[at : at + 100]) == Parsed(())
    return parser.finish()


def rows(parsed: Parsed) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for b in parsed.batches:
        found += zip(*[column_to_python(c) for c in b.columns], strict=True)
    return found


def test_columns_are_found_by_name_and_those_that_are_lacking_are_null_or_have_their_default() -> (
    None
):
    into = schema(a=INTEGER, b=VARCHAR, c=BIGINT)
    data = file_of(B=["x", None], other=[1, 2], a=pa.array([1, 2], pa.int64()))

    parsed = parse(data, into, defaults=(None, None, column_from_python(BIGINT, [7])))
    assert rows(parsed) == [(1, "x", 7), (2, None, 7)] and parsed.records == 2
    assert rows(parse(data, into)) == [(1, "x", None), (2, None, None)]
    assert parse(b"", into) == Parsed(())


def test_types_are_read_as_other_writers_spell_them() -> None:
    noon = dt.datetime(2024, 2, 29, 12, 0, 0, 123456)
    data = file_of(
        t=pa.array([3_600_000_000_001], pa.uint64()),
        s=pa.array([1709208000123456789], pa.timestamp("ns")),
        d=pa.array([dt.date(2024, 2, 29)]),
        n=pa.array([Decimal("1.50")], pa.decimal128(5, 2)),
        u=["7d444840-9dc0-11d1-b245-5ffdce74fad2"],
        w=pa.array(["word"]).dictionary_encode(),
    )
    into = schema(t=TIME, s=TIMESTAMP, d=DATE, n=decimal(10, 3), u=UUID, w=VARCHAR)
    (found,) = rows(parse(data, into))

    expected = [
        column_to_python(column_from_python(t, [v]))[0]
        for t, v in zip(
            into.types,
            [
                3_600_000_000_001,
                noon,
                dt.date(2024, 2, 29),
                Decimal("1.500"),
                uuid.UUID("7d444840-9dc0-11d1-b245-5ffdce74fad2"),
                "word",
            ],
            strict=True,
        )
        if t is not TIME
    ]
    assert list(found[1:]) == expected


@settings(deadline=None, max_examples=examples(40))
@given(
    values=st.lists(st.integers(-(2**40), 2**40) | st.integers(-9, 9), min_size=1, max_size=40),
    size=st.integers(1, 50),
)
def test_a_bad_value_costs_its_row_alone(values: list[int], size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_parser, "BATCH_ROWS", size)
        parsed = parse(file_of(x=values, y=[str(v) for v in values]), schema(x=INTEGER, y=VARCHAR))

    good = [v for v in values if np.iinfo(np.int32).min <= v <= np.iinfo(np.int32).max]
    assert rows(parsed) == [(v, str(v)) for v in good]
    assert [(e.event_number, e.field, e.invalid_text) for e in parsed.errors] == [
        (i, "x", str(v)) for i, v in enumerate(values, 1) if v not in good
    ]
    assert parsed.records == len(values)


STRICT = SqlType(Kind.ROW, children=(INTEGER.with_nullable(False), VARCHAR), names=("a", "b"))
TIMES = SqlType(Kind.ARRAY, children=(TIMESTAMP,))
YEARS, DAY = "outside the years 0001 to 9999", "not within a day"


@pytest.mark.parametrize(
    ("type", "values", "good", "problem"),
    [
        (UUID, pa.array(["7d4448409dc011d1b2455ffdce74fad2", "x", None]), 2, "is not a UUID"),
        (UUID, pa.array(["urn:uuid:7d444840-9dc0-11d1-b245-5ffdce74fad2"]), 0, "is not a UUID"),
        (UUID, pa.array([bytes(16), b"short"]), 1, "is not a UUID"),
        (DATE, pa.array([2932896, 2932897, -719163], pa.int32()).cast(pa.date32()), 1, YEARS),
        (TIMESTAMP, pa.array([2**62, 5], pa.timestamp("us")), 1, YEARS),
        (TIME, pa.array([86_400_000_000_000, 1], pa.uint64()), 1, DAY),
        (STRICT, pa.array([{"a": None, "b": "x"}, None, {"a": 1, "b": None}]), 2, "field 'a'"),
        (TIMES, pa.array([[2**62], [5, None]], pa.list_(pa.timestamp("us"))), 1, YEARS),
    ],
)
def test_what_is_beyond_its_type_costs_its_row_alone(
    type: SqlType, values: pa.Array, good: int, problem: str
) -> None:
    parsed = parse(file_of(x=values), schema(x=type))
    assert len(rows(parsed)) == good and len(parsed.errors) == len(values) - good
    assert all(e.field == "x" and problem in e.description for e in parsed.errors)


def test_what_another_type_spells_exactly_or_nearest_is_taken() -> None:
    into = schema(u=UUID, s=TIMESTAMP, f=DOUBLE, t=SqlType(Kind.ARRAY, children=(TIME,)))
    data = file_of(
        u=pa.array([bytes(15) + b"\1"], pa.uuid()),
        s=pa.array([-1], pa.timestamp("ns")),
        f=pa.array([2**53 + 1]),
        t=pa.array([[5]], pa.list_(pa.uint64())),
    )
    assert rows(parse(data, into)) == [(uuid.UUID(int=1), -1, 2.0**53, [5])]


def test_null_in_a_column_that_is_not_null_costs_its_row() -> None:
    into = schema(x=INTEGER.with_nullable(False))
    parsed = parse(file_of(x=[1, None, 3]), into)
    assert rows(parsed) == [(1,), (3,)]
    assert [e.event_number for e in parsed.errors] == [2]

    (error,) = parse(file_of(y=[1]), into).errors
    assert "no column 'x'" in error.description and error.field == "x"


def test_what_is_no_parquet_file_is_one_error_and_the_next_file_is_read() -> None:
    parser = ParquetParser({}, schema(x=INTEGER))
    parser.feed(b"PAR1 but not really")
    (error,) = parser.finish().errors
    assert "not a Parquet file" in error.description
    parser.feed(file_of(x=[5]))
    assert rows(parser.finish()) == [(5,)]


def test_there_are_no_options() -> None:
    with pytest.raises(UserError, match="batch_size"):
        ParquetParser({"batch_size": 1}, schema(x=INTEGER))
