"""Tables: where rows enter the circuit.

    a table without a key   INSERT ──► +1      DELETE ──► -1
    a table with a key      the last word per key wins ──► -old row, +new row

Not here: parsing (`penstock.io.formats`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from penstock.circuit.node import Node
from penstock.circuit.waterline import Bounds, Value, Waterline
from penstock.data.batch import DELETE, INSERT, UPDATE, Batch, Column, InputBatch
from penstock.data.consolidate import consolidate
from penstock.data.gather import concat, concat_columns, filter_batch, take, take_column
from penstock.data.kernel import kernel
from penstock.data.masks import positions
from penstock.data.types import Schema
from penstock.state.groups import GroupTable
from penstock.state.parts import Part
from penstock.state.spine import Spine

#: by what a row does to a table without a key
_WEIGHT_OF = np.array([-1, 1])


class Source(Node):
    """A multiset of rows.

    Reference:   A[r] = insertions of r - deletions of r
    Incremental: each operation is a weight.
    State: none.
    Cost:  O(|input|).
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema, ())
        self._fed: list[InputBatch] = []

    def feed(self, batches: Sequence[InputBatch]) -> None:
        """Rows for the coming step."""
        self._fed = [b for b in batches if len(b)]
        self.is_pending = bool(self._fed)

    def step(self) -> Batch | None:
        fed, self._fed = self._fed, []
        self.rows_in += sum(len(b) for b in fed)
        return concat([self._weighted(b) for b in fed])

    def parameters(self) -> tuple[Any, ...]:
        return self.name, self.schema

    def _weighted(self, batch: InputBatch) -> Batch:
        assert UPDATE not in batch.ops.tobytes(), "UPDATE needs a table with a primary key"
        return Batch(self.schema, batch.columns, _WEIGHT_OF.take(batch.ops))


