"""Reading a checkpoint back: a circuit as it was, and where everything around it goes on.

    newest manifest ─► circuit.restore ─► deltas, held input ─► Checkpoint
         │ damaged, or one of its files
         ▼
    the one before it … none left: CorruptState, and nothing is touched

Falling back to an older checkpoint is never silent: it is in the log and in the statistics. With
a journal it loses nothing, since the journal reaches back to the oldest kept checkpoint; without
one, sinks that are ahead of it are written anew (`output_position`).

    checkpoint of step S ─► journal: steps S+1 … J again ─► connectors resume ─► following

Not here: taking checkpoints (`checkpoints`), what the parts do with it (`loop`, `inputs`,
`delivery_state`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.circuit import Circuit
from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.errors import CorruptState
from penstock.pipeline import failpoints
from penstock.pipeline.delta_queue import Entry
from penstock.pipeline.digest import schema_hash
from penstock.pipeline.eventlog import event
from penstock.pipeline.frames import decode_delta
from penstock.pipeline.inputs import InputProgress
from penstock.pipeline.journal import JournalRecord, decode_record
from penstock.pipeline.manifests import Manifest
from penstock.pipeline.output_position import KeptWay, OutputPosition
from penstock.pipeline.storage import Storage
from penstock.state.storage import referenced_files

log = logging.getLogger("penstock.pipeline.recovery")


@dataclass(frozen=True, slots=True)
class SavedInput:
    """An input endpoint of the checkpoint. `config`: of an implicit one, else None; `digest`,
    `schema`: of its configuration and its table then."""

    relation: str
    config: Mapping[str, Any] | None
    digest: str
    schema: str
    progress: InputProgress


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a manifest says, ready for use. `skipped`: newer ones that could not be used;
    `changed`: the contents of views that are not what they were."""

    manifest: Manifest
    inputs: Mapping[str, SavedInput]
    outputs: Mapping[str, OutputPosition]
    held: JournalRecord | None
    skipped: tuple[str, ...] = field(default=())
    changed: Mapping[str, Batch] = field(default_factory=dict)

    @property
    def step(self) -> int:
        return self.manifest.step

    def summary(self) -> dict[str, Any]:
        """For the statistics: what the pipeline went on from."""
        return {"sequence": self.manifest.sequence, "step": self.step, "skipped": self.skipped}

    @property
    def lineage(self) -> str:
        return str(self.manifest.body["lineage"])


def recover(
    storage: Storage, make_circuit: Callable[[], Circuit], schemas: Mapping[str, Schema]
) -> tuple[Circuit, Checkpoint | None]:
    """A circuit in the state of the newest checkpoint that can be used, and that checkpoint; a new
    circuit and None if there never was one. `schemas`: of tables and views by name.

    A program that has changed keeps what stayed, and computes the rest (`bootstrap`). Raises
    CorruptState if there are checkpoints and none can be used, UserError BootstrapNotAllowed if
    the rest cannot be computed."""
    skipped: list[str] = []
    for sequence in reversed(storage.manifests.sequences()):
        circuit = make_circuit()
        try:
            manifest = storage.manifests.read(sequence)
            failpoints.passing("recover")
            checkpoint = _read(storage, manifest, schemas, tuple(skipped))
            changed = circuit.bootstrap(storage.state, manifest.body["circuit"])
            checkpoint = replace(checkpoint, changed=changed)
        except CorruptState as e:
            event(log, "checkpoint_unusable", logging.ERROR, sequence=sequence, error=e)
            skipped.append(str(e))
            continue
        event(
            log, "checkpoint_restored", sequence=sequence, step=checkpoint.step,
            skipped=len(skipped), changed=",".join(changed) or "-",
        )  # fmt: skip
        _remove_left_over(storage)
        return circuit, checkpoint
    if skipped:
        raise CorruptState(
            f"none of the {len(skipped)} checkpoints can be used: {skipped[0]}. Clear the "
            "pipeline's storage to start anew, or restore it from a backup",
            details={"errors": skipped},
        )
    _remove_left_over(storage)
    return make_circuit(), None


def _remove_left_over(storage: Storage) -> None:
    """Remove the state files of an earlier life that no checkpoint names."""
    named: set[str] = set()
    for sequence in storage.manifests.sequences():
        try:
            named |= referenced_files(storage.manifests.read(sequence).body)
        except CorruptState:
            return  # it may name any of them
    if left := storage.state.files() - named:
        storage.state.remove(left)


def _read(
    storage: Storage, manifest: Manifest, schemas: Mapping[str, Schema], skipped: tuple[str, ...]
) -> Checkpoint:
    body = manifest.body
    inputs = {
        name: SavedInput(
            i["relation"],
            i["config"],
            i["digest"],
            i["schema"],
            InputProgress.from_json(i["progress"]),
        )
        for name, i in body["inputs"].items()
    }
    outputs = {
        name: _position(storage, o, _known_schema(name, o, schemas))
        for name, o in body["outputs"].items()
    }
    held = None
    if body["held"] is not None:
        frame = storage.state.get(body["held"]["file"])["record"]
        held = decode_record(frame.tobytes(), schemas)
    return Checkpoint(manifest, inputs, outputs, held, skipped)


def _known_schema(
    endpoint: str, output: Mapping[str, Any], schemas: Mapping[str, Schema]
) -> Schema | None:
    """Of an output's view; None if that is gone or another."""
    schema = schemas.get(endpoint.partition(".")[0])
    return None if schema is None or schema_hash(schema) != output["schema"] else schema


def _position(storage: Storage, output: Mapping[str, Any], schema: Schema | None) -> OutputPosition:
    """Without deltas if `schema` is None: they belong to another view."""
    way, kept = output.get("way_back"), None
    if way is not None and schema is not None:
        kept = KeptWay(
            way["generation"], way["token"], way["marker_step"],
            tuple(_queue(storage, way, schema)),
        )  # fmt: skip
    queue = [] if schema is None else _queue(storage, output, schema)
    return OutputPosition.from_json(output, queue, kept)


def _queue(storage: Storage, of: Mapping[str, Any], schema: Schema) -> list[Entry]:
    """The undelivered deltas of a generation."""
    entries = []
    for e in of["queue"]:
        rows = None
        if e["rows"] is not None:
            rows = decode_delta(storage.state.get(e["rows"]["file"])["frame"].tobytes(), schema)
        entries.append(Entry(of["generation"], e["step"], e["processed"], rows, 0.0))
    return entries
