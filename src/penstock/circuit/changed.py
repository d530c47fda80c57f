"""Rows by place, before and after a step: what is taken back and what comes.

    before_at  0 1 3      values  a b c           place 0   a → a    stays
    after_at   0 1 2      values  a x d           place 1   b → x    -b +x
                                                  place 2     → d    +d
                                                  place 3   c →      -c

Rows that are equal before and after do not show. Cost: O(places), and one pass over each column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.circuit.dense import Ids
from penstock.data.batch import Column, Weights
from penstock.data.gather import concat_columns, take_column
from penstock.data.hash import rows_equal
from penstock.data.kernel import kernel
from penstock.data.masks import all_set


def replaced(
    before_at: Ids, before: Sequence[Column], after_at: Ids, after: Sequence[Column]
) -> tuple[Ids, tuple[Column, ...], Weights] | None:
    """(places, values, weights) of the change: -1 for a row of `before`, +1 for one of `after`;
    None if there is none. `before_at` and `after_at` ascend."""
    old, new = len(before_at), len(after_at)
    first, second = np.empty(min(old, new), np.int64), np.empty(min(old, new), np.int64)
    pairs = _pair(before_at, after_at, first, second)
    same = rows_equal(before, first[:pairs], after, second[:pairs])
    if pairs == old == new and all_set(same):
        return None
    rows, places = np.empty(old + new, np.int64), np.empty(old + new, np.int64)
    weights = np.empty(old + new, np.int64)
    count = _differing(before_at, after_at, first, second, same, rows, places, weights)
    if not old:
        values = tuple(after)
    elif not new:
        values = tuple(before)
    else:
        values = tuple(concat_columns(both) for both in zip(before, after, strict=True))
    if count < old + new:
        rows = rows[:count]
        values = tuple(take_column(v, rows) for v in values)
    return places[:count], values, weights[:count]


@kernel("int64(int64[::1], int64[::1], int64[::1], int64[::1])")
def _pair(a: Any, b: Any, first: Any, second: Any) -> int:
    """a[first[i]] == b[second[i]] for all pairs of equal entries; returns how many."""
    i, j, pairs = 0, 0, 0
    while i < a.shape[0] and j < b.shape[0]:
        if a[i] < b[j]:
            i += 1
        elif a[i] > b[j]:
            j += 1
        else:
            first[pairs], second[pairs] = i, j
            pairs += 1
            i += 1
            j += 1
    return pairs


@kernel(
    "int64(int64[::1], int64[::1], int64[::1], int64[::1], uint8[::1], int64[::1], int64[::1], "
    "int64[::1])"
)
def _differing(
    a: Any, b: Any, first: Any, second: Any, same: Any, rows: Any, places: Any, weights: Any
) -> int:
    """The rows of `a` followed by `b` that are not in a pair of equal rows; returns how many."""
    count, pair = 0, 0
    for i in range(a.shape[0]):
        stays = False
        if pair < same.shape[0] and first[pair] == i:
            stays = same[pair] != 0
            pair += 1
        if not stays:
            rows[count], places[count], weights[count] = i, a[i], -1
            count += 1
    pair = 0
    for j in range(b.shape[0]):
        stays = False
        if pair < same.shape[0] and second[pair] == j:
            stays = same[pair] != 0
            pair += 1
        if not stays:
            rows[count], places[count], weights[count] = a.shape[0] + j, b[j], 1
            count += 1
    return count
