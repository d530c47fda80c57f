"""Figures of the statistics that could be constants: each is made to change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from penstock.io.outputs.file_output import FileSink
from penstock.pipeline.outputs import OutputEndpoint
from penstock.pipeline.statistics import Statistics, output_status
from tests.unit.pipeline.test_delivery import DELETE, Bench, wait_until


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    b = Bench(tmp_path)
    yield b
    b.target.gate = None
    b.close()


def metrics(endpoint: OutputEndpoint) -> dict[str, Any]:
    found: dict[str, Any] = output_status(endpoint, errors=True)["metrics"]
    return found


def test_a_row_that_cannot_be_encoded_counts_as_an_encode_error(
    bench: Bench, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    format = {"name": "csv", "config": {"include_weight": False}}
    out = bench.output(
        make_sink=lambda c: FileSink(replace(c, config={"path": str(path)}, format=format))
    )
    bench.send((1, "a"), (2, "b"))
    bench.settle(out)
    assert metrics(out)["num_encode_errors"] == 0
    bench.send((1, "a"), op=DELETE)
    wait_until(lambda: out.fatal_error is not None)

    assert metrics(out)["num_encode_errors"] == 1
    assert metrics(out)["num_transport_errors"] == 0
    (error,) = output_status(out, errors=True)["encode_errors"]
    assert error["index"] == 1 and "include_weight" in error["message"]


def test_memory_is_what_waits_for_the_target(bench: Bench) -> None:
    out = bench.output()
    bench.settle(out)
    assert metrics(out)["memory"] == 0
    bench.target.gate = threading.Semaphore(0)
    bench.send(*((i, "a text that is too long to be inline") for i in range(100)))
    bench.wait_processed()
    wait_until(lambda: metrics(out)["queued_records"] == 100)
    assert metrics(out)["memory"] > 100 * 36
    bench.target.gate.release()
    bench.settle(out)
    assert metrics(out)["memory"] == 0


def test_the_time_of_all_steps_is_counted_not_that_of_the_latest(bench: Bench) -> None:
    for i in range(4):
        bench.send((i, "x"))
        bench.wait_processed()
    bench.loop.latencies_s.clear()
    spent = bench.loop.stepping_s
    status = Statistics("uuid").controller_status(bench.loop, is_paused=False)
    assert status["global_metrics"]["runtime_elapsed_msecs"] == int(spent * 1000)
    assert spent > 0


def test_memory_pressure_is_told_by_the_limit() -> None:
    statistics = Statistics("uuid")
    statistics.note_pressure(10**15)
    statistics.limit_bytes = 1000

    def told(resident: int) -> tuple[str, int]:
        statistics.note_pressure(resident)
        return statistics.memory_pressure

    assert [told(n) for n in (1, 799, 800, 899, 900, 999, 1000, 5000, 850, 2)] == [
        ("low", 0), ("low", 0), ("moderate", 1), ("moderate", 1), ("high", 2), ("high", 2),
        ("critical", 3), ("critical", 3), ("moderate", 4), ("low", 5),
    ]  # fmt: skip
