"""An ordered spine: prefixes hold every row before their end, however the runs lie."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock.data.hash as hashing
from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows, batch_to_rows, column_from_python
from penstock.data.types import INTEGER, VARCHAR, decimal, schema
from penstock.state import ranges
from penstock.state import spine as spine_module
from penstock.state.ordered import OrderedSpine
from penstock.state.storage import StateStore
from tests.examples import examples

S = schema(k=INTEGER, x=INTEGER, s=VARCHAR, d=decimal(30, 2))
rows = st.tuples(
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, *range(8)]),
    st.sampled_from(["", "abcdefgh1", "abcdefgh2", "z"]),
    st.sampled_from([0, 1, -1, 10**20, -(10**20)]),
)
deltas = st.lists(st.lists(st.tuples(rows, st.sampled_from([1, 1, -1])), max_size=12), max_size=8)


@pytest.fixture(params=[hashing.ALL_BITS, 0b1], ids=["true", "colliding"], autouse=True)
def _hashes(request: pytest.FixtureRequest) -> Any:
    before, hashing._test_mask = hashing._test_mask, request.param
    yield
    hashing._test_mask = before


def by_row(pairs: Any) -> dict[Any, int]:
    total: dict[Any, int] = defaultdict(int)
    for row, weight in pairs:
        total[row] += weight
    return {row: weight for row, weight in total.items() if weight}


@given(
    history=deltas,
    width=st.integers(1, 5),
    order=st.sampled_from([(1, 2), (2, 3), (3, 1)]),
    descending=st.booleans(),
    from_end=st.booleans(),
    later=st.lists(st.booleans(), min_size=8, max_size=8),
)
@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_prefix_holds_all_rows_before_its_end_or_behind_its_beginning(
    history: Any, width: int, order: Any, descending: bool, from_end: bool, later: list[bool]
) -> None:
    spine = OrderedSpine(S, (0,), [(c, descending, True) for c in order])
    for delta, is_later in zip(history, later, strict=False):
        insert = spine.insert_later if is_later else spine.insert
        insert(batch_from_rows(S, [r for r, _ in delta], [w for _, w in delta]))
    keys = [1, None, 3]
    column = column_from_python(INTEGER, keys)

    needle, found, complete = spine.prefixes([column], 3, width, from_end=from_end)

    inside = list(zip(needle.tolist(), batch_to_rows(found), strict=True))
    for i, key in enumerate(keys):
        got = by_row(pair for n, pair in inside if n == i)
        stored = [pair for run in spine.runs() for pair in batch_to_rows(run.batch)]
        full = by_row(pair for pair in stored if pair[0][0] == key)
        assert got.items() <= full.items()
        if complete[i]:
            assert got == full
            continue
        places = sorted(place(row, order, descending) for row in full)
        seen = sorted(place(row, order, descending) for row in got)
        end = len(places) - len(seen)
        assert seen == (places[end:] if from_end else places[: len(seen)])


def place(row: Any, order: Any, descending: bool) -> Any:
    """The row's place in the order; NULLs first in either direction."""

    def part(value: Any) -> Any:
        if value is None:
            return (0, 0)
        number = (
            int.from_bytes(value.encode().ljust(9, b"\0"), "big")
            if isinstance(value, str)
            else value
        )
        return (1, -number if descending else number)

    return tuple(part(row[c]) for c in order)


def test_a_wide_enough_prefix_is_everything() -> None:
    spine = OrderedSpine(S, (0,), [(1, False, True)])
    for x in range(50):
        spine.insert(batch_from_rows(S, [(1, x, "", 0)]))

    for from_end in (False, True):
        few = spine.prefixes([column_from_python(INTEGER, [1])], 1, 2, from_end=from_end)
        every = spine.prefixes([column_from_python(INTEGER, [1])], 1, 50, from_end=from_end)

        assert not few[2][0] and 0 < len(few[1]) < 20
        assert (49 if from_end else 0) in few[1].columns[1].values
        assert every[2][0] and len(every[1]) == 50


@pytest.mark.parametrize("key", [(0,), ()])
def test_no_step_sorts_what_waits_for_the_first_rows_of_a_key(key: tuple[int, ...]) -> None:
    spine = OrderedSpine(S, key, [(1, False, True)])
    spine.insert(batch_from_rows(S, [(1, x, "", 0) for x in range(100)]))
    spine.insert_later(batch_from_rows(S, [(1, x, "late", 0) for x in range(5, 105)]))
    spine.insert_later(batch_from_rows(S, [(1, 3, "", 0)], [-1]))

    needle, found, complete = spine.prefixes(
        [column_from_python(INTEGER, [1])] if key else [], 1, 7
    )

    assert [len(run) for run in spine.sorted_runs()] == [100]
    assert needle.tolist() == [0] * len(found) and not complete[0]
    expected = {(1, x, "", 0): 1 for x in range(7) if x != 3} | {
        (1, x, "late", 0): 1 for x in (5, 6)
    }
    assert by_row(batch_to_rows(found)) == expected


