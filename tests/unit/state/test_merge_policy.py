"""How many runs of a spine are merged at a time: few of them where somebody looks or rows go."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import BIGINT, schema
from penstock.state import spine as spine_module
from penstock.state.spine import FAN, MOST_PATIENCE, PILED_RUNS, RATIO, Spine
from penstock.state.storage import StateStore

SCHEMA = schema(k=BIGINT)
LOG_ROWS = 16
#: of a log that nobody looks at
LONG = LOG_ROWS * MOST_PATIENCE


class Watched(Spine):
    """Notes how many runs are merged at a time."""

    def __init__(self) -> None:
        super().__init__(SCHEMA, (0,))
        self.widths: list[int] = []

    def _unbalanced(self, first: int) -> tuple[int, int]:
        start, stop = super()._unbalanced(first)
        if stop:
            self.widths.append(stop - start)
        return start, stop

    @property
    def sizes(self) -> list[int]:
        """Of its runs, and of what would be runs if anybody wanted some."""
        unbuilt = [stop - start for start, stop in self._unbuilt]
        return [len(r) for r in self.sorted_runs()] + unbuilt


@pytest.fixture(autouse=True)
def _in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sorts are over when they are asked for, and logs are short."""

    def submit(work: Any, *args: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*args))
        return done

    monkeypatch.setattr(spine_module._sorter, "submit", submit)
    monkeypatch.setattr(spine_module, "LOG_ROWS", LOG_ROWS)
    monkeypatch.setattr(spine_module, "SMALL_ROWS", 0)


def rows(first: int, n: int, sign: int = 1) -> Batch:
    return batch_from_rows(SCHEMA, [(first + i,) for i in range(n)], [sign] * n)


def falls(sizes: list[int]) -> bool:
    return all(a > RATIO * b for a, b in pairwise(sizes))


def test_where_rows_only_come_and_nobody_looks_many_runs_are_merged_at_a_time() -> None:
    spine, most = Watched(), 0
    for i in range(200):
        spine.insert_later(rows(i * LOG_ROWS, LOG_ROWS))
        most = max(most, len(spine.sizes))
    assert set(spine.widths) == {FAN}
    assert most < 3 * FAN, "runs of the sizes of a log, of eight and of sixty-four"
    assert counted(spine) == Counter({(k,): 1 for k in range(200 * LOG_ROWS)})


def test_where_rows_cancel_out_runs_are_merged_as_soon_as_they_are_alike() -> None:
    spine, most = Watched(), 0
    for i in range(200):
        spine.insert_later(rows(i * LOG_ROWS, LOG_ROWS))
        if i:
            spine.insert_later(rows((i - 1) * LOG_ROWS, LOG_ROWS, -1))
        most = max(most, len(spine))
    assert max(spine.widths) < FAN and falls(spine.sizes)
    assert most <= 4 * LONG, "rows that are gone pile up"
    assert counted(spine) == Counter({(199 * LOG_ROWS + i,): 1 for i in range(LOG_ROWS)})


def test_rows_that_begin_to_go_end_the_waiting() -> None:
    spine = Watched()
    for i in range(20):
        spine.insert_later(rows(i * LOG_ROWS, LOG_ROWS))
    assert not falls(spine.sizes) and not spine.widths
    for i in range(20):
        spine.insert_later(rows(i * LOG_ROWS, LOG_ROWS, -1))
    assert spine.widths and falls(spine.sizes)
    assert len(spine) <= 3 * LONG
    assert not counted(spine)


@pytest.mark.parametrize("look", ["probe", "snapshot"])
def test_a_reader_ends_the_waiting(look: str) -> None:
    spine = Watched()
    for i in range(20):
        spine.insert_later(rows(i * LOG_ROWS, LOG_ROWS))
    waiting = spine.sizes
    assert not falls(waiting) and not spine.widths
    if look == "probe":
        spine.probe(rows(0, 1).columns, 1)
    else:
        spine.snapshot()
    # what was sorted meanwhile brings the others along
    for i in range(20, 24):
        spine.insert_later(rows(i * LOG_ROWS, LOG_ROWS))
        spine.probe(rows(0, 1).columns, 1)
    assert falls(spine.sizes) and len(spine.sizes) < len(waiting)
    assert counted(spine) == Counter({(k,): 1 for k in range(24 * LOG_ROWS)})


def filled(rows_in_all: int) -> Watched:
    """Whose runs wait for more of their size."""
    spine = Watched()
    for i in range(0, rows_in_all, LOG_ROWS):
        spine.insert_later(rows(i, LOG_ROWS))
    assert not falls(spine.sizes) and not spine.widths
    return spine


