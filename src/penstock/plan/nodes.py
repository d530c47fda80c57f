"""The relational plan: a tree (a DAG, once common parts are shared) of typed nodes.

Every node carries the schema of its rows. A node is a value: equal nodes are the same
computation, which is how common sub-plans of a program are shared. Multiset semantics
everywhere: a row has an integer multiplicity.

    Scan            rows of a table or of another view
    Values          constant rows
    Filter          keep rows for which the predicate is TRUE
    Project         one expression per output column
    Join            inner | left | right | full | semi | anti, equi-keys and a residual predicate
    AsofJoin        the latest right row that is not later, beside each left row
    Aggregate       one row per group (one row in all when there are no keys)
    Distinct        one copy of each row
    UnionAll        multiset union, by position
    Difference      multiset difference, by position
    Frontier        rows on one side of a value that moves as time passes
    Hop             one copy of a row for every window of time it falls in
    TopK            first rows per partition in an order
    Window          every row with what window functions say of it
    Unnest          one row per element of an array or entry of a map
    Line            one row: how far a column has come
    LateRows        the rows that LATENESS dropped

`ProgramPlan` is what the SQL front end hands over: tables, views in dependency order, indexes.

Not here: how a node is maintained incrementally (`penstock.circuit`), printing
(`penstock.plan.printer`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from penstock.data.types import Schema, SqlType
from penstock.errors import CompilerMessage, Span
from penstock.functions.aggregates import AggregateFunction
from penstock.plan.expressions import Expr


@dataclass(frozen=True, slots=True)
class Node:
    schema: Schema
    span: Span | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Scan(Node):
    """All rows of relation `relation`: a table or a view declared earlier."""

    relation: str


@dataclass(frozen=True, slots=True)
class Values(Node):
    rows: tuple[tuple[Expr, ...], ...]


@dataclass(frozen=True, slots=True)
class Filter(Node):
    input: Node
    predicate: Expr


@dataclass(frozen=True, slots=True)
class Project(Node):
    input: Node
    exprs: tuple[Expr, ...]


class JoinKind(Enum):
    INNER = "inner"
    LEFT = "left"
    RIGHT = "right"
    FULL = "full"
    SEMI = "semi"
    ANTI = "anti"


@dataclass(frozen=True, slots=True)
class Join(Node):
    """Equi-join with optional residual. Output columns: left's, then right's (semi and anti:
    left's only). `keys` are pairs of column positions of equal type (the binder projects key
    expressions first); a NULL key matches nothing, unless its entry in `null_safe` is True.
    `residual` sees left's columns followed by right's. No keys at all: a cross join."""

    kind: JoinKind
    left: Node
    right: Node
    keys: tuple[tuple[int, int], ...]
    null_safe: tuple[bool, ...] = ()
    residual: Expr | None = None


@dataclass(frozen=True, slots=True)
class AsofJoin(Node):
    """Each left row once, beside the greatest right row with equal keys among those with the
    greatest time not above the left one's; NULLs without one. Output columns: left's, then
    right's, which may be NULL. `keys` are pairs of column positions of equal type, `times` one of
    whole numbers, dates, times or timestamps; a NULL in any of them matches nothing. `forward`: the
    least time not below the left one's instead; `strict`: not an equal one either; `least`: the
    least right row of that time; `inner`: left rows without a partner are left out."""

    left: Node
    right: Node
    keys: tuple[tuple[int, int], ...]
    times: tuple[int, int]
    forward: bool = False
    strict: bool = False
    least: bool = False
    inner: bool = False

    @property
    def op(self) -> str:
        """How a left time compares with its partner's."""
        return ("<" if self.forward else ">") + "=" * (not self.strict)


@dataclass(frozen=True, slots=True)
class AggCall:
    """One aggregate: `function` over input columns `args`, over rows for which the BOOLEAN column
    `filter` is TRUE (None: all rows), over distinct argument values if `distinct`, or over one of
    the rows that agree in the columns `within` (they may not differ in `args`)."""

    function: AggregateFunction
    args: tuple[int, ...]
    distinct: bool = False
    filter: int | None = None
    within: tuple[int, ...] = ()

    @property
    def columns(self) -> tuple[int, ...]:
        """What it reads of the input."""
        kept = () if self.filter is None else (self.filter,)
        return (*self.args, *kept, *self.within)

    def moved(self, place: Callable[[int], int]) -> AggCall:
        """The same over an input that has column i at `place(i)`."""
        return replace(
            self,
            args=tuple(map(place, self.args)),
            filter=None if self.filter is None else place(self.filter),
            within=tuple(map(place, self.within)),
        )


