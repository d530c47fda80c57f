"""Hand-built plans become circuits that keep their views up to date."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from penstock.circuit.graph import Circuit
from penstock.compile.program import compile_circuit, default_columns
from penstock.data.batch import InputBatch
from penstock.data.build import batch_from_rows, batch_to_rows, column_to_python
from penstock.data.types import BIGINT, BOOLEAN, INTEGER, VARCHAR, Schema, SqlType, schema
from penstock.errors import RuntimeSqlError, Span
from penstock.functions.aggregates import resolve_aggregate
from penstock.functions.registry import resolve
from penstock.plan.expressions import Call, Expr, InputRef, Literal
from penstock.plan.nodes import (
    AggCall,
    Aggregate,
    Filter,
    Join,
    JoinKind,
    Node,
    ProgramPlan,
    Project,
    Scan,
    TablePlan,
    Values,
    ViewPlan,
)
from penstock.sql.program import compile_program

ORDERS = schema(customer=INTEGER.with_nullable(False), amount=INTEGER, quantity=INTEGER)
PEOPLE = schema(id=INTEGER.with_nullable(False), name=VARCHAR)


def ref(s: Schema, name: str) -> InputRef:
    i = s.index(name)
    return InputRef(s.types[i], i, name)


def call(name: str, *args: Expr, span: Span | None = None) -> Call:
    function = resolve(name, [a.type for a in args])
    return Call(function.result, function, args, span=span)


def number(value: int, t: SqlType = INTEGER) -> Literal:
    return Literal(t.with_nullable(False), value)


def table(name: str, s: Schema, key: tuple[int, ...] = (), **more: Any) -> TablePlan:
    return TablePlan(name, s, key, more.pop("materialized", False), **more)


def view(name: str, query: Node, kind: str = "plain") -> ViewPlan:
    return ViewPlan(name, query.schema, query, kind)


def inserts(s: Schema, *rows: tuple[Any, ...], ops: list[int] | None = None) -> list[InputBatch]:
    batch = batch_from_rows(s, rows)
    codes = np.ones(len(rows), np.uint8) if ops is None else np.array(ops, np.uint8)
    return [InputBatch(s, batch.columns, codes)]


def change(circuit: Circuit, name: str, inputs: dict[str, list[InputBatch]]) -> set[Any]:
    return set(batch_to_rows(circuit.step(inputs)[name]))


def doubled() -> Project:
    scan = Scan(ORDERS, "orders")
    kept = Filter(ORDERS, scan, call(">", ref(ORDERS, "amount"), number(10)))
    exprs = (ref(ORDERS, "customer"), call("*", ref(ORDERS, "amount"), number(2)))
    return Project(schema(customer=ORDERS.types[0], twice=INTEGER), kept, exprs)


def test_filter_and_projection_are_one_map_and_follow_inserts_and_deletes() -> None:
    plan = ProgramPlan((table("orders", ORDERS),), (view("v", doubled()),))
    circuit = compile_circuit(plan)
    nodes = [s.name.split()[0] for s in circuit.stats()]
    assert nodes == ["source", "sink", "map", "sink"]  # the table's, then the view's
    first = {"orders": inserts(ORDERS, (1, 20, 1), (1, 5, 1), (2, None, 1))}
    assert change(circuit, "v", first) == {((1, 40), 1)}
    second = {"orders": inserts(ORDERS, (1, 20, 1), ops=[0])}
    assert change(circuit, "v", second) == {((1, 40), -1)}


def test_equal_sub_plans_of_two_views_share_their_operators() -> None:
    plan = ProgramPlan((table("orders", ORDERS),), (view("a", doubled()), view("b", doubled())))
    circuit = compile_circuit(plan)
    assert sum(s.name.startswith("map") for s in circuit.stats()) == 1
    deltas = circuit.step({"orders": inserts(ORDERS, (1, 20, 1))})
    assert batch_to_rows(deltas["a"]) == batch_to_rows(deltas["b"]) == [((1, 40), 1)]


def joined() -> Join:
    fields = ORDERS.fields + PEOPLE.fields
    left, right = Scan(ORDERS, "orders"), Scan(PEOPLE, "people")
    smaller = call("<", ref(ORDERS, "quantity"), number(100))
    return Join(Schema(fields), JoinKind.INNER, left, right, ((0, 0),), (), smaller)


def test_a_join_with_residual_feeds_an_aggregate_over_a_local_view() -> None:
    pairs = joined()
    scan = Scan(pairs.schema, "pairs")
    total = resolve_aggregate("SUM", [INTEGER])
    count = resolve_aggregate("COUNT", [])
    out = schema(name=VARCHAR, total=INTEGER, n=BIGINT.with_nullable(False))
    totals = Aggregate(out, scan, (4,), (AggCall(total, (1,)), AggCall(count, ())))
    plan = ProgramPlan(
        (table("orders", ORDERS), table("people", PEOPLE, (0,))),
        (view("pairs", pairs, "local"), view("totals", totals, "materialized")),
    )
    circuit = compile_circuit(plan)
    deltas = circuit.step(
        {
            "orders": inserts(ORDERS, (1, 20, 1), (1, 22, 2), (2, 5, 1), (2, 7, 500)),
            "people": inserts(PEOPLE, (1, "ann"), (2, "bob")),
        }
    )
    assert set(deltas) == {"orders", "people", "totals"}
    assert set(batch_to_rows(deltas["totals"])) == {(("ann", 42, 2), 1), (("bob", 5, 1), 1)}
    renamed = change(circuit, "totals", {"people": inserts(PEOPLE, (1, "eve"))})
    assert renamed == {(("ann", 42, 2), -1), (("eve", 42, 2), 1)}
    rows = set(batch_to_rows(circuit.snapshot("totals").batch()))
    assert rows == {(("eve", 42, 2), 1), (("bob", 5, 1), 1)}


def test_keyed_and_materialized_tables_can_be_asked_for_their_rows() -> None:
    plan = ProgramPlan(
        (
            table("people", PEOPLE, (0,)),
            table("orders", ORDERS, materialized=True),
            table("other", ORDERS),
        ),
        (view("v", Scan(PEOPLE, "people")),),
    )
    circuit = compile_circuit(plan, materialize=["v"])
    circuit.step({"people": inserts(PEOPLE, (1, "ann")), "orders": inserts(ORDERS, (1, 2, 3))})
    for name, row in (("people", (1, "ann")), ("orders", (1, 2, 3)), ("v", (1, "ann"))):
        assert batch_to_rows(circuit.snapshot(name).batch()) == [(row, 1)]
    with pytest.raises(KeyError):
        circuit.snapshot("other")


def test_a_view_keeps_its_rows_when_it_is_materialized_or_asked_to() -> None:
    query = view("v", Scan(ORDERS, "orders"))
    plan = ProgramPlan((table("orders", ORDERS),), (query,))
    with pytest.raises(KeyError):
        compile_circuit(plan).snapshot("v")
    circuit = compile_circuit(plan, materialize=["v"])
    circuit.step({"orders": inserts(ORDERS, (1, 2, 3), (1, 2, 3))})
    assert batch_to_rows(circuit.snapshot("v").batch()) == [((1, 2, 3), 2)]


def test_constant_rows_are_there_from_the_first_step() -> None:
    rows = Values(schema(x=INTEGER), ((call("+", number(1), number(2)),), (number(7),)))
    circuit = compile_circuit(ProgramPlan((), (view("v", rows),)))
    assert change(circuit, "v", {}) == {((3,), 1), ((7,), 1)}


def test_a_failing_row_names_view_expression_and_values() -> None:
    text = "CREATE VIEW v AS SELECT amount / quantity FROM orders"
    span = Span(text.index("amount"), text.index(" FROM"))
    ratio = call("/", ref(ORDERS, "amount"), ref(ORDERS, "quantity"), span=span)
    query = Project(schema(x=INTEGER), Scan(ORDERS, "orders"), (ratio,))
    plan = ProgramPlan((table("orders", ORDERS),), (view("v", query),), text=text)
    circuit = compile_circuit(plan)
    with pytest.raises(RuntimeSqlError) as caught:
        circuit.step({"orders": inserts(ORDERS, (1, 6, 3), (2, 5, 0))})
    assert caught.value.message == (
        "view v: division by zero in `amount / quantity` "
        "for the row customer = 2, amount = 5, quantity = 0"
    )


def test_a_failing_row_is_shown_as_sql_writes_it() -> None:
    columns = {
        "i": "INT", "d": "DECIMAL(5, 2)", "f": "DOUBLE", "b": "BOOLEAN", "s": "VARCHAR",
        "n": "VARCHAR", "x": "VARBINARY", "dt": "DATE", "tm": "TIME", "ts": "TIMESTAMP",
        "z": "TIMESTAMP WITH TIME ZONE", "u": "UUID", "v": "VARIANT", "a": "DATE ARRAY",
        "m": "MAP<VARCHAR, INT>", "r": "ROW(p INT, q VARCHAR NULL)",
    }  # fmt: skip
    listed = ", ".join(f"{name} {type}" for name, type in columns.items())
    plan = compile_program(f"CREATE TABLE t ({listed}); CREATE VIEW w AS SELECT 1 / i AS c FROM t")
    day, us = datetime.date(2020, 2, 29), 1_582_934_400_500_000
    row = (
        0, Decimal("1.50"), 0.5, True, "it's", None, b"\xab\x01", day, 3_723_000_000_000, us, us,
        UUID(int=1), '{"k":[1,null]}', [day, None], {"k": 2}, (1, None),
    )  # fmt: skip
    with pytest.raises(RuntimeSqlError) as caught:
        compile_circuit(plan).step({"t": inserts(plan.tables[0].schema, row)})
    assert caught.value.message.endswith(
        " for the row i = 0, d = 1.50, f = 0.5, b = TRUE, s = 'it''s', n = NULL, x = x'ab01', "
        "dt = 2020-02-29, tm = 01:02:03, ts = 2020-02-29 00:00:00.5, "
        "z = 2020-02-29 00:00:00.5+00:00, u = 00000000-0000-0000-0000-000000000001, "
        'v = {"k":[1,null]}, a = ["2020-02-29",null], m = {"k":2}, r = {"p":1,"q":null}'
    )
    assert caught.value.details is not None and caught.value.details["row"]["n"] == "NULL"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("SELECT g, COUNT(*), SUM(x) FROM t GROUP BY g", " in `SUM(x)` for the row g = 5"),
        ("SELECT SUM(x) FROM t", " in `SUM(x)`"),
        ("SELECT SUM(x) OVER (PARTITION BY g ORDER BY x) FROM t",
         " in `SUM(x)` for the row g = 5, x = 2147483647"),
        ("SELECT SUM(g) WITHIN DISTINCT (x - x) FROM t", " in `SUM(g)`"),
    ],
)  # fmt: skip
def test_a_failing_aggregate_names_view_call_and_group(query: str, told: str) -> None:
    text = f"CREATE TABLE t (g INT, x INT); CREATE VIEW v AS {query};"
    plan = compile_program(text)
    rows = inserts(plan.tables[0].schema, (4, 1), (5, 1), (5, 2**31 - 1))
    with pytest.raises(RuntimeSqlError) as caught:
        compile_circuit(plan).step({"t": rows})
    message = caught.value.message
    assert message.startswith("view v: SUM ") and message.endswith(told), message


def test_a_failing_query_without_from_names_no_row() -> None:
    circuit = compile_circuit(compile_program("CREATE VIEW v AS SELECT 1 / 0;"))
    with pytest.raises(RuntimeSqlError) as caught:
        circuit.step({})
    assert caught.value.message == "view v: division by zero in `1 / 0`"


def test_defaults_are_one_row_columns() -> None:
    always = Literal(BOOLEAN.with_nullable(False), True)
    declared = table("t", schema(a=INTEGER, b=BOOLEAN), defaults=(None, always))
    nothing, flag = default_columns(ProgramPlan((declared,), ()), declared)
    assert nothing is None and flag is not None and column_to_python(flag) == [True]
