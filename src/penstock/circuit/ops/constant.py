"""Rows that are simply there."""

from __future__ import annotations

from typing import Any

from penstock.circuit.node import Node
from penstock.data.batch import Batch
from penstock.data.build import batch_to_rows


class Constant(Node):
    """A relation that never changes.

    Reference:   the batch.
    Incremental: the batch in the first step, nothing afterwards.
    State: whether it was emitted.
    Cost:  none.
    """

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch.schema, ())
        self._batch = batch
        self.is_pending = True

    def step(self) -> Batch | None:
        return self._batch

    def parameters(self) -> tuple[Any, ...]:
        return self.schema.types, batch_to_rows(self._batch)
