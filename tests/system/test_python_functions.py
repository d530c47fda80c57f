"""Python functions through the REST API: where they are allowed, and where not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import System

PROGRAM = """
CREATE TABLE t (s VARCHAR) WITH ('materialized' = 'true');
CREATE FUNCTION shout(s VARCHAR) RETURNS VARCHAR;
CREATE MATERIALIZED VIEW v AS SELECT shout(s) AS s FROM t;
"""
UDF = "import pyarrow.compute as pc\n\ndef shout(s):\n    return pc.utf8_upper(s)\n"


@pytest.fixture
def open_system(tmp_path: Path) -> Iterator[System]:
    system = System(tmp_path / "data", "--allow-python-udf")
    yield system
    system.stop()


def test_a_server_that_allows_it_runs_the_functions_of_a_program(open_system: System) -> None:
    pipeline = open_system.pipeline(PROGRAM, udf=UDF)
    pipeline.send("t", {"s": "quiet"}, {"s": None})
    assert pipeline.query("SELECT s FROM v ORDER BY s NULLS LAST") == [{"s": "QUIET"}, {"s": None}]
    pipeline.stop()


def test_a_server_that_does_not_says_how_it_would(system: System) -> None:
    with pytest.raises(AssertionError, match="--allow-python-udf"):
        system.pipeline(PROGRAM, udf=UDF)
