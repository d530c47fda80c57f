"""Casts, by the examples and rules of sql-reference section 1.5."""

from __future__ import annotations

import datetime
import math
import uuid
from decimal import ROUND_DOWN, Decimal
from decimal import localcontext as decimal_context
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    REAL,
    SMALLINT,
    TIME,
    TIMESTAMP,
    TINYINT,
    UBIGINT,
    UTINYINT,
    UUID,
    VARBINARY,
    VARCHAR,
    Kind,
    SqlType,
    char,
    decimal,
    varchar,
)
from penstock.errors import RuntimeSqlError
from penstock.functions.casts import cast_can_fail
from penstock.functions.coercion import can_cast, common_type
from penstock.functions.literals import parse_time, parse_timestamp
from tests.examples import examples
from tests.unit.functions.evaluate import cast

SECONDS = SqlType(Kind.INTERVAL_SHORT, unit="SECOND")
DAYS = SqlType(Kind.INTERVAL_SHORT, unit="DAY")
ID = uuid.UUID("123e4567-e89b-12d3-a456-426655440000")

CASTS: list[tuple[Any, SqlType, SqlType, Any]] = [
    (2.9, DOUBLE, INTEGER, 2),
    (-2.9, DOUBLE, INTEGER, -2),
    (Decimal("-2.9"), decimal(2, 1), INTEGER, -2),
    (200, INTEGER, UTINYINT, 200),
    (2**64 - 1, UBIGINT, decimal(20, 0), Decimal(2**64 - 1)),
    (Decimal(2**64 - 1), decimal(38, 0), UBIGINT, 2**64 - 1),
    (Decimal(-(2**63)), decimal(38, 0), BIGINT, -(2**63)),
    (Decimal("1234.1264"), decimal(8, 4), decimal(6, 2), Decimal("1234.12")),
    (Decimal("-1234.1264"), decimal(8, 4), decimal(6, 2), Decimal("-1234.12")),
    (-7, INTEGER, decimal(10, 2), Decimal("-7.00")),
    ("0.5", VARCHAR, decimal(38, 0), Decimal(0)),
    ("1.5", VARCHAR, decimal(38, 0), Decimal(2)),
    ("1234.1234", VARCHAR, decimal(6, 2), Decimal("1234.12")),
    (0.29, DOUBLE, decimal(5, 2), Decimal("0.29")),
    (-1.999, DOUBLE, decimal(5, 2), Decimal("-1.99")),
    (1e20, DOUBLE, decimal(38, 2), Decimal("100000000000000000000.00")),
    (Decimal("0.1"), decimal(2, 1), DOUBLE, 0.1),
    (Decimal("12345678901234567890.1"), decimal(38, 1), DOUBLE, 12345678901234567890.1),
    (1e300, DOUBLE, REAL, math.inf),
    (0.1, DOUBLE, VARCHAR, "0.1"),
    (0.1, REAL, VARCHAR, "0.1"),
    (math.inf, DOUBLE, VARCHAR, "Infinity"),
    (" -INF ", VARCHAR, DOUBLE, -math.inf),
    ("1e3", VARCHAR, DOUBLE, 1000.0),
    ("-12", VARCHAR, SMALLINT, -12),
    (" TRUE ", VARCHAR, BOOLEAN, True),
    (False, BOOLEAN, VARCHAR, "FALSE"),
    ("2020-01-31", VARCHAR, DATE, datetime.date(2020, 1, 31)),
    ("23:59:59.132", VARCHAR, TIME, 86_399_132_000_000),
    ("2020-01-01", VARCHAR, TIMESTAMP, parse_timestamp("2020-01-01 00:00:00")),
    (1729595568, INTEGER, TIMESTAMP, parse_timestamp("1970-01-21 00:26:35.568")),
    (parse_timestamp("1970-01-21 00:26:35.568"), TIMESTAMP, BIGINT, 1729595568),
    (parse_timestamp("2020-01-02 03:04:05"), TIMESTAMP, DATE, datetime.date(2020, 1, 2)),
    (parse_timestamp("1969-12-31 23:00:00"), TIMESTAMP, DATE, datetime.date(1969, 12, 31)),
    (parse_timestamp("2020-01-02 03:04:05"), TIMESTAMP, TIME, parse_time("03:04:05")),
    (datetime.date(2020, 1, 2), DATE, TIMESTAMP, parse_timestamp("2020-01-02")),
    (datetime.date(2020, 1, 2), DATE, VARCHAR, "2020-01-02"),
    (parse_timestamp("2020-01-01 10:00:00.5"), TIMESTAMP, VARCHAR, "2020-01-01 10:00:00.5"),
    (parse_time("10:00:00"), TIME, VARCHAR, "10:00:00"),
    (10_600_000, SECONDS, INTEGER, 10),
    (864_000_000_000, DAYS, INTEGER, 10),
    (10, INTEGER, DAYS, 864_000_000_000),
    (Decimal("1.5"), decimal(2, 1), SECONDS, 1_500_000),
    (Decimal("1.5"), decimal(2, 1), DAYS, 129_600_000_000),
    ("abc  ", char(5), VARCHAR, "abc"),
    ("abcdef", VARCHAR, varchar(3), "abc"),
    ("josé", VARCHAR, char(3), "jos"),
    ("é", VARCHAR, char(3), "é  "),
    ("1234567890", VARCHAR, VARBINARY, b"1234567890"),
    (0x0102, INTEGER, SqlType(Kind.BINARY, precision=3), b"\x00\x01\x02"),
    (0x01020304, INTEGER, SqlType(Kind.BINARY, precision=2), b"\x03\x04"),
    (b"ab", VARBINARY, SqlType(Kind.BINARY, precision=3), b"ab\x00"),
    (b"abcd", VARBINARY, SqlType(Kind.BINARY, precision=3), b"abc"),
    (ID, UUID, VARCHAR, str(ID)),
    (ID, UUID, VARBINARY, ID.bytes),
    (ID.bytes, VARBINARY, UUID, ID),
    (str(ID), VARCHAR, UUID, ID),
    (str(ID).upper(), VARCHAR, UUID, ID),
    (ID.hex, VARCHAR, UUID, ID),
    ("{" + str(ID) + "}", VARCHAR, UUID, ID),
    ("123e-4567-e89b-12d3-a456-4266-5544-0000", VARCHAR, UUID, ID),
]


