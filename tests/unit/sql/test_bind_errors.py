"""Mistakes are reported all at once, where they are, with what to write instead."""

from __future__ import annotations

import pytest

from penstock.errors import CompilerMessage, SqlError
from penstock.sql.program import compile_program

TABLE = (
    "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR(10), ts TIMESTAMP, b BOOLEAN, n INT);"
)


def complaints(program: str) -> list[CompilerMessage]:
    with pytest.raises(SqlError) as failure:
        compile_program(program)
    return list(failure.value.messages)


def marked(statement: str) -> tuple[str, int, int]:
    """`statement` without its [brackets], and the columns (1-based) that they enclose."""
    start, end = statement.index("["), statement.index("]")
    return statement.replace("[", "").replace("]", ""), start + 1, end - 1


R = "(SELECT ROW(id, n) AS r FROM t)"


@pytest.mark.parametrize(
    ("statement", "advice"),
    [
        (f"SELECT 1 FROM {R} a WHERE [r = r]", "write IS [NOT] DISTINCT FROM, or <=>"),
        (f"SELECT 1 FROM {R} a WHERE [r IN (ROW(1, 2))]", "IS NOT DISTINCT FROM … OR …"),
        (f"SELECT 1 FROM {R} a WHERE [r IN {R}]", "EXISTS (SELECT … WHERE … IS NOT DISTINCT FROM"),
        (f"SELECT 1 FROM {R} a WHERE [r = ANY {R}]", "write EXISTS"),
        (f"SELECT CASE r WHEN [ROW(1, 2)] THEN 1 END FROM {R} a", "write CASE WHEN … IS NOT"),
        (f"SELECT [NULLIF(r, r)] FROM {R} a", "write CASE WHEN … IS NOT DISTINCT FROM … THEN NULL"),
        (f"SELECT 1 FROM [{R} a JOIN {R} b USING (r)]", "JOIN … ON … IS NOT DISTINCT FROM …"),
        (f"SELECT 1 FROM [{R} a NATURAL JOIN {R} b]", "JOIN … ON … IS NOT DISTINCT FROM …"),
    ],
)
def test_an_equality_of_rows_says_what_its_place_takes_instead(statement: str, advice: str) -> None:
    text, start, end = marked(f"CREATE VIEW w AS {statement}")
    (told,) = complaints(TABLE + text)
    assert advice in told.message
    assert (told.start_column, told.end_column) == (len(TABLE) + start, len(TABLE) + end)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("CREATE VIEW w AS SELECT [idd] FROM t", "no column idd here; did you mean id?"),
        ('CREATE VIEW w AS SELECT ["ID"] FROM t', "did you mean id (without quotes)?"),
        ("CREATE VIEW w AS SELECT [x.id] FROM t", "no table x in this query's FROM; FROM has t"),
        ("CREATE VIEW w AS SELECT id FROM [tt]", "no table or view tt; did you mean t?"),
        ("CREATE VIEW w AS SELECT [id] FROM t a, t c", "ambiguous: it could be a.id, c.id"),
        ("CREATE VIEW w AS SELECT 1 FROM t a, [t] a", "two tables named a"),
        ("CREATE VIEW w AS SELECT [b + 1] FROM t", "arguments of types (BOOLEAN, INTEGER)"),
        ("CREATE VIEW w AS SELECT [FLOR(1)] FROM t", "did you mean FLOOR"),
        ("CREATE VIEW w AS SELECT [COUN(*)] FROM t", "no function named coun; did you mean COUNT?"),
        ("CREATE VIEW w AS SELECT [CAOLESCE(id, 1)] FROM t", "did you mean COALESCE?"),
        (
            "CREATE VIEW w AS SELECT [TIEMSTAMPDIFF(DAY, NOW(), NOW())] FROM t",
            "did you mean TIMESTAMPDIFF?",
        ),
        (
            "CREATE VIEW w AS SELECT [ROW_NUMBE() OVER (ORDER BY id)] FROM t",
            "did you mean ROW_NUMBER?",
        ),
        ("CREATE VIEW w AS SELECT [distinc] id FROM t", "did you mean DISTINCT?"),
        (
            "CREATE VIEW w AS SELECT b.id FROM t LFET JOIN t AS b ON [t.id] = b.id",
            "is the alias lfet to be LEFT?",
        ),
        (
            "CREATE VIEW w AS SELECT id FROM t WHERE 1 IN (SELECT 1 FROM t AS u WHERE [tt.id] > 1)",
            "did you mean t?",
        ),
        ("CREATE TABLE w (a [NIT])", "there is no type nit; did you mean int?"),
        ("CREATE VIEW w AS VALUES (1), ([6/0])", "division by zero"),
        ("CREATE TABLE d (a INT DEFAULT LENGTH('abc') + [1/0])", "division by zero"),
        ("CREATE VIEW w AS SELECT id FROM t WHERE [SUM(n)] > 1", "HAVING filters groups"),
        ("CREATE VIEW w AS VALUES (1 + [CAST('x' AS INT)])", "'x'"),
        ("CREATE VIEW w AS SELECT [DATE '2020-02-30'] AS d", "there is no day '2020-02-30'"),
        (
            "CREATE VIEW w AS SELECT [CAST(b AS INT)] FROM t",
            "cannot cast BOOLEAN to INTEGER; write",
        ),
        ("CREATE VIEW w AS SELECT [CAST(x'01' AS INT)] FROM t", "write TO_INT(…)"),
        ("CREATE VIEW w AS SELECT [LTRIM(v)] FROM t", "write TRIM(LEADING FROM …)"),
        ("CREATE VIEW w AS SELECT id FROM t WHERE [v]", "WHERE must be BOOLEAN, not VARCHAR(10)"),
        ("CREATE VIEW w AS SELECT [v], COUNT(*) FROM t", "v is neither grouped by nor inside"),
        ("CREATE VIEW w AS SELECT SUM([SUM(n)]) FROM t", "cannot be used in an argument of SUM"),
        ("CREATE VIEW w AS SELECT [MODE(DISTINCT n)] FROM t", "MODE takes no DISTINCT"),
        ("CREATE VIEW w AS SELECT [EVERY(n)] FROM t", "it takes: EVERY(condition)"),
        ("CREATE VIEW w AS SELECT [CORR(n, id)] FROM t", "the dialect has no such aggregate"),
        ("CREATE VIEW w AS SELECT GROUPING([id]) FROM t GROUP BY n", "expressions of GROUP BY"),
        ("CREATE VIEW w AS [SELECT GROUPING(id) FROM t]", "GROUPING needs GROUP BY"),
        ("CREATE VIEW w AS SELECT id, [NULL] AS x FROM t", "column x of view w is NULL"),
        ("CREATE VIEW w(x) AS SELECT [INTERVAL '1' DAY] FROM t", "x of view w is INTERVAL DAY"),
        ("CREATE LOCAL VIEW w WITH (['emit_final'] = 'v') AS SELECT v FROM t", "no property 'emit"),
        ("CREATE TABLE x (a INT, FOREIGN KEY (a) REFERENCES t([zz]))", "must refer to the PRIMARY"),
        (
            "CREATE TABLE x (a INT NOT NULL PRIMARY KEY) WITH (['append_only'] = 'true')",
            "an append_only table has none",
        ),
        ("CREATE TYPE [int] AS (x INT)", "INT is a built-in type"),
        ("CREATE VIEW w AS SELECT [CURRENT_DATE] AS d", "write CAST(NOW() AS DATE)"),
        (
            "CREATE VIEW w AS SELECT id FROM t ORDER BY id [UNION] SELECT 1",
            "found 'UNION', expected",
        ),
        ("CREATE TYPE x AS (a INT, b MAP<INT, [x]>)", "x contains itself"),
        ("CREATE VIEW w AS SELECT DATEDIFF([HOURE], NOW(), NOW()) AS x", "did you mean HOUR?"),
        (
            "CREATE VIEW w AS SELECT 1 FROM t GROUP BY CUBE([ROLLUP(id)])",
            "ROLLUP cannot stand inside",
        ),
        ("CREATE VIEW w AS SELECT [NTILE(2) OVER ()] AS x FROM t", "no such window function"),
        ("CREATE VIEW w AS SELECT [UPPER(v) OVER ()] AS x FROM t", "UPPER is no window function"),
        ("CREATE VIEW w AS SELECT [RANK(n) OVER ()] AS x FROM t", "RANK takes no arguments"),
        (
            "CREATE VIEW w AS SELECT [SUM(DISTINCT n) OVER ()] AS x FROM t",
            "no DISTINCT in a window",
        ),
        ("CREATE VIEW w AS SELECT LAG(n, [id]) OVER (ORDER BY n) AS x FROM t", "is a constant"),
        ("CREATE VIEW w AS SELECT RANK() OVER [x] AS x FROM t", "there is no window x"),
        (
            "CREATE VIEW w AS SELECT [LAST_VALUE(n) OVER (ORDER BY n)] AS x FROM t",
            "the frame of LAST_VALUE ends with UNBOUNDED FOLLOWING",
        ),
        (
            "CREATE VIEW w AS SELECT SUM(n) OVER (ORDER BY v RANGE [1 PRECEDING]) AS x FROM t",
            "does not go with ORDER BY of type VARCHAR(10)",
        ),
        (
            "CREATE VIEW w AS SELECT SUM(n) OVER (ORDER BY n, id RANGE [1 PRECEDING]) AS x FROM t",
            "exactly one ORDER BY column",
        ),
        (
            "CREATE VIEW w AS SELECT SUM(n) OVER (ORDER BY ts RANGE [INTERVAL '1' MONTH PRECEDING])"
            " AS x FROM t",
            "months and years have no fixed length",
        ),
        (
            "CREATE VIEW w AS SELECT SUM(n) OVER (ORDER BY n "
            "[ROWS BETWEEN 1 FOLLOWING AND CURRENT ROW]) AS x FROM t",
            "begins after its end",
        ),
        ("CREATE VIEW w AS SELECT 1 FROM t WHERE [RANK() OVER ()] = 1", "QUALIFY filters by it"),
        ("CREATE VIEW w AS SELECT 1 FROM t WHERE [SUM(n)] > 1", "cannot be used in WHERE"),
        ("CREATE VIEW w AS SELECT 1 FROM t HAVING [n] > 1", "column n is neither grouped by"),
        ("CREATE VIEW w AS SELECT n FROM t ORDER BY [7]", "ORDER BY 7: there are 1 columns"),
        ("CREATE VIEW w AS SELECT n FROM t LIMIT [n]", "LIMIT takes a constant whole number"),
        ("CREATE VIEW w AS SELECT n, [n] FROM t", "two columns n; give one an alias"),
        ("CREATE VIEW w AS SELECT n, [t.n] FROM t", "two columns n; give one an alias"),
        ("CREATE VIEW w AS SELECT 1 AS n, [2 AS n] FROM t", "two columns n; give one an alias"),
        ("CREATE VIEW w AS SELECT n, [v AS n] FROM t UNION SELECT 1, 2", "two columns n; give one"),
        ("CREATE VIEW w AS SELECT *, [n] FROM t", "two columns n; leave it out of * with EXCLUDE"),
        ("CREATE VIEW w AS SELECT t.*, [1 AS n] FROM t", "two columns n; leave it out of *"),
        ("CREATE VIEW w AS SELECT [n] FROM (SELECT n, n FROM t)", "there are several of this name"),
        ("CREATE VIEW w AS SELECT [n] FROM (SELECT n, n FROM t) x", "x has several of this name"),
        ("CREATE VIEW w([a], b) AS SELECT n FROM t", "names 2 columns, but its query has 1"),
        ("CREATE VIEW w AS SELECT n FROM t UNION SELECT [ts] FROM t", "no common type"),
        ("CREATE VIEW w AS SELECT [NULL] AS x", "column x of view w is NULL"),
        (
            "CREATE VIEW w AS SELECT 1 FROM t WHERE n IN ([SELECT n, v FROM t])",
            "1 column(s), this query has 2",
        ),
        ("CREATE VIEW [t] AS SELECT 1 AS x", "a table or view of this name exists already"),
        ("CREATE VIEW [Feldera_x] AS SELECT 1 AS x", "names that begin with 'feldera'"),
        ("CREATE INDEX i ON [t](id)", "that is a table, not a view"),
        (
            "CREATE VIEW w AS SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM t u WHERE [t.idd] = 1)",
            "t has no column idd; did you mean id?",
        ),
    ],
)
def test_a_mistake_is_reported_where_it_is(statement: str, message: str) -> None:
    text, start, end = marked(statement)
    (found,) = complaints(f"{TABLE}\n{text}")

    assert message in found.message
    assert (found.start_line, found.end_line) == (2, 2)
    assert (found.start_column, found.end_column) == (start, end)
    assert found.snippet is not None
    assert text in found.snippet


