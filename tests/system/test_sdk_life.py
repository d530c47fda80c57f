"""The real `feldera` package drives one whole life of a pipeline."""

from __future__ import annotations

import time

import pandas as pd
from feldera import FelderaClient, PipelineBuilder
from feldera.enums import BootstrapPolicy, PipelineStatus

from tests.system.conftest import System

PROGRAM = """
CREATE TABLE orders (id INT NOT NULL PRIMARY KEY, customer VARCHAR NOT NULL, amount DECIMAL(10, 2));
CREATE MATERIALIZED VIEW totals AS
SELECT customer, COUNT(*) AS orders, SUM(amount) AS amount FROM orders GROUP BY customer;
"""


def test_a_whole_life_of_a_pipeline(system: System) -> None:
    client = FelderaClient(system.url)
    pipeline = PipelineBuilder(client, name="sdk-life", sql=PROGRAM).create_or_replace()
    assert [t.name for t in pipeline.tables()] == ["orders"]
    assert "totals" in [v.name for v in pipeline.views()]

    pipeline.start()
    listener = pipeline.listen("totals")
    pipeline.input_json(
        "orders",
        [
            {"id": 1, "customer": "ada", "amount": "10.50"},
            {"id": 2, "customer": "bob", "amount": "1.00"},
        ],
        wait=True,
    )
    frame = pd.DataFrame({"id": [3, 4], "customer": ["ada", "cyd"], "amount": ["0.25", "7.00"]})
    pipeline.input_pandas("orders", frame)
    pipeline.wait_for_idle(timeout_s=30)

    rows = sorted(pipeline.query("SELECT * FROM totals"), key=lambda r: r["customer"])
    assert [(r["customer"], r["orders"], str(r["amount"])) for r in rows] == [
        ("ada", 2, "10.75"),
        ("bob", 1, "1.00"),
        ("cyd", 1, "7.00"),
    ]
    assert any("ada" in text for text in pipeline.query_tabular("SELECT * FROM totals"))
    heard = listener.to_pandas()
    deadline = time.monotonic() + 10
    while heard.empty and time.monotonic() < deadline:
        time.sleep(0.1)
        heard = listener.to_pandas()
    assert set(heard["customer"]) >= {"ada", "bob"}

    stats = pipeline.stats()
    assert stats.global_metrics.total_input_records == 4
    assert stats.global_metrics.total_processed_records == 4
    pipeline.wait_for_completion(timeout_s=30)

    pipeline.pause()
    assert pipeline.status().name == "PAUSED"
    pipeline.resume()
    assert pipeline.status().name == "RUNNING"

    assert pipeline.checkpoint(wait=True, timeout_s=30) >= 1
    assert pipeline.checkpoints()[0].processed_records == 4
    pipeline.stop(force=False)
    changed = PROGRAM.replace("SUM(amount)", "MAX(amount)")
    assert pipeline.diff(program_code=changed)["program_diff"]["modified_views"] == ["totals"]
    pipeline.modify(sql=changed)
    pipeline.start(bootstrap_policy=BootstrapPolicy.AWAIT_APPROVAL)
    assert pipeline.status().name == "AWAITINGAPPROVAL"
    pipeline.approve()
    pipeline.wait_for_status(PipelineStatus.RUNNING, timeout=30)
    rows = sorted(pipeline.query("SELECT * FROM totals"), key=lambda r: r["customer"])
    assert [str(r["amount"]) for r in rows] == ["10.50", "1.00", "7.00"]

    pipeline.stop(force=True)
    assert pipeline.status().name == "STOPPED"
    pipeline.clear_storage()
    pipeline.delete()
    assert "sdk-life" not in [p.name for p in client.pipelines()]
