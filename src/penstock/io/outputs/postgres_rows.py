"""The rows of one PostgreSQL table: a snapshot staged and put in its place, deltas. SQL only.

    pg_temp.__penstock_stage_g7(id, …)       generation 7 while it is staged, of this session only
    pg_temp.__penstock_diff_g7(id, …)        what differs, while it is published

    KeyedRows      join stage and target once, delete keys that are not staged, upsert rows that
                   differ
    CountedRows    without a key a row may be there several times: count the copies on both sides,
                   delete what is too many, insert what is missing

Both write only what differs, in the transaction of the caller, so readers are never blocked and
whatever hangs on the table stays: grants, comments, views, triggers, foreign keys. The stage has
the types of the target, so both compare alike, and no index: that keys do not repeat is asked of
the target, which has one. Deltas come as one array a column.

Not here: logs of changes (`postgres_log`), transactions (`postgres_output`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from penstock.data.batch import Batch
from penstock.data.gather import slice_batch, take
from penstock.data.types import Schema
from penstock.io.contracts import SinkRejected, StagingLost
from penstock.io.formats.joined import in_one, join
from penstock.io.outputs.changes import check_keys, copies, keyed_changes
from penstock.io.outputs.column_text import column_text, text_column
from penstock.io.outputs.identifiers import quoted
from penstock.io.outputs.postgres_table import PostgresTable, TargetColumn, one

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

#: rows of a delta that one statement takes; bounds its parameters
STATEMENT_ROWS = 50_000
#: the backslash first, as the others are written with one
_ESCAPES = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"), (b"\r", b"\\r"))
_WEIGHT = "__penstock_weight"
#: of what differs: the row is not staged; where it is in the target
_IS_GONE, _TABLE, _PLACE = "__penstock_is_gone", "__penstock_table", "__penstock_place"
#: and: the key is equal, but is not the same
_IS_RESPELT = "__penstock_is_respelt"
#: typnames of which equal values are the same, under a collation of bytes
_EXACT = frozenset(
    ("int2", "int4", "int8", "bool", "date", "time", "timestamp", "timestamptz", "uuid", "bytea",
     "text", "varchar")
)  # fmt: skip
Columns = Mapping[str, TargetColumn]


class PostgresRows(ABC):
    """Rows of `schema` in `table`, keyed by the columns at `key` or ()."""

    def __init__(self, table: PostgresTable, schema: Schema, key: tuple[int, ...]) -> None:
        self.table, self.schema, self.key = table, schema, key
        self.names, self.key_names = table.names, table.key_names
        self.key_text = ", ".join(self.key_names)
        self.listed = ", ".join(map(quoted, self.names))

    # the stage

    def stage_name(self, generation: int) -> str:
        return f"pg_temp.{quoted(f'__penstock_stage_g{generation}')}"

    def create_stage(self, db: Connection, generation: int) -> None:
        columns = self.table.columns(db)
        declared = self.table.declared
        if columns is not None:
            declared = ", ".join(f"{quoted(n)} {columns[n].type}" for n in self.names)
        name = quoted(f"__penstock_stage_g{generation}")
        db.execute(f"CREATE TEMP TABLE {name} ({declared})")

    def stage(self, db: Connection, generation: int, rows: Batch) -> int:
        """COPY `rows`; how many bytes that were."""
        if self.key:
            check_keys(rows.select(self.key), self.key_text)
        text = copy_text(copies(rows))
        into = f"COPY {self.stage_name(generation)} ({self.listed}) FROM STDIN"
        with db.cursor() as cursor, cursor.copy(into) as copy:
            copy.write(text)
        return len(text)

    def staged_rows(self, db: Connection, generation: int) -> int | None:
        """How many rows the stage of `generation` holds; None if there is none."""
        stage = self.stage_name(generation)
        if one(db, "SELECT to_regclass(%s) IS NULL", stage):
            return None
        return int(one(db, f"SELECT count(*) FROM {stage}"))

    def check_stage(self, db: Connection, generation: int) -> None:
        """Raise StagingLost if the target, which exists, has not the types any more that it was
        staged for. They stay as they are until the transaction ends."""
        db.execute(f"LOCK TABLE {self.table.target} IN ROW EXCLUSIVE MODE")
        columns = self.table.columns(db) or {}
        stage = one(db, "SELECT to_regclass(%s)::oid", self.stage_name(generation))
        for name, staged in self.table.columns_of(db, stage).items():
            if columns[name].type != staged.type:
                raise StagingLost(
                    f"column '{name}' is {columns[name].type} now and was {staged.type}: the "
                    "snapshot begins anew"
                )

    def drop_stage(self, db: Connection, generation: int) -> None:
        db.execute(f"DROP TABLE IF EXISTS {self.stage_name(generation)}")

    @abstractmethod
    def replace(self, db: Connection, generation: int) -> None:
        """Make the target, which exists and fits, what is staged. Raises SinkRejected if a key is
        staged twice."""

    def check_unique(self, db: Connection, generation: int) -> None:
        """Raise SinkRejected if a key is staged twice."""
        keys = ", ".join(map(quoted, self.key_names))
        stage = self.stage_name(generation)
        twice = f"SELECT FROM {stage} GROUP BY {keys} HAVING count(*) > 1"
        if self.key and one(db, f"SELECT EXISTS ({twice})"):
            raise SinkRejected(
                f"index ({self.key_text}) is not unique in the view: a key belongs to several "
                "rows; add columns to the index, or aggregate in the view"
            )

    @abstractmethod
    def apply(self, db: Connection, columns: Columns, rows: Batch, generation: int) -> None:
        """Apply a delta."""


class MirroredRows(PostgresRows):
    """A target that is equal to the view."""

    def replace(self, db: Connection, generation: int) -> None:
        stage, target = self.stage_name(generation), self.table.target
        if one(db, f"SELECT EXISTS (SELECT FROM {target})"):
            self._mend(db, generation)
        else:
            rows = f"SELECT {self.listed} FROM {stage} {self._in_order}"
            with self._repetitions(db, generation):
                db.execute(f"INSERT INTO {target} ({self.listed}) {rows}")

    @property
    def _in_order(self) -> str:
        """A tree of keys takes neighbours in a third of the time."""
        return f"ORDER BY {', '.join(map(quoted, self.key_names))}" if self.key else ""

    @contextmanager
    def _repetitions(self, db: Connection, generation: int) -> Iterator[None]:
        """Say it in the view's terms if the target takes no rows for their keys."""
        from psycopg.errors import CardinalityViolation, UniqueViolation

        try:
            with db.transaction():
                yield
        except (CardinalityViolation, UniqueViolation):
            self.check_unique(db, generation)
            raise

    @abstractmethod
    def _mend(self, db: Connection, generation: int) -> None:
        """`replace`, where the target has rows."""


