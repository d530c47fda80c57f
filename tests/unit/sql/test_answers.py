"""Queries with the answers that the reference's sentences imply (`programs/answers.txt`).

Each is asked of a circuit that sees its rows come, every second one go, and come again: what its
view has emitted by then is the answer, whatever order of changes led there.
"""

from __future__ import annotations

import datetime
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from penstock.compile.program import compile_circuit
from penstock.data.batch import DELETE, INSERT, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import Schema
from penstock.errors import RuntimeSqlError
from penstock.sql.program import compile_program
from tests.unit.functions.golden import spelled

ANSWERS = (Path(__file__).parent / "programs" / "answers.txt").read_text(encoding="utf-8")
TABLES = (
    "CREATE TABLE t (k INT, g VARCHAR, x INT, d DECIMAL(10, 2), ts TIMESTAMP);"
    "CREATE TABLE u (k INT, y INT);"
)


def _at(day: int, minute: int) -> datetime.datetime:
    return datetime.datetime(2024, 1, day, 0, minute)


ROWS: dict[str, list[tuple[Any, ...]]] = {
    "t": [
        (1, "a", 10, Decimal("1.50"), _at(1, 0)),
        (2, "a", None, Decimal("2.25"), _at(1, 5)),
        (3, "b", 5, None, _at(1, 20)),
        (4, None, 7, Decimal("-3.10"), _at(2, 0)),
        (5, "b", 5, Decimal("0.05"), None),
        (6, None, None, None, _at(1, 7)),
    ],
    "u": [(1, 100), (1, 101), (3, None), (None, 7), (9, 9)],
}


def _changes(schema: Schema, rows: list[tuple[Any, ...]], operation: int) -> list[InputBatch]:
    batch = batch_from_rows(schema, rows)
    return [InputBatch(schema, batch.columns, np.full(len(rows), operation, np.uint8))]


def answer(program: str) -> tuple[str, str]:
    """(the rows of the last view, its types), as `answers.txt` writes them."""
    text = program if program.startswith(("CREATE", "DECLARE")) else f"CREATE VIEW v AS {program}"
    plan = compile_program(TABLES + text)
    view, total = plan.views[-1], Counter[tuple[str, ...]]()
    kinds = [t.kind for t in view.schema.types]
    circuit = compile_circuit(plan)

    def step(some: slice, operation: int) -> None:
        inputs = {
            t.name: _changes(t.schema, ROWS[t.name][some], operation)
            for t in plan.tables
            if t.name in ROWS
        }
        for row, weight in batch_to_rows(circuit.step(inputs)[view.name]):
            total[tuple(map(spelled, row, kinds))] += weight

    everything, every_second = slice(None), slice(None, None, 2)
    try:
        step(everything, INSERT)
        step(every_second, DELETE)
        step(every_second, INSERT)
    except RuntimeSqlError as error:
        return f"fails: {error.message}", ""
    rows = sorted(", ".join(row) for row in total.elements())
    return " | ".join(rows) or "none", " / ".join(map(str, view.schema.types))


def complaint(line: str) -> str | None:
    query, _, expected = line.rpartition(" => ")
    wanted, _, types = expected.partition(" : ")
    got, got_types = answer(query)
    if wanted.startswith("fails:"):
        right = got.startswith(wanted)
    else:
        right = got == " | ".join(sorted(r.strip() for r in wanted.split(" | ")))
    return None if right and types in ("", got_types) else f"{line}\n  gives {got} : {got_types}"


def test_every_query_has_its_answer_whatever_changes_led_there() -> None:
    lines = [x for x in ANSWERS.splitlines() if x and not x.startswith("#")]
    assert len(lines) > 200
    assert [c for c in map(complaint, lines) if c is not None] == []
