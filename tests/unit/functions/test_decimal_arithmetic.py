"""Decimal arithmetic agrees with unbounded integers, or says that the result does not fit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.batch import Array, Column
from penstock.data.types import SqlType, decimal
from penstock.errors import RuntimeSqlError
from penstock.functions import int128
from penstock.functions.registry import resolve
from tests.examples import examples

MASK = 2**64 - 1


def words(*unscaled: int) -> Array:
    return np.array([[v & MASK, (v >> 64) & MASK] for v in unscaled], dtype=np.uint64)


def unscaled(values: Array) -> list[int]:
    out = []
    for low, high in values.tolist():
        v = low | high << 64
        out.append(v - (1 << 128) if v >> 127 else v)
    return out


@st.composite
def typed_value(draw: st.DrawFn) -> tuple[SqlType, int]:
    precision = draw(st.integers(1, 38))
    scale = draw(st.integers(0, precision))
    limit = 10**precision - 1
    word = 1 << 64  # what fits one is multiplied and compared by itself
    edges = st.sampled_from(
        [
            x
            for x in (0, 1, -1, limit, -limit, limit // 3, word, word - 1, 1 - word)
            if abs(x) <= limit
        ]
    )
    return decimal(precision, scale), draw(st.one_of(edges, st.integers(-limit, limit)))


def truncate(x: Fraction) -> int:
    whole = abs(x.numerator) // x.denominator
    return whole if x >= 0 else -whole


def reference(op: str, x: Fraction, y: Fraction) -> Fraction:
    if op == "%":
        return x - y * truncate(x / y)
    return {"+": x.__add__, "-": x.__sub__, "*": x.__mul__, "/": x.__truediv__}[op](y)


@settings(max_examples=examples(400), deadline=None)
@given(st.sampled_from("+-*/%"), typed_value(), typed_value())
def test_every_operator_is_exact_up_to_truncation(
    op: str, left: tuple[SqlType, int], right: tuple[SqlType, int]
) -> None:
    (a, x), (b, y) = left, right
    function = resolve(op, [a, b])
    precision, scale = function.result.precision, function.result.scale
    assert precision is not None and scale is not None
    args = [Column(a, words(x)), Column(b, words(y))]
    if op in "/%" and y == 0:
        with pytest.raises(RuntimeSqlError, match="by zero"):
            function.kernel(args, 1)
        return
    exact = reference(op, Fraction(x, 10 ** (a.scale or 0)), Fraction(y, 10 ** (b.scale or 0)))
    expected = truncate(exact * 10**scale)
    if abs(expected) >= 10**precision:
        assert function.can_fail
        with pytest.raises(RuntimeSqlError, match="does not fit"):
            function.kernel(args, 1)
    else:
        assert unscaled(function.kernel(args, 1).values) == [expected]


@pytest.mark.parametrize(
    ("op", "left", "right", "can_fail"),
    [
        ("*", decimal(3, 3), decimal(19, 0), False),
        ("*", decimal(19, 2), decimal(20, 0), True),
        ("+", decimal(37, 5), decimal(37, 5), False),
        ("-", decimal(38, 0), decimal(1, 0), True),
        ("%", decimal(5, 2), decimal(5, 2), True),
    ],
)
def test_a_result_with_room_for_all_does_not_fail(
    op: str, left: SqlType, right: SqlType, can_fail: bool
) -> None:
    assert resolve(op, [left, right]).can_fail is can_fail


@settings(max_examples=examples(200), deadline=None)
@given(typed_value(), st.integers(0, 38))
def test_rescaling_rounds_as_its_mode_says(value: tuple[SqlType, int], down: int) -> None:
    _type, x = value
    exact = Fraction(x, 10**down)
    floor = exact.numerator // exact.denominator
    expected = {
        int128.TRUNCATE: truncate(exact),
        int128.FLOOR: floor,
        int128.CEIL: -((-exact.numerator) // exact.denominator),
        int128.HALF_EVEN: round(exact),
        int128.HALF_UP: truncate(exact + Fraction(1 if x >= 0 else -1, 2)),
    }
    for mode, want in expected.items():
        out, bad = np.zeros((1, 2), np.uint64), np.zeros(1, np.uint8)
        if abs(want) >= 10**38:
            assert int128.rescale(words(x), 0, down, mode, 38, out, bad) == 1
        else:
            assert int128.rescale(words(x), 0, down, mode, 38, out, bad) == 0
            assert unscaled(out) == [want]


@settings(max_examples=examples(200), deadline=None)
@given(typed_value(), typed_value())
def test_comparison_aligns_scales_without_losing_digits(
    left: tuple[SqlType, int], right: tuple[SqlType, int]
) -> None:
    (a, x), (b, y) = left, right
    scale = max(a.scale or 0, b.scale or 0)
    out = np.zeros(1, dtype=np.int8)
    ka, kb = scale - (a.scale or 0), scale - (b.scale or 0)
    int128.compare(words(x), ka, words(y), kb, out)
    p, q = x * 10**ka, y * 10**kb
    assert out[0] == (p > q) - (p < q)


def test_a_one_row_operand_serves_every_row() -> None:
    t = decimal(5, 2)
    function = resolve("*", [t, t])
    column, factor = Column(t, words(150, -200, 0)), Column(t, words(300))
    assert unscaled(function.kernel([column, factor], 3).values) == [45000, -60000, 0]
    assert unscaled(function.kernel([factor, column], 3).values) == [45000, -60000, 0]


def test_a_bad_row_is_named_unless_it_is_null() -> None:
    t = decimal(5, 2)
    function = resolve("/", [t, t])
    divisor = Column(t, words(100, 0, 0), np.array([1, 0, 1], np.uint8))
    with pytest.raises(RuntimeSqlError) as caught:
        function.kernel([Column(t, words(1, 1, 1)), divisor], 3)
    assert caught.value.row == 2
    harmless = Column(t, words(100, 0, 0), np.array([1, 0, 0], np.uint8))
    function.kernel([Column(t, words(1, 1, 1)), harmless], 3)
