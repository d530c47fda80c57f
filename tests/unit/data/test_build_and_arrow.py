"""Columns keep what is put into them: as Python values, as Arrow, in one heap or in many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data import views
from penstock.data.arrow import arrow_type, column_from_arrow, column_to_arrow, to_arrow
from penstock.data.build import (
    batch_from_rows,
    column_from_python,
    column_to_python,
    constant_column,
    null_column,
)
from penstock.data.gather import compact_heaps, concat_columns, take_column
from penstock.data.hash import hash_columns, rows_equal
from penstock.data.types import BIGINT, VARCHAR, Schema, SqlType, decimal, schema
from penstock.errors import UserError
from tests.examples import examples
from tests.unit.data.rows import TEXTS, VALUES, plain

TYPES = pytest.mark.parametrize(("type", "values"), VALUES, ids=[str(t) for t, _ in VALUES])


@TYPES
@given(data=st.data())
@settings(max_examples=examples(25), deadline=None)
def test_values_survive_python_and_arrow(type: Any, values: Any, data: Any) -> None:
    given_values = data.draw(st.lists(st.one_of(st.none(), values), max_size=12))
    expected = [plain(v) for v in given_values]

    column = column_from_python(type, given_values)
    array = column_to_arrow(column)
    array.validate(full=True)
    back = column_from_arrow(type, array)

    assert [plain(v) for v in column_to_python(column)] == expected
    assert array.type == arrow_type(type)
    assert array.null_count == given_values.count(None)
    assert [plain(v) for v in column_to_python(back)] == expected
    at = np.arange(len(column))
    assert rows_equal([column], at, [back], at).all()
    assert (hash_columns([column]) == hash_columns([back])).all()


@TYPES
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_slice_of_an_arrow_array_is_read_from_its_offset(
    type: Any, values: Any, data: Any
) -> None:
    given_values = data.draw(st.lists(st.one_of(st.none(), values), min_size=3, max_size=20))
    array = column_to_arrow(column_from_python(type, given_values))
    chunks = pa.chunked_array([array[:1], array[2:]])

    assert _plain(column_from_arrow(type, array[1:-1])) == [plain(v) for v in given_values[1:-1]]
    assert _plain(column_from_arrow(type, chunks)) == [
        plain(v) for v in [given_values[0], *given_values[2:]]
    ]


def test_numbers_are_shared_with_arrow_without_a_copy() -> None:
    column = column_from_python(BIGINT, list(range(100)))
    array = column_to_arrow(column)
    assert array.buffers()[1].address == column.values.ctypes.data


def test_values_that_do_not_fit_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="cannot take int64 as SMALLINT"):
        column_from_arrow(schema(x=_small()).types[0], pa.array([1, 2**40]))


@pytest.mark.parametrize("source", [pa.int8(), pa.int32(), pa.int64(), pa.uint64()])
@pytest.mark.parametrize("wanted", [decimal(3, 0), decimal(10, 2), decimal(38, 35)])
def test_whole_numbers_become_decimals_if_they_fit(source: pa.DataType, wanted: SqlType) -> None:
    column = column_from_arrow(wanted, pa.array([5, None, 120], source))
    assert column_to_arrow(column).to_pylist() == [5, None, 120]
    if source.bit_width > 8:
        with pytest.raises(UserError, match=r"cannot take u?int[0-9]+ as DECIMAL"):
            column_from_arrow(decimal(10, 2), pa.array([2**30], source))


def _small() -> Any:
    return next(t for t, _ in VALUES if str(t) == "SMALLINT")


def test_weights_travel_as_the_last_column() -> None:
    batch = batch_from_rows(schema(a=BIGINT), [(1,), (2,)], [3, -1])
    assert to_arrow(batch, weights=True).to_pylist() == [
        {"a": 1, "__weight": 3},
        {"a": 2, "__weight": -1},
    ]


def test_a_batch_without_columns_keeps_its_number_of_rows() -> None:
    assert to_arrow(batch_from_rows(Schema(()), [(), ()])).num_rows == 2


@given(texts=st.lists(st.one_of(st.none(), TEXTS), max_size=12), limit=st.integers(1, 40))
@settings(max_examples=examples(60), deadline=None)
def test_strings_beyond_the_size_of_one_heap_are_spread_over_several(
    texts: Any, limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "MAX_HEAP_BYTES", limit)
        column = column_from_python(VARCHAR, texts)
        compacted = compact_heaps(column)

    long = [t for t in texts if t is not None and len(t.encode()) > views.INLINE]
    largest = max((len(t.encode()) for t in long), default=0)
    assert column_to_python(column) == texts
    assert column_to_python(compacted) == texts
    assert sum(map(len, compacted.heaps)) == sum(len(t.encode()) for t in long)
    assert all(len(h) <= max(limit, largest) for h in compacted.heaps)


def test_long_strings_outlive_the_columns_they_came_from() -> None:
    parts = [column_from_python(VARCHAR, [f"a string of part {i} that is long"]) for i in range(50)]
    joined = concat_columns(parts)
    del parts
    # new heaps would take the ids and the memory of those that were let go
    noise = [column_from_python(VARCHAR, ["noise " * 20]) for _ in range(200)]
    assert column_to_python(joined) == [f"a string of part {i} that is long" for i in range(50)]
    assert len(noise) == 200


@TYPES
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_taking_rows_is_indexing_a_list(type: Any, values: Any, data: Any) -> None:
    given_values = data.draw(st.lists(st.one_of(st.none(), values), min_size=1, max_size=8))
    at = data.draw(st.lists(st.integers(-1, len(given_values) - 1), max_size=10))

    taken = take_column(
        column_from_python(type, given_values), np.array(at, np.int64), null_at_minus_one=True
    )

    assert _plain(taken) == [None if i < 0 else plain(given_values[i]) for i in at]


@TYPES
@given(data=st.data())
@settings(max_examples=5, deadline=None)
def test_constants_and_nulls_repeat(type: Any, values: Any, data: Any) -> None:
    value = data.draw(st.one_of(st.none(), values))
    assert _plain(constant_column(type, value, 3)) == [plain(value)] * 3
    assert _plain(null_column(type, 2)) == [None, None]
    assert _plain(take_column(null_column(type, 0), np.array([-1]), null_at_minus_one=True)) == [
        None
    ]


def _plain(column: Any) -> list[Any]:
    return [plain(v) for v in column_to_python(column)]
