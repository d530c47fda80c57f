"""Every operator: the sum of its output changes is the oracle of the sum of its input changes.

Histories hold NULLs, duplicates, empty steps, retractions before their insertions, decimals and
strings that do not fit a view; each is run in its steps and in one step.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import penstock.circuit.band as band
import penstock.circuit.dense as dense
import penstock.circuit.ops.join as join
import penstock.circuit.ops.topk as topk
import penstock.data.hash as hashing
from penstock.circuit import AggregateSpec, Order
from penstock.circuit.spec import Bound
from penstock.compile.program import compile_circuit
from penstock.data.batch import Batch
from penstock.data.build import batch_to_rows
from penstock.data.gather import filter_batch
from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    INTEGER,
    VARCHAR,
    Field,
    Schema,
    decimal,
    schema,
)
from penstock.sql.program import compile_program
from penstock.state import ranges
from tests.examples import examples
from tests.oracle import relational as oracle
from tests.oracle.drive import as_input, as_one_step, run, table

quick = settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    database=None,
)

MONEY = decimal(12, 2)
LONG = "a string that does not fit a view "
T = schema(k=INTEGER, s=VARCHAR, x=INTEGER, d=MONEY, f=DOUBLE, b=BOOLEAN)

small = st.one_of(st.none(), st.integers(-2, 2))
texts = st.one_of(st.none(), st.sampled_from(["", "a", "twelve bytes", LONG + "1", LONG + "2"]))
money = st.one_of(st.none(), st.integers(-500, 500).map(lambda i: Decimal(i).scaleb(-2)))
# halves: sums of few of them are exact in a double, so the oracle's order does not matter
floats = st.one_of(st.none(), st.integers(-8, 8).map(lambda i: i / 2))
rows = st.tuples(small, texts, small, money, floats, st.sampled_from([None, True, False]))
weights = st.sampled_from([1, 1, 1, 2, -1, -1, -2])


def histories(*names: str) -> st.SearchStrategy[list[dict[str, list[Any]]]]:
    """Steps over a small pool of rows, so that they meet, repeat and cancel."""

    def over(pool: list[Any]) -> st.SearchStrategy[list[dict[str, list[Any]]]]:
        delta = st.lists(st.tuples(st.sampled_from(pool), weights), max_size=8)
        return st.lists(st.fixed_dictionaries(dict.fromkeys(names, delta)), min_size=1, max_size=5)

    return st.lists(rows, min_size=1, max_size=8).flatmap(over)


@pytest.fixture(params=[hashing.ALL_BITS, 0b11], ids=["true", "colliding"], autouse=True)
def _hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Every property also holds when nearly all hashes collide."""
    before, hashing._test_mask = hashing._test_mask, request.param
    # and when state is swept at every chance
    monkeypatch.setattr(dense.Sweep.__init__, "__defaults__", (1,))
    yield
    hashing._test_mask = before


def check(schemas: Any, build: Any, history: Any, expected: Any) -> None:
    assert run(schemas, build, history)[0] == expected
    assert run(schemas, build, as_one_step(history))[0] == expected


@given(histories("t"))
@quick
def test_distinct(history: Any) -> None:
    check({"t": T}, lambda c, s: c.distinct(s["t"]), history, oracle.distinct(table(history, "t")))


@given(histories("t", "u"))
@quick
def test_union_and_negation_add_up(history: Any) -> None:
    def build(c: Any, s: Any) -> Any:
        return c.union([s["t"], s["u"], c.negate(s["t"]), s["u"]])

    expected = oracle.bag((row, 2 * w) for row, w in table(history, "u").items())
    check({"t": T, "u": T}, build, history, expected)


@given(histories("t"))
@quick
def test_a_map_of_the_changes_is_the_map_of_the_rows(history: Any) -> None:
    def only_b(batch: Batch) -> Batch:
        b = batch.columns[5]
        keep = b.values if b.valid is None else b.values & b.valid
        return filter_batch(batch, keep).select((0, 1), out)

    out = schema(k=INTEGER, s=VARCHAR)
    expected = oracle.bag((r[:2], w) for r, w in table(history, "t").items() if r[5])
    check({"t": T}, lambda c, s: c.map(s["t"], only_b, out), history, expected)


KEYS = {
    "one": ([(0, 0)], [False]),
    "safe": ([(0, 0)], [True]),
    "text": ([(1, 1)], [False]),
    "mixed": ([(0, 2), (1, 1)], [False, True]),
    "cross": ([], []),
}


