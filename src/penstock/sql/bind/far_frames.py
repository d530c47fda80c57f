"""RANGE frames over a DECIMAL that 64 bits do not count: joins.

    SUM(x) OVER (PARTITION BY p ORDER BY d RANGE 0.5 PRECEDING), d DECIMAL(38, 20)

      Join inner on p <=> p, d <=> d
        the rows
        Aggregate by p, d: SUM(x)
          Join inner on p <=> p where $BESIDE(d, d, -0.5, 0)
            Distinct p, d ─ the rows
            the rows

A change is compared with all rows of its partition. Where 18 digits hold what is behind the point,
most numbers fit 64 bits, whatever their type may hold (`_split`):

      Project CASE WHEN d is small THEN near ELSE far END
        Join left on p <=> p, d <=> d
          Window SUM(x) AS near, ordered by d no further from zero than 18 digits go
          as above, of those d alone that are not small

A d is small if no end of its frame is beyond what 18 digits hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    FLOATS,
    VARCHAR,
    Field,
    Kind,
    Schema,
    SqlType,
    decimal,
)
from penstock.functions.aggregates import resolve_aggregate
from penstock.functions.coercion import INTERVALS
from penstock.plan.expressions import Expr, InputRef, Literal
from penstock.plan.nodes import (
    AggCall,
    Aggregate,
    Distinct,
    Filter,
    Join,
    JoinKind,
    Node,
    Project,
    SortKey,
    Window,
    WindowCall,
)
from penstock.sql.bind import build
from penstock.sql.bind.forms import Windowed
from penstock.sql.bind.frame import Frame
from penstock.sql.passes.join_keys import references
from penstock.sql.passes.wide_totals import fitted, wider

#: digits that are counted in 64 bits
_NEAR = 18
_LARGEST = 10**_NEAR - 1


def is_far(call: Windowed) -> bool:
    """Whether the frame of `call` is one of these."""
    frame = call.frame
    if frame is None or frame.unit != "RANGE" or len(call.order) != 1:
        return False
    is_distance = any(bound not in (None, 0) for bound in (frame.start, frame.end))
    key = call.order[0][0].type
    return is_distance and key.kind is Kind.DECIMAL and (key.precision or 0) > _NEAR


def join_frames(frame: Frame, calls: Sequence[Windowed], reads: Sequence[list[int]]) -> int:
    """Every row beside the aggregates of its frame, `calls` over the same one; how many columns
    come before those."""
    first, node = calls[0], frame.node
    assert first.frame is not None
    reach = max(abs(bound or 0) for bound in (first.frame.start, first.frame.end))
    if (first.order[0][0].type.scale or 0) <= _NEAR and reach < _LARGEST and _are_near(calls):
        return _split(frame, calls, reads, _LARGEST - reach)
    grouped = _grouped(node, node, calls, reads)
    n = len(grouped.keys)
    found = grouped.schema.fields
    pairs, safe = tuple((c, i) for i, c in enumerate(_by(first, reads[0]))), (True,) * n
    if (first.frame.start or 0) <= 0 <= (first.frame.end or 0):  # the row itself is in it
        whole = Schema((*node.schema.fields, *found))
        frame.node = Join(whole, JoinKind.INNER, node, grouped, pairs, safe, span=first.span)
        return n
    padded = tuple(Field(f.name, f.type.with_nullable(True)) for f in found)
    whole = Schema((*node.schema.fields, *padded))
    joined = Join(whole, JoinKind.LEFT, node, grouped, pairs, safe, span=first.span)
    columns = references(whole)
    values = [_counted(v, c) for v, c in zip(columns[-len(calls) :], calls, strict=True)]
    exact = Schema((*whole.fields[: -len(calls)], *found[n:]))
    frame.node = Project(exact, joined, (*columns[: -len(calls)], *values))
    return n


def _by(call: Windowed, read: Sequence[int]) -> tuple[int, ...]:
    """The columns of its PARTITION BY and its ORDER BY."""
    return tuple(read[len(call.args) :])


def _counted(value: Expr, call: Windowed) -> Expr:
    """What `call` is where `value`, over a row's frame, is NULL for a frame without rows."""
    return value if call.type.nullable else build.coalesce([value, _NOTHING], None)


def _grouped(
    node: Node, asking: Node, calls: Sequence[Windowed], reads: Sequence[list[int]]
) -> Aggregate:
    """The aggregates of frames of `node`, by partition and key of the rows `asking` among it."""
    first = calls[0]
    by = _by(first, reads[0])
    columns = references(node.schema)
    schema = Schema(tuple(Field(f"$point{i}", columns[c].type) for i, c in enumerate(by)))
    points = Distinct(schema, Project(schema, asking, tuple(columns[c] for c in by)))
    n, key = len(by), by[-1]
    x, y = InputRef(schema.types[-1], n - 1), InputRef(schema.types[-1], n + key)
    same = tuple((i, c) for i, c in enumerate(by[:-1]))
    both = Schema((*schema.fields, *node.schema.fields))
    rows = Join(both, JoinKind.INNER, points, node, same, (True,) * len(same), _beside(first, x, y))
    aggregates = tuple(
        AggCall(
            replace(resolve_aggregate(c.kind, [a.type for a in c.args]), result=c.type),
            tuple(n + i for i in at[: len(c.args)]),
        )
        for c, at in zip(calls, reads, strict=True)
    )
    found = (*schema.fields, *(Field(f"$window{i}", c.type) for i, c in enumerate(calls)))
    return Aggregate(Schema(found), rows, tuple(range(n)), aggregates, span=first.span)


