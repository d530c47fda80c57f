"""Parts of one key's rows in an ordered spine: between two places, or next to one.

A place is a pair of words (c, d) as `penstock.state.ordered` sorts them; rows with equal words
come together or not at all.

    between(spine, keys, low, high)         low ≤ (c, d) ≤ high
    spans(spine, keys, low, high)           where these rows are, to be taken some at a time
    beside(spine, keys, at, width, ahead)   the `width` rows next to `at` in every run, cut where
                                            the first row left out anywhere begins (see prefixes)
    counted(spine, keys, at, count, ahead)  where the `count`-th row from `at` on lies
    distances(spine, keys, at)              rows between each place and the one before it
    gaps(spine, keys, at)                   the same without those at either
    rows_between(spine, keys, low, high)    how many rows lie from one place to the other
    ahead_of(spine, keys, at, width)        a place behind `at`, with about `width` rows on the way

Cost: O(runs · log n) a place, besides the rows found; less where the words of a key's rows are
spread evenly, as times are: each look of a search waits for memory, so it looks where a word would
lie if they were, and as far behind or before that as √n evenly spread ones err, before it halves
what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.data.batch import Batch, Column
from penstock.data.build import empty_batch
from penstock.data.gather import concat, slice_batch, take
from penstock.data.hash import hash_columns, is_exact, rows_equal
from penstock.data.kernel import kernel
from penstock.data.masks import positions
from penstock.data.pointers import load_u64
from penstock.state.lookup import CACHED_ROWS, of_key, rows_in
from penstock.state.ordered import Fresh, OrderedRun, OrderedSpine
from penstock.state.run import KEY_SEED, _expand

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

#: rows that are searched by halves, one place after the other
NEAR_ROWS = 1 << 10
#: rows a place, of places in order, that are walked through from the one before
DENSE_ROWS = 128
#: rows behind the first of a range among which its end is looked for before it is searched; of so
#: many ranges that do not end there the others are taken to be as long
NEAR_END, FEW_FAR = 32, 8
#: of more the words are guessed from, so many times, until no more than these are left
GUESSES, FEW_LEFT = 6, 48

NONE, TOP = np.uint64(0), np.uint64(0xFFFF_FFFF_FFFF_FFFF)
#: values of a word
WORD = 2.0**64


@dataclass(frozen=True, slots=True)
class Places:
    """One place a row: uint64[n] each."""

    c: U64
    d: U64

    def __len__(self) -> int:
        return len(self.c)

    def take(self, at: npt.NDArray[Any]) -> Places:
        return Places(self.c[at], self.d[at])

    def is_below(self, other: Places) -> npt.NDArray[np.bool_]:
        below: npt.NDArray[np.bool_] = (self.c < other.c) | (
            (self.c == other.c) & (self.d < other.d)
        )
        return below


def between(
    spine: OrderedSpine | Fresh, keys: Sequence[Column], low: Places, high: Places
) -> tuple[I64, Batch]:
    """For row i of `keys` all rows from low[i] to high[i], both included: (needle, rows) as of
    `Spine.probe`."""
    return rows_of_spans(spine, keys, spans(spine, keys, low, high))


#: of a run, the rows from one place to another for each of some keys
Span = tuple[OrderedRun, I64, I64]


def spans(
    spine: OrderedSpine | Fresh, keys: Sequence[Column], low: Places, high: Places
) -> list[Span]:
    """Where `between` finds its rows: for every run that may have some, rows first[i] .. last[i]
    of row i of `keys` (of its hash)."""
    found = []
    for run, start, stop in _with_keys(spine, hash_columns(keys, KEY_SEED, n=len(low))):
        first = np.empty_like(start)
        search(run.c, run.d, start, stop, low.c, low.d, False, first)
        found.append((run, first, _ends(run, first, stop, high)))
    return found


def _ends(run: OrderedRun, first: I64, stop: I64, high: Places) -> I64:
    """The rows of first[i] .. stop[i] that are not above place i end there."""
    last = np.empty_like(first)
    far = _near_ends(run.c, run.d, first, stop, high.c, high.d, last)
    if far == len(last):
        search(run.c, run.d, first, stop, high.c, high.d, True, last)
    elif far:
        at = positions(last < 0)
        beyond = np.empty_like(at)
        search(run.c, run.d, first[at], stop[at], high.c[at], high.d[at], True, beyond)
        last[at] = beyond
    return last


def rows_of_spans(
    spine: OrderedSpine | Fresh, keys: Sequence[Column], found: Sequence[Span]
) -> tuple[I64, Batch]:
    """The rows of `spans`: (needle, rows) as of `Spine.probe`."""
    parts = [_found(spine, run, keys, first, last) for run, first, last in found]
    return _joined(spine, [part for part in parts if part is not None])


def rows_of_any(spine: OrderedSpine | Fresh, found: Sequence[Span]) -> Batch:
    """The rows of `spans`, each once though several places find it; keys are not compared."""
    parts = [empty_batch(spine.schema)]
    for run, first, last in found:
        order = np.argsort(first, kind="stable")
        first, last = first[order], last[order]
        # what those before come to is theirs
        come_to = np.maximum.accumulate(np.append(0, last[:-1]))
        first = np.maximum(first, come_to)
        last = np.maximum(last, first)
        total = int((last - first).sum())
        if total:
            needle, row = np.empty(total, np.int64), np.empty(total, np.int64)
            _expand(first, last, needle, row)
            parts.append(take(run.batch, row))
    return concat(parts)


def pieces_of_span(
    spine: OrderedSpine, key: Sequence[Column], found: Sequence[Span], most: int
) -> Iterator[Batch]:
    """The rows of `spans` of a single row, no more than `most` at a time."""
    for run, first, last in found:
        for at in range(int(first[0]), int(last[0]), most):
            rows = slice_batch(run.batch, at, min(at + most, int(last[0])))
            yield of_key(rows, spine.key, key)


def beside(
    spine: OrderedSpine | Fresh,
    keys: Sequence[Column],
    at: Places | None,
    width: int,
    *,
    ahead: bool,
) -> tuple[I64, Batch, npt.NDArray[np.bool_]]:
    """For row i of `keys` the rows after (or before) at[i] up to some place: (needle, rows,
    complete), where `complete[i]` says that these are all on that side. Without `at` the first
    (or last) rows of all; there is a key column then."""
    n = len(keys[0]) if at is None else len(at)
    needles = hash_columns(keys, KEY_SEED, n=n)
    complete = np.ones(n, bool)
    bound = Places(
        np.full(n, TOP if ahead else 0, np.uint64), np.full(n, TOP if ahead else 0, np.uint64)
    )
    found: list[tuple[OrderedRun, I64, I64]] = []
    for run, start, stop in _with_keys(spine, needles):
        edge = start if ahead else stop
        if at is not None:
            edge = np.empty_like(start)
            search(run.c, run.d, start, stop, at.c, at.d, ahead, edge)
        if ahead:
            first, last = edge, np.minimum(stop, edge + width)
            cut = positions(last < stop)
            out = last[cut]
        else:
            first, last = np.maximum(start, edge - width), edge
            cut = positions(first > start)
            out = first[cut] - 1
        if len(cut):
            complete[cut] = False
            limit = Places(run.c[out], run.d[out])
            mine = bound.take(cut)
            closer = limit.is_below(mine) if ahead else mine.is_below(limit)
            bound.c[cut[closer]], bound.d[cut[closer]] = limit.c[closer], limit.d[closer]
        found.append((run, first, last))
    parts: list[tuple[I64, Batch]] = []
    for run, first, last in found:
        inside = np.empty_like(first)
        # what lies beyond the bound, or on it, may be incomplete
        search(run.c, run.d, first, last, bound.c, bound.d, not ahead, inside)
        inside = np.where(complete, last if ahead else first, inside)
        part = _found(spine, run, keys, *((first, inside) if ahead else (inside, last)))
        if part is not None:
            parts.append(part)
    return *_joined(spine, parts), complete


def counted(
    spine: OrderedSpine, keys: Sequence[Column], at: Places, count: int, *, ahead: bool,
    by_hash: bool = False,
) -> tuple[Places, npt.NDArray[np.bool_]] | None:  # fmt: skip
    """For row i of `keys` the place of the `count`-th row after (or before) at[i], copies counted
    once and what cancels out not at all; whether there are so many. Different rows whose words are
    all the same count as one, so that some more may lie on the way. None where keys may differ
    whose hashes do not: rows are not looked at; or those of all keys of the hash are counted
    (`by_hash`), for who looks himself."""
    n = len(at)
    found = [*_with_keys(spine, hash_columns(keys, KEY_SEED, n=n))]
    place, there = Places(np.zeros(n, np.uint64), np.zeros(n, np.uint64)), np.zeros(n, np.bool_)
    edge, end = np.empty((len(found), n), np.int64), np.empty((len(found), n), np.int64)
    told = []
    for j, (run, start, stop) in enumerate(found):
        stored = [run.batch.columns[i] for i in spine.key]
        if spine.key and not by_hash and not is_exact(keys, stored):
            return None
        search(run.c, run.d, start, stop, at.c, at.d, ahead, edge[j])
        end[j] = stop if ahead else start
        arrays = (run.c, run.d, run.r, run.batch.weights)
        told.append([a.__array_interface__["data"][0] for a in arrays])
    if found:
        addresses = np.array(told, np.uint64)
        _walk(addresses, edge, end, count, ahead, place.c, place.d, there)
    return place, there


@kernel(
    "void(uint64[:, ::1], int64[:, ::1], int64[:, ::1], int64, boolean, uint64[::1], uint64[::1], "
    "boolean[::1])"
)
def _walk(
    told: Any, edge: Any, end: Any, count: Any, ahead: Any, out_c: Any, out_d: Any, there: Any
) -> None:
    """What `counted` says: run j, whose words and weights are at the addresses told[j], has the
    rows of place i from edge[j, i] to end[j, i], the former not included if it goes back."""
    word = np.uint64(8)
    runs = told.shape[0]
    for i in range(edge.shape[1]):
        seen = 0
        while seen < count:
            # the next row of any run
            c, d, r = np.uint64(0), np.uint64(0), np.uint64(0)
            is_any = False
            for j in range(runs):
                at = edge[j, i] if ahead else edge[j, i] - 1
                if (at >= end[j, i]) if ahead else (at < end[j, i]):
                    continue
                shift = word * np.uint64(at)
                x = load_u64(told[j, 0] + shift)
                y, z = load_u64(told[j, 1] + shift), load_u64(told[j, 2] + shift)
                if x != c:
                    is_next = (x < c) == ahead
                elif y != d:
                    is_next = (y < d) == ahead
                else:
                    is_next = (z < r) == ahead
                if is_next or not is_any:
                    c, d, r, is_any = x, y, z, True
            if not is_any:
                break
            total = np.int64(0)
            for j in range(runs):
                while True:
                    at = edge[j, i] if ahead else edge[j, i] - 1
                    if (at >= end[j, i]) if ahead else (at < end[j, i]):
                        break
                    shift = word * np.uint64(at)
                    if load_u64(told[j, 0] + shift) != c or load_u64(told[j, 1] + shift) != d:
                        break
                    if load_u64(told[j, 2] + shift) != r:
                        break
                    total += np.int64(load_u64(told[j, 3] + shift))
                    edge[j, i] += 1 if ahead else -1
            if total > 0:
                seen += 1
                out_c[i], out_d[i] = c, d
        there[i] = seen == count


def distances(spine: OrderedSpine, keys: Sequence[Column], at: Places) -> I64:
    """int64[n]: for place i how many rows of its key lie from place i - 1 up to it, where both
    have the same key (rows that cancel out are counted; collisions of the hash too)."""
    needles = hash_columns(keys, KEY_SEED, n=len(at))
    total = np.zeros(len(at), np.int64)
    for run, start, stop in _with_keys(spine, needles):
        edge = np.empty_like(start)
        search(run.c, run.d, start, stop, at.c, at.d, False, edge)
        total[1:] += edge[1:] - edge[:-1]
    return total


def gaps(spine: OrderedSpine, keys: Sequence[Column], at: Places) -> I64:
    """int64[n]: for place i how many rows of its key lie between place i - 1 and it, at neither,
    where both have the same key (counted as `distances` counts)."""
    needles = hash_columns(keys, KEY_SEED, n=len(at))
    total = np.zeros(len(at), np.int64)
    for run, start, stop in _with_keys(spine, needles):
        begin = np.empty_like(start)
        search(run.c, run.d, start, stop, at.c, at.d, False, begin)
        end = _ends(run, begin, stop, at)
        total[1:] += begin[1:] - end[:-1]
    return total


def rows_between(spine: OrderedSpine, keys: Sequence[Column], low: Places, high: Places) -> I64:
    """int64[n]: how many rows lie from low[i] to high[i] of key i (counted as `distances` counts).
    Of all runs: what came last lies in the shortest."""
    total = np.zeros(len(low), np.int64)
    for _, first, last in spans(spine, keys, low, high):
        total += last - first
    return total


def ahead_of(spine: OrderedSpine, keys: Sequence[Column], at: Places, width: I64) -> Places:
    """For row i of `keys` the place of the nearest row of any run that is width[i] rows of that run
    behind at[i]; the end of all places where no run has so many."""
    n = len(at)
    needles = hash_columns(keys, KEY_SEED, n=n)
    found = Places(np.full(n, TOP), np.full(n, TOP))
    for run, start, stop in _with_keys(spine, needles):
        edge = np.empty_like(start)
        search(run.c, run.d, start, stop, at.c, at.d, True, edge)
        row = edge + width - 1
        has = positions(row < stop)
        mine = Places(run.c[row[has]], run.d[row[has]])
        nearer = positions(mine.is_below(found.take(has)))
        found.c[has[nearer]], found.d[has[nearer]] = mine.c[nearer], mine.d[nearer]
    return found


def moved(word: U64, by: int) -> tuple[U64, npt.NDArray[np.bool_]]:
    """(words `by` further, or the first or last there is; whether that was so)."""
    step = np.uint64(min(abs(by), int(TOP)))
    cut = word < step if by < 0 else word > TOP - step
    moved = word - step if by < 0 else word + step
    return np.where(cut, np.uint64(0) if by < 0 else TOP, moved), cut


def _with_keys(spine: OrderedSpine | Fresh, needles: U64) -> Iterator[tuple[OrderedRun, I64, I64]]:
    """Every run that has rows of the keys, and where: those of key i from low[i] to high[i]."""
    runs = spine.runs()
    if not runs:
        return
    low, high, found = rows_in(runs, needles)
    for j in found.nonzero()[0].tolist():
        run = runs[j]
        assert isinstance(run, OrderedRun)
        yield run, low[j], high[j]


def _found(
    spine: OrderedSpine | Fresh, run: OrderedRun, keys: Sequence[Column], first: I64, last: I64
) -> tuple[I64, Batch] | None:
    """Rows first[i] .. last[i] of `run` that have key i."""
    total = int((last - first).sum())
    if not total:
        return None
    needle, row = np.empty(total, np.int64), np.empty(total, np.int64)
    _expand(first, last, needle, row)
    stored = [run.batch.columns[i] for i in spine.key]
    if not is_exact(keys, stored):
        same = rows_equal(keys, needle, stored, row)
        if not same.all():
            kept = positions(same)
            needle, row = needle[kept], row[kept]
    return needle, take(run.batch, row)


def _joined(spine: OrderedSpine | Fresh, parts: list[tuple[I64, Batch]]) -> tuple[I64, Batch]:
    if not parts:
        return np.zeros(0, np.int64), empty_batch(spine.schema)
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([at for at, _ in parts]), concat([rows for _, rows in parts])


@kernel(
    "int64(uint64[::1], uint64[::1], int64[::1], int64[::1], uint64[::1], uint64[::1], int64[::1])"
)
def _near_ends(c: Any, d: Any, first: Any, stop: Any, at_c: Any, at_d: Any, last: Any) -> Any:
    """last[i] = the first row of first[i] .. stop[i] above place i, where it is among the next
    NEAR_END, which the processor has at hand from the search for first[i]; else -1. How many are
    not, all of them if the first ones are not."""
    far = 0
    for i in range(first.shape[0]):
        if far == FEW_FAR and far == i:
            return first.shape[0]
        a, b, x, y = first[i], min(first[i] + NEAR_END, stop[i]), at_c[i], at_d[i]
        while a < b and (c[a] < x or (c[a] == x and d[a] <= y)):
            a += 1
        is_far = a == b and b < stop[i]
        far += is_far
        last[i] = -1 if is_far else a
    return far


@kernel(
    "void(uint64[::1], uint64[::1], int64[::1], int64[::1], uint64[::1], uint64[::1], boolean, "
    "int64[::1])"
)
def search(
    c: Any, d: Any, start: Any, stop: Any, at_c: Any, at_d: Any, behind: Any, out: Any
) -> None:
    """out[i] = the first row of start[i] .. stop[i] not below place i (`behind`: above it)."""
    # of places in order, how many rows lie between the first and the last of a key, if words are
    # spread evenly
    ascend, rows, first = 0, 0.0, 0
    longest: Any = 0
    for i in range(1, start.shape[0] + 1):
        if i < start.shape[0] and start[i] == start[i - 1] and stop[i] == stop[i - 1]:
            ascend += at_c[i] > at_c[i - 1] or (at_c[i] == at_c[i - 1] and at_d[i] >= at_d[i - 1])
            continue
        length = stop[i - 1] - start[i - 1]
        longest = max(longest, length)
        if i - first > 1 and length > 0 and at_c[i - 1] >= at_c[first]:
            a, b = start[i - 1], stop[i - 1] - 1
            among = np.float64(c[b] - c[a]) * WORD + np.abs(np.float64(d[b]) - np.float64(d[a]))
            apart = np.float64(at_c[i - 1] - at_c[first]) * WORD
            apart += np.abs(np.float64(at_d[i - 1]) - np.float64(at_d[first]))
            rows += min(apart / (among + 1.0), 1.0) * np.float64(length)
        first = i
    if 2 * ascend > start.shape[0] and rows <= DENSE_ROWS * start.shape[0]:
        # near to the one before: steps of twice the size from there, then halves of the last
        for i in range(start.shape[0]):
            a, b, x, y = start[i], stop[i], at_c[i], at_d[i]
            same = i > 0 and a == start[i - 1] and b == stop[i - 1]
            if same and (x > at_c[i - 1] or (x == at_c[i - 1] and y >= at_d[i - 1])):
                a, step = out[i - 1], 1
                while a + step <= b:
                    m = a + step - 1
                    if c[m] < x or (c[m] == x and (d[m] < y or (behind and d[m] == y))):
                        a, step = m + 1, 2 * step
                    else:
                        b = m
            while a < b:
                m = (a + b) >> 1
                if c[m] < x or (c[m] == x and (d[m] < y or (behind and d[m] == y))):
                    a = m + 1
                else:
                    b = m
            out[i] = a
        return
    if longest > NEAR_ROWS:
        # what a look finds decides where the next one is, so those of all places are made together:
        # memory is waited for once for all of them. Rows before out[i] are below place i, those
        # from end[i] on are not; low and high are words of the rows next to these, where c is not
        # the place's own the d nearest to it
        n, top = start.shape[0], c.shape[0] - 1
        end, middle = np.empty(n, np.int64), np.empty(n, np.int64)
        low_c, low_d = np.empty(n, np.uint64), np.empty(n, np.uint64)
        high_c, high_d = np.empty(n, np.uint64), np.empty(n, np.uint64)
        found_c, found_d = np.empty(n, np.uint64), np.empty(n, np.uint64)
        for i in range(n):
            low_c[i], high_c[i] = c[min(start[i], top)], c[max(stop[i] - 1, 0)]
        for i in range(n):
            low_d[i] = d[min(start[i], top)] if low_c[i] == at_c[i] else TOP
            high_d[i] = d[max(stop[i] - 1, 0)] if high_c[i] == at_c[i] else NONE
        longest = 0
        for i in range(n):
            # what comes last is behind the last row
            last, x, y, v, w = stop[i] - 1, at_c[i], at_d[i], high_c[i], high_d[i]
            is_over = v < x or (v == x and (w < y or (behind and w == y))) or last < start[i]
            out[i] = stop[i] if is_over else start[i]
            end[i] = stop[i] if is_over else last
            longest = max(longest, end[i] - out[i])
        for round in range(3 * GUESSES):
            # a guess, what lies on its other side then, and the middle of what are still many
            look = round % 3
            if look != 1 and longest <= (NEAR_ROWS if look else FEW_LEFT):
                if look:
                    continue
                break
            for i in range(n):
                m = middle[i]
                if look == 0:
                    v, w = low_c[i], np.float64(low_d[i])
                    # in parts of a word d
                    before = np.float64(at_c[i] - v) * WORD + (np.float64(at_d[i]) - w)
                    among = np.float64(high_c[i] - v) * WORD + (np.float64(high_d[i]) - w)
                    part = before / among if before > 0.0 and among > before else 0.0
                    m = out[i] + np.int64(part * np.float64(end[i] - out[i]))
                elif look == 2:
                    m = (out[i] + end[i]) >> 1
                middle[i] = m
                found_c[i] = c[min(max(m, 0), top)]
            for i in range(n):
                if found_c[i] == at_c[i]:
                    found_d[i] = d[min(max(middle[i], 0), top)]
            longest = 0
            for i in range(n):
                m, x, y, v, w = middle[i], at_c[i], at_d[i], found_c[i], found_d[i]
                left = end[i] - out[i]
                if out[i] <= m and m < end[i]:
                    # evenly spread ones err by so many rows
                    err = np.int64(np.sqrt(np.float64(left))) + 2
                    if v < x or (v == x and (w < y or (behind and w == y))):
                        out[i], low_c[i], low_d[i] = m + 1, v, w if v == x else TOP
                        middle[i] = m + err
                    else:
                        end[i], high_c[i], high_d[i] = m, v, w if v == x else NONE
                        middle[i] = m - err
                longest = max(longest, end[i] - out[i])
        while longest > 0:
            for i in range(n):
                left = end[i] - out[i]
                m = min(out[i] + (left >> 1), top)
                x, y = at_c[i], at_d[i]
                below = c[m] < x or (c[m] == x and (d[m] < y or (behind and d[m] == y)))
                out[i] = m + 1 if left > 0 and below else out[i]
                end[i] = m if left > 0 and not below else end[i]
            longest >>= 1
        return
    for i in range(start.shape[0]):
        # what comes last is behind the last row; nobody waits for that but once for a whole key
        last, x, y = stop[i] - 1, at_c[i], at_d[i]
        is_last = last >= start[i] and (
            c[last] < x or (c[last] == x and (d[last] < y or (behind and d[last] == y)))
        )
        out[i] = stop[i] if is_last else -1
    if c.shape[0] > CACHED_ROWS:
        # each look of a search waits for memory and for the one before it: the middles that all
        # begin with are waited for at the same time
        for i in range(start.shape[0]):
            if out[i] < 0:
                m = min((start[i] + stop[i]) >> 1, c.shape[0] - 1)
                out[i] = np.int64(c[m] | np.uint64(1 << 63))
    for i in range(start.shape[0]):
        if out[i] >= 0:
            continue
        a, b = start[i], stop[i]
        x, y = at_c[i], at_d[i]
        while a < b:
            m = (a + b) >> 1
            if c[m] < x or (c[m] == x and (d[m] < y or (behind and d[m] == y))):
                a = m + 1
            else:
                b = m
        out[i] = a
