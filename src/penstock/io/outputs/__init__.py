"""The sinks, one a file; `OUTPUTS` names them as `transport.name` does (contract section 7.4).

To add one: a file here with a `Sink` subclass, an entry below, and a target in
`tests/contract/targets.py`, which makes the whole contract suite run against it.
"""

from __future__ import annotations

from collections.abc import Callable

from penstock.io.contracts import Sink, SinkContext
from penstock.io.outputs.delta_output import DeltaSink
from penstock.io.outputs.duckdb_output import DuckDbSink
from penstock.io.outputs.file_output import FileSink
from penstock.io.outputs.kafka_output import kafka_output
from penstock.io.outputs.null_output import NullSink
from penstock.io.outputs.parquet_folder import ParquetFolderSink
from penstock.io.outputs.postgres_output import PostgresSink
from penstock.io.outputs.redis_output import RedisSink
from penstock.io.outputs.sqlite_output import SqliteSink


def file_output(context: SinkContext) -> Sink:
    """A file of changes, or a folder of them where the format is one that cannot be appended to."""
    is_parquet = context.format is not None and context.format.get("name") == "parquet"
    return ParquetFolderSink(context) if is_parquet else FileSink(context)


OUTPUTS: dict[str, Callable[[SinkContext], Sink]] = {
    "delta_table_output": DeltaSink,
    "duckdb_output": DuckDbSink,
    "file_output": file_output,
    "kafka_output": kafka_output,
    "null_output": NullSink,
    "postgres_output": PostgresSink,
    "redis_output": RedisSink,
    "sqlite_output": SqliteSink,
}
