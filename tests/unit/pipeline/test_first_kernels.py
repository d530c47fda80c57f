"""What a first pipeline calls is compiled before what hardly any pipeline does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from penstock.data import warm
from penstock.data.kernel import REGISTERED

#: prints the kernels that are called, in a process that has none yet
FIRST = """
import json, sys, time
from pathlib import Path
from penstock.data.kernel import Kernel

called, first_call = [], Kernel._first_call
def noted(kernel, *args):
    called.append(kernel.name)
    return first_call(kernel, *args)
Kernel._first_call = noted

from penstock.pipeline import Pipeline

folder = Path(sys.argv[1])
connectors = json.dumps([{
    "name": "db", "mode": "snapshot_and_follow", "index": "by_customer",
    "transport": {
        "name": "sqlite_output", "config": {"path": str(folder / "totals.sqlite"), "table": "t"}
    },
}])
pipeline = Pipeline({
    "pipeline_id": "p", "name": "p", "storage_dir": str(folder), "runtime_config": {"workers": 1},
    "program_code": f'''
CREATE TABLE orders (
    id INT NOT NULL PRIMARY KEY, customer VARCHAR NOT NULL, amount DECIMAL(10, 2), at TIMESTAMP
);
CREATE MATERIALIZED VIEW totals WITH ('connectors' = '{connectors}') AS
SELECT customer, COUNT(*) AS orders, SUM(amount) AS amount FROM orders GROUP BY customer;
CREATE INDEX by_customer ON totals (customer);
'''})
pipeline.start()
while pipeline.status()["state"] != "Running":
    time.sleep(0.01)
for first in (0, 50):
    events = [{"insert": {
        "id": i, "customer": f"the customer of number {i % 9}", "amount": i / 4,
        "at": "2026-11-27 10:00:00",
    }} for i in range(first, first + 80)]
    options = {"update_format": "insert_delete", "array": "true"}
    session = pipeline.ingress("orders", "json", options)
    session.feed(json.dumps(events).encode())
    token = session.finish()["token"]
    session.close()
    while pipeline.completion_status(token)["status"] != "complete":
        time.sleep(0.01)
assert b"".join(pipeline.query("SELECT * FROM totals", "json")[1]).count(b"customer of") == 9
pipeline.stop()
print(*called)
"""


def test_a_first_pipeline_calls_hardly_a_kernel_that_is_compiled_last(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    called = set(done.stdout.splitlines()[-1].split())
    assert "penstock.data.json_cells._scan" in called
    # in the background some are called in one run and not in the next
    assert len(called - (warm.ALWAYS | warm.OFTEN)) < len(called) / 10, called


def test_what_is_compiled_first_is_what_there_is() -> None:
    warm.import_kernels()
    assert set(REGISTERED) > warm.ALWAYS | warm.OFTEN
    assert not warm.ALWAYS & warm.OFTEN
