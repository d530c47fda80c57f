"""CREATE VIEW, DECLARE RECURSIVE VIEW and CREATE INDEX (sql-reference 5.7, 6.5)."""

from __future__ import annotations

from penstock.data.types import Field, Kind, Schema, has_kind
from penstock.errors import Span
from penstock.plan.expressions import InputRef
from penstock.plan.nodes import (
    IndexPlan,
    Node,
    Project,
    ViewPlan,
)
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.catalog import renamed
from penstock.sql.bind.query import bind_query
from penstock.sql.bind.report import BindError, Poisoned, did_you_mean
from penstock.sql.bind.types import bind_type
from penstock.sql.bind.view_names import distinct_names
from penstock.sql.connectors import Owner
from penstock.sql.passes.join_keys import references
from penstock.sql.statements import properties
from penstock.sql.statements.declared import Declared, refuse_reserved

_PROPERTIES = ("connectors", "emit_final")

_INTERVALS = (Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG)


def declare_recursive(declared: Declared, d: ast.DeclareRecursiveView) -> None:
    """A view that may be read before its definition; a cycle of views goes through one."""
    declared.declare(d.name, "view")
    name = d.name.name
    with declared.poisoned_unless_bound(name):
        fields: list[Field] = []
        for c in d.columns:
            if any(f.name == c.name.name for f in fields):
                raise BindError(c.name.span, f"there are two columns {c.name.name}")
            fields.append(Field(c.name.name, bind_type(c.type, declared.types)))
        declared.relations[name] = Schema(tuple(fields))
        declared.recursive[name] = d.name.span


def _as_declared(declared: Declared, node: Node, name: ast.Identifier) -> Node:
    """The definition of a recursive view with its declared columns."""
    schema = declared.relations[name.name]
    if schema is None:
        raise Poisoned
    if node.schema.names != schema.names:
        raise BindError(
            name.span,
            f"view {name.name} was declared with columns ({', '.join(schema.names)}), but is "
            f"defined with ({', '.join(node.schema.names)})",
        )
    for f, wanted in zip(node.schema.fields, schema.types, strict=True):
        fits = f.type.kind is Kind.NULL or f.type.same_as(wanted)
        if f.type.kind is Kind.CHAR and wanted.kind is Kind.VARCHAR:
            fits = wanted.precision is None  # a literal's text is also text of any length
        if not fits or (f.type.nullable and not wanted.nullable):
            raise BindError(
                name.span,
                f"column {f.name} of view {name.name} was declared {wanted}, but is "
                f"defined as {f.type}; CAST it or change the declaration",
            )
    columns = references(node.schema)
    exprs = tuple(build.coerce(e, t) for e, t in zip(columns, schema.types, strict=True))
    return Project(schema, node, exprs)


def _place(node: Node, column: int) -> Span | None:
    """Where a column is written, if it is in the list of a SELECT."""
    while isinstance(node, Project):
        e = node.exprs[column]
        if e.span is not None or not isinstance(e, InputRef):
            return e.span
        node, column = node.input, e.index
    return None


def create_view(declared: Declared, v: ast.CreateView) -> None:
    name = v.name.name
    own = None if name in declared.recursive else name
    query = bind_query(v.query, declared.catalog(own=own))
    node = renamed(query, v.columns, f"view {name}")
    if name in declared.recursive:
        node = _as_declared(declared, node, v.name)
    node = distinct_names(node, v)
    for i, f in enumerate(node.schema.fields):
        if v.kind != "local" and (f.type.kind is Kind.NULL or has_kind(f.type, *_INTERVALS)):
            raise BindError(
                _place(node, i) or v.name.span,
                f"column {f.name} of view {name} is {build.bare(f.type)}, which only a LOCAL "
                "view may have; CAST it",
            )
    given = properties.read(declared, v.properties, _PROPERTIES, f"view {name}")
    if v.kind == "local" and given:
        key = v.properties[0].key
        raise BindError(
            key.span, f"LOCAL view {name} is no output: it takes no property '{key.value}'"
        )
    declared.views[name] = ViewPlan(name, node.schema, node, v.kind, name != name.lower(), given)
    declared.written[name] = v
    declared.relations[name] = node.schema
    declared.final.update((name, p) for p in v.properties if p.key.value == "emit_final")
    properties.connectors(declared, v.properties, Owner(name, False), declared.outputs)


def create_index(declared: Declared, i: ast.CreateIndex) -> None:
    refuse_reserved(i.name)
    if any(x.name == i.name.name for x in declared.indexes):
        raise BindError(i.name.span, f"there is an index {i.name.name} already")
    if declared.relations.get(i.view.name, 0) is None:
        raise Poisoned
    view = declared.views.get(i.view.name)
    if view is None:
        noun = "a table, not a view" if i.view.name in declared.tables else "not declared"
        hint = did_you_mean(i.view.name, declared.views)
        raise BindError(i.view.span, f"CREATE INDEX ON {i.view.name}: that is {noun}{hint}")
    columns: list[int] = []
    for c in i.columns:
        if c.name not in view.schema.names:
            hint = did_you_mean(c.name, view.schema.names)
            raise BindError(c.span, f"view {view.name} has no column {c.name}{hint}")
        column = view.schema.index(c.name)
        if column in columns:
            raise BindError(c.span, f"index {i.name.name} names column {c.name} twice")
        columns.append(column)
    declared.indexes.append(IndexPlan(i.name.name, view.name, tuple(columns)))
