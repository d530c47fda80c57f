"""Rows as often as they are there: at most once (DISTINCT), or as often as that is positive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, Sweep, Touched, crossed, grown, moved, renumbered
from penstock.circuit.expiry import Expiry
from penstock.circuit.node import Node
from penstock.data.batch import Batch, Column, Weights
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat
from penstock.data.types import SqlType
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part

_NO_LIMIT = (1 << 63) - 1


class Crossings:
    """Total weight of every row seen, and which rows cross zero.

        before ╲ after │  ≤ 0    > 0
        ───────────────┼─────────────
              ≤ 0      │   ·     +1
              > 0      │  -1      ·

    Rows are columns of fixed types; ids are the table's. `at_most` None: every unit above zero
    counts, so that a total that goes from 1 to 3 crosses by +2.
    """

    def __init__(self, types: tuple[SqlType, ...], *, at_most: int | None = 1) -> None:
        self._at_most = _NO_LIMIT if at_most is None else at_most
        self.types = types
        self._table = GroupTable(types)
        self._totals = np.zeros(16, dtype=np.int64)
        self._touched = Touched()
        self._sweep = Sweep()
        self._changes = Changes(self)
        #: which rows neither come nor go any more, by column
        self.expiry = Expiry()

    def __len__(self) -> int:
        return len(self._table)

    def add(self, columns: tuple[Column, ...], weights: Weights) -> tuple[Ids, Weights]:
        """Take rows in; the ids that crossed and by how much. Ids are good until the next call."""
        if self._sweep.is_due(len(self._table)):
            self._forget()
        ids = self._table.lookup_or_insert(columns, len(weights))
        self._totals = grown(self._totals, len(self._table))
        touched, _ = self._touched.find(ids, len(self._table))
        self._changes.note(touched)
        return crossed(ids, weights, self._totals, touched, self._at_most)

    def _forget(self) -> None:
        """Drop the rows whose total is zero or that are over, if they are many."""
        if self._sweep.can_wait(len(self._table), self._are_in_use):
            return
        kept = self.in_use()
        over = self.expiry.mask(dict(enumerate(self._table.keys())))
        if over is not None:
            kept = kept[~over[kept]]
        if self._sweep.is_worth_it(len(kept), len(self._table)):
            self._keep(kept)

    def _are_in_use(self, ids: Ids) -> npt.NDArray[np.bool_]:
        in_use: npt.NDArray[np.bool_] = self._totals[ids] != 0
        over = self.expiry.mask(dict(enumerate(self._table.take(ids))))
        return in_use if over is None else in_use & ~over

    def drop(self, is_over: Callable[[tuple[Column, ...]], npt.NDArray[np.bool_]]) -> None:
        """Forget the rows of which `is_over` says so."""
        kept = self.in_use()
        over = is_over(self.rows(kept))
        if over.any():
            self._keep(kept[~over])

    def _keep(self, kept: Ids) -> None:
        self._table, ids = renumbered(self._table, kept)
        self._totals = moved(self._totals, kept, ids)
        self._changes.renumbered()

    def totals(self, ids: Ids) -> Weights:
        return self._totals[ids]

    def in_use(self) -> Ids:
        """The ids whose total is not zero."""
        return np.flatnonzero(self._totals[: len(self._table)])

    def rows(self, ids: Ids) -> tuple[Column, ...]:
        return self._table.take(ids)

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


class Positive(Node):
    """The positive part of a relation, for differences of multisets (EXCEPT ALL).

    Reference:   positive(A)[r] = max(0, A[r])
    Incremental: max(0, after) - max(0, before) of the rows in the delta.
    State: the total of every row, in a hash table.
    Cost:  O(|delta|) look-ups, whatever the size of the state.
    """

    at_most: int | None = None

    def __init__(self, source: Node) -> None:
        super().__init__(source.schema, (source,))
        self._crossings = Crossings(self.schema.types, at_most=self.at_most)

    def step(self) -> Batch | None:
        changes = []
        for delta in self.inputs[0].batches():
            ids, change = self._crossings.add(delta.columns, delta.weights)
            # all cross, in order of their rows: each row is there once and need not be gathered
            is_all = len(ids) == len(delta)
            columns = delta.columns if is_all else self._crossings.rows(ids)
            typed = [c.with_type(t) for c, t in zip(columns, self.schema.types, strict=True)]
            changes.append(Batch(self.schema, tuple(typed), change, True))
        # what one batch brings the next may take away
        return changes[0] if len(changes) == 1 else consolidate(concat(changes))

    @property
    def expiry(self) -> Expiry:
        return self._crossings.expiry

    def parameters(self) -> tuple[Any, ...]:
        return ()

    def parts(self) -> Mapping[str, Part]:
        return self._crossings.parts()

    def state_rows(self) -> int:
        return len(self._crossings)


class Distinct(Positive):
    """Keep one copy of every row whose total weight is positive.

    Reference:   distinct(A)[r] = 1 if A[r] > 0 else 0
    Incremental: a row is emitted only when its total crosses zero (see `Crossings`).
    State: the total of every row, in a hash table.
    Cost:  O(|delta|) look-ups, whatever the size of the state.
    """

    at_most = 1
