"""The SQL of one DuckDB table: its shape, its statements, its marker. No transactions here.

    main.flights(id, airline, …)              the target, created if absent
    main.__penstock_marker("table", …)        one row per target in that schema
    __penstock_stage(c0, c1, …)               a snapshot: an Arrow file of its own (`arrow_stage`)

    SQL type                 created as         fits as well into
    ───────────────────────  ─────────────────  ────────────────────────────────────
    BOOLEAN REAL DOUBLE      the same           REAL → DOUBLE
    integers                 the same           wider ones that hold every value
    DECIMAL(p, s)            the same           as many digits on both sides of the point
    CHAR, VARCHAR            VARCHAR
    BINARY, VARBINARY        BLOB
    DATE TIMESTAMP [TZ] UUID the same
    TIME                     TIME_NS            TIME, which keeps microseconds
    INTERVAL                 INTERVAL
    T ARRAY, MAP, ROW        T[], MAP, STRUCT   the same with equal children
    VARIANT                  VARCHAR            JSON; it holds JSON text

Every type fits into VARCHAR. Rows come and go as Arrow tables: nothing is done row by row.

Not here: when statements run and what errors mean (`duckdb_output`), files (`duckdb_file`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from typing import Any

import pyarrow as pa

from penstock.data.arrow import to_arrow
from penstock.data.batch import Batch
from penstock.data.build import empty_batch
from penstock.data.types import BINARIES, INTEGERS, STRINGS, Kind, Schema, SqlType
from penstock.io.contracts import RESTORED, Marker, SinkRejected
from penstock.io.outputs.arrow_stage import ArrowStage
from penstock.io.outputs.duckdb_file import Connection, run
from penstock.io.outputs.identifiers import quoted

MARKER_TABLE = "__penstock_marker"
_STAGE = "__penstock_stage"
_MARKER_FIELDS = tuple(f.name for f in fields(Marker))
_DELTA = "__penstock_delta"
_TYPES = {
    Kind.REAL: "FLOAT",
    Kind.TIME: "TIME_NS",
    Kind.TIMESTAMP_TZ: "TIMESTAMP WITH TIME ZONE",
    Kind.INTERVAL_SHORT: "INTERVAL",
    Kind.INTERVAL_LONG: "INTERVAL",
}
_INTEGERS = {
    "TINYINT": (-(2**7), 2**7 - 1), "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1), "BIGINT": (-(2**63), 2**63 - 1),
    "HUGEINT": (-(2**127), 2**127 - 1), "UTINYINT": (0, 2**8 - 1), "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1), "UBIGINT": (0, 2**64 - 1), "UHUGEINT": (0, 2**128 - 1),
}  # fmt: skip
_DECIMAL = re.compile(r"DECIMAL\((\d+),(\d+)\)")


def created_type(type: SqlType) -> str:
    """The type of a column of a table that we create, as DuckDB spells it."""
    if type.kind is Kind.DECIMAL:
        return f"DECIMAL({type.precision},{type.scale})"
    if type.kind in STRINGS:
        return "VARCHAR"
    if type.kind in BINARIES:
        return "BLOB"
    if type.kind is Kind.VARIANT:
        return "VARCHAR"
    parts = [created_type(t) for t in type.children]
    if type.kind is Kind.ARRAY:
        return f"{parts[0]}[]"
    if type.kind is Kind.MAP:
        return f"MAP({parts[0]}, {parts[1]})"
    if type.kind is Kind.ROW:
        named = zip(type.names, parts, strict=True)
        return f"STRUCT({', '.join(f'{quoted(n)} {p}' for n, p in named)})"
    return _TYPES.get(type.kind, "INTEGER" if type.kind is Kind.NULL else type.kind.value)


def fits(type: SqlType, found: str) -> bool:
    """True if every value of `type` can be stored in a column of DuckDB's type `found`."""
    made = created_type(type)
    if found in (made, "VARCHAR"):
        return True
    if type.kind is Kind.VARIANT:
        return found == "JSON"
    if type.children:
        # DuckDB quotes only the field names that need it
        return found.replace('"', "") == made.replace('"', "")
    if type.kind in INTEGERS:
        low, high = _INTEGERS[made]
        least, most = _INTEGERS.get(found, (0, -1))
        digits = _DECIMAL.fullmatch(found)
        if digits:
            most = 10 ** (int(digits[1]) - int(digits[2])) - 1
            least = -most
        return least <= low and high <= most
    if type.kind is Kind.DECIMAL:
        digits = _DECIMAL.fullmatch(found)
        if digits is None:
            return False
        whole = (type.precision or 38) - (type.scale or 0)
        return int(digits[2]) >= (type.scale or 0) and int(digits[1]) - int(digits[2]) >= whole
    return (made, found) in (("FLOAT", "DOUBLE"), ("TIME_NS", "TIME"))


