"""Words of rows are in the rows' order, and tell apart what begins with other bits."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.circuit.ordering import RowOrder
from penstock.compile.program import compile_circuit
from penstock.data.build import batch_from_rows, batch_to_rows, column_from_python
from penstock.data.types import (
    BIGINT,
    BOOLEAN,
    DOUBLE,
    INTEGER,
    REAL,
    VARCHAR,
    Field,
    Kind,
    Schema,
    SqlType,
    decimal,
)
from penstock.sql.program import compile_program
from penstock.state.ordered import OrderedSpine
from penstock.state.ranges import Places, between
from penstock.state.storage import StateStore
from penstock.state.words import packed_words, parts_of, prefix_of, without
from tests.examples import examples
from tests.oracle import relational as oracle
from tests.oracle.drive import as_input

SMALL = st.integers(-3, 3)
VALUES: dict[str, tuple[SqlType, Any]] = {
    "tiny": (SqlType(Kind.INT8), st.integers(-128, 127)),
    "short": (SqlType(Kind.UINT16), st.integers(0, 65535)),
    "int": (INTEGER, st.sampled_from([-(2**31), -1, 0, 1, 2**31 - 1])),
    "big": (BIGINT, st.sampled_from([-(2**63), -1, 0, 1, 2, 3, 2**63 - 1])),
    "bool": (BOOLEAN, st.booleans()),
    "real": (REAL, st.sampled_from([float("-inf"), -1.5, 0.0, 1.5, float("inf")])),
    "double": (DOUBLE, st.sampled_from([float("-inf"), -1.5, 0.0, 1.5, float("inf")])),
    "dec": (decimal(10, 2), SMALL.map(lambda i: Decimal(i).scaleb(-2))),
    "long": (decimal(38, 0), st.sampled_from([-(10**37), -1, 0, 1, 10**37]).map(Decimal)),
    "text": (VARCHAR, st.sampled_from(["", "a", "ab", "abcdefgh", "abcdefghijklmnopq", "b"])),
}


@given(data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_words_never_contradict_the_order(data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=4))
    nullable = data.draw(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))
    types = [VALUES[n][0].with_nullable(maybe) for n, maybe in zip(names, nullable, strict=True)]
    cells = [
        st.one_of(st.none(), VALUES[n][1]) if maybe else VALUES[n][1]
        for n, maybe in zip(names, nullable, strict=True)
    ]
    rows = data.draw(st.lists(st.tuples(*cells), min_size=1, max_size=8))
    ways = data.draw(
        st.lists(st.tuples(st.booleans(), st.booleans()), min_size=len(names), max_size=len(names))
    )
    batch = batch_from_rows(Schema(tuple(Field(f"c{i}", t) for i, t in enumerate(types))), rows)
    parts = parts_of(types, ways)
    prefix = data.draw(st.sampled_from([b"", b"a", b"abcd", b"abcdefghijklm", b"b", b"c"]))
    c, d = packed_words(batch.columns[: len(parts)], parts, prefix, len(rows))

    order = [(i, *way) for i, way in enumerate(ways)]
    compare = oracle.comparison(order, len(names))
    words = [*zip(c.tolist(), d.tolist(), strict=True)]
    for x, a in zip(rows, words, strict=True):
        for y, b in zip(rows, words, strict=True):
            if a < b:
                assert compare(x, y) < 0, (x, y)
            if names == ["big", "int"] and not any(nullable):
                assert (a == b) == (x == y)


def test_what_strings_have_in_common_ends_before_a_number() -> None:
    def of(*strings: str | None) -> bytes | None:
        return prefix_of(column_from_python(VARCHAR, [*strings]))

    assert of() is None and of(None) is None
    assert of("customer-000123") == b"customer-"
    assert of("customer-000123", None, "customer-000124") == b"customer-"
    assert of("customer-1", "custom", "customer-2") == b"custom"
    assert of("a", "b") == b""
    assert of("kunde nummer 17", "kunde nummer 18 und mehr") == b"kunde nummer "
    strings = column_from_python(VARCHAR, ["kunde nummer 1", None, "kunde", "kunde nummer ", "x"])
    assert without(strings, b"kunde nummer ").tolist() == [2, 4]


S = Schema((Field("g", BIGINT), Field("name", VARCHAR), Field("x", BIGINT)))


def test_runs_are_sorted_anew_when_most_strings_begin_with_something_else(tmp_path: Any) -> None:
    def spine() -> OrderedSpine:
        return OrderedSpine(S, (0,), [(1, False, True), (2, False, True)], packed=True)

    rows = [(1, f"customer-{i:030}", i) for i in range(60)]
    others = [(1, f"a client of ours, {i:09}", i) for i in range(300)]
    old = spine()
    for row in rows:
        old.insert(batch_from_rows(S, [row]))
    old.insert_later(batch_from_rows(S, [(1, None, 7), (1, "custom", 8)]))
    old.insert(batch_from_rows(S, others[:200]))
    assert old.rewordings == 0
    pin = old.capture()
    old.insert_later(batch_from_rows(S, others[200:]))
    assert old.rewordings == 1
    store, new = StateStore(tmp_path), spine()
    new.restore(store, pin.write(store))
    known = [*rows, *others[:200], (1, None, 7), (1, "custom", 8)]
    assert dict(batch_to_rows(new.contents())) == dict.fromkeys(known, 1)
    new.insert(batch_from_rows(S, others[200:]))
    again = spine()
    again.restore(store, old.capture().write(store))
    assert again.rewordings == 0

    for each in (old, new, again):
        assert dict(batch_to_rows(each.contents())) == dict.fromkeys([*known, *others[200:]], 1)
        key = [column_from_python(BIGINT, [1])]
        needle, found, complete = each.prefixes(key, 1, 400)
        assert complete[0] and len(needle) == 362
    _, found, complete = again.prefixes([column_from_python(BIGINT, [1])], 1, 5)
    assert not complete[0]
    assert {row for row, _ in batch_to_rows(found)} >= {(1, None, 7), *others[:3]}


@pytest.mark.parametrize("was_plain", [False, True], ids=["told apart", "plain"])
def test_rows_told_apart_are_found_among_any_number_in_one_place(
    was_plain: bool, tmp_path: Any
) -> None:
    old = OrderedSpine(S, (0,), [(2, False, True)], told_apart=not was_plain)
    for start in range(0, 900, 300):
        old.insert(batch_from_rows(S, [(1, f"name {i}", 5) for i in range(start, start + 300)]))
    store, new = StateStore(tmp_path), OrderedSpine(S, (0,), [(2, False, True)], told_apart=True)
    new.restore(store, old.capture().write(store))
    one = batch_from_rows(S, [(1, "name 700", 5), (1, "name 7", 5), (1, "no name", 5)])
    at = Places(*new.words(one))
    assert at.c[0] == at.c[1] and at.d[0] != at.d[1]
    assert [w.tolist() for w in new.words_at(one, np.array([1]))] == [[at.c[1]], [at.d[1]]]

    needle, found = between(new, one.columns[:1], at, at)

    assert sorted(needle.tolist()) == [0, 1]
    assert dict(batch_to_rows(found)) == {(1, "name 700", 5): 1, (1, "name 7", 5): 1}


@pytest.mark.parametrize(
    ("call", "order"),
    [
        ("LAG(x)", "name"), ("LEAD(x, 3)", "name DESC"), ("ROW_NUMBER()", "name"),
        ("RANK()", "name"), ("LAG(x)", "tied"), ("ROW_NUMBER()", "tied"), ("LAG(x)", "tied, name"),
        ("SUM(x)", "tied ROWS BETWEEN 2 PRECEDING AND CURRENT ROW"),
    ],
)  # fmt: skip
def test_windows_over_strings_that_begin_alike_and_over_ties_look_at_rows_nearby(
    call: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = compile_program(f"""
        CREATE TABLE t (g BIGINT, tied BIGINT, name VARCHAR, x BIGINT);
        CREATE VIEW v AS SELECT x, {call} OVER (PARTITION BY g ORDER BY {order}) AS v FROM t;
    """)
    circuit = compile_circuit(plan)
    schema = plan.tables[0].schema

    def step(ids: range) -> None:
        rows = [((1, 5, f"a customer of ours, number {i:09}", i), 1) for i in ids]
        circuit.step({"t": [as_input(schema, rows)]})

    step(range(2000))
    step(range(2000, 4000))
    looked_at: list[int] = []
    settled = RowOrder.settled

    def counting(self: Any, places: Any, rows: Any) -> Any:
        looked_at.append(len(rows))
        return settled(self, places, rows)

    monkeypatch.setattr(RowOrder, "settled", counting)
    step(range(4000, 4001))
    assert 0 < sum(looked_at) < 400


def test_a_run_whose_rows_had_their_words_already_comes_with_those(tmp_path: Any) -> None:
    spine = OrderedSpine(S, (0,), [(1, False, True)], packed=True)
    spine.insert(batch_from_rows(S, [(1, f"customer-{i:030}", i) for i in range(60)]))
    others = batch_from_rows(S, [(1, f"a client of ours, {i:09}", i) for i in range(200)])
    for start in (0, 200):
        # as many again as make the prefix another, if they counted twice
        fresh = spine.fresh(others)
        made = fresh.run.made
        spine.insert(others, fresh.run)
        assert start or spine._made == made
    assert {run.made for run in spine.runs()} == {spine._made}
    assert spine.rewordings == 1
