"""The value of a SQL expression: as a constant, and over the rows of a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, InputBatch
from penstock.data.build import batch_from_rows, column_to_python
from penstock.data.types import SqlType
from penstock.sql.program import compile_program


def value(expr: str, declarations: str = "") -> Any:
    """The value of a constant expression."""
    return typed_value(expr, declarations)[0]


def typed_value(expr: str, declarations: str = "") -> tuple[Any, SqlType]:
    plan = compile_program(f"{declarations}; CREATE MATERIALIZED VIEW v AS SELECT {expr} AS x")
    circuit = compile_circuit(plan)
    circuit.step({})
    (column,) = circuit.snapshot("v").batch().columns
    return column_to_python(column)[0], plan.views[-1].schema.types[0]


def over(expr: str, columns: str, rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The values of `expr` over a table t of `columns`, in the order of `rows`."""
    plan = compile_program(
        f"CREATE TABLE t (k INT NOT NULL, {columns});CREATE VIEW v AS SELECT k, {expr} AS x FROM t"
    )
    circuit = compile_circuit(plan)
    schema = plan.tables[0].schema
    batch = batch_from_rows(schema, [(i, *row) for i, row in enumerate(rows)])
    ops = np.full(len(rows), INSERT, np.uint8)
    out = circuit.step({"t": [InputBatch(schema, batch.columns, ops)]})["v"]
    keys, values = (column_to_python(c) for c in out.columns)
    return [v for _, v in sorted(zip(keys, values, strict=True), key=lambda p: p[0])]
