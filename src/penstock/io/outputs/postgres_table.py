"""The SQL of one PostgreSQL table: its shape, its statements, its marker. No transactions here.

    app.orders(id, …)                        the target, created if absent, never dropped
    app.__penstock_marker("table", …)        one row per target in that schema
    pg_temp.__penstock_stage_g7(id, …)       generation 7 while it is staged, of this session only

The stage has the types of the target, so both compare alike. Deltas come as one array a column.

Not here: when statements run and what errors mean (`postgres_output`), which types fit
(`postgres_types`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from penstock.data.batch import Batch
from penstock.data.types import Schema
from penstock.io.contracts import Marker, SinkRejected
from penstock.io.outputs.column_text import column_text
from penstock.io.outputs.identifiers import quoted
from penstock.io.outputs.postgres_types import created_type, fits

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

MARKER_TABLE = "__penstock_marker"
_MARKER_FIELDS = tuple(f.name for f in fields(Marker))
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class TargetColumn:
    """A column of the target as it is. `type` with and `base` without modifiers, as SQL text."""

    name: str
    type: str
    base: str
    typname: str
    typmod: int
    is_written: bool
    has_value_without_us: bool


_COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1), b.typname,
       CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END,
       a.attgenerated = '' AND a.attidentity <> 'a',
       NOT a.attnotnull OR a.atthasdef OR a.attidentity <> ''
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
     JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_UNIQUE_KEYS = """
SELECT array_agg(a.attname::text)
FROM pg_index i, unnest(i.indkey[0:i.indnkeyatts - 1]) AS k(attnum)
     JOIN pg_attribute a ON a.attnum = k.attnum AND a.attrelid = %(oid)s
WHERE i.indrelid = %(oid)s AND i.indisunique AND i.indisvalid AND i.indimmediate
      AND i.indpred IS NULL AND i.indexprs IS NULL
