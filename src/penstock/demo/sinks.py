"""The demo's targets: how they are declared, read by plain tools, and vandalised."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

TABLE = "late_flights"
VANDAL = "VANDAL AIR"
MARKER_QUERY = (
    "SELECT generation, step, rows FROM __penstock_marker WHERE \"view\" = 'late_flights'"
)


def connectors(folder: Path, postgres: str | None) -> dict[str, list[dict[str, Any]]]:
    """The 'connectors' properties of the two delivered views."""
    sqlite = {
        "name": "sqlite",
        "index": "late_flights_by_id",
        "mode": "snapshot_and_follow",
        "transport": {
            "name": "sqlite_output",
            "config": {"path": str(folder / "flights.sqlite"), "table": TABLE},
        },
    }
    ndjson = {
        "name": "ndjson",
        "mode": "snapshot_and_follow",
        "transport": {
            "name": "file_output",
            "config": {"path": str(folder / "airline_delays.ndjson")},
        },
        "format": {"name": "json", "config": {"update_format": "insert_delete"}},
    }
    late = [sqlite]
    if postgres is not None:
        late.append(
            {
                "name": "postgres",
                "index": "late_flights_by_id",
                "mode": "snapshot_and_follow",
                "transport": {
                    "name": "postgres_output",
                    "config": {"uri": postgres, "table": "penstock_demo_late_flights"},
                },
            }
        )
    return {"LATE_FLIGHTS_CONNECTORS": late, "AIRLINE_DELAYS_CONNECTORS": [ndjson]}


def vandalise(database: Path, seed: int = 13) -> tuple[int, int, int]:
    """Delete, change and invent rows behind Penstock's back: how many of each."""
    rng = random.Random(seed)
    db = sqlite3.connect(database, timeout=30, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    ids = [id for (id,) in db.execute(f"SELECT id FROM {TABLE}")]
    rng.shuffle(ids)
    deleted, changed = ids[: len(ids) // 3], ids[len(ids) // 3 : len(ids) // 2]
    db.executemany(f"DELETE FROM {TABLE} WHERE id = ?", [(i,) for i in deleted])
    db.executemany(
        f"UPDATE {TABLE} SET airline = '{VANDAL}', dep_delay = -1 WHERE id = ?",
        [(i,) for i in changed],
    )
    invented = 500
    db.executemany(
        f"INSERT INTO {TABLE} (id, flight_date, airline, flight, origin, dest, dep_delay) "
        "VALUES (?, '2013-02-30', ?, 0, 'NYC', 'XXX', 9999)",
        [(10_000_000 + i, VANDAL) for i in range(invented)],
    )
    db.execute("COMMIT")
    db.close()
    return len(deleted), len(changed), invented


def sqlite_rows(database: Path, columns: list[str]) -> Counter[tuple[str, ...]]:
    """The table's rows as text, counted."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as db:
        rows = db.execute(f"SELECT {', '.join(columns)} FROM {TABLE}").fetchall()
    return counted(rows)


def postgres_rows(uri: str, columns: list[str]) -> Counter[tuple[str, ...]]:
    import psycopg

    with psycopg.connect(uri) as db:
        rows = db.execute(f"SELECT {', '.join(columns)} FROM penstock_demo_late_flights").fetchall()
    return counted(rows)


def ndjson_rows(path: Path, columns: list[str]) -> Counter[tuple[str, ...]]:
    """The change log replayed: every insert adds a row, every delete takes one away."""
    rows: Counter[tuple[str, ...]] = Counter()
    with path.open() as f:
        for line in f:
            event = json.loads(line)
            for kind, sign in (("insert", 1), ("delete", -1)):
                if kind in event:
                    rows[as_text([event[kind][c] for c in columns])] += sign
    return Counter({row: n for row, n in rows.items() if n})


def counted(rows: list[Any]) -> Counter[tuple[str, ...]]:
    return Counter(as_text(row) for row in rows)


def as_text(row: Any) -> tuple[str, ...]:
    """One spelling for values of every source: numbers by value, NULL as such."""
    return tuple(_text(v) for v in row)


def _text(v: Any) -> str:
    if v is None:
        return "NULL"
    try:
        number = float(v)
    except (TypeError, ValueError):
        return str(v)
    return repr(number)
