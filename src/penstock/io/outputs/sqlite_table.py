"""The SQL of one SQLite table: its shape, its statements, its marker. No transactions here.

    flights(id, airline, …)                          the target, created if absent
    __penstock_marker("table", "view", …)            one row per target in the file
    __penstock_stage_flights_<owner>_g7(id, …)       generation 7 while it is being staged

    SQL type            declared as   holds
    ──────────────────  ────────────  ──────────────────────────────────────────
    BOOLEAN, integers   INTEGER       0/1, the number (UBIGINT: TEXT)
    REAL, DOUBLE        REAL          the number; NaN is the text 'NaN'
    DECIMAL(p, s)       TEXT          exactly s fraction digits
    BINARY, VARBINARY   BLOB          the bytes
    all others          TEXT          see `column_text`; JSON for ARRAY, MAP, ROW and VARIANT

The stage takes its declared types from the target, so both compare alike and its key's index
serves the comparison, also when the target was made by somebody else.

Not here: when statements run (`sqlite_output`).
"""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, fields, replace

from penstock.data.types import BINARIES, FLOATS, INTEGERS, Kind, Schema, SqlType
from penstock.io.contracts import RESTORED, Marker, SinkRejected
from penstock.io.outputs.identifiers import quoted, text_literal

MARKER_TABLE = "__penstock_marker"
_MARKER_FIELDS = tuple(f.name for f in fields(Marker))
_INTEGERS = INTEGERS - {Kind.UINT64} | {Kind.BOOLEAN, Kind.INTERVAL_SHORT, Kind.INTERVAL_LONG}


def _declared(type: SqlType) -> str:
    if type.kind in _INTEGERS:
        return "INTEGER"
    if type.kind in FLOATS:
        return "REAL"
    return "BLOB" if type.kind in BINARIES else "TEXT"


