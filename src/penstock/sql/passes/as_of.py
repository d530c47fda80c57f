"""The nearest row in time, where a query finds it among all that are before.

    SELECT (SELECT r.x FROM r WHERE r.k = l.k AND r.t <= l.t ORDER BY r.t DESC LIMIT 1) FROM l

      TopK partition by k, t order by r.t DESC limit 1         AsofJoin inner  k = k AND t >= r.t
        Join inner  on k = k  where r.t <= t             ──►     Distinct: k, t ─ l
          Distinct: k, t ─ l                                     r
          r

    SELECT (SELECT MAX(r.t) FROM r WHERE r.k = l.k AND r.t <= l.t) FROM l         likewise

So a row costs its partner, not all that are before it. `>=`, ascending and MIN are the nearest one
that is not earlier; of rows of one time a top-k takes the least by all other columns.

Where LATENESS would forget rows of the ASOF join it is left as it is: what it keeps of the right
side is for `<=` alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.data.types import Field, Kind, Schema
from penstock.plan.bounds import KINDS
from penstock.plan.expressions import Call, Expr, InputRef
from penstock.plan.nodes import (
    Aggregate,
    AsofJoin,
    Join,
    JoinKind,
    Node,
    ProgramPlan,
    Project,
    TopK,
)
from penstock.plan.rewrite import can_fail, columns_of, conjuncts, remap, substitute
from penstock.sql.bind import expiries  # which needs the passes itself
from penstock.sql.passes.distinct_rows import keys_of
from penstock.sql.passes.each_view import bottom_up
from penstock.sql.passes.join_keys import references

_OTHER_WAY = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TIMES = KINDS | {Kind.TIME}


def as_of(program: ProgramPlan) -> ProgramPlan:
    forgets = expiries.is_forgetful(program)

    def rule(node: Node) -> Node:
        found = nearest(node)
        return node if found is None or forgets(found[1]) else found[0]

    return bottom_up(program, rule)


def nearest(node: Node) -> tuple[Node, AsofJoin] | None:
    """`node`, a top-1 or a MAX or MIN of pairs by time, by an ASOF join (and that join)."""
    if not isinstance(node, TopK | Aggregate):
        return None
    exprs = references(node.input.schema)
    join = node.input
    while isinstance(join, Project):
        exprs = tuple(substitute(e, join.exprs) for e in exprs)
        join = join.input
    pairs = _by_time(join)
    if pairs is None:
        return None
    group = node.partition if isinstance(node, TopK) else node.keys
    own = {e.index for e in (exprs[g] for g in group) if isinstance(e, InputRef)}
    if len(own) < len(set(group)) or max(own, default=0) >= pairs.width:
        return None
    if not any(key <= own for key in keys_of(pairs.join.left, {})):
        return None  # several rows may share their best
    return _first(node, exprs, pairs) if isinstance(node, TopK) else _end(node, exprs, pairs)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """The pairs of `join` whose columns at `times` compare as `op` says, and nothing else."""

    join: Join
    times: tuple[int, int]
    op: str

    @property
    def width(self) -> int:
        return len(self.join.left.schema)

    @property
    def forward(self) -> bool:
        return self.op in ("<", "<=")


def _by_time(join: Node) -> _Pairs | None:
    if not isinstance(join, Join) or join.kind is not JoinKind.INNER or any(join.null_safe):
        return None
    conditions = conjuncts(join.residual)
    if len(conditions) != 1 or not isinstance(call := conditions[0], Call):
        return None
    op, width = call.function.name, len(join.left.schema)
    if op not in _OTHER_WAY or not all(isinstance(a, InputRef) for a in call.args):
        return None
    (a, *_), (b, *_) = (sorted(columns_of(e)) for e in call.args)
    if a > b:
        a, b, op = b, a, _OTHER_WAY[op]
    kinds = {join.left.schema.types[a].kind}
    if not a < width <= b or kinds != {join.right.schema.types[b - width].kind}:
        return None
    return _Pairs(join, (a, b - width), op) if kinds <= _TIMES else None


def _first(node: TopK, exprs: tuple[Expr, ...], pairs: _Pairs) -> tuple[Node, AsofJoin] | None:
    """The first pair of each left row, in the order of the right side's times."""
    if (node.limit, node.offset, node.ranks, len(node.order)) != (1, 0, "ROW_NUMBER", 1):
        return None
    (order,) = node.order
    by = exprs[order.column]
    if not isinstance(by, InputRef) or by.index != pairs.width + pairs.times[1]:
        return None
    if order.descending is pairs.forward:
        return None
    # ties: by what else is shown of the right side, in that order
    shown: list[Expr] = []
    place: dict[int, int] = {}
    for i, e in enumerate(exprs):
        used = columns_of(e)
        if used and min(used) >= pairs.width and not can_fail(e):
            place[i] = len(shown)
            shown.append(remap(e, lambda c: c - pairs.width))
        elif used and max(used) >= pairs.width:
            return None
    join = _joined(pairs, shown)
    fields = join.schema.fields
    found = tuple(
        InputRef(fields[at := pairs.width + place[i]].type, at) if i in place else e
        for i, e in enumerate(exprs)
    )
    return Project(node.schema, join, found, span=node.span), join


def _end(node: Aggregate, exprs: tuple[Expr, ...], pairs: _Pairs) -> tuple[Node, AsofJoin] | None:
    """The greatest or the least of the right side's times, for each left row."""
    if len(node.calls) != 1:
        return None
    (call,) = node.calls
    if call.function.kind != ("MIN" if pairs.forward else "MAX") or call.filter is not None:
        return None
    by = exprs[call.args[0]]
    if not isinstance(by, InputRef) or by.index != pairs.width + pairs.times[1]:
        return None
    join = _joined(pairs, [])
    at = pairs.width + join.times[1]
    time = InputRef(join.schema.types[at], at)
    found = (*(exprs[k] for k in node.keys), time)
    return Project(node.schema, join, found, span=node.span), join


def _joined(pairs: _Pairs, shown: list[Expr]) -> AsofJoin:
    """The left rows that have a partner, with what is `shown` of it, its keys and its time."""
    join = pairs.join
    columns = references(join.right.schema)
    wanted = [*shown, *(columns[c] for c in (*(b for _, b in join.keys), pairs.times[1]))]
    exprs = tuple(dict.fromkeys(wanted))
    fields = tuple(Field(f"$r{i}", e.type) for i, e in enumerate(exprs))
    right = Project(Schema(fields), join.right, exprs)
    schema = Schema((*join.left.schema.fields, *fields))
    keys = tuple((a, exprs.index(columns[b])) for a, b in join.keys)
    times = pairs.times[0], exprs.index(columns[pairs.times[1]])
    return AsofJoin(
        schema, join.left, right, keys, times, pairs.forward, not pairs.op.endswith("="),
        least=True, inner=True, span=join.span,
    )  # fmt: skip
