"""PARSE_DATE, PARSE_TIME, PARSE_TIMESTAMP (sql-reference 2.10.8): the format comes first.

    PARSE_DATE(' %Y-%m-%d', '   2020-10-01') → 2020-10-01      PARSE_TIME('%H:%M', 'x') → NULL

    text ─ kernel, one instruction an item ─► fields of each row ─ numpy ─► days, nanoseconds

A text that does not match, or says something impossible, is NULL. A format that cannot give a
whole value (hours of a 12-hour clock without AM or PM) is an error for the first text that
matches it. Numbers may have blanks before them and fewer digits than they could.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.kernel import kernel
from penstock.data.types import DATE, TIME, TIMESTAMP, SqlType
from penstock.errors import RuntimeSqlError
from penstock.functions import calendar, text_kernels
from penstock.functions.calendar import DAY_US
from penstock.functions.definition import define
from penstock.functions.distinct import groups
from penstock.functions.format_items import (
    FRACTIONS,
    MONTHS,
    NUMBERS,
    WEEKDAYS,
    Item,
    Text,
    bad_format,
    items,
)
from penstock.functions.params import STRING

LITERAL, BLANKS, NUMBER, NAME, POINT, DIGITS = range(6)
#: fields of a row, in columns; several specifiers may give the same one
FIELDS = ("Y", "C", "y", "m", "d", "j", "U", "W", "G", "g", "V", "u", "w", "H", "I", "p", "M", "S",
          "f", "s")  # fmt: skip
_SAME_FIELD = {"e": "d", "k": "H", "l": "I", "b": "m", "h": "m", "B": "m", "a": "u", "A": "u",
               "P": "p"}  # fmt: skip
_LIMITS = {
    "m": (1, 12), "d": (1, 31), "j": (1, 366), "U": (0, 53), "W": (0, 53), "V": (1, 53),
    "w": (0, 6), "u": (1, 7), "H": (0, 23), "I": (1, 12), "M": (0, 59), "S": (0, 59),
}  # fmt: skip
_NO_LIMIT = (-(10**18), 10**18)
_WORDS = [w.lower() for w in (*MONTHS, *WEEKDAYS, "am", "pm")]
_WORD_BYTES = np.frombuffer("".join(_WORDS).encode(), np.uint8).copy()
_WORD_ENDS = np.cumsum([0, *map(len, _WORDS)]).astype(np.int64)
#: specifier → (first word, words, value of the first)
_NAMES = {**dict.fromkeys("bhB", (0, 12, 1)), **dict.fromkeys("aA", (12, 7, 1)),
          **dict.fromkeys("pP", (19, 2, 0))}  # fmt: skip


@kernel(
    "void(uint8[::1], int64[::1], int64[:, ::1], uint8[::1], int64[::1], int64[:, ::1], uint8[::1])"
)
def _match(
    data: Any, offsets: Any, program: Any, words: Any, word_ends: Any, fields: Any, ok: Any
) -> None:
    """Runs `program`, rows of (op, a, b, c, d, field), over each text.

    LITERAL a: the byte a.  BLANKS: any run of them.  NUMBER a: up to a digits, b: a sign may
    stand before them, c … d: the limits.  NAME a: one of b words from a on, the first of value c,
    by its first three letters or (d) all of them.  POINT: a fraction, if there is one.
    DIGITS a: a digits of a fraction. Fractions are nanoseconds.
    """
    seen = np.empty(fields.shape[1], np.uint8)
    ss = np.int64(offsets.shape[0] > 2)
    for i in range(ok.shape[0]):
        at, end = offsets[i * ss], offsets[i * ss + 1]
        good: Any = True
        seen[:] = 0
        for k in range(program.shape[0]):
            op, a, b, c, d, field = (
                program[k, 0], program[k, 1], program[k, 2], program[k, 3], program[k, 4],
                program[k, 5],
            )  # fmt: skip
            value: Any = 0
            found: Any = True
            if op == 0:
                good = at < end and np.int64(data[at]) == a
                at += 1
                found = False
            elif op == 1 or op == 2:
                while at < end and (data[at] == 32 or (data[at] >= 9 and data[at] <= 13)):
                    at += 1
                found = op == 2
                if op == 2:
                    negative = False
                    if b != 0 and at < end and (data[at] == 45 or data[at] == 43):
                        negative = data[at] == 45
                        at += 1
                        a = 18
                    n = np.int64(0)
                    while at < end and n < a and data[at] >= 48 and data[at] <= 57:
                        value = value * 10 + np.int64(data[at]) - 48
                        at += 1
                        n += 1
                    value = -value if negative else value
                    good = n > 0 and value >= c and value <= d
            elif op == 3:
                good = False
                for w in range(a, a + b):
                    size = word_ends[w + 1] - word_ends[w]
                    n = np.int64(0)
                    while (
                        n < size and at + n < end and (data[at + n] | 32) == words[word_ends[w] + n]
                    ):
                        n += 1
                    short = min(size, 3)
                    if n >= short:
                        good = True
                        value = c + w - a
                        at += n if n == size and d != 0 else short
                        break
            else:
                n = np.int64(0)
                if op == 4:
                    found = at < end and data[at] == 46
                    if found:
                        at += 1
                if found:
                    most = 9 if op == 4 else a
                    while at < end and n < most and data[at] >= 48 and data[at] <= 57:
                        value = value * 10 + np.int64(data[at]) - 48
                        at += 1
                        n += 1
                    good = n > 0 and (op == 4 or n == a)
                    while op == 4 and at < end and data[at] >= 48 and data[at] <= 57:
                        at += 1
                    for _j in range(9 - n):
                        value *= 10
            if not good:
                break
            if found:
                if seen[field] != 0 and fields[i, field] != value:
                    good = False
                    break
                seen[field] = 1
                fields[i, field] = value
        ok[i] = np.uint8(good and at == end)


def _instructions(item: Item) -> list[tuple[int, ...]]:
    if isinstance(item, Text):
        out: list[tuple[int, ...]] = []
        for byte in item.text.encode():
            # not isspace: the bytes of à and Å have one that Latin-1 takes for a blank
            blank = byte in b" \t\n\v\f\r"
            out.append((BLANKS, 0, 0, 0, 0, 0) if blank else (LITERAL, byte, 0, 0, 0, 0))
        return out
    name = item.name
    field = FIELDS.index("f" if name in FRACTIONS else _SAME_FIELD.get(name, name))
    if name in FRACTIONS:
        op = POINT if name[0] == "." else DIGITS
        return [(op, FRACTIONS[name], 0, 0, 0, field)]
    if name in _NAMES:
        first, count, value = _NAMES[name]
        whole = name in "BApP"
        return [(NAME, first, count, value, int(whole), field)]
    digits = 18 if name == "s" else NUMBERS[name][0]
    low, high = _LIMITS.get(
        _SAME_FIELD.get(name, name) if name != "w" else "w", (-(10**18), 10**18)
    )
    return [(NUMBER, digits, int(name in "YGs"), low, high, field)]


@lru_cache(maxsize=1024)
def _compiled(format: str) -> tuple[Array, frozenset[str]]:
    """(program, the fields it fills)."""
    rows = [row for item in items(format) for row in _instructions(item)]
    program = np.array(rows, np.int64).reshape(-1, 6)
    filled = {FIELDS[row[5]] for row in rows if row[0] > BLANKS}
    return program, frozenset(filled)


class _Fields:
    """The fields of the rows of one format. `u` counts weekdays from Monday, 1; `w`, which counts
    from Sunday, 0, is turned into it."""

    def __init__(self, table: Array, filled: frozenset[str]) -> None:
        self._table, self.filled = table, filled
        if "w" in filled and "u" not in filled:
            self.filled = filled | {"u"}
            sunday = self["w"] == 0
            table[:, FIELDS.index("u")] = np.where(sunday, 7, self["w"])

    def __getitem__(self, name: str) -> Array:
        return np.asarray(self._table[:, FIELDS.index(name)])

    def __contains__(self, name: str) -> bool:
        return name in self.filled


def _year(f: _Fields, whole: str, part: str) -> Array | None:
    """The year from Y, or from its parts; without a century 70 … 99 are 1970 … 1999."""
    if whole in f:
        return f[whole]
    if part not in f:
        return None
    if part == "y" and "C" in f:
        return f["C"] * 100 + f["y"]
    return f[part] + np.where(f[part] < 70, 2000, 1900)


def _day_from(f: _Fields) -> tuple[Array, Array] | None:
    """(days since 1970, whether there is such a day); None if the fields do not say which."""
    year, iso_year = _year(f, "Y", "y"), _year(f, "G", "g")
    if year is not None:
        start = calendar.month_start((np.clip(year, 1, 9999) - 1970) * 12)
        ok = (year >= 1) & (year <= 9999)
        if "m" in f and "d" in f:
            months = (np.clip(year, 1, 9999) - 1970) * 12 + f["m"] - 1
            days = calendar.month_start(months) + f["d"] - 1
            return days, ok & (calendar.months_of(days) == months)
        if "j" in f:
            days = start + f["j"] - 1
            return days, ok & (calendar.years_of(days) == year)
        for week, first in (("U", 7), ("W", 1)):
            if week in f and "u" in f:
                # week 1 begins on the year's first Sunday or Monday
                begin = start + (first - ((start + 3) % 7 + 1)) % 7
                days = begin + (f[week] - 1) * 7 + (f["u"] - first) % 7
                return days, ok & (calendar.years_of(days) == year)
    if iso_year is not None and "V" in f and "u" in f:
        fourth = calendar.month_start((np.clip(iso_year, 1, 9999) - 1970) * 12) + 3
        days = fourth - (fourth + 3) % 7 + (f["V"] - 1) * 7 + f["u"] - 1
        found = calendar.extract_days("ISOYEAR", days)
        return days, (iso_year >= 1) & (iso_year <= 9999) & (found == iso_year)
    return None


def _agrees(f: _Fields, days: Array) -> Array:
    """Whether every other field of the date says the same day."""
    ok = np.ones(len(days), np.bool_)
    units = {"Y": "YEAR", "m": "MONTH", "d": "DAY", "j": "DOY", "G": "ISOYEAR", "V": "WEEK",
             "u": "ISODOW"}  # fmt: skip
    for name, unit in units.items():
        if name in f:
            ok &= calendar.extract_days(unit, days) == f[name]
    years = calendar.years_of(days)
    if "w" in f:
        ok &= (days + 4) % 7 == f["w"]
    if "C" in f:
        ok &= years // 100 == f["C"]
    if "y" in f:
        ok &= years % 100 == f["y"]
    return ok


def _clock_from(f: _Fields) -> tuple[Array, Array] | None:
    """(nanoseconds of the day, whether there is such a time); None if the fields do not say."""
    if "H" in f:
        hour = f["H"]
    elif "I" in f and "p" in f:
        hour = f["I"] % 12 + 12 * f["p"]
    else:
        return None
    if "M" not in f or ("f" in f and "S" not in f):
        return None
    ok = np.ones(len(hour), np.bool_)
    if "I" in f:
        ok &= (hour + 11) % 12 + 1 == f["I"]
    if "p" in f:
        ok &= hour // 12 == f["p"]
    seconds = (hour * 60 + f["M"]) * 60 + f["S"]
    return seconds * 1_000_000_000 + f["f"], ok


def _date(f: _Fields) -> tuple[Array, Array] | None:
    found = _day_from(f)
    return None if found is None else (found[0], found[1] & _agrees(f, found[0]))


def _timestamp(f: _Fields) -> tuple[Array, Array] | None:
    """µs since 1970."""
    if "s" in f and not f.filled - {"s", "f"}:
        seconds = f["s"]
        ok = (seconds >= calendar.FIRST_DAY * 86_400) & (seconds < (calendar.LAST_DAY + 1) * 86_400)
        return np.where(ok, seconds, 0) * 1_000_000 + f["f"] // 1000, ok
    day, clock = _date(f), _clock_from(f)
    if day is None or clock is None:
        return None
    return day[0] * DAY_US + clock[0] // 1000, day[1] & clock[1]


Resolve = Callable[[_Fields], tuple[Array, Array] | None]
_RESOLVE: dict[SqlType, Resolve] = {DATE: _date, TIME: _clock_from, TIMESTAMP: _timestamp}


def _rows(column: Column, rows: Array) -> Column:
    return Column(column.type, column.values[rows], None, column.heaps)


def _parsed(type: SqlType, format: Column, text: Column) -> Column:
    n = max(len(format), len(text))
    values, valid = np.zeros(n, type.dtype), np.zeros(n, np.uint8)
    known = np.ones(n, np.uint8) if text.valid is None else np.broadcast_to(text.valid, n)
    for (given,), found in groups((format,)):
        rows = np.arange(n) if len(format) == 1 else found
        if given is None or not known[rows].any():
            continue
        first = int(rows[np.argmax(known[rows])])
        try:
            program, filled = _compiled(given)
        except ValueError as e:
            raise RuntimeSqlError(str(e), row=first) from None
        texts = text if len(text) == 1 or len(rows) == n else _rows(text, rows)
        ok = np.zeros(len(rows), np.uint8)
        table = np.zeros((len(rows), len(FIELDS)), np.int64)
        _match(*text_kernels.flat(texts), program, _WORD_BYTES, _WORD_ENDS, table, ok)
        ok &= known[rows]
        resolved = _RESOLVE[type](_Fields(table, filled))
        if resolved is not None:
            values[rows] = resolved[0]
            valid[rows] = ok & resolved[1]
        elif ok.any():
            why = f"it does not say which {type} is meant"
            row = int(rows[np.argmax(ok)])
            raise RuntimeSqlError(str(bad_format(given, why)), row=row)
    return Column(type, values, valid)


def _declare(name: str, type: SqlType) -> None:
    @define(name, [STRING, STRING], type, can_fail=True, nullable=True)
    def kernel(format: Column, text: Column, n: int) -> Column:
        return _parsed(type, format, text)


_declare("PARSE_DATE", DATE)
_declare("PARSE_TIME", TIME)
_declare("PARSE_TIMESTAMP", TIMESTAMP)
