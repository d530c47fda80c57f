"""Lexing: what is a token, what it is worth, what is none."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from penstock.sql.lexer import BINARY, END, NUMBER, QUOTED, STRING, tokenize


def tokens(text: str) -> list[tuple[str, Any]]:
    found = tokenize(text)
    assert found.errors == []
    assert found.keys[-1] == END
    return list(zip(found.keys, found.values, strict=True))[:-1]


def errors(text: str) -> list[str]:
    return [f"{span.start}-{span.end} {what}" for span, what in tokenize(text).errors]


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("Select", "SELECT", "select"),
        ("Ünïcode$1", "ÜNÏCODE$1", "ünïcode$1"),
        ("2nd_column", "2ND_COLUMN", "2nd_column"),
        ('"Ab""C"', QUOTED, 'Ab"C'),
        ("'it''s'", STRING, "it's"),
        ("'two\nlines'", STRING, "two\nlines"),
        ("'no \\n escape'", STRING, "no \\n escape"),
        ("x'0AfF'", BINARY, b"\x0a\xff"),
        ("X''", BINARY, b""),
        ("12", NUMBER, 12),
        ("1.50", NUMBER, Decimal("1.50")),
        (".5", NUMBER, Decimal("0.5")),
        ("1.5e0", NUMBER, 1.5),
        ("1E-3", NUMBER, 0.001),
        ("!=", "<>", "!="),
        ("<=>", "<=>", "<=>"),
        (r"U&'hello\0041'", STRING, "helloA"),
        (r"U&'a\\b'", STRING, "a\\b"),
        ("u&'!0041' UESCAPE '!'", STRING, "A"),
        (r'U&"d\0061t\0061"', QUOTED, "data"),
        (r"E'it''s\ta\\b\'c\n'", STRING, "it's\ta\\b'c\n"),
        (r"e'\u0041\U0001F600\x41\101\q'", STRING, "A😀AAq"),
        ("N'abc'", STRING, "abc"),
        ("_UTF8'it''s'", STRING, "it's"),
    ],
)
def test_one_token(text: str, key: str, value: Any) -> None:
    (found,) = tokens(text)

    assert found == (key, value)
    assert type(found[1]) is type(value)


def test_strings_on_separate_lines_are_one() -> None:
    assert tokens("'a'\n  'b' -- and\n 'c'") == [(STRING, "abc")]


def test_parts_of_a_binary_literal_are_one() -> None:
    assert tokens("x'AB' 'CD'") == [(BINARY, b"\xab\xcd")]


def test_comments_vanish_and_hints_stand_aside() -> None:
    found = tokenize("SELECT /*+ broadcast(t) */ a -- b\n/* c ; ' */ // d\n+ e")

    assert found.keys == ["SELECT", "A", "+", "E", END]
    assert found.hints == {1: "broadcast(t)"}


def test_a_number_ends_where_a_word_does_not_begin() -> None:
    assert [key for key, _ in tokens("1-1 a.b 1.5+x")] == [
        NUMBER, "-", NUMBER, "A", ".", "B", NUMBER, "+", "X",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 'b\nc", "2-4 the string literal is not closed"),
        ('a "b', "2-4 the quoted name is not closed"),
        ("a /* b", "2-6 the comment is not closed"),
        ("a # b", "2-3 unexpected character '#'; a comment is written -- …"),
        ("x'ABC'", "0-6 a binary literal takes an even number of hexadecimal digits"),
        ("x'A B '", "0-7 a binary literal takes an even number of hexadecimal digits"),
        ('""', "0-2 a quoted name must not be empty"),
        (r"U&'\00'", r"0-7 '\\' is not a character: write \XXXX with four hexadecimal digits"),
        (r"U&'\D800'", r"0-9 '\\D800' is not a character: write \XXXX with four hexadecimal "
                       "digits"),
        ("1e999", "0-5 1e999 is out of the range of DOUBLE"),
        ("\ud800", "0-1 the text holds half a surrogate pair"),
    ],
)  # fmt: skip
def test_what_is_no_token(text: str, expected: str) -> None:
    assert expected in errors(text)


def test_two_strings_on_one_line_are_refused() -> None:
    (error,) = errors("'a' 'b'")

    assert error.startswith("4-7 found a string literal behind a string literal")
