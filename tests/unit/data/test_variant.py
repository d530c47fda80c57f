"""VARIANT values: JSON in and out, run-time types, equality and order of bytes."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.build import column_from_python, column_to_python
from penstock.data.hash import rows_equal
from penstock.data.json_tape import MAX_DEPTH
from penstock.data.order import sort_indices
from penstock.data.types import (
    BIGINT,
    INTEGER,
    VARCHAR,
    VARIANT,
    Kind,
    array_of,
    decimal,
    map_of,
    row_of,
)
from penstock.data.variant import groups, wrap
from penstock.data.variant_json import parse_json, to_json
from tests.examples import examples


def parsed(*texts: str | None) -> Any:
    return parse_json(column_from_python(VARCHAR, texts))


def printed(*texts: str | None) -> list[str | None]:
    return column_to_python(to_json(parsed(*texts)))


def kinds(*texts: str) -> list[Kind | None]:
    found: list[Kind | None] = [None] * len(texts)
    for g in groups(parsed(*texts)):
        for row in g.rows.tolist():
            found[row] = g.kind
    return found


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=14),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-9, max_value=9),
)  # fmt: skip
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)


def spelled(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} : {spelled(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[ " + ",".join(map(spelled, value)) + "]\n"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def read(text: str) -> Any:
    return json.loads(text, parse_float=Decimal)


@settings(max_examples=examples(50), deadline=None)
@given(st.lists(st.one_of(st.none(), documents), max_size=5))
def test_what_json_says_comes_back(values: list[Any]) -> None:
    texts = printed(*map(spelled, values))
    for text, value in zip(texts, values, strict=True):
        assert text is not None
        assert read(text) == value
        assert read(text) == read(printed(text)[0] or "")


@settings(max_examples=examples(150), deadline=None)
@given(st.text(st.sampled_from('{}[]:,"\\ntrue-0.1eE+u5d8'), max_size=12))
def test_what_is_no_json_is_null(text: str) -> None:
    try:
        json.loads(text, parse_constant=lambda _: 1 / 0)
        text.encode()
        fine = "\\ud8" not in text.lower() and "\\ud" not in text.lower()
    except (ValueError, ZeroDivisionError):
        fine = False
    found = printed(text)[0]
    if fine:
        assert found is not None
    elif "\\ud" not in text.lower():
        assert found is None


@pytest.mark.parametrize(
    "text",
    ["", " ", "nul", "01", "-", "1.", ".5", "1e", "+1", "[1,]", "[,1]", '{"a"}', '{"a":}', "{1:2}",
     '{"a":1,}', '"\t"', '"\\x"', '"\\u12"', '"\\ud800"', '"\\udc00"', '"a', "[1", "1 2", "NaN",
     "tru", "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), '{"a":1]', "[1}"],
)  # fmt: skip
def test_each_of_these_is_no_json_and_its_neighbours_are(text: str) -> None:
    assert printed("[1]", text, '{"a":"x"}') == ["[1]", None, '{"a":"x"}']


def test_deep_but_not_too_deep() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert printed(text) == [text]


def test_numbers_have_the_types_of_the_reference() -> None:
    assert kinds("1", "-1", "1.5", "1e2", "0", "-0", "18446744073709551615") == [
        Kind.UINT64, Kind.INT64, Kind.DECIMAL, Kind.DECIMAL, Kind.UINT64, Kind.INT64, Kind.UINT64,
    ]  # fmt: skip
    assert kinds("18446744073709551616", "-9223372036854775809") == [Kind.DECIMAL] * 2
    assert kinds("1e38", "1e-39", "1" * 39, "1e400") == [Kind.DOUBLE] * 4
    assert printed("1.50", "1e2", "0.000001", "-0.5", "1" * 38, "1e-38", "12.0e1") == [
        "1.5", "100", "0.000001", "-0.5", "1" * 38, "0." + "0" * 37 + "1", "120",
    ]  # fmt: skip


def test_keys_are_in_order_and_the_last_of_equal_ones_counts() -> None:
    assert printed('{"b":1, "a":{"d":[], "c":{}}, "b":2}') == ['{"a":{"c":{},"d":[]},"b":2}']


def test_text_is_escaped_and_unescaped() -> None:
    assert printed('"\\u0041\\n\\ud83d\\ude00\\/\\u0001\\""') == ['"A\\n😀/\\u0001\\""']


def same(a: str, b: str) -> bool:
    x, y = parsed(a), parsed(b)
    here = np.zeros(1, np.int64)
    return bool(rows_equal([x], here, [y], here)[0])


def test_equal_values_are_equal_bytes() -> None:
    assert same('{"a":1,"b":2}', '{"b":2,"a":1}')
    assert same("1.50", "1.5")
    assert not same("1", "1.5")
    assert not same("null", "0")


def test_values_of_one_type_are_in_order() -> None:
    texts = ["-3.25", "-3.2", "0.1", "2.75", "10.5"]
    column = parsed(*reversed(texts))
    assert sort_indices([column], [(False, True)]).tolist() == [4, 3, 2, 1, 0]


def test_rows_become_maps_and_children_are_wrapped() -> None:
    type = row_of(b=array_of(INTEGER), a=map_of(VARCHAR, decimal(5, 2)))
    column = wrap(column_from_python(type, [([1, None], {"k": Decimal("1.10")}), None]))
    assert column_to_python(column) == ['{"a":{"k":1.10},"b":[1,null]}', None]
    assert column.type == VARIANT


def test_nothing_is_read_of_no_rows() -> None:
    assert column_to_python(parsed()) == []
    assert column_to_python(wrap(column_from_python(BIGINT, []))) == []
    assert np.array_equal(parsed(None).valid, [0])
