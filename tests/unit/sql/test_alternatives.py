"""Joins by OR are planned one alternative after the other (`passes.alternatives`)."""

from __future__ import annotations

import pytest

from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.errors import RuntimeSqlError
from penstock.plan.nodes import Join, JoinKind, Node
from penstock.plan.rewrite import inputs
from penstock.sql.program import compile_program
from tests.oracle.drive import as_input

TABLES = "CREATE TABLE a (k INT, x INT, z INT); CREATE TABLE b (k INT, x INT, z DOUBLE);"


def joins(query: str, before: str = "") -> list[Join]:
    plan = compile_program(f"{TABLES} {before} CREATE VIEW v AS {query};")

    def nodes(node: Node) -> list[Node]:
        return [node, *(n for child in inputs(node) for n in nodes(child))]

    view = next(v.query for v in plan.views if v.name == "v")
    return [n for n in nodes(view) if isinstance(n, Join)]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a.z FROM a JOIN b ON a.k = b.k OR a.x = b.x",
        "SELECT a.z FROM a, b WHERE a.k = b.k OR a.x = b.x + 1",
        "SELECT a.z, b.z AS w FROM a LEFT JOIN b ON a.k IN (b.k, b.x)",
        "SELECT a.z, b.z AS w FROM a FULL JOIN b ON a.k = b.k OR a.x = b.x AND a.z < b.z",
        "SELECT z FROM a WHERE EXISTS (SELECT * FROM b WHERE a.k = b.k OR a.x = b.x OR a.z = b.x)",
        "SELECT z FROM a WHERE NOT EXISTS (SELECT * FROM b WHERE a.k = b.k OR a.x = b.x)",
        "SELECT a.z FROM a JOIN b ON (a.k = b.k OR a.x = b.x) AND (a.k = b.x OR a.x = b.k)",
    ],
)
def test_each_alternative_is_a_join_with_keys(query: str) -> None:
    assert all(j.keys for j in joins(query))


def test_who_has_a_partner_is_not_asked_of_pairs() -> None:
    query = "SELECT a.z FROM a LEFT JOIN b ON a.k = b.k OR b.k IS NULL OR a.x = b.x"

    assert [j.kind for j in joins(query)].count(JoinKind.ANTI) == 3
    assert all(j.residual is None for j in joins(query) if j.kind is JoinKind.ANTI)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT a.z FROM a JOIN b ON a.k = b.k OR a.x + b.x = 5",  # no place to look for the latter
        "SELECT a.z FROM a JOIN b ON a.k IS NULL OR b.k IS NULL",  # whole sides anyway
        "SELECT a.z FROM a JOIN b ON a.k = b.k OR a.x = 10 / b.x",  # asked of the others alone
        "SELECT a.z FROM a JOIN b ON a.z = b.x AND (a.k = b.k OR a.x = b.x)",  # few, as a rule
        f"SELECT a.z FROM a JOIN b ON {' OR '.join(f'a.k = b.x + {i}' for i in range(9))}",
    ],
)
def test_other_joins_by_or_stay_one(query: str) -> None:
    assert len(joins(query)) == 1


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("SELECT r.n FROM r JOIN b ON r.n = b.k OR r.n = b.x", [JoinKind.INNER] * 2),
        ("SELECT n FROM r WHERE EXISTS (SELECT * FROM b WHERE n = b.k OR n = b.x)",
         [JoinKind.SEMI]),
    ],
)  # fmt: skip
def test_what_a_cycle_reads_loses_nothing_as_it_grows(query: str, kinds: list[JoinKind]) -> None:
    plan = compile_program(f"""{TABLES} DECLARE RECURSIVE VIEW r (n INT);
        CREATE VIEW r AS SELECT k AS n FROM a UNION {query};""")

    def nodes(node: Node) -> list[Node]:
        return [node, *(n for child in inputs(node) for n in nodes(child))]

    assert [n.kind for n in nodes(plan.views[0].query) if isinstance(n, Join)] == kinds


def test_a_key_that_fails_is_asked_where_an_alternative_before_it_does_not_hold() -> None:
    """a.x / b.x of a pair that has equal k is not asked, and no key is made of it."""
    plan = compile_program(f"""{TABLES}
        CREATE VIEW v AS SELECT a.z FROM a JOIN b ON a.k = b.k OR a.x = 6 / b.x;""")
    circuit = compile_circuit(plan)
    schemas = {t.name: t.schema for t in plan.tables}

    change = circuit.step({
        "a": [as_input(schemas["a"], [((1, 3, 7), 1)])],
        "b": [as_input(schemas["b"], [((1, 0, None), 1)])],
    })["v"]  # fmt: skip
    assert batch_to_rows(change) == [((7,), 1)]
    with pytest.raises(RuntimeSqlError, match="division by zero"):
        circuit.step({"a": [as_input(schemas["a"], [((2, 3, 8), 1)])]})
