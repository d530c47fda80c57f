"""Rows and events of JSON for kernels: which bytes are which column's, and the operation of a row.

    row      an object or an array of values           event    {"insert": row, …}, or Debezium's

Each begins at a byte and says behind which one it ends and how it is (`json_grammar`): doubtful is
a row in which a field lacks, a key comes twice, a NULL may not be, …; only the exact reading may
judge it. Cells are noted in the `room` of `json_cells`, at the place that is given.

Only for kernels, which name this module among their helpers (`penstock.data.kernel`).
Source of the shapes: contract section 3.
"""

from __future__ import annotations

from typing import Any

from penstock.data.json_grammar import helper, space, string, value

#: what `rules` say of a column in a row of an operation
IGNORED, MAY_LACK, NULLABLE = 1, 2, 4

# In the helpers below a code is one of `json_grammar`: 1 doubtful, 2 broken, 3 cut. `table` is
# names, edges, folds, rules; `room` is kinds, starts, stops, ops.


@helper
def _column(data: Any, start: Any, end: Any, table: Any, guess: Any) -> Any:
    """The column that the key data[start:end] names, -1 for none; `guess` is tried first."""
    names, edges, folds, _rules = table
    n = folds.shape[0]
    size = end - start
    for k in range(-1, n):
        c = k
        if k < 0:
            c = guess if guess < n else 0
        first = edges[c]
        if edges[c + 1] - first != size:
            continue
        same = True
        for j in range(size):
            x, y = data[start + j], names[first + j]
            if x != y and not (folds[c] != 0 and 65 <= x <= 90 and x + 32 == y):
                same = False
                break
        if same:
            return c
    return -1


@helper
def _key(data: Any, at: Any, end: Any) -> Any:
    """A key and its colon: where the value begins, the key's first byte, behind its last, code."""
    if at >= end:
        return at, at, at, 3
    if data[at] != 34:
        return at, at, at, 2
    start = at + 1
    at, escaped, code = string(data, start, end)
    stop = at - 1
    if code >= 2:
        return at, start, stop, code
    if escaped:
        code = 1
    at = space(data, at, end)
    if at >= end:
        return at, start, stop, 3
    if data[at] != 58:
        return at, start, stop, 2
    return space(data, at + 1, end), start, stop, code


@helper
def _after(data: Any, at: Any, end: Any, closing: Any) -> Any:
    """Behind a value: behind the comma or the bracket `closing`, whether it was that one, code."""
    at = space(data, at, end)
    if at >= end:
        return at, False, 3
    if data[at] == closing:
        return at + 1, True, 0
    if data[at] != 44:
        return at, False, 2
    return space(data, at + 1, end), False, 0


@helper
def _put(
    column: Any, row: Any, kind: Any, start: Any, stop: Any, op: Any, table: Any, room: Any
) -> Any:
    """Note a cell; doubtful where a NULL may not be or where something is already."""
    kinds, starts, stops, _ops = room
    rule = table[3][op, column]
    if rule & 1:
        return 0
    if kinds[column, row] != 0 or (kind == 1 and not rule & 4):
        return 1
    kinds[column, row] = kind
    starts[column, row] = start
    stops[column, row] = stop
    return 0


