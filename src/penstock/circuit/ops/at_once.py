"""All calls of a GROUP BY at once, where each of them adds numbers up (COUNT, SUM, AVG) or keeps
the best row (MIN, MAX, ARG_MIN, ARG_MAX) and shows a number.

    totals of the touched groups ──► before ──► + delta ──► after ──► back to where they were
    best rows                           └── values ──► -before +after where they differ

One kernel does what the accumulators (`penstock.circuit.ops.accumulate`) do one by one: the totals
of a group are fetched once, many groups at the same time, and a small step pays for one call. What
is kept stays theirs. The best rows are found by `Extremum`, and the kernel only compares them.

Cost: O(|delta|) additions, O(touched groups) waits for memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit import wide
from penstock.circuit.dense import Ids
from penstock.circuit.ops.accumulate import Accumulator, Count, ExactSum, GroupedRows
from penstock.circuit.ops.aggregate_call import Call
from penstock.circuit.ops.extremum import Extremum
from penstock.circuit.wide import _is_within, added, inlined, mean, scaled
from penstock.data.batch import Column, Weights
from penstock.data.kernel import kernel
from penstock.data.masks import all_set
from penstock.data.pointers import load_u64, store_u64
from penstock.data.types import SqlType

#: what the kernel is told of a call
_SUMS, _COUNTS, _WEIGHTS, _VALUES, _IS_WIDE, _AVERAGE, _IS_SHOWN = 0, 1, 2, 3, 4, 5, 6
_RANGE = 7

_ZERO = np.uint64(0)


class CallsAtOnce:
    """The calls of one operator, each a COUNT, a SUM or AVG of integers or decimals, or an
    `Extremum` that shows a value of at most two words, equal where these are."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self._calls = calls
        #: each call's accumulator by what it is, so that a step need not ask
        self._best = [c.accumulator if isinstance(c.accumulator, Extremum) else None for c in calls]
        self._sums = [c.accumulator if isinstance(c.accumulator, ExactSum) else None for c in calls]
        self._counts = [
            c.accumulator if isinstance(c.accumulator, Count | ExactSum) else None for c in calls
        ]
        self._types = [_shown_type(c.accumulator) for c in calls]
        #: what the kernel is told, filled in but for the arrays
        self._told = np.zeros((len(calls), _RANGE + 4), np.uint64)
        for told, best, sums in zip(self._told, self._best, self._sums, strict=True):
            told[_IS_SHOWN] = best is not None
            if sums is not None:
                told[_AVERAGE] = sums.is_average
                told[_RANGE:] = sums.range

    @staticmethod
    def are(calls: Sequence[Call]) -> bool:
        return bool(calls) and all(
            not call.is_distinct
            and (type(call.accumulator) in (Count, ExactSum) or _shows_words(call.accumulator))
            for call in calls
        )

    def take_in(
        self, rows: GroupedRows, totals: npt.NDArray[np.int64]
    ) -> tuple[Ids, Ids, tuple[Column, ...], Weights] | None:
        """Add `rows` to their groups, of which each has `totals` rows. What that changes: (places
        in `rows.touched`, one row of `rows` for each of those, values, weights), old rows before
        new ones. None if a value does not fit its type."""
        groups = len(rows.touched)
        told = self._told
        words = np.empty((1 + 4 * len(told), 2 * groups), np.uint64)
        values = np.empty((len(told), 2, 2 * groups), np.uint64)
        valid = np.empty((len(told), 2 * groups), np.uint8)
        held = []
        for i, best in enumerate(self._best):
            counted = self._calls[i].counted(rows)
            if best is not None:
                v, known = values[i], valid[i]
                self._show(best, rows.touched, v[:, :groups], known[:groups])
                best.add(counted)
                self._show(best, rows.touched, v[:, groups:], known[groups:])
            else:
                held.append(self._tell(i, counted, told[i]))
        places, weights, row = np.empty((3, 2 * groups), np.int64)
        count = _take_in(
            rows.touched, rows.slots, rows.weights, totals, told, words, values, valid, places,
            weights, row,
        )  # fmt: skip
        del held
        if count < 0:
            return None
        columns = (
            _column(type, values[i, :, :count], valid[i, :count])
            for i, type in enumerate(self._types)
        )
        return places[:count], row[:count], tuple(columns), weights[:count]

    @staticmethod
    def _show(best: Extremum, groups: Ids, words: Any, valid: Any) -> None:
        """Write the values of `groups` where the kernel compares them: 0 for NULL."""
        column = best.read(groups)
        if best.result.is_wide:
            words[:] = column.values.T
        else:
            words[0] = column.values.astype(np.int64, copy=False).view(np.uint64)
            words[1] = 0
        valid[:] = 1 if column.valid is None else column.valid

    def _tell(self, call: int, counted: GroupedRows, told: npt.NDArray[np.uint64]) -> Any:
        """Fill in what the kernel is told of `call`; the arrays that this points to."""
        weights = np.ascontiguousarray(counted.weights)
        told[_WEIGHTS] = _address(weights)
        values, added = None, None
        if (sums := self._sums[call]) is not None:
            values, added = np.ascontiguousarray(sums.addends(counted.args[0])), sums.sums
            told[_SUMS], told[_VALUES] = _address(added), _address(values)
            told[_IS_WIDE] = values.ndim == 2
        accumulator = self._counts[call]
        assert accumulator is not None
        counts = accumulator.own_counts
        if counts is not None:
            told[_COUNTS] = _address(counts)
        return weights, values, added, counts


