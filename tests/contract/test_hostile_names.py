"""Names and values that would be something else if they were pasted into a statement or a path."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import psycopg
import pytest
import redis

from penstock.data import types as T
from penstock.data.build import batch_from_rows
from penstock.errors import UserError
from penstock.io.contracts import Sink, SinkContext, SinkRejected
from penstock.io.outputs import OUTPUTS
from penstock.io.outputs.identifiers import quoted
from tests.contract.test_sinks import marker
from tests.servers import PostgresServer, RedisServer

#: what a statement, a format string, a parameter list, a pattern, or a shell would stumble over
NAMES = (
    'a"b', "it's", "x); DROP TABLE innocent; --", "new\nline", "tab\there", "back\\slash",
    "dot.ted", "$1", "?", ":name", "{0}", "{{x}}", "*", "[a]", "select", "Ünï–コ🙂", "UPPER", "a b",
    "-- c", "/*", "c0", "n", "s", "t", "w",
)  # fmt: skip
TABLES = ('ta"ble; DROP TABLE innocent; --\n`x`', "表🙂.it's {0} $1 ? Select")
SCHEMA = T.schema(**{n: T.VARCHAR.with_nullable(i > 1) for i, n in enumerate(NAMES)})
KEY = (0, 2)
COLUMNS = ", ".join(map(quoted, NAMES))
Rows = set[tuple[str | None, ...]]
OLD = NAMES
NEW = (*NAMES[:-1], "new")
OTHER = ('"', "'", ";\\", "\\N", "\\.", "\t", "\r\n", *(None for _ in NAMES[7:]))


def exercise(
    transport: str,
    config: dict[str, Any],
    look: Callable[[], Rows],
    *,
    names: tuple[str, ...] = NAMES,
    can_read: bool = True,
    format: dict[str, Any] | None = None,
) -> None:
    """Reset, delta, a second reset, reading back: what a sink does."""
    places = [NAMES.index(n) for n in names]
    schema = T.Schema(tuple(SCHEMA.fields[i] for i in places))

    def only(*rows: tuple[str | None, ...]) -> list[tuple[str | None, ...]]:
        return [tuple(r[i] for i in places) for r in rows]

    def sink() -> Sink:
        context = SinkContext(
            pipeline_id=marker(1, 1, 0).pipeline_id, view="m", connector="c", schema=schema,
            config=config, key=(0, 1) if len(names) < len(NAMES) else KEY, format=format,
        )  # fmt: skip
        made = OUTPUTS[transport](context)
        made.open()
        made.validate()
        return made

    s = sink()
    for generation in (1, 2):
        s.begin(generation, f"token-{generation}", 1)
        s.stage(generation, 0, batch_from_rows(schema, only(OLD, OTHER)))
        s.publish(generation, marker(generation, 1, 2))
        assert look() == set(only(OLD, OTHER))
        s.apply(
            batch_from_rows(schema, only(OLD, NEW, OTHER), [-1, 1, -1]), marker(generation, 2, 1)
        )
        assert look() == set(only(NEW))
    if can_read:
        assert sum(map(len, s.read().rows)) == 1
    s.close()
    again = sink()
    assert again.marker() == marker(2, 2, 1)
    again.close()


@pytest.mark.parametrize("table", TABLES)
def test_postgres_quotes_every_name(postgres: PostgresServer, table: str) -> None:
    uri = postgres.new_database()
    with psycopg.connect(uri, autocommit=True) as db:
        db.execute('CREATE TABLE innocent (x int); CREATE SCHEMA "s;\'""x"')
        target = f'"s;\'""x".{quoted(table)}'
        exercise(
            "postgres_output",
            {"uri": uri, "table": target},
            lambda: set(db.execute(f"SELECT {COLUMNS} FROM {target}").fetchall()),
        )
        log = target[:-1] + 'log"'

        def newest() -> Rows:
            return set(db.execute(f"""
                SELECT {COLUMNS} FROM (SELECT *, row_number() OVER
                    (PARTITION BY {quoted(NAMES[0])}, {quoted(NAMES[2])}
                     ORDER BY __feldera_ts DESC) AS newest FROM {log}
                    WHERE __penstock_generation = (SELECT max(__penstock_generation) FROM {log})
                      AND __feldera_op <> 'r') AS x WHERE newest = 1 AND __feldera_op <> 'd'
                """).fetchall())  # fmt: skip

        config = {"uri": uri, "table": log, "mode": "cdc"}
        exercise("postgres_output", config, newest)
        assert db.execute("SELECT count(*) FROM innocent").fetchone() == (0,)


@pytest.mark.parametrize("table", TABLES)
def test_sqlite_quotes_every_name(tmp_path: Path, table: str) -> None:
    path = tmp_path / 'it\'s; a "file"\n?.sqlite'

    def look() -> Rows:
        with sqlite3.connect(path) as db:
            return set(db.execute(f"SELECT {COLUMNS} FROM {quoted(table)}").fetchall())

    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE innocent (x)")
    exercise("sqlite_output", {"path": str(path), "table": table}, look)
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM innocent").fetchone() == (0,)


@pytest.mark.parametrize("table", TABLES)
def test_duckdb_quotes_every_name(tmp_path: Path, table: str) -> None:
    path = tmp_path / 'it\'s; a "file"\n%.duckdb'
    target = f'"s;\'""x".{quoted(table)}'

    def look() -> Rows:
        with duckdb.connect(str(path)) as db:
            return set(db.execute(f"SELECT {COLUMNS} FROM {target}").fetchall())

    with duckdb.connect(str(path)) as db:
        db.execute('CREATE TABLE innocent (x INTEGER); CREATE SCHEMA "s;\'""x"')
    exercise("duckdb_output", {"path": str(path), "table": target}, look)
    with duckdb.connect(str(path)) as db:
        assert db.execute("SELECT count(*) FROM innocent").fetchone() == (0,)


def test_delta_takes_every_name_that_its_readers_take_and_refuses_the_others(
    tmp_path: Path,
) -> None:
    uri = tmp_path / 'it\'s a "table" #?&x=1;'
    fine = tuple(n for n in NAMES if not set(n) & set(" ,;{}()\n\t="))
    assert len(fine) > 10

    def look() -> Rows:
        rows = deltalake.DeltaTable(str(uri)).to_pyarrow_table().to_pylist()
        return {tuple(r[n] for n in fine) for r in rows}

    exercise("delta_table_output", {"uri": str(uri), "mode": "materialized"}, look, names=fine)
    with pytest.raises(SinkRejected, match="in its name, which Delta readers do not take"):
        exercise("delta_table_output", {"uri": str(uri), "mode": "materialized"}, look)
    with pytest.raises(UserError, match="percent"):
        exercise("delta_table_output", {"uri": f"{uri}%20", "mode": "materialized"}, look)


@pytest.mark.parametrize("layout", ["in_place", "generations"])
def test_redis_takes_patterns_and_separators_literally(
    redis_server: RedisServer, layout: str
) -> None:
    url, prefix = redis_server.new_url(), "p*[a-z]?\\:"
    db = redis.Redis.from_url(url, socket_timeout=60)
    db.set("pxa?:other", "theirs")

    def look() -> Rows:
        here = prefix
        if layout == "generations":
            here += db.get(f"{prefix}current").decode() + ":"
        names = [k.decode() for k in db.scan_iter() if k.decode().startswith(here)]
        found = {k: json.loads(db.get(k)) for k in names if k != f"{prefix}current"}
        for k, r in found.items():
            assert k == f"{here}{r[NAMES[0]]}|{r[NAMES[2]]}"
        return {tuple(r[n] for n in NAMES) for r in found.values()}

    exercise(
        "redis_output",
        {"connection_string": url, "key_prefix": prefix, "layout": layout, "key_separator": "|"},
        look,
        format={"name": "json", "config": {"update_format": "redis"}},
    )
    assert db.get("pxa?:other") == b"theirs"


def test_a_file_is_where_its_path_says_whatever_that_contains(tmp_path: Path) -> None:
    path = tmp_path / 'it\'s; $(rm -rf x) "a"\n%2F.json'

    def look() -> Rows:
        rows: Counter[tuple[str | None, ...]] = Counter()
        for line in path.read_text().splitlines():
            for kind, row in json.loads(line).items():
                rows[tuple(row[n] for n in NAMES)] += 1 if kind == "insert" else -1
        return set(+rows)

    format = {"name": "json", "config": {"update_format": "insert_delete"}}
    exercise("file_output", {"path": str(path)}, look, format=format, can_read=False)


@pytest.mark.parametrize("name", ["é" * 32, "x" * 64])
@pytest.mark.parametrize("where", ["table", "schema", "column"])
def test_postgres_refuses_names_that_it_would_cut_off(
    postgres: PostgresServer, name: str, where: str
) -> None:
    """Two of them could be one."""
    column = name if where == "column" else "x"
    table = {"table": name, "schema": f"{name}.t", "column": "t"}[where]
    context = SinkContext(
        pipeline_id="p", view="m", connector="c", schema=T.schema(**{column: T.VARCHAR}),
        config={"uri": postgres.shared_database(), "table": table},
    )  # fmt: skip
    with pytest.raises(SinkRejected, match="keeps only 63 bytes"):
        OUTPUTS["postgres_output"](context)
