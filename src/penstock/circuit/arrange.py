"""The integral of a stream, findable by key: what joins probe.

    delta ──► [rows with a NULL key go aside] ──► delta by key ──(commit)──► spine

During a step the spine holds the rows from before it and `pending` those of the step, so a join
has both sides of the product rule at hand. One arrangement serves every join over the same
stream and key.

State: every row that can match, in a spine, unless its readers ask for no more than whether a
       key is there; on demand, the number of rows per key.
Cost:  an append of the delta per step; where the spine is probed, an entry of a hash table for
       each row. Sorts and merges happen in the background.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, Sweep, Touched, crossed, grown, moved, renumbered
from penstock.circuit.expiry import Expiry, Mask, over_for_all
from penstock.circuit.node import Node
from penstock.data.batch import Batch, Column, Weights
from penstock.data.gather import filter_batch, take_column
from penstock.data.hash import hash_columns
from penstock.data.masks import positions
from penstock.state.banded import BandedSpine
from penstock.state.changes import Arrays, Changes
from penstock.state.groups import GroupTable
from penstock.state.parts import Part
from penstock.state.run import KEY_SEED
from penstock.state.spine import Spine

U64 = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Flips:
    """Keys whose presence changed in this step: `sign` +1 where they appeared, -1 where they
    went away."""

    keys: tuple[Column, ...]
    sign: Weights


class Arrange(Node):
    """Keep a stream by key, with the rows that can never match (a NULL in a key column that is
    not null-safe) passed on beside it as `unmatched`."""

    def __init__(self, source: Node, key: tuple[int, ...], null_safe: tuple[bool, ...]) -> None:
        super().__init__(source.schema, (source,))
        self.key = key
        self._strict = tuple(k for k, safe in zip(key, null_safe, strict=True) if not safe)
        #: by which column a reader wants parts of a key's rows
        self.band_column: int | None = None
        self.spine = self._own_spine()
        self.unmatched: Batch | None = None
        self.counts: KeyCounts | None = None
        #: whether a reader looks into the spine
        self.keeps_rows = False
        self._pending: Spine | None = None
        self._hashes: U64 | None = None
        #: which rows each reader has done with
        self._expiries: list[Expiry] = []

    def new_spine(self) -> Spine:
        if self.band_column is not None:
            return BandedSpine(self.schema, self.key, self.band_column)
        return Spine(self.schema, self.key)

    def _own_spine(self) -> Spine:
        spine = self.new_spine()
        spine.is_over = self._is_over
        return spine

    def find_in_bands(self, column: int) -> None:
        """Have rows found by key and `column`, where keys have many; to be called while the circuit
        is built, for one column only."""
        if self.band_column is None:
            self.band_column = column
            self.spine = self._own_spine()
        assert self.band_column == column, "rows lie in one order"

    def expiry(self) -> Expiry:
        """That of a reader more; to be called by every one of them while the circuit is built."""
        self._expiries.append(Expiry())
        return self._expiries[-1]

    def _is_over(self, rows: Batch) -> Mask | None:
        return over_for_all(self._expiries, dict(enumerate(rows.columns)))

    def _is_key_over(self, keys: tuple[Column, ...]) -> Mask | None:
        return over_for_all(self._expiries, dict(zip(self.key, keys, strict=True)))

    def count_keys(self) -> KeyCounts:
        """Have the rows per key counted; to be called while the circuit is built."""
        if self.counts is None:
            types = self.schema.types
            self.counts = KeyCounts(GroupTable(tuple(types[k] for k in self.key)))
            self.counts.is_over = self._is_key_over
        return self.counts

    def keep_rows(self) -> None:
        """Have the rows kept; to be called while the circuit is built."""
        self.keeps_rows = True

    @property
    def pending(self) -> Spine | None:
        """This step's rows as a spine of their own, None when there are none."""
        if self._pending is None and self.delta is not None:
            self._pending = self.new_spine()
            self._pending.hold(self.delta, self.hashes())
        return self._pending

    def hashes(self) -> U64 | None:
        """The hashes of the keys of this step's rows, None when there are none."""
        if self._hashes is None and self.delta is not None:
            rows = self.delta
            self._hashes = hash_columns(self.keys_of(rows), KEY_SEED, n=len(rows))
        return self._hashes

    def keys_of(self, rows: Batch) -> tuple[Column, ...]:
        return tuple(rows.columns[k] for k in self.key)

    def step(self) -> Batch | None:
        delta = self.inputs[0].delta
        assert delta is not None
        nulls = self._null_keys(delta)
        if nulls is not None:
            self.unmatched = filter_batch(delta, nulls)
            delta = filter_batch(delta, 1 - nulls)
        if self.counts is not None and len(delta):
            self.counts.add(self.keys_of(delta), delta.weights)
        return delta

    def commit(self) -> None:
        if self.delta is not None and self.keeps_rows:
            # who looked in it will in the next step
            insert = self.spine.insert_soon if self.spine.was_read else self.spine.insert_later
            insert(self.delta, self._hashes)
        self.spine.was_read = False
        self._hashes = None
        if self.counts is not None:
            self.counts.flips = None
        self._pending = None
        self.unmatched = None

    def parameters(self) -> tuple[Any, ...]:
        return self.key, self._strict

    def parts(self) -> Mapping[str, Part]:
        counts = {} if self.counts is None else self.counts.parts()
        rows = {"rows": self.spine} if self.keeps_rows else {}
        return {**rows, **counts}

    def state_rows(self) -> int:
        return len(self.spine) + (0 if self.counts is None else len(self.counts))

    def is_due(self) -> bool:
        return self.inputs[0].delta is not None

    def _null_keys(self, delta: Batch) -> np.ndarray | None:
        """uint8[n], 1 where a strict key column is NULL; None when no row is."""
        nulls: np.ndarray | None = None
        for k in self._strict:
            valid = delta.columns[k].valid
            if valid is not None:
                nulls = 1 - valid if nulls is None else nulls | (1 - valid)
        return nulls if nulls is not None and nulls.any() else None


