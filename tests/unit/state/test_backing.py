"""Arrays by group beyond a size live in files, and answer as those in memory do."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, Array, Column, InputBatch
from penstock.sql.program import compile_program
from penstock.state import backing
from penstock.state.backing import (
    AHEAD,
    LARGE_BYTES,
    LARGE_PAGE,
    is_in_file,
    longer,
    populated,
    room,
    use_files,
    use_memory,
)
from penstock.state.changes import Changes, Owner
from penstock.state.spine import Spine
from penstock.state.storage import StateStore
from tests.oracle.drive import Unsynced

PROGRAM = """
CREATE TABLE t (k BIGINT NOT NULL, x BIGINT NOT NULL);
CREATE MATERIALIZED VIEW v AS
    SELECT k, COUNT(*) AS n, SUM(x) AS s, MAX(x) AS m FROM t GROUP BY k;
"""


@pytest.fixture(autouse=True)
def _in_memory_again() -> Iterator[None]:
    yield
    use_memory()


def test_large_arrays_are_in_files_that_nobody_sees(tmp_path: Path) -> None:
    use_files(tmp_path, 1000)
    for array in (room(124, np.int64), room((4, 3), np.uint64)):
        assert not is_in_file(array)
    large, ones = room((50, 3), np.uint64), room(1000, np.uint8, 1)
    assert is_in_file(large) and is_in_file(ones[10:20])
    assert large.shape == (50, 3) and not large.any() and ones.all()
    large[7, 2] = 9
    assert large.sum() == 9
    assert not list(tmp_path.iterdir())


def test_a_file_that_a_kill_leaves_with_its_name_goes_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every file system makes files without a name; then it is taken away an instant later."""
    use_files(tmp_path, 1)
    with monkeypatch.context() as killed:
        killed.setattr(tempfile, "_O_TMPFILE_WORKS", False)
        killed.setattr(os, "unlink", lambda path: None)
        room(10, np.int64)
    assert len(list(tmp_path.iterdir())) == 1
    StateStore(tmp_path)
    assert not list(tmp_path.iterdir())


def test_where_the_disk_refuses_arrays_stay_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    use_files(tmp_path / "gone", 1)
    array = room(10, np.int64, -1)
    assert array.tolist() == [-1] * 10 and not is_in_file(array)
    assert "state_in_memory" in caplog.text


