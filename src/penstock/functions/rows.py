"""ROW values: the constructor and access to a field (sql-reference 2.13).

They are made for field names and positions that the binder knows, so they are not in the table of
functions: `row_constructor(names, types)`, `field_access(row, i)`.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.data.batch import Column
from penstock.data.nested import build_row, fields
from penstock.data.types import Kind, SqlType
from penstock.functions.definition import Function
from penstock.functions.ragged import aligned


def row_type(names: Sequence[str], types: Sequence[SqlType]) -> SqlType:
    return SqlType(Kind.ROW, False, children=tuple(types), names=tuple(names))


def row_constructor(names: Sequence[str], types: Sequence[SqlType]) -> Function:
    """ROW(a, …) of arguments of exactly these types; never NULL itself."""
    type = row_type(names, types)

    def kernel(args: Sequence[Column], n: int) -> Column:
        return build_row(type, aligned(args))

    return Function("ROW", tuple(types), type, kernel, strict=False)


def field_access(row: SqlType, index: int) -> Function:
    """The field at `index`; NULL where the row is."""
    field = row.children[index]
    result = field.with_nullable(field.nullable or row.nullable)

    def kernel(args: Sequence[Column], n: int) -> Column:
        return fields(args[0])[index]

    return Function(f".{row.names[index]}", (row,), result, kernel)
