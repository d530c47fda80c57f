"""FOREIGN KEY: refers to the PRIMARY KEY of a table declared before, with the same types."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.plan.nodes import (
    TablePlan,
)
from penstock.sql import ast
from penstock.sql.bind import build
from penstock.sql.bind.report import BindError, did_you_mean
from penstock.sql.statements.declared import Declared


def check_foreign_keys(declared: Declared, t: ast.CreateTable, own: TablePlan) -> None:
    found: list[tuple[ast.ForeignKey, tuple[ast.Identifier, ...]]] = [
        (r, (c.name,)) for c in t.columns for r in c.references
    ]
    found += [(f, f.columns) for f in t.foreign_keys]
    for reference, columns in found:
        with declared.report.attempt(reference.span):
            _check(declared, reference, columns, own)


def _check(
    declared: Declared, f: ast.ForeignKey, columns: Sequence[ast.Identifier], own: TablePlan
) -> None:
    schema = own.schema
    target = own if f.table.name == own.name else declared.tables.get(f.table.name)
    if target is None:
        raise BindError(
            f.table.span,
            f"FOREIGN KEY refers to table {f.table.name}, which is not declared before"
            f"{did_you_mean(f.table.name, declared.tables)}",
        )
    wanted = [target.schema.names[i] for i in target.key]
    named = [c.name for c in f.target_columns] or wanted
    if sorted(named) != sorted(wanted):
        odd = [c.span for c in f.target_columns if c.name not in wanted]
        raise BindError(
            odd[0] if odd else f.span,
            f"FOREIGN KEY must refer to the PRIMARY KEY of {target.name} "
            f"({', '.join(wanted) or 'it has none'})",
        )
    if len(columns) != len(named):
        raise BindError(
            f.span, f"FOREIGN KEY has {len(columns)} columns, but refers to {len(named)}"
        )
    for column, other in zip(columns, named, strict=True):
        if column.name not in schema.names:
            hint = did_you_mean(column.name, schema.names)
            raise BindError(column.span, f"the table has no column {column.name}{hint}")
        mine = schema.types[schema.index(column.name)]
        theirs = target.schema.types[target.schema.index(other)]
        if not mine.same_as(theirs):
            raise BindError(
                column.span,
                f"column {column.name} is {build.bare(mine)}, but {target.name}.{other} is "
                f"{build.bare(theirs)}",
            )
