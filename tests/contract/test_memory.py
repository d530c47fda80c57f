"""A reset's memory is a bound of the sink's, not a share of the view (spec/reset.md section 2).

Each sink that streams is reset with a large view in a process that may use 1.5 GiB and no more
(`memory`; of DuckDB the resident memory is what counts). MEMORY_ROWS=10000000 is the size of the
promise; the test as such is smaller.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.contract.kafka_targets import KafkaLogTarget, KafkaUpsertTarget
from tests.contract.lake_targets import DeltaTarget, ParquetFolderTarget
from tests.contract.redis_targets import RedisTarget
from tests.contract.target import Target
from tests.contract.targets import (
    CsvFileTarget,
    JsonFileTarget,
    KeyedSqliteTarget,
    PostgresTarget,
    SqliteTarget,
)
from tests.kafka_server import kafka
from tests.servers import postgres, redis_server
from tests.system.fault_targets import RealDuckDbTarget

__all__ = ["kafka", "postgres", "redis_server"]


class LargeMessagesTarget(KafkaLogTarget):
    format: ClassVar[Mapping[str, Any] | None] = {
        "name": "json",
        "config": {"update_format": "insert_delete"},
    }


ROWS = int(os.environ.get("MEMORY_ROWS", "1000000"))
#: MiB over what the process has before: what each sink keeps of its own at most
BOUND: dict[type[Target], int] = {
    JsonFileTarget: 150,
    CsvFileTarget: 150,
    ParquetFolderTarget: 250,
    SqliteTarget: 150,
    # what it sorts before it writes, three times 64 MiB
    KeyedSqliteTarget: 250,
    # its memory_limit of 512 MB, and what DuckDB does not count
    RealDuckDbTarget: 700,
    PostgresTarget: 150,
    DeltaTarget: 400,
    RedisTarget: 200,
    # a transaction's worth of records, here and on their way
    LargeMessagesTarget: 350,
    # the same, and the 256 MB of the store that keys are looked up in
    KafkaUpsertTarget: 450,
}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", BOUND, ids=lambda kind: kind.__name__)
def test_a_reset_takes_no_more_memory_for_a_large_view(
    kind: type[Target], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where: Any = request.getfixturevalue(kind.server) if kind.server else tmp_path
    context = kind(where).context()
    fields = {k: v for k, v in asdict(context).items() if k != "schema"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.contract.memory", json.dumps([kind.transport, fields]),
         str(ROWS)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    print(kind.__name__, found)
    assert found["peak_mb"] - found["baseline_mb"] < BOUND[kind], found
