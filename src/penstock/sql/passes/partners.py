"""Outer, semi and anti joins without equal keys: who has a partner, from the pairs.

    l LEFT JOIN r ON l.t BETWEEN r.t AND r.t + 40

      UnionAll
        #1 Join inner where …                     the pairs, found by the bounds of the condition
        Project [l.*, NULL, …]
          Join anti on every column of l          the rows that are in none
            l
            Distinct ─ Project [l.*] ─ #1

(The last three are one operator with one table: `penstock.circuit.ops.partnered`.)
So a change costs its pairs, while a join that has to count partners anew reads both sides. Where a
side has one row, or only constants, pairs are few and the join is left as it is.

    l WHERE EXISTS (SELECT * FROM r WHERE r.t < l.t)      Frontier l.t > MIN(r.t)

One comparison alone has a partner for many rows, and the best one will do. The same for each key:

    l WHERE NOT EXISTS (SELECT * FROM r          Join anti  on k = k  where l.t < $best
                        WHERE r.k = l.k            l
                          AND r.t > l.t)           Aggregate k, MAX(t) AS $best ─ r

but where LATENESS lets rows of this join be forgotten, which a MAX has no way to.
So are rows that are compared with the one row of a sub-query, or its one row of their key, of which
nothing is shown: it only changes for those between what that was and what it is.

    l WHERE l.x > (SELECT AVG(x) FROM l)                  Frontier l.x > AVG(x)
    l WHERE l.x > (SELECT AVG(x) FROM l AS m              Join semi  on k = k  where l.x > $r0
                   WHERE m.k = l.k)

The same for those that have a group of their key, of which nothing is shown (GROUP BY with HAVING).
Views of a cycle keep their joins: a semi join, but no MIN, is monotone.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.data.types import BOOLEAN, Field, Schema
from penstock.functions.aggregates import resolve_aggregate
from penstock.plan.bounds import bounds_of
from penstock.plan.expressions import Call, Expr, InputRef, IsNull, conjunction
from penstock.plan.nodes import (
    AggCall,
    Aggregate,
    Distinct,
    Filter,
    Frontier,
    Join,
    JoinKind,
    Node,
    ProgramPlan,
    Project,
    UnionAll,
)
from penstock.plan.rewrite import (
    can_fail,
    columns_of,
    conjuncts,
    inputs,
    remap,
    substitute,
)
from penstock.sql.bind import expiries  # which needs the passes itself
from penstock.sql.cycles import views_in_cycles
from penstock.sql.passes.alternatives import of_join
from penstock.sql.passes.decided import is_aggregate, is_small
from penstock.sql.passes.differing import by_two_values
from penstock.sql.passes.distinct_rows import keys_of
from penstock.sql.passes.each_view import bottom_up
from penstock.sql.passes.join_keys import nulls_of, pick, references
from penstock.sql.passes.marked import marked_by_one

_BOOLEAN = BOOLEAN.with_nullable(False)
_OTHER_WAY = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_HALF = (JoinKind.SEMI, JoinKind.ANTI)
_PADS_RIGHT = (JoinKind.LEFT, JoinKind.FULL)
_PADS_LEFT = (JoinKind.RIGHT, JoinKind.FULL)


def partners_from_pairs(program: ProgramPlan) -> ProgramPlan:
    cyclic = frozenset(views_in_cycles(program.views))
    forgets = expiries.is_forgetful(program)

    def rule(node: Node) -> Node:
        forgotten = [forgets(n) for n in (node, *inputs(node)) if isinstance(n, Join)]
        if any(forgotten):
            return from_pairs(node)
        if isinstance(node, Project):
            return marked_by_one(beside_one(_through_picked(node)))
        return from_pairs(best_of_key(by_two_values(node)))

    rewritten = bottom_up(program, rule)
    views = zip(program.views, rewritten.views, strict=True)
    return replace(rewritten, views=tuple(a if a.name in cyclic else b for a, b in views))


def _through_picked(node: Project) -> Project:
    """`node` without one below it that only drops columns of a join."""
    below = node.input
    if not isinstance(below, Project) or not isinstance(below.input, Join):
        return node
    if not all(isinstance(e, InputRef) for e in below.exprs):
        return node
    exprs = tuple(substitute(e, below.exprs) for e in node.exprs)
    return replace(node, input=below.input, exprs=exprs)


def from_pairs(node: Node) -> Node:
    if not isinstance(node, Join) or node.kind is JoinKind.INNER or not _is_wide(node):
        return node
    both = Schema((*node.left.schema.fields, *node.right.schema.fields))
    pairs = of_join(replace(node, kind=JoinKind.INNER, schema=both))
    width = len(node.left.schema)
    if node.kind in _HALF:
        found_by_one = _by_the_best(node)
        if found_by_one is None:
            return _partnered(node.left, pairs, 0, node.kind)
        semi = node.kind is JoinKind.SEMI
        return found_by_one if semi else _among(node.left, found_by_one, JoinKind.ANTI)
    found: list[Node] = [pairs]
    if node.kind in _PADS_RIGHT:
        rows = _partnered(node.left, pairs, 0, JoinKind.ANTI)
        found.append(
            Project(
                node.schema, rows, (*references(rows.schema), *nulls_of(node.schema.types[width:]))
            )
        )
    if node.kind in _PADS_LEFT:
        rows = _partnered(node.right, pairs, width, JoinKind.ANTI)
        nulls = nulls_of(node.schema.types[:width])
        found.append(Project(node.schema, rows, (*nulls, *references(rows.schema))))
    return UnionAll(node.schema, tuple(found), span=node.span)


def _is_wide(node: Join) -> bool:
    """Whether the pairs may be many, and the rows of both sides can be told apart."""
    return (
        not node.keys
        and node.residual is not None
        and all(len(side.schema) and not is_small(side) for side in (node.left, node.right))
    )


def _partnered(rows: Node, pairs: Node, start: int, kind: JoinKind) -> Node:
    """The rows of one side, whose columns begin at `start` of the pairs, that are in a pair (semi)
    or in none (anti)."""
    own = pick(pairs, range(start, start + len(rows.schema)))
    return _among(rows, Distinct(own.schema, own), kind)


def _among(rows: Node, others: Node, kind: JoinKind) -> Node:
    """Those of `rows` that are (semi) or are not (anti) among `others`."""
    keys = tuple((i, i) for i in range(len(rows.schema)))
    safe = (True,) * len(keys)
    return Join(rows.schema, kind, rows, others, keys, safe, span=rows.span)


def _by_the_best(node: Join) -> Node | None:
    """The left rows with a partner, if their condition is that one column of theirs is beyond one
    of the right side's: that is, beyond the least or the greatest of these."""
    width = len(node.left.schema)
    conditions = conjuncts(node.residual)
    bounds = bounds_of(conditions, width)
    if len(conditions) != 1 or len(bounds) != 1:
        return None
    ((column, right, _, is_low),) = bounds
    (condition,) = conditions
    assert isinstance(condition, Call)
    type = node.right.schema.types[right]
    if not all(isinstance(a, InputRef) and a.type.kind is type.kind for a in condition.args):
        return None
    best = resolve_aggregate("MAX" if is_low else "MIN", [type])
    schema = Schema((Field("$best", best.result),))
    one = Aggregate(schema, node.right, (), (AggCall(best, (right,)),))
    # a NULL has no place in an order of values
    known = Filter(schema, one, IsNull(_BOOLEAN, InputRef(best.result, 0), negated=True))
    test = remap(condition, lambda i: i if i < width else width)
    op = {True: "<", False: ">"}[is_low] + "=" * condition.function.name.endswith("=")
    return Frontier(node.schema, node.left, known, column, op, test, False, span=node.span)


