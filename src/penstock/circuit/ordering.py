"""Rows of several places (partitions, segments) put in order, exactly.

sort      by place, then the order's columns, then all others, so that equal rows are neighbours
settled   each row once with its total weight, the ones with none or less gone
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids
from penstock.circuit.spec import Order
from penstock.data.batch import Batch, Column
from penstock.data.gather import take_column
from penstock.data.hash import rows_equal
from penstock.data.kernel import kernel
from penstock.data.masks import all_set, positions
from penstock.data.order import sort_and_compare, sort_indices
from penstock.data.types import BIGINT

_PLACE = BIGINT.with_nullable(False)
Flags = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Settled:
    """Distinct rows of positive weight in order. `place` ascends; `peer` numbers the sets of rows
    that the order does not tell apart, over all places. `owed`: positions, in what was settled, of
    rows that more was taken back of than came, and by how much (negative)."""

    rows: Batch
    place: Ids
    peer: Ids
    owed: tuple[Ids, Ids]


class RowOrder:
    """The order of rows of `width` columns; ties beyond `order` are broken by the others, which
    ascend unless `rest` says how."""

    def __init__(
        self, width: int, order: tuple[Order, ...], rest: tuple[Order, ...] | None = None
    ) -> None:
        named = {o.column for o in order}
        self.order = order
        self.rest = tuple(Order(c) for c in range(width) if c not in named)
        if rest is not None:
            self.rest = rest

    def reversed(self) -> RowOrder:
        """From the last row to the first."""
        order, rest = (
            tuple(Order(o.column, not o.descending, not o.nulls_first) for o in orders)
            for orders in (self.order, self.rest)
        )
        return RowOrder(0, order, rest)

    def then(self, columns: range) -> RowOrder:
        """The same of rows with more columns, which come last."""
        return RowOrder(0, self.order, (*self.rest, *map(Order, columns)))

    @property
    def directions(self) -> list[tuple[int, bool, bool]]:
        """All columns as `penstock.state.ordered` wants them."""
        return [(o.column, o.descending, o.nulls_first) for o in (*self.order, *self.rest)]

    def sort(self, places: Ids, rows: Batch) -> tuple[Ids, Flags, Flags]:
        """(positions in order; whether a row is a peer of the one before, of the same place and
        equal in the order's columns; whether it equals it altogether)."""
        columns = tuple(rows.columns[o.column] for o in self.order)
        directions = [(False, False), *((o.descending, o.nulls_first) for o in self.order)]
        place = Column(_PLACE, places)
        ranks, peers = sort_and_compare((place, *columns), directions)
        at = positions(peers)
        # mostly there are no peers, or they are a row and what takes it back
        if not self.rest or not len(at):
            return ranks, peers, peers
        others = tuple(rows.columns[o.column] for o in self.rest)
        if all_set(_equal(others, ranks, at)):
            return ranks, peers, peers
        # Cost: the remaining columns may be long strings; only ties are worth sorting by them
        ties = peers.copy()
        ties[:-1] |= peers[1:]
        tied = positions(ties)
        among = ranks[tied]
        set_of = Column(_PLACE, np.cumsum(1 - peers.astype(np.int64))[tied])
        rest = tuple(take_column(c, among) for c in others)
        directions = [(False, True), *((o.descending, o.nulls_first) for o in self.rest)]
        again = sort_indices((set_of, *rest), directions)
        ranks[tied] = among[again]
        same = np.zeros_like(peers)
        same[at] = _equal(others, ranks, at)
        return ranks, peers, same

    def settled(self, places: Ids, rows: Batch) -> Settled:
        """The sum of `rows`, row i of place places[i]."""
        ranks, peers, same = self.sort(places, rows)
        n = len(ranks)
        chosen, totals, place, peer = np.empty((4, n), np.int64)
        less, owed = np.empty(n, np.int64), np.empty(n, np.int64)
        count, owing = _add_up(
            ranks, peers, same, places, rows.weights, chosen, totals, place, peer, less, owed
        )
        found = tuple(take_column(c, chosen[:count]) for c in rows.columns)
        batch = Batch(rows.schema, found, totals[:count])
        return Settled(batch, place[:count], peer[:count], (less[:owing], owed[:owing]))


@kernel(
    "UniTuple(int64, 2)(int64[::1], uint8[::1], uint8[::1], int64[::1], int64[::1], int64[::1], "
    "int64[::1], int64[::1], int64[::1], int64[::1], int64[::1])"
)
def _add_up(
    ranks: Any, peers: Any, same: Any, places: Any, weights: Any, chosen: Any, totals: Any,
    place: Any, peer: Any, less: Any, owed: Any,
) -> Any:  # fmt: skip
    """What `settled` says of rows that lie in order of `ranks`: of those whose total is positive
    the first of its equals, `chosen`, its total, its place and its peers' number; of those whose
    total is negative the first and the total. How many of either there are."""
    n = ranks.shape[0]
    count, owing = 0, 0
    # peers are numbered without those that are gone: DENSE_RANK counts
    number, is_numbered = -1, False
    i = 0
    while i < n:
        first = i
        is_numbered = is_numbered and peers[i] != 0
        total = weights[ranks[i]]
        i += 1
        while i < n and same[i]:
            total += weights[ranks[i]]
            i += 1
        if total > 0:
            if not is_numbered:
                number, is_numbered = number + 1, True
            chosen[count], totals[count] = ranks[first], total
            place[count], peer[count] = places[ranks[first]], number
            count += 1
        elif total < 0:
            less[owing], owed[owing] = ranks[first], total
            owing += 1
    return count, owing


def _equal(columns: tuple[Column, ...], ranks: Ids, at: Ids) -> Flags:
    """Whether row ranks[i] equals the one before, for the i that are `at`."""
    return rows_equal(columns, ranks[at - 1], columns, ranks[at])
