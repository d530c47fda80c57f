"""The rows that make a step fail are found, whichever they are, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows
from penstock.data.types import INTEGER, schema
from penstock.errors import RuntimeSqlError
from penstock.pipeline.bad_rows import bad_rows, spelt, without

SCHEMA = schema(x=INTEGER)


def part(values: Sequence[int]) -> tuple[str, InputBatch]:
    rows = batch_from_rows(SCHEMA, [(v,) for v in values])
    return "t", InputBatch(SCHEMA, rows.columns, np.full(len(values), INSERT, np.uint8))


def values(batches: Sequence[InputBatch]) -> list[int]:
    return [int(v) for b in batches for v in b.columns[0].values]


class Step:
    """Fails with a negative row, and counts how often it is tried."""

    def __init__(self) -> None:
        self.trials = 0

    def __call__(self, inputs: Mapping[str, Sequence[InputBatch]]) -> None:
        self.trials += 1
        if any(v < 0 for v in values(inputs.get("t", ()))):
            raise RuntimeSqlError("negative")


numbers = st.lists(st.integers(-2, 9), max_size=12)


@given(st.lists(numbers, max_size=3))
def test_the_rows_that_fail_are_found_and_all_others_stay_in_their_order(
    batches: list[list[int]],
) -> None:
    parts = [part(b) for b in batches]
    every = [v for b in batches for v in b]
    bad = bad_rows(parts, Step())
    assert [every[i] for i in bad] == [v for v in every if v < 0]
    good = without(parts, bad)
    assert len(good) == len(parts)
    assert values(good) == [v for v in every if v >= 0]


def test_one_bad_row_of_many_takes_few_trials_and_is_spelt() -> None:
    parts = [part([*range(1000), -7, *range(1000)])]
    step = Step()
    bad = bad_rows(parts, step)
    assert bad == [1000] and step.trials < 30
    assert spelt(parts, bad) == "t(-7)"


def test_what_cannot_be_judged_in_the_given_trials_is_left_out() -> None:
    parts = [part([-1, 1] * 500)]
    bad = bad_rows(parts, Step(), trials=50)
    assert set(range(0, 1000, 2)) <= set(bad)


def test_rows_that_only_fail_together_lose_the_later_one() -> None:
    def trial(inputs: Mapping[str, Sequence[InputBatch]]) -> None:
        if sum(values(inputs.get("t", ()))) > 100:
            raise RuntimeSqlError("overflow")

    assert bad_rows([part([60, 1, 60, 2])], trial) == [2]