@pytest.mark.parametrize(
    ("statement", "feature"),
    [
        ("CREATE VIEW w AS SELECT 1 FROM t RIGHT JOIN LATERAL (SELECT 1) x ON TRUE", "LATERAL"),
        ("CREATE VIEW w AS SELECT STDDEV(n) OVER (ORDER BY n) AS s FROM t", "STDDEV OVER"),
    ],
)
def test_what_is_not_supported_yet_is_refused_by_name(statement: str, feature: str) -> None:
    (found,) = complaints(TABLE + statement)

    assert feature in found.message
    assert "not supported yet" in found.message
    assert found.error_type == "Not supported"


@pytest.mark.parametrize(
    "damaged",
    ["a & 1", "x'ABC'", "U&'\\00'", "1" * 500, "1e999", "'a' 'b'"],
    ids=["character", "binary", "unicode", "digits", "range", "strings"],
)
def test_a_damaged_token_hides_no_mistake_of_other_statements(damaged: str) -> None:
    found = complaints(
        "CREATE TABLE t (a INT);\n"
        "CREATE VIEW v AS SELECT zz FROM t;\n"
        f"CREATE VIEW w AS SELECT {damaged} AS x FROM t;\n"
        "CREATE VIEW u AS SELECT yy FROM t;\n"
        "CREATE VIEW poisoned AS SELECT x FROM w;\n"
    )

    assert [m.start_line for m in found] == [2, 3, 4]


