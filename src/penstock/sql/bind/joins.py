"""Join conditions that hold sub-queries or NOW().

    a JOIN b ON p AND x IN <q>          a JOIN b ON p, then a WHERE
    a LEFT JOIN b ON p AND <q> of b     what only asks about b: b is filtered before
    a LEFT JOIN b ON p AND <q> of a, b  the matches, then the rows of a that are in none

      UnionAll
        matches = a JOIN b ON p WHERE <q>
        Project [a, NULL]
          Join anti a, matches by all columns of a

A row is without a match if and only if no row equal to it has one, so the second half may look
for equal rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from penstock.data.types import Schema
from penstock.errors import Span
from penstock.plan.expressions import Expr, InputRef, Literal
from penstock.plan.nodes import Join, JoinKind, Node, Project, UnionAll
from penstock.sql.bind import build
from penstock.sql.bind.forms import JOINED, descend, has
from penstock.sql.bind.frame import Frame
from penstock.sql.bind.scope import Scope
from penstock.sql.passes.join_keys import joined_fields, pick, references


def joined(kind: JoinKind, left: Node, right: Node, conditions: Sequence[Expr], span: Span) -> Node:
    """The join of two relations; `conditions` are over the columns of both."""
    asks = [c for c in conditions if has(c, *JOINED)]
    plain = [c for c in conditions if not has(c, *JOINED)]
    width = len(left.schema)
    if kind is JoinKind.LEFT:
        asks, own = _split(asks, range(width, width + len(right.schema)))
        right = kept(right, [_moved(c, -width) for c in own])
    elif kind is JoinKind.RIGHT:
        asks, own = _split(asks, range(width))
        left = kept(left, own)
    schema = Schema(joined_fields(kind, left.schema, right.schema))
    residual = build.and_(plain) if plain else None
    if not asks:
        return Join(schema, kind, left, right, (), (), residual, span=span)
    inner = Schema((*left.schema.fields, *right.schema.fields))
    matches = Join(inner, JoinKind.INNER, left, right, (), (), residual, span=span)
    found = kept(matches, asks, of_some=residual is not None)
    branches: list[Node] = []
    if kind in (JoinKind.LEFT, JoinKind.FULL):
        branches.append(_unmatched(left, found, 0, schema))
    if kind in (JoinKind.RIGHT, JoinKind.FULL):
        branches.append(_unmatched(right, found, width, schema))
    if not branches:
        return found
    widened = Project(schema, found, references(inner))
    return UnionAll(schema, (widened, *branches), span=span)


def kept(node: Node, conditions: Sequence[Expr], *, of_some: bool = False) -> Node:
    """The rows of `node` for which all conditions hold, with their columns and no others.
    `of_some`: another condition has dropped some before."""
    if not conditions:
        return node
    frame = Frame(node, Scope())
    frame.keep(build.and_(conditions), of_some=of_some)
    return pick(frame.node, range(len(node.schema)))


def _unmatched(side: Node, found: Node, at: int, schema: Schema) -> Node:
    """The rows of `side`, whose columns are those from `at` on, that are in no row of `found`;
    NULL in the others."""
    n = len(side.schema)
    keys = tuple((i, at + i) for i in range(n))
    lonely = Join(side.schema, JoinKind.ANTI, side, found, keys, (True,) * n, None)
    exprs: list[Expr] = [Literal(t, None) for t in schema.types]
    exprs[at : at + n] = references(side.schema)
    return Project(schema, lonely, tuple(exprs))


def _split(conditions: Sequence[Expr], columns: range) -> tuple[list[Expr], list[Expr]]:
    """(those that read other columns, or none; those that read only `columns`)."""
    others: list[Expr] = []
    own: list[Expr] = []
    for c in conditions:
        read = _reads(c)
        (own if read and all(i in columns for i in read) else others).append(c)
    return others, own


def _reads(e: Expr) -> set[int]:
    """The columns that `e` reads, also by way of its sub-queries."""
    found: set[int] = set()

    def note(x: Expr) -> Expr | None:
        if isinstance(x, InputRef):
            found.add(x.index)
        return None

    descend(e, note)
    return found


def _moved(e: Expr, by: int) -> Expr:
    return descend(e, lambda x: replace(x, index=x.index + by) if isinstance(x, InputRef) else None)
