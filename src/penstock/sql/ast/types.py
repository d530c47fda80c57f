"""Types as they are spelled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.sql.ast.names import Node

if TYPE_CHECKING:
    from penstock.sql.ast.expressions import Qualifier
    from penstock.sql.ast.names import Identifier


@dataclass(frozen=True, slots=True)
class TypeExpr(Node):
    """`nullable` is None where neither NULL nor NOT NULL was written."""

    nullable: bool | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class NamedType(TypeExpr):
    """A built-in or user type. `name` is folded like an identifier, several words joined by one
    blank: "bigint unsigned", "double precision", "character varying",
    "timestamp with time zone", "time with time zone", "timestamp without time zone".
    `args` are the numbers in parentheses."""

    name: str
    args: tuple[int, ...] = ()
    quoted: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class IntervalType(TypeExpr):
    qualifier: Qualifier


@dataclass(frozen=True, slots=True)
class ArrayType(TypeExpr):
    element: TypeExpr


@dataclass(frozen=True, slots=True)
class MapType(TypeExpr):
    key: TypeExpr
    value: TypeExpr


@dataclass(frozen=True, slots=True)
class TypeField(Node):
    """A field of a ROW type or struct, or a parameter of a function."""

    name: Identifier
    type: TypeExpr


@dataclass(frozen=True, slots=True)
class RowType(TypeExpr):
    fields: tuple[TypeField, ...]
