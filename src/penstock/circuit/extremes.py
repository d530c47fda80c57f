"""The least or greatest values of parts of ordered partitions, whose rows are not read.

    rows     5 7 2 9 │ 3 8 4 6 │ …        blocks of rows, each with its least value and where
    blocks   2       │ 3       │ …        that is; blocks of blocks likewise, up to one

Runs never change, so a value that was taken back is still in its run. What is found is therefore
looked up in all runs as a row: if nothing is left of it, the next one behind it is asked for, where
blocks that begin with what is gone are entered. After some of those the part is read.

Cost: O(runs · block · log n) a part and for each row found that is there no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids
from penstock.circuit.floating import inlined
from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, concat_columns, take, take_column
from penstock.data.hash import rows_equal
from penstock.data.heap import heap_addresses
from penstock.data.kernel import kernel
from penstock.data.order import sort_indices
from penstock.data.pointers import load_u8, load_u64
from penstock.data.types import BIGINT, FLOATS, UNSIGNED, Field, Kind, Schema
from penstock.data.views import compare
from penstock.state.ordered import OrderedRun
from penstock.state.ranges import search
from penstock.state.run import _expand
from penstock.state.tied import narrow

U64 = npt.NDArray[np.uint64]

#: digits of decimals that one word holds
_DIGITS = 18
#: rows that are there no more, one after the other, before a part is read
ROUNDS = 16
#: where a part is looked at from its first value on
_FROM_THE_FIRST = -2
_SIGN = np.uint64(1 << 63)
#: what a value's words are: a number without or with a sign, a float, both words of a number, of a
#: UUID, a view of a string
_BITS, _SIGNED, _FLOAT, _LONG, _UUID, _VIEW = range(6)


def _words(column: Column) -> tuple[U64, int]:
    """(uint64[n, 1 or 2], the words of each value, and what they are). The column's own memory, if
    its values have 64 bits or more."""
    kind, values = column.type.kind, np.ascontiguousarray(column.values)
    if column.type.is_view:
        return values, _VIEW
    if kind is Kind.DECIMAL:
        return values, _LONG if (column.type.precision or _DIGITS + 1) > _DIGITS else _SIGNED
    if kind is Kind.UUID:
        return values, _UUID
    if kind in FLOATS:
        return values.astype(np.float64, copy=False).view(np.uint64)[:, None], _FLOAT
    if kind in UNSIGNED or kind is Kind.BOOLEAN:
        return values.astype(np.uint64, copy=False)[:, None], _BITS
    return values.astype(np.int64, copy=False).view(np.uint64)[:, None], _SIGNED


@inlined
def _swapped(x: Any) -> Any:
    """Its bytes in the opposite order."""
    low, pairs = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
    x = ((x >> np.uint64(8)) & low) | ((x & low) << np.uint64(8))
    x = ((x >> np.uint64(16)) & pairs) | ((x & pairs) << np.uint64(16))
    return (x >> np.uint64(32)) | (x << np.uint64(32))


@inlined
def _code(words: Any, row: Any, how: Any, greatest: Any) -> Any:
    """Two words that are less where the value of `row` comes first; a string's view as it is."""
    high, low = words[row, 0], np.uint64(0)
    if how == 5:
        return high, words[row, 1]
    if how == 1:
        high ^= _SIGN
    elif how == 2:
        high = ~high if high & _SIGN else high | _SIGN
    elif how == 3:
        high, low = words[row, 1] ^ _SIGN, high
    elif how == 4:
        high, low = _swapped(high), _swapped(words[row, 1])
    if greatest:
        return ~high, ~low
    return high, low


@inlined
def _against(a: Any, b: Any, c: Any, d: Any, how: Any, greatest: Any, addresses: Any) -> Any:
    """Whether code (a, b) comes before (c, d): negative; behind it: positive; is the same: 0."""
    if how == 5:
        sign = _of_strings(a, b, c, d, addresses)
        return -sign if greatest else sign
    if a != c:
        return -1 if a < c else 1
    if b != d:
        return -1 if b < d else 1
    return 0


