"""[NOT] IN over NULLs costs what changes: not the rows that are asked about."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from penstock.circuit import Circuit
from penstock.circuit.ops import join
from penstock.circuit.ops.join import Join as JoinNode
from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, Batch, InputBatch
from penstock.data.build import batch_from_rows
from penstock.plan.nodes import Join, Node, ProgramPlan
from penstock.plan.rewrite import inputs
from penstock.sql.program import compile_program

TABLES = """CREATE TABLE t (k INT NOT NULL, x INT);
CREATE TABLE r (k INT NOT NULL, x INT);
CREATE VIEW v AS """
ASKING = {
    "NOT IN": "SELECT k FROM t WHERE x NOT IN (SELECT x FROM r)",
    "IN as a value": "SELECT k, x IN (SELECT x FROM r) AS i FROM t",
    "NOT IN of its own key": "SELECT k FROM t WHERE x NOT IN (SELECT x FROM r WHERE r.k = t.k)",
    "IN of its own key": "SELECT k, x IN (SELECT x FROM r WHERE r.k = t.k) AS i FROM t",
    "rows NOT IN": "SELECT x FROM t WHERE (k, x) NOT IN (SELECT k, x FROM r)",
    "rows IN as a value": "SELECT k, (k, x) IN (SELECT k, x FROM r) AS i FROM t",
}
#: of one key as many rows
OF_A_KEY = 300


def fed(circuit: Circuit, plan: ProgramPlan, **rows: list[tuple[int, int | None]]) -> None:
    given = {}
    for table in plan.tables:
        batch = batch_from_rows(table.schema, rows.get(table.name, []))
        ops = np.full(len(batch), INSERT, np.uint8)
        given[table.name] = [InputBatch(batch.schema, batch.columns, ops)]
    circuit.step(given)


def filled(query: str) -> tuple[Circuit, ProgramPlan]:
    plan = compile_program(TABLES + query)
    circuit = compile_circuit(plan)
    # each value once, and some rows of r as well, a NULL among them
    rows: list[tuple[int, int | None]] = [(1, i) for i in range(OF_A_KEY)]
    fed(circuit, plan, t=rows, r=[(1, -1), (1, None)])
    return circuit, plan


@pytest.mark.parametrize("query", ASKING.values(), ids=ASKING)
def test_a_row_more_of_the_sub_query_hands_on_no_more_rows_than_it_changes(query: str) -> None:
    circuit, plan = filled(query)
    before = {n: n.rows_out for n in circuit.nodes}
    # a NULL in a row of several columns may be any value of its key
    is_of_rows = "(k, x)" in query
    fed(circuit, plan, r=[(1, 7)] if is_of_rows else [(1, 7), (1, None)])
    assert max(n.rows_out - before[n] for n in circuit.nodes) <= 4


def joins(node: Node) -> Iterator[Join]:
    if isinstance(node, Join):
        yield node
    for below in inputs(node):
        yield from joins(below)


@pytest.mark.parametrize("name", ["rows NOT IN", "rows IN as a value"])
def test_columns_without_nulls_are_keys_of_every_look_for_a_row(name: str) -> None:
    (view,) = compile_program(TABLES + ASKING[name]).views
    found = list(joins(view.query))
    assert found and all(j.keys for j in found)


@pytest.mark.parametrize("kind", ["JOIN", "LEFT JOIN", "FULL JOIN"])
def test_a_condition_is_asked_about_few_pairs_at_a_time(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    beside = JoinNode._beside

    def noted(self: JoinNode, left: Batch, right: Batch) -> Batch:
        pairs = beside(self, left, right)
        asked.append(len(pairs))
        return pairs

    monkeypatch.setattr(JoinNode, "_beside", noted)
    monkeypatch.setattr(join, "MOST_ROWS", 64)
    query = f"SELECT t.x, r.x AS y FROM t {kind} r ON t.k = r.k AND t.x + r.x = 10"
    circuit, plan = filled(query)
    fed(circuit, plan, t=[(1, 1000)], r=[(1, i) for i in range(20)])
    assert sum(asked) > 20 * OF_A_KEY
    assert max(asked) <= 64
