"""Rows that are, or are not, in any of the pairs that were found of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from penstock.circuit.dense import Ids, Sweep, Touched, add_totals, grown, moved, renumbered
from penstock.circuit.expiry import Expiry, over_for_all
from penstock.circuit.node import Node
from penstock.data.batch import Batch
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part


class Partnered(Node):
    """The rows of the first input that are among those of the second, or (not `paired`) that are
    not. Both have the same columns; NULL equals NULL.

    Reference:   A[r] where B[r] > 0, or where B[r] ≤ 0
    Incremental: that after the step less that before it, of the rows in either delta.
    State: the totals of every row of either input, side by side in one hash table.
    Cost:  O(|deltas|) look-ups, whatever the size of the state.
    """

    def __init__(self, rows: Node, others: Node, *, paired: bool) -> None:
        super().__init__(rows.schema, (rows, others))
        self._paired = paired
        self._table = GroupTable(self.schema.types)
        self._totals = [np.zeros(16, np.int64), np.zeros(16, np.int64)]
        self._touched = Touched()
        self._sweep = Sweep()
        self._changes = Changes(self)
        #: which rows neither come nor go any more in either input, by column
        self.expiries = Expiry(), Expiry()

    def step(self) -> Batch | None:
        if self._sweep.is_due(len(self._table)):
            self._forget()
        found: list[tuple[int, Ids, Ids]] = []
        for side, source in enumerate(self.inputs):
            if source.delta is None:
                continue
            for delta in source.batches():
                ids = self._table.lookup_or_insert(delta.columns, len(delta))
                found.append((side, ids, delta.weights))
        self._totals = [grown(t, len(self._table)) for t in self._totals]
        together = np.concatenate([ids for _, ids, _ in found])
        touched, _ = self._touched.find(together, len(self._table))
        self._changes.note(touched)
        before = self._shown(touched)
        for side, ids, weights in found:
            add_totals(ids, weights, self._totals[side])
        change = self._shown(touched) - before
        at = np.flatnonzero(change)
        return Batch(self.schema, self._table.take(touched[at]), change[at], True)

    def _shown(self, ids: Ids) -> Ids:
        rows, others = (total[ids] for total in self._totals)
        return np.where((others > 0) == self._paired, rows, 0)

    def _forget(self) -> None:
        """Drop the rows that are in neither input or that are over, if they are many."""
        rows, others = (total[: len(self._table)] for total in self._totals)
        in_use = (rows != 0) | (others != 0)
        over = over_for_all(self.expiries, dict(enumerate(self._table.keys())))
        kept = np.flatnonzero(in_use if over is None else in_use & ~over)
        if self._sweep.is_worth_it(len(kept), len(self._table)):
            self._table, ids = renumbered(self._table, kept)
            self._totals = [moved(total, kept, ids) for total in self._totals]
            self._changes.renumbered()

    def parameters(self) -> tuple[Any, ...]:
        return (self._paired,)

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._table, "totals": self._changes}

    def entries(self) -> Arrays:
        return {"rows": self._totals[0], "others": self._totals[1]}

    def entry_count(self) -> int:
        return len(self._table)

    def load_entries(self, arrays: Arrays, count: int) -> None:
        rows, others = arrays["rows"], arrays["others"]
        assert isinstance(rows, np.ndarray) and isinstance(others, np.ndarray)
        self._totals = [rows, others]

    def state_rows(self) -> int:
        return len(self._table)
