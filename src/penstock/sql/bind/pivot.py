"""PIVOT and UNPIVOT (sql-reference 5.6), as what they abbreviate.

t PIVOT (SUM(x) FOR k IN ('a' AS a, 'b' AS b))
    Aggregate by the other columns: SUM(x) FILTER (WHERE k = 'a') AS a, … AS b

t UNPIVOT (x FOR k IN (a, b))
    UnionAll(Project …, 'a' AS k, a AS x;  Project …, 'b' AS k, b AS x)  without NULL x
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.data.types import VARCHAR, Field, Schema
from penstock.plan.expressions import Expr, InputRef, Literal
from penstock.plan.nodes import AggCall, Aggregate, Filter, Node, Project, UnionAll
from penstock.plan.rewrite import columns_of
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.catalog import Catalog
from penstock.sql.bind.expressions import ExpressionBinder
from penstock.sql.bind.forms import Aggregated
from penstock.sql.bind.frame import Frame
from penstock.sql.bind.report import BindError, did_you_mean
from penstock.sql.bind.scope import Scope
from penstock.sql.passes.join_keys import references


def bind_pivot(pivot: ast.Pivot, source: Node, scope: Scope, catalog: Catalog) -> Node:
    """The rows of `source PIVOT (…)`. Raises BindError."""
    axes = [_column(a, scope) for a in pivot.axes]
    binder = ExpressionBinder(scope, catalog=catalog)
    aggregates: list[tuple[str | None, Aggregated]] = []
    for item in pivot.aggregates:
        bound = binder.bind(item.expr)
        if not isinstance(bound, Aggregated):
            raise BindError(item.span, "PIVOT takes aggregates, such as SUM(x)")
        aggregates.append((None if item.alias is None else item.alias.name, bound))
    used = {a.index for a in axes}
    for _, call in aggregates:
        used.update(*map(columns_of, call.operands))
    keys = [c for c in references(source.schema) if isinstance(c, InputRef) and c.index not in used]
    feed: list[Expr] = [*keys]
    calls: list[AggCall] = []
    names: list[str] = []
    for value in pivot.values:
        chosen = _chosen(value, axes, binder)
        for alias, call in aggregates:
            name = _pivot_name(value, alias, len(aggregates))
            if name in names:
                raise BindError(value.span, f"PIVOT has two columns {name}; name one with AS")
            kept = chosen if call.filter is None else build.and_([chosen, call.filter])
            call = replace(call, args=build.only_where(kept, call.args), filter=kept)
            calls.append(call.placed(lambda e: _place(e, feed)))
            names.append(name)
    frame = Frame(source, scope)
    lowered = tuple(map(frame.value, feed))  # sub-queries of the aggregates are joined
    below = Schema(tuple(Field(_name(e, i), e.type) for i, e in enumerate(lowered)))
    results = [Field(n, c.function.result) for n, c in zip(names, calls, strict=True)]
    schema = Schema((*below.fields[: len(keys)], *results))
    rows = Project(below, frame.node, lowered, span=pivot.span)
    return Aggregate(schema, rows, tuple(range(len(keys))), tuple(calls), span=pivot.span)


def _place(e: Expr, feed: list[Expr]) -> int:
    """The position of `e` in `feed`, where it is put if it is not there."""
    if e not in feed:
        feed.append(e)
    return feed.index(e)


def _name(e: Expr, i: int) -> str:
    return e.name if isinstance(e, InputRef) and e.name else f"$a{i}"


def _chosen(value: ast.PivotValue, axes: Sequence[InputRef], binder: ExpressionBinder) -> Expr:
    """The rows that one value of the axes is about."""
    tests = []
    for axis, written in zip(axes, value.values, strict=True):
        bound = binder.bind(written)
        if not isinstance(bound, Literal):
            raise BindError(written.span, "the values of a PIVOT are literals")
        if bound.value is None:
            tests.append(build.is_null(axis, written.span))
        else:
            tests.append(build.call("=", [axis, bound], written.span))
    return build.and_(tests)


def _pivot_name(value: ast.PivotValue, alias: str | None, aggregates: int) -> str:
    base = "_".join(_text(v) for v in value.values)
    if value.alias is not None:
        base = value.alias.name
    return base if alias is None or aggregates == 1 else f"{base}_{alias}"


def _text(e: ast.Expr) -> str:
    return str(e.value) if isinstance(e, ast.Literal) else "expr"


def bind_unpivot(unpivot: ast.Unpivot, source: Node, scope: Scope) -> Node:
    """The rows of `source UNPIVOT (…)`. Raises BindError."""
    items = [[_column(c, scope) for c in item.columns] for item in unpivot.items]
    for item, columns in zip(unpivot.items, items, strict=True):
        if len(columns) != len(unpivot.measures):
            raise BindError(
                item.span, f"found {len(columns)} columns for {len(unpivot.measures)} measures"
            )
        if item.labels and len(item.labels) != len(unpivot.axes):
            raise BindError(
                item.span, f"found {len(item.labels)} labels for {len(unpivot.axes)} axes"
            )
    used = {c.index for columns in items for c in columns}
    kept = [c for c in references(source.schema) if isinstance(c, InputRef) and c.index not in used]
    labels = _columns([_labels(i, len(unpivot.axes)) for i in unpivot.items], "the labels")
    measures = _columns(items, "the columns")
    names = [a.name for a in (*unpivot.axes, *unpivot.measures)]
    types = [rows[0].type.with_nullable(any(e.type.nullable for e in rows)) for rows in
             (*labels, *measures)]  # fmt: skip
    fields = tuple(Field(n, t) for n, t in zip(names, types, strict=True))
    schema = Schema((*(source.schema.fields[c.index] for c in kept), *fields))
    branches: list[Node] = []
    for i in range(len(items)):
        exprs = (*kept, *(column[i] for column in (*labels, *measures)))
        branches.append(Project(schema, source, exprs, span=unpivot.span))
    rows: Node = UnionAll(schema, tuple(branches)) if len(branches) > 1 else branches[0]
    if not unpivot.include_nulls:
        values = references(schema)[len(kept) + len(labels) :]
        known = build.or_([build.is_null(v, None, negated=True) for v in values])
        rows = Filter(schema, rows, known)
    return rows


def _labels(item: ast.UnpivotItem, axes: int) -> list[Expr]:
    if not item.labels:
        text = "_".join(c.name for c in item.columns)
        return [Literal(VARCHAR.with_nullable(False), text) for _ in range(axes)]
    binder = ExpressionBinder(Scope(), aggregates="UNPIVOT")
    bound = [build.string_of(binder.bind(e)) for e in item.labels]
    for e in bound:
        if not isinstance(e, Literal):
            raise BindError(e.span, "the labels of UNPIVOT are literals")
    return bound


def _columns(rows: Sequence[Sequence[Expr]], what: str) -> list[list[Expr]]:
    """The columns of `rows`, each in one type."""
    return [build.unify(list(c), None, f"{what} of UNPIVOT")[0] for c in zip(*rows, strict=True)]


def _column(name: ast.Identifier, scope: Scope) -> InputRef:
    found = scope.find(None, name.name, name.span)
    if not isinstance(found, InputRef):
        hint = did_you_mean(name.name, scope.names())
        raise BindError(name.span, f"there is no column {name.name} here{hint}")
    return found
