"""Sums over frames of rows, in one call, are those that are added up one by one."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.circuit.frames import rows_sums
from penstock.circuit.wide import range_words
from penstock.data.types import BIGINT, INTEGER

rng = np.random.default_rng(4)
LEAST, MOST = -(2**63), 2**63 - 1
MASK = 2**64 - 1


def signed(words: np.ndarray) -> int:
    value = int(words[0]) | int(words[1]) << 64
    return value - (1 << 128) if value >> 127 else value


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("has_nulls", [False, True])
@pytest.mark.parametrize("bounds", [(None, 0), (-2, 0), (-1, 3), (2, 4), (None, None), (0, None)])
def test_each_frame_is_what_its_rows_add_up_to(
    bounds: tuple[int | None, int | None], has_nulls: bool, average: bool
) -> None:
    for _ in range(20):
        n, rows = 12, 7
        place = np.sort(rng.integers(0, 3, n))
        first, end = np.searchsorted(place, place), np.searchsorted(place, place, "right")
        row, weights = rng.integers(0, rows, n), rng.integers(1, 4, n)
        values = rng.choice([LEAST, MOST, -7, 0, 5], rows)
        valid = rng.integers(0, 2, rows).astype(np.uint8) if has_nulls else np.zeros(0, np.uint8)
        out, there = np.empty((n, 2), np.uint64), np.empty(n, np.uint8)
        start, stop = bounds
        bad = rows_sums(
            first, end, start is None, start or 0, stop is None, stop or 0, row, values, valid,
            weights, average, *range_words(BIGINT), out, there,
        )  # fmt: skip
        wrong = []
        for i in range(n):
            low = first[i] if start is None else max(i + start, first[i])
            high = end[i] if stop is None else min(i + stop + 1, end[i])
            frame = [
                (int(values[row[j]]), int(weights[j]))
                for j in range(low, max(low, high))
                if not has_nulls or valid[row[j]]
            ]
            count, total = sum(w for _, w in frame), sum(v * w for v, w in frame)
            if average and count:
                total = abs(total) // count * (1 if total >= 0 else -1)
            assert there[i] == (count > 0)
            assert signed(out[i]) == total
            if not LEAST <= total <= MOST:
                wrong.append(i)
        assert bad == (wrong[0] if wrong else -1)


def test_a_sum_beyond_its_type_is_told() -> None:
    one = np.zeros(2, np.int64), np.full(2, 2)
    out, there = np.empty((2, 2), np.uint64), np.empty(2, np.uint8)
    values, weights = np.array([2**31 - 1, 1]), np.ones(2, np.int64)
    bad = rows_sums(
        *one, True, 0, False, 0, np.arange(2), values, np.zeros(0, np.uint8), weights, False,
        *range_words(INTEGER), out, there,
    )  # fmt: skip
    assert bad == 1
