"""What a window function is over rows that lie in order.

    Elements    the rows of every place in order, one element a row, or one a copy where functions
                count rows: ROW_NUMBER, LAG, ROWS BETWEEN …
    evaluate    one call → one column, an entry an element

Not here: which rows to look at after a change (`penstock.circuit.ops.window`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids
from penstock.circuit.float_frames import FloatSums, floats_of, frame_float_sums
from penstock.circuit.frames import (
    frame_extremes,
    frame_sums,
    range_frames,
    rows_sums,
)
from penstock.circuit.moments import wide_values
from penstock.circuit.ordering import Settled
from penstock.circuit.spec import Frame, Order, WindowSpec
from penstock.circuit.wide import range_words, read_sums
from penstock.data.batch import Batch, Column
from penstock.data.gather import concat_columns, take_column
from penstock.data.kernel import kernel
from penstock.data.masks import all_set, positions
from penstock.data.order import sort_indices, value_codes
from penstock.data.types import FLOATS, Kind
from penstock.errors import RuntimeSqlError

#: farther than any row
_FAR = 1 << 60
_LONG, _NO_MASK = np.dtype(np.int64), np.zeros(0, np.uint8)
#: functions that see copies of a row one after the other
BY_ROW = frozenset(("ROW_NUMBER", "LAG", "LEAD", "COPY", "COPIES LEFT"))


@dataclass(frozen=True, slots=True)
class Elements:
    """All arrays have an entry an element. `row`: its row, the copies of one after each other;
    `first` and `end`: where its place begins and ends; `peer_first`, `peer_end`: where its peers
    do. `are_rows`: element i is row i."""

    rows: Batch
    order: tuple[Order, ...]
    row: Ids
    place: Ids
    peer: Ids
    weights: Ids
    first: Ids
    end: Ids
    peer_first: Ids
    peer_end: Ids
    are_rows: bool

    @staticmethod
    def of(found: Settled, order: tuple[Order, ...], *, by_row: bool) -> Elements:
        weights, place, peer = found.rows.weights, found.place, found.peer
        row, are_rows = np.arange(len(weights)), True
        if by_row and has_copies(weights):
            row, are_rows = np.repeat(row, weights), False
            place, peer, weights = place[row], peer[row], np.ones(len(row), np.int64)
        return Elements.at(found.rows, row, place, peer, weights, order, are_rows=are_rows)

    @staticmethod
    def at(
        rows: Batch, row: Ids, place: Ids, peer: Ids, weights: Ids, order: tuple[Order, ...],
        *, are_rows: bool = False,
    ) -> Elements:  # fmt: skip
        """Rows row[i] of `rows`."""
        first, end, peer_first, peer_end = np.empty((4, len(row)), np.int64)
        _bounds(place, first, end)
        _bounds(peer, peer_first, peer_end)
        return Elements(
            rows, order, row, place, peer, weights, first, end, peer_first, peer_end, are_rows
        )

    def __len__(self) -> int:
        return len(self.row)

    def column(self, at: int) -> Column:
        """Column `at` of the elements' rows."""
        column = self.rows.columns[at]
        return column if self.are_rows else take_column(column, self.row)


def has_copies(weights: Ids) -> bool:
    """Whether a weight, all of which are positive, is more than 1."""
    return int(np.add.reduce(weights)) > len(weights)


@kernel("void(int64[::1], int64[::1], int64[::1])")
def _bounds(group: Any, first: Any, end: Any) -> None:
    """Where the run of equal numbers that each entry lies in begins and ends."""
    n = group.shape[0]
    start = 0
    for i in range(n):
        if i > 0 and group[i] != group[i - 1]:
            start = i
        first[i] = start
    stop = n
    for i in range(n - 1, -1, -1):
        if i < n - 1 and group[i] != group[i + 1]:
            stop = i + 1
        end[i] = stop


@kernel("void(int64[::1], int64[::1], boolean, int64, boolean, int64, int64[::1], int64[::1])")
def _rows_frames(
    first: Any, end: Any, from_first: Any, start: Any, to_end: Any, stop: Any, lo: Any, hi: Any
) -> None:
    """Frames from `start` to `stop` elements away, both included, of the element's place."""
    for i in range(first.shape[0]):
        low = first[i] if from_first else min(max(i + start, first[i]), end[i])
        high = end[i] if to_end else min(max(i + stop + 1, first[i]), end[i])
        lo[i], hi[i] = low, max(low, high)


