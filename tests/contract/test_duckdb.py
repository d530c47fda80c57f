"""What is particular to duckdb_output: readers of other processes, types, shapes, lost files."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import uuid
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from penstock.data import types as T
from penstock.data.build import batch_from_rows
from penstock.errors import UserError
from penstock.io.contracts import SinkContext, SinkRejected, SinkUnavailable, StagingLost
from penstock.io.outputs import duckdb_file
from penstock.io.outputs.duckdb_output import DuckDbSink
from tests.contract.targets import DuckDbTarget, KeyedDuckDbTarget
from tests.contract.test_sinks import batch, marker, reset, rows

#: polls as the page for the connector says; prints the distinct sets of v it saw, in order
READER = """
import duckdb, json, sys, time
seen = []
while True:
    try:
        with duckdb.connect(sys.argv[1], read_only=True) as db:
            found = db.execute('SELECT v, count(*) FROM t GROUP BY v ORDER BY v').fetchall()
    except duckdb.IOException:
        time.sleep(0.01)  # the manners that the page asks for
        continue
    if not seen or seen[-1] != found:
        seen.append(found)
        print(json.dumps(found), flush=True)
    time.sleep(0.01)
    if found == [("last", 3)]:
        break
"""


class Plain(DuckDbTarget):
    """Nobody but the sink has the file open."""

    is_keyed = True
    table = "t"

    def config(self) -> dict[str, Any]:
        return {"path": str(self.path), "table": self.table}


def test_readers_of_another_process_see_whole_contents_between_two_calls(tmp_path: Path) -> None:
    target = Plain(tmp_path)
    sink = target.sink()
    sink.validate()
    assert sink.marker() is None
    assert not target.path.exists()
    reset(sink, rows(*range(50), v="0"), 1, chunk_rows=25)
    reader = subprocess.Popen(
        [sys.executable, "-c", READER, str(target.path)], stdout=subprocess.PIPE, text=True
    )
    assert reader.stdout is not None
    seen = [json.loads(reader.stdout.readline())]
    for generation in range(2, 4):
        reset(sink, rows(*range(50 + generation), v=str(generation)), generation, chunk_rows=25)
    reset(sink, rows(1, 2, 3, v="last"), 6)
    seen += [json.loads(line) for line in reader.stdout]
    sink.close()

    allowed = [[["0", 50]], *([[str(g), 50 + g]] for g in range(2, 4)), [["last", 3]]]
    assert reader.wait(60) == 0
    assert [allowed.index(s) for s in seen] == sorted(allowed.index(s) for s in seen)
    assert seen[0] == allowed[0]
    assert [p.name for p in tmp_path.iterdir()] == ["target.duckdb"]


def test_a_file_that_another_process_holds_is_a_passing_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duckdb_file, "BUSY_TIMEOUT_S", 0.05)
    target = Plain(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(1, 2), 1)))
    holder = subprocess.Popen(
        [sys.executable, "-c",
         "import duckdb, sys; db = duckdb.connect(sys.argv[1], read_only=True); "
         "print('held', flush=True); sys.stdin.read()", str(target.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(SinkUnavailable, match="lock"):
        sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    with pytest.raises(SinkUnavailable, match="lock"):
        sink.publish(2, marker(2, 2, 2))
    holder.communicate("")
    sink.publish(2, marker(2, 2, 2))

    assert target.look() == rows(1, 2)
    sink.close()


def test_every_type_has_its_own_and_a_text(tmp_path: Path) -> None:
    schema = T.schema(
        tiny=T.TINYINT, ubig=T.UBIGINT, real=T.REAL, dbl=T.DOUBLE, dec=T.decimal(38, 4),
        text=T.VARCHAR, blob=T.VARBINARY, day=T.DATE, time=T.TIME, stamp=T.TIMESTAMP,
        zoned=T.TIMESTAMP_TZ, id=T.UUID, flag=T.BOOLEAN,
        short=T.SqlType(T.Kind.INTERVAL_SHORT, unit="DAY"),
        long=T.SqlType(T.Kind.INTERVAL_LONG, unit="YEAR"),
    )  # fmt: skip
    stamp = datetime.datetime(2024, 2, 29, 12, 0, 0, 1)
    values = (
        -128, 2**64 - 1, 0.5, 1e300, Decimal("-1234567890123456789012345678901234.1230"),
        "ŭ\0\"'", b"\0\xff", datetime.date(1969, 12, 31), datetime.time(1, 2, 3), stamp,
        stamp.replace(tzinfo=datetime.UTC), uuid.UUID(int=5), True,
        86_400_000_001, 14,
    )  # fmt: skip
    none = (None,) * len(values)
    nan = (*none[:2], float("nan"), *none[3:])
    context = SinkContext("p", "v", "c", schema, {"path": str(tmp_path / "a"), "table": "t"})
    owner = {"pipeline_id": "p", "view": "v"}
    for made in (None, "VARCHAR"):
        (tmp_path / "a").unlink(missing_ok=True)
        if made:
            with duckdb.connect(str(tmp_path / "a")) as db:
                db.execute(f"CREATE TABLE t ({', '.join(f'{n} {made}' for n in schema.names)})")
        sink = DuckDbSink(context)
        sink.open()
        sink.validate()
        reset_rows = batch_from_rows(schema, [values, none, nan], [2, 1, 1])
        sink.begin(1, "token-1", 1)
        sink.stage(1, 0, reset_rows)
        sink.publish(1, marker(1, 1, 4, **owner))
        with duckdb.connect(str(tmp_path / "a")) as db:
            db.execute("SET timezone = 'UTC'")
            found = db.execute("SELECT COLUMNS(*)::VARCHAR FROM t").fetchall()
        assert sorted(map(repr, found)) == sorted(map(repr, [
            ("-128", str(2**64 - 1), "0.5", "1e+300", "-1234567890123456789012345678901234.1230",
             "ŭ\0\"'", "\\x00\\xFF", "1969-12-31", "01:02:03", "2024-02-29 12:00:00.000001",
             "2024-02-29 12:00:00.000001+00", str(uuid.UUID(int=5)), "true",
             "24:00:00.000001", "1 year 2 months"),
        ] * 2 + [none, (None, None, "nan", *none[3:])]))  # fmt: skip
        sink.apply(batch_from_rows(schema, [values, none, nan], [-1, -1, -1]),
                   marker(1, 2, 1, **owner))  # fmt: skip
        with duckdb.connect(str(tmp_path / "a")) as db:
            assert db.execute("SELECT tiny::INT FROM t").fetchall() == [(-128,)]
        sink.close()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("TABLE t (k INTEGER PRIMARY KEY, v TEXT)", "lacks the columns n, d, b, x"),
        ("TABLE t (k INT PRIMARY KEY, v TEXT, n TEXT, d DATE, b BOOL, x DOUBLE, y INT)", "not: y"),
        ("TABLE t (k INT, v TEXT, n TEXT, d DATE, b BOOL, x DOUBLE)", r"no primary key .* \(k\)"),
        ("TABLE t (k SMALLINT PRIMARY KEY, v TEXT, n TEXT, d DATE, b BOOL, x DOUBLE)", "SMALLINT"),
        ("TABLE t (k INT PRIMARY KEY, v TEXT, n DECIMAL(9,2), d DATE, b BOOL, x DOUBLE)",
         r"DECIMAL\(9,2\)"),
        ("VIEW t AS SELECT 1 AS k", "is a view"),
    ],
)  # fmt: skip
def test_a_table_of_another_shape_is_refused(tmp_path: Path, made: str, says: str) -> None:
    target = Plain(tmp_path)
    target.run(f"CREATE {made}")
    sink = target.sink()
    with pytest.raises(SinkRejected, match=says):
        sink.validate()
    with pytest.raises(SinkRejected, match=says):
        sink.apply(batch((rows(1), 1)), marker(1, 1, 1))
    sink.close()


def test_a_table_of_somebody_else_keeps_its_definition_and_repairs_swapped_values(
    tmp_path: Path,
) -> None:
    target = Plain(tmp_path)
    target.run(
        "CREATE TABLE t (x DOUBLE, b BOOL, d DATE, n DECIMAL(20, 3), v TEXT, k HUGEINT UNIQUE, "
        "UNIQUE (x)); CREATE VIEW over AS SELECT count(*) AS n FROM t;"
        "COMMENT ON TABLE t IS 'theirs'; INSERT INTO t (k, v) VALUES (1, 'old'), (9, 'old')"
    )
    before = target.run("SELECT sql, comment FROM duckdb_tables() WHERE table_name = 't'")
    sink = target.sink()
    sink.validate()
    reset(sink, rows(1, 2, 3), 1)
    target.run("UPDATE t SET x = -1 WHERE k = 1")
    target.run("UPDATE t SET x = 0.25 WHERE k = 2")
    target.run("UPDATE t SET x = 0.5 WHERE k = 1")
    reset(sink, rows(1, 2, 3), 2)
    sink.apply(batch((rows(3), -1)), marker(2, 2, 2))
    swapped = [(1, "a", "1.50", "2024-02-29", 1, 0.5), (2, "a", "2.50", "2024-02-29", 0, 0.25)]
    sink.apply(batch((rows(1, 2), -1), (type(rows())(swapped), 1)), marker(2, 3, 2))
    sink.close()

    assert target.run("SELECT k, n, x FROM t ORDER BY k") == [
        (1, Decimal("1.500"), 0.5), (2, Decimal("2.500"), 0.25),
    ]  # fmt: skip
    assert target.run("SELECT n FROM over") == [(2,)]
    assert target.run("SELECT sql, comment FROM duckdb_tables() WHERE table_name = 't'") == before


@pytest.mark.parametrize("key", ["k", "v"])
def test_values_that_the_database_takes_for_equal_are_put_right_too(
    tmp_path: Path, key: str
) -> None:
    target = Plain(tmp_path)
    target.run(
        "CREATE TABLE t (k INTEGER, v TEXT COLLATE NOCASE, n DECIMAL(10, 2), d DATE, b BOOL, "
        f"x DOUBLE, UNIQUE ({key}))"
    )
    sink = target.sink(key=(target.context().schema.names.index(key),))
    view = rows(0, v="a") + rows(2, v="b")
    reset(sink, view, 1)
    target.run("UPDATE t SET v = 'A', x = -x WHERE k = 0")
    reset(sink, view, 2)

    assert target.look() == view
    assert target.run("SELECT x::TEXT FROM t ORDER BY k") == [("0.0",), ("0.5",)]
    sink.close()


def test_a_file_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    target = DuckDbTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(SinkUnavailable, match="removed"):
        sink.apply(batch((rows(1), 1)), marker(1, 2, 2))
    sink.close()
    sink.open()
    reset(sink, rows(2), 2)

    assert target.look() == rows(2)
    sink.close()


@pytest.mark.parametrize("keep_open", [False, True])
def test_what_a_constraint_of_the_target_refuses_is_refused_for_good(
    tmp_path: Path, keep_open: bool
) -> None:
    target = KeyedDuckDbTarget(tmp_path)
    with duckdb.connect(str(target.path)) as db:
        columns = "k INTEGER PRIMARY KEY CHECK (k < 100), v VARCHAR, n DECIMAL(10, 2), d DATE"
        db.execute(f'CREATE TABLE "my ""table""" ({columns}, b BOOLEAN, x DOUBLE)')
    sink = target.sink(config={**target.config(), "keep_open": keep_open})
    reset(sink, rows(1, 2), 1)
    with pytest.raises(SinkRejected, match="CHECK constraint"):
        sink.apply(batch((rows(200), 1)), marker(1, 2, 3))
    with pytest.raises(SinkRejected, match="CHECK constraint"):
        reset(sink, rows(3, 200), 2)
    sink.close()

    assert target.look() == rows(1, 2)


