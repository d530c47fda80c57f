"""Text as numbers, dates, times and UUIDs, whole columns: the strict grammar of casts.

    integers('-12')            digits, a sign before them          sql-reference 1.5
    decimals('1.25e1', 5, 2)   rounded half to even
    dates('2020-1-31')         years 0001 to 9999; two digits each for a time

Every function answers the values and which rows are not of the grammar or out of range; what the
values of such rows are does not matter. Blanks around numbers are forgiven, around dates not.

Cost: one pass over the bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.kernel import kernel
from penstock.functions.text_kernels import flat

_Result = tuple[Array, Array]


@kernel("void(uint8[::1], int64[::1], uint64, uint64, uint64[::1], uint8[::1])")
def _integers(data: Any, offsets: Any, most: Any, most_negative: Any, out: Any, bad: Any) -> None:
    for i in range(out.shape[0]):
        at, end = offsets[i], offsets[i + 1]
        while at < end and data[at] == 32:
            at += 1
        while at < end and data[end - 1] == 32:
            end -= 1
        negative = at < end and data[at] == 45
        if at < end and (data[at] == 45 or data[at] == 43):
            at += 1
        limit = most_negative if negative else most
        wrong: Any = at >= end
        value = np.uint64(0)
        while at < end:
            digit = np.int64(data[at]) - 48
            if digit < 0 or digit > 9:
                wrong = True
                break
            if limit < np.uint64(digit) or value > (limit - np.uint64(digit)) // np.uint64(10):
                wrong = True
                break
            value = value * np.uint64(10) + np.uint64(digit)
            at += 1
        out[i] = ~value + np.uint64(1) if negative else value
        bad[i] = np.uint8(wrong)


def integers(column: Column, dtype: np.dtype[Any]) -> _Result:
    """(values of an integer dtype, bad rows)."""
    info, n = np.iinfo(dtype), len(column)
    out, bad = np.empty(n, np.uint64), np.empty(n, np.uint8)
    _integers(*flat(column), np.uint64(info.max), np.uint64(-int(info.min)), out, bad)
    values = out if info.min == 0 else out.view(np.int64)
    return np.where(bad == 1, 0, values).astype(dtype), bad.view(np.bool_)


@kernel("void(uint8[::1], int64[::1], int64, int64, int64, uint64[:, ::1], uint8[::1])")
def _decimals(
    data: Any, offsets: Any, precision: Any, scale: Any, rounding: Any, out: Any, bad: Any
) -> None:
    mask, s32, ten = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(10)
    for i in range(bad.shape[0]):
        at, end = offsets[i], offsets[i + 1]
        while at < end and data[at] == 32:
            at += 1
        while at < end and data[end - 1] == 32:
            end -= 1
        negative = at < end and data[at] == 45
        if at < end and (data[at] == 45 or data[at] == 43):
            at += 1
        first, digits, whole = at, np.int64(0), np.int64(0)
        pointed = False
        while at < end and (data[at] == 46 or (data[at] >= 48 and data[at] <= 57)):
            if data[at] == 46:
                if pointed:
                    break
                pointed = True
            else:
                digits += 1
                whole += np.int64(not pointed)
            at += 1
        last = at
        exponent = np.int64(0)
        wrong = digits == 0
        if at < end and (data[at] | 32) == 101 and not wrong:
            at += 1
            down = at < end and data[at] == 45
            if at < end and (data[at] == 45 or data[at] == 43):
                at += 1
            wrong = at >= end
            while at < end and data[at] >= 48 and data[at] <= 57:
                exponent = min(exponent * 10 + np.int64(data[at]) - 48, np.int64(1_000_000))
                at += 1
            exponent = -exponent if down else exponent
        wrong = wrong or at < end
        # digit k counts 10^(whole + exponent - 1 - k); those of at least 10^-scale are kept
        kept = whole + exponent + scale
        low, high = np.uint64(0), np.uint64(0)
        half, rest, odd = np.int64(-1), False, False
        significant = np.int64(0)
        k = np.int64(0)
        for j in range(first, last):
            if wrong or data[j] == 46:
                continue
            digit = np.uint64(data[j]) - np.uint64(48)
            if k < kept:
                significant += np.int64(significant > 0 or digit > np.uint64(0))
                if significant > precision:
                    wrong = True
                    break
                a = (low & mask) * ten + digit
                b = (low >> s32) * ten + (a >> s32)
                high = high * ten + (b >> s32)
                low = (b << s32) | (a & mask)
            elif k == kept:
                half = np.int64(digit)
            elif digit != np.uint64(0):
                rest = True
            k += 1
        if kept < 0 and not wrong:
            half, rest = np.int64(0), True
        if not wrong and significant > 0 and kept > k:
            if significant + kept - k > precision:
                wrong = True
            else:
                for _j in range(kept - k):
                    a = (low & mask) * ten
                    b = (low >> s32) * ten + (a >> s32)
                    high = high * ten + (b >> s32)
                    low = (b << s32) | (a & mask)
        odd = (low & np.uint64(1)) == np.uint64(1)
        if rounding and (half > 5 or (half == 5 and (rest or odd))):
            low += np.uint64(1)
            if low == np.uint64(0):
                high += np.uint64(1)
            # 9.99 → 10.0: one digit more
            lo, hi = np.uint64(1), np.uint64(0)
            for _j in range(precision):
                a = (lo & mask) * ten
                b = (lo >> s32) * ten + (a >> s32)
                hi = hi * ten + (b >> s32)
                lo = (b << s32) | (a & mask)
            wrong = wrong or (low == lo and high == hi)
        if negative:
            low = ~low + np.uint64(1)
            high = ~high
            if low == np.uint64(0):
                high += np.uint64(1)
        out[i, 0] = np.uint64(0) if wrong else low
        out[i, 1] = np.uint64(0) if wrong else high
        bad[i] = np.uint8(wrong)


def decimals(column: Column, precision: int, scale: int, *, truncate: bool = False) -> _Result:
    """(int128 values of DECIMAL(precision, scale), bad rows); half to even unless truncated."""
    n = len(column)
    out, bad = np.empty((n, 2), np.uint64), np.empty(n, np.uint8)
    _decimals(*flat(column), precision, scale, int(not truncate), out, bad)
    return out, bad.view(np.bool_)


DATE_PART, TIME_PART = 1, 2


@kernel("void(uint8[::1], int64[::1], int64, int64[::1], int64[::1], uint8[::1])")
def _moments(data: Any, offsets: Any, parts: Any, days: Any, clock: Any, bad: Any) -> None:
    """parts: 1 a date, 2 a time, 3 a date and perhaps a time after one blank or T."""
    for i in range(bad.shape[0]):
        at, end = offsets[i], offsets[i + 1]
        days[i] = 0
        clock[i] = 0
        wrong: Any = False
        if parts & 1:
            y, m, d = np.int64(0), np.int64(0), np.int64(0)
            for field in range(3):
                value, n = np.int64(0), np.int64(0)
                most = 4 if field == 0 else 2
                while at < end and n < most and data[at] >= 48 and data[at] <= 57:
                    value = value * 10 + np.int64(data[at]) - 48
                    at += 1
                    n += 1
                wrong = wrong or n == 0 or (field == 0 and n < 4)
                if field < 2:
                    wrong = wrong or at >= end or data[at] != 45
                    at += 1
                if field == 0:
                    y = value
                elif field == 1:
                    m = value
                else:
                    d = value
            leap = (y % 4 == 0 and y % 100 != 0) or y % 400 == 0
            size = 31
            if m == 4 or m == 6 or m == 9 or m == 11:
                size = 30
            elif m == 2:
                size = 29 if leap else 28
            wrong = wrong or y < 1 or m < 1 or m > 12 or d < 1 or d > size
            # days since 1970-01-01, counted from March, so that leap days come last
            y -= np.int64(m <= 2)
            era = y // 400
            of_era = y - era * 400
            of_year = (153 * (m - 3 if m > 2 else m + 9) + 2) // 5 + d - 1
            days[i] = era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468
        if parts == 3 and at < end:
            wrong = wrong or (data[at] != 32 and data[at] != 84)
            at += 1
            wrong = wrong or at >= end
        if (parts & 2) and (parts == 2 or at < end):
            total = np.int64(0)
            for field in range(3):
                value, n = np.int64(0), np.int64(0)
                while at < end and n < 2 and data[at] >= 48 and data[at] <= 57:
                    value = value * 10 + np.int64(data[at]) - 48
                    at += 1
                    n += 1
                wrong = wrong or n != 2 or value > (23 if field == 0 else 59)
                if field < 2:
                    wrong = wrong or at >= end or data[at] != 58
                    at += 1
                total = total * 60 + value
            fraction = np.int64(0)
            if at < end and data[at] == 46:
                at += 1
                n = np.int64(0)
                while at < end and n < 9 and data[at] >= 48 and data[at] <= 57:
                    fraction = fraction * 10 + np.int64(data[at]) - 48
                    at += 1
                    n += 1
                for _j in range(9 - n):
                    fraction *= 10
            clock[i] = total * 1_000_000_000 + fraction
        bad[i] = np.uint8(wrong or at != end)


def moments(column: Column, parts: int) -> tuple[Array, Array, Array]:
    """(days since 1970, nanoseconds of the day, bad rows) of texts with these parts."""
    n = len(column)
    days, clock, bad = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.uint8)
    _moments(*flat(column), parts, days, clock, bad)
    return days, clock, bad.view(np.bool_)


NOT_A_NUMBER, PLAIN, INFINITE, NEGATIVE_INFINITE, NAN = range(5)


@kernel("void(uint8[::1], int64[::1], int64[::1], int64[::1], uint8[::1])")
def _float_classes(data: Any, offsets: Any, start: Any, stop: Any, out: Any) -> None:
    for i in range(out.shape[0]):
        at, end = offsets[i], offsets[i + 1]
        while at < end and data[at] == 32:
            at += 1
        while at < end and data[end - 1] == 32:
            end -= 1
        start[i], stop[i] = at - offsets[i], end - offsets[i]
        negative = at < end and data[at] == 45
        if at < end and (negative or data[at] == 43):
            at += 1
        digits: Any = 0
        pointed: Any = False
        begin = at
        while at < end and (
            (data[at] == 46 and not pointed) or (data[at] >= 48 and data[at] <= 57)
        ):
            pointed = pointed or data[at] == 46
            digits += np.int64(data[at] != 46)
            at += 1
        good = digits > 0
        if good and at < end and (data[at] | 32) == 101:
            at += 1
            if at < end and (data[at] == 45 or data[at] == 43):
                at += 1
            good = at < end
            while at < end and data[at] >= 48 and data[at] <= 57:
                at += 1
        kind = 1 if good and at == end else 0
        size = end - begin
        if (kind == 0 and size == 3) or size == 8:
            word = np.uint64(0)
            for j in range(size):
                word = (word << np.uint64(8)) | np.uint64(data[begin + j] | 32)
            if word == np.uint64(0x696E66) or word == np.uint64(0x696E66696E697479):
                kind = 3 if negative else 2
            elif word == np.uint64(0x6E616E) and begin == offsets[i] + start[i]:
                kind = 4
        out[i] = np.uint8(kind)


def float_classes(column: Column) -> tuple[Array, Array, Array]:
    """(uint8 class of each text, where it starts and stops without blanks)."""
    n = len(column)
    start, stop, out = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.uint8)
    _float_classes(*flat(column), start, stop, out)
    return out, start, stop


@kernel("void(uint8[::1], int64[::1], uint8[:, ::1], uint8[::1])")
def _uuids(data: Any, offsets: Any, out: Any, bad: Any) -> None:
    for i in range(bad.shape[0]):
        at, end = offsets[i], offsets[i + 1]
        wrong: Any = False
        if at < end and data[at] == 123:
            wrong = data[end - 1] != 125 or end - at < 2
            at += 1
            end -= 1
        n = np.int64(0)
        while at < end and not wrong:
            c = np.int64(data[at])
            value = np.int64(-1)
            if c >= 48 and c <= 57:
                value = c - 48
            elif (c | 32) >= 97 and (c | 32) <= 102:
                value = (c | 32) - 87
            if value >= 0 and n < 32:
                if n % 2 == 0:
                    out[i, n // 2] = np.uint8(value << 4)
                else:
                    out[i, n // 2] |= np.uint8(value)
                n += 1
            else:
                # one hyphen, after a complete group of four digits, before another
                wrong = c != 45 or n % 4 != 0 or n == 0 or n >= 32 or data[at - 1] == 45
            at += 1
        bad[i] = np.uint8(wrong or n != 32)


def uuids(column: Column) -> _Result:
    """(16 bytes each as uint64[n, 2], bad rows)."""
    n = len(column)
    out, bad = np.zeros((n, 16), np.uint8), np.empty(n, np.uint8)
    _uuids(*flat(column), out, bad)
    return out.view(np.uint64), bad.view(np.bool_)