class DuckDbTable:
    """Statements for a target of `schema`'s columns, keyed by `key` if that is not ()."""

    def __init__(self, name: tuple[str | None, str], schema: Schema, key: tuple[int, ...]) -> None:
        self._schema_name, self.name = name[0] or "main", name[1]
        self._schema = schema
        self._names = schema.names
        self.key_names = tuple(schema.names[i] for i in key)
        if len({n.lower() for n in self._names}) < len(self._names):
            raise SinkRejected(
                "duckdb_output: DuckDB does not tell apart column names that differ only in case: "
                f"rename one of {', '.join(self._names)} in the view"
            )
        self.target = f"{quoted(self._schema_name)}.{quoted(self.name)}"
        self._markers = f"{quoted(self._schema_name)}.{quoted(MARKER_TABLE)}"
        self._columns = ", ".join(map(quoted, self._names))
        # DuckDB has an implicit column rowid unless the table has one of that name
        self._has_rowid = "rowid" not in {n.lower() for n in self._names}
        if not key and not self._has_rowid:
            raise SinkRejected(
                "duckdb_output: without an index the view needs DuckDB's own rowid: rename the "
                "view's column of that name, or give the connector an index"
            )

    # the shape

    def column_types(self, db: Connection) -> dict[str, str] | None:
        """Column name → type of the target as it is; None if there is no such table.

        Raises SinkRejected if it is a view, or its columns or keys are not the connector's."""
        kind = self._kind(db)
        if not kind:
            return None
        if kind == "VIEW":
            raise self._unfit("is a view; name a table")
        found = {
            str(name).lower(): str(type)
            for name, type in run(
                db,
                "SELECT column_name, data_type FROM duckdb_columns() WHERE database_name = "
                "current_database() AND lower(schema_name) = lower(?) "
                "AND lower(table_name) = lower(?)",
                (self._schema_name, self.name),
            )
        }
        wanted = {n.lower(): n for n in self._names}
        if missing := [n for low, n in wanted.items() if low not in found]:
            raise self._unfit(f"lacks the columns {', '.join(missing)}")
        if extra := [n for n in found if n not in wanted]:
            raise self._unfit(f"has columns that the view has not: {', '.join(extra)}")
        for field in self._schema.fields:
            type = found[field.name.lower()]
            if not fits(field.type, type):
                raise self._unfit(
                    f"has column '{field.name}' of type {type}, but the view's is {field.type}: "
                    f"make it {created_type(field.type)}, or cast it in the view"
                )
        self._check_key(db)
        return {n: found[low] for low, n in wanted.items()}

    def _check_key(self, db: Connection) -> None:
        where = (
            "database_name = current_database() AND lower(schema_name) = lower(?) "
            "AND lower(table_name) = lower(?)"
        )
        names = (self._schema_name, self.name)
        keys = [
            {str(c).lower() for c in columns}
            for (columns,) in run(
                db,
                "SELECT constraint_column_names FROM duckdb_constraints() "
                f"WHERE constraint_type IN ('PRIMARY KEY', 'UNIQUE') AND {where}",
                names,
            )
        ]
        indexes = run(
            db, f"SELECT index_name FROM duckdb_indexes() WHERE is_unique AND {where}", names
        )
        if not self.key_names and (keys or indexes):
            raise self._unfit(
                "has a unique key, but the connector names no 'index', so rows may repeat"
            )
        if self.key_names and {n.lower() for n in self.key_names} not in keys:
            listed = ", ".join(self.key_names)
            raise self._unfit(
                f"has no primary key or UNIQUE constraint on ({listed}), the columns of the "
                "connector's index"
            )

    def _unfit(self, difference: str) -> SinkRejected:
        return SinkRejected(
            f"duckdb_output: table '{self.name}' {difference}. Alter or rename it, or drop it and "
            "reset the connector, which creates it anew",
            details={"table": self.name},
        )

    def create(self, db: Connection) -> dict[str, str]:
        """Make sure the target exists and fits; its column types."""
        types = self.column_types(db)
        if types is None:
            types = {f.name: created_type(f.type) for f in self._schema.fields}
            columns = [f"{quoted(n)} {t}" for n, t in types.items()]
            if self.key_names:
                columns.append(f"PRIMARY KEY ({', '.join(map(quoted, self.key_names))})")
            run(db, f"CREATE TABLE {self.target} ({', '.join(columns)})")
        return types

    # a snapshot

    @property
    def stage_schema(self) -> pa.Schema:
        """The columns of a stage."""
        return _as_table(empty_batch(self._schema)).schema

    @staticmethod
    def as_staged(rows: Batch) -> pa.Table:
        return _as_table(rows)

    def repeats_a_key(self, db: Connection, stage: ArrowStage) -> bool:
        """True if two rows of the stage have one key."""
        keys = ", ".join(f"c{self._names.index(k)}" for k in self.key_names)
        twice = f"SELECT 1 FROM {_STAGE} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1"
        return bool(_run_with(db, _STAGE, stage.read(), twice))

    def replace_from_stage(self, db: Connection, types: dict[str, str], stage: ArrowStage) -> None:
        """Make the rows of the target, whose column types are `types`, those of the stage; with a
        key, equal rows are not written."""
        staged = f"({self._rows(self._schema, types, source=_STAGE)}) s"
        insert = f"INSERT INTO {self.target} ({self._columns}) SELECT {self._columns} FROM {staged}"
        has_rows = bool(run(db, f"SELECT 1 FROM {self.target} LIMIT 1"))
        if has_rows and self.key_names:
            same = " AND ".join(f"s.{quoted(k)} = t.{quoted(k)}" for k in self.key_names)
            equal = " AND ".join(self._equal(types, self._has_collation(db)))
            # rows that differ go first, so that values which moved between rows cannot collide in
            # a UNIQUE constraint of the target's own
            gone = f"NOT EXISTS (SELECT 1 FROM {staged} WHERE {equal})"
            _run_with(db, _STAGE, stage.read(), f"DELETE FROM {self.target} AS t WHERE {gone}")
            insert += f" WHERE NOT EXISTS (SELECT 1 FROM {self.target} t WHERE {same})"
        elif has_rows:
            run(db, f"DELETE FROM {self.target}")
        _run_with(db, _STAGE, stage.read(), insert)

    def _equal(self, types: dict[str, str], has_collation: bool) -> Iterator[str]:
        """Conditions under which rows `s` and `t` of the stage and the target are the same."""
        for name in self._names:
            if name in self.key_names:
                yield f"s.{quoted(name)} = t.{quoted(name)}"
            for form in _exact_forms(types[name], has_collation):
                if form != "{}" or name not in self.key_names:
                    s, t = (form.format(f"{of}.{quoted(name)}") for of in "st")
                    yield f"{s} IS NOT DISTINCT FROM {t}"

    def _has_collation(self, db: Connection) -> bool:
        """Whether the target's definition mentions one; DuckDB tells them nowhere else."""
        ((sql,),) = run(
            db,
            "SELECT sql FROM duckdb_tables() WHERE database_name = current_database() "
            "AND lower(schema_name) = lower(?) AND lower(table_name) = lower(?)",
            (self._schema_name, self.name),
        )
        return "collate" in str(sql).lower()

    # deltas

    def insert(self, db: Connection, types: dict[str, str], rows: Batch) -> None:
        into = f"INSERT INTO {self.target} ({self._columns}) "
        self._with_rows(db, rows, into + self._rows(self._schema, types))

    def delete_keys(self, db: Connection, types: dict[str, str], keys: Batch) -> None:
        same = " AND ".join(f"t.{quoted(k)} = s.{quoted(k)}" for k in self.key_names)
        gone = self._rows(keys.schema, types)
        self._with_rows(db, keys, f"DELETE FROM {self.target} AS t USING ({gone}) s WHERE {same}")

    def delete_copies(self, db: Connection, types: dict[str, str], rows: Batch) -> None:
        """Delete as many copies of each row of `rows` as its weight says, whose sign is ignored."""
        same = " AND ".join(f"t.{n} IS NOT DISTINCT FROM s.{n}" for n in map(quoted, self._names))
        partition = ", ".join(f"t.{quoted(n)}" for n in self._names)
        gone = self._rows(self._schema, types, ", abs(w) AS __penstock_w")
        self._with_rows(
            db,
            rows,
            f"DELETE FROM {self.target} WHERE rowid IN (SELECT r FROM (SELECT t.rowid AS r, "
            f"__penstock_w AS w, row_number() OVER (PARTITION BY {partition}) AS n "
            f"FROM {self.target} t JOIN ({gone}) s ON {same}) WHERE n <= w)",
        )

    @property
    def created_types(self) -> dict[str, str]:
        """The types of a target that we create."""
        return {f.name: created_type(f.type) for f in self._schema.fields}

    def spelt(self, db: Connection, rows: Batch, types: dict[str, str], texts: str) -> pa.Table:
        """The expressions `texts` of `rows` as they would be in a target of `types`, in order."""
        db.register(_DELTA, _as_table(rows))
        try:
            query = f"SELECT {texts} FROM ({self._rows(self._schema, types)})"
            return db.sql(query).to_arrow_table()
        finally:
            db.unregister(_DELTA)

    def _rows(
        self, schema: Schema, types: dict[str, str], more: str = "", source: str = _DELTA
    ) -> str:
        """The registered Arrow rows as a query with the target's names and types."""
        values = ", ".join(
            f"CAST({'to_months' if f.type.kind is Kind.INTERVAL_LONG else ''}(c{i}) "
            f"AS {types[f.name]}) AS {quoted(f.name)}"
            for i, f in enumerate(schema.fields)
        )
        return f"SELECT {values}{more} FROM {source}"

    def _with_rows(self, db: Connection, rows: Batch, statement: str) -> None:
        _run_with(db, _DELTA, _as_table(rows), statement)

    # the marker

    def read_marker(self, db: Connection) -> Marker | None:
        """The marker of this target; None if there is none. Without the table it tells what was
        lost with it."""
        known = run(
            db,
            "SELECT 1 FROM information_schema.tables WHERE table_catalog = current_database() "
            "AND lower(table_schema) = lower(?) AND table_name = ?",
            (self._schema_name, MARKER_TABLE),
        )
        if not known:
            return None
        stored = run(
            db,
            f"SELECT {', '.join(map(quoted, _MARKER_FIELDS))} FROM {self._markers} "
            'WHERE "table" = ?',
            (self.name.lower(),),
        )
        if not stored:
            return None
        marker = Marker(**dict(zip(_MARKER_FIELDS, stored[0], strict=True)))
        return marker if self._kind(db) else replace(marker, phase=RESTORED)

    def _kind(self, db: Connection) -> str:
        """ "BASE TABLE" or "VIEW"; "" if there is neither."""
        found = run(
            db,
            "SELECT table_type FROM information_schema.tables WHERE table_catalog = "
            "current_database() AND lower(table_schema) = lower(?) "
            "AND lower(table_name) = lower(?)",
            (self._schema_name, self.name),
        )
        return str(found[0][0]) if found else ""

    def write_marker(self, db: Connection, marker: Marker, stored: Marker | None) -> None:
        """`stored`: what `read_marker` found in this transaction."""
        if stored is None:
            self._create_markers(db)
        values = asdict(marker)
        names = ", ".join(map(quoted, _MARKER_FIELDS))
        run(
            db,
            f'INSERT OR REPLACE INTO {self._markers} ("table", {names}) '
            f"VALUES (?{', ?' * len(_MARKER_FIELDS)})",
            (self.name.lower(), *(values[n] for n in _MARKER_FIELDS)),
        )

    def _create_markers(self, db: Connection) -> None:
        types = {"generation": "BIGINT", "step": "BIGINT", "rows": "BIGINT", "digest": "UBIGINT"}
        columns = ", ".join(
            f"{quoted(n)} {types.get(n, 'VARCHAR')} NOT NULL" for n in _MARKER_FIELDS
        )
        run(
            db,
            f'CREATE TABLE IF NOT EXISTS {self._markers} ("table" VARCHAR PRIMARY KEY, {columns})',
        )


def _exact_forms(type: str, has_collation: bool) -> tuple[str, ...]:
    """What is equal of two values, put into the braces, only if they are the same: -0 and 0 are
    equal and are not, as are a month and 30 days, and 'a' and 'A' under a collation."""
    if type in ("FLOAT", "DOUBLE"):
        return "{}", "signbit({})"
    if type == "INTERVAL":
        return ("CAST({} AS VARCHAR)",)
    return ("encode({})",) if type == "VARCHAR" and has_collation else ("{}",)


def _as_table(rows: Batch) -> pa.Table:
    """Columns c0, c1, … and the weights as w: names of the view's own might differ in case only."""
    batch = to_arrow(rows, weights=True)
    names = [f"c{i}" for i in range(len(rows.columns))] + ["w"]
    return pa.Table.from_batches([batch]).rename_columns(names)


def _run_with(
    db: Connection, name: str, source: pa.Table | pa.RecordBatchReader, statement: str
) -> list[Any]:
    """Execute one statement that reads `source` once, by that name; its rows."""
    db.register(name, source)
    # not if it fails: nothing can be unregistered in a transaction that is aborted, and who fails
    # closes the connection
    rows = run(db, statement)
    db.unregister(name)
    return rows
