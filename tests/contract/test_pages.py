"""The example on every connector's page compiles and delivers, to places of the test's, and the
statements that create a target there are all that it needs."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest
from deltalake import DeltaTable

from penstock.data.batch import Batch
from penstock.data.build import batch_from_rows
from penstock.data.types import BIGINT, decimal, schema
from penstock.io.contracts import Sink, SinkContext
from penstock.io.outputs.delta_output import DeltaSink
from penstock.io.outputs.duckdb_output import DuckDbSink
from penstock.io.outputs.postgres_output import PostgresSink
from penstock.io.outputs.sqlite_output import SqliteSink
from penstock.sql.connectors import Owner, parse_connectors
from tests.contract.redis_targets import GenerationsRedisTarget
from tests.contract.target import Target
from tests.contract.targets import TARGETS
from tests.contract.test_sinks import batch, marker, reset, rows
from tests.servers import PostgresServer, RedisServer

PAGES = Path(__file__).parents[2] / "docs" / "connectors"
EXAMPLE = re.compile(r"```json\n(.*?)```", re.DOTALL)
CREATION = re.compile(r"\*\*To create the target\*\*.*?```\w*\n(.*?)```", re.DOTALL)
#: page, and of several examples which, and the target that it is tried on
PAGE_TARGETS = {
    "delta": "delta table",
    "duckdb": "duckdb keyed",
    "file": "file json",
    "file 1": "file parquet",
    "kafka": "kafka log",
    "kafka-upsert": "kafka upsert",
    "postgres": "postgres",
    "redis": "redis generations",
    "sqlite": "sqlite keyed",
}


def examples(page: str) -> list[dict[str, Any]]:
    return [json.loads(found) for found in EXAMPLE.findall((PAGES / f"{page}.md").read_text())]


def test_every_page_with_an_example_is_tried() -> None:
    pages = {p.stem for p in PAGES.glob("*.md") if EXAMPLE.search(p.read_text())}
    assert pages == {name.split()[0] for name in PAGE_TARGETS}
    assert sum(len(examples(page)) for page in pages) == len(PAGE_TARGETS)


@pytest.fixture(params=list(PAGE_TARGETS))
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Target]]:
    kind = TARGETS[PAGE_TARGETS[request.param]]
    where: Any = request.getfixturevalue(kind.server) if kind.server else tmp_path
    yield request.param, kind(where)


def test_the_example_of_a_page_compiles_and_delivers(page: tuple[str, Target]) -> None:
    name, target = page
    number = int(name.split()[1]) if " " in name else 0
    example = examples(name.split()[0])[number]
    plans, problems = parse_connectors(json.dumps([example]), Owner("m", is_table=False))
    assert not problems
    assert [p.name for p in plans] == [example["name"]]
    given = example["transport"]["config"]
    assert set(target.config()) <= set(given)
    sink = target.sink(config={**given, **target.config()}, format=example.get("format"))
    sink.validate()
    reset(sink, rows(1, 2), 1)
    sink.apply(batch((rows(2), -1), (rows(3), 1)), marker(1, 2, 2))
    sink.close()

    assert target.look() == rows(1, 3)


def creation(page: str) -> str:
    (found,) = CREATION.findall((PAGES / f"{page}.md").read_text())
    return str(found)


#: what the pages' statements are for
TOTALS = schema(id=BIGINT.with_nullable(False), total=decimal(18, 2))


def totals(*rows: tuple[int, str]) -> Batch:
    return batch_from_rows(TOTALS, [(k, Decimal(total)) for k, total in rows])


def test_the_statements_of_the_postgres_page_are_enough(postgres: PostgresServer) -> None:
    uri = postgres.new_database()
    database = uri.rsplit("/", 1)[1]
    with psycopg.connect(uri, autocommit=True) as db:
        db.execute(f"REVOKE ALL ON DATABASE {database} FROM PUBLIC")
        for statement in creation("postgres").split(";")[:-1]:
            db.execute(statement.replace("DATABASE shop", f"DATABASE {database}").encode())
        try:
            _follow(PostgresSink, uri=postgres.uri(database, "penstock"), table="copies.totals")
            assert db.execute("SELECT * FROM copies.totals").fetchall() == [(2, Decimal("2.50"))]
        finally:
            db.execute("DROP OWNED BY penstock")
            db.execute("DROP ROLE penstock")


def test_the_statements_of_the_sqlite_page_fit(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "out.sqlite") as db:
        db.execute(creation("sqlite"))
        _follow(SqliteSink, path=str(tmp_path / "out.sqlite"), table="totals")
        assert db.execute("SELECT * FROM totals").fetchall() == [(2, "2.50")]


def test_the_statements_of_the_duckdb_page_fit(tmp_path: Path) -> None:
    path = str(tmp_path / "shop.duckdb")
    with duckdb.connect(path) as db:
        db.execute(creation("duckdb"))
    _follow(DuckDbSink, path=path, table="main.totals")
    with duckdb.connect(path) as db:
        assert db.execute("SELECT * FROM totals").fetchall() == [(2, Decimal("2.50"))]


@pytest.mark.parametrize("mode", ["materialized", "append"])
def test_the_lines_of_the_delta_page_fit(tmp_path: Path, mode: str) -> None:
    uri = str(tmp_path / "lake" / "totals")
    lines = creation("delta").replace("lake/totals", uri)
    exec(lines.replace("# columns", "columns") if mode == "append" else lines, {})
    before = DeltaTable(uri).schema()
    _follow(DeltaSink, uri=uri, mode=mode)
    table = DeltaTable(uri)
    assert table.schema() == before
    found = duckdb.from_arrow(table.to_pyarrow_dataset())  # noqa: F841  in the query
    shown = "FROM found" if mode == "materialized" else "FROM found WHERE __feldera_op = 'u'"
    rows_of = duckdb.sql(f"SELECT id, total {shown}").fetchall()
    assert rows_of == [(2, Decimal("2.50"))]


def test_the_user_of_the_redis_page_may_do_enough(redis_server: RedisServer) -> None:
    target = GenerationsRedisTarget(redis_server)
    target.prefix = "totals:"
    target.db.execute_command(*creation("redis").split())
    url = target.url.replace("redis://", "redis://penstock:choose-one@")
    sink = target.sink(config={**target.config(), "connection_string": url})
    try:
        sink.validate()
        reset(sink, rows(1, 2), 1)
        sink.apply(batch((rows(2), -1), (rows(3), 1)), marker(1, 2, 2))
        assert target.look() == rows(1, 3)
    finally:
        sink.close()
        target.db.execute_command("ACL", "DELUSER", "penstock")


def _follow(kind: Callable[[SinkContext], Sink], **config: str) -> None:
    sink = kind(SinkContext("p", "totals", "c", TOTALS, config, key=(0,)))
    sink.open()
    sink.validate()
    sink.begin(1, "token-1", 1)
    sink.stage(1, 0, totals((1, "1.00"), (2, "2.00")))
    sink.publish(1, marker(1, 1, 2, pipeline_id="p", view="totals"))
    changed = [(1, Decimal("1.00")), (2, Decimal("2.00")), (2, Decimal("2.50"))]
    delta = batch_from_rows(TOTALS, changed, [-1, -1, 1])
    sink.apply(delta, marker(1, 2, 1, pipeline_id="p", view="totals"))
    sink.close()
