"""A run of a few rows is the run that sorting makes of them."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.data.batch import Batch, Column
from penstock.data.types import BIGINT, Field, Schema
from penstock.state.few import FEW_ROWS, few
from penstock.state.lookup import where
from penstock.state.run import _index_of, build_run
from penstock.state.spine import Spine

rng = np.random.default_rng(8)
LONG = BIGINT.with_nullable(False)
SCHEMA = Schema((Field("k", LONG), Field("v", LONG)))


def batch(k: list[int], v: list[int], weights: list[int]) -> Batch:
    columns = (Column(LONG, np.array(k)), Column(LONG, np.array(v)))
    return Batch(SCHEMA, columns, np.array(weights))


@pytest.mark.parametrize("n", [1, 2, 3, 7, FEW_ROWS])
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("values", [2, 2**63], ids=["few values", "many values"])
def test_words_order_weights_and_index_are_those_of_a_sort(n: int, count: int, values: int) -> None:
    for _ in range(40):
        words = [rng.integers(0, values, n, np.uint64, endpoint=True) for _ in range(count)]
        weights = rng.integers(1, 9, n)
        found = few(words, weights)
        rows = [*zip(*(w.tolist() for w in words), strict=True)]
        if len(set(rows)) < n:
            assert found is None
            continue
        assert found is not None
        order = sorted(range(n), key=rows.__getitem__)
        assert (list(range(n)) if found.order is None else found.order.tolist()) == order
        assert (found.order is None) == (order == list(range(n)))
        assert [*zip(*(w.tolist() for w in found.words), strict=True)] == [rows[i] for i in order]
        assert found.weights.tolist() == weights[order].tolist()
        table, shift = _index_of(found.words[0])
        assert found.shift == shift and found.table.tolist() == table.tolist()
        assert found.where[0].tolist() == where(found.words[0], found.table, shift)[0].tolist()


def test_rows_that_are_none_or_equal_are_left_to_who_adds_up() -> None:
    words = [np.array([1, 2], np.uint64), np.array([3, 4], np.uint64)]
    assert few(words, np.array([1, 0])) is None
    twins = [np.array([1, 1], np.uint64), np.array([3, 3], np.uint64)]
    assert few(twins, np.array([1, 1])) is None
    run = build_run(batch([1, 1, 2], [5, 5, 6], [1, 1, 0]), (0,))
    assert len(run) == 1 and run.batch.weights.tolist() == [2]
    assert len(build_run(batch([1, 1], [5, 5], [1, -1]), (0,))) == 0


def test_a_part_of_a_large_array_is_not_kept_alive() -> None:
    large = np.arange(1000)
    rows = Batch(SCHEMA, (Column(LONG, large[:1]), Column(LONG, large[1:2])), np.ones(1, np.int64))
    assert all(c.values.base is None for c in build_run(rows, (0,)).batch.columns)


@pytest.mark.parametrize("runs", [0, 1, 5])
def test_rows_beside_come_behind_those_that_a_look_up_finds(runs: int) -> None:
    spine = Spine(SCHEMA, (0,))
    for i in range(runs):
        spine.insert(batch([1, 2, 2], [i, 10 + i, 20 + i], [1, 1, 2]))
    keys = (Column(LONG, np.array([2, 7, 1])),)
    at, found = spine.probe(keys, 3)
    more = batch([7, 2], [70, 71], [1, -1])
    needle, rows = spine.probe(keys, 3, beside=(np.array([1, 0]), more))
    assert needle.tolist() == [*at.tolist(), 1, 0]
    assert rows.weights.tolist() == [*found.weights.tolist(), 1, -1]
    for column, old, new in zip(rows.columns, found.columns, more.columns, strict=True):
        assert column.values.tolist() == [*old.values.tolist(), *new.values.tolist()]
