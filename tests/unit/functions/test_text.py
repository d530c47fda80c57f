"""Strings are compared where they lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from penstock.compile.frame import gather, scatter
from penstock.data.batch import Column
from penstock.data.build import column_from_python, column_to_python
from penstock.data.types import VARCHAR
from penstock.functions import text

#: of all lengths around a view's 4, 12 and 16 bytes; some differ in one byte only
WORDS = ["", "a", "abcd", "abcx", "abcdefghijkl", "abcdefghijkx", "abcdefghijklm", "abcdefghijklx",
         "abcdXfghijklm", "x" * 17, "x" * 16 + "y", "x" * 9 + "y" + "x" * 7, "é" * 20]  # fmt: skip


def column(words: list[Any]) -> Column:
    return column_from_python(VARCHAR, words)


@pytest.mark.parametrize("other", WORDS)
def test_equality_and_order_are_those_of_the_bytes_whichever_heap_they_are_in(other: str) -> None:
    one, all_ = column([other]), column(WORDS)
    equal = [w == other for w in WORDS]
    order = [(w.encode() > other.encode()) - (w.encode() < other.encode()) for w in WORDS]

    assert text.equal(all_, one).tolist() == text.equal(one, all_).tolist() == equal
    assert text.equal(all_, column([other] * len(WORDS))).tolist() == equal
    assert text.order(all_, one).tolist() == order


def test_no_row_is_compared_with_a_constant() -> None:
    none, one = column([]), column(["a string that is longer than a view"])
    assert len(text.equal(none, one)) == len(text.order(one, none)) == 0


def test_rows_that_are_taken_apart_come_back_together() -> None:
    words = [*WORDS, None]
    whole, n = column(words), len(words)
    even, odd = np.arange(0, n, 2), np.arange(1, n, 2)
    pieces = [(odd, gather(whole, odd)), (even, gather(whole, even))]
    assert column_to_python(scatter(VARCHAR, n, pieces)) == words