def best_of_key(node: Node) -> Node:
    """A semi or anti join whose condition is one comparison, besides its keys, with the best row of
    each key alone."""
    if not isinstance(node, Join) or node.kind not in _HALF or not node.keys:
        return node
    width = len(node.left.schema)
    conditions = conjuncts(node.residual)
    bounds = bounds_of(conditions, width)
    if len(conditions) != 1 or len(bounds) != 1 or isinstance(node.right, Aggregate):
        return node
    ((_, column, _, is_low),) = bounds
    keys = tuple(dict.fromkeys(b for _, b in node.keys))
    if column in keys:
        return node
    best = resolve_aggregate("MAX" if is_low else "MIN", [node.right.schema.types[column]])
    fields = (*(node.right.schema.fields[k] for k in keys), Field("$best", best.result))
    schema = Schema(fields)
    of_keys = Aggregate(schema, node.right, keys, (AggCall(best, (column,)),))
    # a NULL has no place in an order of values
    known = Filter(
        schema, of_keys, IsNull(_BOOLEAN, InputRef(best.result, len(keys)), negated=True)
    )
    return replace(
        node,
        right=known,
        keys=tuple((a, keys.index(b)) for a, b in node.keys),
        residual=remap(conditions[0], lambda i: i if i < width else width + len(keys)),
    )


def beside_one(node: Node) -> Node:
    """Columns of rows that are compared with one row, or one of their key, without the pairs; or of
    rows that have a group of their key."""
    if not isinstance(node, Project) or (join := _pairs_kept(node.input)) is None:
        return node
    width, conditions = len(join.left.schema), conjuncts(join.residual)
    has_group = bool(join.keys) and not conditions and is_aggregate(join.right)
    if not (has_group or len(conditions) == 1) or is_small(join.left):
        return node
    if any(c >= width for e in node.exprs for c in columns_of(e)):
        return node
    matched = {b for _, b in join.keys}
    if not any(key <= matched for key in keys_of(join.right, {})):
        return node
    if join.keys:
        kept = replace(join, schema=join.left.schema, kind=JoinKind.SEMI)
        is_one_sided = len(bounds_of(conditions, width)) == 1
        return replace(node, input=kept) if has_group or is_one_sided else node
    beside = _on_one_side(join, conditions[0])
    return node if beside is None else replace(node, input=beside)


def _pairs_kept(node: Node) -> Join | None:
    """An inner join with what filters its pairs, and cannot fail, as its condition."""
    if isinstance(node, Filter) and isinstance(join := node.input, Join):
        if can_fail(node.predicate):
            return None
        node = replace(join, residual=conjunction([*conjuncts(join.residual), node.predicate]))
    return node if isinstance(node, Join) and node.kind is JoinKind.INNER else None


def _on_one_side(join: Join, condition: Expr) -> Node | None:
    """The left rows on one side of the value of the one row on the right."""
    if not isinstance(condition, Call) or condition.function.name not in _OTHER_WAY:
        return None
    first, second = condition.args
    if not isinstance(first, InputRef) or not isinstance(second, InputRef):
        return None
    width, op = len(join.left.schema), condition.function.name
    if first.index >= width:
        first, second, op = second, first, _OTHER_WAY[op]
    if first.index >= width or second.index < width or not _are_alike(first, second):
        return None
    bound = pick(join.right, [second.index - width])
    known = Filter(bound.schema, bound, IsNull(_BOOLEAN, references(bound.schema)[0], negated=True))
    test = remap(condition, lambda i: i if i < width else width)
    left = join.left
    return Frontier(left.schema, left, known, first.index, op, test, False, span=join.span)


def _are_alike(a: Expr, b: Expr) -> bool:
    """Whether values of both stand in one order."""
    return a.type.with_nullable(True) == b.type.with_nullable(True)
