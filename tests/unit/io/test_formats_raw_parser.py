"""The raw parser: bytes into one column, whole or by lines."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.build import column_to_python
from penstock.data.types import INTEGER, VARBINARY, VARCHAR, Schema, schema
from penstock.errors import UserError
from penstock.io.contracts import Parsed
from penstock.io.formats.raw_parser import RawParser

DATA = schema(data=VARBINARY)


def rows(*parsed: Parsed) -> list[Any]:
    return [v for p in parsed for b in p.batches for v in column_to_python(b.columns[0])]


@settings(deadline=None)
@given(text=st.binary(max_size=40), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_however_the_bytes_arrive_the_rows_are_the_same(text: bytes, cuts: list[int]) -> None:
    for mode, expected in (
        ("blob", [text]),
        ("lines", [v.removesuffix(b"\r") for v in text.removesuffix(b"\n").split(b"\n")]),
    ):
        parser = RawParser({"mode": mode}, DATA)
        edges = [0, *sorted(min(c, len(text)) for c in cuts), len(text)]
        parts = [parser.feed(text[a:b]) for a, b in pairwise(edges)]
        assert rows(*parts, parser.finish()) == (expected if text or mode == "blob" else [])


def test_a_parser_goes_on_where_another_one_was() -> None:
    first = RawParser({"mode": "lines"}, DATA)
    first.feed(b"a\nb\nc")
    state = first.state()
    assert state is not None and state.unread == 1
    second = RawParser({"mode": "lines", "column_name": "DATA"}, DATA)
    second.restore(state.facts)
    assert rows(second.feed(b"cd\n")) == [b"cd"]


def test_text_that_is_none_is_reported_with_its_number() -> None:
    parser = RawParser({"mode": "lines"}, schema(t=VARCHAR))
    parsed = parser.feed(b"a\n\xff\nb\n")
    assert rows(parsed) == ["a", "b"]
    assert [e.event_number for e in parsed.errors] == [2]


@pytest.mark.parametrize(
    ("config", "table", "message"),
    [
        ({}, schema(a=VARCHAR, b=VARCHAR), "'column_name' is required"),
        ({"column_name": "c"}, schema(a=VARCHAR, b=VARCHAR), "names no column"),
        ({}, schema(a=INTEGER), "VARBINARY or VARCHAR"),
        ({"column_name": "a"}, schema(a=VARCHAR, b=INTEGER.with_nullable(False)), "'b' is NOT"),
        ({"mode": "words"}, DATA, "must be one of blob, lines"),
    ],
)
def test_what_cannot_be_filled_is_refused(
    config: dict[str, Any], table: Schema, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        RawParser(config, table)
