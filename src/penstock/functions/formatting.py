"""FORMAT_DATE, FORMAT_TIME, FORMAT_TIMESTAMP (sql-reference 2.10.8): the format comes first.

    FORMAT_TIMESTAMP('%Y-%m %H', TIMESTAMP '2020-10-10 10:00:00') → '2020-10 10'

A format becomes a list of pieces, each piece a column (a number printed by a kernel, a name taken
from a table), and Arrow joins them. Rows are grouped by their format, which is nearly always one.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from penstock.data.batch import Array, Column
from penstock.data.types import DATE, TIME, TIMESTAMP, VARCHAR, SqlType
from penstock.errors import RuntimeSqlError
from penstock.functions import calendar, text, text_print
from penstock.functions.calendar import DAY_US
from penstock.functions.definition import Param, define
from penstock.functions.distinct import in_groups
from penstock.functions.format_items import (
    FRACTIONS,
    MONTHS,
    NUMBERS,
    WEEKDAYS,
    Item,
    Spec,
    Text,
    bad_format,
    items,
    needs,
)
from penstock.functions.params import CLOCK, DAY, MOMENT, STRING

_NANO = 1_000_000_000
#: what a value of the type has
_HAS = {DATE: ("", "date"), TIME: ("", "time"), TIMESTAMP: ("", "date", "time", "both")}
_NAMES = {
    "b": [m[:3] for m in MONTHS], "h": [m[:3] for m in MONTHS], "B": list(MONTHS),
    "a": [d[:3] for d in WEEKDAYS], "A": list(WEEKDAYS), "p": ["AM", "PM"], "P": ["am", "pm"],
}  # fmt: skip


def _number(name: str, days: Array, clock: Array) -> Array:
    """The field that the specifier `name` prints."""
    year_day = calendar.extract_days("DOY", days)
    weekday = calendar.extract_days("ISODOW", days)
    iso_year = calendar.extract_days("ISOYEAR", days)
    hour = clock // (3600 * _NANO)
    assert year_day is not None and weekday is not None and iso_year is not None
    match name:
        case "w":
            return np.asarray(weekday % 7)
        case "u":
            return weekday
        case "U":
            return np.asarray((year_day + 6 - weekday % 7) // 7)
        case "W":
            return np.asarray((year_day + 6 - (weekday - 1)) // 7)
        case "G":
            return iso_year
        case "g":
            return np.asarray(iso_year % 100)
        case "I" | "l":
            return np.asarray((hour + 11) % 12 + 1)
        case "f":
            return np.asarray(clock % _NANO)
        case "s":
            return np.asarray(days * 86_400 + clock // _NANO)
        case "C" | "y":
            year = calendar.years_of(days)
            return np.asarray(year // 100 if name == "C" else year % 100)
    unit = {"Y": "YEAR", "m": "MONTH", "d": "DAY", "e": "DAY", "V": "WEEK", "j": "DOY"}.get(name)
    found = calendar.extract_days(unit, days) if unit else None
    if found is None:
        units = {"H": "HOUR", "k": "HOUR", "M": "MINUTE", "S": "SECOND"}
        found = calendar.extract_time(units[name], clock)
    assert found is not None
    return np.asarray(found)


def _fraction(name: str, clock: Array) -> pa.Array:
    """`%.3f`, `%3f` and their like; `%.f` has as many digits as it needs, in threes."""
    nanos, digits = clock % _NANO, FRACTIONS[name]
    if not digits:
        return pc.case_when(
            pc.make_struct(pa.array(nanos == 0), pa.array(nanos % 1_000_000 == 0),
                           pa.array(nanos % 1_000 == 0)),
            pa.scalar(""), *(_fraction(f".{d}f", clock) for d in (3, 6, 9)),
        )  # fmt: skip
    shown = text.to_arrow(text_print.padded(nanos // 10 ** (9 - digits), digits, "0"))
    return pc.binary_join_element_wise(".", shown, "") if name[0] == "." else shown


def _piece(item: Item, days: Array, clock: Array) -> pa.Array | pa.Scalar:
    if isinstance(item, Text):
        return pa.scalar(item.text)
    if item.name in FRACTIONS:
        return _fraction(item.name, clock)
    if item.name in _NAMES:
        if item.name in "pP":
            index = clock // (12 * 3600 * _NANO)
        elif item.name in "aA":
            index = (days + 3) % 7
        else:
            index = calendar.months_of(days) % 12
        return pa.array(_NAMES[item.name]).take(pa.array(index))
    return text.to_arrow(
        text_print.padded(
            _number(item.name, days, clock), NUMBERS[item.name][0] if item.pad else 0, item.pad
        )
    )


def _check(format: str, type: SqlType) -> tuple[Item, ...]:
    found = items(format)
    for item in found:
        if needs(item) not in _HAS[type]:
            assert isinstance(item, Spec)
            raise bad_format(format, f"a {type} has no %{item.name}")
    return found


def _formatted(type: SqlType, format: Column, at: Column) -> Column:
    n = max(len(format), len(at))
    values = np.broadcast_to(at.values, n).astype(np.int64)
    if type is DATE:
        days, clock = values, np.zeros(n, np.int64)
    elif type is TIME:
        days, clock = np.zeros(n, np.int64), values
    else:
        days, clock = values // DAY_US, values % DAY_US * 1000
    known = np.ones(n, np.bool_) if at.valid is None else np.broadcast_to(at.valid == 1, n)

    def compute(given: tuple[str | None, ...], rows: Array) -> pa.Array:
        if given[0] is None or not known[rows].any():
            return pa.nulls(len(rows), pa.utf8())
        try:
            pieces = [_piece(i, days[rows], clock[rows]) for i in _check(given[0], type)]
        except ValueError as e:
            raise RuntimeSqlError(str(e), row=int(rows[np.argmax(known[rows])])) from None
        # a whole column among the pieces, so that the answer has as many rows
        return pc.binary_join_element_wise(pa.repeat("", len(rows)), *pieces, "")

    return text.from_arrow(in_groups(compute, (format,), n))


def _declare(name: str, param: Param, type: SqlType) -> None:
    @define(name, [STRING, param], VARCHAR, can_fail=True)
    def kernel(format: Column, at: Column, n: int) -> Column:
        return _formatted(type, format, at)


_declare("FORMAT_DATE", DAY, DATE)
_declare("FORMAT_TIME", CLOCK, TIME)
_declare("FORMAT_TIMESTAMP", MOMENT, TIMESTAMP)