class KeyedRows(MirroredRows):
    def __init__(self, table: PostgresTable, schema: Schema, key: tuple[int, ...]) -> None:
        super().__init__(table, schema, key)
        self._on_keys = " AND ".join(f"s.{quoted(k)} = t.{quoted(k)}" for k in self.key_names)
        self._others = [n for n in self.names if n not in self.key_names]

    def _on_conflict(self, names: Sequence[str]) -> str:
        """Overwrite these columns of the row that has the key."""
        updates = ", ".join(f"{quoted(n)} = EXCLUDED.{quoted(n)}" for n in names)
        keys = ", ".join(map(quoted, self.key_names))
        return f"ON CONFLICT ({keys}) DO {f'UPDATE SET {updates}' if updates else 'NOTHING'}"

    def _mend(self, db: Connection, generation: int) -> None:
        stage, target = self.stage_name(generation), self.table.target
        differing = quoted(f"__penstock_diff_g{generation}")
        db.execute(f"ANALYZE {stage} ({', '.join(map(quoted, self.key_names))})")
        here = [f"s.{quoted(n)}" for n in self.names]
        columns = self.table.columns(db) or {}
        odd_keys = [columns[k] for k in self.key_names if told_apart(columns[k], "s")]
        others = [columns[n] for n in self._others]
        respelt = " OR ".join(map(differs, odd_keys)) or "false"
        differ = " OR ".join(map(differs, [*odd_keys, *others])) or "false"
        # by its place, as a column of a unique constraint may be NULL in a row that is no one's
        db.execute(
            f"CREATE TEMP TABLE {differing} ON COMMIT DROP AS SELECT {', '.join(here)}, "
            f"s.ctid IS NULL AS {_IS_GONE}, t.tableoid AS {_TABLE}, t.ctid AS {_PLACE}, "
            f"s.ctid IS NOT NULL AND t.ctid IS NOT NULL AND ({respelt}) AS {_IS_RESPELT} "
            f"FROM {stage} s FULL JOIN {target} t ON {self._on_keys} "
            f"WHERE s.ctid IS NULL OR t.ctid IS NULL OR {differ}"
        )
        db.execute(f"ANALYZE {differing}")
        db.execute(
            f"DELETE FROM {target} WHERE (tableoid, ctid) IN "
            f"(SELECT {_TABLE}, {_PLACE} FROM {differing} WHERE {_IS_GONE})"
        )
        come = f"SELECT {self.listed} FROM {differing} WHERE NOT {_IS_GONE} {self._in_order}"
        # only where it must be: a key that is set locks out those who refer to the row
        is_respelt = one(db, f"SELECT EXISTS (SELECT FROM {differing} WHERE {_IS_RESPELT})")
        on_conflict = self._on_conflict(self.names if is_respelt else self._others)
        with self._repetitions(db, generation):
            self._write(
                db,
                lambda: db.execute(f"INSERT INTO {target} ({self.listed}) {come} {on_conflict}"),
                [(f"({come}) AS s", ())],
            )
        # of two rows with one key the target may have had the one already
        if self.staged_rows(db, generation) != one(db, f"SELECT count(*) FROM {target}"):
            self.check_unique(db, generation)

    def apply(self, db: Connection, columns: Columns, rows: Batch, generation: int) -> None:
        upserts, deletes = keyed_changes(rows, self.key, self.key_text)
        types = {n: columns[n].base for n in self.names}
        keys = ", ".join(map(quoted, self.key_names))
        touched = f"{arrays(types, self.key_names)} AS s({keys})"
        for piece in pieces(deletes):
            db.execute(
                f"DELETE FROM {self.table.target} t USING {touched} WHERE {self._on_keys}",
                [column_text(c) for c in piece.columns],
            )

        on_conflict = self._on_conflict(self._others)

        def upsert() -> None:
            for piece in pieces(upserts):
                db.execute(
                    f"INSERT INTO {self.table.target} ({self.listed}) "
                    f"SELECT * FROM {arrays(types, self.names)} {on_conflict}",
                    [column_text(c) for c in piece.columns],
                )

        overwritten = [
            (touched, [column_text(c) for c in piece.select(self.key).columns])
            for piece in pieces(upserts)
        ]
        self._write(db, upsert, overwritten)

    def _write(
        self,
        db: Connection,
        upsert: Callable[[], Any],
        overwritten: list[tuple[str, Any]],
    ) -> None:
        """Run `upsert`. Values that change places between rows collide on the way in a UNIQUE
        constraint of the target's own; then the rows that are overwritten (SQL for relations `s`
        with their keys, and its parameters) let go of theirs first."""
        from psycopg.errors import ExclusionViolation, UniqueViolation

        try:
            with db.transaction():
                upsert()
        except (UniqueViolation, ExclusionViolation):
            self._let_go(db, overwritten)
            upsert()

    def _let_go(self, db: Connection, overwritten: list[tuple[str, Any]]) -> None:
        # those that can be deferred are checked at the end
        db.execute("SET CONSTRAINTS ALL DEFERRED")
        emptied: set[str] = set()
        for columns, nullable in db.execute(_OTHER_KEYS, {"oid": self.table.oid(db)}).fetchall():
            if set(columns or ()) == set(self.key_names):
                continue
            free = [n for n in nullable or () if n in self._others]
            if not free:
                break
            emptied.add(free[0])
        else:
            sets = ", ".join(f"{quoted(n)} = NULL" for n in sorted(emptied))
            if sets:
                for source, parameters in overwritten:
                    db.execute(
                        f"UPDATE {self.table.target} t SET {sets} FROM {source} "
                        f"WHERE {self._on_keys}",
                        parameters,
                    )
            return
        if one(db, _IS_REFERENCED, self.table.oid(db)):
            raise self.table.unfit(
                "has a UNIQUE constraint whose values have to change places, cannot be NULL "
                "meanwhile, and has rows of other tables that refer to it: make the constraint "
                "DEFERRABLE"
            )
        for source, parameters in overwritten:
            db.execute(
                f"DELETE FROM {self.table.target} t USING {source} WHERE {self._on_keys}",
                parameters,
            )