def _are_near(calls: Sequence[Windowed]) -> bool:
    """Whether no total of them fails of rows that no frame has together."""
    exact = [c for c in calls if c.kind == "SUM"]
    return all(
        c.type.kind in FLOATS
        or (c.type.kind not in INTERVALS and wider(c.kind, c.type) is not None)
        for c in exact
    )


def _split(frame: Frame, calls: Sequence[Windowed], reads: Sequence[list[int]], small: int) -> int:
    """The frames of keys below `small`, in units of the last digit, apart from those of others."""
    first = calls[0]
    by = _by(first, reads[0])
    width, key = frame.width, frame.column(by[-1])
    is_small = _is_within(key, small)
    (near,) = frame.add([_shortened(key)], "$near")
    wide = [wider(c.kind, c.type) for c in calls]
    inputs = []
    for at, c, type in zip(reads, calls, wide, strict=True):
        args: list[Expr] = [frame.column(i) for i in at[: len(c.args)]]
        if type is not None:  # rows that are not small are no frame, but have a total
            args = [build.cast(a, type.with_nullable(a.type.nullable), None) for a in args]
        inputs.append(tuple(frame.add(args, "$arg")))
    node, n = frame.node, frame.width
    found = tuple(
        WindowCall(c.kind, at, t or c.type, c.frame)
        for c, at, t in zip(calls, inputs, wide, strict=True)
    )
    fields = tuple(Field(f"$near{i}", call.result) for i, call in enumerate(found))
    order = (SortKey(near, *first.order[0][1:]),)
    window = Window(
        Schema((*node.schema.fields, *fields)), node, by[:-1], order, found, span=first.span
    )
    others = Filter(node.schema, node, build.not_(is_small))
    grouped = _grouped(node, others, calls, reads)
    padded = tuple(Field(f.name, f.type.with_nullable(True)) for f in grouped.schema.fields)
    whole = Schema((*window.schema.fields, *padded))
    pairs, safe = tuple((c, i) for i, c in enumerate(by)), (True,) * len(by)
    joined = Join(whole, JoinKind.LEFT, window, grouped, pairs, safe, span=first.span)
    columns = references(whole)
    values = []
    for i, (c, type) in enumerate(zip(calls, wide, strict=True)):
        value: Expr = columns[n + i]
        if type is not None:
            value = fitted(value, f"{c.kind} OVER", c.type)
        far = _counted(columns[len(whole) - len(calls) + i], c)
        values.append(build.case([(is_small, value)], far, first.span))
    results = tuple(Field(f"$window{i}", c.type) for i, c in enumerate(calls))
    exact = Schema((*node.schema.fields, *results))
    frame.node = Project(exact, joined, (*columns[:n], *values))
    return n - width


def _is_within(key: Expr, bound: int) -> Expr:
    """Whether `key` is less than `bound` units from zero, or NULL."""
    limits = [_units(key, sign * bound) for sign in (-1, 1)]
    inside = [build.call("<", [a, b], None) for a, b in ((limits[0], key), (key, limits[1]))]
    return build.or_([build.is_null(key, None), build.and_(inside)])


def _shortened(key: Expr) -> Expr:
    """The number of 18 digits that is nearest to `key`."""
    least, most = (_units(key, sign * _LARGEST) for sign in (-1, 1))
    beyond = [(build.call("<", [key, least], None), least)]
    beyond += [(build.call("<", [most, key], None), most)]
    return build.case(beyond, build.cast(key, _type(key), None), None)


def _type(key: Expr) -> SqlType:
    return decimal(_NEAR, key.type.scale or 0)


def _units(key: Expr, units: int) -> Literal:
    type = _type(key).with_nullable(False)
    return Literal(type, Decimal(units).scaleb(-(type.scale or 0)))


#: what COUNT is over no rows
_NOTHING = Literal(BIGINT.with_nullable(False), 0)


def _beside(call: Windowed, x: Expr, y: Expr) -> Expr:
    """Whether a row with the key `y` is in the frame of one with the key `x`."""
    assert call.frame is not None
    start, end = call.frame.start, call.frame.end
    _, descending, nulls_first = call.order[0]
    # NULLs are peers, at one end: what is open there takes them in, and theirs what is open here
    of_null = start is None if not nulls_first else end is None
    is_null = start is None if nulls_first else end is None
    if descending:
        start, end = (None if b is None else -b for b in (end, start))
    bounds = (Literal(VARCHAR, None if b is None else str(b)) for b in (start, end))
    known = (Literal(BOOLEAN, b) for b in (of_null, is_null))
    return build.call("$BESIDE", [x, y, *bounds, *known], call.span)
