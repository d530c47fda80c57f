"""NOW(): the clock as a table of one row, and conditions that rows pass as time goes by.

    WHERE ts >= NOW() - INTERVAL '1' HOUR

      Frontier ts >= $bound
        t
        Project [now - INTERVAL '1' HOUR]
          Scan now

A comparison of something with a function of NOW() alone, or one that `moments` makes such, becomes
a Frontier, which looks only at the rows that time has passed (sql-reference 4.5). Inside an
expression (under OR or NOT, in FILTER, in CASE) it becomes a column of TRUE and FALSE, made of a
Frontier for each answer. Any other use joins the clock's row, so every tick reads all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.data.types import BOOLEAN, FLOATS, TIMESTAMP, Field, Kind, Schema
from penstock.plan.expressions import Call, Cast, Expr, InputRef, Literal
from penstock.plan.nodes import CLOCK, Node, ProgramPlan, Project, Scan
from penstock.plan.rewrite import can_fail, columns_of, inputs, parts
from penstock.sql.bind import build
from penstock.sql.bind.forms import JOINED, Now, Outer, descend, has
from penstock.sql.bind.moments import as_moments

NOW = TIMESTAMP.with_nullable(False)
#: the time, and a key, so that a new time takes the place of the old
SCHEMA = Schema((Field(CLOCK, NOW), Field("id", BOOLEAN.with_nullable(False))))
KEY = (1,)
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}
_TRUNCATIONS = ("DATE_TRUNC", "TIMESTAMP_TRUNC")


def clock() -> Node:
    """The relation that holds the time."""
    time = InputRef(NOW, 0, CLOCK)
    return Project(Schema((Field(CLOCK, NOW),)), Scan(SCHEMA, CLOCK), (time,))


def is_read(queries: Sequence[Node]) -> bool:
    """Whether any of the plans needs the clock."""
    seen: set[int] = set()
    stack = [*queries]
    while stack:
        node = stack.pop()
        if id(node) not in seen:
            seen.add(id(node))
            if isinstance(node, Scan) and node.relation == CLOCK:
                return True
            stack += inputs(node)
    return False


def without_idle_clock(program: ProgramPlan) -> ProgramPlan:
    """`program` without the clock where no view reads it any more: it would make steps that change
    nothing."""
    if is_read([v.query for v in program.views]):
        return program
    return replace(
        program,
        tables=tuple(t for t in program.tables if t.name != CLOCK),
        inputs=tuple(c for c in program.inputs if c.relation != CLOCK),
    )


def temporal(p: Expr) -> tuple[Expr, str, Expr] | None:
    """(expression over the row, operator, expression over the clock) of a temporal filter."""
    if not isinstance(p, Call) or p.function.name not in _MIRRORED:
        return None
    p = as_moments(p) or p
    a, b = p.args
    op = p.function.name
    if has(a, Now):
        a, b, op = b, a, _MIRRORED[op]
    a, b = _row_alone(a, b)
    if has(a, *JOINED) or has(a, Outer) or not columns_of(a):
        return None
    if not has(b, Now) or columns_of(b) or has(b, Outer) or len(set(_joined(b))) > 1:
        return None
    return a, op, b


def _row_alone(a: Expr, b: Expr) -> tuple[Expr, Expr]:
    """`a` and `b` as they are compared, with distances that a row says on the side of the row.

    ts, NOW() - d   ──►   ts + d, NOW()
    """
    while isinstance(b, Call) and b.function.name in ("+", "-") and len(b.args) == 2:
        moment, distance = b.args
        if b.function.name == "+" and has(distance, Now):
            moment, distance = distance, moment
        if not columns_of(distance) or distance.type.kind is not Kind.INTERVAL_SHORT:
            break
        if not has(moment, Now) or {a.type.kind, moment.type.kind} != {Kind.TIMESTAMP}:
            break
        op = "-" if b.function.name == "+" else "+"
        a, b = build.call(op, [a, distance], a.span), moment
    return a, b


#: the other side of a comparison
_OTHERS = {"<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def told(p: Call) -> tuple[Expr, str, Expr] | None:
    """The same of a comparison inside an expression, whose answer is wanted for every row. None
    where it is not TRUE or FALSE of all values (NaN), or an error of a row that nobody may ask."""
    found = temporal(p)
    if found is None:
        return None
    e, _, limit = found
    return None if e.type.kind in FLOATS or can_fail(e) or limit.type.nullable else found


def sides(op: str) -> list[tuple[str, bool]]:
    """The comparisons of which every value that is not NULL passes one, with the answer of `op`."""
    if op == "=":
        return [("=", True), ("<", False), (">", False)]
    return [(op, True), (_OTHERS[op], False)]


def _joined(e: Expr) -> list[type]:
    own: list[type] = [type(e)] if isinstance(e, JOINED) else []
    return own + [k for x in parts(e) for k in _joined(x)]


def bound(e: Expr) -> Node:
    """The value of `e`, over NOW() alone, as a relation of one row."""
    value = descend(e, lambda x: InputRef(NOW, 0, CLOCK) if isinstance(x, Now) else None)
    return Project(Schema((Field("$bound", value.type),)), clock(), (value,))


def rises(e: Expr) -> bool:
    """Whether `e` never falls as time passes, as far as its form tells."""
    match e:
        case Now():
            return True
        case Call(function=f, args=(a, b)) if f.name in ("+", "-"):
            if isinstance(b, Literal):
                return rises(a)
            return f.name == "+" and isinstance(a, Literal) and rises(b)
        case Call(function=f, args=(a, _)) if f.name == "$MONTHS_AWAY":
            return rises(a)
        case Call(function=f, args=args) if f.name in _TRUNCATIONS:
            return any(rises(a) for a in args)
        case Cast(type=t, operand=operand):
            return t.kind in (Kind.TIMESTAMP, Kind.DATE) and rises(operand)
    return False