class CountedRows(MirroredRows):
    def _mend(self, db: Connection, generation: int) -> None:
        stage, difference = self.stage_name(generation), f"__penstock_diff_g{generation}"
        columns = self.table.columns(db) or {}
        odd = [columns[n] for n in self.names if told_apart(columns[n], "u")]
        grouped = ", ".join([self.listed, *_all_told_apart(odd, "u")])
        db.execute(
            f"CREATE TEMP TABLE {difference} ON COMMIT DROP AS "
            f"SELECT {self.listed}, sum({_WEIGHT})::bigint AS {_WEIGHT} FROM ("
            f"SELECT {self.listed}, 1 AS {_WEIGHT} FROM {stage} UNION ALL "
            f"SELECT {self.listed}, -1 FROM {self.table.target}) u "
            f"GROUP BY {grouped} HAVING sum({_WEIGHT}) <> 0"
        )
        db.execute(f"ANALYZE {difference}")
        gone = f"(SELECT * FROM {difference} WHERE {_WEIGHT} < 0) AS s"
        self._delete(db, gone, (), odd)
        db.execute(
            f"INSERT INTO {self.table.target} ({self.listed}) SELECT {self.listed} "
            f"FROM {difference}, generate_series(1, {_WEIGHT})"
        )

    def apply(self, db: Connection, columns: Columns, rows: Batch, generation: int) -> None:
        types = {n: columns[n].base for n in self.names}
        source = f"{arrays(types, self.names, '%s::bigint[]')} AS s({self.listed}, {_WEIGHT})"
        for piece in pieces(take(rows, np.flatnonzero(rows.weights < 0))):
            parameters = [*(column_text(c) for c in piece.columns), piece.weights.tolist()]
            self._delete(db, source, parameters)
        for piece in pieces(copies(take(rows, np.flatnonzero(rows.weights > 0)))):
            db.execute(
                f"INSERT INTO {self.table.target} ({self.listed}) "
                f"SELECT * FROM {arrays(types, self.names)}",
                [column_text(c) for c in piece.columns],
            )

    def _delete(
        self,
        db: Connection,
        source: str,
        parameters: Any,
        odd: Sequence[TargetColumn] = (),
    ) -> None:
        """Delete as many copies of each row of `source` as its weight, which is negative, says;
        `odd`: columns of which equal values need not be the same.

        Rows are found by a hash of the whole row, which the planner can join by, and compared."""
        columns = [quoted(n) for n in self.names]
        hashes = [f"hash_record(ROW({', '.join(f'{r}.{n}' for n in columns)}))" for r in "ts"]
        equal = " AND ".join(f"t.{n} IS NOT DISTINCT FROM s.{n}" for n in columns)
        both = zip(_all_told_apart(odd, "t"), _all_told_apart(odd, "s"), strict=True)
        more = "".join(f" AND {t} IS NOT DISTINCT FROM {s}" for t, s in both)
        partition = ", ".join([*(f"t.{n}" for n in columns), *_all_told_apart(odd, "t")])
        db.execute(
            f"DELETE FROM {self.table.target} WHERE (tableoid, ctid) IN (SELECT o, c FROM ("
            f"SELECT t.tableoid AS o, t.ctid AS c, s.{_WEIGHT} AS w, "
            f"row_number() OVER (PARTITION BY {partition}) AS n "
            f"FROM {self.table.target} t JOIN {source} "
            f"ON {' = '.join(hashes)} AND {equal}{more}) x "
            "WHERE n <= -w)",
            parameters,
        )


