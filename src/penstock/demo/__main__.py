"""The demo: `make demo`, or `python -m penstock.demo [--once]`.

With --once it exits 0 when every check of `penstock.demo.proof` held and 1 otherwise; without, it
leaves the server running until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from penstock.demo import sinks
from penstock.demo.flights import PROGRAM, TABLES, Flights
from penstock.demo.proof import Check, reader_checks, same
from penstock.demo.server import Server

EVENTS_PER_REQUEST = 2_000
#: when the vandal comes, as a part of the year
VANDAL_AT = 0.4

console = Console()


class Stream:
    """Sends the events in order from a thread of its own; can be held and let go."""

    def __init__(self, server: Server, flights: Flights) -> None:
        self._server, self._flights = server, flights
        self._go = threading.Event()
        self._idle = threading.Event()
        self.sent = 0
        self.busy_s = 0.0
        self._target = 0
        self._token: str | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, daemon=True).start()

    def run_to(self, target: int) -> None:
        """Send up to event `target`, in the background."""
        self._target = target
        self._idle.clear()
        self._go.set()

    def hold(self) -> None:
        """Stop after the request under way."""
        self._target = 0
        self._idle.wait()

    def settle(self) -> None:
        """Wait until all that was sent is in every sink."""
        self._idle.wait()
        if self._error is not None:
            raise self._error
        if self._token is not None:
            self._server.wait_for(self._token)

    def _run(self) -> None:
        while True:
            self._go.wait()
            self._go.clear()
            try:
                while self.sent < self._target:
                    started = time.monotonic()
                    stop = min(self.sent + EVENTS_PER_REQUEST, self._target)
                    data = self._flights.ndjson(self.sent, stop)
                    self._token = self._server.ingress("flights", data, "insert_delete")
                    self.sent = stop
                    self.busy_s += time.monotonic() - started
            except BaseException as e:
                self._error = e
            self._idle.set()

    @property
    def failed(self) -> bool:
        return self._error is not None


def main() -> int:
    arguments = argparse.ArgumentParser(prog="penstock.demo", description=__doc__)
    arguments.add_argument("--once", action="store_true", help="exit when the reset is proved")
    arguments.add_argument("--dir", default="demo-data", help="where sinks and state go")
    options = arguments.parse_args()
    folder = Path(options.dir).resolve()
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    with console.status("reading a year of flights"):
        flights = Flights()
    with Server(folder / "state") as server:
        held = story(server, flights, folder)
        if options.once:
            return 0 if held else 1
        console.print(f"\nThe server keeps running at [bold]{server.url}[/] until Ctrl-C; try")
        console.print(
            f"  curl -G {server.url}/v0/pipelines/flights/query --data-urlencode "
            "'sql=SELECT * FROM ten_latest'"
        )
        console.print(f"  sqlite3 {folder / 'flights.sqlite'} 'SELECT count(*) FROM late_flights'")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            console.print("stopping")
    return 0 if held else 1


def story(server: Server, flights: Flights, folder: Path) -> bool:
    """The five acts; True when everything held."""
    database, ndjson = folder / "flights.sqlite", folder / "airline_delays.ndjson"
    postgres = reachable_postgres()
    program = PROGRAM
    for name, value in sinks.connectors(folder, postgres).items():
        program = program.replace(f"${{{name}}}", json.dumps(value))
    took_s = server.create(program)
    console.print(f"pipeline of 5 tables and 5 views running {took_s:.2f} s after its SQL was sent")
    for table in TABLES:
        token = server.ingress(table, flights.table_ndjson(table), "raw")
        server.wait_for(token)
    stream = Stream(server, flights)
    with Reader(database, folder / "reader.jsonl") as reader:
        vandal_at = int(flights.events * VANDAL_AT)
        stream.run_to(flights.events)
        watch(stream, vandal_at, "flights until the vandal comes")
        generation = delivery(server)["generation"]
        deleted, changed, invented = sinks.vandalise(database)
        console.print(
            f"vandal: {deleted:,} rows deleted, {changed:,} changed, {invented:,} invented in "
            "the SQLite table, while flights keep streaming"
        )
        time.sleep(0.3)
        before = stream.sent
        reset_s, reset_rows = reset_with_progress(server)
        during = stream.sent - before
        stream.hold()
        stream.settle()
        console.print(f"reset done in {reset_s:.2f} s; {during:,} events streamed meanwhile")
        checks = contents_checks(server, flights, stream.sent, database, ndjson, postgres, "now")
        stream.run_to(flights.events)
        watch(stream, flights.events, "the rest of the year")
        stream.settle()
    checks += reader_checks(reader.log, generation)
    checks += contents_checks(
        server, flights, stream.sent, database, ndjson, postgres, "at the end"
    )
    report(server, stream, reset_s, reset_rows, checks)
    return all(c.held for c in checks)


class Reader:
    """The second process, reading the table until it is told to stop."""

    def __init__(self, database: Path, log: Path) -> None:
        self.log = log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "penstock.demo.reader", str(database), str(log)],
            stdin=subprocess.PIPE,
        )

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait(20) != 0:
            raise SystemExit("the reader failed: see its message above")


def watch(stream: Stream, until: int, text: str) -> None:
    """A progress bar until the stream has sent `until` events."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=False) as progress:
        task = progress.add_task(text, total=until, completed=stream.sent)
        while stream.sent < until and not stream.failed:
            progress.update(task, completed=min(stream.sent, until))
            time.sleep(0.05)
        progress.update(task, completed=min(stream.sent, until))
    if stream.failed:
        stream.settle()


