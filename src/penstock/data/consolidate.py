"""Bring a batch of weighted rows to normal form.

A batch is *consolidated* when no two rows are equal and no weight is zero. Two consolidated
batches hold the same Z-set exactly when they hold the same (row, weight) pairs.

    x │ weight          x │ weight
    ──┼───────          ──┼───────
    1 │   +1            1 │   +2
    1 │   +1     ──►    (row 2 cancelled out)
    2 │   +1
    2 │   -1

Rows with equal hashes are compared; a collision costs time, never correctness.

Cost: O(n) in the batch, one comparison a duplicate. The order of the result is unspecified.

Not here: merging sorted runs (`penstock.state`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Batch, Column
from penstock.data.gather import filter_batch, take
from penstock.data.hash import hash_columns, is_exact, rows_equal
from penstock.data.kernel import kernel
from penstock.data.masks import all_set, positions
from penstock.data.types import BIGINT, Field, Schema

I64 = npt.NDArray[np.int64]


def group_rows(columns: Sequence[Column], hashes: npt.NDArray[np.uint64]) -> tuple[I64, I64]:
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
    found = _first_equal(batch.columns, hashes)
    if found is None:
        return _consolidate_collided(batch, hashes)
    first, repeats = found
    if not len(repeats):
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


def first_equal(columns: Sequence[Column]) -> I64 | None:
    """For each row the first that equals it; None if different rows have one hash."""
    found = _first_equal(columns, hash_columns(columns))
    return None if found is None else found[0]


def _first_equal(
    columns: Sequence[Column], hashes: npt.NDArray[np.uint64]
) -> tuple[I64, I64] | None:
    """The same, and the rows that are not the first."""
    n = len(hashes)
    first = np.empty(n, np.int64)
    if not _first_of(hashes, np.zeros(1 << (2 * n - 1).bit_length(), np.int32), first):
        return first, first[:0]
    repeats = positions(first != np.arange(n))
    if is_exact(columns, columns):
        return first, repeats
    same = all_set(rows_equal(columns, first[repeats], columns, repeats))
    return (first, repeats) if same else None


def _consolidate_collided(batch: Batch, hashes: npt.NDArray[np.uint64]) -> Batch:
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


@kernel("void(int64[::1], int64[::1], int64[::1])")
def _sum_up(first: Any, repeats: Any, sums: Any) -> None:
    """Add the sums of `repeats` to their first rows'."""
    for j in range(repeats.shape[0]):
        i = repeats[j]
        sums[first[i]] += sums[i]
        sums[i] = 0


def _marked(batch: Batch) -> Batch:
    return Batch(batch.schema, batch.columns, batch.weights, True)


def _without_columns(batch: Batch) -> Batch:
    total = batch.weights.sum(keepdims=True)
    return Batch(batch.schema, (), total[total != 0], True)
