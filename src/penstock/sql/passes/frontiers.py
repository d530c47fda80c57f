"""A comparison with the time of day goes down to the rows that it is about.

    Frontier a.ts > $bound            Join
      Join                     ──►      Frontier ts > $bound ─ Scan a
        Scan a ─ Scan b                 Scan b

So a row that time has passed is not kept for a join, and makes no pairs that time takes away one by
one. It goes below whatever a row goes through whole, and with it all that are alike: DISTINCT, the
partitions that the time is part of, the elements of an array. A padded row has no time, so an outer
join of such rows is an inner one. Nothing is moved into what somebody else reads as well: it would
be computed twice.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from penstock.data.types import Field, Schema
from penstock.plan.expressions import Expr, InputRef
from penstock.plan.nodes import (
    AsofJoin,
    Difference,
    Distinct,
    Filter,
    Frontier,
    Hop,
    Join,
    JoinKind,
    Node,
    Project,
    Session,
    TopK,
    UnionAll,
    Unnest,
    Window,
)
from penstock.plan.rewrite import can_fail, columns_of, inputs, remap, substitute, with_inputs
from penstock.sql.passes.implied import without_padding
from penstock.sql.passes.join_keys import pick, references

_LEFT = (JoinKind.INNER, JoinKind.LEFT, JoinKind.SEMI, JoinKind.ANTI)
_RIGHT = (JoinKind.INNER, JoinKind.RIGHT)


def sunk(frontier: Frontier, several: Collection[int]) -> Node | None:
    """`frontier` with the comparison below the joins of its input; None where there are none that
    it can pass. `several`: identities of the nodes that more than one node reads."""
    below = frontier.input
    return _sunk(below, InputRef(below.schema.types[frontier.column], frontier.column), frontier,
                 several)  # fmt: skip


def readers(query: Node) -> dict[int, int]:
    """How many nodes read each node of `query`, by identity."""
    found: dict[int, int] = {}

    def visit(node: Node) -> None:
        for child in inputs(node):
            found[id(child)] = found.get(id(child), 0) + 1
            if found[id(child)] == 1:
                visit(child)

    visit(query)
    return found


def _sunk(node: Node, time: Expr, frontier: Frontier, several: Collection[int]) -> Node | None:
    """`node` with the rows kept whose `time` passes, None if that is no gain."""
    if id(node) in several or can_fail(time) or not columns_of(time):
        return None

    def below(input: Node, time: Expr) -> Node:
        return _sunk(input, time, frontier, several) or _kept(input, time, frontier)

    match node:
        case Filter():
            moved = _sunk(node.input, time, frontier, several)
            return None if moved is None else with_inputs(node, [moved])
        case Frontier():
            moved = _sunk(node.input, time, frontier, several)
            return None if moved is None else with_inputs(node, [moved, node.bound])
        case Project():
            time = substitute(time, node.exprs)
            moved = _sunk(node.input, time, frontier, several)
            return None if moved is None else with_inputs(node, [moved])
        case UnionAll():
            branches = [_sunk(branch, time, frontier, several) for branch in node.inputs]
            if all(b is None for b in branches):
                return None
            kept = [
                _kept(branch, time, frontier) if b is None else b
                for branch, b in zip(node.inputs, branches, strict=True)
            ]
            return with_inputs(node, kept)
        case Distinct():
            return with_inputs(node, [below(node.input, time)])
        case Difference():
            return with_inputs(node, [below(side, time) for side in (node.left, node.right)])
        case TopK() | Window() | Session() if columns_of(time) <= set(node.partition):
            return with_inputs(node, [below(node.input, time)])
        case Hop() if max(columns_of(time)) < len(node.input.schema):
            return with_inputs(node, [below(node.input, time)])
        case Unnest() if max(columns_of(time)) < len(node.keep):
            time = remap(time, dict(enumerate(node.keep)))
            return with_inputs(node, [below(node.input, time)])
        case AsofJoin() if max(columns_of(time)) < len(node.left.schema):
            return replace(node, left=below(node.left, time))
        case Join():
            return _beside(node, time, frontier, several)
    return None


def _beside(node: Join, time: Expr, frontier: Frontier, several: Collection[int]) -> Node | None:
    width = len(node.left.schema)
    used = columns_of(time)
    node = replace(node, kind=without_padding(node.kind, [time], width))
    if used and max(used) < width and node.kind in _LEFT:
        side = node.left
    elif used and min(used) >= width and node.kind in _RIGHT:
        side, time = node.right, remap(time, lambda i: i - width)
    else:
        return None
    below = _sunk(side, time, frontier, several) or _kept(side, time, frontier)
    return replace(node, left=below) if side is node.left else replace(node, right=below)


def _kept(node: Node, time: Expr, frontier: Frontier) -> Node:
    """The rows of `node` whose `time` passes."""
    width = len(node.schema)
    source, column = node, width
    if isinstance(time, InputRef):
        column = time.index
    else:
        schema = Schema((*node.schema.fields, Field("$time", time.type)))
        source = Project(schema, node, (*references(node.schema), time))
    old, value = len(frontier.input.schema), len(source.schema)
    predicate = remap(frontier.predicate, lambda i: value if i == old else column)
    new = replace(frontier, schema=source.schema, input=source, column=column, predicate=predicate)
    return pick(new, range(width))
