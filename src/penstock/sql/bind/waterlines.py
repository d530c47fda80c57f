"""How far a view's column has come: behind its waterline nothing will be inserted or deleted.

    t.ts LATENESS INTERVAL '1' HOUR                    Line t.ts - 1 hour
    SELECT TIMESTAMP_TRUNC(ts, DAY) AS d, SUM(x) …     Project [TIMESTAMP_TRUNC($line, DAY)]
    GROUP BY d                                           Line t.ts - 1 hour

A waterline is a relation of one row and one column that never falls. It goes through an operator
where every change of the output has the column of a change of the input, or something that only
grows with it (sql-reference 4.3): copies, monotone functions, grouping keys, equated columns of
joins and times of ASOF joins (the lesser of two lines), columns that a join keeps above one of the
other side, partitions, and windows that look back in the column's order. A recursive view has, in
a column that it hands on as it is, that of what it begins with: no round has a change behind it.

    WITH ('emit_final' = 'd')     Frontier d < waterline     rows come out when they are final
    ts WATERMARK INTERVAL …       Frontier ts <= line        rows are let in when time has passed
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from penstock.data.types import FLOATS, NUMBERS, Field, Kind, Schema, SqlType
from penstock.functions.aggregates import resolve_aggregate
from penstock.plan.bounds import bounds_of
from penstock.plan.expressions import Call, Cast, Expr, InputRef, Literal
from penstock.plan.nodes import (
    AggCall,
    Aggregate,
    AsofJoin,
    Difference,
    Distinct,
    Filter,
    Frontier,
    Hop,
    Join,
    JoinKind,
    Line,
    Node,
    Project,
    Scan,
    Session,
    TablePlan,
    TopK,
    UnionAll,
    Unnest,
    Values,
    ViewPlan,
    Window,
)
from penstock.plan.rewrite import conjuncts, inputs, transform
from penstock.sql.bind import build
from penstock.sql.passes.join_keys import references

#: functions that grow with their one argument that is no constant
_GROWING = frozenset((
    "FLOOR", "CEIL", "CEILING", "ROUND", "TRUNCATE", "TRUNC", "DATE_TRUNC", "TIMESTAMP_TRUNC",
    "TIME_TRUNC", "YEAR", "unary+",
))  # fmt: skip
#: window functions that look at rows before theirs only
_BACKWARD = frozenset(("ROW_NUMBER", "RANK", "DENSE_RANK", "LAG", "COPY"))
_OF_TIMES = ("FLOOR", "TIME_TRUNC")
_EXACT = NUMBERS - FLOATS
_DATED = frozenset((Kind.DATE, Kind.TIMESTAMP, Kind.TIMESTAMP_TZ))
_NAME = "$line"
#: of a column of a view that is asked for while it is looked for: whatever the other branches say
_ITSELF = Values(Schema(()), ())


def final_rows(view: ViewPlan, column: int, line: Node) -> Node:
    """The rows of `view` whose column is behind `line`."""
    return _behind(view.schema, Scan(view.schema, view.name), line, column, "<")


def released_rows(table: TablePlan) -> Node | None:
    """The rows of a table with WATERMARK that views see, None without one: those whose time has
    passed by as much, and those without a time."""
    scan = Scan(table.schema, table.name)
    rows: Node = scan
    for column, behind, _ in table.watermarks:
        line = line_of(scan, column, behind)
        passed = _behind(table.schema, rows, line, column, "<=")
        if table.schema.types[column].nullable:
            timeless = build.is_null(references(table.schema)[column], None)
            passed = UnionAll(table.schema, (passed, Filter(table.schema, rows, timeless)))
        rows = passed
    return None if rows is scan else rows


def line_of(scan: Scan, column: int, behind: int | float, lag: int = 0) -> Node:
    type = scan.schema.types[column].with_nullable(False)
    return Line(Schema((Field(_NAME, type),)), scan, column, behind, lag)


def _behind(schema: Schema, rows: Node, line: Node, column: int, op: str) -> Node:
    value = InputRef(line.schema.types[0], len(schema))
    test = build.call(op, [references(schema)[column], value], None)
    return Frontier(schema, rows, line, column, op, test, True)


class Waterlines:
    """The waterlines of the columns of one program's relations; they may stay behind by `lag`
    rows of each relation with LATENESS."""

    def __init__(
        self, tables: Mapping[str, TablePlan], views: Mapping[str, ViewPlan], lag: int = 0
    ) -> None:
        self._lag = lag
        self._tables = tables
        self._views = views
        self.recursive = recursive(views)
        #: relations and columns whose lines are looked for, and how often one asked for itself
        self._entered: set[tuple[str, int]] = set()
        self._assumed = 0
        self._found: dict[tuple[int, int], Node | None] = {}
        self._keep: list[Node] = []  # ids in `_found` stay taken as long as their objects live

    def of(self, node: Node, column: int) -> Node | None:
        """That of a column of `node`; None where it has none."""
        key = id(node), column
        if key in self._found:
            return self._found[key]
        before = self._assumed
        line = self._of(node, column)
        if not self._entered:
            line = None if line is _ITSELF else line
        elif before != self._assumed:
            return line  # and what was assumed may turn out otherwise
        self._keep.append(node)
        self._found[key] = line
        return line

    def _of(self, node: Node, column: int) -> Node | None:
        match node:
            case Scan():
                return self._relation(node, column)
            case Filter(input=Join() as join, predicate=predicate):
                line = self.of(join, column)
                return line or self._compared(join, column, conjuncts(predicate))
            case Filter(input=below) | Distinct(input=below):
                return self.of(below, column)
            case Project(input=below, exprs=exprs):
                return self.of_function(below, exprs[column])
            case Aggregate(input=below, keys=keys):
                return self.of(below, keys[column]) if column < len(keys) else None
            case TopK(input=below, partition=partition):
                return self.of(below, column) if column in partition else None
            case Window():
                return self._window(node, column)
            case Session():
                return self._session(node, column)
            case Unnest(input=below, keep=keep):
                return self.of(below, keep[column]) if column < len(keep) else None
            case Hop():
                return self._hop(node, column)
            case Join():
                return self._join(node, column)
            case AsofJoin(left=left, right=right, times=(a, b)) if column == a:
                # a right row changes what left rows have that are not before it
                return least(self.of(left, a), self.of(right, b))
            case Difference(left=left, right=right):
                return least(self.of(left, column), self.of(right, column))
            case UnionAll(inputs=branches):
                lines = [self.of(b, column) for b in branches if not _is_constant(b)]
                found = lines[0] if lines else None
                for line in lines[1:]:
                    found = least(found, line)
                return found
        return None

    def of_view(self, view: ViewPlan, column: int) -> Node | None:
        return self.of(Scan(view.schema, view.name), column)

    def of_equal(self, node: Join | AsofJoin, a: int, b: int) -> Node | None:
        """Of columns of the two sides that are equal."""
        return least(self.of(node.left, a), self.of(node.right, b))

    def _relation(self, scan: Scan, column: int) -> Node | None:
        name = scan.relation
        relation = self._tables.get(name) or self._views.get(name)
        if relation is None:
            return None
        for late, behind, _ in relation.lateness:
            # what is late is dropped where a recursive view is read from outside, and not within
            if late == column and name not in self.recursive:
                return line_of(scan, column, behind, self._lag)
        if isinstance(relation, TablePlan):
            return None
        key = name, column
        if key in self._entered:
            self._assumed += 1
            return _ITSELF
        self._entered.add(key)
        try:
            return self.of(relation.query, column)
        finally:
            self._entered.discard(key)

    def of_function(self, below: Node, e: Expr) -> Node | None:
        """That of an expression over `below`."""
        column = _growing(e)
        line = None if column is None else self.of(below, column)
        if line is None or isinstance(e, InputRef):
            return line
        if line is _ITSELF:
            # what is moved in each round goes anywhere
            return line if isinstance(e, Cast) and e.type.same_as(e.operand.type) else None
        value = InputRef(line.schema.types[0], 0, _NAME)
        moved = transform(e, lambda x: value if isinstance(x, InputRef) else x)
        return Project(Schema((Field(_NAME, moved.type),)), line, (moved,))

    def _window(self, node: Window, column: int) -> Node | None:
        if column >= len(node.input.schema):
            return None
        line = self.of(node.input, column)
        if column in node.partition:
            return line
        first = node.order[0] if node.order else None
        if first is None or first.column != column or first.descending:
            return None
        looks_back = all(
            c.kind in _BACKWARD
            if c.frame is None
            else c.frame.end is not None and c.frame.end <= 0 and c.kind != "LAST_VALUE"
            for c in node.calls
        )
        return line if looks_back else None

    def _session(self, node: Session, column: int) -> Node | None:
        """That of a partition, or of the ends of sessions: one that changes ends behind the first
        time that may come or go, before and after that."""
        if column in node.partition:
            return self.of(node.input, column)
        return self.of(node.input, node.time) if column == len(node.schema) - 1 else None

    def _hop(self, node: Hop, column: int) -> Node | None:
        width = len(node.input.schema)
        if column < width:
            return self.of(node.input, column)
        line = self.of(node.input, node.column) if node.slide <= node.size else None
        if line is None or line is _ITSELF:
            return None
        # the first window that what is still to come may be in
        windows = Hop(
            Schema((*line.schema.fields, *node.schema.fields[width:])), line, 0, node.size,
            node.slide, node.offset,
        )  # fmt: skip
        type = windows.schema.types[column - width + 1]
        first = resolve_aggregate("MIN", [type])
        schema = Schema((Field(_NAME, first.result),))
        return Aggregate(schema, windows, (), (AggCall(first, (column - width + 1,)),))

    def _join(self, node: Join, column: int) -> Node | None:
        """Of a column that the join equates with one of the other side, or keeps above one."""
        width = len(node.left.schema)
        for a, b in node.keys:
            shown = (a,) if node.kind in (JoinKind.SEMI, JoinKind.ANTI) else (a, width + b)
            if column in shown:
                line = self.of_equal(node, a, b)
                if line is not None:
                    return line
        return self._compared(node, column, conjuncts(node.residual))

    def _compared(self, node: Join, column: int, conditions: list[Expr]) -> Node | None:
        """Of a column that a condition of the join, or of a filter on it, keeps above one of the
        other side: a row of that brings and takes only rows that are not below it."""
        width = len(node.left.schema)
        of_left = column < width
        own = self.of(node.left if of_left else node.right, column - (0 if of_left else width))
        if own is None:
            return None
        for a, b, shift, left_is_low in bounds_of(conditions, width):
            if left_is_low == of_left or column != (a if of_left else width + b):
                continue
            other = self.of(node.right, b) if of_left else self.of(node.left, a)
            line = least(own, _moved(other, -shift if of_left else shift))
            if line is not None:
                return line
        return None


def recursive(views: Mapping[str, ViewPlan]) -> set[str]:
    """The views that read themselves, by whatever way."""
    reads: dict[str, set[str]] = {}
    for name, view in views.items():
        reads[name], below, seen = set(), [view.query], set[int]()
        while below:
            node = below.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            below += inputs(node)
            if isinstance(node, Scan) and node.relation in views:
                reads[name].add(node.relation)
    found = set()
    for name in views:
        left, reached = [name], set[str]()
        while left:
            new = reads[left.pop()] - reached
            reached |= new
            left += new
        if name in reached:
            found.add(name)
    return found


def _moved(line: Node | None, by: int) -> Node | None:
    """A waterline further on by so many units, where that can be said without computing it."""
    if line is None or not by:
        return line
    if line is _ITSELF:
        return None
    return replace(line, behind=line.behind - by) if isinstance(line, Line) else None


def least(a: Node | None, b: Node | None) -> Node | None:
    """The lesser of two waterlines, which is there once both are."""
    if a is None or b is None:
        return None
    if a is b or a == b or b is _ITSELF:
        return a
    if a is _ITSELF:
        return b
    if isinstance(a, Line) and isinstance(b, Line) and replace(a, behind=b.behind) == b:
        return a if a.behind > b.behind else b
    both = Join(
        Schema((*a.schema.fields, Field(f"{_NAME}2", b.schema.types[0]))), JoinKind.INNER, a, b, (),
        (), None,
    )  # fmt: skip
    value = build.call("LEAST", list(references(both.schema)), None)
    return Project(Schema((Field(_NAME, value.type),)), both, (value,))


def _growing(e: Expr) -> int | None:
    """The column that `e` grows with, if it is a function of that one."""
    match e:
        case InputRef(index=index):
            return index
        case Cast(operand=operand, type=type) if _keeps_order(operand.type, type):
            return _growing(operand)
        case Call(type=type) if type.kind is Kind.TIME and e.function.name not in _OF_TIMES:
            return None  # past midnight it begins anew
        case Call(function=f, args=(a, b)) if f.name in ("+", "-", "*", "/"):
            if _is_literal(b, positive=f.name in ("*", "/")):
                return _growing(a)
            if f.name in ("+", "*") and _is_literal(a, positive=f.name == "*"):
                return _growing(b)
        case Call(function=f, args=args) if f.name in _GROWING or _is_year(e):
            others = [a for a in args if not _is_literal(a)]
            return _growing(others[0]) if len(others) == 1 else None
    return None


def _keeps_order(source: SqlType, target: SqlType) -> bool:
    kinds = {source.kind, target.kind}
    if kinds <= _EXACT:  # and it fails for no line, wherever that is
        (low, high), (least, most) = _range(source), _range(target)
        return least <= low and high <= most
    return kinds <= _DATED


def _range(type: SqlType) -> tuple[int, int]:
    if type.kind is not Kind.DECIMAL:
        return build.integer_range(type.kind)
    most: int = 10 ** ((type.precision or 0) - (type.scale or 0)) - 1
    return -most, most


def _is_literal(e: Expr, *, positive: bool = False) -> bool:
    if isinstance(e, Cast):
        e = e.operand
    if not isinstance(e, Literal) or e.value is None:
        return False
    return not positive or (not isinstance(e.value, str) and e.value > 0)


def _is_year(e: Call) -> bool:
    unit = e.args[0] if e.args else None
    return e.function.name == "EXTRACT" and isinstance(unit, Literal) and unit.value == "YEAR"


def _is_constant(node: Node) -> bool:
    return isinstance(node, Values) or (bool(inputs(node)) and all(map(_is_constant, inputs(node))))
