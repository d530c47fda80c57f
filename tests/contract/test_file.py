"""What is particular to file_output: what a crash between its two files leaves, hand-made changes.

A crash is played by making a system call of the sink raise `Crash` at the n-th write to the disk
and never touching that Sink object again, which is what a killed process leaves behind.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import UserError
from penstock.io.contracts import SinkRejected, SinkUnavailable, StagingLost
from penstock.io.outputs.file_output import FileSink, Sidecar
from tests.contract.targets import CsvFileTarget, JsonFileTarget, Target
from tests.contract.test_sinks import batch, marker, reset, rows


class Crash(BaseException):
    """The process is gone."""


class Crashes:
    """Counts the sink's changes of the disk and crashes at the one numbered `at`, before it, or
    after it has been done."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, is_after: bool) -> None:
        self.count = 0
        self._at, self._is_after = at, is_after
        self._wrap(patch, os, "replace")
        self._wrap(patch, FileSink, "_write")

    def _wrap(self, patch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def crashing(*args: Any) -> Any:
            self.count += 1
            is_now = self.count == self._at
            if is_now and not self._is_after:
                raise Crash
            result = real(*args)
            if is_now:
                if name == "_write":
                    args[1].flush()
                raise Crash
            return result

        patch.setattr(owner, name, crashing)


@pytest.fixture(params=[JsonFileTarget, CsvFileTarget])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Target:
    made: Target = request.param(tmp_path)
    return made


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("at", range(1, 7))
def test_a_crash_in_publish_leaves_the_old_file_or_the_new_and_a_marker_that_says_which(
    target: Target, at: int, is_after: bool
) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    with pytest.MonkeyPatch.context() as patch:
        crashes = Crashes(patch, at, is_after)
        try:
            reset(sink, rows(*range(3, 9)), 2)
        except Crash:
            pass
        else:
            assert at > crashes.count
    after = target.sink()
    after.validate()
    found = after.marker()

    assert found in (marker(1, 1, 2), marker(2, 1, 6))
    assert target.look() == (rows(1, 2) if found == marker(1, 1, 2) else rows(*range(3, 9)))
    assert found is not None
    following = marker(found.generation, 2, 9)
    after.apply(batch((rows(20), 1)), following)
    assert target.look() == (rows(1, 2) if found.generation == 1 else rows(*range(3, 9))) + rows(20)
    assert after.marker() == following
    reset(after, rows(5), 3)
    assert target.look() == rows(5)
    after.close()


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("at", range(1, 5))
def test_a_delta_cut_short_by_a_crash_is_written_once(
    target: Target, at: int, is_after: bool
) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    delta, after_delta = batch((rows(1), -1), (rows(3), 1)), marker(1, 2, 2)
    with pytest.MonkeyPatch.context() as patch:
        crashes = Crashes(patch, at, is_after)
        try:
            sink.apply(delta, after_delta)
        except Crash:
            pass
        else:
            assert at > crashes.count == 3
    after = target.sink()
    after.validate()
    assert after.marker() in (marker(1, 1, 2), after_delta)
    after.apply(delta, after_delta)

    assert target.look() == rows(2, 3)
    assert after.marker() == after_delta
    after.close()


def test_half_a_delta_is_overwritten(tmp_path: Path) -> None:
    target = JsonFileTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    sidecar = tmp_path / "target.ndjson.penstock.json"
    stored = Sidecar.read(sidecar)
    assert stored is not None
    replace(stored, is_appending=True).write(sidecar)
    with target.path.open("ab") as f:
        f.write(b'{"insert":{"k":3,"v":"a very long row that the crash has cut')
    after = target.sink()
    assert after.marker() == marker(1, 1, 2)
    after.apply(batch((rows(2), -1)), marker(1, 2, 1))

    assert target.look() == rows(1)
    after.close()


def test_a_full_disk_is_a_passing_failure_and_the_delta_comes_once(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    real = FileSink._write

    def half(self: FileSink, file: Any, batch: Any) -> int:
        file.write(b'{"insert":')
        file.flush()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FileSink, "_write", half)
    with pytest.raises(SinkUnavailable, match="No space"):
        sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    sink.begin(2, "token-2", 2)
    with pytest.raises(SinkUnavailable, match="No space"):
        sink.stage(2, 0, batch((rows(3), 1)))
    monkeypatch.setattr(FileSink, "_write", real)
    with pytest.raises(StagingLost):
        sink.publish(2, marker(2, 2, 1))
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))

    assert target.look() == rows(1, 2)
    sink.close()


