"""Calls → the function, aggregate, window function, struct or user function that is meant.

Not here: which overload of a built-in fits (`build`, `penstock.functions.registry`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from penstock.data.types import VARCHAR, Kind
from penstock.errors import Span
from penstock.functions.aggregates import aggregate_names, is_aggregate
from penstock.functions.connector_metadata import METADATA
from penstock.functions.definition import DEFINITIONS
from penstock.functions.lambdas import LAMBDA_FUNCTIONS
from penstock.plan.expressions import Expr, Literal
from penstock.sql import ast
from penstock.sql.bind import aggregates, build, later, nested, windows
from penstock.sql.bind.catalog import Folded
from penstock.sql.bind.clock import NOW
from penstock.sql.bind.forms import SUBQUERIES, Now, has
from penstock.sql.bind.grouping import grouping_call
from penstock.sql.bind.report import BindError, Poisoned, did_you_mean, unsupported
from penstock.sql.parser.cursor import UNITS

if TYPE_CHECKING:
    from penstock.sql.bind.expressions import ExpressionBinder

_TEXT = VARCHAR.with_nullable(False)
#: functions whose argument at this position is a unit of time written as a bare word
_UNIT_AT = {
    "DATE_TRUNC": 1, "TIMESTAMP_TRUNC": 1, "TIME_TRUNC": 1, "TIMESTAMPADD": 0, "TIMESTAMPDIFF": 0,
    "DATEDIFF": 0, "DATE_PART": 0,
}  # fmt: skip
#: how those are called that do not take the unit last
_FORMS = {
    "TIMESTAMPADD": "(unit, n, value)", "DATE_PART": "(unit, value)",
    **dict.fromkeys(("TIMESTAMPDIFF", "DATEDIFF"), "(unit, from, to)"),
}  # fmt: skip
_UNITS = frozenset(UNITS) | {"ISOWEEK", "DAYOFWEEK", "DAYOFYEAR", "ISODAYOFWEEK"}
#: short for EXTRACT(unit FROM …), so that a query may group by the one and show the other
_FIELDS = {
    "YEAR": "YEAR", "QUARTER": "QUARTER", "MONTH": "MONTH", "WEEK": "WEEK", "DOW": "DOW",
    "DOY": "DOY", "HOUR": "HOUR", "MINUTE": "MINUTE", "SECOND": "SECOND",
    "DAYOFMONTH": "DAY", "DAYOFYEAR": "DOY", "DAYOFWEEK": "DOW",
}  # fmt: skip
_SHORT_NAMES = {"IFNULL", "COALESCE"}
_BUILT_IN = {*DEFINITIONS, *_SHORT_NAMES, "IF"}
#: what can be called by its name: operators and what stands behind other syntax cannot
_UNCALLED = frozenset(("IS_DISTINCT", "IS_NOT_DISTINCT"))
_CALLED = [
    *(n for n in DEFINITIONS if n.isidentifier() and n not in _UNCALLED),
    *aggregate_names(), *windows.NAMES, *LAMBDA_FUNCTIONS, *sorted(_SHORT_NAMES), "IF", "NOW",
    "CAST", "SAFE_CAST", "GROUPING", "GROUPING_ID", "ROLLUP", "CUBE",
]  # fmt: skip
_NAMES = frozenset((*DEFINITIONS, *_CALLED, "EXISTS", "ROW")) - {"ROLLUP", "CUBE"}


def is_built_in(name: str) -> bool:
    """Whether the dialect has a function of this name, in any case: a program's own functions and
    types are called otherwise (SQL reference 2)."""
    return name.upper() in _NAMES


def call(binder: ExpressionBinder, e: ast.FunctionCall) -> Expr:
    name = e.name.name.upper()
    if e.over is not None:
        return binder.window(e, e.over)
    if is_aggregate(name):
        return aggregates.aggregate(binder, e, name)
    user = binder.functions.get(e.name.name)
    if isinstance(user, Folded):
        return user.finished(aggregates.aggregate(binder, e, user.collect, user))
    if name in ("GROUPING", "GROUPING_ID"):
        if binder.place is not None:
            raise BindError(e.span, f"{name} cannot be used in {binder.place}")
        return grouping_call([build.string_of(binder.bind(a)) for a in e.args], e.span)
    if name in LAMBDA_FUNCTIONS:
        return nested.lambda_call(binder, name, e)
    if name == "NOW":
        return _now(binder, e)
    if name == METADATA and binder.place != "DEFAULT":
        raise BindError(e.span, f"{METADATA}() has a value in DEFAULT expressions only")
    if e.name.name in binder.types:
        return _struct(binder, e)
    if name in later.REFUSED and e.name.name not in binder.functions:
        raise BindError(e.span, f"{name}: {later.REFUSED[name]}")
    if name in windows.NAMES and e.name.name not in binder.functions:
        raise BindError(e.span, f"{name} is a window function: it needs OVER (…)")
    for given, what in (
        (e.distinct, "DISTINCT"), (e.filter, "FILTER"), (e.order_by, "ORDER BY"),
        (e.nulls, "IGNORE NULLS"), (e.within_distinct, "WITHIN DISTINCT"),
    ):  # fmt: skip
        if given:
            raise BindError(e.span, f"{name} is not an aggregate, so it takes no {what}")
    if name == "PI":
        raise BindError(e.span, "PI is a constant: it is written without parentheses")
    if name in later.ELSEWHERE and e.name.name not in binder.functions:
        raise BindError(e.span, f"no function named {e.name.name}; write {later.ELSEWHERE[name]}")
    if name not in _BUILT_IN and e.name.name not in binder.functions:
        hint = did_you_mean(name, _CALLED, 0.7) or did_you_mean(e.name.name, binder.functions)
        raise BindError(
            e.span,
            f"no function named {e.name.name}"
            f"{hint or '; those of the program are declared before they are called'}",
        )
    unit_at = _UNIT_AT.get(name, len(e.args))
    # before the others, so that an exchanged unit and value are told apart from a wrong name
    units = {i: _time_unit(a, name) for i, a in enumerate(e.args) if i == unit_at}
    args = [units[i] if i in units else binder.bind(a) for i, a in enumerate(e.args)]
    if e.name.name in binder.functions:
        if user is None:
            raise Poisoned
        inlined = user.inline(args, e.span)
        if binder.catalog is None and has(inlined, *SUBQUERIES):
            raise unsupported(e.span, f"{e.name.name}, which asks a query, in this place")
        return replace(inlined, span=e.span)
    if name in _SHORT_NAMES:
        if not args or (name == "IFNULL" and len(args) != 2):
            raise BindError(e.span, f"{name} takes {'2' if name == 'IFNULL' else 'at least 1'} "
                                    f"arguments, not {len(args)}")  # fmt: skip
        return build.coalesce([build.string_of(a) for a in args], e.span, name)
    if name == "IF":
        if len(args) != 3:
            raise BindError(e.span, f"IF takes 3 arguments, not {len(args)}")
        test = build.condition(args[0], "the first argument of IF")
        return build.case([(test, args[1])], args[2], e.span, name)
    called = build.call(name, args, e.span)
    if name in _FIELDS:
        return build.call("EXTRACT", [unit(_FIELDS[name], e.span), *args], e.span)
    return build.call("EXTRACT", args, e.span) if name == "DATE_PART" else called


def _struct(binder: ExpressionBinder, e: ast.FunctionCall) -> Expr:
    type = binder.types[e.name.name]
    if type is None:
        raise Poisoned
    if type.kind is not Kind.ROW:
        raise BindError(e.span, f"{e.name.name} is not a struct; write CAST(… AS {type})")
    return nested.struct(e.name.name, type, [binder.bind(a) for a in e.args], e.span)


def _now(binder: ExpressionBinder, e: ast.FunctionCall) -> Expr:
    if e.args:
        raise BindError(e.span, "NOW takes no arguments")
    if binder.catalog is None:
        raise BindError(e.span, "NOW() cannot be used here; it has a value in queries only")
    return Now(NOW, span=e.span)


def _time_unit(e: ast.Expr, function: str) -> Expr:
    written = None
    if isinstance(e, ast.ColumnRef) and len(e.parts) == 1:
        written = e.parts[0].name.upper().removeprefix("SQL_TSI_")
    elif isinstance(e, ast.Literal) and isinstance(e.value, str):
        written = e.value.upper()
    if written in _UNITS:
        return unit(written, e.span)
    if written is not None:
        form = _FORMS.get(function, "(value, unit)")
        hint = did_you_mean(written, _UNITS) or f"; write {function}{form}"
        raise BindError(e.span, f"{written} is not a unit of time, such as DAY or HOUR{hint}")
    raise BindError(e.span, "expected a unit of time, such as DAY or HOUR")


def unit(unit: str, span: Span | None) -> Literal:
    return Literal(_TEXT, unit, span=span)
