"""Which columns a join's condition keeps near to each other, for joins that have no equal keys.

    l.ts >= r.ts AND l.ts <= r.ts + INTERVAL 40 SECONDS     l.ts ≥ r.ts,  l.ts - 40 s ≤ r.ts

Bounds say no more than the conditions, which are still evaluated for every pair within them.

    l.x <> r.x                                              the one way in which a pair may fail
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from penstock.data.types import FLOATS, NESTED, SIGNED, STRINGS, Kind
from penstock.plan.expressions import Call, Expr, InputRef
from penstock.plan.rewrite import shifted

#: types that something may be added to, in whole units
KINDS = frozenset((*SIGNED, Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ))
#: other types of which a place in an order is found by search
ORDERED = FLOATS | STRINGS | {Kind.DECIMAL, Kind.TIME}
_LESS, _MORE = ("<", "<="), (">", ">=")


class Bound(NamedTuple):
    """Of a pair of rows: left column `left` + `shift` ≤ right column `right` (`left_is_low`), or ≥.
    Both are whole numbers, dates or timestamps; `shift` is in their units. Or both are of one type
    with an order, and there is no shift."""

    left: int
    right: int
    shift: int
    left_is_low: bool


def bounds_of(conditions: Iterable[Expr], width: int) -> tuple[Bound, ...]:
    """`conditions` that must all hold for a pair; the left side has `width` columns."""
    found = [_bound(c, width) for c in conditions]
    return tuple(dict.fromkeys(b for b in found if b is not None))


def differing(conditions: Iterable[Expr], width: int) -> tuple[int, int] | None:
    """The left column and the right one, of one type, of which `conditions` say that they differ,
    and nothing else; the left side has `width` columns."""
    found = tuple(conditions)
    if len(found) != 1 or not isinstance(found[0], Call):
        return None
    call = found[0]
    if call.function.name not in ("<>", "!="):
        return None
    a, b = call.args
    if not isinstance(a, InputRef) or not isinstance(b, InputRef):
        return None
    if a.index >= width:
        a, b = b, a
    is_apart = a.index < width <= b.index
    is_alike = a.type.with_nullable(True) == b.type.with_nullable(True)
    plain = a.type.kind not in NESTED and a.type.kind is not Kind.VARIANT
    return (a.index, b.index - width) if is_apart and is_alike and plain else None


def _bound(condition: Expr, width: int) -> Bound | None:
    if not isinstance(condition, Call) or condition.function.name not in (*_LESS, *_MORE):
        return None
    kinds = {a.type.kind for a in condition.args}
    if not kinds <= KINDS:
        a, b = condition.args
        is_one = a.type.with_nullable(True) == b.type.with_nullable(True)
        columns = isinstance(a, InputRef) and isinstance(b, InputRef)
        if not (is_one and columns and kinds <= ORDERED):
            return None
    low, high = map(shifted, condition.args)
    if condition.function.name in _MORE:
        low, high = high, low
    if low is None or high is None or (low[0] < width) == (high[0] < width):
        return None
    # low + a ≤ high + b
    if low[0] < width:
        return Bound(low[0], high[0] - width, low[1] - high[1], left_is_low=True)
    return Bound(high[0], low[0] - width, high[1] - low[1], left_is_low=False)
