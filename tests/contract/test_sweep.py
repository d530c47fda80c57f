"""What a process that died had staged is gone after the next one's first look at its target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.contract.target import Target
from tests.contract.test_sinks import batch, reset, rows
from tests.servers import redis_server
from tests.system.fault_targets import TARGETS, names

__all__ = ["redis_server"]


@pytest.fixture(params=["sqlite", "duckdb", "redis", "redis gen", "file", "parquet"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    kind = TARGETS[request.param]
    where: Any = request.getfixturevalue(kind.server) if kind.server else tmp_path
    return kind(where)


def test_what_was_staged_and_left_is_swept_and_readers_see_no_change(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    clean = names(target)
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(3, 4), 1)))
    assert names(target) - clean, "there is something to sweep"

    after = target.sink()
    after.sweep(2)
    assert not names(target) - clean
    assert target.look() == rows(1, 2)
    reset(after, rows(5), 3)
    assert target.look() == rows(5)
    after.close()


def test_what_is_published_is_not_swept(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    sink.close()
    after = target.sink()
    after.sweep(1)
    assert target.look() == rows(1, 2)
    stored = after.marker()
    assert stored is not None and stored.generation == 1
    after.close()
