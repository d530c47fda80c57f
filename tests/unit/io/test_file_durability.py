"""file_output tells nobody of a delta before the disk has it: bytes, then marker, then its name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.data.build import batch_from_rows
from penstock.data.types import BIGINT, schema
from penstock.io.contracts import Marker, SinkContext
from penstock.io.outputs.file_output import FileSink

VIEW = schema(id=BIGINT)


def marker(step: int, rows: int) -> Marker:
    return Marker("p", "v", "c", 1, "token", "following", step, rows, "s")


def test_a_delta_is_synced_before_its_marker_and_the_marker_before_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.json"
    context = SinkContext("p", "v", "c", VIEW, {"path": str(path)}, {"name": "json"})
    sink = FileSink(context)
    sink.open()
    sink.begin(1, "token", 0)
    sink.publish(1, marker(0, 0))
    happened: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noting_fsync(fd: int) -> None:
        happened.append(f"sync {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")
        fsync(fd)

    def noting_replace(old: Path, new: Path) -> None:
        happened.append(f"name {Path(new).name}")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "replace", noting_replace)
    sink.apply(batch_from_rows(VIEW, [(7,)]), marker(1, 1))
    sink.close()
    sidecar = "out.json.penstock.json"
    assert happened == [
        f"sync {sidecar}.new", f"name {sidecar}",  # an append begins
        "sync out.json",
        f"sync {sidecar}.new", f"name {sidecar}",  # it is whole
        f"sync {tmp_path.name}",
    ]  # fmt: skip