def test_every_mistake_of_a_program_is_reported_in_order() -> None:
    found = complaints(
        f"""{TABLE}
        CREATE TABLE x (a FLOAT, c DECIMAL(40, 1), d INT);
        CREATE VIEW v1 AS SELECT idd, n + b FROM t WHERE n;
        CREATE VIEW v2 AS WITH q AS (SELECT zz FROM t) SELECT * FROM q;
        CREATE VIEW v3 AS SELECT * FROM v1, x, v2;
        CREATE VIEW v4 AS SELECT nn FROM t GROUP BY mm;
        """
    )

    assert [m.start_line for m in found] == [2, 2, 3, 3, 3, 4, 6, 6]


def test_a_mistake_that_clauses_refer_to_by_number_is_said_once() -> None:
    (message,) = complaints(
        "CREATE TABLE t (n INT); "
        "CREATE VIEW w AS SELECT FOO(n) AS f, COUNT(*) FROM t GROUP BY 1 ORDER BY 1 LIMIT 3"
    )
    assert "no function named foo" in message.message


def test_a_failed_view_is_not_blamed_on_the_views_that_use_it() -> None:
    (found,) = complaints(
        f"{TABLE} CREATE VIEW a AS SELECT zz FROM t; CREATE VIEW b AS SELECT q FROM a;"
        "CREATE INDEX i ON b(q)"
    )

    assert "zz" in found.message


