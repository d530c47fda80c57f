"""Expressions: the precedence table (SQL reference 7.2) and every form."""

from __future__ import annotations

import pytest

from penstock.sql import ast
from penstock.sql.parser import parse_expression
from tests.unit.sql.shape import shape


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a || b + c", "((a || b) + c)"),
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "((a - b) - c)"),
        ("-a * b", "((- a) * b)"),
        ("- - a", "(- (- a))"),
        ("-a::INT", "(- Cast(a, NamedType(int)))"),
        ("-a[1]", "(- Index(a, 1))"),
        ("a.b[1].c::INT", "Cast(FieldAccess(Index(a.b, 1), c), NamedType(int))"),
        ("a = b IS NULL", "IsTest((a = b), NULL)"),
        ("a < b = c", "((a < b) = c)"),
        ("a < b + 1", "(a < (b + 1))"),
        ("NOT a = b", "(NOT (a = b))"),
        ("NOT a IS NULL", "(NOT IsTest(a, NULL))"),
        ("NOT a AND b", "((NOT a) AND b)"),
        ("a OR b AND c OR d", "((a OR (b AND c)) OR d)"),
        ("x BETWEEN 1 AND 2 = TRUE", "(Between(x, 1, 2) = TRUE)"),
        ("x BETWEEN 1 AND 2 AND y", "(Between(x, 1, 2) AND y)"),
        ("x BETWEEN a + 1 AND b * 2", "Between(x, (a + 1), (b * 2))"),
        ("a IN (1, 2) = b", "(InList(a, [1, 2]) = b)"),
        ("a LIKE b || c", "Like(LIKE, a, (b || c))"),
        ("a LIKE 'x' = b", "(Like(LIKE, a, 'x') = b)"),
        ("a = b LIKE c", "(a = Like(LIKE, b, c))"),
        ("a <=> b IS TRUE", "IsTest((a <=> b), TRUE)"),
        ("a IS NULL IS NOT TRUE", "IsTest(IsTest(a, NULL), TRUE, negated=True)"),
        ("a IS DISTINCT FROM b AND c", "(IsDistinct(a, b) AND c)"),
        ("a + 1 IS NOT DISTINCT FROM b", "IsDistinct((a + 1), b, negated=True)"),
        ("(a + b) * c", "((a + b) * c)"),
        ("a % b / c", "((a % b) / c)"),
        ("1 - -1", "(1 - (- 1))"),
    ],
)
def test_precedence(text: str, tree: str) -> None:
    assert shape(parse_expression(text)) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("x'0aB1'", "X'0AB1'"),
        ("'it''s'", "'it''s'"),
        ("1.50", "1.50"),
        ("1.5e0", "1.5E0"),
        ("t.A", "t.a"),
        ('"T".a', "T.a"),
        ("DATE '2020-01-31'", "TypedLiteral(NamedType(date), 2020-01-31)"),
        ("UUID 'x'", "TypedLiteral(NamedType(uuid), x)"),
        ("TIMESTAMP WITH TIME ZONE 'x'",
         "TypedLiteral(NamedType(timestamp with time zone), x)"),
        ("DOUBLE PRECISION '1'", "TypedLiteral(NamedType(double precision), 1)"),
        ("date", "date"),
        ("INTERVAL '1' DAY", "IntervalLiteral(1, Qualifier(DAY))"),
        ("INTERVAL 7 DAYS", "IntervalLiteral(7, Qualifier(DAY))"),
        ("INTERVAL -'1' HOUR(3)",
         "IntervalLiteral(1, Qualifier(HOUR, precision=3), negative=True)"),
        ("INTERVAL '10 10' DAY TO HOUR",
         "IntervalLiteral(10 10, Qualifier(DAY, to_unit=HOUR))"),
        ("(a - b) DAYS", "IntervalDifference(a, b, Qualifier(DAY))"),
        ("(a - b) HOURS TO MINUTES", "IntervalDifference(a, b, Qualifier(HOUR, to_unit=MINUTE))"),
        ("a NOT BETWEEN SYMMETRIC 1 AND 2",
         "Between(a, 1, 2, symmetric=True, negated=True)"),
        ("a NOT IN (1)", "InList(a, [1], negated=True)"),
        ("a NOT LIKE 'x' ESCAPE '#'", "Like(LIKE, a, 'x', escape='#', negated=True)"),
        ("a ILIKE b", "Like(ILIKE, a, b)"),
        ("a NOT RLIKE b", "Like(RLIKE, a, b, negated=True)"),
        ("a IS NOT UNKNOWN", "IsTest(a, UNKNOWN, negated=True)"),
        ("(a, b) OVERLAPS (c, d)",
         "(RowConstructor([a, b]) OVERLAPS RowConstructor([c, d]))"),
        ("(a, b) IMMEDIATELY PRECEDES (c, d)",
         "(RowConstructor([a, b]) IMMEDIATELY PRECEDES RowConstructor([c, d]))"),
        ("a = ANY (1, 2)", "Quantified(=, a, ANY, items=[1, 2])"),
        ("CASE WHEN a THEN 1 END", "Case(None, [When([a], 1)])"),
        ("CASE a WHEN 1, 2 THEN b ELSE c END",
         "Case(a, [When([1, 2], b)], otherwise=c)"),
        ("CASE (a) WHEN 1 THEN 2 END", "Case(a, [When([1], 2)])"),
        ("CAST(a AS DECIMAL(10, 2))", "Cast(a, NamedType(decimal, args=[10, 2]))"),
        ("SAFE_CAST(a AS BIGINT UNSIGNED)", "Cast(a, NamedType(bigint unsigned), safe=True)"),
        ("a::INT ARRAY", "Cast(a, ArrayType(NamedType(int)))"),
        ("CAST(a AS MAP<INT, VARCHAR ARRAY>)",
         "Cast(a, MapType(NamedType(int), ArrayType(NamedType(varchar))))"),
        ("CAST(a AS ROW(x INT, y INT NULL))",
         "Cast(a, RowType([TypeField(x, NamedType(int)), "
         "TypeField(y, NamedType(int, nullable=True))]))"),
        ("f()", "FunctionCall(f)"),
        ("LEFT(a, 1)", "FunctionCall(left, args=[a, 1])"),
        ("NOW()", "FunctionCall(now)"),
        ("COUNT(*)", "FunctionCall(count, args=[Star()])"),
        ("COUNT(DISTINCT a, b)", "FunctionCall(count, args=[a, b], distinct=True)"),
        ("SOME(a)", "FunctionCall(some, args=[a])"),
        ("SUM(a) FILTER (WHERE b > 1)", "FunctionCall(sum, args=[a], filter=(b > 1))"),
        ("SUM(a) WITHIN DISTINCT (b)", "FunctionCall(sum, args=[a], within_distinct=[b])"),
        ("ARRAY_AGG(a IGNORE NULLS ORDER BY b DESC NULLS LAST)",
         "FunctionCall(array_agg, args=[a], order_by=[OrderItem(b, descending=True, "
         "nulls_first=False)], nulls=IGNORE)"),
        ("LAG(a, 1) IGNORE NULLS OVER w",
         "FunctionCall(lag, args=[a, 1], nulls=IGNORE, over=w)"),
        ("RANK() OVER (PARTITION BY a ORDER BY b)",
         "FunctionCall(rank, over=WindowSpec(partition_by=[a], order_by=[OrderItem(b)]))"),
        ("SUM(a) OVER (w ORDER BY b ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
         "FunctionCall(sum, args=[a], over=WindowSpec(base=w, order_by=[OrderItem(b)], "
         "frame=Frame(ROWS, FrameBound(PRECEDING, offset=1), FrameBound(CURRENT ROW))))"),
        ("SUM(a) OVER (ORDER BY b RANGE UNBOUNDED PRECEDING EXCLUDE TIES)",
         "FunctionCall(sum, args=[a], over=WindowSpec(order_by=[OrderItem(b)], "
         "frame=Frame(RANGE, FrameBound(UNBOUNDED PRECEDING), FrameBound(CURRENT ROW), "
         "exclude=TIES)))"),
        ("EXTRACT(YEAR FROM a)", "Extract(YEAR, a)"),
        ("EXTRACT(SQL_TSI_MONTH FROM a)", "Extract(MONTH, a)"),
        ("FLOOR(a)", "FunctionCall(floor, args=[a])"),
        ("FLOOR(a TO MONTH)", "RoundTo(FLOOR, a, MONTH)"),
        ("CEILING(a TO DAYS)", "RoundTo(CEIL, a, DAY)"),
        ("SUBSTRING(a FROM 1 FOR 2)", "FunctionCall(substring, args=[a, 1, 2])"),
        ("SUBSTRING(a, 1)", "FunctionCall(substring, args=[a, 1])"),
        ("POSITION('x' IN a)", "FunctionCall(position, args=['x', a])"),
        ("OVERLAY(a PLACING b FROM 1 FOR 2)", "FunctionCall(overlay, args=[a, b, 1, 2])"),
        ("TRIM(a)", "Trim(BOTH, None, a)"),
        ("TRIM(LEADING 'x' FROM a)", "Trim(LEADING, 'x', a)"),
        ("TRIM(TRAILING FROM a)", "Trim(TRAILING, None, a)"),
        ("TRIM('x' FROM a)", "Trim(BOTH, 'x', a)"),
        ("TIMESTAMPDIFF(DAY, a, b)", "FunctionCall(timestampdiff, args=[day, a, b])"),
        ("ARRAY[1, 2][1]", "Index(ArrayConstructor([1, 2]), 1)"),
        ("ARRAY()", "ArrayConstructor([])"),
        ("a[SAFE_OFFSET(0)]", "Index(a, FunctionCall(safe_offset, args=[0]))"),
        ("ROW(1, t.*)", "RowConstructor([1, Star(qualifier=[t])])"),
        ("(1, 2)", "RowConstructor([1, 2])"),
        ("(a).b", "FieldAccess(a, b)"),
        ("TRANSFORM(a, x -> x + 1)", "FunctionCall(transform, args=[a, Lambda([x], (x + 1))])"),
        ("VARIANT_MAP(a, (k, v) -> v)",
         "FunctionCall(variant_map, args=[a, Lambda([k, v], v)])"),
        ("map", "map"),
        ("year + count", "(year + count)"),
    ],
)  # fmt: skip
def test_forms(text: str, tree: str) -> None:
    assert shape(parse_expression(text)) == tree


