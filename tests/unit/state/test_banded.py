"""A spine that comes to lie in order holds the same rows, and so does what is read back from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock.data.hash as hashing
from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows, batch_to_rows, column_from_python
from penstock.data.gather import slice_batch
from penstock.data.types import INTEGER, VARCHAR, schema
from penstock.state import spine as spine_module
from penstock.state.banded import BandedSpine
from penstock.state.ordered import OrderedRun
from penstock.state.spine import Spine
from penstock.state.storage import StateStore
from tests.examples import examples

S = schema(k=INTEGER, x=INTEGER, s=VARCHAR)
rows = st.tuples(
    st.sampled_from([None, 1, 2]), st.sampled_from([None, *range(5)]), st.sampled_from(["", "z"])
)
deltas = st.lists(st.lists(st.tuples(rows, st.sampled_from([1, 1, -1])), max_size=9), max_size=6)


@pytest.fixture(params=[hashing.ALL_BITS, 0b1], ids=["true", "colliding"], autouse=True)
def _hashes(request: pytest.FixtureRequest) -> Any:
    before, hashing._test_mask = hashing._test_mask, request.param
    yield
    hashing._test_mask = before


def contents(spine: Spine) -> dict[Any, int]:
    return dict(batch_to_rows(spine.contents()))


@given(history=deltas, at=st.integers(0, 6), later=st.lists(st.booleans(), min_size=6, max_size=6))
@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_lies_in_order_is_what_came(history: Any, at: int, later: list[bool]) -> None:
    plain, spine = Spine(S, (0,)), BandedSpine(S, (0,), 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spine_module, "PILED_RUNS", 2)
        for i, (delta, waits) in enumerate(zip(history, later, strict=False)):
            if i == at:
                spine.lie_in_order()
            batch = batch_from_rows(S, [row for row, _ in delta], [w for _, w in delta])
            plain.insert(batch)
            (spine.insert_later if waits else spine.insert)(batch)
    keys = [column_from_python(INTEGER, [None, 2])]
    found = [s.probe(keys, 2) for s in (plain, spine)]

    def by_needle(needle: Any, batch: Any) -> dict[Any, int]:
        total: dict[Any, int] = {}
        for n, (row, w) in zip(needle.tolist(), _each(batch), strict=True):
            total[n, row] = total.get((n, row), 0) + w
        return {pair: w for pair, w in total.items() if w}

    assert by_needle(*found[0]) == by_needle(*found[1])
    assert contents(spine) == contents(plain)
    assert all(isinstance(run, OrderedRun) for run in spine.runs()) or not spine.lies_in_order


def _each(batch: Batch) -> list[Any]:
    return [pair for i in range(len(batch)) for pair in batch_to_rows(slice_batch(batch, i, i + 1))]


@pytest.mark.parametrize("column", [1, 2, None], ids=["the same", "another", "without"])
@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_it_is_read_back_by_who_knows_the_order_and_by_who_does_not(
    tmp_path: Path, when: str, column: int | None
) -> None:
    store = StateStore(tmp_path)
    old = BandedSpine(S, (0,), 1)
    new = Spine(S, (0,)) if column is None else BandedSpine(S, (0,), column)
    for x in range(60):
        old.insert(batch_from_rows(S, [(x % 3, 100 - x, str(x))]))
    old.insert_later(batch_from_rows(S, [(1, 7, "late")]))
    if when == "before":
        old.lie_in_order()
    pin = old.capture()
    if when == "between":
        old.lie_in_order()
    saved = pin.write(store)
    if when == "after":
        old.lie_in_order()
    new.restore(store, saved)
    for spine in (old, new):
        spine.insert(batch_from_rows(S, [(1, 50, "x")]))
        spine.insert(batch_from_rows(S, [(2, 98, "2"), (0, 5, "y")], [-1, 1]))

    assert contents(new) == contents(old) and len(contents(new)) == 62
    found = [s.probe([column_from_python(INTEGER, [1])], 1)[1] for s in (old, new)]
    assert sorted(batch_to_rows(found[0]), key=str) == sorted(batch_to_rows(found[1]), key=str)
    if isinstance(new, BandedSpine):
        new.lie_in_order()
        assert contents(new) == contents(old)
