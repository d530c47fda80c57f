"""SESSION windows (sql-reference 4.1) by window functions over the rows of a key in order of time.

    time           10:00  10:04  10:13 │ 10:32  10:36       gap 10 min
    before it        -    10:00  10:04 │ 10:13  10:32       LAG: the first of a session is 10 min
    starts         10:00    -      -   │ 10:32    -         or more behind it
    window_start   10:00  10:00  10:00 │ 10:32  10:32       MAX of the starts so far

and mirrored for window_end, which is the gap after the last time.

Cost: a row reads its neighbours; then the rest of its session is looked at again.
"""

from __future__ import annotations

from penstock.data.types import Field, Kind, Schema, SqlType
from penstock.errors import Span
from penstock.plan.expressions import Expr, InputRef, Literal
from penstock.plan.nodes import Bounds, Filter, Node, Project, SortKey, Window, WindowCall
from penstock.sql.bind import build
from penstock.sql.passes.join_keys import references

_SECONDS = SqlType(Kind.INTERVAL_SHORT, nullable=False, unit="DAY_SECOND")
_SO_FAR = Bounds("RANGE", None, 0)
_FROM_HERE = Bounds("RANGE", 0, None)


def sessions(data: Node, time: int, key: tuple[int, ...], gap: int, span: Span) -> Node:
    """The rows of `data` with the session of each; `gap` in µs. A row without a time has none."""
    width = len(data.schema)
    fields = data.schema.fields
    at = references(data.schema)[time]
    if at.type.nullable:
        known = build.is_null(at, span, negated=True)
        data = Filter(data.schema, data, known)
    maybe = at.type.with_nullable(True)
    order = (SortKey(time),)
    beside = Schema((*fields, Field("$before", maybe), Field("$after", maybe)))
    near = Window(
        beside, data, key, order,
        (WindowCall("LAG", (time,), maybe), WindowCall("LEAD", (time,), maybe)), gap, span=span,
    )  # fmt: skip
    before, after = references(beside)[width:]
    end = _plus(at, gap)
    marks = (
        _unless_near(before, at, gap, at),
        _unless_near(at, after, gap, end),
    )
    marked = Schema((*fields, Field("$start", maybe), Field("$end", maybe)))
    rows = Project(marked, near, (*references(beside)[:width], *marks), span=span)
    # two nodes, because one goes on from row to row and the other back
    begun = Schema((*marked.fields, Field("$first", maybe)))
    starts = (WindowCall("MAX", (width,), maybe, _SO_FAR),)
    whole = Schema((*begun.fields, Field("$last", maybe)))
    ends = (WindowCall("MIN", (width + 1,), maybe, _FROM_HERE),)
    so_far = Window(begun, rows, key, order, starts, gap, span=span)
    windows = Window(whole, so_far, key, order, ends, gap, span=span)
    first, last = references(whole)[width + 2 :]
    # every row is in a session, so neither is ever NULL
    bounds = (build.coalesce([first, _never_null(at)], span),
              build.coalesce([last, _never_null(at)], span))  # fmt: skip
    exact = at.type.with_nullable(False)
    schema = Schema((*fields, Field("window_start", exact), Field("window_end", exact)))
    return Project(schema, windows, (*references(whole)[:width], *bounds), span=span)


def _plus(time: Expr, gap: int) -> Expr:
    return build.call("+", [time, Literal(_SECONDS, gap)], None)


def _unless_near(earlier: Expr, later: Expr, gap: int, mark: Expr) -> Expr:
    """`mark` where the two times are `gap` or more apart, or one of them is not there."""
    apart = build.call("<=", [_plus(earlier, gap), later], None)
    return build.case([(build.is_truth(apart, False, None, negated=True), mark)], None, None)


def _never_null(e: Expr) -> Expr:
    assert isinstance(e, InputRef)
    return InputRef(e.type.with_nullable(False), e.index, e.name)
