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
from penstock.circuit.wide import _add_scaled, _is_within, inlined, mean
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
        words = np.empty((2 * groups, 1 + 4 * len(told)), np.uint64)
        values = np.empty((len(told), 2 * groups, 2), np.uint64)
        valid = np.empty((len(told), 2 * groups), np.uint8)
        held = []
        for i, best in enumerate(self._best):
            counted = self._calls[i].counted(rows)
            if best is not None:
                v, known = values[i], valid[i]
                self._show(best, rows.touched, v[:groups], known[:groups])
                best.add(counted)
                self._show(best, rows.touched, v[groups:], known[groups:])
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
            _column(type, values[i, :count], valid[i, :count]) for i, type in enumerate(self._types)
        )
        return places[:count], row[:count], tuple(columns), weights[:count]

    @staticmethod
    def _show(best: Extremum, groups: Ids, words: Any, valid: Any) -> None:
        """Write the values of `groups` where the kernel compares them: 0 for NULL."""
        column = best.read(groups)
        if best.result.is_wide:
            words[:] = column.values
        else:
            words[:, 0] = column.values.astype(np.int64, copy=False).view(np.uint64)
            words[:, 1] = 0
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
    values = words if type.is_wide else words[:, 0].astype(type.dtype)
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
    """`CallsAtOnce.take_in`. A row of `words` are the totals of a group before, in the second half
    after: of all rows, and four a call, its own count and the sum."""
    groups, eight = touched.shape[0], np.uint64(8)
    # nothing here depends on anything, so that many groups are fetched at the same time
    for j in range(groups):
        words[j, 0] = np.uint64(totals[touched[j]])
    for c in range(told.shape[0]):
        first = 1 + 4 * c
        if told[c, _COUNTS] != _ZERO:
            for j in range(groups):
                words[j, first] = load_u64(told[c, _COUNTS] + eight * np.uint64(touched[j]))
        if told[c, _SUMS] != _ZERO:
            for j in range(groups):
                at = told[c, _SUMS] + np.uint64(24) * np.uint64(touched[j])
                words[j, first + 1] = load_u64(at)
                words[j, first + 2] = load_u64(at + eight)
                words[j, first + 3] = load_u64(at + np.uint64(16))
    for j in range(groups):
        for k in range(words.shape[1]):
            words[groups + j, k] = words[j, k]
    for i in range(slots.shape[0]):
        words[groups + slots[i], 0] += np.uint64(weights[i])
    for c in range(told.shape[0]):
        first, weight_at, value_at = 1 + 4 * c, told[c, _WEIGHTS], told[c, _VALUES]
        if told[c, _COUNTS] != _ZERO:
            for i in range(slots.shape[0]):
                weight = load_u64(weight_at + eight * np.uint64(i))
                words[groups + slots[i], first] += weight
        if told[c, _SUMS] != _ZERO:
            sums = words[groups:, first + 1 : first + 4]
            is_wide = told[c, _IS_WIDE] != _ZERO
            for i in range(slots.shape[0]):
                at = eight * np.uint64(i)
                weight = np.int64(load_u64(weight_at + at))
                if weight != 0:
                    low = load_u64(value_at + (at + at if is_wide else at))
                    high = ~_ZERO if np.int64(low) < 0 else _ZERO
                    if is_wide:
                        high = load_u64(value_at + at + at + eight)
                    _add_scaled(sums, slots[i], low, high, weight)
    for j in range(groups):
        totals[touched[j]] = np.int64(words[groups + j, 0])
    for c in range(told.shape[0]):
        first = 1 + 4 * c
        if told[c, _COUNTS] != _ZERO:
            for j in range(groups):
                at = told[c, _COUNTS] + eight * np.uint64(touched[j])
                store_u64(at, words[groups + j, first])
        if told[c, _SUMS] != _ZERO:
            for j in range(groups):
                at = told[c, _SUMS] + np.uint64(24) * np.uint64(touched[j])
                store_u64(at, words[groups + j, first + 1])
                store_u64(at + eight, words[groups + j, first + 2])
                store_u64(at + np.uint64(16), words[groups + j, first + 3])
    # the values of all rows, and which of two rows show
    for j in range(groups):
        was, is_now = np.int64(words[j, 0]) > 0, np.int64(words[groups + j, 0]) > 0
        places[j] = np.int64(was != is_now)
    for c in range(told.shape[0]):
        first = 1 + 4 * c
        counted = first if told[c, _COUNTS] != _ZERO else 0
        is_sum, is_mean = told[c, _SUMS] != _ZERO, told[c, _AVERAGE] != _ZERO
        least0, least1 = told[c, _RANGE], told[c, _RANGE + 1]
        most0, most1 = told[c, _RANGE + 2], told[c, _RANGE + 3]
        for at in range(2 * groups if told[c, _IS_SHOWN] == _ZERO else 0):
            count = words[at, counted]
            w0, w1, w2 = count, _ZERO, _ZERO
            is_valid = not is_sum or np.int64(count) > 0
            if is_sum:
                w0, w1, w2 = words[at, first + 1], words[at, first + 2], words[at, first + 3]
                if not is_valid:
                    w0, w1 = _ZERO, _ZERO
                elif np.int64(words[at, 0]) > 0:
                    if is_mean:
                        w0, w1, w2 = mean(w0, w1, w2, count)
                    if at >= groups and not _is_within(w0, w1, w2, least0, least1, most0, most1):
                        return -1
            values[c, at, 0], values[c, at, 1], valid[c, at] = w0, w1, np.uint8(is_valid)
        for j in range(groups):
            other = groups + j
            if (
                values[c, j, 0] != values[c, other, 0]
                or values[c, j, 1] != values[c, other, 1]
                or valid[c, j] != valid[c, other]
            ):
                places[j] = 1
    for i in range(slots.shape[0]):
        row[groups + slots[i]] = i
    shown: int = _compact(touched.shape[0], words, values, valid, places, signs, row)
    return shown


@inlined
def _compact(
    groups: Any, words: Any, values: Any, valid: Any, places: Any, signs: Any, row: Any
) -> Any:
    """Move the rows that show to the front, old ones before new ones; how many they are. places[j]
    says whether the rows of group j differ; row[groups + j] is one of its rows in the delta."""
    for j in range(groups):
        differs = places[j] != 0
        places[j] = np.int64(differs and np.int64(words[j, 0]) > 0)
        places[groups + j] = np.int64(differs and np.int64(words[groups + j, 0]) > 0)
    count = 0
    for at in range(2 * groups):
        if places[at] != 0:
            j = at - groups if at >= groups else at
            for c in range(values.shape[0]):
                values[c, count, 0] = values[c, at, 0]
                values[c, count, 1] = values[c, at, 1]
                valid[c, count] = valid[c, at]
            sign = 1 if at >= groups else -1
            places[count], signs[count], row[count] = j, sign, row[groups + j]
            count += 1
    return count
