"""What is particular to sqlite_output: value forms, shapes of tables, locks, files that vanish."""

from __future__ import annotations

import datetime
import sqlite3
import uuid
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.data import types as T
from penstock.data.build import batch_from_rows
from penstock.errors import UserError
from penstock.io.contracts import SinkContext, SinkRejected, SinkUnavailable
from penstock.io.outputs import sqlite_output
from penstock.io.outputs.sqlite_output import SqliteSink
from tests.contract.targets import SCHEMA, KeyedSqliteTarget, SqliteTarget
from tests.contract.test_sinks import batch, marker, reset, rows


def run(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(path) as db:
        return db.execute(sql).fetchall()


def test_every_type_has_one_exact_form(tmp_path: Path) -> None:
    schema = T.schema(
        big=T.BIGINT, ubig=T.UBIGINT, real=T.REAL, dec=T.decimal(30, 4), text=T.VARCHAR,
        blob=T.VARBINARY, day=T.DATE, time=T.TIME, stamp=T.TIMESTAMP, id=T.UUID, flag=T.BOOLEAN,
        list=T.array_of(T.INTEGER), row=T.row_of(x=T.VARCHAR), variant=T.VARIANT,
    )  # fmt: skip
    values = (
        -(2**63), 2**64 - 1, 0.5, Decimal("-12345678901234567890.1230"), "ŭ\0\"'", b"\0\xff",
        datetime.date(1969, 12, 31), datetime.time(1, 2, 3),
        datetime.datetime(2024, 2, 29, 12, 0, 0, 1), uuid.UUID(int=5), True,
        [1, None], ("ŭ",), '{"b": 1.50}',
    )  # fmt: skip
    none = (None,) * len(values)
    nan = (*none[:2], float("nan"), *none[3:])
    path = tmp_path / "a.sqlite"
    sink = SqliteSink(SinkContext("p", "v", "c", schema, {"path": str(path), "table": "t"}))
    sink.open()
    sink.apply(batch_from_rows(schema, [values, none, nan]), marker(1, 1, 3, pipeline_id="p",
               view="v"))  # fmt: skip

    assert run(path, "SELECT * FROM t ORDER BY rowid") == [
        (-(2**63), str(2**64 - 1), 0.5, "-12345678901234567890.1230", "ŭ\0\"'", b"\0\xff",
         "1969-12-31", "01:02:03.000000000", "2024-02-29 12:00:00.000001",
         "00000000-0000-0000-0000-000000000005", 1, "[1,null]", '{"x":"ŭ"}', '{"b":1.5}'),
        none,
        (None, None, "NaN", *none[3:]),
    ]  # fmt: skip
    sink.apply(batch_from_rows(schema, [values, none, nan], [-1] * 3), marker(1, 2, 0,
               pipeline_id="p", view="v"))  # fmt: skip
    assert run(path, "SELECT * FROM t") == []
    sink.close()


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ("TABLE \"my table\" (k INTEGER PRIMARY KEY, v TEXT)", "lacks the columns n, d, b, x"),
        ("TABLE \"my table\" (k INTEGER PRIMARY KEY, v, n, d, b, x, y)", "has not: y"),
        ("TABLE \"my table\" (k, v, n, d, b, x)", r"no primary key .* \(k\)"),
        ("TABLE \"my table\" (k, v, n, d, b, x, PRIMARY KEY (k, v))", r"no primary key .* \(k\)"),
        ("VIEW \"my table\" AS SELECT 1 AS k", "is a view"),
    ],
)  # fmt: skip
def test_a_table_of_another_shape_is_refused(tmp_path: Path, made: str, says: str) -> None:
    target = KeyedSqliteTarget(tmp_path)
    run(target.path, f"CREATE {made}")
    sink = target.sink()
    with pytest.raises(SinkRejected, match=says):
        sink.validate()
    with pytest.raises(SinkRejected, match=says):
        sink.apply(batch((rows(1), 1)), marker(1, 1, 1))
    sink.close()


def test_a_table_of_somebody_else_with_the_right_shape_keeps_its_definition(
    tmp_path: Path,
) -> None:
    target = KeyedSqliteTarget(tmp_path)
    run(target.path, 'CREATE TABLE "my table" (x DOUBLE, b BOOL, d DATE, n NUMERIC, v, k INT)')
    run(target.path, 'CREATE UNIQUE INDEX by_k ON "my table" (k)')
    run(target.path, 'CREATE VIEW over AS SELECT count(*) AS n FROM "my table"')
    run(target.path, "INSERT INTO \"my table\" (k, v) VALUES (1, 'old'), (9, 'old')")
    before = run(target.path, "SELECT sql FROM sqlite_master WHERE name IN ('my table', 'by_k')")
    sink = target.sink()
    sink.validate()
    reset(sink, rows(1, 2, 3), 1)
    sink.apply(batch((rows(3), -1)), marker(1, 2, 2))
    sink.close()

    after = run(target.path, "SELECT sql FROM sqlite_master WHERE name IN ('my table', 'by_k')")
    assert after == before
    assert run(target.path, "SELECT n FROM over") == [(2,)]
    assert run(target.path, 'SELECT k, n FROM "my table" ORDER BY k') == [(1, 1.5), (2, 2.5)]