class SqliteTable:
    """Statements for a target `table` with the columns of `schema`, keyed by `key` if not ()."""

    def __init__(self, table: str, schema: Schema, key: tuple[int, ...], owner: str) -> None:
        """`owner` tells whose stages are whose; letters and digits."""
        self.name, self._schema, self._owner = table, schema, owner
        self._names = schema.names
        self.key_names = tuple(schema.names[i] for i in key)
        folded = {n.lower() for n in self._names}
        if len(folded) < len(self._names):
            raise SinkRejected(
                "sqlite_output: SQLite does not tell apart column names that differ only in case: "
                f"rename one of {', '.join(self._names)} in the view"
            )
        self._rowid = next(n for n in ("rowid", "oid", "_rowid_", "") if n not in folded)
        self.target = quoted(table)
        self._rows_index = f"__penstock_rows_{table}"
        self._columns = ", ".join(map(quoted, self._names))
        self._marks = ", ".join("?" * len(self._names))

    # the shape

    def declared_types(self, db: sqlite3.Connection) -> dict[str, str] | None:
        """Column name → declared type of the target as it is; None if there is no such table.

        Raises SinkRejected if it is a view, or its columns or key are not the connector's."""
        kind = db.execute(
            "SELECT type FROM sqlite_master WHERE type IN ('table', 'view') AND name = ? "
            "COLLATE NOCASE",
            (self.name,),
        ).fetchone()
        if kind is None:
            return None
        if kind[0] == "view":
            raise self._unfit("is a view; name a table")
        info = db.execute(f"PRAGMA table_info({self.target})").fetchall()
        found = {name.lower(): str(type) for _, name, type, *_ in info}
        wanted = {n.lower(): n for n in self._names}
        if missing := [n for low, n in wanted.items() if low not in found]:
            raise self._unfit(f"lacks the columns {', '.join(missing)}")
        if extra := [n for n in found if n not in wanted]:
            raise self._unfit(f"has columns that the view has not: {', '.join(extra)}")
        self._check_key(db, info)
        return {n: found[low] for low, n in wanted.items()}

    def declared_types_of_view(self) -> dict[str, str]:
        """The types of a target that we create."""
        return {f.name: _declared(f.type) for f in self._schema.fields}

    def _check_key(self, db: sqlite3.Connection, info: list[tuple[object, ...]]) -> None:
        if not self.key_names:
            if self._is_without_rowid(db):
                raise self._unfit("is WITHOUT ROWID; without an index the view needs a rowid table")
            unique = db.execute(
                f'SELECT count(*) FROM pragma_index_list({text_literal(self.name)}) WHERE "unique"'
            ).fetchone()[0]
            if unique or any(c[5] for c in info):
                raise self._unfit(
                    "has a unique key, but the connector names no 'index', so rows may repeat"
                )
            return
        wanted = {n.lower() for n in self.key_names}
        primary = {str(c[1]).lower() for c in info if c[5]}
        if wanted != primary and wanted not in self._unique_indexes(db):
            raise self._unfit(
                f"has no primary key or unique index on ({', '.join(self.key_names)}), the "
                "columns of the connector's index"
            )

    def _unique_indexes(self, db: sqlite3.Connection) -> list[set[str]]:
        names = db.execute(
            f"SELECT name FROM pragma_index_list({text_literal(self.name)}) "
            'WHERE "unique" AND NOT partial'
        ).fetchall()
        return [
            {
                str(column).lower()
                for (column,) in db.execute(
                    f"SELECT name FROM pragma_index_info({text_literal(name)})"
                )
            }
            for (name,) in names
        ]

    def _is_without_rowid(self, db: sqlite3.Connection) -> bool:
        row = db.execute(
            "SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE",
            (self.name,),
        ).fetchone()
        return bool(row and row[0])

    def _unfit(self, difference: str) -> SinkRejected:
        return SinkRejected(
            f"sqlite_output: table '{self.name}' {difference}. Alter or rename it, or drop it and "
            "reset the connector, which creates it anew",
            details={"table": self.name},
        )

    def create(self, db: sqlite3.Connection) -> dict[str, str]:
        """Make sure the target exists and fits; its declared types."""
        declared = self.declared_types(db)
        if declared is None:
            declared = self.declared_types_of_view()
            db.execute(self._create(self.target, declared))
        if not self.key_names:
            db.execute(
                f"CREATE INDEX IF NOT EXISTS {quoted(self._rows_index)} "
                f"ON {self.target} ({self._columns})"
            )
        return declared

    def _create(self, table: str, declared: dict[str, str]) -> str:
        columns = [f"{quoted(n)} {declared[n]}" for n in self._names]
        if self.key_names:
            columns.append(f"PRIMARY KEY ({', '.join(map(quoted, self.key_names))})")
        return f"CREATE TABLE {table} ({', '.join(columns)})"

    # changes of the target

    @property
    def insert(self) -> str:
        return f"INSERT INTO {self.target} ({self._columns}) VALUES ({self._marks})"

    @property
    def upsert(self) -> str:
        return f"{self.insert} {self._on_conflict()}"

    @property
    def delete_key(self) -> str:
        same = " AND ".join(f"{quoted(k)} = ?" for k in self.key_names)
        return f"DELETE FROM {self.target} WHERE {same}"

    @property
    def delete_copies(self) -> str:
        """Takes the columns of a row, then how many of its copies to delete."""
        # twice: by an index, and whatever collation the target has
        same = " AND ".join(
            f"{quoted(n)} IS ?{i} AND {quoted(n)} IS ?{i} COLLATE BINARY"
            for i, n in enumerate(self._names, 1)
        )
        return (
            f"DELETE FROM {self.target} WHERE {self._rowid} IN "
            f"(SELECT {self._rowid} FROM {self.target} WHERE {same} "
            f"LIMIT ?{len(self._names) + 1})"
        )

    def _on_conflict(self) -> str:
        others = [quoted(n) for n in self._names if n not in self.key_names]
        keys = ", ".join(map(quoted, self.key_names))
        if not others:
            return f"ON CONFLICT ({keys}) DO NOTHING"
        assignments = ", ".join(f"{n} = excluded.{n}" for n in others)
        return f"ON CONFLICT ({keys}) DO UPDATE SET {assignments}"

    # the stage

    def stage_name(self, generation: int) -> str:
        return f"__penstock_stage_{self.name}_{self._owner}_g{generation}"

    def create_stage(self, db: sqlite3.Connection, generation: int) -> None:
        declared = self.declared_types(db)
        if declared is None:
            declared = self.declared_types_of_view()
        db.execute(self._create(quoted(self.stage_name(generation)), declared))

    def insert_staged(self, generation: int, rows: int = 1) -> str:
        stage = quoted(self.stage_name(generation))
        marks = ", ".join([f"({self._marks})"] * rows)
        return f"INSERT INTO {stage} ({self._columns}) VALUES {marks}"

    def staged_rows(self, db: sqlite3.Connection, generation: int) -> int | None:
        """How many rows the stage of `generation` holds; None if there is none."""
        name = self.stage_name(generation)
        if not self.has_stage(db, generation):
            return None
        return int(db.execute(f"SELECT count(*) FROM {quoted(name)}").fetchone()[0])

    def has_stage(self, db: sqlite3.Connection, generation: int) -> bool:
        return generation in self.stages(db)

    def stages(self, db: sqlite3.Connection) -> list[int]:
        """The generations that have a stage for this target."""
        prefix = self.stage_name(0)[:-1]
        names = db.execute(
            "SELECT substr(name, ?) FROM sqlite_master WHERE type = 'table' "
            "AND substr(name, 1, ?) = ? COLLATE NOCASE",
            (len(prefix) + 1, len(prefix), prefix),
        ).fetchall()
        return [int(n) for (n,) in names if n.isdecimal()]

    def drop_stage(self, db: sqlite3.Connection, generation: int) -> None:
        db.execute(f"DROP TABLE IF EXISTS {quoted(self.stage_name(generation))}")

    def replace_from_stage(self, db: sqlite3.Connection, generation: int) -> None:
        """Make the target's rows those of the stage, which may be gone then."""
        if self._is_ours_alone(db):
            db.execute(f"DROP TABLE {self.target}")
            db.execute(f"ALTER TABLE {quoted(self.stage_name(generation))} RENAME TO {self.target}")
            self.create(db)  # the index
        else:
            self._merge_from_stage(db, generation)

    def _is_ours_alone(self, db: sqlite3.Connection) -> bool:
        """Whether the target is as `create` makes it and nothing else in the file is about it, so
        that nobody can tell it from another table of that name: no index, trigger, view or foreign
        key. A view or trigger that only spells the name counts, which costs time and no more."""
        made = self._create(self.target, self.declared_types_of_view())
        found = db.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE",
            (self.name,),
        ).fetchone()
        if found is None or found[0] != made:
            return False
        others = db.execute(
            "SELECT 1 FROM sqlite_master WHERE sql IS NOT NULL AND ("
            " type = 'index' AND tbl_name = :name COLLATE NOCASE AND name <> :index"
            " OR type IN ('view', 'trigger') AND instr(lower(sql), lower(:name)) > 0) "
            "UNION ALL SELECT 1 FROM sqlite_master m, pragma_foreign_key_list(m.name) f "
            "WHERE m.type = 'table' AND f.\"table\" = :name COLLATE NOCASE",
            {"name": self.name, "index": self._rows_index},
        ).fetchone()
        return others is None

    def _merge_from_stage(self, db: sqlite3.Connection, generation: int) -> None:
        """Make the target's rows those of the stage, in the table that is there."""
        stage = quoted(self.stage_name(generation))
        rows = f"INSERT INTO {self.target} ({self._columns}) SELECT {self._columns} FROM {stage}"
        if not self.key_names:
            db.execute(f"DELETE FROM {self.target}")
            db.execute(rows)
            return
        keys = [quoted(k) for k in self.key_names]
        others = [quoted(n) for n in self._names if n not in self.key_names]
        same = " AND ".join(
            [f"s.{k} = {self.target}.{k}" for k in keys]
            + [f"s.{n} IS {self.target}.{n} COLLATE BINARY" for n in others]
        )
        # rows that differ go first, so that values which moved between rows cannot collide in a
        # UNIQUE constraint of the target's own
        db.execute(
            f"DELETE FROM {self.target} WHERE NOT EXISTS (SELECT 1 FROM {stage} s WHERE {same})"
        )
        # "WHERE true" tells SQLite's parser that ON is not a join's
        db.execute(f"{rows} WHERE true ON CONFLICT ({', '.join(keys)}) DO NOTHING")

    def mend_from_stage(self, db: sqlite3.Connection, generation: int) -> None:
        """As `replace_from_stage`, writing only the rows that differ: without a key the copies of
        each row are counted on both sides."""
        if self.key_names:
            self._merge_from_stage(db, generation)
            return
        stage = quoted(self.stage_name(generation))
        groups = ", ".join(f"{quoted(n)} COLLATE BINARY" for n in self._names)
        difference, weight = quoted(f"__penstock_diff_{self.name}"), "__penstock_weight"
        db.execute(
            f"CREATE TEMP TABLE {difference} AS SELECT {self._columns}, sum({weight}) AS {weight} "
            f"FROM (SELECT {self._columns}, 1 AS {weight} FROM {stage} UNION ALL "
            f"SELECT {self._columns}, -1 FROM {self.target}) "
            f"GROUP BY {groups} HAVING sum({weight}) <> 0"
        )
        gone = db.execute(f"SELECT {self._columns}, -{weight} FROM {difference} WHERE {weight} < 0")
        while rows := gone.fetchmany(10_000):
            db.executemany(self.delete_copies, rows)
        come = db.execute(f"SELECT {weight}, {self._columns} FROM {difference} WHERE {weight} > 0")
        while rows := come.fetchmany(10_000):
            db.executemany(self.insert, (row for n, *row in rows for _ in range(n)))
        db.execute(f"DROP TABLE temp.{difference}")

    # the marker

    def read_marker(self, db: sqlite3.Connection) -> Marker | None:
        """The marker of this target; None if there is none. Without the table it tells what was
        lost with it."""
        known = db.execute(
            "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (MARKER_TABLE,)
        ).fetchone()
        if known is None:
            return None
        row = db.execute(
            f"SELECT {', '.join(map(quoted, _MARKER_FIELDS))} FROM {MARKER_TABLE} "
            'WHERE "table" = ?',
            (self.name,),
        ).fetchone()
        if row is None:
            return None
        values = dict(zip(_MARKER_FIELDS, row, strict=True))
        marker = Marker(**(values | {"digest": int(values["digest"])}))
        there = db.execute(
            "SELECT 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name = ? "
            "COLLATE NOCASE",
            (self.name,),
        ).fetchone()
        return marker if there is not None else replace(marker, phase=RESTORED)

    def write_marker(self, db: sqlite3.Connection, marker: Marker) -> None:
        integers = ("generation", "step", "rows")
        columns = ", ".join(
            f"{quoted(n)} {'INTEGER' if n in integers else 'TEXT'} NOT NULL" for n in _MARKER_FIELDS
        )
        db.execute(
            f"CREATE TABLE IF NOT EXISTS {MARKER_TABLE} "
            f'("table" TEXT NOT NULL COLLATE NOCASE PRIMARY KEY, {columns})'
        )
        # a digest has 64 bits, SQLite's integers have 63 and a sign
        values = asdict(marker) | {"digest": str(marker.digest)}
        names = ", ".join(map(quoted, _MARKER_FIELDS))
        db.execute(
            f'INSERT OR REPLACE INTO {MARKER_TABLE} ("table", {names}) '
            f"VALUES (?, {', '.join('?' * len(_MARKER_FIELDS))})",
            (self.name, *(values[n] for n in _MARKER_FIELDS)),
        )
