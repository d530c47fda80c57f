"""What may happen in a random history, as one table: the events and their arguments.

    EVENTS["restart"] = (("kill", "suspend", "stop"), ("", "older", …))

`World` has a method of each name. Both the state machine (`test_histories`) and the hunt
(`python -m tests.histories.hunt`) draw from this table.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from penstock.pipeline import failpoints

Event = tuple[Any, ...]

#: of the two targets that a history has
FIRST_OR_SECOND = (0, 1)
MODELS = ("exactly_once", "exactly_once", "exactly_once", "at_least_once", "none")

EVENTS: dict[str, tuple[Sequence[Any], ...]] = {
    # how many rows it changes; whether readers are given the time to see it
    "send": (range(1, 6), (False, True)),
    "begin": (),
    "commit": (),
    "pause": (),
    "resume": (),
    # whether it is waited for
    "checkpoint": ((False, True),),
    # how it ends (kill N: in N milliseconds); what happens to the storage or the program meanwhile
    "restart": (
        ("kill", "kill 5", "kill 20", "kill 80", "suspend", "stop"),
        ("", "", "", "older", "backup", "restore", "view", "connector"),
    ),
    # of which (2: both); how; whether it is waited for
    "reset": ((0, 1, 2), ("replace", "replace", "diff"), (False, False, True)),
    # both, cut at one step
    "reset_group": (),
    "cancel": (FIRST_OR_SECOND,),
    "dry_run": (FIRST_OR_SECOND,),
    "audit": (FIRST_OR_SECOND,),
    "stop_connector": (FIRST_OR_SECOND,),
    "start_connector": (FIRST_OR_SECOND,),
    "damage": (FIRST_OR_SECOND,),
    "remove": (FIRST_OR_SECOND,),
    # of which; how its server does not answer (`places`)
    "down": (FIRST_OR_SECOND, ("refused", "silent")),
    "up": (FIRST_OR_SECOND,),
    # a boundary; what happens there; at which passage
    "arm": (
        tuple(failpoints.NAMES),
        ("crash", "crash", "error", "delay:0.05"),
        (1, 1, 2, 3),
    ),
    "settle": (),
}
#: how often each happens, where that is not once
WEIGHTS = {"send": 6, "reset": 4, "restart": 3, "arm": 4, "cancel": 2, "settle": 2}


def draw(rng: random.Random) -> Event:
    names = list(EVENTS)
    name = rng.choices(names, [WEIGHTS.get(n, 1) for n in names])[0]
    return (name, *(rng.choice(choices) for choices in EVENTS[name]))


def history(
    seed: int, length: int, kinds: Sequence[str], firsts: Sequence[str]
) -> tuple[str, tuple[str, ...], list[Event]]:
    """(fault tolerance, targets, events) of the random history `seed`; the targets are two of
    `kinds`, one of them of `firsts`."""
    rng = random.Random(seed)
    first = rng.choice(firsts)
    targets = (first, rng.choice([k for k in kinds if k != first]))
    return rng.choice(MODELS), targets, [draw(rng) for _ in range(rng.randint(3, length))]
