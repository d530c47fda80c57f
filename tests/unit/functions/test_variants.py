"""VARIANT functions and casts: the reference's examples, and Python's JSON as witness."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import SqlError
from tests.unit.functions.values import over, typed_value, value

TYPES = "CREATE TYPE s AS (i INT, a VARCHAR ARRAY, s VARCHAR)"
EXAMPLES: list[tuple[str, Any]] = [
    ("TYPEOF(PARSE_JSON('1'))", "BIGINT UNSIGNED"),
    ("TYPEOF(PARSE_JSON('-1'))", "BIGINT"),
    ("TYPEOF(CAST(1 AS VARIANT))", "INTEGER"),
    ("TYPEOF(CAST(CAST(1 AS TINYINT) AS VARIANT))", "TINYINT"),
    ("TYPEOF(PARSE_JSON('\"x\"'))", "VARCHAR"),
    ("TYPEOF(PARSE_JSON('1.5'))", "DECIMAL"),
    ("TYPEOF(PARSE_JSON('[]'))", "ARRAY"),
    ("TYPEOF(PARSE_JSON('{}'))", "MAP"),
    ("TYPEOF(VARIANTNULL())", "VARIANT"),
    ("TYPEOF(CAST(NULL AS VARIANT))", None),
    ("VARIANTNULL() IS NULL", False),
    ("VARIANTNULL() = VARIANTNULL()", True),
    ("PARSE_JSON('null') = VARIANTNULL()", True),
    ("PARSE_JSON('nope')", None),
    ("PARSE_JSON(CAST(NULL AS VARCHAR))", None),
    ("PARSE_JSON(1) = PARSE_JSON('1')", True),
    ("CAST(1 AS VARIANT) = CAST(CAST(1 AS TINYINT) AS VARIANT)", False),
    ("CAST('a' AS VARIANT) = PARSE_JSON('\"a\"')", True),
    ("PARSE_JSON('{\"a\":1,\"b\":2}') = PARSE_JSON('{\"b\":2,\"a\":1}')", True),
    ("CAST(MAP['A',1] AS VARIANT).A", None),
    ("CAST(MAP['A',1] AS VARIANT).\"A\"", "1"),
    ("CAST(MAP['A',1] AS VARIANT)['A']", "1"),
    ("CAST(MAP[1,'x'] AS VARIANT)[1]", '"x"'),
    ("PARSE_JSON('[1,2]')[2]", "2"),
    ("PARSE_JSON('[1,2]')[0]", None),
    ("PARSE_JSON('[1,2]')['x']", None),
    ("PARSE_JSON('5').a.b", None),
    ("PARSE_JSON('{\"a\":{\"b\":[7]}}').a.b[1]", "7"),
    ("PARSE_JSON('[null]')[1] = VARIANTNULL()", True),
    ("TO_JSON(VARIANTNULL())", "null"),
    ("TO_JSON(CAST(FALSE AS VARIANT))", "false"),
    ("TO_JSON(CAST(DATE '2020-01-01' AS VARIANT))", '"2020-01-01"'),
    ("TO_JSON(CAST(TIMESTAMP '2020-01-01 10:00:00' AS VARIANT))", '"2020-01-01 10:00:00"'),
    ("TO_JSON(CAST(TIME '10:00:00.5' AS VARIANT))", '"10:00:00.5"'),
    ("TO_JSON(CAST(2e0 AS VARIANT))", "2.0"),
    ("TO_JSON(CAST(CAST('NaN' AS DOUBLE) AS VARIANT))", None),
    ("TO_JSON(CAST(MAP[1,2] AS VARIANT))", None),
    ("TO_JSON(CAST(ARRAY[MAP[1,2]] AS VARIANT))", None),
    ("TO_JSON(CAST(ARRAY[1,NULL] AS VARIANT))", "[1,null]"),
    ("TO_JSON(CAST(s(1, ARRAY['x'], NULL) AS VARIANT))", '{"a":["x"],"i":1,"s":null}'),
    ("CAST(PARSE_JSON('1') AS INT)", 1),
    ("CAST(PARSE_JSON('300') AS TINYINT)", None),
    ("CAST(PARSE_JSON('1.5') AS DOUBLE)", 1.5),
    ("CAST(PARSE_JSON('1.75') AS DECIMAL)", Decimal(1)),
    ("CAST(PARSE_JSON('1.75') AS DECIMAL(5,2))", Decimal("1.75")),
    ("CAST(PARSE_JSON('\"2020-01-01\"') AS DATE)", datetime.date(2020, 1, 1)),
    ("CAST(PARSE_JSON('\"yesterday\"') AS DATE)", None),
    ("CAST(PARSE_JSON('\"1\"') AS INT)", None),
    ("CAST(PARSE_JSON('1') AS VARCHAR)", None),
    ("CAST(PARSE_JSON('true') AS BOOLEAN)", True),
    ("CAST(VARIANTNULL() AS INT)", None),
    ("CAST(PARSE_JSON('[1,\"x\",2]') AS INT ARRAY)", [1, None, 2]),
    ("CAST(PARSE_JSON('{}') AS INT ARRAY)", None),
    ("CAST(PARSE_JSON('{\"a\":1,\"b\":\"x\"}') AS MAP<VARCHAR,INT>)", {"a": 1, "b": None}),
    ("CAST(PARSE_JSON('{\"a\":1}') AS MAP<INT,INT>)", None),
    ("CAST(PARSE_JSON('{\"i\":0}') AS s)", (0, None, None)),
    ("CAST(PARSE_JSON('{\"I\":0,\"a\":[\"x\"],\"z\":1}') AS s)", (None, ["x"], None)),
    ("CAST(PARSE_JSON('[]') AS s)", None),
    ("CAST(PARSE_JSON('{}') AS ROW(a INT))", None),
    ("CAST(CAST(UUID '123e4567-e89b-12d3-a456-426655440000' AS VARIANT) AS UUID)"
     " = UUID '123e4567-e89b-12d3-a456-426655440000'", True),
    ("JSON_OBJECT_KEYS(PARSE_JSON('{\"a\":1,\"b\":{\"c\":2},\"d\":null}'))", ["a", "b", "d"]),
    ("JSON_OBJECT_KEYS(PARSE_JSON('[1]'))", []),
    ("JSON_KEYS(PARSE_JSON('{\"a\":{\"b\":1,\"c\":{\"d\":2}},\"e\":[{\"f\":3}],\"g\":4}'))",
     ["a", "a.b", "a.c", "a.c.d", "e", "g"]),
    ("JSON_KEYS(PARSE_JSON('{\"a.b\":1}'))", ['"a.b"']),
    ("JSON_KEYS(PARSE_JSON('5'))", []),
    ("JSON_EACH_BIGINT(PARSE_JSON('{\"a\":1,\"b\":2.5,\"c\":\"x\",\"d\":null,\"e\":3.0}'))",
     {"a": 1, "e": 3}),
    ("JSON_EACH_BIGINT(PARSE_JSON('{\"a\":18446744073709551615}'))", {}),
    ("JSON_EACH_STRING(PARSE_JSON('{\"a\":1,\"c\":\"x\"}'))", {"c": "x"}),
    ("JSON_EACH_BOOLEAN(PARSE_JSON('{\"a\":true,\"c\":\"x\"}'))", {"a": True}),
    ("JSON_EACH_DATE(PARSE_JSON('{\"a\":\"2020-01-01\",\"c\":\"x\"}'))",
     {"a": datetime.date(2020, 1, 1)}),
    ("JSON_EACH_TIMESTAMP(PARSE_JSON('{\"a\":\"1970-01-02\"}'))", {"a": 86_400_000_000}),
    ("JSON_EACH_TIME(PARSE_JSON('{\"a\":\"00:00:01\"}'))", {"a": 10**9}),
    ("JSON_EACH_STRING(PARSE_JSON('5'))", {}),
    ("VARIANT_FILTER(PARSE_JSON('{\"a\":1,\"b\":2}'), (k, x) -> CAST(x AS INT) > 1)", '{"b":2}'),
    ("VARIANT_FILTER(PARSE_JSON('{\"a\":1}'), (k, x) -> CAST(k AS VARCHAR) = 'a')", '{"a":1}'),
    ("VARIANT_FILTER(PARSE_JSON('{\"a\":1}'), (k, x) -> NULL)", "{}"),
    ("VARIANT_FILTER(PARSE_JSON('5'), (k, x) -> k IS NULL)", "5"),
    ("VARIANT_FILTER(PARSE_JSON('5'), (k, x) -> k IS NOT NULL)", None),
    ("VARIANT_FILTER(CAST(NULL AS VARIANT), (k, x) -> TRUE)", None),
    ("VARIANT_DEEP_FILTER(PARSE_JSON('{\"a\":{\"b\":1,\"c\":{\"d\":2}}}'), (p, x) -> p <> 'a.c')",
     '{"a":{"b":1}}'),
    ("VARIANT_DEEP_FILTER(PARSE_JSON('[1,[2,3]]'), (p, x) -> p <> '[2][1]')", "[1,[3]]"),
    ("VARIANT_DEEP_FILTER(PARSE_JSON('7'), (p, x) -> p IS NULL)", "7"),
    ("VARIANT_MAP(PARSE_JSON('{\"a\":1,\"b\":\"x\"}'), (k, x) -> CAST(x AS BIGINT) * 2)",
     '{"a":2,"b":null}'),
    ("VARIANT_MAP(PARSE_JSON('4'), (k, x) -> CAST(x AS INT) + 1)", "5"),
    ("VARIANT_DEEP_MAP(PARSE_JSON('{\"a\":{\"b\":1},\"e\":[1,2],\"s\":\"x\"}'),"
     " (p, x) -> CAST(x AS BIGINT) * 2)", '{"a":{"b":2},"e":[2,4],"s":null}'),
    ("VARIANT_DEEP_MAP(PARSE_JSON('{\"a b\":[0,{}]}'), (p, x) -> p)",
     '{"a b":["\\"a b\\"[1]",{}]}'),
    ("TO_JSON(VARIANT_MERGE(PARSE_JSON('{\"a\":1,\"b\":2}'), PARSE_JSON('{\"a\":null}')))",
     '{"a":null,"b":2}'),
    ("VARIANT_MERGE(PARSE_JSON('{\"a\":{\"x\":1,\"y\":2},\"b\":1}'),"
     " PARSE_JSON('{\"a\":{\"x\":9,\"z\":3},\"c\":4}'))",
     '{"a":{"x":9,"y":2,"z":3},"b":1,"c":4}'),
    ("VARIANT_MERGE(PARSE_JSON('{\"a\":1}'), PARSE_JSON('5'))", "5"),
    ("VARIANT_MERGE(PARSE_JSON('{\"a\":1}'), CAST(NULL AS VARIANT))", None),
]  # fmt: skip


@pytest.mark.parametrize(("expr", "expected"), EXAMPLES)
def test_examples_of_the_reference(expr: str, expected: Any) -> None:
    assert value(expr, TYPES) == expected


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        ("TYPEOF(1)", "TYPEOF(variant)"),
        ("TO_JSON('x')", "TO_JSON(variant)"),
        ("CAST(INTERVAL '1' DAY AS VARIANT)", "cannot cast"),
        ("VARIANT_MAP(PARSE_JSON('1'), (k, x) -> INTERVAL '1' DAY)", "cannot be in a VARIANT"),
        ("PARSE_JSON('1') = 1", "does not take"),
    ],
)
def test_what_does_not_compile_says_why(expr: str, words: str) -> None:
    with pytest.raises(SqlError) as error:
        value(expr)
    assert words in error.value.messages[0].message


def test_what_may_convert_to_nothing_is_nullable() -> None:
    for expr in ("PARSE_JSON('1')", "CAST(VARIANTNULL() AS INT)", "VARIANTNULL()[1]"):
        assert typed_value(expr)[1].nullable


def test_structs_are_read_from_json_text_whatever_the_case_of_its_keys() -> None:
    declared = f"{TYPES}; CREATE FUNCTION jsonstring_as_s(x VARCHAR) RETURNS s"
    text = '{"I": 1, "A": ["x"], "other": 0}'
    assert value(f"jsonstring_as_s('{text}')", declared) == (1, ["x"], None)
    assert value("jsonstring_as_s('[')", declared) is None
    with pytest.raises(SqlError, match="one VARCHAR"):
        value("1", f"{TYPES}; CREATE FUNCTION jsonstring_as_s(x INT) RETURNS s")


objects = st.recursive(
    st.one_of(st.none(), st.integers(-5, 5), st.sampled_from(["", "x", "longer than twelve"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2), st.dictionaries(st.sampled_from(["a", "b", "c d"]), inner)
    ),
    max_leaves=8,
)


def merge(a: Any, b: Any) -> Any:
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return b
    return {**a, **{k: merge(a[k], v) if k in a else v for k, v in b.items()}}


def deep_map(v: Any) -> Any:
    if isinstance(v, dict):
        return {k: deep_map(x) for k, x in v.items()}
    if isinstance(v, list):
        return [deep_map(x) for x in v]
    return v + 1 if isinstance(v, int) else None


def deep_filter(v: Any) -> Any:
    """Numbers go, and all that is under "b"."""
    if isinstance(v, dict):
        return {k: deep_filter(x) for k, x in v.items() if k != "b" and not isinstance(x, int)}
    if isinstance(v, list):
        return [deep_filter(x) for x in v if not isinstance(x, int)]
    return v


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(objects, objects), min_size=1, max_size=4))
def test_whole_columns_agree_with_python(rows: list[tuple[Any, Any]]) -> None:
    exprs = (
        "VARIANT_MERGE(a, b)",
        "VARIANT_DEEP_MAP(a, (p, x) -> CAST(x AS BIGINT) + 1)",
        "VARIANT_DEEP_FILTER(a, (p, x) -> CAST(x AS INT) IS NULL AND"
        " (p IS NULL OR NOT p LIKE 'b' AND NOT p LIKE '%.b'))",
        "a['a'] = b['a']",
    )
    texts = [(json.dumps(a), json.dumps(b)) for a, b in rows]
    found = over(f"ROW({', '.join(exprs)})", "a VARIANT, b VARIANT", texts)
    for (a, b), (merged, mapped, filtered, equal) in zip(rows, found, strict=True):
        assert json.loads(merged) == merge(a, b)
        assert a is None or not isinstance(a, dict | list) or json.loads(mapped) == deep_map(a)
        if isinstance(a, dict | list):
            assert json.loads(filtered) == deep_filter(a)
        known = isinstance(a, dict) and isinstance(b, dict) and "a" in a and "a" in b
        assert equal == (json.dumps(a["a"], sort_keys=True) == json.dumps(b["a"], sort_keys=True)
                         if known else None)  # fmt: skip
