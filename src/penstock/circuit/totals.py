"""Totals over parts of ordered partitions, whose rows are not read.

    a run       ──┬──────┬──────┬──────┬──────┬──     blocks, each with the total of all before it
    a part           └────────────────────┘           the rows at its ends are read, the blocks
                     read ┤whole blocks├ read         between them subtracted

Weights have signs, so the total of a part is the sum over the runs, whatever cancels out there.
Blocks' totals are made when they are first asked for, and for what is merged from then on by the
thread that merges. They are not saved.

Cost: O(runs · (log n + block)) a part; O(runs · log² n) for a row that is looked up by its number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, add_totals
from penstock.circuit.extremes import Least, Part, extremes
from penstock.circuit.float_frames import FloatSums, floats_of
from penstock.circuit.moments import wide_values
from penstock.circuit.wide import _add_scaled, add_wide
from penstock.data.batch import Batch, Column
from penstock.data.gather import slice_column, take_column
from penstock.data.hash import hash_columns, is_exact, rows_equal
from penstock.data.kernel import kernel
from penstock.data.types import FLOATS, Schema
from penstock.state.ordered import OrderedRun, OrderedSpine
from penstock.state.ranges import TOP, Places, search
from penstock.state.run import KEY_SEED, Run, _expand, _find
from penstock.state.words import Direction

U64 = npt.NDArray[np.uint64]

#: rows of a block
BLOCK = 64
#: blocks whose values are widened at a time
_CHUNK = 1024
#: places that are compared at a time, of all that are looked for, and of one at least and at most
_PLACES, _LEAST, _MOST = 4096, 3, 64


@dataclass(frozen=True, slots=True)
class Blocks:
    """What comes before each block of a run, and at last the whole: `rows`, int64[b + 1], and for
    each summed column `counts` of what is not NULL and `sums`, uint64[b + 1, 3], or `floats`.
    `least`: where the extreme values are. `one_key`: whether rows of equal hash have equal keys."""

    rows: Ids
    counts: tuple[Ids, ...]
    sums: tuple[U64, ...]
    floats: tuple[FloatSums | None, ...]
    least: tuple[Least, ...]
    one_key: bool

    @staticmethod
    def of(
        run: OrderedRun,
        key: Sequence[int],
        summed: Sequence[tuple[int, bool]],
        extremes: Sequence[tuple[int, bool]],
    ) -> Blocks:
        batch, n = run.batch, len(run)
        size = -(-n // BLOCK)
        counts, sums, floats = [], [], []
        for column, is_total in summed:
            valid = batch.columns[column].valid
            counts.append(_up_to(batch.weights if valid is None else batch.weights * valid))
            is_float = batch.columns[column].type.kind in FLOATS
            floats.append(_float_blocks(batch, column) if is_total and is_float else None)
            is_total &= not is_float
            total = np.zeros((size + 1 if is_total else 1, 3), np.uint64)
            for start in range(0, n if is_total else 0, _CHUNK * BLOCK):
                stop = min(n, start + _CHUNK * BLOCK)
                part = slice_column(batch.columns[column], start, stop)
                weights = _counted(part, batch.weights[start:stop])
                values = np.ascontiguousarray(wide_values(part))
                end = -(-stop // BLOCK) + 1
                _block_totals(values, weights, BLOCK, total[start // BLOCK : end])
            sums.append(total)
        stored = [batch.columns[k] for k in key]
        one_key = is_exact(stored, stored) or not n
        if not one_key:
            twins = np.flatnonzero(run.k[1:] == run.k[:-1])
            one_key = bool(rows_equal(stored, twins, stored, twins + 1).all())
        least = tuple(Least.of(run, column, greatest, BLOCK) for column, greatest in extremes)
        rows = _up_to(batch.weights)
        return Blocks(rows, tuple(counts), tuple(sums), tuple(floats), least, one_key)


def _float_blocks(batch: Batch, column: int) -> FloatSums:
    """What comes before each block, and at last the whole."""
    found = [FloatSums.of(0, *(np.zeros(0, np.int64),) * 2, np.zeros(0))]
    for start in range(0, len(batch), _CHUNK * BLOCK):
        stop = min(len(batch), start + _CHUNK * BLOCK)
        part = slice_column(batch.columns[column], start, stop)
        weights = _counted(part, batch.weights[start:stop])
        blocks = np.arange(stop - start) // BLOCK
        found.append(FloatSums.of(int(blocks[-1]) + 1, blocks, weights, floats_of(part)))
    return FloatSums.joined(found).up_to()


def _counted(column: Column, weights: Ids) -> Ids:
    return np.ascontiguousarray(weights if column.valid is None else weights * column.valid)


def _up_to(weights: Ids) -> Ids:
    begins = np.arange(0, len(weights), BLOCK)
    found: Ids = np.concatenate(
        (np.zeros(1, np.int64), np.cumsum(np.add.reduceat(weights, begins)))
    )
    return found


@kernel("void(uint64[:, ::1], int64[::1], int64, uint64[:, ::1])")
def _block_totals(values: Any, weights: Any, block: Any, out: Any) -> None:
    """out[i + 1] = out[0] + Σ values·weights of the blocks up to i."""
    for at in range(out.shape[0] - 1):
        for j in range(3):
            out[at + 1, j] = out[at, j]
        for i in range(at * block, min((at + 1) * block, values.shape[0])):
            if weights[i] != 0:
                _add_scaled(out, at + 1, values[i, 0], values[i, 1], weights[i])


@kernel("void(int64[::1], int64[::1], int64, int64[::1], int64[::1])")
def _rows_before(weights: Any, blocks: Any, block: Any, at: Any, out: Any) -> None:
    """out[i] += the weights before row at[i]; `blocks`: those before each block."""
    for i in range(at.shape[0]):
        b = at[i] // block
        total = blocks[b]
        for j in range(b * block, at[i]):
            total += weights[j]
        out[i] += total


@kernel("void(int64[::1], int64[::1], int64[::1], uint64[:, ::1], uint64[:, ::1])")
def _add_differences(ids: Any, first: Any, last: Any, blocks: Any, sums: Any) -> None:
    """sums[ids[i]] += blocks[last[i]] - blocks[first[i]], all of 192 bits."""
    for i in range(ids.shape[0]):
        borrow, carry = np.uint64(0), np.uint64(0)
        for j in range(3):
            x, y = blocks[last[i], j], blocks[first[i], j]
            part = x - y
            out = np.uint64(1) if x < y else np.uint64(0)
            rest = part - borrow
            borrow = np.uint64(1) if part < borrow else out
            total = sums[ids[i], j] + rest
            over = np.uint64(1) if total < rest else np.uint64(0)
            sums[ids[i], j] = total + carry
            carry = np.uint64(1) if total + carry < carry else over


class SummedSpine(OrderedSpine):
    """An ordered spine with totals of its columns `summed` (each with whether its values are added
    up, or only counted where they are not NULL) and extreme values of its columns `extremes` (each
    with whether these are the greatest)."""

    def __init__(
        self,
        schema: Schema,
        key: Sequence[int],
        order: Sequence[Direction],
        summed: Sequence[tuple[int, bool]],
        extremes: Sequence[tuple[int, bool]] = (),
        *,
        told_apart: bool = False,
        packed: bool = False,
        told_by: Sequence[int] = (),
    ) -> None:
        super().__init__(schema, key, order, told_apart=told_apart, packed=packed, told_by=told_by)
        self._summed, self.extremes = tuple(summed), tuple(extremes)
        self._blocks: WeakKeyDictionary[Run, Blocks] = WeakKeyDictionary()
        self._is_asked = False

    def blocks(self, run: Run) -> Blocks:
        found = self._blocks.get(run)
        if found is None:
            assert isinstance(run, OrderedRun)
            found = self._blocks[run] = Blocks.of(run, self.key, self._summed, self.extremes)
        return found

    def merged(self, lower: Run, upper: Run) -> Run:
        run = super().merged(lower, upper)
        if self._is_asked:
            self.blocks(run)
        return run

    def exchange(self, run: Run, equal: Run) -> None:
        found = self._blocks.get(run)
        if found is not None:
            assert isinstance(equal, OrderedRun)
            pairs = zip(found.least, self.extremes, strict=True)
            least = tuple(each.within(equal, column) for each, (column, _) in pairs)
            self._blocks[equal] = replace(found, least=least)
        super().exchange(run, equal)

    def totals(self, keys: Sequence[Column], n: int, more: Sequence[OrderedRun] = ()) -> Totals:
        """Of the partitions in the `n` rows of `keys`, as they are now, or will be with `more`."""
        self._is_asked = True
        return Totals(self, self._summed, keys, n, more)


@dataclass(frozen=True, slots=True)
class Sums:
    """Of each part how many rows it has and, for each summed column, how many that are not NULL
    and their sum, uint64[n, 3], or `floats`."""

    rows: Ids
    counts: tuple[Ids, ...]
    sums: tuple[U64, ...]
    floats: tuple[FloatSums | None, ...]


@dataclass(frozen=True, slots=True)
class _Found:
    """The rows of a run that have the key of each partition."""

    run: OrderedRun
    blocks: Blocks
    start: Ids
    stop: Ids


class Totals:
    """See the module. Partitions are named by their numbers, `of`."""

    def __init__(
        self,
        spine: SummedSpine,
        summed: Sequence[tuple[int, bool]],
        keys: Sequence[Column],
        n: int,
        more: Sequence[OrderedRun] = (),
    ) -> None:
        needles = hash_columns(keys, KEY_SEED, n=n)
        self._summed, self._spine = summed, spine
        self._found: list[_Found] = []
        ranks = np.argsort(needles, kind="stable")
        twins = np.flatnonzero(np.diff(needles[ranks]) == 0)
        #: whether one of the keys shares its hash with another, so that this may be nothing
        self.is_unsure = not rows_equal(keys, ranks[twins], keys, ranks[twins + 1]).all()
        for run in (*spine.runs(), *more):
            assert isinstance(run, OrderedRun)
            start, stop = np.empty(n, np.int64), np.empty(n, np.int64)
            if not _find(run.k, run.table, run.shift, needles, start, stop):
                continue
            stored, blocks = [run.batch.columns[k] for k in spine.key], spine.blocks(run)
            self.is_unsure |= not blocks.one_key
            if not is_exact(keys, stored):
                there = np.flatnonzero(start < stop)
                self.is_unsure |= not rows_equal(keys, there, stored, start[there]).all()
            self._found.append(_Found(run, blocks, start, stop))

    def rank(self, of: Ids, at: Places, *, behind: bool) -> Ids:
        """int64[n]: how many rows of its partition come before each place, or (`behind`) up to
        it."""
        total = np.zeros(len(of), np.int64)
        for f in self._found:
            edge = np.empty(len(of), np.int64)
            begin, end = f.start[of], f.stop[of]
            search(f.run.c, f.run.d, begin, end, at.c, at.d, behind, edge)
            self._add_rows(f, edge, begin, total)
        return total

    def _add_rows(self, f: _Found, edge: Ids, begin: Ids, total: Ids) -> None:
        """total += the rows from `begin` up to `edge`."""
        less = np.zeros(len(total), np.int64)
        weights = f.run.batch.weights
        _rows_before(weights, f.blocks.rows, BLOCK, edge, total)
        _rows_before(weights, f.blocks.rows, BLOCK, begin, less)
        total -= less

    def place_of(self, of: Ids, rank: Ids) -> Places:
        """Where row number rank[i] of each partition lies; the first place of all for a negative
        number, the last for one that no row has. No row may be there less than zero times."""
        n = len(of)
        count = np.zeros(n, np.int64)
        for f in self._found:
            self._add_rows(f, f.stop[of], f.start[of], count)
        found = Places(np.where(rank < 0, np.uint64(0), TOP), np.where(rank < 0, np.uint64(0), TOP))
        left = np.flatnonzero((rank >= 0) & (rank < count))
        if not len(left):
            return found
        of, rank = of[left], rank[left]
        # rows that may be the one, in each run: those above the last place that is not above it
        inside = [(f.start[of], f.stop[of]) for f in self._found]
        last = Places(np.zeros(len(of), np.uint64), np.zeros(len(of), np.uint64))
        width = min(_MOST, max(_LEAST, _PLACES // len(of)))
        while True:
            sizes = np.stack([stop - start for start, stop in inside])
            largest = sizes.argmax(axis=0)
            left_over = sizes.max(axis=0)
            todo = np.flatnonzero(left_over)
            if not len(todo):
                break
            self._narrow(of, rank, todo, largest, width, inside, last)
        found.c[left], found.d[left] = last.c, last.d
        return found

    def _narrow(
        self, of: Ids, rank: Ids, todo: Ids, largest: Ids, width: int,
        inside: list[tuple[Ids, Ids]], last: Places,
    ) -> None:  # fmt: skip
        """Look at `width` places of the largest of the parts that each of `todo` may be in."""
        m = len(todo)
        c, d = np.empty((m, width), np.uint64), np.empty((m, width), np.uint64)
        for i, (f, (start, stop)) in enumerate(zip(self._found, inside, strict=True)):
            mine = np.flatnonzero(largest[todo] == i)
            begin, size = start[todo[mine]], (stop - start)[todo[mine]]
            step = (np.arange(width) * size[:, None] + size[:, None] // 2) // width
            rows = begin[:, None] + step
            c[mine], d[mine] = f.run.c[rows], f.run.d[rows]
        places, whose = Places(c.ravel(), d.ravel()), np.repeat(todo, width)
        before = self.rank(of[whose], places, behind=False).reshape(m, width)
        # those that come before it, or with it, are as many as its place among them
        below = (before <= rank[todo][:, None]).sum(axis=1)
        has = np.flatnonzero(below > 0)
        low = Places(c[has, below[has] - 1], d[has, below[has] - 1])
        last.c[todo[has]], last.d[todo[has]] = low.c, low.d
        ends = np.flatnonzero(below < width)
        high = Places(c[ends, below[ends]], d[ends, below[ends]])
        for f, (start, stop) in zip(self._found, inside, strict=True):
            begin, end = start[todo], stop[todo]
            edge = np.empty(len(has), np.int64)
            search(f.run.c, f.run.d, begin[has], end[has], low.c, low.d, True, edge)
            start[todo[has]] = edge
            edge = np.empty(len(ends), np.int64)
            search(f.run.c, f.run.d, begin[ends], end[ends], high.c, high.d, False, edge)
            stop[todo[ends]] = np.maximum(edge, start[todo[ends]])

    def extreme(self, of: Ids, low: Places, high: Places, which: int) -> Column:
        """The value of the spine's extreme `which` in the rows of each partition from low[i] to
        high[i], both included; NULL without one."""
        (column, _), n, parts = self._spine.extremes[which], len(of), []
        for f in self._found:
            part = Part(f.run, f.blocks.least[which], *self._rows(f, of, low, high))
            if (part.first < part.last).any():
                parts.append(part)
        return extremes(parts, n, self._spine.schema, column, BLOCK)

    def _rows(self, f: _Found, of: Ids, low: Places, high: Places) -> tuple[Ids, Ids]:
        """Which rows of a run are from low[i] to high[i]."""
        first, last = np.empty(len(of), np.int64), np.empty(len(of), np.int64)
        begin, end = f.start[of], f.stop[of]
        search(f.run.c, f.run.d, begin, end, low.c, low.d, False, first)
        search(f.run.c, f.run.d, begin, end, high.c, high.d, True, last)
        return first, np.maximum(first, last)

    def between(self, of: Ids, low: Places, high: Places) -> Sums:
        """Of the rows of each partition from low[i] to high[i], both included."""
        n = len(of)
        rows = np.zeros(n, np.int64)
        counts = tuple(np.zeros(n, np.int64) for _ in self._summed)
        sums = tuple(np.zeros((n, 3), np.uint64) for _ in self._summed)
        floats: list[FloatSums | None] = [None] * len(sums)
        for f in self._found:
            first, last = self._rows(f, of, low, high)
            block, stop = -(-first // BLOCK), last // BLOCK
            whole = np.flatnonzero(block < stop)
            is_whole = block < stop
            ends = np.where(is_whole, block * BLOCK, last), np.where(is_whole, stop * BLOCK, last)
            parts = np.concatenate((first, ends[1])), np.concatenate((ends[0], last))
            total = int((parts[1] - parts[0]).sum())
            at, row = np.empty(total, np.int64), np.empty(total, np.int64)
            _expand(*parts, at, row)
            at %= n
            weights = f.run.batch.weights[row]
            add_totals(at, weights, rows)
            rows[whole] += f.blocks.rows[stop[whole]] - f.blocks.rows[block[whole]]
            for i, (column, is_total) in enumerate(self._summed):
                values = take_column(f.run.batch.columns[column], row)
                counted = _counted(values, weights)
                add_totals(at, counted, counts[i])
                known = f.blocks.counts[i]
                counts[i][whole] += known[stop[whole]] - known[block[whole]]
                before = f.blocks.floats[i]
                if before is not None:
                    own = FloatSums.of(n, at, counted, floats_of(values))
                    own = own.plus(whole, before.take(stop[whole]))
                    own = own.plus(whole, before.take(block[whole]), -1)
                    known_already = floats[i]
                    if known_already is not None:
                        own = known_already.plus(np.arange(n), own)
                    floats[i] = own
                elif is_total:
                    wide, none = np.ascontiguousarray(wide_values(values)), np.zeros(0, np.int64)
                    add_wide(at, counted, wide, sums[i], none)
                    blocks = f.blocks.sums[i]
                    _add_differences(whole, block[whole], stop[whole], blocks, sums[i])
        return Sums(rows, counts, sums, tuple(floats))
