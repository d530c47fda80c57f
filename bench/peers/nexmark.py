"""Nexmark's figures, each with a line for every peer that `PEERS` asks for (flink, pathway).

    nexmark/qN           ours, as ever
    nexmark/qN/flink     ours in the same run, Flink's events/s over the same events, the ratio

Peers take their events from CSV files in one go, parsing included, with one worker; what the same
job takes over a single event is subtracted, so that starting up costs them nothing. A peer that
cannot be had or that has no way to say the query has a line without a value that tells why.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.csv as csv

from bench import nexmark
from bench.figure import Figure, higher_is_better
from bench.nexmark_events import tables
from bench.peers.environment import PEERS, Peer, Unavailable


def run(only: str | None) -> Iterator[Figure]:
    asked = [p for p in os.environ.get("PEERS", "").split(",") if p]
    unknown = [p for p in asked if p not in PEERS]
    assert not unknown, f"PEERS knows {', '.join(PEERS)}, not {', '.join(unknown)}"
    if not asked:
        yield from nexmark.run(only)
        return
    events = int(os.environ.get("NEXMARK_EVENTS", "1000000"))
    with tempfile.TemporaryDirectory() as folder:
        written = False
        for figure in nexmark.run(only):
            yield figure
            if re.fullmatch(r"nexmark/q\d+", figure.bench):
                if not written:
                    _write(Path(folder), events)
                    written = True
                for name in asked:
                    yield _against(figure, PEERS[name], Path(folder), events)


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
