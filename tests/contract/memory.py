"""`python -m tests.contract.memory CONTEXT ROWS`: reset a sink with a view of ROWS rows, in a
process that may not use more than `LIMIT` bytes; prints what it took, in JSON. The limit counts
address space, so it is not set for sinks with a DuckDB, whose allocator keeps what it no longer
uses (with 4,000,000 rows 1,946 MiB of it, of which 827 were resident).

The rows are made a chunk at a time, as the spine of a view hands them over, so that what is
measured is the sink's own: {"baseline_mb", "peak_mb", "rows", "seconds"}. The baseline is taken
after a first reset, of one chunk, has loaded whatever the sink needs.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from penstock.data.arrow import column_from_arrow
from penstock.data.batch import Batch
from penstock.io.contracts import Marker, Sink, SinkContext
from penstock.io.outputs import OUTPUTS
from penstock.pipeline.delivery import STAGE_ROWS
from tests.contract.target import SCHEMA

LIMIT = 3 << 29  # 1.5 GiB


def chunks(rows: int) -> Iterator[Batch]:
    """`rows` different rows, in the order of their key."""
    for start in range(0, rows, STAGE_ROWS):
        keys = pa.array(np.arange(start, min(rows, start + STAGE_ROWS), dtype=np.int32))
        texts = pa.array(
            [f"a text that is stored aside {k}" for k in range(start, start + len(keys))]
        )
        arrays = {
            "k": keys,
            "v": texts,
            "n": keys.cast(pa.decimal128(10, 0)).cast(pa.decimal128(12, 2)),
            "d": pa.array(np.full(len(keys), 19782, np.int32)).cast(pa.date32()),
            "b": pa.array(np.arange(len(keys)) % 2 == 0),
            "x": keys.cast(pa.float64()),
        }
        columns = [
            column_from_arrow(type, arrays[name])
            for name, type in zip(SCHEMA.names, SCHEMA.types, strict=True)
        ]
        yield Batch(SCHEMA, tuple(columns), np.ones(len(keys), np.int64))


def reset(sink: Sink, context: SinkContext, generation: int, rows: int) -> None:
    token = f"t{generation}"
    sink.begin(generation, token, generation)
    for number, chunk in enumerate(chunks(rows)):
        sink.stage(generation, number, chunk)
    owner = (context.pipeline_id, context.view, context.connector)
    sink.publish(generation, Marker(*owner, generation, token, "following", generation, rows, "h"))


def memory_mb(field: str) -> float:
    """VmRSS or VmHWM (the peak) of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [x for x in lines if x.startswith(f"{field}:")]
    return int(line.split()[1]) / 1024


def main(context_json: str, rows: int) -> None:
    transport, fields = json.loads(context_json)
    context = SinkContext(schema=SCHEMA, **{**fields, "key": tuple(fields["key"])})
    sink = OUTPUTS[transport](context)
    sink.open()
    sink.validate()
    reset(sink, context, 1, STAGE_ROWS)
    baseline = memory_mb("VmRSS")
    # a compacted topic's keys are looked up in a DuckDB
    if transport != "duckdb_output" and not (transport == "kafka_output" and context.key):
        resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    Path("/proc/self/clear_refs").write_text("5")
    started = time.monotonic()
    reset(sink, context, 2, rows)
    seconds = time.monotonic() - started
    peak = memory_mb("VmHWM")
    sink.close()
    print(json.dumps({"baseline_mb": baseline, "peak_mb": peak, "rows": rows, "seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
