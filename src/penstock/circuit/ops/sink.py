"""A named output: its change per step and, if it is materialized, its contents.

A step hands out what every output changed; most have nobody who reads them (each table has one),
so a change is consolidated when it is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from penstock.circuit.node import Node
from penstock.data.batch import Batch
from penstock.data.build import empty_batch
from penstock.data.consolidate import consolidate, sum_of
from penstock.state.parts import Part
from penstock.state.spine import Spine


class Sink(Node):
    """Where a relation leaves the circuit.

    Reference:   the relation itself.
    Incremental: the delta, consolidated, so that readers see net changes only.
    State: nothing, or when materialized the integral, keyed by the whole row.
    Cost:  one consolidation of the delta if it is looked at; materialized, also an insertion into
           a spine.
    """

    def __init__(self, source: Node, relation: str, materialized: bool) -> None:
        super().__init__(source.schema, (source,))
        self.relation = relation
        self._empty = empty_batch(self.schema)
        self.integral: Spine | None = None
        if materialized:
            self.integral = Spine(self.schema, tuple(range(len(self.schema))))

    def step(self) -> Batch | None:
        source = self.inputs[0]
        delta = source.delta if source.more is None else sum_of(source.batches())
        assert delta is not None
        return delta if self.integral is None else consolidate(delta)

    def change(self) -> Batch:
        """This step's delta, possibly empty and not consolidated; valid until the step's commit."""
        return self._empty if self.delta is None else self.delta

    def commit(self) -> None:
        if self.integral is not None and self.delta is not None:
            self.integral.insert_later(self.delta)

    def parameters(self) -> tuple[Any, ...]:
        # its readers know it by name and see the columns' names
        return self.relation, self.schema

    def parts(self) -> Mapping[str, Part]:
        return {} if self.integral is None else {"integral": self.integral}

    def state_rows(self) -> int:
        return 0 if self.integral is None else len(self.integral)


class StepChanges(Mapping[str, Batch]):
    """What one step changed, by output: consolidated, possibly empty. Batches never change, so it
    may be kept and read in any thread."""

    def __init__(self, changes: dict[str, Batch]) -> None:
        self._changes = changes

    def __getitem__(self, name: str) -> Batch:
        change = self._changes[name]
        if not change.consolidated:
            change = self._changes[name] = consolidate(change)
        return change

    def __iter__(self) -> Iterator[str]:
        return iter(self._changes)

    def __len__(self) -> int:
        return len(self._changes)
