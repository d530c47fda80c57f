"""Texts made of whole columns at once are those that are made value by value."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows
from penstock.data.gather import slice_batch
from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    REAL,
    TIME,
    TIMESTAMP,
    TIMESTAMP_TZ,
    UBIGINT,
    UUID,
    VARBINARY,
    VARCHAR,
    Schema,
    SqlType,
    array_of,
    decimal,
    schema,
)
from penstock.io.formats import joined
from penstock.io.formats.flavors import FLAVORS
from penstock.io.formats.spelling import json_values

TEXTS = st.text(alphabet=st.sampled_from('ab"\\\n\t\x00\x1f\x7f/é€𝄞\u2028'), max_size=6)
SAMPLES: dict[SqlType, st.SearchStrategy[Any]] = {
    BIGINT: st.integers(-(2**63), 2**63 - 1),
    UBIGINT: st.integers(0, 2**64 - 1),
    BOOLEAN: st.booleans(),
    DOUBLE: st.floats() | st.sampled_from([1e22, 1e-7, -0.0, 5e-324, 100.0]),
    REAL: st.floats(width=32),
    VARCHAR: TEXTS,
    VARBINARY: st.binary(max_size=3),
    UUID: st.uuids(),
    DATE: st.dates(),
    TIME: st.times(),
    TIMESTAMP: st.datetimes(),
    TIMESTAMP_TZ: st.datetimes(timezones=st.just(UTC)),
    decimal(9, 2): st.decimals("-9999999.99", "9999999.99", places=2),
    decimal(38, 9): st.decimals("-1", "1", places=9),
    array_of(VARCHAR): st.lists(TEXTS, max_size=3),
}


def one_by_one(batch: Batch, flavor: str) -> list[bytes]:
    columns = [json_values(c, FLAVORS[flavor]) for c in batch.columns]
    return [
        orjson.dumps(dict(zip(batch.schema.names, row, strict=True)),
                     option=orjson.OPT_SERIALIZE_NUMPY)
        for row in zip(*columns, strict=True)
    ]  # fmt: skip


NAMES = ['a "name"', *(f"c{i}" for i in range(1, len(SAMPLES)))]
ROWS = st.lists(st.tuples(*(st.none() | s for s in SAMPLES.values())), max_size=5)


@pytest.mark.parametrize("flavor", FLAVORS)
@settings(deadline=None, max_examples=10)
@given(rows=ROWS)
def test_json_of_whole_columns_is_what_orjson_writes_for_each_row(
    flavor: str, rows: list[tuple[Any, ...]]
) -> None:
    batch = batch_from_rows(schema(**dict(zip(NAMES, SAMPLES, strict=True))), rows)
    expected = one_by_one(batch, flavor)
    assert joined.each(joined.json_rows(batch, FLAVORS[flavor])) == expected
    if len(batch) > 1:  # columns that begin inside of their buffers
        part = slice_batch(batch, 1, len(batch))
        assert joined.each(joined.json_rows(part, FLAVORS[flavor])) == expected[1:]


def test_rows_without_columns_are_empty_objects() -> None:
    batch = Batch(Schema(()), (), np.ones(3, np.int64))
    assert joined.each(joined.json_rows(batch, FLAVORS["default"])) == [b"{}"] * 3


def test_a_range_of_texts_is_cut_out_of_them() -> None:
    texts = pa.array(["a", "", "bcd", "é"], pa.large_utf8())
    assert joined.in_one(texts) == "abcdé".encode()
    assert joined.in_one(texts, 1, 3) == b"bcd"
    assert joined.in_one(texts.slice(2), 1, 9) == "é".encode()
    assert joined.in_one(texts, 1, 2) == joined.in_one(texts.slice(4)) == b""
