"""Fields, truncation, differences and construction of dates and times (sql-reference 2.10).

    EXTRACT(unit FROM x)      resolve("EXTRACT", [VARCHAR, x], [unit, None]) → BIGINT
    FLOOR(x TO unit)          resolve("FLOOR", [x, VARCHAR], [None, unit])   → type of x
    TIMESTAMPDIFF(unit, a, b) whole units from a to b                        → INTEGER

A unit is a literal argument. Everything is vectorised (`calendar`).
Not here: + and - with intervals (`intervals`), FORMAT_… and PARSE_….
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.types import (
    BIGINT,
    DATE,
    INTEGER,
    STRINGS,
    TIME,
    TIMESTAMP,
    VARCHAR,
    Kind,
    SqlType,
)
from penstock.functions import calendar
from penstock.functions.calendar import DAY_US
from penstock.functions.coercion import can_cast
from penstock.functions.definition import (
    Literals,
    Overload,
    Types,
    define,
    define_typed,
    fail_where,
)
from penstock.functions.interval_units import MICROSECONDS, MONTHS, canonical_unit
from penstock.functions.params import FLOAT8, INT

TIMESTAMPS = (Kind.TIMESTAMP, Kind.TIMESTAMP_TZ)
OUT_OF_CALENDAR = "result is outside the years 1 to 9999"
_INTERVALS = (Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG)


def unit_of(literal: Any) -> str | None:
    return canonical_unit(literal) if isinstance(literal, str) else None


def moment_type(t: SqlType) -> SqlType | None:
    """DATE, TIME, TIMESTAMP as they are, text as TIMESTAMP; None for anything else."""
    if t.kind in STRINGS or t.kind is Kind.NULL:
        return TIMESTAMP
    return t if t.kind in (Kind.DATE, Kind.TIME, *TIMESTAMPS) else None


def microseconds(column: Column) -> Array:
    """A DATE or TIMESTAMP as µs since 1970, a TIME as µs of the day."""
    if column.type.kind is Kind.DATE:
        return column.values.astype(np.int64) * DAY_US
    return column.values // 1000 if column.type.kind is Kind.TIME else column.values


def in_calendar(days: Array, args: Sequence[Column]) -> None:
    """Raise for the first row whose day is outside the years 1 to 9999."""
    outside = (days < calendar.FIRST_DAY) | (days > calendar.LAST_DAY)
    fail_where(outside, args, OUT_OF_CALENDAR)


# fields --------------------------------------------------------------------------------------


def _interval_field(unit: str, t: SqlType, values: Array) -> Array | None:
    if t.kind is Kind.INTERVAL_LONG:
        months = values.astype(np.int64)
        if unit == "MONTH":
            return np.fmod(months, 12)
        if unit == "QUARTER":
            return np.fmod(months, 12) // 3 + 1
        size = MONTHS.get(unit)
        return None if size is None else np.sign(months) * (np.abs(months) // size)
    if unit == "DAY":
        return np.asarray(np.sign(values) * (np.abs(values) // DAY_US))
    if unit == "EPOCH":
        return np.asarray(np.sign(values) * (np.abs(values) // 1_000_000))
    field = calendar.extract_time(unit, np.abs(values) % DAY_US * 1000)
    return None if field is None else np.sign(values) * field


def _field(unit: str, t: SqlType, values: Array) -> Array | None:
    """EXTRACT(unit) of physical values of type `t`; None where there is no such field."""
    if t.kind in _INTERVALS:
        return _interval_field(unit, t, values)
    if t.kind is Kind.TIME:
        return calendar.extract_time(unit, values)
    if t.kind is Kind.DATE:
        days, clock = values.astype(np.int64), np.zeros(len(values), np.int64)
    else:
        days, clock = values // DAY_US, values % DAY_US * 1000
    if unit == "EPOCH":
        return days * 86_400 + clock // 1_000_000_000
    field = calendar.extract_days(unit, days)
    return calendar.extract_time(unit, clock) if field is None else field


def _extract(unit: str | None, t: SqlType) -> tuple[SqlType, Callable[[Column], Column]] | None:
    wanted = t if t.kind in _INTERVALS else moment_type(t)
    if unit is None or wanted is None:
        return None
    if _field(unit, wanted, np.zeros(1, wanted.dtype)) is None:
        return None

    def kernel(column: Column) -> Column:
        values = _field(unit, wanted, column.values)
        assert values is not None
        return Column(BIGINT, values.astype(np.int64, copy=False))

    return wanted, kernel


@define_typed(["EXTRACT", "DATE_PART"], "{}(unit, datetime or interval)")
def extract(types: Types, literals: Literals) -> Overload | None:
    if len(types) != 2:
        return None
    found = _extract(unit_of(literals[0]), types[1])
    if found is None:
        return None
    wanted, kernel = found
    return Overload((VARCHAR, wanted), BIGINT, lambda args, n: kernel(args[1]))


def _declare_field(name: str, unit: str) -> None:
    @define_typed(name, "{}(datetime)")
    def resolver(types: Types, literals: Literals) -> Overload | None:
        found = _extract(unit, types[0]) if len(types) == 1 else None
        if found is None:
            return None
        wanted, kernel = found
        return Overload((wanted,), BIGINT, lambda args, n: kernel(args[0]))


for _name in ("YEAR", "QUARTER", "MONTH", "WEEK", "DOW", "DOY", "HOUR", "MINUTE", "SECOND"):
    _declare_field(_name, _name)
_declare_field("DAYOFMONTH", "DAY")
_declare_field("DAYOFYEAR", "DOY")
_declare_field("DAYOFWEEK", "DOW")


# truncation ----------------------------------------------------------------------------------


def _round_kernel(unit: str, t: SqlType, up: bool) -> Callable[[Array], Array] | None:
    if unit == "NANOSECOND" and t.kind is not Kind.TIME:
        return lambda v: v  # a TIME is to MICROSECOND at most (sql-reference 2.10.3)
    if unit not in MICROSECONDS and unit not in MONTHS:
        return None
    rounded = calendar.ceil_times if up else calendar.floor_times
    if t.kind is Kind.TIME:
        if calendar.is_calendar(unit):
            return None
        size = MICROSECONDS[unit] * 1000
        whole = 24 * 3600 * 1_000_000_000
        if up:
            return lambda v: -(-v // size) * size % whole
        return lambda v: v // size * size
    if t.kind is Kind.DATE:
        if not calendar.is_calendar(unit):
            return lambda v: v
        return lambda v: (rounded(unit, v.astype(np.int64) * DAY_US) // DAY_US).astype(np.int32)
    return lambda v: rounded(unit, v)


#: the units of ..._TRUNC (sql-reference 2.10.2 to 2.10.4)
_DAYS = frozenset(u for u in (*MONTHS, *MICROSECONDS) if calendar.is_calendar(u))
_SECONDS = frozenset({"HOUR", "MINUTE", "SECOND"})


def _truncation(t: SqlType) -> frozenset[str]:
    if t.kind is Kind.DATE:
        return _DAYS
    return _SECONDS if t.kind is Kind.TIME else _DAYS | _SECONDS


def _rounding(up: bool, only: tuple[Kind, ...] | None) -> Callable[..., Overload | None]:
    def resolver(types: Types, literals: Literals) -> Overload | None:
        unit = unit_of(literals[1]) if len(types) == 2 else None
        t = moment_type(types[0]) if unit is not None else None
        if unit is None or t is None:
            return None
        untyped = types[0].kind in STRINGS | {Kind.NULL}
        if only is not None and (untyped or t.kind not in only):
            if not untyped and not can_cast(t, SqlType(only[0]), explicit=False):
                return None
            t = SqlType(only[0])
        if only is not None and unit not in _truncation(t):
            return None
        compute = _round_kernel(unit, t, up)
        if compute is None:
            return None
        out = t
        # going down only decades leave the calendar: they begin with the year 0
        if t.kind is Kind.TIME or not (up or unit == "DECADE"):
            return Overload((t, VARCHAR), t, lambda args, n: Column(out, compute(args[0].values)))

        def kernel(args: Sequence[Column], n: int) -> Column:
            rounded = Column(out, compute(args[0].values))
            days = microseconds(rounded) // DAY_US
            in_calendar(days, args)
            return rounded

        return Overload((t, VARCHAR), t, kernel, can_fail=True)

    return resolver


define_typed(["CEIL", "CEILING"], "{}(datetime TO unit)")(_rounding(True, None))
define_typed("FLOOR", "{}(datetime TO unit)")(_rounding(False, None))
define_typed("DATE_TRUNC", "{}(date, unit from MILLENNIUM to DAY)")(
    _rounding(False, (Kind.DATE, *TIMESTAMPS))
)
define_typed("TIMESTAMP_TRUNC", "{}(timestamp, unit from MILLENNIUM to SECOND)")(
    _rounding(False, TIMESTAMPS)
)
define_typed("TIME_TRUNC", "{}(time, unit from HOUR to SECOND)")(_rounding(False, (Kind.TIME,)))


# differences ---------------------------------------------------------------------------------


def whole_units(unit: str, a: Column, b: Column) -> Array:
    """int64: whole units of time from `a` to `b`, toward zero."""
    if unit == "NANOSECOND":
        if a.type.kind is Kind.TIME:
            return np.asarray(b.values - a.values)
        # what is too far for INTEGER stays too far, and does not wrap
        return np.asarray(np.clip(microseconds(b) - microseconds(a), -(2**31), 2**31) * 1000)
    if unit in MONTHS:
        months = calendar.months_between(microseconds(a), microseconds(b))
        return np.asarray(np.sign(months) * (np.abs(months) // MONTHS[unit]))
    size = MICROSECONDS[unit]
    if a.type.kind is Kind.TIME:
        span, size = b.values - a.values, size * 1000
    else:
        span = microseconds(b) - microseconds(a)
    return np.asarray(np.sign(span) * (np.abs(span) // size))


@define_typed(["TIMESTAMPDIFF", "DATEDIFF"], "{}(unit, datetime, datetime)")
def timestampdiff(types: Types, literals: Literals) -> Overload | None:
    unit = unit_of(literals[0]) if len(types) == 3 else None
    if unit is None or not (unit in MICROSECONDS or unit in MONTHS or unit == "NANOSECOND"):
        return None
    a, b = moment_type(types[1]), moment_type(types[2])
    if a is None or b is None or (a.kind is Kind.TIME) != (b.kind is Kind.TIME):
        return None
    if a.kind is Kind.TIME and unit in MONTHS:
        return None

    def kernel(args: Sequence[Column], n: int) -> Column:
        count = whole_units(unit, args[1], args[2])
        out = count.astype(np.int32)
        fail_where(out != count, args, f"TIMESTAMPDIFF in {unit} does not fit INTEGER")
        return Column(INTEGER, out)

    return Overload((VARCHAR, a, b), INTEGER, kernel, can_fail=True)


@define_typed("$MONTHS_AWAY", "{}(timestamp, n)")
def months_away(types: Types, literals: Literals) -> Overload | None:
    """(moment, n) → the nearest moment from which, or (n > 0) to which, it is n whole months."""
    count = int(literals[1])

    def kernel(args: Sequence[Column], n: int) -> Column:
        return Column(TIMESTAMP, calendar.nearest_months(args[0].values, count))

    return Overload((TIMESTAMP, types[1]), TIMESTAMP, kernel)


# construction --------------------------------------------------------------------------------


def _days(year: Array, month: Array, day: Array) -> tuple[Array, Array]:
    """(days since 1970, whether there is such a day)."""
    y, m, d = (v.astype(np.int64) for v in (year, month, day))
    ok = (y >= 1) & (y <= 9999) & (m >= 1) & (m <= 12) & (d >= 1)
    months = np.where(ok, (y - 1970) * 12 + m - 1, 0)
    start = calendar.month_start(months)
    ok = ok & (d <= calendar.month_start(months + 1) - start)
    return np.where(ok, start + d - 1, 0), ok


def _clock(hour: Array, minute: Array, second: Array) -> tuple[Array, Array]:
    """(nanoseconds of the day, whether there is such a time)."""
    ok = (hour >= 0) & (hour < 24) & (minute >= 0) & (minute < 60)
    ok = ok & (second >= 0) & (second < 60)
    whole = np.trunc(np.where(ok, hour, 0)) * 3600 + np.trunc(np.where(ok, minute, 0)) * 60
    nanoseconds = np.rint(np.where(ok, second, 0) * 1e9).astype(np.int64)
    fraction = np.minimum(nanoseconds, 59_999_999_999)  # what is finer than that is cut off
    return whole.astype(np.int64) * 1_000_000_000 + fraction, ok


@define("MAKE_DATE", [INT, INT, INT], DATE, nullable=True)
def make_date(year: Column, month: Column, day: Column, n: int) -> Column:
    days, ok = _days(year.values, month.values, day.values)
    return Column(DATE, days.astype(np.int32), ok.astype(np.uint8))


@define("MAKE_TIME", [FLOAT8, FLOAT8, FLOAT8], TIME, nullable=True)
def make_time(hour: Column, minute: Column, second: Column, n: int) -> Column:
    clock, ok = _clock(hour.values, minute.values, second.values)
    return Column(TIME, clock, ok.astype(np.uint8))


@define("MAKE_TIMESTAMP", [INT, INT, INT, INT, INT, FLOAT8], TIMESTAMP, nullable=True)
def make_timestamp(
    year: Column, month: Column, day: Column, hour: Column, minute: Column, second: Column, n: int
) -> Column:
    days, ok = _days(year.values, month.values, day.values)
    clock, fine = _clock(hour.values, minute.values, second.values)
    return Column(TIMESTAMP, days * DAY_US + clock // 1000, (ok & fine).astype(np.uint8))
