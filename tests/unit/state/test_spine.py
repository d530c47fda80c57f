"""A spine is the integral of what was inserted, whatever the merges in between."""

from __future__ import annotations

import weakref
from collections import Counter
from concurrent.futures import Future
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data import hash as hashing
from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.deferred import gathered
from penstock.data.gather import slice_batch, slice_column, take
from penstock.data.types import INTEGER, VARCHAR, schema
from penstock.state import spine as spine_module
from penstock.state.groups import GroupTable
from penstock.state.run import build_run
from penstock.state.spine import Spine
from penstock.state.storage import StateStore
from tests.examples import examples

SCHEMA = schema(k=INTEGER, v=VARCHAR)
KEYS = st.one_of(st.none(), st.integers(0, 5))
TEXTS = st.one_of(
    st.none(), st.sampled_from(["", "a", "exactly 12 b", "longer than twelve bytes", "é" * 9])
)
ROWS = st.lists(st.tuples(st.tuples(KEYS, TEXTS), st.integers(-2, 2)), max_size=12)


def batch(rows: list[tuple[tuple[Any, ...], int]]) -> Batch:
    return batch_from_rows(SCHEMA, [r for r, _ in rows], [w for _, w in rows])


def counted(b: Batch) -> Counter[Any]:
    total: Counter[Any] = Counter()
    for row, weight in batch_to_rows(b):
        total[row] += weight
    return Counter({r: w for r, w in total.items() if w})


@pytest.mark.parametrize("mask", [hashing.ALL_BITS, 0b11], ids=["true hashes", "colliding hashes"])
@given(
    history=st.lists(st.tuples(st.sampled_from(["insert", "insert_soon", "insert_later"]), ROWS)),
    probe=st.lists(KEYS, max_size=4),
)
@settings(max_examples=examples(60), deadline=None)
def test_probe_and_snapshot_show_the_sum_of_all_insertions(
    mask: int, history: list[Any], probe: list[Any]
) -> None:
    hashing._test_mask, before = mask, hashing._test_mask
    spine_module.SOON_ROWS, soon_rows = 1, spine_module.SOON_ROWS
    try:
        spine = Spine(SCHEMA, (0,))
        total: Counter[Any] = Counter()
        for how, rows in history:
            getattr(spine, how)(batch(rows))
            for row, weight in rows:
                total[row] += weight
        needles = batch_from_rows(schema(k=INTEGER), [(k,) for k in probe])
        at, found = spine.probe(needles.columns, len(probe))
        got: Counter[Any] = Counter()
        for i, (row, weight) in zip(at.tolist(), batch_to_rows(found), strict=True):
            assert row[0] == probe[i]
            got[(i, row)] += weight
        at_again, again = spine.probe_deferred(needles.columns, len(probe))
        assert at_again.tolist() == at.tolist()
        assert batch_to_rows(again) == batch_to_rows(gathered(again)) == batch_to_rows(found)
        ones: Counter[Any] = Counter()
        for i in range(len(probe)):
            for piece in spine.probe_one([slice_column(needles.columns[0], i, i + 1)], None, 2):
                assert len(piece) <= 2
                for row, weight in batch_to_rows(piece):
                    ones[(i, row)] += weight
        assert ones == got
        want = {
            (i, row): w
            for i, k in enumerate(probe)
            for row, w in total.items()
            if row[0] == k and w
        }
        assert {k: w for k, w in got.items() if w} == want
        positive = Counter({r: w for r, w in total.items() if w > 0})
        assert counted(spine.snapshot().batch()) == positive
        chunks: Counter[Any] = Counter()
        for chunk in spine.snapshot().chunks(2):
            chunks.update(counted(chunk))
        assert chunks == positive
    finally:
        hashing._test_mask = before
        spine_module.SOON_ROWS = soon_rows


