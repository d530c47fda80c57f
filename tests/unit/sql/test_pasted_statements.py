"""What people paste from other warehouses is refused with the way to write it here."""

from __future__ import annotations

import pytest

from penstock.errors import SqlError
from penstock.functions.registry import names
from penstock.sql.bind import later
from penstock.sql.program import compile_program

TABLE = "CREATE TABLE t (k INT, s VARCHAR, ts TIMESTAMP, v VARIANT);"
INTERVAL = "the unit stands outside the quotes: INTERVAL '7' DAY"


def refusal(query: str) -> str:
    with pytest.raises(SqlError) as caught:
        compile_program(f"{TABLE}CREATE VIEW w AS {query}")
    return caught.value.messages[0].message


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT DATEADD(day, 7, ts) FROM t", "write TIMESTAMPADD(unit, n, value)"),
        ("SELECT TIMESTAMP_DIFF(ts, ts, HOUR) FROM t", "write TIMESTAMPDIFF(unit, from, to)"),
        ("SELECT DATE_TRUNC('month', ts) FROM t", "write DATE_TRUNC(value, unit)"),
        ("SELECT DATE_TRUNC(MONTH, ts) FROM t", "write DATE_TRUNC(value, unit)"),
        ("SELECT DATEDIFF(ts, ts) FROM t", "write DATEDIFF(unit, from, to)"),
        ("SELECT LISTAGG(s, ',') FROM t", "write ARRAY_TO_STRING(ARRAY_AGG(…), separator)"),
        ("SELECT GENERATE_UUID()", "functions of chance"),
        ("SELECT IFF(k > 1, 1, 0) FROM t", "write IF(…)"),
        ("SELECT ts + INTERVAL '7 days' FROM t", INTERVAL),
        ("SELECT INTERVAL '7 days' + ts FROM t", INTERVAL),
        ("SELECT v:a FROM t", "write v.name or v['name']"),
        ("SELECT s ~ 'x' FROM t", "write … RLIKE …"),
        ("SELECT k FROM `t`", 'names are quoted with "'),
        ("SELECT k FROM t ORDER BY k LIMIT 3 WITH TIES", "write QUALIFY RANK()"),
        ("SELECT k FROM t ORDER BY k FETCH FIRST 3 ROWS WITH TIES", "write QUALIFY RANK()"),
        ("SELECT TOP 3 k FROM t", "write LIMIT n at the end"),
        ("SELECT TOP (3) k FROM t", "write LIMIT n at the end"),
        ("SELECT ts AT TIME ZONE 'UTC' FROM t", "a TIMESTAMP has no time zone"),
        ("SELECT [1, 2] FROM t", "write ARRAY[…, …]"),
        ("SELECT k FROM t WHERE k IN [1, 2]", "write IN (…, …)"),
        ("SELECT STRUCT(1 AS a, (2) AS b) FROM t", "write ROW(…)"),
        ("SELECT STRUCT(1, 2) FROM t", "write ROW(…)"),
        ("SELECT k FROM t SEMI JOIN u ON t.k = u.k", "write WHERE EXISTS"),
        ("SELECT k FROM t LEFT SEMI JOIN u ON t.k = u.k", "write WHERE EXISTS"),
        ("SELECT k FROM t ANTI JOIN u USING (k)", "write WHERE NOT EXISTS"),
        ("SELECT k FROM t LEFT ANTI JOIN u USING (k)", "write WHERE NOT EXISTS"),
        ("SELECT k FROM t, LATERAL FLATTEN(input => t.v) f", "write … CROSS JOIN UNNEST(…)"),
        ("SELECT k FROM t, TABLE(FLATTEN(t.v)) f", "write … CROSS JOIN UNNEST(…)"),
        ("SELECT v->>'a' FROM t", "write v.name or v['name']"),
        ("SELECT k FROM t WHERE v->'a' = 1", "write v.name or v['name']"),
        ("SELECT k FROM t WHERE k IN UNNEST(a)", "write ARRAY_CONTAINS(array, element)"),
        ("SELECT k FROM t WHERE k == 1", "equality: write ="),
        ("SELECT k FROM t WHERE s REGEXP 'a'", "write … RLIKE …"),
        ("SELECT s REGEXP 'a' FROM t", "write … RLIKE …"),
        ("SELECT k ** 2 FROM t", "write POWER(…, …)"),
        ("SELECT k ^ 2 FROM t", "write POWER(…, …)"),
        ("SELECT k << 2 FROM t", "write … * CAST(POWER(2, n) AS BIGINT)"),
        ("SELECT k >> 2 FROM t", "write … / CAST(POWER(2, n) AS BIGINT)"),
        ("SELECT BITAND(k, 2) FROM t", "write BIT_AND"),
        ("SELECT FIRST(k) FROM t", "write ARG_MIN(value, by)"),
        ("SELECT SYSDATE FROM t", "write NOW()"),
        ("SELECT {'a': 1} FROM t", "write MAP[key, value, …]"),
        ("SELECT k FROM t WHERE k = 1 && k = 2", "'&&'; both of two conditions: write … AND …"),
        ("SELECT k FROM t ORDER BY k LIMIT 1 BY s", "write QUALIFY ROW_NUMBER()"),
        ("SELECT k FROM t SAMPLE 10", "XXHASH(key, 0) % 100"),
        ("SELECT k FROM t FOR UPDATE", "queries lock nothing"),
        ("SELECT k FROM t FOR SYSTEM_TIME AS OF NOW()", "FOR SYSTEM_TIME is not supported"),
        ("SELECT k FROM t ORDER BY s COLLATE nocase", "COLLATE: text is compared by code point"),
        ("SELECT k DIV 2 FROM t", "write … / …"),
        ("SELECT k MOD 2 FROM t", "write … % …"),
        ('SELECT k FROM t WHERE s = "it\'s late"', "text is written 'it''s late'"),
        ("SELECT CURRENT_TIMESTAMP() FROM t", "write NOW()"),
        ("SELECT CONVERT(INT, s) FROM t", "write CAST(… AS type)"),
        ('SELECT s COLLATE "C" FROM t', "COLLATE: text is compared by code point"),
        ("SELECT k FROM t AS OF TIMESTAMP '2024-01-01 00:00:00'", "what its tables hold now"),
        ("SELECT k FROM t VERSION AS OF 1", "what its tables hold now"),
        ("SELECT k FROM t WHERE k => 3", "a comparison is written >="),
        ("SELECT k FROM t WHERE EXISTS t", "write EXISTS (SELECT"),
        ("SELECT k FROM t LATERAL VIEW explode(a) x AS y", "CROSS JOIN UNNEST(…) AS name (column)"),
        ("SELECT UNNEST(a) FROM t", "write … CROSS JOIN UNNEST(…)"),
        ("SELECT a[OFFSET(0)] FROM t", "write array[n + 1]"),
        ("SELECT k FROM t DISTRIBUTE BY k", "leave it out"),
        ("SELECT k FROM t WHERE k = ?", "a program has no parameters"),
        ("SELECT CAST(s AS INT[]) FROM t", "as in INT ARRAY"),
        ("SELECT CAST(s AS ARRAY<INT>) FROM t", "as in INT ARRAY"),
        ("SELECT CAST(s AS STRUCT<a INT>) FROM t", "written ROW(name type, …)"),
        ("SELECT CAST(s AS ENUM('a')) FROM t", "write VARCHAR"),
        ("SELECT CAST(s AS JSONB) FROM t", "write VARIANT"),
        ("SELECT CAST(s AS TIMESTAMPTZ) FROM t", "write TIMESTAMP WITH TIME ZONE"),
        ("SELECT CAST(s AS UINT8) FROM t", "write TINYINT UNSIGNED"),
        ('SELECT k FROM t WHERE "K" = 1', "did you mean k (without quotes)?"),
        ("SELECT * EXCLUDE k FROM t", "columns stand in parentheses: write EXCLUDE (…)"),
        ("SELECT t.* EXCEPT k FROM t", "columns stand in parentheses: write EXCEPT (…)"),
        ("SELECT ts + 1 FROM t", "write … + INTERVAL '1' DAY"),
        ("SELECT DATE '2024-01-01' - 7 FROM t", "write … - INTERVAL '1' DAY"),
        ("SELECT EXTRACT(dayofweek FROM ts) FROM t", "write EXTRACT(DOW FROM …)"),
        ("SELECT EXTRACT(isoweek FROM ts) FROM t", "write EXTRACT(WEEK FROM …)"),
        ("SELECT MAP('a', 1) FROM t", "a map of values is written MAP[key, value, …]"),
        ("SELECT INTERVAL '1 day 2 hours' + ts FROM t", "INTERVAL '1 2' DAY TO HOUR"),
        ("SELECT k FROM t, t u WHERE t.k = u.k (+)", "write LEFT JOIN … ON …"),
        ("SELECT * FROM generate_series(1, 10) AS s(i)", "write UNNEST(SEQUENCE(first, last))"),
        ("SELECT * FROM my_rows(1) AS s(i)", "a function in FROM is written TABLE(my_rows(…))"),
        ("SELECT ARRAY[1] || ARRAY[2] FROM t", "write ARRAY_CONCAT(…, …)"),
        ("SELECT NTILE(4) OVER (ORDER BY k) FROM t", "ROW_NUMBER"),
        ("SELECT PERCENT_RANK() OVER (ORDER BY k) FROM t", "RANK"),
        ("SELECT CUME_DIST() OVER (ORDER BY k) FROM t", "COUNT(*) OVER"),
        ("SELECT NTH_VALUE(k, 2) OVER (ORDER BY k) FROM t", "ARRAY_AGG"),
        ("SELECT PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY k) FROM t", "SORT_ARRAY"),
        ("SELECT MEDIAN(k) FROM t", "SORT_ARRAY"),
    ],
)
def test_a_pasted_statement_is_told_how_it_is_written_here(query: str, told: str) -> None:
    assert told in refusal(query)


