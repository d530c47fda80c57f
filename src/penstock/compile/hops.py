"""Windows of time (TUMBLE, HOP): a function of single rows that copies them.

    time 12:07, size 10 min, slide 5 min     ──►     window 12:00 – 12:10, window 12:05 – 12:15

Rows of one pane (the time between two slides) fall into the same windows. Who does not look at
the time itself gets equal rows of a pane as one, with their weights added, before it is copied:

    auction 7, 12:06   ┐
    auction 7, 12:07   ┴►   auction 7, pane 12:05 (weight 2)   ──►   two windows (weight 2 each)

And equal rows of a window, which come from several of its panes, are added up as well.

Cost: O(rows · windows a row falls in); by panes O(rows + different rows of a pane · windows).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from penstock.compile.failures import reported
from penstock.data.batch import Batch, Column
from penstock.data.consolidate import first_equal
from penstock.data.gather import take, take_column
from penstock.data.kernel import kernel
from penstock.data.types import Schema
from penstock.errors import RuntimeSqlError
from penstock.functions.calendar import DAY_US, FIRST_DAY, LAST_DAY
from penstock.plan.expressions import InputRef
from penstock.plan.nodes import Aggregate, Hop, Project

I64 = npt.NDArray[np.int64]
#: the first moment that can be written down, and the last
_FIRST, _LAST = FIRST_DAY * DAY_US, (LAST_DAY + 1) * DAY_US - 1


def hop(node: Hop, view: str) -> Callable[[Batch], Batch]:
    """The rows of `node` from those of its input. Integers of µs; floor towards the past.

    Raises RuntimeSqlError, which names `view`, for a window outside the years 1 to 9999."""
    size, slide, offset = node.size, node.slide, node.offset
    copies = -(-size // slide)
    schema = node.schema
    types = schema.types[-2:]

    def windows(batch: Batch) -> Batch:
        time = batch.columns[node.column]
        if copies == 1 and time.valid is None:
            first, end = np.empty((2, len(batch)), np.int64)
            last = _LAST - size
            if _only_windows(time.values, size, slide, offset, _FIRST, last, first, end):
                ends = (Column(types[0], first), Column(types[1], end))
                return Batch(schema, (*batch.columns, *ends), batch.weights)
        known = np.arange(len(batch)) if time.valid is None else np.flatnonzero(time.valid)
        τ = time.values if len(known) == len(batch) else time.values[known]
        latest = (τ - offset) // slide * slide + offset
        back = np.arange(copies, dtype=np.int64) * slide
        start = (latest[:, None] - back).reshape(-1)
        at = np.repeat(known, copies)
        inside = start + size > np.repeat(τ, copies)
        if not inside.all():
            at, start = at[inside], start[inside]
        _in_calendar(start, size, at, batch, view)
        rows = take(batch, at)
        ends = (Column(types[0], start), Column(types[1], start + size))
        return Batch(schema, (*rows.columns, *ends), rows.weights)

    return windows


def counted_by_pane(node: Aggregate) -> Project | None:
    """The input of `node` if its rows can be added up by pane and it is worth it: columns picked
    from sliding windows, all of them group keys, so that many rows are equal."""
    picked = node.input
    if not isinstance(picked, Project) or not isinstance(picked.input, Hop):
        return None
    hop, exprs = picked.input, picked.exprs
    if hop.size <= hop.slide or hop.size % hop.slide:
        return None
    columns = {e.index for e in exprs if isinstance(e, InputRef)}
    if not all(isinstance(e, InputRef) for e in exprs) or hop.column in columns:
        return None
    return picked if set(node.keys) == set(range(len(exprs))) else None


def hop_by_pane(
    node: Hop, picked: Sequence[int], schema: Schema, view: str
) -> Callable[[Batch], Batch]:
    """Columns `picked` of the rows of `node`, without its time, equal rows of a window as one."""
    copies = node.size // node.slide
    width = len(node.schema) - 2
    below = sorted({i for i in picked if i < width})
    start_type = node.schema.types[width]

    def windows(batch: Batch) -> Batch:
        time = batch.columns[node.column]
        if time.valid is not None and not time.valid.all():
            batch = take(batch, np.flatnonzero(time.valid))
            time = batch.columns[node.column]
        of_equal = tuple(batch.columns[i] for i in below)
        row = np.zeros(len(batch), np.int64) if not below else first_equal(of_equal)
        if row is None:
            row = np.arange(len(batch))  # who comes next adds them up
        number = (time.values - node.offset) // node.slide
        rows, number, weights = _added_up(row, number, batch.weights, 1)
        rows, number, weights = _added_up(rows, number, weights, copies)
        start = number * node.slide + node.offset
        _in_calendar(start, node.size, rows, batch, view)
        made = {i: take_column(batch.columns[i], rows) for i in below}
        made[width] = Column(start_type, start)
        made[width + 1] = Column(start_type, start + node.size)
        columns = (made[i].with_type(t) for i, t in zip(picked, schema.types, strict=True))
        return Batch(schema, tuple(columns), weights)

    return windows


@kernel("boolean(int64[::1], int64, int64, int64, int64, int64, int64[::1], int64[::1])")
def _only_windows(
    time: Any, size: Any, slide: Any, offset: Any, least: Any, most: Any, first: Any, end: Any
) -> bool:  # fmt: skip
    """first[i] .. end[i] = the latest window of time[i]; whether all times are in theirs and all
    begin within least .. most."""
    for i in range(time.shape[0]):
        start = (time[i] - offset) // slide * slide + offset
        first[i], end[i] = start, start + size
        if start < least or start > most or end[i] <= time[i]:
            return False
    return True


def _in_calendar(start: I64, size: int, at: I64, batch: Batch, view: str) -> None:
    """Raise for the first window outside the calendar; `at`: the row of `batch` of each."""
    if not len(start) or (start.min() >= _FIRST and start.max() <= _LAST - size):
        return
    row = at[np.argmax((start < _FIRST) | (start > _LAST - size))]
    raise reported(
        RuntimeSqlError("a window is outside the years 1 to 9999", row=int(row)),
        view, batch, batch.schema,
    )  # fmt: skip


def _added_up(row: I64, pane: I64, weights: I64, copies: int) -> tuple[I64, I64, I64]:
    """(row, window, weight): rows `row` in panes `pane` fall into the windows pane, pane - 1, …,
    `copies` of them; each pair of a row and a window once, its weights added, zeros dropped."""
    most = len(row) * copies
    slots = np.zeros(1 << (2 * most).bit_length(), np.int32)
    made, window, sums = np.empty((3, most), np.int64)
    count = _add_up(row, pane, weights, copies, slots, made, window, sums)
    made, window, sums = made[:count], window[:count], sums[:count]
    if not sums.all():
        at = np.flatnonzero(sums)
        made, window, sums = made[at], window[at], sums[at]
    return made, window, sums


@kernel(
    "int64(int64[::1], int64[::1], int64[::1], int64, int32[::1], int64[::1], int64[::1], "
    "int64[::1])"
)
def _add_up(
    row: Any, pane: Any, weights: Any, copies: Any, slots: Any, made: Any, window: Any, sums: Any
) -> int:
    """`_added_up`; `slots` are zeros, a power of two and more than twice the pairs."""
    mask = np.uint64(slots.shape[0] - 1)
    k1, k2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
    count = 0
    for i in range(row.shape[0]):
        for back in range(copies):
            at_window = pane[i] - back
            h: Any = (np.uint64(row[i]) * k1 + np.uint64(at_window)) * k2
            at = (h ^ (h >> np.uint64(32))) & mask
            j = np.int64(slots[at]) - 1
            while j >= 0 and (made[j] != row[i] or window[j] != at_window):
                at = (at + np.uint64(1)) & mask
                j = np.int64(slots[at]) - 1
            if j < 0:
                slots[at] = np.int32(count + 1)
                made[count], window[count], sums[count] = row[i], at_window, weights[i]
                count += 1
            else:
                sums[j] += weights[i]
    return count
