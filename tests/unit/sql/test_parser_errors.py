"""Syntax errors: what they say, where they point, and that all of them are reported."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import CompilerMessage, SqlError
from penstock.sql.parser import parse_expression, parse_program, parse_query
from tests.examples import examples
from tests.unit.sql.test_parser_queries import PROGRAMS


def messages(text: str) -> tuple[CompilerMessage, ...]:
    with pytest.raises(SqlError) as caught:
        parse_program(text)
    return caught.value.messages


def at(m: CompilerMessage) -> str:
    return f"{m.start_line}:{m.start_column}-{m.end_line}:{m.end_column}"


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("CREATE VIEW v AS SELECT a FORM t", "1:27-1:30",
         "found 'FORM', expected FROM (did you mean FROM?)"),
        ("CREATE VIEW v AS SELECT a FROM t WERE a = 1", "1:34-1:37",
         "found 'WERE', expected WHERE (did you mean WHERE?)"),
        ("CREATE VIEW v AS SELECT a FROM t GROUPBY a", "1:34-1:40",
         "found 'GROUPBY', expected GROUP BY (did you mean GROUP BY?)"),
        ("CREATE TABEL t (a INT)", "1:8-1:12",
         "found 'TABEL', expected TABLE, VIEW, MATERIALIZED VIEW, LOCAL VIEW, TYPE, FUNCTION, "
         "AGGREGATE or INDEX (did you mean TABLE?)"),
        ("CREATE VIEW v AS WITH a AS (SELECT 1) WITH b AS (SELECT 2) SELECT 3", "1:39-1:42",
         "a query has one WITH: write WITH a AS (…), b AS (…) SELECT …"),
        ("CREATE VIEW v SELECT 1", "1:15-1:20", "found 'SELECT', expected AS"),
        ("CREATE VIEW v AS SELECT", "1:24-1:24", "found end of input, expected an expression"),
        ("CREATE VIEW v AS SELECT FROM t", "1:25-1:28", "found 'FROM', expected a select item"),
        ("CREATE VIEW v AS SELECT (a FROM t", "1:28-1:31",
         "found 'FROM', expected ')', ',' or an operator (is a ')' missing before it?)"),
        ("CREATE VIEW v AS SELECT a)", "1:26-1:26", "found ')' without a '(' before it"),
        ("CREATE VIEW v AS SELECT a +", "1:28-1:28",
         "found end of input, expected an expression"),
        ("CREATE VIEW v AS SELECT a FROM t JOIN u", "1:40-1:40",
         "found end of input, expected ON or USING"),
        ("CREATE TABLE t (a INT, order INT)", "1:24-1:28",
         'found \'order\', expected a column name (ORDER is a reserved word: write "order" to '
         "use it as a name)"),
        ("CREATE TABLE now (a INT)", "1:14-1:16",
         "found 'now', expected a table name (NOW() reads the clock; choose another name)"),
        ("CREATE FUNCTION now(a INT) RETURNS INT AS a", "1:17-1:19",
         "found 'now', expected a function name (NOW() reads the clock; choose another name)"),
        ("CREATE FUNCTION left(a INT) RETURNS INT AS a", "1:17-1:20",
         "found 'left', expected a function name (LEFT is a built-in function)"),
        ("CREATE TABLE t (now INT)", "1:17-1:19",
         'found \'now\', expected a column name (NOW is a reserved word: write "now" to '
         "use it as a name)"),
        ("CREATE TABLE t (a)", "1:18-1:18", "found ')', expected the type of a"),
        ("CREATE TABLE t (a INT,)", "1:23-1:23", "found ')', expected a column name"),
        ("CREATE TABLE t (a INT) WITH (k = 'v')", "1:30-1:30",
         "found 'k', expected a property name as a string literal, as in 'materialized'"),
        ("CREATE TABLE t (a INT) WITH ('k' = 1)", "1:36-1:36",
         "found '1', expected a string literal, as in 'true'"),
        ("CREATE TABLE t (a INT NOT NULL NOT NULL)", "1:32-1:39", "a second NULL of column a"),
        ("CREATE VIEW v AS SELECT EXTRACT(YAER FROM a)", "1:33-1:36",
         "found 'YAER', expected a time unit such as DAY (did you mean YEAR?)"),
        ("CREATE VIEW v AS SELECT CASE WHEN a THEN 1", "1:43-1:43",
         "found end of input, expected END, WHEN or ELSE"),
        ("CREATE VIEW v AS SELECT 'a' 'b'", "1:29-1:31",
         "found a string literal behind a string literal: they are concatenated only when they "
         "are on separate lines (use || otherwise)"),
        ("CREATE VIEW v AS SELECT 'abc", "1:25-1:28", "the string literal is not closed"),
        ("CREATE VIEW v AS SELECT a.*+1 FROM t", "1:28-1:28",
         "found '+', expected ';' or the end"),
        ("CREATE VIEW v AS SELECT f(t.*)", "1:27-1:27",
         "'.*' is allowed only as a select item and in ROW(t.*)"),
        ("SELECT 1", "1:1-1:6",
         "a query alone is not a statement: write CREATE VIEW name AS …"),
        ("INSERT INTO t VALUES (1)", "1:1-1:6",
         "INSERT is not part of a program: rows arrive through the inputs of the pipeline"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", "1:8-1:9",
         "OR REPLACE is not supported: a name is declared once in a program"),
        ("CREATE TABLE IF NOT EXISTS t (a INT)", "1:14-1:15",
         "IF NOT EXISTS is not supported: a name is declared once"),
        ("CREATE TABLE t (a INT UNIQUE)", "1:23-1:28",
         "UNIQUE constraints are not supported: declare a PRIMARY KEY"),
        ("CREATE VIEW v AS SELECT a FROM s.t", "1:33-1:33",
         "tables and views have plain names, without a schema before them"),
        ("CREATE VIEW v AS SELECT a SIMILAR TO 'x'", "1:27-1:33",
         "SIMILAR TO is not supported: use LIKE, or RLIKE with a pattern"),
        ("CREATE VIEW v AS SELECT a LIMIT 1 LIMIT 2", "1:35-1:39", "a second LIMIT"),
    ],
)  # fmt: skip
def test_messages(text: str, where: str, what: str) -> None:
    (found,) = messages(text)

    assert (at(found), found.message) == (where, what)
    assert found.error_type == "Error parsing SQL"
    assert not found.warning


def test_every_wrong_statement_is_reported() -> None:
    found = messages("CREATE TABLE t (a INT;\nSET x = ON;\nCREATE VIEW v AS SELEC 1;\nDROP t")

    assert [at(m) for m in found] == ["1:22-1:22", "3:18-3:22", "4:1-4:4"]
    assert "did you mean SELECT?" in found[1].message


def test_a_bad_token_is_one_error_and_the_next_statement_another() -> None:
    found = messages("CREATE VIEW v AS SELECT a # b c d;\nCREATE VIEW w AS;")

    assert [at(m) for m in found] == ["1:27-1:27", "2:17-2:17"]


def test_the_excerpt_shows_the_line_and_underlines_the_place() -> None:
    (found,) = messages("CREATE VIEW v AS\n  SELECT a FORM t")

    assert found.snippet == "    2|  SELECT a FORM t\n                 ^^^^"


def test_the_excerpt_of_a_very_long_line_is_cut() -> None:
    (found,) = messages("CREATE VIEW v AS SELECT " + "a, " * 1000 + "FROM t")

    assert found.snippet is not None
    line, underline = found.snippet.split("\n")
    assert len(line) < 200
    assert line[underline.index("^") :].startswith("FROM")


def test_nesting_too_deep_is_an_error_of_the_program() -> None:
    (found,) = messages("CREATE VIEW v AS SELECT " + "(" * 5000 + "1" + ")" * 5000)

    assert found.message == "the statement is nested too deeply here"


INVALID = [
    "", "1 2", "a +", "* a", "a b", "(a", "a)", "()", "a..b", "a.", ".a", "f(", "f(a,)", "f(,)",
    "CASE END", "CASE WHEN a END", "CASE ELSE 1 END", "CAST(a)", "CAST(a AS)", "CAST(a, INT)",
    "a IN ()", "a IN b", "a BETWEEN 1", "a BETWEEN 1 OR 2", "a LIKE", "a IS", "a IS 1",
    "a NOT", "a NOT = b", "a IS NOT", "EXISTS ()", "EXISTS (a)", "INTERVAL 1", "INTERVAL DAY",
    "INTERVAL '1' FOO", "INTERVAL a DAY", "EXTRACT(a)", "EXTRACT(YEAR, a)", "TRIM()",
    "TRIM(BOTH 'x')", "MAP[1]", "MAP[1, 2, 3]", "ARRAY[1", "ROW()", "a[", "a[]", "a::", "a::1",
    "NOW", "USER", "SELECT 1", "(SELECT 1", "a = ANY", "a.b.*", "SUM(a) FILTER (b)",
    "SUM(a) OVER", "SUM(a) OVER (ROWS)", "SUM(a) OVER (ROWS BETWEEN 1 PRECEDING)",
    "SUM(a) OVER (ROWS 1)", "a := b", "a ? b", "{a}", "a ~ b", "a -> b", "x => 1", "'a' 'b'",
    "x'1'", "POSITION(a)", "OVERLAY(a)", "SUBSTRING()", "FLOOR()", "FLOOR(a TO)", "GROUPING",
    "DATE '2020-01-01' '2'", "a <= >= b", "a OR", "AND b", "NOT", "DISTINCT a", "f(DISTINCT)",
]  # fmt: skip


@pytest.mark.parametrize("text", INVALID)
def test_no_expression(text: str) -> None:
    with pytest.raises(SqlError):
        parse_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "SELECT", "SELECT ,", "SELECT a,", "SELECT a FROM", "SELECT a FROM t,",
        "SELECT a FROM t WHERE", "SELECT a FROM t GROUP", "SELECT a FROM t GROUP BY",
        "SELECT a FROM t HAVING", "SELECT a FROM t ORDER a", "SELECT a FROM t ORDER BY",
        "SELECT a FROM t LIMIT", "SELECT a FROM t LIMIT 1,", "SELECT a FROM t FETCH 1",
        "SELECT a FROM t JOIN", "SELECT a FROM t JOIN u", "SELECT a FROM t LEFT u ON b",
        "SELECT a FROM t CROSS JOIN u ON b", "SELECT a FROM t NATURAL JOIN u ON b",
        "SELECT a FROM t NATURAL JOIN u USING (b)", "SELECT a FROM t LEFT ASOF JOIN u ON b",
        "SELECT a FROM t JOIN u USING b", "SELECT a FROM (SELECT 1", "SELECT a FROM (t",
        "SELECT a FROM f(1)", "SELECT a FROM TABLE(1)", "SELECT a FROM UNNEST a",
        "SELECT a FROM SELECT 1", "SELECT a UNION", "UNION SELECT a", "SELECT a UNION b",
        "SELECT a FROM t WHERE b WHERE c", "SELECT a HAVING b WHERE c", "WITH SELECT 1",
        "WITH x SELECT 1", "WITH x AS SELECT 1 SELECT 2", "WITH x AS (SELECT 1)", "VALUES",
        "VALUES (1", "SELECT DISTINCT ON a b", "SELECT * EXCLUDE a", "SELECT * REPLACE (a)",
        "SELECT a FROM t PIVOT (SUM(x) FOR k IN (SELECT 1))", "SELECT a FROM t PIVOT (SUM(x))",
        "SELECT a FROM t PIVOT (SUM(x) FOR (k, l) IN (1))", "SELECT a FROM t TABLESAMPLE (1)",
        "SELECT a FROM t UNPIVOT (v IN (a))", "SELECT a FROM t AS", "SELECT a AS FROM t",
        "SELECT a AS 'b'", "SELECT a 'b'", "SELECT 1; SELECT 2", "SELECT a FROM t FOR SYSTEM_TIME",
        "SELECT a WINDOW w", "SELECT a GROUP BY ROLLUP", "SELECT a GROUP BY GROUPING SETS a",
        "SELECT a FROM t MATCH_RECOGNIZE (x)", "SELECT a FROM t OUTER JOIN u",
    ],
)  # fmt: skip
def test_no_query(text: str) -> None:
    with pytest.raises(SqlError):
        parse_query(text)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE", "CREATE t", "CREATE TABLE", "CREATE TABLE t", "CREATE TABLE t ()",
        "CREATE TABLE (a INT)", "CREATE TABLE t (a INT", "CREATE TABLE t (a INT b INT)",
        "CREATE TABLE t (a INT) WITH", "CREATE TABLE t (a INT) WITH ()",
        "CREATE TABLE t AS SELECT 1", "CREATE TABLE t (PRIMARY KEY)",
        "CREATE TABLE t (a INT PRIMARY)", "CREATE TABLE t (a INT FOREIGN KEY)",
        "CREATE TABLE t (a INT, FOREIGN KEY (a))", "CREATE TABLE t (a INT LATENESS)",
        "CREATE TABLE t (a INT DEFAULT)", "CREATE TABLE t (a INT CHECK (a > 1))",
        "CREATE TABLE t (a INT GENERATED ALWAYS AS (1))", "CREATE TABLE t (a MAP<INT>)",
        "CREATE TABLE t (a DECIMAL())", "CREATE TABLE t (a ROW())", "CREATE TABLE user (a INT)",
        "CREATE TABLE s.t (a INT)", "CREATE VIEW", "CREATE VIEW v", "CREATE VIEW v AS",
        "CREATE VIEW v AS CREATE VIEW w AS SELECT 1", "CREATE VIEW v () AS SELECT 1",
        "CREATE LOCAL TABLE t (a INT)", "CREATE MATERIALIZED v AS SELECT 1", "CREATE TYPE t",
        "CREATE TYPE t AS ()", "CREATE FUNCTION f RETURNS INT", "CREATE FUNCTION f (a) RETURNS INT",
        "CREATE FUNCTION f (a INT)", "CREATE LINEAR FUNCTION f () RETURNS INT",
        "CREATE INDEX i ON v", "CREATE INDEX ON v (a)", "DECLARE VIEW v (a INT)",
        "DECLARE RECURSIVE VIEW v", "LATENESS v 1", "LATENESS v.a", "SET", "SET x", "SET x =",
        "SET x = y", "SET x = 1 + 1", "DROP TABLE t", "ALTER TABLE t", "UPDATE t SET a = 1",
        "DELETE FROM t", "foo", "1", "(", ")", "CREATE UNIQUE INDEX i ON v (a)",
    ],
)  # fmt: skip
def test_no_statement(text: str) -> None:
    assert messages(text)


CORPUS = [
    *(PROGRAMS / "tpch.sql").read_text().split(";"),
    *(PROGRAMS / "nexmark.sql").read_text().split(";"),
]
WORDS = st.sampled_from(
    ["(", ")", ",", ";", ".", "*", "'", '"', "[", "]", "::", "->", "=>", "-", "NOT", "SELECT",
     "FROM", "CASE", "WHEN", "END", "OVER", "INTERVAL", "CAST", "AS", "x'", "U&'\\", "/*", "--",
     "1e999", "ROW", "MAP", "ARRAY", "TABLE", "VALUES", "é", "\x00", "\ud800", "IS", "BETWEEN"]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        middle = draw(st.one_of(st.just(""), WORDS, st.text(max_size=3)))
        text = text[:start] + middle + text[end:]
    return text


@settings(max_examples=examples(300), deadline=None, database=None)
@given(damaged())
def test_only_sql_errors_escape(text: str) -> None:
    try:
        parse_program(text)
    except SqlError as e:
        lines = text.count("\n") + 1
        assert all(1 <= m.start_line <= m.end_line <= lines for m in e.messages)
        assert all(m.start_column >= 1 and m.snippet for m in e.messages)


@settings(max_examples=examples(200), deadline=None, database=None)
@given(st.lists(WORDS, max_size=12).map(" ".join))
def test_only_sql_errors_escape_from_random_words(text: str) -> None:
    for parse in (parse_program, parse_query, parse_expression):
        try:
            parse(text)
        except SqlError as e:
            assert e.messages


@pytest.mark.parametrize(
    ("query", "where", "what"),
    [
        ("SELECT ACST(a AS INT) FROM t", "8-11",
         "found 'ACST', expected CAST (did you mean CAST?)"),
        ("SELECT SUBSTRNG(a FROM 1) FROM t", "8-15",
         "found 'SUBSTRNG', expected SUBSTRING (did you mean SUBSTRING?)"),
        ("SELECT a FROM t WHERE a NAD b", "25-27",
         "found 'NAD', expected ';' or the end (did you mean AND?)"),
        ("SELECT ACSE WHEN a THEN b END FROM t", "8-11",
         "found 'ACSE', expected CASE (did you mean CASE?)"),
        ("SELECT a FROM t WHERE b > TIMESTAAMP '2020-01-01'", "27-36",
         "found 'TIMESTAAMP', expected TIMESTAMP (did you mean TIMESTAMP?)"),
        ("SELECT a FROM t CRROSS JOIN UNNEST(b) AS u (c)", "17-22",
         "found 'CRROSS', expected CROSS (did you mean CROSS?)"),
        ("SELECT a FROM t, NUNEST(b) AS u (c)", "18-23",
         "found 'NUNEST', expected UNNEST (did you mean UNNEST?)"),
        ("SELECT SUM(a) OVER (PARTITIO BY b) FROM t", "21-28",
         "found 'PARTITIO', expected PARTITION (did you mean PARTITION?)"),
        ("SELECT a FROM t WHERE EXIST (SELECT 1 FROM u)", "23-27",
         "found 'EXIST', expected EXISTS (did you mean EXISTS?)"),
        ("SELECT a FROM (SELCT a, b FROM t)", "16-20",
         "found 'SELCT', expected SELECT (did you mean SELECT?)"),
        ("SELECT a b c FROM t", "12-12",
         "found 'c', expected ';' or the end (is a ',' missing before it?)"),
        ("SELECT a t.b FROM t", "10-10",
         "found 't', expected ',' (is a ',' missing before it?)"),
        ("SELECT f(a FROM t", "12-15",
         "found 'FROM', expected ')', ',' or an operator (is a ')' missing before it?)"),
        ("SELECT a FROM t WHERE b IN 1, 2)", "28-28",
         "found '1', expected '(' (is a '(' missing before it?)"),
        # an operator is missing, and no word is misspelt
        ("SELECT a FROM t WHERE t.a orders.b", "27-32", "found 'orders', expected ';' or the end"),
    ],
)  # fmt: skip
def test_a_misspelt_keyword_or_a_missing_mark_is_named(query: str, where: str, what: str) -> None:
    with pytest.raises(SqlError) as caught:
        parse_query(query)
    (found,) = caught.value.messages

    assert (f"{found.start_column}-{found.end_column}", found.message) == (where, what)


def test_a_misspelt_constraint_is_named() -> None:
    (found,) = messages("CREATE TABLE t (a INT NOT NUL, b INT)")

    assert (at(found), found.message) == (
        "1:27-1:29", "found 'NUL', expected NULL (did you mean NULL?)",
    )  # fmt: skip
