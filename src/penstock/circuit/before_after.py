"""A few rows as they were before a change and as they are after it, put in order once.

    rows known │ what came ──sort──► as they were, by place │ as they are, by place
                                              └──── pairs ────────┘
                            what has no twin with the same values is the change

A row that stays is in both; whoever evaluates something on all of them compares the two values, and
has the change without adding anything up.

Not here: what is evaluated (`penstock.circuit.windows`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from penstock.circuit.dense import Ids
from penstock.circuit.ordering import RowOrder
from penstock.data.batch import Batch, Column
from penstock.data.hash import rows_equal
from penstock.data.kernel import kernel


@dataclass(frozen=True, slots=True)
class Both:
    """Distinct rows of positive weight in order, the first `were` of them as they were, the others
    as they are. Entry i is row row[i] of `rows`; `place` ascends, and no place of before is one of
    after; `peer` numbers the sets of rows that the order does not tell apart, over all places;
    `kind` is the same of equal rows."""

    rows: Batch
    row: Ids
    place: Ids
    peer: Ids
    weights: Ids
    kind: Ids
    were: int

    @staticmethod
    def of(order: RowOrder, places: Ids, rows: Batch, known: int, count: int) -> Both:
        """Row i is of place places[i], of `count`; the first `known` were there before, the others
        came. What is of place p then is in place p + count after."""
        ranks, peers, same = order.sort(places, rows)
        row, place, peer, weights, kind = np.empty((5, 2 * len(ranks)), np.int64)
        were, n = _add_up_both(
            ranks, peers, same, places, rows.weights, known, count, row, place, peer, weights, kind
        )
        return Both(rows, row[:n], place[:n], peer[:n], weights[:n], kind[:n], were)

    def difference(self, values: Sequence[Column]) -> tuple[Ids, Ids]:
        """(entries, weights) of the change of the rows with `values`, one an entry, beside them: no
        two are equal, no weight is 0."""
        n = len(self.row)
        was, now = np.empty(n, np.int64), np.empty(n, np.int64)
        pairs = _pair(self.kind, self.were, was, now)
        was, now = was[:pairs], now[:pairs]
        same = rows_equal(values, was, values, now)
        at, change = np.empty(n, np.int64), np.empty(n, np.int64)
        count = _differ(self.weights, self.were, was, now, same, at, change)
        return at[:count], change[:count]


@kernel(
    "UniTuple(int64, 2)(int64[::1], uint8[::1], uint8[::1], int64[::1], int64[::1], int64, int64, "
    "int64[::1], int64[::1], int64[::1], int64[::1], int64[::1])"
)
def _add_up_both(
    ranks: Any, peers: Any, same: Any, places: Any, weights: Any, known: Any, count: Any,
    row: Any, place: Any, peer: Any, totals: Any, kind: Any,
) -> Any:  # fmt: skip
    """The entries of `Both`: how many there were before, and how many there are in all."""
    n = ranks.shape[0]
    at, were = 0, 0
    # peers are numbered without those that are gone: DENSE_RANK counts
    number = -1
    for half in range(2):
        is_numbered = False
        kinds = 0
        i = 0
        while i < n:
            first = ranks[i]
            is_numbered = is_numbered and peers[i] != 0
            total = 0
            is_start = True
            while is_start or (i < n and same[i] != 0):
                is_start = False
                if half == 1 or ranks[i] < known:
                    total += weights[ranks[i]]
                i += 1
            if total > 0:
                if not is_numbered:
                    number, is_numbered = number + 1, True
                row[at], place[at] = first, places[first] + half * count
                peer[at], totals[at], kind[at] = number, total, kinds
                at += 1
            kinds += 1
        if half == 0:
            were = at
    return were, at


@kernel("int64(int64[::1], int64, int64[::1], int64[::1])")
def _pair(kind: Any, were: Any, was: Any, now: Any) -> Any:
    """Entries was[i] and now[i] are of one kind, before `were` and after; how many such there are.
    Kinds ascend in both halves."""
    count, j = 0, were
    for i in range(were):
        while j < kind.shape[0] and kind[j] < kind[i]:
            j += 1
        if j < kind.shape[0] and kind[j] == kind[i]:
            was[count], now[count] = i, j
            count += 1
    return count


@kernel("int64(int64[::1], int64, int64[::1], int64[::1], uint8[::1], int64[::1], int64[::1])")
def _differ(weights: Any, were: Any, was: Any, now: Any, same: Any, at: Any, change: Any) -> Any:
    """The entries `at` which there is a `change`: of pairs that are the `same` that of the weight;
    how many."""
    n = weights.shape[0]
    total = np.empty(n, np.int64)
    for i in range(n):
        total[i] = -weights[i] if i < were else weights[i]
    for p in range(was.shape[0]):
        if same[p] != 0:
            total[now[p]] += total[was[p]]
            total[was[p]] = 0
    count = 0
    for i in range(n):
        at[count], change[count] = i, total[i]
        count += total[i] != 0
    return count
