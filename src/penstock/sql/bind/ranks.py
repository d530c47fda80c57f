"""ROW_NUMBER() compared with a constant: the first rows of every partition.

    Filter n <= 3                      TopK partition by p order by o limit 3
      Project […, n]            ──►      …
        Numbered by p order o

While a query is bound, `Numbered` gives every row its number. No operator does that: what makes
it cheap is a bound on the number, and then the number itself must not be needed, except that it
is 1 where the bound is 1. Anything else is refused at the word ROW_NUMBER.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from penstock.data.types import BIGINT, Field, Schema
from penstock.plan.expressions import Call, Expr, InputRef, Literal, conjunction
from penstock.plan.nodes import Filter, Node, Project, SortKey, TopK
from penstock.plan.rewrite import conjuncts, inputs, parts, with_inputs
from penstock.sql.bind.report import BindError, unsupported
from penstock.sql.passes.join_keys import references
from penstock.sql.passes.prune_columns import narrow

NUMBER = BIGINT.with_nullable(False)


@dataclass(frozen=True, slots=True)
class Numbered(Node):
    """The input's rows with their ROW_NUMBER as last column (binder only)."""

    input: Node
    partition: tuple[int, ...]
    order: tuple[SortKey, ...]


@dataclass(frozen=True, slots=True)
class _Number(Expr):
    """The number of a row that nobody computes; if it survives pruning, somebody needs it."""


def lower_ranks(node: Node) -> Node:
    """`node` without `Numbered`. Raises BindError where a number is needed as such."""
    if not _find(node):
        return node
    lowered = narrow(_lower(node), range(len(node.schema)))[0]
    _check(lowered)
    return lowered


def _find(node: Node) -> bool:
    return isinstance(node, Numbered) or any(_find(child) for child in inputs(node))


def _lower(node: Node) -> Node:
    if isinstance(node, Filter):
        terms = conjuncts(node.predicate)
        for i, term in enumerate(terms):
            bound = _bound(term)
            below = None if bound is None else _limited(node.input, *bound)
            if below is not None:
                rest = conjunction(terms[:i] + terms[i + 1 :])
                return _lower(below if rest is None else Filter(node.schema, below, rest))
    if isinstance(node, Numbered):
        raise _refused(node)
    return with_inputs(node, [_lower(child) for child in inputs(node)])


def _refused(node: Node | Expr) -> BindError:
    return unsupported(
        node.span,
        "ROW_NUMBER() other than compared with a constant (= 1, <= n or < n)",
        "do not select the number, or keep only number 1",
    )


def _bound(term: Expr) -> tuple[int, int] | None:
    """(column, n) if `term` says column <= n, for a number that counts from 1."""
    if not isinstance(term, Call) or len(term.args) != 2:
        return None
    op, (a, b) = term.function.name, term.args
    if isinstance(a, Literal):
        op, a, b = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}.get(op, op), b, a
    if not isinstance(a, InputRef) or not isinstance(b, Literal) or not isinstance(b.value, int):
        return None
    match op:
        case "<=":
            return a.index, b.value
        case "<":
            return a.index, b.value - 1
        case "=" if b.value == 1:
            return a.index, 1
    return None


def _limited(node: Node, column: int, n: int) -> Node | None:
    """`node` cut to numbers up to `n`, if `column` is the number of a Numbered below; all columns
    stay where they are."""
    match node:
        case Numbered() if column == len(node.schema) - 1:
            cut = TopK(
                node.input.schema, node.input, node.partition, node.order, max(n, 0), span=node.span
            )
            number: Expr = Literal(NUMBER, 1) if n == 1 else _Number(NUMBER, span=node.span)
            return Project(node.schema, cut, (*references(cut.schema), number))
        case Filter():
            below = _limited(node.input, column, n)
            return below and replace(node, input=below)
        case Project():
            e = node.exprs[column]
            below = _limited(node.input, e.index, n) if isinstance(e, InputRef) else None
            return below and replace(node, input=below)
    return None


def _check(node: Node) -> None:
    if isinstance(node, Project):
        for e in node.exprs:
            _check_expr(e)
    if isinstance(node, Filter):
        _check_expr(node.predicate)
    for child in inputs(node):
        _check(child)


def _check_expr(e: Expr) -> None:
    if isinstance(e, _Number):
        raise _refused(e)
    for x in parts(e):
        _check_expr(x)


def numbered(schema: Schema) -> Schema:
    """`schema` with a number as its last column."""
    return Schema((*schema.fields, Field("$number", NUMBER)))