def evaluate(call: WindowSpec, e: Elements) -> Column:
    """The value of `call` for every element. Raises RuntimeSqlError where a sum does not fit."""
    match call.kind:
        case "ROW_NUMBER":
            return Column(call.result, np.arange(len(e)) - e.first + 1)
        case "COPY" | "COPIES LEFT":
            first, end = np.empty((2, len(e)), np.int64)
            _bounds(e.row, first, end)
            if call.kind == "COPY":
                return Column(call.result, np.arange(len(e)) - np.maximum(first, e.first))
            return Column(call.result, np.minimum(end, e.end) - 1 - np.arange(len(e)))
        case "RANK":
            before = np.cumsum(e.weights) - e.weights
            return Column(call.result, before[e.peer_first] - before[e.first] + 1)
        case "DENSE_RANK":
            return Column(call.result, e.peer - e.peer[e.first] + 1)
        case "LAG" | "LEAD":
            return _shifted(call, e, np.arange(len(e)))
        case "FIRST_VALUE" | "LAST_VALUE":
            return _edge(call, e)
    assert call.frame is not None
    if call.kind in ("SUM", "AVG") and call.frame.unit == "ROWS":
        column = e.rows.columns[call.args[0]]
        if column.values.dtype == _LONG and column.values.ndim == 1:
            return _sum_of_rows(call, column, e)
    lo, hi = frames_of(call.frame, e)
    if call.kind == "FAR END":
        at = np.where(hi <= lo, -1, hi - 1 if call.frame.start is None else lo)
        return far_end(call, e.column(call.args[0]), at)
    if call.kind == "COUNT":
        return _count(call, e, lo, hi)
    (argument,) = call.args
    column = e.column(argument)
    weights = e.weights if column.valid is None else e.weights * column.valid
    if call.kind in ("MIN", "MAX"):
        return extreme(call, column, lo, hi)
    assert call.kind in ("SUM", "AVG"), call.kind
    return _sum(call, column, weights, lo, hi)


def _shifted(call: WindowSpec, e: Elements, here: Ids) -> Column:
    """The argument `offset` rows back (LAG) or ahead (LEAD)."""
    (argument, *default) = call.args
    column = e.rows.columns[argument]
    sign = -1 if call.kind == "LAG" else 1
    if call.ignore_nulls and column.valid is not None and call.offset:
        has_value = column.valid[e.row] != 0
        places = positions(has_value)
        # how many elements with a value lie before each, itself not counted
        before = np.cumsum(has_value) - has_value
        at = before - call.offset if sign < 0 else before + has_value + call.offset - 1
        is_there = (at >= 0) & (at < len(places))
        target = np.where(is_there, np.append(places, 0)[np.where(is_there, at, 0)], -1)
    else:
        target = here + sign * call.offset
    outside = (target < e.first) | (target >= e.end)
    source = np.where(outside, -1, e.row[np.where(outside, 0, target)])
    found = take_column(column, source, null_at_minus_one=True)
    missing = positions(outside)
    if default and len(missing):
        other = take_column(e.rows.columns[default[0]], e.row[missing])
        order = np.arange(len(e))
        order[missing] = len(e) + np.arange(len(missing))
        found = take_column(concat_columns((found, other)), order)
    return with_nulls(found, call)


def _edge(call: WindowSpec, e: Elements) -> Column:
    """The first or last value of the frame, which begins or ends with the place."""
    (argument,) = call.args
    column = e.rows.columns[argument]
    frame = call.frame
    assert frame is not None
    is_first = call.kind == "FIRST_VALUE"
    target = e.first if is_first else e.end - 1
    if call.ignore_nulls and column.valid is not None:
        has_value = column.valid[e.row] != 0
        values = np.append(positions(has_value), -1)
        before = np.append(np.cumsum(has_value) - has_value, has_value.sum())
        target = values[before[e.first]] if is_first else values[before[e.end] - 1]
        limit = (e.peer_first, e.peer_end) if frame.unit == "RANGE" else _itself(len(e))
        low = e.first if frame.start is None else limit[0]
        high = e.end if frame.end is None else limit[1]
        target = np.where((target >= low) & (target < high), target, -1)
    source = np.where(target < 0, -1, e.row[target])
    return with_nulls(take_column(column, source, null_at_minus_one=True), call)


