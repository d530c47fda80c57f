"""VARIANT functions and casts over whole columns: Python's JSON as witness.

The reference's examples are in `golden/variants.txt`.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import SqlError
from tests.examples import examples
from tests.unit.functions.values import over, typed_value, value

TYPES = "CREATE TYPE s AS (i INT, a VARCHAR ARRAY, s VARCHAR)"
EXAMPLES: list[tuple[str, Any]] = [
    ("TO_JSON(CAST(s(1, ARRAY['x'], NULL) AS VARIANT))", '{"a":["x"],"i":1,"s":null}'),
    ("CAST(PARSE_JSON('{\"i\":0}') AS s)", (0, None, None)),
    ('CAST(PARSE_JSON(\'{"I":0,"a":["x"],"z":1}\') AS s)', (None, ["x"], None)),
    ("CAST(PARSE_JSON('[]') AS s)", None),
]


@pytest.mark.parametrize(("expr", "expected"), EXAMPLES)
def test_structs_are_maps_by_field_name(expr: str, expected: Any) -> None:
    assert value(expr, TYPES) == expected


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


@settings(max_examples=examples(25), deadline=None)
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
