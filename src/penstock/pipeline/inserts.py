"""The rows of an ad-hoc `INSERT INTO table [(columns)] query` (contract section 5)."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

from penstock.data.batch import INSERT, Column, InputBatch
from penstock.data.build import null_column
from penstock.data.gather import take_column
from penstock.errors import UserError
from penstock.io.formats.arrow_values import column_of
from penstock.io.formats.scalars import Invalid
from penstock.plan.nodes import TablePlan

INSERT_STATEMENT = re.compile(
    r"""(?:\s|--[^\n]*\n|/\*.*?\*/)*insert\s+into\s+(?P<table>"[^"]+"|\w+)\s*(?:\((?P<columns>[^()]*)\))?\s*
        (?P<source>(?:values|select|with)\b.*?);?\s*$""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def fold(identifier: str) -> str:
    return identifier[1:-1] if identifier.startswith('"') else identifier.lower()


def insert_batch(
    table: TablePlan, names: list[str], rows: pa.Table, defaults: tuple[Column | None, ...]
) -> InputBatch:
    """The rows of an ad-hoc INSERT as the table wants them; absent columns have their DEFAULT."""

    def refuse(text: str) -> UserError:
        return UserError(f"Error during query processing: {text}", code="AdHocQueryError")

    if len(names) != rows.num_columns:
        raise refuse(f"INSERT names {len(names)} columns but gives {rows.num_columns} values")
    unknown = [n for n in names if n not in table.schema.names]
    if unknown:
        raise refuse(f"table '{table.name}' has no column '{unknown[0]}'")
    twice = [n for n in names if names.count(n) > 1]
    if twice:
        raise refuse(f"INSERT names column '{twice[0]}' twice")
    columns: list[Column] = []
    first = np.zeros(rows.num_rows, np.int64)
    for f, default in zip(table.schema.fields, defaults, strict=True):
        if f.name in names:
            values = rows.column(names.index(f.name)).combine_chunks()
            try:
                column = column_of(f.type.with_nullable(True), values).with_type(f.type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UserError, Invalid) as e:
                raise refuse(f"column '{f.name}' ({f.type}): {e}") from e
        elif default is not None:
            column = take_column(default.with_type(f.type), first)
        else:
            column = null_column(f.type.with_nullable(True), rows.num_rows)
        if not f.type.nullable and column.valid is not None and not column.valid.all():
            raise refuse(f"column '{f.name}' of table '{table.name}' is NOT NULL")
        columns.append(column)
    ops = np.full(rows.num_rows, INSERT, np.uint8)
    return InputBatch(table.schema, tuple(columns), ops)
