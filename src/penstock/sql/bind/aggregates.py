"""Calls of aggregates → `Aggregated` placeholders: DISTINCT, FILTER, WITHIN DISTINCT, ORDER BY.

In a sub-query an aggregate over columns of a query around it is that query's, as the standard
has it: HAVING SUM(o.x) > (SELECT MAX(y) FROM b WHERE y < SUM(o.x)).

Rules: sql-reference 3.1 and 3.2. Not here: the node that computes them (`grouping`, `select`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.data.types import BINARIES, FLOATS, NUMBERS
from penstock.errors import UserError
from penstock.functions.aggregates import resolve_aggregate, takes_distinct
from penstock.functions.bit_strings import OPERATIONS
from penstock.plan.expressions import Expr, InputRef
from penstock.sql import ast
from penstock.sql.bind import build, windows
from penstock.sql.bind.catalog import Folded
from penstock.sql.bind.forms import Aggregated, Exists, ForAll, In, Outer, Scalar, descend, inside
from penstock.sql.bind.report import BindError, unsupported

if TYPE_CHECKING:
    from penstock.sql.bind.expressions import ExpressionBinder

_OF_Y = ("COVAR_POP", "COVAR_SAMP", "REGR_SXX", "REGR_SYY")


def aggregate(
    binder: ExpressionBinder, e: ast.FunctionCall, name: str, user: Folded | None = None
) -> Expr:
    """The call of an aggregate; `user`: whose rows the built-in one `name` collects."""
    is_array, null_free = name == "ARRAY_AGG", e.nulls == "IGNORE"
    called = e.name.name if user else name
    for given, what in (
        (e.order_by and not is_array, "ORDER BY"),
        (e.nulls and not is_array, "IGNORE NULLS"),
        (e.within_group, "WITHIN GROUP"),
        (e.within_distinct and (e.distinct or is_array), "WITHIN DISTINCT"),
    ):  # fmt: skip
        if given:
            raise unsupported(e.span, f"{what} in {called}")
    inner = binder.arguments_of(f"an argument of {called}")
    args = [build.string_of(inner.bind(a)) for a in e.args if not isinstance(a, ast.Star)]
    if len(args) != len(e.args) and (name != "COUNT" or args or user):
        raise BindError(e.span, f"{called}(*) makes no sense; only COUNT takes *")
    if e.distinct and len(args) != len(e.args):
        raise BindError(e.span, f"{name}(DISTINCT *) makes no sense: name the columns that differ")
    distinct, within = e.distinct, [build.string_of(inner.bind(x)) for x in e.within_distinct]
    if user is not None:
        if distinct and not is_array:  # a sum of what rows give: the rows are to differ
            distinct, within = False, args
        args = [user.collected(args, e.span)]
    if not e.args and name == "COUNT":
        raise BindError(e.span, "COUNT needs an argument: write COUNT(*) to count rows")
    bits = f"${name}" if _takes_bytes(name, args) else None
    if bits is not None:  # computed over all values of the group
        name, null_free = "ARRAY_AGG", True
    if is_array and len(args) != 1:
        raise BindError(e.span, "ARRAY_AGG takes one value")
    order = [windows.order_item(inner, item) for item in e.order_by]
    if e.distinct and any(key != args[0] for key, _, _ in order):
        raise BindError(e.span, f"{called}(DISTINCT …) can be ordered by its value only")
    args += [key for key, _, _ in order]
    try:
        function = resolve_aggregate(name, [a.type for a in args])
    except UserError as error:
        raise BindError(e.span, error.message) from None
    function = replace(function, order=tuple((down, first) for _, down, first in order))
    wanted = tuple(build.coerce(a, t) for a, t in zip(args, function.arg_types, strict=True))
    keep = None if e.filter is None else inner.condition(e.filter, "FILTER (WHERE …)")
    if null_free:
        is_there = build.is_null(args[0], e.span, negated=True)
        keep = is_there if keep is None else build.and_([keep, is_there])
    if keep is not None:
        wanted = build.only_where(keep, wanted)
    if distinct and not takes_distinct(name):
        raise BindError(e.span, f"{name} takes no DISTINCT")
    operands = (*wanted, *within, *(() if keep is None else (keep,)))
    level = _level(binder, operands)
    if binder.place is not None and not level:
        hint = "; HAVING filters groups" if binder.place == "WHERE" else ""
        raise BindError(e.span, f"the aggregate {called} cannot be used in {binder.place}{hint}")
    skips = not is_array and any(a.type.nullable for a in args)
    is_full = not function.needs_two and not skips
    if binder.grouped and not level and keep is None and is_full:
        function = replace(function, result=function.result.with_nullable(False))
    wanted, keys = _outward(wanted, level), _outward(tuple(within), level)
    (keep,) = (None,) if keep is None else _outward((keep,), level)
    found: Expr = Aggregated(function.result, function, wanted, distinct, keep, keys, span=e.span)
    for _ in range(level):
        found = Outer(found.type, found, span=e.span)
    if name in _OF_Y and args[0].type.kind in NUMBERS - FLOATS:
        # y and x may have been computed with as DOUBLE; the result has the type of y
        found = build.coerce(found, args[0].type.with_nullable(found.type.nullable))
    return found if bits is None else build.call(bits, [found], e.span)


def _level(binder: ExpressionBinder, operands: Sequence[Expr]) -> int:
    """How many queries further out the one is whose rows are aggregated: that of the columns in
    the operands, where an aggregate may stand there. 0: this query."""
    depths: set[int] = set()

    def note(e: Expr, depth: int) -> None:
        if isinstance(e, InputRef | Scalar | Exists | In | ForAll):
            depths.add(depth)
        if isinstance(e, Outer):
            note(e.expr, depth + 1)
        for x in inside(e):
            note(x, depth)

    for e in operands:
        note(e, 0)
    level = min(depths, default=0)
    if not level:
        return 0
    scope = binder.outer[level - 1]
    is_theirs = scope.groups and (scope.is_grouped or binder.place is not None)
    return level if is_theirs else 0


def _outward(exprs: Sequence[Expr], levels: int) -> tuple[Expr, ...]:
    """Expressions of a sub-query as the query `levels` further out sees them."""

    def rule(e: Expr) -> Expr | None:
        for _ in range(levels):
            if not isinstance(e, Outer):
                return None
            e = e.expr
        return e

    return tuple(descend(e, rule) for e in exprs) if levels else tuple(exprs)


def _takes_bytes(name: str, args: Sequence[Expr]) -> bool:
    """Whether an aggregate works on the bits of binary strings."""
    return name in OPERATIONS and len(args) == 1 and args[0].type.kind in BINARIES
