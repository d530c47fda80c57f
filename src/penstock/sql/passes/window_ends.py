"""Group, join and partition by one end of a window of time: the other is a fixed time away.

    Aggregate by auction, window_start, window_end     Project …, window_start + 10 s
                                                  ──►    Aggregate by auction, window_start

    Join on l.start = r.start AND l.end = r.end   ──►    Join on l.start = r.start

A key column costs its share of every look-up and of the memory of every group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from penstock.data.types import Kind, Schema, SqlType
from penstock.functions.intervals import later
from penstock.plan.expressions import Call, Expr, InputRef, Literal
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
    Unnest,
    Window,
)
from penstock.plan.rewrite import can_fail, inputs, shifted
from penstock.sql.passes.each_view import bottom_up

#: column → µs behind the others, for columns that are all NULL or all that far apart
Apart = dict[int, int]


def window_ends(program: ProgramPlan) -> ProgramPlan:
    if not _has_windows(program):
        return program
    apart = _Distances(program)

    def rule(node: Node) -> Node:
        match node:
            case Aggregate():
                return _grouped(node, apart.of(node.input))
            case Join():
                return _joined(node, apart.of(node.left), apart.of(node.right))
            case TopK() | Window():
                kept = _kept(node.partition, apart.of(node.input), node.input.schema)
                if len(kept) < len(node.partition):
                    return replace(node, partition=tuple(node.partition[i] for i in kept))
        return node

    return bottom_up(program, rule)


def _has_windows(program: ProgramPlan) -> bool:
    seen: set[int] = set()
    left = [v.query for v in program.all_views]
    while left:
        node = left.pop()
        if isinstance(node, Hop):
            return True
        if id(node) not in seen:
            seen.add(id(node))
            left += inputs(node)
    return False


class _Distances:
    """Which columns of a node are a fixed time apart."""

    def __init__(self, program: ProgramPlan) -> None:
        self._views = {v.name: v.query for v in program.all_views}
        # the nodes too, so that their ids stay taken
        self._known: dict[int, tuple[Node, tuple[Apart, ...]]] = {}

    def of(self, node: Node) -> tuple[Apart, ...]:
        if id(node) not in self._known:
            # a recursive view reads itself: nothing is known of it on the way
            self._known[id(node)] = node, ()
            found = tuple(g for g in self._found(node) if g)
            self._known[id(node)] = node, found
        return self._known[id(node)][1]

    def _found(self, node: Node) -> Iterable[Apart]:
        match node:
            case Scan(relation=name):
                return self.of(self._views[name]) if name in self._views else ()
            case Hop():
                width = len(node.input.schema)
                return (*self.of(node.input), {width: 0, width + 1: node.size})
            case Project():
                return _computed(node.exprs, self.of(node.input))
            case Filter() | Frontier() | Distinct() | TopK() | Window() | Session():
                return self.of(node.input)
            case Aggregate():
                return _moved(self.of(node.input), node.keys)
            case Unnest():
                return _moved(self.of(node.input), node.keep)
            case Difference() | Join(kind=JoinKind.SEMI | JoinKind.ANTI):
                return self.of(node.left)
            case Join() | AsofJoin():
                # rows that an outer join pads have NULL in all columns of the other side
                width = len(node.left.schema)
                right = ({c + width: d for c, d in g.items()} for g in self.of(node.right))
                return (*self.of(node.left), *right)
        return ()


def _moved(groups: Iterable[Apart], columns: Sequence[int]) -> Iterable[Apart]:
    """The same where column `columns[i]` has come to i."""
    return ({i: g[c] for i, c in enumerate(columns) if c in g} for g in groups)


def _computed(exprs: Sequence[Expr], groups: Iterable[Apart]) -> Iterable[Apart]:
    # a sum that can fail is not moved
    sums = [(i, shifted(e)) for i, e in enumerate(exprs) if not can_fail(e)]
    for g in groups:
        yield {i: g[s[0]] + s[1] for i, s in sums if s is not None and s[0] in g}


def _kept(columns: Sequence[int], groups: Iterable[Apart], schema: Schema) -> list[int]:
    """The places in `columns` that say what the others are."""
    said: set[int] = set()
    for g in groups:
        of_group = [i for i, c in enumerate(columns) if c in g]
        for i in of_group[1:]:
            if schema.types[columns[i]] == schema.types[columns[of_group[0]]]:
                said.add(i)
    return [i for i in range(len(columns)) if i not in said]


def _grouped(node: Aggregate, groups: tuple[Apart, ...]) -> Node:
    kept = _kept(node.keys, groups, node.input.schema)
    if len(kept) == len(node.keys):
        return node
    fields = node.schema.fields
    narrow = Aggregate(
        Schema((*(fields[i] for i in kept), *fields[len(node.keys) :])),
        node.input,
        tuple(node.keys[i] for i in kept),
        node.calls,
        span=node.span,
    )

    def key(i: int) -> Expr:
        if i in kept:
            return InputRef(fields[i].type, kept.index(i), fields[i].name)
        group = next(g for g in groups if node.keys[i] in g)
        place, first = next((p, k) for p, k in enumerate(kept) if node.keys[k] in group)
        start = InputRef(fields[first].type, place, fields[first].name)
        distance = group[node.keys[i]] - group[node.keys[first]]
        if not distance:
            return start
        span = Literal(SqlType(Kind.INTERVAL_SHORT, False, unit="SECOND"), distance)
        return Call(fields[i].type, later(fields[i].type, span.type), (start, span))

    keys = tuple(key(i) for i in range(len(node.keys)))
    calls = (
        InputRef(f.type, len(kept) + i, f.name) for i, f in enumerate(fields[len(node.keys) :])
    )
    return Project(node.schema, narrow, (*keys, *calls), span=node.span)


def _joined(node: Join, left: tuple[Apart, ...], right: tuple[Apart, ...]) -> Node:
    """`node` without pairs of keys that are equal where another pair is."""
    safe = node.null_safe or (False,) * len(node.keys)
    kept: list[int] = []
    for i, pair in enumerate(node.keys):
        if not any(
            safe[i] == safe[k] and _is_as_far(node.keys[k], pair, left, right) for k in kept
        ):
            kept.append(i)
    if len(kept) == len(node.keys):
        return node
    null_safe = tuple(safe[i] for i in kept) if node.null_safe else ()
    return replace(node, keys=tuple(node.keys[i] for i in kept), null_safe=null_safe)


def _is_as_far(
    first: tuple[int, int],
    second: tuple[int, int],
    left: tuple[Apart, ...],
    right: tuple[Apart, ...],
) -> bool:
    """Whether `second` is as far from `first` on the left as on the right."""
    distances = []
    for groups, a, b in ((left, first[0], second[0]), (right, first[1], second[1])):
        group = next((g for g in groups if a in g and b in g), None)
        if group is None:
            return False
        distances.append(group[b] - group[a])
    return distances[0] == distances[1]
