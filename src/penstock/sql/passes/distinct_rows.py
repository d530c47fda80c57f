"""Drop a DISTINCT of rows that are distinct already.

    Distinct
      Project k, x         k is the PRIMARY KEY: each row is there once
        Scan t

A DISTINCT remembers every row it has seen, so one that does nothing costs as much as one that does.

    Distinct
      Project l.x          of pairs: as many of them as there are, of each key, tell the same
        Join inner         Join semi: whether there are any
          l
          r

But not in a cycle, whose rounds are of pairs; not where LATENESS forgets rows of the join, which a
semi join has to keep; and with keys alone, since another condition is asked of each pair again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

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
    UnionAll,
    Window,
)
from penstock.plan.rewrite import columns_of, remap
from penstock.sql.bind import expiries  # which needs the passes itself
from penstock.sql.cycles import views_in_cycles
from penstock.sql.passes.each_view import bottom_up
from penstock.sql.passes.gates import waiting

#: columns of which no two rows agree in all
Key = frozenset[int]
#: how many keys of a node are looked at
_MOST = 8


def drop_distinct(program: ProgramPlan) -> ProgramPlan:
    # a key that LATENESS has let go of may come again
    keys = {t.name: t.key for t in program.tables if t.key and not t.lateness}

    forgets = expiries.is_forgetful(program)
    cyclic = frozenset(views_in_cycles(program.views))

    def of_rows(node: Node) -> Node:
        return node.input if isinstance(node, Distinct) and keys_of(node.input, keys) else node

    def of_pairs(node: Node) -> Node:
        node = of_rows(node)
        if not isinstance(node, Distinct) or not isinstance(shown := node.input, Project):
            return node
        half = None if forgets(shown.input) else _half(shown)
        return node if half is None else of_rows(replace(node, input=half))

    rewritten = bottom_up(program, of_pairs)
    if not cyclic:
        return rewritten
    views = zip(rewritten.views, bottom_up(program, of_rows).views, strict=True)
    return replace(rewritten, views=tuple(b if b.name in cyclic else a for a, b in views))


def _half(shown: Project) -> Project | None:
    """`shown`, if it is of one side of pairs, of the rows of that side that have a partner."""
    join = shown.input
    if not isinstance(join, Join) or join.kind is not JoinKind.INNER or join.residual is not None:
        return None
    width, columns = len(join.left.schema), {c for e in shown.exprs for c in columns_of(e)}
    if not join.keys or not columns:
        return None
    if max(columns) < width:
        half = replace(join, schema=join.left.schema, kind=JoinKind.SEMI)
        return replace(shown, input=half)
    if min(columns) < width:
        return None
    turned = tuple((b, a) for a, b in join.keys)
    half = Join(
        join.right.schema, JoinKind.SEMI, join.right, join.left, turned, join.null_safe,
        span=join.span,
    )  # fmt: skip
    exprs = tuple(remap(e, lambda i: i - width) for e in shown.exprs)
    return replace(shown, input=half, exprs=exprs)


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
        case UnionAll() if (whole := waiting(node)) is not None:
            return keys_of(whole, tables)
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
