"""In which order the inputs of a run of inner joins are joined.

    FROM lineitem l, orders o, customer c, nation n
    WHERE l.o = o.id AND o.c = c.id AND c.n = n.id AND n.name = 'FRANCE'

        lineitem ⋈ (orders ⋈ (customer ⋈ nation where name = 'FRANCE'))

An input is a *lookup* of another that names its PRIMARY KEY by equalities: joining it never makes
more rows of the other, and fewer where it is filtered or has a filtered lookup itself. Such
lookups are joined to what names them before anything else is, so that a change which no row of
the answer comes of goes no further, and what later joins remember is small.

So is a sub-query's answer (`sql.bind.decorrelate`) for what it reads of an input, if it is equal
to a column of another, by which that one's rows are found:

    FROM l, r WHERE l.k = r.k AND r.t = (SELECT MAX(q.t) FROM q WHERE q.k = l.k AND q.t <= l.t)

        (l ⋈ answers) ⋈ r  by k and t

Nothing is known of sizes. Of several lookups the one that names the fewest others, one after
another, is first: it is taken for the smallest. All that is left is joined in the order written,
except that an input connected to what is already joined by an equality goes first, so that a
comma list never multiplies tables that its WHERE connects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from penstock.plan.expressions import Call, Cast, Expr, InputRef
from penstock.plan.nodes import Aggregate, Distinct, Filter, Join, JoinKind, Node, Project, Scan
from penstock.plan.rewrite import can_fail, columns_of, conjuncts, parts, remap
from penstock.sql.passes.join_keys import is_equality, join_on

#: table → positions of its PRIMARY KEY
Keys = Mapping[str, tuple[int, ...]]

_HALF = (JoinKind.SEMI, JoinKind.ANTI)


@dataclass(slots=True)
class Region:
    """Inputs of a run of inner joins and the predicates over their concatenated columns."""

    #: nodes that are inputs as they are, by identity
    whole: frozenset[int]
    inputs: list[Node] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    predicates: list[Expr] = field(default_factory=list)

    @property
    def width(self) -> int:
        return self.starts[-1] + len(self.inputs[-1].schema) if self.inputs else 0

    def gather(self, node: Node, *, is_root: bool = False) -> None:
        start = self.width
        if id(node) in self.whole and not is_root:
            self.starts.append(start)
            self.inputs.append(node)
        elif isinstance(node, Filter):
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

    def owners(self, e: Expr) -> set[int]:
        return {self.owner(c) for c in columns_of(e)}


@dataclass(slots=True)
class _Tree:
    """Some inputs, joined, and where each of the region's columns is in `node`."""

    node: Node
    members: set[int]
    place: dict[int, int]


def in_order(
    region: Region, nodes: Sequence[Node], shared: Sequence[Expr], keys: Keys
) -> tuple[Node, dict[int, int]]:
    """One tree over `nodes`, the region's inputs with their own filters, under the predicates
    `shared` by several; and where each of the region's columns is in it."""
    waiting = list(shared)

    def join(left: _Tree, right: _Tree) -> _Tree:
        nonlocal waiting
        width, members = len(left.node.schema), left.members | right.members
        place = left.place | {c: at + width for c, at in right.place.items()}
        ready = [p for p in waiting if region.owners(p) <= members]
        waiting = [p for p in waiting if not region.owners(p) <= members]
        on = [remap(p, place) for p in ready]
        return _Tree(join_on(JoinKind.INNER, left.node, right.node, on), members, place)

    def with_lookups(i: int) -> _Tree:
        start = region.starts[i]
        place = {start + c: c for c in range(len(nodes[i].schema))}
        tree = _Tree(nodes[i], {i}, place)
        for lookup in lookups[i]:
            tree = join(tree, with_lookups(lookup))
        return tree

    lookups = _lookups_first(region, nodes, shared, keys)
    attached = {d for found in lookups for d in found}
    joined, *rest = [with_lookups(i) for i in range(len(nodes)) if i not in attached]
    while rest:
        tree = _next(joined, rest, waiting, region)
        rest.remove(tree)
        joined = join(joined, tree)
    return joined.node, joined.place


def _next(joined: _Tree, rest: list[_Tree], waiting: list[Expr], region: Region) -> _Tree:
    """The first tree that an equality connects to what is joined, else the first one."""
    for tree in rest:
        for p in waiting:
            if region.owners(p) <= joined.members | tree.members and _connects(p, tree, region):
                return tree
    return rest[0]


def _connects(p: Expr, tree: _Tree, region: Region) -> bool:
    if not isinstance(p, Call) or not is_equality(p):
        return False
    a, b = (region.owners(side) for side in p.args)
    return any(
        one and one <= tree.members and other and not other & tree.members
        for one, other in ((a, b), (b, a))
    )


