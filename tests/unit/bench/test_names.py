"""What is asked for by a name that no figure has is refused with the names that there are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import compare
from bench.names import CASES, unknown
from bench.peers import environment as peers

ROOT = Path(__file__).parents[3]


def test_an_unknown_suite_is_refused_with_all_suites() -> None:
    said = unknown("nexmrk")
    assert said is not None and all(suite in said for suite in CASES) and "latency" in said


def test_an_unknown_case_is_refused_with_the_cases_of_its_suite() -> None:
    said = unknown("nexmark/q99")
    assert said is not None and "nexmark has q0, q1" in said and "q22, all" in said


@pytest.mark.parametrize("only", [None, "tpch", "nexmark/q4", "latency/20/delta-1", "skew/pairs"])
def test_what_there_is_is_not_refused(only: str | None) -> None:
    assert unknown(only) is None


def test_an_unknown_peer_is_refused_before_anything_is_measured() -> None:
    assert peers.unknown("flink, duckdb") is None
    said = peers.unknown("flink,spark")
    assert said == "there is no peer 'spark': PEERS may name flink, pathway, duckdb"


def test_names_are_looked_at_first() -> None:
    env = {**os.environ, "PEERS": "spark"}
    command = [sys.executable, "-m", "bench", "nexmark/q0"]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("there is no peer 'spark'")


def test_comparing_says_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["a"]) == 2
    assert compare.main(["no such file", "b"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: ") and "no such file: No such file or directory" in said


def test_a_peer_that_fails_says_what_it_failed_of_and_not_a_warning_behind_it() -> None:
    failing = """
import sys
print("ValueError: no such column\\nOccurred here:\\n  warnings.warn(", file=sys.stderr)
sys.exit(1)
"""
    with pytest.raises(peers.Unavailable, match=r"^ValueError: no such column$"):
        peers._run([sys.executable, "-c", failing])
    with pytest.raises(peers.Unavailable, match=r"^q4 is not written here$"):
        peers._run([sys.executable, "-c", "import sys; sys.exit('q4 is not written here')"])
