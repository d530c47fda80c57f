"""Move predicates to where their columns come from, and turn equalities into join keys.

    Filter a.k = b.k AND b.k = c.k AND c.z > 1        Join on k = k
      Join inner (no keys)                      ──►     Join on k = k
        Join inner (no keys)                              Scan a ─ Scan b
          Scan a ─ Scan b                               Filter z > 1
        Scan c                                            Scan c

A run of inner joins is one *region*, whose inputs are joined in an order of our own (see
`join_order`). An OR over several inputs stays where it is, but what it implies for each of them
alone goes down as well.

Invariant: a predicate that can raise is never evaluated on rows that a predicate before it, or a
join, would have discarded. The one exception is the key of an equality: it is computed for every
row of its input, since the alternative is a cross product.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.data.types import Schema
from penstock.plan.expressions import Expr, InputRef, Or, conjunction
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
from penstock.plan.rewrite import (
    can_fail,
    columns_of,
    conjuncts,
    inputs,
    is_costly,
    remap,
    with_inputs,
)
from penstock.sql.passes.each_view import each_view
from penstock.sql.passes.join_keys import equality, join_on, pick
from penstock.sql.passes.join_order import Keys, Region, in_order


def push_filters(program: ProgramPlan) -> ProgramPlan:
    keys = {table.name: table.key for table in program.tables}
    return each_view(program, lambda query: push(query, [], keys))


def push(node: Node, predicates: list[Expr], keys: Keys) -> Node:
    """`node` filtered by the conjunction of `predicates`, as far down as they go."""
    match node:
        case Filter():
            return push(node.input, conjuncts(node.predicate) + predicates, keys)
        case Join(kind=JoinKind.INNER):
            return _region(node, predicates, keys)
        case Join():
            return _outer(node, predicates, keys)
        case AsofJoin():
            below, above = _split(predicates, set(range(len(node.left.schema))))
            left, right = push(node.left, below, keys), push(node.right, [], keys)
            return _filtered(replace(node, left=left, right=right), above)
        case Project():
            return _through_project(node, predicates, keys)
        case Aggregate():
            below, above = _split(predicates, set(range(len(node.keys))) if node.keys else set())
            moved = [remap(p, dict(enumerate(node.keys))) for p in below]
            return _filtered(replace(node, input=push(node.input, moved, keys)), above)
        case Distinct():
            below, above = _split(predicates, set(range(len(node.schema))))
            return _filtered(replace(node, input=push(node.input, below, keys)), above)
        case TopK() | Window():
            # a partition goes or stays as a whole
            below, above = _split(predicates, set(node.partition))
            return _filtered(replace(node, input=push(node.input, below, keys)), above)
        case Frontier():
            below, above = _split(predicates, set(range(len(node.schema))))
            source, bound = push(node.input, below, keys), push(node.bound, [], keys)
            return _filtered(replace(node, input=source, bound=bound), above)
        case Hop():
            below, above = _split(predicates, set(range(len(node.input.schema))))
            return _filtered(replace(node, input=push(node.input, below, keys)), above)
        case Unnest():
            below, above = _split(predicates, set(range(len(node.keep))))
            moved = [remap(p, dict(enumerate(node.keep))) for p in below]
            return _filtered(replace(node, input=push(node.input, moved, keys)), above)
        case UnionAll():
            branches = tuple(push(branch, predicates, keys) for branch in node.inputs)
            return replace(node, inputs=branches)
    return _filtered(with_inputs(node, [push(n, [], keys) for n in inputs(node)]), predicates)


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


def _through_project(node: Project, predicates: list[Expr], keys: Keys) -> Node:
    plain = {i: e.index for i, e in enumerate(node.exprs) if isinstance(e, InputRef)}
    below: list[Expr] = []
    above: list[Expr] = []
    for p in predicates:
        # behind a predicate that stays, one that can raise must stay as well
        movable = columns_of(p) <= plain.keys() and not (above and can_fail(p))
        (below if movable else above).append(p)
    moved = [remap(p, plain) for p in below]
    return _filtered(replace(node, input=push(node.input, moved, keys)), above)


def _outer(node: Join, predicates: list[Expr], keys: Keys) -> Node:
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
    left = push(node.left, to_left, keys)
    right = push(node.right, [remap(p, lambda i: i - width) for p in to_right], keys)
    joined = join_on(node.kind, left, right, on, keys=node.keys, null_safe=node.null_safe)
    return _filtered(_retyped(joined, node.schema), above)


def _retyped(node: Node, schema: Schema) -> Node:
    """The same columns under the names and nullability of `schema`."""
    return node if node.schema == schema else replace(node, schema=schema)


def _region(node: Join, predicates: list[Expr], keys: Keys) -> Node:
    if node.keys:  # joined already: leave it, filter its inputs
        return _keyed(node, predicates, keys)
    region = Region()
    region.gather(node)
    pool = region.predicates + predicates
    local: list[list[Expr]] = [[] for _ in region.inputs]
    shared: list[Expr] = []
    late: list[Expr] = []
    for p in pool:
        mine = region.owners(p)
        if can_fail(p) and not _is_key(p, region):
            late.append(p)
        elif len(mine) == 1:
            (i,) = mine
            local[i].append(remap(p, lambda c, i=i: c - region.starts[i]))  # type: ignore[misc]
        elif not mine:
            late.append(p)
        else:
            shared.append(p)
            for i, implied in _implied(p, region):
                local[i].append(remap(implied, lambda c, i=i: c - region.starts[i]))  # type: ignore[misc]
    filtered = [push(n, ps, keys) for n, ps in zip(region.inputs, local, strict=True)]
    joined, place = in_order(region, filtered, shared, keys)
    joined = _filtered(joined, [remap(p, place) for p in late])
    return _retyped(pick(joined, [place[c] for c in range(region.width)]), node.schema)


def _implied(p: Expr, region: Region) -> list[tuple[int, Expr]]:
    """(input, predicate of that input alone) that hold wherever `p` does: what all alternatives of
    an OR demand of an input, each in its way. They are evaluated once more, on all rows of the
    input, so they are worth it only if they are cheap."""
    if not isinstance(p, Or) or can_fail(p) or is_costly(p):
        return []
    branches = [conjuncts(a) for a in p.args]
    found: list[tuple[int, Expr]] = []
    for i in sorted(region.owners(p)):
        own = [conjunction([c for c in b if region.owners(c) == {i}]) for b in branches]
        alternatives = [e for e in dict.fromkeys(own) if e is not None]
        if None not in own:
            whole = alternatives[0]
            if len(alternatives) > 1:
                whole = Or(p.type, tuple(alternatives), span=p.span)
            found.append((i, whole))
    return found


def _is_key(p: Expr, region: Region) -> bool:
    return any(equality(p, start) is not None for start in region.starts[1:])


def _keyed(node: Join, predicates: list[Expr], keys: Keys) -> Node:
    width = len(node.left.schema)
    to_left, rest = _split(predicates, set(range(width)))
    to_right, rest = _split(rest, set(range(width, len(node.schema))))
    left = push(node.left, to_left, keys)
    right = push(node.right, [remap(p, lambda i: i - width) for p in to_right], keys)
    return _filtered(replace(node, left=left, right=right), rest)
