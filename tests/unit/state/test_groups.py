"""A group table grows while it is used, and keeps every key it was given."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.batch import Column
from penstock.data.build import column_from_python, column_to_python
from penstock.data.types import BIGINT, VARCHAR
from penstock.state import columns as columns_module
from penstock.state import groups as groups_module
from penstock.state.columns import GrowingColumn
from penstock.state.groups import GroupTable
from tests.examples import examples


def numbers(values: Any) -> tuple[Column, ...]:
    return (Column(BIGINT, np.array(values, np.int64)),)


@given(sizes=st.lists(st.integers(0, 700), max_size=25))
@settings(max_examples=examples(40), deadline=None)
def test_no_key_is_lost_or_doubled_whatever_the_sizes_of_the_batches(sizes: list[int]) -> None:
    table, count = GroupTable([BIGINT]), 0
    for n in sizes:
        new = np.arange(count, count + n) * 7919
        assert table.lookup_or_insert(numbers(new), n).tolist() == list(range(count, count + n))
        count += n
        everything = np.arange(count) * 7919
        assert table.lookup(numbers(everything), count).tolist() == list(range(count))
        assert table.lookup(numbers([-1]), 1).tolist() == [-1]


def test_growth_is_spread_over_the_insertions() -> None:
    """No call enters more than its share of the groups into a larger table."""
    table, per_call, most = GroupTable([BIGINT]), 100, 0
    table.lookup_or_insert(numbers(np.arange(5000)), 5000)
    for i in range(5000, 60_000, per_call):
        before = table._filled if table._next is not None else 0
        table.lookup_or_insert(numbers(np.arange(i, i + per_call)), per_call)
        moved = (table._filled if table._next is not None else 0) - before
        most = max(most, moved)
        assert 4 * len(table) <= 3 * len(table._slots)
    assert 0 < most <= 4 * per_call + 256


def test_a_batch_of_known_keys_does_not_grow_the_table_again_and_again() -> None:
    table = GroupTable([BIGINT])
    table.lookup_or_insert(numbers(np.zeros(10_000)), 10_000)
    slots = len(table._slots)
    for _ in range(20):
        table.lookup_or_insert(numbers(np.zeros(10_000)), 10_000)
    assert len(table) == 1 and len(table._slots) == slots


def test_a_table_answers_while_the_memory_of_the_next_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    comes: Future[None] = Future()
    monkeypatch.setattr(groups_module, "LARGE_BYTES", 1)
    monkeypatch.setattr(groups_module, "populated", lambda part: comes)
    table, known = GroupTable((BIGINT,)), np.zeros(0, np.int64)
    for at in range(40):
        if at == 20:
            comes.set_result(None)
        known = np.arange(7 * (at + 1))
        column = Column(BIGINT, known * 3)
        assert table.lookup_or_insert((column,), len(known)).tolist() == known.tolist()
        assert table.lookup((column,), len(known)).tolist() == known.tolist()
    assert len(table) == len(known)


TEXTS = st.one_of(st.none(), st.sampled_from(["", "short"]), st.text(min_size=13, max_size=40))


@given(batches=st.lists(st.lists(TEXTS, max_size=6), max_size=12), first=st.integers(1, 64))
@settings(max_examples=examples(60), deadline=None)
def test_a_growing_column_holds_what_was_appended_and_older_views_stay(
    batches: Any, first: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns_module, "FIRST_HEAP_BYTES", first)
        column, so_far, views = GrowingColumn(VARCHAR), [], []
        for texts in batches:
            column.append(column_from_python(VARCHAR, texts))
            so_far = so_far + texts
            views.append((column.column(), so_far))
    for view, expected in views:
        assert column_to_python(view) == expected


def test_appending_a_few_long_strings_many_times_keeps_few_heaps() -> None:
    column = GrowingColumn(VARCHAR)
    for i in range(2000):
        column.append(column_from_python(VARCHAR, [f"a key of more than twelve bytes {i}"]))
    assert len(column.column().heaps) < 10
    assert column_to_python(column.column())[1999] == "a key of more than twelve bytes 1999"


GUARDED = """
import ctypes, mmap
import numpy as np
from penstock.data.batch import Column
from penstock.data.types import BIGINT
from penstock.state.groups import GroupTable

type = BIGINT.with_nullable(False)
# the last of them is the first in its slot
keys = Column(type, np.arange(8 * mmap.PAGESIZE) + 1_000_000)
table = GroupTable([type])
table.lookup_or_insert([keys], len(keys))
hashes = table.entries()["hash"][: len(keys)]
# as many hashes as groups, as after a restart, and then a page that nobody may read
memory = mmap.mmap(-1, hashes.nbytes + mmap.PAGESIZE)
stored = np.frombuffer(memory, np.uint64)[: len(hashes)]
stored[:] = hashes
end = ctypes.c_void_p(stored.__array_interface__["data"][0] + hashes.nbytes)
assert ctypes.CDLL(None).mprotect(end, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
table.load_entries({"hash": stored, "key0": keys}, len(keys))
assert (table.lookup([keys], len(keys)) == np.arange(len(keys))).all()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for a page that cannot be read")
def test_a_look_up_reads_nothing_behind_the_last_hash() -> None:
    done = subprocess.run([sys.executable, "-c", GUARDED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
