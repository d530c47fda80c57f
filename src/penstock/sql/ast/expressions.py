"""Scalar syntax."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

from penstock.sql.ast.names import Node

if TYPE_CHECKING:
    from penstock.sql.ast.names import Identifier
    from penstock.sql.ast.queries import Query, SelectItem
    from penstock.sql.ast.types import TypeExpr
    from penstock.sql.ast.windows import OrderItem, WindowSpec


@dataclass(frozen=True, slots=True)
class Expr(Node):
    """Any scalar syntax."""


@dataclass(frozen=True, slots=True)
class ColumnRef(Expr):
    """`a`, `t.a` or `t.a.f`: which part is the table, column or field is the binder's to say.

    A time unit as an argument (`TIMESTAMPADD(SECOND, …)`) is a ColumnRef too.
    """

    parts: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class Star(Expr):
    """`*`, `t.*`, with EXCEPT/EXCLUDE and REPLACE. In a select list, COUNT(*) or ROW(t.*)."""

    qualifier: tuple[Identifier, ...] = ()
    exclude: tuple[Identifier, ...] = ()
    replace: tuple[SelectItem, ...] = ()


LiteralValue: TypeAlias = "int | Decimal | float | str | bytes | bool | None"


@dataclass(frozen=True, slots=True)
class Literal(Expr):
    """A constant. The Python type says which literal it was: int (`12`), Decimal (`1.50`),
    float (`1.5e0`), str, bytes (`x'AB'`), bool, None.

    `text` is the normal spelling and keeps `1`, `1.0`, `TRUE` and `1.00` different.
    """

    value: LiteralValue = field(compare=False)
    text: str


@dataclass(frozen=True, slots=True)
class TypedLiteral(Expr):
    """`DATE '2020-01-01'`, `UUID '…'`, `REAL '1.5'`. The binder checks `text`."""

    type: TypeExpr
    text: str


@dataclass(frozen=True, slots=True)
class Qualifier(Node):
    """Units of an interval: `DAY`, `HOUR(3)`, `DAY TO SECOND`. Upper case and singular."""

    unit: str
    to_unit: str | None = None
    precision: int | None = None


@dataclass(frozen=True, slots=True)
class IntervalLiteral(Expr):
    """`INTERVAL '1 10' DAY TO HOUR`, `INTERVAL 7 DAYS`, `INTERVAL -'1' DAY` (negative)."""

    text: str
    qualifier: Qualifier
    negative: bool = False


@dataclass(frozen=True, slots=True)
class IntervalDifference(Expr):
    """`(left - right) DAYS`: the difference of two points in time, in the given units."""

    left: Expr
    right: Expr
    qualifier: Qualifier


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    """`op` is `-`, `+` or NOT."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """`op`: `+ - * / % || = <> < <= > >= <=>` AND OR, or a period predicate (OVERLAPS, CONTAINS,
    EQUALS, PRECEDES, SUCCEEDS, IMMEDIATELY PRECEDES, IMMEDIATELY SUCCEEDS). `!=` is `<>`."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class IsTest(Expr):
    """`operand IS [NOT] what`: NULL, TRUE, FALSE or UNKNOWN."""

    operand: Expr
    what: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IsDistinct(Expr):
    """`left IS DISTINCT FROM right`; negated: IS NOT DISTINCT FROM."""

    left: Expr
    right: Expr
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Between(Expr):
    operand: Expr
    low: Expr
    high: Expr
    symmetric: bool = False
    negated: bool = False


