"""Checkpoints on disk: one manifest each, and the files that it names.

    <storage>/checkpoints/<sequence>.json     the manifests, the newest few
    <storage>/state/<id>.state                what operators remember, undelivered deltas
    <storage>/journal/<first step>.journal    input since the oldest kept one (exactly_once)
    <storage>/resets.sqlite                   generations and tokens of the outputs

    write <n>.json.tmp ─► fsync ─► rename to <n>.json ─► fsync the directory     ◄── the instant

A checkpoint exists from the rename on, and everything it names was durable before it. So a crash
leaves the checkpoints there were, or one more; a `.tmp`, and state files that no manifest names,
are removed with the next checkpoint.

    manifest   line 1   sha256 of the rest
               line 2   JSON: format, uuid, sequence, created_at, step, processed_records,
                        fingerprint, program (its relations' schemas), circuit, inputs, outputs,
                        transaction, lineage

A manifest that does not check, or names a file that is gone or damaged, is not used: the one
before it is, loudly. Files of state are removed only when no manifest names them, so every kept
checkpoint stays whole.

Not here: what is in a checkpoint (`checkpoints`), who reads it (`recovery`).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from penstock.errors import CorruptState
from penstock.pipeline import failpoints
from penstock.pipeline.eventlog import event
from penstock.state.storage import OS

log = logging.getLogger("penstock.pipeline.checkpoints")

FORMAT = 1
#: checkpoints kept; older ones go with their files
KEPT = 3
_SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One checkpoint's manifest: its number, its JSON, and the bytes of all that it names."""

    sequence: int
    body: Mapping[str, Any]

    @property
    def step(self) -> int:
        return int(self.body["step"])

    @property
    def uuid(self) -> str:
        return str(self.body["uuid"])

    def metadata(self) -> dict[str, Any]:
        """CheckpointMetadata of the REST contract (6.5)."""
        return {
            "uuid": self.uuid,
            "identifier": self.body.get("identifier"),
            "fingerprint": self.body["fingerprint"],
            "size": self.body.get("size"),
            "steps": self.step,
            "processed_records": self.body["processed_records"],
        }


class ManifestStore:
    """The manifests of one pipeline. Written by one thread at a time."""

    def __init__(self, directory: Path, *, kept: int = KEPT) -> None:
        self._directory = directory
        self._kept = kept
        directory.mkdir(parents=True, exist_ok=True)

    def write(self, sequence: int, body: Mapping[str, Any]) -> Manifest:
        """Durable on return. Raises OSError, and then there is no such checkpoint."""
        text = orjson.dumps({"format": FORMAT, "sequence": sequence, **body})
        path = self._path(sequence)
        temporary = path.with_name(path.name + ".tmp")
        with temporary.open("wb") as f:
            f.write(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
            f.flush()
            os.fsync(f.fileno())
        failpoints.passing("checkpoint.rename")
        os.replace(temporary, path)
        OS.sync_directory(self._directory)
        return Manifest(sequence, body)

    def read(self, sequence: int) -> Manifest:
        """Raises CorruptState for a manifest that is not what `write` wrote."""
        path = self._path(sequence)
        try:
            digest, _, text = path.read_bytes().partition(b"\n")
        except OSError as e:
            raise CorruptState(f"the checkpoint {path} cannot be read: {e}") from e
        if hashlib.sha256(text).hexdigest().encode() != digest:
            raise CorruptState(f"the checkpoint {path} is damaged: its checksum does not match")
        body = orjson.loads(text)
        if body.get("format") != FORMAT:
            raise CorruptState(
                f"the checkpoint {path} has format {body.get('format')}, this release reads "
                f"{FORMAT}: clear the pipeline's storage, or start the release that wrote it"
            )
        return Manifest(sequence, body)

    def sequences(self) -> list[int]:
        """Numbers of all checkpoints, oldest first, whether or not they check."""
        found = (p.name.removesuffix(_SUFFIX) for p in self._directory.glob(f"*{_SUFFIX}"))
        return sorted(int(name) for name in found if name.isdecimal())

    def all(self) -> list[Manifest]:
        """The manifests that check, oldest first; the others are named in the log."""
        found = []
        for sequence in self.sequences():
            try:
                found.append(self.read(sequence))
            except CorruptState as e:
                event(log, "checkpoint_unusable", logging.ERROR, sequence=sequence, error=e)
        return found

    def prune(self) -> list[Manifest]:
        """Remove all but the newest few that check, and leftovers; returns those that stay.

        A damaged manifest goes as soon as a newer one is there: its files are of no use without
        it."""
        good = self.all()
        kept = good[-self._kept :]
        keep = {m.sequence for m in kept}
        newest = kept[-1].sequence if kept else 0
        for sequence in self.sequences():
            if sequence not in keep and sequence < newest:
                self._path(sequence).unlink()
        for leftover in self._directory.glob("*.tmp"):
            leftover.unlink()
        return kept

    def _path(self, sequence: int) -> Path:
        return self._directory / f"{sequence:010d}{_SUFFIX}"
