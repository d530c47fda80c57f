"""One of the relations that a fixpoint defines by each other, where more may mean less
(`penstock.circuit.ops.fixpoint`)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, Sweep, Touched, add_totals, grown, moved, renumbered
from penstock.data.batch import Batch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat
from penstock.data.types import Schema
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part

Seen = tuple[int, npt.NDArray[np.int64]]


class Member:
    """One recursive relation: of every row how many derivations it has, and whether the body sees
    it now. Rows of which nothing is left are dropped once they are many.

    Where rounds start from rows that are given (none, or those that earlier rounds left), these
    are its base: `start`, `settle` round after round, `end`."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._table = GroupTable(schema.types)
        self._totals = np.zeros(16, np.int64)
        self._seen = np.zeros(16, np.int64)
        #: rows that the body sees
        self.size = 0
        self._touched = Touched()
        self._sweep = Sweep()
        self._changes = Changes(self)
        #: all that the body was told in this step
        self.told: list[Batch] = []
        #: 1 where a row is in the base
        self._base = np.zeros(16, np.int64)
        #: rows that are in the base and not seen, or the other way round; None: to be looked for
        self._off: Ids | None = None
        self._moved: list[Ids] = []

    def __len__(self) -> int:
        return len(self._table)

    def forget(self) -> None:
        """Drop the rows without a derivation if they are many: between two steps."""
        count = len(self._table)
        if not self._sweep.is_due(count):
            return
        self._reserve()
        in_use = (self._totals[:count] != 0) | (self._seen[:count] != 0) | (self._base[:count] != 0)
        kept = np.flatnonzero(in_use)
        if not self._sweep.is_worth_it(len(kept), count):
            return
        self._table, ids = renumbered(self._table, kept)
        self._totals, self._seen, self._base = (
            moved(array, kept, ids) for array in (self._totals, self._seen, self._base)
        )
        self.size, self._off = int(self._seen.sum()), None
        self._changes.renumbered()

    def settle(self, derivations: Batch, also: Ids | None = None) -> Batch:
        """The body shall see the rows that have a derivation; what changes for it. `also`: rows to
        look at whatever changed."""
        ids = self._count(derivations)
        if also is not None and len(also):
            ids = self._once(ids, also)
        change = (self._totals[ids] > 0).astype(np.int64) - self._seen[ids]
        return concat([self._tell(ids[change == s], s) for s in (-1, 1)], self.schema)

    def start(self, change: Batch | None) -> tuple[Batch, Ids]:
        """The base is another by `change`, and the body shall see it and nothing else: what it is
        told, and of which rows."""
        off = self._apart() if self._off is None else self._off
        if change is not None and len(change):
            ids = self._table.lookup_or_insert(change.columns, len(change))
            self._reserve()
            self._base[ids] += change.weights
            off = self._once(off, ids)
        self._moved.append(off)
        sign = self._base[off] - self._seen[off]
        told = [self._tell(off[sign == s], s) for s in (-1, 1)]
        return concat(told, self.schema), off[sign != 0]

    def end(self) -> None:
        """The rounds are over."""
        moved = self._once(*self._moved)
        self._moved = []
        self._off = moved[self._base[moved] != self._seen[moved]]

    def rebase(self, rows: Batch) -> None:
        """The base shall be `rows`."""
        self._base.fill(0)
        ids = self._table.lookup_or_insert(rows.columns, len(rows))
        self._reserve()
        self._base[ids] = 1
        self._off = None

    def _apart(self) -> Ids:
        self._reserve()
        count = len(self._table)
        return np.flatnonzero(self._base[:count] != self._seen[:count])

    def seen(self) -> Seen:
        """What the body sees: how many rows, and which."""
        return self.size, self._seen[: len(self._table)].copy()

    def is_again(self, before: Seen) -> bool:
        """Whether the body sees what it saw then."""
        size, seen = before
        if size != self.size:
            return False
        return np.array_equal(seen, self._seen[: len(seen)]) and not self._seen[len(seen) :].any()

    def change(self) -> Batch | None:
        """What the step did in all."""
        told, self.told, self._moved = self.told, [], []
        return consolidate(concat(told, self.schema)) if told else None

    def _count(self, derivations: Batch) -> Ids:
        ids = self._table.lookup_or_insert(derivations.columns, len(derivations))
        self._reserve()
        touched, _ = self._touched.find(ids, len(self._table))
        self._changes.note(touched)
        add_totals(ids, derivations.weights, self._totals)
        return touched

    def _once(self, *ids: Ids) -> Ids:
        """Each of `ids` once. (`np.unique` takes 0.5 µs for one where they are many.)"""
        return self._touched.find(np.concatenate(ids), len(self._table))[0]

    def _reserve(self) -> None:
        self._totals = grown(self._totals, len(self._table))
        self._seen = grown(self._seen, len(self._table))
        self._base = grown(self._base, len(self._table))

    def _tell(self, ids: Ids, sign: int) -> Batch:
        self._seen[ids] += sign
        self.size += sign * len(ids)
        self._changes.note(ids)
        weights = np.full(len(ids), sign, np.int64)
        rows = Batch(self.schema, self._table.take(ids), weights, True)
        if len(ids):
            self.told.append(rows)
            self._moved.append(ids)
        return rows

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._table, "counts": self._changes}

    def entries(self) -> Arrays:
        return {"totals": self._totals, "seen": self._seen}

    def entry_count(self) -> int:
        return len(self._table)

    def load_entries(self, arrays: Arrays, count: int) -> None:
        totals, seen = arrays["totals"], arrays["seen"]
        assert isinstance(totals, np.ndarray) and isinstance(seen, np.ndarray)
        self._totals, self._seen = totals, seen
        self.size = int(seen.sum())
