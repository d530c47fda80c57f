"""The largest value of a change: what LATENESS lines follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.circuit.waterline import largest, largest_of_changes
from penstock.data.build import batch_from_rows
from penstock.data.types import BIGINT, DOUBLE, INTEGER, SqlType, schema
from tests.examples import examples

ROWS = st.lists(st.tuples(st.one_of(st.none(), st.integers(-3, 3)), st.integers(-2, 2)), max_size=6)


@pytest.mark.parametrize("type", [BIGINT, INTEGER, DOUBLE], ids=["BIGINT", "INTEGER", "DOUBLE"])
@given(rows=ROWS)
@settings(max_examples=examples(40), deadline=None)
def test_it_is_that_of_the_rows_that_come_whatever_the_type(type: SqlType, rows: Any) -> None:
    made = batch_from_rows(schema(x=type), [(x,) for x, _ in rows], [w for _, w in rows])
    weights = np.array([w for _, w in rows], np.int64)
    coming = [x for x, w in rows if x is not None and w > 0]
    expected = max(coming, default=None)
    assert largest_of_changes(made.columns[0], weights) == expected
    assert largest(made.columns[0], weights > 0) == expected
