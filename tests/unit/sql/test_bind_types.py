"""Result types and nullability of expressions (sql-reference 1.2 to 1.5, 3.2)."""

from __future__ import annotations

import pytest

from penstock.data.types import SqlType
from penstock.sql.program import compile_program

TABLE = """
CREATE TABLE t (
    i INT NOT NULL, n INT, l BIGINT, s SMALLINT NOT NULL, u INT UNSIGNED,
    d DECIMAL(10, 2) NOT NULL, e DECIMAL(38, 10), r REAL, f DOUBLE NOT NULL, b BOOLEAN,
    c CHAR(3), v VARCHAR NOT NULL, w VARCHAR(5), dt DATE NOT NULL, ts TIMESTAMP NOT NULL
);
"""


def type_of(items: str) -> SqlType:
    """The type of the one column of SELECT items FROM t."""
    plan = compile_program(f"{TABLE} CREATE LOCAL VIEW w AS SELECT {items}")
    (column,) = plan.views[0].schema.types
    return column


@pytest.mark.parametrize(
    ("literal", "expected"),
    [
        ("12", "INTEGER NOT NULL"),
        ("3000000000", "BIGINT NOT NULL"),
        ("-9223372036854775808", "BIGINT NOT NULL"),
        ("9223372036854775808", "DECIMAL(19, 0) NOT NULL"),
        ("23.456", "DECIMAL(5, 3) NOT NULL"),
        ("1.5e0", "DOUBLE NOT NULL"),
        ("'abc'", "CHAR(3) NOT NULL"),
        ("''", "VARCHAR NOT NULL"),
        ("TRUE", "BOOLEAN NOT NULL"),
        ("x'45F0AB'", "BINARY(3) NOT NULL"),
        ("DATE '2020-01-01'", "DATE NOT NULL"),
        ("INTERVAL '1 12:00' DAY TO MINUTE", "INTERVAL DAY TO MINUTE NOT NULL"),
        ("NULL", "NULL"),
    ],
)
def test_a_literal_has_the_type_of_its_spelling(literal: str, expected: str) -> None:
    assert str(type_of(literal)) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("i + i", "INTEGER NOT NULL"),
        ("i + n", "INTEGER"),
        ("i + l", "BIGINT"),
        ("s + s", "SMALLINT NOT NULL"),
        ("u + i", "INTEGER UNSIGNED"),
        ("i / 2", "INTEGER NOT NULL"),
        ("d + d", "DECIMAL(11, 2) NOT NULL"),
        ("d * d", "DECIMAL(20, 4) NOT NULL"),
        ("d + i", "DECIMAL(13, 2) NOT NULL"),
        ("e * e", "DECIMAL(38, 6)"),
        ("d + r", "DOUBLE"),
        ("i + r", "REAL"),
        ("1 + NULL", "INTEGER"),
        ("n > 2", "BOOLEAN"),
        ("i = 1 AND n = 1", "BOOLEAN"),
        ("n IS NULL", "BOOLEAN NOT NULL"),
        ("b IS NOT TRUE", "BOOLEAN NOT NULL"),
        ("i <=> n", "BOOLEAN NOT NULL"),
        ("i IN (1, 2)", "BOOLEAN NOT NULL"),
        ("i IN (1, NULL)", "BOOLEAN"),
        ("ts > '2020-01-01'", "BOOLEAN NOT NULL"),
        ("CASE WHEN b THEN i END", "INTEGER"),
        ("CASE WHEN b THEN i ELSE 2.5 END", "DECIMAL(11, 1) NOT NULL"),
        ("CASE WHEN b THEN 'a' ELSE 'bcd' END", "VARCHAR NOT NULL"),
        ("CASE WHEN b THEN 'abc' ELSE 'bcd' END", "CHAR(3) NOT NULL"),
        ("CASE WHEN b THEN 'abc' ELSE c END", "CHAR(3)"),
        ("CASE WHEN b THEN 'a' ELSE w END", "VARCHAR(5)"),
        ("COALESCE(c, 'none')", "VARCHAR NOT NULL"),
        ("IF(b, 'yes', 'no')", "VARCHAR NOT NULL"),
        ("'a' || 'b'", "VARCHAR NOT NULL"),
        ("COALESCE(n, i)", "INTEGER NOT NULL"),
        ("COALESCE(n, l)", "BIGINT"),
        ("IFNULL(n, 0)", "INTEGER NOT NULL"),
        ("NULLIF(i, 1)", "INTEGER"),
        ("IF(b, i, l)", "BIGINT"),
        ("v || 'x'", "VARCHAR NOT NULL"),
        ("w || v", "VARCHAR"),
        ("CAST(v AS DECIMAL(6, 2))", "DECIMAL(6, 2) NOT NULL"),
        ("SAFE_CAST(v AS INT)", "INTEGER"),
        ("EXTRACT(YEAR FROM dt)", "BIGINT NOT NULL"),
        ("dt + INTERVAL '1' DAY", "DATE NOT NULL"),
    ],
)
def test_an_operator_has_the_type_of_the_reference(expression: str, expected: str) -> None:
    assert str(type_of(f"{expression} FROM t")) == expected


