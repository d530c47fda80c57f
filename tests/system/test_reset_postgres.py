"""Reset of a PostgreSQL table through the whole system, PostgreSQL's own crash included."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.servers import PostgresServer, Unavailable, running_postgres
from tests.system.conftest import Pipeline, System

ROWS = 150_000


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A server of this module's own, since its tests crash it."""
    try:
        with running_postgres() as server:
            yield server
    except Unavailable as e:
        pytest.skip(str(e))


def program(uri: str, rows: int = 0) -> str:
    sink = {
        "name": "pg",
        "index": "m_by_id",
        "mode": "snapshot_and_follow",
        "transport": {"name": "postgres_output", "config": {"uri": uri, "table": "m"}},
    }
    made = {
        "name": "rows",
        "transport": {
            "name": "datagen",
            "config": {"plan": [{"limit": rows, "fields": {"id": {"range": [0, rows]}}}]},
        },
    }
    inputs = json.dumps([made] if rows else [])
    return (
        "CREATE TABLE t (id INT NOT NULL PRIMARY KEY, v VARCHAR, n DECIMAL(10, 2)) "
        f"WITH ('connectors' = '{inputs}');"
        f"CREATE MATERIALIZED VIEW m WITH ('connectors' = '{json.dumps([sink])}') AS "
        "SELECT id, v, n FROM t; CREATE INDEX m_by_id ON m (id);"
    )


