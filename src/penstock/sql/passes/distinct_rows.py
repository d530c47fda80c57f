"""Drop a DISTINCT of rows that are distinct already.

    Distinct
      Project k, x         k is the PRIMARY KEY: each row is there once
        Scan t

A DISTINCT remembers every row it has seen, so one that does nothing costs as much as one that does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from penstock.plan.expressions import InputRef
from penstock.plan.nodes import (
    Aggregate,
    Distinct,
    Filter,
    Frontier,
    Join,
    JoinKind,
    Node,
    ProgramPlan,
    Project,
    Scan,
    Session,
    TopK,
    Window,
)
from penstock.sql.passes.each_view import bottom_up

#: columns of which no two rows agree in all
Key = frozenset[int]
#: how many keys of a node are looked at
_MOST = 8


def drop_distinct(program: ProgramPlan) -> ProgramPlan:
    # a key that LATENESS has let go of may come again
    keys = {t.name: t.key for t in program.tables if t.key and not t.lateness}

    def rule(node: Node) -> Node:
        return node.input if isinstance(node, Distinct) and keys_of(node.input, keys) else node

    return bottom_up(program, rule)


def keys_of(node: Node, tables: Mapping[str, tuple[int, ...]]) -> list[Key]:
    """Some of the keys of `node`; an empty one says that there is at most one row."""
    match node:
        case Scan(relation=name):
            return [frozenset(tables[name])] if name in tables else []
        case Filter() | Frontier() | TopK() | Window() | Session():
            return keys_of(node.input, tables)
        case Distinct():
            return [frozenset(range(len(node.schema)))]
        case Aggregate():
            return [frozenset(range(len(node.keys)))]
        case Project():
            place = {e.index: i for i, e in enumerate(node.exprs) if isinstance(e, InputRef)}
            found = keys_of(node.input, tables)
            return [frozenset(place[c] for c in k) for k in found if k <= place.keys()]
        case Join(kind=JoinKind.SEMI | JoinKind.ANTI):
            return keys_of(node.left, tables)
        case Join(kind=JoinKind.INNER):
            return list(_of_pairs(node, tables))[:_MOST]
    return []


def _of_pairs(node: Join, tables: Mapping[str, tuple[int, ...]]) -> Iterable[Key]:
    width = len(node.left.schema)
    left = keys_of(node.left, tables)
    right = [frozenset(c + width for c in k) for k in keys_of(node.right, tables)]
    named = {a for a, _ in node.keys}, {b + width for _, b in node.keys}
    if any(k <= named[1] for k in right):  # each left row has one partner
        yield from left
    if any(k <= named[0] for k in left):
        yield from right
    yield from (a | b for a in left for b in right)
