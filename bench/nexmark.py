"""Nexmark: every query through the real compiler and engine, state in memory.

Input is made before the clock starts. Event time is 10 ms an event. Environment variables:
`NEXMARK_EVENTS` (1,000,000), `NEXMARK_STEP` events a step (40,000: what Feldera's own runs take at
a time, for figures side by side), `NEXMARK_WORKERS` (1), `NEXMARK_DELTAS` (1,1000,10000,100000),
`NEXMARK_JSON` (300,000; 0: none).

    nexmark/q4                     events/s, all events in steps of NEXMARK_STEP
    nexmark/q4/p50, p99            milliseconds a step
    nexmark/q4/cpu                 events per second of the step thread's processor time
    nexmark/q4/all-cpu             the same of the whole process, background merges included
    nexmark/q4/state               bytes that the operators keep, an event
    nexmark/q4/peak                the largest resident memory over these steps, the input too
    nexmark/q4/delta-1000/p50,p99  ms of the step thread's processor for 1,000 events more
    nexmark/q4/two-workers         events/s with two workers, over 3,000,000 events at most; peer:
                                   one worker, another circuit that takes the same steps in turn;
                                   what is sorted and merged behind the steps is waited for, and
                                   the memory of both was used before
    nexmark/q4/from-json           events/s over the steps of NEXMARK_JSON events (300,000),
                                   generated and parsed as JSON within the clock

    nexmark/all                    events/s of one program with all the queries as views, over
                                   3,000,000 events at most, two workers; peer: one worker, in
                                   turn as above

A query that the compiler refuses prints a line with `value` 0 and the reason as `unit`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Generator, Iterator
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

import numpy as np
import pyarrow as pa

from bench.figure import Figure, higher_is_better, without_peer
from bench.memory import Peak, at_hand, let_go
from bench.nexmark_events import tables
from bench.nexmark_input import Lines
from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.arrow import column_from_arrow
from penstock.data.batch import INSERT, Column, InputBatch
from penstock.data.gather import compact_heaps, take_column
from penstock.data.parallel import use_threads
from penstock.data.warm import load_kernels
from penstock.errors import SqlError
from penstock.plan.nodes import ProgramPlan
from penstock.sql.program import compile_program
from penstock.state.changes import Changes, Owner
from penstock.state.spine import Spine, rest

PROGRAM = (Path(__file__).parent / "nexmark.sql").read_text()
QUERIES = [f"q{i}" for i in (*range(10), *range(12, 23))]
#: events at most that two circuits take in turn: of the program with all queries two, with all
#: their states, have to fit into memory side by side
MOST_IN_TURN = 3_000_000
#: bytes that they take, each: what 3,000,000 events were seen to
MEMORY_OF_ALL = 5 << 30
#: steps that one of them takes before it is the other's turn
TURN = 10
#: turns in which it is tried where several threads gain
TRIED = 2
Steps = list[dict[str, list[InputBatch]]]


def run(only: str | None) -> Iterator[Figure]:
    wanted = [q for q in QUERIES if only in (None, "nexmark", f"nexmark/{q}")]
    all_too = only in (None, "nexmark", "nexmark/all")
    if not wanted and not all_too:
        return
    events = int(os.environ.get("NEXMARK_EVENTS", "1000000"))
    size = int(os.environ.get("NEXMARK_STEP", "40000"))
    deltas = [
        int(d) for d in os.environ.get("NEXMARK_DELTAS", "1,1000,10000,100000").split(",") if d
    ]
    more = [d for d in deltas for _ in range(_steps_of(d, events))]
    made = tables(events + sum(more))
    cuts = np.append(np.arange(0, events, size), events)
    cuts = np.append(cuts, events + np.cumsum(more, dtype=np.int64))
    workers = int(os.environ.get("NEXMARK_WORKERS", "1"))
    use_threads(workers, time.perf_counter, os.cpu_count())
    few = -(-int(os.environ.get("NEXMARK_JSON", "300000")) // size)
    lines = Lines(min(events, few * size), size)
    load_kernels()  # as a worker process does before anybody asks
    for query in wanted:
        try:
            plan = compile_program(_only(query))
        except SqlError as e:
            yield without_peer(f"nexmark/{query}", 0, str(e))
            continue
        # nothing of it is kept: the events of a query alone may be a quarter of the memory
        yield from _of(
            query, plan, input_batches(plan, made, cuts), events, more, size, workers, lines
        )
    if all_too:
        plan = compile_program(PROGRAM)
        steps = input_batches(plan, made, cuts)[: -(-events // size)]
        yield _two_workers("nexmark/all", plan, None, steps, events, size, MEMORY_OF_ALL)


def _two_workers(
    name: str,
    plan: ProgramPlan,
    query: str | None,
    steps: Steps,
    events: int,
    size: int,
    memory: int,
) -> Figure:
    """Events a second of two workers over `steps`, which are `events` in steps of `size` and take
    `memory` bytes, against one worker."""
    few = min(len(steps), max(1, MOST_IN_TURN // size))
    at_hand(2 * memory * few // len(steps))
    one, two = _one_and_two_workers(plan, query, steps[:few])
    of_turn = min(events, TURN * size)
    return higher_is_better(name, of_turn / two, "events/s", "one worker", of_turn / one)


def _one_and_two_workers(plan: ProgramPlan, query: str | None, steps: Steps) -> tuple[float, float]:
    """Seconds that a turn of `steps` takes with one worker and with two, and reading `query` after
    each.

    A run of one and then of the other is no comparison: a machine is quicker in one minute than
    in the next. Some steps at a time, as threads that have just begun are slow, and what the steps
    of a turn leave to the threads that sort and merge is waited for within it, or the other circuit
    would run beside it; and each is the first in every other turn, since the second finds the input
    in the caches of the processor. In the first turns it is tried where several threads gain, which
    a process of hours seldom does again. So: the mean of the medians of the turns after those where
    it was the first and of those where it was the second.
    """
    circuits = [compile_circuit(plan), compile_circuit(plan)]
    #: of either, as the first and as the second
    took: list[list[list[float]]] = [[[], []], [[], []]]
    for circuit in circuits:
        circuit.step({"side_input": [_side_input(plan)]})
    for number, start in enumerate(range(0, len(steps), TURN)):
        for place, i in enumerate((0, 1) if number % 2 else (1, 0)):
            use_threads(i + 1, time.perf_counter, os.cpu_count())
            started = time.perf_counter()
            for step in steps[start : start + TURN]:
                views = circuits[i].step(step)
                if query is not None:
                    views[query]  # what the view changed, as its readers get it
            rest()
            is_whole = start + TURN <= max(TURN, len(steps))  # or all there is
            if is_whole and (number >= TRIED or len(steps) < 2 * TRIED * TURN):
                took[i][place].append(time.perf_counter() - started)
    use_threads(1)
    one, two = (fmean(median(turns) for turns in mine if turns) for mine in took)
    return one, two


def _steps_of(delta: int, events: int) -> int:
    """How many steps of `delta` events follow `events`, for their percentiles."""
    return max(3, min(200, 300_000 // delta)) if delta <= events else 0


def _only(query: str) -> str:
    """The program with the tables and what `query` reads."""
    statements = [s.strip() for s in PROGRAM.split(";\n") if s.strip()]
    kept = []
    for s in statements:
        name = re.search(r"CREATE (LOCAL )?VIEW (\w+)", s)
        if name is None or name.group(2) == query or (name.group(1) and query == "q5"):
            kept.append(s)
    return ";\n".join(kept)


def input_batches(plan: ProgramPlan, made: dict, cuts: np.ndarray) -> Steps:  # type: ignore[type-arg]
    """Events cuts[i] … cuts[i + 1] of the tables `made`, for each i, each batch with heaps of its
    own, as connectors deliver them."""
    schemas = {t.name: t.schema for t in plan.tables}
    steps: Steps = [{} for _ in cuts[1:]]
    for name, (rows, numbers) in made.items():
        columns = [
            column_from_arrow(t, rows[f].combine_chunks())
            for f, t in zip(rows.column_names, schemas[name].types, strict=True)
        ]
        places = np.searchsorted(numbers, cuts)
        for step, (a, b) in zip(steps, pairwise(places.tolist()), strict=True):
            if b > a:
                at = np.arange(a, b)
                part = tuple(compact_heaps(take_column(c, at)) for c in columns)
                ops = np.full(b - a, INSERT, np.uint8)
                step[name] = [InputBatch(schemas[name], part, ops)]
    return steps


def _side_input(plan: ProgramPlan) -> InputBatch:
    """10,000 rows (i, "i")."""
    schema = next(t.schema for t in plan.tables if t.name == "side_input")
    n = range(10_000)
    time = pa.array([0] * len(n)).cast(pa.timestamp("us"))
    arrays = (pa.array(n, pa.int64()), pa.array([str(i) for i in n]), time)
    columns = tuple(column_from_arrow(t, a) for t, a in zip(schema.types, arrays, strict=True))
    return InputBatch(schema, columns, np.full(len(n), INSERT, np.uint8))


def _of(
    query: str,
    plan: ProgramPlan,
    steps: Steps,
    events: int,
    more: list[int],
    size: int,
    workers: int,
    lines: Lines,
) -> Iterator[Figure]:
    """All figures of a query."""
    memory = yield from _figures(query, plan, steps, events, more)
    let_go()
    bulk = steps[: len(steps) - len(more)]
    if workers == 1:
        name = f"nexmark/{query}/two-workers"
        yield _two_workers(name, plan, query, bulk, events, size, memory)
        let_go()
    if lines.events:
        rate = lines.rate(plan, query, steps, _side_input(plan))
        yield without_peer(f"nexmark/{query}/from-json", rate, "events/s")
        let_go()


def _figures(
    query: str, plan: ProgramPlan, steps: Steps, events: int, more: list[int]
) -> Generator[Figure, None, int]:
    """Returns how many bytes its state took at most."""
    bulk = len(steps) - len(more)
    peak = Peak()
    began = peak.mib()
    took, thread, process, circuit = _bulk(query, plan, steps[:bulk])
    held = peak.mib()
    name = f"nexmark/{query}"
    yield without_peer(name, events / sum(took), "events/s")
    for p in (50, 99):
        yield without_peer(f"{name}/p{p}", float(np.percentile(took, p)) * 1e3, "ms")
    yield without_peer(f"{name}/cpu", events / thread, "events/s")
    yield without_peer(f"{name}/all-cpu", events / process, "events/s")
    yield without_peer(f"{name}/state", _state_bytes(circuit) / events, "bytes/event")
    unit = "MiB" if peak.is_own else "MiB, of all that ran before too"
    yield without_peer(f"{name}/peak", held, unit)
    small: dict[int, list[float]] = {}
    for step, delta in zip(steps[bulk:], more, strict=True):
        started = time.thread_time()
        circuit.step(step)[query]
        small.setdefault(delta, []).append(time.thread_time() - started)
    for delta, took in small.items():
        for p in (50, 99):
            value = float(np.percentile(took, p)) * 1e3
            yield without_peer(f"{name}/delta-{delta}/p{p}", value, "ms")
    return int(held - began) << 20


def _bulk(query: str, plan: ProgramPlan, steps: Steps) -> tuple[list[float], float, float, Circuit]:
    """All `steps`: seconds of each by the clock, of the thread's and the process's processor in
    all, and the circuit after them. The code is warm before."""
    warm = compile_circuit(plan)
    for step in steps[:2]:
        warm.step(step)
    del warm
    let_go()
    circuit = compile_circuit(plan)
    circuit.step({"side_input": [_side_input(plan)]})
    took, thread, process = [], time.thread_time(), time.process_time()
    for step in steps:
        started = time.perf_counter()
        circuit.step(step)[query]  # what the view changed, as its readers get it
        took.append(time.perf_counter() - started)
    return took, time.thread_time() - thread, time.process_time() - process, circuit


def _state_bytes(circuit: Circuit) -> int:
    """Bytes of runs and of arrays by group; heaps are counted for each column that uses them."""
    total = 0
    for part in (p for node in circuit.nodes for p in node.parts().values()):
        if isinstance(part, Spine):
            total += sum(run.nbytes for run in part.runs())
        else:
            owner = part.owner if isinstance(part, Changes) else part
            assert isinstance(owner, Owner)
            for array in owner.entries().values():
                values = array.values if isinstance(array, Column) else array
                total += values.nbytes // max(1, len(values)) * owner.entry_count()
    return total
