"""Arrays, maps, rows and lambdas over whole columns: Python's lists as witness.

The reference's examples are in `golden/nested.txt`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import SqlError
from tests.examples import examples
from tests.unit.functions.values import over, typed_value, value


def test_elements_are_nullable_and_fields_are_not() -> None:
    assert str(typed_value("ARRAY[1][1]")[1]) == "INTEGER"
    assert str(typed_value('ROW(1, NULLIF(2, 3))."EXPR$0"')[1]) == "INTEGER NOT NULL"
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
    with pytest.raises(SqlError, match="there is no type u"):
        value("1", "CREATE TYPE t AS (x u)")
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


@settings(max_examples=examples(30), deadline=None)
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


@settings(max_examples=examples(30), deadline=None)
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
