"""Rows that are simply there."""

from __future__ import annotations

from penstock.circuit.node import Node
from penstock.data.batch import Batch


class Constant(Node):
    """A relation that never changes.

    Reference:   the batch.
    Incremental: the batch in the first step, nothing afterwards.
    State: none once emitted.
    Cost:  none.
    """

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch.schema, ())
        self._batch: Batch | None = batch
        self.is_pending = True

    def step(self) -> Batch | None:
        batch, self._batch = self._batch, None
        return batch
