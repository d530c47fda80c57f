"""Nexmark with its input in the clock: the events are generated and their JSON is parsed.

The lines are written between the two, off the clock, as a source writes them and not the one who
reads: one `{"insert": {…}}` a row, all columns.
"""

from __future__ import annotations

import time

import numpy as np

from bench.nexmark_events import tables
from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.batch import Batch, InputBatch
from penstock.io.contracts import Parser
from penstock.io.formats import make_encoder, make_parser
from penstock.plan.nodes import ProgramPlan

JSON = {"name": "json", "config": {}}
Steps = list[dict[str, list[InputBatch]]]


class Lines:
    """The lines of JSON of so many events, those of each table in each step of `size` events."""

    def __init__(self, events: int, size: int) -> None:
        self.events, self._count = events, -(-events // size)
        self._steps: list[dict[str, bytes]] = []

    def rate(self, plan: ProgramPlan, query: str, steps: Steps, side_input: InputBatch) -> float:
        """Events a second of generating them, parsing their lines and stepping `query`. Of `steps`
        the first are written as lines, once for all queries."""
        if not self._steps:
            first = steps[: self._count]
            self._steps = [{name: _lines(batches) for name, batches in s.items()} for s in first]
        parsers = {t.name: make_parser(JSON, t.schema) for t in plan.tables}
        self._run(compile_circuit(plan), parsers, query, 2)
        circuit = compile_circuit(plan)
        circuit.step({"side_input": [side_input]})
        started = time.perf_counter()
        tables(self.events)
        self._run(circuit, parsers, query, len(self._steps))
        return self.events / (time.perf_counter() - started)

    def _run(self, circuit: Circuit, parsers: dict[str, Parser], query: str, steps: int) -> None:
        for step in self._steps[:steps]:
            circuit.step({name: _parsed(parsers[name], text) for name, text in step.items()})[query]


def _lines(batches: list[InputBatch]) -> bytes:
    rows = (Batch(b.schema, b.columns, np.ones(len(b), np.int64)) for b in batches)
    return b"".join(part for r in rows for part in make_encoder(JSON, r.schema).encode(r))


def _parsed(parser: Parser, text: bytes) -> list[InputBatch]:
    parsed = parser.feed(text)
    assert not parsed.errors, parsed.errors[0]
    return list(parsed.batches)
