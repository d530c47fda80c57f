"""UNNEST is linear: the sum of its output is that of the sum of its input."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.data.types import BIGINT, INTEGER, VARCHAR, array_of, map_of, row_of, schema
from tests.examples import examples
from tests.oracle.drive import as_one_step, run, table
from tests.oracle.relational import bag

LONG = "longer than twelve bytes"
T = schema(
    k=INTEGER, a=array_of(VARCHAR), m=map_of(INTEGER, VARCHAR), s=array_of(row_of(x=INTEGER))
)
texts = st.sampled_from([None, "", "a", LONG])
rows = st.tuples(
    st.integers(0, 1),
    st.one_of(st.none(), st.lists(texts, max_size=3).map(tuple)),
    st.none(),
    st.none(),
)
steps = st.fixed_dictionaries(
    {"t": st.lists(st.tuples(rows, st.sampled_from([-1, 1, 1, 2])), max_size=5)}
)


def flattened(history: Any) -> Any:
    """The five-line oracle."""
    return bag(
        ((row[0], x, i), weight)
        for row, weight in table(history, "t").items()
        for i, x in enumerate(row[1] or (), 1)
    )


OUT = schema(k=INTEGER, x=VARCHAR, i=BIGINT.with_nullable(False))


def build(circuit: Any, streams: Any) -> Any:
    return circuit.flat_map(streams["t"], 1, (0,), True, OUT)


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(steps, max_size=4))
def test_the_sum_of_its_changes_is_the_oracle_of_the_sum(history: Any) -> None:
    total, _ = run({"t": T}, build, history)
    at_once, _ = run({"t": T}, build, as_one_step(history))
    assert total == at_once == flattened(history)