@helper
def row(data: Any, at: Any, end: Any, op: Any, row: Any, table: Any, room: Any) -> Any:
    """The row that begins at `at`, an object or an array: behind it, code."""
    kinds, rules = room[0], table[3]
    n = rules.shape[1]
    if at >= end:
        return at, 3
    is_object = data[at] == 123
    if not is_object and data[at] != 91:
        at, _kind, _start, _stop, code = value(data, at, end)
        return at, max(code, 1)
    for c in range(n):
        kinds[c, row] = 0
    worst = 0
    column = -1
    count = 0
    closing = 125 if is_object else 93
    at = space(data, at + 1, end)
    done = at < end and data[at] == closing
    if done:
        at += 1
    while not done:
        if is_object:
            at, start, stop, code = _key(data, at, end)
            if code >= 2:
                return at, code
            worst = max(worst, code)
            column = _column(data, start, stop, table, column + 1)
            if column < 0:
                # letters beyond ASCII may fold to a column's name
                for j in range(start, stop):
                    if data[j] >= 128:
                        worst = max(worst, 1)
        else:
            column = count if count < n else -1
        at, kind, start, stop, code = value(data, at, end)
        if code >= 2:
            return at, code
        worst = max(worst, code)
        count += 1
        if column >= 0:
            worst = max(worst, _put(column, row, kind, start, stop, op, table, room))
        at, done, code = _after(data, at, end, closing)
        if code >= 2:
            return at, code
    if not is_object and count != n:
        worst = max(worst, 1)
    for c in range(n):
        if kinds[c, row] == 0 and not rules[op, c] & 2:
            worst = max(worst, 1)
    return at, worst


_INSERT, _UPDATE, _DELETE = b"insert", b"update", b"delete"
_BEFORE, _AFTER, _PAYLOAD = b"before", b"after", b"payload"


@helper
def _is_word(data: Any, start: Any, stop: Any, word: Any) -> Any:
    if stop - start != len(word):
        return False
    same = True
    for j in range(len(word)):
        same = same and data[start + j] == word[j]
    return same


@helper
def _operation(data: Any, start: Any, stop: Any, form: Any) -> Any:
    """The operation that a key of an event asks for, -1 for none."""
    if form == 1:
        if _is_word(data, start, stop, _INSERT):
            return 1
        if _is_word(data, start, stop, _UPDATE):
            return 2
        return 0 if _is_word(data, start, stop, _DELETE) else -1
    if _is_word(data, start, stop, _AFTER):
        return 1
    return 0 if _is_word(data, start, stop, _BEFORE) else -1


@helper
def event(data: Any, at: Any, end: Any, form: Any, place: Any, table: Any, room: Any) -> Any:
    """The object of operations that begins at `at`: behind it, code, how many rows. In the form
    of Debezium it stands under "payload"."""
    ops = room[3]
    count, worst, last, seen, payloads = 0, 0, -1, 0, 0
    is_inside = form == 1
    if at >= end:
        return at, 3, count
    if data[at] != 123:
        at, _kind, _start, _stop, code = value(data, at, end)
        return at, max(code, 1), count
    at = space(data, at + 1, end)
    done = at < end and data[at] == 125
    if done:
        at += 1
    while not done:
        at, start, stop, code = _key(data, at, end)
        if code >= 2:
            return at, code, count
        worst = max(worst, code)
        op = -1
        if is_inside:
            op = _operation(data, start, stop, form)
        elif _is_word(data, start, stop, _PAYLOAD):
            payloads += 1
            if payloads == 1 and at < end and data[at] == 123:
                at = space(data, at + 1, end)
                is_inside = True
                if at >= end or data[at] != 125:
                    continue
                at += 1
                is_inside = False
                at, done, code = _after(data, at, end, 125)
                if code >= 2:
                    return at, code, count
                continue
            worst = 1
        if op <= last or (at < end and data[at] == 110):
            at, _kind, _start, _stop, code = value(data, at, end)
            # twice the same is one of them only, and the order of operations is fixed
            if op >= 0 and last >= 0:
                worst = max(worst, 1)
        else:
            at, code = row(data, at, end, op, place + count, table, room)
            ops[place + count] = op
            count += 1
            last = op
        if code >= 2:
            return at, code, count
        worst = max(worst, code)
        if op >= 0:
            if seen & (1 << op):
                worst = max(worst, 1)
            seen |= 1 << op
        at, done, code = _after(data, at, end, 125)
        if code < 2 and done and is_inside and form == 2:
            is_inside = False
            at, done, code = _after(data, at, end, 125)
        if code >= 2:
            return at, code, count
    if count == 0 if form == 1 else payloads != 1:
        worst = max(worst, 1)
    return at, worst, count
