"""Rows of the other side of a join that a condition keeps near to a row: a band of one column.

    l.ts BETWEEN r.ts AND r.ts + 40        rows of r, by ts     3   9  │ 20  31  52 │ 77
                                           l.ts = 55 finds             └ 15 ≤ ts ≤ 55

Each side is kept in the order of one of its columns, within each key where the join has one. What
a band leaves may still fail the condition, which decides about it.

    near        rows of the other side in the band of each of some rows
    in_reach    rows of one side that are in the band of any of some rows of the other, each once
    between_best    those that are in the band of what a key had there, or has, but not of both

Where another bound is about another column of theirs, and a band has many rows, only those blocks
are read of which some row is within that one too (`penstock.state.peaks`):

    l.ts BETWEEN r.valid_from AND r.valid_to

Cost: O(runs · log n) a row, besides the rows found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from penstock.circuit.spec import Bound
from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch
from penstock.data.gather import concat, slice_column, take, take_column
from penstock.data.types import BIGINT, SqlType
from penstock.state.groups import GroupTable
from penstock.state.ordered import OrderedSpine
from penstock.state.peaks import Peaks, PeaksOfRuns, counts_of, of_key, rows_of
from penstock.state.ranges import (
    TOP,
    Places,
    Span,
    pieces_of_span,
    rows_of_any,
    rows_of_spans,
    spans,
)

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: rows in the bands of a step, in all and for each row of it, that are read sooner than it is asked
#: which of them another bound leaves
_FEW, _FEW_EACH = 1 << 12, 64
_LEAST, _MOST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


class Band:
    """What `bounds` say of the column of either side that most of them are about."""

    def __init__(self, bounds: tuple[Bound, ...]) -> None:
        self.bounds = bounds
        #: of the left side and of the right one
        self.columns = _ordered_columns(bounds)
        #: a bound of another column of the side that is looked into by left rows, and by right ones
        self._others = _other_bound(bounds, self.columns, 1), _other_bound(bounds, self.columns, 0)
        self._peaks = tuple(map(_peaks, self._others, (True, False)))

    def near(
        self,
        spine: OrderedSpine,
        keys: Sequence[Column],
        rows: Batch,
        *,
        of_left: bool,
        most: int,
        cuts_one: bool,
    ) -> Iterator[tuple[I64, Batch]]:
        """Rows of `spine`, the other side, with the key in row i of `keys` and in the band of row
        i of `rows` (`of_left`: these stand on the left): (which of them, the row); those of some
        after those of others, so that no more than `most` are there at a time, or those of one,
        which come in pieces too where `cuts_one`."""
        low, high = self._within(spine, rows, of_left=of_left)
        found = spans(spine, keys, low, high)
        peaks, counts = None, [last - first for _, first, last in found]
        beyond = self._beyond(rows, counts, of_left=of_left)
        if beyond is not None:
            kind, wanted = beyond
            peaks = kind.of(spine, found)
            counts = counts_of(found, peaks, wanted)
        for start, stop in _pieces(counts, len(rows), most):
            of_these = [(run, low[start:stop], high[start:stop]) for run, low, high in found]
            mine = [slice_column(k, start, stop) for k in keys]
            is_much = peaks is None or sum(int(c[start]) for c in counts) > most
            if cuts_one and stop - start == 1 and is_much:
                for rows_of_one in pieces_of_span(spine, mine, of_these, most):
                    yield np.full(len(rows_of_one), start), rows_of_one
                continue
            if peaks is None:
                at, near = rows_of_spans(spine, mine, of_these)
            else:
                at, near = rows_reaching(spine, mine, of_these, peaks, wanted[start:stop])
            yield (at if not start else at + start), near

    def in_reach(
        self, spine: OrderedSpine, keys: Sequence[Column], rows: Batch, *, of_left: bool
    ) -> Batch:
        """The rows of `spine`, each once, that are in the band of any of `rows` of the other side
        (`of_left`: which stand on the left) with its key, and perhaps some others."""
        low, high = self._within(spine, rows, of_left=of_left)
        found = spans(spine, keys, low, high)
        beyond = self._beyond(rows, [last - first for _, first, last in found], of_left=of_left)
        # rows of another key with the same hash are no harm: they have no partner more or less
        if beyond is None:
            return rows_of_any(spine, found)
        kind, wanted = beyond
        reached = rows_of(found, kind.of(spine, found), wanted)
        parts = [
            take(run.batch, np.unique(row))
            for (run, _, _), (_, row) in zip(found, reached, strict=True)
        ]
        return concat([empty_batch(spine.schema), *parts])

    def _beyond(
        self, rows: Batch, counts: Sequence[I64], *, of_left: bool
    ) -> tuple[PeaksOfRuns, U64] | None:
        """How far rows of the other side must reach in another column to be partners of `rows`, if
        there is one and those in the bands are many: counts[j][i] of run j for row i."""
        bound, kind = self._others[not of_left], self._peaks[not of_left]
        if bound is None or kind is None:
            return None
        if sum(int(c.sum()) for c in counts) <= _FEW + _FEW_EACH * len(rows):
            return None
        mine, shift = (bound.left, bound.shift) if of_left else (bound.right, -bound.shift)
        value = rows.columns[mine]
        bare = Column(value.type, value.values, None, value.heaps)
        if shift:
            bare = Column(BIGINT, _moved(value.values.astype(np.int64), shift))
        wanted = kind.codes(bare)
        # what is not known has no partner
        return kind, wanted if value.valid is None else np.where(value.valid, wanted, TOP)

    def between_best(
        self, spine: OrderedSpine, keys: Sequence[Column], best: Batch, *, of_left: bool
    ) -> Batch:
        """The rows of `spine`, each once, that are in the band of some of `best` and not of all of
        them with its key, which are one or two: what a key had and what it has. The band has one
        end."""
        if not keys:
            groups, firsts = np.zeros(len(best), np.int64), np.zeros(1, np.int64)
        else:
            table = GroupTable(tuple(k.type for k in keys))
            groups = table.lookup_or_insert(tuple(keys), len(best))
            _, firsts = np.unique(groups, return_index=True)
        low, high = self._within(spine, best, of_left=of_left)
        theirs = self.columns[of_left]
        is_low = any(
            b.left_is_low == of_left and (b.right if of_left else b.left) == theirs
            for b in self.bounds
        )
        ends = low if is_low else high
        order = np.lexsort((ends.d, ends.c, groups))
        first = np.searchsorted(groups[order], np.arange(len(firsts)), "left")
        last = np.searchsorted(groups[order], np.arange(len(firsts)), "right") - 1
        least, most = ends.take(order[first]), ends.take(order[last])
        # what is as far as the end is beyond it, or not: that is for the condition
        least, most = Places(least.c, low.d[order[first]]), Places(most.c, high.d[order[last]])
        is_one = first == last
        if is_low:
            most.c[is_one], most.d[is_one] = TOP, TOP
        else:
            least.c[is_one], least.d[is_one] = 0, 0
        mine = [take_column(k, firsts) for k in keys]
        return rows_of_any(spine, spans(spine, mine, least, most))

    def _within(self, spine: OrderedSpine, rows: Batch, *, of_left: bool) -> tuple[Places, Places]:
        if not is_whole(spine.schema.types[self.columns[of_left]]):
            return self._words(spine, rows, of_left=of_left)
        low, high = self._ends(rows, of_left=of_left)
        return _place(spine, low, False), _place(spine, high, True)

    def _words(self, spine: OrderedSpine, rows: Batch, *, of_left: bool) -> tuple[Places, Places]:
        """The same of values that are no whole numbers, which nothing is added to."""
        n, column = len(rows), self.columns[of_left]
        type = spine.schema.types[column]
        low = Places(np.zeros(n, np.uint64), np.zeros(n, np.uint64))
        high = Places(np.full(n, TOP), np.full(n, TOP))
        for b in self.bounds:
            mine, theirs = (b.left, b.right) if of_left else (b.right, b.left)
            if theirs != column:
                continue
            value = rows.columns[mine]
            valid = value.valid if type.nullable else None
            at = Places(*spine.words_of((Column(type, value.values, valid, value.heaps),)))
            if b.left_is_low == of_left:
                closer = low.is_below(at)
                low = Places(np.where(closer, at.c, low.c), np.where(closer, at.d, low.d))
            else:
                closer = at.is_below(high)
                high = Places(np.where(closer, at.c, high.c), np.where(closer, at.d, high.d))
        return low, high

    def _ends(self, rows: Batch, *, of_left: bool) -> tuple[I64, I64]:
        """The first and last value of the other side's column, for each of `rows`."""
        n, column = len(rows), self.columns[of_left]
        low, high = np.full(n, _LEAST), np.full(n, _MOST)
        for b in self.bounds:
            mine, theirs, shift = (
                (b.left, b.right, b.shift) if of_left else (b.right, b.left, -b.shift)
            )
            if theirs != column:
                continue
            value = _moved(rows.columns[mine].values.astype(np.int64), shift)
            if b.left_is_low == of_left:
                low = np.maximum(low, value)
            else:
                high = np.minimum(high, value)
        return low, high