@pytest.mark.parametrize("name", sorted(later.ELSEWHERE))
def test_a_function_of_elsewhere_is_named_before_its_arguments_are_read(name: str) -> None:
    if name not in ("TRY_CAST", "BOOL"):  # with a syntax of their own
        assert f"write {later.ELSEWHERE[name]}" in refusal(f"SELECT {name}(nosuch) FROM t")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("BEGIN", "BEGIN is not part of a program: transactions are those of a running pipeline"),
        ("GRANT SELECT ON t TO x", "API keys"),
        ("USE db", "leave it out"),
        ("SHOW TABLES", "program_info"),
        ("EXPLAIN SELECT 1", "penstock explain"),
        ("VACUUM t", "leave it out"),
        ("CALL p()", "write views"),
        ("COMMENT ON TABLE t IS 'x'", "a comment is written --"),
        ("REFRESH MATERIALIZED VIEW v", "up to date after every step"),
        ("CREATE SCHEMA s", "names are plain"),
        ("CREATE STREAM s (a INT)", "write CREATE TABLE … WITH ('connectors'"),
        ("CREATE SINK s FROM t", "write CREATE VIEW … WITH ('connectors'"),
        ("CREATE TEMP VIEW x AS SELECT 1 AS a", "write CREATE LOCAL VIEW"),
        ("CREATE UNIQUE INDEX i ON v (k)", "declared by CREATE INDEX"),
        ("CREATE TRIGGER x", "tables, views, types"),
        ("CREATE TABLE x AS SELECT 1 AS a", "CREATE VIEW … AS …"),
        ("CREATE TABLE x LIKE t", "declared with its columns"),
        ("CREATE TABLE x (a INT IDENTITY(1, 1))", "rows bring their own"),
        ("CREATE TABLE x (a INT COMMENT 'c')", "a comment is written --"),
        ("CREATE TABLE x (a INT, INDEX (a))", "no index but its PRIMARY KEY"),
        ("CREATE TABLE x (a TEXT ENCODE lzo)", "leave it out"),
        ("CREATE TABLE x (a INT) PARTITION BY RANGE (a)", "leave it out"),
        ("CREATE TABLE x (a INT) ENGINE = InnoDB", "leave it out"),
        ("CREATE VIEW x AS SELECT k FROM t WITH NO DATA", "a view has all its rows"),
        ("CREATE VIEW x AS SELECT k FROM t WITH (NOLOCK)", "queries lock nothing"),
        ("CREATE VIEW x AS SELECT * RENAME (k AS z) FROM t", "write * EXCLUDE (a), a AS b"),
        ("CREATE VIEW x AS SELECT r'a+' AS z", "text is written '…'"),
        ("CREATE VIEW x AS SELECT k FROM t GROUP BY k WITH ROLLUP", "GROUP BY ROLLUP (…)"),
        ("CREATE VIEW x AS FROM t SELECT k", "write SELECT … FROM …"),
        ("CREATE VIEW x AS SELECT k FROM t WHERE k ISNULL", "write … IS NULL"),
        ("CREATE VIEW x AS SELECT k INTO z FROM t", "write CREATE VIEW name AS"),
        ("CREATE VIEW x AS SELECT k & 1 AS z FROM t", "BIT_AND"),
        ("CREATE VIEW x AS SELECT k FROM t WHERE !(k > 1)", "write NOT"),
        ("CREATE VIEW x AS SELECT k FROM {{ ref('t') }}", "a template is filled in before"),
    ],
)
def test_a_statement_of_elsewhere_is_told_what_to_do_instead(statement: str, told: str) -> None:
    with pytest.raises(SqlError) as caught:
        compile_program(TABLE + statement)
    assert told in caught.value.messages[0].message


