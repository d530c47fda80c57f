"""A pipeline, and the records of a server, whose process is killed between any two changes of its
files: it goes on from what is whole, loses and doubles nothing, and leaves nothing behind
(docs/reliability.md, "What a kill leaves").

`make test` tries some points of a pipeline, `make test-all` every one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def _check(module: str, *arguments: str, least: int) -> None:
    command = [sys.executable, "-m", f"tests.system.{module}", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(run.stdout)
    if told["points"] is None:
        pytest.skip("this system does not let a process trace its child")
    assert told["problems"] == [], run.stderr[-3000:]
    assert told["points"] >= least


@pytest.mark.parametrize(
    ("every", "least"),
    [
        (120, 2),
        pytest.param(1, 200, marks=(pytest.mark.slow, pytest.mark.timeout(3600))),
    ],
)
def test_a_pipeline_that_is_killed_anywhere_goes_on_from_what_it_promised(
    every: int, least: int, tmp_path: Path
) -> None:
    _check("dying_pipeline", str(tmp_path), str(every), least=least)


@pytest.mark.parametrize(("every", "least"), [(9, 5), pytest.param(1, 50, marks=pytest.mark.slow)])
def test_records_whose_writer_is_killed_anywhere_are_those_that_it_wrote(
    every: int, least: int, tmp_path: Path
) -> None:
    _check("dying_store", str(tmp_path), str(every), least=least)