@pytest.mark.parametrize(("value", "source", "target", "expected"), CASTS)
def test_cast(value: Any, source: SqlType, target: SqlType, expected: Any) -> None:
    assert can_cast(source, target, explicit=True)
    for safe in (False, True):
        out = cast(value, source, target, safe)
        assert type(out) is type(expected) and out == expected


@pytest.mark.parametrize(("value", "source", "target", "expected"), CASTS)
def test_a_cast_of_null_is_null(
    value: Any, source: SqlType, target: SqlType, expected: Any
) -> None:
    assert cast(None, source, target) is None


BAD: list[tuple[Any, SqlType, SqlType]] = [
    (128, INTEGER, TINYINT),
    (-1, INTEGER, UBIGINT),
    (-1, BIGINT, UBIGINT),
    (2**63, UBIGINT, BIGINT),
    (2.0**63, DOUBLE, BIGINT),
    (math.nan, DOUBLE, INTEGER),
    (math.nan, DOUBLE, decimal(5, 2)),
    (1000.0, DOUBLE, decimal(5, 2)),
    (Decimal(10**30), decimal(38, 0), BIGINT),
    (Decimal(1000), decimal(4, 0), decimal(5, 2)),
    (1000, INTEGER, decimal(5, 2)),
    ("1234.1234", VARCHAR, decimal(6, 3)),
    ("1 2", VARCHAR, INTEGER),
    ("", VARCHAR, INTEGER),
    ("1.5", VARCHAR, INTEGER),
    ("n an", VARCHAR, DOUBLE),
    ("yes", VARCHAR, BOOLEAN),
    ("2021-02-30", VARCHAR, DATE),
    (" 2021-02-03", VARCHAR, DATE),
    ("24:00:00", VARCHAR, TIME),
    ("1:00:00", VARCHAR, TIME),
    ("123e456-7e89b-12d3-a456-426655440000", VARCHAR, UUID),
    (b"short", VARBINARY, UUID),
    (2**62, BIGINT, TIMESTAMP),
]


@pytest.mark.parametrize(("value", "source", "target"), BAD)
def test_a_bad_cast_fails_and_a_safe_one_is_null(
    value: Any, source: SqlType, target: SqlType
) -> None:
    assert cast_can_fail(source, target, safe=False)
    with pytest.raises(RuntimeSqlError, match="cannot be cast") as caught:
        cast(value, source, target)
    assert caught.value.row == 0
    assert cast(value, source, target, safe=True) is None


