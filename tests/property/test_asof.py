"""An ASOF join equals its definition after any history, and costs what a change touches."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock.data.hash as hashing
from penstock.circuit import Circuit
from penstock.circuit.ops.asof import AsofJoin
from penstock.data.types import INTEGER, VARCHAR, Schema, schema
from tests.examples import examples
from tests.oracle.drive import as_input, as_one_step, run, table
from tests.oracle.relational import Bag, comparison

L = schema(k=INTEGER, j=VARCHAR, t=INTEGER)
R = schema(k=INTEGER, t=INTEGER, v=VARCHAR, j=VARCHAR.with_nullable(False))
LONG = "a string that does not fit a view "
KEYS, TIMES = ((0, 0), (1, 3)), (2, 1)


def _out() -> Schema:
    nullable = schema(rk=INTEGER, rt=INTEGER, v=VARCHAR, rj=VARCHAR)
    return Schema((*L.fields, *nullable.fields))


def oracle(left: Bag, right: Bag) -> Bag:
    """From the definition: of the rows with equal keys that are not later, the greatest."""
    out: Bag = Counter()
    is_before = comparison([(1, False, True)], len(R))
    for row, weight in left.items():
        best: tuple[Any, ...] | None = None
        for other in (r for r, w in right.items() if w > 0 and None not in (*row, r[0], r[1])):
            if (row[0], row[1]) == (other[0], other[3]) and other[1] <= row[2]:
                best = other if best is None or is_before(best, other) < 0 else best
        out[row + (best or (None,) * len(R))] += weight
    return out


lefts = st.tuples(
    st.sampled_from([1, 1, 2, None]), st.sampled_from(["", LONG + "1", None]),
    st.sampled_from([-(2**31), *range(6), 2**31 - 1, None]),
)  # fmt: skip
rights = st.tuples(
    st.sampled_from([1, 1, 2, None]), st.sampled_from([-(2**31), *range(6), 2**31 - 1, None]),
    st.sampled_from(["a", LONG + "2", None]), st.sampled_from(["", LONG + "1"]),
)  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, list[Any]]]:
    """Rows come and go, some go before they come; in the end none is owed."""
    weights = st.sampled_from([1, 1, 1, 1, 2, -1, -2])
    deltas = {
        name: st.lists(st.tuples(st.sampled_from(pool), weights), max_size=8)
        for name, pool in (
            ("l", draw(st.lists(lefts, min_size=1, max_size=10))),
            ("r", draw(st.lists(rights, min_size=1, max_size=10))),
        )
    }
    steps = draw(st.lists(st.fixed_dictionaries(deltas), min_size=1, max_size=5))
    owed = {n: [(row, -w) for row, w in table(steps, n).items() if w < 0] for n in deltas}
    return [*steps, owed]


@pytest.fixture(params=[hashing.ALL_BITS, 0b1], ids=["true", "colliding"], autouse=True)
def _hashes(request: pytest.FixtureRequest) -> Any:
    before, hashing._test_mask = hashing._test_mask, request.param
    yield
    hashing._test_mask = before


@given(history=histories())
@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)
def test_an_asof_join_is_what_it_is_defined_to_be(history: Any) -> None:
    def build(c: Circuit, streams: Any) -> Any:
        return c.asof_join(streams["l"], streams["r"], KEYS, TIMES, _out())

    expected = oracle(table(history, "l"), table(history, "r"))
    assert run({"l": L, "r": R}, build, history)[0] == expected
    assert run({"l": L, "r": R}, build, as_one_step(history))[0] == expected


def test_a_change_costs_the_rows_that_feel_it_not_the_rows_of_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up: list[int] = []
    beside = AsofJoin._beside

    def counting(self: Any, left: Any) -> Any:
        looked_up.append(len(left))
        return beside(self, left)

    monkeypatch.setattr(AsofJoin, "_beside", counting)
    circuit = Circuit()
    left, right = circuit.source("l", L), circuit.source("r", R)
    circuit.sink("out", circuit.asof_join(left, right, KEYS, TIMES, _out()))
    prices = [((1, 10 * i, "v", ""), 1) for i in range(2000)]
    trades = [((1, "", 5 * i), 1) for i in range(4000)]
    circuit.step({"l": [as_input(L, trades)], "r": [as_input(R, prices)]})
    looked_up.clear()

    late = {"l": [as_input(L, [((1, "", 777), 1)])], "r": [as_input(R, [((1, 9_003, "w", ""), 1)])]}
    change = circuit.step(late)["out"]

    assert sum(looked_up) < 10
    assert len(change) == 3  # the late trade, and the one trade whose price it was: -old +new