#: of each unique index that is checked at once, and each exclusion: its columns if it has only
#: plain ones, and those of them that may be NULL if NULLs do not collide in it
_OTHER_KEYS = """
SELECT CASE WHEN i.indexprs IS NULL AND i.indpred IS NULL AND i.indisunique
            THEN array_agg(a.attname::text) END,
       CASE WHEN NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false)
            THEN array_agg(a.attname::text) FILTER (WHERE NOT a.attnotnull) END
FROM pg_index i LEFT JOIN pg_attribute a
     ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
WHERE i.indrelid = %(oid)s AND (i.indisunique OR i.indisexclusion) AND i.indimmediate
GROUP BY i.indexrelid, i.indexprs, i.indpred, i.indisunique, to_jsonb(i)
"""
_IS_REFERENCED = """
SELECT EXISTS (SELECT FROM pg_constraint WHERE contype = 'f' AND confrelid = %s)
"""


def told_apart(column: TargetColumn, of: str) -> str | None:
    """What of the column of relation `of` tells apart values that are equal and not the same: -0
    and 0, 1.5 and 1.50, 'a' and 'A' of citext. None if there are none. Next to no time for numbers,
    of which there are many."""
    value = f"{of}.{quoted(column.name)}"
    if column.typname in _EXACT or (column.typname == "numeric" and column.typmod >= 0):
        return None
    if column.typname in ("float4", "float8"):
        return f"({value} = 0 AND {value}::text = '-0')"
    return f"scale({value})" if column.typname == "numeric" else f'{value}::text COLLATE "C"'


