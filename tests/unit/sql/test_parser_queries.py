"""Queries: every clause, set operations, FROM."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from penstock.sql import ast
from penstock.sql.parser import parse_program, parse_query
from tests.unit.sql.shape import shape

PROGRAMS = Path(__file__).parent / "programs"


def select(text: str) -> ast.Select:
    body = parse_query(text).body
    assert isinstance(body, ast.Select)
    return body


def from_(text: str) -> str:
    return shape(select(f"SELECT 1 FROM {text}").from_)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("SELECT 1", "Query(Select([SelectItem(1)]))"),
        ("SELECT a x, b AS y", "Query(Select([SelectItem(a, alias=x), SelectItem(b, alias=y)]))"),
        ("SELECT DISTINCT a", "Query(Select([SelectItem(a)], distinct=True))"),
        ("SELECT ALL a", "Query(Select([SelectItem(a)]))"),
        ("SELECT DISTINCT ON (a) b", "Query(Select([SelectItem(b)], distinct=True, "
                                     "distinct_on=[a]))"),
        ("SELECT *", "Query(Select([SelectItem(Star())]))"),
        ("SELECT t.*, a", "Query(Select([SelectItem(Star(qualifier=[t])), SelectItem(a)]))"),
        ("SELECT * EXCLUDE (a, b)", "Query(Select([SelectItem(Star(exclude=[a, b]))]))"),
        ("SELECT * EXCEPT (a)", "Query(Select([SelectItem(Star(exclude=[a]))]))"),
        ("SELECT * REPLACE (a + 1 AS a)",
         "Query(Select([SelectItem(Star(replace=[SelectItem((a + 1), alias=a)]))]))"),
        ("SELECT a FROM t WHERE b", "Query(Select([SelectItem(a)], from_=NamedTable(t), where=b))"),
        ("SELECT a HAVING b", "Query(Select([SelectItem(a)], having=b))"),
        ("SELECT a QUALIFY b", "Query(Select([SelectItem(a)], qualify=b))"),
        ("SELECT a WINDOW w AS (PARTITION BY b), v AS (w)",
         "Query(Select([SelectItem(a)], windows=[NamedWindow(w, WindowSpec(partition_by=[b])), "
         "NamedWindow(v, WindowSpec(base=w))]))"),
        ("VALUES (1, 2), (3, 4)", "Query(Values([[1, 2], [3, 4]]))"),
        ("VALUES 1, 2", "Query(Values([[1], [2]]))"),
        ("TABLE t", "Query(Select([SelectItem(Star())], from_=NamedTable(t)))"),
        ("SELECT a ORDER BY a DESC, b NULLS FIRST",
         "Query(Select([SelectItem(a)]), order_by=[OrderItem(a, descending=True), "
         "OrderItem(b, nulls_first=True)])"),
        ("SELECT a ORDER BY ALL DESC",
         "Query(Select([SelectItem(a)]), order_by=[OrderItem(None, descending=True)])"),
        ("SELECT a LIMIT 5", "Query(Select([SelectItem(a)]), limit=5)"),
        ("SELECT a LIMIT 2, 5", "Query(Select([SelectItem(a)]), limit=5, offset=2)"),
        ("SELECT a LIMIT ALL OFFSET 3 ROWS", "Query(Select([SelectItem(a)]), offset=3)"),
        ("SELECT a OFFSET 3 LIMIT 5", "Query(Select([SelectItem(a)]), limit=5, offset=3)"),
        ("SELECT a FETCH FIRST 5 ROWS ONLY", "Query(Select([SelectItem(a)]), limit=5)"),
        ("SELECT a FETCH NEXT ROW ONLY", "Query(Select([SelectItem(a)]), limit=1)"),
        ("WITH x (a) AS (SELECT 1), y AS (TABLE x) TABLE y",
         "Query(Select([SelectItem(Star())], from_=NamedTable(y)), ctes=[Cte(x, [a], "
         "Query(Select([SelectItem(1)]))), Cte(y, [], Query(Select([SelectItem(Star())], "
         "from_=NamedTable(x))))])"),
        ("(((SELECT 1)))", "Query(Select([SelectItem(1)]))"),
        ("(SELECT 1) LIMIT 1", "Query(Query(Select([SelectItem(1)])), limit=1)"),
    ],
)  # fmt: skip
def test_queries(text: str, tree: str) -> None:
    assert shape(parse_query(text)) == tree


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("A UNION B", "(a UNION b)"),
        ("A UNION ALL B UNION DISTINCT C", "((a UNION ALL b) UNION c)"),
        ("A UNION B INTERSECT C", "(a UNION (b INTERSECT c))"),
        ("A INTERSECT B UNION C", "((a INTERSECT b) UNION c)"),
        ("A EXCEPT B MINUS C", "((a EXCEPT b) EXCEPT c)"),
        ("A EXCEPT ALL (B UNION C)", "(a EXCEPT ALL (b UNION c))"),
        ("(A UNION B) INTERSECT C", "((a UNION b) INTERSECT c)"),
        ("A INTERSECT ALL B INTERSECT C", "((a INTERSECT ALL b) INTERSECT c)"),
    ],
)
def test_set_operations(text: str, tree: str) -> None:
    def show(node: ast.QueryBody) -> str:
        match node:
            case ast.SetOperation(op=op, all=all_, left=left, right=right):
                return f"({show(left)} {op}{' ALL' * all_} {show(right)})"
            case ast.Query(body=body):
                return show(body)
            case ast.Select(from_=ast.NamedTable(name=name)):
                return name.name
            case _:
                raise AssertionError(node)

    text = re.sub(r"\b([ABC])\b", r"SELECT * FROM \1", text)

    assert show(parse_query(text).body) == tree


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a, b + 1", "GroupBy([a, (b + 1)])"),
        ("ALL", "GroupBy([], all=True)"),
        ("ALL a", "GroupBy([a], all=True)"),
        ("DISTINCT a, CUBE (b)", "GroupBy([a, GroupingSets(CUBE, [b])], distinct=True)"),
        ("()", "GroupBy([GroupingSet([])])"),
        ("(a, b)", "GroupBy([GroupingSet([a, b])])"),
        ("ROLLUP (a, (b, c))", "GroupBy([GroupingSets(ROLLUP, [a, GroupingSet([b, c])])])"),
        ("GROUPING SETS ((a, b), a, ())",
         "GroupBy([GroupingSets(GROUPING SETS, [GroupingSet([a, b]), a, GroupingSet([])])])"),
    ],
)  # fmt: skip
def test_group_by(text: str, items: str) -> None:
    assert shape(select(f"SELECT 1 FROM t GROUP BY {text}").group_by) == items


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("t", "NamedTable(t)"),
        ("t AS x (a, b)", "NamedTable(t, alias=Alias(x, columns=[a, b]))"),
        ('"T" x', "NamedTable(T, alias=Alias(x))"),
        ("(TABLE t) x", "NamedTable(t, alias=Alias(x))"),
        ("(t)", "NamedTable(t)"),
        ("t, u, v", "Join(COMMA, Join(COMMA, NamedTable(t), NamedTable(u)), NamedTable(v))"),
        ("t CROSS JOIN u", "Join(CROSS, NamedTable(t), NamedTable(u))"),
        ("t JOIN u ON a = b", "Join(INNER, NamedTable(t), NamedTable(u), on=(a = b))"),
        ("t LEFT OUTER JOIN u USING (a, b)",
         "Join(LEFT, NamedTable(t), NamedTable(u), using=[a, b])"),
        ("t NATURAL FULL JOIN u", "Join(FULL, NamedTable(t), NamedTable(u), natural=True)"),
        ("t RIGHT JOIN u ON a, v",
         "Join(COMMA, Join(RIGHT, NamedTable(t), NamedTable(u), on=a), NamedTable(v))"),
        ("t JOIN (u JOIN v ON b) ON a",
         "Join(INNER, NamedTable(t), Join(INNER, NamedTable(u), NamedTable(v), on=b), on=a)"),
        ("t LEFT ASOF JOIN u MATCH_CONDITION (t.x >= u.x) ON t.k = u.k",
         "Join(LEFT ASOF, NamedTable(t), NamedTable(u), on=(t.k = u.k), "
         "match_condition=(t.x >= u.x))"),
        ("t CROSS APPLY (SELECT 1)",
         "Join(CROSS APPLY, NamedTable(t), DerivedTable(Query(Select([SelectItem(1)]))))"),
        ("(SELECT 1) AS x", "DerivedTable(Query(Select([SelectItem(1)])), alias=Alias(x))"),
        ("((SELECT 1) UNION (SELECT 2)) x",
         "DerivedTable(Query(SetOperation(UNION, False, Query(Select([SelectItem(1)])), "
         "Query(Select([SelectItem(2)])))), alias=Alias(x))"),
        ("((SELECT 1) x JOIN u ON a)",
         "Join(INNER, DerivedTable(Query(Select([SelectItem(1)])), alias=Alias(x)), "
         "NamedTable(u), on=a)"),
        ("LATERAL (SELECT 1) x",
         "DerivedTable(Query(Select([SelectItem(1)])), alias=Alias(x), lateral=True)"),
        ("(VALUES (1, 2)) AS x (a, b)",
         "DerivedTable(Query(Values([[1, 2]])), alias=Alias(x, columns=[a, b]))"),
        ("UNNEST(a) WITH ORDINALITY AS u (x, i)",
         "Unnest([a], with_ordinality=True, alias=Alias(u, columns=[x, i]))"),
        ("TABLE(TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' HOUR)) w",
         "TableFunction(FunctionCall(tumble, args=[TableArgument(t), Descriptor([ts]), "
         "IntervalLiteral(1, Qualifier(HOUR))]), alias=Alias(w))"),
        ("TABLE(HOP(DATA => TABLE t, \"SIZE\" => 1))",
         "TableFunction(FunctionCall(hop, args=[NamedArgument(data, TableArgument(t)), "
         "NamedArgument(SIZE, 1)]))"),
        ("t PIVOT (SUM(x) AS s FOR k IN ('a' AS a, 'b')) p",
         "Pivot(NamedTable(t), [SelectItem(FunctionCall(sum, args=[x]), alias=s)], [k], "
         "[PivotValue(['a'], alias=a), PivotValue(['b'])], alias=Alias(p))"),
        ("t PIVOT (COUNT(*) FOR (k, l) IN ((1, 2) AS x))",
         "Pivot(NamedTable(t), [SelectItem(FunctionCall(count, args=[Star()]))], [k, l], "
         "[PivotValue([1, 2], alias=x)])"),
        ("t UNPIVOT INCLUDING NULLS (v FOR k IN (a AS 'A', b))",
         "Unpivot(NamedTable(t), [v], [k], [UnpivotItem([a], labels=['A']), UnpivotItem([b])], "
         "include_nulls=True)"),
        ("t UNPIVOT ((v, w) FOR (k) IN ((a, b) AS ('A', 'B')))",
         "Unpivot(NamedTable(t), [v, w], [k], [UnpivotItem([a, b], labels=['A', 'B'])])"),
    ],
)  # fmt: skip
def test_from(text: str, tree: str) -> None:
    assert from_(text) == tree


def test_hints_are_kept_aside() -> None:
    body = select("SELECT /*+ broadcast(t) */ a FROM t /*+ size(5) */ AS x")

    assert body.hints == ("broadcast(t)",)
    assert isinstance(body.from_, ast.NamedTable)
    assert body.from_.hints == ("size(5)",)


def test_except_after_a_bare_star_may_still_be_a_set_operation() -> None:
    assert isinstance(parse_query("SELECT * EXCEPT (SELECT 1)").body, ast.SetOperation)


@pytest.mark.parametrize("program", ["tpch", "nexmark"])
def test_benchmark_programs_parse(program: str) -> None:
    text = (PROGRAMS / f"{program}.sql").read_text()

    statements = parse_program(text)

    assert len(statements) == {"tpch": 8 + 22, "nexmark": 28}[program]
    for s in statements:
        assert text[s.span.start : s.span.end].startswith("CREATE")
        assert text[s.span.end] == ";"
