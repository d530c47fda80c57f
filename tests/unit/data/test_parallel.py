"""Large batches are worked on by several threads, and nobody can tell."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from penstock.compile import spread
from penstock.compile.program import compile_circuit
from penstock.data import parallel
from penstock.data.batch import Batch, Column
from penstock.data.build import batch_to_rows
from penstock.data.parallel import (
    Errand,
    Gain,
    beside_steps,
    in_ranges,
    is_spread,
    side_by_side,
    use_threads,
)
from penstock.data.types import BIGINT, VARCHAR, Field, Schema
from penstock.errors import RuntimeSqlError
from penstock.plan.expressions import Cast, InputRef
from penstock.sql.program import compile_program
from tests.oracle.drive import as_input


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything from two rows on is spread."""
    for name in ("LEAST_ROWS", "MANY_ROWS", "LOOK_UP_ROWS"):
        monkeypatch.setattr(parallel, name, 1)
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
CREATE VIEW a AS SELECT s, x, SUM(k) AS n, AVG(x / 2e0) AS h, MIN(k) AS l, ARRAY_AGG(k) AS ks
    FROM t GROUP BY s, x;
CREATE VIEW j AS SELECT t.s, u.y, r.x FROM t LEFT JOIN u ON t.k = u.y
    LEFT JOIN t AS r ON r.s = t.s AND r.x > u.k;
CREATE VIEW o AS SELECT DISTINCT s, k FROM t EXCEPT SELECT s, x FROM t;
CREATE VIEW p AS SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY s ORDER BY x) AS n FROM t)
    WHERE n <= 3;
