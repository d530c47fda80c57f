"""Extreme values of parts of partitions, while runs are exchanged for equal ones."""

from __future__ import annotations

import numpy as np

from penstock.circuit.totals import SummedSpine
from penstock.data.build import batch_from_rows
from penstock.data.types import BIGINT, schema
from penstock.state.ranges import TOP, Places

T = schema(p=BIGINT, o=BIGINT, x=BIGINT)


def test_values_are_found_in_a_run_that_takes_the_place_of_another() -> None:
    rows = batch_from_rows(T, [(1, i, (i * 7) % 200) for i in range(200)])
    spine = SummedSpine(T, (0,), ((1, False, True),), (), ((2, False), (2, True)))
    spine.insert(rows)
    whole = (
        Places(np.zeros(1, np.uint64), np.zeros(1, np.uint64)),
        Places(np.full(1, TOP), np.full(1, TOP)),
    )

    def ends() -> list[int]:
        totals = spine.totals((rows.columns[0],), 1)
        found = [totals.extreme(np.zeros(1, np.int64), *whole, which) for which in (0, 1)]
        return [int(column.values[0]) for column in found]

    assert ends() == [0, 199]
    (run,) = spine.runs()
    spine.exchange(run, spine.run_of(rows))

    assert ends() == [0, 199]
    spine.insert(batch_from_rows(T, [(1, 0, 0), (1, 57, 199)], [-1, -1]))
    assert ends() == [1, 198]
