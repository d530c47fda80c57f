"""A manifest is there whole or not at all; damage is noticed and an older one is left."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.errors import CorruptState, TransientError
from penstock.pipeline import failpoints
from penstock.pipeline.manifests import ManifestStore


def body(step: int) -> dict[str, Any]:
    return {"uuid": f"u{step}", "step": step, "processed_records": 10 * step, "fingerprint": 7}


def test_what_was_written_is_read_and_listed(tmp_path: Path) -> None:
    store = ManifestStore(tmp_path)
    for n in (1, 2):
        store.write(n, body(n))
    again = ManifestStore(tmp_path)
    assert again.sequences() == [1, 2]
    assert again.read(2).metadata() == {
        "uuid": "u2",
        "identifier": None,
        "fingerprint": 7,
        "size": None,
        "steps": 2,
        "processed_records": 20,
    }


def test_the_newest_few_are_kept(tmp_path: Path) -> None:
    store = ManifestStore(tmp_path, kept=2)
    for n in range(1, 6):
        store.write(n, body(n))
    assert [m.sequence for m in store.prune()] == [4, 5]
    assert store.sequences() == [4, 5]


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damage_is_noticed_and_an_older_one_is_left(tmp_path: Path, damage: str) -> None:
    store = ManifestStore(tmp_path)
    for n in (1, 2):
        store.write(n, body(n))
    path = max(tmp_path.iterdir())
    data = path.read_bytes()
    path.write_bytes(
        {"flip": data[:80] + b"\x00" + data[81:], "truncate": data[:-1], "empty": b""}[damage]
    )
    with pytest.raises(CorruptState, match="damaged"):
        store.read(2)
    assert [m.sequence for m in store.all()] == [1]
    # it is removed once a newer one is there, not before
    assert [m.sequence for m in store.prune()] == [1]
    assert store.sequences() == [1, 2]
    store.write(3, body(3))
    store.prune()
    assert store.sequences() == [1, 3]


def test_a_crash_before_the_rename_leaves_the_older_ones(tmp_path: Path) -> None:
    store = ManifestStore(tmp_path)
    store.write(1, body(1))
    failpoints.arm("checkpoint.rename=error")
    with pytest.raises(TransientError):
        store.write(2, body(2))
    failpoints.arm("")
    again = ManifestStore(tmp_path)
    assert again.sequences() == [1]
    again.write(2, body(2))
    again.prune()
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".json"]


def test_another_format_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ManifestStore(tmp_path)
    monkeypatch.setattr("penstock.pipeline.manifests.FORMAT", 99)
    store.write(1, body(1))
    monkeypatch.undo()
    with pytest.raises(CorruptState, match="clear the pipeline's storage"):
        store.read(1)