def test_what_an_insertion_in_the_background_raises_meets_the_next_to_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spine_module, "SOON_ROWS", 1)
    spine = Spine(SCHEMA, (0,))

    def fails(delta: Batch) -> Any:
        raise MemoryError("no room for a run")

    monkeypatch.setattr(spine, "run_of", fails)
    spine.insert_soon(batch([((1, "a"), 1)]))
    with pytest.raises(MemoryError, match="no room"):
        spine.snapshot()


def test_a_checkpoint_does_not_wait_for_an_insertion_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spine_module, "SOON_ROWS", 1)
    spine, may_sort = Spine(SCHEMA, (0,)), Event()
    run_of = spine.run_of

    def in_time(delta: Batch) -> Any:
        assert may_sort.wait(60)
        return run_of(delta)

    monkeypatch.setattr(spine, "run_of", in_time)
    spine.insert_soon(batch([((1, "a"), 2), ((1, "a"), -1)]))
    pinned = spine.capture()  # waits for ever, if it waits
    may_sort.set()
    spine.insert(batch([((2, "b"), 1)]))

    store = StateStore(tmp_path)
    again = Spine(SCHEMA, (0,))
    again.restore(store, pinned.write(store))
    assert counted(again.snapshot().batch()) == {(1, "a"): 1}
    assert again.snapshot().rows == 1
    assert counted(spine.snapshot().batch()) == {(1, "a"): 1, (2, "b"): 1}


def test_rows_that_wait_in_a_log_keep_no_other_rows_in_memory() -> None:
    spine, log = Spine(SCHEMA, (0,)), Spine(SCHEMA, (0,))
    spine.insert(batch([((k, f"a text that is long enough {k}"), 1) for k in range(100)]))
    values = weakref.ref(spine.runs()[0].batch.columns[0].values)
    _, found = spine.probe_deferred(batch([((7, None), 1)]).columns[:1], 1)
    log.insert_later(found)
    del spine, found
    assert values() is None
    assert counted(log.snapshot().batch()) == {(7, "a text that is long enough 7"): 1}


def test_few_rows_in_order_are_a_run_as_they_are_unless_they_are_a_part_of_many() -> None:
    many = batch_from_rows(SCHEMA, [(i, "text") for i in range(100)], [1] * 100)
    column = many.columns[0]
    for rows in (batch_from_rows(SCHEMA, [(7, "text")], [1]), take(many, np.array([7]))):
        run = build_run(rows, (0,))
        assert run.batch.columns[0].values is rows.columns[0].values
    part = slice_batch(many, 7, 8)
    assert part.columns[0].values.base is column.values
    run = build_run(part, (0,))
    # a run may outlive the rows that it was made of
    assert run.batch.columns[0].values.base is None
    assert batch_to_rows(run.batch) == [((7, "text"), 1)]


def test_a_snapshot_does_not_see_later_insertions() -> None:
    spine = Spine(SCHEMA, (0,))
    spine.insert(batch([((1, "a"), 1)]))
    pinned = spine.snapshot()
    spine.insert(batch([((1, "a"), -1), ((2, "b"), 1)]))
    assert counted(pinned.batch()) == {(1, "a"): 1}
    assert counted(spine.snapshot().batch()) == {(2, "b"): 1}


def test_background_merges_change_nothing_but_the_number_of_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spine_module, "BACKGROUND_ROWS", 50)
    spine = Spine(SCHEMA, (0,))
    total: Counter[Any] = Counter()
    rng = np.random.default_rng(1)
    for _ in range(300):
        rows = [((int(k), f"text number {k}"), 1) for k in rng.integers(0, 500, 7)]
        spine.insert(batch(rows))
        total.update(row for row, _ in rows)
    assert counted(spine.snapshot().batch()) == total
    assert len(spine.runs()) <= spine_module.MAX_RUNS + 1


