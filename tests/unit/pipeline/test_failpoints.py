"""Failpoints do what their text says, and only that."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.errors import TransientError, UserError
from penstock.pipeline import failpoints


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm("")


def test_an_error_happens_at_the_passage_that_was_asked_for() -> None:
    failpoints.arm("stage=error@3")
    failpoints.passing("stage")
    failpoints.passing("stage")
    failpoints.passing("cut")
    with pytest.raises(TransientError, match="stage"):
        failpoints.passing("stage")
    failpoints.passing("stage")


def test_a_star_means_every_passage() -> None:
    failpoints.arm("stage=error@*; cut=delay:0.01")
    for _ in range(2):
        with pytest.raises(TransientError):
            failpoints.passing("stage")
    started = time.monotonic()
    failpoints.passing("cut")
    assert time.monotonic() - started >= 0.01


def test_what_is_not_a_failpoint_is_refused() -> None:
    for text in ("nonsense=crash", "stage=explode", "stage"):
        with pytest.raises(UserError, match="no failpoint"):
            failpoints.arm(text)


def test_a_crash_leaves_no_time_for_anything() -> None:
    code = (
        "from penstock.pipeline import failpoints as f; f.load();"
        "print('before', flush=True); f.passing('begin'); print('after', flush=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": "src", failpoints.VARIABLE: "begin=crash"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -9
    assert ended.stdout == "before\n"


def test_a_file_is_read_at_every_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "points"
    monkeypatch.setenv(failpoints.VARIABLE, f"@{path}")
    failpoints.load()
    failpoints.passing("begin")
    path.write_text("begin=error")
    failpoints.load()
    with pytest.raises(TransientError):
        failpoints.passing("begin")
