"""What a query may name: tables, views and the WITH queries around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

from penstock.data.types import Field, Schema, SqlType
from penstock.errors import Span
from penstock.plan.expressions import Expr
from penstock.plan.nodes import Node, Project, Scan
from penstock.sql import ast
from penstock.sql.bind.forms import Outer, map_outers, outers
from penstock.sql.bind.report import BindError, Poisoned, Report, did_you_mean
from penstock.sql.bind.scope import Scope
from penstock.sql.passes.join_keys import references


class Subqueries(Protocol):
    """Binds sub-queries of an expression whose names are those of `scope`."""

    def scalar(self, e: ast.ScalarSubquery, scope: Scope, catalog: Catalog) -> Expr: ...

    def exists(self, e: ast.Exists, scope: Scope, catalog: Catalog) -> Expr: ...

    def is_in(
        self, e: ast.InQuery, operands: Sequence[Expr], scope: Scope, catalog: Catalog
    ) -> Expr: ...

    def quantified(
        self, e: ast.Quantified, operands: Sequence[Expr], scope: Scope, catalog: Catalog
    ) -> Expr: ...


class Inlined(Protocol):
    """A function declared by the program."""

    def inline(self, args: Sequence[Expr], span: Span) -> Expr: ...


@runtime_checkable
class Folded(Protocol):
    """An aggregate declared by the program: `finished` over the built-in aggregate `collect` of
    `collected`."""

    @property
    def collect(self) -> str: ...

    def collected(self, args: Sequence[Expr], span: Span) -> Expr: ...

    def finished(self, aggregated: Expr) -> Expr: ...


Scopes = tuple[Scope, ...]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The relations a query may name; None marks one whose definition failed.

    `report` collects errors of items that need not end the query at once. `bind_query` and
    `subqueries` are the doors of `query` and `subqueries`, here because queries contain FROM
    and expressions, which contain queries.
    """

    relations: Mapping[str, Schema | None]
    report: Report
    bind_query: Callable[[ast.Query, Catalog], Node]
    subqueries: Subqueries
    ctes: Mapping[str, Node | None] = field(default_factory=dict)
    functions: Mapping[str, Inlined | Folded | None] = field(default_factory=dict)
    #: what CREATE TYPE has named, None where that failed
    types: Mapping[str, SqlType | None] = field(default_factory=dict)
    #: the view that is being defined
    own: str | None = None
    #: the scopes of the queries around this one, nearest first
    outer: Scopes = ()

    def find(self, name: ast.Identifier) -> Node:
        """The plan that reads relation `name`."""
        if name.name in self.ctes:
            query = self.ctes[name.name]
            if query is None:
                raise Poisoned
            return query
        if name.name == self.own:
            raise BindError(
                name.span,
                f"view {self.own} reads itself: declare it before, with DECLARE RECURSIVE VIEW",
            )
        if name.name not in self.relations:
            hint = did_you_mean(name.name, [*self.ctes, *self.relations])
            raise BindError(name.span, f"there is no table or view {name.name}{hint}")
        schema = self.relations[name.name]
        if schema is None:
            raise Poisoned
        return Scan(schema, name.name, span=name.span)


def inside(catalog: Catalog, scope: Scope) -> Catalog:
    """The catalog of a sub-query in a query whose names are those of `scope`. What the WITH
    queries read of queries further out is now one level further out still."""
    ctes = {
        name: query
        if query is None or not outers(query)
        else map_outers(query, lambda o: Outer(o.type, o, span=o.span))
        for name, query in catalog.ctes.items()
    }
    return replace(catalog, outer=(scope, *catalog.outer), ctes=ctes)


def renamed(node: Node, columns: Sequence[ast.Identifier], what: str) -> Node:
    """`node` with its columns named as listed (nothing listed: as they are)."""
    if not columns:
        return node
    if len(columns) != len(node.schema):
        raise BindError(
            columns[0].span,
            f"{what} names {len(columns)} columns, but its query has {len(node.schema)}",
        )
    names = [c.name for c in columns]
    for i, c in enumerate(columns):
        if c.name in names[:i]:
            raise BindError(c.span, f"{what} names two columns {c.name}")
    fields = tuple(Field(n, f.type) for n, f in zip(names, node.schema.fields, strict=True))
    return Project(Schema(fields), node, references(node.schema))
