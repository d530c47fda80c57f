"""The metrics as Prometheus' own parser reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.pipeline.metrics import prometheus
from penstock.pipeline.phases import Phase
from penstock.pipeline.statistics import Statistics
from penstock.wire.prometheus import METRICS, merged
from tests.unit.pipeline.test_delivery import Bench, wait_until

PROCESS = Statistics("uuid")
LABELS = {"pipeline": "id", "pipeline_name": 'odd "name" \\ \n'}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    b = Bench(tmp_path)
    yield b
    b.target.is_down = False
    b.close()


def read(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """(name, labels beyond the pipeline's) → value."""
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ("counter", "gauge")
        for sample in family.samples:
            assert LABELS.items() <= sample.labels.items()
            labels = frozenset(sample.labels.items() - LABELS.items())
            assert (sample.name, labels) not in found
            found[sample.name, labels] = sample.value
    return found


def values(bench: Bench) -> dict[str, float]:
    """Metrics of the bench's one output, by name; its phase and reason as part of the name."""
    out = {}
    text = prometheus(bench.loop, LABELS, process=PROCESS, is_paused=False)
    for (name, labels), value in read(text).items():
        named = dict(labels)
        if named.pop("endpoint", "t.out0") == "t.out0":
            out[":".join((name, *named.values()))] = value
    return out


def test_a_reset_shows_in_the_metrics_from_its_begin_to_its_end(bench: Bench) -> None:
    out = bench.output()
    bench.send((1, "a"), (2, "b"))
    bench.settle(out)
    calm = values(bench)
    assert calm["output_connector_phase:following"] == 1
    assert calm["output_connector_lag_records"] == calm["output_connector_lag_seconds"] == 0
    assert calm["output_connector_records_total"] == 2
    bench.target.is_down = True
    out.request_reset()
    bench.send((3, "c"))
    bench.wait_processed()
    wait_until(lambda: values(bench)["output_connector_waiting:sink"] == 1)
    down = values(bench)
    assert down["output_connector_phase:waiting"] == 1
    assert down["output_connector_phase:following"] == 0
    assert down["output_connector_healthy"] == 0
    assert down["output_connector_generation"] == 2
    assert down["output_connector_lag_records"] == 1 and down["output_connector_lag_seconds"] > 0
    assert down["output_connector_kept_records"] == 1
    assert down["output_connector_queued_records"] == 0
    assert down["output_connector_errors_transport_total"] >= 1
    bench.target.is_down = False
    bench.settle(out)
    done = values(bench)
    assert done["output_connector_resets_total"] == 1
    assert done["output_connector_snapshots_total"] == 2
    assert done["output_connector_snapshot_rows"] == 3
    assert done["output_connector_snapshot_rows_done"] == 3
    assert done["output_connector_lag_records"] == 0 and done["output_connector_healthy"] == 1
    assert out.phase is Phase.FOLLOWING


def test_every_metric_is_named_once_also_where_pipelines_are_merged(bench: Bench) -> None:
    bench.settle(bench.output())
    one = prometheus(bench.loop, LABELS, process=PROCESS, is_paused=True)
    other = prometheus(
        bench.loop, {**LABELS, "pipeline_name": "other"}, process=PROCESS, is_paused=False
    )
    both = merged([one, other])
    headers = Counter(line for line in both.splitlines() if line.startswith("#"))

    assert set(headers.values()) == {1}
    families = list(text_string_to_metric_families(both))
    assert sum(len(f.samples) for f in families) == 2 * sum(
        len(f.samples) for f in text_string_to_metric_families(one)
    )
    assert {s.name for f in families for s in f.samples} <= set(METRICS)