CREATE VIEW r AS SELECT s, x, SUM(k) OVER (PARTITION BY s ORDER BY x) AS n FROM t;
"""
VIEWS = "vwajopr"


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
        seen.append({name: sorted(batch_to_rows(step[name]), key=repr) for name in VIEWS})
    return seen


def test_a_program_emits_the_same_with_any_number_of_workers() -> None:
    alone = changes(1)
    assert alone == changes(2) == changes(3)


def test_works_side_by_side_are_done_once_each_and_the_first_failure_is_raised() -> None:
    use_threads(3)
    both = threading.Barrier(3)
    done = []

    def work(i: int) -> int:
        if i < 3:
            both.wait(30)  # three threads are at it
        done.append(i)
        assert not is_spread(100)  # and nobody is left to help
        if i in (4, 5):
            raise ValueError(i)
        return i * i

    assert side_by_side([partial(work, i) for i in (0, 1, 2, 3)]) == [0, 1, 4, 9]
    assert sorted(done) == [0, 1, 2, 3] and is_spread(100)
    with pytest.raises(ValueError, match=r"^4$"):
        side_by_side([partial(work, i) for i in (0, 1, 2, 4, 5, 6)])
    assert sorted(done) == [0, 0, 1, 1, 2, 2, 3, 4, 5, 6]


class Work:
    """What takes as many seconds as is said, by a clock of its own."""

    def __init__(self, one: float, several: float) -> None:
        self.now, self.one, self.several = 0.0, one, several
        self.done: list[str] = []

    def clock(self) -> float:
        return self.now

    def do(self, way: str) -> str:
        self.now += self.one if way == "one" else self.several
        self.done.append(way)
        return way

    def uses(self, gain: Gain, times: int, rows: int = 100) -> dict[str, int]:
        """How often each way was gone in so many uses."""
        self.done.clear()
        for _ in range(times):
            gain.better(rows, lambda: self.do("several"), lambda: self.do("one"))
        return {way: self.done.count(way) for way in ("one", "several")}


def test_several_threads_are_used_where_they_were_seen_to_gain() -> None:
    gain, work = Gain(), Work(one=2.0, several=1.2)
    use_threads(2, work.clock)
    # both ways are tried, then the better one is kept to
    assert work.uses(gain, 68) == {"one": 2, "several": 66}
    # until both are tried again, when they may have changed
    work.several = 3.0
    assert work.uses(gain, 68) == {"one": 66, "several": 2}
    # what is found again is believed for longer
    assert work.uses(gain, 2 * (4 + 128)) == {"one": 260, "several": 4}
    # and what is about the same is not worth it
    work.several = 1.95
    assert work.uses(gain, 8 + 512)["several"] == 4


def test_large_and_small_steps_are_told_apart() -> None:
    gain, work = Gain(), Work(one=2.0, several=3.0)
    use_threads(2, work.clock)
    assert work.uses(gain, 60)["several"] == 2
    work.several = 1.0
    assert work.uses(gain, 60, rows=300)["several"] == 58
    work.several = 3.0
    assert work.uses(gain, 8, rows=120)["several"] == 0


def test_a_place_within_another_is_tried_when_that_one_is_not() -> None:
    """An expression gains by ranges where nodes do not gain by being together, and both at once
    come to nothing."""
    outer, inner, work = Gain(), Gain(), Work(one=5.0, several=3.0)
    use_threads(2, work.clock)
    nodes = {"several": 2.0, "one": 0.0}
    ways: list[tuple[str, str]] = []

    def step(of_nodes: str) -> None:
        work.several = 3.0 + 2.5 * nodes[of_nodes]  # its threads are taken by the nodes
        work.now += nodes[of_nodes]
        way = inner.better(100, lambda: work.do("several"), lambda: work.do("one"))
        ways.append((of_nodes, way))

    for _ in range(40):
        outer.better(100, lambda: step("several"), lambda: step("one"))

    assert ("several", "several") not in ways
    assert ways[-1] == ("one", "several")
    assert ways.count(("one", "several")) >= 34


def test_a_trial_that_fails_does_not_keep_others_from_being_tried() -> None:
    gain, work = Gain(), Work(one=2.0, several=1.2)
    use_threads(2, work.clock)

    def fail() -> str:
        raise ValueError

    with pytest.raises(ValueError):
        Gain().better(100, fail, fail)
    assert work.uses(gain, 68) == {"one": 2, "several": 66}


def test_where_threads_sort_beside_the_steps_there_are_as_many_processors_less() -> None:
    gain, work = Gain(), Work(one=2.0, several=1.2)
    over, begun = threading.Event(), threading.Event()

    def sort() -> None:
        begun.set()
        over.wait()

    for processors, most in ((2, 0), (3, 10)):
        use_threads(2, work.clock, processors)
        assert work.uses(gain, 10)["several"] >= 5
        over.clear()
        begun.clear()
        thread = threading.Thread(target=beside_steps, args=(sort,))
        thread.start()
        begun.wait()
        assert work.uses(gain, 10)["several"] == most
        over.set()
        thread.join()
        assert work.uses(gain, 10)["several"] == 10
    with pytest.raises(ZeroDivisionError):
        beside_steps(divmod, 1, 0)
    assert work.uses(gain, 10)["several"] == 10


def test_without_a_clock_all_that_may_be_is_spread() -> None:
    work = Work(one=1.0, several=9.0)
    use_threads(2)
    assert work.uses(Gain(), 100) == {"one": 0, "several": 100}


def test_expressions_are_spread_where_that_gains() -> None:
    schema = Schema((Field("x", BIGINT),))
    batch = Batch(schema, (Column(BIGINT, np.arange(9)),), np.ones(9, np.int64))
    now, sizes = [0.0], []

    def fn(rows: Batch) -> Batch:
        sizes.append(len(rows))
        now[0] += 1.0  # each part takes as long as the whole
        return rows

    counted = spread.spread(fn, [Cast(VARCHAR, InputRef(BIGINT, 0))])
    use_threads(2, lambda: now[0])
    for seen in ([9], [4, 5], [9], [4, 5], [9], [9]):
        sizes.clear()
        assert counted(batch).columns[0].values.tolist() == list(range(9))
        assert sorted(sizes) == seen


def test_which_row_failed_does_not_depend_on_the_workers() -> None:
    told = []
    for threads in (1, 2):
        use_threads(threads)
        plan = compile_program(
            "CREATE TABLE t (x INT, y INT); CREATE VIEW v AS SELECT 1 / x, 1 / y FROM t;"
        )
        rows = [((i - 30, i - 5), 1) for i in range(40)]
        circuit = compile_circuit(plan)
        circuit.step({"t": [as_input(plan.tables[0].schema, [((1, 1), 1)] * 9)]})
        with pytest.raises(RuntimeSqlError) as failure:
            circuit.step({"t": [as_input(plan.tables[0].schema, rows)]})
        told.append((str(failure.value), failure.value.row))
    assert told[0] == told[1]


def test_an_errand_that_nobody_has_begun_is_done_by_who_needs_it_and_by_nobody_else() -> None:
    done: list[str] = []

    def work() -> int:
        done.append(threading.current_thread().name)
        return len(done)

    with ThreadPoolExecutor(1, "behind") as behind:
        blocked = threading.Event()
        before = Errand(behind, blocked.wait, 60)
        errand = Errand(behind, work)
        assert not errand.done()
        assert errand.result() == 1 and errand.done()
        blocked.set()
        assert before.result() is True
        behind.submit(int).result()  # what was given before is over
        assert errand.result() == 1
    assert done == [threading.current_thread().name]


def test_an_errand_is_done_behind_who_gave_it_and_raises_where_it_is_asked_for() -> None:
    def fail() -> None:
        raise ValueError(threading.current_thread().name)

    with ThreadPoolExecutor(1, "behind") as behind:
        errands = Errand(behind, fail), Errand(behind, threading.current_thread)
        behind.submit(int).result()
        assert all(errand.done() for errand in errands)
    for _ in range(2):
        with pytest.raises(ValueError, match="behind_0"):
            errands[0].result()
    assert errands[1].result().name == "behind_0"
