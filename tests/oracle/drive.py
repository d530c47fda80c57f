"""Run a circuit over a history and sum up what it emits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from penstock.circuit import Circuit, Stream
from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import Schema
from tests.oracle.relational import Bag, Row, bag

#: per step and per table: weighted rows
History = Sequence[Mapping[str, Sequence[tuple[Row, int]]]]


def as_input(schema: Schema, rows: Sequence[tuple[Row, int]]) -> InputBatch:
    """Weighted rows as a connector would deliver them: one operation per copy."""
    single = [(row, w > 0) for row, w in rows for _ in range(abs(w))]
    batch = batch_from_rows(schema, [row for row, _ in single])
    ops = np.array([INSERT if up else DELETE for _, up in single], dtype=np.uint8)
    return InputBatch(schema, batch.columns, ops)


def run(
    schemas: Mapping[str, Schema],
    build: Callable[[Circuit, Mapping[str, Stream]], Stream],
    history: History,
) -> tuple[Bag, list[Bag]]:
    """(the integral of the output, the output's change of every step).

    The materialized snapshot must agree with the sum of the changes, and every change must be
    consolidated; both are asserted here, for every test that comes through.
    """
    circuit = Circuit()
    streams = {name: circuit.source(name, schema) for name, schema in schemas.items()}
    circuit.sink("out", build(circuit, streams), materialized=True)
    changes: list[Bag] = []
    for step in history:
        inputs = {name: [as_input(schemas[name], rows)] for name, rows in step.items()}
        rows = batch_to_rows(circuit.step(inputs)["out"])
        assert len({r for r, _ in rows}) == len(rows) and all(w for _, w in rows), rows
        changes.append(bag(rows))
    total = bag(pair for change in changes for pair in change.items())
    snapshot = circuit.snapshot("out")
    assert bag(batch_to_rows(snapshot.batch())) == Counter(
        {r: w for r, w in total.items() if w > 0}
    )
    return total, changes


def table(history: History, name: str) -> Bag:
    """The integral of one table of a history."""
    return bag(pair for step in history for pair in step.get(name, ()))


def as_one_step(history: History) -> History:
    names = {name for step in history for name in step}
    return [{n: [pair for step in history for pair in step.get(n, ())] for n in names}]
