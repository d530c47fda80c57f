"""Apply a function of single rows to every delta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from penstock.circuit.node import Linear, Node
from penstock.data.batch import Batch
from penstock.data.types import Schema


class Map(Linear):
    """Filter, project, or both.

    Reference:   map(A) = sum over rows r of A[r] · f(r)
    Incremental: the same function of the delta, because it is linear.
    State: none.
    Cost:  the function's.

    `meaning` is a value that says what the function computes (see `penstock.data.identity`);
    without it the function is known by the node's name.
    """

    def __init__(
        self, source: Node, fn: Callable[[Batch], Batch], schema: Schema, meaning: Any = None
    ) -> None:
        super().__init__(schema, (source,))
        self._fn = fn
        self._meaning = meaning

    def of(self, batch: Batch) -> Batch:
        return self._fn(batch)

    def parameters(self) -> tuple[Any, ...]:
        return self.name if self._meaning is None else self._meaning, self.schema.types
