"""Window functions equal their definitions after any history, and cost what a change touches."""

from __future__ import annotations

import datetime
import math
import uuid
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock.data.hash as hashing
from penstock.circuit import Circuit, Frame, Order, WindowSpec, extremes, nearest, recalled, totals
from penstock.circuit.float_frames import FloatSums, frame_float_sums
from penstock.circuit.ops import far_end, frame_totals, running_window
from penstock.circuit.ops import window as plain_window
from penstock.circuit.ops.window import Window
from penstock.compile.program import compile_circuit
from penstock.data.build import batch_to_rows
from penstock.data.types import (
    BIGINT,
    DATE,
    DOUBLE,
    INTEGER,
    UBIGINT,
    UUID,
    VARCHAR,
    Field,
    Schema,
    SqlType,
    decimal,
    schema,
)
from penstock.sql.program import compile_program
from penstock.state import ranges
from penstock.state.ranges import between
from tests.examples import examples
from tests.oracle import windows as oracle
from tests.oracle.drive import as_input, as_one_step, run, table

T = schema(
    p=INTEGER, o=INTEGER, n=INTEGER.with_nullable(False), u=UBIGINT, d=decimal(9, 2), t=DATE,
    f=DOUBLE, s=VARCHAR,
)  # fmt: skip
LONG = "a string that does not fit a view "
NUMBER = BIGINT.with_nullable(False)


def maybe(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


rows = st.tuples(
    maybe(1),
    maybe(*range(-3, 9)),
    st.sampled_from([-(2**31), *range(6), 2**31 - 1]),
    maybe(0, 1, 2, 2**64 - 1, 2**64 - 2),
    maybe(*(Decimal(i) / 100 for i in (0, 1, -1, 150, 200))),
    maybe(*(datetime.date(2024, 2, 27) + datetime.timedelta(i) for i in range(4))),
    maybe(0.5, -1.5, 8.25),
    maybe("", "a", LONG + "1", LONG + "2"),
)


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, list[Any]]]:
    """Rows come and go, some go before they come; in the end none is owed."""
    pool = draw(st.lists(rows, min_size=1, max_size=12))
    delta = st.lists(
        st.tuples(st.sampled_from(pool), st.sampled_from([1, 1, 1, 1, 2, -1, -2])), max_size=8
    )
    steps = [{"t": step} for step in draw(st.lists(delta, min_size=1, max_size=6))]
    owed = [(row, -w) for row, w in table(steps, "t").items() if w < 0]
    return [*steps, {"t": owed}]


def frames(unit: str) -> st.SearchStrategy[Frame]:
    start, end = st.integers(-4, 2), st.integers(-2, 4)
    return st.builds(Frame, st.just(unit), st.one_of(st.none(), start), st.one_of(st.none(), end))


def result_of(kind: str, type: SqlType) -> SqlType:
    return NUMBER if kind == "COUNT" else type.with_nullable(True)


def runs(unit: str, back: bool) -> Frame:
    return Frame(unit, None, 0) if back else Frame(unit, 0, None)


@st.composite
def running(draw: st.DrawFn, back: bool) -> WindowSpec:
    """A call that goes on from row to row, from the first one (`back`) or from the last."""
    column = draw(st.sampled_from(["o", "d", "f", "s", "t"]))
    at, unit = T.index(column), draw(st.sampled_from(["RANGE", "ROWS"]))
    how = draw(st.sampled_from(["to the row", "to the row", "short of it", "values"]))
    if how == "values":
        args = (at, at) if draw(st.booleans()) else (at,)
        kind = "LAG" if back else "LEAD"
        return WindowSpec(kind, args, T.types[at], None, draw(st.integers(1, 3)), True)
    if how == "short of it":
        kind = draw(st.sampled_from(["COUNT", "MIN", "MAX", *["SUM", "AVG"] * (column in "odf")]))
        n = draw(st.integers(1, 3))
        frame = Frame("ROWS", None, -n) if back else Frame("ROWS", n, None)
        return WindowSpec(kind, (at,), result_of(kind, T.types[at]), frame)
    options = ["COUNT", "MIN", "MAX", "EDGE", *(["SUM", "AVG"] if column in "odf" else [])]
    options += ["RANK", "DENSE_RANK", "ROW_NUMBER"] if back else []
    kind = draw(st.sampled_from(options))
    if kind.endswith(("RANK", "ROW_NUMBER")):
        return WindowSpec(kind, (), NUMBER)
    if kind == "EDGE":
        name = "FIRST_VALUE" if back else "LAST_VALUE"
        return WindowSpec(name, (at,), T.types[at], runs(unit, back), 1, draw(st.booleans()))
    return WindowSpec(kind, (at,), result_of(kind, T.types[at]), runs(unit, back))