def test_a_reader_can_tell_a_delta_under_way_and_one_never_runs_into_another(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    whole, seen = target.path.read_bytes(), []
    real = FileSink._write

    def half(self: FileSink, file: Any, batch: Any) -> int:
        seen.append(target.path.read_bytes())
        real(self, file, batch)
        file.flush()
        file.truncate(len(whole) + 9)
        seen.append(target.look())
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FileSink, "_write", half)
    for _ in range(2):
        with pytest.raises(SinkUnavailable, match="No space"):
            sink.apply(batch((rows(2, 3, 4), 1)), marker(1, 2, 4))

    # what the first left unfinished is gone before the second begins
    assert seen == [whole, rows(1), whole, rows(1)]
    assert target.path.read_bytes() != whole
    sink.close()


def test_deltas_after_a_line_without_end_begin_a_line_of_their_own(tmp_path: Path) -> None:
    target = JsonFileTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    whole = target.path.read_text()
    target.path.write_text(whole + "garbage")
    assert sink.marker() is None
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    lines = target.path.read_text().splitlines()

    assert lines[:-1] == [*whole.splitlines(), "garbage"]
    sink.close()


def test_a_staged_file_that_was_touched_is_staging_lost(target: Target, tmp_path: Path) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    for spoil in (Path.unlink, lambda p: p.write_bytes(b"x" * 1000)):
        sink.begin(2, "token-2", 2)
        sink.stage(2, 0, batch((rows(2), 1)))
        (staged,) = tmp_path.glob("*.tmp")
        spoil(staged)
        with pytest.raises(StagingLost):
            sink.publish(2, marker(2, 2, 1))
    assert target.look() == rows(1)
    sink.close()


def test_nothing_is_left_beside_the_file_but_its_marker(target: Target, tmp_path: Path) -> None:
    sink = target.sink()
    for generation in range(1, 4):
        abandoned = target.sink()
        abandoned.begin(generation, "x", 1)
        reset(sink, rows(generation), generation)
    names = sorted(p.name.split(".", 2)[2] if p.name.count(".") > 1 else "" for p in
                   tmp_path.iterdir())  # fmt: skip

    assert names == ["", "penstock.json"]
    sink.close()


def test_who_has_the_old_file_open_reads_it_to_its_end(target: Target) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    assert isinstance(target, JsonFileTarget)
    with target.path.open() as old:
        before = target.path.read_text()
        reset(sink, Counter(), 2)
        assert old.read() == before

    assert target.look() == Counter()
    sink.close()


def test_what_cannot_work_is_said_at_once(target: Target, tmp_path: Path) -> None:
    good = target.context()
    with pytest.raises(UserError, match="'path' is required"):
        FileSink(replace(good, config={}))
    with pytest.raises(UserError, match="'paht' is unknown"):
        FileSink(replace(good, config={"path": "a", "paht": "b"}))
    with pytest.raises(UserError, match="needs a 'format'"):
        FileSink(replace(good, format=None))
    with pytest.raises(SinkRejected, match="does not exist"):
        FileSink(replace(good, config={"path": str(tmp_path / "no" / "a")})).open()
    folder = FileSink(replace(good, config={"path": str(tmp_path)}))
    folder.open()
    with pytest.raises(SinkRejected, match="not a regular file"):
        folder.validate()
