"""Bytes of JSON and CSV into columns of a table, without server and circuit.

Both sides read the same bytes to the same types, on one thread, and are timed by the processor:
`ingest/json` are raw rows, `ingest/events` insertions and updates by key, `ingest/csv` rows again;
`bad-1%` has a row in a hundred that does not parse. The peer is DuckDB's reader of the format,
which has no events and stops at the first bad row: there is none for those.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from bench.figure import Figure, higher_is_better, without_peer
from penstock.data.types import BIGINT, DATE, DOUBLE, INTEGER, TIMESTAMP, VARCHAR, decimal, schema
from penstock.io.formats import make_parser

ROWS = 100_000
#: what a step of an HTTP request brings at a time
CHUNK = 1 << 16
TABLE = schema(
    id=BIGINT.with_nullable(False), day=DATE, name=VARCHAR, place=VARCHAR, at=TIMESTAMP,
    amount=decimal(10, 2), delay=INTEGER, x=DOUBLE,
)  # fmt: skip
DUCKDB = {
    "id": "BIGINT", "day": "DATE", "name": "VARCHAR", "place": "VARCHAR", "at": "TIMESTAMP",
    "amount": "DECIMAL(10,2)", "delay": "INTEGER", "x": "DOUBLE",
}  # fmt: skip


def run(only: str | None) -> Iterator[Figure]:
    if only is not None and only.split("/")[0] != "ingest":
        return
    rows = _rows()
    lines = [json.dumps(r) for r in rows]
    events = [
        f'{{"insert": {line}}}' if i % 3 else f'{{"update": {{"id": {i}, "delay": {i % 99}}}}}'
        for i, line in enumerate(lines)
    ]
    bad = [line if i % 100 else line.replace('"id": ', '"id": "x') for i, line in enumerate(lines)]
    cells = [",".join("" if v is None else str(v) for v in r.values()) for r in rows]
    raw = {"name": "json", "config": {"update_format": "raw"}}
    cases: list[tuple[str, dict[str, Any], list[str], str | None]] = [
        ("json", raw, lines, "read_json('{path}', columns={columns}, format='newline_delimited')"),
        ("events", {"name": "json", "config": {}}, events, None),
        ("csv", {"name": "csv"}, cells, "read_csv('{path}', columns={columns}, header=false)"),
        ("bad-1%", raw, bad, None),
    ]
    for name, format, texts, reader in cases:
        if only not in (None, "ingest", f"ingest/{name}"):
            continue
        data = ("\n".join(texts) + "\n").encode()
        ours = ROWS / _ours(format, data)
        if reader is None:
            yield without_peer(f"ingest/{name}", ours, "rows/s")
        else:
            theirs = ROWS / _theirs(reader, data)
            yield higher_is_better(f"ingest/{name}", ours, "rows/s", "duckdb", theirs)


def _rows() -> list[dict[str, Any]]:
    draw = random.Random(1)
    return [
        {
            "id": i,
            "day": f"2024-{i % 12 + 1:02}-{i % 28 + 1:02}",
            "name": f"a name of some length {draw.randrange(5000)}",
            "place": draw.choice(["JFK", "EWR", "LGA"]),
            "at": f"2024-03-{i % 28 + 1:02} {i % 24:02}:{i % 60:02}:00",
            "amount": draw.randrange(10_000_000) / 100,
            "delay": draw.choice([None, draw.randrange(-20, 300)]),
            "x": draw.random(),
        }
        for i in range(ROWS)
    ]


def _ours(format: dict[str, Any], data: bytes) -> float:
    """Seconds of the processor; the second of two runs."""
    took = 0.0
    for _ in range(2):
        parser = make_parser(format, TABLE, (0,))
        started = time.process_time()
        for at in range(0, len(data), CHUNK):
            parser.feed(data[at : at + CHUNK])
        parser.finish()
        took = time.process_time() - started
    return took


def _theirs(reader: str, data: bytes) -> float:
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as db:
        path = Path(folder) / "rows"
        path.write_bytes(data)
        db.execute("SET threads = 1")
        took = 0.0
        for _ in range(2):
            started = time.process_time()
            query = reader.format(path=path, columns=DUCKDB)
            db.execute(f"CREATE OR REPLACE TABLE t AS SELECT * FROM {query}")
            took = time.process_time() - started
        return took
