"""Aggregates of SESSION windows that are computed as one operator (`circuit.ops.session_totals`).

Aggregate  k, window_start, window_end; COUNT(*), SUM(2 * x)     keys: what tells a session
  Project  k, window_start, window_end, 2 * x              ──►   SessionTotals
    Session  t by k                                                Project  t, 2 * x

What is FILTERed is a total of what is NULL elsewhere: SUM(CASE WHEN p THEN x END).
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.circuit.ops.session_totals import KINDS
from penstock.circuit.spec import WindowSpec
from penstock.data.types import BOOLEAN, Field, Schema
from penstock.plan.expressions import Case, Expr, InputRef, Literal
from penstock.plan.nodes import AggCall, Aggregate, Node, Project, Session
from penstock.plan.rewrite import columns_of, substitute


@dataclass(frozen=True, slots=True)
class TotalsOfSessions:
    """`calls` over columns of `rows`, which are those that `sessions` is made of and then what is
    computed of them; `shown`: which of (its key, first time, end) each key of the aggregate is."""

    sessions: Session
    rows: Node
    shown: tuple[int, ...]
    calls: tuple[WindowSpec, ...]


def totals_of_sessions(node: Aggregate) -> TotalsOfSessions | None:
    """What `node` is if its groups are the sessions of what it reads; None if they are not, or it
    asks for more than totals and extremes."""
    columns: list[Expr] = [InputRef(t, i) for i, t in enumerate(node.input.schema.types)]
    below = node.input
    while isinstance(below, Project):
        columns = [substitute(e, below.exprs) for e in columns]
        below = below.input
    if not isinstance(below, Session):
        return None
    width = len(below.input.schema)
    whole = (*below.partition, width, width + 1)
    keys = [e.index if isinstance(e, InputRef) else -1 for e in (columns[k] for k in node.keys)]
    told_apart = set(below.partition) <= set(keys) and not {width, width + 1}.isdisjoint(keys)
    if not told_apart or not set(keys) <= set(whole):
        return None
    fields, computed, calls = [*below.input.schema.fields], list[Expr](), list[WindowSpec]()
    for call in node.calls:
        arguments = _arguments(call, columns)
        if not _is_total(call) or any(c >= width for e in arguments for c in columns_of(e)):
            return None
        at = []
        for e in arguments:
            if isinstance(e, InputRef):
                at.append(e.index)
            else:
                at.append(width + _place(computed, e))
        calls.append(WindowSpec(call.function.kind, tuple(at), call.function.result))
    rows = below.input
    if computed:
        own = tuple(InputRef(t, i) for i, t in enumerate(rows.schema.types))
        fields += (Field(f"$a{i}", e.type) for i, e in enumerate(computed))
        rows = Project(Schema(tuple(fields)), rows, (*own, *computed))
    shown = tuple(whole.index(k) for k in keys)
    return TotalsOfSessions(below, rows, shown, tuple(calls))


def _is_total(call: AggCall) -> bool:
    plain = not (call.distinct or call.within or call.function.order)
    is_strict = not any(call.function.takes_nulls)
    return plain and is_strict and len(call.args) <= 1 and call.function.kind in KINDS


def _arguments(call: AggCall, columns: list[Expr]) -> list[Expr]:
    """What `call` is of: nothing for COUNT(*), which counts what is not NULL if it is filtered."""
    arguments = [columns[a] for a in call.args]
    if call.filter is None:
        return arguments
    wanted = columns[call.filter]
    counted = [Literal(BOOLEAN.with_nullable(False), True)]
    types = [e.type.with_nullable(True) for e in arguments or counted]
    return [
        Case(t, ((wanted, e),), Literal(t, None))
        for t, e in zip(types, arguments or counted, strict=True)
    ]


def _place(computed: list[Expr], e: Expr) -> int:
    if e not in computed:
        computed.append(e)
    return computed.index(e)
