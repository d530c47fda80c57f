"""Rows that are, or are not, in any of the pairs that were found of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.circuit.dense import Ids
from penstock.circuit.expiry import Expiry
from penstock.circuit.node import Node
from penstock.circuit.two_totals import TwoTotals


class Partnered(TwoTotals):
    """The rows of the first input that are among those of the second, or (not `paired`) that are
    not. Both have the same columns; NULL equals NULL.

    Reference:   A[r] where B[r] > 0, or where B[r] ≤ 0
    Incremental: that after the step less that before it, of the rows in either delta.
    State: the totals of every row of either input, side by side in one hash table.
    Cost:  O(|deltas|) look-ups, whatever the size of the state.
    """

    def __init__(self, rows: Node, others: Node, *, paired: bool) -> None:
        # a row is over once neither input has a change of it
        super().__init__(rows, others, rows.schema, (Expiry(), Expiry()))
        self._paired = paired

    def shown(self, rows: Ids, others: Ids) -> Ids:
        return np.where((others > 0) == self._paired, rows, 0)

    def parameters(self) -> tuple[Any, ...]:
        return (self._paired,)