class Inlet(Node):
    """A stream of a circuit around this one.

    Reference:   the stream.
    Incremental: what is fed.
    State: none.
    Cost:  none.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__(schema, ())
        self._fed: list[Batch] = []

    def feed(self, batches: Sequence[Batch]) -> None:
        """Changes for the coming step."""
        self._fed = [b for b in batches if len(b)]
        self.is_pending = bool(self._fed)

    def step(self) -> Batch | None:
        fed, self._fed = self._fed, []
        return concat(fed)

    def parameters(self) -> tuple[Any, ...]:
        return self.name, self.schema


class KeyedSource(Node):
    """A map from primary key to row.

    Reference:   fold the operations in order of arrival: INSERT sets the row of its key, DELETE
                 drops it, UPDATE overwrites the columns it has in a row that exists.
    Incremental: fold only the keys of the input, over the rows they have now.
                 With LATENESS a change of a row that is late, or would be, is ignored as a whole.
    State: the table's rows, in a spine by key (which is also its snapshot); the largest values of
           columns with LATENESS.
    Cost:  one probe per distinct key of the input.
    """

    scalars: ClassVar[tuple[str, ...]] = (*Node.scalars, "highest", "late_records")

    def __init__(self, schema: Schema, key: tuple[int, ...], lateness: Bounds = ()) -> None:
        super().__init__(schema, ())
        self._key = key
        self._line = Waterline(lateness)
        self.late_records = 0
        #: what this step ignored: a row for each key, the new one if there is one
        self.late: Batch | None = None
        self._fed: list[InputBatch] = []
        self.integral = Spine(schema, key)

    def feed(self, batches: Sequence[InputBatch]) -> None:
        """Rows for the coming step, in order of arrival."""
        self._fed = [b for b in batches if len(b)]
        self.is_pending = bool(self._fed)

    def step(self) -> Batch | None:
        fed, self._fed = self._fed, []
        rows = sum(len(b) for b in fed)
        self.rows_in += rows
        arrived = tuple(
            concat_columns([b.columns[c] for b in fed]).with_type(t)
            for c, t in enumerate(self.schema.types)
        )
        keys = tuple(arrived[k] for k in self._key)
        table = GroupTable(tuple(c.type for c in keys))
        slots = table.lookup_or_insert(keys, rows)
        if len(table) < rows:
            keys = table.keys()
        found, old = self._current(keys, len(table))
        gone = Batch(self.schema, old.columns, -old.weights)
        ops = fed[0].ops if len(fed) == 1 else np.concatenate([b.ops for b in fed])
        if UPDATE in ops:
            kept, new = self._updated(fed, ops, slots, len(table), arrived, found, old)
        else:
            kept, new = self._replaced(ops, slots, len(table), arrived)
        if self._line.bounds:
            late = np.zeros(len(table), np.bool_)
            late[found[self._line.late(gone)]] = True
            late[kept[self._line.late(new)]] = True
            self.late_records += int(late.sum())
            self._note_late(late, kept, new, found, gone)
            gone, new = filter_batch(gone, ~late[found]), filter_batch(new, ~late[kept])
        if len(gone) and len(new):
            return consolidate(concat([gone, new]))
        # of either kind there is one row a key
        only = gone if len(gone) else new
        return Batch(self.schema, only.columns, only.weights, True)

    def _replaced(
        self, ops: np.ndarray, slots: np.ndarray, slot_count: int, arrived: tuple[Column, ...]
    ) -> tuple[np.ndarray, Batch]:
        """(slots that have a row now, their rows) where the last operation of a key decides."""
        last = np.empty(slot_count, dtype=np.int64)
        _last(ops, slots, last)
        kept = positions(last >= 0)
        if len(kept) < len(ops):
            arrived = tuple(take_column(a, last[kept]) for a in arrived)
        return kept, Batch(self.schema, arrived, np.ones(len(kept), dtype=np.int64))

    def _updated(
        self, fed: list[InputBatch], ops: np.ndarray, slots: np.ndarray, slot_count: int,
        arrived: tuple[Column, ...], found: np.ndarray, old: Batch,
    ) -> tuple[np.ndarray, Batch]:  # fmt: skip
        """The same where single columns may be overwritten."""
        old_at = np.full(slot_count, -1, dtype=np.int64)
        old_at[found] = len(ops) + np.arange(len(found))
        # a row's columns may come from different arrivals: origin[slot, column] names each
        origin = np.repeat(old_at[:, None], len(self.schema), axis=1)
        exists = (old_at >= 0).astype(np.uint8)
        _fold(ops, slots, self._presence(fed), origin, exists)
        kept = np.flatnonzero(exists)
        columns = tuple(
            take_column(concat_columns([a, o]), np.ascontiguousarray(origin[kept, c]))
            for c, (a, o) in enumerate(zip(arrived, old.columns, strict=True))
        )
        return kept, Batch(self.schema, columns, np.ones(len(kept), dtype=np.int64))

    def _note_late(
        self, late: np.ndarray, kept: np.ndarray, new: Batch, found: np.ndarray, gone: Batch
    ) -> None:
        if late.any():
            deleted = late.copy()
            deleted[kept] = False
            self.late = concat([filter_batch(new, late[kept]), filter_batch(gone, deleted[found])])

    def commit(self) -> None:
        self.late = None
        if self.delta is not None:
            self.integral.insert_soon(self.delta)
            self._line.advance(self.delta)

    @property
    def highest(self) -> list[Value | None]:
        return self._line.highest

    @highest.setter
    def highest(self, values: list[Value | None]) -> None:
        self._line.highest = list(values)

    def parameters(self) -> tuple[Any, ...]:
        return self.name, self.schema, self._key, self._line.bounds

    def parts(self) -> Mapping[str, Part]:
        return {"integral": self.integral}

    def state_rows(self) -> int:
        return len(self.integral)

    def _current(self, keys: tuple[Column, ...], rows: int) -> tuple[np.ndarray, Batch]:
        """The rows that `keys` have now, each with the position of its key."""
        at, matches = self.integral.probe_deferred(keys, rows)
        if not len(at) or (np.bincount(at).max() == 1 and (matches.weights == 1).all()):
            return at, matches
        # runs that are not merged yet hold a row's past too: only the sum is the row
        table = GroupTable(matches.schema.types)
        ids = table.lookup_or_insert(matches.columns, len(at))
        totals = np.zeros(len(table), dtype=np.int64)
        np.add.at(totals, ids, matches.weights)
        _, first = np.unique(ids, return_index=True)
        live = first[totals > 0]
        old = take(matches, live)
        return at[live], Batch(old.schema, old.columns, np.ones(len(live), dtype=np.int64))

    def _presence(self, fed: list[InputBatch]) -> np.ndarray:
        """uint8[rows, columns]: which columns each row brings."""
        parts = []
        for batch in fed:
            part = np.ones((len(batch), len(self.schema)), dtype=np.uint8)
            for c, present in enumerate(batch.present):
                if present is not None:
                    part[:, c] = present
            parts.append(part)
        return np.concatenate(parts)


@kernel("void(uint8[::1], int64[::1], int64[::1])")
def _last(ops: Any, slots: Any, last: Any) -> None:
    """last[slot] = the row that sets it last, -1 where it is dropped after that."""
    for i in range(ops.shape[0]):
        last[slots[i]] = i if ops[i] == INSERT else -1


@kernel("void(uint8[::1], int64[::1], uint8[:, ::1], int64[:, ::1], uint8[::1])")
def _fold(ops: Any, slots: Any, present: Any, origin: Any, exists: Any) -> None:
    for i in range(ops.shape[0]):
        slot = slots[i]
        if ops[i] == DELETE:
            exists[slot] = 0
        elif ops[i] == INSERT:
            exists[slot] = 1
            for c in range(origin.shape[1]):
                origin[slot, c] = i
        elif exists[slot]:
            for c in range(origin.shape[1]):
                if present[i, c]:
                    origin[slot, c] = i
