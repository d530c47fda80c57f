"""The kernels over text agree with plain Python on any text, in any mixture of lengths."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.data.batch import Column
from penstock.data.build import column_from_python, column_to_python
from penstock.data.types import (
    BIGINT,
    DATE,
    DOUBLE,
    INTEGER,
    REAL,
    TIME,
    TIMESTAMP,
    TINYINT,
    UBIGINT,
    UUID,
    VARCHAR,
    SqlType,
    decimal,
)
from penstock.functions.casts import cast_kernel
from penstock.functions.literals import parse_date, parse_float, parse_time, parse_timestamp
from penstock.functions.registry import resolve
from tests.examples import examples
from tests.unit.functions import plain_text

#: little text over few characters, so that things are found; some of it long, some not ASCII
WORD = st.text("ab|%_é😀 ", max_size=18)
FEW = settings(max_examples=examples(40), deadline=None)


def column(values: Sequence[Any], type: SqlType = VARCHAR) -> Column:
    return column_from_python(type, values)


def called(name: str, *args: tuple[SqlType, Sequence[Any]]) -> list[Any]:
    f = resolve(name, [t for t, _ in args])
    return column_to_python(f.kernel([column(v, t) for t, v in args], len(args[0][1])))


ROWS = st.lists(st.tuples(WORD, WORD, st.integers(-9, 9), st.integers(-9, 9)), min_size=2)


def _part(s: str, mark: str, i: int) -> str:
    parts = s.split(mark) if mark else [s]
    return parts[i - 1 if i > 0 else i] if i and abs(i) <= len(parts) else ""


def _substring(s: str, start: int, length: int) -> str:
    return "".join(c for i, c in enumerate(s, 1) if start <= i < start + max(length, 0))


PLAIN: list[tuple[str, str, Callable[..., Any]]] = [
    ("POSITION", "ws", lambda part, s: s.find(part) + 1),
    ("REPLACE", "sww", lambda s, a, b: s.replace(a, b) if a else s),
    ("SPLIT_PART", "swi", _part),
    ("SUBSTRING", "sij", _substring),
    ("LEFT", "si", lambda s, i: s[: max(i, 0)]),
    ("RIGHT", "si", lambda s, i: s[max(len(s) - i, 0) :] if i > 0 else ""),
    ("TRIM", "sw", lambda s, c: s.strip(c) if c else s),
    ("TRIM_LEADING", "sw", lambda s, c: s.lstrip(c) if c else s),
    ("CHAR_LENGTH", "s", len),
    ("ASCII", "s", lambda s: ord(s[0]) if s else 0),
    ("MD5", "s", lambda s: hashlib.md5(s.encode()).hexdigest()),
    ("INITCAP", "s", lambda s: re.sub(r"[^\W_]+", lambda m: m[0].capitalize(), s)),
    ("INITCAP_SPACES", "s", lambda s: re.sub(r"[^ ]+", lambda m: m[0].capitalize(), s)),
]


def test_md5_is_right_at_every_length_about_a_block() -> None:
    texts = ["é" * (n // 2) + "x" * (n % 2) for n in range(200)]
    md5 = resolve("MD5", [VARCHAR])
    found = column_to_python(md5.kernel([column_from_python(VARCHAR, texts)], len(texts)))
    assert found == [hashlib.md5(t.encode()).hexdigest() for t in texts]


@FEW
@given(ROWS)
def test_functions_of_text_are_those_of_python(rows: list[tuple[str, str, int, int]]) -> None:
    source = {"s": 0, "w": 1, "i": 2, "j": 3}
    for name, shape, plain in PLAIN:
        args = []
        for letter in shape:
            values = [r[source[letter]] for r in rows]
            args.append((INTEGER if letter in "ij" else VARCHAR, values))
        wanted = [plain(*row) for row in zip(*(v for _, v in args), strict=True)]
        assert called(name, *args) == wanted, name


@FEW
@given(st.lists(st.tuples(WORD, WORD), min_size=2))
@example([("%", "|"), ("aé", "_é"), ("", "%"), ("ab", "a%b%")])
def test_like_is_the_regular_expression_it_says(rows: list[tuple[str, str]]) -> None:
    def plain(s: str, pattern: str) -> bool:
        wild = {"%": ".*", "_": "."}
        regex = "".join(wild.get(c) or re.escape(c) for c in pattern)
        return re.fullmatch(regex, s, re.DOTALL) is not None

    strings, patterns = [s for s, _ in rows], [p for _, p in rows]
    got = called("like", (VARCHAR, strings), (VARCHAR, patterns))
    assert got == [plain(s, p) for s, p in rows]


NUMBER = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=3).map(str),
    st.from_regex(r"[ ]?[+-]?\d{0,40}\.?\d{0,40}([eE][+-]?\d{1,3})?[ ]?", fullmatch=True),
    st.text("0123456789.eE+- ", max_size=12),
    st.sampled_from(["", "-0", "nan", " Infinity", "-inf", "0x1", "1_0"]),
)
MOMENT = st.one_of(
    st.datetimes().map(str),
    st.datetimes().map(lambda d: str(d.date())),
    st.datetimes().map(lambda d: str(d.time())),
    st.from_regex(r"\d{4}-\d{1,2}-\d{1,2}([ T]\d\d:\d\d:\d\d(\.\d{0,9})?)?", fullmatch=True),
    st.text("0123456789-: .", max_size=20),
)


def _or_none(read: Callable[[str], Any], word: str) -> Any:
    try:
        return read(word)
    except (ValueError, OverflowError):
        return None


def _within(type: SqlType) -> Callable[[str], int]:
    info = np.iinfo(type.dtype)

    def read(word: str) -> int:
        value = plain_text.parse_integer(word.strip(" "))
        if not info.min <= value <= info.max:
            raise ValueError(word)
        return value

    return read


def _days(word: str) -> Any:
    return datetime.date(1970, 1, 1) + datetime.timedelta(parse_date(word))


def _unsigned_zero(value: Any) -> str:
    return repr(abs(value) if value == 0 else value)


def agree(words_: list[str], type: SqlType, read: Callable[[str], Any]) -> None:
    """SAFE_CAST of the texts is what `read` gives, NULL where it fails."""
    out = cast_kernel(VARCHAR, type, safe=True)([column(words_)], len(words_))
    got, wanted = column_to_python(out), [_or_none(read, w) for w in words_]
    assert [_unsigned_zero(g) for g in got] == [_unsigned_zero(w) for w in wanted], words_


@FEW
@given(st.lists(NUMBER, min_size=1))
def test_text_becomes_the_number_that_python_reads(texts: list[str]) -> None:
    for type in (TINYINT, BIGINT, UBIGINT):
        agree(texts, type, _within(type))
    for precision, scale in ((38, 0), (38, 38), (10, 3), (5, 5)):
        agree(
            texts,
            decimal(precision, scale),
            lambda w, p=precision, s=scale: plain_text.parse_decimal(w.strip(" "), p, s),
        )
    agree(texts, DOUBLE, lambda w: parse_float(w.strip(" ")) + 0.0)


@FEW
@given(st.lists(MOMENT, min_size=1))
def test_text_becomes_the_moment_that_python_reads(texts: list[str]) -> None:
    agree(texts, DATE, _days)
    agree(texts, TIME, parse_time)
    agree(texts, TIMESTAMP, parse_timestamp)


UUIDS = st.tuples(st.uuids(), st.integers(0, 36), st.sampled_from(["-", "", "}", "g"])).map(
    lambda t: f"{str(t[0])[: t[1]]}{t[2]}{str(t[0])[t[1] + 1 :]}"
)


@FEW
@given(st.lists(st.text("0aF-{}", min_size=1).map(lambda s: (s * 40)[:36]) | UUIDS, min_size=1))
def test_text_becomes_the_uuid_that_python_reads(texts: list[str]) -> None:
    agree(texts, UUID, plain_text.parse_uuid)


@FEW
@given(
    st.lists(st.integers(-(10**38) + 1, 10**38 - 1), min_size=1),
    st.integers(0, 38),
    st.lists(st.floats(allow_nan=False), min_size=1),
)
def test_numbers_read_back_from_their_text(
    unscaled: list[int], scale: int, floats: list[float]
) -> None:
    type = decimal(38, scale)
    exact = [Decimal(u).scaleb(-scale, plain_text._WIDE) for u in unscaled]
    text = cast_kernel(type, VARCHAR)([column(exact, type)], len(exact))
    assert column_to_python(text) == [format(e, "f") for e in exact]
    with np.errstate(over="ignore"):
        singles = [float(np.float32(f)) for f in floats]
    for kind, values in ((DOUBLE, floats), (REAL, singles)):
        there = cast_kernel(kind, VARCHAR)([column(values, kind)], len(values))
        back = cast_kernel(VARCHAR, kind)([there], len(values))
        assert column_to_python(back) == column_to_python(column(values, kind))