def _all_told_apart(columns: Sequence[TargetColumn], of: str) -> list[str]:
    return [text for c in columns if (text := told_apart(c, of)) is not None]


def differs(column: TargetColumn) -> str:
    """Whether the column's values in relations `s` and `t` are not the same."""
    collate = ' COLLATE "C"' if column.typname in ("text", "varchar") else ""
    name = quoted(column.name)
    differ = f"s.{name}{collate} IS DISTINCT FROM t.{name}{collate}"
    if column.typname in ("float4", "float8"):
        return f"{differ} OR (s.{name} = 0 AND s.{name}::text IS DISTINCT FROM t.{name}::text)"
    more = told_apart(column, "s"), told_apart(column, "t")
    return differ if None in more else f"{differ} OR {more[0]} IS DISTINCT FROM {more[1]}"


def arrays(types: Mapping[str, str], names: tuple[str, ...], more: str = "") -> str:
    """The parameters, one array of texts a column, as a table."""
    parts = [f"%s::text[]::{types[n]}[]" for n in names] + ([more] if more else [])
    return f"unnest({', '.join(parts)})"


def pieces(rows: Batch) -> Iterator[Batch]:
    for start in range(0, len(rows), STATEMENT_ROWS):
        yield slice_batch(rows, start, min(start + STATEMENT_ROWS, len(rows)))


def copy_text(rows: Batch) -> bytes:
    """The rows in COPY's text format; weights are ignored."""
    columns = []
    for column in rows.columns:
        texts = text_column(column)
        if column.type.is_view:
            for plain, escaped in _ESCAPES:
                if plain in in_one(texts):
                    texts = pc.replace_substring(texts, plain, escaped)
        columns.append(texts.fill_null("\\N"))
    between = ["", *["\t"] * (len(columns) - 1), "\n"] if columns else ["\n"]
    return in_one(join(columns, between, len(rows)))