def _itself(n: int) -> tuple[Ids, Ids]:
    return np.arange(n), np.arange(1, n + 1)


def frames_of(frame: Frame, e: Elements) -> tuple[Ids, Ids]:
    """(lo, hi) of every element."""
    if frame.unit == "ROWS":
        lo, hi = np.empty(len(e), np.int64), np.empty(len(e), np.int64)
        start, end = _cut_off(frame.start), _cut_off(frame.end)
        _rows_frames(e.first, e.end, frame.start is None, start, frame.end is None, end, lo, hi)
        return lo, hi
    if frame.start in (None, 0) and frame.end in (None, 0):
        lo = e.first if frame.start is None else e.peer_first
        return lo, e.end if frame.end is None else e.peer_end
    (key,) = e.order
    column = e.rows.columns[key.column]
    code = order_code(column, key)[e.row]
    is_null = np.zeros(len(e), bool) if column.valid is None else column.valid[e.row] == 0
    is_value = (is_null ^ key.nulls_first).astype(np.uint64)
    lo, hi = np.empty(len(e), np.int64), np.empty(len(e), np.int64)
    start, end = frame.start or 0, frame.end or 0
    range_frames(
        e.place, is_value, code, np.uint64(abs(start)), start < 0, np.uint64(abs(end)), end < 0,
        frame.start is None, lo, hi,
    )  # fmt: skip
    nulls = positions(is_null)
    lo[nulls] = e.first[nulls] if frame.start is None else e.peer_first[nulls]
    hi[nulls] = e.peer_end[nulls]
    if frame.end is None:
        hi = e.end
    return lo, np.maximum(lo, hi)


def _cut_off(bound: int | None) -> int:
    """So many rows, or none for an end that is open, where nothing is farther than `_FAR`."""
    return 0 if bound is None else max(-_FAR, min(_FAR, bound))


def order_code(column: Column, key: Order) -> npt.NDArray[np.uint64]:
    """The order column as a number: distances are the values', NULL is 0. Decimals have at most
    18 digits here."""
    if column.type.kind is Kind.DECIMAL:
        low = np.ascontiguousarray(column.values[:, 0])
        code = low ^ np.uint64(1 << 63)
    else:
        (code,) = value_codes(column)
    code = ~code if key.descending else code
    return code if column.valid is None else np.where(column.valid == 0, np.uint64(0), code)


def _count(call: WindowSpec, e: Elements, lo: Ids, hi: Ids) -> Column:
    weights = e.weights
    for argument in call.args:
        valid = e.rows.columns[argument].valid
        if valid is not None:
            weights = weights * valid[e.row]
    before = np.concatenate((np.zeros(1, np.int64), np.cumsum(weights)))
    return Column(call.result, before[hi] - before[lo])


def extreme(call: WindowSpec, column: Column, lo: Ids, hi: Ids) -> Column:
    """The MIN or MAX of each frame of elements, whose values are `column`."""
    rank = np.empty(len(column), np.int64)
    rank[sort_indices((column,), ((False, True),))] = np.arange(len(column))
    if column.valid is not None:
        rank[column.valid == 0] = -1
    at = np.empty(len(lo), np.int64)
    frame_extremes(lo, hi, rank, call.kind == "MAX", at)
    return with_nulls(take_column(column, at, null_at_minus_one=True), call)


def _sum(call: WindowSpec, column: Column, weights: Ids, lo: Ids, hi: Ids) -> Column:
    n = len(lo)
    if column.type.kind in FLOATS:
        elements = FloatSums.of(len(column), np.arange(len(column)), weights, floats_of(column))
        return float_sums(call, lo, hi, elements, weights)
    sums, counts = np.empty((n, 3), np.uint64), np.empty(n, np.int64)
    frame_sums(lo, hi, np.ascontiguousarray(wide_values(column)), weights, sums, counts)
    return exact_sums(call, sums, counts)


