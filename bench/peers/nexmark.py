"""Nexmark's figures, each with the event time that an event takes, and with a line for every peer
that `PEERS` asks for (flink, pathway, duckdb).

    nexmark/qN           ours, as ever
    nexmark/qN/flink     ours in the same run, Flink's events/s over the same events, the ratio
    nexmark/qN/duckdb    milliseconds of a step of ours on average; DuckDB's for the query over all
                         events, as after the last step, the tables resident and with one thread

Flink and Pathway take their events from CSV files in one go, parsing included, with one worker;
what the same job takes over a single event is subtracted, so that starting up costs them nothing. A
peer that cannot be had or that has no way to say the query has a line without a value that tells
why.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.csv as csv
from duckdb import DuckDBPyConnection

from bench import nexmark
from bench.figure import Figure, higher_is_better, lower_is_better
from bench.nexmark_duckdb import NOT_SPELLED, rerun, resident
from bench.nexmark_events import EVENT_MS, tables
from bench.peers.environment import DUCKDB, PEERS, Peer, Unavailable, asked


def run(only: str | None) -> Iterator[Figure]:
    for figure in _figures(only):
        # windows and joins hold more or fewer events by it
        yield replace(figure, made_with={"event_ms": EVENT_MS})


def _figures(only: str | None) -> Iterator[Figure]:
    peers = asked(os.environ.get("PEERS", ""))
    if not peers:
        yield from nexmark.run(only)
        return
    events = int(os.environ.get("NEXMARK_EVENTS", "1000000"))
    step = int(os.environ.get("NEXMARK_STEP", "40000"))
    database = resident(events) if DUCKDB in peers else None
    others = [PEERS[name] for name in peers if name != DUCKDB]
    with tempfile.TemporaryDirectory() as folder:
        written = False
        for figure in nexmark.run(only):
            yield figure
            if re.fullmatch(r"nexmark/q\d+", figure.bench):
                if others and not written:
                    _write(Path(folder), events)
                    written = True
                for peer in others:
                    yield _against(figure, peer, Path(folder), events)
                if database is not None:
                    yield _against_duckdb(figure, database, step)


def _against_duckdb(ours: Figure, database: DuckDBPyConnection, step: int) -> Figure:
    query = ours.bench.removeprefix("nexmark/")
    bench, took = f"{ours.bench}/duckdb", step / ours.value * 1e3
    if query in NOT_SPELLED:
        said = f"duckdb: not measured, {query} is not spelled in its words"
        return Figure(bench, took, "ms/step", said, None, None)
    return lower_is_better(bench, took, "ms/step", "duckdb re-run", rerun(database, query) * 1e3)


def _write(folder: Path, events: int) -> None:
    """All events, and one of each kind to see what starting costs."""
    for name, (rows, _) in tables(events).items():
        for part, kept in (("all", rows), ("one", rows.slice(0, 1))):
            (folder / part / name).mkdir(parents=True)
            csv.write_csv(
                kept, folder / part / name / "rows.csv", csv.WriteOptions(include_header=False)
            )


def _against(ours: Figure, peer: Peer, folder: Path, events: int) -> Figure:
    query = ours.bench.removeprefix("nexmark/")
    bench, label = f"{ours.bench}/{peer.name}", peer.package.replace("==", " ")
    try:
        seconds = peer.measure(folder / "all", query) - peer.measure(folder / "one", query)
    except Unavailable as e:
        return Figure(bench, ours.value, ours.unit, f"{label}: not measured, {e}", None, None)
    return higher_is_better(bench, ours.value, ours.unit, label, events / max(seconds, 1e-3))
