"""Random histories of a whole pipeline that is killed, over real targets (`world`, `events`).

`make test` tells 30 of them, `make test-all` 500. One that fails is printed as a line for
`play`; `python -m tests.histories.hunt` makes them short.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.histories.events import EVENTS, KINDS, MODELS, WEIGHTS, Event
from tests.histories.nursery import Nursery
from tests.histories.world import World

#: targets that cost little to write and to read
QUICK = ("sqlite", "file", "sqlite rows", "file csv")
DURATION = settings(
    deadline=None,
    # a history is not the same twice, as threads run in it: it is made short by hand
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    n = Nursery()
    yield n
    n.close()


def play(nursery: Nursery, model: str, targets: Sequence[str], events: Sequence[Event]) -> None:
    """One history, to its end."""
    folder = Path(tempfile.mkdtemp())
    world = World(nursery, folder, model, targets)
    try:
        for event in events:
            world.play(event)
        world.end()
    finally:
        world.close()
        shutil.rmtree(folder)


class Histories(RuleBasedStateMachine):
    """One event of the table after the other."""

    nursery: Nursery
    kinds: Sequence[str]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.world: World | None = None
        self.story: tuple[str, tuple[str, ...], list[Event]] | None = None

    @initialize(model=st.sampled_from(MODELS), data=st.data())
    def begin_history(self, model: str, data: st.DataObject) -> None:
        pairs = st.lists(st.sampled_from(self.kinds), min_size=2, max_size=2, unique=True)
        targets = tuple(data.draw(pairs))
        self.story = (model, targets, [])
        self.world = World(self.nursery, self.folder, model, targets)

    def happen(self, event: Event) -> None:
        assert self.world is not None and self.story is not None
        self.story[2].append(event)
        self.tell(lambda w: w.play(event))

    def tell(self, act: Callable[[World], None]) -> None:
        assert self.world is not None and self.story is not None
        try:
            act(self.world)
        except BaseException:
            note("play(nursery, {!r}, {!r}, {!r})".format(*self.story))
            raise

    def teardown(self) -> None:
        try:
            if self.world is not None:
                self.tell(World.end)
        finally:
            if self.world is not None:
                self.world.close()
            shutil.rmtree(self.folder, ignore_errors=True)


def _add_rules() -> None:
    for name, choices in EVENTS.items():
        arguments = {f"a{i}": st.sampled_from(list(c)) for i, c in enumerate(choices)}

        def happens(self: Histories, *, _name: str = name, **given: Any) -> None:
            self.happen((_name, *given.values()))

        for i in range(WEIGHTS.get(name, 1)):
            ready = precondition(lambda self: self.world is not None)
            setattr(Histories, f"{name}_{i}", rule(**arguments)(ready(happens)))


_add_rules()


def tell(nursery: Nursery, kinds: Sequence[str], histories: int, events: int) -> None:
    class These(Histories):
        pass

    These.nursery, These.kinds = nursery, kinds
    run_state_machine_as_test(
        These, settings=settings(DURATION, max_examples=histories, stateful_step_count=events)
    )


def test_after_any_history_each_target_equals_its_view(nursery: Nursery) -> None:
    tell(nursery, QUICK, 30, 10)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_after_any_of_many_histories_each_target_equals_its_view(nursery: Nursery) -> None:
    tell(nursery, KINDS, 500, 16)