def test_a_log_that_is_looked_through_again_and_again_is_sorted_beside_the_steps() -> None:
    spine = OrderedSpine(S, (0,), [(1, False, True)])
    spine.insert_later(batch_from_rows(S, [(1, x, "", 0) for x in range(spine_module.SOON_ROWS)]))
    key = column_from_python(INTEGER, [1])
    for _ in range(100):
        needle, _, complete = spine.prefixes([key], 1, 7)
        if not complete[0]:
            break
        assert len(needle) == spine_module.SOON_ROWS
        sorting = spine._sorting
        if sorting is not None:
            sorting.result()
    assert len(needle) == 7 and len(spine.sorted_runs()) == 1


def test_rows_that_wait_to_be_sorted_are_saved_and_do_not_survive_a_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spine_module, "LOG_ROWS", 3)
    store = StateStore(tmp_path)
    rows = [((1, x, "", 0), 1) for x in range(9)]

    def some(start: int, stop: int) -> Batch:
        return batch_from_rows(S, [r for r, _ in rows[start:stop]])

    old, new = (OrderedSpine(S, (0,), [(1, False, True)]) for _ in range(2))
    old.insert(some(0, 2))
    old.insert_later(some(2, 6))
    old.insert_later(some(6, 8))
    pin = old.capture()
    old.insert_later(some(8, 9))
    new.insert_later(some(0, 9))
    new.restore(store, pin.write(store))

    assert by_row(batch_to_rows(new.snapshot().batch())) == dict(rows[:8])
    assert new.snapshot().rows == 8 and len(new) == 8
    assert by_row(batch_to_rows(old.snapshot().batch())) == dict(rows)


#: of one key or two, rows that are different and have the same words among them
few = st.tuples(st.integers(1, 2), st.integers(0, 6), st.sampled_from(["a", "b"]), st.just(0))
steps = st.lists(st.lists(st.tuples(few, st.sampled_from([1, 1, 2, -1])), max_size=12), max_size=8)


