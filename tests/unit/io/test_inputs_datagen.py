"""datagen: reproducible, within its ranges, at its rate."""

from __future__ import annotations

import collections
import datetime
import time
from decimal import Decimal
from typing import Any

import pytest

from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    INTEGER,
    REAL,
    TIME,
    TIMESTAMP,
    TINYINT,
    UBIGINT,
    UUID,
    VARBINARY,
    VARCHAR,
    VARIANT,
    Schema,
    SqlType,
    array_of,
    decimal,
    map_of,
    row_of,
    schema,
)
from penstock.errors import UserError
from penstock.io.contracts import InputContext
from penstock.io.inputs.datagen import Datagen
from tests.unit.io.conftest import KeepingIntake


def make(table: Schema, **config: Any) -> Datagen:
    connector = Datagen(InputContext("t", "c", table, (), config))
    connector.validate()
    return connector


def values(type_: SqlType, n: int = 10, **settings: Any) -> list[Any]:
    plan = {"limit": n, "fields": {"x": settings}}
    intake = KeepingIntake()
    make(schema(x=type_), plan=[plan], seed=1).run(intake)
    assert intake.ended.is_set()
    return [r[0] for r in intake.rows]


@pytest.mark.parametrize(
    ("type_", "settings", "expected"),
    [
        (INTEGER, {}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (INTEGER, {"range": [5, 8]}, [5, 6, 7, 5, 6, 7, 5, 6, 7, 5]),
        (INTEGER, {"scale": 3, "range": [0, 10]}, [0, 3, 6, 9, 2, 5, 8, 1, 4, 7]),
        (INTEGER, {"values": [7, None, 9]}, [7, None, 9, 7, None, 9, 7, None, 9, 7]),
        (VARCHAR, {}, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]),
        (VARCHAR, {"values": ["a", "b"]}, ["a", "b"] * 5),
        (DOUBLE, {"scale": 0.5}, [i / 2 for i in range(10)]),
        (decimal(6, 2), {"scale": 1.5}, [Decimal("1.5") * i for i in range(10)]),
        (BOOLEAN, {}, [False, True] * 5),
        (DATE, {}, [datetime.date(1970, 1, 1 + i) for i in range(10)]),
        (DATE, {"range": ["2024-02-28", "2024-03-01"]},
         [datetime.date(2024, 2, 28), datetime.date(2024, 2, 29)] * 5),
        (TIME, {}, [i * 1_000_000 for i in range(10)]),
        (TIMESTAMP, {"range": ["1970-01-02", "1970-01-03"]},
         [86_400_000_000 + i * 1000 for i in range(10)]),
    ],
)  # fmt: skip
def test_increment_counts_from_the_start_of_the_range(
    type_: SqlType, settings: dict[str, Any], expected: list[Any]
) -> None:
    assert values(type_, **settings) == expected


def test_increment_wraps_at_the_end_of_the_type() -> None:
    assert values(TINYINT, 130)[-3:] == [127, 0, 1]


@pytest.mark.parametrize(
    ("type_", "low", "high"),
    [
        (TINYINT, -128, 128),
        (BIGINT, -(2**63), 2**63),
        (UBIGINT, 0, 2**64),
        (decimal(4, 1), Decimal("-999.9"), Decimal(1000)),
        (TIMESTAMP, 0, 4_102_444_800_000_000),
        (TIME, 0, 86_400_000_000_000),
    ],
)
def test_uniform_stays_within_the_type(type_: SqlType, low: Any, high: Any) -> None:
    drawn = values(type_, 2000, strategy="uniform")
    assert all(low <= v < high for v in drawn)
    assert len(set(drawn)) > 200


def test_uniform_reaches_both_ends_of_a_range_but_not_beyond() -> None:
    assert set(values(INTEGER, 1000, strategy="uniform", range=[3, 6])) == {3, 4, 5}
    assert all(1.5 <= v < 2.5 for v in values(REAL, 100, strategy="uniform", range=[1.5, 2.5]))


def test_zipf_prefers_the_first() -> None:
    counts = collections.Counter(values(INTEGER, 5000, strategy="zipf", range=[10, 20]))
    assert set(counts) == set(range(10, 20))
    assert counts[10] > 1.5 * counts[11] > 1.5 * counts[19]


def test_the_share_of_nulls_is_as_asked() -> None:
    for type_ in (INTEGER, VARCHAR, UUID):
        drawn = values(type_, 2000, null_percentage=25)
        assert 400 < drawn.count(None) < 600