def test_a_map_is_pairs() -> None:
    expr = parse_expression("MAP['a', 1, 'b', 2]['a']")

    assert isinstance(expr, ast.Index)
    assert isinstance(expr.operand, ast.MapConstructor)
    assert [(shape(k), shape(v)) for k, v in expr.operand.entries] == [("'a'", "1"), ("'b'", "2")]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("(SELECT 1)", ast.ScalarSubquery),
        ("((SELECT 1))", ast.ScalarSubquery),
        ("((SELECT 1) UNION (SELECT 2))", ast.ScalarSubquery),
        ("((SELECT 1) ORDER BY 1 LIMIT 1)", ast.ScalarSubquery),
        ("((SELECT 1) + 1)", ast.Binary),
        ("EXISTS (SELECT 1)", ast.Exists),
        ("a IN (SELECT 1)", ast.InQuery),
        ("a IN ((SELECT 1) UNION SELECT 2)", ast.InQuery),
        ("a IN ((SELECT 1), 2)", ast.InList),
        ("(a, b) NOT IN (SELECT 1, 2)", ast.InQuery),
        ("a > ALL (SELECT 1)", ast.Quantified),
        ("ARRAY(SELECT 1)", ast.ArrayQuery),
        ("MAP(SELECT 1, 2)", ast.MapQuery),
        ("(VALUES 1)", ast.ScalarSubquery),
    ],
)
def test_queries_in_expressions(text: str, kind: type[ast.Expr]) -> None:
    assert type(parse_expression(text)) is kind


