"""A relation of a fixpoint that is a set: the rows that are derived, each with how deep it is.

    edges  0→1  1→2  2→1            reached  1 (depth 1)  2 (depth 2)
    derivations of 1                from the edge 0→1, depth 1: grounds it
                                    from 2, depth 3: does not, as 2 is derived from it

A deletion must not leave rows behind that support only each other, and shall not withdraw what is
derived in other ways too. A row is shown with a depth, and a derivation grounds it if that is
not less deep than all that the derivation is made of: nothing can support itself then. A row with
such a derivation stays; one that loses the last of them is withdrawn, and with it what it grounds
alone, round after round. What then is derived still, if only from what is deeper, comes back
deeper than all that it is derived from. (DRed of Gupta, Mumick and Subrahmanian, SIGMOD 1993,
withdraws whatever loses any derivation: in a graph with cycles that is most of it for each edge.)

Reference:   the rows with a derivation.
State: of every row how many derivations it has, how many of them ground it, its depth, and the
       depth of its deepest derivation so far.
Cost:  the derivations that come and go, and those of the rows that are withdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from penstock.circuit.dense import Ids, Sweep, Touched, grown, moved, renumbered
from penstock.circuit.expiry import Expiry
from penstock.circuit.ops.accumulate import the_array
from penstock.data.batch import Batch, Column
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat
from penstock.data.kernel import kernel
from penstock.data.types import Schema
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part


class Grounded:
    """See the module; the last column of `schema` is the depth, 1 or more. To
    `penstock.circuit.ops.fixpoint` what a `Member` is, for bodies that are monotone. Rows without
    a derivation are dropped once they are many, and those that are over."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        #: without the depth
        self._shown_schema = Schema(schema.fields[:-1])
        self._table = GroupTable(self._shown_schema.types)
        self._totals = np.zeros(16, np.int64)
        #: derivations that are no deeper than the row, if it is shown
        self._grounds = np.zeros(16, np.int64)
        #: 0: not shown
        self._depths = np.zeros(16, np.int64)
        #: not less than the depth of any derivation
        self._deepest = np.zeros(16, np.int64)
        #: rows that the body sees
        self.size = 0
        self._touched = Touched()
        self._sweep = Sweep()
        self._changes = Changes(self)
        #: which rows neither lose nor find a derivation any more, by column
        self.expiry = Expiry()
        self._withdrawn: list[Ids] = []
        self._told: list[Batch] = []

    def __len__(self) -> int:
        return len(self._table)

    def forget(self) -> None:
        """Drop the rows without a derivation and those that are over, if they are many: between
        two steps."""
        count = len(self._table)
        if not self._sweep.is_due(count):
            return
        self._reserve()
        in_use = self._totals[:count] != 0
        over = self.expiry.mask(dict(enumerate(self._table.keys())))
        kept = np.flatnonzero(in_use if over is None else in_use & ~over)
        if not self._sweep.is_worth_it(len(kept), count):
            return
        self._table, ids = renumbered(self._table, kept)
        self._totals, self._grounds, self._depths, self._deepest = (
            moved(array, kept, ids)
            for array in (self._totals, self._grounds, self._depths, self._deepest)
        )
        self.size = int(np.count_nonzero(self._depths))
        self._changes.renumbered()

    def withdraw(self, derivations: Batch) -> Batch:
        """Rows that nothing grounds any more are gone, for now."""
        ids = self._count(derivations)
        gone = ids[(self._depths[ids] > 0) & (self._grounds[ids] == 0)]
        self._withdrawn.append(gone)
        rows = self._rows(gone, -1)
        self._depths[gone] = 0
        self.size -= len(gone)
        return self._tell(rows)

    def bring_back(self) -> Batch:
        """Withdrawn rows that still have a derivation, deeper than what that is made of."""
        ids = np.concatenate([*self._withdrawn, np.zeros(0, np.int64)])
        self._withdrawn = []
        return self._tell(self._shown(ids[self._totals[ids] > 0]))

    def settle(self, derivations: Batch) -> Batch:
        """The body shall see the rows that have a derivation; what changes for it. None has less
        than before."""
        ids = self._count(derivations)
        return self._tell(self._shown(ids[(self._depths[ids] == 0) & (self._totals[ids] > 0)]))

    def change(self) -> Batch | None:
        """What the step did in all, without the depths."""
        told, self._told = self._told, []
        if not told:
            return None
        kept = tuple(range(len(self._shown_schema)))
        return consolidate(concat([rows.select(kept, self._shown_schema) for rows in told]))

    def _count(self, derivations: Batch) -> Ids:
        """Take `derivations` in; the ids of their rows, each once."""
        *columns, depths = derivations.columns
        ids = self._table.lookup_or_insert(tuple(columns), len(derivations))
        self._reserve()
        touched, _ = self._touched.find(ids, len(self._table))
        self._changes.note(touched)
        of_each = np.ascontiguousarray(depths.values)
        arrays = self._totals, self._grounds, self._depths, self._deepest
        add_derivations(ids, derivations.weights, of_each, *arrays)
        self._deepest[touched[self._totals[touched] == 0]] = 0
        return touched

    def _shown(self, ids: Ids) -> Batch:
        """The rows of `ids`, which are shown from now on: all derivations ground them."""
        self._depths[ids] = self._deepest[ids]
        self._grounds[ids] = self._totals[ids]
        self.size += len(ids)
        return self._rows(ids, 1)

    def _rows(self, ids: Ids, weight: int) -> Batch:
        depth = Column(self.schema.types[-1], self._depths[ids], None)
        weights = np.full(len(ids), weight, np.int64)
        return Batch(self.schema, (*self._table.take(ids), depth), weights, True)

    def _tell(self, rows: Batch) -> Batch:
        if len(rows):
            self._told.append(rows)
        return rows

    def _reserve(self) -> None:
        count = len(self._table)
        self._totals, self._grounds, self._depths, self._deepest = (
            grown(array, count)
            for array in (self._totals, self._grounds, self._depths, self._deepest)
        )

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._table, "counts": self._changes}

    def entries(self) -> Arrays:
        return {
            "totals": self._totals,
            "grounds": self._grounds,
            "depths": self._depths,
            "deepest": self._deepest,
        }

    def entry_count(self) -> int:
        return len(self._table)

    def load_entries(self, arrays: Arrays, count: int) -> None:
        self._totals, self._grounds, self._depths, self._deepest = (
            the_array(arrays[name]) for name in ("totals", "grounds", "depths", "deepest")
        )
        self.size = int(np.count_nonzero(self._depths))


@kernel("void(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def add_derivations(
    ids: np.ndarray,
    weights: np.ndarray,
    depths: np.ndarray,
    totals: np.ndarray,
    grounds: np.ndarray,
    own: np.ndarray,
    deepest: np.ndarray,
) -> None:
    """Count derivations of the rows `ids`, each with its weight and depth: all of them, those no
    deeper than the row is itself (`own`), and how deep the deepest was."""
    for i in range(ids.shape[0]):
        row = ids[i]
        totals[row] += weights[i]
        if depths[i] <= own[row]:
            grounds[row] += weights[i]
        deepest[row] = max(deepest[row], depths[i])
