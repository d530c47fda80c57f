"""Long programs compile, deep ones are refused, mangled ones get messages: never a traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.compile.program import compile_circuit
from penstock.errors import SqlError
from penstock.plan.nodes import Distinct, Node, ProgramPlan, UnionAll
from penstock.plan.printer import format_program
from penstock.plan.rewrite import inputs
from penstock.sql.bind.expressions import MAX_DEPTH
from penstock.sql.info import program_info
from penstock.sql.parser import parse_program
from penstock.sql.program import bind_program, compile_program
from tests.examples import examples

TABLES = "CREATE TABLE t (a INT, s VARCHAR, k INT NOT NULL PRIMARY KEY);\n"
HERE = Path(__file__).parent / "programs"
DEMO = Path(__file__).parents[3] / "src/penstock/demo/program.sql"
PROGRAMS = [p.read_text() for p in (HERE / "tpch.sql", HERE / "nexmark.sql", DEMO)]


def _nodes(plan: ProgramPlan) -> int:
    seen: dict[int, Node] = {}
    stack: list[Node] = [v.query for v in plan.views]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen[id(node)] = node
            stack += inputs(node)
    return len(seen)


def _used(plan: ProgramPlan) -> None:
    """Everything that recurses over a plan."""
    compile_circuit(plan)
    format_program(plan)
    program_info(plan)
    hash(plan.views)


LONG: dict[str, Callable[[int], str]] = {
    "OR": lambda n: "SELECT * FROM t WHERE " + " OR ".join(f"a = {i}" for i in range(n)),
    "AND": lambda n: "SELECT * FROM t WHERE " + " AND ".join(f"a <> {i}" for i in range(n)),
    "OR in SELECT": lambda n: f"SELECT {' OR '.join(f'a > {i}' for i in range(n))} AS x FROM t",
    "UNION ALL": lambda n: " UNION ALL ".join(f"SELECT a + {i} AS x FROM t" for i in range(n)),
    "UNION": lambda n: " UNION ".join(f"SELECT a + {i} AS x FROM t" for i in range(n)),
    "IN": lambda n: f"SELECT * FROM t WHERE a IN ({', '.join(map(str, range(n)))})",
    "VALUES": lambda n: "VALUES " + ", ".join(f"({i}, 'x')" for i in range(n)),
    "WHEN": lambda n: f"SELECT CASE a {' '.join(f'WHEN {i} THEN 1' for i in range(n))} END FROM t",
}  # fmt: skip


@pytest.mark.parametrize("what", LONG)
def test_a_program_may_be_long(what: str) -> None:
    n = 300 if what.startswith("UNION") else 2000
    _used(compile_program(f"{TABLES}CREATE VIEW v AS {LONG[what](n)}"))


DEEP: dict[str, Callable[[int], str]] = {
    "parentheses": lambda n: f"SELECT {'(' * n}a{')' * n} AS x FROM t",
    "sum": lambda n: f"SELECT {' + '.join(['a'] * n)} AS x FROM t",
    "NOT": lambda n: f"SELECT {'NOT ' * n} a > 1 AS x FROM t",
    "minus": lambda n: f"SELECT {'- ' * n} a AS x FROM t",
    "casts": lambda n: f"SELECT a{'::BIGINT::INT' * n} AS x FROM t",
    "calls": lambda n: f"SELECT {'COALESCE(a, ' * n}1{')' * n} AS x FROM t",
    "IN": lambda n: f"SELECT a FROM t WHERE {'a IN (' * n}1{')' * n}",
    "CASE": lambda n: f"SELECT {'CASE WHEN a > 1 THEN 1 ELSE ' * n}2{' END' * n} AS x FROM t",
    "sub-queries": lambda n: f"SELECT a FROM {'(SELECT a FROM ' * n}t{') q' * n}",
    "EXCEPT": lambda n: " EXCEPT ".join(["SELECT a FROM t"] * n),
}  # fmt: skip


@pytest.mark.parametrize("depth", [1, 3, 10, 30, 60, 90, 150, 500, 3000])
@pytest.mark.parametrize("what", DEEP)
def test_a_program_is_compiled_or_called_too_deep(what: str, depth: int) -> None:
    if what == "IN" and depth > 1:
        return  # a IN (a IN (1)) compares a number with a BOOLEAN
    text = f"{TABLES}CREATE VIEW v AS {DEEP[what](depth)}"
    try:
        plan = compile_program(text)
    except SqlError as e:
        assert depth > 30, e
        assert "deep" in e.message
        assert all(m.start_line == 2 for m in e.messages)
    else:
        _used(plan)


def test_the_deepest_sum_that_is_accepted_runs_and_the_next_is_refused() -> None:
    _used(compile_program(f"{TABLES}CREATE VIEW v AS {DEEP['sum'](MAX_DEPTH)}"))
    with pytest.raises(SqlError, match=f"more than {MAX_DEPTH} levels deep"):
        compile_program(f"{TABLES}CREATE VIEW v AS {DEEP['sum'](MAX_DEPTH + 1)}")


def test_a_chain_of_unions_is_one_union() -> None:
    plan = bind_program(f"{TABLES}CREATE VIEW v AS {LONG['UNION'](5)}")

    once = plan.views[0].query
    assert isinstance(once, Distinct)
    assert isinstance(once.input, UnionAll)
    assert len(once.input.inputs) == 5


def test_union_all_behind_union_keeps_its_duplicates() -> None:
    plan = bind_program(
        f"{TABLES}CREATE VIEW v AS SELECT a FROM t UNION SELECT a FROM t UNION ALL SELECT a FROM t"
    )

    both = plan.views[0].query
    assert isinstance(both, UnionAll)
    assert isinstance(both.inputs[0], Distinct)


def _compiles_or_explains(text: str) -> None:
    try:
        plan = compile_program(text)
    except SqlError as e:
        lines = text.split("\n")
        for m in e.messages:
            assert m.message
            assert 1 <= m.start_line <= m.end_line <= len(lines)
            assert (m.start_line, m.start_column) <= (m.end_line, m.end_column)
    else:
        _used(plan)


def _statements(text: str) -> tuple[str, list[str]]:
    """The tables of a program, and all its statements."""
    found = [text[s.span.start : s.span.end] for s in parse_program(text)]
    return ";\n".join(s for s in found if s.upper().startswith("CREATE TABLE")), found


_PROGRAMS = [_statements(text) for text in PROGRAMS]
_WORD = re.compile(r"\w+|'[^']*'|<>|[<>]=|\|\||\S")


@st.composite
def _mangled(draw: st.DrawFn) -> str:
    """One statement of a real program behind the tables; some of its words changed."""
    head, statements = draw(st.sampled_from(_PROGRAMS))
    words = _WORD.findall(draw(st.sampled_from(statements)))
    for _ in range(draw(st.integers(1, 4))):
        i, j = draw(st.integers(0, len(words) - 1)), draw(st.integers(0, len(words) - 1))
        how = draw(st.sampled_from(["drop", "swap", "copy", "new", "span"]))
        if how == "drop" and len(words) > 1:
            del words[i]
        elif how == "swap":
            words[i], words[j] = words[j], words[i]
        elif how == "copy":
            words.insert(i, words[j])
        elif how == "span":
            words[i:i] = words[min(i, j) : max(i, j)][:8]
        else:
            words[i] = draw(st.sampled_from(_WORDS))
    return f"{head};\n{' '.join(words)}"


_SPICE = """
( ) , * . = <> - + || NULL 1 'x' 2.5 1e0 TRUE DATE '2020-01-01' COUNT(*) SUM( MAX( NOT AND OR IN
EXISTS (SELECT CASE WHEN THEN END GROUP BY ORDER LIMIT HAVING DISTINCT JOIN LEFT ON USING(k) UNION
EXCEPT ALL AS x BETWEEN LIKE INTERVAL '1' DAY CAST( AS VARCHAR) OVER () ROW_NUMBER() ROW( ARRAY[ ]
"""
_WORDS = _SPICE.split()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT SUM(a) AS n, SUM(n) AS m FROM t", "n is an aggregate"),
        ("SELECT SUM(a) AS n, COUNT(*) FILTER (WHERE n > 1) AS m FROM t", "n is an aggregate"),
        ("SELECT a FROM v", "view v reads itself"),
        ("SELECT a FROM (SELECT a FROM v) x", "view v reads itself"),
    ],
)
def test_what_random_edits_found_is_a_mistake_with_a_name(query: str, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        compile_program(f"{TABLES}CREATE VIEW v AS {query}")


#: a word is replaced by one of its own class, so that the parser lets most programs through
_KINDS = """
= <> < <= > >= + - * / % ||
AND OR
UNION INTERSECT EXCEPT
LEFT RIGHT FULL INNER NATURAL CROSS
sum count min max avg upper coalesce abs extract row_number
1 2.5 1e0 'x' NULL TRUE (SELECT(MAX(k))FROM(t))
"""
_CLASSES = [line.split() for line in _KINDS.strip().splitlines()]


@st.composite
def _plausible(draw: st.DrawFn) -> str:
    """A view of a real program behind the tables; some words became others of their class."""
    head, statements = draw(st.sampled_from(_PROGRAMS))
    views = [s for s in statements if " VIEW " in s.upper()]
    words = re.findall(r"\w+|'[^']*'|<>|[<>]=|\|\||\s+|\S", draw(st.sampled_from(views)))
    names = sorted({w for w in words if re.fullmatch(r"[a-z]\w*", w)})
    classes = [*_CLASSES, names]
    for _ in range(draw(st.integers(1, 3))):
        places = [(i, c) for i, w in enumerate(words) for c in classes if w in c or w.upper() in c]
        i, others = draw(st.sampled_from(places))
        words[i] = draw(st.sampled_from(others))
    return f"{head};\nCREATE TABLE t (k INT);\n{''.join(words)}"


@given(text=_plausible())
@settings(
    max_examples=examples(300), deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
def test_a_program_that_almost_makes_sense_gets_messages_inside_its_text(text: str) -> None:
    _compiles_or_explains(text)


@given(text=_mangled())
@settings(
    max_examples=examples(300), deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
def test_a_mangled_program_gets_messages_inside_its_text(text: str) -> None:
    _compiles_or_explains(text)


@pytest.mark.parametrize("condition", ["l.a = r.k", "l.a = r.k AND l.k > 1 AND r.k < 5"])
def test_queries_that_join_the_one_before_with_itself_grow_by_a_level_each(condition: str) -> None:
    levels = ["q0 AS (SELECT a, k FROM t)"]
    levels += [
        f"q{i} AS (SELECT l.k AS a, r.a AS k FROM q{i - 1} l JOIN q{i - 1} r ON {condition})"
        for i in range(1, 31)
    ]
    tables = "CREATE TABLE t (a BIGINT NOT NULL LATENESS 5, k BIGINT NOT NULL LATENESS 5);"
    plan = compile_program(f"{tables}CREATE VIEW v AS WITH {', '.join(levels)} SELECT * FROM q30")
    assert _nodes(plan) < 30 * 6
    compile_circuit(plan)
    assert format_program(plan)
    assert program_info(plan)
