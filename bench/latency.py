"""One pipeline of many operators over a large state: how long does a small change take?

Two pipelines over orders, customers and products, of as many operators as the compiler makes of
their views, sources and sinks not counted. A step inserts N orders.

    latency/20/delta-N/p50, p99   two joins, an anti-join, two GROUP BYs, DISTINCT, a top-k: the
                                  first seven views, 22 operators (the bar is for 20)
    latency/delta-N/p50, p99      a scalar sub-query, the best three of each category, sums by day
                                  and a union besides: all eleven views, 39 operators
    …/p99-clock                   by the clock, with whoever else is running
    peer                          DuckDB answering the views once, on one thread

All others are milliseconds of the step's thread a step.

`LATENCY_ROWS` (1,000,000): orders held before the clock starts (the bar: 10,000,000).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import duckdb
import numpy as np
import numpy.typing as npt

from bench.feed import from_arrays, settle
from bench.figure import Figure, lower_is_better, without_peer
from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.types import Schema
from penstock.plan.nodes import ProgramPlan
from penstock.sql.program import compile_program

I64 = npt.NDArray[np.int64]

#: delta → steps
DELTAS = {1: 300, 10: 300, 100: 200, 1_000: 100}
CHUNK, PRODUCTS = 250_000, 10_000

TABLES = {
    "orders": "id BIGINT NOT NULL, customer BIGINT NOT NULL, product BIGINT NOT NULL, "
    "quantity BIGINT NOT NULL, ts TIMESTAMP NOT NULL",
    "customers": "customer BIGINT NOT NULL, region BIGINT NOT NULL",
    "products": "product BIGINT NOT NULL, category BIGINT NOT NULL, price BIGINT NOT NULL",
}
VIEWS = {
    "priced": "SELECT o.id, o.customer, p.category, o.quantity * p.price AS amount, o.ts "
    "FROM orders o JOIN products p ON o.product = p.product WHERE o.quantity > 0",
    "placed": "SELECT r.id, r.customer, r.category, r.amount, r.ts, c.region FROM priced r "
    "JOIN customers c ON r.customer = c.customer",
    "spenders": "SELECT customer, COUNT(*) AS n, SUM(amount) AS total FROM priced "
    "GROUP BY customer",
    "largest": "SELECT customer, total FROM spenders ORDER BY total DESC LIMIT 10",
    "regions": "SELECT region, COUNT(*) AS n, SUM(amount) AS total, MAX(amount) AS most "
    "FROM placed GROUP BY region",
    "reach": "SELECT DISTINCT region, category FROM placed",
    "idle": "SELECT c.customer, c.region FROM customers c WHERE NOT EXISTS "
    "(SELECT * FROM orders o WHERE o.customer = c.customer)",
    "shares": "SELECT region, total * 100 / (SELECT SUM(amount) FROM priced) AS share FROM regions",
    "best": "SELECT id, category, amount FROM priced QUALIFY "
    "ROW_NUMBER() OVER (PARTITION BY category ORDER BY amount DESC) <= 3",
    "days": "SELECT DATE_TRUNC(ts, DAY) AS day, COUNT(*) AS n, SUM(amount) AS total FROM placed "
    "GROUP BY DATE_TRUNC(ts, DAY)",
    "alerts": "SELECT customer AS who, total AS what FROM spenders WHERE total > 90000000 "
    "UNION ALL SELECT region AS who, most AS what FROM regions WHERE most > 90000",
}


#: name of a pipeline → (its views, operators)
PIPELINES = {"latency/20": (list(VIEWS)[:7], 22), "latency": (list(VIEWS), 38)}


def run(only: str | None) -> Iterator[Figure]:
    data = None
    for pipeline, (views, _) in PIPELINES.items():
        deltas = [d for d in DELTAS if only in (None, "latency", pipeline, f"{pipeline}/delta-{d}")]
        if deltas:
            data = data or _Data(int(os.environ.get("LATENCY_ROWS", "1000000")))
            yield from _figures(pipeline, views, deltas, data)


def plan_of(views: list[str]) -> ProgramPlan:
    return compile_program(
        "".join(f"CREATE TABLE {name} ({columns});\n" for name, columns in TABLES.items())
        + "".join(f"CREATE VIEW {name} AS {VIEWS[name]};\n" for name in views)
    )


def operators_of(circuit: Circuit) -> int:
    """How many there are beside what comes in, goes out, and never changes."""
    return len([n for n in circuit.nodes if not re.match("source|sink|constant", n.name)])


def _figures(pipeline: str, views: list[str], deltas: list[int], data: _Data) -> Iterator[Figure]:
    plan = plan_of(views)
    schemas = {t.name: t.schema for t in plan.tables}
    circuit = compile_circuit(plan)
    _fill(circuit, schemas, data)
    peer_ms = 1e3 * _peer(data, views)
    settle()
    at = data.rows
    for delta in deltas:
        cpu, clock = [], []
        for _ in range(DELTAS[delta]):
            batch = from_arrays(schemas["orders"], data.orders(at, delta))
            at += delta
            started, thread = time.perf_counter(), time.thread_time()
            circuit.step({"orders": [batch]})
            cpu.append(1e3 * (time.thread_time() - thread))
            clock.append(1e3 * (time.perf_counter() - started))
        name, peer = f"{pipeline}/delta-{delta}", "duckdb re-run"
        for p in (50, 99):
            value = float(np.percentile(cpu, p))
            yield lower_is_better(f"{name}/p{p}", value, "ms/step", peer, peer_ms)
        yield without_peer(f"{name}/p99-clock", float(np.percentile(clock, 99)), "ms/step")


class _Data:
    """Orders of ten a customer; a minute passes every hundred."""

    def __init__(self, rows: int) -> None:
        self.rows, self.buyers = rows, max(1, rows // 10)
        self._rng = np.random.default_rng(7)

    def orders(self, start: int, n: int) -> tuple[I64, ...]:
        draw, ids = self._rng.integers, np.arange(start, start + n)
        buyer, product = draw(0, self.buyers, n), draw(0, PRODUCTS, n)
        return ids, buyer, product, draw(0, 20, n), ids * 600_000

    def customers(self) -> tuple[I64, ...]:
        # some never order
        ids = np.arange(self.buyers + self.buyers // 10)
        return ids, ids % 50

    def products(self) -> tuple[I64, ...]:
        ids = np.arange(PRODUCTS)
        return ids, ids % 200, self._rng.integers(1, 5_000, PRODUCTS)


def _fill(circuit: Circuit, schemas: dict[str, Schema], data: _Data) -> None:
    circuit.step({"products": [from_arrays(schemas["products"], data.products())]})
    circuit.step({"customers": [from_arrays(schemas["customers"], data.customers())]})
    for start in range(0, data.rows, CHUNK):
        rows = data.orders(start, min(CHUNK, data.rows - start))
        circuit.step({"orders": [from_arrays(schemas["orders"], rows)]})


def _peer(data: _Data, views: list[str]) -> float:
    """Seconds to answer `views`, the one they are made of included once."""
    again = _Data(data.rows)
    tables = {
        "products": again.products(), "customers": again.customers(),
        "orders": again.orders(0, data.rows),
    }  # fmt: skip
    with duckdb.connect(config={"threads": 1}) as db:
        for name, arrays in tables.items():
            db.execute(f"CREATE TABLE {name} ({TABLES[name]})")
            names = [c.split()[0] for c in TABLES[name].split(", ")]
            rows = dict(zip(names, arrays, strict=True))  # noqa: F841  (read by the query)
            columns = ", ".join("make_timestamp(ts)" if n == "ts" else n for n in names)
            db.execute(f"INSERT INTO {name} SELECT {columns} FROM rows")
        started = time.thread_time()
        for name in views:
            text = VIEWS[name].replace("DATE_TRUNC(ts, DAY)", "date_trunc('day', ts)")
            db.execute(f"CREATE TEMP TABLE {name} AS {text}")
        return time.thread_time() - started
