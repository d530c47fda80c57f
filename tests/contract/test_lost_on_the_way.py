"""Whatever is lost between a sink and its server, the repeated call ends in the view.

The n-th piece that passes one way is swallowed and its connection cut (`tests.proxy`), for
n = 1, 2, … until nothing is lost any more; the sink then does what the delivery does
(`tests.contract.failing`). `make test` tries some of these, `make test-all` every one.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from penstock.io.contracts import Sink
from tests.contract.failing import patient_life
from tests.contract.target import Target
from tests.proxy import Proxy
from tests.servers import postgres, redis_server
from tests.system.fault_targets import TARGETS, things

__all__ = ["postgres", "redis_server"]

slow = (pytest.mark.slow, pytest.mark.timeout(1800))


@pytest.mark.parametrize(
    ("kind", "lost", "every"),
    [
        ("redis", "replies", 7),
        ("postgres", "requests", 61),
        *(
            pytest.param(kind, lost, 1, marks=slow)
            for kind in ("redis", "redis gen", "postgres", "postgres cdc")
            for lost in ("requests", "replies")
        ),
    ],
)
def test_whichever_piece_is_lost_the_target_is_the_view_and_nothing_is_left(
    request: pytest.FixtureRequest, kind: str, lost: str, every: int
) -> None:
    server = request.getfixturevalue(TARGETS[kind].server or "")
    at, told, undisturbed = 0, 0, life_through_a_proxy(kind, server, lost, None)
    while True:
        fired, failures, left = life_through_a_proxy(kind, server, lost, at)
        told += bool(failures)
        assert left == undisturbed[2], f"piece {at} of the {lost} is lost: {failures}"
        if not fired:
            break
        at += every
    assert told, "the first piece at least belongs to the connection, which is needed"


def life_through_a_proxy(
    kind: str, server: Any, lost: str, at: int | None
) -> tuple[bool, list[str], set[str]]:
    """Whether anything was lost, what failed, and what is at the target."""
    target = TARGETS[kind](server)
    with Proxy(server.port) as proxy:
        there = {
            k: v.replace(f":{server.port}/", f":{proxy.port}/") if isinstance(v, str) else v
            for k, v in target.config().items()
        }

        def make_sink() -> Sink:
            return target.sink(config=there)

        if at is not None:
            getattr(proxy, lost).drop(skip=at)
        failures = patient_life(target, make_sink)
        return proxy.fired.is_set(), failures, settled(target)


def settled(target: Target) -> set[str]:
    """What is at the target once the server has noticed that the connection is gone."""
    deadline = time.monotonic() + 10
    found = things(target)
    while any("stage" in name for name in found) and time.monotonic() < deadline:
        found = things(target)
    return found
