"""The SQL of one PostgreSQL table: its shape, its marker, its lock. No transactions here.

    app.orders(id, …)                        the target, created if absent, never dropped
    app.__penstock_marker("table", …)        one row per target in that schema

Not here: its rows (`postgres_rows`, `postgres_log`), when statements run and what errors mean
(`postgres_output`), which types fit (`postgres_types`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from penstock.data.types import Schema
from penstock.io.contracts import RESTORED, Marker, SinkRejected
from penstock.io.outputs.identifiers import quoted
from penstock.io.outputs.postgres_types import created_type, fits

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

MARKER_TABLE = "__penstock_marker"
#: PostgreSQL cuts longer names off without a word
MAX_NAME_BYTES = 63
#: column of a log that a table of others may lack; it can then be followed and not reset
OPTIONAL = ("__penstock_generation",)
_MARKER_FIELDS = tuple(f.name for f in fields(Marker))


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
    """The target `name`: keyed by the columns at `key`, a multiset of rows without one, or a log
    of changes whose `log` columns (name → type made) come after the view's."""

    def __init__(
        self,
        name: tuple[str | None, str],
        schema: Schema,
        key: tuple[int, ...],
        log: Mapping[str, str] | None = None,
    ) -> None:
        self._schema_name, self.name = name
        self._schema = schema
        self.names = schema.names
        self.key_names = tuple(schema.names[i] for i in key)
        self._log = log or {}
        all_names = [n for n in (*name, *self.names, *self._log) if n is not None]
        if long := [n for n in all_names if len(n.encode()) > MAX_NAME_BYTES]:
            raise self.unfit(
                f"has or needs the name '{long[0]}', of which PostgreSQL keeps only "
                f"{MAX_NAME_BYTES} bytes: shorten it"
            )
        if odd := [n for n in all_names if "%" in n]:
            raise self.unfit(f"cannot have a percent sign in a name, as '{odd[0]}' has: rename it")
        if twice := [n for n in self._log if n in self.names]:
            raise self.unfit(f"needs the column '{twice[0]}' for itself: rename the view's")

    # where it is and what it is like

    def locate(self, db: Connection) -> None:
        """Find out the schema if the configuration left it open: that of an existing table on
        the search path, else the first of the path."""
        if self._schema_name is not None:
            return
        self._schema_name = one(
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
        if one(db, "SELECT relkind::text FROM pg_class WHERE oid = %s", oid) not in ("r", "p"):
            raise self.unfit("is not a plain or partitioned table: name one, or an unused name")
        found = self.columns_of(db, oid)
        self._check_columns(found)
        if not self._log:
            self._check_keys([set(k) for (k,) in db.execute(_UNIQUE_KEYS, {"oid": oid})])
        return found

    @staticmethod
    def columns_of(db: Connection, oid: int) -> dict[str, TargetColumn]:
        """The columns of any table."""
        return {c.name: c for c in (TargetColumn(*r) for r in db.execute(_COLUMNS, (oid,)))}

    def _check_keys(self, keys: list[set[str]]) -> None:
        if not self.key_names and any(k <= set(self.names) for k in keys):
            raise self.unfit(
                "has a unique key, but the connector names no 'index', so rows may repeat"
            )
        if self.key_names and set(self.key_names) not in keys:
            listed = ", ".join(self.key_names)
            raise self.unfit(
                f"has no primary key or unique constraint on ({listed}), the columns of the "
                f"connector's index: ALTER TABLE {self.target} ADD UNIQUE ({listed})"
            )

    def _check_columns(self, found: dict[str, TargetColumn]) -> None:
        needed = [*self.names, *(n for n in self._log if n not in OPTIONAL)]
        if missing := [n for n in needed if n not in found]:
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
            is_ours = name in self.names or name in self._log
            if not is_ours and column.is_written and not column.has_value_without_us:
                raise self.unfit(
                    f"has the NOT NULL column '{name}', which the view has not: give it a DEFAULT"
                )

    def check_privileges(self, db: Connection) -> None:
        """Raise SinkRejected naming the GRANTs that are missing."""
        if missing := [grant for grant, is_held in self.grants(db) if not is_held]:
            raise self.unfit(f"cannot be kept without more privileges: {'; '.join(missing)}")
        target = self._oid(db, self.name)
        if target is not None and one(db, "SELECT row_security_active(%s::oid)", target):
            raise self.unfit(
                f"hides rows from user {one(db, 'SELECT current_user')} (row level security): use "
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
            (target, self.target, "INSERT" if self._log else "SELECT INSERT UPDATE DELETE"),
            (markers, self._markers, "SELECT INSERT UPDATE"),
        ):
            if oid is not None:
                wanted += [("table", oid, name, p) for p in privileges.split()]
        return [
            (
                f"GRANT {privilege} ON {thing} TO {quoted(user)}",
                bool(one(db, f"SELECT has_{kind}_privilege(%s::oid, %s)", oid, privilege)),
            )
            for kind, oid, thing, privilege in wanted
        ]

    def _oid(self, db: Connection, table: str) -> int | None:
        """A relation of the target's schema, whether or not we may use it."""
        found: int | None = one(
            db,
            "SELECT max(c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s",
            self.schema_name,
            table,
        )
        return found

    def _database_oid(self, db: Connection) -> int:
        return int(one(db, "SELECT oid FROM pg_database WHERE datname = current_database()"))

    def create(self, db: Connection) -> dict[str, TargetColumn]:
        """Make sure that the target exists and fits; its columns."""
        columns = self.columns(db)
        if columns is None:
            parts = [self.declared, *(f"{quoted(n)} {type}" for n, type in self._log.items())]
            if self.key_names and not self._log:
                parts.append(f"PRIMARY KEY ({', '.join(map(quoted, self.key_names))})")
            db.execute(f"CREATE TABLE {self.target} ({', '.join(parts)})")
            columns = self.columns(db)
            assert columns is not None
        return columns

    @property
    def declared(self) -> str:
        """The view's columns as we create them."""
        return ", ".join(f"{quoted(f.name)} {created_type(f.type)}" for f in self._schema.fields)

    def oid(self, db: Connection) -> int | None:
        return self._oid(db, self.name)

    # the marker

    def lock(self, db: Connection) -> None:
        """Be the only writer of this target until the transaction ends."""
        name = f"penstock:{self.target}"
        db.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (name,))

    def read_marker(self, db: Connection) -> Marker | None:
        """The marker of this target; None if there is none. Without the table it tells what was
        lost with it."""
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
        marker = Marker(**(values | {"digest": int(values["digest"])}))
        return marker if self.oid(db) is not None else replace(marker, phase=RESTORED)

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


def one(db: Connection, query: str, *parameters: Any) -> Any:
    """The only value of the only row."""
    row = db.execute(query, parameters).fetchone()
    assert row is not None
    return row[0]
