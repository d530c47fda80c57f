"""Statements of a program, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.sql.ast.names import Node

if TYPE_CHECKING:
    from penstock.sql.ast.expressions import Expr, Literal
    from penstock.sql.ast.names import Identifier, Text
    from penstock.sql.ast.queries import Query
    from penstock.sql.ast.types import TypeExpr, TypeField


@dataclass(frozen=True, slots=True)
class Statement(Node):
    """One statement of a program; `span` excludes the semicolon."""


@dataclass(frozen=True, slots=True)
class Property(Node):
    """`'key' = 'value'` of a WITH clause."""

    key: Text
    value: Text


@dataclass(frozen=True, slots=True)
class ForeignKey(Node):
    """`columns` is empty in a column's own FOREIGN KEY REFERENCES."""

    columns: tuple[Identifier, ...]
    table: Identifier
    target_columns: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class PrimaryKey(Node):
    """A PRIMARY KEY; `columns` is empty where it is written on a column."""

    columns: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True)
class ColumnDef(Node):
    """A column. NOT NULL is `type.nullable is False`."""

    name: Identifier
    type: TypeExpr
    primary_key: PrimaryKey | None = None
    references: tuple[ForeignKey, ...] = ()
    lateness: Expr | None = None
    watermark: Expr | None = None
    default: Expr | None = None
    interned: bool = False


@dataclass(frozen=True, slots=True)
class CreateTable(Statement):
    name: Identifier
    columns: tuple[ColumnDef, ...]
    #: table constraints only; see also `ColumnDef.primary_key`
    primary_keys: tuple[PrimaryKey, ...] = ()
    foreign_keys: tuple[ForeignKey, ...] = ()
    properties: tuple[Property, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateView(Statement):
    """`kind` is "local", "plain" or "materialized"."""

    name: Identifier
    kind: str
    query: Query
    columns: tuple[Identifier, ...] = ()
    properties: tuple[Property, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateType(Statement):
    """A synonym (`type`) or a struct (`fields`)."""

    name: Identifier
    type: TypeExpr | None = None
    fields: tuple[TypeField, ...] = ()


@dataclass(frozen=True, slots=True)
class CreateFunction(Statement):
    """`body` None: implemented elsewhere."""

    name: Identifier
    params: tuple[TypeField, ...]
    returns: TypeExpr
    body: Expr | None = None


@dataclass(frozen=True, slots=True)
class CreateAggregate(Statement):
    name: Identifier
    params: tuple[TypeField, ...]
    returns: TypeExpr
    linear: bool = False


@dataclass(frozen=True, slots=True)
class CreateIndex(Statement):
    name: Identifier
    view: Identifier
    columns: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class DeclareRecursiveView(Statement):
    name: Identifier
    columns: tuple[TypeField, ...]


@dataclass(frozen=True, slots=True)
class Lateness(Statement):
    """`LATENESS view.column expr`."""

    view: Identifier
    column: tuple[Identifier, ...]
    expr: Expr


@dataclass(frozen=True, slots=True)
class SetOption(Statement):
    """`SET name = ON|OFF|literal`; ON and OFF are the booleans."""

    name: Identifier
    value: Literal