@pytest.mark.parametrize("mask", [hashing.ALL_BITS, 0b11], ids=["true hashes", "colliding hashes"])
@given(batches=st.lists(st.lists(st.tuples(KEYS, TEXTS), max_size=20), max_size=6))
@settings(max_examples=examples(60), deadline=None)
def test_a_group_table_numbers_distinct_keys_in_order_of_arrival(
    mask: int, batches: list[Any]
) -> None:
    hashing._test_mask, before = mask, hashing._test_mask
    try:
        table = GroupTable(SCHEMA.types)
        numbers: dict[Any, int] = {}
        for rows in batches:
            b = batch_from_rows(SCHEMA, rows)
            absent = table.lookup(b.columns, len(b))
            assert absent.tolist() == [numbers.get(r, -1) for r in rows]
            ids = table.lookup_or_insert(b.columns, len(b))
            if mask != hashing.ALL_BITS:
                # collisions may number a batch's new keys in another order: ask the table
                numbers = {row: i for i, row in enumerate(_rows(table))}
            for row in rows:
                numbers.setdefault(row, len(numbers))
            assert ids.tolist() == [numbers[r] for r in rows]
            assert len(table) == len(numbers)
    finally:
        hashing._test_mask = before


def _rows(table: GroupTable) -> list[Any]:
    columns = table.take(np.arange(len(table)))
    return [row for row, _ in batch_to_rows(Batch(SCHEMA, columns, np.ones(len(table), np.int64)))]


def test_small_deltas_wait_in_a_log_and_show_in_every_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spine_module, "LOG_ROWS", 40)
    later, at_once = Spine(SCHEMA, (0,)), Spine(SCHEMA, (0,))
    for i in range(200):
        text = f"a string too long for its view {i % 11}"
        delta = batch([((i % 7, text), -1 if i % 5 == 4 else 1)])
        later.insert_later(delta)
        at_once.insert(delta)
        assert len(later._log) <= 2 * 40
        if i % 50 == 49:
            assert counted(later.snapshot().batch()) == counted(at_once.snapshot().batch())
    assert later.snapshot().rows == at_once.snapshot().rows == 120


def test_runs_that_piled_up_during_a_merge_are_merged_together_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spine_module, "BACKGROUND_ROWS", 50)
    monkeypatch.setattr(spine_module, "SMALL_ROWS", 0)
    spine = Spine(SCHEMA, (0,))
    monkeypatch.setattr(spine_module._short_merger, "submit", lambda *_: Future())
    for i in range(10):
        spine.insert(batch([((i * 100 + k, "text"), 1) for k in range(100)]))
    assert len(spine.runs()) == 10
    (merging,) = spine._merging
    monkeypatch.undo()
    monkeypatch.setattr(spine_module, "BACKGROUND_ROWS", 50)
    monkeypatch.setattr(spine_module, "SMALL_ROWS", 0)
    merging.future.set_result(spine._sum(merging.group))
    spine.insert(batch([((5000, "text"), 1)]))
    assert len(spine._merging[0].group) > 2
    spine._adopt_merged(wait=True)
    assert [len(r) for r in spine.runs()] == [1000, 1]


def test_a_long_merge_does_not_keep_later_runs_from_being_merged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, rows in (("BACKGROUND_ROWS", 50), ("LONG_ROWS", 10_000), ("SMALL_ROWS", 0)):
        monkeypatch.setattr(spine_module, name, rows)
    spine, total = Spine(SCHEMA, (0,)), 0
    long: Future[Any] = Future()
    monkeypatch.setattr(spine_module._merger, "submit", lambda *_: long)
    for rows in (6000, 6000, *[60] * 30, *[5] * 30):
        spine.insert(batch([((total + k, "text"), 1) for k in range(rows)]))
        total += rows
        for merging in list(spine._merging):
            if merging.future is not long:
                merging.future.result()
    assert [len(r) for r in spine.runs()[:2]] == [6000, 6000]
    assert len(spine.runs()) < 10
    (merging,) = [m for m in spine._merging if m.future is long]
    long.set_result(spine._sum(merging.group))
    spine.insert(batch([((total, "text"), 1)]))
    assert len(spine.snapshot().batch()) == spine.snapshot().rows == total + 1