def test_a_reader_ends_the_waiting_though_no_rows_come_any_more() -> None:
    spine = filled(20 * LOG_ROWS)
    assert not spine.wants_tending, "more rows may come, and nobody looked"
    spine.probe(rows(0, 1).columns, 1)
    assert spine.wants_tending
    while spine.tend():
        pass
    assert falls(spine.sizes) and not spine.wants_tending
    assert counted(spine) == Counter({(k,): 1 for k in range(20 * LOG_ROWS)})


def test_so_does_idleness_though_nobody_looks() -> None:
    spine = filled(20 * LOG_ROWS)
    spine.tend()
    assert not falls(spine.sizes), "as long as there are steps more rows may come"
    while spine.tend(is_idle=True):
        pass
    assert falls(spine.sizes)
    assert counted(spine) == Counter({(k,): 1 for k in range(20 * LOG_ROWS)})


def test_merges_in_the_background_are_taken_up_though_no_rows_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spine_module, "BACKGROUND_ROWS", 0)
    spine = filled(20 * LOG_ROWS)
    assert spine.tend(is_idle=True), "one is under way"
    while spine.tend(is_idle=True):
        pass
    assert falls(spine.sizes)


def test_runs_that_were_saved_before_they_were_merged_are_merged_after(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    saved = filled(20 * LOG_ROWS).capture().write(store)
    spine = Watched()
    spine.restore(store, saved)
    assert spine.wants_tending and not falls(spine.sizes)
    while spine.tend():
        pass
    assert falls(spine.sizes)
    assert counted(spine) == Counter({(k,): 1 for k in range(20 * LOG_ROWS)})


@pytest.mark.parametrize("seed", range(4))
def test_runs_and_rows_are_bounded_whoever_comes_goes_and_looks(seed: int) -> None:
    rng = np.random.default_rng(seed)
    spine, there, most = Watched(), Counter[Any](), 0
    for i in range(300):
        kind, n = rng.integers(0, 13), int(rng.integers(1, 2 * LOG_ROWS))
        if kind == 0:
            spine.probe(rows(0, 1).columns, 1)
        elif kind == 1:
            spine.snapshot()
        elif kind == 12:
            spine.tend(is_idle=bool(n % 2))
        elif kind < 4 + seed:
            gone = sorted(there)[:n]
            delta = batch_from_rows(SCHEMA, gone, [-1] * len(gone))
            (spine.insert if kind == 2 else spine.insert_later)(delta)
            there -= Counter(gone)
        else:
            come = rows(i * 100, n)
            (spine.insert if kind == 11 else spine.insert_later)(come)
            there.update(row for row, _ in batch_to_rows(come))
        most = max(most, there.total())
        assert len(spine) <= 3 * most + 4 * LONG
        # so many of a size, and sizes up to that of all
        assert len(spine.sizes) <= FAN * (1 + np.log(1 + most / LOG_ROWS) / np.log(RATIO))
    assert counted(spine) == there


def counted(spine: Spine) -> Counter[Any]:
    return Counter(dict(batch_to_rows(spine.snapshot().batch())))


def test_small_deltas_lie_on_top_until_there_are_some_and_are_sorted_together_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spine_module, "SMALL_ROWS", 2048)
    spine = Watched()
    spine.insert(rows(10**6, 3000))
    sizes = []
    for i in range(PILED_RUNS + 1):
        spine.insert(rows(i, 1))
        sizes.append(spine.sizes[1:])
    assert sizes[:-1] == [[1] * (i + 1) for i in range(PILED_RUNS)]
    assert sizes[-1] == [PILED_RUNS + 1]
    assert spine.widths == [], "nothing is merged for them"


def test_no_more_rows_lie_on_top_unsorted_than_a_step_can_look_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spine_module, "SMALL_ROWS", 2048)
    spine, most = Watched(), 0
    for i in range(400):
        n = (1, 100, 7, 300, 40)[i % 5]
        spine.insert(rows(i * 1000, n, 1))
        if i:
            spine.insert(rows((i - 1) * 1000, (1, 100, 7, 300, 40)[(i - 1) % 5], -1))
        most = max(most, len(spine.sizes))
    assert most <= PILED_RUNS + 8
    assert counted(spine) == Counter({(399_000 + k,): 1 for k in range(40)})


def test_spines_that_take_in_rows_together_sort_what_lies_on_top_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spine_module, "SMALL_ROWS", 2048)
    spines = [Watched() for _ in range(PILED_RUNS)]
    for turn, spine in enumerate(spines):
        spine.stagger(turn)
        spine.insert(rows(10**6, 3000))
    sorts = []
    for i in range(4 * PILED_RUNS):
        before = [len(s.sizes) for s in spines]
        for spine in spines:
            spine.insert(rows(i, 1))
        sorts.append(sum(len(s.sizes) <= n for s, n in zip(spines, before, strict=True)))
    assert max(sorts) == 1
    assert all(s.snapshot().rows == 3000 + 4 * PILED_RUNS for s in spines)
