"""What is said about a row that makes an expression fail.

kernel      RuntimeSqlError("INTEGER division by zero", row=3)
located     … knows the expression it happened in
reported    … knows the relation and the row's values:
            "view v: division by zero in `a / b` for the row a = 1, b = 0"
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from penstock.circuit.spec import AggregateSpec, Told, WindowSpec
from penstock.data.batch import Batch, Column
from penstock.data.build import column_to_python
from penstock.data.types import BINARIES, NESTED, STRINGS, VARCHAR, Kind, Schema
from penstock.data.variant import can_wrap, wrap
from penstock.data.variant_json import to_json
from penstock.errors import RuntimeSqlError
from penstock.functions.casts import cast_kernel
from penstock.functions.definition import Kernel
from penstock.plan.expressions import Call, Cast, Expr

#: values and expressions longer than this are cut in messages
_LONGEST = 200


def written(expr: Expr, text: str) -> str:
    """The expression as the program spells it; what it is, where it has no place there."""
    if expr.span is not None and expr.span.end <= len(text):
        return _cut(" ".join(text[expr.span.start : expr.span.end].split()))
    if isinstance(expr, Call):
        return expr.function.name
    if isinstance(expr, Cast):
        return f"CAST({expr.operand.type.with_nullable(True)} AS {expr.type.with_nullable(True)})"
    return type(expr).__name__


def located(kernel: Kernel, expr: Expr, text: str) -> Kernel:
    """`kernel`, with the innermost failing expression noted in the error's details."""
    spelling = written(expr, text)

    def call(args: Sequence[Column], n: int) -> Column:
        try:
            return kernel(args, n)
        except RuntimeSqlError as error:
            if error.details is None:
                error.details = {"expression": spelling}
            raise

    return call


def reported(error: RuntimeSqlError, relation: str, batch: Batch, schema: Schema) -> Exception:
    """The error as the user sees it."""
    details: dict[str, Any] = dict(error.details or {})
    row = error.row or 0
    values = {
        f.name: (_spelled(_row(c, row)), c.type.kind in STRINGS)
        for f, c in zip(schema.fields, batch.columns, strict=True)
        if not f.name.startswith("$")  # the compiler's own, such as the row that has no FROM
    }
    whole = {k: "NULL" if v is None else _cut(v) for k, (v, _) in values.items()}
    details |= {"relation": relation, "row": whole}
    shown = ", ".join(
        f"{k} = {_quoted(whole[k]) if is_text and v is not None else whole[k]}"
        for k, (v, is_text) in values.items()
    )
    where = f"view {relation}: " if relation else ""
    what = f" in `{details['expression']}`" if "expression" in details else ""
    whose = f" for the row {shown}" if shown else ""
    message = f"{where}{error.message}{what}{whose}"
    return RuntimeSqlError(message, row=row, code=error.code, details=details)


def told(calls: Sequence[AggregateSpec | WindowSpec], schema: Schema, relation: str) -> Told:
    """What is said of a group or a row whose aggregate fails; `schema` is of what they read."""

    def tell(error: RuntimeSqlError, call: int, rows: Batch) -> Exception:
        names = [schema.fields[a].name for a in calls[call].args]
        if error.details is None and not any(n.startswith("$") for n in names):
            error.details = {"expression": f"{calls[call].kind}({', '.join(names)})"}
        return reported(error, relation, rows, rows.schema)

    return tell


def told_of_row(schema: Schema, relation: str) -> Callable[[RuntimeSqlError, Batch], Exception]:
    """What is said of a row of `schema` that something else than an expression fails for."""
    return lambda error, rows: reported(error, relation, rows, schema)


def _spelled(value: Column) -> str | None:
    """The value of a column of one row as text: as CAST writes it, or in JSON; None for NULL."""
    type = value.type.with_nullable(True)
    if type.kind is Kind.NULL or (value.valid is not None and not value.valid[0]):
        return None
    if type.kind in BINARIES:
        return f"x'{column_to_python(value)[0].hex()}'"
    if type.kind in NESTED and can_wrap(type):
        value = to_json(wrap(value))
    elif type.kind not in STRINGS | NESTED:
        value = cast_kernel(type, VARCHAR)([value], 1)
    return str(column_to_python(value)[0])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _row(column: Column, row: int) -> Column:
    valid = None if column.valid is None else column.valid[row : row + 1]
    return Column(column.type, column.values[row : row + 1], valid, column.heaps)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