GROUP BY i.indexrelid
"""


class PostgresTable:
    """Statements for the target `name`, keyed by the columns at `key`, which are not empty."""

    def __init__(self, name: tuple[str | None, str], schema: Schema, key: tuple[int, ...]) -> None:
        self._schema_name, self.name = name
        self._schema = schema
        self._names = schema.names
        self.key_names = tuple(schema.names[i] for i in key)
        self._columns = ", ".join(map(quoted, self._names))
        self._on_keys = " AND ".join(f"s.{quoted(k)} = t.{quoted(k)}" for k in self.key_names)

    # where it is and what it is like

    def locate(self, db: Connection) -> None:
        """Find out the schema if the configuration left it open: that of an existing table on
        the search path, else the first of the path."""
        if self._schema_name is not None:
            return
        self._schema_name = _one(
            db,
            "SELECT coalesce((SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = "
            "c.relnamespace WHERE c.oid = to_regclass(%s)), current_schema())::text",
            quoted(self.name),
        )
        if self._schema_name is None:
            raise self.unfit("has no schema: write it as schema.table")

    @property
    def schema_name(self) -> str:
        assert self._schema_name is not None
        return self._schema_name

    @property
    def target(self) -> str:
        return f"{quoted(self.schema_name)}.{quoted(self.name)}"

    @property
    def _markers(self) -> str:
        return f"{quoted(self.schema_name)}.{quoted(MARKER_TABLE)}"

    def unfit(self, difference: str) -> SinkRejected:
        where = self.name if self._schema_name is None else f"{self._schema_name}.{self.name}"
        return SinkRejected(
            f"postgres_output: table '{where}' {difference}", details={"table": where}
        )

    def columns(self, db: Connection) -> dict[str, TargetColumn] | None:
        """The target's columns by name; None if there is no such table.

        Raises SinkRejected if it is no table, or its columns or keys are not the connector's."""
        oid = self._oid(db, self.name)
        if oid is None:
            return None
        if _one(db, "SELECT relkind::text FROM pg_class WHERE oid = %s", oid) not in ("r", "p"):
            raise self.unfit("is not a plain or partitioned table: name one, or an unused name")
        found = {c.name: c for c in (TargetColumn(*r) for r in db.execute(_COLUMNS, (oid,)))}
        self._check_columns(found)
        keys = [set(k) for (k,) in db.execute(_UNIQUE_KEYS, {"oid": oid})]
        if set(self.key_names) not in keys:
            listed = ", ".join(self.key_names)
            raise self.unfit(
                f"has no primary key or unique constraint on ({listed}), the columns of the "
                f"connector's index: ALTER TABLE {self.target} ADD UNIQUE ({listed})"
            )
        return found

    def _check_columns(self, found: dict[str, TargetColumn]) -> None:
        if missing := [n for n in self._names if n not in found]:
            raise self.unfit(f"lacks the columns {', '.join(missing)}: add them")
        for field in self._schema.fields:
            column = found[field.name]
            if not fits(field.type, column.typname, column.typmod):
                raise self.unfit(
                    f"has column '{field.name}' of type {column.type}, but the view's is "
                    f"{field.type}: make it {created_type(field.type)}, or cast it in the view"
                )
            if not column.is_written:
                raise self.unfit(f"generates column '{field.name}' itself: leave it to the view")
        for name, column in found.items():
            if name not in self._names and column.is_written and not column.has_value_without_us:
                raise self.unfit(
                    f"has the NOT NULL column '{name}', which the view has not: give it a DEFAULT"
                )

    def check_privileges(self, db: Connection) -> None:
        """Raise SinkRejected naming the GRANTs that are missing."""
        if missing := [grant for grant, is_held in self.grants(db) if not is_held]:
            raise self.unfit(f"cannot be kept without more privileges: {'; '.join(missing)}")
        target = self._oid(db, self.name)
        if target is not None and _one(db, "SELECT row_security_active(%s::oid)", target):
            raise self.unfit(
                f"hides rows from user {_one(db, 'SELECT current_user')} (row level security): use "
                "its owner, or a user with BYPASSRLS"
            )

    def grants(self, db: Connection) -> list[tuple[str, bool]]:
        """What the user needs, as GRANT statements, and whether it has each."""
        row = db.execute(
            "SELECT current_user, current_database(), "
            "(SELECT oid FROM pg_namespace WHERE nspname = %s)",
            (self.schema_name,),
        ).fetchone()
        assert row is not None
        user, database, schema_oid = row
        schema = quoted(self.schema_name)
        if schema_oid is None:
            raise self.unfit(f"is in a schema that does not exist: CREATE SCHEMA {schema}")
        target, markers = self._oid(db, self.name), self._oid(db, MARKER_TABLE)
        wanted = [
            ("database", self._database_oid(db), f"DATABASE {quoted(database)}", "TEMP"),
            ("schema", schema_oid, f"SCHEMA {schema}", "USAGE"),
        ]
        if target is None or markers is None:
            wanted.append(("schema", schema_oid, f"SCHEMA {schema}", "CREATE"))
        for oid, name, privileges in (
            (target, self.target, "SELECT INSERT UPDATE DELETE"),
            (markers, self._markers, "SELECT INSERT UPDATE"),
        ):
            if oid is not None:
                wanted += [("table", oid, name, p) for p in privileges.split()]
        return [
            (
                f"GRANT {privilege} ON {thing} TO {quoted(user)}",
                bool(_one(db, f"SELECT has_{kind}_privilege(%s::oid, %s)", oid, privilege)),
            )
            for kind, oid, thing, privilege in wanted
        ]

    def _oid(self, db: Connection, table: str) -> int | None:
        """A relation of the target's schema, whether or not we may use it."""
        found: int | None = _one(
            db,
            "SELECT max(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s",
            self.schema_name,
            table,
        )
        return found

    def _database_oid(self, db: Connection) -> int:
        return int(_one(db, "SELECT oid FROM pg_database WHERE datname = current_database()"))

    def create(self, db: Connection) -> dict[str, str]:
        """Make sure that the target exists and fits; its column types without modifiers."""
        columns = self.columns(db)
        if columns is None:
            keys = ", ".join(map(quoted, self.key_names))
            db.execute(f"CREATE TABLE {self.target} ({self._declared}, PRIMARY KEY ({keys}))")
            columns = self.columns(db)
            assert columns is not None
        return {n: columns[n].base for n in self._names}

    @property
    def _declared(self) -> str:
        return ", ".join(f"{quoted(f.name)} {created_type(f.type)}" for f in self._schema.fields)

    # the stage

    def stage_name(self, generation: int) -> str:
        return f"pg_temp.{quoted(f'__penstock_stage_g{generation}')}"

    def create_stage(self, db: Connection, generation: int) -> None:
        columns = self.columns(db)
        declared = self._declared
        if columns is not None:
            declared = ", ".join(f"{quoted(n)} {columns[n].type}" for n in self._names)
        name = quoted(f"__penstock_stage_g{generation}")
        keys = ", ".join(map(quoted, self.key_names))
        db.execute(f"CREATE TEMP TABLE {name} ({declared}, PRIMARY KEY ({keys}))")

    def copy_into_stage(self, db: Connection, generation: int, rows: Batch) -> int:
        """COPY `rows`, each once; how many bytes that were."""
        text = copy_text(rows).encode()
        into = f"COPY {self.stage_name(generation)} ({self._columns}) FROM STDIN"
        with db.cursor() as cursor, cursor.copy(into) as copy:
            copy.write(text)
        return len(text)

    def staged_rows(self, db: Connection, generation: int) -> int | None:
        """How many rows the stage of `generation` holds; None if there is none."""
        stage = self.stage_name(generation)
        if _one(db, "SELECT to_regclass(%s) IS NULL", stage):
            return None
        return int(_one(db, f"SELECT count(*) FROM {stage}"))

    def drop_stage(self, db: Connection, generation: int) -> None:
        db.execute(f"DROP TABLE IF EXISTS {self.stage_name(generation)}")

    def replace_from_stage(self, db: Connection, generation: int) -> None:
        """Make the target's rows those of the stage; equal rows are not written."""
        stage = self.stage_name(generation)
        db.execute(f"ANALYZE {stage}")
        db.execute(
            f"DELETE FROM {self.target} t WHERE NOT EXISTS "
            f"(SELECT FROM {stage} s WHERE {self._on_keys})"
        )
        same = " AND ".join(
            f"s.{quoted(n)} IS NOT DISTINCT FROM t.{quoted(n)}" for n in self._others()
        )
        equal = f"{self._on_keys} AND {same}" if same else self._on_keys
        db.execute(
            f"INSERT INTO {self.target} ({self._columns}) SELECT {self._columns} FROM {stage} s "
            f"WHERE NOT EXISTS (SELECT FROM {self.target} t WHERE {equal}) {self._on_conflict()}"
        )

    # deltas

    def upsert(self, db: Connection, types: dict[str, str], rows: Batch) -> None:
        db.execute(
            f"INSERT INTO {self.target} ({self._columns}) "
            f"SELECT * FROM {_arrays(types, self._names)} {self._on_conflict()}",
            [column_text(c) for c in rows.columns],
        )

    def delete(self, db: Connection, types: dict[str, str], keys: Batch) -> None:
        listed = ", ".join(map(quoted, self.key_names))
        db.execute(
            f"DELETE FROM {self.target} t USING {_arrays(types, self.key_names)} AS s({listed}) "
            f"WHERE {self._on_keys}",
            [column_text(c) for c in keys.columns],
        )

    def _others(self) -> list[str]:
        return [n for n in self._names if n not in self.key_names]

    def _on_conflict(self) -> str:
        keys = ", ".join(map(quoted, self.key_names))
        others = [f"{quoted(n)} = EXCLUDED.{quoted(n)}" for n in self._others()]
        action = f"UPDATE SET {', '.join(others)}" if others else "NOTHING"
        return f"ON CONFLICT ({keys}) DO {action}"

    # the marker

    def lock(self, db: Connection) -> None:
        """Be the only writer of this target until the transaction ends."""
        name = f"penstock:{self.target}"
        db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))

    def read_marker(self, db: Connection) -> Marker | None:
        """The marker of this target; None if there is none."""
        if self._oid(db, MARKER_TABLE) is None:
            return None
        stored = db.execute(
            f"SELECT {', '.join(map(quoted, _MARKER_FIELDS))} FROM {self._markers} "
            'WHERE "table" = %s',
            (self.name,),
        ).fetchone()
        if stored is None:
            return None
        values = dict(zip(_MARKER_FIELDS, stored, strict=True))
        return Marker(**(values | {"digest": int(values["digest"])}))

    def write_marker(self, db: Connection, marker: Marker) -> None:
        if self._oid(db, MARKER_TABLE) is None:
            # two connectors may come here at once, and IF NOT EXISTS alone does not serialise them
            db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (self._markers,))
            types = {"generation": "bigint", "step": "bigint", "rows": "bigint",
                     "digest": "numeric(20, 0)"}  # fmt: skip
            columns = ", ".join(
                f"{quoted(n)} {types.get(n, 'text')} NOT NULL" for n in _MARKER_FIELDS
            )
            db.execute(
                f'CREATE TABLE IF NOT EXISTS {self._markers} ("table" text PRIMARY KEY, {columns})'
            )
        values = asdict(marker)
        names = ", ".join(map(quoted, _MARKER_FIELDS))
        updates = ", ".join(f"{quoted(n)} = EXCLUDED.{quoted(n)}" for n in _MARKER_FIELDS)
        db.execute(
            f'INSERT INTO {self._markers} ("table", {names}) '
            f"VALUES (%s{', %s' * len(_MARKER_FIELDS)}) "
            f'ON CONFLICT ("table") DO UPDATE SET {updates}',
            (self.name, *(values[n] for n in _MARKER_FIELDS)),
        )


def _one(db: Connection, query: str, *parameters: Any) -> Any:
    """The only value of the only row."""
    row = db.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]


def _arrays(types: dict[str, str], names: tuple[str, ...]) -> str:
    """The parameters, one array of texts a column, as a table."""
    return f"unnest({', '.join(f'%s::text[]::{types[n]}[]' for n in names)})"


def copy_text(rows: Batch) -> str:
    """The rows in COPY's text format; weights are ignored."""
    columns = []
    for column in rows.columns:
        texts = column_text(column)
        if column.type.is_view:
            texts = [None if t is None else t.translate(_ESCAPES) for t in texts]
        if column.valid is not None:
            texts = ["\\N" if t is None else t for t in texts]
        columns.append(texts)
    return "".join(["\t".join(r) + "\n" for r in zip(*columns, strict=True)])