@settings(max_examples=examples(100), deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_read_back_from_its_text_is_the_same(x: float) -> None:
    assert cast(cast(x, DOUBLE, VARCHAR), VARCHAR, DOUBLE) == x


@settings(max_examples=examples(100), deadline=None)
@given(st.integers(-(10**18), 10**18), st.integers(0, 18))
def test_a_decimal_becomes_the_nearest_double(unscaled: int, scale: int) -> None:
    value = Decimal(unscaled).scaleb(-scale)
    assert cast(value, decimal(38, scale), DOUBLE) == float(value)


@settings(max_examples=examples(100), deadline=None)
@given(st.decimals(-(10**12), 10**12, places=4), st.integers(0, 6))
def test_a_double_becomes_its_shortest_decimal_truncated(value: Decimal, scale: int) -> None:
    with_scale = Decimal(repr(float(value))).quantize(
        Decimal(1).scaleb(-scale), rounding="ROUND_DOWN"
    )
    assert cast(float(value), DOUBLE, decimal(38, scale)) == with_scale


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ([SMALLINT, UTINYINT], SMALLINT),
        ([SMALLINT, SqlType(Kind.UINT16)], SqlType(Kind.UINT16)),
        ([INTEGER, decimal(5, 2)], decimal(12, 2)),
        ([decimal(38, 0), decimal(10, 10)], decimal(38, 0)),
        ([decimal(5, 2), REAL], DOUBLE),
        ([BIGINT, REAL], REAL),
        ([DATE, char(10)], DATE),
        ([DATE, TIMESTAMP], TIMESTAMP),
        ([char(3), char(5)], VARCHAR),
        ([char(3), char(3)], char(3)),
        ([char(3), varchar(5)], varchar(5)),
        ([char(3), VARCHAR], VARCHAR),
        ([SqlType(Kind.NULL), INTEGER.with_nullable(False)], INTEGER),
        ([BOOLEAN, INTEGER], None),
        ([DATE, INTEGER], None),
    ],
)
def test_common_type(types: list[SqlType], expected: SqlType | None) -> None:
    assert common_type(types) == expected
    assert common_type(types[::-1]) == expected


@pytest.mark.parametrize(
    ("source", "target", "explicit", "implicit"),
    [
        (BOOLEAN, INTEGER, False, False),
        (BOOLEAN, VARCHAR, True, True),
        (VARCHAR, BOOLEAN, True, False),
        (INTEGER, TIMESTAMP, True, False),
        (VARBINARY, INTEGER, False, False),
        (INTEGER, VARBINARY, True, False),
        (DATE, TIME, False, False),
        (TIMESTAMP, TIME, True, False),
        (UUID, VARCHAR, True, False),
        (VARCHAR, UUID, True, True),
        (DAYS, SqlType(Kind.INTERVAL_LONG, unit="MONTH"), False, False),
    ],
)
def test_the_matrix_of_casts(
    source: SqlType, target: SqlType, explicit: bool, implicit: bool
) -> None:
    assert can_cast(source, target, explicit=True) is explicit
    assert can_cast(source, target, explicit=False) is implicit


_EXACT_LIMITS = {TINYINT: -(2**7), BIGINT: -(2**63), UBIGINT: 2**64 - 1}


@settings(max_examples=examples(100), deadline=None)
@given(
    st.one_of(
        st.sampled_from(list(_EXACT_LIMITS)),
        st.builds(decimal, st.integers(20, 38), st.integers(0, 20)),
    ),
    st.builds(decimal, st.integers(1, 38), st.integers(0, 38)).filter(
        lambda t: (t.scale or 0) <= (t.precision or 0)
    ),
)
def test_a_cast_to_decimal_fails_only_if_it_says_that_it_can(
    source: SqlType, target: SqlType
) -> None:
    with decimal_context(prec=80):
        longest = Decimal(_EXACT_LIMITS.get(source, 0))
        if source.kind is Kind.DECIMAL:
            assert source.precision is not None
            longest = Decimal(10**source.precision - 1).scaleb(-(source.scale or 0))
        expected = longest.quantize(Decimal(1).scaleb(-(target.scale or 0)), ROUND_DOWN)
    if not cast_can_fail(source, target, safe=False):
        value = longest if source.kind is Kind.DECIMAL else int(longest)
        assert cast(value, source, target) == expected
