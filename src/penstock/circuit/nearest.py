"""The row next to a place among a key's rows in order.

    rows kept, in two runs   3+  7+ │ 7-  9+        before 9: 3, as 7 came and went; after 3: 9

A run's last row before a place may be taken back by another run, so more are read until one is
left. Where most are, the words that runs are sorted by tell where that one lies
(`penstock.state.ranges.counted`); the rows from there on are read all the same, since only rows
tell what cancels out.

Cost: O(runs · log n) a place, and the rows next to it that are gone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.circuit.dense import Ids
from penstock.circuit.ordering import RowOrder
from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch
from penstock.data.gather import concat, take, take_column
from penstock.data.masks import positions
from penstock.state.ordered import OrderedSpine
from penstock.state.ranges import TOP, Places, beside, between, counted

#: rows of a run that are looked at first, and how many times as many each time after
_FIRST, _MORE = 1, 8


def nearest(
    spine: OrderedSpine, order: RowOrder, keys: Sequence[Column], at: Places, *, ahead: bool,
    are_many_gone: bool = False,
) -> tuple[Ids, Batch]:  # fmt: skip
    """For row i of `keys` the last row below at[i], or (`ahead`) the first one above it: (position
    in rows or -1, rows). `are_many_gone`: of the rows next to a place most were taken back, as
    where their values change with each step."""
    found_at = np.full(len(at), -1, np.int64)
    parts = [empty_batch(spine.schema)]
    left, width, count = np.arange(len(at)), _FIRST, 0
    told = counted(spine, keys, at, 1, ahead=ahead) if are_many_gone else None
    if told is not None:
        place, there = told
        left = positions(there)
    if told is not None and len(left):
        mine, near = tuple(take_column(k, left) for k in keys), place.take(left)
        beyond = _next_to(at.take(left), ahead=ahead)
        low, high = (beyond, near) if ahead else (near, beyond)
        settled = order.settled(*between(spine, mine, low, high))
        chosen = _edges(settled.place, first=ahead)
        found_at[left[settled.place[chosen]]] = np.arange(len(chosen))
        parts.append(take(settled.rows, chosen))
        count = len(chosen)
    # where there seems to be none, rows of equal hashes may hide one
    left = positions(found_at < 0)
    while len(left):
        mine = tuple(take_column(k, left) for k in keys)
        needle, rows, complete = beside(spine, mine, at.take(left), width, ahead=ahead)
        settled = order.settled(needle, rows)
        chosen = _edges(settled.place, first=ahead)
        found_at[left[settled.place[chosen]]] = count + np.arange(len(chosen))
        parts.append(take(settled.rows, chosen))
        count += len(chosen)
        complete[settled.place[chosen]] = True
        left = left[~complete]
        width *= _MORE
    return found_at, concat(parts)


def _edges(place: Ids, *, first: bool) -> Ids:
    """The first or the last entry of each place, of ascending ones."""
    edge = np.ones(len(place), bool)
    if first:
        edge[1:] = place[1:] != place[:-1]
    else:
        edge[:-1] = place[1:] != place[:-1]
    return positions(edge)


def _next_to(at: Places, *, ahead: bool) -> Places:
    """The next place behind each, or the one before; there is one."""
    one = np.uint64(1)
    if ahead:
        return Places(at.c + (at.d == TOP), at.d + one)
    return Places(at.c - (at.d == 0), at.d - one)
