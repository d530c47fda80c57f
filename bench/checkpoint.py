"""Checkpoints of a large state: how long the step loop waits, what is written, how fast it is back.

State is a table of N rows by primary key and a view with N groups (COUNT, SUM, MAX). Between two
checkpoints 100,000 rows at random keys change. Directory: the system's temporary one.

    stall      time of `Circuit.capture`, which holds the step lock, in ms
    stall-cpu  the same in time of the processor, which does not depend on who else is running
    write      time of `Captured.write` in its own thread, in ms, files synced
    bytes      bytes written by one checkpoint per row changed
    full       time of the first checkpoint, which writes everything, in s
    restore    from a built circuit to one that can be stepped, in s
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.figure import Figure, without_peer
from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.batch import INSERT, Column, InputBatch
from penstock.data.types import Schema
from penstock.plan.nodes import ProgramPlan
from penstock.sql.program import compile_program
from penstock.state.storage import StateStore, referenced_files

STATES = (1_000_000, 10_000_000)
CHANGED, CHECKPOINTS = 100_000, 8

PROGRAM = """
CREATE TABLE orders (id BIGINT NOT NULL PRIMARY KEY, customer BIGINT NOT NULL,
                     price BIGINT NOT NULL);
CREATE VIEW totals AS
    SELECT id, COUNT(*) AS orders, SUM(price) AS total, MAX(price) AS most
    FROM orders GROUP BY id;
"""


def run(only: str | None) -> Iterator[Figure]:
    """The figures of the states whose case names start with `only`."""
    for rows in STATES:
        name = f"checkpoint/state-{rows}"
        if only in (None, "checkpoint", name):
            yield from _state(name, rows)


def _state(name: str, rows: int) -> Iterator[Figure]:
    rng = np.random.default_rng(7)
    plan = compile_program(PROGRAM)
    circuit = compile_circuit(plan)
    for at in range(0, rows, 500_000):
        _step(circuit, plan, np.arange(at, min(at + 500_000, rows)), rng)
    with tempfile.TemporaryDirectory() as directory:
        store = StateStore(Path(directory))
        full, saved = _timed(lambda: circuit.capture().write(store))
        stalls, cpu, writes, sizes = [], [], [], []
        for _ in range(CHECKPOINTS):
            known = store.files()
            _step(circuit, plan, rng.choice(rows, CHANGED, replace=False), rng)
            before = time.thread_time()
            stall, captured = _timed(circuit.capture)
            cpu.append(1e3 * (time.thread_time() - before))
            write, saved = _timed(lambda c=captured: c.write(store))  # type: ignore[misc]
            stalls.append(1e3 * stall)
            writes.append(1e3 * write)
            sizes.append(sum(map(store.size, referenced_files(saved) - known)) / CHANGED)
            store.remove(store.files() - referenced_files(saved))
        yield without_peer(f"{name}/stall", statistics.median(stalls), "ms")
        yield without_peer(f"{name}/stall-max", max(stalls), "ms")
        yield without_peer(f"{name}/stall-cpu", statistics.median(cpu), "ms")
        yield without_peer(f"{name}/write", statistics.median(writes), "ms")
        yield without_peer(f"{name}/bytes", statistics.mean(sizes), "bytes/row")
        yield without_peer(f"{name}/full", full, "s")
        again = compile_circuit(plan)
        restore, _ = _timed(lambda: again.restore(store, saved))
        yield without_peer(f"{name}/restore", restore, "s")


def _step(circuit: Circuit, plan: ProgramPlan, ids: np.ndarray, rng: np.random.Generator) -> None:
    schema: Schema = plan.tables[0].schema
    n = len(ids)
    values = (ids, rng.integers(0, 100_000, n), rng.integers(0, 1_000, n))
    columns = tuple(Column(t, v) for t, v in zip(schema.types, values, strict=True))
    circuit.step({"orders": [InputBatch(schema, columns, np.full(n, INSERT, np.uint8))]})


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    answer = call()
    return time.perf_counter() - started, answer
