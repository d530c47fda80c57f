"""Runs are sorted by (k, r), whatever the keys are like."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.state.sorting import sort_by_values, sort_pairs

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
    order, first, second, twins = sort_pairs(k, r)
    want = np.lexsort((r, k))
    assert sorted(order.tolist()) == list(range(n))
    assert (k[order] == k[want]).all() and (r[order] == r[want]).all()
    assert (first == k[want]).all() and (second == r[want]).all()
    assert twins == n - len({*zip(k.tolist(), r.tolist(), strict=True)})


@pytest.mark.parametrize("n", [0, 1, 2, 7, 1000, 40_000])
@pytest.mark.parametrize("keys", [1, 10, ALL], ids=["one key", "ten keys", "many keys"])
@pytest.mark.parametrize(
    "values",
    [
        lambda n: np.full(n, 5, np.uint64),
        lambda n: words(n, 1) * np.uint64(ALL),
        lambda n: words(n, 3) + np.uint64(1 << 63),
        lambda n: words(n, 1 << 40) + np.uint64(ALL - (1 << 41)),
        lambda n: words(n),
        lambda n: np.exp(rng.random(n) * 40).astype(np.uint64),
        lambda n: np.arange(n, dtype=np.uint64)[::-1].copy(),
    ],
    ids=["one", "extremes", "few", "far up", "all", "most are small", "falling"],
)
def test_values_of_a_key_are_in_order_and_equal_ones_as_they_came(n: int, keys, values) -> None:  # type: ignore[no-untyped-def]
    names = words(n, ALL) if keys == ALL else words(keys)[rng.integers(0, keys, n)]
    c = values(n)
    order, first, second, twins = sort_by_values(names, c)
    want = np.lexsort((c, names))
    assert (order == want).all()
    assert (first == names[want]).all() and (second == c[want]).all()
    assert twins == n - len({*zip(names.tolist(), c.tolist(), strict=True)})
