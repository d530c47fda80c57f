"""Queries over resident state: a step of ours against DuckDB re-running the query.

The same SQL text goes through the real compiler and into DuckDB. State is `STATE_ROWS` (1,000,000)
orders, ten a customer; each step inserts N new orders.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa

from bench.figure import Figure, higher_is_better, lower_is_better
from penstock.compile.program import compile_circuit
from penstock.data.arrow import column_from_arrow
from penstock.data.batch import INSERT, InputBatch
from penstock.data.types import Schema
from penstock.sql.program import compile_program

STATE_ROWS = int(os.environ.get("STATE_ROWS", "1000000"))
CUSTOMERS = max(1, STATE_ROWS // 10)
DELTAS = (1, 1_000, 10_000)
CHANNELS = ["apple", "google", "facebook", "a channel with a long name"]

TABLES = """
CREATE TABLE orders (id BIGINT NOT NULL, customer BIGINT NOT NULL, price BIGINT NOT NULL,
                     channel VARCHAR NOT NULL);
CREATE TABLE customers (customer BIGINT NOT NULL, region BIGINT NOT NULL, name VARCHAR NOT NULL);
"""

QUERIES = {
    "stateless": "SELECT id, price * 3 AS price, UPPER(channel) AS channel FROM orders "
    "WHERE price > 100 AND channel = 'apple'",
    "join": "SELECT o.id, o.price, c.region, c.name FROM orders o "
    "JOIN customers c ON o.customer = c.customer",
    "group-by": "SELECT customer, COUNT(*) AS orders, SUM(price) AS total, MIN(price) AS low, "
    "MAX(price) AS high FROM orders GROUP BY customer",
}


def run(only: str | None) -> Iterator[Figure]:
    """The figures of the suites whose case names start with `only`."""
    for suite, query in QUERIES.items():
        deltas = [d for d in DELTAS if only in (None, suite, f"{suite}/delta-{d}")]
        if deltas:
            yield from _suite(suite, query, deltas)


def _suite(suite: str, query: str, deltas: list[int]) -> Iterator[Figure]:
    rng = np.random.default_rng(7)
    plan = compile_program(f"{TABLES} CREATE VIEW v AS {query};")
    circuit = compile_circuit(plan)
    schemas = {t.name: t.schema for t in plan.tables}
    customers = _customers()
    circuit.step({"customers": [_batch(schemas["customers"], customers)]})
    db = duckdb.connect(config={"threads": 1})
    db.execute(TABLES)
    db.register("customer_rows", customers)
    db.execute("INSERT INTO customers SELECT * FROM customer_rows")
    at = 0
    while at < STATE_ROWS:
        rows = _orders(rng, at, 100_000)
        at += 100_000
        circuit.step({"orders": [_batch(schemas["orders"], rows)]})
        _insert(db, rows)
    for delta in deltas:
        steps = {1: 200, 1_000: 60}.get(delta, 20)
        ours, theirs = [], []
        for i in range(steps):
            rows = _orders(rng, at, delta)
            at += delta
            batch = _batch(schemas["orders"], rows)
            started = time.perf_counter()
            circuit.step({"orders": [batch]})
            ours.append(time.perf_counter() - started)
            _insert(db, rows)
            if i < 5:
                started = time.perf_counter()
                db.sql(query).to_arrow_table()
                theirs.append(time.perf_counter() - started)
        name, peer = f"{suite}/delta-{delta}", "duckdb re-run"
        p50, p99 = (float(np.percentile(ours, q)) for q in (50, 99))
        peer_s = float(np.median(theirs))
        yield lower_is_better(f"{name}/p50", p50 * 1e3, "ms/step", peer, peer_s * 1e3)
        yield lower_is_better(f"{name}/p99", p99 * 1e3, "ms/step", peer, peer_s * 1e3)
        mean = float(np.mean(ours))
        yield higher_is_better(f"{name}/rate", delta / mean, "events/s", peer, delta / peer_s)


def _orders(rng: np.random.Generator, start: int, n: int) -> pa.Table:
    return pa.table(
        {
            "id": np.arange(start, start + n),
            "customer": rng.integers(0, CUSTOMERS, n),
            "price": rng.integers(1, 10_000, n),
            "channel": pa.array(CHANNELS).take(pa.array(rng.integers(0, len(CHANNELS), n))),
        }
    )


def _customers() -> pa.Table:
    ids = np.arange(CUSTOMERS)
    names = pa.array([f"customer number {i}" for i in range(CUSTOMERS)])
    return pa.table({"customer": ids, "region": ids % 50, "name": names})


def _insert(db: duckdb.DuckDBPyConnection, rows: pa.Table) -> None:
    db.register("new_rows", rows)
    db.execute("INSERT INTO orders SELECT * FROM new_rows")
    db.unregister("new_rows")


def _batch(schema: Schema, rows: pa.Table) -> InputBatch:
    columns = tuple(column_from_arrow(f.type, rows.column(i)) for i, f in enumerate(schema.fields))
    return InputBatch(schema, columns, np.full(rows.num_rows, INSERT, np.uint8))
