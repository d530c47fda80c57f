"""Move predicates to where their columns come from, and turn equalities into join keys.

    Filter a.k = b.k AND b.k = c.k AND c.z > 1        Join on k = k
      Join inner (no keys)                      ──►     Join on k = k
        Join inner (no keys)                              Scan a ─ Scan b
          Scan a ─ Scan b                               Filter z > 1
        Scan c                                            Scan c

A run of inner joins is one *region*: its inputs are joined in the order written, except that an
input connected to what is already joined by an equality goes first, so that a comma list never
multiplies tables that its WHERE connects.

Invariant: a predicate that can raise is never evaluated on rows that a predicate before it, or a
join, would have discarded. The one exception is the key of an equality: it is computed for every
row of its input, since the alternative is a cross product.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from penstock.data.types import Schema
from penstock.plan.expressions import Call, Expr, InputRef, conjunction
from penstock.plan.nodes import (
    Aggregate,
    AsofJoin,
    Distinct,
    Filter,
    Frontier,
    Hop,
    Join,
    JoinKind,
    Node,
    ProgramPlan,
    Project,
    TopK,
    UnionAll,
    Unnest,
    Window,
)
from penstock.plan.rewrite import can_fail, columns_of, conjuncts, inputs, remap, with_inputs
from penstock.sql.passes.each_view import each_view
from penstock.sql.passes.join_keys import equality, is_equality, join_on, pick


def push_filters(program: ProgramPlan) -> ProgramPlan:
    return each_view(program, lambda query: push(query, []))


def push(node: Node, predicates: list[Expr]) -> Node:
    """`node` filtered by the conjunction of `predicates`, as far down as they go."""
    match node:
        case Filter():
            return push(node.input, conjuncts(node.predicate) + predicates)
        case Join(kind=JoinKind.INNER):
            return _region(node, predicates)
        case Join():
            return _outer(node, predicates)
        case AsofJoin():
            below, above = _split(predicates, set(range(len(node.left.schema))))
            left, right = push(node.left, below), push(node.right, [])
            return _filtered(replace(node, left=left, right=right), above)
        case Project():
            return _through_project(node, predicates)
        case Aggregate():
            below, above = _split(predicates, set(range(len(node.keys))) if node.keys else set())
            moved = [remap(p, dict(enumerate(node.keys))) for p in below]
            return _filtered(replace(node, input=push(node.input, moved)), above)
        case Distinct():
            below, above = _split(predicates, set(range(len(node.schema))))
            return _filtered(replace(node, input=push(node.input, below)), above)
        case TopK() | Window():
            # a partition goes or stays as a whole
            below, above = _split(predicates, set(node.partition))
            return _filtered(replace(node, input=push(node.input, below)), above)
        case Frontier():
            below, above = _split(predicates, set(range(len(node.schema))))
            source, bound = push(node.input, below), push(node.bound, [])
            return _filtered(replace(node, input=source, bound=bound), above)
        case Hop():
            below, above = _split(predicates, set(range(len(node.input.schema))))
            return _filtered(replace(node, input=push(node.input, below)), above)
        case Unnest():
            below, above = _split(predicates, set(range(len(node.keep))))
            moved = [remap(p, dict(enumerate(node.keep))) for p in below]
            return _filtered(replace(node, input=push(node.input, moved)), above)
        case UnionAll():
            branches = tuple(push(branch, predicates) for branch in node.inputs)
            return replace(node, inputs=branches)
    return _filtered(with_inputs(node, [push(n, []) for n in inputs(node)]), predicates)


def _filtered(node: Node, predicates: list[Expr]) -> Node:
    condition = conjunction(predicates)
    return node if condition is None else Filter(node.schema, node, condition)


def _split(predicates: list[Expr], columns: set[int]) -> tuple[list[Expr], list[Expr]]:
    """Those that read only `columns` and cannot raise, and the rest, each in order."""
    below: list[Expr] = []
    above: list[Expr] = []
    for p in predicates:
        used = columns_of(p)
        movable = bool(used) and used <= columns and not can_fail(p)
        (below if movable else above).append(p)
    return below, above


def _through_project(node: Project, predicates: list[Expr]) -> Node:
    plain = {i: e.index for i, e in enumerate(node.exprs) if isinstance(e, InputRef)}
    below: list[Expr] = []
    above: list[Expr] = []
    for p in predicates:
        # behind a predicate that stays, one that can raise must stay as well
        movable = columns_of(p) <= plain.keys() and not (above and can_fail(p))
        (below if movable else above).append(p)
    moved = [remap(p, plain) for p in below]
    return _filtered(replace(node, input=push(node.input, moved)), above)


def _outer(node: Join, predicates: list[Expr]) -> Node:
    width = len(node.left.schema)
    keeps_left = node.kind in (JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI)
    on = conjuncts(node.residual)
    to_left: list[Expr] = []
    to_right: list[Expr] = []
    above = predicates
    if keeps_left:
        to_left, above = _split(predicates, set(range(width)))
        everything = set(range(width, width + len(node.right.schema)))
        to_right, on = _split(on, everything)
    if node.kind is JoinKind.SEMI:
        more, on = _split(on, set(range(width)))
        to_left += more
    if node.kind is JoinKind.RIGHT:
        columns = set(range(width, width + len(node.right.schema)))
        to_right, above = _split(predicates, columns)
        more, on = _split(on, set(range(width)))
        to_left += more
    left = push(node.left, to_left)
    right = push(node.right, [remap(p, lambda i: i - width) for p in to_right])
    joined = join_on(node.kind, left, right, on, keys=node.keys, null_safe=node.null_safe)
    return _filtered(_retyped(joined, node.schema), above)


def _retyped(node: Node, schema: Schema) -> Node:
    """The same columns under the names and nullability of `schema`."""
    return node if node.schema == schema else replace(node, schema=schema)


@dataclass(slots=True)
class _Region:
    """Inputs of a run of inner joins and the predicates over their concatenated columns."""

    inputs: list[Node] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    predicates: list[Expr] = field(default_factory=list)

    @property
    def width(self) -> int:
        return self.starts[-1] + len(self.inputs[-1].schema) if self.inputs else 0

    def gather(self, node: Node) -> None:
        start = self.width
        if isinstance(node, Filter):
            self.gather(node.input)
            self.predicates += [remap(p, lambda i: i + start) for p in conjuncts(node.predicate)]
        elif isinstance(node, Join) and node.kind is JoinKind.INNER and not node.keys:
            self.gather(node.left)
            self.gather(node.right)
            self.predicates += [remap(p, lambda i: i + start) for p in conjuncts(node.residual)]
        else:
            self.starts.append(start)
            self.inputs.append(node)

    def owner(self, column: int) -> int:
        """The input that column belongs to."""
        return max(i for i, start in enumerate(self.starts) if start <= column)


def _region(node: Join, predicates: list[Expr]) -> Node:
    if node.keys:  # joined already: leave it, filter its inputs
        return _keyed(node, predicates)
    region = _Region()
    region.gather(node)
    pool = region.predicates + predicates
    owners = {id(p): {region.owner(c) for c in columns_of(p)} for p in pool}
    local: list[list[Expr]] = [[] for _ in region.inputs]
    shared: list[Expr] = []
    late: list[Expr] = []
    for p in pool:
        mine = owners[id(p)]
        if can_fail(p) and not _is_key(p, region):
            late.append(p)
        elif len(mine) == 1:
            (i,) = mine
            local[i].append(remap(p, lambda c, i=i: c - region.starts[i]))  # type: ignore[misc]
        elif not mine:
            late.append(p)
        else:
            shared.append(p)
    filtered = [push(n, ps) for n, ps in zip(region.inputs, local, strict=True)]
    joined, place = _join_greedily(region, filtered, shared, owners)
    joined = _filtered(joined, [remap(p, place) for p in late])
    return _retyped(pick(joined, [place[c] for c in range(region.width)]), node.schema)


def _is_key(p: Expr, region: _Region) -> bool:
    return any(equality(p, start) is not None for start in region.starts[1:])


def _keyed(node: Join, predicates: list[Expr]) -> Node:
    width = len(node.left.schema)
    to_left, rest = _split(predicates, set(range(width)))
    to_right, rest = _split(rest, set(range(width, len(node.schema))))
    left = push(node.left, to_left)
    right = push(node.right, [remap(p, lambda i: i - width) for p in to_right])
    return _filtered(replace(node, left=left, right=right), rest)


def _join_greedily(
    region: _Region, nodes: list[Node], shared: list[Expr], owners: dict[int, set[int]]
) -> tuple[Node, dict[int, int]]:
    """One tree over `nodes`, and where each of the region's columns is in it."""
    place: dict[int, int] = {}

    def append(i: int, at: int) -> None:
        for c in range(len(region.inputs[i].schema)):
            place[region.starts[i] + c] = at + c

    joined = nodes[0]
    append(0, 0)
    inside = {0}
    waiting = list(shared)
    while len(inside) < len(nodes):
        i = _next(inside, len(nodes), waiting, owners, region)
        at = len(joined.schema)
        append(i, at)
        inside.add(i)
        ready = [p for p in waiting if owners[id(p)] <= inside]
        waiting = [p for p in waiting if not owners[id(p)] <= inside]
        joined = join_on(JoinKind.INNER, joined, nodes[i], [remap(p, place) for p in ready])
    return joined, place


def _next(
    inside: set[int],
    count: int,
    waiting: list[Expr],
    owners: dict[int, set[int]],
    region: _Region,
) -> int:
    """The first input that an equality connects to what is inside, else the first one left."""
    left = [i for i in range(count) if i not in inside]
    for i in left:
        for p in waiting:
            mine = owners[id(p)]
            if i in mine and mine <= inside | {i} and _connects(p, i, region):
                return i
    return left[0]


def _connects(p: Expr, i: int, region: _Region) -> bool:
    if not isinstance(p, Call) or not is_equality(p):
        return False
    sides = [{region.owner(c) for c in columns_of(a)} for a in p.args]
    return {i} in sides and any(s and i not in s for s in sides)