def test_equal_expressions_are_equal_wherever_they_stand() -> None:
    assert parse_expression("a  + 1") == parse_expression("A + 1")
    assert hash(parse_expression("f( a )")) == hash(parse_expression("f(a)"))


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1.0"), ("1.0", "1.00"), ("1", "TRUE"), ("1", "1e0"), ("'1'", "1"), ("a", "t.a")],
)
def test_different_literals_are_different(one: str, other: str) -> None:
    assert parse_expression(one) != parse_expression(other)


def test_every_node_knows_its_text() -> None:
    text = "  (a + b) * CASE WHEN x THEN f(1) END "
    expr = parse_expression(text)

    def cut(node: ast.Node) -> str:
        return text[node.span.start : node.span.end]

    assert isinstance(expr, ast.Binary)
    assert cut(expr) == text.strip()
    assert cut(expr.left) == "a + b"
    assert cut(expr.right) == "CASE WHEN x THEN f(1) END"


def test_a_long_chain_of_operators_parses() -> None:
    assert isinstance(parse_expression(" OR ".join(["a = 1"] * 5000)), ast.Binary)


def test_nested_functions_take_linear_time() -> None:
    depth = 40

    expr = parse_expression("FLOOR(" * depth + "a" + ")" * depth)

    assert shape(expr).count("floor") == depth