def _address(array: npt.NDArray[Any]) -> int:
    assert array.flags.c_contiguous
    address: int = array.__array_interface__["data"][0]
    return address


def _shows_words(accumulator: Accumulator) -> bool:
    """Whether it is an extremum whose value is its words: of floats, 0.0 is -0.0."""
    if type(accumulator) is not Extremum:
        return False
    type_ = accumulator.result
    return not (type_.is_view or type_.children) and (
        type_.is_wide or np.dtype(type_.dtype).kind in "biu"
    )


def _shown_type(accumulator: Accumulator) -> SqlType:
    assert isinstance(accumulator, Count | ExactSum | Extremum)
    return accumulator.result


def _column(type: SqlType, words: npt.NDArray[np.uint64], valid: Any) -> Column:
    """`words` uint64[2, n], the low ones first."""
    if type.is_wide:
        values = np.ascontiguousarray(words.T)
    elif type.dtype.itemsize == 8:
        values = words[0].view(type.dtype)
    else:
        values = words[0].astype(type.dtype)
    return Column(type, values, None if all_set(valid) else valid)


@kernel(
    "int64(int64[::1], int64[::1], int64[::1], int64[::1], uint64[:, ::1], uint64[:, ::1], "
    "uint64[:, :, ::1], uint8[:, ::1], int64[::1], int64[::1], int64[::1])",
    helpers=(wide,),
)
def _take_in(
    touched: Any,
    slots: Any,
    weights: Any,
    totals: Any,
    told: Any,
    words: Any,
    values: Any,
    valid: Any,
    places: Any,
    signs: Any,
    row: Any,
) -> int:
    """`CallsAtOnce.take_in`. A column of `words` are the totals of a group before, in the second
    half after: of all rows, and four a call, its own count and the sum."""
    groups, eight = touched.shape[0], np.uint64(8)
    # nothing here depends on anything, so that many groups are fetched at the same time
    for j in range(groups):
        words[0, j] = np.uint64(totals[touched[j]])
    for c in range(told.shape[0]):
        first = 1 + 4 * c
        if told[c, _COUNTS] != _ZERO:
            counts = told[c, _COUNTS]
            for j in range(groups):
                words[first, j] = load_u64(counts + eight * np.uint64(touched[j]))
                words[first, groups + j] = words[first, j]
        if told[c, _SUMS] != _ZERO:
            sums = told[c, _SUMS]
            for j in range(groups):
                at = sums + np.uint64(24) * np.uint64(touched[j])
                words[first + 1, j] = words[first + 1, groups + j] = load_u64(at)
                words[first + 2, j] = words[first + 2, groups + j] = load_u64(at + eight)
                words[first + 3, j] = words[first + 3, groups + j] = load_u64(at + np.uint64(16))
    after = words[0, groups:]
    for j in range(groups):
        after[j] = words[0, j]
    for i in range(slots.shape[0]):
        after[slots[i]] += np.uint64(weights[i])
    for c in range(told.shape[0]):
        first, weight_at, value_at = 1 + 4 * c, told[c, _WEIGHTS], told[c, _VALUES]
        if told[c, _COUNTS] != _ZERO:
            count = words[first, groups:]
            for i in range(slots.shape[0]):
                count[slots[i]] += load_u64(weight_at + eight * np.uint64(i))
        if told[c, _SUMS] != _ZERO:
            s0, s1, s2 = words[first + 1], words[first + 2], words[first + 3]
            is_wide = told[c, _IS_WIDE] != _ZERO
            for i in range(slots.shape[0]):
                at = eight * np.uint64(i)
                weight = np.int64(load_u64(weight_at + at))
                if weight != 0:
                    low = load_u64(value_at + (at + at if is_wide else at))
                    high = ~_ZERO if np.int64(low) < 0 else _ZERO
                    if is_wide:
                        high = load_u64(value_at + at + at + eight)
                    p0, p1, p2 = scaled(low, high, weight)
                    j = groups + slots[i]
                    s0[j], s1[j], s2[j] = added(s0[j], s1[j], s2[j], p0, p1, p2)
    for j in range(groups):
        totals[touched[j]] = np.int64(after[j])
    # the values of all rows, and which of two rows show
    for j in range(groups):
        was, is_now = np.int64(words[0, j]) > 0, np.int64(after[j]) > 0
        places[j] = np.int64(was != is_now)
    for c in range(told.shape[0]):
        first = 1 + 4 * c
        v0, v1, known = values[c, 0], values[c, 1], valid[c]
        if told[c, _COUNTS] != _ZERO:
            counts = told[c, _COUNTS]
            for j in range(groups):
                store_u64(counts + eight * np.uint64(touched[j]), words[first, groups + j])
        if told[c, _SUMS] != _ZERO:
            sums = told[c, _SUMS]
            for j in range(groups):
                at = sums + np.uint64(24) * np.uint64(touched[j])
                store_u64(at, words[first + 1, groups + j])
                store_u64(at + eight, words[first + 2, groups + j])
                store_u64(at + np.uint64(16), words[first + 3, groups + j])
        count = words[first if told[c, _COUNTS] != _ZERO else 0]
        if told[c, _IS_SHOWN] == _ZERO and told[c, _SUMS] == _ZERO:
            for at in range(2 * groups):
                v0[at], v1[at], known[at] = count[at], _ZERO, np.uint8(1)
        elif told[c, _IS_SHOWN] == _ZERO:
            s0, s1, s2 = words[first + 1], words[first + 2], words[first + 3]
            is_mean = told[c, _AVERAGE] != _ZERO
            least0, least1 = told[c, _RANGE], told[c, _RANGE + 1]
            most0, most1 = told[c, _RANGE + 2], told[c, _RANGE + 3]
            for at in range(2 * groups):
                w0, w1, w2 = s0[at], s1[at], s2[at]
                is_known = np.int64(count[at]) > 0
                if not is_known:
                    w0, w1 = _ZERO, _ZERO
                elif np.int64(words[0, at]) > 0:
                    if is_mean:
                        w0, w1, w2 = mean(w0, w1, w2, count[at])
                    if at >= groups and not _is_within(w0, w1, w2, least0, least1, most0, most1):
                        return -1
                v0[at], v1[at], known[at] = w0, w1, np.uint8(is_known)
        for j in range(groups):
            other = groups + j
            differs = v0[j] != v0[other] or v1[j] != v1[other] or known[j] != known[other]
            places[j] |= np.int64(differs)
    for i in range(slots.shape[0]):
        row[groups + slots[i]] = i
    shown: int = _compact(groups, words[0], values, valid, places, signs, row)
    return shown


@inlined
def _compact(
    groups: Any, totals: Any, values: Any, valid: Any, places: Any, signs: Any, row: Any
) -> Any:
    """Move the rows that show to the front, old ones before new ones; how many they are. places[j]
    says whether the rows of group j differ; row[groups + j] is one of its rows in the delta."""
    for j in range(groups):
        differs = places[j] != 0
        places[j] = np.int64(differs and np.int64(totals[j]) > 0)
        places[groups + j] = np.int64(differs and np.int64(totals[groups + j]) > 0)
    # `signs` is scratch until it is written: which rows show
    count = 0
    for at in range(2 * groups):
        signs[count] = at
        count += places[at]
    for c in range(values.shape[0]):
        v0, v1, known = values[c, 0], values[c, 1], valid[c]
        for i in range(count):
            at = signs[i]
            v0[i], v1[i], known[i] = v0[at], v1[at], known[at]
    for i in range(count):
        at = signs[i]
        is_new = at >= groups
        j = at - groups if is_new else at
        places[i], signs[i], row[i] = j, 1 if is_new else -1, row[groups + j]
    return count
