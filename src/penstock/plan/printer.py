"""A plan as an indented tree, one node a line, for tests, explain and error messages.

    TopK order by total DESC, name limit 10
      Aggregate by name: SUM(amount) AS total
        Filter amount > 0.00
          Join left on id = customer
            Scan customer
            Scan invoice

A node that occurs in several places (a DAG, once common parts are shared) is printed once, with a
number, and referred to afterwards.

Not here: expressions (`penstock.plan.text`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from penstock.data.types import Schema
from penstock.plan.expressions import Expr, InputRef
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
    LateRows,
    Line,
    Node,
    ProgramPlan,
    Project,
    Scan,
    Session,
    SortKey,
    TopK,
    UnionAll,
    Unnest,
    Values,
    Window,
    WindowCall,
)
from penstock.plan.text import column_names, format_expression

_MAX_ROWS = 5


def format_plan(node: Node, *, with_schema: bool = False) -> str:
    """The tree of `node`, without a final newline; `with_schema` adds each node's columns."""
    printer = _Printer(_shared(node), with_schema)
    printer.print(node, 0)
    return "\n".join(printer.lines)


def children(node: Node) -> tuple[Node, ...]:
    """The inputs of a node, in order."""
    match node:
        case Scan() | Values():
            return ()
        case Filter() | Project() | Aggregate() | Distinct() | TopK() | Window() | Hop() | Unnest():
            return (node.input,)
        case Session() | Line() | LateRows():
            return (node.input,)
        case Join() | AsofJoin() | Difference():
            return (node.left, node.right)
        case Frontier():
            return (node.input, node.bound)
        case UnionAll():
            return node.inputs
        case _:
            raise AssertionError(f"unknown node {type(node).__name__}")


def _shared(root: Node) -> set[int]:
    """Identities of the inner nodes that are an input of more than one place."""
    seen: Counter[int] = Counter()
    stack = [root]
    while stack:
        node = stack.pop()
        seen[id(node)] += 1
        if seen[id(node)] == 1:
            stack.extend(children(node))
    return {i for i, n in seen.items() if n > 1}


@dataclass
class _Printer:
    shared: set[int]
    with_schema: bool
    lines: list[str] = field(default_factory=list)
    numbers: dict[int, int] = field(default_factory=dict)

    def print(self, node: Node, depth: int) -> None:
        below = children(node)
        label = ""
        if below and id(node) in self.shared:
            if id(node) in self.numbers:
                self.lines.append(f"{'  ' * depth}same as #{self.numbers[id(node)]}")
                return
            self.numbers[id(node)] = len(self.numbers) + 1
            label = f"#{self.numbers[id(node)]} "
        schema = f"  -- {format_schema(node.schema)}" if self.with_schema else ""
        self.lines.append(f"{'  ' * depth}{label}{describe(node)}{schema}")
        for child in below:
            self.print(child, depth + 1)


def format_schema(schema: Schema) -> str:
    """`name TYPE [NOT NULL], …`."""
    return ", ".join(f"{f.name} {f.type}" for f in schema.fields)


def describe(node: Node) -> str:
    """The line of one node, without its inputs."""
    match node:
        case Scan(relation=relation):
            return f"Scan {relation}"
        case Values():
            return _values(node)
        case Filter(input=input_, predicate=predicate):
            return f"Filter {format_expression(predicate, input_.schema.names)}"
        case Project():
            return _project(node)
        case Join():
            return _join(node)
        case AsofJoin():
            return _asof(node)
        case Aggregate():
            return _aggregate(node)
        case Distinct():
            return "Distinct"
        case UnionAll():
            return "UnionAll"
        case Difference():
            return "Difference"
        case Hop():
            return _hop(node)
        case Frontier(predicate=predicate):
            names = (*node.input.schema.names, *node.bound.schema.names)
            name = "Marks" if node.marks else "Frontier"
            return f"{name} {format_expression(predicate, names)}"
        case TopK():
            return _top(node)
        case Window():
            return _window(node)
        case Session():
            return _session(node)
        case Unnest():
            text = f"Unnest {column_names(node.input.schema.names)[node.column]}"
            return f"{text} with ordinality" if node.ordinality else text
        case Line(column=column, behind=behind):
            return f"Line {column_names(node.input.schema.names)[column]} - {behind}"
        case LateRows():
            return "LateRows"
        case _:
            raise AssertionError(f"unknown node {type(node).__name__}")


def _values(node: Values) -> str:
    rows = [f"({', '.join(format_expression(e) for e in row)})" for row in node.rows[:_MAX_ROWS]]
    more = [f"… {len(node.rows) - _MAX_ROWS} more"] if len(node.rows) > _MAX_ROWS else []
    return f"Values {', '.join(rows + more)}".rstrip()


def _project(node: Project) -> str:
    names = node.input.schema.names
    items = [_item(e, out, names) for e, out in zip(node.exprs, node.schema.names, strict=True)]
    return f"Project {', '.join(items)}".rstrip()


