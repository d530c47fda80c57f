"""A condition that rows are kept by, in the words that the rules of the plan look for.

    NOT (a <> b)                          a = b
    NOT (p OR q)                          NOT p, NOT q
    p IS TRUE, p = TRUE                   p
    a = b OR a IS NULL AND b IS NULL      a IS NOT DISTINCT FROM b

So an equality is the key of a join, a comparison with NOW() a temporal filter and one with a rank a
bound, however it is written. The same rows are kept: what is TRUE stays TRUE, while FALSE and NULL,
which both drop a row, may take each other's place.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.data.types import BINARIES, INTEGERS, STRINGS, Kind
from penstock.plan.expressions import (
    And,
    Call,
    Cast,
    Coalesce,
    Expr,
    InList,
    IsNull,
    Literal,
    Not,
    Or,
)
from penstock.sql.bind import build

_OPPOSITE = {
    "=": "<>",
    "<>": "=",
    "is_distinct": "is_not_distinct",
    "is_not_distinct": "is_distinct",
}
_OPPOSITE_IN_ORDER = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}
#: types whose values are in one order, each equal to itself (NaN is not)
_ORDERED = (
    INTEGERS | STRINGS | BINARIES
    | {Kind.DECIMAL, Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ, Kind.BOOLEAN}
)  # fmt: skip


def kept_by(condition: Expr | None) -> list[Expr]:
    """The conjuncts, in order, of what keeps the rows that `condition` keeps; [] for None."""
    if condition is None:
        return []
    match condition:
        case And(args=args):
            return [term for a in args for term in kept_by(a)]
        case Not(operand=p):
            denied = _denied(p)
            return [condition] if denied is None else [t for d in denied for t in kept_by(d)]
        case Coalesce(args=(p, Literal(value=False))):
            return kept_by(p)  # p IS TRUE
        case Call(args=(p, Literal(value=bool(value)))) if condition.function.name in ("=", "<>"):
            claims = value is (condition.function.name == "=")
            return kept_by(p if claims else build.not_(p, condition.span))
        case InList(operand=e, items=(only,), negated=False):
            return [build.call("=", [e, only], condition.span)]
        case Or(args=args):
            equal = _null_safe(args)
            return [condition if equal is None else equal]
    return [condition]


def _denied(p: Expr) -> Sequence[Expr] | None:
    """What NOT p says, term by term; None where that is how it is said."""
    match p:
        case Not(operand=operand):
            return (operand,)
        case Or(args=args):
            return [build.not_(a, a.span) for a in args]
        case Call(args=(a, b), function=f):
            opposite = _OPPOSITE.get(f.name)
            if a.type.kind in _ORDERED and b.type.kind in _ORDERED:
                opposite = opposite or _OPPOSITE_IN_ORDER.get(f.name)
            if opposite is not None:
                return (build.call(opposite, [a, b], p.span),)
    return None


def _null_safe(args: Sequence[Expr]) -> Expr | None:
    """a IS NOT DISTINCT FROM b, where `args` of an OR say: equal, or both NULL."""
    if len(args) != 2:
        return None
    for equal, both in (args, args[::-1]):
        if not (isinstance(equal, Call) and equal.function.name == "=" and isinstance(both, And)):
            continue
        if not all(isinstance(t, IsNull) and not t.negated for t in both.args):
            continue
        a, b = equal.args
        null = {t.operand for t in both.args if isinstance(t, IsNull)}
        if a.type.kind in _ORDERED and null == {_uncast(a), _uncast(b)}:
            return build.call("is_not_distinct", [a, b], equal.span)
    return None


def _uncast(e: Expr) -> Expr:
    """What is NULL exactly where `e` is."""
    while isinstance(e, Cast) and not e.safe and e.operand.type.kind in _ORDERED:
        e = e.operand
    return e
