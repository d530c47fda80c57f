"""Every aggregate over every kind of value it takes equals its definition, after any history."""

from __future__ import annotations

import datetime
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock.circuit.dense as dense
import penstock.data.hash as hashing
import penstock.state.spine as spine_module
from penstock.circuit import AggregateSpec, Circuit
from penstock.circuit.ops import extremum
from penstock.data import parallel
from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DATE,
    DOUBLE,
    SMALLINT,
    TINYINT,
    UBIGINT,
    VARCHAR,
    decimal,
    schema,
)
from penstock.errors import RuntimeSqlError
from penstock.functions.aggregates import resolve_aggregate
from tests.examples import examples
from tests.oracle import aggregates as oracle
from tests.oracle.drive import as_one_step, run, table
from tests.oracle.relational import bag

T = schema(
    k=SMALLINT, i=SMALLINT, g=BIGINT, u=UBIGINT, d=decimal(9, 2), w=decimal(38, 0), f=DOUBLE,
    b=BOOLEAN, s=VARCHAR, t=DATE,
)  # fmt: skip
LONG = "a string that does not fit a view "


def maybe(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


rows = st.tuples(
    maybe(1),
    maybe(0, 1, -1, 7, -32768),
    maybe(0, 3, -5, 100),
    maybe(0, 1, 2**32 - 1),
    maybe(*(Decimal(i).scaleb(-2) for i in (0, 1, -1, 1234, -5000))),
    maybe(Decimal(0), Decimal(7), Decimal(-(10**17))),
    maybe(0.0, 0.5, -1.5, 0.1, 1e17),
    maybe(True, False),
    maybe("", "a", LONG + "1", LONG + "2"),
    maybe(datetime.date(1969, 12, 31), datetime.date(2024, 2, 29)),
)


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, list[Any]]]:
    """Rows come and go, some go before they come; in the end none is owed."""
    pool = draw(st.lists(rows, min_size=1, max_size=8))
    delta = st.lists(
        st.tuples(st.sampled_from(pool), st.sampled_from([1, 1, 1, 2, -1, -2])), max_size=8
    )
    steps = [{"t": step} for step in draw(st.lists(delta, min_size=1, max_size=5))]
    owed = [(row, -w) for row, w in table(steps, "t").items() if w < 0]
    return [*steps, {"t": owed}]


#: aggregate, columns of its arguments
CALLS = [
    ("COUNTIF", "b"), ("REGR_COUNT", "di"), ("EVERY", "b"), ("SOME", "b"), ("MIN", "b"),
    ("MAX", "b"),
    *((f"BIT_{op}", c) for op in ("AND", "OR", "XOR") for c in "igu"),
    *((kind, c) for kind in ("VAR_POP", "VAR_SAMP", "STDDEV_POP", "STDDEV_SAMP") for c in "gudwf"),
    *((kind, c) for kind in ("COVAR_POP", "COVAR_SAMP", "REGR_SXX", "REGR_SYY")
      for c in ("gi", "dg", "gd", "fd", "wd", "ff")),
    *((kind, c) for kind in ("ARG_MIN", "ARG_MAX")
      for c in ("ig", "gd", "si", "fs", "ts", "bf", "us", "dw")),
    *(("MODE", c) for c in "gdfst"),
]  # fmt: skip


def expected(history: Any, key: bool, specs: list[Any]) -> Counter[Any]:
    groups: dict[Any, list[Any]] = {} if key else {(): []}
    for row, weight in table(history, "t").items():
        groups.setdefault(row[:1] if key else (), []).extend([row] * weight)
    out: Counter[Any] = Counter()
    for group, members in groups.items():
        values = []
        for name, args, distinct, where, spec in specs:
            counted = [tuple(r[a] for a in args) for r in members if where is None or r[where]]
            strict = [i for i, n in enumerate(resolve(name, args).takes_nulls) if not n]
            counted = [r for r in counted if all(r[i] is not None for i in strict)]
            if distinct:
                counted = list(dict.fromkeys(counted))
            kind = {"MIN": "EVERY", "MAX": "SOME"}.get(spec.kind, spec.kind)
            is_float = spec.result.kind.value == "DOUBLE"
            values.append(oracle.value(kind, counted, None if is_float else spec.result.scale or 0))
        if members or not key:
            out[(*group, *values)] += 1
    return out


