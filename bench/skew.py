"""Where all rows have one key: does what is changed still cost what it is, row by row?

Each case is one query over `t`, N rows of a single key, and a change that reaches all of them:

    flip       every row goes in one step and comes back in the next: the group is empty, and full
    multiply   the one partner of all rows is replaced: 2 N rows come out
    first      a row comes before all others of its partition, and goes: N numbers change

    skew/<case>/rows-N     ns of the step's thread a row that is changed or comes out
    skew/<case>/growth     that of the largest N over that of the smallest: 1 is linear

    skew/sum-of-pairs      N rows meet 100 of their key, and the pairs are added up: ns a pair, and
    …/peak                 MB of arrays that the step held at most
    skew/pairs             the same where the pairs are a view, whose change is then read
    skew/of-one-row        100 N rows meet a single one, and the pairs are added up
    skew/of-one-row-above  the same by an inequality alone

    skew/transaction       100 steps of 1,000 rows one by one, over their rows in one step

`SKEW_ROWS` (20000,200000) names the sizes, ascending.
"""

from __future__ import annotations

import os
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.feed import DELETE, from_arrays, settle
from bench.figure import Figure, without_peer
from penstock.circuit import Circuit
from penstock.circuit.arrange import Arrange
from penstock.compile.program import compile_circuit
from penstock.data.batch import InputBatch
from penstock.data.types import Schema
from penstock.sql.program import compile_program

TABLES = """
CREATE TABLE t (id BIGINT NOT NULL, g BIGINT NOT NULL, x BIGINT NOT NULL);
CREATE TABLE d (g BIGINT NOT NULL, y BIGINT NOT NULL);
"""
REPEATS, SMALL = 6, 1_000


@dataclass(frozen=True)
class Case:
    change: str
    query: str


CASES = {
    "join": Case("multiply", "SELECT t.id, d.y FROM t JOIN d ON t.g = d.g"),
    "left-join": Case("multiply", "SELECT t.id, d.y FROM t LEFT JOIN d ON t.g = d.g"),
    "left-residual-join": Case(
        "multiply", "SELECT t.id, d.y FROM t LEFT JOIN d ON t.g = d.g AND t.x > d.y"
    ),
    "range-join": Case("multiply", "SELECT t.id, d.y FROM t LEFT JOIN d ON t.x >= d.y"),
    "semi-join": Case("flip", "SELECT g, y FROM d WHERE g IN (SELECT g FROM t)"),
    "sum": Case("flip", "SELECT g, COUNT(*) AS n, SUM(x) AS s FROM t GROUP BY g"),
    "min-max": Case("flip", "SELECT g, MIN(x) AS l, MAX(x) AS h FROM t GROUP BY g"),
    "count-distinct": Case("flip", "SELECT g, COUNT(DISTINCT x) AS n FROM t GROUP BY g"),
    "mode": Case("flip", "SELECT g, MODE(x) AS m FROM t GROUP BY g"),
    "array-agg": Case("flip", "SELECT g, ARRAY_AGG(x ORDER BY id) AS a FROM t GROUP BY g"),
    "distinct": Case("flip", "SELECT DISTINCT g FROM t"),
    "top-k": Case(
        "flip",
        "SELECT id, x FROM t QUALIFY ROW_NUMBER() OVER (PARTITION BY g ORDER BY x DESC) <= 3",
    ),
    "row-number": Case(
        "first", "SELECT id, ROW_NUMBER() OVER (PARTITION BY g ORDER BY id) AS n FROM t"
    ),
}
PAIRS = {
    "sum-of-pairs": "SELECT d.y, COUNT(*) AS n, SUM(t.x * d.y) AS s FROM t JOIN d ON t.g = d.g "
    "GROUP BY d.y",
    "pairs": "SELECT t.id, d.y FROM t JOIN d ON t.g = d.g",
    "of-one-row": "SELECT d.y, COUNT(*) AS n, SUM(t.id * d.y) AS s FROM t JOIN d ON t.g = d.g "
    "GROUP BY d.y",
    "of-one-row-above": "SELECT d.y, COUNT(*) AS n, SUM(t.id * d.y) AS s FROM t JOIN d "
    "ON t.id >= d.y GROUP BY d.y",
}
PARTNERS = 100