@st.composite
def calls(draw: st.DrawFn, how: str) -> WindowSpec:
    """A call that is felt in the way of `how`: by rows, by a range or everywhere."""
    column = draw(st.sampled_from(["o", "d", "f", "s", "t"]))
    at = T.index(column)
    type = T.types[at]
    if how in ("back", "ahead"):
        return draw(running(how == "back"))
    if how == "rank":
        return WindowSpec(draw(st.sampled_from(["ROW_NUMBER", "RANK", "DENSE_RANK"])), (), NUMBER)
    if how == "shift":
        kind = draw(st.sampled_from(["LAG", "LEAD"]))
        default = draw(st.booleans())
        return WindowSpec(
            kind, (at, at) if default else (at,), type, None, draw(st.integers(0, 3)),
            draw(st.sampled_from([False, False, True])),
        )  # fmt: skip
    if how == "whole":
        frame = Frame(draw(st.sampled_from(["RANGE", "ROWS"])), None, None)
        return WindowSpec("FIRST_VALUE", (at,), type, frame, 1, True)
    if how == "edge":
        is_first = draw(st.booleans())
        ends = draw(st.sampled_from([(None, None), (None, 0) if is_first else (0, None)]))
        frame = Frame(draw(st.sampled_from(["RANGE", "ROWS"])), *ends)
        name = "FIRST_VALUE" if is_first else "LAST_VALUE"
        return WindowSpec(name, (at,), type, frame, 1, draw(st.booleans()))
    if how == "values":
        kind = draw(st.sampled_from(["LAG", "LEAD"]))
        return WindowSpec(kind, (at,), type, None, draw(st.integers(1, 3)), True)
    options = ["COUNT", "MIN", "MAX", *(["SUM", "AVG"] if column in "odf" else [])]
    kind = draw(st.sampled_from(options))
    unit = "ROWS" if how == "one frame" else how
    return WindowSpec(kind, (at,), result_of(kind, type), draw(frames(unit)))


ONE = st.sampled_from(["o", "n", "u", "d", "t"])
MANY = st.sampled_from([("o", "s"), ("s",), ("f", "t"), ("d", "s", "o")])


@pytest.fixture(params=[hashing.ALL_BITS, 0b1], ids=["true", "colliding"], autouse=True)
def _hashes(request: pytest.FixtureRequest) -> Any:
    before, hashing._test_mask = hashing._test_mask, request.param
    yield
    hashing._test_mask = before


@given(
    data=st.data(), history=histories(), partition=st.sampled_from([(), (0,)]),
    first=st.sampled_from([1, 1, 16]),
)  # fmt: skip
@settings(
    max_examples=examples(120),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)
