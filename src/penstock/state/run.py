"""A run: one immutable, consolidated batch, sorted so that keys are found at once.

    k = hash of the key columns     r = hash of the whole row     sorted by (k, r)

    table:  prefix of k ─► first row with that prefix      (about 8 rows a bucket)

Invariants: rows are consolidated; (k, r) ascends; nothing of a run ever changes, so anybody may
hold one while newer runs are stacked and merged.

Cost: a look-up reads one bucket, by binary search, so one heavy key does no harm; building is one
sort of the batch; merging two runs is one linear pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any, TypeVar, dataclass_transform

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Array, Batch, Column, Weights
from penstock.data.consolidate import consolidate
from penstock.data.gather import compact_heaps, concat, slice_batch, take, take_column
from penstock.data.hash import hash_columns, rows_equal
from penstock.data.kernel import kernel
from penstock.data.masks import all_set
from penstock.data.types import Schema
from penstock.state.few import FEW_ROWS, TABLE_BITS, few
from penstock.state.lookup import CACHED_ROWS, where
from penstock.state.merging import interleave, pick
from penstock.state.sorting import sort_pairs
from penstock.state.storage import StateStore, column

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
T = TypeVar("T")

KEY_SEED, ROW_SEED = 0, 7
_BUCKET_BITS = 3
#: runs of fewer rows have about four buckets a row: most look-ups that find nothing end there
_SMALL_RUN, _SMALL_RUN_BITS = 4096, -TABLE_BITS


class Claim:
    """What all runs of one file share: when it is gone, nobody uses the file any more. `is_named`
    holds True once a manifest may name the file, whose owner then sees to it."""

    __slots__ = ("__weakref__", "is_named")

    def __init__(self) -> None:
        self.is_named = [False]


@dataclass(slots=True)
class Written:
    """Where a run was written, once it was, and whether its arrays are that file's."""

    file: str | None = None
    is_mapped: bool = False
    claim: Claim = field(default_factory=Claim)


@dataclass_transform(eq_default=False, frozen_default=True, field_specifiers=(field,))
def referenced_value(cls: type[T]) -> type[T]:
    """`value` of what others refer to weakly."""
    return dataclass(slots=True, eq=False, weakref_slot=True)(cls)


@referenced_value
class Run:
    """See the module. `batch` is consolidated and sorted by (k, r); `table` and `shift` index k."""

    k: U64
    r: U64
    batch: Batch
    table: npt.NDArray[np.int32]
    shift: int
    written: Written = field(default_factory=Written, kw_only=True)
    #: where `k` and `table` are in memory (see `penstock.state.lookup`), if that is known
    told: InitVar[tuple[U64, int] | None] = field(default=None, kw_only=True)
    where: tuple[U64, int] = field(init=False)

    def __post_init__(self, told: tuple[U64, int] | None) -> None:
        if told is None:
            told = where(self.k, self.table, self.shift)
        self.where = told  # type: ignore[misc]

    def __len__(self) -> int:
        return int(self.k.shape[0])

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays; heaps are counted for each column that shares them."""
        columns = self.batch.columns
        fixed = sum(c.values.nbytes + (0 if c.valid is None else len(c)) for c in columns)
        heaps = sum(len(h) for c in columns for h in c.heaps)
        return 24 * len(self) + self.table.nbytes + fixed + heaps

    @property
    def resident_bytes(self) -> int:
        """Bytes that the system cannot drop."""
        return 0 if self.written.is_mapped else self.nbytes

    def write(self, store: StateStore) -> str:
        """Write it if it is not in `store` yet, for a manifest; its file's id."""
        file = self.written.file
        if file is None or not store.has(file):
            self.written.file = file = store.put("run", self.arrays())
        # after the file was read, because it may just have been spilled (see `spill`)
        self.written.claim.is_named[0] = True
        return file

    def part(self, start: int, stop: int) -> Run:
        """Rows start..stop, to be merged: its index is of no use."""
        batch = slice_batch(self.batch, start, stop)
        return Run(self.k[start:stop], self.r[start:stop], batch, self.table, self.shift)

    def only(self, at: I64) -> Run:
        """The run of rows `at`, ascending."""
        return _indexed(self.k[at], self.r[at], _only(self.batch, at))

    def arrays(self) -> dict[str, Array | Column]:
        """All it is made of, to be written."""
        columns = {f"column{i}": c for i, c in enumerate(self.batch.columns)}
        return {
            "k": self.k,
            "r": self.r,
            "table": self.table,
            "shift": np.array([self.shift]),
            "weights": self.batch.weights,
            **columns,
        }


