"""Calls with OVER → `Windowed` placeholders, checked and with their frames in numbers.

    SUM(x) OVER (PARTITION BY p ORDER BY ts RANGE INTERVAL '1' HOUR PRECEDING)

      Windowed SUM [x] partition [p] order [ts] frame RANGE -3600000000 … 0

Rules: sql-reference 3.4. Beyond it a frame of ROWS, or of whole peers, takes any ORDER BY.

Not here: the nodes that compute them (`window_plan`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, localcontext
from typing import Protocol

from penstock.data.types import BIGINT, BINARIES, FLOATS, INTEGERS, STRINGS, Kind, SqlType
from penstock.errors import Span, UserError
from penstock.functions.aggregates import is_aggregate, resolve_aggregate
from penstock.plan.expressions import Expr, Literal
from penstock.plan.nodes import Bounds
from penstock.sql import ast
from penstock.sql.bind import build, later
from penstock.sql.bind.constants import constant
from penstock.sql.bind.forms import Windowed
from penstock.sql.bind.report import BindError, did_you_mean, unsupported

RANKS = ("ROW_NUMBER", "RANK", "DENSE_RANK")
_SHIFTS = ("LAG", "LEAD")
_EDGES = ("FIRST_VALUE", "LAST_VALUE")
_AGGREGATES = ("COUNT", "SUM", "AVG", "MIN", "MAX")
_NONE = tuple(later.WINDOWS)
#: what is a function with OVER only
NAMES = (*RANKS, *_SHIFTS, *_EDGES, *_NONE)
_NUMBER = BIGINT.with_nullable(False)
_DAY_US = 86_400_000_000
#: more than a partition has: an offset beyond it looks at the same rows
_MOST_ROWS = 2**40
#: of a DECIMAL whose values are words of 64 bits
_MOST_DIGITS = 18
#: more than a DECIMAL and its scale have together
_ANY_DIGITS = 100
#: no two of those are further apart
_FURTHEST = 2 * 10**_MOST_DIGITS
_WHOLE = Bounds("RANGE", None, None)
_UP_TO_HERE = Bounds("RANGE", None, 0)


class Binder(Protocol):
    """What is needed of the ExpressionBinder: one for what is inside of a call."""

    def bind(self, e: ast.Expr) -> Expr: ...

    def condition(self, e: ast.Expr, where: str) -> Expr: ...


def bind_call(
    binder: Binder,
    e: ast.FunctionCall,
    over: ast.WindowSpec | ast.Identifier,
    named: Mapping[str, ast.WindowSpec],
) -> Expr:
    """The placeholder of `e`; `named` is the WINDOW clause. Raises BindError."""
    name = e.name.name.upper()
    spec = _spec(over, named)
    partition = tuple(binder.bind(p) for p in spec.partition_by)
    order = tuple(order_item(binder, item) for item in spec.order_by)
    for given, what in (
        (e.distinct, "DISTINCT"), (e.order_by, "ORDER BY"), (e.within_distinct, "WITHIN DISTINCT"),
        (e.within_group, "WITHIN GROUP"),
    ):  # fmt: skip
        if given:
            raise BindError(e.span, f"{name} takes no {what} in a window")
    if e.nulls == "IGNORE" and name not in _SHIFTS + _EDGES:
        raise BindError(e.span, f"{name} takes no IGNORE NULLS")
    if e.filter is not None and name not in _AGGREGATES:
        raise BindError(e.span, f"{name} takes no FILTER")
    call = Windowed(_NUMBER, name, (), partition, order, span=e.span)
    if name in RANKS:
        if e.args:
            raise BindError(e.span, f"{name} takes no arguments")
        return _unframed(_ordered(call), spec)
    if name in _SHIFTS:
        return _unframed(_ordered(_shift(binder, e, call)), spec)
    if name in _EDGES:
        return _edge(binder, e, call, _frame(binder, spec, order))
    if name in _AGGREGATES:
        bounds = _frame(binder, spec, order)
        _check_order(name, bounds, order, spec, e.span)
        return _aggregate(binder, e, call, bounds)
    frame = _frame(binder, spec, order) if is_aggregate(name) and name != "ARRAY_AGG" else None
    if frame is not None and frame.start is frame.end is None:  # a group by another name
        return _aggregate(binder, e, call, frame)
    if name in _NONE:
        raise BindError(
            e.span, f"{name}: the dialect has no such window function; write {later.WINDOWS[name]}"
        )
    if is_aggregate(name):
        raise unsupported(
            e.span, f"{name} OVER less than the whole partition",
            f"the dialect has {', '.join(_AGGREGATES)} there; group and join for others",
        )  # fmt: skip
    hint = did_you_mean(name, (*NAMES, *_AGGREGATES))
    raise BindError(e.span, f"{name} is no window function{hint}")


def _check_order(
    name: str,
    frame: Bounds,
    order: tuple[tuple[Expr, bool, bool], ...],
    spec: ast.WindowSpec,
    span: Span,
) -> None:
    """An aggregate over less than the partition: one ORDER BY column, whose values are steps
    apart (sql-reference 3.4)."""
    if frame.start is frame.end is None:
        return
    instead = "; number the rows with ROW_NUMBER() in a query inside and order by the number"
    if len(order) != 1:
        at = spec.order_by[1].span if len(order) > 1 else span
        raise BindError(
            at, f"{name} OVER a frame needs exactly one ORDER BY column, not {len(order)}{instead}"
        )
    key = order[0][0].type
    if key.kind in STRINGS | BINARIES | FLOATS:
        raise BindError(
            spec.order_by[0].span,
            f"{name} OVER a frame cannot be ordered by {build.bare(key)}{instead}",
        )


def _spec(
    over: ast.WindowSpec | ast.Identifier, named: Mapping[str, ast.WindowSpec]
) -> ast.WindowSpec:
    """The window with what it takes from those it is based on."""
    if isinstance(over, ast.Identifier):
        return _spec(_named(over, named), named)
    if over.base is None:
        return over
    base = _spec(_named(over.base, {k: v for k, v in named.items() if v is not over}), named)
    for mine, theirs, what in (
        (over.partition_by, True, "PARTITION BY"), (over.order_by, base.order_by, "ORDER BY"),
        (base.frame, True, "a frame"),
    ):  # fmt: skip
        if mine and theirs:
            raise BindError(over.base.span, f"a window based on {over.base.name} cannot add {what}")
    return replace(
        over, base=None, partition_by=base.partition_by, order_by=over.order_by or base.order_by
    )


def _named(name: ast.Identifier, named: Mapping[str, ast.WindowSpec]) -> ast.WindowSpec:
    if name.name not in named:
        raise BindError(
            name.span, f"there is no window {name.name}{did_you_mean(name.name, named)}"
        )
    return named[name.name]


def order_item(binder: Binder, item: ast.OrderItem) -> tuple[Expr, bool, bool]:
    """(key, descending, nulls first) of an ORDER BY inside a call or a window."""
    if item.expr is None:
        raise BindError(item.span, "ORDER BY ALL orders whole queries only")
    # NULL is the smallest value (contract 10.4)
    first = item.nulls_first if item.nulls_first is not None else not item.descending
    return binder.bind(item.expr), item.descending, first


def _ordered(call: Windowed) -> Windowed:
    """Without an order every row has rank 1, and none is before another: SQL refuses both. The
    numbers of rows are left open."""
    if not call.order and call.kind != "ROW_NUMBER":
        raise BindError(call.span, f"{call.kind} needs ORDER BY in its OVER (…)")
    return call


def _unframed(call: Windowed, spec: ast.WindowSpec) -> Windowed:
    if spec.frame is not None:
        raise BindError(spec.frame.span, f"{call.kind} takes no frame")
    return call


def _shift(binder: Binder, e: ast.FunctionCall, call: Windowed) -> Windowed:
    if not 1 <= len(e.args) <= 3:
        raise BindError(e.span, f"{call.kind} takes a value, and perhaps an offset and a default")
    value = build.string_of(binder.bind(e.args[0]))
    offset = 1
    if len(e.args) > 1:
        given = constant(binder.bind(e.args[1]))
        if given is None or given.value is None or given.type.kind not in INTEGERS:
            raise BindError(e.args[1].span, f"the offset of {call.kind} is a constant whole number")
        offset = given.value
        if offset < 0:  # looks the other way
            offset = -offset
            call = replace(call, kind="LEAD" if call.kind == "LAG" else "LAG")
        offset = min(offset, _MOST_ROWS)
    ignores = e.nulls == "IGNORE"
    args: tuple[Expr, ...] = (value,)
    nullable = True
    if len(e.args) > 2:
        default = build.string_of(binder.bind(e.args[2]))
        unified, _ = build.unify([value, default], e.span, f"the value and default of {call.kind}")
        args = tuple(unified)
        nullable = any(a.type.nullable for a in args)
    result = args[0].type.with_nullable(nullable)
    return replace(call, type=result, args=args, offset=offset, ignore_nulls=ignores)


def _edge(binder: Binder, e: ast.FunctionCall, call: Windowed, frame: Bounds) -> Windowed:
    if len(e.args) != 1:
        raise BindError(e.span, f"{call.kind} takes one value")
    is_first = call.kind == "FIRST_VALUE"
    here, open_end = (frame.start, frame.end) if is_first else (frame.end, frame.start)
    if here is not None or open_end not in (None, 0):
        begins, ends = "UNBOUNDED PRECEDING", "UNBOUNDED FOLLOWING"
        wanted = (
            f"begins with {begins} and ends with CURRENT ROW or {ends}" if is_first
            else f"ends with {ends} and begins with {begins} or CURRENT ROW"
        )  # fmt: skip
        raise BindError(e.span, f"the frame of {call.kind} {wanted}")
    value = build.string_of(binder.bind(e.args[0]))
    ignores = e.nulls == "IGNORE"
    return replace(call, type=value.type, args=(value,), frame=frame, ignore_nulls=ignores)


def _aggregate(binder: Binder, e: ast.FunctionCall, call: Windowed, frame: Bounds) -> Windowed:
    name = call.kind
    args = [build.string_of(binder.bind(a)) for a in e.args if not isinstance(a, ast.Star)]
    if len(args) != len(e.args) and (name != "COUNT" or args):
        raise BindError(e.span, f"{name}(*) makes no sense; only COUNT takes *")
    if not e.args:
        raise BindError(e.span, f"{name} needs an argument")
    if e.filter is not None:
        keep = binder.condition(e.filter, "FILTER (WHERE …)")
        args = [build.case([(keep, a)], None, a.span) for a in args or [build.TRUE]]
    try:
        function = resolve_aggregate(name, [a.type for a in args])
    except UserError as error:
        raise BindError(e.span, error.message) from None
    wanted = tuple(build.coerce(a, t) for a, t in zip(args, function.arg_types, strict=True))
    # a frame that holds the row itself is never empty
    here = (frame.start or 0) <= 0 <= (frame.end or 0)
    result = function.result
    if result.nullable and here and not any(a.type.nullable for a in wanted):
        result = result.with_nullable(False)
    return replace(call, type=result, args=wanted, frame=frame)


# frames


def _frame(
    binder: Binder, spec: ast.WindowSpec, order: tuple[tuple[Expr, bool, bool], ...]
) -> Bounds:
    frame = spec.frame
    if frame is None:
        return _UP_TO_HERE if order else _WHOLE
    if frame.exclude is not None:
        raise BindError(frame.span, f"EXCLUDE {frame.exclude}: the dialect has no such clause")
    if frame.unit == "GROUPS":
        raise BindError(frame.span, "GROUPS: the dialect has frames of ROWS and of RANGE only")
    if frame.start.kind == "UNBOUNDED FOLLOWING" or frame.end.kind == "UNBOUNDED PRECEDING":
        raise BindError(frame.span, f"a frame cannot begin or end with {frame.start.kind}"
                        if frame.start.kind == "UNBOUNDED FOLLOWING"
                        else f"a frame cannot end with {frame.end.kind}")  # fmt: skip
    start, end = (_bound(binder, b, frame.unit, order) for b in (frame.start, frame.end))
    if start is not None and end is not None and start > end:
        raise BindError(frame.span, "this frame begins after its end")
    if not order and frame.unit == "RANGE":
        return _WHOLE  # all rows are peers
    return Bounds(frame.unit, start, end)


def _bound(
    binder: Binder,
    bound: ast.FrameBound,
    unit: str,
    order: tuple[tuple[Expr, bool, bool], ...],
) -> int | None:
    """Rows or units of the order column, negative before the row; None: unbounded."""
    if bound.offset is None:
        return 0 if bound.kind == "CURRENT ROW" else None
    offset = constant(binder.bind(bound.offset))
    sign = -1 if bound.kind == "PRECEDING" else 1
    if offset is None or offset.value is None:
        raise BindError(bound.span, "a frame's bound is a constant")
    if unit == "ROWS":
        if offset.type.kind not in INTEGERS or offset.value < 0:
            raise BindError(bound.span, "a bound of ROWS is a whole number, 0 or more")
        return sign * min(int(offset.value), _MOST_ROWS)
    if len(order) != 1:
        raise BindError(bound.span, "RANGE with an offset needs exactly one ORDER BY column")
    return sign * _units(order[0][0].type, offset, bound.span)


def _units(key: SqlType, offset: Literal, span: Span) -> int:
    """`offset` in units of an order column of type `key`."""
    given, value = offset.type.kind, offset.value
    found: int | None = None
    if given is Kind.INTERVAL_LONG:
        raise BindError(span, "months and years have no fixed length; RANGE takes DAY to SECOND")
    if given is Kind.INTERVAL_SHORT:
        match key.kind:
            case Kind.TIMESTAMP | Kind.TIMESTAMP_TZ | Kind.INTERVAL_SHORT:
                found = value
            case Kind.DATE:
                found = value // _DAY_US
            case Kind.TIME:
                found = value * 1000
    elif given in INTEGERS and key.kind in INTEGERS:
        found = value
    elif given in INTEGERS or given is Kind.DECIMAL:
        if key.kind is Kind.DECIMAL and (key.precision or 0) <= _MOST_DIGITS:
            found = min(int(Decimal(value).scaleb(key.scale or 0)), _FURTHEST)
        elif key.kind is Kind.DECIMAL:
            with localcontext(prec=_ANY_DIGITS):
                found = int(Decimal(value).scaleb(key.scale or 0))
    if found is None:
        raise BindError(
            span,
            f"a bound of {build.bare(offset.type)} does not go with ORDER BY of type "
            f"{build.bare(key)}: numbers take a number, dates and times an INTERVAL",
        )
    if value < 0:
        raise BindError(span, "a frame's bound is not negative")
    return found