def rows(uri: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(uri) as db:
        return db.execute("SELECT id, v, n FROM m ORDER BY id").fetchall()


def expected(p: Pipeline) -> list[tuple[Any, ...]]:
    found = p.query("SELECT id, v, n::VARCHAR AS n FROM m ORDER BY id")
    return [(r["id"], r["v"], r["n"]) for r in found]


def as_text(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(i, v, None if n is None else str(n)) for i, v, n in found]


def test_a_server_that_dies_in_the_middle_of_staging_comes_back_to_a_whole_table(
    system: System, postgres: PostgresServer
) -> None:
    uri = postgres.new_database()
    p = system.pipeline(program(uri, ROWS))
    deadline = time.monotonic() + 60
    while not p.get("/stats").json()["global_metrics"]["pipeline_complete"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with psycopg.connect(uri) as db:
        db.execute("DELETE FROM m WHERE id % 2 = 0")
    token = p.reset("m", "pg").json()["token"]
    while True:
        s = p.get("/reset_status", params={"token": token}).json()
        if s["rows_staged"] > 0 or s["status"] != "inprogress":
            break
    assert s["status"] == "inprogress" and s["phase"] in ("staging", "publishing"), s
    postgres.stop(signal.SIGQUIT)
    p.send("t", {"id": -1, "v": "while it was down", "n": "1.00"}, wait=False)
    time.sleep(0.3)
    waiting = p.get("/reset_status", params={"token": token}).json()
    assert waiting["status"] == "inprogress" and waiting["last_error"]
    health = p.get("/views/m/connectors/pg/stats").json()
    assert health["health"]["status"] == "Unhealthy"
    postgres.start()
    done = p.wait_reset(token, 60)

    assert done["status"] == "complete" and done["attempt"] >= 0
    p.send("t", {"id": -2, "v": "afterwards", "n": None})
    assert as_text(rows(uri)) == expected(p)
    assert p.get("/views/m/connectors/pg/stats").json()["health"]["status"] == "Healthy"
    p.stop()


def test_grants_indexes_and_views_of_the_table_stay_as_they_were(
    system: System, postgres: PostgresServer
) -> None:
    uri = postgres.new_database()
    p = system.pipeline(program(uri))
    p.send("t", *({"id": i, "v": f"v{i}", "n": "0.50"} for i in range(100)))
    facts = (
        "SELECT relacl::text, oid::text FROM pg_class WHERE relname = 'm'",
        "SELECT indexdef, indexname FROM pg_indexes WHERE tablename = 'm' ORDER BY 2",
        "SELECT conname, confrelid::regclass::text FROM pg_constraint WHERE contype = 'f'",
        "SELECT viewname, definition FROM pg_views WHERE viewname = 'depends'",
        "SELECT tgname, '' FROM pg_trigger WHERE NOT tgisinternal",
    )
    with psycopg.connect(uri, autocommit=True) as db:
        db.execute("CREATE ROLE analyst" + str(int(time.time() * 1000)))
        db.execute("GRANT SELECT ON m TO PUBLIC")
        db.execute("CREATE INDEX by_v ON m (v)")
        db.execute("CREATE VIEW depends AS SELECT count(*) AS n FROM m")
        db.execute("CREATE TABLE child (id INT REFERENCES m (id))")
        db.execute("INSERT INTO child VALUES (7)")
        before = [db.execute(f).fetchall() for f in facts]
        db.execute("UPDATE m SET v = 'vandal' WHERE id < 50")
        db.execute("DELETE FROM m WHERE id > 90")
        db.execute("INSERT INTO m (id, v) VALUES (1000, 'invented')")
        p.reset_and_wait("m", "pg")
        after = [db.execute(f).fetchall() for f in facts]

        assert after == before
        assert db.execute("SELECT n FROM depends").fetchone() == (100,)
    assert as_text(rows(uri)) == expected(p)
    p.stop()


def test_a_target_without_the_needed_privilege_is_refused_before_anything_is_touched(
    system: System, postgres: PostgresServer
) -> None:
    uri = postgres.new_database()
    with psycopg.connect(uri, autocommit=True) as db:
        db.execute("CREATE TABLE m (id INT PRIMARY KEY, v TEXT, n NUMERIC(10, 2))")
        db.execute("INSERT INTO m VALUES (1, 'theirs', 1)")
        role = f"weak{int(time.time() * 1000)}"
        db.execute(f"CREATE ROLE {role} LOGIN")
        db.execute(f"GRANT SELECT ON m TO {role}")
    weak = uri.replace("admin@", f"{role}@")
    p = system.pipeline(program(weak))
    answer = p.reset("m", "pg")

    assert answer.status_code == 400, answer.text
    assert answer.json()["error_code"] == "NotSupported"
    assert as_text(rows(uri)) == [(1, "theirs", "1.00")]
    p.stop()


def test_a_database_that_is_not_there_is_told_of_and_waited_for(
    system: System, postgres: PostgresServer
) -> None:
    uri = postgres.uri("later")
    p = system.pipeline(program(uri))
    p.send("t", {"id": 1, "v": "a", "n": "1.00"}, wait=False)
    deadline = time.monotonic() + 60
    while (found := p.get("/views/m/connectors/pg/stats").json())["health"]["status"] == "Healthy":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert 'database "later" does not exist' in found["health"]["description"]
    with psycopg.connect(postgres.uri("postgres"), autocommit=True) as db:
        db.execute("CREATE DATABASE later")

    p.send("t", {"id": 2, "v": "b", "n": None})
    assert as_text(rows(uri)) == expected(p)
    assert p.get("/views/m/connectors/pg/stats").json()["health"]["status"] == "Healthy"
    p.stop()


def test_a_server_that_cannot_be_reached_makes_the_reset_wait(
    system: System, postgres: PostgresServer
) -> None:
    uri = postgres.new_database()
    p = system.pipeline(program(uri))
    p.send("t", {"id": 1, "v": "a", "n": "1.00"})
    postgres.stop()
    audit = p.post("/views/m/connectors/pg/audit")
    assert audit.status_code == 503 and "refused" in audit.json()["message"], audit.text
    answer = p.reset("m", "pg")
    assert answer.status_code == 200, answer.text
    time.sleep(0.2)
    status = p.get("/reset_status", params={"token": answer.json()["token"]}).json()
    assert (status["status"], status["phase"]) == ("inprogress", "waiting")
    postgres.start()

    assert p.wait_reset(answer.json()["token"], 60)["status"] == "complete"
    assert as_text(rows(uri)) == expected(p)
    p.stop()
