"""delta_table_output: a view as a Delta Lake table, or as the log of its changes in one.

    uri     a directory, file://… or s3://…, gs://…, az://…; made if absent
    mode    append (default)   a log: every change is a row, and so is every reset
            truncate           a log that begins anew with each snapshot
            error_if_exists    append, but the table must not be there before
            materialized       (ours) the table is the view; needs an index
    checkpoint_interval, log_retention_duration, enable_expired_log_cleanup    properties of a table
            that we create
    max_retries, threads       accepted and not needed
    all other keys             the object store's: aws_region, aws_access_key_id, …

The log's columns are the view's and

    __feldera_op            i, d; u if the connector has an index: the row replaces its key's;
                            r: the generation begins here (append and error_if_exists)
    __feldera_ts            µs since 1970, growing with every step
    __penstock_generation   the generation; a table without this column can be followed, not reset

    stage, chunk by chunk ──► Parquet files that no version names
    publish, one commit ──► they replace all others (or join them, with a reset row), marker

Guarantee: atomic in mode truncate and materialized: a commit is one instant, and readers of a
version keep it. In the append modes marked: rows of the newest generation are the view's history
since its snapshot (`docs/connectors/delta.md` has the query). History, properties and change feed
survive a reset.

Cost: a snapshot is written once. A step of a log is one small file and one commit. A step of a
materialized table rewrites the files that hold its keys (the library's MERGE), so steps are merged
while one is being written.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from penstock.data.batch import Batch
from penstock.data.types import Kind, Schema
from penstock.io.contents import Contents
from penstock.io.contracts import (
    Capabilities,
    Marker,
    Sink,
    SinkContext,
    SinkRejected,
    SinkUnavailable,
    StagingLost,
)
from penstock.io.formats.options import TRANSPORT_ERROR
from penstock.io.outputs.changes import check_keys, keyed_changes
from penstock.io.outputs.column_text import check_no_nested
from penstock.io.outputs.delta_config import DeltaConfig
from penstock.io.outputs.delta_reader import DeltaLogReader, DeltaReader
from penstock.io.outputs.delta_shape import GENERATION, DeltaShape, check_layout
from penstock.io.outputs.fencing import (
    LastSeen,
    Staging,
    check_complete,
    check_fence,
    check_owner,
    is_applied,
    staging_of,
)
from penstock.io.outputs.key_check import SeenKeys, not_unique
from penstock.io.outputs.write_behind import WriteBehind

if TYPE_CHECKING:
    from deltalake import CommitProperties, DeltaTable
    from deltalake.transaction import AddAction

    from penstock.io.outputs.delta_files import ParquetFiles
    from penstock.io.outputs.delta_table import DeltaTarget, Stored


class DeltaSink(Sink):
    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        self._config = DeltaConfig.of(context.config)
        self._uri, self._mode = self._config.uri, self._config.mode
        if self._is_table and not context.key:
            raise SinkRejected(
                f"connector '{context.connector}': mode materialized needs a unique key: CREATE "
                f'INDEX an_index ON {context.view} (…) and give the connector "index": "an_index"',
                code=TRANSPORT_ERROR,
            )
        key = Schema(tuple(context.schema.fields[i] for i in context.key))
        check_no_nested(key, "an index of delta_table_output", but=Kind.VARIANT)
        self._shape = DeltaShape(context.schema, context.key, is_log=not self._is_table)
        self._key_text = ", ".join(self._shape.key_names)
        self._where = f"table '{self._uri}'"
        owner = (context.pipeline_id, context.view, context.connector)
        self._target = _target(self._config, owner)
        self._stage: _Stage | None = None
        self._last_seen = LastSeen()
        self._bytes = 0

    @property
    def _is_table(self) -> bool:
        return self._mode == "materialized"

    @property
    def _is_replaced(self) -> bool:
        """A snapshot replaces what was there."""
        return self._mode in ("materialized", "truncate")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            guarantee="atomic" if self._is_replaced else "marked",
            stores_marker=True,
            starts_empty=self._mode == "truncate",
            is_log=not self._is_table,
        )

    # connecting

    def open(self) -> None:
        self.close()
        if "://" not in self._uri and Path(self._uri).is_file():
            raise SinkRejected(f"delta_table_output: '{self._uri}' is a file: name a directory")
        with self._target.errors("open"):
            self._target.load()

    def validate(self) -> None:
        with self._target.errors("validate"):
            table = self._target.load()
            stored = self._target.stored(table).marker
            check_owner(stored, self.context, self._where)
            if table is not None:
                if self._mode == "error_if_exists" and stored is None:
                    raise SinkRejected(
                        f"delta_table_output: {self._where} exists already, and the mode is "
                        "error_if_exists: remove it, or choose another mode or uri"
                    )
                self._check(table)
            self._target.check_writable()

    def _check(self, table: DeltaTable) -> pa.Schema:
        """The columns of the table, if we can write to it."""
        schema = self._target.schema(table)
        self._shape.check(schema, self._where)
        metadata = table.metadata()
        check_layout(
            metadata.partition_columns,
            metadata.configuration,
            self._where,
            is_replaced=self._is_replaced,
        )
        return schema

    def marker(self) -> Marker | None:
        with self._target.errors("marker"):
            return self._last_seen.found(self._target.stored(self._target.load()).marker)

    # a snapshot

    def begin(self, generation: int, token: str, step: int) -> None:
        self._drop_stage()
        with self._target.errors("begin"):
            table = self._target.load()
            stored = self._target.stored(table)
            check_owner(stored.marker, self.context, self._where)
            schema = self._shape.created if table is None else self._check(table)
            files = self._new_files(schema)
            stage = _Stage(Staging(generation), files, _now(stored))
            if not self._is_replaced:
                if GENERATION not in schema.names:
                    raise SinkRejected(
                        f"delta_table_output: {self._where} has no column {GENERATION}, so a reset "
                        "could not be told from other changes: add it (BIGINT), or use mode "
                        "truncate, or another uri"
                    )
                files.add(self._shape.reset_row(files.schema, generation, stage.timestamp))
            self._stage = stage

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        stage = self._staged(generation)
        if stage.staging.is_repetition(chunk):
            return
        if self.context.key:
            keys = rows.select(self.context.key)
            check_keys(keys, self._key_text)
            stage.keys.add(keys)
        table = self._shape.staged(rows, stage.files.schema, generation, stage.timestamp)
        with self._target.errors("stage"):
            try:
                stage.behind.add(partial(stage.files.add, table))
            except BaseException:
                self._drop_stage()  # it may hold a part of a chunk
                raise
        stage.staging.took(len(table))

    def publish(self, generation: int, marker: Marker) -> None:
        with self._target.errors("publish"):
            for table, stored in self._target.attempts():
                check_owner(stored.marker, self.context, self._where)
                is_ours = check_fence(stored.marker, marker, self._where)
                is_there = is_ours and stored.marker is not None and not stored.marker.is_restored
                if is_there and (self._stage is None or self._stage.is_tried):
                    break
                stage = self._staged(generation)
                check_complete(generation, stage.staging.rows, marker)
                if table is not None and self._file_schema(table) != stage.files.schema:
                    raise StagingLost(f"{self._where} has other columns by now: begin again")
                files = self._whole(stage)
                stage.is_tried = True
                if self._publish(table, files, stage, marker):
                    break
        if self._stage is not None:
            self._bytes += self._stage.files.bytes
        self._stage = None
        self._last_seen.saw(marker)

    def _publish(
        self, table: DeltaTable | None, files: list[AddAction], stage: _Stage, marker: Marker
    ) -> bool:
        properties = self._target.properties(marker, stage.timestamp)
        if table is None:
            created = self._shape.created
            return self._target.create(created, files, self._config.properties, properties)
        commit = self._target.overwrite if self._is_replaced else self._target.append
        return commit(table, files, properties)

    def _whole(self, stage: _Stage) -> list[AddAction]:
        """The staged files, closed; raises SinkRejected if a key occurs twice in them."""
        try:
            stage.behind.finish()
        except BaseException:
            self._drop_stage()
            raise
        files = stage.files.finish()
        if not stage.is_tried and stage.keys.may_repeat():
            keys = stage.files.read(self._shape.key_names)
            if len(keys.group_by(self._shape.key_names).aggregate([])) < len(keys):
                raise not_unique(self._key_text)
        return files

    def abort(self, generation: int) -> None:
        with self._target.errors("abort"):
            self._drop_stage()

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        files: ParquetFiles | None = None
        with self._target.errors("apply"):
            for table, stored in self._target.attempts():
                check_owner(stored.marker, self.context, self._where)
                self._last_seen.check(stored.marker, self._where)
                if is_applied(stored.marker, marker, self._where):
                    break
                timestamp = _now(stored)
                properties = self._target.properties(marker, timestamp)
                if self._is_table and table is not None:
                    self._check(table)
                    if self._merge(table, rows, properties):
                        break
                    continue
                if files is None:
                    schema = self._shape.created if table is None else self._check(table)
                    files = self._new_files(schema)
                    files.add(self._appended(rows, files.schema, marker, timestamp))
                if self._append(table, files, properties):
                    break
        self._last_seen.saw(marker)
        self._bytes += sum(c.values.nbytes for c in rows.columns)

    def _appended(self, rows: Batch, schema: pa.Schema, marker: Marker, timestamp: int) -> pa.Table:
        """The rows of a delta for a log, or for a materialized table that is not there yet."""
        if not self._is_table:
            return self._shape.changes(rows, schema, marker.generation, timestamp)
        upserts, _ = keyed_changes(rows, self.context.key, self._key_text)
        return self._shape.staged(upserts, schema, marker.generation, timestamp)

    def _append(
        self, table: DeltaTable | None, files: ParquetFiles, properties: CommitProperties
    ) -> bool:
        if table is None:
            return self._target.create(
                self._shape.created, files.finish(), self._config.properties, properties
            )
        if self._file_schema(table) != files.schema:
            raise SinkUnavailable(f"{self._where} has other columns by now")
        return self._target.append(table, files.finish(), properties)

    def _merge(self, table: DeltaTable, rows: Batch, properties: CommitProperties) -> bool:
        upserts, deletes = keyed_changes(rows, self.context.key, self._key_text)
        changes = self._shape.merge_rows(upserts, deletes, self._file_schema(table))
        return self._target.merge(table, changes, self._shape, properties)

    # reading back

    def read(self) -> Contents:
        view, key = self.context.schema, self.context.key
        with self._target.errors("read"):
            table = self._target.load()
            schema = self._shape.created if table is None else self._check(table)
            files = self._shape.file_schema(schema)
            reader = (
                DeltaReader(table, files, self._shape, view)
                if self._is_table
                else DeltaLogReader(table, files, self._shape, view, key)
            )
        return Contents(reader.schema, key, self._guarded(reader.rows()), reader.spell)

    def _guarded(self, pieces: Iterator[Batch]) -> Iterator[Batch]:
        with self._target.errors("read"):
            yield from pieces

    def privileges(self) -> Sequence[str]:
        return (f"list, read, write and delete objects under '{self._uri}'",)

    def transmitted_bytes(self) -> int:
        return self._bytes + (0 if self._stage is None else self._stage.files.bytes)

    def close(self) -> None:
        """What was staged and never offered to the log is removed, if the storage answers."""
        with suppress(SinkUnavailable, SinkRejected), self._target.errors("close"):
            self._drop_stage()
        self._stage = None

    # staged files

    def _new_files(self, table: pa.Schema) -> ParquetFiles:
        return self._target.new_files(self._shape.file_schema(table))

    def _file_schema(self, table: DeltaTable) -> pa.Schema:
        return self._shape.file_schema(self._target.schema(table))

    def _staged(self, generation: int) -> _Stage:
        staging_of(None if self._stage is None else self._stage.staging, generation)
        assert self._stage is not None
        return self._stage

    def _drop_stage(self) -> None:
        """Remove what was staged, unless a commit that may yet be found out about names it."""
        stage, self._stage = self._stage, None
        if stage is not None:
            stage.behind.drop()
            if not stage.is_tried:
                stage.files.discard()


@dataclass(slots=True)
class _Stage:
    """A snapshot on its way: `timestamp` is that of its rows in a log; `is_tried`: a commit that
    names the files was sent."""

    staging: Staging
    files: ParquetFiles
    timestamp: int
    keys: SeenKeys = field(default_factory=SeenKeys)
    behind: WriteBehind = field(default_factory=WriteBehind)
    is_tried: bool = False


def _now(stored: Stored) -> int:
    """µs since 1970, later than all that the table has of us."""
    return max(time.time_ns() // 1000, stored.timestamp + 1)


def _target(config: DeltaConfig, owner: tuple[str, str, str]) -> DeltaTarget:
    """The table, by the library that only those who write Delta tables need to have."""
    try:
        from penstock.io.outputs.delta_table import DeltaTarget
    except ImportError as e:
        raise SinkRejected(
            "delta_table_output needs the Delta Lake library: pip install 'penstock[delta]'",
            code=TRANSPORT_ERROR,
        ) from e
    return DeltaTarget(config.uri, config.storage, owner)
