"""Lambdas: a body is evaluated once, over the elements of all rows together.

    TRANSFORM(a, x -> x + b)     a = [1, 2] [] [3],  b = 10 20 30

    rows of the body     x = 1  2  3        from the exploded arrays
                         b = 10 10 30       gathered: the row each element belongs to

So a lambda costs what an expression over as many rows does. Lambdas nest: the parameters of outer
ones are gathered in the same way (`Frame.bound`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.compile.frame import Evaluator, Frame, masked, spread
from penstock.data.batch import Column
from penstock.data.build import empty_column
from penstock.errors import RuntimeSqlError
from penstock.functions.lambdas import Call
from penstock.plan.expressions import Expr, InputRef, LambdaCall, LambdaVar
from penstock.plan.rewrite import parts


def is_constant(expr: Expr, bound: frozenset[int] = frozenset()) -> bool:
    """Whether `expr` has the same value for every row; `bound`: levels of lambdas inside it."""
    match expr:
        case InputRef():
            return False
        case LambdaVar(level=level):
            return level in bound
        case LambdaCall(level=level, operand=operand, body=body):
            return is_constant(operand, bound) and is_constant(body, bound | {level})
    return all(is_constant(e, bound) for e in parts(expr))


def variable(expr: LambdaVar) -> Evaluator:
    key = (expr.level, expr.index)
    return lambda frame: frame.bound[key]


def lambda_call(
    expr: LambdaCall, operand: Evaluator, body: Evaluator, needed: frozenset[int]
) -> Evaluator:
    """`expr` from its compiled operand and body; `needed`: the columns that the body reads."""
    type, body_type, level = expr.type, expr.body.type, expr.level
    kernel = expr.function.kernel(type)

    def evaluate(frame: Frame) -> Column:
        column = spread(operand(frame), frame.n)

        def call(
            rows: np.ndarray[tuple[int], np.dtype[np.int64]], variables: Sequence[Column]
        ) -> Column:
            m = len(rows)
            if m == 0:
                return empty_column(body_type)
            inner = frame.subset(rows, needed)
            for i, values in enumerate(variables):
                inner.bound[level, i] = values
            try:
                return spread(body(inner), m)
            except RuntimeSqlError as error:
                if error.row is not None:
                    error.row = int(rows[error.row])
                raise

        run: Call = call
        out = kernel(column, run)
        return masked(type, out, out.valid)

    return evaluate
