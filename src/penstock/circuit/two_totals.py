"""What two relations of the same columns have of each row, in one table.

    row       id      totals: first  second        shown
    (1, 'a')  0                   2       1        what the operator makes of the two: the
    (7, 'b')  1                   0       3        change of that is its output

The two totals of a row lie beside each other, so that a row costs one wait for memory, not two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, Sweep, Touched, add_totals, grown, moved, renumbered
from penstock.circuit.expiry import Expiry, over_for_all
from penstock.circuit.node import Node
from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part


class TwoTotals(Node):
    """Base of operators whose output has a row as often as a function of its two totals says,
    which is zero where both are."""

    def __init__(
        self, first: Node, second: Node, schema: Schema, expiries: tuple[Expiry, ...]
    ) -> None:
        """`expiries`: a row is over where each of them says so."""
        super().__init__(schema, (first, second))
        self.expiries = expiries
        self._table = GroupTable(self.schema.types)
        self._totals = np.zeros((16, 2), np.int64)
        self._touched = Touched()
        self._sweep = Sweep()
        self._changes = Changes(self)

    def shown(self, rows: Ids, others: Ids) -> Ids:
        """How often the output has rows with these totals in the first and the second input."""
        raise NotImplementedError

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
        self._totals = grown(self._totals, len(self._table))
        together = found[0][1] if len(found) == 1 else np.concatenate([i for _, i, _ in found])
        touched, _ = self._touched.find(together, len(self._table))
        self._changes.note(touched)
        before = self._shown(touched)
        flat = self._totals.reshape(-1)
        for side, ids, weights in found:
            add_totals(2 * ids + side, weights, flat)
        change = self._shown(touched) - before
        at = np.flatnonzero(change)
        return Batch(self.schema, self._table.take(touched[at]), change[at], True)

    def _shown(self, ids: Ids) -> Ids:
        both = self._totals.take(ids, axis=0)
        return self.shown(both[:, 0], both[:, 1])

    def _forget(self) -> None:
        """Drop the rows that are in neither input or that are over, if they are many."""
        if self._sweep.can_wait(len(self._table), self._are_in_use):
            return
        in_use = self._totals[: len(self._table)].any(axis=1)
        over = over_for_all(self.expiries, dict(enumerate(self._table.keys())))
        kept = np.flatnonzero(in_use if over is None else in_use & ~over)
        if self._sweep.is_worth_it(len(kept), len(self._table)):
            self._table, ids = renumbered(self._table, kept)
            self._totals = moved(self._totals, kept, ids)
            self._changes.renumbered()

    def _are_in_use(self, ids: Ids) -> npt.NDArray[np.bool_]:
        in_use: npt.NDArray[np.bool_] = (self._totals[ids] != 0).any(axis=1)
        over = over_for_all(self.expiries, dict(enumerate(self._table.take(ids))))
        return in_use if over is None else in_use & ~over

    def parameters(self) -> tuple[Any, ...]:
        return ()

    def parts(self) -> Mapping[str, Part]:
        # not "totals", as two arrays were called: state of then is none of now
        return {"rows": self._table, "both": self._changes}

    def entries(self) -> Arrays:
        return {"both": self._totals}

    def entry_count(self) -> int:
        return len(self._table)

    def load_entries(self, arrays: Arrays, count: int) -> None:
        both = arrays["both"]
        assert isinstance(both, np.ndarray)
        self._totals = both

    def state_rows(self) -> int:
        return len(self._table)