def test_only_what_can_be_called_is_suggested() -> None:
    assert any(n.startswith("$") for n in names())
    assert "$" not in refusal("SELECT BITAND(1, 2)")
    assert "IS_NOT_DISTINCT" not in refusal("SELECT A_NOT_DISTINCT(1, 2)")


@pytest.mark.parametrize(
    "query",
    [
        "SELECT top, at, struct, anti, regexp, ties FROM semi AS anti",
        "SELECT anti.top AS at FROM semi anti",
        "SELECT anti.top FROM semi AS anti JOIN semi ON anti.top = semi.top",
        "SELECT top + 1 AS semi FROM semi ORDER BY top LIMIT 3",
    ],
)
def test_the_words_of_other_dialects_are_names_here(query: str) -> None:
    table = "CREATE TABLE semi (top INT, at INT, struct INT, anti INT, regexp INT, ties INT);"
    compile_program(f"{table}CREATE VIEW w AS {query}")


def test_text_in_double_quotes_is_told_apart_from_a_name() -> None:
    assert "text is written 'paid'" in refusal('SELECT k AS id FROM t WHERE s = "paid"')
    assert "did you mean" not in refusal("SELECT ENCODE(s) FROM t")


@pytest.mark.parametrize(
    ("query", "marked"),
    [
        ("SELECT * FROM t GROUP BY s", "*"),
        ("SELECT k, t.* FROM t GROUP BY k", "t.*"),
        ("SELECT k FROM t UNION SELECT ts FROM t", "ts"),
        ("SELECT s, k FROM t UNION ALL SELECT s, ts FROM t", "ts"),
        ("SELECT k FROM t EXCEPT SELECT k, s FROM t", "SELECT k, s FROM t"),
    ],
)
def test_a_mistake_in_a_list_is_shown_where_it_stands(query: str, marked: str) -> None:
    text = f"{TABLE}\nCREATE VIEW w AS {query}"
    with pytest.raises(SqlError) as caught:
        compile_program(text)
    m = caught.value.messages[0]
    assert text.splitlines()[1][m.start_column - 1 : m.end_column] == marked
