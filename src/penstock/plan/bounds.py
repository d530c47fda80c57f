"""Which columns a join's condition keeps near to each other, for joins that have no equal keys.

    l.ts >= r.ts AND l.ts <= r.ts + INTERVAL 40 SECONDS     l.ts ≥ r.ts,  l.ts - 40 s ≤ r.ts

Bounds say no more than the conditions, which are still evaluated for every pair within them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from penstock.data.types import SIGNED, Kind
from penstock.plan.expressions import Call, Expr
from penstock.plan.rewrite import shifted

_KINDS = frozenset((*SIGNED, Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ))
_LESS, _MORE = ("<", "<="), (">", ">=")


class Bound(NamedTuple):
    """Of a pair of rows: left column `left` + `shift` ≤ right column `right` (`left_is_low`), or ≥.
    Both are whole numbers, dates or timestamps; `shift` is in their units."""

    left: int
    right: int
    shift: int
    left_is_low: bool


def bounds_of(conditions: Iterable[Expr], width: int) -> tuple[Bound, ...]:
    """`conditions` that must all hold for a pair; the left side has `width` columns."""
    found = [_bound(c, width) for c in conditions]
    return tuple(dict.fromkeys(b for b in found if b is not None))


def _bound(condition: Expr, width: int) -> Bound | None:
    if not isinstance(condition, Call) or condition.function.name not in (*_LESS, *_MORE):
        return None
    if any(a.type.kind not in _KINDS for a in condition.args):
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