def x_below(row: Any) -> bool:
    """The residual l.x < r.x as the oracle sees it."""
    return row[2] is not None and row[8] is not None and row[2] < row[8]


def x_below_kernel(batch: Batch) -> np.ndarray:
    left, right = batch.columns[2], batch.columns[8]
    mask = left.values < right.values
    for column in (left, right):
        if column.valid is not None:
            mask = mask & column.valid.astype(bool)
    return mask.astype(np.uint8)


@pytest.mark.parametrize("kind", ["inner", "left", "right", "full", "semi", "anti"])
@pytest.mark.parametrize("residual", [False, True], ids=["keys", "residual"])
@given(history=histories("t", "u"), which=st.sampled_from(sorted(KEYS)))
@settings(quick, max_examples=examples(25))
def test_join(kind: str, residual: bool, history: Any, which: str) -> None:
    keys, safe = KEYS[which]
    out = T if kind in ("semi", "anti") else type(T)(T.fields + T.fields)

    def build(c: Any, s: Any) -> Any:
        kernel = x_below_kernel if residual else None
        return c.join(s["t"], s["u"], keys, safe, kind, kernel, out)

    expected = oracle.join(
        kind,
        table(history, "t"),
        table(history, "u"),
        keys,
        safe,
        x_below if residual else lambda _: True,
        (len(T), len(T)),
    )
    check({"t": T, "u": T}, build, history, expected)


