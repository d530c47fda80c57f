"""Who has a partner that differs, from two values instead of the pairs.

    l WHERE EXISTS (SELECT * FROM r WHERE r.x <> l.x)

      Join anti on x = $low                      who is like all partners
        Join semi                                who has any
          Filter x IS NOT NULL ─ l
          Filter $low IS NOT NULL ─ #1 Aggregate: MIN(x) AS $low, MAX(x) AS $high ─ r
        Filter $low = $high ─ #1

A row has a partner that differs unless there is one value, and it is that. NOT EXISTS is the rows
of the other kinds: without any partner, with a NULL, and like all. A change of the values only
reads the rows that have the one value there was or is; the pairs would be all rows.

Beside keys it is the join that asks for the two ends of a key, once one has many rows
(`penstock.circuit.ends`): as a rule they have few, and aggregates would be twice the work. But
where two types are compared, or what is computed, it is as above, by the keys.

NaN is <> NaN, so that who has one has a partner that differs: $low = $high is FALSE.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.data.types import BOOLEAN, Field, Schema
from penstock.errors import UserError
from penstock.functions.aggregates import resolve_aggregate
from penstock.functions.registry import resolve
from penstock.plan.bounds import differing
from penstock.plan.expressions import Call, Expr, InputRef, IsNull
from penstock.plan.nodes import AggCall, Aggregate, Filter, Join, JoinKind, Node, Project, UnionAll
from penstock.plan.rewrite import can_fail, conjuncts, remap
from penstock.sql.passes.join_keys import equality, pick, references

_BOOLEAN = BOOLEAN.with_nullable(False)
_HALF = (JoinKind.SEMI, JoinKind.ANTI)


def by_two_values(node: Node) -> Node:
    """A semi or anti join whose condition is that two values differ, besides its keys."""
    if known := _beside_keys(node):
        return known
    found = _sides(node) if isinstance(node, Join) and node.kind in _HALF else None
    if found is None:
        return node
    assert isinstance(node, Join)
    mine, theirs = found
    width, n = len(node.left.schema), len(node.keys)
    own, at = node.left, mine.index if isinstance(mine, InputRef) else width
    if at == width:
        fields = (*own.schema.fields, Field("$value", mine.type))
        own = Project(Schema(fields), own, (*references(own.schema), mine))
    columns = references(node.right.schema)
    values = _known(_columns(node.right, (*(columns[b] for _, b in node.keys), theirs)), n)
    calls = [resolve_aggregate(name, [theirs.type]) for name in ("MIN", "MAX")]
    ends = (Field(name, c.result) for name, c in zip(("$low", "$high"), calls, strict=True))
    schema = Schema((*values.schema.fields[:n], *ends))
    ranges = Aggregate(
        schema, values, tuple(range(n)), tuple(AggCall(c, (n,)) for c in calls), span=node.span
    )
    # of no rows at all there is a row of NULLs
    some = pick(ranges if n else _known(ranges, n), range(n))
    keys = tuple((a, i) for i, (a, _) in enumerate(node.keys))
    low, high = references(schema)[n:]
    alike = pick(Filter(schema, ranges, _equal(low, high)), range(n + 1))
    safe = node.null_safe or (False,) * n
    like_all = ((at, n), *keys), (False, *safe)

    def among(rows: Node, others: Node, kind: JoinKind, is_like_all: bool) -> Node:
        on = like_all if is_like_all else (keys, safe)
        return Join(rows.schema, kind, rows, others, *on, span=node.span)

    if node.kind is JoinKind.SEMI:
        rows = among(_known(own, at), some, JoinKind.SEMI, False)
        return pick(among(rows, alike, JoinKind.ANTI, True), range(width))
    parts = [among(own, some, JoinKind.ANTI, False), among(own, alike, JoinKind.SEMI, True)]
    if mine.type.nullable:
        null = IsNull(_BOOLEAN, InputRef(mine.type, at))
        parts.append(among(Filter(own.schema, own, null), some, JoinKind.SEMI, False))
    return pick(UnionAll(own.schema, tuple(parts), span=node.span), range(width))


def _beside_keys(node: Node) -> Node | None:
    """A join that asks for the ends of its keys, which are no NULLs."""
    if not isinstance(node, Join) or node.kind not in _HALF or not node.keys:
        return None
    columns = differing(conjuncts(node.residual), len(node.left.schema))
    return None if columns is None else replace(node, right=_known(node.right, columns[1]))


def _sides(node: Join) -> tuple[Expr, Expr] | None:
    """What differs, of a left row and (over its own columns) of a right one, as values of a type of
    which equal ones have equal bytes; None if that is not all that the condition says."""
    width = len(node.left.schema)
    conditions = conjuncts(node.residual)
    if len(conditions) != 1 or not isinstance(condition := conditions[0], Call):
        return None
    if condition.function.name not in ("<>", "!=") or can_fail(condition):
        return None
    mine, theirs = condition.args
    found = equality(_equal(mine, theirs), width)
    if found is None:
        return None
    a, b, _ = found
    try:
        resolve_aggregate("MIN", [b.type])
    except UserError:
        return None  # without an order
    return a, remap(b, lambda i: i - width)


def _equal(a: Expr, b: Expr) -> Call:
    function = resolve("=", [a.type, b.type], [None, None])
    return Call(_BOOLEAN.with_nullable(a.type.nullable or b.type.nullable), function, (a, b))


def _columns(rows: Node, exprs: tuple[Expr, ...]) -> Node:
    return Project(Schema(tuple(Field(f"${i}", e.type) for i, e in enumerate(exprs))), rows, exprs)


def _known(rows: Node, column: int) -> Node:
    """The rows that are not NULL there."""
    type = rows.schema.types[column]
    if not type.nullable:
        return rows
    return Filter(rows.schema, rows, IsNull(_BOOLEAN, InputRef(type, column), negated=True))
