"""State files: what was put comes back, and nothing else ever does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.circuit import AggregateSpec, Circuit
from penstock.data.build import (
    batch_from_rows,
    batch_to_rows,
    column_from_python,
    column_to_python,
)
from penstock.data.types import BIGINT, INTEGER, VARCHAR, schema
from penstock.errors import Conflict, StateCorrupt
from penstock.state.spine import Spine
from penstock.state.storage import FileSystem, StateStore, column, referenced_files
from tests.examples import examples
from tests.oracle.drive import as_input

LONG = "a string that does not fit a view"
T = schema(k=INTEGER, s=VARCHAR)
COUNT = AggregateSpec("COUNT", (), (), BIGINT.with_nullable(False))
MAX = AggregateSpec("MAX", (1,), (VARCHAR,), VARCHAR)


class Failing(FileSystem):
    """Fails at the n-th call, before (or for writes: in the middle of) doing it."""

    def __init__(self, at: int) -> None:
        self.left = at

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError("the disk is full")

    def write(self, path: Path, pieces: Iterable[tuple[int, memoryview]]) -> None:
        try:
            self._count()
        except OSError:
            first = [*pieces][:1]
            super().write(path, first)
            raise
        super().write(path, pieces)

    def rename(self, old: Path, new: Path) -> None:
        self._count()
        super().rename(old, new)

    def sync_directory(self, path: Path) -> None:
        self._count()


def test_arrays_and_columns_come_back_as_they_were(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    texts = ["", None, "short", LONG, LONG * 1000, "é" * 9]
    arrays = {
        "none": np.zeros((0, 2), np.uint64),
        "some": np.arange(7.0),
        "s": column_from_python(VARCHAR, texts),
    }

    found = store.get(store.put("x", arrays))

    assert found["none"].shape == (0, 2) and found["none"].dtype == np.uint64
    assert found["some"].tolist() == list(range(7))
    assert found["some"].flags.writeable and found["some"].flags.c_contiguous
    assert column_to_python(column(found, "s", VARCHAR)) == texts


def test_writing_to_what_was_read_does_not_change_the_file(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    id = store.put("x", {"a": np.arange(5)})
    store.get(id)["a"][:] = 0

    assert StateStore(tmp_path).get(id)["a"].tolist() == [0, 1, 2, 3, 4]


def test_files_are_listed_and_removed_and_left_overs_go(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    kept, gone = (store.put("x", {"a": np.arange(5)}) for _ in range(2))
    (tmp_path / "x-1.tmp").write_bytes(b"half")
    store.remove({gone, "never-was"})

    assert StateStore(tmp_path).files() == {kept}
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"{kept}.state"]
    with pytest.raises(StateCorrupt, match=gone):
        store.get(gone)


@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(
    max_examples=examples(60),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_a_flipped_bit_is_found(tmp_path: Path, at: float, bit: int) -> None:
    store = StateStore(tmp_path)
    texts = [LONG, "x", None] * 3
    id = store.put("x", {"a": np.arange(9), "s": column_from_python(VARCHAR, texts)})
    path = tmp_path / f"{id}.state"
    raw = bytearray(path.read_bytes())
    raw[int(at * len(raw))] ^= 1 << bit
    path.write_bytes(raw)

    try:
        found = store.get(id)
    except StateCorrupt as e:
        assert e.file == id and e.code == "CorruptState"
        return
    # the bit was in the padding
    assert found["a"].tolist() == list(range(9))
    assert column_to_python(column(found, "s", VARCHAR)) == texts


@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.99])
def test_a_truncated_file_is_found(tmp_path: Path, share: float) -> None:
    store = StateStore(tmp_path)
    id = store.put("x", {"a": np.arange(900)})
    path = tmp_path / f"{id}.state"
    raw = path.read_bytes()
    path.write_bytes(raw[: int(share * len(raw))])

    with pytest.raises(StateCorrupt, match=id):
        store.get(id)


# circuits


def grouping() -> Circuit:
    circuit = Circuit()
    table = circuit.source("t", T)
    fields = schema(k=INTEGER, n=COUNT.result, most=VARCHAR)
    grouped = circuit.aggregate(table, (0,), (COUNT, MAX), fields)
    circuit.sink("out", grouped, materialized=True)
    circuit.sink("all", circuit.distinct(table), materialized=True)
    return circuit


def step(circuit: Circuit, *rows: tuple[Any, int]) -> None:
    circuit.step({"t": [as_input(T, rows)]})


def rows_of(circuit: Circuit) -> list[Counter[Any]]:
    return [Counter(dict(batch_to_rows(circuit.snapshot(n).batch()))) for n in ("out", "all")]


FIRST = [((k, f"{LONG} {k}"), 1) for k in range(40)]
SECOND = [((3, f"{LONG} 3"), -1), ((7, "z"), 2), ((99, LONG), 1)]


@pytest.mark.parametrize("n", range(1, 30))
def test_what_a_failed_checkpoint_did_not_write_the_next_one_does(tmp_path: Path, n: int) -> None:
    fs = Failing(0)
    store = StateStore(tmp_path, fs)
    circuit = grouping()
    step(circuit, *FIRST)
    before = rows_of(circuit)
    old = circuit.capture().write(store)
    step(circuit, *SECOND)
    fs.left = n
    try:
        circuit.capture().write(store)
        assert fs.left > 0
    except OSError:
        assert fs.left == 0
    fs.left = -1
    restored = grouping()
    restored.restore(store, old)
    assert rows_of(restored) == before
    step(circuit, ((1, "new"), 1))
    new = circuit.capture().write(store)
    restored = grouping()
    restored.restore(store, new)
    assert rows_of(restored) == rows_of(circuit)
    step(restored, *SECOND)
    step(circuit, *SECOND)
    assert rows_of(restored) == rows_of(circuit)


def test_a_damaged_file_of_a_circuit_is_named_and_older_state_still_loads(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    circuit = grouping()
    step(circuit, *FIRST)
    before = rows_of(circuit)
    old = circuit.capture().write(store)
    step(circuit, *SECOND)
    new = circuit.capture().write(store)
    for id in sorted(referenced_files(new) - referenced_files(old)):
        path = tmp_path / f"{id}.state"
        whole = path.read_bytes()
        path.write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
        with pytest.raises(StateCorrupt, match=id):
            grouping().restore(store, new)
        path.write_bytes(whole)
    restored = grouping()
    restored.restore(store, old)

    assert rows_of(restored) == before


def test_a_checkpoint_writes_only_what_is_new(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    circuit = grouping()
    step(circuit, *[((k, f"{LONG} {k}"), 1) for k in range(5000)])
    first = circuit.capture().write(store)
    step(circuit, ((17, "more"), 1))
    second = circuit.capture().write(store)
    fresh = referenced_files(second) - referenced_files(first)

    assert sum(map(store.size, fresh)) < sum(map(store.size, referenced_files(first))) / 50
    assert circuit.capture().write(store) == second


def test_many_small_deltas_are_one_file_and_the_same_as_long_as_none_comes(tmp_path: Path) -> None:
    store, spine = StateStore(tmp_path), Spine(T, (0,))
    for k in range(10):
        spine.insert(batch_from_rows(T, [(k, f"{LONG} {k}")], [1]))
    assert len(spine.sorted_runs()) == 10
    saved = spine.capture().write(store)
    assert spine.capture().write(store) == saved
    assert len(saved["runs"]) == 1
    spine.insert(batch_from_rows(T, [(0, f"{LONG} 0")], [-1]))
    assert spine.capture().write(store) != saved

    restored = Spine(T, (0,))
    restored.restore(store, saved)
    assert Counter(dict(batch_to_rows(restored.snapshot().batch()))) == Counter(
        {(k, f"{LONG} {k}"): 1 for k in range(10)}
    )


def test_state_of_another_program_is_refused(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    saved = json.loads(json.dumps(grouping().capture().write(store)))
    other = Circuit()
    other.sink("out", other.negate(other.source("t", T)))

    with pytest.raises(Conflict, match=r"another program.*negate 1, sink out"):
        other.restore(store, saved)
