"""What a window function is over rows that lie in order, going on from what it was before them.

    stored     3   5   9 │ …            value of SUM so far: a state from which any row goes on
    seed               9 │
    elements             │ +1  +4   →   10  14

    goes_on         whether calls can be computed so, from the first row on
    fields_of       the columns, besides its value, that tell how a call goes on behind a row
    continue_from   one call → its value and those columns, an entry an element

A call whose value at every row is a function of the value before and of the row can be taken up
anywhere; where it comes to the same again, it stays the same (see `ops.running_window`).

Cost: O(elements), plus a sort of the argument for MIN and MAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids
from penstock.circuit.frames import frame_extremes, frame_sums, running_float_sums
from penstock.circuit.moments import wide_values
from penstock.circuit.recalled import (
    is_lag_of_values,
    lag_fields,
    lag_of_values,
    short,
    short_fields,
    stops_short,
    up_to_here,
)
from penstock.circuit.spec import Frame, Order, WindowSpec
from penstock.circuit.wide import range_words, read_sums
from penstock.circuit.windows import Elements, evaluate, frames_of, overflow, with_nulls
from penstock.data.batch import Column
from penstock.data.build import canonical_floats
from penstock.data.gather import concat_columns, take_column
from penstock.data.order import sort_indices
from penstock.data.types import BIGINT, DOUBLE, FLOATS, UBIGINT, SqlType

_COUNT = BIGINT.with_nullable(False)
_WORD = UBIGINT.with_nullable(False)
_FLOAT = DOUBLE.with_nullable(False)
#: functions that do not ask which rows are peers
_PEERLESS = ("ROW_NUMBER", "COPY", "COPIES LEFT", "FIRST_VALUE", "LAST_VALUE")


def goes_on(calls: Sequence[WindowSpec], order: Sequence[Order]) -> bool:
    """Whether each of `calls` can be computed from the first row on."""
    return all(_goes_on(c, bool(order)) for c in calls)


def mirrored(calls: Sequence[WindowSpec]) -> tuple[WindowSpec, ...]:
    """Calls that are over the rows in the opposite order what `calls` are over these."""
    return tuple(map(_mirrored, calls))


def _mirrored(call: WindowSpec) -> WindowSpec:
    frame = call.frame
    if frame is None and call.ignore_nulls and call.kind in ("LAG", "LEAD"):
        return replace(call, kind="LEAD" if call.kind == "LAG" else "LAG")
    if call.kind in ("COPY", "COPIES LEFT"):
        return replace(call, kind="COPIES LEFT" if call.kind == "COPY" else "COPY")
    if frame is None:  # ROW_NUMBER, RANK, LAG …: their mirror images have no name
        return replace(call, kind=f"LAST {call.kind}")
    start = None if frame.end is None else -frame.end
    end = None if frame.start is None else -frame.start
    kind = {"FIRST_VALUE": "LAST_VALUE", "LAST_VALUE": "FIRST_VALUE"}.get(call.kind, call.kind)
    return replace(call, kind=kind, frame=Frame(frame.unit, start, end))


def _goes_on(call: WindowSpec, is_ordered: bool) -> bool:
    if call.kind in ("ROW_NUMBER", "COPY", "COPIES LEFT"):
        return True
    if call.kind in ("RANK", "DENSE_RANK"):
        return is_ordered
    if is_lag_of_values(call) or stops_short(call):
        return True
    frame = call.frame
    if frame is None or frame.start is not None:
        return False
    if call.kind == "FIRST_VALUE" and not call.ignore_nulls:
        return True
    ends_here = frame.end == 0 and (is_ordered or frame.unit == "ROWS")
    return ends_here and call.kind in ("FIRST_VALUE", "COUNT", "SUM", "AVG", "MIN", "MAX")


def asks_for_peers(call: WindowSpec) -> bool:
    """Whether a row's value may depend on rows that the order does not tell from it."""
    if call.kind in _PEERLESS and not call.ignore_nulls:
        return False
    if call.frame is None:
        return call.kind not in ("LAG", "LEAD")
    return call.frame.unit == "RANGE"


def fields_of(call: WindowSpec, types: Sequence[SqlType]) -> tuple[SqlType, ...]:
    """`types` are those of the rows."""
    if is_lag_of_values(call):
        return lag_fields(call, types)
    if stops_short(call):
        return short_fields(call, fields_of(up_to_here(call), types))
    if call.kind == "RANK":
        return (_COUNT,)
    if call.kind in ("SUM", "AVG") and types[call.args[0]].kind in FLOATS:
        return (_FLOAT, _FLOAT, _COUNT)
    # a SUM that fits its type says it all; an average forgets what was cut off
    return (_WORD, _WORD, _WORD, _COUNT) if call.kind == "AVG" else ()