@kernel("void(uint64[::1], int64, int32[::1])")
def _index(k: Any, shift: int, table: Any) -> None:
    """table[p] = first row whose prefix is at least p; the last entry is the number of rows."""
    n = k.shape[0]
    row = 0
    for p in range(table.shape[0] - 1):
        while row < n and np.int64(k[row] >> np.uint64(shift)) < p:
            row += 1
        table[p] = row
    table[table.shape[0] - 1] = n


@kernel("int64(uint64[::1], int32[::1], int64, uint64[::1], int64[::1], int64[::1])")
def _find(k: Any, table: Any, shift: int, needles: Any, low: Any, high: Any) -> Any:
    """Rows low[i] .. high[i] have k == needles[i]; returns how many in all."""
    if k.shape[0] > CACHED_ROWS:
        # a search waits for memory at each of its branches; here nothing depends on anything, so
        # that the buckets of many needles are fetched at the same time
        for i in range(needles.shape[0]):
            low[i] = table[np.int64(needles[i] >> np.uint64(shift))]
        for i in range(needles.shape[0]):
            high[i] = np.int64(k[min(low[i] + 4, k.shape[0] - 1)])
    total: Any = 0
    for i in range(needles.shape[0]):
        x = needles[i]
        if i > 0 and x == needles[i - 1]:
            # places of one partition are asked for together
            low[i], high[i] = low[i - 1], high[i - 1]
            total += high[i] - low[i]
            continue
        p = np.int64(x >> np.uint64(shift))
        a, b = np.int64(table[p]), np.int64(table[p + 1])
        end = b
        # a key of many rows has a bucket to itself, which both of its ends tell
        if a < b and k[a] < x:
            while a < b:
                m = (a + b) >> 1
                if k[m] < x:
                    a = m + 1
                else:
                    b = m
        low[i] = a
        b = end
        if b - a > 8 and k[b - 1] == x:
            high[i] = b
            total += b - a
            continue
        # most keys have few rows: walk a little before searching
        steps = 0
        while a < b and steps < 8 and k[a] == x:
            a += 1
            steps += 1
        if a < b and k[a] == x:
            while a < b:
                m = (a + b) >> 1
                if k[m] <= x:
                    a = m + 1
                else:
                    b = m
        high[i] = a
        total += a - low[i]
    return total


@kernel("void(int64[::1], int64[::1], int64[::1], int64[::1])")
def _expand(low: Any, high: Any, needle: Any, row: Any) -> None:
    """Spell the ranges out: one (needle, row) a match."""
    at = 0
    for i in range(low.shape[0]):
        for j in range(low[i], high[i]):
            needle[at] = i
            row[at] = j
            at += 1


def _indexed(k: U64, r: U64, batch: Batch) -> Run:
    return Run(k, r, batch, *_index_of(k))


def _index_of(k: U64) -> tuple[npt.NDArray[np.int32], int]:
    """The `table` and `shift` of a run."""
    coarseness = _SMALL_RUN_BITS if len(k) < _SMALL_RUN else _BUCKET_BITS
    # a shift by 64 is undefined: two buckets at least
    bits = max(1, len(k).bit_length() - coarseness)
    table, shift = np.empty((1 << bits) + 1, np.int32), 64 - bits
    _index(k, shift, table)
    return table, shift


def _only(batch: Batch, at: I64) -> Batch:
    """Rows `at`, without the strings of the others."""
    rows = take(batch, at)
    return Batch(rows.schema, tuple(map(compact_heaps, rows.columns)), rows.weights, True)


def run_from(arrays: Mapping[str, Array], schema: Schema) -> Run:
    """The run of `schema` that these `Run.arrays` were of."""
    columns = tuple(column(arrays, f"column{i}", t) for i, t in enumerate(schema.types))
    batch = Batch(schema, columns, arrays["weights"], True)
    return Run(arrays["k"], arrays["r"], batch, arrays["table"], int(arrays["shift"][0]))