def resolve(name: str, args: Any) -> Any:
    return resolve_aggregate(name, [T.types[a] for a in args])


def rounded(rows: Counter[Any]) -> Counter[Any]:
    """Floats to eleven digits."""
    return Counter({tuple(float(f"{v:.11g}") if isinstance(v, float) else v for v in row): n
                    for row, n in rows.items()})  # fmt: skip


@pytest.fixture(params=[hashing.ALL_BITS, 0b11], ids=["true", "colliding"], autouse=True)
def _hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every property also holds when nearly all hashes collide, state is swept at every chance
    and logs are sorted behind the scenes."""
    before, hashing._test_mask = hashing._test_mask, request.param
    monkeypatch.setattr(dense.Sweep.__init__, "__defaults__", (1,))
    monkeypatch.setattr(spine_module, "LOG_ROWS", 3)
    yield
    hashing._test_mask = before


@given(
    history=histories(),
    calls=st.lists(
        st.tuples(st.sampled_from(CALLS), st.sampled_from(["", "DISTINCT", "WITHIN DISTINCT"]),
                  st.sampled_from([None, None, 7])),
        min_size=1, max_size=6,
    ),
    key=st.booleans(),
)  # fmt: skip
@settings(
    max_examples=examples(80),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)
def test_an_aggregate_is_what_it_is_defined_to_be(history: Any, calls: Any, key: bool) -> None:
    specs: list[Any] = []
    for (name, columns), once, where in calls:
        args = tuple(T.index(c) for c in columns)
        function = resolve(name, args)
        if function.arg_types != tuple(T.types[a] for a in args):
            continue  # the binder would insert a cast
        spec = AggregateSpec(
            function.kind, args, function.arg_types, function.result,
            once == "DISTINCT" and name != "MODE", where, function.takes_nulls,
        )  # fmt: skip
        if once == "WITHIN DISTINCT" and name != "MODE":
            # among rows that agree in the arguments it is the same as DISTINCT
            spec = replace(spec, within=args, within_types=function.arg_types)
        specs.append((name, args, spec.distinct or bool(spec.within), where, spec))
    fields = {"k": T.types[0]} if key else {}
    fields |= {f"c{i}": s[-1].result for i, s in enumerate(specs)}
    keys = (0,) if key else ()

    def build(c: Circuit, streams: Any) -> Any:
        return c.aggregate(streams["t"], keys, [s[-1] for s in specs], schema(**fields))

    wanted = rounded(expected(history, key, specs))
    assert rounded(bag(run({"t": T}, build, history)[0].items())) == wanted
    assert rounded(bag(run({"t": T}, build, as_one_step(history))[0].items())) == wanted


@pytest.mark.parametrize("threads", [1, 2])
@given(
    history=histories(),
    calls=st.lists(
        st.tuples(st.sampled_from(["MIN", "MAX"]), st.sampled_from("gwfst"), st.booleans(),
                  st.sampled_from([None, None, 7])),
        min_size=1, max_size=6,
    ),
    key=st.booleans(),
)  # fmt: skip
@settings(
    max_examples=examples(60), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_a_minimum_and_a_maximum_of_one_value_share_its_rows(
    monkeypatch: pytest.MonkeyPatch, threads: int, history: Any, calls: Any, key: bool
) -> None:
    for name in ("LEAST_ROWS", "MANY_ROWS"):
        monkeypatch.setattr(parallel, name, 1)
    monkeypatch.setattr(extremum, "_FIRST_LOOK", 1)
    specs = []
    # each beside its opposite, before it or after
    for name, column, distinct, where in calls:
        for kind in (name, "MAX" if name == "MIN" else "MIN"):
            args = (T.index(column),)
            function = resolve(kind, args)
            specs.append(
                AggregateSpec(kind, args, function.arg_types, function.result, distinct, where)
            )
    fields = {"k": T.types[0]} if key else {}
    fields |= {f"c{i}": spec.result for i, spec in enumerate(specs)}
    keys = (0,) if key else ()

    def build(c: Circuit, streams: Any) -> Any:
        return c.aggregate(streams["t"], keys, specs, schema(**fields))

    members: dict[Any, list[Any]] = {} if key else {(): []}
    for row, _ in table(history, "t").items():
        members.setdefault(row[:1] if key else (), []).append(row)
    wanted: Counter[Any] = Counter()
    for group, those in members.items():
        values = []
        for spec in specs:
            counted = [r[spec.args[0]] for r in those if spec.filter is None or r[spec.filter]]
            best = min if spec.kind == "MIN" else max
            values.append(best((v for v in counted if v is not None), default=None))
        wanted[(*group, *values)] += 1
    parallel.use_threads(threads)
    try:
        for steps in (history, as_one_step(history)):
            view, _ = run({"t": T}, build, steps)
            assert bag(view.items()) == wanted
    finally:
        parallel.use_threads(1)


def test_a_maximum_keeps_no_rows_beside_a_minimum_of_the_same() -> None:
    def spec(kind: str, column: str, where: int | None = None) -> AggregateSpec:
        args = (T.index(column),)
        function = resolve(kind, args)
        return AggregateSpec(kind, args, function.arg_types, function.result, column == "i", where)

    specs = [
        spec("MAX", "g"), spec("MIN", "g"), spec("MIN", "i"), spec("MIN", "g", 7),
        spec("MAX", "g", 7), spec("MAX", "i"),
    ]  # fmt: skip
    circuit = Circuit()
    stream = circuit.source("t", T)
    fields = {f"c{i}": spec.result for i, spec in enumerate(specs)}
    circuit.aggregate(stream, (0,), specs, schema(k=T.types[0], **fields))
    kept = [name for node in circuit.nodes for name in node.parts() if name.endswith(":values")]
    assert kept == ["0:values", "2:values", "3:values"]


def test_a_variance_that_does_not_fit_its_type_is_an_error() -> None:
    spec = AggregateSpec("VAR_POP", (0,), (TINYINT,), TINYINT)
    table = schema(x=TINYINT)

    def build(c: Circuit, streams: Any) -> Any:
        return c.aggregate(streams["t"], (), [spec], schema(v=TINYINT))

    rows = [((100,), 1), ((-100,), 1)]
    with pytest.raises(RuntimeSqlError, match="VAR_POP overflows"):
        run({"t": table}, build, [{"t": rows}])
    # what a later row of the step takes back is no overflow
    run({"t": table}, build, [{"t": [*rows, ((-100,), -1)]}])


@given(
    history=histories(),
    calls=st.lists(
        st.tuples(st.sampled_from(["COUNT", "SUM", "AVG", "COUNTIF"]), st.sampled_from("ggdw"),
                  st.sampled_from([None, None, 7])),
        min_size=1, max_size=4,
    ),
    keys=st.sampled_from([(0,), (2,), (8,), (0, 9)]),
)  # fmt: skip
@settings(
    max_examples=examples(40), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_calls_that_add_up_say_the_same_together_and_beside_another(
    history: Any, calls: Any, keys: tuple[int, ...]
) -> None:
    specs = []
    for name, column, where in calls:
        args = (T.index("b" if name == "COUNTIF" else column),)
        function = resolve(name, args)
        specs.append(
            AggregateSpec(name, args, function.arg_types, function.result, filter=where)
        )  # fmt: skip
    beside = AggregateSpec("MAX", (2,), (BIGINT,), BIGINT)
    fields = {f"k{k}": T.types[k] for k in keys}
    fields |= {f"c{i}": spec.result for i, spec in enumerate(specs)}

    def build(asked: list[AggregateSpec], out: Any) -> Any:
        return lambda c, streams: c.aggregate(streams["t"], keys, asked, out)

    for steps in (history, as_one_step(history)):
        together = run({"t": T}, build(specs, schema(**fields)), steps)[0]
        out = schema(**fields, most=BIGINT)
        apart = run({"t": T}, build([*specs, beside], out), steps)[0]
        assert bag(together.items()) == bag((row[:-1], n) for row, n in apart.items())
