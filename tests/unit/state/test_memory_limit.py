"""A process keeps to a limit of memory and answers from three times as much state."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from penstock.compile.program import compile_circuit
from penstock.data.batch import DELETE, INSERT, Batch, Column, InputBatch
from penstock.data.build import batch_to_rows, column_from_python
from penstock.sql.program import compile_program
from penstock.state.backing import use_files
from penstock.state.freed import limit_what_is_kept
from penstock.state.spine import Spine
from penstock.state.storage import StateStore
from tests.oracle.drive import Unsynced

PROGRAM = """
CREATE TABLE t (k BIGINT NOT NULL, s VARCHAR NOT NULL);
CREATE VIEW pairs AS SELECT a.k, b.s FROM t a JOIN t b ON a.k = b.k + 1;
CREATE VIEW totals AS SELECT COUNT(*) AS n, SUM(k) AS s FROM t;
"""
#: bytes that the process may hold, beyond what it holds when it begins, and that the system cannot
#: drop: cold pages of mapped files it can, and writes to those are none
LIMIT = 120 << 20
STEP = 20_000


def grow(directory: Path, budget: int | None) -> None:
    """Fill the state up to three times LIMIT, and see that the answers are right."""
    plan = compile_program(PROGRAM)
    schema = plan.tables[0].schema
    texts = column_from_python(
        schema.types[1], [f"a text of some length, {i:9}" for i in range(STEP)]
    )

    def rows(start: int, operation: int) -> list[InputBatch]:
        keys = Column(schema.types[0], np.arange(start, start + STEP))
        return [InputBatch(schema, (keys, texts), np.full(STEP, operation, np.uint8))]

    # kernels are loaded before anything is counted
    warm = compile_circuit(plan)
    warm.step({"t": rows(0, INSERT)})
    warm.step({"t": rows(0, DELETE)})
    circuit = compile_circuit(plan)
    if budget is not None:
        circuit.spill_to(StateStore(directory, Unsynced()), budget)
        use_files(directory, budget // 16)
        limit_what_is_kept()
    begins, most, is_done = _held(), [0], threading.Event()

    def watch() -> None:
        while not is_done.wait(0.002):
            most[0] = max(most[0], _held())

    watcher = threading.Thread(target=watch)
    watcher.start()

    found: dict[Any, int] = {}
    pairs = count = 0

    def take(change: dict[str, Batch]) -> None:
        nonlocal pairs
        pairs += int(change["pairs"].weights.sum())
        for row, weight in batch_to_rows(change["totals"]):
            found[row] = found.get(row, 0) + weight

    try:
        while _state_bytes(circuit) < 3 * LIMIT:
            take(dict(circuit.step({"t": rows(count, INSERT)})))
            count += STEP
        take(dict(circuit.step({"t": rows(STEP, DELETE)})))  # the oldest but the first
    finally:
        is_done.set()
        watcher.join()

    left = count - STEP
    total = count * (count - 1) // 2 - sum(range(STEP, 2 * STEP))
    assert {row: w for row, w in found.items() if w} == {(left, total): 1}
    assert pairs == left - 2  # the first row has none before it, nor has the one behind the gap

    print((most[0] - begins) >> 20)


def _held() -> int:
    """Bytes of memory of this process that no file stands for."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in x]
    return int(line.split()[1]) * 1024


def _state_bytes(circuit: Any) -> int:
    parts = [p for node in circuit.nodes for p in node.parts().values()]
    return sum(r.nbytes for p in parts if isinstance(p, Spine) for r in p.sorted_runs())


def _most(directory: Path, budget: int | None) -> int:
    """Bytes that a process of its own held at most, whose answers were right."""
    call = f"grow(Path({str(directory)!r}), {budget})"
    code = f"from pathlib import Path; from {__name__} import grow; {call}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) << 20


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what is held")
def test_a_state_of_three_times_the_processs_memory_answers_rightly(tmp_path: Path) -> None:
    assert _most(tmp_path, LIMIT // 8) <= LIMIT
    assert _most(tmp_path, None) > 2 * LIMIT, "it would have fitted anyway"
