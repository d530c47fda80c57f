"""Turn every weight around."""

from __future__ import annotations

from typing import Any

from penstock.circuit.node import Node
from penstock.data.batch import Batch


class Negate(Node):
    """The additive inverse, for differences.

    Reference:   negate(A)[r] = -A[r]
    Incremental: the same of the delta, because it is linear.
    State: none.
    Cost:  O(|delta|), columns are shared.
    """

    def __init__(self, source: Node) -> None:
        super().__init__(source.schema, (source,))

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        return Batch(delta.schema, delta.columns, -delta.weights, delta.consolidated)

    def parameters(self) -> tuple[Any, ...]:
        return ()
