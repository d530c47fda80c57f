"""What is particular to postgres_output: what stays, what is refused, types, a server that dies."""

from __future__ import annotations

import datetime
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from penstock.data import types as T
from penstock.data.build import batch_from_rows
from penstock.errors import UserError
from penstock.io.contracts import SinkContext, SinkRejected, SinkUnavailable, StagingLost
from penstock.io.outputs import postgres_output, postgres_rows
from penstock.io.outputs.postgres_output import PostgresSink
from tests.contract.target import Rows
from tests.contract.targets import PostgresTarget
from tests.contract.test_sinks import batch, marker, reset, row, rows
from tests.servers import PostgresServer, running_postgres


class PlainTarget(PostgresTarget):
    """In a database of its own."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.uri, self.table = server.new_database(), "app.t"
        self.run("CREATE SCHEMA app")

    def as_user(self, name: str) -> str:
        """The URI for a new login without any privileges."""
        database = self.uri.rsplit("/", 1)[1]
        self.run(f"CREATE ROLE {name} LOGIN")
        return self.server.uri(database, name)


@pytest.fixture
def target(postgres: PostgresServer) -> PlainTarget:
    return PlainTarget(postgres)


MADE = (
    "CREATE TABLE app.t (note text DEFAULT 'kept', x float8, b bool, d date, n numeric, v text,"
    " k bigint UNIQUE NOT NULL)"
)


def test_whatever_hangs_on_the_table_stays(target: PlainTarget) -> None:
    target.as_user("reader")
    target.run(MADE)
    target.run(
        "CREATE INDEX by_v ON app.t (v); GRANT SELECT ON app.t TO reader;"
        "CREATE VIEW app.over AS SELECT count(*) AS n FROM app.t;"
        "CREATE TABLE app.child (k bigint REFERENCES app.t (k) ON DELETE CASCADE);"
        "INSERT INTO app.t (k, v) VALUES (1, 'old'), (9, 'gone');"
        "INSERT INTO app.child VALUES (1), (9)"
    )
    facts = (
        "SELECT c.oid, c.relfilenode, c.relacl::text, (SELECT array_agg(indexrelid ORDER BY 1) "
        "FROM pg_index WHERE indrelid = c.oid) FROM pg_class c WHERE c.oid = 'app.t'::regclass"
    )
    before = target.run(facts)
    sink = target.sink()
    sink.validate()
    reset(sink, rows(1, 2, 3), 1)
    sink.apply(batch((rows(3), -1), (rows(4), 1)), marker(1, 2, 3))
    sink.close()

    assert target.run(facts) == before
    assert target.run("SELECT n FROM app.over") == [(3,)]
    assert target.run("SELECT k FROM app.child") == [(1,)]
    assert target.run("SELECT k, v, note FROM app.t ORDER BY k") == [
        (1, "a", "kept"), (2, "a", "kept"), (4, "a", "kept"),
    ]  # fmt: skip


def test_rows_that_are_right_already_are_not_written(target: PlainTarget) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2, 3), 1)
    where = "SELECT k, ctid::text, xmin::text FROM app.t WHERE k <> 2 ORDER BY k"
    before = target.run(where)
    target.run("UPDATE app.t SET x = NULL WHERE k = 2")
    reset(sink, rows(1, 2, 3), 2)

    assert target.run(where) == before
    assert target.look() == rows(1, 2, 3)
    sink.close()


@pytest.mark.parametrize("before", [rows(), rows(1), rows(1, v="b"), rows(2)])
@pytest.mark.parametrize("mode", ["materialized", "cdc"])
def test_a_key_that_comes_twice_is_refused_whatever_the_target_had(
    target: PlainTarget, before: Rows, mode: str
) -> None:
    sink = target.sink(config={**target.config(), "mode": mode})
    reset(sink, before, 1)
    had = target.run("SELECT * FROM app.t ORDER BY 1, 2")
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(1), 1)))
    sink.stage(2, 1, batch((rows(1, v="b"), 1)))
    with pytest.raises(SinkRejected, match=r"index \(k\) is not unique"):
        sink.publish(2, marker(2, 2, 2))

    assert target.run("SELECT * FROM app.t ORDER BY 1, 2") == had
    assert sink.marker() == marker(1, 1, before.total())
    sink.close()


@pytest.mark.parametrize("index", ["k", None])
def test_values_that_the_database_takes_for_equal_are_put_right_too(
    target: PlainTarget, index: str | None
) -> None:
    key = "" if index is None else "UNIQUE NOT NULL"
    target.run(f"CREATE TABLE app.t (k numeric {key}, v text, n numeric, d date, b bool, x float8)")
    sink = target.sink(key=() if index is None else (0,))
    reset(sink, rows(0, 4, 8), 1)
    found = "SELECT k::text, n::text, x::text FROM app.t ORDER BY k"
    right = target.run(found)
    target.run("UPDATE app.t SET n = n + 0.000, x = -x, k = k + 0.0 WHERE k < 8")
    assert target.run(found) != right
    reset(sink, rows(0, 4, 8), 2)

    assert target.run(found) == right
    sink.close()


@pytest.mark.parametrize("column", ["k", "n"])
@pytest.mark.parametrize("index", ["k", None])
def test_a_column_that_is_altered_while_a_snapshot_is_staged_has_it_staged_anew(
    target: PlainTarget, column: str, index: str | None
) -> None:
    sink = target.sink(key=() if index is None else (0,))
    reset(sink, rows(1, 2, 3), 1)
    sink.begin(2, "token-2", 5)
    sink.stage(2, 0, batch((rows(2, 3, 4), 1)))
    target.run(f"ALTER TABLE app.t ALTER COLUMN {column} TYPE text")
    with pytest.raises(StagingLost, match=f"column '{column}' is text now"):
        sink.publish(2, marker(2, 5, 3))
    kept = target.run("SELECT k::int FROM app.t ORDER BY k")
    reset(sink, rows(2, 3, 4), 2, step=5)

    assert kept == [(1,), (2,), (3,)]
    assert target.run("SELECT k::int FROM app.t ORDER BY k") == [(2,), (3,), (4,)]
    sink.apply(batch((rows(2), -1), (rows(5), 1)), marker(2, 6, 3))
    assert target.run("SELECT k::int FROM app.t ORDER BY k") == [(3,), (4,), (5,)]
    sink.close()


def test_rows_of_others_whose_key_is_null_go_with_a_reset(target: PlainTarget) -> None:
    target.run(MADE.replace(" NOT NULL", ""))
    target.run("INSERT INTO app.t (k, v) VALUES (NULL, 'x'), (NULL, 'y'), (3, 'a')")
    sink = target.sink()
    reset(sink, rows(1, 2), 1)

    assert target.look() == rows(1, 2)
    sink.close()


def test_a_row_that_another_table_needs_is_not_deleted_by_force(target: PlainTarget) -> None:
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    target.run("CREATE TABLE app.child (k int REFERENCES app.t (k)); INSERT INTO app.child "
               "VALUES (1)")  # fmt: skip
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(2, v="b"), 1)))
    with pytest.raises(SinkRejected, match="foreign key"):
        sink.publish(2, marker(2, 2, 1))

    assert target.look() == rows(1, 2)
    assert sink.marker() == marker(1, 1, 2)
    sink.close()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("CREATE TABLE app.t (k int PRIMARY KEY, v text)", "lacks the columns n, d, b, x"),
        (MADE.replace("UNIQUE", ""), r"ADD UNIQUE \(k\)"),
        (MADE.replace("UNIQUE", "UNIQUE DEFERRABLE"), r"ADD UNIQUE \(k\)"),
        (MADE.replace("k bigint", "k smallint"), "column 'k' of type smallint"),
        (MADE.replace("n numeric", "n numeric(9, 2)"), "column 'n' of type numeric"),
        (MADE.replace("d date", "d timestamp"), "column 'd' of type timestamp"),
        (MADE.replace("note text DEFAULT 'kept'", "note text NOT NULL"), "NOT NULL column 'note'"),
        (MADE.replace("v text", "v text GENERATED ALWAYS AS ('x') STORED"), "generates column 'v'"),
        ("CREATE VIEW app.t AS SELECT 1 AS k", "not a plain or partitioned table"),
        ("DROP SCHEMA app", "CREATE SCHEMA"),
    ],
)
def test_a_table_that_cannot_hold_the_view_is_refused_untouched(
    target: PlainTarget, made: str, says: str
) -> None:
    target.run(made)
    sink = target.sink()
    with pytest.raises(SinkRejected, match=says):
        sink.validate()
    with pytest.raises(SinkRejected):
        sink.apply(batch((rows(1), 1)), marker(1, 1, 1))
    sink.close()

    assert target.run("SELECT 1 FROM pg_class WHERE relname = '__penstock_marker'") == []


def test_missing_privileges_are_named_as_the_grants_to_run(target: PlainTarget) -> None:
    uri = target.as_user("writer")
    config = {"uri": uri, "table": "app.t"}
    sink = target.sink(config=config)
    with pytest.raises(SinkRejected, match='GRANT USAGE ON SCHEMA "app" TO "writer"; GRANT CREATE'):
        sink.validate()
    target.run(MADE)
    target.run(
        "GRANT USAGE, CREATE ON SCHEMA app TO writer; GRANT SELECT, INSERT ON app.t TO writer"
    )
    with pytest.raises(SinkRejected) as refused:
        sink.validate()
    grants = str(refused.value).split(": ", 2)[2].split("; ")
    assert [g.split(" ON ")[0] for g in grants] == ["GRANT UPDATE", "GRANT DELETE"]
    for grant in grants:
        target.run(grant)
    sink.validate()
    reset(sink, rows(1, 2), 1)
    target.run("ALTER TABLE app.t ENABLE ROW LEVEL SECURITY")
    with pytest.raises(SinkRejected, match="row level security"):
        sink.validate()
    sink.close()

    assert target.look() == rows(1, 2)


@pytest.mark.parametrize("mode", ["materialized", "cdc"])
def test_the_privileges_of_the_page_are_enough(target: PlainTarget, mode: str) -> None:
    sink = target.sink(config={**target.config(), "mode": mode})
    reset(sink, rows(1, 2), 1)
    sink.close()
    user = f"just_{mode}"
    uri = target.as_user(user)
    on_table = "INSERT" if mode == "cdc" else "SELECT, INSERT, UPDATE, DELETE"
    database = uri.rsplit("/", 1)[1]
    target.run(
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC; REVOKE ALL ON SCHEMA app FROM PUBLIC;"
        f"GRANT CONNECT, TEMPORARY ON DATABASE {database} TO {user};"
        f"GRANT USAGE ON SCHEMA app TO {user}; GRANT {on_table} ON app.t TO {user};"
        f"GRANT SELECT, INSERT, UPDATE ON app.__penstock_marker TO {user}"
    )
    sink = target.sink(config={"uri": uri, "table": "app.t", "mode": mode})
    sink.validate()
    reset(sink, rows(1, 5), 2)
    sink.apply(batch((rows(5), -1), (rows(3), 1)), marker(2, 2, 2))
    sink.close()

    shown = "" if mode == "materialized" else "WHERE __penstock_generation = 2"
    found = target.run(f"SELECT count(*) FROM app.t {shown}")
    assert found == [(2 if mode == "materialized" else 5,)]  # a reset row, two, and two changes


def test_every_type_arrives_as_it_is(target: PlainTarget) -> None:
    schema = T.schema(
        dec=T.decimal(30, 4), big=T.BIGINT, ubig=T.UBIGINT, real=T.REAL, double=T.DOUBLE,
        text=T.VARCHAR, short=T.varchar(3), blob=T.VARBINARY, day=T.DATE, time=T.TIME,
        stamp=T.TIMESTAMP, zoned=T.TIMESTAMP_TZ, id=T.UUID, flag=T.BOOLEAN,
        list=T.array_of(T.INTEGER), row=T.row_of(x=T.VARCHAR), variant=T.VARIANT,
    )  # fmt: skip
    texts = ["tab\t, newline\n, return\r, \\ and \\N, \"quotes\" 'n' {braces}", "\\.", ""]
    full: list[tuple[Any, ...]] = [
        (Decimal(f"-12345678901234567890.123{i}"), -(2**63), 2**64 - 1, 0.1, 1e300, text, "äöü",
         b"\0\xff\\", datetime.date(1969, 12, 31), datetime.time(1, 2, 3, 4),
         datetime.datetime(2024, 2, 29, 12, 0, 0, 1), datetime.datetime(2024, 2, 29, 12),
         uuid.UUID(int=5), True, [1, None], (text,), '{"b": [1.5, "ü"]}')
        for i, text in enumerate(texts)
    ]  # fmt: skip
    odd: list[tuple[Any, ...]] = [
        (Decimal("7.0000"), *([None] * 16)),
        (Decimal("8.0000"), None, None, float("nan"), float("-inf"), *([None] * 12)),
    ]
    context = SinkContext("p", "v", "c", schema, {"uri": target.uri, "table": "t"}, key=(0,))
    sink = PostgresSink(context)
    sink.open()
    sink.validate()
    m = marker(1, 1, 5, pipeline_id="p", view="v")
    sink.begin(1, m.token, 1)
    sink.stage(1, 0, batch_from_rows(schema, [*full, *odd]))
    sink.publish(1, m)
    select = (
        'SELECT dec, big, ubig, real::float8, double, text, short, blob, day, "time", stamp, '
        "zoned AT TIME ZONE 'UTC', id, flag, list, row, variant FROM t ORDER BY dec"
    )
    by_copy = target.run(select)
    keys = [r[0] for r in by_copy]
    sink.apply(batch_from_rows(schema, [*full, *odd], [-1] * 5), replace(m, step=2, rows=0))
    assert target.run(select) == []
    sink.apply(batch_from_rows(schema, [*full, *odd]), replace(m, step=3))
    by_delta = target.run(select)
    sink.close()

    assert keys == sorted(r[0] for r in [*full, *odd])
    assert repr(by_copy) == repr(by_delta)
    float32 = 0.10000000149011612
    expected = [
        (*(float32 if v == 0.1 else v for v in r[:-2]), {"x": r[5]}, {"b": [1.5, "ü"]})
        for r in full
    ]
    assert by_copy[:3] == expected[::-1]
    assert repr(by_copy[3:]) == repr(odd)


def test_text_with_a_zero_byte_is_refused_and_the_contents_stay(target: PlainTarget) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    with pytest.raises(SinkRejected, match="0x00"):
        sink.apply(batch((Counter({row(2, "a\0b"): 1}), 1)), marker(1, 2, 2))
    sink.begin(2, "token-2", 2)
    with pytest.raises(SinkRejected, match="0x00"):
        sink.stage(2, 0, batch((Counter({row(2, "a\0b"): 1}), 1)))

    assert target.look() == rows(1)
    sink.close()


def test_a_lock_held_by_others_is_a_passing_failure(
    target: PlainTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_output, "_SESSION", ("SET lock_timeout = '50ms'",))
    sink = target.sink()
    reset(sink, rows(1), 1)
    with psycopg.connect(target.uri) as other:
        other.execute("LOCK TABLE app.t")
        with pytest.raises(SinkUnavailable, match="lock timeout"):
            sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))

    assert target.look() == rows(1, 2)
    sink.close()


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        yield server


def test_a_server_that_crashes_loses_the_stage_and_nothing_else(
    postgres: PostgresServer, own_server: PostgresServer
) -> None:
    target = PlainTarget(own_server)
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(3), 1)))
    own_server.stop(signal.SIGQUIT)
    with pytest.raises(SinkUnavailable):
        sink.publish(2, marker(2, 2, 1))
    sink.close()
    with pytest.raises(SinkUnavailable):
        sink.open()
    own_server.start()
    sink.open()
    sink.validate()
    assert sink.marker() == marker(1, 1, 2)
    with pytest.raises(StagingLost):
        sink.publish(2, marker(2, 2, 1))
    assert target.look() == rows(1, 2)
    reset(sink, rows(3), 2)

    assert target.look() == rows(3)
    sink.close()


def test_a_session_ended_by_the_administrator_is_a_passing_failure(target: PlainTarget) -> None:
    sink = target.sink()
    reset(sink, rows(1), 1)
    target.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
               "'penstock m.c' AND datname = current_database()")  # fmt: skip
    with pytest.raises(SinkUnavailable):
        sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    sink.close()
    sink.open()
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))

    assert target.look() == rows(1, 2)
    sink.close()


def test_a_table_without_a_schema_is_found_on_the_search_path(target: PlainTarget) -> None:
    sink = target.sink(config={"uri": target.uri, "table": "Orders"})
    reset(sink, rows(1), 1)
    sink.close()

    assert target.run("SELECT k FROM public.orders") == [(1,)]


def test_what_cannot_work_is_said_at_once(target: PlainTarget) -> None:
    good = target.context()
    for config, says in (
        ({"table": "t"}, "'uri' is required"),
        ({"uri": target.uri}, "'table' is required"),
        ({"uri": "postgres//secret", "table": "t"}, "not a PostgreSQL connection URI"),
        ({"uri": target.uri, "table": "a.b.c"}, "schema.table"),
        ({"uri": target.uri, "table": "t", "mode": "log"}, "materialized, cdc"),
        ({"uri": target.uri, "table": "t", "extra_columns": ["a"]}, "DEFAULT"),
        ({"uri": target.uri, "table": "t", "ssl": "on"}, "'ssl' is unknown"),
    ):
        with pytest.raises(UserError, match=says) as refused:
            PostgresSink(replace(good, config=config))
        assert "secret" not in str(refused.value)
    for name in ("k%", "__feldera_op"):
        schema = T.schema(**{name: T.BIGINT})
        config = {"uri": target.uri, "table": "t", "mode": "cdc"}
        with pytest.raises(SinkRejected, match="rename"):
            PostgresSink(replace(good, schema=schema, config=config, key=()))


def test_rows_of_many_statements_are_one_change(
    target: PlainTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_rows, "STATEMENT_ROWS", 3)
    sink = target.sink()
    reset(sink, rows(*range(10)), 1)
    delta: list[Any] = [(rows(*range(10)), -1), (rows(*range(4, 20), v="b"), 1)]
    sink.apply(batch(*delta), marker(1, 2, 16))

    assert target.look() == rows(*range(4, 20), v="b")
    sink.close()
