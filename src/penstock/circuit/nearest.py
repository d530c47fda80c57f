"""The row next to a place among a key's rows in order.

    rows kept, in two runs   3+  7+ │ 7-  9+        before 9: 3, as 7 came and went; after 3: 9

A run's last row before a place may be taken back by another run, so more are read until one is
left. Cost: O(log n) a place, and the rows next to it that are gone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.circuit.dense import Ids
from penstock.circuit.ordering import RowOrder
from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch
from penstock.data.gather import concat, take_column
from penstock.state.ordered import OrderedSpine
from penstock.state.ranges import Places, beside

#: rows of a run that are looked at first, and how many times as many each time after
_FIRST, _MORE = 1, 8


def nearest(
    spine: OrderedSpine, order: RowOrder, keys: Sequence[Column], at: Places, *, ahead: bool
) -> tuple[Ids, Batch]:
    """For row i of `keys` the last row below at[i], or (`ahead`) the first one above it: (position
    in rows or -1, rows)."""
    found_at = np.full(len(at), -1, np.int64)
    parts = [empty_batch(spine.schema)]
    left, width, count = np.arange(len(at)), _FIRST, 0
    while len(left):
        mine = tuple(take_column(k, left) for k in keys)
        needle, rows, complete = beside(spine, mine, at.take(left), width, ahead=ahead)
        found = order.settled(needle, rows)
        edge = np.ones(len(found.place), bool)
        if ahead:
            edge[1:] = found.place[1:] != found.place[:-1]
        else:
            edge[:-1] = found.place[1:] != found.place[:-1]
        chosen = np.flatnonzero(edge)
        found_at[left[found.place[chosen]]] = count + chosen
        parts.append(found.rows)
        count += len(found.rows)
        complete[found.place[chosen]] = True
        left = left[~complete]
        width *= _MORE
    return found_at, concat(parts)