def test_a_stage_that_was_removed_is_staging_lost_not_a_smaller_table(tmp_path: Path) -> None:
    target = Plain(tmp_path)
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(3), 1)))
    for path in tmp_path.glob("*.penstock-*"):
        path.unlink()
    with pytest.raises(StagingLost):
        sink.publish(2, marker(2, 2, 1))

    assert target.look() == rows(1, 2)
    sink.close()


def test_a_stage_that_cannot_be_removed_does_not_undo_a_publish_and_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = Plain(tmp_path)
    sink, unlink = target.sink(), Path.unlink

    def fails(path: Path, missing_ok: bool = False) -> None:
        if ".g1-" in path.name:
            raise OSError(5, "Input/output error", str(path))
        unlink(path, missing_ok)

    with monkeypatch.context() as disk:
        disk.setattr(Path, "unlink", fails)
        reset(sink, rows(1, 2), 1)
    assert (target.look(), sink.marker()) == (rows(1, 2), marker(1, 1, 2))
    assert list(tmp_path.glob("*.penstock-*"))

    sink.sweep(1)
    assert not list(tmp_path.glob("*.penstock-*"))
    sink.close()


def test_what_cannot_work_is_said_at_once(tmp_path: Path) -> None:
    good = KeyedDuckDbTarget(tmp_path).context()
    for config, says in (
        ({"path": "a.duckdb"}, "'table' is required"),
        ({"path": "a.duckdb", "table": "a.b.c"}, "schema.table"),
        ({"path": "a.duckdb", "table": "t", "tabel": "t"}, "'tabel' is unknown"),
        ({"path": "a.duckdb", "table": "__penstock_marker"}, "internal"),
    ):
        with pytest.raises(UserError, match=says):
            DuckDbSink(replace(good, config=config))
    twice = T.Schema((T.Field("a", T.BIGINT), T.Field("A", T.BIGINT)))
    with pytest.raises(UserError, match="differ only in case"):
        DuckDbSink(replace(good, schema=twice))
    with pytest.raises(UserError, match="rowid"):
        DuckDbSink(replace(good, schema=T.schema(rowid=T.BIGINT), key=()))
    absent = replace(good, config={"path": str(tmp_path / "no" / "a"), "table": "t"})
    with pytest.raises(SinkRejected, match="does not exist"):
        DuckDbSink(absent).open()
    (tmp_path / "text").write_text("not a database")
    text = replace(good, config={"path": str(tmp_path / "text"), "table": "t"})
    with pytest.raises(SinkRejected, match="not a DuckDB file"):
        DuckDbSink(text).open()


