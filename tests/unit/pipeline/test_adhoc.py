"""Ad-hoc answers in every format, without a server: nothing is lost on the way."""

from __future__ import annotations

import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows
from penstock.data.types import INTEGER, VARCHAR, Kind, SqlType, schema
from penstock.errors import UserError
from penstock.pipeline.adhoc import AdHoc

ADHOC = AdHoc(frozenset(("totals",)), frozenset(("totals", "orders")), lambda names: (0, {}))
TWO_X = "SELECT a.x, b.x FROM (VALUES (1)) a(x), (VALUES (2)) b(x)"


def answer(sql: str, format: str = "text") -> bytes:
    return b"".join(ADHOC.query(sql, format)[1])


def refusal(sql: str) -> str:
    with pytest.raises(UserError) as caught:
        answer(sql)
    assert caught.value.code == "AdHocQueryError"
    return caught.value.message


class Held:
    """A snapshot of one relation."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def batch(self) -> Batch:
        return self._batch


def held(**relations: Batch) -> AdHoc:
    names = frozenset(relations)
    pinned: Any = {name: Held(batch) for name, batch in relations.items()}
    return AdHoc(names, names, lambda wanted: (1, {n: pinned[n] for n in wanted}))


PAIR = schema(id=INTEGER, xs=SqlType(Kind.ARRAY, children=(INTEGER,)))
JOINED = held(
    left_=batch_from_rows(PAIR, [(1, [10, 11]), (2, [])]),
    right_=batch_from_rows(schema(id=INTEGER, name=VARCHAR), [(1, "one"), (3, "three")]),
)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT id, name FROM left_ l JOIN right_ r USING (id)", [{"id": 1, "name": "one"}]),
        ("SELECT name FROM left_ NATURAL JOIN right_", [{"name": "one"}]),
        ("SELECT x FROM left_, UNNEST(left_.xs) u(x)", [{"x": 10}, {"x": 11}]),
        ("WITH c AS (SELECT id FROM left_) SELECT name FROM c JOIN right_ USING (id)",
         [{"name": "one"}]),
        ("PREPARE q AS SELECT name FROM left_ JOIN right_ USING (id) WHERE id = $1; EXECUTE q(1)",
         [{"name": "one"}]),
    ],
)  # fmt: skip
def test_columns_may_decide_how_relations_are_joined(sql: str, expected: list[Any]) -> None:
    lines = b"".join(JOINED.query(sql, "json")[1]).splitlines()
    assert [json.loads(line) for line in lines if line] == expected


def test_json_is_read_by_the_dialects_functions() -> None:
    sql = """SELECT json_get(j, 'a') AS a, json_get_int(j, 'a', 0) AS i, json_get_str(j, 'b') AS s,
             json_get_str(j, 'a') AS no, json_get_float(j, 'a', 1) AS f, json_get_bool(j, 'c') AS c,
             json_as_text(j, 'a', 0) AS t, json_as_text(j, 'n') AS n, json_length(j, 'a') AS l,
             json_contains(j, 'b') AS has, json_contains(j, 'z') AS lacks, json_get(j, 'z') AS z,
             json_object_keys(j) AS k, json_get_int(NULL, 'a') AS none
             FROM (VALUES ('{"a":[1,2.5],"b":"x","c":true,"n":null}')) q(j)"""
    assert json.loads(answer(sql, "json")) == {
        "a": "[1,2.5]", "i": 1, "s": "x", "no": None, "f": 2.5, "c": True, "t": "1", "n": None,
        "l": 2, "has": True, "lacks": False, "z": None, "k": ["a", "b", "c", "n"], "none": None,
    }  # fmt: skip


def test_structs_patterns_and_rough_counts_go_by_the_dialects_names() -> None:
    sql = """SELECT struct(1, 'x') AS s, regexp_like('abc', 'b.') AS r,
             approx_distinct(x) AS n FROM (VALUES (1), (1)) q(x)"""
    assert json.loads(answer(sql, "json")) == {"s": {"c0": 1, "c1": "x"}, "r": True, "n": 1}


def test_two_columns_of_one_name_are_both_answered() -> None:
    assert answer(TWO_X).decode().split("\n")[1:4:2] == ["| x | x |", "| 1 | 2 |"]
    assert json.loads(answer(TWO_X, "json")) == {"x": 1, "x_1": 2}
    with pa.ipc.open_stream(answer(TWO_X, "arrow_ipc")) as stream:
        assert stream.read_all().to_pydict() == {"x": [1], "x_1": [2]}
    assert pq.read_table(io.BytesIO(answer(TWO_X, "parquet"))).to_pydict() == {"x": [1], "x_1": [2]}


def test_a_renamed_column_takes_no_name_that_is_there() -> None:
    assert json.loads(answer("SELECT 1 AS x, 2 AS x, 3 AS x_1", "json")) == {
        "x": 1,
        "x_2": 2,
        "x_1": 3,
    }


def test_the_hash_tells_answers_apart_that_differ_in_a_column_of_the_same_name() -> None:
    assert answer("SELECT 1 AS x, 2 AS x", "hash") != answer("SELECT 3 AS x, 2 AS x", "hash")


def test_whole_numbers_divide_to_whole_numbers_and_null_sorts_as_the_largest() -> None:
    assert json.loads(answer("SELECT -7/2 AS i, 7/2.0 AS d, 7.5e0/2 AS f", "json")) == {
        "i": -3,
        "d": 3.5,
        "f": 3.75,
    }
    values = "SELECT x FROM (VALUES (1), (NULL), (2)) t(x) ORDER BY x"
    assert [json.loads(row)["x"] for row in answer(values, "json").splitlines()] == [1, 2, None]
    down = answer(f"{values} DESC", "json").splitlines()
    assert [json.loads(row)["x"] for row in down] == [None, 2, 1]


def test_a_count_without_an_alias_goes_by_its_text() -> None:
    assert json.loads(answer("SELECT COUNT(*) FROM (VALUES (1), (2)) t(x)", "json")) == {
        "count(*)": 2
    }


def test_an_interval_is_written_as_one() -> None:
    sql = "SELECT INTERVAL '1 year 2 months 3 days 04:05:06.5' AS i, INTERVAL '-90 minutes' AS j"
    assert json.loads(answer(sql, "json")) == {"i": "14 months 3 days 04:05:06.5", "j": "-01:30:00"}
    assert "14 months 3 days 04:05:06.5" in answer(sql).decode()
    assert json.loads(answer("SELECT INTERVAL 0 SECOND AS z", "json")) == {"z": "00:00:00"}


def test_a_day_outside_the_years_1_to_9999_is_written_and_does_not_break_the_answer() -> None:
    sql = """SELECT make_timestamp(253402300800000000) AS a, DATE '10000-01-01' AS b,
             [DATE '0001-01-01' - 500, NULL] AS c, make_timestamp(0) AS d"""
    assert json.loads(answer(sql, "json")) == {
        "a": "10000-01-01 00:00:00.000000",
        "b": "10000-01-01",
        "c": ["-0001-08-20", None],
        "d": "1970-01-01T00:00:00",
    }
    assert "| 10000-01-01 00:00:00.000000 | 10000-01-01 |" in answer(sql).decode()
    assert len(answer(sql, "hash")) == 64


def test_a_real_is_written_short_and_a_time_to_the_nanosecond() -> None:
    sql = """SELECT 1.1::FLOAT AS r, [0.1::FLOAT, NULL] AS rs, MAP {1.50: 'nan'::FLOAT} AS m,
             '10:00:00.123456789'::TIME_NS AS t, '10:00:00'::TIME_NS AS u"""
    assert json.loads(answer(sql, "json")) == {
        "r": 1.1,
        "rs": [0.1, None],
        "m": {"1.50": None},
        "t": "10:00:00.123456789",
        "u": "10:00:00",
    }
    assert "| 1.1 |" in answer("SELECT 1.1::FLOAT AS r").decode()


def test_a_cell_of_text_is_no_python() -> None:
    sql = """SELECT 0::DECIMAL(38, 10), 'nan'::DOUBLE, '\\x00\\xFF'::BLOB, [1, NULL],
             MAP {'k': 1.50}, MAP([]::INT[], []::INT[]), {'a': 1, 'b': ['x']},
             NULL, TRUE, DATE '0001-01-01'"""
    cells = [c.strip() for c in answer(sql).decode().splitlines()[3].strip("|").split("|")]
    assert cells == [
        "0.0000000000", "NaN", "00ff", "[1, ]", "{k: 1.50}", "{}", "{a: 1, b: [x]}", "", "true",
        "0001-01-01",
    ]  # fmt: skip


def test_a_grid_is_as_wide_as_its_longest_cell_wherever_that_stands() -> None:
    sql = "SELECT CASE WHEN range = 15000 THEN 'é' || repeat('x', 30) END AS v FROM range(15001)"
    lines = answer(sql).decode().splitlines()
    assert len(lines) == 15_001 + 4 and {len(line) for line in lines} == {35}


def test_an_unknown_relation_names_those_that_were_meant() -> None:
    message = refusal("SELECT * FROM totls")
    assert "there is no table or view 'totls'" in message and "did you mean totals?" in message
    assert "pg_" not in message
    assert "there are: orders, totals" in refusal("SELECT * FROM quite_another")


def test_an_insert_that_is_not_understood_says_how_to_write_one() -> None:
    for sql in ("INSERT INTO t DEFAULT VALUES", "INSERT OR REPLACE INTO t VALUES (1)"):
        message = refusal(sql)
        assert "INSERT INTO table [(columns)] VALUES" in message and "not allowed" not in message


def test_a_whole_number_cast_to_a_timestamp_is_seconds() -> None:
    sql = """SELECT CAST(id AS TIMESTAMP) AS a, (id + 9)::TIMESTAMP AS b,
             CAST('2020-01-01 10:00:00' AS TIMESTAMP) AS c FROM left_ ORDER BY id LIMIT 1"""
    (line,) = b"".join(JOINED.query(sql, "json")[1]).splitlines()

    assert json.loads(line) == {
        "a": "1970-01-01T00:00:01", "b": "1970-01-01T00:00:10", "c": "2020-01-01T10:00:00"
    }  # fmt: skip
    assert "invalid timestamp field format" in refusal(
        "SELECT CAST('x' AS TIMESTAMP), 1::TIMESTAMP"
    )
    for far in ("9000000000000", "9223372036854775807"):
        assert f"no TIMESTAMP is {far} seconds" in refusal(f"SELECT CAST({far} AS DATETIME)")


def test_a_whole_number_tried_as_a_timestamp_is_seconds_and_null_after_the_year_9999() -> None:
    sql = """SELECT try_cast(n AS timestamp), TRY_CAST(s AS TIMESTAMP) AS b,
             CAST(1 AS TIMESTAMP) AS c
             FROM (VALUES (2, 'x'), (9223372036854775807, '2020-01-01 10:00:00')) v(n, s)"""
    lines = b"".join(ADHOC.query(sql, "json")[1]).splitlines()

    second = {"c": "1970-01-01T00:00:01"}
    assert [json.loads(line) for line in lines] == [
        {"TRY_CAST(n AS TIMESTAMP)": "1970-01-01T00:00:02", "b": None, **second},
        {"TRY_CAST(n AS TIMESTAMP)": None, "b": "2020-01-01T10:00:00", **second},
    ]


def test_a_refusal_does_not_advise_settings_that_a_query_may_not_change() -> None:
    assert refusal("SELECT 1 / 0").endswith("Use TRY(...) to return NULL for this expression.")
    many = refusal("SELECT (SELECT n FROM (VALUES (1), (2)) v(n))")
    assert many.endswith("scalar subqueries can only return a single row.")


def test_floats_divide_by_zero_as_ieee_says_and_whole_numbers_do_not() -> None:
    sql = """SELECT f / 0 AS q, 7 / 2 AS h, f / 2 AS g, typeof(7 / 2) AS t
             FROM (VALUES (1e0), (-1e0), (0e0), ('NaN'::DOUBLE), (NULL)) v(f)"""
    rows = ADHOC.table(sql).to_pylist()

    assert [str(r["q"]) for r in rows] == ["inf", "-inf", "nan", "nan", "None"]
    assert [(r["h"], r["t"]) for r in rows] == [(3, "INTEGER")] * 5
    assert [str(r["g"]) for r in rows] == ["0.5", "-0.5", "0.0", "nan", "None"]
    assert "Division by zero" in refusal("SELECT 1e0 / 0, 1 / 0")
    assert "Division by zero" in refusal("SELECT 1 % 0")


@pytest.mark.parametrize(
    ("sql", "value"),
    [
        ("make_array(1, 2)", [1, 2]), ("nvl(NULL, 2)", 2), ("btrim('  a ')", "a"),
        ("btrim('xax', 'x')", "a"), ("signum(-2)", -1), ("regexp_like('abc', 'B', 'i')", True),
        ("to_unixtime(from_unixtime(5))", 5), ("epoch_ms(to_timestamp_millis(7))", 7),
        ("date_bin(INTERVAL '15 minutes', TIMESTAMP '2020-01-01 00:20:00') = "
         "TIMESTAMP '2020-01-01 00:15:00'", True),
        ("to_date('2020-01-02') = DATE '2020-01-02'", True),
    ],
)  # fmt: skip
def test_functions_that_duckdb_lacks_are_there(sql: str, value: Any) -> None:
    assert ADHOC.table(f"SELECT {sql} AS x").to_pylist() == [{"x": value}]
