"""ORDER BY items, and the windows of OVER and WINDOW."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.sql.ast.names import Node

if TYPE_CHECKING:
    from penstock.sql.ast.expressions import Expr
    from penstock.sql.ast.names import Identifier


@dataclass(frozen=True, slots=True)
class OrderItem(Node):
    """`expr` None: ORDER BY ALL. `nulls_first` None: not said (NULL is the smallest value)."""

    expr: Expr | None
    descending: bool = False
    nulls_first: bool | None = None


@dataclass(frozen=True, slots=True)
class FrameBound(Node):
    """`kind`: UNBOUNDED PRECEDING, PRECEDING, CURRENT ROW, FOLLOWING, UNBOUNDED FOLLOWING;
    `offset` with PRECEDING and FOLLOWING only."""

    kind: str
    offset: Expr | None = None


@dataclass(frozen=True, slots=True)
class Frame(Node):
    """`unit` is ROWS, RANGE or GROUPS. Without BETWEEN, `end` is CURRENT ROW.
    `exclude`: text after EXCLUDE (CURRENT ROW, GROUP, TIES, NO OTHERS)."""

    unit: str
    start: FrameBound
    end: FrameBound
    exclude: str | None = None


@dataclass(frozen=True, slots=True)
class WindowSpec(Node):
    base: Identifier | None = None
    partition_by: tuple[Expr, ...] = ()
    order_by: tuple[OrderItem, ...] = ()
    frame: Frame | None = None
