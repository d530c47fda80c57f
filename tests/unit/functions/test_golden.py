"""Every line of `golden/*.txt` is true, alone and as a column of one compiled program a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.data.types import Kind
from penstock.sql.program import compile_program
from tests.unit.functions import golden

#: kinds that a view's column cannot have
HIDDEN = (Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG, Kind.NULL)


@pytest.mark.parametrize("file", golden.FILES, ids=lambda f: f.stem)
def test_every_line_of_the_reference_holds(file: Path) -> None:
    lines = list(golden.lines(file))
    wrong = [(line, golden.complaint(line)) for line in lines]
    shown = [f"{x.where}: {x.text} => {x.expected}\n    {told}" for x, told in wrong if told]
    assert not shown, f"{len(shown)} of {len(lines)} lines\n" + "\n".join(shown)


@pytest.mark.parametrize("file", golden.FILES, ids=lambda f: f.stem)
def test_a_row_does_not_feel_the_nulls_beside_it(file: Path) -> None:
    for line in golden.lines(file):
        if line.expected.startswith("refused:") or " IN (" in line.text:
            continue  # IN takes its constants as they are
        expr = golden.bound(line.text)
        if next(golden.literals_of(expr), None) is not None:
            alone, together = golden.beside(expr)
            assert alone == together, line


@pytest.mark.parametrize("file", golden.FILES, ids=lambda f: f.stem)
def test_a_program_of_all_the_lines_has_the_same_answers(file: Path) -> None:
    good = [x for x in golden.lines(file) if not x.expected.startswith(("fails:", "refused:"))]
    shown = [x for x in good if golden.bound(x.text).type.kind not in HIDDEN]
    columns = ",\n".join(f"{x.text} AS c{i}" for i, x in enumerate(shown))
    circuit = compile_circuit(compile_program(f"CREATE VIEW v AS SELECT {columns};"))
    delta = circuit.step({})["v"]
    ((row, weight),) = batch_to_rows(delta)
    assert weight == 1
    for line, value, type_ in zip(shown, row, delta.schema.types, strict=True):
        wanted = line.expected.partition(" : ")[0]
        assert golden.agrees(golden.spelled(value, type_.kind), wanted), line
