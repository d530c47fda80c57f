"""Ad-hoc answers in every format, without a server: nothing is lost on the way."""

from __future__ import annotations

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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


def test_an_unknown_relation_names_those_that_were_meant() -> None:
    message = refusal("SELECT * FROM totls")
    assert "there is no table or view 'totls'" in message and "did you mean totals?" in message
    assert "pg_" not in message
    assert "there are: orders, totals" in refusal("SELECT * FROM quite_another")


def test_an_insert_that_is_not_understood_says_how_to_write_one() -> None:
    for sql in ("INSERT INTO t DEFAULT VALUES", "INSERT OR REPLACE INTO t VALUES (1)"):
        message = refusal(sql)
        assert "INSERT INTO table [(columns)] VALUES" in message and "not allowed" not in message
