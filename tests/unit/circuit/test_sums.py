"""Accumulators at the edges of their range: exact integers and decimals, floats that come back."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.circuit import AggregateSpec, Circuit
from penstock.circuit.floating import SHIFT, Totals
from penstock.data.build import batch_to_rows
from penstock.data.types import (
    BIGINT,
    DOUBLE,
    REAL,
    TINYINT,
    UBIGINT,
    SqlType,
    decimal,
    schema,
)
from penstock.errors import RuntimeSqlError
from penstock.state.storage import StateStore
from tests.examples import examples
from tests.oracle.drive import Unsynced, as_input
from tests.oracle.relational import bag

BIG = decimal(38, 0)


def totals(
    kind: str, type: SqlType, *steps: list[tuple[Any, int]], by_key: bool = False
) -> list[Any]:
    """The aggregate's value after each step of weighted values; `by_key`: of a group of them."""
    circuit = Circuit()
    table = schema(x=type, k=BIGINT.with_nullable(False))
    call = AggregateSpec(kind, (0,), (type,), type.with_nullable(True))
    keys, out = ((1,), {"k": table.types[1]}) if by_key else ((), {})
    stream = circuit.aggregate(
        circuit.source("t", table), keys, [call], schema(**out, v=call.result)
    )
    circuit.sink("out", stream, materialized=True)
    values = []
    for step in steps:
        circuit.step({"t": [as_input(table, [((x, 7), w) for x, w in step])]})
        ((row, _),) = batch_to_rows(circuit.snapshot("out").batch())
        values.append(row[-1])
    return values


@pytest.mark.parametrize(("type", "most"), [(DOUBLE, 1e308), (REAL, 3e38)], ids=str)
def test_a_sum_beyond_the_floats_is_infinite(type: Any, most: float) -> None:
    assert totals("SUM", type, [(most, 2)], [(1.0, 1)]) == [math.inf, math.inf]
    assert totals("SUM", type, [(-most, 1), (-most, 2)]) == [-math.inf]


by_key = pytest.mark.parametrize("by_key", [False, True], ids=["of all", "by key"])


@by_key
@pytest.mark.parametrize(
    ("type", "least", "most"),
    [
        (TINYINT, -128, 127),
        (BIGINT, -(2**63), 2**63 - 1),
        (UBIGINT, 0, 2**64 - 1),
        (BIG, Decimal(-(10**38) + 1), Decimal(10**38 - 1)),
    ],
    ids=str,
)
def test_sums_reach_the_ends_of_their_type_and_no_further(
    type: Any, least: Any, most: Any, by_key: bool
) -> None:
    sums = partial(totals, "SUM", type, by_key=by_key)
    assert [most, least] == sums([(most, 1)], [(most, -1), (least, 1)])
    assert sums([(most, 3), (most, -3), (0, 1)]) == [0]
    with pytest.raises(RuntimeSqlError):
        sums([(most, 1), (1, 1)])
    if least:
        with pytest.raises(RuntimeSqlError):
            sums([(least, 1), (-1, 1)])


@by_key
@pytest.mark.parametrize("type", [BIGINT, BIG], ids=str)
def test_an_average_may_have_a_sum_beyond_its_type(type: SqlType, by_key: bool) -> None:
    end = 2**63 - 1 if type is BIGINT else 10**38 - 1
    most, less = (end, end - 3) if type is BIGINT else (Decimal(end), Decimal(end - 3))

    assert [end, end - 2] == totals(
        "AVG", type, [(most, 3)], [(most, -2), (less, 2)], by_key=by_key
    )


@by_key
def test_averages_are_cut_toward_zero(by_key: bool) -> None:
    assert totals(
        "AVG", BIGINT, [(2, 1), (3, 1)], [(2, -1), (3, -1), (-2, 1), (-3, 1)], by_key=by_key
    ) == [2, -2]
    assert [Decimal("0.33"), Decimal("-0.66")] == totals(
        "AVG",
        decimal(5, 2),
        [(Decimal(1), 1), (Decimal(0), 2)],
        [(Decimal(1), -1), (Decimal(-2), 1)],
        by_key=by_key,
    )