def test_nested_values_are_lists_maps_and_structs(tmp_path: Path) -> None:
    schema = T.schema(
        k=T.BIGINT, list=T.array_of(T.decimal(8, 2)), map=T.map_of(T.VARCHAR, T.INTEGER),
        row=T.row_of(x=T.VARCHAR, Y=T.array_of(T.DATE)), variant=T.VARIANT,
    )  # fmt: skip
    day = datetime.date(2024, 2, 29)
    values = (1, [Decimal("1.50"), None], {"a": None}, ("ŭ", [day]), '{"b":[1.5]}')
    context = SinkContext("p", "v", "c", schema, {"path": str(tmp_path / "a"), "table": "t"})
    sink = DuckDbSink(context)
    sink.open()
    sink.validate()
    rows = [values, (2, None, None, None, None)]
    sink.apply(batch_from_rows(schema, rows), marker(1, 1, 2, pipeline_id="p", view="v"))
    sink.validate()
    with duckdb.connect(str(tmp_path / "a"), read_only=True) as db:
        assert db.execute("SELECT * FROM t ORDER BY k").fetchall() == [
            (1, [Decimal("1.50"), None], {"a": None}, {"x": "ŭ", "Y": [day]}, '{"b":[1.5]}'),
            rows[1],
        ]
    sink.apply(batch_from_rows(schema, [values], [-1]), marker(1, 2, 1, pipeline_id="p", view="v"))
    with duckdb.connect(str(tmp_path / "a"), read_only=True) as db:
        assert db.execute("SELECT k FROM t").fetchall() == [(2,)]
    sink.close()


def test_the_database_has_its_name_only_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill while DuckDB made it left a file that nobody could open."""
    target = DuckDbTarget(tmp_path)
    real, made = duckdb.connect, []

    def connect(path: str) -> duckdb.DuckDBPyConnection:
        if not Path(path).exists():
            made.append(path)
        return real(path)

    monkeypatch.setattr(duckdb, "connect", connect)
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    sink.close()
    assert made and str(target.path) not in made
    assert [p.name for p in tmp_path.iterdir()] == [target.path.name]