def is_whole(type: SqlType) -> bool:
    """Whether values are whole numbers of 64 bits, which something may be added to."""
    return not type.is_wide and np.issubdtype(type.dtype, np.integer)


def rows_reaching(
    spine: OrderedSpine, keys: Sequence[Column], found: Sequence[Span], peaks: Sequence[Peaks],
    wanted: U64,
) -> tuple[I64, Batch]:  # fmt: skip
    """The rows of `found` in blocks that reach wanted[i]: (needle, rows) as of `Spine.probe`."""
    parts = [(np.zeros(0, np.int64), empty_batch(spine.schema))]
    for (run, _, _), (needle, row) in zip(found, rows_of(found, peaks, wanted), strict=True):
        parts.append(of_key(spine, keys, run, needle, row))
    return np.concatenate([at for at, _ in parts]), concat([rows for _, rows in parts])


def _other_bound(bounds: Sequence[Bound], columns: tuple[int, int], side: int) -> Bound | None:
    """One that is about another column of `side` (0: the left one) than that it is ordered by."""
    for b in bounds:
        if (b.left, b.right)[side] != columns[side]:
            return b
    return None


def _peaks(bound: Bound | None, of_left: bool) -> PeaksOfRuns | None:
    """What rows that left rows (`of_left`), or right ones, look for must reach by `bound`."""
    if bound is None:
        return None
    column = bound.right if of_left else bound.left
    return PeaksOfRuns(column, downward=bound.left_is_low != of_left)


