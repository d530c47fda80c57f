"""Plans and expressions as text."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest

from penstock.data.batch import Column
from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    TIME,
    TIMESTAMP,
    TIMESTAMP_TZ,
    UUID,
    VARBINARY,
    VARCHAR,
    Kind,
    Schema,
    SqlType,
    decimal,
    schema,
)
from penstock.functions.aggregates import AggregateFunction
from penstock.functions.definition import Function
from penstock.plan import expressions as e
from penstock.plan.nodes import (
    AggCall,
    Aggregate,
    Distinct,
    Filter,
    Join,
    JoinKind,
    Node,
    Project,
    Scan,
    SortKey,
    TopK,
    UnionAll,
    Values,
)
from penstock.plan.printer import format_plan
from penstock.plan.text import format_expression, literal

A, B, C = (e.InputRef(INTEGER, i, "abc"[i]) for i in range(3))
ONE = e.Literal(INTEGER, 1)


def _kernel(args: Sequence[Column], n: int) -> Column:
    raise AssertionError("printing never evaluates")


def call(name: str, *args: e.Expr) -> e.Call:
    types = tuple(a.type for a in args)
    return e.Call(INTEGER, Function(name, types, INTEGER, _kernel), args)


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (call("+", A, call("*", B, ONE)), "a + b * 1"),
        (call("*", call("+", A, B), ONE), "(a + b) * 1"),
        (call("-", A, call("-", B, C)), "a - (b - c)"),
        (call("-", call("-", A, B), C), "a - b - c"),
        (call("unary-", call("+", A, B)), "-(a + b)"),
        (call("unary-", call("unary-", A)), "-(-a)"),
        (call("unary-", e.Literal(INTEGER, -1)), "-(-1)"),
        (call("||", A, call("+", B, C)), "a || (b + c)"),
        (call("=", A, call("=", B, C)), "a = (b = c)"),
        (call("like", A, B), "a LIKE b"),
        (call("is_distinct", A, B), "a IS DISTINCT FROM b"),
        (call("upper", A), "UPPER(a)"),
        (call("-", A, B, ONE), "-(a, b, 1)"),
        (e.Or(BOOLEAN, (e.And(BOOLEAN, (A, B)), C)), "a AND b OR c"),
        (e.And(BOOLEAN, (e.Or(BOOLEAN, (A, B)), C)), "(a OR b) AND c"),
        (e.Not(BOOLEAN, e.And(BOOLEAN, (A, B))), "NOT (a AND b)"),
        (e.Not(BOOLEAN, call("=", A, B)), "NOT a = b"),
        (e.IsNull(BOOLEAN, call("=", A, B)), "a = b IS NULL"),
        (e.IsNull(BOOLEAN, e.Not(BOOLEAN, A), negated=True), "(NOT a) IS NOT NULL"),
        (e.Cast(BIGINT.with_nullable(False), A), "CAST(a AS BIGINT)"),
        (e.Cast(decimal(5, 2), A, safe=True), "SAFE_CAST(a AS DECIMAL(5, 2))"),
        (e.Coalesce(INTEGER, (A, ONE)), "COALESCE(a, 1)"),
        (e.InList(BOOLEAN, A, (ONE, e.Literal(INTEGER, None)), negated=True), "a NOT IN (1, NULL)"),
        (e.Case(INTEGER, ((A, B),), ONE), "CASE WHEN a THEN b ELSE 1 END"),
    ],
)
def test_expressions(expr: e.Expr, text: str) -> None:
    assert format_expression(expr, ("a", "b", "c")) == text


def test_columns_without_a_unique_name_are_positions() -> None:
    assert format_expression(call("+", A, call("+", B, C)), ("x", "x", "")) == "$0 + ($1 + $2)"


def test_without_names_a_reference_has_its_own() -> None:
    assert format_expression(call("+", A, e.InputRef(INTEGER, 7))) == "a + $7"


def interval(kind: Kind, unit: str) -> SqlType:
    return SqlType(kind, unit=unit)


@pytest.mark.parametrize(
    ("value", "type_", "text"),
    [
        (None, INTEGER, "NULL"),
        (True, BOOLEAN, "TRUE"),
        (-5, INTEGER, "-5"),
        (Decimal("1.50"), decimal(3, 2), "1.50"),
        (Decimal("1E+2"), decimal(3, 0), "100"),
        (1.5, DOUBLE, "1.5e0"),
        (1e300, DOUBLE, "1e+300"),
        (float("-inf"), DOUBLE, "CAST('-inf' AS DOUBLE)"),
        ("it's", VARCHAR, "'it''s'"),
        (b"\x0a\xff", VARBINARY, "x'0AFF'"),
        (datetime.date(2020, 1, 2), DATE, "DATE '2020-01-02'"),
        (3_723_500_000_000, TIME, "TIME '01:02:03.5'"),
        (0, TIMESTAMP, "TIMESTAMP '1970-01-01 00:00:00'"),
        (1_500_000, TIMESTAMP_TZ, "TIMESTAMP WITH TIME ZONE '1970-01-01 00:00:01.500000+00:00'"),
        (2**62, TIMESTAMP, "TIMESTAMP 'epoch +4611686018427387904 us'"),
        (-14, interval(Kind.INTERVAL_LONG, "YEAR_MONTH"), "INTERVAL '-14' MONTH"),
        (1_500_000, interval(Kind.INTERVAL_SHORT, "SECOND"), "INTERVAL '1.5' SECOND"),
        (uuid.UUID(int=1), UUID, "UUID '00000000-0000-0000-0000-000000000001'"),
    ],
)
def test_literals(value: Any, type_: SqlType, text: str) -> None:
    assert literal(value, type_) == text


T = schema(a=INTEGER, b=INTEGER)
U = schema(k=INTEGER, v=VARCHAR)


def both(left: Schema, right: Schema) -> Schema:
    return Schema((*left.fields, *right.fields))


def test_a_tree_is_one_node_a_line() -> None:
    count = AggregateFunction("COUNT", (), BIGINT)
    total = AggregateFunction("SUM", (INTEGER,), INTEGER)
    join = Join(
        both(T, U), JoinKind.LEFT, Scan(T, "t"), Scan(U, "u"), ((0, 0),), (False,), call(">", B, C)
    )
    keep = Filter(join.schema, join, e.IsNull(BOOLEAN, e.InputRef(VARCHAR, 3), negated=True))
    groups = Aggregate(
        schema(a=INTEGER, n=BIGINT, s=INTEGER),
        keep,
        (0,),
        (AggCall(count, ()), AggCall(total, (1,), distinct=True, filter=2)),
    )
    top = TopK(groups.schema, groups, (0,), (SortKey(1, True, False), SortKey(2, True, True)), 5, 1)

    assert format_plan(top) == "\n".join(
        [
            "TopK partition by a order by n DESC, s DESC NULLS FIRST limit 5 offset 1",
            "  Aggregate by a: COUNT(*) AS n, SUM(DISTINCT b) FILTER (WHERE k) AS s",
            "    Filter v IS NOT NULL",
            "      Join left on a = k where b > k",
            "        Scan t",
            "        Scan u",
        ]
    )


def test_a_projection_names_what_it_renames() -> None:
    project = Project(schema(a=INTEGER, c=INTEGER), Scan(T, "t"), (A, call("+", A, B)))

    assert format_plan(Distinct(project.schema, project)) == (
        "Distinct\n  Project a, a + b AS c\n    Scan t"
    )


def test_the_schema_on_demand() -> None:
    narrow = schema(a=INTEGER.with_nullable(False), s=VARCHAR)

    assert format_plan(Scan(narrow, "t"), with_schema=True) == (
        "Scan t  -- a INTEGER NOT NULL, s VARCHAR"
    )


def test_a_shared_node_is_printed_once() -> None:
    shared: Node = Distinct(T, Scan(T, "t"))

    assert format_plan(UnionAll(T, (shared, shared))) == "\n".join(
        ["UnionAll", "  #1 Distinct", "    Scan t", "  same as #1"]
    )


def test_a_semi_join_on_nothing_and_a_null_safe_join() -> None:
    semi = Join(T, JoinKind.SEMI, Scan(T, "t"), Scan(U, "u"), ())
    safe = Join(both(T, T), JoinKind.INNER, Scan(T, "t"), Scan(T, "t"), ((0, 1),), (True,))

    assert format_plan(semi).splitlines()[0] == "Join semi"
    assert format_plan(safe).splitlines()[0] == "Join inner on $0 <=> $3"


def test_many_rows_of_values_are_cut() -> None:
    values = Values(schema(a=INTEGER), tuple((e.Literal(INTEGER, i),) for i in range(7)))

    assert format_plan(values) == "Values (0), (1), (2), (3), (4), … 2 more"
