"""Kernels over window frames: elements lie in order, element i looks at elements lo[i] .. hi[i].

Within a place, lo and hi never go back, so a frame is found and kept up by walking, not searching.

Aggregates are functions of the frame's elements alone, bit for bit, wherever the arrays begin:
what is emitted today must equal what is taken back tomorrow. Exact sums are differences of prefix
sums; running sums of floats are added up in order from the first element on, those of other frames
are exact (`penstock.circuit.float_frames`).

Cost: O(elements).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from penstock.circuit import wide
from penstock.circuit.wide import _add, _add_scaled, _is_within, mean, subtracted
from penstock.data.kernel import kernel

_TOP = np.uint64(0xFFFF_FFFF_FFFF_FFFF)


@kernel(
    "void(int64[::1], uint64[::1], uint64[::1], uint64, boolean, uint64, boolean, boolean, "
    "int64[::1], int64[::1])"
)
def range_frames(
    place: Any, is_value: Any, code: Any, start: Any, start_is_back: Any, end: Any,
    end_is_back: Any, open_start: Any, lo: Any, hi: Any,
) -> None:  # fmt: skip
    """Frames of elements whose code lies from `start` to `end` away from the element's own
    (…_is_back: towards the first), of the same place. Elements that are NULL (is_value[i] is
    another number than the values') are each other's frame. `open_start`: from the place's first.
    """
    n = place.shape[0]
    first, a, b = 0, 0, 0
    for i in range(n):
        if i > 0 and place[i] != place[i - 1]:
            first, a, b = i, i, i
        x, y = code[i], code[i]
        if start_is_back:
            x = x - start if x >= start else np.uint64(0)
        else:
            x = x + start if x <= _TOP - start else _TOP
        if end_is_back:
            y = y - end if y >= end else np.uint64(0)
            beyond = code[i] < end
        else:
            y = y + end if y <= _TOP - end else _TOP
            beyond = False
        above = not start_is_back and code[i] > _TOP - start
        group = is_value[i]
        while (
            a < n
            and place[a] == place[i]
            and (is_value[a] < group or (is_value[a] == group and (above or code[a] < x)))
        ):
            a += 1
        while (
            b < n
            and place[b] == place[i]
            and (is_value[b] < group or (is_value[b] == group and not beyond and code[b] <= y))
        ):
            b += 1
        lo[i] = first if open_start else a
        hi[i] = b


@kernel("void(int64[::1], int64[::1], uint64[:, ::1], int64[::1], uint64[:, ::1], int64[::1])")
def frame_sums(lo: Any, hi: Any, values: Any, weights: Any, sums: Any, counts: Any) -> None:
    """sums[i] = Σ values·weights over frame i (192-bit, see `penstock.circuit.wide`), counts[i] =
    Σ weights."""
    n = values.shape[0]
    running = np.zeros((n + 1, 3), np.uint64)
    total = np.zeros(n + 1, np.int64)
    for i in range(n):
        for j in range(3):
            running[i + 1, j] = running[i, j]
        if weights[i] != 0:
            _add_scaled(running, i + 1, values[i, 0], values[i, 1], weights[i])
        total[i + 1] = total[i] + weights[i]
    for i in range(lo.shape[0]):
        borrow = np.uint64(0)
        counts[i] = 0
        for j in range(3):
            sums[i, j] = np.uint64(0)
        if hi[i] <= lo[i]:
            continue
        counts[i] = total[hi[i]] - total[lo[i]]
        for j in range(3):
            x, y = running[hi[i], j], running[lo[i], j]
            rest = x - y
            out = np.uint64(1) if x < y else np.uint64(0)
            sums[i, j] = rest - borrow
            if rest < borrow:
                out = np.uint64(1)
            borrow = out


@kernel(
    "int64(int64[::1], int64[::1], boolean, int64, boolean, int64, int64[::1], int64[::1], "
    "uint8[::1], int64[::1], boolean, uint64, uint64, uint64, uint64, uint64[:, ::1], uint8[::1])",
    helpers=(wide,),
)
def rows_sums(
    first: Any, end: Any, from_first: Any, start: Any, to_end: Any, stop: Any, row: Any,
    values: Any, valid: Any, weights: Any, average: Any, least0: Any, least1: Any, most0: Any,
    most1: Any, out: Any, there: Any,
) -> Any:  # fmt: skip
    """out[i] (two words) = the sum, or average truncated toward zero, of frame i, which is from
    `start` to `stop` elements away within first[i] .. end[i]; NULL (there[i] = 0) where it counts
    nothing. Element i is values[row[i]] in weights[i] copies; an empty mask: no value is NULL.
    Returns the first i whose result is outside of [least, most], -1 if there is none."""
    n = row.shape[0]
    running = np.zeros((n + 1, 3), np.uint64)
    total = np.zeros(n + 1, np.int64)
    for i in range(n):
        for j in range(3):
            running[i + 1, j] = running[i, j]
        total[i + 1] = total[i]
        if valid.shape[0] == 0 or valid[row[i]] != 0:
            value = values[row[i]]
            high = _TOP if value < 0 else np.uint64(0)
            _add_scaled(running, i + 1, np.uint64(value), high, weights[i])
            total[i + 1] += weights[i]
    bad = -1
    for i in range(n):
        low = first[i] if from_first else min(max(i + start, first[i]), end[i])
        high_end = end[i] if to_end else min(max(i + stop + 1, first[i]), end[i])
        count = total[max(low, high_end)] - total[low]
        out[i, 0], out[i, 1], there[i] = np.uint64(0), np.uint64(0), 0
        if high_end <= low or count <= 0:
            continue
        a, b = running[high_end], running[low]
        w0, w1, w2 = subtracted(a[0], a[1], a[2], b[0], b[1], b[2])
        if average:
            w0, w1, w2 = mean(w0, w1, w2, np.uint64(count))
        out[i, 0], out[i, 1], there[i] = w0, w1, 1
        if bad < 0 and not _is_within(w0, w1, w2, least0, least1, most0, most1):
            bad = i
    return bad


@kernel("void(int64[::1], int64[::1], uint64[:, ::1], int64[::1], uint64[:, ::1], int64[::1])")
def frame_totals(lo: Any, hi: Any, parts: Any, counted: Any, sums: Any, counts: Any) -> None:
    """The same of elements that are sums themselves: uint64[n, 3], and how much each counts."""
    n = parts.shape[0]
    running = np.zeros((n + 1, 3), np.uint64)
    total = np.zeros(n + 1, np.int64)
    for i in range(n):
        for j in range(3):
            running[i + 1, j] = running[i, j]
        _add(running, i + 1, parts[i, 0], parts[i, 1], parts[i, 2])
        total[i + 1] = total[i] + counted[i]
    for i in range(lo.shape[0]):
        borrow = np.uint64(0)
        counts[i] = total[hi[i]] - total[lo[i]]
        for j in range(3):
            x, y = running[hi[i], j], running[lo[i], j]
            rest = x - y
            out = np.uint64(1) if x < y else np.uint64(0)
            sums[i, j] = rest - borrow
            if rest < borrow:
                out = np.uint64(1)
            borrow = out


@kernel(
    "void(int64[::1], int64[::1], float64[::1], int64[::1], float64[::1], float64[::1], "
    "int64[::1], boolean, float64[::1], uint8[::1], float64[::1], float64[::1], int64[::1])"
)
def running_float_sums(
    place: Any, end: Any, values: Any, weights: Any, from_high: Any, from_low: Any,
    from_count: Any, average: Any, out: Any, valid: Any, highs: Any, lows: Any, counts: Any,
) -> None:  # fmt: skip
    """out[i] = Σ values·weights of floats from before the first element of a place on up to end[i],
    or their average; NULL where nothing counts. Place p goes on from from_high[p], from_low[p],
    from_count[p], and highs, lows, counts are how far it came."""
    high, low, count, added = 0.0, 0.0, 0, 0
    for i in range(place.shape[0]):
        if i == 0 or place[i] != place[i - 1]:
            p = place[i]
            high, low, count, added = from_high[p], from_low[p], from_count[p], i
        for j in range(added, end[i]):
            if weights[j] != 0:
                term = values[j] * weights[j]
                total = high + term
                back = total - high
                low += (high - (total - back)) + (term - back)
                high = total
                count += weights[j]
        added = max(added, end[i])
        highs[i], lows[i], counts[i] = high, low, count
        valid[i] = 1 if count > 0 else 0
        total = high + low
        if not np.isfinite(total):
            total = high  # the correction of an infinite sum is NaN
        if average and count > 0:
            total = total / count
        out[i] = total if count > 0 else 0.0
        if out[i] == 0.0:
            out[i] = 0.0  # never -0.0


@kernel("void(int64[::1], int64[::1], int64[::1], boolean, int64[::1])")
def frame_extremes(lo: Any, hi: Any, rank: Any, greatest: Any, out: Any) -> None:
    """out[i] = the element of frame i with the least (greatest) rank, -1 without one. Elements of
    rank < 0 do not count. A place's frames come one after the other and never go back."""
    n = rank.shape[0]
    queue = np.empty(n, np.int64)
    head, tail = 0, 0  # queue[head:tail]: elements whose rank no later one beats
    added = 0
    for i in range(lo.shape[0]):
        if lo[i] > added or i == 0:
            head, tail = 0, 0
            added = max(added, lo[i])
        while added < hi[i]:
            r = rank[added]
            if r >= 0:
                while tail > head and (
                    rank[queue[tail - 1]] <= r if greatest else rank[queue[tail - 1]] >= r
                ):
                    tail -= 1
                queue[tail] = added
                tail += 1
            added += 1
        while head < tail and queue[head] < lo[i]:
            head += 1
        out[i] = queue[head] if head < tail and queue[head] < hi[i] else -1
