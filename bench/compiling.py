"""From SQL text to an optimised plan: TPC-H's views one by one, and a program of 300 views.

The peer binds and optimises the same query (DuckDB, `EXPLAIN`) without running it.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb

from bench.figure import Figure, lower_is_better
from penstock.sql import ast
from penstock.sql.parser import parse_program
from penstock.sql.program import compile_program

TPCH = Path(__file__).parent.parent / "tests" / "unit" / "sql" / "programs" / "tpch.sql"
TABLES = "CREATE TABLE a (k INT, x INT); CREATE TABLE b (k INT, y INT);"
QUERY = (
    "SELECT a.k, SUM(x) AS t, COUNT(*) AS n FROM a JOIN b ON a.k = b.k WHERE x > {} GROUP BY a.k"
)
VIEWS = 300
#: foreign keys and properties, which cost a query nothing
_OURS = re.compile(
    r",\s*FOREIGN KEY \(.*?\) REFERENCES \w+ ?\(.*?\)|FOREIGN KEY REFERENCES \w+\(\w+\)"
    r"|WITH \(.*?\)\s*$"
)


def run(only: str | None) -> Iterator[Figure]:
    if only in (None, "compiling", "compiling/tpch"):
        yield _tpch()
    if only in (None, "compiling", "compiling/300-views"):
        yield _many()


def _tpch() -> Figure:
    text = TPCH.read_text()
    written = [(s, text[s.span.start : s.span.end]) for s in parse_program(text)]
    tables = ";\n".join(t for s, t in written if isinstance(s, ast.CreateTable)) + ";\n"
    views = [t for s, t in written if isinstance(s, ast.CreateView)]
    before = _seconds(lambda: compile_program(tables))
    ours = [_seconds(lambda view=view: compile_program(tables + view)) - before for view in views]
    with duckdb.connect(config={"threads": 1}) as db:
        for statement in filter(str.strip, tables.split(";")):
            db.execute(_OURS.sub("", statement))
        queries = [view[view.upper().index(" AS") + 3 :] for view in views]
        theirs = [_seconds(lambda q=q: db.execute(f"EXPLAIN {q}").fetchall()) for q in queries]
    value, peer_value = statistics.median(ours), statistics.median(theirs)
    return lower_is_better("compiling/tpch", value, "s", "duckdb explain", peer_value)


def _many() -> Figure:
    program = TABLES + "".join(f"CREATE VIEW v{i} AS {QUERY.format(i)};" for i in range(VIEWS))
    ours = _seconds(lambda: compile_program(program))
    with duckdb.connect(config={"threads": 1}) as db:
        db.execute(TABLES)
        theirs = _seconds(
            lambda: [db.execute(f"EXPLAIN {QUERY.format(i)}").fetchall() for i in range(VIEWS)]
        )
    return lower_is_better("compiling/300-views", ours, "s", "duckdb explain", theirs)


def _seconds(work: object) -> float:
    assert callable(work)
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
