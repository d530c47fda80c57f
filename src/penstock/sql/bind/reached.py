"""Which rows reach a part of an expression, so that a sub-query there is asked for those alone.

    CASE WHEN p THEN <q> END       <q> for the rows where p IS TRUE
    p AND <q>                      … where p IS NOT FALSE
    p OR <q>                       … where p IS NOT TRUE
    COALESCE(x, <q>)               … where x IS NULL

What the text does not come to must not fail (contract 10.4): a sub-query that can is evaluated over
the domain of the rows that reach it (`frame`), or only while there are such rows (`gates`). One
that cannot fail is asked for all rows, which needs no copy of the conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from penstock.plan.expressions import And, Case, Coalesce, Expr, Or
from penstock.sql.bind import build
from penstock.sql.bind.forms import SUBQUERIES, has

#: (operand, what holds where it is reached) → the operand without placeholders
Lower = Callable[[Expr, Sequence[Expr]], Expr]


def operands(e: Expr, lower: Lower) -> Expr | None:
    """`e` with its operands lowered in order, None if all of them are evaluated for every row."""
    if not isinstance(e, And | Or | Case | Coalesce) or not has(e, *SUBQUERIES):
        return None
    done: list[Expr] = []
    if isinstance(e, Case):
        branches = []
        for condition, result in e.branches:
            passed = [build.is_truth(c, True, None, negated=True) for c in done]
            test = lower(condition, passed)
            done.append(test)
            taken = [*passed, build.is_truth(test, True, None)]
            branches.append((test, lower(result, taken)))
        passed = [build.is_truth(c, True, None, negated=True) for c in done]
        return replace(e, branches=tuple(branches), otherwise=lower(e.otherwise, passed))
    for arg in e.args:
        done.append(lower(arg, [_goes_on(e, x) for x in done]))
    return replace(e, args=tuple(done))


def _goes_on(e: Expr, before: Expr) -> Expr:
    """Where the operand `before` leaves the value of `e` open."""
    if isinstance(e, Coalesce):
        return build.is_null(before, None)
    return build.is_truth(before, isinstance(e, Or), None, negated=True)
