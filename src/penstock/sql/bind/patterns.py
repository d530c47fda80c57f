"""(a, b) NOT IN (SELECT x, y …) where either side may be NULL: who is equal, or may be.

A NULL may be equal to anything, so an inner row answers for an outer one where the columns that
both of them know are equal. Which columns an inner row knows is its pattern; the rows of one
pattern are asked for together, by equality alone, since they stand there once for each set of
their columns that an outer row may know:

    inner (1, 2)      as (1, 2)  (1, NULL)  (NULL, 2)  (NULL, NULL)      joined on a, b
    inner (1, NULL)   as (1)     (NULL)                                  joined on a
    inner (NULL, NULL)                                                   joined on nothing

Cost: of a change 2^n rows of an arrangement, n columns that may be NULL, and 2^n look-ups; all else
would be a comparison of every outer row with every inner one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from penstock.data.types import FLOATS, Field, Schema
from penstock.plan.expressions import Call, Expr, InputRef, Literal
from penstock.plan.nodes import Filter, Node, Project, UnionAll
from penstock.plan.rewrite import can_fail, columns_of, remap
from penstock.sql.bind import build
from penstock.sql.passes.join_keys import references

#: columns that may be NULL of which each set gets a join
MOST_COLUMNS = 3


def by_pattern(
    query: Node, equal: Sequence[Expr], on: Sequence[Expr], width: int
) -> list[tuple[Node, list[Expr]]] | None:
    """What `query` has for each pattern: rows, and when one of them answers for a row of a frame
    of `width` columns. `equal`: equalities that hold or are NULL where one does, over the frame and
    `query`; `on` hold too. None if some are no equalities of the two sides that cannot fail, or too
    many may be NULL."""
    sure = [e for e in equal if not e.type.nullable]
    unsure = [_sides(e, width) for e in equal if e.type.nullable]
    pairs = [pair for pair in unsure if pair is not None]
    if len(pairs) < len(unsure) or len(pairs) > MOST_COLUMNS:
        return None
    found = []
    for known in _subsets([i for i, (_, x) in enumerate(pairs) if x.type.nullable]):
        missing = [i for i, (_, x) in enumerate(pairs) if x.type.nullable and i not in known]
        here = [i for i in range(len(pairs)) if i not in missing]
        rows = _of_pattern(query, [x for _, x in pairs], here, missing)
        if here:
            rows = _for_each_who_asks(rows, pairs, here)
        at = width + len(query.schema)
        asked = [
            build.call("is_not_distinct", [pairs[i][0], InputRef(rows.schema.types[-len(here) + j],
                                                                 at + j)], None)
            for j, i in enumerate(here)
        ]  # fmt: skip
        found.append((rows, [*sure, *asked, *on]))
    return found


def _sides(e: Expr, width: int) -> tuple[Expr, Expr] | None:
    """(the frame's side, the other side over its own columns) of an equality."""
    if not isinstance(e, Call) or e.function.name != "=":
        return None
    outer, inner = e.args
    # NaN is equal to nothing, and has the bytes of NaN
    if outer.type.kind in FLOATS or can_fail(outer) or can_fail(inner):
        return None
    of_outer, of_inner = columns_of(outer), columns_of(inner)
    if any(c >= width for c in of_outer) or any(c < width for c in of_inner):
        return None
    return outer, remap(inner, lambda i: i - width)


def _subsets(items: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """All, the largest first."""
    for bits in reversed(range(1 << len(items))):
        yield tuple(item for i, item in enumerate(items) if bits >> i & 1)


def _of_pattern(
    query: Node, values: Sequence[Expr], here: Sequence[int], missing: Sequence[int]
) -> Node:
    tests = [build.is_null(values[i], None, negated=True) for i in here if values[i].type.nullable]
    tests += [build.is_null(values[i], None) for i in missing]
    return Filter(query.schema, query, build.and_(tests)) if tests else query


def _for_each_who_asks(rows: Node, pairs: Sequence[tuple[Expr, Expr]], here: Sequence[int]) -> Node:
    """`rows` with the values `here` behind their columns, for each set of those that an outer row
    may know with NULL in place of the others."""
    types = [pairs[i][1].type.with_nullable(True) for i in here]
    fields = (Field(f"$known{i}", t) for i, t in zip(here, types, strict=True))
    schema = Schema((*rows.schema.fields, *fields))
    asked = []
    for unknown in _subsets([i for i in here if pairs[i][0].type.nullable]):
        values = [
            Literal(t, None) if i in unknown else pairs[i][1]
            for i, t in zip(here, types, strict=True)
        ]
        asked.append(Project(schema, rows, (*references(rows.schema), *values)))
    return asked[0] if len(asked) == 1 else UnionAll(schema, tuple(asked))
