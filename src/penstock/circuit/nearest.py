"""The row next to a place among a key's rows in order.

    rows kept, in two runs   3+  7+ │ 7-  9+        before 9: 3, as 7 came and went; after 3: 9

A run's last row before a place may be taken back by another run, or share its words with others.
The words that runs are sorted by tell where the nearest one lies that is left
(`penstock.state.ranges.counted`); the rows from there on are read all the same, since only rows
tell what cancels out, but once for all places that are next to them.

Cost: O(runs · log n) a place, and the rows next to it that are gone, or share its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.circuit.dense import Ids
from penstock.circuit.ordering import RowOrder
from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch
from penstock.data.gather import concat, take, take_column
from penstock.data.hash import hash_columns, rows_equal
from penstock.data.masks import positions
from penstock.data.order import sorted_by_words
from penstock.state.ordered import OrderedSpine
from penstock.state.ranges import TOP, Places, beside, between, counted
from penstock.state.run import KEY_SEED

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
    asks_words = are_many_gone
    while len(left):
        mine = tuple(take_column(k, left) for k in keys)
        if asks_words:
            found = _by_words(spine, order, mine, at.take(left), ahead=ahead)
            found_at[left[found.of]] = count + found.row
            parts.append(found.rows)
            # where there seems to be none, rows of equal hashes may hide one
            left = left[found_at[left] < 0]
            asks_words = False
        else:
            needle, rows, complete = beside(spine, mine, at.take(left), width, ahead=ahead)
            settled = order.settled(needle, rows)
            chosen = _edges(settled.place, first=ahead)
            found_at[left[settled.place[chosen]]] = count + np.arange(len(chosen))
            parts.append(take(settled.rows, chosen))
            complete[settled.place[chosen]] = True
            left = left[~complete]
            # once, and not again for those it did not find
            asks_words = width == _FIRST and not are_many_gone
            width *= _MORE
        count += len(parts[-1])
    return found_at, concat(parts)


@dataclass(frozen=True, slots=True)
class _Found:
    """Row row[i] of `rows` is the one next to place of[i]."""

    of: Ids
    row: Ids
    rows: Batch


def _by_words(
    spine: OrderedSpine, order: RowOrder, keys: Sequence[Column], at: Places, *, ahead: bool
) -> _Found:
    """What is found where the words say, read once for all places that it is next to. Those that
    it is not found for are left out: where there is none, or hashes are not what they seem."""
    told = counted(spine, keys, at, 1, ahead=ahead, by_hash=True)
    assert told is not None, "all are counted"
    near, there = told
    of = positions(there)
    if not len(of):
        return _Found(of, of, empty_batch(spine.schema))
    near, mine = near.take(of), tuple(take_column(k, of) for k in keys)
    # from there on, as only rows tell what cancels out; the same for all that have it next to them
    beyond = _next_to(at.take(of), ahead=ahead)
    first, group = np.arange(len(of)), np.arange(len(of))
    if len(of) > 1:
        k = hash_columns(mine, KEY_SEED, n=len(of))
        ranks = sorted_by_words((k, near.c, near.d, beyond.c, beyond.d))
        is_new = np.ones(len(of), bool)
        for word in (k, near.c, near.d):
            word = word[ranks]
            is_new[1:] &= word[1:] == word[:-1]
        is_new[1:] = ~is_new[1:]
        group[ranks] = np.cumsum(is_new) - 1
        begins = positions(is_new)
        # the farthest: the last of each, or ahead the first
        ends = begins if ahead else np.append(begins[1:], len(of)) - 1
        first = ranks[ends]
    whose, edge = tuple(take_column(k, first) for k in mine), near.take(first)
    far = beyond.take(first)
    low, high = (far, edge) if ahead else (edge, far)
    settled = order.settled(*between(spine, whose, low, high))
    chosen = _edges(settled.place, first=ahead)
    rows = take(settled.rows, chosen)
    row = np.full(len(first), -1, np.int64)
    row[settled.place[chosen]] = np.arange(len(chosen))
    if len(first) == len(of):
        kept = positions(row >= 0)
        return _Found(of[first[kept]], row[kept], rows)
    # another row than the words say may not be next to all
    c, d = spine.words(rows)
    is_it = np.zeros(len(first), bool)
    found = positions(row >= 0)
    is_it[found] = (c == edge.c[found]) & (d == edge.d[found])
    kept = positions(is_it[group])
    row = row[group[kept]]
    if spine.key:
        stored = [rows.columns[i] for i in spine.key]
        same = positions(rows_equal(mine, kept, stored, row))
        kept, row = kept[same], row[same]
    return _Found(of[kept], row, rows)


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