def reset_with_progress(server: Server) -> tuple[float, int]:
    """Call the reset endpoint and show its phases; (seconds, rows of the snapshot)."""
    started = time.monotonic()
    accepted = server.reset("late_flights", "sqlite")
    columns = (
        TextColumn("reset: {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("accepted", total=None)
        while True:
            s = server.reset_status(accepted["token"])
            progress.update(
                task, description=s["phase"], completed=s["rows_staged"], total=s["rows_total"]
            )
            if s["status"] == "complete":
                return time.monotonic() - started, s["rows_total"]
            if s["status"] == "failed":
                raise SystemExit(f"the reset failed: {s['error']}")
            time.sleep(0.01)


def delivery(server: Server) -> dict[str, int]:
    """Phase and generation of the SQLite connector."""
    for output in server.stats()["outputs"]:
        if output["endpoint_name"] == "late_flights.sqlite":
            answer: dict[str, int] = output["delivery"]
            return answer
    raise SystemExit("the SQLite connector is missing from the statistics")


def contents_checks(
    server: Server,
    flights: Flights,
    events: int,
    database: Path,
    ndjson: Path,
    postgres: str | None,
    when: str,
) -> list[Check]:
    """Sinks against views, views against DuckDB, after the first `events` events."""
    checks = []
    for view in ("late_flights", "airline_delays", "ten_latest"):
        columns, rows = server.rows(view)
        contents = sinks.counted(rows)
        claim = f"{view} equals DuckDB's answer {when}"
        checks.append(same(claim, contents, sinks.counted(flights.answer(events, view))))
        if view == "late_flights":
            found = sinks.sqlite_rows(database, columns)
            checks.append(same(f"the SQLite table equals {view} {when}", found, contents))
            if postgres is not None:
                found = sinks.postgres_rows(postgres, columns)
                checks.append(same(f"the PostgreSQL table equals {view} {when}", found, contents))
        if view == "airline_delays":
            found = sinks.ndjson_rows(ndjson, columns)
            checks.append(same(f"the NDJSON file, replayed, equals {view} {when}", found, contents))
    return checks


def reachable_postgres() -> str | None:
    """DATABASE_URL, or what libpq finds by itself; None when nobody answers."""
    import psycopg

    uri = os.environ.get("DATABASE_URL", "postgresql://")
    try:
        psycopg.connect(uri, connect_timeout=1).close()
    except psycopg.OperationalError:
        console.print("no PostgreSQL answers (set DATABASE_URL to deliver to one as well)")
        return None
    console.print("delivering to PostgreSQL as well")
    return uri


def report(
    server: Server, stream: Stream, reset_s: float, reset_rows: int, checks: list[Check]
) -> None:
    """The checks one by one, then the figures."""
    for c in checks:
        sign = "[green]✓[/]" if c.held else "[red]✗[/]"
        console.print(f"{sign} {c.claim} ({c.detail})")
    stats = server.stats()
    metrics, latency = stats["global_metrics"], stats["step_latency_ms"]
    table = Table(show_header=True)
    for name in ("rows", "steps", "rows/s", "step p50", "step p99", "reset", "reset rows"):
        table.add_column(name, justify="right")
    table.add_row(
        f"{metrics['total_processed_records']:,}",
        f"{metrics['total_initiated_steps']:,}",
        f"{stream.sent / stream.busy_s:,.0f}",
        f"{latency['p50']:.2f} ms",
        f"{latency['p99']:.2f} ms",
        f"{reset_s:.2f} s",
        f"{reset_rows:,}",
    )
    console.print(table)
    console.print(f"server: {server.url}")


if __name__ == "__main__":
    sys.exit(main())
