"""How long ago, as a comparison of moments: what `clock` can follow as time passes.

    TIMESTAMPDIFF(MINUTE, ts, NOW()) < 10     ──►    ts > NOW() - INTERVAL '10' MINUTE
    TIMESTAMPDIFF(HOUR, NOW(), ts) >= 2       ──►    ts >= NOW() + INTERVAL '2' HOUR
    TIMESTAMPDIFF(DAY, ts, NOW()) = 0         ──►    … >= 0 AND … <= 0, each as above
    (NOW() - ts) HOURS < INTERVAL '10' HOUR   ──►    ts > NOW() - INTERVAL '10' HOUR

Whole units are cut off toward zero by TIMESTAMPDIFF, so `< 10` and `<= 10` are ten and eleven of
them. Units of months have no fixed length: the moment that is so many of them away is looked up in
the calendar. A moment that is further away than INTEGER counts units of is compared as what it is,
where TIMESTAMPDIFF by itself is an error.
"""

from __future__ import annotations

from penstock.data.types import INTEGER, TIMESTAMP, Kind, SqlType
from penstock.functions.interval_units import MICROSECONDS, MONTHS, canonical_unit
from penstock.plan.expressions import Call, Expr, Literal
from penstock.sql.bind import build
from penstock.sql.bind.forms import Now, has

_DIFFERENCES = ("TIMESTAMPDIFF", "DATEDIFF")
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
#: a thousand years: no bound leaves the calendar
_FURTHEST = 365_000 * MICROSECONDS["DAY"]
_FURTHEST_MONTHS = 12_000
_MICROSECONDS = SqlType(Kind.INTERVAL_SHORT, nullable=False, unit="SECOND")


def from_and_to(p: Expr) -> list[Expr]:
    """The conjuncts that `p`, a condition that rows are kept by, stands for: where it is an
    equality that `as_moments` can tell from both sides, these two; else itself."""
    if not isinstance(p, Call) or p.function.name != "=" or not has(p, Now):
        return [p]
    sides = [build.call(op, list(p.args), p.span) for op in (">=", "<=")]
    if all(isinstance(s, Call) and as_moments(s) is not None for s in sides):
        return sides
    return [p]


def as_moments(p: Call) -> Call | None:
    """`p` as a comparison of a moment with a function of NOW(), None if it is no such question."""
    if p.function.name not in _MIRRORED or len(p.args) != 2:
        return None
    difference, count = p.args
    op = p.function.name
    if isinstance(difference, Literal):
        difference, count, op = count, difference, _MIRRORED[op]
    if not isinstance(count, Literal) or not isinstance(count.value, int):
        return None
    found = _difference(difference)
    if found is None or difference.type.kind is not count.type.kind:
        return None
    start, end, name, size = found
    if has(start, Now) == has(end, Now):
        return None
    if not all(x.type.kind in (Kind.DATE, Kind.TIMESTAMP) for x in (start, end)):
        return None
    least = count.value
    if name:
        op, least = _whole(op, least)
    span = least * size
    if abs(span) > (_FURTHEST_MONTHS if name in MONTHS else _FURTHEST):
        return None
    start, end = (build.cast(x, TIMESTAMP, x.span) for x in (start, end))
    # end - start compared with span
    moment, clock = (start, end) if has(end, Now) else (end, start)
    if has(end, Now):
        op, span = _MIRRORED[op], -span
    if name in MONTHS:
        shift = Literal(INTEGER.with_nullable(False), span)
        limit = build.call("$MONTHS_AWAY", [clock, shift], p.span)
    else:
        limit = build.call("+", [clock, Literal(_MICROSECONDS, span)], p.span)
    asked = build.call(op, [moment, limit], p.span)
    assert isinstance(asked, Call)
    return asked


def _difference(e: Expr) -> tuple[Expr, Expr, str, int] | None:
    """(start, end, unit, size) of `e`, which is how many whole units of that size, in microseconds
    or months, lie between; no unit where it is the distance itself."""
    if not isinstance(e, Call) or len(e.args) != 3:
        return None
    if e.function.name == "-" and e.type.kind is Kind.INTERVAL_SHORT:
        end, start, _ = e.args
        return start, end, "", 1
    unit, start, end = e.args
    if e.function.name not in _DIFFERENCES or not isinstance(unit, Literal):
        return None
    name = canonical_unit(str(unit.value))
    size = MICROSECONDS.get(name) or MONTHS.get(name)
    return None if size is None else (start, end, name, size)


def _whole(op: str, n: int) -> tuple[str, int]:
    """(operator, number): how x compares where x cut off toward zero compares with n by `op`."""
    if op in ("<", ">"):
        op, n = op + "=", n - 1 if op == "<" else n + 1
    if op == ">=":
        return (">=", n) if n > 0 else (">", n - 1)
    return ("<=", n) if n < 0 else ("<", n + 1)
