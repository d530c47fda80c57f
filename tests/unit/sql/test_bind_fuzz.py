"""Damaged programs raise SqlError and nothing else, with positions inside the text."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import SqlError
from penstock.sql.program import compile_program
from tests.examples import examples
from tests.property import grammar
from tests.property.grammar_values import spelt
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
@settings(max_examples=examples(400), deadline=None)
def test_a_damaged_query_compiles_or_is_refused(query: str) -> None:
    compiles_or_complains(f"{SMALL_TABLES} CREATE VIEW v AS {query}")


@given(
    start=st.integers(0, len(TPCH) - 1),
    length=st.integers(0, 40),
    insert=st.sampled_from(["", ",", "(", ")", "'", "NULL", " SELECT ", "*", " AND "]),
)
@settings(max_examples=examples(60), deadline=None)
def test_a_damaged_program_compiles_or_is_refused(start: int, length: int, insert: str) -> None:
    compiles_or_complains(TPCH[:start] + insert + TPCH[start + length :])


NUMBER_OR_TOKEN = re.compile(r"\d+\.\d+(?:e\d+)?|\w+|'[^']*'|\S")
#: words that may stand for one another without breaking the grammar
SWAPS = [
    ["ABS", "UPPER", "MAX", "SUM", "COUNT", "COALESCE", "CARDINALITY", "POSITION", "RANK", "LAG"],
    ["INT", "VARCHAR", "DATE", "DOUBLE", "BOOLEAN", "TIMESTAMP", "BIGINT", "UUID", "VARIANT"],
    ["=", "<", "+", "-", "*", "%", "||", "AND", "OR", "<=>", "LIKE"],
    ["LEFT", "RIGHT", "FULL", "CROSS", "INNER", "NATURAL"],
    ["UNION", "EXCEPT", "INTERSECT"],
    ["id", "k", "s", "x", "l", "t1", "t2", "c1", "c2", "a", "b", "c"],
    ["0", "1", "2", "1.50", "'a'", "''", "NULL", "TRUE", "ARRAY[1]", "ROW(1, 2)", "(SELECT 1)", "*",
     "x'ab'", "PARSE_JSON('1')", "INTERVAL '1' DAY", "NOW()", "SUM(k) OVER ()", "3000000000"],
]  # fmt: skip


@pytest.mark.parametrize("seed", range(30))
def test_a_program_with_other_words_compiles_or_is_refused(seed: int) -> None:
    """The grammar holds, the meaning as a rule does not."""
    r = random.Random(seed)
    for _ in range(4):
        program = grammar.Writer(r, depth=1).program()
        tables = spelt(";\n".join(program.tables), 0)
        first = next(iter(program.queries.values()))
        tokens = NUMBER_OR_TOKEN.findall(spelt(first, 0))
        for _ in range(r.choice([1, 1, 2, 4])):
            at = r.randrange(len(tokens))
            swaps = next((s for s in SWAPS if tokens[at] in s), [tokens[at]])
            tokens[at] = r.choice(swaps)
        compiles_or_complains(f"{tables};\nCREATE VIEW v AS {' '.join(tokens)}")


def test_whole_programs_are_understood_or_refused_by_name() -> None:
    assert compiles_or_complains(TPCH)
    assert compiles_or_complains(TABLES)
    assert compiles_or_complains(NEXMARK)
