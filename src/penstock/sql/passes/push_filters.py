"""Move predicates to where their columns come from, and turn equalities into join keys.

    Filter a.k = b.k AND b.k = c.k AND c.z > 1        Join on k = k
      Join inner (no keys)                      ──►     Join on k = k
        Join inner (no keys)                              Scan a ─ Scan b
          Scan a ─ Scan b                               Filter z > 1
        Scan c                                            Scan c

A predicate on a key holds for the other side as well, and one that no padded row passes makes an
outer join an inner one (`implied`). A run of inner joins is one *region*, whose inputs are joined
in an order of our own (see `join_order`). An OR over several inputs stays where it is, but what it
implies for each of them alone goes down as well. What several read stays whole where the plan
would become many times larger otherwise (`_shared`).

Invariant: a predicate that can raise is never evaluated on rows that a predicate before it, or a
join, would have discarded. The one exception is the key of an equality: it is computed for every
row of its input that the conditions before it leave, since the alternative is a cross product.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.data.types import Schema
from penstock.plan.expressions import Expr, InputRef, Or, conjunction
from penstock.plan.nodes import (
    Aggregate,
    AsofJoin,
    Difference,
    Distinct,
    Filter,
    Frontier,
    Hop,
    Join,
    JoinKind,
    Node,
    ProgramPlan,
    Project,
    Scan,
    Session,
    TopK,
    UnionAll,
    Unnest,
    Values,
    Window,
)
from penstock.plan.rewrite import (
    can_fail,
    columns_of,
    conjuncts,
    inputs,
    is_costly,
    parts,
    remap,
    substitute,
    with_inputs,
)
from penstock.sql.passes.each_view import each_view
from penstock.sql.passes.frontiers import readers, sunk
from penstock.sql.passes.implied import (
    demanded,
    holding,
    merged,
    pairs,
    transferred,
    without_nulls,
    without_padding,
)
from penstock.sql.passes.join_keys import equality, join_on, pick
from penstock.sql.passes.join_order import Keys, Region, in_order

#: how large a plan may be, as a tree, for predicates to be pushed into each use of a WITH query
_MOST_NODES = 2000
#: how many operands a predicate may get by having the columns that it reads put in
_LONGEST = 40


def push_filters(program: ProgramPlan) -> ProgramPlan:
    keys = {table.name: table.key for table in program.tables}
    return each_view(program, lambda query: _Pusher(query, keys).push(query, []))


class _Pusher:
    """Moves the predicates of one view."""

    def __init__(self, query: Node, keys: Keys) -> None:
        self._keys = keys
        self._done: dict[int, Node] = {}
        #: nodes made on the way: ids in `_done` stay taken as long as their objects live
        self._keep: list[Node] = []
        #: nodes below which predicates do not go, and joins do not mix with those above
        self._shared = _shared(query)
        self._several = {n for n, count in readers(query).items() if count > 1}

    def push(self, node: Node, predicates: list[Expr]) -> Node:
        """`node` filtered by the conjunction of `predicates`, as far down as they go."""
        if id(node) in self._shared and predicates:
            return _filtered(self.push(node, []), predicates)
        if predicates:
            return self._pushed(node, predicates)
        if id(node) not in self._done:
            self._done[id(node)] = self._pushed(node, [])
        return self._done[id(node)]

    def _pushed(self, node: Node, predicates: list[Expr]) -> Node:
        match node:
            case Filter():
                return self.push(node.input, conjuncts(node.predicate) + predicates)
            case Join(kind=JoinKind.INNER):
                return self._region(node, predicates)
            case Join():
                return self._outer(node, predicates)
            case AsofJoin():
                below, above = _split(predicates, set(range(len(node.left.schema))))
                left, right = self.push(node.left, below), self.push(node.right, [])
                return _filtered(replace(node, left=left, right=right), above)
            case Project():
                return self._through_project(node, predicates)
            case Aggregate():
                below, above = _split(predicates, set(range(len(node.keys))))
                moved = [remap(p, dict(enumerate(node.keys))) for p in below]
                return _filtered(replace(node, input=self.push(node.input, moved)), above)
            case Distinct():
                below, above = _split(predicates, set(range(len(node.schema))))
                return _filtered(replace(node, input=self.push(node.input, below)), above)
            case TopK() | Window() | Session():
                # a partition goes or stays as a whole
                below, above = _split(predicates, set(node.partition))
                return _filtered(replace(node, input=self.push(node.input, below)), above)
            case Frontier():
                moved_down = sunk(node, self._several)
                if moved_down is not None:
                    self._keep.append(moved_down)
                    return self.push(moved_down, predicates)
                below, above = _split(predicates, set(range(len(node.schema))))
                source, bound = self.push(node.input, below), self.push(node.bound, [])
                return _filtered(replace(node, input=source, bound=bound), above)
            case Hop():
                below, above = _split(predicates, set(range(len(node.input.schema))))
                return _filtered(replace(node, input=self.push(node.input, below)), above)
            case Unnest():
                below, above = _split(predicates, set(range(len(node.keep))))
                moved = [remap(p, dict(enumerate(node.keep))) for p in below]
                return _filtered(replace(node, input=self.push(node.input, moved)), above)
            case Difference():
                below, above = _split(predicates, set(range(len(node.schema))))
                left, right = self.push(node.left, below), self.push(node.right, below)
                return _filtered(replace(node, left=left, right=right), above)
            case UnionAll():
                branches = tuple(self.push(branch, predicates) for branch in node.inputs)
                return replace(node, inputs=branches)
        return _filtered(with_inputs(node, [self.push(n, []) for n in inputs(node)]), predicates)

    def _through_project(self, node: Project, predicates: list[Expr]) -> Node:
        plain = {i for i, e in enumerate(node.exprs) if isinstance(e, InputRef)}
        below: list[Expr] = []
        above: list[Expr] = []
        for p in predicates:
            # behind a predicate that stays, one that can raise must stay as well
            movable = columns_of(p) <= plain and not (above and can_fail(p))
            if movable or _is_worth_computing_twice(p, node):
                below.append(substitute(p, node.exprs))
            else:
                above.append(p)
        return _filtered(replace(node, input=self.push(node.input, below)), above)

    def _outer(self, node: Join, predicates: list[Expr]) -> Node:
        width = len(node.left.schema)
        kind = without_padding(node.kind, predicates, width)
        if kind is not node.kind:
            return self._pushed(replace(node, kind=kind), predicates)
        keeps_left = node.kind in (JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI)
        on = conjuncts(node.residual)
        to_left: list[Expr] = []
        to_right: list[Expr] = []
        above = predicates
        if keeps_left:
            to_left, above = _split(predicates, set(range(width)))
            everything = set(range(width, width + len(node.right.schema)))
            equal = [*on, *pairs(node)]
            known = [*to_left, *holding(node.left)]
            implied = [p for p in transferred(known, equal) if columns_of(p) <= everything]
            to_right, on = _split(on, everything)
            to_right += implied
        if node.kind is JoinKind.SEMI:
            more, on = _split(on, set(range(width)))
            to_left += more
            known = [remap(p, lambda i: i + width) for p in holding(node.right)]
            to_left += [p for p in transferred(known, equal) if columns_of(p) <= set(range(width))]
        if node.kind is JoinKind.RIGHT:
            columns = set(range(width, width + len(node.right.schema)))
            to_right, above = _split(predicates, columns)
            more, on = _split(on, set(range(width)))
            to_left += more
        if node.kind is JoinKind.FULL:
            to_left, to_right, above = merged(predicates, [*on, *pairs(node)], width)
        left = self.push(node.left, to_left)
        right = self.push(node.right, [remap(p, lambda i: i - width) for p in to_right])
        joined = join_on(node.kind, left, right, on, keys=node.keys, null_safe=node.null_safe)
        return _filtered(_retyped(joined, node.schema), above)

    def _region(self, node: Join, predicates: list[Expr]) -> Node:
        if node.keys:  # joined already: leave it, filter its inputs
            return self._keyed(node, predicates)
        region = Region(self._shared)
        region.gather(node, is_root=True)
        pool = region.predicates + predicates
        narrowed = self._without_padding(region, pool)
        if narrowed is not None:
            self._keep.append(narrowed)
            return _retyped(self._region(narrowed, predicates), node.schema)
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
        single = [p for p in pool if len(region.owners(p)) == 1]
        for p in transferred(single, pool):
            (i,) = region.owners(p)
            local[i].append(remap(p, lambda c, i=i: c - region.starts[i]))  # type: ignore[misc]
        filtered = [self.push(n, ps) for n, ps in zip(region.inputs, local, strict=True)]
        joined, place = in_order(region, filtered, shared, self._keys)
        joined = _filtered(joined, [remap(p, place) for p in late])
        return _retyped(pick(joined, [place[c] for c in range(region.width)]), node.schema)

    def _without_padding(self, region: Region, pool: list[Expr]) -> Join | None:
        """The region as one join again, if `pool` makes an outer join in it a narrower one."""
        demands = demanded(pool)
        changed, found = False, list[Node]()
        for start, node in zip(region.starts, region.inputs, strict=True):
            mine = {c - start for c in demands if start <= c < start + len(node.schema)}
            found.append(without_nulls(node, mine, self._several | self._shared))
            changed |= found[-1] is not node
        if not changed:
            return None
        joined, *rest = found
        for node in rest:
            schema = Schema((*joined.schema.fields, *node.schema.fields))
            joined = Join(schema, JoinKind.INNER, joined, node, ())
        assert isinstance(joined, Join)
        return replace(joined, residual=conjunction(region.predicates))

    def _keyed(self, node: Join, predicates: list[Expr]) -> Node:
        width = len(node.left.schema)
        to_left, rest = _split(predicates, set(range(width)))
        to_right, rest = _split(rest, set(range(width, len(node.schema))))
        to_right += transferred([*to_left, *holding(node.left)], pairs(node))
        left = self.push(node.left, to_left)
        right = self.push(node.right, [remap(p, lambda i: i - width) for p in to_right])
        return _filtered(replace(node, left=left, right=right), rest)


def _is_worth_computing_twice(p: Expr, node: Project) -> bool:
    """Whether `p`, over columns that `node` computes, may be asked of the rows below it: of less
    rows than are remembered or made there."""
    used = columns_of(p)
    if not used or can_fail(p) or any(can_fail(e) or is_costly(e) for e in _read(used, node)):
        return False
    below = node.input
    while isinstance(below, Filter | Project):
        below = below.input
    return not isinstance(below, Scan | Values) and _size(substitute(p, node.exprs)) <= _LONGEST


def _read(columns: set[int], node: Project) -> list[Expr]:
    return [node.exprs[c] for c in columns]


def _size(e: Expr) -> int:
    return 1 + sum(map(_size, parts(e)))


def _shared(query: Node) -> frozenset[int]:
    """The nodes that several read, by identity, where to treat each reader alone would make the
    plan many times its size (a chain of WITH queries, each joining the one before with itself)."""
    size: dict[int, int] = {}
    readers: dict[int, int] = {}

    def visit(node: Node) -> int:
        readers[id(node)] = readers.get(id(node), 0) + 1
        if id(node) not in size:
            size[id(node)] = 1 + sum(visit(child) for child in inputs(node))
        return size[id(node)]

    if visit(query) <= _MOST_NODES:
        return frozenset()
    return frozenset(n for n, count in readers.items() if count > 1 and size[n] > 1)


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


def _retyped(node: Node, schema: Schema) -> Node:
    """The same columns under the names and nullability of `schema`."""
    return node if node.schema == schema else replace(node, schema=schema)


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