def test_a_locked_file_is_a_passing_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_output, "BUSY_TIMEOUT_S", 0.05)
    target = SqliteTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    other = sqlite3.connect(target.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SinkUnavailable, match="locked"):
        sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    other.execute("ROLLBACK")
    other.close()
    sink.apply(batch((rows(2), 1)), marker(1, 2, 2))

    assert target.look() == rows(1, 2)
    sink.close()


def test_a_file_that_was_removed_is_noticed_and_made_anew(tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(SinkUnavailable, match="removed"):
        sink.begin(2, "token-2", 2)
    sink.close()
    sink.open()
    reset(sink, rows(2), 2)

    assert target.look() == rows(2)
    sink.close()


def test_a_stage_that_was_dropped_is_staging_lost_not_a_smaller_table(tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1, 2), 1)
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(3), 1)))
    staged = "SELECT name FROM sqlite_master WHERE name LIKE '__penstock_stage_my table_%_g2'"
    run(target.path, f'DROP TABLE "{run(target.path, staged)[0][0]}"')
    with pytest.raises(SinkUnavailable, match="begin again"):
        sink.stage(2, 1, batch((rows(4), 1)))
    with pytest.raises(SinkUnavailable, match="begin again"):
        sink.publish(2, marker(2, 2, 1))

    assert target.look() == rows(1, 2)
    sink.close()


def test_what_cannot_work_is_said_at_once(tmp_path: Path) -> None:
    good = SqliteTarget(tmp_path).context()
    absent = SqliteSink(
        replace(good, config={"path": str(tmp_path / "no" / "a.sqlite"), "table": "t"})
    )
    with pytest.raises(SinkRejected, match="does not exist"):
        absent.open()
    for config, says in (
        ({"path": "a.sqlite"}, "'table' is required"),
        ({"path": "a.sqlite", "table": "t", "tabel": "t"}, "'tabel' is unknown"),
        ({"path": "a.sqlite", "table": "t", "journal_mode": "off"}, "journal_mode"),
        ({"path": "a.sqlite", "table": "__penstock_marker"}, "internal"),
    ):
        with pytest.raises(UserError, match=says):
            SqliteSink(replace(good, config=config))
    twice = T.Schema((T.Field("a", T.BIGINT), T.Field("A", T.BIGINT)))
    with pytest.raises(UserError, match="differ only in case"):
        SqliteSink(replace(good, schema=twice))
    (tmp_path / "text").write_text("not a database, " * 100)
    text = SqliteSink(replace(good, config={"path": str(tmp_path / "text"), "table": "t"}))
    with pytest.raises(SinkRejected, match="not a database"):
        text.open()


def test_a_column_named_rowid_does_not_confuse_deletes(tmp_path: Path) -> None:
    schema = T.Schema((T.Field("rowid", T.BIGINT), T.Field("oid", T.BIGINT)))
    path = tmp_path / "a.sqlite"
    sink = SqliteSink(SinkContext("p", "v", "c", schema, {"path": str(path), "table": "t"}))
    sink.open()
    owner = {"pipeline_id": "p", "view": "v"}
    sink.apply(batch_from_rows(schema, [(7, 1), (7, 2), (8, 1)], [3, 2, 1]), marker(1, 1, 6,
               **owner))  # fmt: skip
    sink.apply(batch_from_rows(schema, [(7, 1), (7, 2)], [-2, -2]), marker(1, 2, 2, **owner))

    assert sorted(run(path, "SELECT * FROM t")) == [(7, 1), (8, 1)]
    sink.close()


def test_the_schema_of_the_suite_is_a_rowid_table_with_an_index(tmp_path: Path) -> None:
    """Deleting by whole row must find it by index, or a delta would cost the size of the table."""
    target = SqliteTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    same = " AND ".join(f"{n} IS ?" for n in SCHEMA.names)
    with sqlite3.connect(target.path) as db:
        plan = db.execute(
            f'EXPLAIN QUERY PLAN SELECT rowid FROM "my table" WHERE {same}', (None,) * len(SCHEMA)
        ).fetchall()

    assert "SEARCH" in plan[0][3]
    sink.close()


