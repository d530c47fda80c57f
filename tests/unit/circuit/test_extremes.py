"""Extreme values of parts of partitions, while runs are exchanged for equal ones."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from penstock.circuit.totals import SummedSpine
from penstock.data.batch import Batch, Column
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import BIGINT, VARCHAR, Field, Schema, SqlType, schema
from penstock.state.ranges import TOP, Places


@pytest.mark.parametrize("type", [BIGINT, VARCHAR], ids=str)
def test_values_are_found_in_a_run_that_takes_the_place_of_another(type: SqlType) -> None:
    t = schema(p=BIGINT, o=BIGINT, x=type)

    def value(x: int) -> Any:
        return x if type is BIGINT else f"one of long values, {x:03}"

    def rows() -> Batch:
        return batch_from_rows(t, [(1, i, value((i * 7) % 200)) for i in range(200)])

    spine = SummedSpine(t, (0,), ((1, False, True),), (), ((2, False), (2, True)))
    spine.insert(rows())
    whole = (
        Places(np.zeros(1, np.uint64), np.zeros(1, np.uint64)),
        Places(np.full(1, TOP), np.full(1, TOP)),
    )

    def ends() -> list[Any]:
        totals = spine.totals(batch_from_rows(t, [(1, 0, value(0))]).columns[:1], 1)
        found = [totals.extreme(np.zeros(1, np.int64), *whole, which) for which in (0, 1)]
        return [shown(column) for column in found]

    assert ends() == [value(0), value(199)]
    (run,) = spine.runs()
    spine.exchange(run, spine.run_of(rows()))
    del run
    gc.collect()
    # where the strings of the first were there are others now
    others = batch_from_rows(t, [(1, i, value(500 + i)) for i in range(200)])

    assert ends() == [value(0), value(199)]
    gone = [(1, 0, value(0)), (1, 57, value(199))]
    spine.insert(batch_from_rows(t, gone, [-1, -1]))
    assert ends() == [value(1), value(198)]
    assert len(others) == 200


def shown(column: Column) -> Any:
    only = Schema((Field("x", column.type),))
    ((row, _),) = batch_to_rows(Batch(only, (column,), np.ones(1, np.int64)))
    return row[0]
