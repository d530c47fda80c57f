"""What lies on top of a spine is found in one place, as it would be run by run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from penstock.data.batch import Batch, Column
from penstock.data.build import batch_to_rows
from penstock.data.hash import hash_columns
from penstock.data.types import BIGINT, VARCHAR, Field, Schema, decimal
from penstock.state import spine as spine_module
from penstock.state.lookup import TooManyMatches
from penstock.state.ordered import OrderedSpine
from penstock.state.pile import FEW_NEEDLES, ROOM, Pile
from penstock.state.run import KEY_SEED, build_run
from penstock.state.spine import PILED_RUNS, Spine

LONG = BIGINT.with_nullable(False)
SCHEMA = Schema((Field("k", LONG), Field("v", BIGINT), Field("d", decimal(30, 2))))


def rows_of(rng: np.random.Generator, n: int, nulls: bool) -> Batch:
    valid = rng.integers(0, 2, n).astype(np.uint8) if nulls else None
    v = rng.integers(0, 3, n) * (1 if valid is None else valid)
    d = np.zeros((n, 2), np.uint64)
    d[:, 0] = rng.integers(0, 4, n)
    columns = Column(LONG, rng.integers(0, 12, n)), Column(BIGINT, v, valid)
    return Batch(SCHEMA, (*columns, Column(SCHEMA.types[2], d)), rng.choice([-1, 1, 2], n))


def found(spine: Spine, keys: list[int]) -> Counter[Any]:
    """What a look-up finds, each row with what it adds up to, by needle."""
    needle, rows = spine.probe((Column(LONG, np.array(keys)),), len(keys))
    total: Counter[Any] = Counter()
    for at, (row, weight) in zip(needle.tolist(), batch_to_rows(rows), strict=True):
        assert row[0] == keys[at]
        total[at, row] += weight
    return Counter({k: w for k, w in total.items() if w})


@pytest.mark.parametrize("is_ordered", [False, True])
@pytest.mark.parametrize("wants", ["rows", "runs now and then", "runs"])
@pytest.mark.parametrize("seed", range(3))
def test_look_ups_find_what_came_whether_it_is_piled_or_not(
    seed: int, wants: str, is_ordered: bool
) -> None:
    rng = np.random.default_rng(seed)
    order = ((2, False, True), (1, True, False))
    spine = OrderedSpine(SCHEMA, (0,), order) if is_ordered else Spine(SCHEMA, (0,))
    there: Counter[Any] = Counter()
    was_piled, was_none = False, False
    for step in range(3 * PILED_RUNS):
        rows = rows_of(rng, 400 if step == PILED_RUNS else int(rng.integers(1, 5)), step > 20)
        spine.insert(rows)
        for row, weight in batch_to_rows(rows):
            there[row] += weight
        piled = spine._piled + len(spine._unbuilt)
        assert spine._pile is not None or not piled
        was_piled, was_none = was_piled or spine._pile is not None, was_none or not piled
        if wants == "runs" or (wants == "runs now and then" and step % 7 == 0):
            held = sum(map(len, spine.runs()))
            assert held == len(spine) and not spine._unbuilt
        keys = rng.permutation(14)[:3].tolist()
        want = {(keys.index(r[0]), r): w for r, w in there.items() if w and r[0] in keys}
        assert found(spine, keys) == want
        if step % 5 == 0:
            many = list(range(FEW_NEEDLES + 1))
            assert found(spine, many) == {(r[0], r): w for r, w in there.items() if w}
    assert was_piled and was_none


def test_a_look_up_says_when_it_finds_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spine_module, "PILED_RUNS", 500)
    spine = Spine(SCHEMA, (0,))
    spine.stagger(0)
    rows = rows_of(np.random.default_rng(1), 100, True)
    for i in range(100):
        one = tuple(
            Column(c.type, c.values[i : i + 1], None if c.valid is None else c.valid[i : i + 1])
            for c in rows.columns
        )
        key = (Column(LONG, np.array([7])), *one[1:])
        spine.insert(Batch(SCHEMA, key, np.ones(1, np.int64)))
    assert spine._piled + len(spine._unbuilt) == 100
    keys = (Column(LONG, np.array([7])),)
    assert len(spine.probe(keys, 1)[0]) == 100
    with pytest.raises(TooManyMatches):
        spine.probe(keys, 1, most=99)


def test_a_batch_stays_as_it_was_when_a_null_comes_and_there_is_an_end_to_the_room() -> None:
    rng = np.random.default_rng(2)
    pile = Pile(SCHEMA)
    first = build_run(rows_of(rng, 3, False), (0,))
    assert pile.add(first.batch, first.k)
    before = pile.batch
    second = build_run(rows_of(rng, 40, True), (0,))
    assert pile.add(second.batch, second.k)
    assert before.columns[1].valid is None
    n = len(first)
    assert batch_to_rows(pile.rows())[:n] == batch_to_rows(first.batch)
    assert batch_to_rows(pile.rows())[n:] == batch_to_rows(second.batch)
    needles = hash_columns((Column(LONG, np.array([5, 5, 11])),), KEY_SEED)
    keys = pile.rows().columns[0].values
    needle, row = pile.find(needles)
    want = [(i, j) for i, k in enumerate((5, 5, 11)) for j in range(len(keys)) if keys[j] == k]
    assert [*zip(needle.tolist(), row.tolist(), strict=True)] == want
    while len(pile) + len(second) <= ROOM:
        assert pile.add(second.batch, second.k)
    size = len(pile)
    assert not pile.add(second.batch, second.k) and len(pile) == size


def test_strings_are_not_piled() -> None:
    spine = Spine(Schema((Field("k", LONG), Field("s", VARCHAR))), (0,))
    columns = Column(LONG, np.array([1])), Column(VARCHAR, np.zeros((1, 2), np.uint64))
    spine.insert(Batch(spine.schema, columns, np.ones(1, np.int64)))
    assert spine._piled == 1 and spine._pile is None
