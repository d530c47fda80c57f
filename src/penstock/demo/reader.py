"""A reader of the SQLite table who looks all the time: `python -m penstock.demo.reader DB OUT`.

Each look is one read transaction of the whole table and of the marker beside it. Every look
becomes a line of JSON in OUT. It ends when its standard input closes.

This is a program of its own, with nothing but Python's sqlite3: what any dashboard would see.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
import time

from penstock.demo.sinks import MARKER_QUERY, TABLE, VANDAL


def main(database: str, out: str) -> None:
    done = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        done.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    with open(out, "w") as log:
        while not done.is_set():
            try:
                db = sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=5)
                break
            except sqlite3.OperationalError:
                time.sleep(0.05)
        while not done.is_set():
            look = one_look(db)
            if look is not None:
                log.write(json.dumps(look) + "\n")
                log.flush()
            time.sleep(0.005)


def one_look(db: sqlite3.Connection) -> dict[str, int] | None:
    """The whole table in one transaction; None before the table exists."""
    try:
        db.execute("BEGIN")
        marker = db.execute(MARKER_QUERY).fetchone()
        rows = db.execute(f"SELECT id, airline FROM {TABLE}").fetchall()
    except sqlite3.OperationalError as e:
        if "no such table" in str(e):
            return None
        raise
    finally:
        if db.in_transaction:
            db.execute("COMMIT")
    if marker is None:
        return None
    generation, step, expected = marker
    return {
        "generation": generation,
        "step": step,
        "expected": expected,
        "rows": len(rows),
        "vandalised": sum(airline == VANDAL for _, airline in rows),
    }


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
