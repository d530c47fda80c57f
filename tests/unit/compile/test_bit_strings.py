"""BIT_AND, BIT_OR and BIT_XOR of binary strings: byte by byte over the values of a group."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.errors import RuntimeSqlError
from penstock.sql.program import compile_program
from tests.examples import examples
from tests.oracle.drive import as_input

PROGRAM = """
CREATE TABLE t (g INT, b VARBINARY);
CREATE MATERIALIZED VIEW v AS
SELECT g, BIT_AND(b) AS a, BIT_OR(b) AS o, BIT_XOR(b) AS x, BIT_XOR(DISTINCT b) AS d
FROM t GROUP BY g;
"""
#: the strings of group g have g * 9 bytes: none, a short one, a long one
rows = st.integers(0, 2).flatmap(
    lambda g: st.tuples(st.just(g), st.one_of(st.none(), st.binary(min_size=9 * g, max_size=9 * g)))
)


def combined(values: list[bytes], op: Any) -> bytes | None:
    if not values:
        return None
    words = [int.from_bytes(v) for v in values]
    return int(reduce(op, words)).to_bytes(len(values[0]))


@given(steps=st.lists(st.lists(rows, max_size=4), max_size=4))
@settings(max_examples=examples(30), deadline=None)
def test_each_bit_is_that_of_all_values(steps: Any) -> None:
    plan = compile_program(PROGRAM)
    circuit = compile_circuit(plan)
    there: list[Any] = []
    for step in steps:
        changes = [(r, 1) for r in step] + [(r, -1) for r in there[:1]]
        there = there[1:] + step
        circuit.step({"t": [as_input(plan.tables[0].schema, changes)]})
    expected = {}
    for g in {g for g, _ in there}:
        values = [b for k, b in there if k == g and b is not None]
        expected[g] = tuple(
            combined(v, op)
            for v, op in (
                (values, int.__and__), (values, int.__or__), (values, int.__xor__),
                (list(set(values)), int.__xor__),
            )
        )  # fmt: skip
    assert {r[0]: r[1:] for r, _ in batch_to_rows(circuit.snapshot("v").batch())} == expected


def test_strings_of_different_lengths_are_an_error() -> None:
    plan = compile_program(PROGRAM)
    with pytest.raises(RuntimeSqlError, match="BIT_AND of binary strings of different lengths"):
        compile_circuit(plan).step(
            {"t": [as_input(plan.tables[0].schema, [((1, b"a"), 1), ((1, b"ab"), 1)])]}
        )
