"""postgres_output: values that change places, tables without a key, logs, lost replies."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import psycopg
import pytest

from penstock.data import types as T
from penstock.data.build import batch_from_rows
from penstock.io.contracts import SinkContext, SinkRejected, SinkUnavailable
from penstock.io.outputs.postgres_output import PostgresSink
from tests.contract.targets import CountedPostgresTarget, LoggedPostgresTarget
from tests.contract.test_postgres import PlainTarget
from tests.contract.test_sinks import batch, marker, reset, row, rows
from tests.proxy import Proxy
from tests.servers import PostgresServer

NAMED = T.schema(k=T.INTEGER.with_nullable(False), v=T.VARCHAR)


def named(uri: str) -> PostgresSink:
    """A sink of (k, v) on table `named`, open."""
    config = {"uri": uri, "table": "named"}
    owner = ("11111111-1111-1111-1111-111111111111", "m", "c")
    sink = PostgresSink(SinkContext(*owner, NAMED, config, None, (0,)))
    sink.open()
    return sink


@pytest.mark.parametrize(
    "made",
    [
        "CREATE TABLE named (k int PRIMARY KEY, v text UNIQUE)",
        "CREATE TABLE named (k int PRIMARY KEY, v text NOT NULL UNIQUE)",
        "CREATE TABLE named (k int PRIMARY KEY, v text NOT NULL UNIQUE DEFERRABLE)",
        "CREATE TABLE named (k int PRIMARY KEY, v text);"
        "CREATE UNIQUE INDEX ON named (lower(v)) WHERE k > 0",
        "CREATE TABLE named (k int PRIMARY KEY, v text, EXCLUDE (v WITH =))",
    ],
)
def test_values_that_changed_places_are_put_back_under_a_constraint_of_the_target(
    postgres: PostgresServer, made: str
) -> None:
    target = PlainTarget(postgres)
    target.run(made)
    sink = named(target.uri)
    sink.validate()
    wanted = [(1, "a"), (2, "b"), (3, "c")]
    for generation in (1, 2):
        sink.begin(generation, f"token-{generation}", 1)
        sink.stage(generation, 0, batch_from_rows(NAMED, wanted))
        sink.publish(generation, marker(generation, 1, 3))
        assert target.run("SELECT k, v FROM named ORDER BY k") == wanted
        target.run("UPDATE named SET v = 'x' WHERE k = 1")
        target.run("UPDATE named SET v = 'a' WHERE k = 2")
        target.run("UPDATE named SET v = 'b' WHERE k = 1")
    sink.apply(
        batch_from_rows(NAMED, [(1, "b"), (2, "a"), (1, "a"), (2, "b")], [-1, -1, 1, 1]),
        marker(2, 2, 3),
    )
    assert target.run("SELECT k, v FROM named ORDER BY k") == wanted
    sink.close()


def test_rows_that_others_refer_to_are_not_deleted_to_let_values_change_places(
    postgres: PostgresServer,
) -> None:
    target = PlainTarget(postgres)
    target.run(
        "CREATE TABLE named (k int PRIMARY KEY, v text NOT NULL UNIQUE);"
        "CREATE TABLE child (k int REFERENCES named ON DELETE CASCADE);"
        "INSERT INTO named VALUES (1, 'b'), (2, 'a'); INSERT INTO child VALUES (1)"
    )
    sink = named(target.uri)
    sink.begin(1, "token-1", 1)
    sink.stage(1, 0, batch_from_rows(NAMED, [(1, "a"), (2, "b")]))
    with pytest.raises(SinkRejected, match="DEFERRABLE"):
        sink.publish(1, marker(1, 1, 2))
    assert target.run("SELECT k, v FROM named ORDER BY k") == [(1, "b"), (2, "a")]
    assert target.run("SELECT k FROM child") == [(1,)]
    target.run(
        "ALTER TABLE named DROP CONSTRAINT named_v_key, "
        "ADD UNIQUE (v) DEFERRABLE INITIALLY DEFERRED"
    )
    sink.publish(1, marker(1, 1, 2))
    assert target.run("SELECT k, v FROM named ORDER BY k") == [(1, "a"), (2, "b")]
    assert target.run("SELECT k FROM child") == [(1,)]
    sink.close()


def test_a_table_without_a_key_keeps_all_that_hangs_on_it(postgres: PostgresServer) -> None:
    target = CountedPostgresTarget(postgres)
    table = target.table
    target.run(
        f"CREATE TABLE {table} (id serial PRIMARY KEY, x float8, b bool, d date, n numeric, v text,"
        f" k bigint); COMMENT ON TABLE {table} IS 'theirs'; CREATE INDEX ON {table} (k);"
        f"CREATE VIEW over AS SELECT count(*) AS n FROM {table}; CREATE ROLE seer;"
        f"GRANT SELECT ON {table} TO seer;"
        f"INSERT INTO {table} (k, v, n) VALUES (1, 'old', 1), (1, 'old', 1)"
    )
    facts = (
        "SELECT oid, relfilenode, relacl::text, obj_description(oid) FROM pg_class "
        f"WHERE oid = '{table}'::regclass"
    )
    before = target.run(facts)
    sink = target.sink()
    sink.validate()
    twice = Counter({row(1): 2, row(2, None): 3, row(3): 1})
    reset(sink, twice, 1)
    kept = target.run(f"SELECT min(id) FROM {table} WHERE k = 3")
    target.run(f"DELETE FROM {table} WHERE id IN (SELECT min(id) FROM {table} WHERE k = 2)")
    target.run(f"UPDATE {table} SET n = 1.5000 WHERE k = 1")
    reset(sink, twice, 2)
    assert target.look() is not None
    sink.apply(batch((Counter({row(1): 1, row(2, None): 2}), -1), (rows(4), 1)), marker(2, 2, 4))

    found = target.run(f"SELECT k, v, n, count(*) FROM {table} GROUP BY 1, 2, 3 ORDER BY 1")
    assert [(k, v, float(n), c) for k, v, n, c in found] == [
        (1, "a", 1.5, 1), (2, None, 2.5, 1), (3, "a", 3.5, 1), (4, "a", 4.5, 1),
    ]  # fmt: skip
    assert target.run(f"SELECT min(id) FROM {table} WHERE k = 3") == kept
    assert target.run("SELECT n FROM over") == [(4,)]
    assert target.run(facts) == before
    sink.close()


def test_a_table_with_a_key_is_refused_without_an_index(postgres: PostgresServer) -> None:
    target = CountedPostgresTarget(postgres)
    target.run(
        f"CREATE TABLE {target.table} (k int PRIMARY KEY, v text, n numeric, d date, b bool,"
        " x float8)"
    )
    sink = target.sink()
    with pytest.raises(SinkRejected, match="names no 'index'"):
        sink.validate()
    sink.close()


def test_a_log_tells_inserts_updates_deletes_and_resets(postgres: PostgresServer) -> None:
    target = LoggedPostgresTarget(postgres)
    sink = target.sink()
    sink.validate()
    sink.apply(batch((rows(1, 2, 3), 1)), marker(1, 1, 3))
    change = batch((rows(1), -1), (rows(1, v="b"), 1), (rows(2), -1), (rows(9), 1))
    sink.apply(change, marker(1, 2, 3))
    sink.apply(change, marker(1, 2, 3))
    reset(sink, rows(1, 5), 2)
    reset(sink, Counter(), 3)
    sink.close()
    found = target.run(
        "SELECT __feldera_ts, __feldera_op, k, v, __penstock_generation "
        f"FROM {target.table} ORDER BY 1"
    )
    told: dict[int, list[Any]] = {}
    for ts, *event in found:
        told.setdefault(ts, []).append(tuple(event))

    assert [sorted(told[ts], key=repr) for ts in sorted(told)] == [
        [("i", 1, "a", 1), ("i", 2, "a", 1), ("i", 3, "a", 1)],
        [("d", 2, "a", 1), ("i", 9, "a", 1), ("u", 1, "b", 1)],
        [("i", 1, "a", 2), ("i", 5, "a", 2), ("r", None, None, 2)],
        [("r", None, None, 3)],
    ]


def test_a_log_of_others_with_a_time_is_followed_and_not_reset(postgres: PostgresServer) -> None:
    target = LoggedPostgresTarget(postgres)
    config = target.config() | {"cdc_op_column": "Op", "cdc_ts_column": "at"}
    target.run(
        f"CREATE TABLE {target.table} (k int, v text, n numeric, d date, b bool, x float8, "
        '"Op" char(1), at timestamptz)'
    )
    sink = target.sink(config=config)
    sink.validate()
    sink.apply(batch((rows(1), 1)), marker(1, 1, 1))
    with pytest.raises(SinkRejected, match="no column __penstock_generation"):
        sink.begin(2, "token-2", 1)

    assert target.run(
        f"SELECT k, \"Op\", at > now() - interval '1 hour' AND at <= now() FROM {target.table}"
    ) == [(1, "i", True)]
    sink.close()


@pytest.mark.parametrize("lost", ["request", "reply"])
@pytest.mark.parametrize("call", ["publish", "apply"])
def test_a_commit_that_is_lost_on_the_way_is_neither_lost_nor_done_twice(
    postgres: PostgresServer, lost: str, call: str
) -> None:
    target = LoggedPostgresTarget(postgres)
    delta, told = batch((rows(7), 1)), marker(1, 2, 4)
    with Proxy(postgres.port) as proxy:
        through = target.uri.replace(f":{postgres.port}/", f":{proxy.port}/")
        config = target.config() | {"uri": through}
        sink = target.sink(config=config)
        reset(sink, rows(1, 2, 3), 1)
        if call == "publish":
            sink.begin(2, "token-2", 5)
            sink.stage(2, 0, batch((rows(8, 9), 1)))
        way = proxy.requests if lost == "request" else proxy.replies
        way.drop(after=b"COMMIT")
        with pytest.raises(SinkUnavailable):
            if call == "publish":
                sink.publish(2, marker(2, 5, 2))
            else:
                sink.apply(delta, told)
        assert proxy.fired.is_set()
        sink.close()
        again = target.sink(config=config)
        got_through = again.marker() in (told, marker(2, 5, 2))
        assert got_through == (lost == "reply")
        if call == "apply":
            again.apply(delta, told)
            assert target.look() == rows(1, 2, 3, 7)
        elif not got_through:
            assert target.look() == rows(1, 2, 3)
            reset(again, rows(8, 9), 2, step=5)
        if call == "publish":
            again.publish(2, marker(2, 5, 2))
            assert target.look() == rows(8, 9)
        again.close()
    resets = target.run(f"SELECT count(*) FROM {target.table} WHERE __feldera_op = 'r'")
    assert resets == [(2 if call == "publish" else 1,)]


def test_who_asks_for_the_marker_waits_for_the_commit_that_is_on_its_way(
    postgres: PostgresServer,
) -> None:
    target = PlainTarget(postgres)
    sink = target.sink()
    reset(sink, rows(1), 1)
    found: list[Any] = []
    with psycopg.connect(target.uri) as writer:
        writer.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", ('penstock:"app"."t"',)
        )
        writer.execute("UPDATE app.__penstock_marker SET step = 9")
        asking = threading.Thread(target=lambda: found.append(sink.marker()))
        asking.start()
        deadline = time.monotonic() + 20
        while not target.run("SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"):
            assert time.monotonic() < deadline
        assert not found
    asking.join(20)

    assert found == [marker(1, 9, 1)]
    sink.close()
