"""SESSION windows (sql-reference 4.1): rows whose times are less than a gap apart.

time           10:00  10:04  10:13 │ 10:32  10:36       gap 10 min
window_start   10:00  10:00  10:00 │ 10:32  10:32
window_end     10:23  10:23  10:23 │ 10:46  10:46
"""

from __future__ import annotations

from penstock.data.types import Field, Schema
from penstock.errors import Span
from penstock.plan.nodes import Filter, Node, Session
from penstock.sql.bind import build
from penstock.sql.passes.join_keys import references


def sessions(data: Node, time: int, key: tuple[int, ...], gap: int, span: Span) -> Node:
    """The rows of `data` with the session of each; `gap` in µs. A row without a time has none."""
    at = references(data.schema)[time]
    if at.type.nullable:
        known = build.is_null(at, span, negated=True)
        data = Filter(data.schema, data, known)
    exact = at.type.with_nullable(False)
    bounds = (Field("window_start", exact), Field("window_end", exact))
    return Session(Schema((*data.schema.fields, *bounds)), data, key, time, gap, span=span)
