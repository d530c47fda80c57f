"""Random histories of a whole pipeline that is killed, over real targets (`world`, `events`).

`make test` tells 30 of them, half of them with a server among the targets, `make test-all` 500.
One that fails is printed as a line for `play`; `python -m tests.histories.hunt` makes them short.
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

from tests.histories.events import EVENTS, MODELS, WEIGHTS, Event
from tests.histories.nursery import Nursery
from tests.histories.places import FILE_KINDS, KINDS, SERVER_KINDS, Servers
from tests.histories.world import World
from tests.servers import Unavailable

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


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    s = Servers()
    yield s
    s.close()


@pytest.fixture
def all_servers(servers: Servers) -> Servers:
    """Skips, saying why, where one of them cannot be."""
    try:
        servers.start()
    except Unavailable as e:
        pytest.skip(str(e))
    return servers


def play(
    nursery: Nursery,
    servers: Servers,
    model: str,
    targets: Sequence[str],
    events: Sequence[Event],
) -> None:
    """One history, to its end."""
    folder = Path(tempfile.mkdtemp())
    world = World(nursery, servers, folder, model, targets)
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
    servers: Servers
    #: what a target can be, and what the first one can
    kinds: Sequence[str]
    firsts: Sequence[str]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.world: World | None = None
        self.story: tuple[str, tuple[str, ...], list[Event]] | None = None

    @initialize(model=st.sampled_from(MODELS), data=st.data())
    def begin_history(self, model: str, data: st.DataObject) -> None:
        first = data.draw(st.sampled_from(self.firsts))
        targets = (first, data.draw(st.sampled_from([k for k in self.kinds if k != first])))
        self.story = (model, targets, [])
        self.world = World(self.nursery, self.servers, self.folder, model, targets)

    def happen(self, event: Event) -> None:
        assert self.world is not None and self.story is not None
        self.story[2].append(event)
        self.tell(lambda w: w.play(event))

    def tell(self, act: Callable[[World], None]) -> None:
        assert self.world is not None and self.story is not None
        try:
            act(self.world)
        except BaseException:
            note("play(nursery, servers, {!r}, {!r}, {!r})".format(*self.story))
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


def tell(
    nursery: Nursery,
    servers: Servers,
    kinds: Sequence[str],
    firsts: Sequence[str],
    histories: int,
    events: int,
) -> None:
    class These(Histories):
        pass

    These.nursery, These.servers, These.kinds, These.firsts = nursery, servers, kinds, firsts
    run_state_machine_as_test(
        These, settings=settings(DURATION, max_examples=histories, stateful_step_count=events)
    )


def test_after_any_history_each_target_equals_its_view(nursery: Nursery, servers: Servers) -> None:
    tell(nursery, servers, QUICK, QUICK, 15, 10)


@pytest.mark.timeout(900)
def test_after_any_history_each_target_at_a_server_equals_its_view(
    nursery: Nursery, all_servers: Servers
) -> None:
    tell(nursery, all_servers, (*QUICK, *SERVER_KINDS), SERVER_KINDS, 15, 10)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_after_any_of_many_histories_each_target_equals_its_view(
    nursery: Nursery, servers: Servers
) -> None:
    tell(nursery, servers, FILE_KINDS, FILE_KINDS, 250, 16)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_after_any_of_many_histories_each_target_at_a_server_equals_its_view(
    nursery: Nursery, all_servers: Servers
) -> None:
    tell(nursery, all_servers, tuple(KINDS), SERVER_KINDS, 250, 16)
