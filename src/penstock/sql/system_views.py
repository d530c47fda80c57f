"""error_view, an output of every program: the records that came too late.

    table_or_view_name   message                                metadata
    t                    came later than the LATENESS of ts …   {"id":1,"ts":"2024-01-01 00:00:00"}

Late records of views that read error_view are not in it, for they would have caused each other.
Source: contract 10.1; what `message` and `metadata` hold is our choice.
"""

from __future__ import annotations

from collections.abc import Mapping

from penstock.data.types import VARCHAR, VARIANT, Field, Schema
from penstock.functions.coercion import can_cast
from penstock.plan.expressions import Expr, InputRef, Literal
from penstock.plan.nodes import LateRows, Node, Project, Scan, TablePlan, UnionAll, Values, ViewPlan
from penstock.plan.rewrite import inputs
from penstock.sql.bind import build
from penstock.sql.bind.nested import make_row

ERROR_VIEW = "error_view"
_TEXT = VARCHAR.with_nullable(False)
SCHEMA = Schema(tuple(Field(name, _TEXT) for name in ("table_or_view_name", "message", "metadata")))


def error_view(tables: Mapping[str, TablePlan], views: Mapping[str, ViewPlan]) -> ViewPlan:
    """The view over the late rows of all relations that have LATENESS."""
    relations: list[TablePlan | ViewPlan] = [*tables.values()]
    relations += [v for v in views.values() if not _reads_errors(v, views)]
    branches = [_late(r) for r in relations if r.lateness]
    query: Node = Values(SCHEMA, ())
    if branches:
        query = branches[0] if len(branches) == 1 else UnionAll(SCHEMA, tuple(branches))
    return ViewPlan(ERROR_VIEW, SCHEMA, query, "plain")


def _late(relation: TablePlan | ViewPlan) -> Node:
    scan = Scan(relation.schema, relation.name)
    columns = ", ".join(relation.schema.names[c] for c, _, _ in relation.lateness)
    shown = [
        (f.name, InputRef(f.type, i))
        for i, f in enumerate(relation.schema.fields)
        if can_cast(f.type, VARIANT, explicit=True)
    ]
    record = make_row([n for n, _ in shown], [e for _, e in shown], None)
    json = build.call("TO_JSON", [build.cast(record, VARIANT, None)], None)
    exprs: tuple[Expr, ...] = (
        Literal(_TEXT, relation.name),
        Literal(_TEXT, f"this record came later than the LATENESS of {columns} allows"),
        build.coalesce([json, Literal(_TEXT, "{}")], None),
    )
    return Project(SCHEMA, LateRows(relation.schema, scan), exprs)


def _reads_errors(view: ViewPlan, views: Mapping[str, ViewPlan]) -> bool:
    """Whether `view` reads error_view, by way of others too."""
    seen: set[str] = set()
    visited: set[int] = set()
    stack: list[Node] = [view.query]
    while stack:
        node = stack.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
        stack += inputs(node)
        if isinstance(node, Scan) and node.relation not in seen:
            if node.relation == ERROR_VIEW:
                return True
            seen.add(node.relation)
            if node.relation in views:
                stack.append(views[node.relation].query)
    return False