@dataclass(frozen=True, slots=True)
class Aggregate(Node):
    """Group by columns `keys` of the input; output columns: keys, then one per call.
    NULLs in a key are equal. Without keys there is exactly one row, also over an empty input."""

    input: Node
    keys: tuple[int, ...]
    calls: tuple[AggCall, ...]


@dataclass(frozen=True, slots=True)
class Distinct(Node):
    input: Node


@dataclass(frozen=True, slots=True)
class UnionAll(Node):
    inputs: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Difference(Node):
    """Each row as often as it is more often in `left` than in `right` (EXCEPT ALL)."""

    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Frontier(Node):
    """The rows of `input` for which `predicate` is TRUE: its `column` compared by `op` with the
    one value of the one row of `bound`, which is the column behind the input's. `rises`: that
    value never falls. `marks`: all rows instead, with what the predicate is as a column behind
    the input's: NULL where either is, or there is no bound."""

    input: Node
    bound: Node
    column: int
    op: str
    predicate: Expr
    rises: bool
    marks: bool = False


@dataclass(frozen=True, slots=True)
class Hop(Node):
    """Every row once for each window [start, start + size) that its TIMESTAMP in `column` falls
    in, with start = k * slide + offset for whole k (µs; the epoch is aligned). Output columns: the
    input's, window_start, window_end. A row without a time is in no window."""

    input: Node
    column: int
    size: int
    slide: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class SortKey:
    column: int
    descending: bool = False
    nulls_first: bool = True


@dataclass(frozen=True, slots=True)
class TopK(Node):
    """Rows offset .. offset+limit of each partition in `order` (multiplicities count as rows).
    Ties beyond `order` are broken by the remaining columns, so that the result is a function of
    the input. `limit` None: no bound. Output schema = input schema. `ranks`: what is bound by
    `limit`, ROW_NUMBER as said, or RANK or DENSE_RANK, which peers share (offset 0 then)."""

    input: Node
    partition: tuple[int, ...]
    order: tuple[SortKey, ...]
    limit: int | None
    offset: int = 0
    ranks: str = "ROW_NUMBER"


@dataclass(frozen=True, slots=True)
class Bounds:
    """A window frame: from `start` to `end` relative to the row, counted forward in the order;
    None: unbounded. `unit`: ROWS, or RANGE in units of the order column's numbers (µs of a
    TIMESTAMP, days of a DATE, the last digit of a DECIMAL); in a RANGE peers come together."""

    unit: str
    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class WindowCall:
    """One window function over input columns `args`: ROW_NUMBER, RANK, DENSE_RANK; LAG, LEAD (args:
    value and perhaps default; `offset` rows away); FIRST_VALUE, LAST_VALUE, COUNT, SUM, AVG, MIN,
    MAX over `frame`; COPY: how many copies of the row come before this one."""

    kind: str
    args: tuple[int, ...]
    result: SqlType
    frame: Bounds | None = None
    offset: int = 1
    ignore_nulls: bool = False

    @property
    def by_row(self) -> bool:
        """Whether it depends on the order of rows that ORDER BY does not tell apart."""
        if self.frame is None:
            return self.kind in ("ROW_NUMBER", "LAG", "LEAD", "COPY")
        return self.frame.unit == "ROWS" or self.kind in ("FIRST_VALUE", "LAST_VALUE")


@dataclass(frozen=True, slots=True)
class Window(Node):
    """The input's columns, then one per call: its value for the row among those of its partition
    in `order` (ties are broken by the remaining columns)."""

    input: Node
    partition: tuple[int, ...]
    order: tuple[SortKey, ...]
    calls: tuple[WindowCall, ...]


@dataclass(frozen=True, slots=True)
class Session(Node):
    """The input's columns, then two: the first time of the row's session, and the last one and
    `gap` (µs). The sessions of a partition are its times, split where the next one is that far away
    or more. `time`, a TIMESTAMP, is never NULL in a row."""

    input: Node
    partition: tuple[int, ...]
    time: int
    gap: int


