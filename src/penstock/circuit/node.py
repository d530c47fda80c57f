"""A node of the graph: inputs, a schema, and the change it makes in this step.

    is_due ──► run (calls `step`) ──► commit ──► delta = None

Not here: the operators (`penstock.circuit.ops`), the loop (`penstock.circuit.graph`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, ClassVar

from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.state.parts import Part


class Node:
    """Base of all operators. A subclass implements `step`, and `commit` if it has state that
    other nodes read as it was before the step; `parameters`; and `parts` if it has state."""

    #: attributes (JSON values) that are part of the state
    scalars: ClassVar[tuple[str, ...]] = ("is_pending", "rows_in", "rows_out")
    #: records that LATENESS has dropped here
    late_records: int = 0

    def __init__(self, schema: Schema, inputs: tuple[Node, ...]) -> None:
        self.schema = schema
        self.inputs = inputs
        self.name = ""
        #: this step's output, None when there is none
        self.delta: Batch | None = None
        #: where that is only the first of several batches: the others (see `penstock.circuit.more`)
        self.more: Iterator[Batch] | None = None
        #: run once although no input changed
        self.is_pending = False
        self.rows_in = 0
        self.rows_out = 0
        #: spent in its steps so far, where that is measured (`schedule`)
        self.seconds = 0.0

    def step(self) -> Batch | None:
        """The output's change, from `inputs[i].delta`; None or an empty batch for none."""
        raise NotImplementedError

    def commit(self) -> None:
        """The step is over: take its deltas into the state that other nodes read."""

    def parameters(self) -> tuple[Any, ...]:
        """What the node computes from its inputs, beyond its class: values that
        `penstock.data.identity` can tell apart."""
        raise NotImplementedError

    def parts(self) -> Mapping[str, Part]:
        """All that the node remembers from step to step, by names that stay the same."""
        return {}

    def state_rows(self) -> int:
        """Rows (or groups) kept, as well as it is cheap to know."""
        return 0

    def batches(self) -> Iterator[Batch]:
        """All of this step's output, in order, for the one reader that takes it so."""
        assert self.delta is not None
        return chain((self.delta,), self.more or ())

    def is_due(self) -> bool:
        for source in self.inputs:
            if source.delta is not None:
                return True
        return self.is_pending

    def run(self) -> None:
        self.is_pending = False
        for source in self.inputs:
            if source.delta is not None:
                self.rows_in += source.delta.weights.shape[0]
        delta = self.step()
        if delta is not None:
            rows = delta.weights.shape[0]
            if rows:
                self.delta = delta
                self.rows_out += rows


class Linear(Node):
    """Base of the operators whose output is the sum of what `of` makes of each batch of an input;
    output in several batches is what input in several becomes (see `penstock.circuit.more`)."""

    def of(self, batch: Batch) -> Batch:
        """What becomes of some rows: a function of them alone."""
        raise NotImplementedError

    def step(self) -> Batch | None:
        if len(self.inputs) == 1 and self.inputs[0].more is None:
            assert self.inputs[0].delta is not None
            return self.of(self.inputs[0].delta)
        changed = (source for source in self.inputs if source.delta is not None)
        batches = chain.from_iterable(source.batches() for source in changed)
        made = filter(len, map(self.of, batches))
        first = next(made, None)
        if first is not None:
            self.more = self._later(made)
        return first

    def _later(self, made: Iterator[Batch]) -> Iterator[Batch]:
        for batch in made:
            self.rows_out += len(batch)
            yield batch
