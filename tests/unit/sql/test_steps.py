"""Programs with the deltas that the reference's sentences imply, step by step
(`programs/steps.txt`).

    == a name                               and below it the program
    > "t": [[1, "a"], ["-", 2, "b"]]        a step: rows that come, and that go
    v: -1 2, 'b' | +1 1, 'a'                what view v emits in it: weights and rows, in any order
    v: none                                 … or nothing
    v: fails by zero                        … or an error that says so

"@2024-01-01 10:00:00" is a time. Each step is followed by what some of the views emit; a comment
begins with #.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.circuit.graph import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.batch import DELETE, INSERT, Batch, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import Schema
from penstock.errors import RuntimeSqlError
from penstock.sql.program import compile_program
from tests.unit.functions.golden import spelled

STEPS = (Path(__file__).parent / "programs" / "steps.txt").read_text(encoding="utf-8")
SCRIPTS = {name: body for name, _, body in (s.partition("\n") for s in STEPS.split("\n== ")[1:])}


def _value(v: Any) -> Any:
    if isinstance(v, str) and v.startswith("@"):
        return datetime.datetime.fromisoformat(v[1:])
    return Decimal(str(v)) if isinstance(v, float) else v


def _input(schema: Schema, rows: list[list[Any]]) -> InputBatch:
    goes = [r[0] == "-" for r in rows]
    given = [tuple(map(_value, r[1:] if g else r)) for r, g in zip(rows, goes, strict=True)]
    batch = batch_from_rows(schema, given)
    ops = np.array([DELETE if g else INSERT for g in goes], np.uint8)
    return InputBatch(schema, batch.columns, ops)


def _emitted(delta: Batch) -> str:
    kinds = [t.kind for t in delta.schema.types]
    rows = [f"{n:+d} {', '.join(map(spelled, r, kinds))}" for r, n in batch_to_rows(delta)]
    return " | ".join(sorted(rows)) or "none"


def complaints(script: str) -> Iterator[str]:
    """What the program of `script` does otherwise."""
    program, *steps = script.split("\n> ")
    plan = compile_program(program)
    circuit, schemas = compile_circuit(plan), {t.name: t.schema for t in plan.tables}
    for step in steps:
        given, *expected = (x for x in step.splitlines() if x and not x.startswith("#"))
        assert expected, f"what comes of {given} is not said"
        fed = {t: [_input(schemas[t], rows)] for t, rows in json.loads(f"{{{given}}}").items()}
        found = _stepped(circuit, fed)
        for line in expected:
            view, _, wanted = line.partition(": ")
            if isinstance(found, str):
                got, right = found, wanted.startswith("fails") and wanted[5:].strip() in found
            else:
                got = _emitted(found[view])
                right = got == " | ".join(sorted(x.strip() for x in wanted.split(" | ")))
            if not right:
                yield f"> {given}\n{line}\n{got}"


def _stepped(circuit: Circuit, fed: Mapping[str, list[InputBatch]]) -> Mapping[str, Batch] | str:
    """The deltas, or what the step fails with."""
    try:
        return circuit.step(fed)
    except RuntimeSqlError as error:
        return error.message


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_step_emits_what_the_reference_implies(name: str) -> None:
    assert list(complaints(SCRIPTS[name])) == []


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) > 20
