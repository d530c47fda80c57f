"""Arithmetic with intervals (sql-reference 2.10.6).

    date ± interval       DATE; a short interval is floored to whole days first
    timestamp ± interval  TIMESTAMP; months keep the day or take the month's last
    time ± interval       TIME, modulo 24 hours; a long interval changes nothing
    (a - b) unit          resolve("-", [a, b, VARCHAR], [None, None, unit]) → INTERVAL unit
    interval ± interval, interval * number, interval / number

A result outside the years 1 to 9999 fails, for it could not be written down.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.types import (
    BIGINT,
    DOUBLE,
    NUMBERS,
    TIMESTAMP,
    VARCHAR,
    Kind,
    SqlType,
)
from penstock.functions import calendar
from penstock.functions.calendar import DAY_US
from penstock.functions.coercion import common_type
from penstock.functions.dates import (
    OUT_OF_CALENDAR,
    in_calendar,
    microseconds,
    moment_type,
    unit_of,
    whole_units,
)
from penstock.functions.definition import (
    Function,
    Kernel,
    Literals,
    Overload,
    Types,
    define_typed,
    fail_where,
)
from penstock.functions.interval_units import MICROSECONDS, MONTHS
from penstock.functions.params import INT

_INTERVALS = (Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG)
_TIME_NS = 86_400_000_000_000


def _add_months(us: Array, months: Array, args: Sequence[Column]) -> Array:
    # a century of centuries either way is out of range whatever the date is
    count = np.clip(months.astype(np.int64), -240_000, 240_000)
    days = us // DAY_US
    moved = calendar.add_months(days, count)
    in_calendar(moved, args)
    return np.asarray(moved * DAY_US + (us - days * DAY_US))


def _add_short(us: Array, span: Array, args: Sequence[Column]) -> Array:
    out = us + span
    fail_where(((us ^ out) & (span ^ out)) < 0, args, OUT_OF_CALENDAR)
    in_calendar(out // DAY_US, args)
    return out


def shift_kernel(moment: SqlType, interval: SqlType, sign: int, swapped: bool = False) -> Kernel:
    """moment ± interval, the arguments in that order unless `swapped`."""
    long = interval.kind is Kind.INTERVAL_LONG

    def kernel(args: Sequence[Column], n: int) -> Column:
        at, by = reversed(args) if swapped else args
        span = by.values.astype(np.int64)
        if moment.kind is Kind.TIME:
            if long:
                return Column(moment, np.broadcast_to(at.values, max(len(at), len(by))))
            moved = (at.values + sign * np.fmod(span, DAY_US) * 1000) % _TIME_NS
            return Column(moment, moved)
        us = microseconds(at)
        if long:
            out = _add_months(us, sign * span, args)
        else:
            if moment.kind is Kind.DATE:
                span = span // DAY_US * DAY_US
            out = _add_short(us, sign * span, args)
        if moment.kind is Kind.DATE:
            out = (out // DAY_US).astype(np.int32)
        return Column(moment, out)

    return kernel


def _shift(op: str) -> Callable[[Types, Literals], Overload | None]:
    sign = 1 if op == "+" else -1

    def resolver(types: Types, literals: Literals) -> Overload | None:
        if len(types) != 2:
            return None
        a, b = types
        if b.kind in _INTERVALS and a.kind not in _INTERVALS:
            moment = moment_type(a)
            if moment is None:
                return None
            return Overload((moment, b), moment, shift_kernel(moment, b, sign), can_fail=True)
        if op == "+" and a.kind in _INTERVALS and b.kind not in _INTERVALS:
            moment = moment_type(b)
            if moment is None:
                return None
            kernel = shift_kernel(moment, a, sign, swapped=True)
            return Overload((a, moment), moment, kernel, can_fail=True)
        return None

    return resolver


def later(moment: SqlType, interval: SqlType) -> Function:
    """TIMESTAMP + interval of time, also beyond the calendar's end: for the planner's own use."""

    def kernel(args: Sequence[Column], n: int) -> Column:
        return Column(moment, args[0].values + args[1].values)

    return Function("+", (moment, interval), moment, kernel)


define_typed("+", "datetime + interval")(_shift("+"))
define_typed("-", "datetime - interval")(_shift("-"))
define_typed("DATE_ADD", "DATE_ADD(date, interval)")(_shift("+"))
define_typed("DATE_SUB", "DATE_SUB(date, interval)")(_shift("-"))


def _combine(op: str) -> Callable[[Types, Literals], Overload | None]:
    ufunc = np.add if op == "+" else np.subtract

    def resolver(types: Types, literals: Literals) -> Overload | None:
        if len(types) != 2 or any(t.kind not in (*_INTERVALS, Kind.NULL) for t in types):
            return None
        common = common_type(types)
        if common is None or common.kind not in _INTERVALS:
            return None

        def kernel(args: Sequence[Column], n: int) -> Column:
            a, b = args[0].values, args[1].values
            out = ufunc(a, b)
            other = b if op == "+" else ~b
            fail_where(((a ^ out) & (other ^ out)) < 0, args, "interval overflows")
            return Column(common, out)

        return Overload((common, common), common, kernel, can_fail=True)

    return resolver


define_typed("+", "interval + interval")(_combine("+"))
define_typed("-", "interval - interval")(_combine("-"))


@define_typed("-", "(datetime - datetime) unit")
def difference(types: Types, literals: Literals) -> Overload | None:
    """Short: the exact distance; long: whole months."""
    if len(types) != 3 or not isinstance(literals[2], str):
        return None
    qualifier = "_".join(unit_of(u) or "" for u in literals[2].replace("_TO_", " ").replace(
        " TO ", " ").replace("_", " ").split())  # fmt: skip
    last = qualifier.split("_")[-1]
    a, b = moment_type(types[0]), moment_type(types[1])
    if a is None or b is None or (a.kind is Kind.TIME) != (b.kind is Kind.TIME):
        return None
    if last in ("MONTH", "YEAR", "QUARTER") and a.kind is not Kind.TIME:
        out = SqlType(Kind.INTERVAL_LONG, unit=qualifier)
        size = MONTHS[last]

        def months(args: Sequence[Column], n: int) -> Column:
            return Column(out, (whole_units(last, args[1], args[0]) * size).astype(np.int32))

        return Overload((a, b, VARCHAR), out, months)
    if last not in MICROSECONDS:
        return None
    short = SqlType(Kind.INTERVAL_SHORT, unit=qualifier)

    def distance(args: Sequence[Column], n: int) -> Column:
        return Column(short, whole_units("MICROSECOND", args[1], args[0]))

    return Overload((a, b, VARCHAR), short, distance)


def _scale_kernel(op: str, t: SqlType, swapped: bool) -> Kernel:
    info = np.iinfo(t.dtype)

    def kernel(args: Sequence[Column], n: int) -> Column:
        span, number = reversed(args) if swapped else args
        if op == "/":
            fail_where(number.values == 0, args, "interval division by zero")
            exact = span.values / np.where(number.values == 0, 1, number.values)
        else:
            exact = span.values * number.values
        whole = np.trunc(exact)
        bad = ~((whole >= float(info.min)) & (whole < -float(info.min)))
        fail_where(bad, args, "interval overflows")
        return Column(t, np.where(bad, 0, whole).astype(t.dtype))

    return kernel


def _scaling(op: str) -> Callable[[Types, Literals], Overload | None]:
    def resolver(types: Types, literals: Literals) -> Overload | None:
        if len(types) != 2:
            return None
        a, b = types
        if a.kind in _INTERVALS and b.kind in NUMBERS:
            return Overload((a, DOUBLE), a, _scale_kernel(op, a, swapped=False), can_fail=True)
        if op == "*" and b.kind in _INTERVALS and a.kind in NUMBERS:
            return Overload((DOUBLE, b), b, _scale_kernel(op, b, swapped=True), can_fail=True)
        return None

    return resolver


define_typed("*", "interval * number")(_scaling("*"))
define_typed("/", "interval / number")(_scaling("/"))


@define_typed("TIMESTAMPADD", "TIMESTAMPADD(unit, integer, datetime)")
def timestampadd(types: Types, literals: Literals) -> Overload | None:
    """A DATE stays one for units of a day or more, and becomes a TIMESTAMP for shorter ones."""
    unit = unit_of(literals[0]) if len(types) == 3 else None
    moment = moment_type(types[2]) if unit is not None else None
    if unit is None or moment is None or INT.accept(types[1]) is None:
        return None
    if unit not in MICROSECONDS and unit not in MONTHS:
        return None
    long = unit in MONTHS
    if moment.kind is Kind.TIME and (long or unit in ("DAY", "WEEK")):
        return None
    if moment.kind is Kind.DATE and not calendar.is_calendar(unit):
        moment = TIMESTAMP
    size = MONTHS[unit] if long else MICROSECONDS[unit]
    interval = SqlType(Kind.INTERVAL_LONG if long else Kind.INTERVAL_SHORT, unit=unit)
    shift = shift_kernel(moment, replace(interval), 1)

    def kernel(args: Sequence[Column], n: int) -> Column:
        _unit, count, at = args
        limit = np.iinfo(np.int64).max // size
        # not np.abs: the least BIGINT has none
        far = (count.values > limit) | (count.values < -limit)
        fail_where(far, args, OUT_OF_CALENDAR)
        span = Column(interval, count.values * size, count.valid)
        return shift((at, span), n)

    return Overload((VARCHAR, BIGINT, moment), moment, kernel, can_fail=True)
