"""Rows as often as two relations both have them (INTERSECT ALL)."""

from __future__ import annotations

import numpy as np

from penstock.circuit.dense import Ids
from penstock.circuit.expiry import Expiry
from penstock.circuit.node import Node
from penstock.circuit.two_totals import TwoTotals
from penstock.data.types import Schema


class Intersection(TwoTotals):
    """Each row as often as it is in both inputs, which have the same columns; NULL equals NULL.

    Reference:   intersection(A, B)[r] = min(max(0, A[r]), max(0, B[r]))
    Incremental: that after the step less that before it, of the rows in either delta.
    State: the totals of every row of either input, side by side in one hash table.
    Cost:  O(|deltas|) look-ups, whatever the size of the state.
    """

    def __init__(self, left: Node, right: Node, schema: Schema) -> None:
        super().__init__(left, right, schema, (Expiry(),))

    @property
    def expiry(self) -> Expiry:
        """Which rows neither come nor go any more, in both inputs."""
        return self.expiries[0]

    def shown(self, rows: Ids, others: Ids) -> Ids:
        return np.maximum(np.minimum(rows, others), 0)