class KeyCounts:
    """Rows per key, by weight. A key is present while its count is positive."""

    def __init__(self, table: GroupTable) -> None:
        self._table = table
        self._totals = np.zeros(16, dtype=np.int64)
        self._touched = Touched()
        self._sweep = Sweep()
        self._changes = Changes(self)
        self.flips: Flips | None = None
        #: of which keys neither side will have another change
        self.is_over: Callable[[tuple[Column, ...]], Mask | None] = lambda keys: None

    def add(self, keys: tuple[Column, ...], weights: Weights) -> None:
        """Take a delta in and remember which keys came or went."""
        if self._sweep.is_due(len(self._table)):
            self._forget()
        ids = self._ids(keys, len(weights))
        touched, _ = self._touched.find(ids, len(self._totals))
        self._changes.note(touched)
        flipped, sign = crossed(ids, weights, self._totals, touched, 1)
        if len(flipped):
            self.flips = Flips(self._table.take(flipped) if keys else (), sign)

    def present(self, keys: tuple[Column, ...], rows: int) -> np.ndarray:
        """bool[rows]: whether each row's key is present now."""
        if not keys:
            return np.full(rows, self._totals[0] > 0)
        ids = self._table.lookup(keys, rows)
        return (self._totals[ids] > 0) & (ids >= 0)

    def __len__(self) -> int:
        return len(self._table)

    def _forget(self) -> None:
        """Drop the keys whose count is zero or that are over, if they are many."""
        if self._sweep.can_wait(len(self._table), self._are_in_use):
            return
        over = self.is_over(self._table.keys())
        counted = self._totals[: len(self._table)] != 0
        kept = positions(counted if over is None else counted & ~over)
        if self._sweep.is_worth_it(len(kept), len(self._table)):
            self._table, ids = renumbered(self._table, kept)
            self._totals = moved(self._totals, kept, ids)
            self._changes.renumbered()

    def _are_in_use(self, ids: Ids) -> npt.NDArray[np.bool_]:
        counted: npt.NDArray[np.bool_] = self._totals[ids] != 0
        over = self.is_over(self._table.take(ids))
        return counted if over is None else counted & ~over

    def parts(self) -> Mapping[str, Part]:
        return {"keys": self._table, "counts": self._changes}

    def entries(self) -> Arrays:
        return {"totals": self._totals}

    def entry_count(self) -> int:
        # without key columns there is the entry of all rows, and no group
        return max(1, len(self._table))

    def load_entries(self, arrays: Arrays, count: int) -> None:
        totals = arrays["totals"]
        assert isinstance(totals, np.ndarray)
        self._totals = grown(totals, count)

    def _ids(self, keys: tuple[Column, ...], rows: int) -> Ids:
        if not keys:
            return np.zeros(rows, dtype=np.int64)
        ids = self._table.lookup_or_insert(keys, rows)
        self._totals = grown(self._totals, len(self._table))
        return ids


def distinct_keys(columns: tuple[Column, ...], rows: int) -> tuple[tuple[Column, ...], int]:
    """Each key of `columns` once, and how many there are."""
    if not columns:
        return (), min(rows, 1)
    table = GroupTable(tuple(c.type for c in columns))
    ids = table.lookup_or_insert(columns, rows)
    _, first = np.unique(ids, return_index=True)
    return tuple(take_column(c, first) for c in columns), len(first)
