"""Rows that are there more often than not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from penstock.circuit.dense import Sweep, Touched, add_totals, grown, moved, renumbered
from penstock.circuit.node import Node
from penstock.data.batch import Batch
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part


class Positive(Node):
    """The positive part of a relation, for differences of multisets.

    Reference:   positive(A)[r] = max(0, A[r])
    Incremental: max(0, after) - max(0, before) of the rows in the delta.
    State: the total of every row, in a hash table.
    Cost:  O(|delta|) look-ups, whatever the size of the state.
    """

    def __init__(self, source: Node) -> None:
        super().__init__(source.schema, (source,))
        self._table = GroupTable(self.schema.types)
        self._totals = np.zeros(16, dtype=np.int64)
        self._touched = Touched()
        self._sweep = Sweep()
        self._changes = Changes(self)

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        if self._sweep.is_due(len(self._table)):
            self._forget()
        ids = self._table.lookup_or_insert(delta.columns, len(delta))
        self._totals = grown(self._totals, len(self._table))
        touched, _ = self._touched.find(ids, len(self._table))
        self._changes.note(touched)
        before = np.maximum(self._totals[touched], 0)
        add_totals(ids, delta.weights, self._totals)
        change = np.maximum(self._totals[touched], 0) - before
        at = np.flatnonzero(change)
        if not len(at):
            return None
        return Batch(self.schema, self._table.take(touched[at]), change[at], True)

    def _forget(self) -> None:
        """Drop the rows whose total is zero, if they are many."""
        kept = np.flatnonzero(self._totals[: len(self._table)])
        if self._sweep.is_worth_it(len(kept), len(self._table)):
            self._table, ids = renumbered(self._table, kept)
            self._totals = moved(self._totals, kept, ids)
            self._changes.renumbered()

    def parameters(self) -> tuple[Any, ...]:
        return ()

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._table, "totals": self._changes}

    def entries(self) -> Arrays:
        return {"totals": self._totals}

    def entry_count(self) -> int:
        return len(self._table)

    def load_entries(self, arrays: Arrays, count: int) -> None:
        totals = arrays["totals"]
        assert isinstance(totals, np.ndarray)
        self._totals = totals

    def state_rows(self) -> int:
        return len(self._table)
