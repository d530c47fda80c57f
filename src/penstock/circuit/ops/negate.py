"""Turn every weight around."""

from __future__ import annotations

from typing import Any

from penstock.circuit.node import Linear, Node
from penstock.data.batch import Batch


class Negate(Linear):
    """The additive inverse, for differences.

    Reference:   negate(A)[r] = -A[r]
    Incremental: the same of the delta, because it is linear.
    State: none.
    Cost:  O(|delta|), columns are shared.
    """

    def __init__(self, source: Node) -> None:
        super().__init__(source.schema, (source,))

    def of(self, batch: Batch) -> Batch:
        return Batch(batch.schema, batch.columns, -batch.weights, batch.consolidated)

    def parameters(self) -> tuple[Any, ...]:
        return ()
