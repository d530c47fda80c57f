"""A rank compared with a constant: only the first rows of every partition.

    Filter n <= 3                       Window ROW_NUMBER AS n
      Window ROW_NUMBER AS n     ──►      TopK partition by p order by o limit 3
        …                                   …

The window function is left with the rows that pass, a few of each partition; where nobody reads
the number `prune_columns` removes it. RANK and DENSE_RANK keep the peers of the last row.
"""

from __future__ import annotations

from dataclasses import replace

from penstock.plan.expressions import Call, Expr, InList, InputRef, Literal, conjunction
from penstock.plan.nodes import Filter, Node, ProgramPlan, Project, TopK, Window
from penstock.plan.rewrite import conjuncts
from penstock.sql.passes.each_view import bottom_up
from penstock.sql.passes.join_keys import references

_RANKS = ("ROW_NUMBER", "RANK", "DENSE_RANK")


def bound_ranks(program: ProgramPlan) -> ProgramPlan:
    return bottom_up(program, bound)


def bound(node: Node) -> Node:
    if not isinstance(node, Filter) or not isinstance(node.input, Window):
        return node
    window, terms = node.input, conjuncts(node.predicate)
    # what other functions say may depend on the rows that go
    if not all(c.kind in _RANKS for c in window.calls):
        return node
    width = len(window.input.schema)
    for i, term in enumerate(terms):
        found = _bound(term)
        if found is None or found[0] < width:
            continue
        column, n, is_all = found
        n = max(n, 0)  # there is no rank below 1
        kind = window.calls[column - width].kind
        if is_cut(window.input, kind, n):
            continue  # by a term that stays
        cut = TopK(
            window.input.schema, window.input, window.partition, window.order, n,
            ranks=kind, span=window.span,
        )  # fmt: skip
        below: Node = replace(window, input=cut)
        if n == 1 and len(window.calls) == 1:
            # every row that is left has the number 1
            number = Literal(window.calls[0].result, 1)
            below = Project(window.schema, cut, (*references(cut.schema), number))
        rest = conjunction(terms[:i] + terms[i + 1 :] if is_all else terms)
        return below if rest is None else bound(Filter(node.schema, below, rest))
    return node


def is_cut(rows: Node, kind: str, n: int) -> bool:
    return (
        isinstance(rows, TopK) and rows.ranks == kind and rows.limit is not None and rows.limit <= n
    )


def _bound(term: Expr) -> tuple[int, int, bool] | None:
    """(column, n, whether that is all) if `term` says column <= n, and perhaps more, for a number
    that counts from 1."""
    if isinstance(term, InList) and isinstance(term.operand, InputRef) and not term.negated:
        listed = [x.value for x in term.items if isinstance(x, Literal)]
        numbers = [x for x in listed if isinstance(x, int)]
        if numbers and len(numbers) == len(term.items):
            return term.operand.index, max(numbers), False
        return None
    if not isinstance(term, Call) or len(term.args) != 2:
        return None
    op, (a, b) = term.function.name, term.args
    if isinstance(a, Literal):
        op, a, b = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op), b, a
    if not isinstance(a, InputRef) or not isinstance(b, Literal) or not isinstance(b.value, int):
        return None
    match op:
        case "<=":
            return a.index, b.value, True
        case "<":
            return a.index, b.value - 1, True
        case "=":
            return a.index, b.value, b.value == 1
    return None