def test_strings_look_like_what_their_strategy_says() -> None:
    assert all("@" in v for v in values(VARCHAR, strategy="email"))
    assert all(v.count(".") == 3 for v in values(VARCHAR, strategy="ipv4"))
    assert all(len(v.split()) == 3 for v in values(VARCHAR, strategy="words", range=[3, 4]))
    assert all(v.endswith(".") for v in values(VARCHAR, strategy="sentence"))
    assert all(2 <= len(v) < 5 for v in values(VARCHAR, strategy="uniform", range=[2, 5]))
    assert len(set(values(VARBINARY, 50, strategy="uniform"))) > 5
    assert len(set(values(UUID, 50, strategy="uniform"))) == 50


def test_one_seed_makes_the_same_rows_at_any_rate_and_another_does_not() -> None:
    table = schema(a=BIGINT, b=VARCHAR)
    fields = {"a": {"strategy": "uniform"}, "b": {"strategy": "name"}}

    def rows(seed: int, **plan: Any) -> list[Any]:
        intake = KeepingIntake()
        plan = {"limit": 50, "fields": fields, "worker_chunk_size": 20, **plan}
        make(table, plan=[plan], seed=seed).run(intake)
        return intake.rows

    assert rows(1) == rows(1, rate=1000) != rows(2)


def test_the_rate_is_kept() -> None:
    intake = KeepingIntake()
    connector = make(schema(a=BIGINT), plan=[{"limit": 60, "rate": 100, "worker_chunk_size": 5}])
    start = time.monotonic()
    connector.run(intake)
    assert 0.5 <= time.monotonic() - start < 1.5


def test_a_plan_without_limit_runs_until_it_is_stopped() -> None:
    intake = KeepingIntake()
    thread = intake.run(make(schema(a=BIGINT), plan=[{"rate": 10}]))
    time.sleep(0.1)
    intake.stop()
    thread.join(2)
    assert not thread.is_alive()
    assert not intake.ended.is_set()
    assert len(intake.rows) == 10


def test_plans_run_one_after_the_other() -> None:
    intake = KeepingIntake()
    plans = [{"limit": 2}, {"limit": 1, "fields": {"A": {"range": [7, 9]}}}]
    make(schema(a=BIGINT), plan=plans).run(intake)
    assert intake.rows == [(0,), (1,), (7,)]


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"plan": []}, "plan"),
        ({"plan": [{"limits": 3}]}, "limits"),
        ({"plan": [{"fields": {"z": {}}}]}, "'z'"),
        ({"plan": [{"fields": {"a": {"strategy": "gauss"}}}]}, "gauss"),
        ({"plan": [{"fields": {"a": {"range": [3, 3]}}}]}, "empty"),
        ({"plan": [{"fields": {"a": {"range": [0, 1e30]}}}]}, "wider"),
        ({"plan": [{"fields": {"a": {"null_percentage": 5}}}]}, "nullable"),
        ({"plan": [{"fields": {"a": {"values": ["x"]}}}]}, "values"),
        ({"seed": "x"}, "seed"),
    ],
)
def test_bad_settings_are_refused_by_name(config: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=word) as caught:
        make(schema(a=INTEGER.with_nullable(False)), **config)
    assert caught.value.code == "ConfigError.InvalidTransportConfig"


@pytest.mark.parametrize(
    ("type_", "settings", "expected"),
    [
        (array_of(INTEGER), {}, [[], [1], [2, 3], [3, 4, 5], [4, 5, 6, 7], []]),
        (array_of(VARCHAR), {"range": [1, 2], "value": {"values": ["a", "b"]}},
         [["a"], ["b"], ["a"], ["b"], ["a"], ["b"]]),
        (map_of(VARCHAR, INTEGER), {"range": [2, 3], "key": {"values": ["x", "y"]}},
         [{"x": r + r % 2, "y": r + 1 - r % 2} for r in range(6)]),
        (row_of(a=INTEGER, b=array_of(BIGINT)), {"fields": {"A": {"scale": 2}}},
         [(0, []), (2, [1]), (4, [2, 3]), (6, [3, 4, 5]), (8, [4, 5, 6, 7]), (10, [])]),
        (VARIANT, {"values": [{"a": 1}, "x"]}, ['{"a":1}', '"x"'] * 3),
        (array_of(INTEGER), {"values": [[1], None]}, [[1], None] * 3),
    ],
)  # fmt: skip
def test_nested_values_have_settings_inside(type_: SqlType, settings: Any, expected: Any) -> None:
    assert values(type_, 6, **settings) == expected


@pytest.mark.parametrize(
    ("type_", "settings", "words"),
    [
        (VARIANT, {}, "'values' is needed for a VARIANT"),
        (array_of(INTEGER), {"value": {"strategy": "name"}}, "value: option 'strategy'"),
        (array_of(INTEGER), {"strategy": "zipf"}, "increment or uniform"),
        (row_of(a=INTEGER), {"fields": {"b": {}}}, "names 'b'; the fields are a"),
    ],
)
def test_settings_of_nested_values_are_checked(
    type_: SqlType, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=words):
        values(type_, **settings)
