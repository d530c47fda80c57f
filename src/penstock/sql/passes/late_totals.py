"""Totals of a table in FROM are fitted to their type above the condition that drops its groups.

    Filter n < 9                                 Project [k, $FITS(z), n]
      Aggregate by k: SUM(x) AS z, …     ──►       Filter n < 9
                                                     Aggregate by k: SUM(x) AS z BIGINT, …

As HAVING does (`penstock.sql.bind.totals`): a total that does not fit is no error of a group that
nobody asks for. Runs behind `push_filters`, so that a condition on the grouping expressions is
below the aggregate already, and changes nothing there.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.plan.expressions import And, Case, Coalesce, Expr, InputRef, Or
from penstock.plan.nodes import Aggregate, Filter, Node, ProgramPlan, Project
from penstock.plan.rewrite import columns_of, inputs, is_costly, parts, substitute, with_inputs
from penstock.sql.passes.each_view import each_view
from penstock.sql.passes.frontiers import readers
from penstock.sql.passes.wide_totals import fitted_above, widened


def late_totals(program: ProgramPlan) -> ProgramPlan:
    return each_view(program, _rewritten)


def _rewritten(query: Node) -> Node:
    count, done = readers(query), dict[int, Node]()

    def visit(node: Node) -> Node:
        if id(node) not in done:
            moved = with_inputs(node, [visit(child) for child in inputs(node)])
            # others may ask for all groups, of which there would be two aggregates then
            is_read_once = count.get(id(_below(node)), 0) == 1
            done[id(node)] = _rule(moved) if is_read_once else moved
        return done[id(node)]

    return visit(query)


def _below(node: Node) -> Node | None:
    """The aggregate whose groups `node` drops."""
    if not isinstance(node, Filter):
        return None
    rows = node.input.input if isinstance(node.input, Project) else node.input
    return rows if isinstance(rows, Aggregate) else None


def _rule(node: Node) -> Node:
    rows = _below(node)
    assert isinstance(node, Filter) and isinstance(rows, Aggregate)
    predicate, named = node.predicate, list[Expr]()
    if isinstance(node.input, Project):
        named = list(node.input.exprs)
        if any(is_costly(named[i]) for i in columns_of(predicate)):
            return node  # it would be computed twice
        predicate = substitute(predicate, named)
    eager = set(_asked(predicate))
    late = [
        i
        for i, call in enumerate(rows.calls)
        if len(rows.keys) + i not in eager and widened(call.function) is not None
    ]
    if not late:
        return node
    wide, values = fitted_above(rows, late)
    kept = Filter(wide.schema, wide, substitute(predicate, values), span=node.span)
    exprs = [substitute(e, values) for e in named] if named else values
    return Project(node.schema, kept, tuple(exprs), span=node.span)


def _asked(e: Expr) -> Iterator[int]:
    """The columns that are read in every row for which `e` is evaluated."""
    match e:
        case InputRef(index=index):
            yield index
        case And(args=args) | Or(args=args) | Coalesce(args=args):
            yield from _asked(args[0])
        case Case(branches=branches):
            yield from _asked(branches[0][0])
        case _:
            for x in parts(e):
                yield from _asked(x)
