"""Kernels of the first rows of every place: which rows are within the limit, and whether that is
certain.

    place 0    7 7 9 │ 12 15        limit 3: full; 12 is behind
    place 1    3                    holds all it has
    place 2    4 (-1) 8             misses an insertion: it owes

See `penstock.circuit.ops.topk`.
"""

from __future__ import annotations

from typing import Any

from penstock.data.kernel import kernel

#: what is bound by the limit
RANKS = {"ROW_NUMBER": 0, "RANK": 1, "DENSE_RANK": 2}
#: of a place: holds all its rows; the first; too few; (a flag) misses insertions
ALL, FULL, STALE, OWES = 0, 1, 2, 4


@kernel(
    "void(int64[::1], int64[::1], uint8[::1], uint8[::1], uint8[::1], boolean[::1], boolean[::1], "
    "int64, int64[::1], int64, int64[::1], int64[::1], uint8[::1])"
)
def first_rows(
    places: Any, weights: Any, same: Any, peers: Any, is_held: Any, has_more: Any, is_prefix: Any,
    end: Any, most: Any, ranks: Any, kept: Any, last: Any, state: Any,
) -> None:  # fmt: skip
    """kept[i] = copies of row i that are held: up to the limit `end`, and of ROW_NUMBER as many
    more as most[p] says; last[p] = the last such row of place p, state[p].

    Rows come by place, in order; same[i], peers[i]: row i equals the one before, is its peer.
    Where there may be more rows, only those up to the last held one (and its peers, where those
    share a rank) are known to be the first; where the place `is_prefix`, all are, but the last
    one's peers.
    """
    n = places.shape[0]
    for p in range(state.shape[0]):
        # a place without any row
        state[p] = STALE if has_more[p] and end > 0 else (FULL if end == 0 else ALL)
    i = 0
    while i < n:
        place = places[i]
        stop = i
        certain = i
        while stop < n and places[stop] == place:
            stop += 1
            if is_held[stop - 1]:
                certain = stop
        if is_prefix[place] or not has_more[place]:
            certain = stop
        else:
            while (
                certain < stop and certain > i and (same[certain] if ranks == 0 else peers[certain])
            ):
                certain += 1
        held = max(end, most[place])
        position, groups, group_start = 0, 0, 0
        is_new, owes = True, False
        while i < certain:
            start = i
            copies = weights[i]
            is_new = is_new or peers[i] == 0
            i += 1
            while i < stop and same[i]:
                copies += weights[i]
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
                last[place] = start
            position += copies
        reached = position if ranks < 2 else groups
        if is_prefix[place] and has_more[place] and ranks > 0:
            # peers of the last row may be missing, until a row behind them is seen
            reached = group_start if ranks == 1 else groups - 1
        state[place] = FULL if reached >= end else (STALE if has_more[place] else ALL)
        if owes:
            state[place] |= OWES
        i = stop


@kernel(
    "int64(int64[::1], int64[::1], int64[::1], uint8[::1], int64, int64[::1], int64[::1], "
    "int64[::1], int64[::1], int64[::1], int64[::1])"
)
def changed_rows(
    ranks: Any, places: Any, weights: Any, same: Any, held: Any, kept: Any,
    first: Any, place: Any, was: Any, now: Any, size: Any,
) -> int:  # fmt: skip
    """Different rows that were among the first or are, in order: the `first` of its equals, its
    `place`, in how many copies it `was` there, as those below `held` say, and is `now`, as `kept`
    does; returns how many. `size`, which is zeros, counts those of each place that are."""
    n = ranks.shape[0]
    count = 0
    i = 0
    while i < n:
        start, before = i, 0
        while i == start or (i < n and same[i]):
            before += weights[i] if ranks[i] < held else 0
            i += 1
        if before != 0 or kept[start] != 0:
            first[count], place[count] = ranks[start], places[start]
            was[count], now[count] = before, kept[start]
            size[places[start]] += kept[start] != 0
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
    "int64(uint8[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64, int64[::1], "
    "int64[::1], int64[::1])"
)
def limits(
    before: Any, at: Any, held: Any, slots: Any, came: Any, end: Any, copies: Any, most: Any,
    reads: Any,
) -> int:  # fmt: skip
    """Of places that were in the states `before`, hold weights held[i] at place at[i] and get
    came[i] at place slots[i]: most[p] = how many rows of ROW_NUMBER place p may hold, of a limit of
    `end`; `reads` = the places of which too few would be known. Returns how many those are.
    `copies` is scratch."""
    for p in range(before.shape[0]):
        copies[p] = 0
    for i in range(at.shape[0]):
        copies[at[i]] += held[i]
    for p in range(before.shape[0]):
        most[p] = max(copies[p], end) if before[p] == FULL else end
    for i in range(slots.shape[0]):
        copies[slots[i]] += came[i]
    count = 0
    for p in range(before.shape[0]):
        reads[count] = p
        count += before[p] >= STALE or (before[p] == FULL and copies[p] < end)
    return count
