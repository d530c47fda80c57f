"""The syntax tree of a program: what was written, not what it means.

    text ──lexer──► tokens ──parser──► Statement ─┬─ TableRef   FROM
                                                  ├─ Query      SELECT, UNION, VALUES
                                                  ├─ Expr       scalar syntax
                                                  └─ TypeExpr   types as spelled

Every node has a `span` of program text, which is no part of its identity: `a + 1` here equals
`a + 1` there (GROUP BY matching relies on it). Names are `Identifier`s, already folded to lower
case unless they were quoted. Keywords and operators are upper-case strings.

The tree covers the grammar of the dialect (contract 10.1-10.2, SQL reference 5-7), which is more
than the binder knows: it refuses what it cannot compile by the node's name.

Not here: precedence and error recovery (`penstock.sql.parser`), names and types (the binder).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeAlias

from penstock.errors import Span


@dataclass(frozen=True, slots=True)
class Node:
    span: Span = field(compare=False)


@dataclass(frozen=True, slots=True)
class Identifier(Node):
    """A name as it is looked up: folded to lower case unless `quoted`."""

    name: str
    quoted: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Text(Node):
    """A string that is not an expression: a key or value of a WITH property."""

    value: str


# Expressions


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
    `quantifier` is ANY (also for SOME) or ALL."""

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


# Types as spelled


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


# FROM


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


# Queries


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


# Statements


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
