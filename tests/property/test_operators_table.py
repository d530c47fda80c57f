"""A table with a primary key is a fold over its operations, however they fall into steps."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock.data.hash as hashing
from penstock.circuit import Circuit
from penstock.data.batch import DELETE, INSERT, UPDATE, InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import INTEGER, VARCHAR, decimal, schema
from tests.examples import examples
from tests.oracle import relational as oracle

T = schema(
    a=INTEGER.with_nullable(False), b=VARCHAR.with_nullable(False), x=INTEGER, d=decimal(9, 1)
)
OPS = {"insert": INSERT, "delete": DELETE, "update": UPDATE}
LONG = "longer than twelve bytes"

rows = st.tuples(
    st.integers(0, 2),
    st.sampled_from(["", LONG]),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, Decimal("0.5")]),
)
presence = st.tuples(st.just(True), st.just(True), st.booleans(), st.booleans())
operations = st.tuples(st.sampled_from(sorted(OPS)), rows, presence)
histories = st.lists(st.lists(st.lists(operations, max_size=6), max_size=3), max_size=5)


def as_input(operations: Any) -> InputBatch:
    columns = batch_from_rows(T, [row for _, row, _ in operations]).columns
    present = np.array([p for _, _, p in operations], dtype=np.uint8).reshape(-1, 4)
    return InputBatch(
        T,
        columns,
        np.array([OPS[op] for op, _, _ in operations], dtype=np.uint8),
        tuple(np.ascontiguousarray(present[:, c]) if c > 1 else None for c in range(4)),
    )


@pytest.fixture(params=[hashing.ALL_BITS, 0b1], ids=["true", "colliding"], autouse=True)
def _hashes(request: pytest.FixtureRequest) -> Any:
    before, hashing._test_mask = hashing._test_mask, request.param
    yield
    hashing._test_mask = before


@given(history=histories, key=st.sampled_from([(0,), (1,), (0, 1)]))
@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)
def test_the_last_word_per_key_wins(history: Any, key: Any) -> None:
    circuit = Circuit()
    circuit.sink("out", circuit.source("t", T, key))

    changes = [
        pair
        for step in history
        for pair in batch_to_rows(circuit.step({"t": [as_input(b) for b in step]})["out"])
    ]

    expected = oracle.upserts([op for step in history for b in step for op in b], key)
    assert oracle.bag(changes) == expected
    assert Counter(dict(batch_to_rows(circuit.snapshot("t").batch()))) == expected
    assert circuit.snapshot("t").rows == expected.total()