def _item(expr: Expr, out: str, names: tuple[str, ...]) -> str:
    text = format_expression(expr, names)
    same = isinstance(expr, InputRef) and names[expr.index] == out
    return text if same or not out else f"{text} AS {out}"


def _join(node: Join) -> str:
    left, right = node.left.schema.names, node.right.schema.names
    names = column_names((*left, *right))
    safe = node.null_safe or (False,) * len(node.keys)
    conditions = [
        f"{names[x]} {'<=>' if null_safe else '='} {names[len(left) + y]}"
        for (x, y), null_safe in zip(node.keys, safe, strict=True)
    ]
    text = f"Join {node.kind.value}"
    if conditions:
        text += f" on {' AND '.join(conditions)}"
    if node.residual is not None:
        text += f" where {format_expression(node.residual, (*left, *right))}"
    return text


def _asof(node: AsofJoin) -> str:
    left, right = node.left.schema.names, node.right.schema.names
    names = column_names((*left, *right))
    pairs = [("=", k) for k in node.keys] + [(node.op, node.times)]
    conditions = (f"{names[x]} {op} {names[len(left) + y]}" for op, (x, y) in pairs)
    kind, least = "inner" if node.inner else "left", " least" * node.least
    return f"AsofJoin {kind} on {' AND '.join(conditions)}{least}"


def _aggregate(node: Aggregate) -> str:
    names = column_names(node.input.schema.names)
    text = "Aggregate"
    if node.keys:
        text += f" by {', '.join(names[k] for k in node.keys)}"
    calls = [
        f"{_aggregate_call(call, names)}{f' AS {out}' if out else ''}"
        for call, out in zip(node.calls, node.schema.names[len(node.keys) :], strict=True)
    ]
    return f"{text}: {', '.join(calls)}" if calls else text


def _aggregate_call(call: AggCall, names: list[str]) -> str:
    args = ", ".join(names[a] for a in call.args) or "*"
    text = f"{call.function.kind}({'DISTINCT ' * call.distinct}{args})"
    if call.within:
        text += f" WITHIN DISTINCT ({', '.join(names[c] for c in call.within)})"
    return text if call.filter is None else f"{text} FILTER (WHERE {names[call.filter]})"


def _top(node: TopK) -> str:
    names = column_names(node.schema.names)
    text = "TopK" if node.ranks == "ROW_NUMBER" else f"TopK by {node.ranks}"
    if node.partition:
        text += f" partition by {', '.join(names[p] for p in node.partition)}"
    if node.order:
        text += f" order by {', '.join(_sort_key(k, names) for k in node.order)}"
    if node.limit is not None:
        text += f" limit {node.limit}"
    return f"{text} offset {node.offset}" if node.offset else text


def _hop(node: Hop) -> str:
    text = f"Hop {node.input.schema.names[node.column]} size {node.size} µs"
    if node.slide != node.size:
        text += f" slide {node.slide} µs"
    return f"{text} offset {node.offset} µs" if node.offset else text


def _session(node: Session) -> str:
    names = column_names(node.input.schema.names)
    text = f"Session {names[node.time]} gap {node.gap} µs"
    if node.partition:
        text += f" partition by {', '.join(names[p] for p in node.partition)}"
    return text


def _window(node: Window) -> str:
    names = column_names(node.input.schema.names)
    text = "Window"
    if node.partition:
        text += f" partition by {', '.join(names[p] for p in node.partition)}"
    if node.order:
        text += f" order by {', '.join(_sort_key(k, names) for k in node.order)}"
    width = len(names)
    calls = [
        f"{_window_call(call, names)}{f' AS {out}' if out else ''}"
        for call, out in zip(node.calls, node.schema.names[width:], strict=True)
    ]
    return f"{text}: {', '.join(calls)}"


def _window_call(call: WindowCall, names: list[str]) -> str:
    args = [names[a] for a in call.args] or (["*"] if call.kind == "COUNT" else [])
    if call.kind in ("LAG", "LEAD"):
        args.insert(1, str(call.offset))
    text = f"{call.kind}({', '.join(args)}){' IGNORE NULLS' * call.ignore_nulls}"
    frame = call.frame
    if frame is None or (frame.unit, frame.start, frame.end) == ("RANGE", None, 0):
        return text
    start, end = ("unbounded" if b is None else str(b) for b in (frame.start, frame.end))
    return f"{text} {frame.unit} {start} … {end}"


def _sort_key(key: SortKey, names: list[str]) -> str:
    """NULLS is said only where it differs from the default (NULL is the smallest value)."""
    text = names[key.column] + " DESC" * key.descending
    if key.nulls_first == key.descending:
        text += " NULLS FIRST" if key.nulls_first else " NULLS LAST"
    return text


def format_program(program: ProgramPlan) -> str:
    """Every view of a program with its plan, in order of declaration."""
    parts = []
    for view in program.views:
        kind = "" if view.kind == "plain" else f"{view.kind} "
        body = format_plan(view.query)
        indented = "\n".join(f"  {line}" for line in body.splitlines())
        parts.append(f"{kind}view {view.name} ({format_schema(view.schema)})\n{indented}")
    return "\n\n".join(parts) + "\n"
