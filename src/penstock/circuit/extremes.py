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
from penstock.data.kernel import kernel
from penstock.data.order import sort_indices
from penstock.data.types import BIGINT, FLOATS, UNSIGNED, Field, Kind, Schema, SqlType
from penstock.state.ordered import OrderedRun
from penstock.state.ranges import search
from penstock.state.run import _expand

U64 = npt.NDArray[np.uint64]

#: digits of decimals that one word holds
_DIGITS = 18
#: rows that are there no more, one after the other, before a part is read
ROUNDS = 16
_SIGN = np.uint64(1 << 63)
_BITS, _SIGNED, _FLOAT = range(3)


def has_one_word(type: SqlType) -> bool:
    """Whether a word tells the values of `type` apart, and their order."""
    if type.kind is Kind.DECIMAL:
        return (type.precision or _DIGITS + 1) <= _DIGITS
    return not type.is_wide


def _words(column: Column) -> tuple[U64, int]:
    """(uint64[n, 1 or 2], the first of which makes a value's code, and how). The column's own
    memory, if its values have 64 bits."""
    kind, values = column.type.kind, np.ascontiguousarray(column.values)
    if kind is Kind.DECIMAL:
        return values.view(np.uint64), _SIGNED
    if kind in FLOATS:
        return values.astype(np.float64, copy=False).view(np.uint64)[:, None], _FLOAT
    if kind in UNSIGNED or kind is Kind.BOOLEAN:
        return values.astype(np.uint64, copy=False)[:, None], _BITS
    return values.astype(np.int64, copy=False).view(np.uint64)[:, None], _SIGNED


@inlined
def _code(words: Any, row: Any, how: Any, greatest: Any) -> Any:
    """What is less where the value of `row` comes first."""
    code = words[row, 0]
    if how == 1:
        code ^= _SIGN
    elif how == 2:
        code = ~code if code & _SIGN else code | _SIGN
    return ~code if greatest else code


@dataclass(frozen=True, slots=True)
class Least:
    """Of a column of a run: the first row of the least code, `at` (-1 without one), and that code,
    of each block, of each block of blocks, …; level i ends with entry ends[i + 1]."""

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
        at, code = np.empty(ends[-1], np.int64), np.empty(ends[-1], np.uint64)
        valid = np.zeros(0, np.uint8) if values.valid is None else values.valid
        weights = run.batch.weights
        _fill(words, how, greatest, weights, valid, block, ends, at, code)
        return Least(words, how, greatest, weights, valid, at, code, ends)

    def within(self, run: OrderedRun, column: int) -> Least:
        """The same of an equal run, without the memory of the first."""
        values, weights = run.batch.columns[column], run.batch.weights
        valid = self.valid if values.valid is None else values.valid
        return replace(self, words=_words(values)[0], weights=weights, valid=valid)

    def find(self, block: int, first: Ids, last: Ids, after: U64, behind: Ids) -> tuple[Ids, U64]:
        """(row, code) of the least in rows first[i] .. last[i], of those whose (code, row) is above
        (after[i], behind[i]); -1 where there is none."""
        row, code = np.empty(len(first), np.int64), np.empty(len(first), np.uint64)
        _find(
            self.words, self.how, self.greatest, self.weights, self.valid, block, self.ends,
            self.at, self.code, first, last, after, behind, row, code,
        )  # fmt: skip
        return row, code


@kernel(
    "void(uint64[:, ::1], int64, boolean, int64[::1], uint8[::1], int64, int64[::1], int64[::1], "
    "uint64[::1])"
)
def _fill(
    words: Any, how: Any, greatest: Any, weights: Any, valid: Any, block: Any, ends: Any,
    at: Any, code: Any,
) -> None:  # fmt: skip
    n = words.shape[0]
    for entry in range(ends[1]):
        at[entry], code[entry] = -1, np.uint64(0)
        for row in range(entry * block, min(n, (entry + 1) * block)):
            if weights[row] > 0 and (valid.shape[0] == 0 or valid[row] != 0):
                x = _code(words, row, how, greatest)
                if at[entry] < 0 or x < code[entry]:
                    at[entry], code[entry] = row, x
    for level in range(1, ends.shape[0] - 1):
        below, mine = ends[level - 1], ends[level]
        size = mine - below
        for entry in range(ends[level + 1] - mine):
            at[mine + entry], code[mine + entry] = -1, np.uint64(0)
            for j in range(below + entry * block, below + min(size, (entry + 1) * block)):
                none_yet = at[mine + entry] < 0
                if at[j] >= 0 and (none_yet or code[j] < code[mine + entry]):
                    at[mine + entry], code[mine + entry] = at[j], code[j]


@kernel(
    "void(uint64[:, ::1], int64, boolean, int64[::1], uint8[::1], int64, int64[::1], int64[::1], "
    "uint64[::1], int64[::1], int64[::1], uint64[::1], int64[::1], int64[::1], uint64[::1])"
)
def _find(
    words: Any, how: Any, greatest: Any, weights: Any, valid: Any, block: Any, ends: Any,
    at: Any, code: Any, first: Any, last: Any, after: Any, behind: Any, out: Any, out_code: Any,
) -> None:  # fmt: skip
    levels = ends.shape[0] - 1
    # what is still to be looked at: entries of a level, rows are level 0
    todo = np.empty(((levels + 2) * (2 * block + 4), 3), np.int64)
    for i in range(first.shape[0]):
        best, least = np.int64(-1), np.uint64(0)
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
                    x = _code(words, row, how, greatest)
                else:
                    row, x = at[ends[level - 1] + j], code[ends[level - 1] + j]
                    if row < 0:
                        continue
                if best >= 0 and (x > least or (x == least and row >= best)):
                    continue
                if x < after[i] or (x == after[i] and row <= behind[i]):
                    if level > 0:
                        size = ends[level - 1] - ends[level - 2] if level > 1 else words.shape[0]
                        todo[left, 0], todo[left, 1] = level - 1, j * block
                        todo[left, 2] = min(size, (j + 1) * block)
                        left += 1
                    continue
                best, least = row, x
        out[i], out_code[i] = best, least


@kernel("void(uint64[::1], int64[::1], int64[::1], uint64[::1])")
def _narrow(r: Any, first: Any, last: Any, wanted: Any) -> None:
    """Of rows first[i] .. last[i], which ascend by r: those whose r is wanted[i]."""
    for i in range(first.shape[0]):
        a, b = first[i], last[i]
        while a < b:
            m = (a + b) >> 1
            if r[m] < wanted[i]:
                a = m + 1
            else:
                b = m
        first[i] = a
        while a < last[i] and r[a] == wanted[i]:
            a += 1
        last[i] = a


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
    after, behind = np.zeros(n, np.uint64), np.full((len(parts), n), -1, np.int64)
    todo = np.arange(n)
    for _ in range(ROUNDS):
        if not len(todo) or not parts:
            break
        row, code = np.full(len(todo), -1, np.int64), np.zeros(len(todo), np.uint64)
        which = np.zeros(len(todo), np.int64)
        for i, p in enumerate(parts):
            mine, words = p.least.find(
                block, p.first[todo], p.last[todo], after[todo], behind[i][todo]
            )
            sooner = (mine >= 0) & ((row < 0) | (words < code))
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
        _narrow(p.run.r, first, last, r)
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
