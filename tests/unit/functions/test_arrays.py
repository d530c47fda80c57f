"""Arrays, maps, rows and lambdas: the reference's examples, and Python's lists as witness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import RuntimeSqlError, SqlError
from tests.unit.functions.values import over, typed_value, value

EXAMPLES: list[tuple[str, Any]] = [
    ("ARRAY[2,3][2]", 3),
    ("ARRAY[2,3][3]", None),
    ("ARRAY[2,3][0]", None),
    ("ARRAY[2,3][SAFE_OFFSET(2)]", None),
    ("ARRAY[2,3][SAFE_OFFSET(0)]", 2),
    ("ARRAY(NULL, 2)", [None, 2]),
    ("CARDINALITY(ARRAY[1,2,3])", 3),
    ("ARRAY_LENGTH(ARRAY())", 0),
    ("ARRAY_SIZE(CAST(NULL AS INT ARRAY))", None),
    ("ARRAY_APPEND(ARRAY[1,2], 3)", [1, 2, 3]),
    ("ARRAY_APPEND(ARRAY[1,2], NULL)", [1, 2, None]),
    ("ARRAY_APPEND(CAST(NULL AS INT ARRAY), 1)", None),
    ("ARRAY_PREPEND(ARRAY[2,3], 1)", [1, 2, 3]),
    ("ARRAY_CONCAT(ARRAY[1,2,3], ARRAY[4])", [1, 2, 3, 4]),
    ("ARRAY_CONCAT(ARRAY[1], CAST(NULL AS INT ARRAY))", None),
    ("ARRAY_COMPACT(ARRAY[1,2,3,NULL])", [1, 2, 3]),
    ("ARRAY_CONTAINS(ARRAY[1,2,3], 2)", True),
    ("ARRAY_CONTAINS(ARRAY[1,NULL], CAST(NULL AS INT))", None),
    ("ARRAY_DISTINCT(ARRAY[1,1,2,2])", [1, 2]),
    ("ARRAY_EXCEPT(ARRAY[1,2,3], ARRAY[3,1,4])", [2]),
    ("ARRAY_INTERSECT(ARRAY[1,2,3], ARRAY[3,1,4])", [1, 3]),
    ("ARRAY_UNION(ARRAY[1,2,3], ARRAY[3,1,4])", [1, 2, 3, 4]),
    ("ARRAY_EXISTS(ARRAY[1,-2,3], x -> x > 0)", True),
    ("ARRAY_EXISTS(ARRAY[-2,NULL], x -> x > 0)", None),
    ("ARRAY_EXISTS(ARRAY[-2], x -> x > 0)", False),
    ("ARRAY_EXISTS(CAST(ARRAY() AS INT ARRAY), x -> x > 0)", False),
    ("ARRAY_INSERT(ARRAY[1,2,3], 3, 4)", [1, 2, 4, 3]),
    ("ARRAY_INSERT(ARRAY[1,2,3], 6, 4)", [1, 2, 3, None, None, 4]),
    ("ARRAY_INSERT(ARRAY[1,2,3], -1, 4)", [1, 2, 3, 4]),
    ("ARRAY_INSERT(ARRAY[1,2,3], -6, 4)", [4, None, None, 1, 2, 3]),
    ("ARRAY_INSERT(ARRAY[1], NULL, 4)", None),
    ("ARRAY_JOIN(ARRAY[1,2,3,NULL,5], ',', '*')", "1,2,3,*,5"),
    ("ARRAY_TO_STRING(ARRAY['a',NULL,'b'], '--')", "a--b"),
    ("ARRAY_JOIN(ARRAY['a',NULL], ',', NULL)", "a"),
    ("ARRAY_MAX(ARRAY[9,1,2,4,8,NULL])", 9),
    ("ARRAY_MIN(ARRAY[9,1,2,4,8,NULL])", 1),
    ("ARRAY_MIN(CAST(ARRAY[NULL] AS INT ARRAY))", None),
    ("ARRAY_POSITION(ARRAY[1,3,4,6], 4)", 3),
    ("ARRAY_POSITION(ARRAY[1,3], 5)", 0),
    ("ARRAY_REMOVE(ARRAY[2,2,6,8], 2)", [6, 8]),
    ("ARRAY_REPEAT(3, 4)", [3, 3, 3, 3]),
    ("ARRAY_REPEAT(3, -1)", []),
    ("ARRAY_REPEAT(CAST(NULL AS INT), 2)", [None, None]),
    ("ARRAY_REPEAT(3, NULL)", None),
    ("ARRAY_REVERSE(ARRAY[2,2,6,8])", [8, 6, 2, 2]),
    ("ARRAYS_OVERLAP(ARRAY[1,2,3], ARRAY[3,4,5])", True),
    ("ARRAYS_OVERLAP(ARRAY[1,NULL], ARRAY[NULL,4])", False),
    ("ELEMENT(ARRAY[2])", 2),
    ("ELEMENT(CAST(ARRAY() AS INT ARRAY))", None),
    ("SORT_ARRAY(ARRAY[4,7,1,NULL])", [None, 1, 4, 7]),
    ("SORT_ARRAY(ARRAY[4,7,1,NULL], FALSE)", [7, 4, 1, None]),
    ("TRANSFORM(ARRAY[1,2,3], x -> x % 2)", [1, 0, 1]),
    ("TRANSFORM(ARRAY['a'], x -> 1)", [1]),
    ("TRANSFORM(ARRAY[ARRAY[1,2],ARRAY[3]], a -> TRANSFORM(a, x -> x + CARDINALITY(a)))",
     [[3, 4], [4]]),
    ("SEQUENCE(1, 3)", [1, 2, 3]),
    ("SEQUENCE(3, 1)", []),
    ("SPLIT('a|b|c|', '|')", ["a", "b", "c", ""]),
    ("SPLIT('a,b')", ["a", "b"]),
    ("SPLIT('abc', '')", ["abc"]),
    ("SPLIT('', '|')", []),
    ("MAP['x',4,'y',3]['x']", 4),
    ("MAP['x',4,'y',3]['z']", None),
    ("MAP[1,'a',1,'b']", {1: "b"}),
    ("MAP['b',1,'a',2] = MAP['a',2,'b',1]", True),
    ("MAP_CONCAT(MAP['x',4], MAP['y',2,'x',1])", {"x": 1, "y": 2}),
    ("MAP_CONTAINS_KEY(MAP['x',4], 'x')", True),
    ("MAP_CONTAINS_KEY(MAP['x',4], CAST(NULL AS VARCHAR))", None),
    ("MAP_KEYS(MAP['y',5,'x',4])", ["x", "y"]),
    ("MAP_VALUES(MAP['y',5,'x',4])", [4, 5]),
    ("CARDINALITY(MAP['x',4])", 1),
    ("ROW(1, 'x')", (1, "x")),
    ("(1, 2)", (1, 2)),
    ("ROW(NULL) IS NULL", False),
    ("ROW(1) <=> ROW(1)", True),
    ("ROW(1, 2) < ROW(1, 3)", True),
    ("CAST(ROW(1,2) AS ROW(a INTEGER, b TINYINT)).b", 2),
    ("ARRAY[1,NULL] = ARRAY[1,NULL]", True),
    ("ARRAY[1] = CAST(NULL AS INT ARRAY)", None),
    ("ARRAY[45] > ARRAY[22]", True),
    ("ARRAY[23,56,16] > ARRAY[23,NULL]", True),
    ("ARRAY[NULL] < ARRAY[1]", True),
    ("MAP['f',1,'v',0] > MAP['f',1]", True),
    ("MAP['q',66,'v',11] < MAP['v',22]", True),
    ("CAST(ARRAY['1','2'] AS INT ARRAY)", [1, 2]),
    ("CAST(MAP['1',2] AS MAP<INT, VARCHAR>)", {1: "2"}),
    ("SAFE_CAST(ARRAY['1','x'] AS INT ARRAY)", None),
    ("CASE WHEN TRUE THEN ARRAY() ELSE ARRAY[1] END", []),
    ("ARRAY[1] IN (ARRAY[2], ARRAY[1])", True),
    ("GREATEST(ARRAY[1], ARRAY[2])", [2]),
]  # fmt: skip


@pytest.mark.parametrize(("expr", "expected"), EXAMPLES)
def test_examples_of_the_reference(expr: str, expected: Any) -> None:
    assert value(expr) == expected


@pytest.mark.parametrize(
    "expr",
    ["ARRAY_INSERT(ARRAY[1], 0, 2)", "ELEMENT(ARRAY[1,2])", "CAST(ARRAY['x'] AS INT ARRAY)",
     "TRANSFORM(ARRAY[1,0], x -> 1 / x)", "SEQUENCE(1, 1000000000)"],
)  # fmt: skip
def test_what_fails_at_run_time_says_where(expr: str) -> None:
    with pytest.raises(RuntimeSqlError) as error:
        value(expr)
    assert "view v" in str(error.value)


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        ("ROW(1) = ROW(1)", "IS [NOT] DISTINCT FROM"),
        ("(1,2) IN ((1,2))", "IS NOT DISTINCT FROM"),
        ("NULLIF(ROW(1), ROW(1))", "IS [NOT] DISTINCT FROM"),
        ("CASE ROW(1) WHEN ROW(1) THEN 1 END", "IS [NOT] DISTINCT FROM"),
        ("1[2]", "no elements"),
        ("ARRAY[1, DATE '2020-01-01']", "no common type"),
        ("ARRAY_CONTAINS(ARRAY[1], 'a')", "ARRAY_CONTAINS(array, element)"),
        ("ARRAYS_OVERLAP(ARRAY[1], ARRAY['a'])", "ARRAYS_OVERLAP(array, array)"),
        ("MAP[MAP['a',1],1]", "MAP"),
        ("MAP[NULL,1]", "MAP"),
        ("ROW(1,2).x", "no field x"),
        ("TRANSFORM(ARRAY[1], 2)", "a lambda"),
        ("TRANSFORM(ARRAY[1], (a, b) -> a)", "1 parameters, not 2"),
        ("TRANSFORM(1, x -> x)", "does not take INTEGER"),
        ("ARRAY_EXISTS(ARRAY[1], x -> x)", "must be BOOLEAN"),
        ("SAFE_CAST(ROW(1) AS ROW(a INT))", "SAFE_CAST to a ROW"),
        ("CAST(1 AS MAP<MAP<INT,INT>,INT>)", "key of a MAP"),
        ("CAST(1 AS ROW(a INT, a INT))", "two fields a"),
        ("CAST(1 AS GEOMETRY)", "GEOMETRY is not supported"),
    ],
)
def test_what_does_not_compile_says_why(expr: str, words: str) -> None:
    with pytest.raises(SqlError) as error:
        value(expr)
    assert words in error.value.messages[0].message


def test_elements_are_nullable_and_fields_are_not() -> None:
    assert str(typed_value("ARRAY[1][1]")[1]) == "INTEGER"
    assert str(typed_value("ROW(1, NULLIF(2, 3)).expr$0")[1]) == "INTEGER NOT NULL"
    assert str(typed_value("MAP['a', 1]['a']")[1]) == "INTEGER"
    assert str(typed_value("CAST(ROW(1) AS ROW(a BIGINT))")[1]) == "ROW(a BIGINT NOT NULL) NOT NULL"


def test_a_struct_is_built_by_its_name_and_coerced_to_its_fields() -> None:
    types = "CREATE TYPE point AS (x DOUBLE NOT NULL, y DOUBLE); CREATE TYPE path AS point ARRAY"
    built, type = typed_value("point(1, NULL)", types)
    assert built == (1.0, None)
    assert str(type) == "ROW(x DOUBLE NOT NULL, y DOUBLE) NOT NULL"
    assert value("CAST(ARRAY[point(1, 2)] AS path)[1].y", types) == 2.0
    with pytest.raises(SqlError, match="2 fields"):
        value("point(1)", types)
    with pytest.raises(SqlError, match="NOT NULL"):
        value("point(NULL, 1)", types)


def test_a_type_must_be_declared_before_its_use_and_once() -> None:
    with pytest.raises(SqlError, match="there is no type T"):
        value("1", "CREATE TYPE t AS (x t)")
    with pytest.raises(SqlError, match="there is a type a already"):
        value("1", "CREATE TYPE a AS INT; CREATE TYPE a AS INT")


numbers = st.one_of(st.none(), st.integers(-2, 2))
arrays = st.one_of(st.none(), st.lists(numbers, max_size=4))
LONG = "longer than twelve bytes"
texts = st.one_of(st.none(), st.sampled_from(["", "a", "b,c", LONG, LONG + "!"]))
text_arrays = st.one_of(st.none(), st.lists(texts, max_size=4))


def below_all(x: Any) -> tuple[bool, Any]:
    return (x is not None, x if x is not None else 0)


def unique(xs: list[Any]) -> list[Any]:
    return list(dict.fromkeys(xs))


def ordered(xs: list[Any]) -> list[Any]:
    return sorted(unique(xs), key=lambda x: (x is not None, x if x is not None else ""))


def strict(f: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args: None if None in args else f(*args)


WITNESSES: list[tuple[str, Callable[..., Any]]] = [
    ("CARDINALITY(a)", strict(len)),
    ("ARRAY_REVERSE(a)", strict(lambda a: a[::-1])),
    ("ARRAY_COMPACT(a)", strict(lambda a: [x for x in a if x is not None])),
    ("ARRAY_DISTINCT(a)", strict(unique)),
    ("SORT_ARRAY(a)", strict(lambda a: sorted(a, key=below_all))),
    ("ARRAY_MAX(a)", strict(lambda a: max((x for x in a if x is not None), default=None))),
    ("ARRAY_MIN(a)", strict(lambda a: min((x for x in a if x is not None), default=None))),
    ("TRANSFORM(a, x -> x + n)", lambda a, b, n: None if a is None else [
        None if x is None or n is None else x + n for x in a]),
]  # fmt: skip
PAIRS: list[tuple[str, Callable[..., Any]]] = [
    ("ARRAY_CONCAT(a, b)", strict(lambda a, b: a + b)),
    ("ARRAY_UNION(a, b)", strict(lambda a, b: ordered(a + b))),
    ("ARRAY_INTERSECT(a, b)", strict(lambda a, b: ordered([x for x in a if x in b]))),
    ("ARRAY_EXCEPT(a, b)", strict(lambda a, b: ordered([x for x in a if x not in b]))),
    ("ARRAYS_OVERLAP(a, b)",
     strict(lambda a, b: any(x is not None and x in b for x in a))),
    ("a < b", strict(lambda a, b: list(map(below_all, a)) < list(map(below_all, b)))),
    ("a = b", strict(lambda a, b: a == b)),
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(arrays, arrays, numbers), min_size=1, max_size=5))
def test_whole_columns_agree_with_lists_of_python(rows: list[tuple[Any, Any, Any]]) -> None:
    columns = "a INT ARRAY, b INT ARRAY, n INT"
    exprs = [*WITNESSES, *PAIRS]
    found = over(f"ROW({', '.join(e for e, _ in exprs)})", columns, rows)
    for row, answers in zip(rows, found, strict=True):
        for (expr, witness), answer in zip(exprs, answers, strict=True):
            wide = expr.startswith("TRANSFORM")
            args = row if wide else row[: 2 if "b" in expr.split("(")[-1] else 1]
            assert answer == witness(*args), (expr, row)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(text_arrays, texts), min_size=1, max_size=5))
def test_elements_of_any_length_are_found_in_whole_columns(rows: list[tuple[Any, Any]]) -> None:
    columns = "a VARCHAR ARRAY, e VARCHAR"
    exprs = (
        "ARRAY_CONTAINS(a, e)", "ARRAY_POSITION(a, e)", "ARRAY_REMOVE(a, e)", "ARRAY_APPEND(a, e)",
        "ARRAY_PREPEND(a, e)", "ARRAY_JOIN(a, ';')",
    )  # fmt: skip
    found = over(f"ROW({', '.join(exprs)})", columns, rows)
    for (a, e), answers in zip(rows, found, strict=True):
        if a is None:
            assert answers == (None,) * 6
            continue
        if e is None:
            assert answers[:3] == (None,) * 3
        else:
            position = a.index(e) + 1 if e in a else 0
            assert answers[:3] == (e in a, position, [x for x in a if x != e])
        assert answers[3:] == ([*a, e], [e, *a], ";".join(x for x in a if x is not None))


def test_an_outer_column_is_seen_inside_a_lambda_of_a_lambda() -> None:
    expr = "TRANSFORM(a, x -> ARRAY_EXISTS(a, y -> y = x + n))"
    rows = [([1, 2, 3], 1), ([], 5), ([0], 0), (None, 1)]
    assert over(expr, "a INT ARRAY, n INT", rows) == [[True, True, False], [], [True], None]


def test_split_takes_a_delimiter_a_row() -> None:
    rows = [("a|b", "|"), ("a,b", ","), (None, ","), ("a|b", ""), ("", ",")]
    found = over("SPLIT(s, d)", "s VARCHAR, d VARCHAR", rows)
    assert found == [["a", "b"], ["a", "b"], None, ["a|b"], []]