def run(only: str | None) -> Iterator[Figure]:
    """The figures of the cases whose names are `only`."""
    sizes = [int(n) for n in os.environ.get("SKEW_ROWS", "20000,200000").split(",")]
    for name, case in CASES.items():
        if only not in (None, "skew", f"skew/{name}"):
            continue
        found = []
        for rows in sizes:
            found.append(measure(case, rows))
            yield without_peer(f"skew/{name}/rows-{rows}", found[-1] * 1e9, "ns/row")
        yield without_peer(f"skew/{name}/growth", found[-1] / found[0], "x")
    for name, query in PAIRS.items():
        if only not in (None, "skew", f"skew/{name}"):
            continue
        for rows in sizes:
            each = (rows * PARTNERS, 1) if "one-row" in name else (rows, PARTNERS)
            seconds, peak = pairs(query, *each)
            yield without_peer(f"skew/{name}/rows-{rows}", seconds * 1e9, "ns/pair")
            yield without_peer(f"skew/{name}/rows-{rows}/peak", peak / 1e6, "MB")
    if only in (None, "skew", "skew/transaction"):
        yield without_peer("skew/transaction", transaction(), "x")


def measure(case: Case, rows: int) -> float:
    """Seconds of the step's thread a row."""
    circuit, schemas = _circuit(f"CREATE VIEW v AS {case.query};")
    data = _rows(np.arange(1, rows + 1))
    circuit.step({"t": [from_arrays(schemas["t"], data)], "d": [_partner(schemas["d"], 0)]})
    settle()
    spent = []
    for i in range(REPEATS):
        match case.change:
            case "flip":
                operation = [] if i % 2 else [DELETE]
                inputs = {"t": [from_arrays(schemas["t"], data, *operation)]}
            case "first":
                operation = [DELETE] if i % 2 else []
                first = _rows(np.zeros(1, np.int64))
                inputs = {"t": [from_arrays(schemas["t"], first, *operation)]}
            case _:
                schema = schemas["d"]
                inputs = {"d": [_partner(schema, i, DELETE), _partner(schema, i + 1)]}
        began = time.thread_time()
        changes = circuit.step(inputs)
        seconds = time.thread_time() - began
        spent.append(seconds / max(len(changes["v"]), sum(map(len, next(iter(inputs.values()))))))
    return float(np.median(spent))


def pairs(query: str, rows: int, partners: int) -> tuple[float, int]:
    """(Seconds of the step's thread a pair, bytes of arrays in use at most)."""
    circuit, schemas = _circuit(f"CREATE VIEW v AS {query};")
    circuit.step({"t": [from_arrays(schemas["t"], _rows(np.arange(rows)))]})
    for node in circuit.nodes:
        if isinstance(node, Arrange):
            node.spine.flush()  # rows that nobody has looked for wait to be sorted, once
    settle()
    ids = np.arange(partners)
    delta = from_arrays(schemas["d"], (np.zeros_like(ids), ids % 10))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    began = time.thread_time()
    circuit.step({"d": [delta]})["v"]
    seconds = time.thread_time() - began
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return seconds / (rows * partners), peak - before


def transaction() -> float:
    """How many times cheaper it is to take 100 small steps as one."""
    queries = [c.query for n, c in CASES.items() if n in ("sum", "min-max", "distinct", "top-k")]
    views = "".join(f"CREATE VIEW v{i} AS {q};" for i, q in enumerate(queries))
    spent = []
    for size in (SMALL, 100 * SMALL):
        circuit, schemas = _circuit(views)
        ids = np.arange(100 * SMALL)
        circuit.step({"t": [from_arrays(schemas["t"], _rows(ids + 10**9))]})
        settle()
        seconds = 0.0
        for start in range(0, len(ids), size):
            batch = from_arrays(schemas["t"], _rows(ids[start : start + size]))
            began = time.thread_time()
            circuit.step({"t": [batch]})
            seconds += time.thread_time() - began
        spent.append(seconds)
    return spent[0] / spent[1]


def _circuit(views: str) -> tuple[Circuit, dict[str, Schema]]:
    plan = compile_program(TABLES + views)
    return compile_circuit(plan), {t.name: t.schema for t in plan.tables}


def _rows(ids: np.ndarray) -> tuple[np.ndarray, ...]:
    """id, g, x: one key, values in no order."""
    return ids, np.zeros_like(ids), ids * 2_654_435_761 % 1_000_003


def _partner(schema: Schema, y: int, *operation: int) -> InputBatch:
    return from_arrays(schema, (np.zeros(1, np.int64), np.full(1, y)), *operation)
