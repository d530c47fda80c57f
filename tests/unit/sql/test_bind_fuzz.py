"""Damaged programs raise SqlError and nothing else, with positions inside the text."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import SqlError
from penstock.sql.program import compile_program
from tests.property.programs import TABLES
from tests.unit.sql.test_bind_queries import QUERIES
from tests.unit.sql.test_bind_queries import TABLES as SMALL_TABLES

PROGRAMS = Path(__file__).parent / "programs"
TPCH = (PROGRAMS / "tpch.sql").read_text()
NEXMARK = (PROGRAMS / "nexmark.sql").read_text()
TOKEN = re.compile(r"\w+|'[^']*'|\S")
WORDS = sorted({*TOKEN.findall(TPCH), *TOKEN.findall(NEXMARK), *TOKEN.findall(" ".join(QUERIES))})


def compiles_or_complains(text: str) -> bool:
    try:
        compile_program(text)
    except SqlError as error:
        lines = text.count("\n") + 1
        for m in error.messages:
            assert m.message, "every message says something"
            assert 1 <= m.start_line <= m.end_line <= lines
            assert m.start_column >= 1
        return False
    return True


@st.composite
def damaged_queries(draw: st.DrawFn) -> str:
    """A query with up to four of its tokens replaced, dropped or doubled."""
    tokens = TOKEN.findall(draw(st.sampled_from(QUERIES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(tokens) - 1))
        other = draw(st.sampled_from([*WORDS, "k", "x", "a", "b", "NULL", "COUNT", "1"]))
        there = tokens[at]
        tokens[at : at + 1] = draw(st.sampled_from([[other], [there, other], [], [there, there]]))
        if not tokens:
            return "SELECT"
    return " ".join(tokens)


@given(query=damaged_queries())
@settings(max_examples=400, deadline=None)
def test_a_damaged_query_compiles_or_is_refused(query: str) -> None:
    compiles_or_complains(f"{SMALL_TABLES} CREATE VIEW v AS {query}")


@given(
    start=st.integers(0, len(TPCH) - 1),
    length=st.integers(0, 40),
    insert=st.sampled_from(["", ",", "(", ")", "'", "NULL", " SELECT ", "*", " AND "]),
)
@settings(max_examples=60, deadline=None)
def test_a_damaged_program_compiles_or_is_refused(start: int, length: int, insert: str) -> None:
    compiles_or_complains(TPCH[:start] + insert + TPCH[start + length :])


def test_whole_programs_are_understood_or_refused_by_name() -> None:
    assert compiles_or_complains(TPCH)
    assert compiles_or_complains(TABLES)
    assert compiles_or_complains(NEXMARK)
