"""Sliding windows whose rows are added up by pane before they are copied."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import penstock.data.hash as hashing
from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.sql.program import compile_program
from tests.oracle.drive import as_input

TABLE = "CREATE TABLE t (k INT, ts TIMESTAMP, x INT);\n"


def view_over(query: str, steps: list[list[tuple[Any, int]]]) -> tuple[Counter[Any], Any]:
    """(the view's rows after `steps`, the circuit)."""
    plan = compile_program(f"{TABLE} CREATE MATERIALIZED VIEW v AS {query}")
    circuit = compile_circuit(plan)
    for rows in steps:
        circuit.step({"t": [as_input(plan.tables[0].schema, rows)]})
    return Counter(dict(batch_to_rows(circuit.snapshot("v").batch()))), circuit


def expected(rows: list[tuple[Any, int]], size: int, slide: int, offset: int) -> Counter[Any]:
    counts: Counter[Any] = Counter()
    for (k, τ, _), weight in rows:
        if τ is None:
            continue
        start = (τ - offset) // slide * slide + offset
        while start + size > τ:
            counts[k, start, start + size] += weight
            start -= slide
    return Counter({(*key, n): 1 for key, n in counts.items() if n > 0})


@pytest.mark.parametrize("hash_bits", [hashing.ALL_BITS, 0b1], ids=["true", "colliding"])
@pytest.mark.parametrize(
    ("size", "slide", "offset"),
    [(10, 2, 0), (10, 5, 3), (9, 2, 0), (4, 4, 0), (5, 5, 2), (3, 5, 1), (6, 3, -1)],
)
def test_counts_over_sliding_windows_are_those_of_every_row(
    size: int, slide: int, offset: int, hash_bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "_test_mask", hash_bits)
    rng = np.random.default_rng(size)
    rows = [
        ((int(k) or None, None if τ == 7 else int(τ) * 250_000, int(k)), 1)
        for k, τ in zip(rng.integers(0, 3, 300), rng.integers(-60, 60, 300), strict=True)
    ]
    steps = [rows[a:b] for a, b in pairwise([0, 1, 40, 300])]
    steps += [[(row, -1) for row, _ in rows[20:200]], [(row, -1) for row, _ in rows[200:250]]]
    a, b, c = (f"INTERVAL '{s}' SECOND" for s in (size, slide, offset))
    windows = f"TABLE(HOP(TABLE t, DESCRIPTOR(ts), {b}, {a}, {c}))"
    query = (
        f"SELECT k, window_start, window_end, COUNT(*) FROM {windows} "
        "GROUP BY k, window_start, window_end"
    )

    found, circuit = view_over(query, steps)

    micros = [s * 1_000_000 for s in (size, slide, offset)]
    assert found == expected([row for step in steps for row in step], *micros)
    if size > slide and size % slide == 0 and hash_bits == hashing.ALL_BITS:
        # the equal rows of a window are one before they are counted
        counted = next(n for n in circuit.stats() if n.name.startswith("aggregate"))
        assert counted.rows_in < 530


def test_what_looks_at_the_time_itself_sees_every_row() -> None:
    rows = [((1, τ * 1_000_000, τ), 1) for τ in range(4)]
    windows = "TABLE(HOP(TABLE t, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '4' SECOND))"
    found, _ = view_over(
        f"SELECT window_start, COUNT(DISTINCT ts), SUM(x) FROM {windows} GROUP BY window_start",
        [rows],
    )
    assert found == Counter({(-2_000_000, 2, 1): 1, (0, 4, 6): 1, (2_000_000, 2, 5): 1})
