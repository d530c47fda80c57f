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

Cost: O(n log n) in the batch, one comparison a duplicate. The order of the result is unspecified.

Not here: merging sorted runs (`penstock.state`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Batch, Column
from penstock.data.gather import take
from penstock.data.hash import hash_columns, rows_equal

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
    order, starts = group_rows(batch.columns, hash_columns(batch.columns))
    sums = np.add.reduceat(batch.weights[order], starts)
    kept = np.flatnonzero(sums)
    if len(kept) == n:
        return _marked(batch)
    rows = take(batch, order[starts[kept]])
    return Batch(rows.schema, rows.columns, sums[kept], True)


def _marked(batch: Batch) -> Batch:
    return Batch(batch.schema, batch.columns, batch.weights, True)


def _without_columns(batch: Batch) -> Batch:
    total = batch.weights.sum(keepdims=True)
    return Batch(batch.schema, (), total[total != 0], True)