@dataclass(frozen=True, slots=True)
class InList(Expr):
    operand: Expr
    items: tuple[Expr, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class InQuery(Expr):
    operand: Expr
    query: Query
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Exists(Expr):
    """`EXISTS (query)`; NOT EXISTS is a Unary NOT around it."""

    query: Query


@dataclass(frozen=True, slots=True)
class Quantified(Expr):
    """`left op ANY|SOME|ALL (query | items)`. Exactly one of `query` and `items` is given;
    `quantifier` is ANY (also for SOME) or ALL; with one item, `op` may be [NOT] LIKE."""

    op: str
    left: Expr
    quantifier: str
    query: Query | None = None
    items: tuple[Expr, ...] = ()


@dataclass(frozen=True, slots=True)
class Like(Expr):
    """`kind` is LIKE, ILIKE or RLIKE."""

    kind: str
    operand: Expr
    pattern: Expr
    escape: Expr | None = None
    negated: bool = False


@dataclass(frozen=True, slots=True)
class When(Node):
    """`WHEN a, b THEN result`; a searched CASE has exactly one condition."""

    conditions: tuple[Expr, ...]
    result: Expr


@dataclass(frozen=True, slots=True)
class Case(Expr):
    """`operand` None: searched CASE. `otherwise` None: no ELSE."""

    operand: Expr | None
    branches: tuple[When, ...]
    otherwise: Expr | None = None


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """CAST(operand AS type), SAFE_CAST (`safe`) and `operand::type`."""

    operand: Expr
    type: TypeExpr
    safe: bool = False


@dataclass(frozen=True, slots=True)
class NamedArgument(Expr):
    """`name => value`."""

    name: Identifier
    value: Expr


@dataclass(frozen=True, slots=True)
class TableArgument(Expr):
    """`TABLE t` or a query as an argument of a table function."""

    table: Identifier | Query


@dataclass(frozen=True, slots=True)
class Descriptor(Expr):
    """`DESCRIPTOR(column, …)`."""

    columns: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class FunctionCall(Expr):
    """`name([DISTINCT] args …) …`. Function names match without case unless quoted.

    COUNT(*) has `args == (Star,)`. SUBSTRING(s FROM a FOR b), POSITION(a IN b) and
    OVERLAY(s PLACING r FROM a FOR b) are ordinary calls `substring(s, a, b)`, `position(a, b)`,
    `overlay(s, r, a, b)`; PI without parentheses is `pi()` only if the binder finds no column.
    """

    name: Identifier
    args: tuple[Expr, ...] = ()
    distinct: bool = False
    order_by: tuple[OrderItem, ...] = ()
    #: "RESPECT" or "IGNORE" NULLS
    nulls: str | None = None
    within_distinct: tuple[Expr, ...] = ()
    within_group: tuple[OrderItem, ...] = ()
    filter: Expr | None = None
    #: OVER (spec) or OVER name
    over: WindowSpec | Identifier | None = None


@dataclass(frozen=True, slots=True)
class Extract(Expr):
    """`EXTRACT(unit FROM operand)`; `unit` upper case, singular, without SQL_TSI_."""

    unit: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class RoundTo(Expr):
    """`FLOOR(operand TO unit)` or `CEIL(operand TO unit)`; `function` is FLOOR or CEIL."""

    function: str
    operand: Expr
    unit: str


@dataclass(frozen=True, slots=True)
class Trim(Expr):
    """`TRIM([BOTH|LEADING|TRAILING] [chars] FROM operand)`; `chars` None: blanks."""

    side: str
    chars: Expr | None
    operand: Expr


@dataclass(frozen=True, slots=True)
class Index(Expr):
    """`operand[index]`; SAFE_OFFSET(i) as index is a FunctionCall of that name."""

    operand: Expr
    index: Expr


@dataclass(frozen=True, slots=True)
class FieldAccess(Expr):
    """`operand.field` where operand is not a plain name: `(e).f`, `a[1].f`, `f(x).g`."""

    operand: Expr
    field: Identifier


@dataclass(frozen=True, slots=True)
class ArrayConstructor(Expr):
    """`ARRAY[a, b]` or `ARRAY(a, b)`."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class ArrayQuery(Expr):
    """`ARRAY(SELECT …)`."""

    query: Query


@dataclass(frozen=True, slots=True)
class MapConstructor(Expr):
    """`MAP[k, v, k, v]` as pairs."""

    entries: tuple[tuple[Expr, Expr], ...]


@dataclass(frozen=True, slots=True)
class MapQuery(Expr):
    """`MAP(SELECT k, v …)`."""

    query: Query


@dataclass(frozen=True, slots=True)
class RowConstructor(Expr):
    """`ROW(a, b)`, or `(a, b)` (then not `explicit`). Items may be Star."""

    items: tuple[Expr, ...]
    explicit: bool = field(default=True, compare=False)


@dataclass(frozen=True, slots=True)
class Lambda(Expr):
    """`x -> body`, `(k, v) -> body`: an argument of a function."""

    params: tuple[Identifier, ...]
    body: Expr


@dataclass(frozen=True, slots=True)
class ScalarSubquery(Expr):
    query: Query
