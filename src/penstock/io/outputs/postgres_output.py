"""postgres_output: a view as a table of a PostgreSQL database, keyed by the connector's index.

    uri     where, e.g. postgresql://user@host/database?sslmode=verify-full
    table   [schema.]table; created if absent
    ssl_ca_location, ssl_client_location, ssl_client_key_location, verify_hostname    TLS files

    stage, chunk by chunk ──COPY──► a temporary table of this session
    publish, one transaction ──► delete keys not staged, upsert rows that differ, marker

Guarantee: atomic. Readers see the old rows until the publishing transaction commits and are never
blocked. The target is never truncated, dropped or renamed, so its grants, indexes, triggers,
views and the foreign keys that point to it stay (reset.md section 4).

Every writing transaction first takes an advisory lock that is the target's own, then reads the
marker, so fencing and writing are one: a commit whose reply was lost is waited for, not guessed.

Cost: staging is one COPY a chunk; publishing reads the table once and writes what differs; a
delta is two statements.

Not here: mode cdc (it cannot be reset, so it is refused by name).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from penstock.data.batch import Batch
from penstock.data.gather import slice_batch
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
from penstock.io.outputs.changes import check_keys, keyed_changes
from penstock.io.outputs.fencing import (
    Staging,
    check_complete,
    check_fence,
    check_owner,
    is_applied,
    staging_of,
)
from penstock.io.outputs.identifiers import table_name
from penstock.io.outputs.postgres_reader import PostgresReader
from penstock.io.outputs.postgres_table import PostgresTable

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

#: rows of a delta that one statement takes; bounds its parameters
STATEMENT_ROWS = 50_000
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
        try:
            name = table_name(o.required_text("table"))
        except ValueError:
            raise o.fail("table", "must be a table or schema.table, quoted as in SQL") from None
        if name[1].startswith("__penstock_"):
            raise o.fail("table", "must not begin as the names of internal tables do")
        if o.text("mode", "materialized") != "materialized":
            raise o.fail(
                "mode", "can only be 'materialized': a cdc log is appended to and cannot be reset"
            )
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
        if not context.key:
            raise SinkRejected(
                f"connector '{context.connector}': postgres_output needs a unique key: CREATE "
                f'INDEX an_index ON {context.view} (…) and give the connector "index": "an_index"',
                code=TRANSPORT_ERROR,
            )
        self._table = PostgresTable(name, context.schema, context.key)
        self._key_text = ", ".join(self._table.key_names)
        self._where = f"table '{name[1]}'"
        self._db: Connection | None = None
        self._staging: Staging | None = None
        self._bytes = 0

    def _connection_parameters(self, o: Options) -> dict[str, Any]:
        from psycopg.conninfo import conninfo_to_dict

        try:
            given = conninfo_to_dict(o.required_text("uri"))
        except self._psycopg.ProgrammingError:
            # not the text itself: it may hold a password
            raise o.fail("uri", "is not a PostgreSQL connection URI") from None
        if ca := o.text("ssl_ca_location", ""):
            is_full = o.boolean("verify_hostname", True)
            given |= {"sslrootcert": ca, "sslmode": "verify-full" if is_full else "verify-ca"}
        if certificate := o.text("ssl_client_location", ""):
            given["sslcert"] = certificate
        if key := o.text("ssl_client_key_location", ""):
            given["sslkey"] = key
        name = f"penstock {self.context.view}.{self.context.connector}"
        return {"application_name": name, **_CONNECTION, **given}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="atomic", stores_marker=True, needs_index=True, can_diff=True)

    # connecting

    def open(self) -> None:
        self.close()
        with self._errors("open"):
            self._db = self._psycopg.connect(
                **self._conninfo, autocommit=True, client_encoding="utf8"
            )
            for setting in _SESSION:
                self._db.execute(setting)
            self._table.locate(self._db)

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
        with self._errors("marker"):
            return self._table.read_marker(self._connection())

    # a snapshot

    def begin_diff(self, generation: int, token: str, step: int) -> None:
        self.begin(generation, token, step)  # a publish writes only what differs in any case

    def begin(self, generation: int, token: str, step: int) -> None:
        with self._errors("begin"), self._connection().transaction():
            db = self._connection()
            check_owner(self._table.read_marker(db), self.context, self._where)
            if self._staging is not None:
                self._table.drop_stage(db, self._staging.generation)
            self._table.drop_stage(db, generation)
            self._table.create_stage(db, generation)
        self._staging = Staging(generation)

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        check_keys(rows.select(self.context.key), self._key_text)
        with self._errors("stage"):
            try:
                sent = self._table.copy_into_stage(self._connection(), generation, rows)
            except self._psycopg.errors.UniqueViolation as e:
                raise SinkRejected(
                    f"index ({self._key_text}) is not unique in the view: a key belongs to "
                    "several rows; add columns to the index, or aggregate in the view"
                ) from e
        staging.took(len(rows))
        self._bytes += sent

    def publish(self, generation: int, marker: Marker) -> None:
        with self._writing("publish") as db:
            stored = self._table.read_marker(db)
            check_owner(stored, self.context, self._where)
            if check_fence(stored, marker, self._where) and self._staging is None:
                return
            staging_of(self._staging, generation)
            staged = self._table.staged_rows(db, generation)
            if staged is None:
                raise StagingLost(f"the stage of generation {generation} is gone: begin again")
            check_complete(generation, staged, marker)
            self._table.create(db)
            self._table.replace_from_stage(db, generation)
            self._table.drop_stage(db, generation)
            self._table.write_marker(db, marker)
        self._staging = None

    def abort(self, generation: int) -> None:
        with self._errors("abort"):
            self._table.drop_stage(self._connection(), generation)
        self._staging = None

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        upserts, deletes = keyed_changes(rows, self.context.key, self._key_text)
        with self._writing("apply") as db:
            stored = self._table.read_marker(db)
            check_owner(stored, self.context, self._where)
            if is_applied(stored, marker, self._where):
                return
            types = self._table.create(db)
            for piece in _pieces(deletes):
                self._table.delete(db, types, piece)
            for piece in _pieces(upserts):
                self._table.upsert(db, types, piece)
            self._table.write_marker(db, marker)
        self._bytes += sum(c.values.nbytes for c in rows.columns)

    # reading back

    def read(self) -> Contents:
        with self._errors("read"):
            reader = PostgresReader(self._table, self.context.schema, self._connection())
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


def _pieces(rows: Batch) -> Iterator[Batch]:
    for start in range(0, len(rows), STATEMENT_ROWS):
        yield slice_batch(rows, start, min(start + STATEMENT_ROWS, len(rows)))
