"""Totals in a type that holds all of them, and what fits them to their own.

    SUM(x) INTEGER    ──►    SUM(x) BIGINT, $FITS(total, INTEGER) wherever somebody asks for it

Who asks late is for `penstock.sql.bind.totals` and `late_totals` to say.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from penstock.data.types import BIGINT, INTEGERS, VARCHAR, Field, Kind, Schema, SqlType
from penstock.functions.aggregates import AggregateFunction
from penstock.functions.coercion import INTERVALS
from penstock.functions.registry import resolve
from penstock.plan.expressions import Call, Expr, InputRef, Literal
from penstock.plan.nodes import Aggregate
from penstock.sql.passes.join_keys import references

_MOMENTS = ("VAR_POP", "VAR_SAMP", "STDDEV_SAMP", "COVAR_POP", "COVAR_SAMP", "REGR_SXX", "REGR_SYY")
_OVERFLOWING = frozenset(("SUM", *_MOMENTS))
_DIGITS = 38
#: numbers of 32 bits or less
_SHORT = INTEGERS - {Kind.INT64, Kind.UINT64}
_TEXT = VARCHAR.with_nullable(True)


def wider(kind: str, result: SqlType) -> SqlType | None:
    """The type in which `kind` is as good as never too large; None if `result` is that already, or
    it cannot be."""
    if kind == "SUM" and result.kind in INTERVALS:
        return SqlType(Kind.DECIMAL, result.nullable, _DIGITS, 0)  # of its units
    if kind not in _OVERFLOWING or not (result.kind in INTEGERS or result.kind is Kind.DECIMAL):
        return None
    if result.kind is Kind.DECIMAL and result.precision == _DIGITS:
        return None
    if kind == "SUM" and result.kind in _SHORT:
        return BIGINT.with_nullable(result.nullable)  # holds those of 2**31 rows
    return SqlType(Kind.DECIMAL, result.nullable, _DIGITS, result.scale or 0)


def widened(function: AggregateFunction) -> AggregateFunction | None:
    """`function` with a result that holds every total, None if it has one."""
    type = wider(function.kind, function.result)
    if type is None or function.result.kind is not function.arg_types[0].kind:
        return None  # it is wider than its argument already
    return replace(function, result=type)


def fitted(total: Expr, kind: str, type: SqlType, call: str | None = None) -> Expr:
    """`total` as a `type`, an error where it does not fit. `kind`: of aggregate; `call`: how it is
    written, where the place of `total` in the text does not say it."""
    if kind.endswith(" OVER"):
        total_of = "the total of a frame"
    else:
        total_of = "a group's total" if kind == "SUM" else "a group's result"
    what = Literal(_TEXT, f"{kind} overflows: {total_of}")
    args = (total, Literal(type.with_nullable(True), None), what, Literal(_TEXT, call))
    constants = [a.value if isinstance(a, Literal) else None for a in args]
    function = resolve("$FITS", [a.type for a in args], constants)
    return Call(function.result, function, args, span=total.span)


def fitted_above(node: Aggregate, late: Collection[int]) -> tuple[Aggregate, list[Expr]]:
    """`node` with its calls `late` in wider types; its columns as they were, over those of that."""
    n = len(node.keys)
    fields, calls = list(node.schema.fields), list(node.calls)
    exprs: list[Expr] = list(references(node.schema))
    for i in late:
        call, at = node.calls[i], n + i
        function = widened(call.function)
        assert function is not None
        fields[at] = Field(fields[at].name, function.result)
        calls[i] = replace(call, function=function)
        kind = call.function.kind
        name = written(kind, node.input.schema, call.args, "DISTINCT " * call.distinct)
        total = InputRef(function.result, at, fields[at].name)
        exprs[at] = fitted(total, kind, call.function.result, name)
    return replace(node, schema=Schema(tuple(fields)), calls=tuple(calls)), exprs


def written(kind: str, schema: Schema, args: Sequence[int], distinct: str = "") -> str | None:
    """How a call over columns of `schema` is written; None where one of them has no name."""
    names = [schema.fields[a].name for a in args]
    if any(n.startswith("$") for n in names):
        return None
    return f"{kind}({distinct}{', '.join(names)})"
