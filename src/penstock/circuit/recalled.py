"""Window functions that go on from row to row and show what was some rows ago.

    x                                    5   NULL   7   NULL  NULL  9
    LAG(x, 2) IGNORE NULLS               -    -     -    5     5    5
      kept: the last two values          5    5    7 5  7 5   7 5  9 7

    SUM ROWS … AND 2 PRECEDING           -    -     5    5     12   12
      kept: the last two running totals  5   5 5  12 5  12 12 12 12 21 12

With each row is kept what the rows behind it may ask for, so that any of them goes on from the row
before it. That is a column for every row that is looked back: up to `MOST`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from penstock.circuit.dense import Ids
from penstock.circuit.spec import Frame, WindowSpec
from penstock.circuit.windows import Elements, fitting, with_nulls
from penstock.data.batch import Column
from penstock.data.gather import concat_columns, take_column
from penstock.data.types import FLOATS, Kind, SqlType

#: rows (LAG: values) that are looked back at most
MOST = 8

#: (call, elements, seed) → the value of a call at every element and what it goes on from
Continue = Callable[[WindowSpec, Elements, Sequence[Column]], tuple[Column, ...]]


def is_lag_of_values(call: WindowSpec) -> bool:
    return call.kind == "LAG" and call.ignore_nulls and 1 <= call.offset <= MOST


def stops_short(call: WindowSpec) -> bool:
    """Whether it is over the rows up to one that is a few rows before."""
    frame = call.frame
    return (
        frame is not None
        and frame.unit == "ROWS"
        and frame.start is None
        and frame.end is not None
        and -MOST <= frame.end < 0
        and call.kind in ("COUNT", "SUM", "AVG", "MIN", "MAX")
    )


def lag_fields(call: WindowSpec, types: Sequence[SqlType]) -> tuple[SqlType, ...]:
    return (types[call.args[0]].with_nullable(True),) * call.offset


def up_to_here(call: WindowSpec) -> WindowSpec:
    """The same up to the row (from it on, where the frame is open at its end), which is shown in
    other rows; a sum that nobody may ever ask for does not have to fit its type."""
    frame, result = call.frame, call.result
    assert frame is not None
    if call.kind == "SUM" and result.kind not in FLOATS:
        result = SqlType(Kind.DECIMAL, precision=38, scale=result.scale or 0)
    ends = (None, 0) if frame.start is None else (0, None)
    return replace(call, frame=Frame(frame.unit, *ends), result=result)


def short_fields(call: WindowSpec, inner: Sequence[SqlType]) -> tuple[SqlType, ...]:
    """`inner`: what the call up to the row goes on from."""
    assert call.frame is not None and call.frame.end is not None
    value = up_to_here(call).result
    return (value, *inner, *(value,) * (-call.frame.end - 1))


def lag_of_values(call: WindowSpec, e: Elements, seed: Sequence[Column]) -> tuple[Column, ...]:
    """LAG … IGNORE NULLS, and the last values up to each element."""
    own, known = e.column(call.args[0]), seed[1:]
    (state_type,) = {k.type for k in known}
    has = np.ones(len(e), bool) if own.valid is None else own.valid != 0
    values = np.append(np.flatnonzero(has), 0)
    up_to = np.cumsum(has)
    begin = (up_to - has)[e.first]
    back = _Back(own.with_type(state_type), known, e.place)

    def ago(n: int, up_to: Ids) -> Column:
        """The n-th last of the values before the element number `up_to` of all."""
        there = up_to - begin
        is_own = n <= there
        return back.take(is_own, values[np.where(is_own, up_to - n, 0)], n - there)

    found = ago(call.offset, up_to - has)
    if len(call.args) > 1 and found.valid is not None:
        missing = np.flatnonzero(found.valid == 0)
        other = take_column(e.rows.columns[call.args[1]], e.row[missing])
        order = np.arange(len(e))
        order[missing] = len(e) + np.arange(len(missing))
        found = take_column(concat_columns((found, other.with_type(state_type))), order)
    return (with_nulls(found, call), *(ago(n, up_to) for n in range(1, call.offset + 1)))


def short(
    call: WindowSpec, e: Elements, seed: Sequence[Column], continue_from: Continue
) -> tuple[Column, ...]:
    """A call that `stops_short`, and what it goes on from. Raises RuntimeSqlError where a sum does
    not fit."""
    assert call.frame is not None and call.frame.end is not None
    distance, inner = -call.frame.end, up_to_here(call)
    split = len(seed) - (distance - 1)
    value, *state = continue_from(inner, e, seed[1:split])
    back = _Back(value, (seed[1], *seed[split:]), e.place)
    here, first = np.arange(len(e)), e.first

    def ago(n: int) -> Column:
        is_own = here - n >= first
        return back.take(is_own, np.where(is_own, here - n, 0), n - (here - first))

    shown = fitting(call, ago(distance))
    return (with_nulls(shown, call), value, *state, *(ago(n) for n in range(1, distance)))


class _Back:
    """Values of elements, and those of before: `known[n]` has the (n + 1)-th last of each place."""

    def __init__(self, own: Column, known: Sequence[Column], place: Ids) -> None:
        self._all, self._type = concat_columns((own, *known)), own.type
        self._own, self._places, self._place = len(own), len(known[0]), place

    def take(self, is_own: npt.NDArray[np.bool_], at: Ids, ago: Ids) -> Column:
        """Of elements `at`, or else the ago-th last of before."""
        before = self._own + (np.where(is_own, 1, ago) - 1) * self._places + self._place
        found = take_column(self._all, np.where(is_own, at, before))
        # before the first row nothing is counted
        counts = not self._type.nullable
        return Column(self._type, found.values, None) if counts else found
