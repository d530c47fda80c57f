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
def disarmed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    monkeypatch.setenv(failpoints.VARIABLE, "")
    failpoints.load()  # forgets the file
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
    for text in ("nonsense=crash", "stage=explode", "stage", "cut=repeat"):
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


def test_a_file_that_changes_takes_effect_at_the_next_boundary_and_tells_what_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "points"
    monkeypatch.setenv(failpoints.VARIABLE, f"@{path}")
    failpoints.load()
    failpoints.passing("begin")
    path.write_text("begin=error; stage=error@2")
    with pytest.raises(TransientError):
        failpoints.passing("begin")
    failpoints.passing("stage")
    path.unlink()
    failpoints.passing("stage")
    assert (tmp_path / "points.fired").read_text() == "begin=error\n"


def test_a_call_is_repeated_between_its_two_boundaries() -> None:
    calls: list[int] = []
    failpoints.arm("publish=repeat@2; publish.after=error@3")
    failpoints.calling("publish", "m.c", lambda: calls.append(1))
    failpoints.calling("publish", "m.c", lambda: calls.append(2))
    with pytest.raises(TransientError):
        failpoints.calling("publish", "m.c", lambda: calls.append(3))
    assert calls == [1, 2, 2, 3]


def test_a_failpoint_of_one_output_leaves_the_others_alone() -> None:
    failpoints.arm("stage(m.a)=error@2; stage(m.b)=error")
    failpoints.passing("stage", "m.a")
    failpoints.passing("stage", "m.c")
    failpoints.passing("stage", "m.c")
    for output in ("m.a", "m.b"):
        with pytest.raises(TransientError):
            failpoints.passing("stage", output)