@dataclass(frozen=True, slots=True)
class Unnest(Node):
    """A row for every element of the ARRAY (entry of the MAP) in `column` of the input; none for
    NULL and empty ones. Output columns: the input's columns `keep`, then the element (key and
    value of a map; the fields, where elements are rows), then its number from 1 (BIGINT) if
    `ordinality`."""

    input: Node
    column: int
    keep: tuple[int, ...]
    ordinality: bool = False


@dataclass(frozen=True, slots=True)
class Line(Node):
    """One row: the largest value that `column` of `input`, a Scan, has had, less `behind` (in the
    column's units); no row before there is one. With a `lag` it may stay behind
    that: by less rows, and some steps."""

    input: Node
    column: int
    behind: int | float
    lag: int = 0


@dataclass(frozen=True, slots=True)
class LateRows(Node):
    """The rows that came too late for `input`, a Scan of a relation with LATENESS: each once."""

    input: Node


#: the table with the time of day as its one row, and the connector that feeds it
CLOCK = "now"


#: (column, how far behind the largest value a row may come, in the column's units, as written)
Lateness = tuple[tuple[int, int | float, str], ...]


@dataclass(frozen=True, slots=True)
class TablePlan:
    """A declared table. `key`: positions of the PRIMARY KEY columns, empty without one.
    `defaults[i]`: constant expression of column i or None. `released`: the rows that views see,
    over a Scan of the table's own; None: those."""

    name: str
    schema: Schema
    key: tuple[int, ...]
    materialized: bool
    case_sensitive: bool = False
    defaults: tuple[Expr | None, ...] = ()
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    lateness: Lateness = ()
    watermarks: Lateness = ()
    released: Node | None = field(default=None, hash=False)
    #: whether a row that is deleted more often than inserted is an error
    enforced: bool = False

    @property
    def append_only(self) -> bool:
        """Whether its rows only come."""
        given: str = self.properties.get("append_only", {}).get("value", "false")
        return given.lower() == "true"


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """A declared view. `kind` is "local", "plain" or "materialized". `emitted`: the rows that
    come out, over a Scan of the view, which other views read; None: all of them."""

    name: str
    schema: Schema
    query: Node
    kind: str
    case_sensitive: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)
    lateness: Lateness = ()
    emitted: Node | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """CREATE INDEX name ON view(columns): a declared unique key for sinks."""

    name: str
    view: str
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ConnectorPlan:
    """One entry of a 'connectors' property: endpoint name `<relation>.<name>` and its config
    as written (a JSON object, generic attributes included), with its name resolved."""

    relation: str
    name: str
    config: Mapping[str, Any] = field(hash=False)

    @property
    def endpoint(self) -> str:
        return f"{self.relation}.{self.name}"


@dataclass(frozen=True, slots=True)
class Expiry:
    """Rows of input number `input` of `node` whose `column` (of a window: one of what it emits) is
    less than the one value of `line` and `shift` (in the column's units) concern no later change of
    any input: what `node` remembers of them may be forgotten. `in_order`: `column` is the first of
    the node's order, and a later change may concern those of them that are nearest to it in that
    order."""

    node: Node
    input: int
    column: int
    line: Node
    shift: int = 0
    in_order: bool = False


@dataclass(frozen=True, slots=True)
class ProgramPlan:
    """A compiled program: everything in order of declaration."""

    tables: tuple[TablePlan, ...]
    views: tuple[ViewPlan, ...]
    indexes: tuple[IndexPlan, ...] = ()
    inputs: tuple[ConnectorPlan, ...] = ()
    outputs: tuple[ConnectorPlan, ...] = ()
    warnings: tuple[CompilerMessage, ...] = ()
    #: the program's text, for error messages that quote an expression
    text: str = ""
    #: views that are there without being declared
    system_views: tuple[ViewPlan, ...] = ()
    #: after how many rounds a recursion is taken for endless
    recursion_rounds: int = 10_000
    #: how many rows may be kept so that a recursion that is not monotone need not start over
    recursion_rows: int = 4_000_000
    #: what operators may forget, by LATENESS
    expiries: tuple[Expiry, ...] = ()
    #: a Python text to start from, with what it calls and does not define itself
    udf_stubs: str = ""

    @property
    def all_views(self) -> tuple[ViewPlan, ...]:
        return (*self.views, *self.system_views)