def _lookups_first(
    region: Region, nodes: Sequence[Node], shared: Sequence[Expr], keys: Keys
) -> list[list[int]]:
    """For each input the lookups to join to it before it is joined to anything else, in order."""
    inputs = range(len(nodes))
    found: list[list[int]] = [[] for _ in inputs]
    if len(nodes) < 3 or any(_needs_order(p, region) for p in shared):
        return found
    unique, asked = [_key(node, keys) for node in nodes], [_asked(node) for node in nodes]
    equal = _equalities(shared)
    depth = _depths(region, unique, equal)

    def gives(i: int, lookup: int, key: tuple[int, ...]) -> bool:
        """Whether equalities of `i` with `lookup` give the columns `key` of the latter."""
        start = region.starts[lookup]
        given = {b for a, b in equal if region.owner(a) == i and region.owner(b) == lookup}
        return bool(key) and all(start + k in given for k in key)

    def names(i: int, lookup: int) -> bool:
        return gives(i, lookup, unique[lookup])

    def is_key_of_another(i: int, above: int) -> bool:
        """Whether `i` is the answer of a sub-query that is equal to a column of a third input."""
        columns = range(region.starts[i], region.starts[i] + len(nodes[i].schema))
        own = {region.starts[i] + k for k in asked[i]}
        answers = {b for a, b in equal if a in columns and a not in own}
        return any(region.owner(c) not in (i, above) for c in answers)

    def is_selective(i: int, path: tuple[int, ...]) -> bool:
        beyond = (d for d in inputs if d not in path and d != i and names(i, d))
        return _is_filtered(nodes[i]) or any(is_selective(d, (*path, i)) for d in beyond)

    parent: dict[int, int] = {}
    for lookup in inputs:
        above = [i for i in inputs if i != lookup]
        for i in sorted(above, key=lambda i: -depth[i]):
            is_wanted = names(i, lookup) and is_selective(lookup, (i,))
            is_wanted |= gives(i, lookup, asked[lookup]) and is_key_of_another(lookup, i)
            if is_wanted and not _is_under(i, lookup, parent):
                parent[lookup] = i
                break
    for lookup, i in parent.items():
        found[i].append(lookup)
    return [sorted(lookups, key=lambda d: (depth[d], d)) for lookups in found]


def _needs_order(p: Expr, region: Region) -> bool:
    """Whether `p` can raise and is a key of a join only if its sides are joined before."""
    return can_fail(p) and any(len(region.owners(e)) > 1 for e in parts(p))


def _is_under(i: int, above: int, parent: Mapping[int, int]) -> bool:
    while i != above and i in parent:
        i = parent[i]
    return i == above


def _depths(
    region: Region, unique: Sequence[tuple[int, ...]], equal: set[tuple[int, int]]
) -> list[int]:
    """For each input how many others it names by their keys, one after another, where columns
    that are equal to the same one are taken to be equal."""
    classes: dict[int, set[int]] = {}
    for a, b in equal:
        both = classes.get(a, {a}) | classes.get(b, {b})
        classes.update(dict.fromkeys(both, both))
    inputs = range(len(unique))

    def names(i: int, other: int) -> bool:
        columns = [region.starts[other] + k for k in unique[other]]
        mates = [{region.owner(c) for c in classes.get(k, ())} for k in columns]
        return bool(mates) and all(i in m for m in mates)

    def depth(i: int, path: tuple[int, ...]) -> int:
        named = [d for d in inputs if d != i and d not in path and names(i, d)]
        return max((1 + depth(d, (*path, i)) for d in named), default=0)

    return [depth(i, ()) for i in inputs]


def _equalities(predicates: Sequence[Expr]) -> set[tuple[int, int]]:
    """Pairs of columns that are equal, both ways; casts are looked through."""
    found: set[tuple[int, int]] = set()
    for p in predicates:
        if isinstance(p, Call) and is_equality(p):
            a, b = (_column(side) for side in p.args)
            if a is not None and b is not None:
                found |= {(a, b), (b, a)}
    return found


def _column(e: Expr) -> int | None:
    while isinstance(e, Cast):
        e = e.operand
    return e.index if isinstance(e, InputRef) else None


def _key(node: Node, keys: Keys) -> tuple[int, ...]:
    """Columns of which no two rows agree in all; () if none are known."""
    match node:
        case Scan():
            return keys.get(node.relation, ())
        case Filter():
            return _key(node.input, keys)
        case Join() if node.kind in _HALF:
            return _key(node.left, keys)
        case Project():
            below = _key(node.input, keys)
            place = {e.index: i for i, e in enumerate(node.exprs) if isinstance(e, InputRef)}
            return tuple(place[k] for k in below) if place.keys() >= set(below) else ()
    return ()


def _asked(node: Node) -> tuple[int, ...]:
    """Columns of what a sub-query is asked for, once each, if `node` is its answers."""
    if isinstance(node, Project):
        below = _asked(node.input)
        place = {e.index: i for i, e in enumerate(node.exprs) if isinstance(e, InputRef)}
        return tuple(place[k] for k in below) if place.keys() >= set(below) else ()
    if not isinstance(node, Join) or node.kind not in (JoinKind.INNER, JoinKind.LEFT):
        return ()
    if not isinstance(node.left, Distinct) or not isinstance(node.right, Aggregate):
        return ()
    # of each there is one answer
    domain = range(len(node.left.schema))
    grouped = set(range(len(node.right.keys)))
    return tuple(domain) if {b for _, b in node.keys} == grouped and len(domain) > 0 else ()


def _is_filtered(node: Node) -> bool:
    while isinstance(node, Project):
        node = node.input
    return isinstance(node, Filter) or (isinstance(node, Join) and node.kind in _HALF)
