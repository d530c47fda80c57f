"""postgres_output: a view as a table of a PostgreSQL database, or as the log of its changes in one.

    uri     where, e.g. postgresql://user@host/database?sslmode=verify-full
    table   [schema.]table; created if absent; keyed by the connector's index if it has one
    mode    materialized (default): the table is the view; cdc: rows are only added (`postgres_log`)
    cdc_op_column, cdc_ts_column                                                      names in a log
    ssl_…, verify_hostname                                                 TLS (`postgres_tls`)

    stage, chunk by chunk ──COPY──► a temporary table of this session
    publish, one transaction ──► the rows that differ (`postgres_rows`), or a reset row and all rows
                                 (`postgres_log`); marker

Guarantee: atomic; marked in mode cdc. Readers see the old rows until the publishing transaction
commits and are never blocked. The target is never truncated, dropped or renamed, so its grants,
comments, indexes, triggers, views and the foreign keys that point to it stay (reset.md section 4
would swap a shadow table by its name where there is no key; that loses all of these and waits for
every reader, so the copies of each row are counted instead).

Every transaction that writes or asks for the marker first takes an advisory lock that is the
target's own, so fencing and writing are one: a commit whose reply was lost is waited for, not
guessed.

Cost: staging is one COPY a chunk; publishing reads the table twice and writes what differs; a delta
is two statements, of which a deletion without a key reads the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from penstock.data.batch import Batch
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
from penstock.io.formats.options import TRANSPORT_ERROR, Options
from penstock.io.outputs.fencing import (
    LastSeen,
    Staging,
    check_complete,
    check_fence,
    check_owner,
    is_applied,
    staging_of,
)
from penstock.io.outputs.identifiers import table_name
from penstock.io.outputs.postgres_log import GENERATION, LoggedRows
from penstock.io.outputs.postgres_reader import PostgresReader
from penstock.io.outputs.postgres_rows import CountedRows, KeyedRows, PostgresRows
from penstock.io.outputs.postgres_table import PostgresTable
from penstock.io.outputs.postgres_tls import PostgresTls

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

#: unless the URI says otherwise: a lost network is noticed in seconds, not in hours
_CONNECTION = {"connect_timeout": "10", "tcp_user_timeout": "30000", "keepalives_idle": "10"}
_SESSION = (
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '60s'",
    "SET standard_conforming_strings = on",
    "SET datestyle = 'ISO'",
    "SET timezone = 'UTC'",
)
#: SQLSTATE classes and codes that a retry may mend: connection, rollback, resources, operator
#: intervention, system; lock timeout, read-only (a standby), a table that vanished meanwhile
_PASSING = ("08", "40", "53", "57", "58", "55P03", "25006", "42P01")
#: what can never be right about the statements themselves is our own mistake
_OURS = ("42601", "42P02", "42883", "42804")


class PostgresSink(Sink):
    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        self._psycopg = _driver()
        o = Options.of("postgres_output", TRANSPORT_ERROR, context.config)
        self._conninfo = self._connection_parameters(o)
        self._tls = PostgresTls.of(o)
        try:
            name = table_name(o.required_text("table"))
        except ValueError:
            raise o.fail("table", "must be a table or schema.table, quoted as in SQL") from None
        if name[1].startswith("__penstock_"):
            raise o.fail("table", "must not begin as the names of internal tables do")
        is_log = o.choice("mode", "materialized", ("materialized", "cdc")) == "cdc"
        op = o.text("cdc_op_column", "__feldera_op")
        ts = o.text("cdc_ts_column", "__feldera_ts")
        if o.raw("extra_columns", []):
            raise o.fail("extra_columns", "is not supported: give such columns a DEFAULT instead")
        if o.boolean("on_conflict_do_nothing", False):
            raise o.fail("on_conflict_do_nothing", "would keep rows that the view has not: omit it")
        # hints about batching, which this sink does in its own way
        for hint, least in (
            ("threads", 1),
            ("max_records_in_buffer", 1),
            ("max_buffer_size_bytes", 1),
        ):
            o.integer(hint, least, least=least)
        o.done()
        log = {op: "text", ts: "bigint", GENERATION: "bigint"} if is_log else None
        self._table = PostgresTable(name, context.schema, context.key, log)
        self._is_log = is_log
        self._rows: PostgresRows
        if is_log:
            self._rows = LoggedRows(self._table, context.schema, context.key, op, ts)
        else:
            kind = KeyedRows if context.key else CountedRows
            self._rows = kind(self._table, context.schema, context.key)
        self._where = f"table '{name[1]}'"
        self._db: Connection | None = None
        self._staging: Staging | None = None
        self._last_seen = LastSeen()
        self._bytes = 0

    def _connection_parameters(self, o: Options) -> dict[str, Any]:
        from psycopg.conninfo import conninfo_to_dict

        try:
            given = conninfo_to_dict(o.required_text("uri"))
        except self._psycopg.ProgrammingError:
            # not the text itself: it may hold a password
            raise o.fail("uri", "is not a PostgreSQL connection URI", is_private=True) from None
        name = f"penstock {self.context.view}.{self.context.connector}"
        return {"application_name": name, **_CONNECTION, **given}

    @property
    def capabilities(self) -> Capabilities:
        if self._is_log:
            return Capabilities(guarantee="marked", stores_marker=True, is_log=True)
        return Capabilities(guarantee="atomic", stores_marker=True, can_diff=True)

    # connecting

    def open(self) -> None:
        self.close()
        with self._errors("open"):
            self._db = self._connected()
            for setting in _SESSION:
                self._db.execute(setting)
            self._table.locate(self._db)

    def _connected(self) -> Connection:
        with self._tls.parameters() as tls:
            given = {**self._conninfo, **tls}
            try:
                db: Connection = self._psycopg.connect(
                    **given, autocommit=True, client_encoding="utf8"
                )
            except self._psycopg.OperationalError as e:
                raise self._psycopg.OperationalError(self._tls.explained(str(e), tls)) from e
        return db

    def validate(self) -> None:
        with self._errors("validate"):
            db = self._connection()
            row = db.execute("SHOW transaction_read_only").fetchone()
            if row is not None and row[0] == "on":
                raise SinkUnavailable("postgres_output: the server is read-only (a standby?)")
            self._table.columns(db)
            self._table.check_privileges(db)
            check_owner(self._table.read_marker(db), self.context, self._where)

    def marker(self) -> Marker | None:
        # after whoever is writing: a commit whose reply was lost may still be on its way
        with self._writing("marker") as db:
            return self._last_seen.found(self._table.read_marker(db))

    # a snapshot

    def begin_diff(self, generation: int, token: str, step: int) -> None:
        if self._is_log:
            super().begin_diff(generation, token, step)
        self.begin(generation, token, step)  # a publish writes only what differs in any case

    def begin(self, generation: int, token: str, step: int) -> None:
        with self._errors("begin"), self._connection().transaction():
            db = self._connection()
            check_owner(self._table.read_marker(db), self.context, self._where)
            if self._staging is not None:
                self._rows.drop_stage(db, self._staging.generation)
            self._rows.drop_stage(db, generation)
            self._rows.create_stage(db, generation)
        self._staging = Staging(generation)

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        with self._errors("stage"):
            sent = self._rows.stage(self._connection(), generation, rows)
        staging.took(int(rows.weights.sum()))
        self._bytes += sent

    def publish(self, generation: int, marker: Marker) -> None:
        with self._writing("publish") as db:
            stored = self._table.read_marker(db)
            check_owner(stored, self.context, self._where)
            if check_fence(stored, marker, self._where) and self._staging is None:
                return
            staging_of(self._staging, generation)
            staged = self._rows.staged_rows(db, generation)
            if staged is None:
                raise StagingLost(f"the stage of generation {generation} is gone: begin again")
            check_complete(generation, staged, marker)
            self._table.create(db)
            self._rows.check_stage(db, generation)
            self._rows.replace(db, generation)
            self._rows.drop_stage(db, generation)
            self._table.write_marker(db, marker)
        self._last_seen.saw(marker)
        self._staging = None

    def abort(self, generation: int) -> None:
        with self._errors("abort"):
            self._rows.drop_stage(self._connection(), generation)
        self._staging = None

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        with self._writing("apply") as db:
            stored = self._table.read_marker(db)
            check_owner(stored, self.context, self._where)
            self._last_seen.check(stored, self._where)
            if is_applied(stored, marker, self._where):
                return
            self._rows.apply(db, self._table.create(db), rows, marker.generation)
            self._table.write_marker(db, marker)
        self._last_seen.saw(marker)
        self._bytes += sum(c.values.nbytes for c in rows.columns)

    # reading back

    def read(self) -> Contents:
        shown = self._rows.shown if isinstance(self._rows, LoggedRows) else None
        with self._errors("read"):
            reader = PostgresReader(self._table, self.context.schema, self._connection(), shown)
        return Contents(
            schema=reader.schema,
            key=self.context.key,
            rows=self._guarded(reader.rows()),
            spell=reader.spell,
        )

    def _guarded(self, pieces: Iterator[Batch]) -> Iterator[Batch]:
        with self._errors("read"):
            yield from pieces

    def privileges(self) -> Sequence[str]:
        with self._errors("privileges"):
            return [grant for grant, _ in self._table.grants(self._connection())]

    def transmitted_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """What was staged goes with the session."""
        if self._db is not None:
            self._db.close()
        self._db, self._staging = None, None

    # transactions and failures

    def _connection(self) -> Connection:
        if self._db is None:
            raise SinkUnavailable("postgres_output: not connected")
        return self._db

    @contextmanager
    def _writing(self, call: str) -> Iterator[Connection]:
        """One transaction that is the only writer of the target; errors roll it back."""
        with self._errors(call):
            db = self._connection()
            with db.transaction():
                self._table.lock(db)
                yield db

    @contextmanager
    def _errors(self, call: str) -> Iterator[None]:
        try:
            yield
        except self._psycopg.Error as e:
            state = e.sqlstate or ""
            message = f"postgres_output: {call} of {self._where}: {str(e).strip()}"
            is_lost = isinstance(e, (self._psycopg.OperationalError, self._psycopg.InterfaceError))
            if state.startswith(_PASSING) or (is_lost and not state.startswith("54")):
                raise SinkUnavailable(message) from e
            if state.startswith(_OURS):
                raise
            raise SinkRejected(message) from e


def _driver() -> Any:
    """psycopg, which only those who write to PostgreSQL need to have."""
    try:
        import psycopg
    except ImportError as e:
        raise SinkRejected(
            "postgres_output needs the PostgreSQL driver: pip install 'penstock[postgres]'",
            code=TRANSPORT_ERROR,
        ) from e
    return psycopg