def build_run(batch: Batch, key: tuple[int, ...]) -> Run:
    """The run of a batch's rows; `key` are the positions of the key columns."""
    n = len(batch)
    k = hash_columns([batch.columns[i] for i in key], KEY_SEED, n=n)
    r = hash_columns(batch.columns, ROW_SEED, n=n)
    if 0 < n <= FEW_ROWS:
        made = few((k, r), batch.weights)
        if made is not None:
            rows = Batch(batch.schema, made.columns(batch.columns), made.weights, True)
            k, r = made.words
            return Run(k, r, rows, made.table, made.shift, told=made.where)
    order, k, r, twins = sort_pairs(k, r)
    weights = batch.weights[order]
    if twins or not all_set(weights):
        added = added_up_in_order((k, r), batch.columns, order, weights)
        if added is None:
            # hashes of different rows collided: from here on rows are told apart by themselves
            return _build_collided(consolidate(batch), key)
        kept, weights = added
        if len(kept) < n:
            order, k, r = order[kept], k[kept], r[kept]
    columns = tuple(take_column(c, order) for c in batch.columns)
    return _indexed(k, r, Batch(batch.schema, columns, weights, True))


def added_up_in_order(
    words: Sequence[U64], columns: Sequence[Column], order: I64, weights: Weights
) -> tuple[I64, Weights] | None:
    """(kept, sums) of rows that are sorted by `words`, row i of `weights` and of each word being
    row order[i] of `columns`: places of the rows that stay, the first of equal ones, and what their
    weights are in all. None if words are the same of different rows."""
    n = len(order)
    kept, sums, second = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    count, twins = _add_up(words[0], words[-1], weights, kept, sums, second)
    if twins:
        second = second[:twins]
        if not all_set(rows_equal(columns, order[second - 1], columns, order[second])):
            return None
    return (kept, sums) if count == n else (kept[:count], sums[:count].copy())


@kernel(
    "UniTuple(int64, 2)(uint64[::1], uint64[::1], int64[::1], int64[::1], int64[::1], int64[::1])"
)
def _add_up(k: Any, r: Any, weights: Any, kept: Any, sums: Any, second: Any) -> Any:
    """What `added_up_in_order` says, where the hashes of the key and of the row tell rows apart.
    `second` = rows that have those of the one before. How many are kept, and how many those are."""
    count, twins = 0, 0
    i = 0
    while i < weights.shape[0]:
        first, total = i, weights[i]
        i += 1
        while i < weights.shape[0] and k[i] == k[first] and r[i] == r[first]:
            total += weights[i]
            second[twins] = i
            twins += 1
            i += 1
        kept[count], sums[count] = first, total
        count += total != 0
    return count, twins


def _build_collided(batch: Batch, key: tuple[int, ...]) -> Run:
    """The run of consolidated rows, some of which have equal hashes."""
    k = hash_columns([batch.columns[i] for i in key], KEY_SEED, n=len(batch))
    r = hash_columns(batch.columns, ROW_SEED, n=len(batch))
    order, k, r, _ = sort_pairs(k, r)
    rows = take(batch, order)
    return _indexed(k, r, Batch(rows.schema, rows.columns, rows.weights, True))


def merge_runs(a: Run, b: Run, key: tuple[int, ...]) -> Run:
    """One run with the rows of both, weights added, zeros dropped."""
    n = len(a) + len(b)
    source, k, r = np.empty(n, np.int64), np.empty(n, np.uint64), np.empty(n, np.uint64)
    weights, pairs = np.empty(n, np.int64), np.empty((min(len(a), len(b)), 2), np.int64)
    twins = np.zeros(1, np.int64)
    kept = interleave(
        a.k, a.r, a.batch.weights, b.k, b.r, b.batch.weights, source, k, r, weights, pairs, twins
    )
    left, right = (np.ascontiguousarray(pairs[: twins[0], i]) for i in range(2))
    if kept < 0 or not all_set(rows_equal(a.batch.columns, left, b.batch.columns, right)):
        # hashes of different rows collided: start over from the rows themselves
        return _build_collided(consolidate(concat((a.batch, b.batch))), key)
    if kept < n:
        source, weights = source[:kept].copy(), weights[:kept].copy()
        k, r = k[:kept].copy(), r[:kept].copy()
    picked = tuple(
        pick(x, y, source) for x, y in zip(a.batch.columns, b.batch.columns, strict=True)
    )
    return _indexed(k, r, Batch(a.batch.schema, picked, weights, True))
