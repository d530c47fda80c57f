"""Which node runs when, and in which thread.

    source a ──► map ──► aggregate ──► sink        a small delta: one after the other, in order
    source b ──► map ──► arrange ──► join ──► sink a large one: each as soon as its inputs have run,
                                                   in the threads of `penstock.data.parallel`

A node's output is a function of its inputs' deltas and of its own state, so the order in which
independent nodes run cannot be seen; what one thread at a time must do is said here:

* a node runs after its inputs and before its consumers;
* of the nodes that look into one arrangement only one runs at a time: looking sorts what waits to
  be sorted (`penstock.state.spine`);
* nodes commit when all have run, and touch nothing but what is theirs.

If nodes fail, the failure of the first of them in the circuit's order is raised, as it would be
with one thread.

Cost: with one thread 0.2 µs per skipped node; with several a few µs per node and 50 where one
waits for another, so that is for steps of many rows (`parallel.LEAST_ROWS` for each of two threads)
in which it was seen to gain: in a chain of nodes, or beside threads that merge, it does not.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from penstock.circuit.arrange import Arrange
from penstock.circuit.more import find_summed
from penstock.circuit.node import Node
from penstock.data.parallel import Gain, are_together, is_alone, together


class Schedule:
    """The order of a circuit's nodes, which are there all."""

    def __init__(self, nodes: Sequence[Node], clock: Callable[[], float] | None = None) -> None:
        """`clock`: measures what each node's run takes; its commit is not in it."""
        self._nodes = tuple(nodes)
        self._looks = find_summed(nodes)
        self._round: _Layout | None = None
        self._run_gain, self._commit_gain = Gain(), Gain()
        self._run = _run if clock is None else partial(_run_measured, clock)

    def run(self, rows: int) -> list[Node]:
        """Run what is due in a step that takes in `rows`; returns what ran, in order. Raises what
        the first node raises that raises."""
        if not are_together(rows):
            return self._run_in_order()
        return self._run_gain.better(rows, self._run_together, self._run_in_order)

    def _run_in_order(self) -> list[Node]:
        ran, run = [], self._run
        for node in self._nodes:
            if node.is_due():
                run(node)
                ran.append(node)
        return ran

    def _run_together(self) -> list[Node]:
        if self._round is None:
            self._round = _Layout(self._nodes, self._looks)
        together_now = _Round(self._round, self._run)
        together(together_now.work)
        return together_now.result()

    def commit(self, ran: Sequence[Node], rows: int) -> None:
        """The step is over for `ran`."""
        if not are_together(rows):
            _commit_in_order(ran)
            return
        self._commit_gain.better(rows, lambda: _commit_together(ran), lambda: _commit_in_order(ran))


def _commit_in_order(ran: Sequence[Node]) -> None:
    for node in ran:
        node.commit()
        node.delta = node.more = None


def _commit_together(ran: Sequence[Node]) -> None:
    left = list(reversed(ran))

    def work() -> None:
        is_alone(False)
        while True:
            try:
                # popping is atomic
                node = left.pop()
            except IndexError:
                return
            node.commit()
            node.delta = node.more = None

    together(work)


def _run(node: Node) -> None:
    node.run()


def _run_measured(clock: Callable[[], float], node: Node) -> None:
    started = clock()
    node.run()
    node.seconds += clock() - started


class _Layout:
    """Who waits for whom, by place in the circuit's order."""

    def __init__(self, nodes: Sequence[Node], also: Mapping[Node, Sequence[Arrange]]) -> None:
        """`also`: arrangements that a node looks into besides its inputs."""
        places = {id(node): at for at, node in enumerate(nodes)}
        self.nodes = nodes
        self.inputs = [len(node.inputs) for node in nodes]
        self.consumers: list[list[int]] = [[] for _ in nodes]
        #: arrangements that a node looks into
        self.shared: list[tuple[int, ...]] = []
        for at, node in enumerate(nodes):
            for source in node.inputs:
                self.consumers[places[id(source)]].append(at)
            sources = (*node.inputs, *also.get(node, ()))
            looks = {places[id(s)] for s in sources if isinstance(s, Arrange)}
            self.shared.append(tuple(looks))


class _Round:
    """One step's run of all nodes: `work` is called in several threads and returns in each when
    nothing is left."""

    def __init__(self, layout: _Layout, run: Callable[[Node], None]) -> None:
        self._layout, self._run = layout, run
        self._waits_for = list(layout.inputs)
        #: places whose inputs have run, lowest first
        self._ready = [at for at, count in enumerate(layout.inputs) if not count]
        self._running = 0
        self._in_use: set[int] = set()
        self._ran: list[int] = []
        self._failed_at = len(layout.nodes)
        self._failure: BaseException | None = None
        self._changed = threading.Condition()

    def work(self) -> None:
        while (at := self._next()) is not None:
            failure = None
            try:
                self._run(self._layout.nodes[at])
            except BaseException as e:
                failure = e
            self._over(at, failure)

    def result(self) -> list[Node]:
        if self._failure is not None:
            raise self._failure
        return [self._layout.nodes[at] for at in sorted(self._ran)]

    def _next(self) -> int | None:
        """A node to run now; None when the round is over."""
        with self._changed:
            while True:
                at = self._taken()
                if at is not None:
                    is_alone(self._running == 0 and not self._ready)
                    self._running += 1
                    self._in_use.update(self._layout.shared[at])
                    return at
                if not self._running:
                    self._changed.notify_all()
                    return None
                self._changed.wait()

    def _taken(self) -> int | None:
        """The lowest place whose node may run, with those passed over that are not due."""
        put_back = []
        found = None
        while self._ready:
            at = heapq.heappop(self._ready)
            if at > self._failed_at:
                # with one thread it would not have been its turn
                continue
            if not self._in_use.isdisjoint(self._layout.shared[at]):
                put_back.append(at)
            elif self._layout.nodes[at].is_due():
                found = at
                break
            else:
                self._release(at)
        for at in put_back:
            heapq.heappush(self._ready, at)
        return found

    def _over(self, at: int, failure: BaseException | None) -> None:
        with self._changed:
            self._running -= 1
            self._in_use.difference_update(self._layout.shared[at])
            if failure is None:
                self._ran.append(at)
                self._release(at)
            elif at < self._failed_at:
                self._failed_at, self._failure = at, failure
            self._changed.notify_all()

    def _release(self, at: int) -> None:
        for consumer in self._layout.consumers[at]:
            self._waits_for[consumer] -= 1
            if not self._waits_for[consumer]:
                heapq.heappush(self._ready, consumer)
