"""Calendar arithmetic over arrays: days and months since 1970-01-01, proleptic Gregorian.

    days      int64, 0 = 1970-01-01 (a Thursday)
    months    int64, 0 = January 1970
    times     int64 microseconds; a day has 86 400 000 000

Truncation to CENTURY and MILLENNIUM starts at year ..01, so that it agrees with EXTRACT; WEEK
starts on Monday (ISO 8601).
"""

from __future__ import annotations

import numpy as np

from penstock.data.batch import Array
from penstock.functions.interval_units import MICROSECONDS, MONTHS

DAY_US = MICROSECONDS["DAY"]
#: 0001-01-01 and 9999-12-31
FIRST_DAY, LAST_DAY = -719_162, 2_932_896
_YEAR_ZERO = 1970 * 12


def months_of(days: Array) -> Array:
    return days.astype("M8[D]").astype("M8[M]").astype(np.int64)


def month_start(months: Array) -> Array:
    """Day on which the month begins."""
    return months.astype("M8[M]").astype("M8[D]").astype(np.int64)


def add_months(days: Array, count: Array) -> Array:
    """The same day `count` months on, or that month's last day."""
    months = months_of(days)
    day = days - month_start(months)
    target = months + count
    start = month_start(target)
    return np.asarray(start + np.minimum(day, month_start(target + 1) - start - 1))


def years_of(days: Array) -> Array:
    return months_of(days) // 12 + 1970


def _day_of_year(days: Array) -> Array:
    return days - month_start(months_of(days) // 12 * 12) + 1


def _iso_week(days: Array) -> Array:
    thursday = days - (days + 3) % 7 + 3
    return (_day_of_year(thursday) - 1) // 7 + 1


def extract_days(unit: str, days: Array) -> Array | None:
    """The calendar field `unit` of a day; None if it is not one."""
    match unit:
        case "YEAR":
            return years_of(days)
        case "QUARTER":
            return months_of(days) % 12 // 3 + 1
        case "MONTH":
            return months_of(days) % 12 + 1
        case "DAY" | "DAYOFMONTH":
            return days - month_start(months_of(days)) + 1
        case "DECADE":
            return years_of(days) // 10
        case "CENTURY":
            return (years_of(days) + 99) // 100
        case "MILLENNIUM":
            return (years_of(days) + 999) // 1000
        case "DOY":
            return _day_of_year(days)
        case "DOW":
            return (days + 4) % 7 + 1
        case "ISODOW":
            return (days + 3) % 7 + 1
        case "WEEK":
            return _iso_week(days)
        case "ISOYEAR":
            return years_of(days - (days + 3) % 7 + 3)
    return None


def extract_time(unit: str, nanoseconds: Array) -> Array | None:
    """The clock field `unit` of nanoseconds of the day; None if it is not one."""
    match unit:
        case "HOUR":
            return nanoseconds // 3_600_000_000_000
        case "MINUTE":
            return nanoseconds // 60_000_000_000 % 60
        case "SECOND":
            return nanoseconds // 1_000_000_000 % 60
        case "MILLISECOND":
            return nanoseconds % 60_000_000_000 // 1_000_000
        case "MICROSECOND":
            return nanoseconds % 60_000_000_000 // 1_000
        case "NANOSECOND":
            return nanoseconds % 60_000_000_000
        case "EPOCH":
            return nanoseconds // 1_000_000_000
    return None


def _origin(unit: str) -> int:
    """Months since year 0 at which periods of `unit` are aligned."""
    return 12 if unit in ("CENTURY", "MILLENNIUM") else 0


def floor_days(unit: str, days: Array) -> Array:
    """First day of the period of `unit` (DAY or longer) that contains each day."""
    if unit == "DAY":
        return days
    if unit == "WEEK":
        return np.asarray(days - (days + 3) % 7)
    size, origin = MONTHS[unit], _origin(unit)
    counted = months_of(days) + _YEAR_ZERO - origin
    return month_start(counted // size * size + origin - _YEAR_ZERO)


def next_period(unit: str, start: Array) -> Array:
    """First day of the period after the one that begins at `start`."""
    if unit in ("DAY", "WEEK"):
        return start + (1 if unit == "DAY" else 7)
    return month_start(months_of(start) + MONTHS[unit])


def is_calendar(unit: str) -> bool:
    """Periods of whole days, not all of one length or not aligned to the epoch."""
    return unit in MONTHS or unit in ("WEEK", "DAY")


def floor_times(unit: str, us: Array) -> Array:
    if is_calendar(unit):
        return floor_days(unit, us // DAY_US) * DAY_US
    size = MICROSECONDS[unit]
    return us // size * size


def ceil_times(unit: str, us: Array) -> Array:
    start = floor_times(unit, us)
    if is_calendar(unit):
        after = next_period(unit, start // DAY_US) * DAY_US
    else:
        after = start + MICROSECONDS[unit]
    return np.where(start == us, us, after)


def months_between(a: Array, b: Array) -> Array:
    """Whole months from time `a` to time `b` (µs), toward zero."""
    day_a, day_b = a // DAY_US, b // DAY_US
    months = months_of(day_b) - months_of(day_a)
    rest_a = a - month_start(months_of(day_a)) * DAY_US
    rest_b = b - month_start(months_of(day_b)) * DAY_US
    months = months - ((months > 0) & (rest_b < rest_a))
    return np.asarray(months + ((months < 0) & (rest_b > rest_a)))


def nearest_months(a: Array, count: int) -> Array:
    """The time nearest to `a` that is `count` (not 0) whole months before or after it, as
    `months_between` counts: where a month is too short for that, it is its last microsecond before
    `a`, and the first one of the next month after it."""
    month = months_of(a // DAY_US)
    rest = a - month_start(month) * DAY_US
    start, end = (month_start(month + count + i) * DAY_US for i in (0, 1))
    return np.asarray(np.minimum(start + rest, end if count > 0 else end - 1))
