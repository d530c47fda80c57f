"""Comparing a target with its view: exact counts, in memory and on disk, against a plain oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data import hash as hashes
from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows
from penstock.data.types import VARCHAR, schema
from penstock.io.contents import Contents
from penstock.pipeline import audit
from penstock.pipeline.audit import compare
from tests.examples import examples

SCHEMA = schema(k=VARCHAR, v=VARCHAR)
Rows = Counter[tuple[Any, ...]]
ROW = st.tuples(st.sampled_from(["1", "2", "3", "NULL", "a long text beyond twelve bytes"]),
                st.sampled_from(["a", None, "another long text of many bytes"]))  # fmt: skip


def batches(rows: Rows, size: int = 3) -> Iterator[Batch]:
    flat = list(rows.items())
    for i in range(0, len(flat), size):
        piece = flat[i : i + size]
        yield batch_from_rows(SCHEMA, [r for r, _ in piece], [n for _, n in piece])


def contents(rows: Rows, key: tuple[int, ...] = ()) -> Contents:
    return Contents(SCHEMA, key, batches(rows), lambda b: b)


def oracle(view: Rows, target: Rows, is_keyed: bool) -> tuple[int, int, int]:
    """(missing, extra, different), the slow way."""
    missing, extra = view - target, target - view
    both = {r[0] for r in missing} & {r[0] for r in extra} if is_keyed else set()
    return (
        sum(n for r, n in missing.items() if r[0] not in both),
        sum(n for r, n in extra.items() if r[0] not in both),
        len(both),
    )


@given(
    view=st.lists(ROW, max_size=30),
    target=st.lists(ROW, max_size=30),
    is_keyed=st.booleans(),
    in_memory=st.sampled_from([0, 5, 1000]),
    mask=st.sampled_from([hashes.ALL_BITS, 0, 3]),
)
@settings(max_examples=examples(40), deadline=None)
def test_counts_are_those_of_multisets_also_on_disk_and_with_colliding_hashes(
    view: list[Any], target: list[Any], is_keyed: bool, in_memory: int, mask: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "ROWS_IN_MEMORY", in_memory)
        patch.setattr(hashes, "_test_mask", mask)
        v, t = Counter(view), Counter(target)
        found = compare(contents(t, (0,) if is_keyed else ()), batches(v), 100)

    assert (found.missing, found.extra, found.different) == oracle(v, t, is_keyed)
    assert (found.view.rows, found.target.rows) == (v.total(), t.total())
    assert found.is_equal == (v == t)
    if mask == hashes.ALL_BITS:
        assert (found.view.digest == found.target.digest) == (v == t)


def test_rows_are_shown_up_to_a_bound_with_their_copies_and_both_spellings() -> None:
    view: Rows = Counter({("1", "a"): 3, ("2", "old"): 1, ("3", "c"): 1, ("4", "d"): 1})
    target: Rows = Counter({("2", "new"): 1, ("9", None): 1})
    found = compare(contents(target, (0,)), batches(view), 2)

    assert (found.missing, found.extra, found.different) == (5, 1, 1)
    assert len(found.missing_rows) == 2
    assert found.extra_rows == [{"k": "9", "v": None}]
    assert found.different_rows == [
        {"view": {"k": "2", "v": "old"}, "target": {"k": "2", "v": "new"}}
    ]
    keyless = compare(contents(target), batches(view), 100)
    assert {"k": "1", "v": "a", "__copies": 3} in keyless.missing_rows
    assert keyless.different == 0


def test_insertions_and_deletions_of_a_log_add_up() -> None:
    log = iter([*batches(Counter({("1", "a"): 1, ("2", "b"): 1})),
                *batches(Counter({("1", "a"): -1, ("3", "c"): 1}))])  # fmt: skip
    found = compare(
        Contents(SCHEMA, (), log, lambda b: b),
        batches(Counter({("2", "b"): 1, ("3", "c"): 1})),
        10,
    )
    assert found.is_equal and found.target.rows == 2