def _sum_of_rows(call: WindowSpec, column: Column, e: Elements) -> Column:
    """The SUM or AVG of numbers of one word, signed, over frames of so many rows: in one call."""
    assert call.frame is not None
    n, frame, valid = len(e), call.frame, column.valid
    sums, there = np.empty((n, 2), np.uint64), np.empty(n, np.uint8)
    bad = rows_sums(
        e.first, e.end, frame.start is None, _cut_off(frame.start), frame.end is None,
        _cut_off(frame.end), e.row, column.values, _NO_MASK if valid is None else valid,
        e.weights, call.kind == "AVG", *range_words(call.result), sums, there,
    )  # fmt: skip
    return _exact(call, sums, there, bad)


def float_sums(call: WindowSpec, lo: Ids, hi: Ids, elements: FloatSums, counts: Ids) -> Column:
    """The SUM or AVG of each frame of elements that are totals of so many values."""
    out, valid = frame_float_sums(lo, hi, elements, counts, call.kind == "AVG")
    with np.errstate(over="ignore"):  # a total beyond the type is infinite
        numbers = out.astype(call.result.dtype, copy=False)
    return Column(call.result, numbers, None if all_set(valid) else valid)


def exact_sums(call: WindowSpec, sums: npt.NDArray[np.uint64], counts: Ids) -> Column:
    """The SUM or AVG that exact totals, uint64[n, 3], of `counts` values are. Raises
    RuntimeSqlError where one does not fit."""
    n, average = len(counts), call.kind == "AVG"
    words, valid = np.empty((n, 2), np.uint64), np.empty(n, np.uint8)
    bad = read_sums(np.arange(n), sums, counts, average, *range_words(call.result), words, valid)
    return _exact(call, words, valid, bad)


def _exact(
    call: WindowSpec, words: npt.NDArray[np.uint64], valid: npt.NDArray[np.uint8], bad: int
) -> Column:
    """The results that `words` are, unless `bad` is an element whose does not fit."""
    if bad >= 0:
        raise overflow(call, bad)
    exact = words if call.result.is_wide else words[:, 0].astype(call.result.dtype)
    return Column(call.result, exact, None if all_set(valid) else valid)


def far_end(call: WindowSpec, totals: Column, at: Ids) -> Column:
    """Totals `at`, that of no rows for -1. Raises RuntimeSqlError where a sum does not fit."""
    found = fitting(call, take_column(totals, at, null_at_minus_one=True))
    if not call.result.nullable:  # a COUNT, or a frame that the row itself is in
        return Column(call.result, found.values, None, found.heaps)
    return with_nulls(found, call)


def fitting(call: WindowSpec, sums: Column) -> Column:
    """The values of `call`, from exact sums in a type that is wider than its own. Raises
    RuntimeSqlError where one does not fit."""
    if sums.type.same_as(call.result):
        return sums
    n = len(sums)
    words = wide_values(sums)
    sign = (words[:, 1].astype(np.int64) >> 63).view(np.uint64)
    counts = np.ones(n, np.int64) if sums.valid is None else sums.valid.astype(np.int64)
    out, valid = np.empty((n, 2), np.uint64), np.empty(n, np.uint8)
    triple = np.column_stack((words, sign))
    bad = read_sums(
        np.arange(n), triple, counts, False, *range_words(call.result), out, valid
    )  # fmt: skip
    if bad >= 0:
        raise overflow(call, bad)
    exact = out if call.result.is_wide else out[:, 0].astype(call.result.dtype)
    return Column(call.result, exact, valid)


def overflow(call: WindowSpec, element: int) -> RuntimeSqlError:
    kind = "SUM" if call.kind == "FAR END" else call.kind
    return RuntimeSqlError(
        f"{kind} OVER overflows: the total of a frame does not fit {call.result}; "
        "cast the argument to a wider type first",
        row=element,
    )


def with_nulls(column: Column, call: WindowSpec) -> Column:
    valid = column.valid
    if valid is not None and all_set(valid):
        valid = None
    return Column(call.result, column.values, valid, column.heaps)
