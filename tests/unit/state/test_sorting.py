"""Runs are sorted by (k, r), whatever the keys are like."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.state.sorting import sort_pairs

rng = np.random.default_rng(3)
ALL = np.iinfo(np.uint64).max


def words(n: int, high: int = ALL) -> np.ndarray:
    return rng.integers(0, high, n, np.uint64, endpoint=True)


@pytest.mark.parametrize("n", [0, 1, 2, 7, 1000, 40_000])
@pytest.mark.parametrize(
    "keys",
    [
        lambda n: words(n),
        lambda n: np.where(rng.random(n) < 0.5, np.uint64(42), words(n)),
        lambda n: np.full(n, ALL, np.uint64),
        lambda n: words(n, 1000),
    ],
    ids=["spread", "one heavy key", "one key", "low bits only"],
)
@pytest.mark.parametrize("rows", [ALL, 3], ids=["told apart by r", "hardly told apart by r"])
def test_order_and_twins_are_those_of_a_comparison_sort(n: int, keys, rows: int) -> None:  # type: ignore[no-untyped-def]
    k, r = keys(n), words(n, rows)
    order, twins = sort_pairs(k, r)
    want = np.lexsort((r, k))
    assert sorted(order.tolist()) == list(range(n))
    assert (k[order] == k[want]).all() and (r[order] == r[want]).all()
    assert twins == n - len({*zip(k.tolist(), r.tolist(), strict=True)})
