"""Spans as lines and columns, excerpts, suggestions."""

from __future__ import annotations

import pytest

from penstock.errors import Span
from penstock.sql.diagnostics import did_you_mean, message, position, snippet, source_text

TEXT = "SELECT a,\n       b + c\nFROM t\nWHERE x\nGROUP BY y"


@pytest.mark.parametrize(
    ("offset", "expected"), [(0, (1, 1)), (8, (1, 9)), (9, (1, 10)), (10, (2, 1)), (999, (5, 11))]
)
def test_position_of_an_offset(offset: int, expected: tuple[int, int]) -> None:
    assert position(TEXT, offset) == expected


def test_lines_and_columns_are_inclusive() -> None:
    m = message(TEXT, Span(TEXT.index("b"), TEXT.index("b") + 5), "wrong")

    assert (m.start_line, m.start_column, m.end_line, m.end_column) == (2, 8, 2, 12)
    assert m.message == "wrong"
    assert m.error_type == "Compilation error"


def test_an_empty_span_is_one_column() -> None:
    m = message("ab", Span(2, 2), "more")

    assert (m.start_column, m.end_column) == (3, 3)
    assert m.snippet == "    1|ab\n        ^"


def test_without_a_span_a_message_has_no_excerpt() -> None:
    assert message(TEXT, None, "whatever", warning=True).snippet is None


def test_a_span_of_two_lines_underlines_both() -> None:
    assert snippet(TEXT, Span(7, TEXT.index("b") + 1)) == (
        "    1|SELECT a,\n             ^^\n    2|       b + c\n             ^"
    )


def test_a_long_span_is_cut_after_three_lines() -> None:
    assert snippet(TEXT, Span(0, len(TEXT))).endswith("    3|FROM t\n      ^^^^^^\n      ...")


def test_source_text_is_one_line() -> None:
    assert source_text(TEXT, Span(7, 22)) == "a, b + c"
    assert source_text(TEXT, None) == ""


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("custmer", ["customer", "orders"], " (did you mean customer?)"),
        ("CUSTOMER", ["Customer"], " (did you mean Customer?)"),
        ("zzz", ["customer"], ""),
        ("x", [], ""),
    ],
)
def test_did_you_mean(name: str, known: list[str], expected: str) -> None:
    assert did_you_mean(name, known) == expected


def test_carets_stand_under_characters_that_are_two_columns_wide() -> None:
    shown = snippet("SELECT '東京' FORM t", Span(12, 16))
    assert shown == "    1|SELECT '東京' FORM t\n" + " " * 20 + "^^^^"
    assert snippet("SELECT 東京 FROM t", Span(7, 9)).endswith("\n" + " " * 13 + "^^^^")
    # an accent that is a character of its own takes no column
    assert snippet("SELECT e\u0301 FORM t", Span(10, 14)).endswith("\n" + " " * 15 + "^^^^")
