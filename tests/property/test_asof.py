"""An ASOF join equals its definition after any history, and costs what a change touches."""

from __future__ import annotations

from collections import Counter
from operator import ge, gt, le, lt
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock.data.hash as hashing
from penstock.circuit import Circuit
from penstock.circuit.ops import asof
from penstock.circuit.ops.asof import AsofJoin
from penstock.circuit.ordering import RowOrder
from penstock.data.build import batch_to_rows
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


#: forward, strict, least, inner
How = tuple[bool, bool, bool, bool]
HOWS: list[How] = [
    (False, False, False, False), (True, False, False, False), (False, True, True, True),
    (True, True, True, True), (False, False, True, True),
]  # fmt: skip


def oracle(left: Bag, right: Bag, how: How = HOWS[0]) -> Bag:
    """From the definition: of the rows with equal keys that are not later, the greatest."""
    forward, strict, least, inner = how
    passes = {(False, False): le, (True, False): ge, (False, True): lt, (True, True): gt}
    may_be = passes[forward, strict]
    out: Bag = Counter()
    by_time = comparison([(1, forward, True)], len(R))
    by_rest = comparison([(c, least, not least) for c in (0, 2, 3)], len(R))

    def is_before(a: tuple[Any, ...], b: tuple[Any, ...]) -> int:
        return by_rest(a, b) if a[1] == b[1] else by_time(a, b)

    for row, weight in left.items():
        best: tuple[Any, ...] | None = None
        for other in (r for r, w in right.items() if w > 0 and None not in (*row, r[0], r[1])):
            if (row[0], row[1]) == (other[0], other[3]) and may_be(other[1], row[2]):
                best = other if best is None or is_before(best, other) < 0 else best
        if best is not None or not inner:
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


@given(history=histories(), how=st.sampled_from(HOWS))
@settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)
def test_an_asof_join_is_what_it_is_defined_to_be(history: Any, how: Any) -> None:
    forward, strict, least, inner = how

    def build(c: Circuit, streams: Any) -> Any:
        return c.asof_join(
            streams["l"], streams["r"], KEYS, TIMES, _out(),
            forward=forward, strict=strict, least=least, inner=inner,
        )  # fmt: skip

    expected = oracle(table(history, "l"), table(history, "r"), how)
    assert run({"l": L, "r": R}, build, history)[0] == expected
    assert run({"l": L, "r": R}, build, as_one_step(history))[0] == expected


def test_a_change_costs_the_rows_that_feel_it_not_the_rows_of_its_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_up: list[int] = []
    joined = AsofJoin._joined

    def counting(self: Any, left: Any, *right: Any) -> Any:
        looked_up.append(len(left))
        return joined(self, left, *right)

    monkeypatch.setattr(AsofJoin, "_joined", counting)
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


@pytest.mark.parametrize("many", ["right", "left", "both"])
def test_a_change_among_many_rows_of_one_time_reads_none_that_stay_as_they_are(
    many: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    circuit = Circuit()
    left, right = circuit.source("l", L), circuit.source("r", R)
    circuit.sink("out", circuit.asof_join(left, right, KEYS, TIMES, _out()))
    n, m = (4000 if many in (side, "both") else 1 for side in ("left", "right"))
    trades = [((1, "", 7), n)] if n == 1 else [((1, "", 7 + i % 2), 1) for i in range(n)]
    prices = [((1, 5, f"v{i:05}", ""), 1) for i in range(m)]
    circuit.step({"l": [as_input(L, trades)], "r": [as_input(R, prices)]})
    read: list[int] = []
    settled, between = RowOrder.settled, asof.between

    def sorting(self: Any, places: Any, rows: Any) -> Any:
        read.append(len(rows))
        return settled(self, places, rows)

    def counting(*args: Any) -> Any:
        found = between(*args)
        read.append(len(found[1]))
        return found

    monkeypatch.setattr(RowOrder, "settled", sorting)
    monkeypatch.setattr(asof, "between", counting)
    # not the greatest of its time, and one that comes and goes at once
    came = [((1, 5, "u", ""), 1), ((1, 6, "z", ""), 1), ((1, 6, "z", ""), -1)]
    late = [((1, "", 9), 1)]
    change = circuit.step({"l": [as_input(L, late)], "r": [as_input(R, came)]})["out"]

    assert batch_to_rows(change) == [((1, "", 9, *prices[-1][0]), 1)]
    assert 0 < sum(read) < 60 or hashing._test_mask != hashing.ALL_BITS

    # the greatest goes: of all left rows, as they see another
    change = circuit.step({"r": [as_input(R, [(prices[-1][0], -1)])]})["out"]
    other = ((1, 5, f"v{m - 2:05}" if m > 1 else "u", ""),)[0]
    seen = Counter({(1, "", 9): 1})
    for row, weight in trades:
        seen[row] += weight
    assert dict(batch_to_rows(change)) == {
        (*row, *right): sign * weight
        for row, weight in seen.items()
        for right, sign in ((prices[-1][0], -1), (other, 1))
    }
