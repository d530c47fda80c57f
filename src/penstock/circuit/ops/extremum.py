"""MIN and MAX under retractions.

Per group the best value is cached with its weight, beside all values in a spine by group, in
order. While no value better than the best has a weight at all, a delta is settled against the
cache alone:

    candidates, best first     7 (+1)   9 (cached, 2 copies; delta -1)   12 (+1)
                               └─ the first positive total is the new best

Only when the cached value is used up are the group's first values read back from the spine.
Retractions that come before their insertion leave a negative total; a group with one before its
best value is in debt and is read back until that is settled.

State: every value of every group, in a spine; one value and its weight per group.
Cost:  one sort of the delta; O(log n) for groups whose best value went away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from penstock.circuit.dense import Ids, grown
from penstock.circuit.ops.accumulate import Accumulator, GroupedRows
from penstock.data.batch import Batch, Column
from penstock.data.gather import concat_columns, take_column
from penstock.data.hash import rows_equal
from penstock.data.heap import Heap, union
from penstock.data.kernel import kernel
from penstock.data.order import sort_indices
from penstock.data.types import BIGINT, Field, Schema, SqlType
from penstock.state.changes import Arrays
from penstock.state.ordered import OrderedSpine
from penstock.state.parts import Part

_GROUP = BIGINT.with_nullable(False)
_EMPTY, _OWES, _STALE = 0, 1, 2
#: values per run that are looked at first when a group is read back
_FIRST_LOOK = 4


class Extremum(Accumulator):
    """MIN, or MAX when `descending`."""

    def __init__(self, argument: SqlType, result: SqlType, descending: bool) -> None:
        self._type = argument.with_nullable(False)
        self._result = result
        self._descending = descending
        schema = Schema((Field("group", _GROUP), Field("value", self._type)))
        self._spine = OrderedSpine(schema, (0,), ((1, descending, False),))
        shape = (16, 2) if argument.is_wide else (16,)
        self._best = np.zeros(shape, dtype=argument.dtype)
        self._weight = np.zeros(16, dtype=np.int64)
        self._debt = np.zeros(16, dtype=np.uint8)
        self._heaps: tuple[Heap, ...] = ()

    def reserve(self, groups: int) -> None:
        self._best = grown(self._best, groups)
        self._weight = grown(self._weight, groups)
        self._debt = grown(self._debt, groups)

    def arrays(self) -> Arrays:
        best = Column(self._type, self._best, None, self._heaps)
        return {"best": best, "weight": self._weight, "debt": self._debt}

    def load(self, arrays: Arrays) -> None:
        best, weight, debt = arrays["best"], arrays["weight"], arrays["debt"]
        assert isinstance(best, Column)
        assert isinstance(weight, np.ndarray) and isinstance(debt, np.ndarray)
        self._best, self._heaps, self._weight, self._debt = best.values, best.heaps, weight, debt

    def parts(self) -> Mapping[str, Part]:
        return {"values": self._spine}

    def add(self, rows: GroupedRows) -> None:
        counted = np.flatnonzero(rows.weights)
        if not len(counted):
            return
        weights = rows.weights[counted]
        (argument,) = rows.args
        argument = take_column(argument, counted)
        values = Column(self._type, argument.values, None, argument.heaps)
        groups = Column(_GROUP, rows.groups[counted])
        self._spine.insert(Batch(self._spine.schema, (groups, values), weights))

        touched = rows.touched
        cached = np.flatnonzero(self._weight[touched] > 0)
        stale = self._settle(
            touched,
            np.concatenate((cached, rows.slots[counted])),
            concat_columns([self._cached(touched[cached]), values]),
            np.concatenate((self._weight[touched[cached]], weights)),
            self._weight[touched] > 0,
            len(cached),
        )
        if len(stale):
            self._read_back(touched[stale])

    def read(self, groups: Ids) -> Column:
        valid = (self._weight[groups] > 0).astype(np.uint8)
        values = self._best[groups]
        if not valid.all():
            values[valid == 0] = 0
        return Column(self._result, values, None if valid.all() else valid, self._heaps)

    def state_rows(self) -> int:
        return len(self._spine)

    def _cached(self, groups: Ids) -> Column:
        return Column(self._type, self._best[groups], None, self._heaps)

    def _read_back(self, groups: Ids) -> None:
        """Find the best values of `groups` among all their values, a few of the first at first."""
        width = _FIRST_LOOK
        while len(groups):
            self._weight[groups] = 0
            self._debt[groups] = 0
            slots, found, complete = self._spine.prefixes(
                (Column(_GROUP, groups),), len(groups), width
            )
            stale = self._settle(groups, slots, found.columns[1], found.weights, ~complete)
            groups = groups[stale]
            width *= 8

    def _settle(
        self,
        groups: Ids,
        slots: Ids,
        values: Column,
        weights: np.ndarray,
        has_more: np.ndarray,
        cached: int = 0,
    ) -> Ids:
        """Choose the best of the candidates for each of `groups` (named by `slots`); the first
        `cached` candidates are cached best values. `has_more[slot]`: there may be further values
        behind the candidates. Returns the slots that the candidates cannot settle.
        """
        ranks = sort_indices(
            (Column(_GROUP, slots), values), ((False, False), (self._descending, False))
        )
        ordered = take_column(values, ranks)
        same = np.zeros(len(ranks), dtype=np.uint8)
        below = np.arange(1, len(ranks))
        same[1:] = rows_equal((ordered,), below - 1, (ordered,), below)
        best = np.full(len(groups), -1, dtype=np.int64)
        total = np.zeros(len(groups), dtype=np.int64)
        state = np.where(self._debt[groups], _STALE, _EMPTY).astype(np.uint8)
        _choose(
            slots[ranks], weights[ranks], same, (ranks < cached).astype(np.uint8),
            has_more, best, total, state,
        )  # fmt: skip
        settled = np.flatnonzero(state != _STALE)
        chosen = groups[settled]
        self._debt[chosen] = state[settled] & _OWES
        self._weight[chosen] = total[settled]
        found = settled[best[settled] >= 0]
        self._best[groups[found]] = ordered.values[best[found]]
        self._keep_heaps(values.heaps)
        return np.flatnonzero(state == _STALE)

    def _keep_heaps(self, heaps: tuple[Heap, ...]) -> None:
        if not self._type.is_view:
            return
        self._heaps = union((self._heaps, heaps))
        if len(self._heaps) > 64:
            views = self._best[self._weight > 0]
            long = views[(views[:, 0] & np.uint64(0xFFFF_FFFF)) > 12]
            named = set(np.unique(long[:, 1] & np.uint64(0xFFFF_FFFF)).tolist())
            self._heaps = tuple(h for h in self._heaps if h.id in named)


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
    """Candidates are sorted by slot, best value first; same[i]: i's value equals i - 1's.

    `state` comes in as _EMPTY or _STALE and gains _OWES for a negative total before the best
    value; it becomes _STALE where the cached value is used up, because what comes after it is
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