wide = st.integers(-(2**126), 2**126).map(lambda i: i % (10**38) * (1 if i > 0 else -1))


@given(st.lists(st.tuples(wide, st.integers(1, 9)), min_size=1, max_size=6))
@settings(max_examples=examples(50), deadline=None)
def test_wide_averages_are_exact(values: Any) -> None:
    total = sum(x * w for x, w in values)
    count = sum(w for _, w in values)
    expected = abs(total) // count * (1 if total >= 0 else -1)

    (average,) = totals("AVG", BIG, [(Decimal(x), w) for x, w in values])

    assert expected == int(average)


@pytest.mark.parametrize("kind", ["SUM", "AVG"])
def test_infinities_and_nan_can_be_taken_back(kind: str) -> None:
    inf, nan = math.inf, math.nan

    values = totals(
        kind,
        DOUBLE,
        [(1.5, 1), (inf, 1)],
        [(-inf, 1)],
        [(inf, -1)],
        [(nan, 1)],
        [(-inf, -1), (nan, -1)],
    )

    assert [inf, "nan", -inf, "nan", 1.5] == ["nan" if v != v else v for v in values]


def test_a_great_value_taken_back_leaves_the_small_ones() -> None:
    assert totals("SUM", DOUBLE, [(1e17, 1)], [(0.1, 1), (1e17, -1)]) == [1e17, 0.1]
    assert [pytest.approx(0.3), None] == totals("SUM", DOUBLE, [(0.1, 3)], [(0.1, -1), (0.1, -2)])
    assert [pytest.approx(2.5)] == totals("AVG", REAL, [(2.0, 1), (3.0, 1)])


def rounded(values: Iterable[Fraction]) -> float:
    """The sum, rounded once."""
    total = sum(values, Fraction())
    try:
        return float(total)
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def test_a_total_beside_a_tie_is_rounded_once() -> None:
    """3·x lies between two doubles, as far from either; 1 less is nearer to the lower one."""
    x = 3.6407425037932585e69
    assert totals("SUM", DOUBLE, [(x, 3), (-1.0, 1)]) == [float(Fraction(x) * 3 - 1)]


def test_a_finite_total_comes_back_from_infinity() -> None:
    inf = math.inf
    assert totals("SUM", DOUBLE, [(1e308, 1)], [(1e308, 1)], [(1e308, -1)]) == [1e308, inf, 1e308]
    assert totals("AVG", DOUBLE, [(1e308, 4)], [(1e308, -2), (-1e308, 1)]) == [1e308, 1e308 / 3]
    assert totals("SUM", REAL, [(3e38, 2)], [(3e38, -1), (1.0, 1)])[1] == pytest.approx(3e38)


@given(
    st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 4))),
    st.lists(st.tuples(st.floats(), st.integers(1, 3))),
    st.data(),
)
@settings(max_examples=examples(60), deadline=None)
def test_what_is_taken_back_leaves_the_exact_sum_of_the_rest(
    kept: list[tuple[float, int]], gone: list[tuple[float, int]], data: Any
) -> None:
    events = [*kept, *gone, *((x, -w) for x, w in gone)]
    order = data.draw(st.permutations(range(len(events))))
    steps = [[events[i]] for i in order]
    expected = rounded(Fraction(x) * w for x, w in kept) if kept else None

    assert totals("SUM", DOUBLE, events)[-1] == expected
    if steps:
        assert totals("SUM", DOUBLE, *steps)[-1] == expected


@given(
    st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**60), 2**60)),
        max_size=6,
    )
)
@settings(max_examples=examples(60), deadline=None)
def test_totals_are_exact_for_any_weights(terms: list[tuple[float, int]]) -> None:
    sums = Totals()
    ids = np.zeros(len(terms), np.int64)
    sums.add(ids, np.array([w for _, w in terms], np.int64), np.array([x for x, _ in terms]))
    (pair,), (scaled,) = sums.read(np.zeros(1, np.int64))
    total = sum((Fraction(x) * w for x, w in terms), Fraction()) / (2**SHIFT if scaled else 1)
    assert pair[0] == float(total)
    assert scaled or pair[1] == float(total - Fraction(float(pair[0])))


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5),
    st.lists(st.floats(), max_size=5),
)
@settings(max_examples=examples(40), deadline=None)
def test_moments_forget_what_is_taken_back(kept: list[float], gone: list[float]) -> None:
    back = [[(x, 1) for x in [*gone, *kept]], [(x, -1) for x in reversed(gone)]]
    for kind in ("VAR_POP", "STDDEV_SAMP"):
        alone = totals(kind, DOUBLE, [(x, 1) for x in kept])
        assert totals(kind, DOUBLE, *back)[-1:] == alone


