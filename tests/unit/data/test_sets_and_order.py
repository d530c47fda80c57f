"""Hashing, consolidation and order, against a Counter and Python's sort."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cmp_to_key
from itertools import pairwise
from operator import floordiv, mod
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.data import consolidate as consolidation
from penstock.data import hash as hashing
from penstock.data import order
from penstock.data.batch import Column
from penstock.data.build import batch_from_rows, column_from_python
from penstock.data.consolidate import consolidate, sum_of
from penstock.data.hash import hash_columns, is_exact, rows_equal
from penstock.data.order import (
    dense_ranks,
    order_codes,
    sort_and_compare,
    sort_indices,
    sorted_by_words,
)
from penstock.data.types import BIGINT, VARCHAR, Field, Schema, schema
from tests.examples import examples
from tests.unit.data.rows import VALUES, counted, plain, plain_row

MASKS = [hashing.ALL_BITS, 0b1, 0]
DIRECTIONS = st.tuples(st.booleans(), st.booleans())


@pytest.fixture(params=MASKS, ids=["true", "nearly all collide", "all collide"])
def hashes(request: pytest.FixtureRequest) -> Iterator[None]:
    before, hashing._test_mask = hashing._test_mask, request.param
    yield
    hashing._test_mask = before


@st.composite
def relations(draw: Any, max_rows: int = 16) -> tuple[Schema, list[tuple[Any, ...]]]:
    """A schema of one to three types and rows that repeat often."""
    picked = draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=3))
    fields = tuple(Field(f"c{i}", t) for i, (t, _) in enumerate(picked))
    pools = [draw(st.lists(st.one_of(st.none(), v), min_size=1, max_size=4)) for _, v in picked]
    row = st.tuples(*(st.sampled_from(p) for p in pools))
    return Schema(fields), draw(st.lists(row, max_size=max_rows))


@pytest.fixture(params=[False, True], ids=["at once", "in parts"])
def parts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With True batches are as large as those that are consolidated in parts."""
    if request.param:
        monkeypatch.setattr(consolidation, "LARGE_ROWS", 2)
        monkeypatch.setattr(consolidation, "PART_ROWS", 1)


