"""`python -m tests.histories.hunt [--seed N] [--count N] [--length N] [--only KIND …]`: random
histories one after the other (with one of these kinds among the targets); what fails is made as
short as it gets and printed as a line for `test_histories`.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tests.histories.events import Event, history
from tests.histories.nursery import Nursery
from tests.histories.places import KINDS, Servers
from tests.histories.world import World


def failure(
    nursery: Nursery, servers: Servers, model: str, targets: Sequence[str], events: Sequence[Event]
) -> str | None:
    """What is wrong after `events`; None if nothing."""
    folder = Path(tempfile.mkdtemp())
    world = None
    try:
        world = World(nursery, servers, folder, model, targets)
        for event in events:
            world.play(event)
        world.end()
    except Exception as e:
        if isinstance(e, AssertionError) and e.__cause__ is None:
            return str(e)
        return traceback.format_exc()
    finally:
        if world is not None:
            world.close()
        shutil.rmtree(folder, ignore_errors=True)
    return None


def shorter(
    nursery: Nursery,
    servers: Servers,
    model: str,
    targets: Sequence[str],
    events: list[Event],
    budget_s: float,
) -> list[Event]:
    """Leave out what is not needed, one event after the other."""
    end = time.monotonic() + budget_s
    i = len(events) - 1
    while i >= 0 and time.monotonic() < end:
        fewer = events[:i] + events[i + 1 :]
        if failure(nursery, servers, model, targets, fewer) is not None:
            events = fewer
        i -= 1
    return events


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--length", type=int, default=14)
    parser.add_argument("--shorten", type=float, default=60.0)
    parser.add_argument("--only", action="append", choices=tuple(KINDS))
    args = parser.parse_args()
    nursery, servers = Nursery(), Servers()
    try:
        hunt(nursery, servers, args)
    finally:
        nursery.close()
        servers.close()


def hunt(nursery: Nursery, servers: Servers, args: argparse.Namespace) -> None:
    wrong = 0
    for seed in range(args.seed, args.seed + args.count):
        model, targets, events = history(seed, args.length, tuple(KINDS), args.only or tuple(KINDS))
        started = time.monotonic()
        why = failure(nursery, servers, model, targets, events)
        print(
            seed,
            model,
            *targets,
            f"{time.monotonic() - started:.1f} s",
            "WRONG" if why else "",
            flush=True,
        )
        if why:
            wrong += 1
            print(f"  {why}", flush=True)
            events = shorter(nursery, servers, model, targets, events, args.shorten)
            print(f"  play({model!r}, {targets!r}, {events!r})", flush=True)
    print(f"{args.count} histories, {wrong} wrong")


if __name__ == "__main__":
    main()