def continue_from(
    call: WindowSpec, e: Elements, seed: Sequence[Column], there: npt.NDArray[np.bool_]
) -> tuple[Column, ...]:
    """The value of `call` and its further columns for every element.

    Entry p of the columns of `seed` is the same of the row before place p, if `there[p]`. Raises
    RuntimeSqlError where a sum does not fit."""
    if is_lag_of_values(call):
        return lag_of_values(call, e, seed)
    if stops_short(call):
        return short(call, e, seed, lambda c, e, s: continue_from(c, e, s, there))
    value, place = seed[0], e.place
    match call.kind:
        case "ROW_NUMBER" | "DENSE_RANK" | "COUNT":
            found = evaluate(call, e)
            return (Column(call.result, found.values + value.values[place]),)
        case "COPY" | "COPIES LEFT":
            return (evaluate(call, e),)  # all copies of a row are elements
        case "RANK":
            found, (rows,) = evaluate(call, e), seed[1:]
            up_to = np.concatenate((np.zeros(1, np.int64), np.cumsum(e.weights)))
            known = up_to[e.peer_end] - up_to[e.first] + rows.values[place]
            return Column(call.result, found.values + rows.values[place]), Column(_COUNT, known)
        case "FIRST_VALUE":
            return (_first(call, e, value, there),)
        case "MIN" | "MAX":
            return (_extreme(call, e, value),)
    assert call.kind in ("SUM", "AVG"), call.kind
    column = e.column(call.args[0])
    weights = e.weights if column.valid is None else e.weights * column.valid
    if column.type.kind in FLOATS:
        return _float_sum(call, e, column, weights, seed)
    return _exact_sum(call, e, column, weights, seed)


def _first(call: WindowSpec, e: Elements, before: Column, there: npt.NDArray[np.bool_]) -> Column:
    found = evaluate(call, e)
    known = there if not call.ignore_nulls or before.valid is None else there & (before.valid != 0)
    here = np.arange(len(e))
    source = np.where(known[e.place], len(e) + e.place, here)
    return with_nulls(take_column(concat_columns((found, before)), source), call)


def _extreme(call: WindowSpec, e: Elements, before: Column) -> Column:
    n, greatest = len(e), call.kind == "MAX"
    own = e.column(call.args[0])
    both = concat_columns((own.with_type(before.type), before))
    rank = np.empty(len(both), np.int64)
    rank[sort_indices((both,), ((False, True),))] = np.arange(len(both))
    if both.valid is not None:
        rank[both.valid == 0] = -1
    assert call.frame is not None
    at = np.empty(n, np.int64)
    frame_extremes(*frames_of(call.frame, e), rank[:n].copy(), greatest, at)
    earlier = n + e.place
    mine, theirs = np.where(at < 0, -1, rank[at]), rank[earlier]
    beats = theirs > mine if greatest else (theirs < mine) | (mine < 0)
    source = np.where((theirs >= 0) & beats, earlier, at)
    return with_nulls(take_column(both, source, null_at_minus_one=True), call)


def _float_sum(
    call: WindowSpec, e: Elements, column: Column, weights: Ids, seed: Sequence[Column]
) -> tuple[Column, ...]:
    n = len(e)
    assert call.frame is not None
    _, end = frames_of(call.frame, e)
    out, valid = np.empty(n, np.float64), np.empty(n, np.uint8)
    high, low, counts = np.empty(n), np.empty(n), np.empty(n, np.int64)
    values = column.values.astype(np.float64, copy=False)
    running_float_sums(
        e.place, end, values, weights, *(np.ascontiguousarray(s.values) for s in seed[1:]),
        call.kind == "AVG", out, valid, high, low, counts,
    )  # fmt: skip
    numbers = out.astype(call.result.dtype, copy=False)
    return (
        Column(call.result, numbers, None if valid.all() else valid),
        Column(_FLOAT, canonical_floats(high)),
        Column(_FLOAT, canonical_floats(low)),
        Column(_COUNT, counts),
    )


def _exact_sum(
    call: WindowSpec, e: Elements, column: Column, weights: Ids, seed: Sequence[Column]
) -> tuple[Column, ...]:
    n, average = len(e), call.kind == "AVG"
    assert call.frame is not None
    sums, counts = np.empty((n, 3), np.uint64), np.empty(n, np.int64)
    values = np.ascontiguousarray(wide_values(column))
    frame_sums(*frames_of(call.frame, e), values, weights, sums, counts)
    if average:
        start = np.stack([c.values for c in seed[1:4]], axis=1)
        known = seed[4].values
    else:
        words = wide_values(seed[0])
        sign = (words[:, 1].astype(np.int64) >> 63).view(np.uint64)
        start = np.column_stack((words, sign))
        valid_before = seed[0].valid
        known = np.ones(len(start), np.int64) if valid_before is None else valid_before
    sums = _sum_of(sums, start[e.place])
    counts += known[e.place]
    valid, out = np.empty(n, np.uint8), np.empty((n, 2), np.uint64)
    bad = read_sums(np.arange(n), sums, counts, average, *range_words(call.result), out, valid)
    if bad >= 0:
        raise overflow(call, bad)
    exact = out if call.result.is_wide else out[:, 0].astype(call.result.dtype)
    value = Column(call.result, exact, None if valid.all() else valid)
    if not average:
        return (value,)
    state = tuple(Column(_WORD, np.ascontiguousarray(sums[:, i])) for i in range(3))
    return (value, *state, Column(_COUNT, counts))


def _sum_of(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """192-bit sums, least significant word first."""
    low = a[:, 0] + b[:, 0]
    carry = (low < a[:, 0]).astype(np.uint64)
    middle = a[:, 1] + b[:, 1]
    over = middle < a[:, 1]
    middle += carry
    over |= middle < carry
    return np.column_stack((low, middle, a[:, 2] + b[:, 2] + over))
