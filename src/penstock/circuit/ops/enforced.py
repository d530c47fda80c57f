"""SET ENFORCE_POSITIVE_INPUTS: a row cannot be deleted more often than it was inserted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from penstock.circuit.node import Node
from penstock.circuit.ops.distinct import Crossings
from penstock.data.batch import Batch
from penstock.data.build import batch_to_rows
from penstock.errors import RuntimeSqlError
from penstock.state.parts import Part


class Enforced(Node):
    """A table without a key, as long as every row is there zero times or more.

    Reference:   A; an error if A[r] < 0 after a step.
    Incremental: only the rows of the delta are looked at.
    State: the total of every row, in a hash table.
    Cost:  O(|delta|) look-ups, whatever the size of the state.
    """

    def __init__(self, source: Node, table: str) -> None:
        super().__init__(source.schema, (source,))
        self._table = table
        # a total of -1 is one that crosses from 0 where the signs are turned
        self._owed = Crossings(self.schema.types, at_most=None)

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        ids, change = self._owed.add(delta.columns, -delta.weights)
        owed = ids[change > 0]
        if len(owed):
            columns = self._owed.rows(owed[:1])
            ((row, _),) = batch_to_rows(Batch(self.schema, columns, np.ones(1, np.int64)))
            values = ", ".join(f"{n} = {v!r}" for n, v in zip(self.schema.names, row, strict=True))
            raise RuntimeSqlError(
                f"table {self._table}: a row is deleted more often than it was inserted, which "
                f"ENFORCE_POSITIVE_INPUTS does not allow: {values}"
            )
        return delta

    def parameters(self) -> tuple[Any, ...]:
        return ()

    def parts(self) -> Mapping[str, Part]:
        return self._owed.parts()

    def state_rows(self) -> int:
        return len(self._owed)
