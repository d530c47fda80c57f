"""Every interleaving of a connector's events up to a bound, over the real code (`reset_world`).

A path is a string of events; between them the delivery goes on call by call. From every state
that a path reaches for the first time the world is also run to its end. Paths are run anew each
time, as work in progress cannot be copied; states seen before are not gone on from.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import pytest

from penstock.pipeline.resets import ResetLog
from tests.unit.pipeline.reset_world import World

WORK = "advance"
EVENTS = ("step", "reset", "cancel", "pause", "resume", "damage", "crash", "fail", "lose", "reject")
RECOVERY = ("step", "reset", "cancel", "pause", "fail", "lose", "checkpoint", "restart")
#: longer than any run without events
DEPTH = 40


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of lives would log much that nobody reads."""
    logger = logging.getLogger("penstock.pipeline.outputs")
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(logging.NOTSET)


def play(log: ResetLog, path: Sequence[str], is_journaled: bool) -> World | None:
    """The world after `path`; None if its last event cannot happen there."""
    world = World(log, is_journaled=is_journaled)
    for name in path:
        if not getattr(world, name)():
            return None
        world.check()
    return world


def explore(
    start: Sequence[str],
    budget: int,
    events: Sequence[str] = EVENTS,
    *,
    is_journaled: bool = True,
) -> int:
    """Go on from `start` in every way with at most `budget` events; how many states there are."""
    seen: dict[object, int] = {}
    todo = [(tuple(start), budget)]
    log = ResetLog(None)
    while todo:
        path, left = todo.pop()
        try:
            world = play(log, path, is_journaled)
            if world is None or len(path) > DEPTH:
                continue
            state = world.fingerprint()
            if seen.get(state, -1) >= left:
                continue
            is_new = state not in seen
            seen[state] = left
            if is_new:
                world.settle()
        except AssertionError as e:
            raise AssertionError(f"{e}\nafter: {' '.join(path)}") from e
        todo.append(((*path, WORK), left))
        if left:
            todo += [((*path, name), left - 1) for name in events]
    log.close()
    return len(seen)


FOLLOWING = ("step", "rest")


def test_any_two_events_at_any_point_of_a_life_leave_the_target_right() -> None:
    assert explore((), 2) > 200


def test_any_event_around_a_reset_of_a_following_connector_leaves_the_target_right() -> None:
    assert explore((*FOLLOWING, "damage", "reset"), 2) > 300


def test_a_cancelled_reset_goes_on_without_a_loss_wherever_it_is_cancelled() -> None:
    events = ("step", "cancel", "fail", "lose")
    assert explore((*FOLLOWING, "step", "reset"), 2, events) > 200


@pytest.mark.parametrize("is_journaled", [True, False], ids=["journal", "no journal"])
def test_a_restart_from_a_checkpoint_anywhere_around_a_reset_leaves_the_target_right(
    is_journaled: bool,
) -> None:
    start = (*FOLLOWING, "checkpoint", "step", "reset")
    events = ("step", "reset", "cancel", "lose", "restart")
    assert explore(start, 2, events, is_journaled=is_journaled) > 100


def test_what_came_while_a_reset_that_is_cancelled_was_pending_is_delivered() -> None:
    path = (*FOLLOWING, "checkpoint", "step", "reset", "step", "advance", "advance", "cancel")
    log = ResetLog(None)
    world = play(log, (*path, "restart"), is_journaled=False)
    assert world is not None
    world.settle()
    log.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("is_journaled", [True, False], ids=["journal", "no journal"])
def test_three_events_around_restarts_leave_the_target_right(is_journaled: bool) -> None:
    for start in ((*FOLLOWING, "checkpoint", "step", "reset"), FOLLOWING):
        assert explore(start, 3, RECOVERY, is_journaled=is_journaled) > 1000


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("start", [(), (*FOLLOWING, "damage", "reset"), FOLLOWING])
def test_any_three_events_leave_the_target_right(start: tuple[str, ...]) -> None:
    assert explore(start, 3) > 1000