def test_a_window_function_is_what_it_is_defined_to_be(
    data: Any, history: Any, partition: Any, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # rows that are read behind a change at first: few, so that it takes several times
    monkeypatch.setattr(running_window, "_FIRST", first)
    # peers beside that are many, so that they are not read if possible: any, or more than there are
    monkeypatch.setattr(running_window, "_MANY", 0 if first == 1 else 8)
    # rows that are looked back by what is kept with each: none, so that others are read
    monkeypatch.setattr(recalled, "MOST", 0 if first == 1 else 8)
    # rows that are read sooner than totals of them are looked up: none, or all of so few
    for name, most in (("FEW", 4096), ("TIMES", 4), ("WIDE", 512)):
        monkeypatch.setattr(frame_totals, name, 0 if first == 1 else most)
    # rows beside that are read sooner than each frame is looked up: none, or some
    monkeypatch.setattr(frame_totals, "_ALONE", data.draw(st.sampled_from([0, 8])))
    # rows of one time that are not read if they stay as they are: any, or more than there are
    monkeypatch.setattr(frame_totals, "MANY", data.draw(st.sampled_from([1, 64])))
    # rows of partitions that are read as a whole: none, or all of so few
    monkeypatch.setattr(plain_window, "FEW_ROWS", -(1 << 60) if first == 1 else 200)
    monkeypatch.setattr(totals, "BLOCK", 2)
    # extreme values that are there no more, before all are read
    monkeypatch.setattr(extremes, "ROUNDS", 1 if first == 1 else 16)
    how = data.draw(st.sampled_from([
        ["RANGE"], ["RANGE"], ["ROWS"], ["ROWS", "shift"], ["shift"], ["rank"],
        ["RANGE", "rank", "edge"], ["ROWS", "shift", "edge"], ["back"], ["back"], ["ahead"],
        ["whole"], ["edge"], ["values"], ["one frame"], ["one frame"], ["one frame"],
    ]))  # fmt: skip
    drawn = data.draw(st.lists(st.sampled_from(how), min_size=1, max_size=3))
    specs = [data.draw(calls(each)) for each in drawn]
    if how == ["one frame"]:
        frame = data.draw(frames(data.draw(st.sampled_from(["RANGE", "ROWS"]))))
        specs = [replace(spec, frame=frame) for spec in specs]
    names = (
        (data.draw(ONE),)
        if "RANGE" in how or how == ["one frame"]
        else data.draw(st.one_of(st.tuples(ONE), MANY))
    )
    order = [(T.index(c), data.draw(st.booleans()), data.draw(st.booleans())) for c in names]
    fields = tuple(Field(f"w{i}", s.result) for i, s in enumerate(specs))

    def build(c: Circuit, streams: Any) -> Any:
        out = Schema((*T.fields, *fields))
        return c.window(streams["t"], partition, [Order(*o) for o in order], specs, out)

    expected = oracle.window(table(history, "t"), partition, order, specs)
    assert run({"t": T}, build, history)[0] == expected
    assert run({"t": T}, build, as_one_step(history))[0] == expected


@st.composite
def among_peers(draw: st.DrawFn) -> list[dict[str, list[Any]]]:
    """Rows of few times come and go, some before they come; in the end none is owed."""
    values = st.sampled_from([None, 0.5, 0.5, 8.25])
    names = ["", "a", "b", "b", *draw(st.sampled_from([[], [], [LONG, "a\0", None]]))]
    day = st.integers(0, 40).map(lambda i: datetime.date(2024, 2, 27) + datetime.timedelta(i))
    row = st.tuples(
        maybe(1),
        st.none(),
        st.integers(0, 3),
        maybe(7, 8),
        st.none(),
        day,
        values,
        st.sampled_from(names),
    )
    pool = draw(st.lists(row, min_size=8, max_size=40))
    steps = [{"t": [(each, 1) for each in pool[::2]]}]
    change = st.tuples(st.sampled_from(pool), st.sampled_from([1, 1, 1, -1, -1, -2]))
    steps += [{"t": s} for s in draw(st.lists(st.lists(change, max_size=4), max_size=8))]
    return [*steps, {"t": [(row, -w) for row, w in table(steps, "t").items() if w < 0]}]


@given(
    history=among_peers(), partition=st.sampled_from([(), (0,)]), back=st.booleans(),
    by=st.sampled_from([("n",), ("n",), ("u", "n"), ("s",), ("n", "s"), ("s", "n")]),
    kinds=st.lists(
        st.sampled_from([
            "RANK", "DENSE_RANK", "MAX", "MIN", "COUNT", "FIRST_VALUE", "ROW_NUMBER", "LAG",
        ]),
        min_size=1, max_size=3,
    ),
)  # fmt: skip
@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)
def test_peers_that_stay_as_they_are_have_the_values_they_should(
    history: Any, partition: Any, back: bool, by: Any, kinds: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(running_window, "_FIRST", 1)
    monkeypatch.setattr(running_window, "_MANY", 1)
    f = T.index("f")
    frame = Frame("RANGE", None, 0)
    specs = [
        WindowSpec(kind, (), NUMBER)
        if kind.endswith(("RANK", "ROW_NUMBER"))
        else WindowSpec(kind, (f,), DOUBLE, None, 2, True)
        if kind == "LAG"
        else WindowSpec(kind, (f,), result_of(kind, DOUBLE), frame, 1, kind == "FIRST_VALUE")
        for kind in kinds
    ]
    order = [(T.index(c), back, False) for c in by]
    fields = tuple(Field(f"w{i}", s.result) for i, s in enumerate(specs))

    def build(c: Circuit, streams: Any) -> Any:
        return c.window(
            streams["t"], partition, [Order(*o) for o in order], specs, Schema((*T.fields, *fields))
        )

    expected = oracle.window(table(history, "t"), partition, order, specs)
    assert run({"t": T}, build, history)[0] == expected


@pytest.mark.parametrize(
    ("call", "order"),
    [
        *((r, o) for r in ("RANK()", "DENSE_RANK()") for o in ("o", "w, o", "s", "w, s")),
        *((c, "o") for c in ("MAX(x)", "COUNT(NULLIF(x, x))", "RANK() AS r, MIN(x)")),
    ],
)
def test_a_row_that_comes_to_very_many_peers_reads_few_of_them(
    call: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = f"OVER (PARTITION BY g ORDER BY {order})"
    shown = ", ".join(
        f"{one} {over} AS v{i}" for i, one in enumerate(call.replace(" AS r", "").split(", "))
    ) if "NULLIF" not in call else f"{call} {over} AS v"  # fmt: skip
    plan = compile_program(f"""
        CREATE TABLE t (id BIGINT NOT NULL, g INT, o BIGINT, x BIGINT, s VARCHAR, w INT NOT NULL);
        CREATE VIEW v AS SELECT id, {shown} FROM t;
    """)
    circuit, rows = compile_circuit(plan), plan.tables[0].schema

    def step(*found: tuple[tuple[int, int, int], int]) -> list[Any]:
        delta = [((i, 1, o, x, f"no {o}", 1), weight) for (i, o, x), weight in found]
        return batch_to_rows(circuit.step({"t": [as_input(rows, delta)]})["v"])

    start = [(i, 5 * (i > 9), i % 7) for i in range(4000)]
    step(*((row, 1) for row in [*start, (5000, 7, 3), (5001, 8, 9)]))
    read: list[int] = []

    def counting(*args: Any) -> Any:
        found = between(*args)
        read.append(len(found[1]))
        return found

    monkeypatch.setattr(running_window, "between", counting)
    # a peer comes and one goes, one more comes, one behind them, and one before them that is alike
    for delta in (
        [((6000, 5, 3), 1), (start[100], -1)], [((6001, 5, 2), 1)], [((6002, 7, 3), 1)],
        [((6003, 9, 3), 1)],
        # the largest and the smallest of them go, of which there are others
        [(start[13], -1), (start[14], -1)],
    ):  # fmt: skip
        assert 0 < len(step(*delta)) < 12
    assert 0 < sum(read) < 200 or hashing._test_mask != hashing.ALL_BITS


@pytest.mark.parametrize("nulls_first", [True, False])
def test_nulls_that_go_before_they_come_see_the_totals_of_no_values(nulls_first: bool) -> None:
    null = (None, None, 0, None, None, None, None, None)
    value = (None, 0, *null[2:])
    history = [{"t": [(null, -2), (value, 1)]}, {"t": [(value, -1)]}, {"t": [(null, 2)]}]
    specs = [
        WindowSpec("COUNT", (), NUMBER, Frame("RANGE", None, 1)),
        WindowSpec("COUNT", (), NUMBER, Frame("RANGE", -2, None)),
    ]
    for spec in specs:

        def build(c: Circuit, streams: Any, spec: WindowSpec = spec) -> Any:
            out = Schema((*T.fields, Field("w", NUMBER)))
            return c.window(streams["t"], (), [Order(1, False, nulls_first)], [spec], out)

        assert run({"t": T}, build, history)[0] == Counter()


@pytest.mark.parametrize("order", [("s", True, True), ("s", False, False)], ids=["empty", "null"])
def test_a_rank_goes_on_into_many_rows_of_the_last_place_that_there_is(order: Any) -> None:
    # '' before nothing and NULL behind all have the greatest words of all
    last = "" if order[1] else None
    behind = [((None, None, i, None, None, None, None, last), 1) for i in range(40)]
    history = [{"t": behind}, {"t": [((None, None, 0, None, None, None, None, "a"), 1)]}]
    spec, ordered = WindowSpec("RANK", (), NUMBER), [(T.index("s"), *order[1:])]

    def build(c: Circuit, streams: Any) -> Any:
        out = Schema((*T.fields, Field("w", NUMBER)))
        return c.window(streams["t"], (), [Order(*o) for o in ordered], [spec], out)

    expected = oracle.window(table(history, "t"), (), ordered, [spec])
    assert run({"t": T}, build, history)[0] == expected


def test_a_frame_of_the_row_itself_may_be_looked_up_like_any_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("FEW", "TIMES", "WIDE"):
        monkeypatch.setattr(frame_totals, name, 0)
    spec = WindowSpec("COUNT", (1,), NUMBER, Frame("ROWS", 0, 0))
    row = (1, 7, 3, *[None] * (len(T.fields) - 3))
    history = [{"t": [(row, 1)]}, {"t": [(row, 1)]}, {"t": [(row, -2)]}]

    def build(c: Circuit, streams: Any) -> Any:
        out = Schema((*T.fields, Field("w0", spec.result)))
        return c.window(streams["t"], (), [Order(2, False, False)], [spec], out)

    for steps in (history[:1], history[:2], history):
        expected = oracle.window(table(steps, "t"), (), [(2, False, False)], [spec])
        assert run({"t": T}, build, steps)[0] == expected


FRAMES = {
    "range": WindowSpec("SUM", (1,), INTEGER, Frame("RANGE", -5, 0)),
    "rows": WindowSpec("COUNT", (), NUMBER, Frame("ROWS", -3, 2)),
    "lag": WindowSpec("LAG", (1,), INTEGER, None, 2),
    "lead": WindowSpec("LEAD", (1,), INTEGER),
}


@pytest.mark.parametrize("which", FRAMES)
def test_a_late_row_costs_its_neighbourhood_not_the_partition(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    evaluate = Window._evaluate

    def counting(self: Any, segments: Any, found: Any) -> Any:
        looked_at.append(len(found.rows))
        return evaluate(self, segments, found)

    monkeypatch.setattr(Window, "_evaluate", counting)
    t = schema(p=INTEGER, x=INTEGER)
    spec = FRAMES[which]
    circuit = Circuit()
    stream = circuit.source("t", t)
    out = Schema((*t.fields, Field("w", spec.result)))
    circuit.sink("out", circuit.window(stream, (0,), [Order(1)], [spec], out))
    circuit.step({"t": [as_input(t, [((1, 2 * i), 1) for i in range(5000)])]})
    looked_at.clear()

    late = [((1, 2001), 1), ((1, 8001), 1)]
    change = circuit.step({"t": [as_input(t, late)]})["out"]

    assert sum(looked_at) < 150
    assert 2 <= len(change) < 30


def test_dense_ranks_have_no_gap_where_a_row_was_deleted() -> None:
    """The rows of a partition are read with those that a later run takes back."""

    def build(c: Circuit, streams: Any) -> Any:
        call = WindowSpec("DENSE_RANK", (), NUMBER)
        return c.window(streams["t"], (), (Order(0),), (call,), Schema((*small.fields, rank)))

    small, rank = schema(x=NUMBER), Field("rank", NUMBER)
    history = [{"t": [((x,), 1) for x in range(4)]}, {"t": [((1,), -1)]}]

    found, _ = run({"t": small}, build, history)
    assert found == {(0, 1): 1, (2, 2): 1, (3, 3): 1}


def test_sums_of_floats_over_a_frame_that_moves_on_are_those_of_its_rows_alone() -> None:
    values = np.array([1e300, 1.0, 1e-300, -1e300, 1e16, 0.1, 1.7e308, 1.7e308, -1.7e308, 5e-324])
    start = np.arange(len(values) - 2)
    elements = FloatSums.of(len(values), np.arange(10), np.ones(10, np.int64), values)

    found, _ = frame_float_sums(start, start + 3, elements, np.ones(10, np.int64), False)

    def exact(of: Any) -> float:
        try:
            return float(sum(map(Fraction, of)))
        except OverflowError:
            return math.inf

    assert found.tolist() == [exact(values[i : i + 3]) for i in start]


def test_infinities_and_nan_leave_a_frame_with_their_rows() -> None:
    inf, nan = math.inf, math.nan
    values = np.array([1.0, inf, 2.0, -inf, nan, 4.0, 8.0])
    elements = FloatSums.of(7, np.arange(7), np.ones(7, np.int64), values)

    found, _ = frame_float_sums(np.arange(6), np.arange(2, 8), elements, np.ones(7, np.int64), True)

    assert repr(found.tolist()) == repr([inf, inf, -inf, nan, nan, 6.0])


BACK, AHEAD = Frame("RANGE", None, 0), Frame("RANGE", 0, None)
#: a call, the row that comes to 1 … 1000, and how many rows that changes
RUNNING = {
    "row number": (WindowSpec("ROW_NUMBER", (), NUMBER), 1001, 1),
    "rank": (WindowSpec("RANK", (), NUMBER), 1001, 1),
    "dense rank": (WindowSpec("DENSE_RANK", (), NUMBER), 990, 10),
    "running total": (WindowSpec("SUM", (1,), INTEGER, BACK), 1001, 1),
    "running average": (WindowSpec("AVG", (1,), INTEGER, BACK), 1001, 1),
    "running maximum": (WindowSpec("MAX", (1,), INTEGER, BACK), 1001, 1),
    "least of the rest": (WindowSpec("MIN", (1,), INTEGER, AHEAD), 500, 1),
    "first value": (WindowSpec("FIRST_VALUE", (1,), INTEGER, BACK), 500, 1),
    "last value": (WindowSpec("LAST_VALUE", (1,), INTEGER, AHEAD), 500, 1),
    "value before": (WindowSpec("LAG", (1,), INTEGER, None, 2, True), 500, 3),
    "value behind": (WindowSpec("LEAD", (1,), INTEGER, None, 1, True), 500, 2),
    "up to two rows before": (
        WindowSpec("MAX", (1,), INTEGER, Frame("ROWS", None, -2)),
        998,
        3,
    ),
    "from the next row on": (WindowSpec("MIN", (1,), INTEGER, Frame("ROWS", 1, None)), 500, 2),
}


@pytest.mark.parametrize("which", RUNNING)
def test_what_goes_on_from_row_to_row_is_read_from_the_change_on_while_it_differs(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counting(*args: Any) -> Any:
        found = between(*args)
        read.append(len(found[1]))
        return found

    t = schema(p=INTEGER, x=INTEGER)
    spec, value, changed = RUNNING[which]
    circuit = Circuit()
    out = Schema((*t.fields, Field("w", spec.result)))
    stream = circuit.window(circuit.source("t", t), (0,), [Order(1)], [spec], out)
    circuit.sink("out", stream)
    there = [i for i in range(1, 1001) if i != value]
    circuit.step({"t": [as_input(t, [((1, i), 1) for i in there])]})
    monkeypatch.setattr(running_window, "between", counting)

    change = circuit.step({"t": [as_input(t, [((1, value), 1)])]})["out"]

    assert 0 < sum(read) < 60
    assert len(change) <= 2 * changed + 1


def total(unit: str, start: int | None, end: int | None, kind: str = "MAX") -> WindowSpec:
    return WindowSpec(kind, (1,), INTEGER, Frame(unit, start, end))


#: a call, and the row that comes to 2, 4 … 8000, and changes few others
ELSEWHERE = {
    "up to some before": (total("RANGE", None, -50, "SUM"), 8001),
    "up to some behind": (total("RANGE", None, 50), 4001),
    "up to rows before": (total("ROWS", None, -20), 4001),
    "up to rows behind": (total("ROWS", None, 1, "SUM"), 8001),
    "from some before": (total("RANGE", -50, None), 4001),
    "from some behind": (total("RANGE", 50, None, "SUM"), 1),
    "from rows before": (total("ROWS", -20, None), 4001),
    "from rows behind": (total("ROWS", 20, None), 4001),
    "values before": (WindowSpec("LAG", (1,), INTEGER, None, 20, True), 4001),
    "values behind": (WindowSpec("LEAD", (1,), INTEGER, None, 20, True), 4001),
    "first value of all": (
        WindowSpec("FIRST_VALUE", (1,), INTEGER, Frame("RANGE", None, None), 1, True),
        4001,
    ),
    "last value of all": (
        WindowSpec("LAST_VALUE", (1,), INTEGER, Frame("ROWS", None, None), 1, True),
        4001,
    ),
}


@pytest.mark.parametrize("which", ELSEWHERE)
def test_a_row_that_changes_few_others_reads_few_wherever_frames_end(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    found_in = ranges._found

    def counting(*args: Any) -> Any:
        found = found_in(*args)
        read.append(0 if found is None else len(found[1]))
        return found

    t = schema(p=INTEGER, x=INTEGER)
    spec, value = ELSEWHERE[which]
    circuit = Circuit()
    out = Schema((*t.fields, Field("w", spec.result)))
    stream = circuit.window(circuit.source("t", t), (0,), [Order(1)], [spec], out)
    circuit.sink("out", stream)
    circuit.step({"t": [as_input(t, [((1, 2 * i), 1) for i in range(1, 4001)])]})
    monkeypatch.setattr(ranges, "_found", counting)

    change = circuit.step({"t": [as_input(t, [((1, value), 1)])]})["out"]

    assert 0 < sum(read) < 1000
    assert 0 < len(change) < 100


def test_a_row_that_changes_many_totals_has_them_read_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sought: list[int] = []

    def counting(spine: Any, order: Any, keys: Any, at: Any, *, ahead: bool) -> Any:
        sought.append(len(at))
        return nearest.nearest(spine, order, keys, at, ahead=ahead)

    monkeypatch.setattr(far_end, "nearest", counting)
    t = schema(p=INTEGER, x=INTEGER)
    spec = total("RANGE", None, -50, "SUM")
    circuit = Circuit()
    out = Schema((*t.fields, Field("w", spec.result)))
    stream = circuit.window(circuit.source("t", t), (0,), [Order(1)], [spec], out)
    circuit.sink("out", stream)
    circuit.step({"t": [as_input(t, [((1, 2 * i), 1) for i in range(1, 1001)])]})
    sought.clear()

    change = circuit.step({"t": [as_input(t, [((1, 1001), 1)])]})["out"]

    # rows from 1052 to 2000, before and after, and the one that came
    assert len(change) == 2 * 475 + 1
    assert sum(sought) < 10


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("nulls_first", [False, True])
def test_a_late_row_reaches_all_frames_over_decimals_that_may_be_null(
    descending: bool, nulls_first: bool
) -> None:
    """The word by which such rows are sorted tells NULL too, and counts in steps of two units."""
    only = Schema((Field("d", decimal(6, 2).with_nullable(True)),))
    spec = WindowSpec("COUNT", (), NUMBER, Frame("RANGE", -3, 2))
    order = Order(0, descending, nulls_first)
    rng = np.random.default_rng(3)
    values = [None if v == 9 else Decimal(int(v)) / 100 for v in rng.integers(-9, 10, 60)]

    def build(c: Circuit, streams: Any) -> Any:
        out = Schema((*only.fields, Field("n", NUMBER)))
        return c.window(streams["t"], (), [order], [spec], out)

    def near(v: Decimal | None, w: Decimal | None) -> bool:
        if v is None or w is None:
            return v is w
        return -3 <= (w - v) * 100 * (-1 if descending else 1) <= 2

    steps = [{"t": [((v,), 1)]} for v in values]
    found = run({"t": only}, build, steps)[0]
    assert found == Counter((v, sum(near(v, w) for w in values)) for v in values)


WIDE_FRAMES = {
    "rows before": Frame("ROWS", -9, 0),
    "rows around": Frame("ROWS", -4, 7),
    "rows behind": Frame("ROWS", 3, 11),
    "range before": Frame("RANGE", -30, 0),
    "range around": Frame("RANGE", -20, 25),
    "range far before": Frame("RANGE", -40, -15),
    "no row": Frame("RANGE", 9, 2),
}


def wide_row(p: int, o: int | None, x: int | None, f: float) -> tuple[Any, ...]:
    """With strings that begin alike, decimals and UUIDs that fit no word, in another order."""
    if x is None:
        return (p, o, x, f, None, None, None)
    text = (LONG + "é")[: 2 * abs(x)] + str(x)
    number = uuid.UUID(int=(x * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128)
    return (p, o, x, f, text, Decimal(x * 10**20 - x), number)


@pytest.mark.parametrize("which", WIDE_FRAMES)
def test_totals_of_wide_frames_are_looked_up_and_are_those_of_their_rows(
    which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FEW", "TIMES", "WIDE"):
        monkeypatch.setattr(frame_totals, name, 0)
    monkeypatch.setattr(totals, "BLOCK", 4)
    skipped: list[int] = []
    between_places = totals.Totals.between

    def counting(*args: Any) -> Any:
        found = between_places(*args)
        skipped.extend(found.rows)
        return found

    monkeypatch.setattr(totals.Totals, "between", counting)
    t = schema(p=INTEGER, o=INTEGER, x=INTEGER, f=DOUBLE, s=VARCHAR, m=decimal(30, 2), u=UUID)
    frame, rng = WIDE_FRAMES[which], np.random.default_rng(7)
    specs = [
        WindowSpec(kind, args, result_of(kind, t.types[args[0]] if args else NUMBER), frame)
        for kind, args in (
            ("SUM", (2,)),
            ("COUNT", ()),
            ("COUNT", (2,)),
            ("AVG", (2,)),
            ("MIN", (2,)),
            ("MAX", (1,)),
            ("SUM", (3,)),
            ("AVG", (3,)),
            ("MIN", (3,)),
            *((kind, (i,)) for kind in ("MIN", "MAX") for i in (4, 5, 6)),
        )
    ]
    # few order values, so that rows are peers; NULLs; rows that come and go, one before it came
    there: list[Any] = []
    steps: list[dict[str, list[Any]]] = []
    for size in (60, 1, 3):
        step = []
        for _ in range(size):
            p, o, x = (int(v) for v in rng.integers((0, 0, -9), (2, 150, 10)))
            there.append(wide_row(p, None if o == 9 else o, None if x == 0 else x, x / 4))
            step.append((there[-1], 1))
        if size < 60:
            step.append((there.pop(int(rng.integers(len(there) - 4))), -1))
        steps.append({"t": step})
    steps += [
        {"t": [(wide_row(0, 70, 5, 0.5), -1)]},
        {"t": [(wide_row(0, 71, 4, math.inf), 1)]},
        {"t": [(wide_row(0, 70, 5, 0.5), 1)]},
    ]
    order = [(1, which.endswith("around"), True)]
    fields = tuple(Field(f"w{i}", s.result) for i, s in enumerate(specs))

    def build(c: Circuit, streams: Any) -> Any:
        out = Schema((*t.fields, *fields))
        return c.window(streams["t"], (0,), [Order(*o) for o in order], specs, out)

    expected = oracle.window(table(steps, "t"), (0,), order, specs)
    assert run({"t": t}, build, steps)[0] == expected
    if which in ("rows before", "range before") and hashing._test_mask == hashing.ALL_BITS:
        assert sum(skipped) > 0


def text_of(x: int) -> str:
    return f"what is called {x:05}"


#: of x = 0, 2, 4 …: the total up to x = 40,000 from x = 28,000 on, of that or of text
LAST = {
    ("SUM", 1): sum(range(28_000, 40_001, 2)),
    ("MIN", 1): 28_000,
    ("MAX", 1): 40_000,
    ("MIN", 2): text_of(28_000),
    ("MAX", 2): text_of(40_000),
}


@pytest.mark.parametrize("older", [0, 100_000])
@pytest.mark.parametrize("unit", ["ROWS", "RANGE"])
@pytest.mark.parametrize(("kind", "column"), LAST)
def test_a_row_that_comes_last_does_not_read_its_wide_frame(
    unit: str, kind: str, column: int, older: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor if the frame lies in shorter runs than what came long ago, `older` rows."""
    if hashing._test_mask != hashing.ALL_BITS:
        return  # keys whose hashes may be another's are read: what it costs says nothing
    read: list[int] = []
    found_in = ranges._found

    def counting(*args: Any) -> Any:
        found = found_in(*args)
        read.append(0 if found is None else len(found[1]))
        return found

    monkeypatch.setattr(ranges, "_found", counting)
    t = schema(p=INTEGER, x=INTEGER, s=VARCHAR)
    frame = Frame(unit, -6000 if unit == "ROWS" else -12_000, 0)
    result = VARCHAR if column == 2 else NUMBER.with_nullable(True)
    spec = WindowSpec(kind, (column,), result, frame)
    circuit = Circuit()
    out = Schema((*t.fields, Field("w", spec.result)))
    stream = circuit.window(circuit.source("t", t), (0,), [Order(1)], [spec], out)
    circuit.sink("out", stream)
    circuit.step({"t": [as_input(t, [((1, x, ""), 1) for x in range(-older, 0)])]})
    circuit.step({"t": [as_input(t, [((1, x, text_of(x)), 1) for x in range(0, 40_000, 2)])]})
    read.clear()

    change = circuit.step({"t": [as_input(t, [((1, 40_000, text_of(40_000)), 1)])]})["out"]

    assert batch_to_rows(change) == [((1, 40_000, text_of(40_000), LAST[kind, column]), 1)]
    assert sum(read) < 20


def test_totals_that_all_change_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    if hashing._test_mask != hashing.ALL_BITS:
        return  # keys whose hashes may be another's are read: what it costs says nothing
    read: list[int] = []
    found_in = ranges._found

    def counting(*args: Any) -> Any:
        found = found_in(*args)
        read.append(0 if found is None else len(found[1]))
        return found

    monkeypatch.setattr(ranges, "_found", counting)
    t = schema(p=INTEGER, x=INTEGER)
    spec = WindowSpec("SUM", (1,), NUMBER.with_nullable(True), Frame("ROWS", None, 0))
    circuit = Circuit()
    stream = circuit.window(
        circuit.source("t", t), (0,), [Order(1)], [spec], Schema((*t.fields, Field("w", BIGINT)))
    )
    circuit.sink("out", stream)
    n = 5000
    circuit.step({"t": [as_input(t, [((1, i), 1) for i in range(1, n + 1)])]})
    read.clear()

    change = circuit.step({"t": [as_input(t, [((1, -1), 1)])]})["out"]

    assert len(change) == 2 * n + 1
    assert sum(read) <= n + 2


@pytest.mark.parametrize("seed", range(3))
def test_totals_that_go_on_may_reach_others_that_went_on_before(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_window, "_FIRST", 2)
    monkeypatch.setattr(running_window, "_MORE", 2)
    t = schema(o=INTEGER.with_nullable(False), x=INTEGER.with_nullable(False))
    total = WindowSpec("SUM", (1,), NUMBER, Frame("RANGE", None, 0))
    specs = [total, replace(total, kind="COUNT", args=())]
    rng = np.random.default_rng(seed)

    def row(o: int) -> tuple[Any, int]:
        return ((o, int(rng.integers(-1, 2))), 1)

    def build(c: Circuit, streams: Any) -> Any:
        out = Schema((*t.fields, Field("s", NUMBER), Field("n", NUMBER)))
        return c.window(streams["t"], (), [Order(0)], specs, out)

    steps: list[dict[str, list[Any]]] = [{"t": [row(o) for o in range(300)]}]
    for _ in range(3):
        # some come to what they were a little later, some never
        come = [row(int(o)) for o in rng.choice(300, 20, replace=False)]
        gone = [((o + int(rng.integers(1, 9)), x), -1) for (o, x), _ in come[:15]]
        steps.append({"t": [*come, *gone]})
    once = run({"t": t}, build, as_one_step(steps))[0]
    assert run({"t": t}, build, steps)[0] == once


def test_an_average_of_a_frame_is_rounded_as_that_of_a_group() -> None:
    """0.1 three times is 0.30000000000000004, rounded; a third of what it is, is 0.1."""
    plan = compile_program("""
    CREATE TABLE t (k INT NOT NULL, d DOUBLE NOT NULL);
    CREATE VIEW grouped AS SELECT AVG(d) AS x FROM t GROUP BY k;
    CREATE VIEW framed AS SELECT DISTINCT AVG(d) OVER (
        PARTITION BY k ORDER BY k ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS x FROM t;
    """)
    rows = as_input(plan.tables[0].schema, [((1, 0.1), 3)])
    changes = compile_circuit(plan).step({"t": [rows]})
    assert batch_to_rows(changes["grouped"]) == batch_to_rows(changes["framed"]) == [((0.1,), 1)]


@pytest.mark.parametrize("call", ["SUM(x)", "AVG(x)", "COUNT(*)", "MAX(x)", "SUM(d)"])
@pytest.mark.parametrize("order", ["o", "o DESC", "n"])
def test_frames_that_begin_or_end_among_very_many_peers_read_few_of_them(
    call: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = (
        "20 PRECEDING AND 5 PRECEDING" if "DESC" not in order else "5 FOLLOWING AND 20 FOLLOWING"
    )
    plan = compile_program(f"""
        CREATE TABLE t (id BIGINT NOT NULL, o BIGINT NOT NULL, n BIGINT, x BIGINT, d DOUBLE);
        CREATE VIEW v AS SELECT id, {call} OVER (ORDER BY {order} RANGE BETWEEN {frame}) AS v
            FROM t;
    """)
    circuit, rows = compile_circuit(plan), plan.tables[0].schema

    def step(found: dict[int, int]) -> dict[Any, int]:
        delta = [((i, o, o, i, i / 2), 1) for i, o in found.items()]
        return dict(batch_to_rows(circuit.step({"t": [as_input(rows, delta)]})["v"]))

    step(dict.fromkeys(range(6000), 100))
    step({i: i - 6000 + 101 for i in range(6000, 6012)})
    monkeypatch.setattr(frame_totals, "FEW", 100)
    read: list[int] = []

    def counting(*args: Any) -> Any:
        found = between(*args)
        read.append(len(found[1]))
        return found

    monkeypatch.setattr(frame_totals, "between", counting)
    monkeypatch.setattr(plain_window, "between", counting)
    found = step({6012: 103})
    assert 0 < sum(read) < 200

    # those at 108 to 112 see it beside the peers and those up to five before them; at 103 nobody
    total = {0: sum(range(6000)), 1: 6000}
    expected: dict[Any, int] = {}
    for o in range(108, 113):
        seen = [*range(6000, 6000 + o - 105)]
        for more, sign in (([], -1), ([6012], 1)):
            n, s = total[1] + len(seen) + len(more), total[0] + sum(seen) + sum(more)
            value = {
                "SUM(x)": s, "AVG(x)": s // n, "COUNT(*)": n, "MAX(x)": max([*seen, *more]),
                "SUM(d)": s / 2,
            }[call]  # fmt: skip
            key = (6000 + o - 101, value)
            expected[key] = expected.get(key, 0) + sign
    expected[(6012, None if call != "COUNT(*)" else 0)] = 1
    assert found == {row: weight for row, weight in expected.items() if weight}


@pytest.mark.parametrize("order", ["o", "o DESC", "n"])
@pytest.mark.parametrize("call", ["MAX(x)", "MIN(x)", "COUNT(x)", "SUM(x)", "AVG(d)"])
def test_rows_of_one_time_whose_frames_come_to_the_same_are_not_read(
    call: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = compile_program(f"""
        CREATE TABLE t (id BIGINT NOT NULL, o BIGINT NOT NULL, n BIGINT, x BIGINT, d DOUBLE);
        CREATE VIEW v AS SELECT id, {call} OVER (
            ORDER BY {order} RANGE BETWEEN 5 PRECEDING AND CURRENT ROW) AS v FROM t;
    """)
    circuit, rows = compile_circuit(plan), plan.tables[0].schema
    back = -1 if "DESC" in order else 1

    def step(come: dict[int, Any], gone: dict[int, Any] | None = None) -> dict[Any, int]:
        delta = [
            ((i, back * o, back * o, x, x and x / 2), weight)
            for found, weight in ((come, 1), (gone or {}, -1))
            for i, (o, x) in found.items()
        ]
        return dict(batch_to_rows(circuit.step({"t": [as_input(rows, delta)]})["v"]))

    many = {i: (100, i % 3) for i in range(6000)}
    values = list(step({**many, 6000: (90, 1), 6001: (103, 1)}))
    of_many = next(v for i, v in values if i == 0)
    monkeypatch.setattr(frame_totals, "FEW", 100)
    read: list[int] = []

    def counting(*args: Any) -> Any:
        found = between(*args)
        read.append(len(found[1]))
        return found

    monkeypatch.setattr(frame_totals, "between", counting)
    monkeypatch.setattr(plain_window, "between", counting)
    # one that counts for nothing, and one in place of another
    assert step({6002: (100, None)}) == {(6002, of_many): 1}
    found = step({6003: (100, 1)}, {7: (100, 1)})
    assert found == {(6003, of_many): 1, (7, of_many): -1}
    if call in ("MAX(x)", "MIN(x)"):
        # one that is not the best, and one of several that are
        assert step({6004: (100, 1)}) == {(6004, of_many): 1}
        best = 2 if call == "MAX(x)" else 0
        assert step({}, {best: (100, best)}) == {(best, of_many): -1}
    assert sum(read) < 200
    # all of them where their frames come to something else
    change = step({6005: (97, 9 if call == "MAX(x)" else -9)})
    assert len(change) > 2 * 5990
