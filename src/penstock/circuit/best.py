"""A relation of a fixpoint that has one row a key: the best of those that are derived (MIN, MAX).

    derived   (n, 5, depth 3) ×2   (n, 5, depth 9)   (n, 8, depth 1)
    shown     (n, 5, depth 3)                    the least value, and of those the least deep

For bodies in which better rows never mean worse ones (shortest paths, the least label of a
component; `penstock.compile.least` says which they are). What is shown only gets better while
rounds go on, and what they end with is the least fixed point, whatever they began with below it.
So there is one state, as for bodies that are monotone in sets, however many rounds it takes.

A deletion must not leave values behind that support only each other, and shall not withdraw what
is derived in other ways too. A row is shown with its depth, one more than the depths of the rows
that it is derived from, and it stays as it is as long as its value is derived from rows less deep:
nothing can support itself then. Where no such derivation is left the row is withdrawn, and with it
what was derived from it, round after round; then the best of what is left comes back, and is
improved until nothing changes. A row whose value is found in a shorter way as well keeps its
depth, so that nothing behind it is told.

Reference:   of the rows of a key the least (greatest) value, NULL where there is no other.
State: all derived rows, by key, in order; of each key the row that is shown.
Cost:  what is derived more or less of, and of each key that loses its row one look into an order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from penstock.circuit.dense import Ids, Sweep, Touched, grown, moved, renumbered
from penstock.circuit.expiry import Expiry
from penstock.circuit.ops.accumulate import the_array
from penstock.circuit.ops.extremum import Cells, Extremum
from penstock.data.batch import Batch, Column
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat
from penstock.data.hash import rows_equal
from penstock.data.types import Schema
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part


@dataclass(frozen=True, slots=True)
class BestOf:
    """Which column of a relation is the `value`, and whether the greatest (`most`) is shown. The
    last column is the depth, all others are the key."""

    value: int
    most: bool


class Best:
    """See the module; to `penstock.circuit.ops.fixpoint` what a `Member` is."""

    def __init__(self, schema: Schema, of: BestOf) -> None:
        self.schema = schema
        self._value, self._depth = of.value, len(schema) - 1
        self._key = tuple(i for i in range(self._depth) if i != of.value)
        #: without the depth
        self._shown_schema = Schema(schema.fields[:-1])
        types = schema.types
        self._table = GroupTable(tuple(types[k] for k in self._key))
        ordered = (types[of.value], types[self._depth])
        self._derived = Extremum(ordered, (of.most, False), ordered[0], nulls_last=True)
        #: what is shown, by key
        self._is_shown = np.zeros(16, np.uint8)
        self._values = Cells(types[of.value])
        self._depths = np.zeros(16, np.int64)
        #: keys that are shown
        self.size = 0
        self._touched = Touched()
        self._sweep = Sweep()
        self._changes = Changes(self)
        #: nothing is ever over
        self.expiry = Expiry()
        self._withdrawn: list[Ids] = []
        self._told: list[Batch] = []

    def __len__(self) -> int:
        return len(self._table) + self._derived.state_rows()

    def forget(self) -> None:
        """Drop the keys of which nothing is left, if they are many: between two steps."""
        count = len(self._table)
        if not self._sweep.is_due(count):
            return
        self._reserve()
        kept = np.flatnonzero(self._derived.in_use(count) | (self._is_shown[:count] != 0))
        if not self._sweep.is_worth_it(len(kept), count):
            return
        self._table, ids = renumbered(self._table, kept)
        self._derived.move(kept, ids)
        self._values.move(kept, ids)
        self._is_shown, self._depths = (
            moved(array, kept, ids) for array in (self._is_shown, self._depths)
        )
        self._changes.renumbered()

    def withdraw(self, derivations: Batch) -> Batch:
        """Rows without a derivation from less deep ones are gone, for now."""
        ids = self._count(derivations)
        gone = ids[(self._is_shown[ids] != 0) & ~self._are_supported(ids)]
        self._withdrawn.append(gone)
        return self._tell([self._hidden(gone)])

    def bring_back(self) -> Batch:
        """The best that is still derived of the keys that were withdrawn."""
        ids = np.concatenate([*self._withdrawn, np.zeros(0, np.int64)])
        self._withdrawn = []
        return self._tell([self._found(ids[self._derived.has_rows(ids)])])

    def settle(self, derivations: Batch) -> Batch:
        """The body shall see the best row of every key; what changes for it."""
        ids = self._count(derivations)
        ids = ids[~self._are_supported(ids)]
        gone = self._hidden(ids[self._is_shown[ids] != 0])
        return self._tell([gone, self._found(ids[self._derived.has_rows(ids)])])

    def change(self) -> Batch | None:
        """What the step did in all, without the depths."""
        told, self._told = self._told, []
        if not told:
            return None
        kept = tuple(range(self._depth))
        return consolidate(concat([rows.select(kept, self._shown_schema) for rows in told]))

    def _count(self, derivations: Batch) -> Ids:
        """Take `derivations` in; their keys, each once."""
        keys = tuple(derivations.columns[k] for k in self._key)
        ids = self._table.lookup_or_insert(keys, len(derivations))
        self._reserve()
        touched, _ = self._touched.find(ids, len(self._table))
        self._changes.note(touched)
        ordered = derivations.columns[self._value], derivations.columns[self._depth]
        self._derived.add_rows(ids, derivations.weights, ordered)
        return touched

    def _are_supported(self, ids: Ids) -> np.ndarray:
        """bool per key: whether what is shown is the best, and derived from rows less deep."""
        value, depth = self._derived.best(ids)
        at = np.arange(len(ids))
        same = rows_equal((value,), at, (self._values.take(ids),), at) != 0
        shown = self._derived.has_rows(ids) & (self._is_shown[ids] != 0)
        found: np.ndarray = shown & same & (depth.values <= self._depths[ids])
        return found

    def _hidden(self, ids: Ids) -> Batch:
        """The rows of `ids`, which are not shown any more."""
        rows = self._rows(ids, -1)
        self._is_shown[ids] = 0
        self.size -= len(ids)
        return rows

    def _found(self, ids: Ids) -> Batch:
        """The best rows of `ids`, which are shown from now on."""
        value, depth = self._derived.best(ids)
        self._values.put(ids, value)
        self._depths[ids] = depth.values
        self._is_shown[ids] = 1
        self.size += len(ids)
        return self._rows(ids, 1)

    def _rows(self, ids: Ids, weight: int) -> Batch:
        keys = iter(self._table.take(ids))
        columns = [next(keys) if i in self._key else None for i in range(self._depth)]
        columns[self._value] = self._values.take(ids)
        depth = Column(self.schema.types[self._depth], self._depths[ids], None)
        weights = np.full(len(ids), weight, np.int64)
        kept = tuple(c for c in (*columns, depth) if c is not None)
        return Batch(self.schema, kept, weights, True)

    def _tell(self, parts: list[Batch]) -> Batch:
        rows = concat(parts, self.schema)
        if len(rows):
            self._told.append(rows)
        return rows

    def _reserve(self) -> None:
        count = len(self._table)
        self._derived.reserve(count)
        self._values.reserve(count)
        self._is_shown = grown(self._is_shown, count)
        self._depths = grown(self._depths, count)

    def parts(self) -> Mapping[str, Part]:
        return {"rows": self._table, "counts": self._changes, **self._derived.parts()}

    def entries(self) -> Arrays:
        derived = {f"derived {n}": a for n, a in self._derived.arrays().items()}
        shown: Arrays = {
            "shown": self._is_shown,
            "depth": self._depths,
            "value": self._values.column(),
        }
        return {**shown, **derived}

    def entry_count(self) -> int:
        return len(self._table)

    def load_entries(self, arrays: Arrays, count: int) -> None:
        self._is_shown, self._depths = the_array(arrays["shown"]), the_array(arrays["depth"])
        value = arrays["value"]
        assert isinstance(value, Column)
        self._values.load(value)
        self._derived.load({n: arrays[f"derived {n}"] for n in self._derived.arrays()})
        self.size = int(self._is_shown.sum())
