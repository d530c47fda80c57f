"""JSON texts of a column → the list of their nodes, by one kernel; RFC 8259, strictly.

    '{"a": [1, null]}'      kind    OBJECT KEY ARRAY NUMBER NULL        in order of the text
                            depth   0      1   1     2      2
                            text    —      a   —     1      —           bytes start:end

A node's children are the nodes one deeper that follow it before the next node of its own depth.
Keys and strings are unescaped into `Tape.strings`; numbers stay where they are in `Tape.source`.
A text that is not JSON, is nested deeper than `MAX_DEPTH`, or has half a surrogate pair gives no
nodes and is marked bad.

Cost: two passes over the bytes, a few ns each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Column
from penstock.data.kernel import kernel
from penstock.data.views import copy_out

#: walking a value recurses a level at a time within Python's stack
MAX_DEPTH = 100
NULL, TRUE, FALSE, INTEGER, NUMBER, STRING, ARRAY, OBJECT, KEY = range(9)
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Tape:
    """The nodes of all rows. `row`, `kind`, `depth`, `start` and `end` are per node; `good` are
    the rows that are JSON. `start:end` is in `strings` for STRING and KEY, else in `source`."""

    source: Bytes
    strings: Bytes
    row: Ints
    kind: Bytes
    depth: Ints
    start: Ints
    end: Ints
    good: npt.NDArray[np.bool_]


@kernel("int64(uint8[::1], int64[::1], uint8[::1], int64[:, ::1], uint8[::1])")
def _scan(data: Any, offsets: Any, bad: Any, nodes: Any, strings: Any) -> Any:
    """Returns the number of nodes. nodes[k] = row, kind, depth, start, end, written if it has
    rows. Rows marked bad are skipped; rows that prove to be so are marked and give no nodes."""
    writes = nodes.shape[0] > 0
    stack = np.zeros(102, np.uint8)  # MAX_DEPTH + 2: what encloses each depth
    count: Any = 0
    text: Any = 0
    for row in range(offsets.shape[0] - 1):
        if bad[row] != 0:
            continue
        before, text_before = count, text
        at: Any = offsets[row]
        end = offsets[row + 1]
        depth: Any = 0
        ok = True
        # what may come: 0 a value, 1 a value or ], 2 a key or }, 3 a key, 4 the end of a value
        state: Any = 0
        while True:
            while at < end and (
                data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9
            ):
                at += 1
            if at >= end:
                ok = state == 4 and depth == 0
                break
            c = data[at]
            if state == 4:
                if depth == 0:
                    ok = False
                    break
                closes = 93 if stack[depth] == 6 else 125
                if c == 44:
                    state = 0 if stack[depth] == 6 else 3
                elif c == closes:
                    depth -= 1
                else:
                    ok = False
                    break
                at += 1
                continue
            if (state == 1 and c == 93) or (state == 2 and c == 125):
                depth -= 1
                state = 4
                at += 1
                continue
            kind: Any = -1
            start: Any = at
            stop: Any = at
            if state >= 2 and c != 34:
                ok = False
                break
            if c == 34:
                kind = 8 if state >= 2 else 5
                start = text
                at += 1
                while True:
                    if at >= end or data[at] < 32:
                        ok = False
                        break
                    b = data[at]
                    if b == 34:
                        at += 1
                        break
                    if b != 92:
                        if writes:
                            strings[text] = b
                        text += 1
                        at += 1
                        continue
                    at += 1
                    if at >= end:
                        ok = False
                        break
                    b = data[at]
                    at += 1
                    if b == 117:
                        code: Any = 0
                        for half in range(2):
                            if at + 4 > end:
                                ok = False
                                break
                            unit: Any = 0
                            for j in range(4):
                                h: Any = data[at + j]
                                if 48 <= h <= 57:
                                    digit: Any = h - 48
                                elif 97 <= h <= 102:
                                    digit = h - 87
                                elif 65 <= h <= 70:
                                    digit = h - 55
                                else:
                                    ok = False
                                    digit = 0
                                unit = unit * 16 + digit
                            at += 4
                            if half == 0:
                                code = unit
                                if 0xDC00 <= unit < 0xE000:
                                    ok = False
                                if not 0xD800 <= unit < 0xDC00:
                                    break
                                if at + 6 > end or data[at] != 92 or data[at + 1] != 117:
                                    ok = False
                                    break
                                at += 2
                            else:
                                if not 0xDC00 <= unit < 0xE000:
                                    ok = False
                                code = 0x10000 + (code - 0xD800) * 1024 + (unit - 0xDC00)
                        if not ok:
                            break
                        size = (
                            1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4
                        )
                        if writes:
                            if size == 1:
                                strings[text] = code
                            else:
                                lead = 0xC0 if size == 2 else 0xE0 if size == 3 else 0xF0
                                strings[text] = lead | (code >> (6 * (size - 1)))
                                for j in range(1, size):
                                    strings[text + j] = 0x80 | (code >> (6 * (size - 1 - j))) & 0x3F
                        text += size
                        continue
                    plain: Any = -1
                    if b == 34 or b == 92 or b == 47:
                        plain = b
                    elif b == 98:
                        plain = 8
                    elif b == 102:
                        plain = 12
                    elif b == 110:
                        plain = 10
                    elif b == 114:
                        plain = 13
                    elif b == 116:
                        plain = 9
                    if plain < 0:
                        ok = False
                        break
                    if writes:
                        strings[text] = plain
                    text += 1
                if not ok:
                    break
                stop = text
            elif c == 91 or c == 123:
                kind = 6 if c == 91 else 7
                at += 1
                stop = at
            elif c == 45 or 48 <= c <= 57:
                kind = 3
                if c == 45:
                    at += 1
                digits = at
                while at < end and 48 <= data[at] <= 57:
                    at += 1
                if at == digits or (data[digits] == 48 and at > digits + 1):
                    ok = False
                    break
                if at < end and data[at] == 46:
                    kind = 4
                    at += 1
                    digits = at
                    while at < end and 48 <= data[at] <= 57:
                        at += 1
                    if at == digits:
                        ok = False
                        break
                if at < end and (data[at] == 69 or data[at] == 101):
                    kind = 4
                    at += 1
                    if at < end and (data[at] == 43 or data[at] == 45):
                        at += 1
                    digits = at
                    while at < end and 48 <= data[at] <= 57:
                        at += 1
                    if at == digits:
                        ok = False
                        break
                stop = at
            else:
                left = end - at
                if left >= 4 and c == 110 and data[at + 1] == 117 and data[at + 2] == 108 \
                        and data[at + 3] == 108:  # fmt: skip
                    kind = 0
                    at += 4
                elif left >= 4 and c == 116 and data[at + 1] == 114 and data[at + 2] == 117 \
                        and data[at + 3] == 101:  # fmt: skip
                    kind = 1
                    at += 4
                elif left >= 5 and c == 102 and data[at + 1] == 97 and data[at + 2] == 108 \
                        and data[at + 3] == 115 and data[at + 4] == 101:  # fmt: skip
                    kind = 2
                    at += 5
                else:
                    ok = False
                    break
                stop = at
            if writes:
                nodes[count, 0], nodes[count, 1], nodes[count, 2] = row, kind, depth
                nodes[count, 3], nodes[count, 4] = start, stop
            count += 1
            if kind == 8:
                while at < end and (
                    data[at] == 32 or data[at] == 10 or data[at] == 13 or data[at] == 9
                ):
                    at += 1
                if at >= end or data[at] != 58:
                    ok = False
                    break
                at += 1
                state = 0
            elif kind == 6 or kind == 7:
                depth += 1
                if depth > 100:  # MAX_DEPTH
                    ok = False
                    break
                stack[depth] = kind
                state = 1 if kind == 6 else 2
            else:
                state = 4
        if not ok:
            bad[row] = 1
            count, text = before, text_before
    return count


def tape(texts: Column) -> Tape:
    """The nodes of a VARCHAR column's JSON texts; NULL has none and is not good."""
    data, offsets = copy_out(np.ascontiguousarray(texts.values))
    n = len(texts)
    bad = np.zeros(n, np.uint8) if texts.valid is None else 1 - texts.valid
    nothing = np.empty(0, np.uint8)
    count = int(_scan(data, offsets, bad, np.empty((0, 5), np.int64), nothing))
    nodes = np.empty((count, 5), np.int64)
    strings = np.empty(len(data), np.uint8)
    if count:
        _scan(data, offsets, bad, nodes, strings)
    row, kind, depth, start, end = (np.ascontiguousarray(nodes[:, i]) for i in range(5))
    return Tape(data, strings, row, kind.astype(np.uint8), depth, start, end, bad == 0)