def test_warnings_become_errors_when_the_program_asks_for_it() -> None:
    warned = compile_program("SET no_such_option = 3;")
    assert [m.error_type for m in warned.warnings] == ["Unknown option"]

    (found,) = complaints("SET no_such_option = 3; SET FELDERA_WARNINGS_ARE_ERRORS = ON;")
    assert not found.warning

    ignored = compile_program(
        "SET no_such_option = 3; SET FELDERA_IGNORE_WARNING_UNKNOWN_OPTION = ON;"
    )
    assert ignored.warnings == ()


COLUMNS = """
CREATE TABLE t (a INT, b INT, late INT LATENESS 1); CREATE TABLE k (a INT NOT NULL PRIMARY KEY, b INT);
CREATE TABLE m (a INT, b INT) WITH ('materialized' = 'true'); CREATE TABLE alone (a INT);
CREATE LOCAL VIEW l AS SELECT k.*, t.a AS c FROM k JOIN t ON k.a = t.a AND t.a > 1;
CREATE VIEW v AS SELECT c FROM l; CREATE VIEW w AS SELECT a FROM m;
"""  # noqa: E501


def test_a_column_that_no_view_reads_gets_a_warning() -> None:
    found = compile_program(f"{COLUMNS}CREATE VIEW x AS SELECT a FROM k;").warnings
    assert [(m.error_type, m.message) for m in found] == [
        ("Unused column", "column b of table t is used by no view"),
        # a LOCAL view has it, of which nobody reads it
        ("Unused column", "column b of table k is used by no view"),
    ]
    assert (found[0].start_line, found[0].start_column) == (2, 24)
    with pytest.raises(SqlError, match="column b of table t is used by no view"):
        compile_program(f"{COLUMNS} SET FELDERA_WARNINGS_ARE_ERRORS = ON;")
    quiet = f"{COLUMNS} SET FELDERA_IGNORE_WARNING_UNUSED_COLUMN = ON;"
    assert compile_program(quiet).warnings == ()


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a FROM (SELECT a, NOW() AS n FROM m) q",
        "SELECT COUNT(*) AS c FROM (SELECT a, NOW() AS n FROM m) q",
        "SELECT a, CASE WHEN TRUE THEN 1 ELSE EXTRACT(DAY FROM NOW()) END AS c FROM m",
        "SELECT a FROM (SELECT a, MAX(a) OVER (ORDER BY NOW()) AS l FROM m) q",
    ],
)
def test_a_time_that_nobody_reads_gets_none(query: str) -> None:
    """NOW() is a column of a table that no statement declares."""
    found = compile_program(f"{COLUMNS}CREATE VIEW x AS {query};").warnings
    assert [m.message for m in found] == [
        "column b of table t is used by no view",
        "column b of table k is used by no view",
    ]