@given(relation=relations(), data=st.data())
@settings(
    max_examples=examples(80),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_consolidation_is_a_counter(hashes: None, parts: None, relation: Any, data: Any) -> None:
    s, rows = relation
    weights = data.draw(
        st.lists(st.integers(-2, 2), min_size=len(rows), max_size=len(rows)), label="weights"
    )
    total: Counter[Any] = Counter()
    for row, weight in zip(rows, weights, strict=True):
        total[plain_row(row)] += weight

    result = consolidate(batch_from_rows(s, rows, weights))

    assert result.consolidated
    assert counted(result) == {row: weight for row, weight in total.items() if weight}
    assert len(result) == len(counted(result)) and (result.weights != 0).all()


@given(relations=st.lists(relations(), min_size=1, max_size=5), data=st.data())
@settings(
    max_examples=examples(80),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_the_sum_of_batches_is_that_of_counters(parts: None, relations: Any, data: Any) -> None:
    (s, first), *_ = relations
    rows = [row for row, _ in data.draw(st.permutations([(r, 0) for r in first] * 3))]
    edges = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    total: Counter[Any] = Counter()
    batches = []
    for start, stop in pairwise((0, *edges, len(rows))):
        weights = data.draw(
            st.lists(st.integers(-2, 2), min_size=stop - start, max_size=stop - start)
        )
        batches.append(batch_from_rows(s, rows[start:stop], weights))
        for row, weight in zip(rows[start:stop], weights, strict=True):
            total[plain_row(row)] += weight

    found = sum_of(iter(batches))

    assert counted(consolidate(found)) == {row: weight for row, weight in total.items() if weight}


def test_a_sum_of_batches_keeps_no_more_rows_than_its_own_where_most_are_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(consolidation, "LARGE_ROWS", 100)
    s = schema(x=BIGINT)
    rows = ([((start + i) % 40,) for i in range(80)] for start in range(200))

    found = sum_of(batch_from_rows(s, some) for some in rows)

    assert len(found) <= 3 * 40 + 100
    assert counted(consolidate(found)) == {(i,): 400 for i in range(40)}


def test_rows_without_columns_are_all_equal() -> None:
    assert consolidate(batch_from_rows(Schema(()), [(), ()], [2, 3])).weights.tolist() == [5]
    assert len(consolidate(batch_from_rows(Schema(()), [(), ()], [2, -2]))) == 0


@given(relation=relations(max_rows=8))
@settings(max_examples=examples(80), deadline=None)
def test_equal_rows_and_only_they_compare_equal_and_they_hash_alike(relation: Any) -> None:
    s, rows = relation
    n = len(rows)
    a, b = batch_from_rows(s, rows), batch_from_rows(s, rows)  # long strings in heaps of their own
    ia, ib = (x.reshape(-1) for x in np.divmod(np.arange(n * n), max(n, 1)))

    equal = rows_equal(a.columns, ia, b.columns, ib).astype(bool)

    expected = [plain_row(rows[i]) == plain_row(rows[j]) for i, j in zip(ia, ib, strict=True)]
    assert equal.tolist() == expected
    ha, hb = hash_columns(a.columns), hash_columns(b.columns)
    assert (ha[ia[equal]] == hb[ib[equal]]).all()


@given(relation=relations(max_rows=8))
@settings(max_examples=examples(40), deadline=None)
def test_where_hashes_are_said_to_be_exact_equal_ones_mean_equal_rows(relation: Any) -> None:
    s, rows = relation
    a, b = batch_from_rows(s, rows), batch_from_rows(s, rows[::-1])
    ia, ib = (x.reshape(-1) for x in np.divmod(np.arange(len(rows) ** 2), max(len(rows), 1)))
    if is_exact(a.columns, b.columns):
        alike = hash_columns(a.columns)[ia] == hash_columns(b.columns)[ib]
        assert alike.tolist() == rows_equal(a.columns, ia, b.columns, ib).astype(bool).tolist()


def test_hashes_are_exact_of_single_words_without_nulls_and_not_when_they_are_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, null = (column_from_python(BIGINT, [1, v]) for v in (2, None))
    text = column_from_python(VARCHAR, ["a", "b"])
    assert is_exact([one], [one])
    assert not is_exact([one], [null]) and not is_exact([text], [text])
    assert not is_exact([one, one], [one, one])
    # the words that a mixing step folds together if it loses a bit are neighbours and powers
    words = np.concatenate((np.arange(-5000, 5000), 1 << np.arange(63), -1 << np.arange(63)))
    hashes = hash_columns([Column(BIGINT, words)])
    assert len(np.unique(hashes)) == len(np.unique(words))
    monkeypatch.setattr(hashing, "_test_mask", 0b1)
    assert not is_exact([one], [one])


def test_a_null_is_not_the_value_whose_bytes_it_holds() -> None:
    for type, zero in ((VALUES[3][0], 0), (VARCHAR, "")):
        column = column_from_python(type, [None, zero])
        first, second = hash_columns([column])
        assert first != second
        assert not rows_equal([column], np.array([0]), [column], np.array([1])).any()


def test_hashes_are_the_same_in_another_process() -> None:
    """Runs that are written and read back rely on it."""
    program = (
        "from penstock.data.build import column_from_python as c\n"
        "from penstock.data.hash import hash_columns\n"
        "from penstock.data.types import BIGINT, VARCHAR\n"
        "c(VARCHAR, ['other heaps come first in this process'])\n"
        "a = c(BIGINT, [1, None]), c(VARCHAR, ['short', 'longer than twelve bytes'])\n"
        "print(hash_columns(a).tolist())"
    )
    here: dict[str, Any] = {}
    exec(program.replace("print(", "result = (").rstrip(), here)
    there = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert there.stdout.strip() == str(here["result"])


@given(relation=relations(), data=st.data())
@settings(max_examples=examples(100), deadline=None)
def test_sorting_is_exact_and_stable(relation: Any, data: Any) -> None:
    s, rows = relation
    directions = [data.draw(DIRECTIONS) for _ in s.fields]

    order = sort_indices(batch_from_rows(s, rows).columns, directions, len(rows))

    by = cmp_to_key(lambda i, j: compare_rows(rows[i], rows[j], directions))
    assert order.tolist() == sorted(range(len(rows)), key=by)


@given(relation=relations(), direction=DIRECTIONS)
@settings(max_examples=examples(100), deadline=None)
def test_codes_never_contradict_the_order(relation: Any, direction: Any) -> None:
    s, rows = relation
    values = [(r[0],) for r in rows]
    column = column_from_python(s.types[0], [r[0] for r in rows])

    codes = order_codes(column, *direction).tolist()

    for i, x in enumerate(values):
        for j, y in enumerate(values):
            if compare_rows(x, y, [direction]) < 0:
                assert codes[i] <= codes[j]
            if plain_row(x) == plain_row(y):
                assert codes[i] == codes[j]


def compare_rows(x: Any, y: Any, directions: Any) -> int:
    for a, b, (descending, nulls_first) in zip(x, y, directions, strict=True):
        if a is None or b is None:
            if (a is None) != (b is None):
                return -1 if (a is None) == nulls_first else 1
            continue
        a, b = rank(a), rank(b)
        if a != b:
            return -1 if (a < b) != descending else 1
    return 0


def rank(value: Any) -> Any:
    if isinstance(value, float):
        return (1, 0.0) if plain(value) == "NaN" else (0, value)
    if isinstance(value, str):
        return value.encode()
    return value.bytes if hasattr(value, "bytes") else value


def test_many_strings_with_one_prefix_sort_by_what_follows() -> None:
    texts = [f"the same beginning {i * 37 % 500:03}" for i in range(500)]
    order = sort_indices(batch_from_rows(schema(t=VARCHAR), [(t,) for t in texts]).columns,
                         [(True, True)])  # fmt: skip
    assert [texts[i] for i in order] == sorted(texts, reverse=True)


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.sampled_from(["same8byt" + s for s in ("", "a", "b", "long", "longer than")])))
def test_strings_of_one_prefix_are_sorted_whole_and_stably(words: list[str]) -> None:
    column = column_from_python(VARCHAR, words)
    expected = sorted(range(len(words)), key=lambda i: words[i])
    assert sort_indices([column], [(False, True)]).tolist() == expected
    assert dense_ranks(column).tolist() == [sorted(set(words)).index(w) for w in words]