@inlined
def _of_strings(a0: Any, a1: Any, b0: Any, b1: Any, addresses: Any) -> Any:
    """The sign of one string compared with another, by bytes, from their views."""
    if a0 == b0 and a1 == b1:
        return 0
    low, half, four = np.uint64(0xFFFFFFFF), np.uint64(32), np.uint64(4)
    x, y = _swapped(a0 >> half), _swapped(b0 >> half)
    if x != y:
        return -1 if x < y else 1
    length, other = a0 & low, b0 & low
    p, q = np.uint64(0), np.uint64(0)
    if length > 12:
        p = addresses[a1 & low] + (a1 >> half)
    if other > 12:
        q = addresses[b1 & low] + (b1 >> half)
    shorter = min(length, other)
    at = four
    if length > 12 and other > 12:
        while at + np.uint64(8) <= shorter and load_u64(p + at) == load_u64(q + at):
            at += np.uint64(8)
    while at < shorter:
        if length > 12:
            x = np.uint64(load_u8(p + at))
        else:
            x = (a1 >> (np.uint64(8) * (at - four))) & np.uint64(0xFF)
        if other > 12:
            y = np.uint64(load_u8(q + at))
        else:
            y = (b1 >> (np.uint64(8) * (at - four))) & np.uint64(0xFF)
        if x != y:
            return -1 if x < y else 1
        at += np.uint64(1)
    if length == other:
        return 0
    return -1 if length < other else 1


