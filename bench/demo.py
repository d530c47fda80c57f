"""The demo's program through the real server, against DuckDB re-running its views.

Ours: events/s from the first request to the last row in every sink, JSON parsing and the REST API
included. The peer answers the three views from scratch after each request; it gets its input for
free (no parsing, no server, no sinks).
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figure import Figure, higher_is_better
from penstock.demo import sinks
from penstock.demo.flights import PROGRAM, TABLES, Flights
from penstock.demo.server import Server

REQUESTS, EVENTS_PER_REQUEST = 60, 2_000
PEER_REQUESTS = 6


def run(only: str | None) -> Iterator[Figure]:
    if only not in (None, "demo", "demo/throughput"):
        return
    flights = Flights()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = PROGRAM
        for key, value in sinks.connectors(folder, None).items():
            program = program.replace(f"${{{key}}}", json.dumps(value))
        with Server(folder / "state") as server:
            server.create(program)
            for table in TABLES:
                server.wait_for(server.ingress(table, flights.table_ndjson(table), "raw"))
            started = time.perf_counter()
            token = ""
            for i in range(REQUESTS):
                start = i * EVENTS_PER_REQUEST
                data = flights.ndjson(start, start + EVENTS_PER_REQUEST)
                token = server.ingress("flights", data, "insert_delete")
            server.wait_for(token)
            ours_s = time.perf_counter() - started
    # the peer is sampled evenly over the same stretch, since its cost grows with the state
    theirs = []
    for i in range(1, PEER_REQUESTS + 1):
        events = REQUESTS * EVENTS_PER_REQUEST * i // PEER_REQUESTS
        started = time.perf_counter()
        for view in ("late_flights", "airline_delays", "ten_latest"):
            flights.answer(events, view)
        theirs.append(time.perf_counter() - started)
    peer_rate = EVENTS_PER_REQUEST / (sum(theirs) / len(theirs))
    rate = REQUESTS * EVENTS_PER_REQUEST / ours_s
    yield higher_is_better("demo/throughput", rate, "events/s", "duckdb re-run", peer_rate)
