"""Rows in order of one column that reach a value of another (`penstock.state.peaks`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.batch import Batch, Column
from penstock.data.types import BIGINT, schema
from penstock.state.ordered import OrderedRun, OrderedSpine
from penstock.state.peaks import BLOCK, PeaksOfRuns, counts_of, rows_of
from penstock.state.ranges import Span

ROWS = schema(a=BIGINT, b=BIGINT)


def spine_of(values: list[int]) -> OrderedSpine:
    """Of rows (i, values[i]), in that order, without a key."""
    spine = OrderedSpine(ROWS, (), [(0, False, True)])
    b = np.array(values, np.int64)
    columns = Column(BIGINT, np.arange(len(b))), Column(BIGINT, b)
    spine.insert(Batch(ROWS, columns, np.ones(len(b), np.int64)))
    spine.flush()
    return spine


def asked(spine: OrderedSpine, spans: list[tuple[int, int]], values: list[int], *, down: bool
) -> list[Any]:  # fmt: skip
    (run,) = spine.runs()
    assert isinstance(run, OrderedRun)
    first, last = (np.array(ends, np.int64) for ends in zip(*spans, strict=True))
    found: list[Span] = [(run, first, last)]
    kind = PeaksOfRuns(1, downward=down)
    wanted = kind.codes(Column(BIGINT, np.array(values, np.int64)))
    peaks = kind.of(spine, found)
    ((needle, row),) = rows_of(found, peaks, wanted)
    (counts,) = counts_of(found, peaks, wanted)
    assert counts.tolist() == np.bincount(needle, minlength=len(spans)).tolist()
    return [*zip(needle.tolist(), row.tolist(), strict=True)]


@given(
    n=st.sampled_from([1, BLOCK - 1, BLOCK, 3 * BLOCK + 5, BLOCK**2 + 1, 2 * BLOCK**3 + 7]),
    seed=st.integers(0, 1 << 16), span=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    share=st.sampled_from([0.0, 0.001, 0.1, 1.0]), down=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=60, database=None)
def test_blocks_that_do_not_reach_it_are_passed_over_and_no_others(
    n: int, seed: int, span: tuple[float, float], share: float, down: bool
) -> None:
    values = np.random.default_rng(seed).permutation(n)
    first, last = sorted(int(x * n) for x in span)
    value = int(n * share) if down else int(n * (1 - share))
    reaches = values <= value if down else values >= value
    by_block = np.add.reduceat(reaches, np.arange(0, n, BLOCK)) > 0
    expected = [(0, i) for i in range(first, last) if by_block[i // BLOCK]]

    spine = spine_of(values.tolist())
    assert asked(spine, [(first, last)], [value], down=down) == expected
    # beside one that finds nothing, and one of no rows
    none = [(0, n), (first, last), (last, last)]
    beyond = -1 if down else n
    assert asked(spine, none, [beyond, value, value], down=down) == [(1, i) for _, i in expected]


def test_the_last_and_the_first_value_there_is_are_reached() -> None:
    least, most = -(2**63), 2**63 - 1
    spine = spine_of([least, 0, most] * BLOCK)
    everything = [(0, i) for i in range(3 * BLOCK)]

    assert asked(spine, [(0, 3 * BLOCK)], [most], down=False) == everything
    assert asked(spine, [(0, 3 * BLOCK)], [least], down=True) == everything


def test_peaks_of_runs_that_are_gone_are_forgotten() -> None:
    spine, kind = spine_of([1, 2, 3]), PeaksOfRuns(1, downward=False)
    (run,) = spine.runs()
    found: list[Any] = [(run, np.zeros(1, np.int64), np.full(1, 3))]
    kind.of(spine, found)
    assert [made for made, _ in kind._made.values()] == [run]
    kind.of(spine_of([4]), [])
    assert not kind._made


def test_few_rows_are_found_of_many() -> None:
    n = 5_000
    spine = spine_of([i % 1000 for i in range(n)])

    assert len(asked(spine, [(0, n)], [999], down=False)) <= BLOCK * n // 1000