@pytest.mark.parametrize("unit", [1e-100, 1.0, 2.0**400, 1e300])
def test_a_deviation_needs_no_square_that_fits(unit: float) -> None:
    values = [(1 * unit, 1), (3 * unit, 2), (5 * unit, 1)]
    assert [pytest.approx(math.sqrt(2) * unit)] == totals("STDDEV_POP", DOUBLE, values)


amounts = st.integers(-(10**12), 10**12).map(lambda i: i / 1000)


@given(st.lists(amounts, min_size=1, max_size=20), st.randoms())
@settings(max_examples=examples(50), deadline=None)
def test_float_sums_do_not_depend_on_the_order(values: list[float], random: Any) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)

    forth = totals("SUM", DOUBLE, [(x, 1) for x in values])
    back = totals("SUM", DOUBLE, *([(x, 1)] for x in shuffled))[-1]

    assert [math.fsum(values)] == forth == [back]


def test_a_sum_that_needs_more_parts_between_two_checkpoints_is_saved_whole(tmp_path: Path) -> None:
    columns = schema(k=DOUBLE, x=DOUBLE)
    shown = schema(k=DOUBLE, sum=DOUBLE, var=DOUBLE, covar=DOUBLE)
    calls = [
        AggregateSpec("SUM", (1,), (DOUBLE,), DOUBLE),
        AggregateSpec("VAR_POP", (1,), (DOUBLE,), DOUBLE),
        AggregateSpec("COVAR_POP", (1, 0), (DOUBLE, DOUBLE), DOUBLE),
    ]

    def built() -> Circuit:
        circuit = Circuit()
        stream = circuit.aggregate(circuit.source("t", columns), (0,), calls, shown)
        circuit.sink("out", stream, materialized=True)
        return circuit

    steps = [
        [((k, x), 1) for k in (1.0, 2.0, 3.0, 4.0, 5.0) for x in (0.125, 0.25)],
        [((2.0, 1e40), 1), ((2.0, 1e-40), 1), ((3.0, 1e305), 1)],
        [((4.0, 1e20), 1)],
        [((2.0, 1e40), -1), ((3.0, 1e305), -1)],
    ]
    store = StateStore(tmp_path, Unsynced())
    steady, other = built(), built()
    for step in steps:
        steady.step({"t": [as_input(columns, step)]})
        other.step({"t": [as_input(columns, step)]})
        saved = json.loads(json.dumps(other.capture().write(store)))
        other = built()
        other.restore(store, saved)
    expected = bag(batch_to_rows(steady.snapshot("out").batch()))
    assert bag(batch_to_rows(other.snapshot("out").batch())) == expected
    assert {row[1] for row in expected if row[0] in (1.0, 3.0)} == {0.375}


@pytest.mark.parametrize("value", [0.1, 1e-3, 123456.789, -7e10 / 3, 1e100 / 3])
def test_equal_doubles_do_not_vary(value: float) -> None:
    for kind in ("VAR_POP", "STDDEV_POP", "STDDEV_SAMP"):
        assert totals(kind, DOUBLE, [(value, 3)], [(value, 4)], [(value, 10**6)]) == [0.0] * 3


def test_doubles_that_hardly_vary_do_by_what_they_do() -> None:
    values = [0.1, 0.1, math.nextafter(0.1, 1)]
    exact = [Fraction(v) for v in values]
    mean = sum(exact) / 3
    variance = sum((v - mean) ** 2 for v in exact) / 3
    (got,) = totals("VAR_POP", DOUBLE, [(v, 1) for v in values])
    assert got == pytest.approx(float(variance), rel=1e-15, abs=0)
