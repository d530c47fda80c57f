"""Nodes run in several threads, and nobody can tell."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from penstock.circuit.node import Node
from penstock.circuit.schedule import Schedule
from penstock.data import parallel
from penstock.data.batch import Batch
from penstock.data.parallel import use_threads
from penstock.data.types import BIGINT, Field, Schema

SCHEMA = Schema((Field("x", BIGINT),))


class Sum(Node):
    """Adds a number to what its inputs make; waits for `meets` others to run at the same time."""

    def __init__(self, adds: int, *inputs: Node, meets: threading.Barrier | None = None) -> None:
        super().__init__(SCHEMA, inputs)
        self._adds, self._meets = adds, meets
        self.total = 0
        self.committed = 0

    def step(self) -> Batch | None:
        if self._meets is not None:
            self._meets.wait(30)
        self.total = self._adds + sum(n.total for n in self.inputs if isinstance(n, Sum))
        if self.total < 0:
            raise ValueError(self.total)
        return Batch(SCHEMA, (), np.ones(1, np.int64))

    def commit(self) -> None:
        self.committed += 1

    def parameters(self) -> tuple[int]:
        return (self._adds,)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(parallel, "LEAST_ROWS", 1)
    yield
    use_threads(1)


def begun(*nodes: Sum) -> None:
    for node in nodes:
        node.is_pending = True


def test_independent_nodes_run_at_the_same_time_and_consumers_after_their_inputs() -> None:
    use_threads(2)
    both = threading.Barrier(2)
    left, right = Sum(1, meets=both), Sum(2, meets=both)
    third = Sum(10, left, right)
    nodes = [left, right, third, Sum(100, third), Sum(1000, left)]
    schedule = Schedule(nodes)
    for _ in range(3):
        begun(left, right)
        ran = schedule.run(2)
        assert ran == nodes
        schedule.commit(ran, 2)
    assert [n.total for n in nodes] == [1, 2, 13, 113, 1001]
    assert [n.committed for n in nodes] == [3] * 5 and all(n.delta is None for n in nodes)


def test_what_no_input_of_changed_is_passed_over() -> None:
    use_threads(2)
    left, right = Sum(1), Sum(2)
    nodes = [left, right, Sum(10, left), Sum(20, right), Sum(30, left, right)]
    begun(right)
    assert Schedule(nodes).run(2) == [nodes[1], nodes[3], nodes[4]]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_of_several_failures_the_first_in_order_is_told(threads: int) -> None:
    use_threads(threads)
    first = Sum(1)
    nodes = [first, Sum(0, first), Sum(-5, first), Sum(-7), Sum(-9)]
    begun(*nodes)
    with pytest.raises(ValueError, match=r"^-4$"):
        Schedule(nodes).run(2)


def test_few_rows_stay_in_this_thread() -> None:
    use_threads(2)
    node = Sum(1)
    begun(node)
    seen = set()
    node.step = lambda: seen.add(threading.current_thread())  # type: ignore[method-assign,assignment,func-returns-value]
    Schedule([node]).run(1)
    assert seen == {threading.current_thread()}