def test_a_reset_repairs_values_swapped_under_a_unique_constraint_of_the_target(
    tmp_path: Path,
) -> None:
    schema = T.schema(k=T.INTEGER.with_nullable(False), v=T.VARCHAR)
    path = tmp_path / "a.sqlite"
    run(path, "CREATE TABLE t (k INTEGER PRIMARY KEY, v TEXT UNIQUE)")
    sink = SqliteSink(
        SinkContext("p", "v", "c", schema, {"path": str(path), "table": "t"}, None, (0,))
    )
    sink.open()
    wanted = [(1, "a"), (2, "b"), (3, "c")]
    owner = {"pipeline_id": "p", "view": "v"}
    for generation in (1, 2):
        sink.begin(generation, f"t{generation}", 1)
        sink.stage(generation, 0, batch_from_rows(schema, wanted))
        sink.publish(generation, replace(marker(generation, 1, 3, **owner), token=f"t{generation}"))
        assert sorted(run(path, "SELECT * FROM t")) == wanted
        run(path, "UPDATE t SET v = 'x' WHERE k = 1")
        run(path, "UPDATE t SET v = 'a' WHERE k = 2")
        run(path, "UPDATE t SET v = 'b' WHERE k = 1")
    sink.close()


@pytest.mark.parametrize("has_stranger", [False, True])
def test_a_look_leaves_a_file_as_it_is(tmp_path: Path, has_stranger: bool) -> None:
    target = SqliteTarget(tmp_path)
    run(target.path, "CREATE TABLE others (x)")
    if has_stranger:
        sink = target.sink()
        reset(sink, rows(1), 1)
        sink.close()
        run(target.path, "PRAGMA journal_mode = delete")
    before = target.path.read_bytes()
    sink = target.sink(connector="another")
    with pytest.raises(SinkRejected, match="belongs to") if has_stranger else nullcontext():
        sink.validate()
    sink.close()
    assert target.path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [target.path.name]


def test_a_file_that_comes_after_the_look_is_looked_at_before_it_is_written(tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path)
    sink = target.sink(connector="another")
    sink.validate()
    stranger = target.sink()
    reset(stranger, rows(1), 1)
    stranger.close()
    with pytest.raises(SinkRejected, match="belongs to"):
        reset(sink, rows(2), 1)
    sink.close()
    assert target.look() == rows(1)


MADE = """CREATE TABLE "my table"
(k INTEGER, v TEXT COLLATE NOCASE{}, n TEXT, d TEXT, b INTEGER, x REAL)"""


@pytest.mark.parametrize("is_diff", [False, True])
@pytest.mark.parametrize("is_keyed", [False, True])
def test_texts_that_a_collation_takes_for_equal_are_put_right_too(
    tmp_path: Path, is_keyed: bool, is_diff: bool
) -> None:
    target = SqliteTarget(tmp_path)
    run(target.path, MADE.format(" PRIMARY KEY" if is_keyed else ""))
    sink = target.sink(key=(1,) if is_keyed else ())
    view = rows(2, v="b") + rows(3, v="c") + rows(*([1] if is_keyed else [1, 1, 1]), v="a")
    reset(sink, view, 1)
    last = """(SELECT max(rowid) FROM "my table" WHERE k = 1)"""
    run(target.path, f"""UPDATE "my table" SET v = 'A' WHERE rowid = {last}""")
    assert target.look() != view
    (sink.begin_diff if is_diff else sink.begin)(2, "token-2", 2)
    sink.stage(2, 0, batch((view, 1)))
    sink.publish(2, marker(2, 2, view.total()))

    assert target.look() == view
    sink.close()


@pytest.mark.parametrize("kind", [SqliteTarget, KeyedSqliteTarget])
def test_mode_diff_writes_only_the_rows_that_differ(
    tmp_path: Path, kind: type[SqliteTarget]
) -> None:
    target = kind(tmp_path)
    sink = target.sink()
    reset(sink, rows(*range(100)), 1)
    run(target.path, """UPDATE "my table" SET v = 'damaged' WHERE k = 7""")
    run(target.path, """DELETE FROM "my table" WHERE k = 8""")
    run(target.path, "CREATE TABLE log (k)")
    for event, row in (("DELETE", "old"), ("INSERT", "new"), ("UPDATE", "new")):
        run(
            target.path,
            f"""CREATE TRIGGER t{event} AFTER {event} ON "my table"
            BEGIN INSERT INTO log VALUES ({row}.k); END""",
        )
    sink.begin_diff(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(*range(100)), 1)))
    sink.publish(2, marker(2, 2, 100))

    assert target.look() == rows(*range(100))
    assert Counter(run(target.path, "SELECT k FROM log")) == Counter({(7,): 2, (8,): 1})
    sink.close()


ROOT = "SELECT rootpage FROM sqlite_master WHERE name = 'my table'"
DEFINITIONS = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name"