@dataclass(frozen=True, slots=True)
class Least:
    """Of a column of a run: the first row of the least code, `at` (-1 without one), and that code,
    uint64[n, 2], of each block, of each block of blocks, …; level i ends with entry ends[i + 1]."""

    words: U64
    how: int
    greatest: bool
    weights: Ids
    valid: npt.NDArray[np.uint8]
    at: Ids
    code: U64
    ends: Ids

    @staticmethod
    def of(run: OrderedRun, column: int, greatest: bool, block: int) -> Least:
        values = run.batch.columns[column]
        words, how = _words(values)
        sizes, n = [0], len(run)
        while n > 1 or len(sizes) == 1:
            n = -(-n // block)
            sizes.append(n)
        ends = np.cumsum(np.array(sizes, np.int64))
        at, code = np.empty(ends[-1], np.int64), np.empty((ends[-1], 2), np.uint64)
        valid = np.zeros(0, np.uint8) if values.valid is None else values.valid
        weights = run.batch.weights
        _fill(words, how, greatest, heap_addresses(), weights, valid, block, ends, at, code)
        return Least(words, how, greatest, weights, valid, at, code, ends)

    def within(self, run: OrderedRun, column: int) -> Least:
        """The same of an equal run, without the memory of the first."""
        values, weights = run.batch.columns[column], run.batch.weights
        valid = self.valid if values.valid is None else values.valid
        words, code = _words(values)[0], self.code
        if self.how == _VIEW:
            # their heaps are those of the first
            code = words.take(np.maximum(self.at, 0), axis=0)
        return replace(self, words=words, weights=weights, valid=valid, code=code)

    def find(self, block: int, first: Ids, last: Ids, after: U64, behind: Ids) -> tuple[Ids, U64]:
        """(row, code) of the least in rows first[i] .. last[i], of those whose (code, row) is above
        (after[i], behind[i]), or of all if behind[i] says so; -1 where there is none."""
        row, code = np.empty(len(first), np.int64), np.empty((len(first), 2), np.uint64)
        _find(
            self.words, self.how, self.greatest, heap_addresses(), self.weights, self.valid, block,
            self.ends, self.at, self.code, first, last, after, behind, row, code,
        )  # fmt: skip
        return row, code

    def are_before(self, a: U64, b: U64) -> npt.NDArray[np.bool_]:
        """Which of the codes `a` come before those of `b`."""
        if self.how == _VIEW:
            sign = compare(a, b, len(a))
            signed: npt.NDArray[np.bool_] = sign > 0 if self.greatest else sign < 0
            return signed
        high = a[:, 0] < b[:, 0]
        found: npt.NDArray[np.bool_] = high | ((a[:, 0] == b[:, 0]) & (a[:, 1] < b[:, 1]))
        return found


@kernel(
    "void(uint64[:, ::1], int64, boolean, uint64[::1], int64[::1], uint8[::1], int64, int64[::1], "
    "int64[::1], uint64[:, ::1])"
)
def _fill(
    words: Any, how: Any, greatest: Any, addresses: Any, weights: Any, valid: Any, block: Any,
    ends: Any, at: Any, code: Any,
) -> None:  # fmt: skip
    n = words.shape[0]
    for entry in range(ends[1]):
        best, a, b = np.int64(-1), np.uint64(0), np.uint64(0)
        for row in range(entry * block, min(n, (entry + 1) * block)):
            if weights[row] > 0 and (valid.shape[0] == 0 or valid[row] != 0):
                x, y = _code(words, row, how, greatest)
                if best < 0 or _against(x, y, a, b, how, greatest, addresses) < 0:
                    best, a, b = np.int64(row), x, y
        at[entry], code[entry, 0], code[entry, 1] = best, a, b
    for level in range(1, ends.shape[0] - 1):
        below, mine = ends[level - 1], ends[level]
        size = mine - below
        for entry in range(ends[level + 1] - mine):
            best, a, b = np.int64(-1), np.uint64(0), np.uint64(0)
            for j in range(below + entry * block, below + min(size, (entry + 1) * block)):
                x, y = code[j, 0], code[j, 1]
                if at[j] >= 0 and (best < 0 or _against(x, y, a, b, how, greatest, addresses) < 0):
                    best, a, b = at[j], x, y
            at[mine + entry], code[mine + entry, 0], code[mine + entry, 1] = best, a, b


@kernel(
    "void(uint64[:, ::1], int64, boolean, uint64[::1], int64[::1], uint8[::1], int64, int64[::1], "
    "int64[::1], uint64[:, ::1], int64[::1], int64[::1], uint64[:, ::1], int64[::1], int64[::1], "
    "uint64[:, ::1])"
)
def _find(
    words: Any, how: Any, greatest: Any, addresses: Any, weights: Any, valid: Any, block: Any,
    ends: Any, at: Any, code: Any, first: Any, last: Any, after: Any, behind: Any, out: Any,
    out_code: Any,
) -> None:  # fmt: skip
    levels = ends.shape[0] - 1
    # what is still to be looked at: entries of a level, rows are level 0
    todo = np.empty(((levels + 2) * (2 * block + 4), 3), np.int64)
    for i in range(first.shape[0]):
        best, a, b = np.int64(-1), np.uint64(0), np.uint64(0)
        todo[0, 0], todo[0, 1], todo[0, 2] = 0, first[i], last[i]
        left = 1
        while left > 0:
            left -= 1
            level, start, stop = todo[left, 0], todo[left, 1], todo[left, 2]
            if level < levels and stop - start > 2 * block:
                low, high = (start + block - 1) // block, stop // block
                todo[left, 0], todo[left, 1], todo[left, 2] = level, high * block, stop
                todo[left + 1, 0], todo[left + 1, 1], todo[left + 1, 2] = level, start, low * block
                todo[left + 2, 0], todo[left + 2, 1], todo[left + 2, 2] = level + 1, low, high
                left += 3
                continue
            for j in range(start, stop):
                row = np.int64(j)
                if level == 0:
                    if weights[row] <= 0 or (valid.shape[0] > 0 and valid[row] == 0):
                        continue
                    x, y = _code(words, row, how, greatest)
                else:
                    entry = ends[level - 1] + j
                    row, x, y = at[entry], code[entry, 0], code[entry, 1]
                    if row < 0:
                        continue
                if best >= 0:
                    sign = _against(x, y, a, b, how, greatest, addresses)
                    if sign > 0 or (sign == 0 and row >= best):
                        continue
                if behind[i] > -2:
                    sign = _against(x, y, after[i, 0], after[i, 1], how, greatest, addresses)
                    if sign < 0 or (sign == 0 and row <= behind[i]):
                        if level > 0:
                            size = words.shape[0]
                            if level > 1:
                                size = ends[level - 1] - ends[level - 2]
                            todo[left, 0], todo[left, 1] = level - 1, j * block
                            todo[left, 2] = min(size, (j + 1) * block)
                            left += 1
                        continue
                best, a, b = row, x, y
        out[i], out_code[i, 0], out_code[i, 1] = best, a, b


@dataclass(frozen=True, slots=True)
class Part:
    """Rows first[i] .. last[i] of a run are those of part i, before what cancels out."""

    run: OrderedRun
    least: Least
    first: Ids
    last: Ids


def extremes(parts: Sequence[Part], n: int, schema: Schema, column: int, block: int) -> Column:
    """The least (or greatest) value in `column` of the rows that are there, of each of `n` parts;
    NULL without one. The rows, of `schema`, of a part are of one partition."""
    best, best_run = np.full(n, -1, np.int64), np.zeros(n, np.int64)
    after, behind = np.zeros((n, 2), np.uint64), np.full((len(parts), n), _FROM_THE_FIRST)
    todo = np.arange(n)
    for _ in range(ROUNDS):
        if not len(todo) or not parts:
            break
        row, code = np.full(len(todo), -1, np.int64), np.zeros((len(todo), 2), np.uint64)
        which = np.zeros(len(todo), np.int64)
        for i, p in enumerate(parts):
            mine, words = p.least.find(
                block, p.first[todo], p.last[todo], after[todo], behind[i][todo]
            )
            sooner = (mine >= 0) & ((row < 0) | p.least.are_before(words, code))
            row[sooner], code[sooner], which[sooner] = mine[sooner], words[sooner], i
        found = row >= 0
        todo, row, code, which = todo[found], row[found], code[found], which[found]
        is_there = _weights(parts, todo, which, row) > 0
        best[todo[is_there]], best_run[todo[is_there]] = row[is_there], which[is_there]
        gone = ~is_there
        todo, row, code, which = todo[gone], row[gone], code[gone], which[gone]
        after[todo] = code
        for i in range(len(parts)):
            # equal ones of runs before this one were looked at, those of later ones were not
            behind[i][todo] = np.where(which > i, len(parts[i].run), np.where(which < i, -1, row))
    values = [empty_batch(schema).columns[column]]
    where, count = np.full(n, -1, np.int64), 0
    for i, p in enumerate(parts):
        mine = np.flatnonzero((best >= 0) & (best_run == i))
        values.append(take_column(p.run.batch.columns[column], best[mine]))
        where[mine] = count + np.arange(len(mine))
        count += len(mine)
    if len(todo) and parts:
        of, read = _read(parts, todo, column)
        values.append(read)
        where[of] = count + np.arange(len(of))
    return take_column(concat_columns(values), where, null_at_minus_one=True)


def _weights(parts: Sequence[Part], of: Ids, which: Ids, row: Ids) -> Ids:
    """How often row row[i] of run which[i], which lies in part of[i], is there in all runs."""
    m = len(of)
    c, d, r = (np.empty(m, np.uint64) for _ in range(3))
    batches, where, count = [], np.empty(m, np.int64), 0
    for i, p in enumerate(parts):
        mine = np.flatnonzero(which == i)
        at = row[mine]
        c[mine], d[mine], r[mine] = p.run.c[at], p.run.d[at], p.run.r[at]
        batches.append(take(p.run.batch, at))
        where[mine] = count + np.arange(len(mine))
        count += len(mine)
    wanted = concat(batches)
    total = np.zeros(m, np.int64)
    for p in parts:
        first, last = np.empty(m, np.int64), np.empty(m, np.int64)
        begin, end = p.first[of], p.last[of]
        search(p.run.c, p.run.d, begin, end, c, d, False, first)
        search(p.run.c, p.run.d, begin, end, c, d, True, last)
        narrow(p.run.r, first, last, r)
        size = int((last - first).sum())
        needle, at = np.empty(size, np.int64), np.empty(size, np.int64)
        _expand(first, last, needle, at)
        same = rows_equal(wanted.columns, where[needle], p.run.batch.columns, at) != 0
        np.add.at(total, needle[same], p.run.batch.weights[at[same]])
    return total


def _read(parts: Sequence[Part], todo: Ids, column: int) -> tuple[Ids, Column]:
    """(which of the parts `todo` has a value, the first of each), from their rows."""
    batches = []
    for p in parts:
        first, last = p.first[todo], p.last[todo]
        size = int((last - first).sum())
        needle, at = np.empty(size, np.int64), np.empty(size, np.int64)
        _expand(first, last, needle, at)
        rows = take(p.run.batch, at)
        part = Column(BIGINT.with_nullable(False), needle)
        schema = Schema((Field("$part", part.type), *rows.schema.fields))
        batches.append(Batch(schema, (part, *rows.columns), rows.weights))
    rows = consolidate(concat(batches))
    part, values = rows.columns[0], rows.columns[1 + column]
    kept = rows.weights > 0
    if values.valid is not None:
        kept &= values.valid != 0
    at = np.flatnonzero(kept)
    part, values = take_column(part, at), take_column(values, at)
    greatest = parts[0].least.greatest
    order = sort_indices((part, values), ((False, True), (greatest, True)))
    which = part.values[order]
    begins = np.flatnonzero(np.diff(which, prepend=-1) != 0)
    return todo[which[begins]], take_column(values, order[begins])
