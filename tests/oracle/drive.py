"""Run a circuit over a history and sum up what it emits."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from penstock.circuit import Circuit, Stream
from penstock.data import hash as hashing
from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import Schema
from penstock.state.storage import FileSystem, StateStore
from tests.oracle.relational import Bag, Row, bag

#: per step and per table: weighted rows
History = Sequence[Mapping[str, Sequence[tuple[Row, int]]]]


def as_input(schema: Schema, rows: Sequence[tuple[Row, int]]) -> InputBatch:
    """Weighted rows as a connector would deliver them: one operation per copy."""
    single = [(row, w > 0) for row, w in rows for _ in range(abs(w))]
    batch = batch_from_rows(schema, [row for row, _ in single])
    ops = np.array([INSERT if up else DELETE for _, up in single], dtype=np.uint8)
    return InputBatch(schema, batch.columns, ops)


class Unsynced(FileSystem):
    """For tests that do not pull the plug."""

    def write(self, path: Path, pieces: Iterable[tuple[int, memoryview]]) -> None:
        with path.open("xb") as f:
            for at, piece in pieces:
                f.seek(at)
                f.write(piece)

    def sync_directory(self, path: Path) -> None:
        pass


def run(
    schemas: Mapping[str, Schema],
    build: Callable[[Circuit, Mapping[str, Stream]], Stream],
    history: History,
) -> tuple[Bag, list[Bag]]:
    """(the integral of the output, the output's change of every step).

    The materialized snapshot must agree with the sum of the changes, and every change must be
    consolidated; both are asserted here, for every test that comes through.
    """

    def new() -> Circuit:
        circuit = Circuit()
        streams = {name: circuit.source(name, schema) for name, schema in schemas.items()}
        circuit.sink("out", build(circuit, streams), materialized=True)
        return circuit

    total, changes = _run(new, schemas, history)
    # some histories are enough, and once: not again for colliding hashes
    if len(history) == 4 and hashing._test_mask == hashing.ALL_BITS:
        assert _run(new, schemas, history, restarts=True) == (total, changes), "a restart shows"
    return total, changes


def _run(
    new: Callable[[], Circuit],
    schemas: Mapping[str, Schema],
    history: History,
    restarts: bool = False,
) -> tuple[Bag, list[Bag]]:
    circuit = new()
    changes: list[Bag] = []
    with tempfile.TemporaryDirectory() as directory:
        store = StateStore(Path(directory), Unsynced())
        for i, step in enumerate(history):
            changes.append(_step(circuit, schemas, step))
            if restarts:
                saved = json.loads(json.dumps(circuit.capture().write(store)))
                if i % 2:
                    circuit = new()
                    circuit.restore(store, saved)
    total = bag(pair for change in changes for pair in change.items())
    snapshot = circuit.snapshot("out")
    assert bag(batch_to_rows(snapshot.batch())) == Counter(
        {r: w for r, w in total.items() if w > 0}
    )
    return total, changes


def _step(
    circuit: Circuit, schemas: Mapping[str, Schema], step: Mapping[str, Sequence[tuple[Row, int]]]
) -> Bag:
    inputs = {name: [as_input(schemas[name], rows)] for name, rows in step.items()}
    rows = batch_to_rows(circuit.step(inputs)["out"])
    assert len({r for r, _ in rows}) == len(rows) and all(w for _, w in rows), rows
    return bag(rows)


def table(history: History, name: str) -> Bag:
    """The integral of one table of a history."""
    return bag(pair for step in history for pair in step.get(name, ()))


def as_one_step(history: History) -> History:
    names = {name for step in history for name in step}
    return [{n: [pair for step in history for pair in step.get(n, ())] for n in names}]
