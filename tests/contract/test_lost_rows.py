"""A target that is restored or emptied between two deltas of one connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.io.contracts import SinkUnavailable
from tests.contract.lake_targets import DuckDbTarget
from tests.contract.target import Target
from tests.contract.targets import PostgresTarget, SqliteTarget
from tests.contract.test_sinks import batch, marker, reset, rows


def _run(target: Target, sql: str) -> None:
    if isinstance(target, SqliteTarget):
        with sqlite3.connect(target.path) as db:
            db.execute(sql)
    else:
        run: Callable[[str], Any] = target.run  # type: ignore[attr-defined]
        run(sql)


@pytest.mark.parametrize("kind", [SqliteTarget, PostgresTarget, DuckDbTarget])
@pytest.mark.parametrize("loss", ["UPDATE {} SET step = 1", "DELETE FROM {}"])
def test_no_delta_is_added_to_a_target_that_has_lost_one(
    kind: type[Target], loss: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where = request.getfixturevalue(kind.server) if kind.server else tmp_path
    target = kind(where)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    schema = target.table.rpartition(".")[0] if isinstance(target, PostgresTarget) else ""
    _run(target, loss.format(f"{schema}.__penstock_marker".lstrip(".")))

    with pytest.raises(SinkUnavailable, match=r"lost .*: it was at generation 1, step 2, and is"):
        sink.apply(batch((rows(3), 1)), marker(1, 3, 3))
    assert target.look() == rows(1, 2)
    sink.close()

    anew = target.sink()
    reset(anew, rows(1, 2, 3), 2, step=3)
    anew.apply(batch((rows(4), 1)), marker(2, 4, 4))
    assert target.look() == rows(1, 2, 3, 4)
    anew.close()
