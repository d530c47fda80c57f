"""Cells of a text that spell dates and times → numbers; exactly, or not at all (`cell_values`).

    DATE        YYYY-MM-DD                                  days since 1970-01-01
    TIME        HH:MM:SS[.f]                                ns of the day
    TIMESTAMP   a date, or both and then maybe Z or ±HH:MM  us since 1970, UTC

Between date and time stands T, t or a blank; digits below a microsecond are dropped.

Source: contract section 3. Cost: 10 to 20 ns a value.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.data.cell_values import Bytes, Ints, Spans
from penstock.data.kernel import kernel

DATE, TIME, TIMESTAMP = range(3)


@kernel("void(uint8[::1], uint8[::1], int64[::1], int64[::1], int64, int64[::1], uint8[::1])")
def _times(data: Any, kinds: Any, starts: Any, stops: Any, what: Any, out: Any, odd: Any) -> None:
    """0: YYYY-MM-DD in days; 1: HH:MM:SS[.f] in ns; 2: both, or a date, with or without an offset,
    in us UTC."""
    for i in range(out.shape[0]):
        if kinds[i] < 2:
            continue
        at, stop = starts[i], stops[i]
        odd[i] = 1
        if kinds[i] != 6:
            continue
        days = 0
        if what != 1:
            if stop - at < 10 or data[at + 4] != 45 or data[at + 7] != 45:
                continue
            good = True
            for j in range(10):
                if j != 4 and j != 7 and not 48 <= data[at + j] <= 57:
                    good = False
            if not good:
                continue
            year: Any = 0
            for j in range(4):
                year = year * 10 + np.int64(data[at + j] - 48)
            month = np.int64(data[at + 5] - 48) * 10 + np.int64(data[at + 6] - 48)
            day = np.int64(data[at + 8] - 48) * 10 + np.int64(data[at + 9] - 48)
            is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
            longest = 31
            if month == 2:
                longest = 29 if is_leap else 28
            elif month == 4 or month == 6 or month == 9 or month == 11:
                longest = 30
            if year < 1 or not 1 <= month <= 12 or not 1 <= day <= longest:
                continue
            # days since 0000-03-01 in years that begin in March
            y = year - 1 if month <= 2 else year
            of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
            days = y * 365 + y // 4 - y // 100 + y // 400 + of_year - 719468
            at += 10
            if what == 0 or at == stop:
                if at == stop:
                    out[i] = days if what == 0 else days * 86_400_000_000
                    odd[i] = 0
                continue
            if data[at] != 84 and data[at] != 116 and data[at] != 32:
                continue
            at += 1
        if stop - at < 8 or data[at + 2] != 58 or data[at + 5] != 58:
            continue
        good = True
        for j in range(8):
            if j != 2 and j != 5 and not 48 <= data[at + j] <= 57:
                good = False
        hour = np.int64(data[at] - 48) * 10 + np.int64(data[at + 1] - 48)
        minute = np.int64(data[at + 3] - 48) * 10 + np.int64(data[at + 4] - 48)
        second = np.int64(data[at + 6] - 48) * 10 + np.int64(data[at + 7] - 48)
        if not good or hour > 23 or minute > 59 or second > 59:
            continue
        at += 8
        nanos: Any = 0
        if at < stop and data[at] == 46:
            at += 1
            digits = 0
            while at < stop and 48 <= data[at] <= 57:
                digits += 1
                if digits <= 9:
                    nanos = nanos * 10 + np.int64(data[at] - 48)
                at += 1
            if digits == 0 or digits > 9:
                continue
            for _ in range(9 - digits):
                nanos *= 10
        seconds = hour * 3600 + minute * 60 + second
        if what == 1:
            if at == stop:
                out[i] = seconds * 1_000_000_000 + nanos
                odd[i] = 0
            continue
        offset: Any = 0
        if at < stop:
            c = data[at]
            at += 1
            if c == 43 or c == 45:
                colon = 1 if at + 2 < stop and data[at + 2] == 58 else 0
                if stop - at != 4 + colon:
                    continue
                good = True
                for j in range(4 + colon):
                    if not (colon == 1 and j == 2) and not 48 <= data[at + j] <= 57:
                        good = False
                hour = np.int64(data[at] - 48) * 10 + np.int64(data[at + 1] - 48)
                at += 2 + colon
                minute = np.int64(data[at] - 48) * 10 + np.int64(data[at + 1] - 48)
                at += 2
                if not good or hour > 23 or minute > 59:
                    continue
                offset = hour * 3600 + minute * 60
                if c == 45:
                    offset = -offset
            elif c != 90 and c != 122:
                continue
            if at != stop:
                continue
        moment = (days * 86_400 + seconds - offset) * 1_000_000 + nanos // 1000
        # an offset may lead out of the years 0001 to 9999
        if -62_135_596_800_000_000 <= moment <= 253_402_300_799_999_999:
            out[i] = moment
            odd[i] = 0


def times(cells: Spans, what: int) -> tuple[Ints, Bytes]:
    """Dates in days, times in ns or timestamps in us, of STRING cells."""
    n = len(cells[1])
    out, odd = np.zeros(n, np.int64), np.zeros(n, np.uint8)
    _times(*cells, what, out, odd)
    return out, odd