def _pieces(counts: Sequence[I64], n: int, most: int) -> Iterator[tuple[int, int]]:
    """Ranges of the `n` places that have no more than `most` rows, or are one; counts[j][i]: rows
    of run j for place i."""
    total = np.zeros(n, np.int64)
    for of_run in counts:
        total += of_run
    up_to = np.cumsum(total)
    start = 0
    while start < n:
        before = up_to[start - 1] if start else 0
        stop = int(np.searchsorted(up_to, before + most, "right"))
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def _ordered_columns(bounds: tuple[Bound, ...]) -> tuple[int, int]:
    """By which column of either side to order it: the one with bounds from both sides, if any."""

    def most(columns: list[tuple[int, bool]]) -> int:
        named = [c for c, _ in columns]
        return max(named, key=lambda c: len({low for d, low in columns if d == c}))

    return (
        most([(b.left, b.left_is_low) for b in bounds]),
        most([(b.right, b.left_is_low) for b in bounds]),
    )


def _moved(values: I64, shift: int) -> I64:
    """values + shift, within 64 bits."""
    if shift >= 0:
        return np.where(values > _MOST - min(shift, _MOST), _MOST, values + min(shift, _MOST))
    down = max(shift, _LEAST + 1)
    return np.where(values < _LEAST - down, _LEAST, values + down)


def _place(spine: OrderedSpine, values: I64, is_high: bool) -> Places:
    """The first or last place of rows with these values (the nearest their type has)."""
    ((column, _, _),) = spine.order
    type = spine.schema.types[column]
    info = np.iinfo(type.dtype)
    within = np.clip(values, info.min, info.max).astype(type.dtype)
    c, d = spine.words_of((Column(type, within),))
    return Places(c, np.full_like(d, TOP) if is_high and not type.nullable else d)
