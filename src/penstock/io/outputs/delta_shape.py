"""What a Delta table that we write looks like, and rows in that shape. No files, no commits.

    the table      the view's columns
    a log          the view's columns (nullable), __feldera_op, __feldera_ts, __penstock_generation

    k │ v │ weight       without an index      with index (k)
    1 │ a │   -1         d 1 a                 u 1 b
    1 │ b │   +1    ──►  d 2 c            or   d 2 c
    2 │ c │   -1         i 1 b

Deletes come before inserts (contract 7.2). A reset row (op r) has nothing but its generation.

Not here: types (`delta_types`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa

from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.io.contracts import SinkRejected
from penstock.io.outputs.changes import copies, logged_changes
from penstock.io.outputs.delta_types import delta_rows, delta_schema, fits, small

#: tells the keys to delete from the rows to upsert, in a merge
DELETED = "__penstock_deleted"
OP, TIMESTAMP, GENERATION = "__feldera_op", "__feldera_ts", "__penstock_generation"
_LOG = (pa.field(OP, pa.utf8()), pa.field(TIMESTAMP, pa.int64()), pa.field(GENERATION, pa.int64()))
#: what Parquet readers of Delta tables do not take in a name unless columns are mapped
_NOT_IN_NAMES = " ,;{}()\n\t="


class DeltaShape:
    """Of `schema`'s rows, keyed by the columns at `key` or (); a log of changes or the rows."""

    def __init__(self, schema: Schema, key: tuple[int, ...], *, is_log: bool) -> None:
        self._schema, self._key, self.is_log = schema, key, is_log
        self.names = schema.names
        self.key_names = [schema.names[i] for i in key]
        columns = delta_schema(schema, all_nullable=is_log)
        #: the columns of a table that we create
        self.created = pa.schema([*columns, *_LOG]) if is_log else columns
        folded = {n.lower() for n in self.created.names}
        if len(folded) < len(self.created.names):
            raise SinkRejected(
                "delta_table_output: Delta does not tell apart column names that differ only in "
                f"case: rename one of {', '.join(self.created.names)} in the view"
            )
        for name in _names(schema):
            if bad := [c for c in _NOT_IN_NAMES if c in name]:
                raise SinkRejected(
                    f"delta_table_output: '{name}' has {bad[0]!r} in its name, which Delta "
                    "readers do not take: rename it in the view"
                )

    def check(self, found: pa.Schema, where: str) -> None:
        """Raise SinkRejected if an existing table's columns are not those that are needed."""
        for field in self.created:
            if field.name not in found.names:
                if field.name == GENERATION:
                    continue  # a log that was begun by others can be followed
                raise _unfit(where, f"lacks the column '{field.name}'")
            has = found.field(field.name)
            if not fits(field.type, has.type):
                raise _unfit(
                    where, f"has column '{field.name}' of type {has.type}, not {field.type}"
                )
            if field.nullable and not has.nullable:
                raise _unfit(where, f"has column '{field.name}' NOT NULL, which can be NULL here")
            odd = [k.decode() for k in has.metadata or {} if k.startswith(b"delta.")]
            if odd:
                raise _unfit(where, f"computes or checks column '{field.name}' ({odd[0]})")
        for has in found:
            if has.name not in self.created.names and not has.nullable:
                raise _unfit(where, f"has the NOT NULL column '{has.name}', which the view has not")

    def file_schema(self, table: pa.Schema) -> pa.Schema:
        """The columns that we write into a table of columns `table`, in our order."""
        return pa.schema(
            [
                pa.field(f.name, small(table.field(f.name).type), table.field(f.name).nullable)
                for f in self.created
                if f.name in table.names
            ]
        )

    def staged(self, rows: Batch, files: pa.Schema, generation: int, timestamp: int) -> pa.Table:
        """Rows of a snapshot (weights positive), as columns of `files`."""
        if not self.is_log:
            return self._rows(rows, files)
        return self._logged([("i", rows)], files, generation, timestamp)

    def reset_row(self, files: pa.Schema, generation: int, timestamp: int) -> pa.Table:
        values = {OP: "r", TIMESTAMP: timestamp, GENERATION: generation}
        return pa.Table.from_pylist([values], schema=files)

    def changes(self, rows: Batch, files: pa.Schema, generation: int, timestamp: int) -> pa.Table:
        """A delta as rows of the log."""
        parts = logged_changes(rows, self._key, ", ".join(self.key_names))
        return self._logged(parts, files, generation, timestamp)

    def merge_rows(self, upserts: Batch, deletes: Batch, files: pa.Schema) -> pa.Table:
        """Rows to upsert and keys to delete (other columns NULL), told apart by column DELETED."""
        nullable = pa.schema([f.with_nullable(True) for f in files])
        keys = delta_rows(deletes, {n: files.field(n).type for n in deletes.schema.names})
        gone = pa.table(
            [
                keys.column(f.name)
                if f.name in keys.column_names
                else pa.nulls(len(deletes), f.type)
                for f in nullable
            ],
            schema=nullable,
        )
        kept = self._rows(upserts, files).cast(nullable)
        marks = pa.array([False] * len(kept) + [True] * len(gone), pa.bool_())
        return pa.concat_tables([kept, gone]).append_column(DELETED, marks)

    def _rows(self, rows: Batch, files: pa.Schema) -> pa.Table:
        return delta_rows(copies(rows), {n: files.field(n).type for n in self.names})

    def _logged(
        self,
        parts: Sequence[tuple[str, Batch]],
        files: pa.Schema,
        generation: int,
        timestamp: int,
    ) -> pa.Table:
        tables = []
        for op, rows in parts:
            table = self._rows(rows, files)
            values = {OP: op, TIMESTAMP: timestamp, GENERATION: generation}
            for name, value in values.items():
                if name in files.names:
                    column = pa.repeat(pa.scalar(value, files.field(name).type), len(table))
                    table = table.append_column(name, column)
            tables.append(table)
        return pa.concat_tables(tables)


def _names(schema: Schema) -> Iterator[str]:
    """The names of columns and of the fields of their ROWs."""
    kinds = [f.type for f in schema.fields]
    yield from schema.names
    while kinds:
        type = kinds.pop()
        yield from type.names
        kinds += type.children


def check_layout(
    partitions: Sequence[str], properties: Mapping[str, str], where: str, *, is_replaced: bool
) -> None:
    """Raise SinkRejected for what a table's metadata asks of its writers and we do not do."""
    if partitions:
        raise _unfit(where, f"is partitioned by {', '.join(partitions)}")
    for name, value in properties.items():
        if name.startswith("delta.constraints."):
            raise _unfit(where, f"has the CHECK constraint {value}")
    if properties.get("delta.columnMapping.mode", "none") != "none":
        raise _unfit(where, "maps column names")
    if is_replaced and properties.get("delta.appendOnly", "false").lower() == "true":
        raise _unfit(where, "is append-only: use mode append")


def _unfit(where: str, difference: str) -> SinkRejected:
    return SinkRejected(
        f"delta_table_output: {where} {difference}; this connector cannot write to it: alter it, "
        "or give the connector another uri"
    )
