"""Rows in the order they came, found by a hash table: what a spine holds before it is a run.

    columns   ▪▪▪▪▪▪▪▪▪▪·····   one growing array each
    k         ▪▪▪▪▪▪▪▪▪▪·····   hash of the key of each row
    slots     k's low bits ─► newest such row ─► the one before ─► …

Sorting thousands of rows costs ten times what this table costs, and whoever looks after every step
would wait for it each time. A log of which somebody looks up keys is indexed as far as it has got;
one that nobody looks into pays for appends only. What a look-up asks for is hashes, so that most,
which find nothing, leave the columns as they are.

Invariants: rows are never changed or removed; only hashes are compared here; `is_plain` while all
weights are positive, so that nothing in it cancels out: a look-up in a plain log gives what
a look-up in its run would give, each row once for each time it came.

Cost: append O(1), and O(rows) amortised when somebody looks or many have come; a look-up
O(needles + matches), and once O(1) per row that came since the last. Used from one thread; the
batch that `rows` gives may be read in any.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Batch, Column, Weights
from penstock.data.build import empty_batch
from penstock.data.gather import packed_columns, take
from penstock.data.hash import hash_columns
from penstock.data.heap import Heap
from penstock.data.kernel import kernel
from penstock.data.types import Schema, SqlType
from penstock.state.columns import Texts
from penstock.state.lookup import TooManyMatches
from penstock.state.run import KEY_SEED

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]

#: deltas that are taken in together, so many columns of them in each step that follows: a step that
#: took in all columns at once would be one of the slowest
FEW_DELTAS, FEW_COLUMNS = 16, 2
#: or once they have so many rows: no step is to take in those of many. Large ones are left as they
#: are to who looks or sorts
MANY_ROWS = 1 << 10
#: deltas of no more rows have their long strings copied into heaps of the log's own, of which the
#: largest has so many bytes: there would be a heap a delta otherwise
COPIED_ROWS, LARGEST_HEAP_BYTES = 1 << 12, 1 << 19
#: rows that the first small delta makes room for
LEAST_ROOM = 64


class Log:
    """Rows of `schema`, found by the columns at `key`."""

    def __init__(self, schema: Schema, key: tuple[int, ...]) -> None:
        self.schema, self.key = schema, key
        self._count = 0
        #: what came and is in no column yet
        self._new: list[tuple[Batch, U64 | None]] = []
        #: what is in the first `_done` columns
        self._group: list[tuple[Batch, U64 | None]] = []
        self._done = 0
        #: whether all weights are positive
        self.is_plain = True
        self._columns: list[_Growing] = []
        self._weights = np.empty(0, np.int64)
        #: rows in the columns, those that have their hash in `_k` and those that are in the table
        self._taken = self._hashed = self._indexed = 0
        self._k = np.empty(0, np.uint64)
        self._next = np.empty(0, np.int32)
        self._slots = np.empty(0, np.int32)
        self._rows: Batch | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def is_filled(self) -> bool:
        return self._count > 0

    def weight(self) -> int:
        """The sum of all weights."""
        # asked once for many appends, of which each would pay for a sum
        return sum(int(np.add.reduce(part.weights)) for part in self.parts())

    @property
    def nbytes(self) -> int:
        """Bytes of its columns; heaps are counted for each batch that shares them."""
        columns = [c for part in self.parts() for c in part.columns]
        return sum(c.values.nbytes + sum(map(len, c.heaps)) for c in columns)

    def append(self, batch: Batch, hashes: U64 | None = None) -> None:
        """Add `batch`, of which nothing is deferred; `hashes` are those of its keys, by
        `KEY_SEED`, if they are known."""
        self._new.append((batch, hashes))
        self._count += len(batch)
        if self.is_plain:
            self.is_plain = all_positive(batch.weights)
        if self._group:
            self._go_on(FEW_COLUMNS)
        elif MANY_ROWS <= self._count - self._taken <= COPIED_ROWS:
            self._take_in()
        elif len(self._new) >= FEW_DELTAS:
            self._begin()

    def _take_in(self) -> None:
        """Have all that came in the columns."""
        if self._group:
            self._go_on(len(self._columns))
        if self._new:
            self._begin()
            if self._group:
                self._go_on(len(self._columns))

    def _begin(self) -> None:
        """Begin to take in what came, or do so where there is nothing yet."""
        self._group, self._new = self._new, []
        if not self._taken:
            batches = [b for b, _ in self._group]
            batch = batches[0] if len(batches) == 1 else packed(batches)
            self._columns = [_Growing(c) for c in batch.columns]
            self._end(batch.weights)

    def _go_on(self, most: int) -> None:
        """Take in the next columns, `most` of them, of what is being taken in."""
        n, batches = self._taken, [b for b, _ in self._group]
        stop = n + sum(map(len, batches))
        start, self._done = self._done, self._done + most
        for i in range(start, min(self._done, len(self._columns))):
            self._columns[i].extend([b.columns[i] for b in batches], n, stop)
        if self._done >= len(self._columns):
            self._end(_extended(self._weights, n, stop, [b.weights for b in batches]))

    def _end(self, weights: Weights) -> None:
        """All columns have what was to be taken in, and these are the weights."""
        n, group = self._taken, self._group
        self._group, self._done = [], 0
        self._taken = n + sum(len(b) for b, _ in group)
        self._weights = weights
        self._take_hashes(n, group)
        self._rows = None

    def _take_hashes(self, start: int, known: Sequence[tuple[Batch, U64 | None]]) -> None:
        """Have the hashes of batches that lie one after the other from row `start` on, but for
        those that are there; none where one is not known, or others are missing before them."""
        more: list[U64] = []
        stop, there = start, self._hashed
        for batch, hashes in known:
            if stop >= there:
                if hashes is None or (not more and stop > there):
                    return
                more.append(hashes)
            stop += len(batch)
        if more:
            self._k = _extended(self._k, there, stop, more)
            self._hashed = stop

    def rows(self) -> Batch:
        """All of them as one batch, not consolidated: good until more are appended."""
        self._take_in()
        if self._rows is None:
            if not self._count:
                return empty_batch(self.schema)
            columns = tuple(c.first(self._count) for c in self._columns)
            self._rows = Batch(self.schema, columns, self._weights[: self._count])
        return self._rows

    def parts(self) -> list[Batch]:
        """All of them in batches that any thread may read, while this one is looked into and no
        more appended to."""
        if self._group:
            self._go_on(len(self._columns))
        taken = tuple(c.first(self._taken) for c in self._columns)
        first = [Batch(self.schema, taken, self._weights[: self._taken])] if self._taken else []
        return [*first, *(batch for batch, _ in self._new)]

    def copy(self) -> Batch:
        """The same, which stays as it is whatever is appended."""
        return take(self.rows(), np.arange(self._count))

    def find(self, needles: U64, most: int | None = None) -> tuple[I64, I64]:
        """(needle, row): all pairs with equal hashes. Raises TooManyMatches if there are more than
        `most`."""
        if not self._count:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        self._index()
        counts = np.empty(len(needles), np.int64)
        total = _count_rows(self._k, self._slots, self._next, needles, counts)
        if most is not None and total > most:
            raise TooManyMatches
        needle, row = np.empty(total, np.int64), np.empty(total, np.int64)
        if total:
            _fill(self._k, self._slots, self._next, needles, counts, needle, row)
        return needle, row

    def _index(self) -> None:
        """Bring the table up to the last row."""
        n = self._count
        if self._hashed < self._taken:
            start = self._hashed
            keys = [self._columns[i].first(self._taken) for i in self.key]
            new = [Column(c.type, c.values[start:], _after(c.valid, start), c.heaps) for c in keys]
            hashes = hash_columns(new, KEY_SEED, n=self._taken - start)
            self._k = _extended(self._k, start, self._taken, [hashes])
            self._hashed = self._taken
        if self._hashed < n:
            start = self._taken
            known: list[tuple[Batch, U64 | None]] = []
            for batch, given in (*self._group, *self._new):
                if given is None and start >= self._hashed:
                    keys = [batch.columns[i] for i in self.key]
                    given = hash_columns(keys, KEY_SEED, n=len(batch))
                known.append((batch, given))
                start += len(batch)
            self._take_hashes(self._taken, known)
        if len(self._next) < n:
            room = 1 << max(6, (n - 1).bit_length())
            self._next, self._slots = np.empty(room, np.int32), np.full(2 * room, -1, np.int32)
            self._indexed = 0
        if self._indexed < n:
            _chain(self._k, self._indexed, n, self._slots, self._next)
            self._indexed = n


class _Growing:
    """A column that values are appended to; its first batch is not copied before that."""

    __slots__ = ("_heaps", "_texts", "type", "valid", "values")

    def __init__(self, column: Column) -> None:
        self.type: SqlType = column.type
        self.values: Array = column.values
        self.valid: U8 | None = column.valid
        #: those that large deltas came with, by id
        self._heaps: dict[int, Heap] = {h.id: h for h in column.heaps}
        #: of the strings of small ones
        self._texts = Texts(LARGEST_HEAP_BYTES)

    def extend(self, columns: Sequence[Column], n: int, stop: int) -> None:
        """Append `columns` to the first `n` values, up to `stop`."""
        if not self.type.nullable:
            for c in columns:
                if c.type.nullable:
                    self.type = self.type.with_nullable(True)
                    break
        self.values = _extended(self.values, n, stop, [c.values for c in columns])
        if self.type.is_view:
            self._keep_texts(columns, n, stop)
        # where no value may be NULL none is looked for
        has_none = not self.type.nullable or all(c.valid is None for c in columns)
        if self.valid is None and has_none:
            return
        before = np.ones(n, np.uint8) if self.valid is None else self.valid
        more = [np.ones(len(c), np.uint8) if c.valid is None else c.valid for c in columns]
        self.valid = _extended(before, n, stop, more)

    def first(self, n: int) -> Column:
        valid = None if self.valid is None else self.valid[:n]
        heaps = self._texts.heaps
        if self._heaps:
            heaps = (*self._heaps.values(), *heaps)
        return Column(self.type, self.values[:n], valid, heaps)

    def _keep_texts(self, columns: Sequence[Column], n: int, stop: int) -> None:
        """Have the long strings of `columns`, whose views lie at n .. stop, kept."""
        if stop - n > COPIED_ROWS * len(columns):
            for c in columns:
                for heap in c.heaps:
                    self._heaps[heap.id] = heap
            return
        for c in columns:
            if c.heaps:
                views = self.values[n:stop]
                self._texts.copy(views, views)
                return


def is_plain(batch: Batch) -> bool:
    """Whether rows only come."""
    return all_positive(batch.weights)


def all_positive(weights: Weights) -> bool:
    n = len(weights)
    # numpy looks for the least one in a microsecond or two
    return bool(weights[0] > 0) if n == 1 else not n or int(weights.min()) > 0


def packed(batches: Sequence[Batch]) -> Batch:
    """One batch of many small ones, whose long strings are in a heap of its own."""
    first = batches[0]
    columns = tuple(
        packed_columns([b.columns[i] for b in batches]) for i in range(len(first.columns))
    )
    return Batch(first.schema, columns, np.concatenate([b.weights for b in batches]))


def _after(valid: U8 | None, start: int) -> U8 | None:
    return None if valid is None else valid[start:]


def _extended(array: Any, n: int, stop: int, more: Sequence[Any]) -> Any:
    """The first `n` entries of `array` and behind them, up to `stop`, those of `more`, in `array`
    itself if there is room: never in the memory of a batch, which has none."""
    if len(array) < stop:
        room = max(LEAST_ROOM, 1 << (stop - 1).bit_length())
        grown = np.empty((room, *array.shape[1:]), array.dtype)
        grown[:n] = array[:n]
        array = grown
    if len(more) == 1:
        array[n:stop] = more[0]
    else:
        np.concatenate(more, out=array[n:stop])
    return array


@kernel("void(uint64[::1], int64, int64, int32[::1], int32[::1])")
def _chain(k: Any, start: Any, stop: Any, slots: Any, chain: Any) -> None:
    """Rows start..stop become the newest of their slots."""
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(start, stop):
        slot = k[i] & mask
        chain[i] = slots[slot]
        slots[slot] = i


@kernel("int64(uint64[::1], int32[::1], int32[::1], uint64[::1], int64[::1])")
def _count_rows(k: Any, slots: Any, chain: Any, needles: Any, counts: Any) -> Any:
    """counts[i] rows have k == needles[i]; returns how many in all."""
    mask = np.uint64(slots.shape[0] - 1)
    total = 0
    for i in range(needles.shape[0]):
        row = slots[needles[i] & mask]
        found = 0
        while row >= 0:
            if k[row] == needles[i]:
                found += 1
            row = chain[row]
        counts[i] = found
        total += found
    return total


@kernel(
    "void(uint64[::1], int32[::1], int32[::1], uint64[::1], int64[::1], int64[::1], int64[::1])"
)
def _fill(k: Any, slots: Any, chain: Any, needles: Any, counts: Any, needle: Any, row: Any) -> None:
    """One (needle, row) for each that `_count_rows` counted."""
    mask = np.uint64(slots.shape[0] - 1)
    at = 0
    for i in range(needles.shape[0]):
        if counts[i]:
            found = slots[needles[i] & mask]
            while found >= 0:
                if k[found] == needles[i]:
                    needle[at] = i
                    row[at] = found
                    at += 1
                found = chain[found]