@pytest.mark.parametrize("kind", ["inner", "left", "right", "full", "semi", "anti"])
@given(
    history=histories("t", "u"),
    which=st.sampled_from(sorted(KEYS.keys() - {"cross"})),
    few=st.sampled_from([0, 0, 3, 100]),
    two_sided=st.booleans(),
    most=st.sampled_from([2, 1 << 20]),
)
@settings(quick, max_examples=examples(25))
def test_a_join_in_a_band(
    kind: str, history: Any, which: str, few: int, two_sided: bool, most: int
) -> None:
    keys, safe = KEYS[which]
    out = T if kind in ("semi", "anti") else type(T)(T.fields + T.fields)
    # l.x - 1 <= r.x, and r.x <= l.x + 2
    bounds = (Bound(2, 2, -1, True), *(two_sided * [Bound(2, 2, 2, False)]))

    def passes(row: Any) -> bool:
        left, right = row[2], row[8]
        return None not in (left, right) and left - 1 <= right <= left + (2 if two_sided else 99)

    def residual(batch: Batch) -> np.ndarray:
        return np.array([passes(row) for row, _ in batch_to_rows(batch)], np.uint8)

    def build(c: Any, s: Any) -> Any:
        return c.join(s["t"], s["u"], keys, safe, kind, residual, out, "band", bounds)

    sides = table(history, "t"), table(history, "u")
    expected = oracle.join(kind, *sides, keys, safe, passes, (len(T), len(T)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "FEW_ROWS", few)
        patch.setattr(join, "FEW_EACH", 0)
        patch.setattr(join, "MOST_ROWS", most)
        check({"t": T, "u": T}, build, history, expected)


#: l.c + shift <= r.c (low), or >=
OTHERS = [Bound(0, 0, 1, False), Bound(0, 0, -1, True), Bound(4, 4, 0, True), Bound(4, 4, 0, False)]


@pytest.mark.parametrize("kind", ["inner", "left", "full", "semi", "anti"])
@given(
    history=histories("t", "u"), other=st.sampled_from(OTHERS), by_x=st.booleans(),
    most=st.sampled_from([2, 1 << 20]),
)  # fmt: skip
@settings(quick, max_examples=examples(25))
def test_a_join_in_a_band_whose_rows_must_reach_a_value_of_another_column(
    kind: str, history: Any, other: Bound, by_x: bool, most: int
) -> None:
    out = T if kind in ("semi", "anti") else type(T)(T.fields + T.fields)
    bounds = (Bound(2, 2, -1, by_x), other)

    def passes(row: Any) -> bool:
        return all(_is_within(row[b.left], row[len(T) + b.right], b) for b in bounds)

    def residual(batch: Batch) -> np.ndarray:
        return np.array([passes(row) for row, _ in batch_to_rows(batch)], np.uint8)

    def build(c: Any, s: Any) -> Any:
        return c.join(s["t"], s["u"], [(1, 1)], [True], kind, residual, out, "band", bounds)

    sides = table(history, "t"), table(history, "u")
    expected = oracle.join(kind, *sides, [(1, 1)], [True], passes, (len(T), len(T)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "FEW_ROWS", 0)
        patch.setattr(join, "FEW_EACH", 0)
        patch.setattr(join, "MOST_ROWS", most)
        patch.setattr(band, "_FEW", -1)
        patch.setattr(band, "_FEW_EACH", 0)
        check({"t": T, "u": T}, build, history, expected)


def _is_within(left: Any, right: Any, bound: Bound) -> bool:
    if left is None or right is None:
        return False
    moved = left + bound.shift
    return bool(moved <= right if bound.left_is_low else moved >= right)


@pytest.mark.parametrize("kind", ["semi", "anti"])
@given(history=histories("t", "u"))
@settings(quick, max_examples=examples(15))
def test_whole_rows_among_others(kind: str, history: Any) -> None:
    def build(c: Any, s: Any) -> Any:
        return c.partnered(s["t"], s["u"], paired=kind == "semi")

    keys = [(i, i) for i in range(len(T))]
    sides = table(history, "t"), table(history, "u")
    widths = len(T), len(T)
    expected = oracle.join(kind, *sides, keys, [True] * len(T), lambda _: True, widths)
    check({"t": T, "u": T}, build, history, expected)


@given(histories("t", "u"))
@quick
def test_rows_as_often_as_both_relations_have_them(history: Any) -> None:
    expected = oracle.intersection(table(history, "t"), table(history, "u"))
    check({"t": T, "u": T}, lambda c, s: c.intersection(s["t"], s["u"], T), history, expected)


@given(histories("t"))
@quick
def test_a_relation_joined_with_itself(history: Any) -> None:
    t = table(history, "t")
    out = type(T)(T.fields + T.fields)

    def build(c: Any, s: Any) -> Any:
        return c.join(s["t"], s["t"], [(0, 0)], [False], "full", None, out)

    expected = oracle.join("full", t, t, [(0, 0)], [False], lambda _: True, (len(T), len(T)))
    check({"t": T}, build, history, expected)


CALLS = [
    ("COUNT", (), False, None),
    ("COUNT", (0, 2), False, None),
    ("COUNT", (1,), True, None),
    ("SUM", (2,), False, None),
    ("SUM", (3,), False, 5),
    ("SUM", (4,), False, None),
    ("SUM", (2,), True, 5),
    ("AVG", (2,), False, None),
    ("AVG", (3,), False, None),
    ("AVG", (4,), False, None),
    ("AVG", (3,), True, None),
    ("MIN", (2,), False, None),
    ("MAX", (2,), True, None),
    ("MIN", (1,), False, 5),
    ("MAX", (1,), False, None),
    ("MIN", (3,), False, None),
    ("MAX", (4,), False, None),
]


@pytest.mark.parametrize("keys", [(), (0,), (1,), (0, 1)], ids=["global", "int", "text", "both"])
@given(history=histories("t"), calls=st.lists(st.sampled_from(CALLS), min_size=1, max_size=4))
@quick
def test_aggregate(keys: Any, history: Any, calls: Any) -> None:
    specs = []
    for kind, args, distinct, where in calls:
        types = tuple(T.types[a] for a in args)
        result = BIGINT.with_nullable(False) if kind == "COUNT" else types[0]
        specs.append(AggregateSpec(kind, args, types, result, distinct, where))
    fields = {f"k{i}": T.types[k] for i, k in enumerate(keys)}
    fields |= {f"c{i}": s.result for i, s in enumerate(specs)}
    expected = oracle.aggregate(
        table(history, "t"),
        keys,
        [
            oracle.call(kind, args, distinct, where, scale=2)
            for kind, args, distinct, where in calls
        ],
    )
    check(
        {"t": T}, lambda c, s: c.aggregate(s["t"], keys, specs, schema(**fields)), history, expected
    )


@pytest.mark.parametrize(
    "reader",
    ["aggregate", "distinct", "mapped", "view", "mapped view", "mapped united", "mapped negated"],
)
@given(
    history=histories("t", "u"),
    kind=st.sampled_from(["inner", "left", "full"]),
    calls=st.lists(st.sampled_from(CALLS), min_size=1, max_size=2),
    most=st.integers(1, 4),
)
@settings(quick, max_examples=examples(8))
def test_a_join_whose_rows_come_in_pieces_adds_up_to_the_same(
    reader: str, history: Any, kind: str, calls: Any, most: int
) -> None:
    keys, safe = KEYS["one"]
    both = type(T)(T.fields + T.fields)
    specs = [
        AggregateSpec(
            name, args, tuple(T.types[a] for a in args),
            BIGINT.with_nullable(False) if name == "COUNT" else T.types[args[0]], once, where,
        )
        for name, args, once, where in calls
    ]  # fmt: skip
    fields = {"k": T.types[0], **{f"c{i}": s.result for i, s in enumerate(specs)}}

    def build(c: Any, s: Any) -> Any:
        joined = c.join(s["t"], s["u"], keys, safe, kind, None, both)
        if "mapped" in reader:
            joined = c.map(joined, lambda b: b.select((0, 1), schema(k=INTEGER, s=VARCHAR)),
                           schema(k=INTEGER, s=VARCHAR))  # fmt: skip
        if "view" in reader:
            return joined
        if "united" in reader:
            joined = c.union([joined, c.map(s["t"], lambda b: b.select((0, 1)), joined.schema)])
        if "negated" in reader:
            others = c.map(s["t"], lambda b: b.select((0, 1)), joined.schema)
            return c.intersection(c.negate(c.negate(joined)), others, joined.schema)
        if reader != "aggregate":
            return c.distinct(joined)
        return c.aggregate(joined, (0,), specs, schema(**fields))

    pairs = oracle.join(
        kind, table(history, "t"), table(history, "u"), keys, safe, lambda _: True, (6, 6)
    )
    if reader == "aggregate":
        of_calls = [oracle.call(n, a, once, where, scale=2) for n, a, once, where in calls]
        expected = oracle.aggregate(pairs, (0,), of_calls)
    else:
        expected = oracle.bag((r[:2] if "mapped" in reader else r, w) for r, w in pairs.items())
        others = oracle.bag((r[:2], w) for r, w in table(history, "t").items())
        if "united" in reader:
            expected = oracle.bag((*expected.items(), *others.items()))
        if "negated" in reader:
            expected = oracle.intersection(expected, others)
        elif "view" not in reader:
            expected = oracle.distinct(expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(join, "MOST_ROWS", most)
        check({"t": T, "u": T}, build, history, expected)


ORDERS = [
    [(2, False, True)],
    [(2, True, False), (1, False, True)],
    [(1, True, True)],
    [(3, False, False)],
    [(4, True, False), (5, True, True)],
]


@given(
    history=histories("t"),
    partition=st.sampled_from([(), (0,), (1, 0)]),
    order=st.sampled_from(ORDERS),
    limit=st.sampled_from([None, 0, 1, 3]),
    offset=st.sampled_from([0, 0, 1, 2]),
    ranks=st.sampled_from(["ROW_NUMBER", "ROW_NUMBER", "RANK", "DENSE_RANK"]),
    numbered=st.booleans(),
    many=st.booleans(),
)
@settings(quick, max_examples=examples(120))
def test_topk(
    history: Any, partition: Any, order: Any, limit: Any, offset: Any, ranks: str, numbered: bool,
    many: bool,
) -> None:  # fmt: skip
    orders = [Order(*o) for o in order]
    numbered = numbered and ranks == "ROW_NUMBER"
    offset = offset if ranks == "ROW_NUMBER" and not numbered else 0
    rows = table(history, "t")
    expected = oracle.topk(rows, partition, order, limit, offset, ranks, numbered=numbered)
    shown = Schema((*T.fields, Field("n", BIGINT.with_nullable(False)))) if numbered else None
    with pytest.MonkeyPatch.context() as patch:
        if many:  # of ranks any rows are so many that they are not read
            patch.setattr(topk, "MANY_PEERS", 0)
            patch.setattr(topk, "_TIMES", 0)
        check(
            {"t": T},
            lambda c, s: c.topk(s["t"], partition, orders, limit, offset, ranks, shown),
            history,
            expected,
        )


@pytest.mark.parametrize("ranks", ["RANK", "DENSE_RANK"])
@pytest.mark.parametrize("order", ["o", "o DESC", "n", "o, n0", "d"])
def test_a_row_that_comes_to_very_many_peers_of_a_top_reads_none_of_them(
    ranks: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = compile_program(f"""
        CREATE TABLE t (id BIGINT NOT NULL, o BIGINT NOT NULL, n BIGINT, n0 INT NOT NULL,
                        d DECIMAL(9, 2) NOT NULL);
        CREATE VIEW v AS SELECT id, o FROM t QUALIFY {ranks}() OVER (ORDER BY {order}) <= 2;
    """)
    circuit, rows = compile_circuit(plan), plan.tables[0].schema
    back = -1 if "DESC" in order else 1

    def step(*found: tuple[int, int, int]) -> list[Any]:
        delta = [((i, back * o, o, 0, Decimal(o)), weight) for i, o, weight in found]
        changes = batch_to_rows(circuit.step({"t": [as_input(rows, delta)]})["v"])
        return sorted((row[0], weight) for row, weight in changes)

    step(*((i, 5, 1) for i in range(3000)), *((i, 9, 1) for i in range(3000, 6000)))
    read: list[int] = []
    found_in = ranges._found

    def counting(*args: Any) -> Any:
        found = found_in(*args)
        read.append(0 if found is None else len(found[1]))
        return found

    monkeypatch.setattr(ranges, "_found", counting)
    monkeypatch.setattr(topk.Spine, "probe", None)  # what is held is not read
    assert step((6000, 5, 1), (0, 5, -1), (6001, 5, 1)) == [(0, -1), (6000, 1), (6001, 1)]
    assert step((6002, 9, 1)) == ([(6002, 1)] if ranks == "DENSE_RANK" else [])
    assert step((6003, 12, 1), (1, 5, -1)) == [(1, -1)]
    assert not sum(read)
    # the first of all: of RANK the peers are second then, of DENSE_RANK those at 9 are third
    change = step((6004, 1, 1))
    at_nine = [(i, -1) for i in (*range(3000, 6000), 6002)]
    assert change == sorted([(6004, 1), *(at_nine if ranks == "DENSE_RANK" else [])])
    # another, and of RANK no peer is among the first two any more
    change = step((6005, 1, 1))
    peers = [(i, -1) for i in (*range(2, 3000), 6000, 6001)]
    assert change == sorted([(6005, 1), *(peers if ranks == "RANK" else [])])
    # each once, but for those that came and went
    assert 0 <= sum(read) - len(peers if ranks == "RANK" else at_nine) < 8


#: k is the partition, x the order; x repeats
NUMBERED = [((k, None, x, None, None, None), 1) for k in (0, 1) for x in range(13)]


def drains() -> st.SearchStrategy[list[dict[str, list[Any]]]]:
    """Partitions of thirteen rows, and then steps in most of which rows go, one or several, also
    more often than they are there."""
    row = st.tuples(st.sampled_from([0, 0, 1]), st.none(), st.integers(0, 12), *[st.none()] * 3)
    change = st.tuples(row, st.sampled_from([-1, -1, -1, -2, 1, 2]))
    steps = st.lists(st.lists(change, min_size=1, max_size=4), min_size=3, max_size=14)
    return steps.map(lambda changes: [{"t": NUMBERED}, *({"t": c} for c in changes)])


@given(
    history=drains(),
    partition=st.sampled_from([(), (0,)]),
    descending=st.booleans(),
    limit=st.sampled_from([1, 2, 3, 5]),
    offset=st.sampled_from([0, 0, 2]),
    ranks=st.sampled_from(["ROW_NUMBER", "ROW_NUMBER", "ROW_NUMBER", "RANK", "DENSE_RANK"]),
    numbered=st.booleans(),
    slack=st.sampled_from([0, 2]),
    many=st.sampled_from([0, 4, 256]),
)
@settings(quick, max_examples=examples(80))
def test_topk_of_which_rows_go(
    history: Any, partition: Any, descending: bool, limit: int, offset: int, ranks: str,
    numbered: bool, slack: int, many: int,
) -> None:  # fmt: skip
    numbered = numbered and ranks == "ROW_NUMBER"
    offset = offset if ranks == "ROW_NUMBER" and not numbered else 0
    order = (2, descending, False)
    rows = table(history, "t")
    expected = oracle.topk(rows, partition, [order], limit, offset, ranks, numbered=numbered)
    shown = Schema((*T.fields, Field("n", BIGINT.with_nullable(False)))) if numbered else None
    with pytest.MonkeyPatch.context() as patch:
        # so few rows are many more than are read, which are held in reserve
        patch.setattr(topk, "_SLACK", slack)
        patch.setattr(topk, "MANY_PEERS", many)
        patch.setattr(topk, "_TIMES", 1 if many else 0)
        check(
            {"t": T},
            lambda c, s: c.topk(s["t"], partition, [Order(*order)], limit, offset, ranks, shown),
            history,
            expected,
        )
