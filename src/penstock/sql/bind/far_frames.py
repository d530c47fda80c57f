"""RANGE frames over a DECIMAL that 64 bits do not count: joins.

    SUM(x) OVER (PARTITION BY p ORDER BY d RANGE 0.5 PRECEDING), d DECIMAL(38, 20)

      Join inner on p <=> p, d <=> d
        the rows
        Aggregate by p, d: SUM(x)
          Join inner on p <=> p where $BESIDE(d, d, -0.5, 0)
            Distinct p, d ─ the rows
            the rows

A change is compared with all rows of its partition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.data.types import BIGINT, BOOLEAN, VARCHAR, Field, Kind, Schema
from penstock.functions.aggregates import resolve_aggregate
from penstock.plan.expressions import Expr, InputRef, Literal
from penstock.plan.nodes import AggCall, Aggregate, Distinct, Join, JoinKind, Project
from penstock.sql.bind import build
from penstock.sql.bind.forms import Windowed
from penstock.sql.bind.frame import Frame
from penstock.sql.passes.join_keys import references

#: digits that are counted in 64 bits
_NEAR = 18


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
    split = len(first.args) + len(first.partition)
    by = (*reads[0][len(first.args) : split], reads[0][split])
    schema = Schema(tuple(Field(f"$point{i}", frame.column(c).type) for i, c in enumerate(by)))
    points = Distinct(schema, Project(schema, node, tuple(frame.column(c) for c in by)))
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
    grouped = Aggregate(Schema(found), rows, tuple(range(n)), aggregates, span=first.span)
    pairs, safe = tuple((c, i) for i, c in enumerate(by)), (True,) * n
    assert first.frame is not None
    if (first.frame.start or 0) <= 0 <= (first.frame.end or 0):  # the row itself is in it
        whole = Schema((*node.schema.fields, *found))
        frame.node = Join(whole, JoinKind.INNER, node, grouped, pairs, safe, span=first.span)
        return n
    padded = tuple(Field(f.name, f.type.with_nullable(True)) for f in found)
    whole = Schema((*node.schema.fields, *padded))
    joined = Join(whole, JoinKind.LEFT, node, grouped, pairs, safe, span=first.span)
    columns = references(whole)
    values = [
        v if c.type.nullable else build.coalesce([v, _NOTHING], None)
        for v, c in zip(columns[-len(calls) :], calls, strict=True)
    ]
    exact = Schema((*whole.fields[: -len(calls)], *found[n:]))
    frame.node = Project(exact, joined, (*columns[: -len(calls)], *values))
    return n


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
