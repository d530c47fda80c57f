"""Every word that is not reserved (sql-reference 7.3) is a name wherever a name may be."""

from __future__ import annotations

import pytest

from penstock.errors import SqlError
from penstock.sql.parser.cursor import RESERVED, words
from penstock.sql.program import compile_program

#: words with a meaning somewhere in this dialect or in another
WORDS = words(
    """
LATENESS MATERIALIZED VIEW TYPE INDEX LINEAR AGGREGATE PIVOT UNPIVOT ORDINALITY EXCLUDE REPLACE
APPLY NULLS FIRST LAST RESPECT IGNORE PRECEDING FOLLOWING UNBOUNDED SETS DESCRIPTOR WATERMARK
INTERNED YEAR QUARTER MONTH WEEK DAY HOUR MINUTE SECOND SECONDS MILLISECOND DECADE CENTURY EPOCH
DOW BOOLEAN INT INTEGER VARCHAR DATE TIME TIMESTAMP DOUBLE REAL DECIMAL UUID VARIANT BINARY ARRAY
MAP CHAR TEXT STRING BIGINT FLOAT NUMBER UNSIGNED COUNT SUM AVG MIN MAX RANK LAG ABS LENGTH
POSITION SUBSTRING TRIM OVERLAY CEIL FLOOR EXTRACT MODE EVERY VALUE DATA JSON KEY TUMBLE HOP
SESSION SIZE SLIDE CURRENT RANGE GROUPS TIES ONLY NEXT CONTAINS OVERLAPS EQUALS PRECEDES SUCCEEDS
IMMEDIATELY SYMMETRIC ILIKE RLIKE SIMILAR ZONE WITHOUT PRECISION VARYING CHARACTER UESCAPE BOTH
LEADING PLACING INCLUDING CHECK UNIQUE CONSTRAINT COMMENT GENERATED IDENTITY AUTO_INCREMENT
COLLATE ENCODE LANGUAGE STATUS NAME ID LEVEL STATE ROLE SCHEMA DESC ASC IF IFNULL COALESCE
SAFE_CAST SAFE_OFFSET UNKNOWN START GRANT BEGIN COMMIT ALTER DROP INSERT UPDATE DELETE MERGE
TRUNCATE TO TOP AT ANTI SEMI REGEXP PI LEN SYSTEM MATCH TEMPORARY OF POINT RESULT VERSION PERIOD
"""
)
#: as the name of columns, and as those of other things
COLUMN = """
CREATE TABLE p ({w} INT, b INT);
CREATE TABLE q ({w} INT NOT NULL, b INT, {w}_ INT, PRIMARY KEY ({w}));
CREATE TYPE s AS (b INT, {w} INT);
CREATE TABLE r (s s, l INT ARRAY, v VARIANT);
CREATE VIEW v1 AS SELECT {w}, q.{w} + {w} AS x, -{w} AS y FROM q WHERE {w} > 0 ORDER BY {w} LIMIT 1;
CREATE VIEW v2 AS SELECT {w}, COUNT({w}) AS n, MAX(b) OVER (PARTITION BY {w} ORDER BY {w}) AS m
  FROM q GROUP BY {w}, b;
CREATE VIEW v3 AS SELECT b AS {w} FROM q;
CREATE VIEW v4 ({w}) AS SELECT * EXCLUDE ({w}) FROM (SELECT b, {w} FROM q JOIN p USING ({w}, b));
CREATE VIEW v5 AS SELECT r.s.{w}, v.{w} AS u, TRANSFORM(l, {w} -> {w} + 1) AS m FROM r;
CREATE VIEW v6 AS SELECT {w} FROM r, UNNEST(l) AS u ({w});
"""
TABLE = """
CREATE TABLE {w} (a INT);
CREATE VIEW v1 AS SELECT {w}.a FROM {w};
CREATE VIEW v2 AS WITH {w} AS (SELECT 1 AS a) SELECT x.a FROM {w} AS x, {w} WHERE {w}.a = x.a;
CREATE FUNCTION f({w} INT) RETURNS INT AS {w} + 1;
"""


@pytest.mark.parametrize("word", WORDS)
def test_a_word_that_is_not_reserved_is_a_name(word: str) -> None:
    assert word not in RESERVED
    compile_program(COLUMN.format(w=word.lower()))
    compile_program(TABLE.format(w=word.lower()))


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_a_reserved_word_is_a_name_in_quotes_only(word: str) -> None:
    with pytest.raises(SqlError):
        compile_program(f"CREATE TABLE p ({word.lower()} INT);")
    with pytest.raises(SqlError):
        compile_program(f"CREATE TABLE {word.lower()} (a INT);")
    compile_program(f'CREATE TABLE p ("{word.lower()}" INT);')
