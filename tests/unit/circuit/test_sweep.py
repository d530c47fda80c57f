"""When ids that stand for nothing are looked for."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.circuit.dense import Ids, Sweep

MANY = 1_000_000


@pytest.mark.parametrize(
    ("in_use", "waits"), [(1.0, True), (0.7, True), (0.5, False), (0.0, False)]
)
def test_where_most_of_some_ids_are_in_use_the_others_are_not_looked_at(
    in_use: float, waits: bool
) -> None:
    sweep, seen = Sweep(), 0
    stands = np.random.default_rng(5).random(MANY) < in_use

    def look(ids: Ids) -> np.ndarray:
        nonlocal seen
        seen += len(ids)
        assert len(np.unique(ids)) == len(ids) and ids.min() >= 0 and ids.max() < MANY
        return stands[ids]

    assert sweep.is_due(MANY)
    assert sweep.can_wait(MANY, look) == waits and seen < MANY // 100
    # put off until there are twice as many
    assert sweep.is_due(MANY) != waits and sweep.is_due(2 * MANY)


def test_of_few_ids_all_are_looked_at() -> None:
    assert not Sweep().can_wait(5_000, lambda ids: np.ones(len(ids), bool))