def test_large_arrays_in_memory_start_a_large_page() -> None:
    array = room((LARGE_BYTES // 24 + 1, 3), np.uint64)
    assert not array.any() and not is_in_file(array)
    assert array.flags.c_contiguous and array.flags.writeable
    assert array.__array_interface__["data"][0] % LARGE_PAGE == 0
    ones = room(LARGE_BYTES, np.int64, 1)
    array[-1] = 7
    assert ones.all() and array.sum() == 21


@pytest.mark.parametrize("lacks", ["them", "room"])
def test_a_system_without_large_pages_has_others(
    monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    if lacks == "them":
        monkeypatch.delattr(backing.mmap, "MADV_HUGEPAGE")
    else:
        monkeypatch.setattr(backing, "LARGE_PAGE", 1 << 60)
    assert len(room(LARGE_BYTES, np.uint8, 1)) == LARGE_BYTES


def address(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def test_a_large_array_grows_where_it_is_and_no_step_copies_it() -> None:
    entries = LARGE_BYTES // 24 + 1
    small = room((entries // 4, 3), np.uint64)
    small[:] = np.arange(entries // 4)[:, None]
    array = longer(small, entries, fill=9)
    where, seen = address(array), array[: len(small)]
    assert len(array) >= entries and (array[: len(small)] == small).all()
    for _ in range(10):
        before = len(array)
        array[-1] = before
        array = longer(array, before + 1, fill=9)
        assert address(array) == where and len(array) > before
        assert (array[before - 1] == before).all() and (array[before:] == 9).all()
    # whoever had it still sees what was in it
    assert (seen == small).all() and array.flags.c_contiguous


def test_the_arrays_of_an_operator_do_not_all_become_large_in_one_step() -> None:
    """A copy into a large page is up to two milliseconds; an aggregate has twenty arrays."""
    arrays: list[npt.NDArray[Any]] = [np.zeros(16, np.int64) for _ in range(20)]
    at_once, step = [], LARGE_BYTES // 8 // 16
    for rows in range(step, 4 * LARGE_BYTES // 8, step):
        grown = [longer(a, rows) if len(a) < rows else a for a in arrays]
        moved = [a for a, b in zip(grown, arrays, strict=True) if address(a) != address(b)]
        at_once.append(sum(a.nbytes >= LARGE_BYTES for a in moved))
        arrays = grown
    assert sum(at_once) == 20  # each once
    assert max(at_once) <= 6


def test_only_the_whole_of_an_array_grows_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backing, "LEAST_AHEAD", 1)
    array = longer(room(LARGE_BYTES // 4, np.int64), LARGE_BYTES // 4 + 1)
    array[:] = 5
    for part in (array[: LARGE_BYTES // 8], array[1:], array.view(np.uint8)[:-8].view(np.int64)):
        copy = longer(part, len(part) + 1)
        assert not np.shares_memory(copy, array)
        assert (copy[: len(part)] == 5).all() and not copy[len(part) :].any()
    # and not beyond what there is
    beyond = longer(array, 2 * AHEAD * len(array))
    assert not np.shares_memory(beyond, array) and (beyond[: len(array)] == 5).all()
    assert not beyond[len(array) : 2 * len(array)].any()


def test_an_array_that_has_grown_into_the_size_of_files_goes_into_one(tmp_path: Path) -> None:
    array = longer(room(LARGE_BYTES // 8, np.int64), LARGE_BYTES // 8 + 1)
    array[:] = 3
    use_files(tmp_path, LARGE_BYTES)
    moved = longer(array, len(array) + 1)
    assert is_in_file(moved) and (moved[: len(array)] == 3).all() and not is_in_file(array)
    again = longer(moved, len(moved) + 1)
    assert is_in_file(again) and (again[: len(array)] == 3).all()


def test_where_address_space_is_limited_an_array_that_grows_is_copied() -> None:
    limited = f"""
import resource, numpy as np
from penstock.state.backing import longer, room
resource.setrlimit(resource.RLIMIT_AS, (1 << 36, 1 << 36))
array = longer(room({LARGE_BYTES}, np.uint8, 1), {LARGE_BYTES} + 1)
assert len(array) == 2 * {LARGE_BYTES} and array.sum() == {LARGE_BYTES}
again = longer(array, len(array) + 1)
assert not np.shares_memory(again, array) and again.sum() == {LARGE_BYTES}
"""
    subprocess.run([sys.executable, "-c", limited], check=True)


def test_arrays_that_become_large_do_not_each_ask_the_system_for_its_policy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, read_text = [], Path.read_text

    def noted(path: Path, *args: Any, **named: Any) -> str:
        asked.append(path)
        return read_text(path, *args, **named)

    monkeypatch.setattr(Path, "read_text", noted)
    for _ in range(3):
        longer(room(LARGE_BYTES, np.uint8), LARGE_BYTES + 1)
    assert len(asked) <= 1


def test_what_is_made_beside_the_steps_stays_what_it_is() -> None:
    part = room(LARGE_BYTES, np.uint8, 7)
    populated(part).result()
    populated(part[5:9]).result()
    assert (part == 7).all()


def kept(circuit: object) -> tuple[int, int]:
    """(bytes of all that the operators keep, those of them in memory)."""
    arrays: list[tuple[Array, bool]] = []
    for part in (p for node in circuit.nodes for p in node.parts().values()):  # type: ignore[attr-defined]
        if isinstance(part, Spine):
            # what waits to be sorted (`spine.LOG_ROWS` at most) is not counted
            for run in part.sorted_runs():
                arrays += [(column.values, run.written.is_mapped) for column in run.batch.columns]
                arrays += [(a, run.written.is_mapped) for a in (run.k, run.r, run.batch.weights)]
        else:
            owner = part.owner if isinstance(part, Changes) else part
            assert isinstance(owner, Owner)
            for entry in owner.entries().values():
                values = entry.values if isinstance(entry, Column) else entry
                arrays.append((values, is_in_file(values)))
    total = sum(a.nbytes for a, _ in arrays)
    return total, sum(a.nbytes for a, in_file in arrays if not in_file)


def test_state_three_times_the_limit_answers_as_ever(tmp_path: Path) -> None:
    limit = 2 << 20
    plan = compile_program(PROGRAM)
    circuit = compile_circuit(plan)
    # resident runs may take twice what they are asked to, while others are being written
    circuit.spill_to(StateStore(tmp_path, Unsynced()), limit // 2)
    use_files(tmp_path, limit // 32)
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 70_000, (14, 10_000, 2))
    schema = plan.tables[0].schema
    for step in rows:
        columns = tuple(
            Column(t, np.ascontiguousarray(step[:, i])) for i, t in enumerate(schema.types)
        )
        circuit.step({"t": [InputBatch(schema, columns, np.full(len(step), INSERT, np.uint8))]})

    all_bytes, in_memory = kept(circuit)
    # what is merged or written after the last rows came is taken up by later ones
    until = time.monotonic() + 60
    while in_memory >= limit and time.monotonic() < until:
        for part in (p for node in circuit.nodes for p in node.parts().values()):
            if isinstance(part, Spine):
                part._adopt_merged()
        circuit.step({})
        all_bytes, in_memory = kept(circuit)
    assert all_bytes > 3 * limit and in_memory < limit
    keys, values = rows[..., 0].reshape(-1), rows[..., 1].reshape(-1)
    found = circuit.snapshot("v").batch()
    order = np.argsort(found.columns[0].values)
    groups = np.unique(keys)
    largest = np.full(70_000, -1)
    np.maximum.at(largest, keys, values)
    assert found.columns[0].values[order].tolist() == groups.tolist()
    assert found.columns[1].values[order].tolist() == np.bincount(keys)[groups].tolist()
    assert found.columns[2].values[order].tolist() == np.bincount(keys, values)[groups].tolist()
    assert found.columns[3].values[order].tolist() == largest[groups].tolist()


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from penstock.circuit.ops.aggregate import Aggregate
from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, Column, InputBatch
from penstock.data.warm import load_kernels
from penstock.sql.program import compile_program
from penstock.state.backing import use_files

directory, in_files = Path(sys.argv[1]), sys.argv[2] == "files"
load_kernels()
plan = compile_program(
    "CREATE TABLE t (k BIGINT NOT NULL); "
    "CREATE VIEW v AS SELECT k, COUNT(*) AS n FROM t GROUP BY k;"
)
circuit, schema = compile_circuit(plan), plan.tables[0].schema

def step(first, rows):
    keys = Column(schema.types[0], np.arange(first, first + rows))
    return circuit.step({"t": [InputBatch(schema, (keys,), np.full(rows, INSERT, np.uint8))]})["v"]

step(0, 50_000)
if in_files:
    use_files(directory, 1 << 20)
status = Path("/proc/self/status").read_text()
used = next(int(l.split()[1]) for l in status.splitlines() if l.startswith("VmData")) << 10
resource.setrlimit(resource.RLIMIT_DATA, (used + (48 << 20), used + (48 << 20)))
groups = 50_000
while groups < 3_000_000:
    groups += len(step(groups, 50_000))
counts = step(1_000_000, 3)
print(groups, sorted(zip(counts.columns[1].values.tolist(), counts.weights.tolist())))
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["files", "memory"])
def test_groups_three_times_what_the_process_may_use_are_counted(
    tmp_path: Path, where: str
) -> None:
    """3,000,000 groups take some 150 MB, and the process may allocate 48 more."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), where], capture_output=True, text=True
    )
    if where == "files":
        assert done.stdout.split("\n")[0] == (
            "3000000 [(1, -1), (1, -1), (1, -1), (2, 1), (2, 1), (2, 1)]"
        ), done.stderr[-2000:]
    else:
        assert "MemoryError" in done.stderr or "Unable to allocate" in done.stderr
