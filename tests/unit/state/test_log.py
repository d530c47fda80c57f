"""A log shows every row that was appended, by its key, whatever happens to the memory behind it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.hash import hash_columns
from penstock.data.types import INTEGER, VARCHAR, schema
from penstock.state import columns as columns_module
from penstock.state import log as log_module
from penstock.state import spine as spine_module
from penstock.state.log import Log
from penstock.state.run import KEY_SEED
from penstock.state.spine import Spine
from tests.examples import examples

SCHEMA = schema(k=INTEGER, v=VARCHAR)
WIDE = schema(k=INTEGER, a=VARCHAR, b=VARCHAR, n=INTEGER)
KEYS = st.one_of(st.none(), st.integers(0, 9))
TEXTS = st.one_of(st.none(), st.sampled_from(["", "a"]), st.text(min_size=13, max_size=20))
ROWS = st.lists(st.tuples(KEYS, TEXTS), max_size=6)


def plain(rows: list[tuple[Any, ...]]) -> Batch:
    return batch_from_rows(SCHEMA, rows, [1] * len(rows))


def hashes(keys: list[Any]) -> Any:
    column = batch_from_rows(schema(k=INTEGER), [(k,) for k in keys]).columns
    return hash_columns(column, KEY_SEED, n=len(keys))


@given(
    history=st.lists(st.tuples(ROWS, st.booleans(), st.booleans(), st.booleans()), max_size=12),
    wanted=KEYS,
    copied=st.integers(0, 7),
)
@settings(max_examples=examples(60), deadline=None)
def test_keys_are_found_in_what_was_appended_before_and_after_the_last_look(
    history: list[Any], wanted: Any, copied: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_module, "FEW_DELTAS", 3)
        patch.setattr(log_module, "FEW_COLUMNS", 1)
        patch.setattr(log_module, "MANY_ROWS", 4)
        patch.setattr(log_module, "COPIED_ROWS", copied)
        patch.setattr(columns_module, "FIRST_HEAP_BYTES", 40)
        log, all_rows = Log(SCHEMA, (0,)), []
        for rows, is_hashed, looks, shows in history:
            # a look-up asks for hashes alone, so that rows may wait to be shown
            kept = batch_to_rows(log.copy()) if shows else []
            shown = log.rows() if shows else None
            log.append(plain(rows), hashes([k for k, _ in rows]) if is_hashed else None)
            # what was handed out stays as it was
            assert shown is None or batch_to_rows(shown) == kept
            all_rows += rows
            if looks:
                needle, row = log.find(hashes([wanted, 77]))
                assert set(needle.tolist()) <= {0}
                assert sorted(row.tolist()) == [i for i, r in enumerate(all_rows) if r[0] == wanted]
        assert [row for row, _ in batch_to_rows(log.rows())] == all_rows
        assert len(log) == log.weight() == len(all_rows)


def test_the_strings_of_a_thousand_small_deltas_are_in_few_heaps() -> None:
    log = Log(SCHEMA, (0,))
    for i in range(1000):
        log.append(plain([(i, f"a string of its own {i}")]))
    assert len(log.rows().columns[1].heaps) <= 8
    assert batch_to_rows(log.rows())[777] == ((777, "a string of its own 777"), 1)


def test_a_delta_of_many_rows_is_not_kept_waiting_for_others() -> None:
    log = Log(SCHEMA, (0,))
    for rows in (1, log_module.MANY_ROWS, 1, 1):
        log.append(plain([(i, "a string of its own") for i in range(rows)]))
    assert [len(part) for part in log.parts()] == [1 + log_module.MANY_ROWS, 1, 1]
    log.append(plain([(i, "a string of its own") for i in range(log_module.COPIED_ROWS)]))
    # and a large one is not copied in the step
    assert len(log.parts()) == 4


def test_deltas_that_are_being_taken_in_column_by_column_are_all_there() -> None:
    log = Log(WIDE, (0,))
    for i in range(100):
        rows = [(i, f"the first text of {i}", None if i % 3 else f"another text of {i}", i)]
        log.append(batch_from_rows(WIDE, rows, [1]))
        # whoever sorts takes what there is, whatever is in which column by now
        if i % 7 == 0:
            assert sum(len(part) for part in log.parts()) == log.weight() == i + 1
    found = [row for part in log.parts() for row, _ in batch_to_rows(part)]
    assert [k for k, *_ in found] == list(range(100))
    assert found[98] == (98, "the first text of 98", None, 98)
    assert found[99] == (99, "the first text of 99", "another text of 99", 99)


def test_a_row_that_goes_makes_a_log_one_that_is_sorted_before_somebody_looks() -> None:
    spine = Spine(SCHEMA, (0,))
    for _ in range(5):
        spine.insert_later(plain([(1, "comes")]))
    key = batch_from_rows(schema(k=INTEGER), [(1,)]).columns
    assert len(spine.probe(key, 1)[0]) == 5
    assert not spine.sorted_runs()
    spine.insert_later(batch_from_rows(SCHEMA, [(1, "comes")], [-4]))
    _, found = spine.probe(key, 1)
    assert batch_to_rows(found) == [((1, "comes"), 1)]


def test_a_log_that_nobody_looks_into_may_become_longer_before_it_is_sorted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spine_module, "LOG_ROWS", 10)
    spine = Spine(SCHEMA, (0,))

    def rows_when_sorted() -> list[int]:
        """Of the runs that a thousand rows become."""
        runs: list[int] = []
        monkeypatch.setattr(spine, "_insert_run", lambda run: runs.append(len(run)))
        for i in range(1000):
            spine.insert_later(plain([(i, "x")]))
            if spine._sorting is not None:
                spine._sorting.result()
        return runs

    first = rows_when_sorted()
    assert first[:3] == [10, 20, 40] and set(first[2:]) == {40}
    spine.flush()
    assert rows_when_sorted()[:3] == [10, 20, 40]
    monkeypatch.setattr(spine_module, "PATIENT_BYTES", 300)
    spine.flush()
    assert set(rows_when_sorted()) == {10}


@pytest.mark.parametrize("shares", [False, True], ids=["inserts", "inserts and deletions"])
def test_look_ups_between_appends_see_logs_that_are_being_sorted(
    monkeypatch: pytest.MonkeyPatch, shares: bool
) -> None:
    monkeypatch.setattr(spine_module, "LOG_ROWS", 50)
    rng, spine, total = np.random.default_rng(3), Spine(SCHEMA, (0,)), Counter[Any]()
    keys = batch_from_rows(schema(k=INTEGER), [(k,) for k in range(20)]).columns
    for step in range(120):
        rows = [(int(k), f"the text of step {step}") for k in rng.integers(0, 20, 1 + step % 9)]
        weights = [1] * len(rows)
        if shares and step % 4 == 3:
            gone = [r for r in total if total[r] > 0][:3]
            rows, weights = rows + gone, weights + [-1] * len(gone)
        spine.insert_soon(batch_from_rows(SCHEMA, rows, weights))
        for row, weight in zip(rows, weights, strict=True):
            total[row] += weight
        got: Counter[Any] = Counter()
        at, found = spine.probe(keys, 20)
        for i, (row, weight) in zip(at.tolist(), batch_to_rows(found), strict=True):
            assert row[0] == i
            got[row] += weight
        assert {r: w for r, w in got.items() if w} == {r: w for r, w in total.items() if w}
    assert len(spine) >= len(+total)
    assert spine.snapshot().rows == sum(total.values())


def test_threads_look_into_a_log_whose_columns_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    spine = Spine(SCHEMA, (0,))
    for i in range(5):
        spine.insert_later(plain([(i, f"row {i}")]))

    class Several:
        def better(self, rows: int, several: Any, one: Any) -> Any:
            return several()

    def in_ranges(work: Any, rows: int) -> list[Any]:
        log = spine._log
        assert len(log) == 5 and log._taken == 5 and log._hashed == 5
        return [work(0, 1), work(1, rows)]

    monkeypatch.setattr(spine_module, "are_looked_up_in_ranges", lambda rows: rows == 3)
    monkeypatch.setattr(spine_module, "in_ranges", in_ranges)
    spine._probe_gain = Several()  # type: ignore[assignment]
    keys = plain([(k, "") for k in (3, 9, 1)]).columns[:1]
    needle, rows = spine.probe(keys, 3)
    assert needle.tolist() == [0, 2]
    assert [row for row, _ in batch_to_rows(rows)] == [(3, "row 3"), (1, "row 1")]
