"""Reference vectors of sql-reference sections 2 and 10, on constants and on columns."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import pytest

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
    UINTEGER,
    UTINYINT,
    VARBINARY,
    VARCHAR,
    Kind,
    SqlType,
    char,
    decimal,
)
from penstock.errors import RuntimeSqlError, UserError
from penstock.functions.literals import parse_time, parse_timestamp
from penstock.functions.registry import resolve
from tests.unit.functions.evaluate import (
    Arg,
    as_columns,
    as_constants,
    first_as_column,
    last_as_column,
    resolved,
)


def i(v: int | None) -> Arg:
    return INTEGER, v


def s(v: str | None) -> Arg:
    return VARCHAR, v


def f(v: float | None) -> Arg:
    return DOUBLE, v


def d(v: str) -> Arg:
    digits = Decimal(v).as_tuple()
    assert isinstance(digits.exponent, int)
    return decimal(max(len(digits.digits), -digits.exponent), -digits.exponent), Decimal(v)


def x(v: str) -> Arg:
    return VARBINARY, bytes.fromhex(v)


def day(v: str) -> Arg:
    return DATE, datetime.date.fromisoformat(v)


def ts(v: str) -> Arg:
    return TIMESTAMP, parse_timestamp(v)


def tm(v: str) -> Arg:
    return TIME, parse_time(v)


def short(unit: str, us: int) -> Arg:
    return SqlType(Kind.INTERVAL_SHORT, unit=unit), us


def months(n: int) -> Arg:
    return SqlType(Kind.INTERVAL_LONG, unit="MONTH"), n


HOUR = 3_600_000_000
NAN = math.nan
date = datetime.date

VECTORS: list[tuple[str, list[Arg], Any]] = [
    # integers
    ("%", [i(8), i(-3)], 2),
    ("%", [i(-8), i(3)], -2),
    ("%", [i(-8), i(-3)], -2),
    ("MOD", [i(-8), i(3)], -2),
    ("/", [i(-7), i(2)], -3),
    ("/", [i(7), i(-2)], -3),
    ("+", [(SMALLINT, 1), (UTINYINT, 255)], 256),
    ("-", [(BIGINT, -(2**62)), (BIGINT, 2**62)], -(2**63)),
    ("*", [(BIGINT, 2**31), (BIGINT, 2**31)], 2**62),
    ("*", [(BIGINT, -(2**31)), (BIGINT, 2**32)], -(2**63)),
    ("*", [(UBIGINT, 2**32), (UBIGINT, 2**31)], 2**63),
    ("DIV_NULL", [(TINYINT, -128), (TINYINT, -1)], None),
    ("DIV_NULL", [i(8), i(0)], None),
    ("DIV_NULL", [i(8), i(3)], 2),
    ("DIV_NULL", [f(1.0), f(0.0)], None),
    ("DIV_NULL", [d("1.5"), d("0.0")], None),
    ("DIV_NULL", [d("1.5"), d("0.5")], Decimal(3)),
    ("unary-", [i(5)], -5),
    ("ABS", [i(-5)], 5),
    ("SIGN", [i(-5)], -1),
    # decimals
    ("+", [d("1.5"), d("2.25")], Decimal("3.75")),
    ("-", [d("1.5"), i(2)], Decimal("-0.5")),
    ("*", [d("-1.5"), d("2.5")], Decimal("-3.75")),
    ("/", [d("1.0"), i(3)], Decimal("0.333333333333")),
    ("%", [d("-7.5"), i(2)], Decimal("-1.5")),
    ("unary-", [d("1.5")], Decimal("-1.5")),
    ("ABS", [d("-1.5")], Decimal("1.5")),
    ("ROUND", [d("2.5")], Decimal(3)),
    ("ROUND", [d("-2.5")], Decimal(-3)),
    ("ROUND", [d("123.456"), i(2)], Decimal("123.46")),
    ("ROUND", [d("123.456"), i(-1)], Decimal(120)),
    ("BROUND", [d("2.5"), i(0)], Decimal(2)),
    ("BROUND", [d("3.5"), i(0)], Decimal(4)),
    ("TRUNCATE", [d("-2.99")], Decimal(-2)),
    ("TRUNC", [d("-2.99"), i(1)], Decimal("-2.9")),
    ("CEIL", [d("2.1")], Decimal(3)),
    ("FLOOR", [d("-2.1")], Decimal(-3)),
    ("FLOOR", [d("9.9")], Decimal(9)),
    ("CEIL", [d("9.9")], Decimal(10)),
    ("SIGN", [d("-0.01")], Decimal(-1)),
    # floats
    ("/", [f(1.0), f(0.0)], math.inf),
    ("/", [f(0.0), f(0.0)], NAN),
    ("%", [f(5.0), f(0.0)], NAN),
    ("%", [f(-5.0), f(3.0)], -2.0),
    ("+", [(REAL, 0.1), (REAL, 0.2)], 0.30000001192092896),
    ("+", [i(1), f(0.5)], 1.5),
    ("SQRT", [f(-1.0)], NAN),
    ("SQRT", [i(9)], 3.0),
    ("POWER", [f(NAN), f(0.0)], 1.0),
    ("POWER", [i(2), i(10)], 1024.0),
    ("LN", [f(0.0)], -math.inf),
    ("LOG", [f(8.0), f(2.0)], 3.0),
    ("LOG", [f(8.0), f(0.0)], 0.0),
    ("ROUND", [f(2.5)], 3.0),
    ("ROUND", [f(-2.5)], -3.0),
    ("ROUND", [f(0.49999999999999994)], 0.0),
    ("ROUND", [f(2.345), i(1)], 2.3),
    ("IS_NAN", [f(NAN)], True),
    ("IS_INF", [f(-math.inf)], True),
    ("FINITE_OR_NULL", [f(NAN)], None),
    ("PI", [], math.pi),
    ("unary-", [f(0.0)], 0.0),
    # comparison
    ("=", [i(1), (BIGINT, 1)], True),
    ("<", [i(-1), (UBIGINT, 2**64 - 1)], True),
    ("=", [(decimal(38, 0), 10**37), (decimal(38, 38), Decimal("0.1"))], False),
    (">", [d("1.50"), d("1.5")], False),
    ("=", [d("1.50"), d("1.5")], True),
    ("=", [f(NAN), f(NAN)], False),
    ("<>", [f(NAN), f(NAN)], True),
    ("<", [f(math.inf), f(NAN)], True),
    (">=", [f(NAN), f(NAN)], True),
    ("is_not_distinct", [f(NAN), f(NAN)], True),
    ("is_distinct", [i(None), i(None)], False),
    ("is_distinct", [i(None), i(1)], True),
    ("<=>", [s(None), s("a")], False),
    ("<", [s("abc"), s("abd")], True),
    ("<", [s("a long common prefix, 1"), s("a long common prefix, 2")], True),
    ("=", [s("a long common prefix, 1"), s("a long common prefix, 1")], True),
    ("<", [s("\uffff"), s("\U0001f600")], True),
    ("<", [day("2020-01-01"), (char(10), "2020-01-02")], True),
    # choices
    ("GREATEST", [i(1), i(None)], None),
    ("GREATEST", [i(1), i(3), i(2)], 3),
    ("LEAST", [s("b"), s("a")], "a"),
    ("GREATEST_IGNORE_NULLS", [i(1), i(None)], 1),
    ("NULLIF", [i(5), i(5)], None),
    ("NULLIF", [i(5), i(0)], 5),
    ("NULLIF", [i(5), i(None)], 5),
    # strings
    ("||", [s("Post"), s("greSQL")], "PostgreSQL"),
    ("||", [(char(3), "a  "), s("b")], "a  b"),
    ("CONCAT", [s("Post"), s("greSQL"), i(1)], "PostgreSQL1"),
    ("CONCAT_WS", [s(","), s("Post"), s("greSQL"), s(None), s("1")], "Post,greSQL,1"),
    ("CONCAT_WS", [s(None), s("a")], None),
    ("CHAR_LENGTH", [s("josé")], 4),
    ("LENGTH", [s("")], 0),
    ("ASCII", [s("x")], 120),
    ("ASCII", [s("")], 0),
    ("CHR", [i(65)], "A"),
    ("CHR", [i(-1)], ""),
    ("LOWER", [s("TOM")], "tom"),
    ("UPPER", [s("josé and a longer tail")], "JOSÉ AND A LONGER TAIL"),
    ("INITCAP", [s("hi THOMAS")], "Hi Thomas"),
    ("INITCAP_SPACES", [s("hi THOMAS-SON")], "Hi Thomas-son"),
    ("LEFT", [s("abcde"), i(2)], "ab"),
    ("RIGHT", [s("abcde"), i(2)], "de"),
    ("RIGHT", [s("abcde"), i(0)], ""),
    ("SUBSTRING", [s("Thomas"), i(2), i(3)], "hom"),
    ("SUBSTRING", [s("Thomas"), i(3)], "omas"),
    ("SUBSTRING", [s("Thomas"), i(-1), i(3)], "T"),
    ("SUBSTRING", [s("Thomas"), i(2), i(-3)], ""),
    ("SUBSTR", [s("Thomas"), i(2), i(3)], "hom"),
    ("SUBSTR", [s("Thomas"), i(-3), i(2)], "ma"),
    ("OVERLAY", [s("Txxxxas"), s("hom"), i(2), i(4)], "Thomas"),
    ("OVERLAY", [s("ab"), s("c"), i(0)], "ab"),
    ("OVERLAY", [s("ab"), s("c"), i(9)], "abc"),
    ("POSITION", [s("om"), s("Thomas")], 3),
    ("POSITION", [s("z"), s("Thomas")], 0),
    ("REPLACE", [s("abcdefabcdef"), s("cd"), s("XX")], "abXXefabXXef"),
    ("REPEAT", [s("Pg"), i(4)], "PgPgPgPg"),
    ("REPEAT", [s("Pg"), i(-1)], ""),
    ("REVERSE", [s("Feldera")], "aredleF"),
    ("TRIM", [s("  a b ")], "a b"),
    ("TRIM", [s("yxTomxx"), s("xyz")], "Tom"),
    ("TRIM_LEADING", [s("yxTomxx"), s("xyz")], "Tomxx"),
    ("TRIM_TRAILING", [s("yxTomxx"), s("xyz")], "yxTom"),
    ("SPLIT_PART", [s("a|b|c|"), s("|"), i(2)], "b"),
    ("SPLIT_PART", [s("a|b|c|"), s("|"), i(-2)], "c"),
    ("SPLIT_PART", [s("a|b|c|"), s("|"), i(5)], ""),
    ("MD5", [s("Feldera")], "841afc2f65b5763600818ef42a56d7d1"),
    ("MD5", [x("0123456789ABCDEF")], "a1cd1d1fc6491068d91007283ed84489"),
    # patterns
    ("like", [s("abc"), s("a%")], True),
    ("like", [s("abc"), s("_b_")], True),
    ("like", [s("abc"), s("c")], False),
    ("like", [s("h%"), s("h#%"), s("#")], True),
    ("like", [s("h%wkeye"), s("h#%"), s("#")], False),
    ("like", [s("h%wkeye"), s("h#%%"), s("#")], True),
    ("like", [s("h%awkeye"), s("h#%a%k%e"), s("#")], True),
    ("like", [s("a\\b"), s("a\\_")], True),
    ("like", [s("a\nb"), s("a%b")], True),
    ("ilike", [s("hawkeye"), s("H%Eye")], True),
    ("ilike", [s("ABC"), s("_b_")], True),
    ("rlike", [s("string"), s("s..i.*")], True),
    ("rlike", [s("a\n"), s("a$")], False),
    ("rlike", [s("x1"), s("[[:digit:]]$")], True),
    ("REGEXP_REPLACE", [s("1078910"), s("[^01]")], "1010"),
    (
        "REGEXP_REPLACE",
        [
            s("deep fried"),
            s(r"(?<first>\w+)\s+(?<second>\w+)"),
            s("${first}_$second"),
        ],
        "deep_fried",
    ),
    (
        "REGEXP_REPLACE",
        [s("Springsteen, Bruce"), s(r"([^,\s]+),\s+(\S+)"), s("$2 $1")],
        "Bruce Springsteen",
    ),
    # binary
    ("||", [x("ab"), x("cd")], b"\xab\xcd"),
    ("OCTET_LENGTH", [x("0abc")], 2),
    ("BIN2UTF8", [x("4041")], "@A"),
    ("BIN2UTF8", [x("ff")], None),
    ("LEFT", [x("abcdef"), i(2)], b"\xab\xcd"),
    ("SUBSTRING", [x("123456"), i(3)], b"\x56"),
    ("SUBSTRING", [x("1234567890"), i(3), i(2)], b"\x56\x78"),
    ("SUBSTRING", [x("123456"), i(-5), i(1)], b"\x12"),
    ("POSITION", [x("20"), x("102023")], 2),
    ("TO_HEX", [x("0abc")], "0abc"),
    ("TO_INT", [x("0abc")], 2748),
    ("TO_INT", [x("ffffffff")], -1),
    # fields
    ("EXTRACT", [s("DECADE"), day("1994-12-25")], 199),
    ("EXTRACT", [s("CENTURY"), day("2000-12-25")], 20),
    ("EXTRACT", [s("CENTURY"), day("2001-01-01")], 21),
    ("EXTRACT", [s("MILLENNIUM"), day("2001-01-01")], 3),
    ("EXTRACT", [s("DOW"), day("2024-05-05")], 1),
    ("EXTRACT", [s("ISODOW"), day("2024-05-05")], 7),
    ("EXTRACT", [s("DOY"), day("2024-12-31")], 366),
    ("EXTRACT", [s("QUARTER"), day("1969-11-30")], 4),
    ("EXTRACT", [s("HOUR"), day("2024-12-31")], 0),
    ("EXTRACT", [s("EPOCH"), ts("1970-01-02 00:00:01.5")], 86401),
    ("EXTRACT", [s("MILLISECOND"), ts("2020-01-01 00:01:02.345678")], 2345),
    ("EXTRACT", [s("MICROSECOND"), tm("00:01:02.345678912")], 2345678),
    ("HOUR", [ts("2024-05-04 17:23:59")], 17),
    ("HOUR", [s("2024-05-04 17:23:59")], 17),
    ("YEAR", [ts("1969-12-31 23:59:59")], 1969),
    ("DAYOFMONTH", [day("0001-01-31")], 31),
    ("EXTRACT", [s("HOUR"), short("DAY_SECOND", -26 * HOUR)], -2),
    ("EXTRACT", [s("YEAR"), months(-26)], -2),
    # truncation
    ("FLOOR", [day("2020-01-10"), s("MONTH")], date(2020, 1, 1)),
    ("CEIL", [day("2020-01-10"), s("MONTH")], date(2020, 2, 1)),
    ("CEIL", [day("2020-02-01"), s("MONTH")], date(2020, 2, 1)),
    ("DATE_TRUNC", [day("2020-01-10"), s("MONTH")], date(2020, 1, 1)),
    ("DATE_TRUNC", [day("2024-05-05"), s("WEEK")], date(2024, 4, 29)),
    ("DATE_TRUNC", [day("2024-05-05"), s("CENTURY")], date(2001, 1, 1)),
    ("DATE_TRUNC", [day("2024-05-05"), s("DECADE")], date(2020, 1, 1)),
    ("TIMESTAMP_TRUNC", [ts("2020-01-10 10:00:00"), s("MONTH")], parse_timestamp("2020-01-01")),
    (
        "FLOOR",
        [ts("2024-05-04 17:23:59"), s("MONTH")],
        parse_timestamp("2024-05-01 00:00:00"),
    ),
    (
        "CEIL",
        [ts("2024-05-04 17:23:01"), s("MINUTE")],
        parse_timestamp("2024-05-04 17:24:00"),
    ),
    ("FLOOR", [tm("17:23:59"), s("MINUTE")], parse_time("17:23:00")),
    ("CEIL", [tm("17:01:00"), s("HOUR")], parse_time("18:00:00")),
    ("CEIL", [tm("23:01:00"), s("HOUR")], 0),
    ("TIME_TRUNC", [tm("12:34:56.78"), s("MINUTE")], parse_time("12:34:00")),
    # differences
    ("TIMESTAMPDIFF", [s("HOUR"), day("2020-01-01"), day("2020-01-02")], 24),
    ("TIMESTAMPDIFF", [s("MONTH"), day("2020-01-31"), day("2020-02-29")], 0),
    ("TIMESTAMPDIFF", [s("MONTH"), day("2020-02-29"), day("2020-01-31")], 0),
    ("TIMESTAMPDIFF", [s("YEAR"), day("2020-02-29"), day("2021-03-01")], 1),
    ("DATEDIFF", [s("DAY"), ts("2020-01-02 00:00:00"), ts("2020-01-01 00:00:01")], 0),
    ("-", [day("2020-01-03"), day("2020-01-01"), s("DAY")], 48 * HOUR),
    ("-", [day("2021-03-01"), day("2020-01-31"), s("MONTH")], 13),
    # construction
    ("MAKE_DATE", [i(2020), i(2), i(1)], date(2020, 2, 1)),
    ("MAKE_DATE", [i(2021), i(2), i(30)], None),
    ("MAKE_TIME", [i(20), i(1), i(1)], parse_time("20:01:01")),
    ("MAKE_TIME", [i(24), i(0), i(0)], None),
    (
        "MAKE_TIMESTAMP",
        [i(2020), i(1), i(1), i(10), i(0), d("0.5")],
        parse_timestamp("2020-01-01 10:00:00.5"),
    ),
    # intervals
    ("+", [day("2020-01-31"), months(1)], date(2020, 2, 29)),
    ("+", [day("2020-01-01"), short("HOUR", 47 * HOUR)], date(2020, 1, 2)),
    ("-", [ts("2020-01-01"), short("HOUR", HOUR)], parse_timestamp("2019-12-31 23:00:00")),
    ("+", [months(-1), ts("2020-03-31 10:00:00")], parse_timestamp("2020-02-29 10:00:00")),
    ("-", [tm("00:30:00"), short("HOUR", HOUR)], parse_time("23:30:00")),
    ("+", [tm("00:30:00"), months(5)], parse_time("00:30:00")),
    ("+", [s("2020-01-01"), short("DAY", 24 * HOUR)], parse_timestamp("2020-01-02")),
    ("+", [months(5), months(7)], 12),
    ("*", [short("HOUR", HOUR), i(3)], 3 * HOUR),
    ("/", [short("HOUR", HOUR), d("2.5")], 1_440_000_000),
    ("unary-", [months(3)], -3),
    ("ABS", [short("HOUR", -HOUR)], HOUR),
    ("TIMESTAMPADD", [s("MONTH"), i(1), day("2020-01-31")], date(2020, 2, 29)),
    (
        "TIMESTAMPADD",
        [s("SECOND"), i(1729595568), day("1970-01-01")],
        parse_timestamp("2024-10-22 11:12:48"),
    ),
]  # fmt: skip


def same(a: Any, b: Any) -> bool:
    if isinstance(b, float) and math.isnan(b):
        return isinstance(a, float) and math.isnan(a)
    if isinstance(b, float):
        return (
            isinstance(a, float) and math.isclose(a, b, rel_tol=1e-12) and repr(a)[0] == repr(b)[0]
        )
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize(("name", "args", "expected"), VECTORS)
def test_reference_vector(name: str, args: list[Arg], expected: Any) -> None:
    for evaluate in (as_constants, as_columns, first_as_column, last_as_column):
        value = evaluate(name, args)
        assert same(value, expected), (evaluate.__name__, value)


STRICT = [(n, a) for n, a, _ in VECTORS if resolved(n, a).strict]


@pytest.mark.parametrize(("name", "args"), STRICT)
def test_a_strict_function_of_null_is_null(name: str, args: list[Arg]) -> None:
    for position, (t, value) in enumerate(args):
        if isinstance(value, str) and position == _unit_position(name, args):
            continue
        with_null = [*args[:position], (t, None), *args[position + 1 :]]
        function = resolved(name, args)
        assert function.result.nullable
        assert as_columns(name, with_null) is None


def _unit_position(name: str, args: list[Arg]) -> int | None:
    if name in ("EXTRACT", "TIMESTAMPDIFF", "DATEDIFF", "TIMESTAMPADD"):
        return 0
    if name.endswith("TRUNC") or (name in ("FLOOR", "CEIL") and len(args) == 2):
        return 1
    return 2 if name == "-" and len(args) == 3 else None


FAILURES: list[tuple[str, list[Arg], str]] = [
    ("/", [i(1), i(0)], "by zero"),
    ("%", [i(1), i(0)], "by zero"),
    ("/", [(BIGINT, -(2**63)), (BIGINT, -1)], "overflows"),
    ("/", [(TINYINT, -128), (TINYINT, -1)], "overflows"),
    ("+", [i(2**31 - 1), i(1)], "overflows"),
    ("-", [(UINTEGER, 0), (UINTEGER, 1)], "overflows"),
    ("-", [(UBIGINT, 0), (UBIGINT, 1)], "overflows"),
    ("+", [(UBIGINT, 2**64 - 1), (UBIGINT, 1)], "overflows"),
    ("+", [(BIGINT, 2**63 - 1), (BIGINT, 1)], "overflows"),
    ("-", [(BIGINT, -(2**63)), (BIGINT, 1)], "overflows"),
    ("*", [(BIGINT, 2**32), (BIGINT, 2**31)], "overflows"),
    ("*", [(BIGINT, -1), (BIGINT, -(2**63))], "overflows"),
    ("*", [(BIGINT, -(2**63)), (BIGINT, -1)], "overflows"),
    ("*", [(UBIGINT, 2**32), (UBIGINT, 2**32)], "overflows"),
    ("*", [(TINYINT, 16), (TINYINT, 8)], "overflows"),
    ("unary-", [i(-(2**31))], "overflows"),
    ("ABS", [(TINYINT, -128)], "ABS"),
    ("/", [d("1.5"), d("0.0")], "by zero"),
    ("LN", [f(-1.0)], "negative"),
    ("like", [s("a"), s("a#b"), s("#")], "escape"),
    ("rlike", [s("a"), s("(")], "invalid regular expression"),
    ("rlike", [s("a"), s("(?=a)")], "look-around"),
    ("+", [day("9999-12-31"), short("DAY", 24 * HOUR)], "years 1 to 9999"),
    ("-", [day("0001-01-01"), months(1)], "years 1 to 9999"),
]


@pytest.mark.parametrize(("name", "args", "message"), FAILURES)
def test_a_failing_row_fails(name: str, args: list[Arg], message: str) -> None:
    assert resolved(name, args).can_fail
    for evaluate in (as_constants, as_columns):
        with pytest.raises(RuntimeSqlError, match=message):
            evaluate(name, args)


def test_unknown_functions_and_overloads_say_what_there_is() -> None:
    with pytest.raises(UserError, match="did you mean REVERSE") as unknown:
        resolve("revers", [VARCHAR])
    assert unknown.value.code == "UnknownFunction"
    with pytest.raises(UserError, match=r"takes: SUBSTRING\(string, integer\)") as overload:
        resolve("substring", [VARCHAR])
    assert overload.value.code == "NoOverload"
    with pytest.raises(UserError, match="unary-"):
        resolve("unary-", [UINTEGER])


def test_result_nullability_follows_the_arguments() -> None:
    known = INTEGER.with_nullable(False)
    assert not resolve("+", [known, known]).result.nullable
    assert resolve("+", [known, INTEGER]).result.nullable
    assert not resolve("is_distinct", [INTEGER, INTEGER]).result.nullable
    assert resolve("DIV_NULL", [known, known]).result.nullable
    assert resolve("=", [known, known]).result == BOOLEAN.with_nullable(False)
