"""Kernels of the first rows of every place: which rows are within the limit, and whether that is
certain.

    place 0    7 7 9 │ 12 15        limit 3: full; 12 is behind
    place 1    3                    holds all it has
    place 2    4 (-1) 8             misses an insertion: it owes

See `penstock.circuit.ops.topk`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.data.kernel import kernel

#: what is bound by the limit
RANKS = {"ROW_NUMBER": 0, "RANK": 1, "DENSE_RANK": 2}
#: of a place: holds all its rows; the first; too few; (a flag) misses insertions
ALL, FULL, STALE, OWES = 0, 1, 2, 4


@kernel(
    "int64(int64[::1], int64[::1], int64[::1], int64[::1], uint8[::1], uint8[::1], int64, "
    "boolean[::1], boolean[::1], int64, int64[::1], int64, int64[::1], uint8[::1], int64[::1], "
    "int64[::1], int64[::1], int64[::1], int64[::1])"
)
def first_rows(
    order: Any, places: Any, weights: Any, now_weights: Any, same: Any, peers: Any, known: Any,
    has_more: Any, is_prefix: Any, end: Any, most: Any, ranks: Any, last: Any, state: Any,
    size: Any, first: Any, place: Any, was: Any, now: Any,
) -> int:  # fmt: skip
    """Which rows are among the first of their places, up to the limit `end`, and of ROW_NUMBER as
    many more as most[p] says; and of each place p the last of those, last[p] (-1: none), its
    state[p], and how many different rows they are, size[p].

    Rows lie in `order`, by place; same[i], peers[i]: the i-th equals the one before, is its peer.
    The first `known` rows were held so far, in `weights` copies; all are there in `now_weights`.
    Where there may be more rows, only those up to the last one known (and its peers, where those
    share a rank) are certain to be the first; where the place `is_prefix`, all are, but the last
    one's peers.

    Different rows that were among the first or are, in order: the `first` of its equals, its
    `place`, in how many copies it `was` there and is `now`; returns how many.
    """
    n = order.shape[0]
    kept = np.zeros(n, np.int64)
    for p in range(state.shape[0]):
        # a place without any row
        state[p] = STALE if has_more[p] and end > 0 else (FULL if end == 0 else ALL)
        last[p], size[p] = -1, 0
    i = 0
    while i < n:
        here = places[order[i]]
        stop = i
        certain = i
        while stop < n and places[order[stop]] == here:
            stop += 1
            if order[stop - 1] < known:
                certain = stop
        if is_prefix[here] or not has_more[here]:
            certain = stop
        else:
            while (
                certain < stop and certain > i and (same[certain] if ranks == 0 else peers[certain])
            ):
                certain += 1
        held = max(end, most[here])
        position, groups, group_start = 0, 0, 0
        is_new, owes = True, False
        while i < certain:
            start = i
            copies = now_weights[order[i]]
            is_new = is_new or peers[i] == 0
            i += 1
            while i < stop and same[i]:
                copies += now_weights[order[i]]
                i += 1
            owes = owes or (copies < 0 and (ranks > 0 or position < held))
            if copies <= 0:
                continue
            if is_new:
                groups += 1
                group_start = position
                is_new = False
            shown = 0
            if ranks == 0:
                shown = min(position + copies, held) - position
            elif (group_start if ranks == 1 else groups - 1) < end:
                shown = copies
            if shown > 0:
                kept[start] = shown
                last[here] = order[start]
            position += copies
        reached = position if ranks < 2 else groups
        if is_prefix[here] and has_more[here] and ranks > 0:
            # peers of the last row may be missing, until a row behind them is seen
            reached = group_start if ranks == 1 else groups - 1
        state[here] = FULL if reached >= end else (STALE if has_more[here] else ALL)
        if owes:
            state[here] |= OWES
        i = stop
    count = 0
    i = 0
    while i < n:
        start, before = i, 0
        while i == start or (i < n and same[i]):
            before += weights[order[i]] if order[i] < known else 0
            i += 1
        if before != 0 or kept[start] != 0:
            first[count], place[count] = order[start], places[order[start]]
            was[count], now[count] = before, kept[start]
            size[place[count]] += kept[start] != 0
            count += 1
    return count


@kernel("int64(int64[::1], uint8[::1], uint64[:, ::1], uint64[::1], uint64[::1], int64[::1])")
def not_behind(places: Any, state: Any, bound: Any, c: Any, d: Any, near: Any) -> int:
    """near = the rows, of words (c, d), that are not behind the bound of their place, if that is
    FULL; returns how many."""
    count = 0
    for i in range(places.shape[0]):
        place = places[i]
        near[count] = i
        is_first = c[i] < bound[place, 0] or (c[i] == bound[place, 0] and d[i] <= bound[place, 1])
        count += state[place] != FULL or is_first
    return count


@kernel(
    "int64(int64[::1], uint8[::1], int64[::1], int64[::1], int64, int64, int64[::1], int64[::1], "
    "boolean[::1])"
)
def limits(
    ids: Any, state: Any, places: Any, weights: Any, known: Any, end: Any, most: Any, reads: Any,
    has_more: Any,
) -> int:  # fmt: skip
    """Of places `ids`, which are in states state[id], hold the first `known` of rows, each of its
    place, and get the others: most[p] = how many rows of ROW_NUMBER place p may hold, of a limit of
    `end`; has_more[p]: there may be rows that it does not; `reads` = the places of which too few
    would be known. Returns how many those are."""
    copies = np.zeros(ids.shape[0], np.int64)
    for i in range(known):
        copies[places[i]] += weights[i]
    for p in range(ids.shape[0]):
        has_more[p] = state[ids[p]] == FULL
        most[p] = max(copies[p], end) if has_more[p] else end
    for i in range(known, places.shape[0]):
        copies[places[i]] += weights[i]
    count = 0
    for p in range(ids.shape[0]):
        reads[count] = p
        count += state[ids[p]] >= STALE or (has_more[p] and copies[p] < end)
    return count


@kernel(
    "void(int64[::1], uint8[::1], uint64[:, ::1], int64[::1], uint8[::1], uint64[:, ::1], "
    "int64[::1])"
)
def remember(
    ids: Any, state: Any, bound: Any, size: Any, states: Any, bounds: Any, sizes: Any
) -> None:
    """states[ids[p]], bounds[ids[p]], sizes[ids[p]] = state[p], bound[p], size[p], for every p."""
    for p in range(ids.shape[0]):
        states[ids[p]], sizes[ids[p]] = state[p], size[p]
        bounds[ids[p], 0], bounds[ids[p], 1] = bound[p, 0], bound[p, 1]
