"""The families of arguments that functions are declared with (`definition.Param`).

A string parameter takes CHAR and VARCHAR as they are (no cast strips blanks) and anything that
has an implicit cast to text, so LENGTH(12) is 2; a number is also read from text.
"""

from __future__ import annotations

from penstock.data.types import (
    BIGINT,
    BINARIES,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    INTEGERS,
    NUMBERS,
    STRINGS,
    TIME,
    TIMESTAMP,
    VARBINARY,
    VARCHAR,
    Kind,
)
from penstock.functions.coercion import DATETIMES
from penstock.functions.definition import Param

_TO_TEXT = NUMBERS | DATETIMES | {Kind.BOOLEAN}

#: text, or what has an implicit cast to it
STRING = Param("string", STRINGS, VARCHAR, _TO_TEXT)
#: text, or anything that can be written as text
ANY_TEXT = Param("value", STRINGS, VARCHAR, _TO_TEXT | {Kind.UUID})
BYTES = Param("binary", BINARIES, VARBINARY)
INT = Param(
    "integer",
    frozenset((Kind.INT32, Kind.INT64, Kind.UINT32, Kind.UINT64)),
    INTEGER,
    INTEGERS | STRINGS | {Kind.DECIMAL},
    saturates=True,
)
LONG = Param("integer", frozenset((Kind.INT64,)), BIGINT, INTEGERS | STRINGS | {Kind.DECIMAL})
FLOAT8 = Param("number", frozenset((Kind.DOUBLE,)), DOUBLE, NUMBERS | STRINGS)
TRUTH = Param("boolean", frozenset((Kind.BOOLEAN,)), BOOLEAN)
DAY = Param("date", frozenset((Kind.DATE,)), DATE, STRINGS | {Kind.TIMESTAMP})
CLOCK = Param("time", frozenset((Kind.TIME,)), TIME, STRINGS)
MOMENT = Param(
    "timestamp",
    frozenset((Kind.TIMESTAMP, Kind.TIMESTAMP_TZ)),
    TIMESTAMP,
    STRINGS | {Kind.DATE},
)
