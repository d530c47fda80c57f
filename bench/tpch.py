"""TPC-H's 22 queries kept up to date through refreshes, against DuckDB re-running them.

    backfill    all tables, then RF1: 0.1 % new orders with their line items come,
                           then RF2: 0.1 % of the orders go, with theirs; ROUNDS times

    tpch/qN            milliseconds a refresh function, median; peer: one run of the query
    tpch/qN/backfill   seconds to take all tables in; peer: the same one run
    tpch/at-least-20x  how many of the 22 are at least 20 times faster than the peer

Times are the processor's in the thread that does the work, on both sides (DuckDB has one thread),
so that a busy machine does not decide. `TPCH_SCALE` (0.1; the published bars are for 1). The number
of rows of each answer is compared with DuckDB's after the last refresh; the rows themselves are
compared by `tests/property/test_tpch.py`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bench.feed import DELETE, INSERT, from_table, settle
from bench.figure import Figure, lower_is_better, without_peer
from bench.tpch_data import Tpch
from penstock.circuit import Circuit
from penstock.compile.program import compile_circuit
from penstock.data.types import Schema
from penstock.sql.program import compile_program

PROGRAM = (Path(__file__).parent.parent / "tests/unit/sql/programs/tpch.sql").read_text()
TABLES, *_VIEWS = PROGRAM.replace(";", "\x00").split("CREATE VIEW ")
QUERIES = dict(v.replace("\x00", "").strip().split(" AS\n", 1) for v in _VIEWS)
STATEMENTS = {
    re.search(r"CREATE TABLE (\w+)", s)[1]: s[s.index("CREATE TABLE") :].strip()  # type: ignore[index]
    for s in TABLES.split("\x00")
    if "CREATE TABLE" in s
}
#: what CREATE TABLE has here and not there
_NOT_DUCKDB = re.compile(r",?\s*FOREIGN KEY (\(\w+\) )?REFERENCES \w+\(\w+\)|WITH \(.*\)$", re.M)
ROUNDS, CHUNK = 12, 100_000
#: a refresh changes one order in
SHARE = 1000
Refresh = tuple[int, pa.Table, pa.Table]


def run(only: str | None) -> Iterator[Figure]:
    wanted = [q for q in QUERIES if only in (None, "tpch", f"tpch/{q}")]
    if not wanted:
        return
    data = Tpch(float(os.environ.get("TPCH_SCALE", "0.1")))
    tables, refreshes = _made(data)
    peer = _Peer(tables)
    fast = 0
    theirs: dict[str, list[float]] = {q: [peer.run(q)] for q in wanted}
    for refresh in refreshes:
        peer.take(refresh)
        for q in wanted:
            theirs[q].append(peer.run(q))
    for q in wanted:
        backfill, ours, rows = _ours(q, tables, refreshes)
        wanted_rows = peer.rows(q)
        assert rows == wanted_rows, f"{q} has {rows} rows, DuckDB's answer {wanted_rows}"
        peer_s = float(np.median(theirs[q]))
        value = float(np.median(ours))
        figure = lower_is_better(f"tpch/{q}", value * 1e3, "ms/refresh", *_rerun(peer_s * 1e3))
        fast += figure.ratio is not None and figure.ratio >= 20
        yield figure
        yield lower_is_better(f"tpch/{q}/backfill", backfill, "s", *_rerun(peer_s))
    if len(wanted) == len(QUERIES):
        yield without_peer("tpch/at-least-20x", fast, "queries of 22")


def _rerun(value: float) -> tuple[str, float]:
    return "duckdb re-run", value


def _made(data: Tpch) -> tuple[dict[str, pa.Table], list[Refresh]]:
    """The tables to begin with, and (operation, orders, line items) of every refresh."""
    orders, items = data.new_orders(0, data.orders)
    tables = {**data.fixed, "orders": orders, "lineitem": items}
    size = max(1, data.orders // SHARE)
    gone = np.random.default_rng(1).permutation(data.orders)
    refreshes: list[Refresh] = []
    for i in range(ROUNDS):
        refreshes.append((INSERT, *data.new_orders(data.orders + i * size, size)))
        keys = pa.array(np.sort(gone[i * size : (i + 1) * size]).astype(np.int32))
        of_keys = pc.is_in(items["l_orderkey"], value_set=keys)
        refreshes.append((DELETE, orders.take(keys), items.filter(of_keys)))
    return tables, refreshes


def _ours(
    query: str, tables: dict[str, pa.Table], refreshes: list[Refresh]
) -> tuple[float, list[float], int]:
    """(seconds of the backfill, seconds a refresh, rows of the answer in the end)."""
    used = [t for t in STATEMENTS if re.search(rf"\b{t}\b", QUERIES[query])]
    # tables are declared in order, and a foreign key may name one that the query does not read
    text = ";\n".join(_NOT_DUCKDB.sub("", STATEMENTS[t]) for t in used)
    plan = compile_program(f"{text};\nCREATE MATERIALIZED VIEW v AS {QUERIES[query]};")
    schemas = {t.name: t.schema for t in plan.tables}
    circuit = compile_circuit(plan)
    backfill = 0.0
    for name in used:
        for start in range(0, tables[name].num_rows, CHUNK):
            part = tables[name].slice(start, CHUNK).combine_chunks()
            backfill += _step(circuit, {name: from_table(schemas[name], part)})
    settle()
    took = [
        _step(circuit, _inputs(schemas, {"orders": o, "lineitem": i}, operation))
        for operation, o, i in refreshes
    ]
    return backfill, took, circuit.snapshot("v").batch().weights.sum()


def _inputs(schemas: dict[str, Schema], tables: dict[str, pa.Table], operation: int) -> Any:
    return {
        name: from_table(schemas[name], rows.combine_chunks(), operation)
        for name, rows in tables.items()
        if name in schemas
    }


def _step(circuit: Circuit, batches: dict[str, Any]) -> float:
    started = time.thread_time()
    circuit.step({name: [batch] for name, batch in batches.items()})
    return time.thread_time() - started


class _Peer:
    """DuckDB with the tables resident, on one thread."""

    def __init__(self, tables: dict[str, pa.Table]) -> None:
        self._db = duckdb.connect(config={"threads": 1})
        for name, statement in STATEMENTS.items():
            # no index: what a key costs is not what is compared
            plain = re.sub(r",?\s*PRIMARY KEY( \([\w, ]+\))?", "", _NOT_DUCKDB.sub("", statement))
            self._db.execute(plain)
            self._insert(name, tables[name])

    def take(self, refresh: Refresh) -> None:
        operation, orders, items = refresh
        if operation == INSERT:
            self._insert("orders", orders)
            self._insert("lineitem", items)
            return
        self._db.register("gone", orders.select(["o_orderkey"]))
        self._db.execute("DELETE FROM orders WHERE o_orderkey IN (SELECT o_orderkey FROM gone)")
        self._db.execute("DELETE FROM lineitem WHERE l_orderkey IN (SELECT o_orderkey FROM gone)")

    def run(self, query: str) -> float:
        started = time.thread_time()
        self._db.sql(QUERIES[query]).to_arrow_table()
        return time.thread_time() - started

    def rows(self, query: str) -> int:
        return len(self._db.sql(QUERIES[query]).fetchall())

    def _insert(self, name: str, rows: pa.Table) -> None:
        self._db.register("new_rows", rows)
        self._db.execute(f"INSERT INTO {name} SELECT * FROM new_rows")
        self._db.unregister("new_rows")
