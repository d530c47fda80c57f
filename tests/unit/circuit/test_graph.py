"""The graph: what a step visits, returns and refuses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest

from penstock.circuit import AggregateSpec, Circuit, Order
from penstock.circuit.graph import TENDED_STEPS
from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows, batch_to_rows
from penstock.data.types import BIGINT, INTEGER, TINYINT, VARCHAR, Schema, schema
from penstock.errors import RuntimeSqlError
from penstock.state import spine as spine_module
from penstock.state.ordered import OrderedSpine
from penstock.state.spine import Spine
from tests.oracle.drive import as_input

T = schema(k=INTEGER, x=TINYINT)
COUNT = AggregateSpec("COUNT", (), (), BIGINT.with_nullable(False))
SUM = AggregateSpec("SUM", (1,), (TINYINT,), TINYINT)


def step(circuit: Circuit, *rows: tuple[Any, int], schema: Schema = T) -> list[Any]:
    """Step table t and return what the sink says, in a fixed order."""
    changes = circuit.step({"t": [as_input(schema, rows)]} if rows else {})
    return sorted(batch_to_rows(changes["out"]), key=repr)


def counting(keys: Sequence[int], *calls: AggregateSpec) -> Circuit:
    circuit = Circuit()
    table = circuit.source("t", T)
    fields = {f"k{k}": T.types[k] for k in keys} | {f"c{i}": c.result for i, c in enumerate(calls)}
    circuit.sink("out", circuit.aggregate(table, keys, calls, schema(**fields)), materialized=True)
    return circuit


def test_a_global_aggregate_has_its_row_before_any_input() -> None:
    circuit = counting((), COUNT, SUM)

    assert step(circuit) == [((0, None), 1)]
    assert step(circuit) == []
    assert step(circuit, ((1, 5), 1)) == [((0, None), -1), ((1, 5), 1)]
    assert step(circuit, ((1, 5), -1)) == [((0, None), 1), ((1, 5), -1)]


def test_a_global_aggregate_that_meets_input_in_its_first_step_emits_one_row() -> None:
    assert step(counting((), COUNT, SUM), ((1, 5), 1)) == [((1, 5), 1)]


def test_a_group_vanishes_with_its_last_row() -> None:
    circuit = counting((0,), COUNT)

    assert step(circuit, ((1, 5), 1), ((1, 6), 1), ((None, None), 1)) == [
        ((1, 2), 1),
        ((None, 1), 1),
    ]
    assert step(circuit, ((1, 5), -1), ((1, 6), -1)) == [((1, 2), -1)]


def test_an_aggregate_that_does_not_change_emits_nothing() -> None:
    circuit = counting((0,), SUM)
    step(circuit, ((1, 5), 1))

    assert step(circuit, ((1, None), 1)) == []


def test_a_total_that_does_not_fit_its_type_is_an_error_and_ends_the_circuit() -> None:
    circuit = counting((0,), SUM)
    assert step(circuit, ((1, 100), 1), ((1, 27), 1)) == [((1, 127), 1)]

    with pytest.raises(RuntimeSqlError, match="TINYINT"):
        step(circuit, ((1, 1), 1))
    with pytest.raises(RuntimeError, match="earlier step failed"):
        step(circuit)


def test_an_overflow_that_the_same_step_takes_back_is_none() -> None:
    circuit = counting((0,), SUM)

    assert step(circuit, ((1, 100), 1), ((1, 100), 1), ((1, 100), -1)) == [((1, 100), 1)]


def test_a_constant_is_emitted_once() -> None:
    circuit = Circuit()
    circuit.sink("out", circuit.constant(batch_from_rows(T, [(1, 2)])))

    assert step(circuit) == [((1, 2), 1)]
    assert step(circuit) == []


def test_a_snapshot_stays_as_it_was_taken() -> None:
    circuit = counting((0,), COUNT)
    step(circuit, ((1, 5), 1))

    before = circuit.snapshot("out")
    step(circuit, ((1, 5), 1), ((2, 5), 1))

    assert batch_to_rows(before.batch()) == [((1, 1), 1)]
    assert {((1, 2), 1), ((2, 1), 1)} == set(batch_to_rows(circuit.snapshot("out").batch()))
    assert before.rows == 1


def test_what_keeps_no_integral_has_no_snapshot() -> None:
    circuit = Circuit()
    circuit.sink("out", circuit.source("t", T))

    for name in ("out", "t", "nothing"):
        with pytest.raises(KeyError):
            circuit.snapshot(name)


def test_nodes_without_input_are_skipped() -> None:
    circuit = Circuit()
    calls: list[int] = []

    def noted(batch: Batch) -> Batch:
        calls.append(len(batch))
        return batch

    circuit.source("u", T)
    circuit.sink("out", circuit.map(circuit.source("t", T), noted, T))
    circuit.step({})
    circuit.step({"u": [as_input(T, [((1, 1), 1)])]})
    assert calls == []

    step(circuit, ((1, 1), 1), ((2, 1), 1))
    assert calls == [2]


def test_two_joins_over_the_same_input_and_key_share_one_arrangement() -> None:
    circuit = Circuit()
    t, u, v = (circuit.source(name, T) for name in "tuv")
    both = Schema(T.fields + T.fields)
    first = circuit.join(t, u, [(0, 0)], [False], "inner", None, both)
    second = circuit.join(t, v, [(0, 0)], [False], "left", None, both)
    circuit.sink("out", circuit.union([first, second]))

    names = [s.name for s in circuit.stats()]

    assert sum(name.startswith("arrange") for name in names) == 3


def test_the_statistics_count_rows_in_out_and_kept() -> None:
    circuit = counting((0,), COUNT)
    step(circuit, ((1, 5), 1), ((1, 6), 1), ((2, 5), 1))

    by_name = {s.name.split()[0]: s for s in circuit.stats()}

    assert _numbers(by_name["source"]) == (3, 3, 0)
    assert _numbers(by_name["aggregate"]) == (3, 2, 2)
    assert _numbers(by_name["sink"]) == (2, 2, 2)


def test_seconds_are_those_of_the_clock_that_is_given_for_what_ran() -> None:
    circuit = Circuit()
    for name in "tu":
        circuit.sink(f"out {name}", circuit.source(name, T))
    ticks = count()
    circuit.measure(lambda: float(next(ticks)))
    for row in ((1, 5), (2, 5)):
        circuit.step({"t": [as_input(T, [(row, 1)])]})

    seconds = {s.name: s.seconds for s in circuit.stats()}

    assert seconds == {"source t": 2.0, "sink out t": 2.0, "source u": 0.0, "sink out u": 0.0}
    assert next(ticks) == 8


def _numbers(s: Any) -> tuple[int, int, int]:
    return (s.rows_in, s.rows_out, s.state_rows)


def test_a_row_that_leaves_the_top_is_followed_by_its_successor() -> None:
    circuit = Circuit()
    circuit.sink("out", circuit.topk(circuit.source("t", T), (), [Order(1, True, False)], 2))

    assert step(circuit, ((1, 9), 1), ((2, 8), 1), ((3, 7), 1)) == [((1, 9), 1), ((2, 8), 1)]
    assert step(circuit, ((1, 9), -1)) == [((1, 9), -1), ((3, 7), 1)]
    assert step(circuit, ((4, 1), 1)) == []


def test_the_top_of_a_long_partition_survives_losing_its_head_row_by_row() -> None:
    circuit = Circuit()
    wide = schema(x=INTEGER, s=VARCHAR)
    circuit.sink("out", circuit.topk(circuit.source("t", wide), (), [Order(0)], 1))
    rows = [((x, "the same long string in every row"), 1) for x in range(200)]
    step(circuit, *rows, schema=wide)

    for (x, s), _ in rows[:-1]:
        assert [((x + 1, s), 1), ((x, s), -1)] == sorted(
            step(circuit, ((x, s), -1), schema=wide), key=lambda pair: -pair[1]
        )


def test_rows_in_reserve_save_reading_a_partition_whose_first_rows_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = []
    prefixes = OrderedSpine.prefixes

    def counted(self: OrderedSpine, *args: Any, **kwargs: Any) -> Any:
        read.append(args)
        return prefixes(self, *args, **kwargs)

    monkeypatch.setattr(OrderedSpine, "prefixes", counted)
    circuit = Circuit()
    wide = schema(k=INTEGER, x=INTEGER)
    circuit.sink("out", circuit.topk(circuit.source("t", wide), (), [Order(0)], 10))
    step(circuit, *(((x, 0), 1) for x in range(300)), schema=wide)

    for x in range(200):
        changed = step(circuit, ((x, 0), -1), schema=wide)
        assert sorted(changed) == [((x, 0), -1), ((x + 10, 0), 1)]

    # ten more are read with those that are shown
    assert len(read) == 200 // 11 + 1


def test_a_minimum_survives_losing_its_best_values_one_by_one() -> None:
    circuit = Circuit()
    wide = schema(k=INTEGER, x=INTEGER)
    call = AggregateSpec("MIN", (1,), (INTEGER,), INTEGER)
    out = schema(k=INTEGER, m=INTEGER)
    circuit.sink("out", circuit.aggregate(circuit.source("t", wide), (0,), [call], out))
    step(circuit, *(((1, x), 1) for x in range(200)), schema=wide)

    for x in range(199):
        assert [((1, x), -1), ((1, x + 1), 1)] == sorted(
            step(circuit, ((1, x), -1), schema=wide), key=lambda pair: pair[1]
        )


def test_a_table_takes_its_batches_in_order() -> None:
    circuit = Circuit()
    circuit.sink("out", circuit.source("t", T, (0,)))
    one, two = (as_input(T, [((1, x), 1)]) for x in (1, 2))

    changes = circuit.step({"t": [one, two]})["out"]

    assert batch_to_rows(changes) == [((1, 2), 1)]
    assert np.array_equal([1], changes.weights)


@pytest.mark.parametrize("kind", ["aggregate", "best", "distinct", "left"])
def test_rows_that_come_and_go_do_not_pile_up(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # what nobody looks into may wait four times as long
    monkeypatch.setattr(spine_module, "LOG_ROWS", 64)
    circuit = Circuit()
    wide = schema(k=INTEGER, x=INTEGER)
    t = circuit.source("t", wide)
    if kind == "aggregate":
        calls = [COUNT, AggregateSpec("SUM", (1,), (INTEGER,), INTEGER)]
        out = circuit.aggregate(t, (0,), calls, schema(k=INTEGER, n=COUNT.result, s=INTEGER))
    elif kind == "best":
        calls = [
            AggregateSpec("MAX", (1,), (INTEGER,), INTEGER),
            AggregateSpec("COUNT", (1,), (INTEGER,), COUNT.result, distinct=True),
            AggregateSpec("MODE", (1,), (INTEGER,), INTEGER),
        ]
        best = schema(k=INTEGER, m=INTEGER, n=COUNT.result, o=INTEGER)
        out = circuit.aggregate(t, (0,), calls, best)
    elif kind == "distinct":
        out = circuit.distinct(t)
    else:
        both = Schema(wide.fields + wide.fields)
        out = circuit.join(t, t, [(0, 0)], [False], "left", None, both)
    circuit.sink("out", out, materialized=True)
    step(circuit, ((-1, 7), 1), schema=wide)

    for start in range(0, 12_000, 500):
        rows = [(k, k) for k in range(start, start + 500)]
        step(circuit, *((r, 1) for r in rows), schema=wide)
        step(circuit, *((r, -1) for r in rows), schema=wide)
    step(circuit, ((-1, 7), 1), schema=wide)

    most = 10_000 if kind == "best" else 4_000
    assert max(s.state_rows for s in circuit.stats()) < most
    expected = {
        "aggregate": [((-1, 2, 14), 1)],
        "best": [((-1, 7, 1, 7), 1)],
        "distinct": [((-1, 7), 1)],
        "left": [((-1, 7, -1, 7), 4)],
    }
    assert expected[kind] == batch_to_rows(circuit.snapshot("out").batch())


@pytest.mark.parametrize("kind", ["MIN", "MAX"])
def test_an_insertion_that_settles_an_earlier_retraction_is_no_new_best(kind: str) -> None:
    circuit = Circuit()
    wide = schema(k=INTEGER, x=INTEGER)
    call = AggregateSpec(kind, (1,), (INTEGER,), INTEGER)
    out = schema(k=INTEGER, m=INTEGER)
    circuit.sink("out", circuit.aggregate(circuit.source("t", wide), (0,), [call], out))
    better = 3 if kind == "MIN" else 7

    assert step(circuit, ((1, 5), 2), schema=wide) == [((1, 5), 1)]
    assert step(circuit, ((1, better), -1), schema=wide) == []
    assert step(circuit, ((1, better), 1), schema=wide) == []
    assert [((1, 5), -1), ((1, better), 1)] == sorted(
        step(circuit, ((1, better), 1), schema=wide), key=lambda pair: pair[1]
    )


def test_every_operator_says_what_it_computes_and_what_it_remembers() -> None:
    """An operator without `parts` would come back from a restart without its state."""
    from penstock.circuit.node import Linear, Node

    operators = {*Node.__subclasses__(), *Linear.__subclasses__()} - {Linear}
    assert len(operators) >= 12
    for operator in operators:
        assert "parameters" in vars(operator), operator
        assert "parts" in vars(operator) or "state_rows" not in vars(operator), operator


@pytest.mark.parametrize("is_materialized", [False, True])
def test_an_output_says_what_is_left_of_a_step_whenever_it_is_looked_at(
    is_materialized: bool,
) -> None:
    circuit = Circuit()
    circuit.sink("out", circuit.source("t", T), is_materialized)
    rows = ((1, 1), 1), ((2, 2), 1), ((1, 1), 1), ((2, 2), -1), ((3, 3), 1)
    changes = circuit.step({"t": [as_input(T, rows)]})
    circuit.step({"t": [as_input(T, [((9, 9), 1)])]})

    assert list(changes) == ["out"] and len(changes) == 1
    assert changes["out"] is changes["out"] and changes["out"].consolidated
    assert sorted(batch_to_rows(changes["out"])) == [((1, 1), 2), ((3, 3), 1)]


def test_no_step_sorts_what_several_operators_remember_of_the_steps_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spine_module, "SMALL_ROWS", 2048)
    circuit = Circuit()
    table = circuit.source("t", T)
    tops = [circuit.topk(table, (0,), (Order(1, descending=True),), n + 1) for n in range(4)]
    for n, top in enumerate(tops):
        circuit.sink("out" if not n else f"out{n}", top)
    held = [top.node.parts()["held"] for top in tops]

    def on_top(spine: object) -> int:
        assert isinstance(spine, Spine)
        return len(spine.sorted_runs()) + len(spine._unbuilt)

    sorts = []
    step(circuit, *(((k, 0), 1) for k in range(1, 2048)))
    for x in range(100):
        before = [on_top(s) for s in held]
        step(circuit, ((1, x), 1))
        after = [on_top(s) for s in held]
        sorts.append(sum(a < b for a, b in zip(after, before, strict=True)))
    assert max(sorts) == 1


@pytest.mark.parametrize("is_idle", [False, True])
def test_what_waits_for_more_rows_is_merged_though_none_come(
    monkeypatch: pytest.MonkeyPatch, is_idle: bool
) -> None:
    """A table that is only looked into, and one whose pipeline has nothing to do."""
    monkeypatch.setattr(spine_module, "LOG_ROWS", 16)
    monkeypatch.setattr(spine_module, "SMALL_ROWS", 0)
    circuit = Circuit()
    table, other = circuit.source("t", T), circuit.source("u", T)
    fields = schema(k=INTEGER, x=TINYINT, l=INTEGER, y=TINYINT)
    joined = circuit.join(table, other, ((0, 0),), (False,), "inner", None, fields)
    circuit.sink("out", joined)
    for start in range(0, 400, 16):
        # a log is sorted in another thread
        circuit.step({"u": [as_input(T, [((i, 1), 1) for i in range(start, start + 16)])]})
        spine_module.rest()
    (spine,) = (s for s in circuit._spines if len(s) == 400)
    runs = len(spine.sorted_runs())
    assert runs > 4

    if is_idle:
        while circuit.tend():
            pass
    else:
        for i in range(2 * TENDED_STEPS):
            assert step(circuit, ((i, 2), 1)) == [((i, 2, i, 1), 1)]
    assert len(spine.sorted_runs()) <= 3
