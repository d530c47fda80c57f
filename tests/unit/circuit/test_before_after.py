"""Rows before a change and after it, put in order at once, are those of each put in order alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from penstock.circuit.before_after import Both
from penstock.circuit.ordering import RowOrder, Settled
from penstock.circuit.spec import Order
from penstock.data.batch import Batch, Column
from penstock.data.gather import slice_batch, take
from penstock.data.types import BIGINT, Field, Schema

LONG = BIGINT.with_nullable(False)
SCHEMA = Schema((Field("a", LONG), Field("b", BIGINT)))
ORDER = RowOrder(2, (Order(0, descending=True),))
PLACES = 3


def rows_of(rng: np.random.Generator, n: int) -> Batch:
    valid = rng.integers(0, 2, n).astype(np.uint8)
    b = Column(BIGINT, rng.integers(0, 3, n) * valid, valid)
    return Batch(SCHEMA, (Column(LONG, rng.integers(0, 4, n)), b), rng.integers(-2, 4, n))


def values(batch: Batch) -> list[tuple[int, int | None]]:
    a, b = batch.columns
    valid = np.ones(len(b), np.uint8) if b.valid is None else b.valid
    return [
        (x, y if v else None)
        for x, y, v in zip(a.values.tolist(), b.values.tolist(), valid.tolist(), strict=True)
    ]


def entries(settled: Settled) -> list[object]:
    peers = settled.peer - (settled.peer[0] if len(settled.peer) else 0)
    found = values(settled.rows), settled.rows.weights.tolist(), settled.place.tolist()
    return [*zip(*found, peers.tolist(), strict=True)]


@pytest.mark.parametrize("seed", range(40))
def test_both_are_what_each_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_of(rng, 24)
    places, known = rng.integers(0, PLACES, 24), int(rng.integers(0, 24))
    both = Both.of(ORDER, places, rows, known, PLACES)
    before = ORDER.settled(places[:known], slice_batch(rows, 0, known))
    after = ORDER.settled(places, rows)
    found = take(rows, both.row)
    for part, want, least in (
        (slice(0, both.were), before, 0), (slice(both.were, None), after, PLACES)
    ):  # fmt: skip
        at = np.arange(len(both.row))[part]
        mine = Batch(SCHEMA, take(found, at).columns, both.weights[part])
        peer = both.peer[part]
        assert entries(Settled(mine, both.place[part] - least, peer, want.owed)) == entries(want)


@pytest.mark.parametrize("seed", range(40))
def test_the_difference_is_that_of_all_rows_with_their_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rows_of(rng, 24)
    both = Both.of(ORDER, rng.integers(0, PLACES, 24), rows, int(rng.integers(0, 24)), PLACES)
    column = Column(LONG, rng.integers(0, 2, len(both.row)))
    at, weights = both.difference((column,))
    every = [*zip(values(take(rows, both.row)), (both.place % PLACES).tolist(), strict=True)]
    want: Counter[object] = Counter()
    for i, row in enumerate(every):
        sign = -1 if i < both.were else 1
        want[row, int(column.values[i])] += sign * int(both.weights[i])
    got = [(every[i], int(column.values[i])) for i in at.tolist()]
    assert len(set(got)) == len(got)
    assert dict(zip(got, weights.tolist(), strict=True)) == {k: w for k, w in want.items() if w}
