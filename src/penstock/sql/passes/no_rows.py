"""Drop what never has a row.

    UnionAll                                  Aggregate by g
      Aggregate by g                    ──►     Filter g = 'a'
        Filter g = 'a' ─ t                        t
      Project [NULL AS g]
        Filter NULL = 'a' ─ Aggregate of t

A condition on a key of ROLLUP leaves nothing of the sets without that key, and a branch of a UNION
may contradict what is asked of all: they would be kept up to date for nobody. Runs behind
`fold_constants`, and behind `push_filters`, which brings conditions and constants together.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.plan.expressions import Expr, Literal
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
    Session,
    TopK,
    UnionAll,
    Unnest,
    Values,
    Window,
)
from penstock.plan.rewrite import can_fail, conjuncts
from penstock.sql.passes.each_view import bottom_up
from penstock.sql.passes.fold_constants import fold
from penstock.sql.passes.join_keys import references


def no_rows(program: ProgramPlan) -> ProgramPlan:
    return bottom_up(program, _rule)


def _rule(node: Node) -> Node:
    if isinstance(node, Filter):
        node = fold(node)
    if _is_empty(node):
        return Values(node.schema, (), span=node.span)
    match node:
        case UnionAll(inputs=branches):
            some = tuple(b for b in branches if not _has_none(b))
            if len(some) == 1:
                return _typed(some[0], node)
            return node if len(some) == len(branches) else replace(node, inputs=some)
        case Join(kind=JoinKind.ANTI, left=left, right=right) if _has_none(right):
            return left
    return node


def _has_none(node: Node) -> bool:
    return isinstance(node, Values) and not node.rows


def _is_empty(node: Node) -> bool:
    match node:
        case Filter(predicate=predicate) if not _may_hold(predicate):
            return True
        case Aggregate():
            return bool(node.keys) and _has_none(node.input)
        case Filter() | Project() | Distinct() | TopK() | Window() | Session() | Hop() | Unnest():
            return _has_none(node.input)
        case Frontier():
            return _has_none(node.input)
        case UnionAll(inputs=branches):
            return all(map(_has_none, branches))
        case Join(kind=JoinKind.INNER | JoinKind.SEMI):
            return _has_none(node.left) or _has_none(node.right)
        case Join(kind=JoinKind.LEFT | JoinKind.ANTI) | AsofJoin() | Difference():
            return _has_none(node.left)
        case Join(kind=JoinKind.RIGHT):
            return _has_none(node.right)
        case Join(kind=JoinKind.FULL):
            return _has_none(node.left) and _has_none(node.right)
    return False


def _may_hold(predicate: Expr) -> bool:
    for term in conjuncts(predicate):
        if can_fail(term):
            return True
        if isinstance(term, Literal) and term.value is not True:
            return False
    return True


def _typed(rows: Node, node: Node) -> Node:
    """`rows` under the names of `node`."""
    if rows.schema == node.schema:
        return rows
    return Project(node.schema, rows, references(rows.schema), span=node.span)