@pytest.mark.parametrize("kind", [SqliteTarget, KeyedSqliteTarget])
@pytest.mark.parametrize("beside", ["", "CREATE VIEW broken AS SELECT * FROM nowhere"])
def test_a_table_that_is_only_ours_is_replaced_by_the_stage(
    tmp_path: Path, kind: type[SqliteTarget], beside: str
) -> None:
    """Whatever else is in the file: the stage takes the table's name."""
    target = kind(tmp_path)
    run(target.path, beside or "SELECT 1")
    sink = target.sink()
    reset(sink, rows(1, 2, 3), 1)
    definitions = run(target.path, DEFINITIONS)
    run(target.path, """DELETE FROM "my table" WHERE k = 2""")
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(1, 2), 1)))
    (stage,) = run(target.path, "SELECT rootpage FROM sqlite_master WHERE name LIKE '%stage%'")
    sink.publish(2, marker(2, 2, 2))

    assert run(target.path, ROOT) == [stage]
    assert run(target.path, DEFINITIONS) == definitions
    assert target.look() == rows(1, 2)
    sink.apply(batch((rows(2), -1)), marker(2, 3, 1))
    assert target.look() == rows(1)
    sink.close()


@pytest.mark.parametrize("kind", [SqliteTarget, KeyedSqliteTarget])
@pytest.mark.parametrize(
    "statement",
    [
        'CREATE INDEX by_v ON "my table" (v)',
        'CREATE VIEW beyond AS SELECT count(*) AS n FROM "MY TABLE"',
        'CREATE TRIGGER seen AFTER DELETE ON "my table" BEGIN INSERT INTO log VALUES (old.k); END',
        'CREATE TABLE child (k REFERENCES "My table" (k))',
    ],
    ids=["index", "view", "trigger", "foreign key"],
)
def test_a_table_that_somebody_built_upon_stays_itself(
    tmp_path: Path, kind: type[SqliteTarget], statement: str
) -> None:
    target = kind(tmp_path)
    sink = target.sink()
    reset(sink, rows(1, 2, 3), 1)
    run(target.path, "CREATE TABLE log (k)")
    run(target.path, statement)
    definitions, root = run(target.path, DEFINITIONS), run(target.path, ROOT)
    reset(sink, rows(1, 3), 2)

    assert run(target.path, ROOT) == root
    assert run(target.path, DEFINITIONS) == definitions
    assert target.look() == rows(1, 3)
    sink.close()


def test_a_row_there_very_often_is_counted_not_compared(tmp_path: Path) -> None:
    target = SqliteTarget(tmp_path)
    sink = target.sink()
    same = Counter(dict.fromkeys(rows(1), 30000))
    reset(sink, same + rows(2), 1)
    sink.begin_diff(2, "token-2", 2)
    sink.stage(2, 0, batch((same, 1)))
    sink.publish(2, marker(2, 2, 30_000))

    assert target.look() == same
    sink.close()


def test_a_file_that_can_be_read_only_for_the_moment_is_tried_again(tmp_path: Path) -> None:
    """SQLite reads only where it cannot open the index of its log, for want of room say."""
    target = SqliteTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.close()
    index = target.path.with_name(target.path.name + "-shm")
    index.mkdir()
    later = target.sink()
    with pytest.raises(SinkUnavailable, match="readonly"):
        later.validate()
    index.rmdir()
    later.open()
    later.validate()
    later.apply(batch((rows(2), 1)), marker(1, 2, 2))

    assert target.look() == rows(1, 2)
    later.close()


@pytest.mark.parametrize("columns", [1, 4, 600, 1100])
def test_rows_of_any_width_are_staged_many_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """More than memory holds at once, in chunks whose keys interleave, and a rest in the end."""
    monkeypatch.setattr("penstock.io.outputs.sqlite_output.HELD_BYTES", 100 * (columns + 1) * 8)
    monkeypatch.setattr("penstock.io.outputs.sqlite_output._PIECE_ROWS", 70)
    schema = T.schema(**{f"c{i}": T.BIGINT.with_nullable(False) for i in range(columns)})
    path = tmp_path / "a.sqlite"
    config = {"path": str(path), "table": "t"}
    sink = SqliteSink(SinkContext("p", "v", "c", schema, config, None, (0,)))
    sink.open()
    wanted = [tuple(range(r * columns, (r + 1) * columns)) for r in range(250)]
    sink.begin(1, "token-1", 1)
    for chunk in range(9):
        sink.stage(1, chunk, batch_from_rows(schema, wanted[chunk::9]))
    ((stage,),) = run(path, "SELECT name FROM sqlite_master WHERE name LIKE '%penstock_stage%'")
    ((staged,),) = run(path, f'SELECT count(*) FROM "{stage}"')
    assert 0 < staged < len(wanted)
    sink.publish(1, marker(1, 1, len(wanted), pipeline_id="p", view="v"))
    sink.close()
    assert run(path, "SELECT * FROM t ORDER BY c0") == wanted
