"""FORMAT_* is strftime where both have the specifier, and PARSE_* reads back what it writes."""

from __future__ import annotations

import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.compile.frame import masked
from penstock.data.build import column_from_python, column_to_python
from penstock.data.types import DATE, TIMESTAMP, VARCHAR, SqlType
from penstock.functions.registry import resolve
from tests.examples import examples

FEW = settings(max_examples=examples(40), deadline=None)
DAYS = st.dates(datetime.date(1000, 1, 1))  # strftime does not fill up smaller years
TIMES = st.datetimes(datetime.datetime(1000, 1, 1), datetime.datetime(9999, 12, 31))
SHARED = [
    "Y",
    "C",
    "y",
    "m",
    "d",
    "e",
    "j",
    "a",
    "A",
    "b",
    "B",
    "u",
    "w",
    "U",
    "W",
    "G",
    "V",
    "H",
    "I",
    "M",
    "S",
    "p",
    "T",
    "F",
    "D",
    "R",
]
EPOCH = datetime.datetime(1970, 1, 1)


def called(name: str, *args: tuple[SqlType, list[Any]]) -> list[Any]:
    f = resolve(name, [t for t, _ in args])
    columns = [column_from_python(t, v) for t, v in args]
    out = f.kernel(columns, max(len(v) for _, v in args))
    return column_to_python(masked(f.result, out, out.valid))


@FEW
@given(st.lists(TIMES, min_size=1), st.lists(st.sampled_from(SHARED), min_size=1, max_size=5))
def test_a_format_is_strftimes(moments: list[datetime.datetime], specifiers: list[str]) -> None:
    format = "/".join(f"%{s}" for s in specifiers)
    got = called("FORMAT_TIMESTAMP", (VARCHAR, [format]), (TIMESTAMP, moments))
    assert got == [m.strftime(format) for m in moments]


DATE_FORMATS = st.sampled_from(
    ["%Y-%m-%d", "%d %b %Y", "%A, %e. %B %Y", "%Y %j", "%G-W%V-%u", "%Y %U %a", "%Y.%W.%w", "%F",
     "%C|%y|%m|%d", "%_d/%-m/%Y"]
)  # fmt: skip


@FEW
@given(st.lists(DAYS, min_size=1), st.lists(DATE_FORMATS, min_size=1))
def test_a_date_is_read_back_from_its_text(days: list[datetime.date], some: list[str]) -> None:
    formats = [some[i % len(some)] for i in range(len(days))]
    texts = called("FORMAT_DATE", (VARCHAR, formats), (DATE, days))
    assert called("PARSE_DATE", (VARCHAR, formats), (VARCHAR, texts)) == days
    for text, format in zip(texts, formats, strict=True):
        broken = [text[:-1], f"{text}!", f"x{text}"]
        assert None in called("PARSE_DATE", (VARCHAR, [format]), (VARCHAR, broken))


@FEW
@given(
    st.lists(TIMES, min_size=1),
    st.sampled_from(["%F %T%.f", "%D %H:%M:%S.%6f %C", "%s%.6f", "%Y%m%d %I%M%S%p %.9f"]),
)
def test_a_timestamp_is_read_back_from_its_text(
    moments: list[datetime.datetime], format: str
) -> None:
    texts = called("FORMAT_TIMESTAMP", (VARCHAR, [format]), (TIMESTAMP, moments))
    got = called("PARSE_TIMESTAMP", (VARCHAR, [format]), (VARCHAR, texts))
    assert got == [(m - EPOCH) // datetime.timedelta(microseconds=1) for m in moments]