@given(
    history=steps,
    at=st.lists(st.tuples(st.integers(1, 3), st.integers(-1, 7)), min_size=1, max_size=6),
    count=st.integers(1, 4),
    ahead=st.booleans(),
    has_key=st.booleans(),
)
@settings(
    max_examples=examples(80),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_row_so_many_further_is_found_whatever_came_and_went_between(
    history: Any, at: Any, count: int, ahead: bool, has_key: bool
) -> None:
    spine = OrderedSpine(S, (0,) if has_key else (), [(1, False, True)])
    for delta in history:
        spine.insert(batch_from_rows(S, [r for r, _ in delta], [w for _, w in delta]))
    keys = [column_from_python(INTEGER, [k for k, _ in at])] if has_key else []
    c, d = spine.words_of([column_from_python(INTEGER, [x for _, x in at])])

    found = ranges.counted(spine, keys, ranges.Places(c, d), count, ahead=ahead)

    if hashing._test_mask != hashing.ALL_BITS:
        # rows of another key may lie between, and different rows count as one
        assert not has_key or found is None or not found[1].any()
        return
    assert found is not None
    places, there = found
    for i, (key, x) in enumerate(at):
        rows = by_row(pair for run in spine.runs() for pair in batch_to_rows(run.batch))
        beyond = sorted(
            row[1]
            for row, weight in rows.items()
            if weight > 0
            and (not has_key or row[0] == key)
            and (row[1] > x if ahead else row[1] < x)
        )
        assert there[i] == (len(beyond) >= count)
        if there[i]:
            value = beyond[count - 1] if ahead else beyond[-count]
            expected = spine.words_of([column_from_python(INTEGER, [value])])
            assert (places.c[i], places.d[i]) == (expected[0][0], expected[1][0])


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("behind", [False, True])
def test_many_searches_at_once_find_what_each_would(behind: bool, in_order: bool) -> None:
    rng = np.random.default_rng(5)
    n = 32 * ranges.NEAR_ROWS
    c, d = (rng.integers(0, most, n).astype(np.uint64) for most in (n // 8, 4))
    order = np.lexsort((d, c))
    c, d = c[order], d[order]
    at_c, at_d = (rng.integers(0, most, 500).astype(np.uint64) for most in (n // 8 + 2, 5))
    edges = np.sort(rng.integers(0, n + 1, (500, 2)), axis=1)
    edges[:2] = [[0, n], [n, n]]
    if in_order:
        # of two parts, from the first place to the last, and one that is not in its turn
        edges[:250], edges[250:] = [0, n // 3], [n // 3, n]
        sorted_ = np.lexsort((at_d, at_c, edges[:, 0]))
        at_c, at_d = at_c[sorted_], at_d[sorted_]
        at_c[100], at_d[300] = 0, 0
    start, stop = (np.ascontiguousarray(edges[:, i]) for i in range(2))
    out = np.empty(500, np.int64)

    ranges.search(c, d, start, stop, at_c, at_d, behind, out)

    place = c * 8 + d
    find = np.searchsorted(place, at_c * 8 + at_d, "right" if behind else "left")
    assert out.tolist() == np.clip(find, start, stop).tolist()


#: how the words of many rows may be spread, each of `n` numbers from 0 to 1
SPREADS = {
    "evenly": lambda rng, n: rng.random(n),
    "all alike": lambda rng, n: np.zeros(n),
    "two far apart": lambda rng, n: np.where(rng.random(n) < 0.5, 0.0, 1.0),
    "most at the beginning": lambda rng, n: rng.random(n) ** 40,
    "most at the end": lambda rng, n: 1 - rng.random(n) ** 40,
    "in clusters": lambda rng, n: rng.integers(0, 9, n) / 9 + rng.random(n) / 1e9,
    "but for one": lambda rng, n: np.append(rng.random(n - 1) / 1e12, 1.0),
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("second", SPREADS)
@pytest.mark.parametrize("first", SPREADS)
def test_however_words_are_spread_a_search_finds_the_first_row_not_below(
    first: str, second: str, behind: bool
) -> None:
    rng = np.random.default_rng(8)
    n, top = 8 * ranges.NEAR_ROWS, float((1 << 64) - 2048)
    # some have the first word in common, as rows of one time have
    c = (SPREADS[first](rng, n) * top).astype(np.uint64)[rng.integers(0, n // 4, n)]
    d = (SPREADS[second](rng, n) * top).astype(np.uint64)
    order = np.lexsort((d, c))
    c, d = c[order], d[order]
    there = rng.integers(0, n, 80)
    near = rng.integers(-1, 2, (2, 80)).astype(np.uint64)
    at_c, at_d = c[there] + near[0] * (rng.random(80) < 0.2), d[there] + near[1]
    at_c[:2], at_d[:2] = (0, ranges.TOP), (0, ranges.TOP)
    start, stop = rng.integers(0, n // 4, 80), rng.integers(n // 2, n + 1, 80)
    stop[3:7] = start[3:7]
    out = np.empty(80, np.int64)

    ranges.search(c, d, start, stop, at_c, at_d, behind, out)

    place = (c.astype(object) << 64) + d
    side = "right" if behind else "left"
    find = np.searchsorted(place, (at_c.astype(object) << 64) + at_d, side)
    assert out.tolist() == np.clip(find, start, stop).tolist()


@pytest.mark.parametrize("widths", [[0, 1, 5], [200, 1_000], [-40, 0, 2, 31, 32, 33, 34, 700]])
def test_a_range_ends_where_it_does_however_long_others_are(widths: list[int]) -> None:
    rng = np.random.default_rng(6)
    rows = {(k, int(x), "", 0) for k in (1, 2) for x in rng.permutation(4_000)[:3_000]}
    spine = OrderedSpine(S, (0,), [(1, False, True)])
    spine.insert(batch_from_rows(S, list(rows), [1] * len(rows)))
    n = 60
    key, low = rng.integers(1, 4, n), rng.integers(-5, 4_005, n)
    high = low + rng.choice(widths, n)
    keys = [column_from_python(INTEGER, key.tolist())]
    from_, to = (
        ranges.Places(*spine.words_of([column_from_python(INTEGER, x.tolist())]))
        for x in (low, high)
    )

    at, found = ranges.between(spine, keys, from_, to)

    told = sorted(zip(at.tolist(), (row for row, _ in batch_to_rows(found)), strict=True))
    expected = [
        (i, row)
        for i in range(n)
        for row in rows
        if row[0] == key[i] and low[i] <= row[1] <= high[i]
    ]
    assert expected and told == sorted(expected)
