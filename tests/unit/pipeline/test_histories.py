"""Random histories of one connector: whatever happens, in the end the target equals the view.

    insert, delete            rows move
    reset, damage             somebody resets, somebody vandalises
    down, up                  the target goes away and comes back
    refuse, lose CALL         the next such call fails, before or after it did its work
    buffer overflow           a small queue that owes a snapshot when it is full

After damage by hand only a reset promises equality, so every history ends with one.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.pipeline.test_delivery import Bench

CALLS = st.sampled_from(["open", "begin", "stage", "publish", "apply"])
EVENTS = st.one_of(
    st.tuples(st.just("insert"), st.integers(0, 5)),
    st.tuples(st.just("insert"), st.integers(0, 5)),
    st.tuples(st.just("delete"), st.integers(0, 5)),
    st.tuples(st.just("reset"), st.just(0)),
    st.tuples(st.just("damage"), st.integers(0, 5)),
    st.tuples(st.just("down"), st.just(0)),
    st.tuples(st.just("up"), st.just(0)),
    st.tuples(st.just("refuse"), CALLS),
    st.tuples(st.just("lose"), CALLS),
    st.tuples(st.just("settle"), st.just(0)),
)


def play(bench: Bench, event: tuple[str, Any]) -> None:
    kind, what = event
    out, target = bench.outputs[0], bench.target
    if kind == "insert":
        bench.send((what, f"row {what}"))
    elif kind == "delete" and bench.total[(what, f"row {what}")]:
        bench.send((what, f"row {what}"), op=0)
    elif kind == "reset":
        out.request_reset()
    elif kind == "damage":
        target.rows = Counter({(-what, "vandal"): 1 + what})
    elif kind in ("down", "up"):
        target.is_down = kind == "down"
    elif kind in ("refuse", "lose"):
        target.failures.append((what, kind == "lose"))
    elif kind == "settle" and not target.is_down:
        bench.wait_processed()


@given(
    history=st.lists(EVENTS, max_size=25),
    overflow=st.booleans(),
    buffered=st.booleans(),
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_after_any_history_a_reset_leaves_the_target_equal_to_the_view(
    history: list[tuple[str, Any]], overflow: bool, buffered: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            out = bench.output(
                max_queued_records=3 if overflow else 10_000,
                overflow_resets=overflow,
                buffered=buffered,
                buffer_time_s=0.02,
            )
            for event in history:
                play(bench, event)
            bench.target.is_down = False
            last = out.request_reset()
            bench.settle(out)
            bench.send((9, "afterwards"))
            bench.settle(out)

            assert bench.target.rows == bench.total
            marker = bench.target.marker
            assert marker is not None and marker.rows == bench.total.total()
            record = bench.resets.find(last.token)
            assert record is not None and record.state == "done"
            assert not bench.failure
            generations = [g for g, _ in bench.target.looks]
            assert generations == sorted(generations), "an older generation wrote after a newer"
        finally:
            bench.target.is_down = False
            bench.close()