@pytest.mark.parametrize(
    ("call", "alone", "grouped"),
    [
        ("COUNT(*)", "BIGINT NOT NULL", "BIGINT NOT NULL"),
        ("SUM(i)", "INTEGER", "INTEGER NOT NULL"),
        ("SUM(n)", "INTEGER", "INTEGER"),
        ("SUM(d) + 1", "DECIMAL(13, 2)", "DECIMAL(13, 2) NOT NULL"),
        ("AVG(i)", "INTEGER", "INTEGER NOT NULL"),
        ("MIN(v)", "VARCHAR", "VARCHAR NOT NULL"),
        ("ARRAY_AGG(n)", "INTEGER ARRAY", "INTEGER ARRAY NOT NULL"),
        ("ARRAY_AGG(n) IGNORE NULLS", "INTEGER ARRAY", "INTEGER ARRAY"),
        ("MAX(i) FILTER (WHERE b)", "INTEGER", "INTEGER"),
        ("COVAR_POP(i, CAST(i AS DOUBLE))", "INTEGER", "INTEGER NOT NULL"),
        ("COVAR_SAMP(d, CAST(i AS REAL))", "DECIMAL(10, 2)", "DECIMAL(10, 2)"),
        ("REGR_SXX(CAST(i AS DOUBLE), d)", "DOUBLE", "DOUBLE NOT NULL"),
    ],
)
def test_an_aggregate_is_null_only_where_a_group_can_have_no_value(
    call: str, alone: str, grouped: str
) -> None:
    assert str(type_of(f"{call} FROM t")) == alone
    assert str(type_of(f"{call} FROM t GROUP BY dt")) == grouped


@pytest.mark.parametrize(
    ("join", "left", "right"),
    [
        ("JOIN", "INTEGER NOT NULL", "VARCHAR NOT NULL"),
        ("LEFT JOIN", "INTEGER NOT NULL", "VARCHAR"),
        ("RIGHT JOIN", "INTEGER", "VARCHAR NOT NULL"),
        ("FULL JOIN", "INTEGER", "VARCHAR"),
    ],
)
def test_the_padded_side_of_an_outer_join_is_nullable(join: str, left: str, right: str) -> None:
    source = f"FROM t AS x {join} t AS y ON x.i = y.i"

    assert str(type_of(f"x.i {source}")) == left
    assert str(type_of(f"y.v {source}")) == right


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("(SELECT MAX(i) FROM t) AS o", "INTEGER"),
        ("(SELECT COUNT(*) FROM t) AS o", "BIGINT NOT NULL"),
        ("(SELECT COUNT(*) FROM t x WHERE x.i = t.i) AS o FROM t", "BIGINT NOT NULL"),
        ("(SELECT SUM(i) FROM t x WHERE x.i = t.i) AS o FROM t", "INTEGER"),
        ("EXISTS (SELECT 1 FROM t) AS o", "BOOLEAN NOT NULL"),
        ("i IN (SELECT i FROM t) AS o FROM t", "BOOLEAN NOT NULL"),
        ("i IN (SELECT n FROM t) AS o FROM t", "BOOLEAN"),
        ("i > ALL (SELECT i FROM t) AS o FROM t", "BOOLEAN NOT NULL"),
        ("i < ANY (SELECT i FROM t) AS o FROM t", "BOOLEAN NOT NULL"),
        ("i < ANY (SELECT n FROM t) AS o FROM t", "BOOLEAN"),
        ("i AS o FROM t UNION ALL SELECT l FROM t", "BIGINT"),
        ("'a' AS o UNION ALL SELECT 'bcd'", "VARCHAR NOT NULL"),
        ("'a' AS o UNION ALL SELECT 'b' UNION SELECT 'c'", "CHAR(1) NOT NULL"),
    ],
)
def test_a_query_as_a_value_is_as_nullable_as_it_must_be(query: str, expected: str) -> None:
    assert str(type_of(query)) == expected


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ("CAST(ROW(1, NULL) AS ROW(x INT, y INT))", "ROW(x INTEGER NOT NULL, y INTEGER) NOT NULL"),
        (
            "CAST(ROW(n, i) AS ROW(x BIGINT, y INT)) FROM t",
            "ROW(x BIGINT, y INTEGER NOT NULL) NOT NULL",
        ),
        ("CAST(NULL AS ROW(x INT))", "ROW(x INTEGER NOT NULL)"),
        ("CAST(PARSE_JSON('{}') AS ROW(x INT))", "ROW(x INTEGER NOT NULL)"),
        ("CAST(ARRAY[ROW(n)] AS ROW(x INT) ARRAY) FROM t", "ROW(x INTEGER) ARRAY NOT NULL"),
    ],
)
def test_a_field_that_may_become_null_by_a_cast_is_nullable(items: str, expected: str) -> None:
    assert str(type_of(items)) == expected
