"""Add relations up."""

from __future__ import annotations

from typing import Any

from penstock.circuit.node import Linear, Node
from penstock.data.batch import Batch
from penstock.data.gather import concat
from penstock.data.types import Schema


class Union(Linear):
    """Multiset union by position.

    Reference:   union(A, B, …)[r] = A[r] + B[r] + …
    Incremental: the same of the deltas, because it is linear.
    State: none.
    Cost:  O(|deltas|); a single delta is passed on as it is.
    """

    def __init__(self, sources: tuple[Node, ...], schema: Schema) -> None:
        super().__init__(schema, sources)

    def step(self) -> Batch | None:
        if any(s.more is not None for s in self.inputs):
            return super().step()
        return concat([self.of(s.delta) for s in self.inputs if s.delta is not None])

    def of(self, batch: Batch) -> Batch:
        """`batch` under this relation's names and nullability."""
        if batch.schema == self.schema:
            return batch
        columns = (c.with_type(t) for c, t in zip(batch.columns, self.schema.types, strict=True))
        return Batch(self.schema, tuple(columns), batch.weights, batch.consolidated)

    def parameters(self) -> tuple[Any, ...]:
        return (self.schema.types,)
