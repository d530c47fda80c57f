"""Temporary folders of processes that live, and of those that were killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.io.scratch import Scratch

#: makes a folder with a file in it, says where, and waits
HOLDER = """
import sys
from penstock.io.scratch import Scratch
folder = Scratch("penstock-test-")
(folder.path / "rows").write_text("1")
print(folder.path, flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_no_folder_behind_the_next_one_and_a_living_one_keeps_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert holder.stdin is not None and holder.stdout is not None
    theirs = Path(holder.stdout.readline().strip())
    assert theirs.parent == tmp_path
    other = tmp_path / "penstock-other"
    other.mkdir()

    Scratch("penstock-test-").cleanup()
    assert (theirs / "rows").exists()

    holder.send_signal(signal.SIGKILL)
    holder.wait(60)
    holder.stdin.close()
    holder.stdout.close()
    assert theirs.exists()
    _forget_that_it_was_swept()
    mine = Scratch("penstock-test-")
    assert sorted(tmp_path.iterdir()) == sorted((other, mine.path))

    mine.cleanup()
    mine.cleanup()
    assert list(tmp_path.iterdir()) == [other]


def test_a_folder_goes_with_its_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = Scratch("penstock-test-")
    (folder.path / "deeper").mkdir()
    del folder
    assert not list(tmp_path.iterdir())


def _forget_that_it_was_swept() -> None:
    from penstock.io import scratch

    scratch._sweep.cache_clear()
