"""Large batches are worked on by several threads, and nobody can tell."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from penstock.compile.program import compile_circuit
from penstock.data import parallel
from penstock.data.build import batch_to_rows
from penstock.data.parallel import in_ranges, use_threads
from penstock.errors import RuntimeSqlError
from penstock.sql.program import compile_program
from tests.oracle.drive import as_input


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything from two rows on is spread."""
    monkeypatch.setattr(parallel, "LEAST_ROWS", 1)
    yield
    use_threads(1)


def test_ranges_cover_the_rows_once_in_order_and_the_first_failure_is_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_threads(3)
    monkeypatch.setattr(parallel, "LEAST_ROWS", 10)
    names = set()

    def work(start: int, stop: int) -> list[int]:
        names.add(threading.current_thread().name)
        # a helper asks nobody
        assert start == 0 or in_ranges(lambda a, b: (a, b), 90) == [(0, 90)]
        return list(range(start, stop))

    made = in_ranges(work, 100)

    assert [row for part in made for row in part] == list(range(100))
    assert len(made) == 3 and threading.current_thread().name in names
    assert in_ranges(work, 19) == [list(range(19))]

    def fail(start: int, stop: int) -> None:
        raise ValueError(start)

    with pytest.raises(ValueError, match=r"^0$"):
        in_ranges(fail, 100)


PROGRAM = """
CREATE TABLE t (k INT, s VARCHAR, x INT);
CREATE TABLE u (k INT, y INT);
CREATE VIEW v AS SELECT t.k, UPPER(s) || 'x' AS s, 100 / x AS q, y
    FROM t JOIN u ON t.k = u.k WHERE s <> 'b';
CREATE VIEW w AS SELECT k, COUNT(*) AS n, MAX(s) AS m, COUNT(DISTINCT x) AS d FROM t GROUP BY k;
"""


def changes(threads: int) -> list[object]:
    """What the views of PROGRAM emit in each of three steps."""
    use_threads(threads)
    plan = compile_program(PROGRAM)
    circuit = compile_circuit(plan)
    t, u = (table.schema for table in plan.tables)
    rng = np.random.default_rng(7)
    seen: list[object] = []
    for sign in (1, 1, -1):
        ks, xs = rng.integers(0, 9, 60).tolist(), rng.integers(1, 9, 60).tolist()
        letters = [None, "a", "b", "a letter and more than that"]
        rows = [((k, letters[k % 4], x), sign) for k, x in zip(ks, xs, strict=True)]
        others = [((k, x), sign) for k, x in zip(xs, ks, strict=True)]
        step = circuit.step({"t": [as_input(t, rows)], "u": [as_input(u, others)]})
        seen.append({name: sorted(batch_to_rows(step[name]), key=repr) for name in ("v", "w")})
    return seen


def test_a_program_emits_the_same_with_any_number_of_workers() -> None:
    alone = changes(1)
    assert alone == changes(2) == changes(3)


def test_which_row_failed_does_not_depend_on_the_workers() -> None:
    told = []
    for threads in (1, 2):
        use_threads(threads)
        plan = compile_program(
            "CREATE TABLE t (x INT, y INT); CREATE VIEW v AS SELECT 1 / x, 1 / y FROM t;"
        )
        rows = [((i - 30, i - 5), 1) for i in range(40)]
        with pytest.raises(RuntimeSqlError) as failure:
            compile_circuit(plan).step({"t": [as_input(plan.tables[0].schema, rows)]})
        told.append((str(failure.value), failure.value.row))
    assert told[0] == told[1]
