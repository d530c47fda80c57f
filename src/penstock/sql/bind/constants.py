"""The value of an expression without columns, where the language wants a constant: `LAG(x, 1 + 1)`.

Not here: constants in queries, which are evaluated once a batch (`penstock.compile.expressions`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from penstock.data.build import column_from_python, column_to_python
from penstock.errors import RuntimeSqlError
from penstock.functions.casts import cast_kernel
from penstock.plan.expressions import Call, Cast, Expr, Literal
from penstock.plan.rewrite import can_fail
from penstock.sql.bind.report import BindError


def check_row(cells: Iterable[Expr]) -> None:
    """Raises BindError, with its place, if a constant of a row that is always there fails."""
    for e in cells:
        if can_fail(e):
            constant(e)


def constant(e: Expr) -> Literal | None:
    """`e` as a literal; None where it has no value without a row. Raises BindError where computing
    it fails."""
    if isinstance(e, Literal):
        return e
    match e:
        case Cast(operand=operand, type=type):
            args, kernel = [operand], cast_kernel(operand.type, type, e.safe)
        # (a function of the program's own is not strict: it runs where the pipeline does)
        case Call(args=operands, function=function) if function.strict:
            args, kernel = [*operands], function.kernel
        case _:
            return None
    columns = []
    for a in args:
        known = constant(a)
        if known is None or known.value is None:
            return None
        columns.append(column_from_python(a.type.with_nullable(False), [known.value]))
    try:
        with np.errstate(all="ignore"):  # floats have infinity and NaN, and nobody to warn
            answer = kernel(columns, 1)
    except RuntimeSqlError as error:
        raise BindError(e.span, error.message) from None
    return Literal(e.type, column_to_python(answer.with_type(e.type))[0], span=e.span)
