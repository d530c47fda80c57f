"""The grammar of JSON for kernels: where a string, a number or any value ends, and how it is.

RFC 8259, strictly, UTF-8 included. Each function begins at a byte and says behind which one the
value ends and whether it is as it should be, doubtful (whole, but only the exact reading may judge
it: half a surrogate pair, bytes that are not UTF-8, a number of absurd length), broken or cut.

Only for kernels, which name this module among their helpers (`penstock.data.kernel`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba.extending import register_jitable

from penstock.data.pointers import load_u64
from penstock.data.words import trailing_zeros

#: compiled into the kernels that call it
helper = cast(
    Callable[[Callable[..., Any]], Callable[..., Any]], register_jitable(forceinline=True)
)

#: kinds of values; a STRING's bytes are those between its quotes, ESCAPED has escapes in them
MISSING, NULL, FALSE, TRUE, INTEGER, NUMBER, STRING, ESCAPED, NESTED = range(9)
#: how a value is; the larger the worse
GOOD, DOUBTFUL, BROKEN, CUT = range(4)
#: Python refuses numbers that are much longer; VARIANT ends at 100 levels
LONGEST_NUMBER, MAX_DEPTH = 300, 60


@helper
def space(data: Any, at: Any, end: Any) -> Any:
    while at < end and (data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9):
        at += 1
    return at


#: each byte of a word
_ONES, _TOPS = np.uint64(0x0101_0101_0101_0101), np.uint64(0x8080_8080_8080_8080)
_QUOTES, _BACKSLASHES, _BLANKS = (np.uint64(_c) * _ONES for _c in (34, 92, 32))


@helper
def _plain(data: Any, at: Any, end: Any) -> Any:
    """The first byte from `at` on that is a quote, a backslash, a control character or not ASCII;
    fewer than eight before the end are not looked at."""
    base = np.uint64(data.ctypes.data)
    while at + 8 <= end:
        word = load_u64(base + np.uint64(at))
        quotes, backslashes = word ^ _QUOTES, word ^ _BACKSLASHES
        # a byte below what is taken from it has its top bit set, and may set those behind it
        found = (quotes - _ONES) & ~quotes | (backslashes - _ONES) & ~backslashes
        found = (found | (word - _BLANKS) & ~word | word) & _TOPS
        if found != np.uint64(0):
            return at + np.int64(trailing_zeros(found) >> np.uint64(3))
        at += 8
    return at


@helper
def string(data: Any, at: Any, end: Any) -> Any:
    """From behind the opening quote: behind the closing one, whether it has escapes, how it is."""
    escaped = False
    code = 0
    while at < end:
        at = _plain(data, at, end)
        if at >= end:
            break
        b = data[at]
        if b == 34:
            return at + 1, escaped, code
        if b == 92:
            escaped = True
            if at + 1 >= end:
                return at, escaped, 3
            e = data[at + 1]
            if e != 117:
                if not (
                    e == 34 or e == 92 or e == 47 or e == 98
                    or e == 102 or e == 110 or e == 114 or e == 116
                ):  # fmt: skip
                    return at, escaped, 2
                at += 2
                continue
            if at + 6 > end:
                return at, escaped, 3
            unit: Any = 0
            for j in range(2, 6):
                h = np.int64(data[at + j])
                if 48 <= h <= 57:
                    unit = unit * 16 + h - 48
                elif 97 <= h <= 102:
                    unit = unit * 16 + h - 87
                elif 65 <= h <= 70:
                    unit = unit * 16 + h - 55
                else:
                    return at, escaped, 2
            at += 6
            if 0xDC00 <= unit < 0xE000:
                code = 1
            elif 0xD800 <= unit < 0xDC00:
                # the other half must follow; what it is is looked at next
                if at + 6 > end:
                    return at, escaped, 3
                pair = data[at] == 92 and data[at + 1] == 117
                pair = pair and (data[at + 2] == 68 or data[at + 2] == 100)
                third = data[at + 3]
                pair = pair and (67 <= third <= 70 or 99 <= third <= 102)
                for j in range(4, 6):
                    h = np.int64(data[at + j])
                    pair = pair and (48 <= h <= 57 or 97 <= h <= 102 or 65 <= h <= 70)
                if pair:
                    at += 6
                else:
                    code = 1
        elif b < 32:
            return at, escaped, 2
        elif b < 128:
            at += 1
        else:
            more = 1 if 0xC2 <= b <= 0xDF else 2 if b & 0xF0 == 0xE0 else 3 if 0xF0 <= b <= 0xF4 \
                else 0  # fmt: skip
            if at + more >= end:
                return at, escaped, 3
            good = more > 0
            for j in range(1, more + 1):
                good = good and data[at + j] & 0xC0 == 0x80
            if good:
                second = data[at + 1]
                if (
                    (b == 0xE0 and second < 0xA0) or (b == 0xED and second > 0x9F)
                    or (b == 0xF0 and second < 0x90) or (b == 0xF4 and second > 0x8F)
                ):  # fmt: skip
                    good = False
            if good:
                at += more + 1
            else:
                code = 1
                at += 1
    return at, escaped, 3


@helper
def _word(data: Any, at: Any, end: Any, first: Any, second: Any, third: Any, fourth: Any) -> Any:
    """Whether `data` has the four letters at `at`: GOOD, BROKEN or CUT."""
    letters = (first, second, third, fourth)
    for j in range(4):
        if at + j >= end:
            return 3
        if data[at + j] != letters[j]:
            return 2
    return 0


@helper
def _scalar(data: Any, at: Any, end: Any) -> Any:
    """A value without brackets: behind it, its kind, its first byte, behind its last, how it is."""
    c = data[at]
    if c == 34:
        stop, escaped, code = string(data, at + 1, end)
        return stop, 7 if escaped else 6, at + 1, stop - 1, code
    if c == 45 or 48 <= c <= 57:
        start = at
        kind = 4
        code = 0
        if c == 45:
            at += 1
        digits = at
        while at < end and 48 <= data[at] <= 57:
            at += 1
        if at == digits:
            return at, kind, start, at, 3 if at >= end else 2
        if data[digits] == 48 and at > digits + 1:
            return at, kind, start, at, 2
        if at < end and data[at] == 46:
            kind = 5
            at += 1
            digits = at
            while at < end and 48 <= data[at] <= 57:
                at += 1
            if at == digits:
                return at, kind, start, at, 3 if at >= end else 2
        if at < end and (data[at] == 69 or data[at] == 101):
            kind = 5
            at += 1
            if at < end and (data[at] == 43 or data[at] == 45):
                at += 1
            digits = at
            while at < end and 48 <= data[at] <= 57:
                at += 1
            if at == digits:
                return at, kind, start, at, 3 if at >= end else 2
            if at - digits > 4:
                code = 1
        if at - start > 300:  # LONGEST_NUMBER
            code = 1
        return at, kind, start, at, code
    if c == 110:
        return at + 4, 1, at, at + 4, _word(data, at, end, 110, 117, 108, 108)
    if c == 116:
        return at + 4, 3, at, at + 4, _word(data, at, end, 116, 114, 117, 101)
    if c == 102:
        return at + 5, 2, at, at + 5, _word(data, at + 1, end, 97, 108, 115, 101)
    return at, 0, at, at, 2


@helper
def value(data: Any, at: Any, end: Any) -> Any:
    """Any value that begins at `at`, all of it looked at: as `_scalar`."""
    if at >= end:
        return at, 0, at, at, 3
    c = data[at]
    if c != 91 and c != 123:
        return _scalar(data, at, end)
    start = at
    worst = 0
    depth = 0
    objects = np.uint64(0)  # bit d: what encloses depth d is an object
    # what may come: 0 a value, 1 a value or ], 2 a key or }, 3 a key, 4 the end of a value
    state = 0
    while True:
        at = space(data, at, end)
        if at >= end:
            return at, 8, start, at, 3
        c = data[at]
        in_object = (objects >> np.uint64(depth)) & np.uint64(1) == np.uint64(1)
        if state == 4:
            at += 1
            if c == 44:
                state = 3 if in_object else 0
            elif c == (125 if in_object else 93):
                depth -= 1
                if depth == 0:
                    return at, 8, start, at, worst
            else:
                return at, 8, start, at, 2
        elif (state == 1 and c == 93) or (state == 2 and c == 125):
            at += 1
            depth -= 1
            state = 4
            if depth == 0:
                return at, 8, start, at, worst
        elif state >= 2:
            if c != 34:
                return at, 8, start, at, 2
            at, _escaped, code = string(data, at + 1, end)
            if code >= 2:
                return at, 8, start, at, code
            worst = max(worst, code)
            at = space(data, at, end)
            if at >= end:
                return at, 8, start, at, 3
            if data[at] != 58:
                return at, 8, start, at, 2
            at += 1
            state = 0
        elif c == 91 or c == 123:
            depth += 1
            if depth > 60:  # MAX_DEPTH
                return at, 8, start, at, 2
            bit = np.uint64(1) << np.uint64(depth)
            objects = objects | bit if c == 123 else objects & ~bit
            state = 2 if c == 123 else 1
            at += 1
        else:
            at, _kind, _start, _stop, code = _scalar(data, at, end)
            if code >= 2:
                return at, 8, start, at, code
            worst = max(worst, code)
            state = 4
