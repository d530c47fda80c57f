"""Nested values: bytes that go there and back, and compare as SQL does."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.build import column_from_python, column_to_python
from penstock.data.nested import build_map, explode, fields, implode, lengths
from penstock.data.order import sort_indices
from penstock.data.types import (
    BIGINT,
    DOUBLE,
    INTEGER,
    VARCHAR,
    SqlType,
    array_of,
    map_of,
    row_of,
)
from penstock.data.views import compare
from tests.examples import examples
from tests.unit.data.rows import VALUES, plain_row

TEXTS = st.one_of(st.none(), st.text(st.sampled_from("a\0b\xff"), max_size=20))
ARRAYS = st.lists(st.one_of(st.none(), st.lists(TEXTS, max_size=3)), max_size=4)


def round_trip(type: SqlType, values: list[Any]) -> list[Any]:
    return column_to_python(column_from_python(type, values))


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), ARRAYS), max_size=5))
def test_arrays_of_arrays_of_strings_with_zero_bytes_come_back(values: list[Any]) -> None:
    assert round_trip(array_of(array_of(VARCHAR)), values) == values


@settings(max_examples=examples(80), deadline=None)
@given(st.data())
def test_elements_of_every_type_come_back(data: st.DataObject) -> None:
    type, strategy = data.draw(st.sampled_from(VALUES))
    values = data.draw(st.lists(st.lists(st.one_of(st.none(), strategy), max_size=4), max_size=3))
    flat = [plain_row(column_to_python(column_from_python(type, v))) for v in values]
    assert [plain_row(v) for v in round_trip(array_of(type), values)] == flat


@settings(max_examples=examples(80), deadline=None)
@given(st.data())
def test_bytes_of_rows_sort_as_their_fields_do(data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.sampled_from(VALUES), min_size=2, max_size=2))
    rows = data.draw(st.lists(st.tuples(*[st.one_of(st.none(), s) for _, s in pairs]), max_size=12))
    columns = [column_from_python(t, [r[i] for r in rows]) for i, (t, _) in enumerate(pairs)]
    nested = column_from_python(row_of(a=pairs[0][0], b=pairs[1][0]), rows)
    by_bytes = sort_indices([nested], [(False, True)])
    assert by_bytes.tolist() == sort_indices(columns, [(False, True)] * 2).tolist()


def sign(type: SqlType, a: Any, b: Any) -> int:
    x, y = column_from_python(type, [a]), column_from_python(type, [b])
    return int(compare(x.values, y.values, 1)[0])


def test_arrays_and_maps_compare_as_the_reference_says() -> None:
    ints = array_of(INTEGER)
    assert sign(ints, [45], [22]) > 0
    assert sign(ints, [23, 56, 16], [23, None]) > 0
    assert sign(ints, [None], [1]) < 0
    assert sign(ints, [1], [1, None]) < 0
    assert sign(ints, [-1], [1]) < 0
    to_int = map_of(VARCHAR, INTEGER)
    assert sign(to_int, {"f": 1, "v": 0}, {"f": 1}) > 0
    assert sign(to_int, {"q": 66, "v": 11}, {"v": 22}) < 0
    assert sign(to_int, {"b": 1, "a": 2}, {"a": 2, "b": 1}) == 0
    assert sign(array_of(VARCHAR), ["a"], ["a", "b"]) < 0
    assert sign(array_of(VARCHAR), ["a\0"], ["a", "b"]) > 0
    assert sign(array_of(DOUBLE), [float("nan")], [float("inf")]) > 0


def test_a_map_keeps_the_last_of_equal_keys_in_order_of_keys() -> None:
    keys = column_from_python(VARCHAR, ["b", "a", "b", "x"])
    values = column_from_python(BIGINT, [1, 2, 3, None])
    built = build_map(map_of(VARCHAR, BIGINT), np.array([0, 3, 3, 4]), keys, values)
    assert column_to_python(built) == [{"a": 2, "b": 3}, {}, {"x": None}]
    assert lengths(built).tolist() == [2, 0, 1]


def test_fields_of_a_null_row_are_null() -> None:
    column = column_from_python(row_of(a=INTEGER, b=VARCHAR), [(1, "x"), None, (None, "z")])
    assert [column_to_python(c) for c in fields(column)] == [[1, None, None], ["x", None, "z"]]


def test_exploding_and_imploding_is_the_identity() -> None:
    column = column_from_python(
        array_of(VARCHAR), [["a", None], None, [], ["long enough for a heap"]]
    )
    exploded = explode(column)
    assert exploded.offsets.tolist() == [0, 2, 2, 2, 3]
    assert exploded.rows.tolist() == [0, 0, 3]
    again = implode(column.type, exploded.offsets, exploded.columns, column.valid)
    assert column_to_python(again) == column_to_python(column)
