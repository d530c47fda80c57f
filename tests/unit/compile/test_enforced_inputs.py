"""SET ENFORCE_POSITIVE_INPUTS: deleting what is not there is an error, in tables without a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.errors import RuntimeSqlError
from penstock.sql.program import compile_program
from penstock.state.storage import StateStore
from tests.oracle.drive import Unsynced, as_input

TABLES = """
CREATE TABLE t (x INT, s VARCHAR); CREATE TABLE k (x INT NOT NULL PRIMARY KEY);
CREATE MATERIALIZED VIEW v AS SELECT * FROM t;
"""
#: an option is global, wherever it stands
STRICT = compile_program(f"{TABLES} SET enforce_positive_inputs = TRUE;")


def step(circuit: Circuit, **given: list[Any]) -> None:
    tables = {t.name: t.schema for t in STRICT.tables}
    circuit.step({name: [as_input(tables[name], rows)] for name, rows in given.items()})


def test_a_row_may_come_and_go_as_often_as_it_likes_but_not_go_once_more(tmp_path: Path) -> None:
    circuit, store = compile_circuit(STRICT), StateStore(tmp_path, Unsynced())
    # within a step only the sum counts
    step(circuit, t=[((1, "a"), -1), ((1, "a"), 1), ((None, None), 2)])
    step(circuit, t=[((1, "a"), 3), ((None, None), -2)], k=[((7,), -1)])
    step(circuit, t=[((1, "a"), -2)])
    saved = json.loads(json.dumps(circuit.capture().write(store)))
    circuit = compile_circuit(STRICT)
    circuit.restore(store, saved)
    assert batch_to_rows(circuit.snapshot("v").batch()) == [((1, "a"), 1)]
    step(circuit, t=[((1, "a"), -1)])

    with pytest.raises(
        RuntimeSqlError, match=r"table t: a row is deleted more often .* x = 1, s = "
    ):
        step(circuit, t=[((1, "a"), -1)])


@pytest.mark.parametrize("setting", ["", "SET ENFORCE_POSITIVE_INPUTS = OFF;"])
def test_otherwise_a_row_may_go_before_it_comes(setting: str) -> None:
    circuit = compile_circuit(compile_program(TABLES + setting))
    step(circuit, t=[((1, "a"), -1)])
    step(circuit, t=[((1, "a"), 2)])

    assert batch_to_rows(circuit.snapshot("v").batch()) == [((1, "a"), 1)]
