"""A compiled program → a circuit: every table a source, every view that is not LOCAL a sink.

    tables ──► sources (upsert where there is a PRIMARY KEY)
    views  ──► operators, each behind what it reads ──► sinks (with an integral if materialized)

A relation can be asked for its snapshot if it is a materialized view, a table with a key, a
materialized table, or is named in `materialize`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from penstock.circuit.graph import Circuit, Stream
from penstock.circuit.unrolled import Streams
from penstock.compile.deep import sets
from penstock.compile.expressions import compile_expressions
from penstock.compile.least import Least, least
from penstock.compile.recursion import Body, components, is_recursive, scanned
from penstock.compile.relations import RelationCompiler
from penstock.data.batch import Batch, Column
from penstock.data.types import VARCHAR, VARIANT, Schema
from penstock.errors import RuntimeSqlError
from penstock.functions.connector_metadata import METADATA
from penstock.functions.registry import resolve
from penstock.plan.expressions import Call, Cast, Expr, InputRef, Literal
from penstock.plan.nodes import Distinct, Expiry, Lateness, ProgramPlan, Scan, TablePlan, ViewPlan
from penstock.plan.rewrite import parts, transform


def compile_circuit(plan: ProgramPlan, materialize: Iterable[str] = ()) -> Circuit:
    """The circuit of `plan`. `materialize`: relations to keep an integral of beyond those that
    the program says. Raises RuntimeSqlError where a constant row cannot be computed."""
    circuit = Circuit()
    relations = RelationCompiler(circuit, plan.text)
    relations.forget(plan.expiries)
    kept = frozenset(materialize)
    for table in plan.tables:
        stream = circuit.source(table.name, table.schema, table.key, bounds(table.lateness))
        relations.punctual[table.name] = stream
        seen = stream
        if table.enforced and not table.key:
            seen = circuit.enforced(stream, table.name)
        relations.relations[table.name] = _released(table, seen, relations)
        # a keyed source keeps its own integral; every table has a sink, for subscribers
        keeps = not table.key and (table.materialized or table.name in kept)
        circuit.sink(table.name, stream, materialized=keeps)
    for component in components(plan.all_views):
        if is_recursive(component):
            relations.relations.update(_cycle(component, relations, plan))
        else:
            (view,) = component
            relations.view = view.name
            relations.relations[view.name] = relations.stream(view.query)
        for view in component:
            if view.lateness:
                stream = relations.relations[view.name]
                stream = circuit.punctual(stream, bounds(view.lateness))
                relations.relations[view.name] = relations.punctual[view.name] = stream
        for view in component:
            if view.kind != "local":
                keeps = view.kind == "materialized" or view.name in kept
                stream = relations.relations[view.name]
                if view.emitted is not None:
                    stream = relations.stream(view.emitted)
                circuit.sink(view.name, stream, keeps)
    return circuit


def _released(table: TablePlan, stream: Stream, relations: RelationCompiler) -> Stream:
    """What views see of a table with WATERMARK."""
    if table.released is None:
        return stream
    own = RelationCompiler(relations.circuit, relations.text)
    own.relations[table.name] = stream
    return own.stream(table.released)


def bounds(lateness: Lateness) -> tuple[tuple[int, int | float], ...]:
    return tuple((column, behind) for column, behind, _ in lateness)


def _cycle(
    component: Sequence[ViewPlan], outside: RelationCompiler, plan: ProgramPlan
) -> dict[str, Stream]:
    """The streams of views that read each other."""
    known = least(component)
    deep = sets(component) if known is None else None
    if known is not None:
        component = known.members
    elif deep is not None:
        component = deep[0]
    body = Body(component, outside.stream)

    def queries(inside: RelationCompiler, members: Mapping[str, Stream]) -> dict[str, Stream]:
        inside.relations = dict(members)
        found = {}
        for view in component:
            inside.view = outside.view = view.name
            found[view.name] = inside.stream(view.query)
        return found

    def again(circuit: Circuit, outer: Streams, members: Streams) -> Streams:
        return queries(inside.beside(circuit, lambda node: body.inlet(node, outer)), members)

    inside = RelationCompiler(body.circuit, outside.text, body.inlet, outside)
    names = {view.name for view in component}
    if deep is not None:
        # others derive everything anew, or forget nothing
        joins = deep[1]
        within = (e for e in plan.expiries if id(e.node) in joins and _is_within(e, names))
        inside.forget(replace(e, node=joins[id(e.node)]) for e in within)
    found = queries(inside, body.relations)
    monotone = known is not None or deep is not None
    best = {} if known is None else known.best
    streams = body.finish(
        outside.circuit, found, again, plan.recursion_rounds, plan.recursion_rows, monotone, best
    )
    if known is not None:
        return _beside_the_best(known, streams, outside)
    for e in plan.expiries:
        if isinstance(e.node, Scan) and e.node.relation in names:
            line = outside.stream(e.line)
            outside.circuit.expire(streams[e.node.relation], 0, e.column, line, e.shift)
    return streams


def _beside_the_best(
    known: Least, streams: dict[str, Stream], outside: RelationCompiler
) -> dict[str, Stream]:
    """`streams` of aggregates, and those of the views of their cycle that are computed from them:
    sets, as all views of a cycle are."""
    outside.relations.update(streams)
    for view in known.others:
        outside.view = view.name
        made = outside.stream(Distinct(view.schema, view.query))
        streams[view.name] = outside.relations[view.name] = made
    return streams


def _is_within(expiry: Expiry, members: set[str]) -> bool:
    """Whether an operator in the body of a cycle may forget, by a line from outside of it."""
    return not members & scanned(expiry.line).keys()


def record_defaults(
    plan: ProgramPlan, table: TablePlan, told: Schema
) -> Callable[[Batch], tuple[Column | None, ...]] | None:
    """What gives the DEFAULTs of records (a value of each column for each record, a column of one
    value where that is always the same, None without a DEFAULT), from a batch with what
    CONNECTOR_METADATA() has for each, a column of `told` a key. None: no DEFAULT asks."""
    if not any(e is not None and _asks(e) for e in table.defaults):
        return None
    entries: list[Expr] = []
    for i, f in enumerate(told.fields):
        entries += [
            Literal(VARCHAR.with_nullable(False), f.name),
            Cast(VARIANT, InputRef(f.type, i)),
        ]
    made = resolve("MAP", [e.type for e in entries])
    said = Cast(VARIANT, Call(made.result, made, tuple(entries)))

    def rule(e: Expr) -> Expr:
        return said if isinstance(e, Call) and e.function.name == METADATA else e

    found: list[Callable[[Batch], Column] | None] = []
    for e in table.defaults:
        if e is None:
            found.append(None)
            continue
        found.append(_default(transform(e, rule), told, table, plan))
    return lambda batch: tuple(None if f is None else f(batch) for f in found)


def _asks(e: Expr) -> bool:
    """Whether CONNECTOR_METADATA() is in `e`."""
    return (isinstance(e, Call) and e.function.name == METADATA) or any(map(_asks, parts(e)))


def default_columns(
    plan: ProgramPlan, table: TablePlan, metadata: str = "null"
) -> tuple[Column | None, ...]:
    """Per column of `table` the value of its DEFAULT as a one-row column, None without one.
    `metadata`: what CONNECTOR_METADATA() is, as JSON; "null" for nothing."""
    known = Literal(VARCHAR, None if metadata == "null" else metadata)
    parsed = resolve("PARSE_JSON", [VARCHAR])
    said = Call(VARIANT, parsed, (known,))

    def rule(e: Expr) -> Expr:
        return said if isinstance(e, Call) and e.function.name == METADATA else e

    one_row = Batch(Schema(()), (), np.ones(1, np.int64))
    defaults = table.defaults or (None,) * len(table.schema)
    return tuple(
        None
        if expr is None
        else _default(transform(expr, rule), one_row.schema, table, plan)(one_row)
        for expr in defaults
    )


def _default(
    e: Expr, told: Schema, table: TablePlan, plan: ProgramPlan
) -> Callable[[Batch], Column]:
    """The values of one DEFAULT; an error names its table."""
    evaluate = compile_expressions([e], told, text=plan.text)

    def value(batch: Batch) -> Column:
        try:
            return evaluate(batch)[0]
        except RuntimeSqlError as error:
            message = f"a DEFAULT of table {table.name}: {error.message}"
            details = {**(error.details or {}), "relation": table.name}
            raise RuntimeSqlError(
                message, row=error.row, code=error.code, details=details
            ) from error

    return value