@pytest.mark.parametrize("name", ["feldera_x", '"now"', "error_view"])
def test_users_of_a_name_that_is_refused_do_not_complain(name: str) -> None:
    with pytest.raises(SqlError) as error:
        compile_program(
            f"CREATE TABLE {name} (a INT); CREATE VIEW v AS SELECT message FROM {name};"
        )
    assert [m.start_line for m in error.value.messages] == [1]


def test_what_does_not_parse_hides_no_mistake_of_the_other_statements() -> None:
    with pytest.raises(SqlError) as error:
        compile_program(
            """CREATE TABLE t (a INT);
            CREATE VIEW v AS SELECT a FRM t;
            CREATE VIEW w AS SELECT nope FROM t;
            CREATE VIEW x AS SELECT ( FROM t;
            CREATE VIEW y AS SELECT b FROM v, x WHERE other;
            CREATE INDEX i ON v (c);
            CREATE VIEW z AS SELECT RANK() FROM t;"""
        )
    assert [(m.start_line, m.error_type) for m in error.value.messages] == [
        (2, "Error parsing SQL"),
        (3, "Compilation error"),
        (4, "Error parsing SQL"),
        (7, "Compilation error"),
    ]
    assert "RANK is a window function" in error.value.messages[3].message


@pytest.mark.filterwarnings("error")
def test_a_constant_that_is_infinite_is_refused_without_a_warning_beside() -> None:
    with pytest.raises(SqlError):
        compile_program("CREATE VIEW v AS VALUES (CAST(1e0 / 0e0 AS INT))")
