"""Bring a batch of weighted rows to normal form.

A batch is *consolidated* when no two rows are equal and no weight is zero. Two consolidated
batches hold the same Z-set exactly when they hold the same (row, weight) pairs.

    x │ weight          x │ weight
    ──┼───────          ──┼───────
    1 │   +1            1 │   +2
    1 │   +1     ──►    (row 2 cancelled out)
    2 │   +1
    2 │   -1

Rows with equal hashes are compared; a collision costs time, never correctness. Equal hashes are
found by a table. That of a large batch would be larger than the processor's caches, and each look
at it a wait for memory, so the hashes are first put together by their upper bits, in parts whose
tables are small:

    hashes  7a… 02… 7b… 03… ──► 02… 03… │ 7a… 7b…        a table a part, one after the other

Cost: O(n) in the batch, one comparison a duplicate; while it is made, 20 bytes a row. The order of
the result is unspecified.

Not here: merging sorted runs (`penstock.state`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Batch, Column
from penstock.data.gather import concat_all, filter_batch, take
from penstock.data.hash import hash_columns, is_exact, rows_equal
from penstock.data.kernel import kernel
from penstock.data.masks import all_set, positions
from penstock.data.types import BIGINT, Field, Schema

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: rows of a batch that is made in parts, about so many rows each, but no more parts than that
LARGE_ROWS, PART_ROWS, MOST_PARTS = 1 << 18, 1 << 15, 1 << 11


def group_rows(columns: Sequence[Column], hashes: U64) -> tuple[I64, I64]:
    """Equal rows together: (order, starts), so that rows order[starts[g]:starts[g + 1]] are the
    g-th set of equal rows (the last set ends with the batch), earliest row first."""
    order = np.argsort(hashes, kind="stable")
    sorted_hashes = hashes[order]
    is_first = np.empty(len(order), bool)
    is_first[:1] = True
    np.not_equal(sorted_hashes[1:], sorted_hashes[:-1], out=is_first[1:])
    repeats = np.flatnonzero(~is_first)
    if len(repeats):
        equal = rows_equal(columns, order[repeats - 1], columns, order[repeats])
        if not equal.all():
            return _group_collided(columns, order, is_first)
    return order, np.flatnonzero(is_first)


def _group_collided(
    columns: Sequence[Column], order: I64, is_first: npt.NDArray[np.bool_]
) -> tuple[I64, I64]:
    """Some rows of equal hash differ: split such runs by comparing with leaders, in rounds."""
    run = np.cumsum(is_first) - 1
    group = np.full(len(order), -1, np.int64)
    left = np.arange(len(order))
    groups = 0
    while len(left):
        runs, leader_at = np.unique(run[left], return_index=True)
        leader = left[leader_at][np.searchsorted(runs, run[left])]
        same = rows_equal(columns, order[leader], columns, order[left]) != 0
        group[left[same]] = groups + np.searchsorted(runs, run[left[same]])
        groups += len(runs)
        left = left[~same]
    by_group = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[by_group], prepend=-1))
    return order[by_group], starts


def consolidate(batch: Batch) -> Batch:
    """The same Z-set in normal form."""
    if batch.consolidated:
        return batch
    n = len(batch)
    if n == 0 or not batch.columns:
        return _marked(batch) if n == 0 else _without_columns(batch)
    if n == 1:
        return _marked(batch) if batch.weights[0] else _marked(take(batch, np.zeros(0, np.int64)))
    hashes = hash_columns(batch.columns)
    found = _equal_rows(batch.columns, hashes)
    if found is None:
        return _consolidate_collided(batch, hashes)
    first, repeats = found
    if not len(repeats):
        if np.count_nonzero(batch.weights) == n:
            return _marked(batch)
        return _marked(filter_batch(batch, batch.weights != 0))
    sums = batch.weights.copy()
    _sum_up(first, repeats, sums)
    kept = positions(sums)
    rows = take(batch, kept)
    return Batch(rows.schema, rows.columns, sums[kept], True)


def added_up(place: I64, batch: Batch) -> tuple[I64, Batch]:
    """The Z-set of the rows of each place in normal form: (place, rows), row i of place[i]."""
    if not len(batch):
        return place, batch
    field = Field("$place", BIGINT.with_nullable(False))
    schema = Schema((*batch.schema.fields, field))
    placed = Batch(schema, (*batch.columns, Column(field.type, place)), batch.weights)
    found = consolidate(placed)
    rows = Batch(batch.schema, found.columns[:-1], found.weights)
    return found.columns[-1].values, rows


def sum_of(batches: Iterable[Batch]) -> Batch:
    """The sum of `batches`, at least one, as one batch. It is not consolidated; but where that
    makes them much shorter they are, as they come."""
    held: list[Batch] = []
    rows = least = 0
    is_shorter = True
    for batch in batches:
        if is_shorter:
            came = len(batch)
            batch = consolidate(batch)
            is_shorter = 2 * len(batch) <= came
        held.append(batch)
        rows += len(batch)
        if is_shorter and rows > 2 * least + LARGE_ROWS:
            # rows of different batches may be equal as well
            held = [consolidate(concat_all(held))]
            rows = least = len(held[0])
    return concat_all(held)


def first_equal(columns: Sequence[Column]) -> I64 | None:
    """For each row the first that equals it; None if different rows have one hash."""
    found = _equal_rows(columns, hash_columns(columns))
    if found is None:
        return None
    first = np.arange(len(columns[0]))
    first[found[1]] = found[0]
    return first


def _equal_rows(columns: Sequence[Column], hashes: U64) -> tuple[I64, I64] | None:
    """(first, repeats): row repeats[i] equals row first[i], and none before that; None if different
    rows have one hash."""
    first, repeats = _equal_hashes(hashes)
    if not len(repeats) or is_exact(columns, columns):
        return first, repeats
    same = all_set(rows_equal(columns, first, columns, repeats))
    return (first, repeats) if same else None


def _equal_hashes(hashes: U64) -> tuple[I64, I64]:
    """The same of hashes."""
    n = len(hashes)
    if n >= LARGE_ROWS:
        return _equal_in_parts(hashes)
    first = np.empty(n, np.int64)
    if not _first_of(hashes, np.zeros(_slots(n), np.int32), first):
        return first[:0], first[:0]
    mine, repeats = np.empty(n, np.int64), np.empty(n, np.int64)
    count = _repeats_of(first, mine, repeats)
    return mine[:count], repeats[:count]


def _equal_in_parts(hashes: U64) -> tuple[I64, I64]:
    """The same, by parts."""
    n = len(hashes)
    bits = max(1, min(MOST_PARTS, n // PART_ROWS).bit_length() - 1)
    mine, row = np.empty(n, np.uint64), np.empty(n, np.int32)
    ends = np.zeros((1 << bits) + 1, np.int64)
    largest = _put_together(hashes, bits, mine, row, ends)
    count = _mark_repeats(mine, row, ends[:-1], np.zeros(_slots(largest), np.int32))
    first, repeats = np.empty(count, np.int64), np.empty(count, np.int64)
    if count:
        _marked_repeats(mine, row, first, repeats)
    return first, repeats


def _slots(rows: int) -> int:
    """Entries of a table of so many rows: a power of two, more than them."""
    return 1 << (2 * rows - 1).bit_length()


def _consolidate_collided(batch: Batch, hashes: U64) -> Batch:
    """The same where different rows may have one hash."""
    order, starts = group_rows(batch.columns, hashes)
    sums = np.add.reduceat(batch.weights[order], starts)
    kept = np.flatnonzero(sums)
    rows = take(batch, order[starts[kept]])
    return Batch(rows.schema, rows.columns, sums[kept], True)


@kernel("int64(uint64[::1], int32[::1], int64[::1])")
def _first_of(hashes: Any, slots: Any, first: Any) -> int:
    """first[i] = the first row with the hash of row i; how many rows are not the first. `slots`
    are zeros, a power of two and more than the rows."""
    mask = np.uint64(slots.shape[0] - 1)
    repeats = 0
    for i in range(hashes.shape[0]):
        h = hashes[i]
        at = (h ^ (h >> np.uint64(32))) & mask
        while True:
            j = np.int64(slots[at]) - 1
            if j < 0:
                slots[at] = np.int32(i + 1)
                first[i] = i
                break
            if hashes[j] == h:
                first[i] = j
                repeats += 1
                break
            at = (at + np.uint64(1)) & mask
    return repeats


@kernel("int64(int64[::1], int64[::1], int64[::1])")
def _repeats_of(first: Any, mine: Any, repeats: Any) -> int:
    """`repeats` = the rows that are not the first of their kind, `mine` = that one; how many."""
    count = 0
    for i in range(first.shape[0]):
        mine[count], repeats[count] = first[i], i
        count += first[i] != i
    return count


@kernel("int64(uint64[::1], int64, uint64[::1], int32[::1], int64[::1])")
def _put_together(hashes: Any, bits: Any, mine: Any, row: Any, ends: Any) -> Any:
    """Hashes that are equal in their first `bits` together, in order, as `mine`, and `row` each is
    of. Part p ends at ends[p], which are zeros and one more than parts; the rows of the largest."""
    shift = np.uint64(64 - bits)
    for i in range(hashes.shape[0]):
        ends[np.int64(hashes[i] >> shift) + 1] += 1
    largest: Any = 0
    for p in range(1, ends.shape[0]):
        largest = max(largest, ends[p])
        ends[p] += ends[p - 1]
    for i in range(hashes.shape[0]):
        part = np.int64(hashes[i] >> shift)
        at = ends[part]
        mine[at] = hashes[i]
        row[at] = i
        ends[part] = at + 1
    return largest


@kernel("int64(uint64[::1], int32[::1], int64[::1], int32[::1])")
def _mark_repeats(mine: Any, row: Any, ends: Any, slots: Any) -> int:
    """Where a hash of `mine` is not the first of its kind, the first one's row takes its place, and
    `row` is ~row there. How many those are. `slots`: as in `_first_of`, of the largest part."""
    repeats, start = 0, 0
    for p in range(ends.shape[0]):
        end = ends[p]
        size = 2
        while size < 2 * (end - start):
            size *= 2
        slots[:size] = 0
        mask = np.uint64(size - 1)
        for i in range(start, end):
            h = mine[i]
            at = (h ^ (h >> np.uint64(32))) & mask
            while True:
                j = np.int64(slots[at]) - 1
                if j < 0:
                    slots[at] = np.int32(i - start + 1)
                    break
                if mine[start + j] == h:
                    mine[i] = np.uint64(row[start + j])
                    row[i] = ~row[i]
                    repeats += 1
                    break
                at = (at + np.uint64(1)) & mask
        start = end
    return repeats


@kernel("void(uint64[::1], int32[::1], int64[::1], int64[::1])")
def _marked_repeats(mine: Any, row: Any, first: Any, repeats: Any) -> None:
    """What `_mark_repeats` marked."""
    at = 0
    for i in range(row.shape[0]):
        if row[i] < 0:
            first[at] = np.int64(mine[i])
            repeats[at] = np.int64(~row[i])
            at += 1


@kernel("void(int64[::1], int64[::1], int64[::1])")
def _sum_up(first: Any, repeats: Any, sums: Any) -> None:
    """Add the sums of `repeats` to their first rows'."""
    for j in range(repeats.shape[0]):
        sums[first[j]] += sums[repeats[j]]
        sums[repeats[j]] = 0


def _marked(batch: Batch) -> Batch:
    return Batch(batch.schema, batch.columns, batch.weights, True)


def _without_columns(batch: Batch) -> Batch:
    total = batch.weights.sum(keepdims=True)
    return Batch(batch.schema, (), total[total != 0], True)
