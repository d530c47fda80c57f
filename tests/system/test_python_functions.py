"""Python functions through the REST API: where they are allowed, and where not."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.conftest import wait_until
from tests.system.conftest import System

PROGRAM = """
CREATE TABLE t (s VARCHAR) WITH ('materialized' = 'true');
CREATE FUNCTION shout(s VARCHAR) RETURNS VARCHAR;
CREATE MATERIALIZED VIEW v AS SELECT shout(s) AS s FROM t;
"""
UDF = "import pyarrow.compute as pc\n\ndef shout(s):\n    return pc.utf8_upper(s)\n"

LEAVING_PROGRAM = """
CREATE TABLE t (x BIGINT);
CREATE FUNCTION left_by(x BIGINT) RETURNS BIGINT;
CREATE MATERIALIZED VIEW v AS SELECT left_by(x) AS pid FROM t;
"""
LEAVING = """
import subprocess

def left_by(x):
    return [subprocess.Popen(["sleep", "1000"]).pid] * len(x)
"""


@pytest.fixture(scope="module")
def open_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    system = System(tmp_path_factory.mktemp("open") / "data", "--allow-python-udf")
    yield system
    system.stop()


def test_a_server_that_allows_it_runs_the_functions_of_a_program(open_system: System) -> None:
    pipeline = open_system.pipeline(PROGRAM, udf=UDF)
    pipeline.send("t", {"s": "quiet"}, {"s": None})
    assert pipeline.query("SELECT s FROM v ORDER BY s NULLS LAST") == [{"s": "QUIET"}, {"s": None}]
    pipeline.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_a_process_that_a_function_left_behind_is_no_zombie_when_it_ends(
    open_system: System,
) -> None:
    pipeline = open_system.pipeline(LEAVING_PROGRAM, udf=LEAVING)
    pipeline.send("t", {"x": 1})
    (row,) = pipeline.query("SELECT pid FROM v")
    left = int(row["pid"])
    os.kill(pipeline.process(), signal.SIGKILL)
    pipeline.wait("deployment_status", "Stopped")
    wait_until(lambda: parent_of(left) == open_system.process.pid)

    os.kill(left, signal.SIGKILL)

    wait_until(lambda: parent_of(left) is None)
    assert open_system.http.get("/config").status_code == 200


def parent_of(pid: int) -> int | None:
    """None once nothing is left of the process, not even a zombie."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def test_a_server_that_does_not_says_how_it_would(system: System) -> None:
    with pytest.raises(AssertionError, match="--allow-python-udf"):
        system.pipeline(PROGRAM, udf=UDF)
