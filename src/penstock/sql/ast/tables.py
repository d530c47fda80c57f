"""Items of FROM."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.sql.ast.names import Node

if TYPE_CHECKING:
    from penstock.sql.ast.expressions import Expr, FunctionCall
    from penstock.sql.ast.names import Identifier
    from penstock.sql.ast.queries import Query, SelectItem


@dataclass(frozen=True, slots=True)
class Alias(Node):
    """`[AS] name [(column, …)]`."""

    name: Identifier
    columns: tuple[Identifier, ...] = ()


@dataclass(frozen=True, slots=True)
class TableRef(Node):
    """Any item of FROM."""


@dataclass(frozen=True, slots=True)
class NamedTable(TableRef):
    """A table, view or CTE by name, `TABLE t` included. Hints are accepted and ignored."""

    name: Identifier
    alias: Alias | None = None
    hints: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class DerivedTable(TableRef):
    query: Query
    alias: Alias | None = None
    lateral: bool = False


@dataclass(frozen=True, slots=True)
class Unnest(TableRef):
    operands: tuple[Expr, ...]
    with_ordinality: bool = False
    alias: Alias | None = None


@dataclass(frozen=True, slots=True)
class TableFunction(TableRef):
    """`TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR))`: arguments are
    TableArgument, Descriptor, NamedArgument or plain expressions."""

    call: FunctionCall
    alias: Alias | None = None
    lateral: bool = False


@dataclass(frozen=True, slots=True)
class Join(TableRef):
    """`kind`: COMMA, CROSS, INNER, LEFT, RIGHT, FULL, ASOF, LEFT ASOF, CROSS APPLY, OUTER APPLY.

    At most one of `natural`, `using` and `on`; ASOF also has `match_condition`.
    """

    kind: str
    left: TableRef
    right: TableRef
    on: Expr | None = None
    using: tuple[Identifier, ...] = ()
    natural: bool = False
    match_condition: Expr | None = None


@dataclass(frozen=True, slots=True)
class PivotValue(Node):
    """`'desk' AS desks`, `(1, 'x') AS d`: one value per axis."""

    values: tuple[Expr, ...]
    alias: Identifier | None = None


@dataclass(frozen=True, slots=True)
class Pivot(TableRef):
    source: TableRef
    aggregates: tuple[SelectItem, ...]
    axes: tuple[Identifier, ...]
    values: tuple[PivotValue, ...]
    alias: Alias | None = None


@dataclass(frozen=True, slots=True)
class UnpivotItem(Node):
    """`(cols) AS (labels)`; no labels: the columns' names are the label."""

    columns: tuple[Identifier, ...]
    labels: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class Unpivot(TableRef):
    source: TableRef
    measures: tuple[Identifier, ...]
    axes: tuple[Identifier, ...]
    items: tuple[UnpivotItem, ...]
    include_nulls: bool = False
    alias: Alias | None = None
