"""A rank compared with a constant: only the first rows of every partition.

    Filter n <= 3                       Window ROW_NUMBER AS n
      Window ROW_NUMBER AS n     ──►      TopK partition by p order by o limit 3
        …                                   …

The window function is left with the rows that pass, a few of each partition; where nobody reads
the number `prune_columns` removes it. RANK and DENSE_RANK keep the peers of the last row. What is
compared may be a sum of the rank and a constant, or a cast of it; alternatives keep what the widest
of them keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from decimal import Decimal

from penstock.data.types import INTEGERS, NUMBERS, Kind
from penstock.plan.expressions import Call, Cast, Expr, InList, InputRef, Literal, Or, conjunction
from penstock.plan.nodes import Filter, Node, ProgramPlan, Project, TopK, Window
from penstock.plan.rewrite import conjuncts, shifted, substitute
from penstock.sql.passes.each_view import bottom_up
from penstock.sql.passes.join_keys import references

_RANKS = ("ROW_NUMBER", "RANK", "DENSE_RANK")
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
#: what a rank is the same number in
_EXACT = INTEGERS | {Kind.DECIMAL, Kind.DOUBLE}


def bound_ranks(program: ProgramPlan) -> ProgramPlan:
    return bottom_up(program, bound)


def bound(node: Node) -> Node:
    if not isinstance(node, Filter):
        return node
    if isinstance(node.input, Project) and isinstance(node.input.input, Window):
        return _bound_below(node, node.input, node.input.input)
    if not isinstance(node.input, Window):
        return node
    window, terms = node.input, conjuncts(node.predicate)
    ranks = _ranks(window)
    # no rank is below 1
    needed = [t for t in terms if not _is_given(t, ranks)]
    if len(needed) < len(terms):
        rest = conjunction(needed)
        return window if rest is None else bound(Filter(node.schema, window, rest))
    for i, column, n, is_all in _bounds(terms):
        cut = _cut(window, ranks, column, n)
        if cut is None:
            continue
        below: Node = replace(window, input=cut)
        if cut.limit == 1 and len(window.calls) == 1:
            # every row that is left has the number 1
            number = Literal(window.calls[0].result, 1)
            below = Project(window.schema, cut, (*references(cut.schema), number))
        rest = conjunction(terms[:i] + terms[i + 1 :] if is_all else terms)
        return below if rest is None else bound(Filter(node.schema, below, rest))
    return node


def _bound_below(node: Filter, project: Project, window: Window) -> Node:
    """`node`, whose predicate is about what `project` computes of a rank, over fewer rows."""
    ranks = _ranks(window)
    terms = [substitute(t, project.exprs) for t in conjuncts(node.predicate)]
    for _, column, n, _ in _bounds(terms):
        cut = _cut(window, ranks, column, n)
        if cut is not None:
            return replace(node, input=replace(project, input=replace(window, input=cut)))
    return node


def _ranks(window: Window) -> dict[int, str]:
    """The kind of rank in each column of `window`: none if a column may depend on rows that a
    bound takes away."""
    if not all(c.kind in _RANKS for c in window.calls):
        return {}
    width = len(window.input.schema)
    return {width + i: c.kind for i, c in enumerate(window.calls)}


def _cut(window: Window, ranks: dict[int, str], column: int, n: int) -> TopK | None:
    """The rows of `window` whose rank in `column` is at most `n`; None where that is no rank, or
    all that are left are such."""
    kind, n = ranks.get(column), max(n, 0)
    if kind is None or is_cut(window.input, kind, n):
        return None
    return TopK(
        window.input.schema, window.input, window.partition, window.order, n,
        ranks=kind, span=window.span,
    )  # fmt: skip


def is_cut(rows: Node, kind: str, n: int) -> bool:
    return (
        isinstance(rows, TopK) and rows.ranks == kind and rows.limit is not None and rows.limit <= n
    )


def _is_given(term: Expr, ranks: dict[int, str]) -> bool:
    """Whether every rank passes `term`."""
    found = _compared(term)
    if found is None or found[0] not in ranks:
        return False
    _, op, n = found
    return (op == ">=" and n <= 1) or (op == ">" and n < 1)


#: which term, the column, n, and whether column <= n is all that the term says
Bound = tuple[int, int, int, bool]


def _bounds(terms: Sequence[Expr]) -> Iterator[Bound]:
    """What `terms` say of columns, if those count from 1: column <= n, and perhaps more."""
    for i, term in enumerate(terms):
        if isinstance(term, InList) and isinstance(term.operand, InputRef) and not term.negated:
            listed = [x.value for x in term.items if isinstance(x, Literal)]
            numbers = [x for x in listed if isinstance(x, int)]
            if numbers and len(numbers) == len(term.items):
                yield i, term.operand.index, max(numbers), False
        elif isinstance(term, Or):
            ways = [{c: n for _, c, n, _ in _bounds(conjuncts(a))} for a in term.args]
            for column in ways[0]:
                if all(column in way for way in ways):
                    yield i, column, max(way[column] for way in ways), False
        elif (found := _compared(term)) is not None:
            column, op, n = found
            if op == "<=":
                yield i, column, math.floor(n), True
            elif op == "<":
                yield i, column, math.ceil(n) - 1, True
            elif op in ("=", "is_not_distinct"):
                yield i, column, math.floor(n), n == 1


def _compared(term: Expr) -> tuple[int, str, int | float | Decimal] | None:
    """(column, operator, number) of a comparison of a whole number with a constant."""
    if not isinstance(term, Call) or len(term.args) != 2:
        return None
    op, (a, b) = term.function.name, term.args
    if isinstance(a, Literal):
        op, a, b = _MIRRORED.get(op, op), b, a
    if not isinstance(b, Literal) or not isinstance(b.value, int | float | Decimal):
        return None
    if b.type.kind not in NUMBERS or not math.isfinite(b.value):
        return None
    while isinstance(a, Cast) and a.operand.type.kind in INTEGERS and a.type.kind in _EXACT:
        a = a.operand
    sum_ = shifted(a)
    return None if sum_ is None else (sum_[0], op, b.value - sum_[1])