@pytest.mark.parametrize("runs", [[3000], [2000, 600, 400], [2900] + [9] * 11, [60] * 30])
@pytest.mark.parametrize("span", [3, 1 << 40])
def test_rows_of_sorted_runs_are_sorted_as_others_are(runs: list[int], span: int) -> None:
    rng = np.random.default_rng(len(runs))
    parts = [np.sort(rng.integers(0, 3 * span, n)) for n in runs]
    words = [
        np.concatenate([by(p, span) for p in parts]).astype(np.uint64) for by in (floordiv, mod)
    ]
    assert sorted_by_words(words).tolist() == np.lexsort(words[::-1]).tolist()


@pytest.mark.parametrize("most", [2, 16, 17])
def test_rows_of_small_sets_that_lie_in_order_are_sorted_as_others_are(most: int) -> None:
    rng = np.random.default_rng(most)
    sets = np.repeat(np.arange(600), rng.integers(1, most + 1, 600))
    words = [w.astype(np.uint64) for w in (sets, *rng.integers(0, 3, (2, len(sets))))]
    assert sorted_by_words(words).tolist() == np.lexsort(words[::-1]).tolist()


@pytest.mark.parametrize("count", range(1, 9))
def test_columns_hash_the_same_whether_or_not_they_say_that_none_is_null(count: int) -> None:
    rng = np.random.default_rng(count)
    for plain_ones in range(1 << count):
        values = rng.integers(-(2**62), 2**62, (count, 5))
        columns = [Column(BIGINT, v) for v in values]
        told = [
            c if plain_ones >> i & 1 else Column(BIGINT, c.values, np.ones(5, np.uint8))
            for i, c in enumerate(columns)
        ]
        assert hash_columns(told, 7).tolist() == hash_columns(columns, 7).tolist()


@given(relation=relations(max_rows=40), data=st.data())
@settings(max_examples=examples(40), deadline=None)
def test_many_rows_are_sorted_as_few_are(relation: Any, data: Any) -> None:
    s, rows = relation
    columns = batch_from_rows(s, rows).columns
    directions = [data.draw(DIRECTIONS) for _ in columns]
    with pytest.MonkeyPatch.context() as patch:
        orders = []
        for few in (0, len(rows) + 1):
            patch.setattr(order, "FEW_ROWS", few)
            orders.append(sort_indices(columns, directions).tolist())
    assert orders[0] == orders[1]


@given(relation=relations(max_rows=40), data=st.data())
@settings(max_examples=examples(60), deadline=None)
def test_few_rows_are_sorted_and_compared_as_many_are(relation: Any, data: Any) -> None:
    s, rows = relation
    columns = batch_from_rows(s, rows).columns
    directions = [data.draw(DIRECTIONS) for _ in columns]
    with pytest.MonkeyPatch.context() as patch:
        found = []
        for few in (0, len(rows) + 1):
            patch.setattr(order, "FEW_ROWS", few)
            at, equal = sort_and_compare(columns, directions)
            found.append((at.tolist(), equal.tolist()))
    assert found[0] == found[1]


@pytest.mark.parametrize("n", [1, 2, 63, 200])
def test_few_rows_with_many_ties_keep_the_order_they_came_in(n: int) -> None:
    rng = np.random.default_rng(n)
    words = [rng.integers(0, 3, n) for _ in range(3)]
    for k in (1, 2, 3):
        columns = [Column(BIGINT.with_nullable(False), w) for w in words[:k]]
        at, equal = sort_and_compare(columns, [(False, False)] * k)
        assert at.tolist() == np.lexsort(words[:k][::-1]).tolist()
        there = list(zip(*(w[at].tolist() for w in words[:k]), strict=True))
        assert equal.tolist() == [0, *(int(a == b) for a, b in pairwise(there))]


@pytest.mark.parametrize("most", [1, 3, 2**20, 2**64 - 1])
def test_words_are_sorted_whatever_they_span(most: int) -> None:
    rng = np.random.default_rng(9)
    n = 3_000
    words = [rng.integers(0, m, n, np.uint64, endpoint=True) for m in (7, most)]
    words[1][:2] = [0, most]
    found = order.sorted_by_words(words)
    assert found.tolist() == np.lexsort(words[::-1]).tolist()
    again = order.sorted_by_words([w[found] for w in words])
    assert again.tolist() == list(range(n))
