"""The best row of a group under retractions: MIN, MAX, ARG_MIN, ARG_MAX and MODE.

    MIN(x)        rows (x)       ordered by x               shows x
    ARG_MAX(v, c) rows (c, v)    ordered by c DESC, v       shows v
    MODE(x)       rows (n, x)    ordered by n DESC, x       shows x   (`penstock.circuit.ops.mode`)

Per group the best row is cached with its weight, beside all rows in a spine by group, in order.
While no row better than the best has a weight at all, a delta is settled against the cache alone:

    candidates, best first     7 (+1)   9 (cached, 2 copies; delta -1)   12 (+1)
                               └─ the first positive total is the new best

Where values have exact codes that is one pass over the delta; strings are sorted. Only when the
cached row is used up are the group's first rows read back from the spine. MIN(x) and MAX(x) of one
operator have one spine, which the second reads from its end. Retractions that come
before their insertion leave a negative total; a group with one before its best row is in debt and
is read back until that is settled.

Reference:   the first row of the group in the order of the columns; NULL without one.
Incremental: the delta against the best row that is known; the group's first rows if that went.
State: every row of every group, in a spine that MIN and MAX of one value share; one row and its
       weight per group.
Cost:  O(|delta|), the spine is sorted behind the scenes; O(log n) for groups whose best row went.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids, Serials, grown, moved
from penstock.circuit.ops.accumulate import Accumulator, GroupedRows, the_array
from penstock.data.batch import Array, Batch, Column
from penstock.data.gather import concat_columns, take_column
from penstock.data.hash import rows_equal
from penstock.data.heap import Heap, union
from penstock.data.kernel import kernel
from penstock.data.masks import all_set
from penstock.data.order import sort_indices, value_codes
from penstock.data.types import BIGINT, Field, Schema, SqlType
from penstock.state.changes import Arrays
from penstock.state.ordered import OrderedSpine
from penstock.state.parts import Part

_GROUP = BIGINT.with_nullable(False)
_EMPTY, _OWES, _STALE = 0, 1, 2
#: values per run that are looked at first when a group is read back
_FIRST_LOOK = 4


class Extremum(Accumulator):
    """Rows of `columns`, best first by `descending` of each in turn (NULL is the smallest, or with
    `nulls_last` never better than a value); shows column `shown` of the best, as `result`.
    `opposite`: another, whose rows are the same, none of them NULL, and whose order is the opposite
    one."""

    def __init__(
        self,
        columns: Sequence[SqlType],
        descending: Sequence[bool],
        result: SqlType,
        shown: int = 0,
        args: Sequence[int] | None = None,
        *,
        nulls_last: bool = False,
        opposite: Extremum | None = None,
    ) -> None:
        self._args = tuple(range(len(columns)) if args is None else args)
        self.result = result
        self._shown = shown
        self._directions = tuple((down, not down and not nulls_last) for down in descending)
        self._is_opposite = opposite is not None
        self._rows: _Rows = _Rows(columns, self._directions) if opposite is None else opposite._rows
        self._best = tuple(Cells(t) for t in columns)
        self._codes: npt.NDArray[np.uint64] | None = None
        if not any(t.is_view for t in columns):
            width = sum(t.nullable + (2 if t.is_wide else 1) for t in columns)
            self._codes = np.zeros((16, width), dtype=np.uint64)
        self._weight = np.zeros(16, dtype=np.int64)
        self._debt = np.zeros(16, dtype=np.uint8)
        #: scratch of `_pass`
        self._row = np.full(16, -1, dtype=np.int64)

    def reserve(self, groups: int) -> None:
        if not self._is_opposite:
            self._rows.serials.reserve(groups)
        for cells in self._best:
            cells.reserve(groups)
        if self._codes is not None:
            self._codes = grown(self._codes, groups)
        self._weight = grown(self._weight, groups)
        self._debt = grown(self._debt, groups)

    def arrays(self) -> Arrays:
        best = {f"best{i}": cells.column() for i, cells in enumerate(self._best)}
        of_groups: Arrays = {"weight": self._weight, "debt": self._debt}
        serials: Arrays = {} if self._is_opposite else {"serial": self._rows.serials.array()}
        return {**of_groups, **serials, **best}

    def load(self, arrays: Arrays) -> None:
        self._weight, self._debt = the_array(arrays["weight"]), the_array(arrays["debt"])
        if not self._is_opposite:
            self._rows.serials.load(the_array(arrays["serial"]))
        best = [arrays[f"best{i}"] for i in range(len(self._best))]
        columns = [c for c in best if isinstance(c, Column)]
        for cells, column in zip(self._best, columns, strict=True):
            cells.load(column)
        if self._codes is not None:
            self._codes = _row_codes(columns, self._directions)

    def parts(self) -> Mapping[str, Part]:
        return {} if self._is_opposite else {"values": self._rows.spine}

    @property
    def can_move(self) -> bool:
        return True

    def in_use(self, groups: int) -> npt.NDArray[np.bool_]:
        used: npt.NDArray[np.bool_] = (self._weight[:groups] != 0) | (self._debt[:groups] != 0)
        return used

    def move(self, old: Ids, new: Ids) -> None:
        if not self._is_opposite:
            self._rows.move(old)
        for cells in self._best:
            cells.move(old, new)
        if self._codes is not None:
            self._codes = moved(self._codes, old, new)
        self._weight = moved(self._weight, old, new)
        self._debt = moved(self._debt, old, new)

    def add(self, rows: GroupedRows) -> None:
        values = tuple(rows.args[a] for a in self._args)
        self.add_rows(rows.groups, rows.weights, values, of=rows.groups)

    def add_rows(
        self,
        groups: Ids,
        weights: npt.NDArray[np.int64],
        values: Sequence[Column],
        of: object = None,
    ) -> None:
        """Row i, of `values`, in group groups[i]. `of`: the batch, for whoever has the same."""
        if not weights.all():
            counted = np.flatnonzero(weights)
            groups, weights = groups[counted], weights[counted]
            values = [take_column(v, counted) for v in values]
        if not len(weights):
            return
        types = self._rows.spine.schema.types[1:]
        typed = [
            Column(t, v.values, v.valid if t.nullable else None, v.heaps)
            for v, t in zip(values, types, strict=True)
        ]
        self._rows.insert(groups, typed, weights, of)
        if self._codes is not None:
            stale = self._pass(self._codes, groups, weights, typed)
        else:
            stale = self._sort(groups, weights, typed)
        if len(stale):
            self._read_back(stale)

    def read(self, groups: Ids) -> Column:
        there = self._weight[groups] > 0
        column = self._best[self._shown].take(groups)
        valid = there.astype(np.uint8) if column.valid is None else column.valid & there
        values = column.values
        is_valid = all_set(valid)
        if not is_valid:
            values[valid == 0] = 0
        return Column(self.result, values, None if is_valid else valid, column.heaps)

    def has_rows(self, groups: Ids) -> npt.NDArray[np.bool_]:
        """Whether each group has a row."""
        there: npt.NDArray[np.bool_] = self._weight[groups] > 0
        return there

    def best(self, groups: Ids) -> tuple[Column, ...]:
        """All columns of the best row of each group; of one without rows anything."""
        return tuple(cells.take(groups) for cells in self._best)

    def state_rows(self) -> int:
        return 0 if self._is_opposite else len(self._rows.spine)

    def _pass(
        self,
        codes: npt.NDArray[np.uint64],
        groups: Ids,
        weights: npt.NDArray[np.int64],
        values: Sequence[Column],
    ) -> Ids:
        """Settle a delta in one pass; the groups whose best row it used up."""
        given = _row_codes(values, self._directions)
        new, stale = np.empty(len(groups), np.int64), np.empty(len(groups), np.int64)
        counts = np.zeros(2, np.int64)
        self._row = grown(self._row, len(self._weight), fill=-1)
        _advance(
            groups, weights, given, codes, self._weight, self._debt, self._row, new, stale, counts
        )
        improved = new[: counts[0]]
        rows = self._row[improved]
        self._row[improved] = -1
        for cells, column in zip(self._best, values, strict=True):
            cells.put(improved, take_column(column, rows))
        return stale[: counts[1]]

    def _sort(self, groups: Ids, weights: npt.NDArray[np.int64], values: Sequence[Column]) -> Ids:
        """Settle a delta by sorting it with the cached rows; the groups it used up."""
        touched, slots = np.unique(groups, return_inverse=True)
        has_best = self._weight[touched] > 0
        cached = np.flatnonzero(has_best)
        known = [cells.take(touched[cached]) for cells in self._best]
        stale = self._settle(
            touched,
            np.concatenate((cached, slots)),
            [concat_columns(pair) for pair in zip(known, values, strict=True)],
            np.concatenate((self._weight[touched[cached]], weights)),
            has_best,
            len(cached),
        )
        return touched[stale]

    def _read_back(self, groups: Ids) -> None:
        """Find the best rows of `groups` among all their rows, a few of the first at first."""
        width = _FIRST_LOOK
        while len(groups):
            self._weight[groups] = 0
            self._debt[groups] = 0
            slots, found, complete = self._rows.first(groups, width, from_end=self._is_opposite)
            stale = self._settle(groups, slots, found.columns[1:], found.weights, ~complete)
            groups = groups[stale]
            width *= 8

    def _settle(
        self,
        groups: Ids,
        slots: Ids,
        values: Sequence[Column],
        weights: npt.NDArray[np.int64],
        has_more: npt.NDArray[np.bool_],
        cached: int = 0,
    ) -> Ids:
        """Choose the best of the candidates for each of `groups` (named by `slots`); the first
        `cached` candidates are cached best rows. `has_more[slot]`: there may be further rows
        behind the candidates. Returns the slots that the candidates cannot settle.
        """
        ranks = sort_indices((Column(_GROUP, slots), *values), ((False, False), *self._directions))
        ordered = [take_column(v, ranks) for v in values]
        same = np.zeros(len(ranks), dtype=np.uint8)
        below = np.arange(1, len(ranks))
        same[1:] = rows_equal(ordered, below - 1, ordered, below)
        best = np.full(len(groups), -1, dtype=np.int64)
        total = np.zeros(len(groups), dtype=np.int64)
        state = np.where(self._debt[groups] == _OWES, _STALE, _EMPTY).astype(np.uint8)
        _choose(
            slots[ranks], weights[ranks], same, (ranks < cached).astype(np.uint8),
            has_more, best, total, state,
        )  # fmt: skip
        settled = np.flatnonzero(state != _STALE)
        chosen = groups[settled]
        self._debt[chosen] = state[settled] & _OWES
        self._weight[chosen] = total[settled]
        found = settled[best[settled] >= 0]
        chosen, rows = groups[found], [take_column(v, best[found]) for v in ordered]
        for cells, column in zip(self._best, rows, strict=True):
            cells.put(chosen, column)
        if self._codes is not None:
            self._codes[chosen] = _row_codes(rows, self._directions)
        return np.flatnonzero(state == _STALE)


class _Rows:
    """All rows of every group in an order, for one accumulator or for two of opposite orders, in
    one thread or two: both take in a batch before either sees the next."""

    def __init__(self, columns: Sequence[SqlType], directions: Sequence[tuple[bool, bool]]) -> None:
        fields = tuple(Field(f"value {i}", t) for i, t in enumerate(columns))
        order = tuple((1 + i, *d) for i, d in enumerate(directions))
        rows = Schema((Field("group", _GROUP), *fields))
        self.spine = OrderedSpine(rows, (0,), order, packed=True)
        #: what groups are called in the spine
        self.serials = Serials()
        #: the batch that came last
        self._last: object = None
        self._lock = threading.Lock()

    def insert(
        self, groups: Ids, values: Sequence[Column], weights: npt.NDArray[np.int64], of: object
    ) -> None:
        """Add the rows of the batch `of`, unless the other has."""
        names = Column(_GROUP, self.serials.of(groups))
        with self._lock:
            if of is None or of is not self._last:
                self._last = of
                self.spine.insert_later(Batch(self.spine.schema, (names, *values), weights))

    def first(
        self, groups: Ids, width: int, *, from_end: bool
    ) -> tuple[Ids, Batch, npt.NDArray[np.bool_]]:
        """As `OrderedSpine.prefixes`."""
        names = Column(_GROUP, self.serials.of(groups))
        with self._lock:
            return self.spine.prefixes((names,), len(groups), width, from_end=from_end)

    def move(self, old: Ids) -> None:
        """Of the groups only `old` are left; rows of others go as runs are merged."""
        self.serials.move(old)
        dropped = self.serials.of_dropped()
        self.spine.is_over = lambda rows: dropped(rows.columns[0].values)


class Cells:
    """One value per group."""

    def __init__(self, type: SqlType) -> None:
        self._type = type
        self._values: Array = np.zeros((16, 2) if type.is_wide else 16, dtype=type.dtype)
        self._valid = np.zeros(16, dtype=np.uint8) if type.nullable else None
        self._heaps: tuple[Heap, ...] = ()

    def reserve(self, groups: int) -> None:
        self._values = grown(self._values, groups)
        if self._valid is not None:
            self._valid = grown(self._valid, groups)

    def move(self, old: Ids, new: Ids) -> None:
        self._values = moved(self._values, old, new)
        if self._valid is not None:
            self._valid = moved(self._valid, old, new)

    def put(self, groups: Ids, column: Column) -> None:
        self._values[groups] = column.values
        if self._valid is not None:
            self._valid[groups] = 1 if column.valid is None else column.valid
        if self._type.is_view:
            self._keep(column.heaps)

    def column(self) -> Column:
        return Column(self._type, self._values, self._valid, self._heaps)

    def load(self, column: Column) -> None:
        self._values, self._heaps = column.values, column.heaps
        if self._valid is not None:
            self._valid = np.ones(len(column), np.uint8) if column.valid is None else column.valid

    def take(self, groups: Ids) -> Column:
        valid = None if self._valid is None else self._valid[groups]
        if valid is not None and all_set(valid):
            valid = None
        return Column(self._type, self._values[groups], valid, self._heaps)

    def _keep(self, heaps: tuple[Heap, ...]) -> None:
        self._heaps = union((self._heaps, heaps))
        if len(self._heaps) > 64:
            long = self._values[(self._values[:, 0] & np.uint64(0xFFFF_FFFF)) > 12]
            named = set(np.unique(long[:, 1] & np.uint64(0xFFFF_FFFF)).tolist())
            self._heaps = tuple(h for h in self._heaps if h.id in named)


def _row_codes(
    columns: Sequence[Column], directions: Sequence[tuple[bool, bool]]
) -> npt.NDArray[np.uint64]:
    """uint64[n, w]: words whose order is exactly that of the rows, best first."""
    words: list[npt.NDArray[np.uint64]] = []
    for column, (descending, nulls_first) in zip(columns, directions, strict=True):
        if column.type.nullable:
            is_null = np.zeros(len(column), bool) if column.valid is None else column.valid == 0
            words.append((is_null ^ nulls_first).astype(np.uint64))
        words += [~w if descending else w for w in value_codes(column)]
    if len(words) == 1:
        return words[0].reshape(-1, 1)
    return np.stack(words, axis=1)


@kernel(
    "void(int64[::1], int64[::1], uint64[:, ::1], uint64[:, ::1], int64[::1], uint8[::1], "
    "int64[::1], int64[::1], int64[::1], int64[::1])"
)
def _advance(
    groups: Any, weights: Any, given: Any, codes: Any, weight: Any, debt: Any, row: Any, new: Any,
    stale: Any, counts: Any,
) -> None:  # fmt: skip
    """Take rows with codes `given` in, insertions before retractions: `codes`, `weight` and
    row[g], the delta's row that is the best of group g now. new[:counts[0]]: groups with such a
    row; stale[:counts[1]]: groups that have to be read back (debt[g] is _STALE meanwhile)."""
    width = given.shape[1]
    for insertions in (True, False):
        for i in range(groups.shape[0]):
            w = weights[i]
            if (w > 0) != insertions:
                continue
            g = groups[i]
            if debt[g] == _STALE:
                continue
            if debt[g] == _EMPTY and weight[g] > 0:
                order = 0  # of the given row: < 0 better than the best, 0 the same
                for j in range(width):
                    if given[i, j] != codes[g, j]:
                        order = -1 if given[i, j] < codes[g, j] else 1
                        break
                if order > 0:
                    continue
                if order == 0:
                    weight[g] += w
                    if weight[g] > 0:
                        continue
            if insertions and debt[g] == _EMPTY:
                weight[g] = w
                for j in range(width):
                    codes[g, j] = given[i, j]
                if row[g] < 0:
                    new[counts[0]] = g
                    counts[0] += 1
                row[g] = i
            else:
                debt[g] = _STALE
                stale[counts[1]] = g
                counts[1] += 1


@kernel(
    "void(int64[::1], int64[::1], uint8[::1], uint8[::1], boolean[::1], int64[::1], "
    "int64[::1], uint8[::1])"
)
def _choose(
    slots: Any,
    weights: Any,
    same: Any,
    is_cached: Any,
    has_more: Any,
    best: Any,
    total: Any,
    state: Any,
) -> None:
    """Candidates are sorted by slot, best row first; same[i]: row i equals row i - 1.

    `state` comes in as _EMPTY or _STALE and gains _OWES for a negative total before the best
    row; it becomes _STALE where the cached row is used up, because what comes after it is
    not among the candidates.
    """
    rows = slots.shape[0]
    i = 0
    while i < rows:
        slot = slots[i]
        sum_ = weights[i]
        reached = is_cached[i] != 0
        start = i
        i += 1
        while i < rows and slots[i] == slot and same[i]:
            sum_ += weights[i]
            reached = reached or is_cached[i] != 0
            i += 1
        if best[slot] >= 0 or state[slot] == _STALE:
            continue
        if sum_ > 0:
            best[slot] = start
            total[slot] = sum_
        elif reached:
            state[slot] = _STALE
        elif sum_ < 0:
            state[slot] |= _OWES
    for slot in range(state.shape[0]):
        if has_more[slot] and best[slot] < 0:
            state[slot] = _STALE
