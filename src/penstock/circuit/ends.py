"""Who has a partner that differs in a value, where keys have many rows: by the ends of each key.

    EXISTS (SELECT * FROM r WHERE r.k = l.k AND r.x <> l.x)

    r of one key, in order of x     3  3  7 … 9      3 and 9: every l has a partner that differs
                                    3  3  3          3 and 3: every l but those with 3

The least and the greatest value of a key decide it for all of its rows, so a change of rows between
them is none. When they change, rows are others that have the one value there was, or there is, and
all rows of a key of which the first partner came or the last one went.

Both sides are kept in order of the value within each key (`penstock.state.banded`), once some key
has had many rows; until then the join compares all rows of a key.

Cost: O(runs · log n) a key of the deltas and a row of the left one, besides the rows that change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids
from penstock.circuit.ordering import RowOrder
from penstock.circuit.spec import Order
from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch
from penstock.data.gather import concat, take, take_column
from penstock.data.hash import rows_equal
from penstock.data.masks import positions
from penstock.state.banded import BandedSpine
from penstock.state.ordered import Fresh, OrderedSpine
from penstock.state.ranges import Places, beside, between

Mask = npt.NDArray[np.bool_]
#: whether row i of own rows and row i of others pass the condition
Passes = Callable[[Batch, Batch], np.ndarray]

#: rows at an end of a run that are looked at first, and how many times as many each time after
_FIRST, _MORE = 1, 8


@dataclass(frozen=True, slots=True)
class KeyEnds:
    """Of each of some keys the rows at either end: the position in `low` and `high`, -1 without."""

    low_at: Ids
    low: Batch
    high_at: Ids
    high: Batch

    @property
    def there(self) -> Mask:
        return self.low_at >= 0

    def values(self, column: int) -> tuple[Column, Column]:
        """(the least, the greatest) value of the keys that are there."""
        at = positions(self.there)
        return (
            take_column(self.low.columns[column], self.low_at[at]),
            take_column(self.high.columns[column], self.high_at[at]),
        )


class Ends:
    """Column `own` of the rows that are asked about and column `other` of their partners, of one
    type and without NULLs, differ."""

    def __init__(self, own: int, other: int) -> None:
        self.own, self.other = own, other

    def of(
        self, spine: BandedSpine, delta: Batch | None, keys: Sequence[Column], n: int
    ) -> KeyEnds:
        """Of the `n` rows of `keys`, with the partners in `spine` and in `delta`."""
        runs = [run for run in spine.runs() if len(run)]
        rows: OrderedSpine | Fresh = spine
        if delta is not None:
            fresh = spine.run_of(delta)
            rows = Fresh(spine.schema, spine.key, fresh, tuple(runs))  # type: ignore[arg-type]
        order = RowOrder(len(spine.schema), (Order(self.other),))
        low = self._end(rows, order, keys, n, is_last=False)
        high = self._end(rows, order, keys, n, is_last=True)
        return KeyEnds(*low, *high)

    def _end(
        self,
        spine: OrderedSpine | Fresh,
        order: RowOrder,
        keys: Sequence[Column],
        n: int,
        *,
        is_last: bool,
    ) -> tuple[Ids, Batch]:
        found_at = np.full(n, -1, np.int64)
        parts = [empty_batch(spine.schema)]
        left, width, count = np.arange(n), _FIRST, 0
        while len(left):
            mine = tuple(take_column(k, left) for k in keys)
            needle, rows, complete = beside(spine, mine, None, width, ahead=not is_last)
            settled = order.settled(needle, rows)
            edge = np.ones(len(settled.place), bool)
            one, other = (slice(None, -1), slice(1, None)) if is_last else (
                slice(1, None), slice(None, -1))  # fmt: skip
            edge[one] = settled.place[one] != settled.place[other]
            chosen = positions(edge)
            found_at[left[settled.place[chosen]]] = count + np.arange(len(chosen))
            parts.append(take(settled.rows, chosen))
            count += len(chosen)
            complete[settled.place[chosen]] = True
            left = left[~complete]
            width *= _MORE
        return found_at, concat(parts)

    def holds(self, rows: Batch, at: Ids, ends: KeyEnds, passes: Passes) -> Mask:
        """Whether row i of `rows`, of key at[i], has a partner."""
        found = np.zeros(len(rows), bool)
        some = positions(ends.there[at])
        mine = take(rows, some)
        for places, others in ((ends.low_at, ends.low), (ends.high_at, ends.high)):
            found[some] |= passes(mine, take(others, places[at[some]])).astype(bool)
        return found

    def changes(
        self,
        own: BandedSpine,
        other: BandedSpine,
        delta: Batch,
        keys: Sequence[Column],
        n: int,
        passes: Passes,
    ) -> Iterator[tuple[Batch, Mask, Mask]]:
        """Rows of `own` that may come to have or to lack a partner by the other side's `delta`,
        whose `n` keys are `keys`: (rows, before, after)."""
        was, now = self.of(other, None, keys, n), self.of(other, delta, keys, n)
        is_other = was.there != now.there
        both = positions(was.there & now.there)
        for a, a_at, b, b_at in (
            (was.low, was.low_at, now.low, now.low_at),
            (was.high, was.high_at, now.high, now.high_at),
        ):
            is_other[both] |= ~self._same(a, a_at[both], b, b_at[both])
        emptied = positions(is_other & ~(was.there & now.there))
        for ids, rows in (
            self._of_keys(own, keys, emptied),
            self._alike(own, keys, positions(is_other & was.there & now.there), (was, now)),
        ):
            if len(rows):
                before, after = (self.holds(rows, ids, ends, passes) for ends in (was, now))
                yield rows, before, after

    def _same(self, a: Batch, a_at: Ids, b: Batch, b_at: Ids) -> Mask:
        """Whether row a_at[i] of `a` has the value of row b_at[i] of `b`."""
        same = rows_equal((a.columns[self.other],), a_at, (b.columns[self.other],), b_at)
        return np.asarray(same, bool)

    def _of_keys(self, own: BandedSpine, keys: Sequence[Column], ids: Ids) -> tuple[Ids, Batch]:
        at, rows = own.probe(tuple(take_column(k, ids) for k in keys), len(ids))
        return ids[at], rows

    def _alike(
        self, own: BandedSpine, keys: Sequence[Column], ids: Ids, ends: tuple[KeyEnds, ...]
    ) -> tuple[Ids, Batch]:
        """The rows of keys `ids` with the one value that some of `ends` have."""
        of, c, d = [], [], []
        type = own.schema.types[self.own]
        for e in ends:
            single = ids[self._same(e.low, e.low_at[ids], e.high, e.high_at[ids])]
            value = take_column(e.low.columns[self.other], e.low_at[single])
            words = own.words_of((Column(type, value.values, None, value.heaps),))
            of.append(single)
            c.append(words[0])
            d.append(words[1])
        key, places = np.concatenate(of), Places(np.concatenate(c), np.concatenate(d))
        # two values may share a place
        _, once = np.unique(np.stack((key.astype(np.uint64), places.c, places.d)), axis=1,
                            return_index=True)  # fmt: skip
        key, places = key[once], places.take(once)
        at, rows = between(own, tuple(take_column(k, key) for k in keys), places, places)
        return key[at], rows
