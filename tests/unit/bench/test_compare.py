"""Result files are compared by the ratio to the peer of their own run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.compare import read, table
from bench.figure import higher_is_better, lower_is_better, without_peer
from bench.peers import nexmark


def test_a_ratio_says_how_many_times_better_ours_is() -> None:
    assert lower_is_better("a/b", 2.0, "ms", "peer", 10.0).ratio == 5
    assert higher_is_better("a/b", 2.0, "events/s", "peer", 10.0).ratio == 0.2


def test_what_a_figure_was_made_with_is_printed_with_it() -> None:
    figure = replace(without_peer("nexmark/q0", 2.0, "events/s"), made_with={"event_ms": 10.0})
    told = json.loads(figure.line())
    assert told["event_ms"] == 10 and told["value"] == 2 and "made_with" not in told


def test_every_figure_of_nexmark_says_the_time_of_an_event(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EVENTS", "STEP", "JSON"):
        monkeypatch.setenv(f"NEXMARK_{name}", "100")
    monkeypatch.setenv("NEXMARK_DELTAS", "1")
    monkeypatch.setenv("PEERS", "duckdb")
    lines = [json.loads(f.line()) for f in nexmark.run("nexmark/q2")]
    assert {line["event_ms"] for line in lines} == {10}
    (peer,) = (line for line in lines if line["bench"] == "nexmark/q2/duckdb")
    assert peer["unit"] == "ms/step"
    assert peer["ratio"] == pytest.approx(peer["peer_value"] / peer["value"], rel=1e-2)


def test_the_table_shows_how_a_ratio_moved(tmp_path: Path) -> None:
    files = []
    for i, ours in enumerate((4.0, 2.0)):
        figure = lower_is_better("join/delta-1", ours, "ms", "duckdb", 8.0)
        path = tmp_path / f"{i}.jsonl"
        path.write_text("a line of noise\n" + json.dumps(figure.__dict__) + "\n")
        files.append(read(path))

    lines = table(*files)

    assert len(lines) == 2
    assert lines[1].endswith("+100 %")


def test_a_figure_of_one_file_only_is_named(tmp_path: Path) -> None:
    figure = lower_is_better("join/delta-1", 1.0, "ms", "duckdb", 8.0).__dict__
    assert "only in A" in table({"join/delta-1": figure}, {})[1]
