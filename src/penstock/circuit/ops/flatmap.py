"""One row per element of an array or entry of a map."""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.circuit.node import Linear, Node
from penstock.data.batch import Batch, Column
from penstock.data.gather import take_column
from penstock.data.nested import explode, fields
from penstock.data.types import BIGINT, Kind, Schema


class FlatMap(Linear):
    """UNNEST [WITH ORDINALITY] beside the columns of the row it comes from.

    Reference:   flatmap(A) = sum over rows r of A[r] · {(kept columns of r, e): e in r[column]}
    Incremental: the same function of the delta, because it is linear.
    State: none.
    Cost:  O(elements in the delta); NULL and empty collections give no row.
    """

    def __init__(
        self,
        source: Node,
        column: int,
        keep: tuple[int, ...],
        ordinality: bool,
        schema: Schema,
    ) -> None:
        super().__init__(schema, (source,))
        self._column, self._keep, self._ordinality = column, keep, ordinality

    def parameters(self) -> tuple[Any, ...]:
        return self._column, self._keep, self._ordinality, self.schema.types

    def of(self, batch: Batch) -> Batch:
        exploded = explode(batch.columns[self._column])
        rows = exploded.rows
        columns: list[Column] = [take_column(batch.columns[k], rows) for k in self._keep]
        for child in exploded.columns:
            is_row = child.type.kind is Kind.ROW and len(exploded.columns) == 1
            columns += fields(child) if is_row else [child]
        if self._ordinality:
            numbers = np.arange(len(rows)) - exploded.offsets[rows] + 1
            columns.append(Column(BIGINT.with_nullable(False), numbers))
        typed = (c.with_type(t) for c, t in zip(columns, self.schema.types, strict=True))
        return Batch(self.schema, tuple(typed), batch.weights[rows])
