"""SELECT, its clauses, and what combines queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from penstock.sql.ast.names import Node

if TYPE_CHECKING:
    from penstock.sql.ast.expressions import Expr
    from penstock.sql.ast.names import Identifier
    from penstock.sql.ast.tables import TableRef
    from penstock.sql.ast.windows import OrderItem, WindowSpec


@dataclass(frozen=True, slots=True)
class SelectItem(Node):
    """An expression (or Star) of a select list, with its alias."""

    expr: Expr
    alias: Identifier | None = None


@dataclass(frozen=True, slots=True)
class GroupingSet(Node):
    """`(a, b)` or `()` in a GROUP BY: a set of grouping expressions."""

    exprs: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class GroupingSets(Node):
    """`kind`: ROLLUP, CUBE or GROUPING SETS."""

    kind: str
    items: tuple[GroupingItem, ...]


GroupingItem: TypeAlias = "Expr | GroupingSet | GroupingSets"


@dataclass(frozen=True, slots=True)
class GroupBy(Node):
    """`all` with no items: GROUP BY ALL. `distinct`: duplicate grouping sets drop out."""

    items: tuple[GroupingItem, ...]
    all: bool = False
    distinct: bool = False


@dataclass(frozen=True, slots=True)
class NamedWindow(Node):
    """`name AS (spec)` of a WINDOW clause."""

    name: Identifier
    spec: WindowSpec


@dataclass(frozen=True, slots=True)
class Select(Node):
    """`from_` None: one row without columns. `distinct_on` implies `distinct`."""

    items: tuple[SelectItem, ...]
    from_: TableRef | None = None
    where: Expr | None = None
    group_by: GroupBy | None = None
    having: Expr | None = None
    windows: tuple[NamedWindow, ...] = ()
    qualify: Expr | None = None
    distinct: bool = False
    distinct_on: tuple[Expr, ...] = ()
    hints: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Values(Node):
    """`VALUES (1, 2), (3, 4)`; `VALUES 1, 2` has rows of one."""

    rows: tuple[tuple[Expr, ...], ...]


@dataclass(frozen=True, slots=True)
class SetOperation(Node):
    """`op`: UNION, EXCEPT (also for MINUS) or INTERSECT; without `all` it is DISTINCT.
    A branch is a Query when it was parenthesised."""

    op: str
    all: bool
    left: QueryBody
    right: QueryBody


@dataclass(frozen=True, slots=True)
class Cte(Node):
    name: Identifier
    columns: tuple[Identifier, ...]
    query: Query


@dataclass(frozen=True, slots=True)
class Query(Node):
    """`[WITH ctes] body [ORDER BY …] [LIMIT …] [OFFSET …]`.

    `LIMIT s, c` is offset s, limit c; LIMIT ALL is no limit; FETCH FIRST n ROWS ONLY is a limit
    (1 without a number). `recursive`: WITH RECURSIVE was written.
    """

    body: QueryBody
    ctes: tuple[Cte, ...] = ()
    order_by: tuple[OrderItem, ...] = ()
    limit: Expr | None = None
    offset: Expr | None = None
    recursive: bool = False


QueryBody: TypeAlias = "Select | Values | SetOperation | Query"
