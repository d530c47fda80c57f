"""The dialect's published examples (sql-reference section 10), from text to rows."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import pytest

from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.errors import RuntimeSqlError
from penstock.sql.program import compile_program


def select(query: str) -> tuple[Any, ...]:
    circuit = compile_circuit(compile_program(f"CREATE VIEW v AS SELECT {query};"))
    ((row, weight),) = batch_to_rows(circuit.step({})["v"])
    assert weight == 1
    return row


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("8 % -3, -8 % 3", (2, -2)),
        ("CAST('0.5' AS DECIMAL)", (Decimal(0),)),
        ("CAST(1234.1264 AS DECIMAL(6,2))", (Decimal("1234.12"),)),
        ("CAST(-2.9 AS INTEGER)", (-2,)),
        ("1729595568::TIMESTAMP", (1_729_595_568_000,)),
        ("GREATEST(1,NULL), COALESCE(NULL,5), NULLIF(5,5)", (None, 5, None)),
        ("'h%wkeye' LIKE 'h#%%' ESCAPE '#'", (True,)),
        ("SPLIT_PART('a|b|c|','|',-2)", ("c",)),
        ("SUBSTRING('Thomas' FROM 2 FOR 3)", ("hom",)),
        ("TRIM(BOTH 'xyz' FROM 'yxTomxx')", ("Tom",)),
        ("CONCAT_WS(',', 'a', NULL, 'b')", ("a,b",)),
        (
            "UUID '123e4567-e89b-12d3-a456-426655440000' = x'123e4567e89b12d3a456426655440000'",
            (True,),
        ),
        ("EXTRACT(DECADE FROM DATE '1994-12-25')", (199,)),
        ("TIMESTAMPDIFF(HOUR, DATE '2020-01-01', DATE '2020-01-02')", (24,)),
        ("MAKE_DATE(2021, 2, 30)", (None,)),
        ("1e0/0e0", (math.inf,)),
        ("IF(CAST(NULL AS BOOLEAN),1,2)", (2,)),
        ("DATE '2020-01-31' + INTERVAL 1 MONTH", (datetime.date(2020, 2, 29),)),
    ],
)
def test_published_example(query: str, row: tuple[Any, ...]) -> None:
    assert select(query) == row


def test_the_root_of_a_negative_number_is_nan_and_its_logarithm_fails() -> None:
    assert math.isnan(select("SQRT(-1e0)")[0])
    with pytest.raises(RuntimeSqlError, match="negative"):
        select("LN(-1e0)")


def test_a_constant_division_by_zero_fails_when_it_is_reached() -> None:
    with pytest.raises(RuntimeSqlError, match=r"view v: division by zero in `1/0`"):
        select("1/0")
    assert select("CASE WHEN FALSE THEN 1/0 ELSE 7 END") == (7,)


def test_literals_of_different_lengths_meet_as_they_are_written() -> None:
    """No padding, and no blank is lost (sql-reference 1.4)."""
    union = "'a ' AS x UNION ALL SELECT 'b ' UNION ALL SELECT 'cde'"
    view = f"CREATE VIEW v AS SELECT ARRAY_AGG(x || '!') AS l FROM (SELECT {union}) AS u;"
    circuit = compile_circuit(compile_program(view))
    (((found,), _),) = batch_to_rows(circuit.step({})["v"])

    assert sorted(found) == ["a !", "b !", "cde!"]
    assert select("CASE WHEN TRUE THEN 'a ' ELSE 'bcd' END || '!'") == ("a !",)
    assert select("CAST('a' AS CHAR(3)) || '!', 'a ' || '!'") == ("a  !", "a !")


@pytest.mark.parametrize(
    "met",
    [
        "SELECT {c} AS x UNION ALL SELECT {v}",
        "SELECT {c} AS x UNION ALL SELECT 'abcdef'",
        "SELECT CASE WHEN {v} = 'bc' THEN {c} ELSE {v} END AS x",
        "SELECT COALESCE({c}, {v}) AS x",
        "SELECT IFNULL({c}, CAST('b' AS CHAR(6))) AS x",
        "SELECT LEAST({c}, {v}) AS x",
        "SELECT IF(TRUE, {c}, 'bc') AS x",
        "SELECT x FROM (VALUES ({c}), ({v})) AS r (x)",
        "SELECT ARRAY[{c}, {v}][1] AS x",
    ],
)
def test_text_of_a_fixed_length_keeps_its_blanks_beside_other_text(met: str) -> None:
    """As it does when the two are compared; only a CAST takes them away (sql-reference 1.4)."""
    query = met.format(c="CAST('a' AS CHAR(4))", v="CAST('bc' AS VARCHAR)")
    counts = f"COUNTIF(x = 'a   ') AS kept, COUNTIF(x = 'a') AS cut FROM ({query}) AS m"
    assert select(counts) == (1, 0)
    assert select("CAST(CAST('a' AS CHAR(4)) AS VARCHAR) || '!'") == ("a!",)
