"""A writer that is killed between any two changes of its files leaves a target that the next start
and reset put right, to the last file (docs/reliability.md, "What a kill leaves").

`make test` tries some points of the sinks that write files themselves, `make test-all` every
one, and those of SQLite, DuckDB and Delta Lake. The same, where each of these calls, or a sync,
fails once and the process lives on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

slow = (pytest.mark.slow, pytest.mark.timeout(1800))


@pytest.mark.parametrize(
    ("kind", "every", "least"),
    [
        ("file", 7, 5),
        ("parquet", 9, 4),
        pytest.param("file", 1, 30, marks=slow),
        pytest.param("csv", 1, 30, marks=slow),
        pytest.param("parquet", 1, 30, marks=slow),
        pytest.param("sqlite", 1, 50, marks=slow),
        pytest.param("duckdb", 1, 100, marks=slow),
        pytest.param("delta", 1, 20, marks=slow),
        pytest.param("delta append", 1, 20, marks=slow),
    ],
)
def test_a_writer_that_is_killed_anywhere_leaves_nothing_behind(
    kind: str, every: int, least: int, tmp_path: Path
) -> None:
    tried("dying", kind, every, least, tmp_path)


@pytest.mark.parametrize(
    ("kind", "every", "least"),
    [
        ("file", 9, 8),
        ("sqlite", 9, 12),
        pytest.param("file", 1, 70, marks=slow),
        pytest.param("csv", 1, 70, marks=slow),
        pytest.param("parquet", 1, 70, marks=slow),
        pytest.param("sqlite", 1, 100, marks=slow),
        pytest.param("duckdb", 1, 150, marks=slow),
        pytest.param("delta", 1, 100, marks=slow),
        pytest.param("delta append", 1, 200, marks=slow),
    ],
)
def test_whichever_write_sync_or_rename_fails_the_target_is_the_view_and_nothing_is_left(
    kind: str, every: int, least: int, tmp_path: Path
) -> None:
    told = tried("failing", kind, every, least, tmp_path)
    # most failures are somebody's concern; the others were of what is only good to have
    assert told["told"] > told["points"] // 2


def tried(how: str, kind: str, every: int, least: int, folder: Path) -> dict[str, Any]:
    """What the module `how` found."""
    command = [sys.executable, "-m", f"tests.contract.{how}", kind, str(folder), str(every)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(run.stdout)
    if told["points"] is None:
        pytest.skip("this system does not let a process trace its child")
    assert told["problems"] == [], run.stderr[-3000:]
    assert told["points"] >= least
    return told
