"""The value of an expression without columns, where the language wants a constant: `LAG(x, 1 + 1)`.

Not here: constants in queries, which are evaluated once a batch (`penstock.compile.expressions`).
"""

from __future__ import annotations

from penstock.data.batch import Column
from penstock.data.build import column_from_python, column_to_python
from penstock.errors import RuntimeSqlError
from penstock.functions.casts import cast_kernel
from penstock.plan.expressions import Call, Cast, Expr, Literal
from penstock.sql.bind.report import BindError


def constant(e: Expr) -> Literal | None:
    """`e` as a literal; None where it reads something. Raises BindError where it fails."""
    if isinstance(e, Literal):
        return e
    try:
        column = _column(e)
    except RuntimeSqlError as error:
        raise BindError(e.span, f"this constant has no value: {error.message}") from None
    return None if column is None else Literal(e.type, column_to_python(column)[0], span=e.span)


def _column(e: Expr) -> Column | None:
    """One row with the value of `e`. Strict calls only: NULL has no place in such constants."""
    if isinstance(e, Literal):
        return None if e.value is None else column_from_python(e.type, [e.value])
    if isinstance(e, Cast) and not e.safe:
        operand = _column(e.operand)
        return None if operand is None else cast_kernel(e.operand.type, e.type)([operand], 1)
    if isinstance(e, Call) and e.function.strict:
        args = [a for a in map(_column, e.args) if a is not None]
        return e.function.kernel(args, 1) if len(args) == len(e.args) else None
    return None
