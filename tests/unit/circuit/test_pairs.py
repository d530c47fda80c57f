"""A join that multiplies holds no more than its pairs, and what it makes of them at a time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from penstock.circuit.arrange import Arrange
from penstock.circuit.ops import join
from penstock.compile.program import compile_circuit
from penstock.data import consolidate
from penstock.data.batch import Batch, Column, InputBatch
from penstock.sql.program import compile_program

ROWS, PARTNERS = 2_000, 200
TABLES = """
CREATE TABLE t (id BIGINT NOT NULL, g BIGINT NOT NULL);
CREATE TABLE d (g BIGINT NOT NULL, y BIGINT NOT NULL);
"""
PAIRS = "SELECT t.id, d.y FROM t JOIN d ON t.g = d.g"


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join, "MOST_ROWS", 1 << 12)
    monkeypatch.setattr(consolidate, "LARGE_ROWS", 1 << 14)
    monkeypatch.setattr(consolidate, "PART_ROWS", 1 << 12)


def stepped(query: str, count: int = ROWS, others: int = PARTNERS) -> tuple[Batch, int]:
    """The change of `query` by `others` rows that each meet all `count`, and how many bytes
    that step held at most."""
    plan = compile_program(f"{TABLES} CREATE VIEW v AS {query};")
    schemas = {t.name: t.schema for t in plan.tables}
    circuit = compile_circuit(plan)

    def rows(table: str, *arrays: np.ndarray) -> dict[str, list[InputBatch]]:
        types = schemas[table].types
        columns = tuple(Column(t, v) for t, v in zip(types, arrays, strict=True))
        return {table: [InputBatch(schemas[table], columns, np.ones(len(arrays[0]), np.uint8))]}

    circuit.step(rows("t", np.arange(count), np.zeros(count, np.int64)))
    for node in circuit.nodes:
        if isinstance(node, Arrange):
            node.spine.flush()  # what waits to be sorted is looked up by a table, once
    partners = rows("d", np.zeros(others, np.int64), np.arange(others))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    change = circuit.step(partners)["v"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return change, peak - before


def test_a_view_of_many_pairs_holds_them_and_less_than_as_much_again() -> None:
    stepped(PAIRS)  # kernels are loaded with what is first called
    change, peak = stepped(PAIRS)

    assert len(change) == ROWS * PARTNERS and change.consolidated
    pairs = set(zip(*(c.values.tolist() for c in change.columns), strict=True))
    assert len(pairs) == ROWS * PARTNERS
    # two columns and the weights, while it is consolidated a hash, its copy and a place
    assert peak < (24 + 20 + 2) * ROWS * PARTNERS


def test_pairs_that_a_view_does_not_tell_apart_are_never_all_there() -> None:
    query = "SELECT d.y FROM t JOIN d ON t.g = d.g"
    stepped(query)
    change, peak = stepped(query)

    assert sorted(change.columns[0].values.tolist()) == [*range(PARTNERS)]
    assert change.weights.tolist() == [ROWS] * PARTNERS
    assert peak < 8 * ROWS * PARTNERS


def test_pairs_of_an_inequality_are_never_all_there_either() -> None:
    query = "SELECT d.y FROM t JOIN d ON t.id >= d.y AND MOD(t.id, 2) < 2 + MOD(d.y, 2)"
    stepped(query)
    change, peak = stepped(query)

    found = dict(zip(change.columns[0].values.tolist(), change.weights.tolist(), strict=True))
    assert found == {y: ROWS - y for y in range(PARTNERS)}
    assert peak < 8 * ROWS * PARTNERS


def test_a_view_of_pairs_of_an_inequality_holds_those_that_pass_only() -> None:
    query = "SELECT t.id, d.y FROM t JOIN d ON t.id >= d.y AND MOD(t.id + d.y, 100) = 0"
    stepped(query)
    change, peak = stepped(query)

    passing = {(i, y) for y in range(PARTNERS) for i in range(y, ROWS) if (i + y) % 100 == 0}
    assert set(zip(*(c.values.tolist() for c in change.columns), strict=True)) == passing
    assert len(change) == len(passing)
    assert peak < 8 * ROWS * PARTNERS


@pytest.mark.parametrize("condition", ["t.g = d.g", "t.id >= d.y AND t.id + d.y >= 0"])
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT d.y, COUNT(*) AS n, SUM(t.id) AS s FROM t JOIN d ON {} GROUP BY d.y", "totals"),
        ("SELECT DISTINCT d.y FROM t JOIN d ON {}", "row"),
        ("SELECT d.y FROM t JOIN d ON {}", "copies"),
    ],
)
def test_the_partners_of_one_row_come_in_pieces_too(
    condition: str, query: str, expected: str
) -> None:
    count = ROWS * PARTNERS
    query = query.format(condition)
    stepped(query, count, 1)
    change, peak = stepped(query, count, 1)

    columns = [c.values.tolist() for c in change.columns]
    total = count * (count - 1) // 2
    wanted = {"totals": [(0, count, total, 1)], "row": [(0, 1)], "copies": [(0, count)]}
    assert [*zip(*columns, change.weights.tolist(), strict=True)] == wanted[expected]
    # a column of the pairs would take eight bytes a pair
    assert peak < 6 * count


@pytest.mark.parametrize(
    ("query", "copies"),
    [
        (f"{PAIRS} UNION SELECT y FROM d WHERE y < 0", 1),
        (f"{PAIRS} UNION ALL SELECT y FROM d", ROWS + 1),
        ("SELECT s.e FROM t JOIN d ON t.g = d.g, UNNEST(ARRAY[d.y, d.y]) AS s (e)", 2 * ROWS),
        (f"{PAIRS} INTERSECT ALL SELECT y FROM d", 1),
        (f"{PAIRS} EXCEPT ALL SELECT y FROM d", ROWS - 1),
    ],
)
def test_pairs_that_go_through_unions_are_never_all_there(query: str, copies: int) -> None:
    query = query.replace(PAIRS, "SELECT d.y FROM t JOIN d ON t.g = d.g")
    stepped(query)
    change, peak = stepped(query)

    found = dict(zip(change.columns[0].values.tolist(), change.weights.tolist(), strict=True))
    assert found == dict.fromkeys(range(PARTNERS), copies)
    # what two relations are compared by is a place and a weight a pair, and both once more
    assert peak < (40 if "ALL SELECT y FROM d" in query else 8) * ROWS * PARTNERS
