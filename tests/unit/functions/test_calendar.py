"""Months between moments, which have no fixed length (sql-reference 2.10.4)."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.functions import calendar

#: the first and last microseconds of every day of four years, and the middle
TIMES = np.add.outer(
    np.arange(19_500, 19_500 + 1_461, dtype=np.int64) * calendar.DAY_US,
    np.array([0, 1, calendar.DAY_US // 2, calendar.DAY_US - 1]),
).ravel()


@pytest.mark.parametrize("count", [1, 2, 3, 12, 13])
def test_the_nearest_moment_so_many_months_away_parts_the_others(count: int) -> None:
    random = np.random.default_rng(1)
    now, other = (random.choice(TIMES, 20_000) for _ in range(2))

    months = calendar.months_between(other, now)

    assert np.array_equal(months >= count, other <= calendar.nearest_months(now, -count))
    assert np.array_equal(months <= -count, other >= calendar.nearest_months(now, count))
