"""What is particular to delta_table_output: what survives a reset, types, shapes, the log, S3."""

from __future__ import annotations

import datetime
import json
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import duckdb
import pyarrow as pa
import pytest

from penstock.data import types as T
from penstock.data.arrow import to_arrow
from penstock.data.build import batch_from_rows
from penstock.errors import UserError
from penstock.io.contracts import SinkContext, SinkRejected, SinkUnavailable, StagingLost
from penstock.io.outputs import delta_reader
from penstock.io.outputs.delta_output import DeltaSink
from penstock.io.outputs.delta_table import DeltaTarget as DeltaTable
from tests.contract.targets import AppendedDeltaTarget, DeltaTarget
from tests.contract.test_sinks import batch, marker, reset, row, rows, words
from tests.servers import S3Server


def versions(uri: str) -> list[int]:
    return [h["version"] for h in deltalake.DeltaTable(uri).history()]


def files(target: DeltaTarget) -> set[str]:
    return {p.name for p in Path(target.uri).glob("*.parquet")}


def test_history_properties_and_change_feed_survive_a_reset(tmp_path: Path) -> None:
    target = DeltaTarget(tmp_path)
    deltalake.DeltaTable.create(
        target.uri,
        pa.schema([("k", pa.int64()), ("v", pa.utf8()), ("n", pa.decimal128(20, 4)),
                   ("d", pa.date32()), ("b", pa.bool_()), ("x", pa.float64()),
                   ("note", pa.utf8())]),
        name="theirs", description="by hand",
        configuration={"delta.enableChangeDataFeed": "true", "delta.logRetentionDuration":
                       "interval 90 days"},
    )  # fmt: skip
    before = deltalake.DeltaTable(target.uri).metadata()
    sink = target.sink()
    sink.validate()
    reset(sink, rows(1, 2), 1)
    sink.apply(batch((rows(2), -1), (rows(2, v="b"), 1)), marker(1, 2, 2))
    reset(sink, rows(3), 2)
    sink.close()

    after = deltalake.DeltaTable(target.uri)
    assert after.metadata() is not before
    assert (after.metadata().id, after.metadata().name) == (before.id, "theirs")
    assert after.metadata().configuration == before.configuration
    assert after.to_pyarrow_table().to_pylist()[0]["note"] is None
    assert after.version() == 3
    old = deltalake.DeltaTable(target.uri, version=2).to_pyarrow_table().to_pylist()
    assert {(r["k"], r["v"]) for r in old} == {(1, "a"), (2, "b")}
    feed = pa.table(after.load_cdf(starting_version=2).read_all()).to_pylist()
    assert Counter(
        (r["_commit_version"], r["_change_type"], r["k"], r["v"]) for r in feed
    ) == Counter([
        (2, "update_preimage", 2, "a"), (2, "update_postimage", 2, "b"),
        (3, "delete", 1, "a"), (3, "delete", 2, "b"), (3, "insert", 3, "a"),
    ])  # fmt: skip


def test_a_log_tells_inserts_updates_deletes_and_resets(tmp_path: Path) -> None:
    target = AppendedDeltaTarget(tmp_path)
    sink = target.sink()
    sink.apply(batch((rows(1, 2, 3), 1)), marker(1, 1, 3))
    sink.apply(
        batch((rows(1), -1), (rows(1, v="b"), 1), (rows(2), -1), (rows(9), 1)), marker(1, 2, 3)
    )
    reset(sink, rows(1, 5), 2)
    reset(sink, Counter(), 3)
    sink.close()
    found = target.read()
    assert found is not None
    told: dict[int, set[tuple[Any, ...]]] = {}
    for r in found:
        event = (r["__feldera_op"], r["k"], r["v"], r["__penstock_generation"])
        told.setdefault(r["__feldera_ts"], set()).add(event)

    assert [told[ts] for ts in sorted(told)] == [
        {("i", 1, "a", 1), ("i", 2, "a", 1), ("i", 3, "a", 1)},
        {("u", 1, "b", 1), ("d", 2, "a", 1), ("i", 9, "a", 1)},
        {("r", None, None, 2), ("i", 1, "a", 2), ("i", 5, "a", 2)},
        {("r", None, None, 3)},
    ]


def test_the_queries_of_the_page_read_the_view_out_of_a_log(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "connectors" / "delta.md"
    sql = page.read_text().split("```sql\n")[1].split("```")[0]
    copies, by_key = sql.strip().removesuffix(";").split(";")
    schema = T.schema(id=T.INTEGER.with_nullable(False), total=T.BIGINT)
    for key, query in (((), copies), ((0,), by_key)):
        uri = str(tmp_path / f"log{len(key)}")
        sink = DeltaSink(SinkContext("p", "m", "c", schema, {"uri": uri}, None, key))
        sink.open()
        owner = {"pipeline_id": "p"}
        sink.apply(batch_from_rows(schema, [(1, 5), (2, 6)]), marker(1, 1, 2, **owner))
        sink.begin(2, "token-2", 2)
        sink.stage(2, 0, batch_from_rows(schema, [(1, 7), (3, 8), (4, None)]))
        sink.publish(2, marker(2, 2, 3, **owner))
        change = batch_from_rows(schema, [(1, 7), (1, 9), (3, 8), (5, 1)], [-1, 1, -1, 1])
        sink.apply(change, marker(2, 3, 3, **owner))
        sink.close()
        log = deltalake.DeltaTable(uri).to_pyarrow_table()
        with duckdb.connect() as db:
            found = db.register("log", log).execute(query).fetchall()

        assert sorted(r[:2] for r in found) == [(1, 9), (4, None), (5, 1)]


def test_a_log_of_others_is_followed_but_not_reset(tmp_path: Path) -> None:
    target = AppendedDeltaTarget(tmp_path)
    columns = [("k", pa.int32()), ("v", pa.utf8()), ("n", pa.decimal128(10, 2)), ("d", pa.date32()),
               ("b", pa.bool_()), ("x", pa.float64()), ("__feldera_op", pa.utf8()),
               ("__feldera_ts", pa.int64())]  # fmt: skip
    deltalake.DeltaTable.create(target.uri, pa.schema(columns))
    sink = target.sink()
    sink.validate()
    sink.apply(batch((rows(1), 1)), marker(1, 1, 1))
    with pytest.raises(SinkRejected, match="no column __penstock_generation"):
        sink.begin(2, "token-2", 1)
    sink.close()

    found = target.read()
    assert found is not None
    assert [(r["k"], r["__feldera_op"]) for r in found] == [(1, "i")]


def test_error_if_exists_takes_no_table_that_is_there(tmp_path: Path) -> None:
    target = AppendedDeltaTarget(tmp_path)
    deltalake.write_deltalake(target.uri, pa.table({"k": [1]}))
    config = {**target.config(), "mode": "error_if_exists"}
    sink = target.sink(config=config)
    with pytest.raises(SinkRejected, match="exists already"):
        sink.validate()
    target.remove()
    sink.validate()
    reset(sink, rows(1), 1)
    sink.close()
    again = target.sink(config=config)
    again.validate()
    again.apply(batch((rows(2), 1)), marker(1, 2, 2))

    assert target.look() == rows(1, 2)
    again.close()


def test_every_type_has_its_own(tmp_path: Path) -> None:
    schema = T.schema(
        tiny=T.TINYINT, usmall=T.USMALLINT, uint=T.UINTEGER, ubig=T.UBIGINT, real=T.REAL,
        dbl=T.DOUBLE, dec=T.decimal(38, 4), text=T.VARCHAR, blob=T.VARBINARY, day=T.DATE,
        time=T.TIME, stamp=T.TIMESTAMP, zoned=T.TIMESTAMP_TZ, id=T.UUID, flag=T.BOOLEAN,
        short=T.SqlType(T.Kind.INTERVAL_SHORT, unit="DAY"),
        long=T.SqlType(T.Kind.INTERVAL_LONG, unit="YEAR"), json=T.VARIANT,
    )  # fmt: skip
    stamp = datetime.datetime(2024, 2, 29, 12, 0, 0, 1)
    values = (
        -128, 2**16 - 1, 2**32 - 1, 2**64 - 1, 0.5, 1e300,
        Decimal("-1234567890123456789012345678901234.1230"), "ŭ\0\"'", b"\0\xff",
        datetime.date(1969, 12, 31), datetime.time(1, 2, 3), stamp,
        stamp.replace(tzinfo=datetime.UTC), uuid.UUID(int=5), True, 86_400_000_001, 14,
        '{"a":[null]}',
    )  # fmt: skip
    none = (None,) * len(values)
    written = list(values)
    written[3] = Decimal(2**64 - 1)
    written[10] = (3600 + 2 * 60 + 3) * 10**9
    written[13] = str(values[13])
    owner = {"pipeline_id": "p", "view": "v"}
    for mode, key in (("materialized", (0,)), ("truncate", ())):
        uri = str(tmp_path / mode)
        context = SinkContext("p", "v", "c", schema, {"uri": uri, "mode": mode}, None, key)
        sink = DeltaSink(context)
        sink.open()
        first = [values] if key else [values, none]
        sink.begin(1, "token-1", 1)
        sink.stage(1, 0, batch_from_rows(schema, first))
        sink.publish(1, marker(1, 1, len(first), **owner))
        changed = (-127, *values[1:])
        sink.apply(batch_from_rows(schema, [values, changed], [-1, 1]), marker(1, 2, 1, **owner))
        sink.close()
        found = deltalake.DeltaTable(uri).to_pyarrow_table().select(list(schema.names)).to_pylist()
        wanted = [tuple(written)] * 2 + [none] if mode == "truncate" else []
        wanted.append((-127, *written[1:]))
        assert Counter(tuple(r.values()) for r in found) == Counter(wanted)


NESTED = T.schema(
    k=T.BIGINT,
    a=T.array_of(T.array_of(T.UBIGINT)),
    m=T.map_of(T.VARCHAR, T.TIME),
    r=T.row_of(day=T.DATE, stamps=T.array_of(T.TIMESTAMP), json=T.VARIANT),
    last=T.INTEGER,
)
FULL: tuple[Any, ...] = (
    [[2**64 - 1, None], [], None],
    {"é": datetime.time(0, 0, 1), "b": None},
    (datetime.date(2024, 2, 29), [datetime.datetime(2024, 2, 29, 12)], '{"a":1}'),
    7,
)
TOLD = (
    [[Decimal(2**64 - 1), None], [], None],
    [("b", None), ("é", 10**9)],
    {"day": FULL[2][0], "stamps": FULL[2][1], "json": FULL[2][2]},
    7,
)
EMPTY = ([], {}, (None, None, None), None)


@pytest.mark.parametrize("mode", ["materialized", "append"])
def test_arrays_maps_and_rows_are_deltas_own(tmp_path: Path, mode: str) -> None:
    none = (None,) * 4
    context = SinkContext(
        "p", "v", "c", NESTED, {"uri": str(tmp_path / "t"), "mode": mode}, None, (0,)
    )
    owner = {"pipeline_id": "p", "view": "v"}
    sink = DeltaSink(context)
    sink.open()
    sink.begin(1, "token-1", 1)
    first = batch_from_rows(NESTED, [(1, *FULL), (2, *none), (3, *EMPTY)])
    sink.stage(1, 0, first)
    sink.publish(1, marker(1, 1, 3, **owner))
    changed = batch_from_rows(
        NESTED, [(2, *none), (2, *FULL), (3, *EMPTY), (4, *FULL)], [-1, 1, -1, 1]
    )
    sink.apply(changed, marker(1, 2, 3, **owner))

    table = deltalake.DeltaTable(context.config["uri"])
    told = table.to_pyarrow_table().select(list(NESTED.names)).to_pylist()
    assert {tuple(map(repr, r.values())) for r in told if r["last"] == 7} == {
        tuple(map(repr, (k, *TOLD))) for k in (1, 2, 4)
    }
    if mode == "materialized":
        assert len(told) == 3
        contents = sink.read()
        shown = [r for b in contents.rows for r in to_arrow(b).to_pylist()]
        view = batch_from_rows(NESTED, [(k, *FULL) for k in (1, 2, 4)])
        spelt = to_arrow(contents.spell(view)).to_pylist()
        assert sorted(map(str, shown)) == sorted(map(str, spelt))
        DeltaSink(context).validate()
    sink.close()


@pytest.mark.parametrize(
    ("columns", "properties", "partitions", "says"),
    [
        ({"x": None}, {}, [], "lacks the column 'x'"),
        ({"k": pa.int16()}, {}, [], "'k' of type int16, not int32"),
        ({"n": pa.decimal128(9, 2)}, {}, [], "'n' of type decimal128"),
        ({"y": pa.field("y", pa.int32(), False)}, {}, [], "NOT NULL column 'y'"),
        ({"v": pa.field("v", pa.utf8(), False)}, {}, [], "'v' NOT NULL"),
        ({}, {}, ["b"], "partitioned by b"),
        ({}, {"delta.appendOnly": "true"}, [], "append-only"),
    ],
)
def test_a_table_of_another_shape_is_refused(
    tmp_path: Path,
    columns: Mapping[str, Any],
    properties: dict[str, str],
    partitions: list[str],
    says: str,
) -> None:
    target = DeltaTarget(tmp_path)
    made: dict[str, Any] = {"k": pa.int32(), "v": pa.utf8(), "n": pa.decimal128(10, 2),
                            "d": pa.date32(), "b": pa.bool_(), "x": pa.float64()}  # fmt: skip
    made |= columns
    fields = [
        t if isinstance(t, pa.Field) else pa.field(n, t) for n, t in made.items() if t is not None
    ]
    deltalake.DeltaTable.create(
        target.uri, pa.schema(fields), configuration=properties, partition_by=partitions
    )
    sink = target.sink()
    for call in (sink.validate, lambda: sink.begin(1, "token-1", 1),
                 lambda: sink.apply(batch((rows(1), 1)), marker(1, 1, 1))):  # fmt: skip
        with pytest.raises(SinkRejected, match=says):
            call()

    assert target.look() is None or target.read() == []
    sink.close()


def test_what_was_staged_and_not_published_leaves_no_file(tmp_path: Path) -> None:
    target = DeltaTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    before = files(target)
    for end in (lambda: sink.abort(2), lambda: sink.begin(3, "token-3", 1), sink.close):
        sink.begin(2, "token-2", 1)
        sink.stage(2, 0, batch((rows(5), 1)))
        end()
    sink.close()

    assert files(target) == before
    assert target.look() == rows(1)


def _lose(uri: str, what: str) -> None:
    log = sorted((Path(uri) / "_delta_log").glob("*.json"))
    match what:
        case "the first commit":
            log[0].unlink()
        case "one between":
            log[1].unlink()
        case "half of the last":
            log[-1].write_bytes(log[-1].read_bytes()[:40])


LOSSES = ["the first commit", "one between", "half of the last"]


@pytest.mark.parametrize("what", LOSSES)
@pytest.mark.parametrize("kind", [DeltaTarget, AppendedDeltaTarget])
def test_a_log_that_lost_a_part_so_that_nobody_can_read_it_is_written_anew(
    kind: type[DeltaTarget], what: str, tmp_path: Path
) -> None:
    target = kind(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    for k in (2, 3):
        sink.apply(batch((rows(k), 1)), marker(1, k, k))
    _lose(target.uri, what)
    with pytest.raises(ValueError, match="nobody can read it"):
        target.look()

    with pytest.raises(SinkUnavailable):
        sink.apply(batch((rows(4), 1)), marker(1, 4, 4))
    sink.close()
    anew = target.sink()
    anew.validate()
    assert anew.marker() is None
    reset(anew, rows(1, 2, 3, 4), 2, step=4)
    anew.apply(batch((rows(5), 1)), marker(2, 5, 5))
    assert target.look() == rows(1, 2, 3, 4, 5)
    anew.close()


@pytest.mark.parametrize("kind", [DeltaTarget, AppendedDeltaTarget])
def test_a_table_that_is_removed_within_a_call_is_a_passing_failure(
    kind: type[DeltaTarget], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = kind(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    made = DeltaTable.properties

    def removed(self: DeltaTable, *args: Any) -> Any:
        target.remove()
        return made(self, *args)

    monkeypatch.setattr(DeltaTable, "properties", removed)
    with pytest.raises(SinkUnavailable):
        sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    monkeypatch.undo()
    sink.close()
    anew = target.sink()
    reset(anew, rows(1, 2), 2, step=2)
    assert target.look() == rows(1, 2)
    anew.close()


@pytest.mark.parametrize("what", LOSSES)
def test_a_broken_log_of_others_is_refused_and_untouched(what: str, tmp_path: Path) -> None:
    target = DeltaTarget(tmp_path)
    for k in range(3):
        deltalake.write_deltalake(target.uri, pa.table({"k": [k]}), mode="append")
    _lose(target.uri, what)
    before = {p: p.read_bytes() for p in Path(target.uri).rglob("*") if p.is_file()}
    with pytest.raises(SinkRejected, match=r"cannot be read .* nothing .* says that it is ours"):
        target.sink().validate()
    assert {p: p.read_bytes() for p in Path(target.uri).rglob("*") if p.is_file()} == before


def test_a_marker_whose_commit_was_cleaned_up_still_fences(tmp_path: Path) -> None:
    target = DeltaTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 5)
    sink.close()
    table = deltalake.DeltaTable(target.uri)
    for text in ("'x'", "'y'"):
        table.update({"v": text}, predicate="k = 1")
    table.create_checkpoint()
    (Path(target.uri) / "_delta_log" / f"{0:020}.json").unlink()
    sink = target.sink()
    found = sink.marker()

    assert found is not None
    assert (found.generation, found.step, found.token) == (5, 1, "")
    with pytest.raises(SinkRejected, match="generation 5"):
        sink.apply(batch((rows(2), 1)), marker(4, 9, 2))
    with pytest.raises(SinkRejected, match="another token"):
        sink.apply(batch((rows(2), 1)), marker(5, 9, 2))
    reset(sink, rows(2), 6)
    assert target.look() == rows(2)
    sink.close()


def test_a_table_that_changed_its_columns_while_staging_is_staged_again(tmp_path: Path) -> None:
    target = DeltaTarget(tmp_path)
    sink = target.sink()
    sink.begin(1, "token-1", 1)
    sink.stage(1, 0, batch((rows(1), 1)))
    deltalake.DeltaTable.create(
        target.uri,
        pa.schema([("k", pa.int64()), ("v", pa.utf8()), ("n", pa.decimal128(10, 2)),
                   ("d", pa.date32()), ("b", pa.bool_()), ("x", pa.float64())]),
    )  # fmt: skip
    with pytest.raises(StagingLost, match="other columns"):
        sink.publish(1, marker(1, 1, 1))
    reset(sink, rows(1), 1)

    assert target.look() == rows(1)
    sink.close()


def test_a_delta_that_changes_nothing_is_counted_as_done(tmp_path: Path) -> None:
    target = DeltaTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.apply(batch((rows(7), -1)), marker(1, 2, 1))

    assert sink.marker() == marker(1, 2, 1)
    assert target.look() == rows(1)
    sink.close()


def test_what_cannot_work_is_said_at_once(tmp_path: Path) -> None:
    good = DeltaTarget(tmp_path).context()
    for change, says in (
        ({"config": {"mode": "append"}}, "'uri' is required"),
        ({"config": {"uri": "a", "mode": "overwrite"}}, "must be one of append"),
        ({"config": {"uri": "a", "moed": "append"}}, "'moed' is unknown"),
        ({"key": ()}, "needs a unique key"),
        ({"schema": T.schema(k=T.array_of(T.BIGINT))}, "cannot carry"),
        ({"schema": T.schema(k=T.BIGINT, r=T.row_of(**{"a b": T.BIGINT}))}, "rename it"),
        ({"schema": T.Schema((T.Field("k", T.BIGINT), T.Field("K", T.BIGINT)))}, "only in case"),
        ({"schema": T.Schema((T.Field("k", T.BIGINT), T.Field("a b", T.BIGINT)))}, "rename it"),
    ):
        with pytest.raises(UserError, match=says):
            DeltaSink(replace(good, **change))
    (tmp_path / "file").write_text("")
    sink = DeltaSink(replace(good, config={"uri": str(tmp_path / "file"), "mode": "materialized"}))
    with pytest.raises(SinkRejected, match="is a file"):
        sink.open()


class S3Target(DeltaTarget):
    def __init__(self, server: S3Server) -> None:
        self.uri = f"s3://{server.new_bucket()}/some/t"
        self.options = server.options

    def config(self) -> dict[str, Any]:
        return {**super().config(), **self.options}

    def read(self) -> list[dict[str, Any]] | None:
        table = deltalake.DeltaTable(self.uri, storage_options=self.options)
        return table.to_pyarrow_table().to_pylist()


@pytest.fixture
def target(s3: S3Server) -> Iterator[S3Target]:
    yield S3Target(s3)


def test_a_table_in_s3_is_replaced_and_followed(target: S3Target) -> None:
    sink = target.sink()
    sink.validate()
    assert sink.marker() is None
    reset(sink, rows(1, 2, 3), 1)
    sink.apply(batch((rows(2), -1), (rows(3), -1), (rows(3, v="b"), 1)), marker(1, 2, 2))
    assert target.look() == rows(1) + rows(3, v="b")
    reset(sink, rows(5), 2)
    sink.begin(3, "token-3", 5)
    sink.stage(3, 0, batch((rows(8), 1)))
    sink.close()

    assert target.look() == rows(5)
    again = target.sink()
    assert again.marker() == marker(2, 1, 1)
    again.close()


def test_of_writers_in_s3_at_the_same_time_every_one_is_heard_once(target: S3Target) -> None:
    """Conditional puts: no commit overwrites another's."""
    first = target.sink()
    reset(first, rows(0), 1)
    first.close()
    outcomes: Counter[str] = Counter()

    def write() -> None:
        sink = target.sink()
        for step in range(2, 5):
            try:
                sink.apply(batch((rows(step), 1)), marker(1, step, step))
                outcomes["done"] += 1
            except SinkUnavailable as e:
                outcomes[str(e)] += 1
        sink.close()

    threads = [threading.Thread(target=write) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()

    assert outcomes == {"done": 9}
    assert target.look() == rows(0, 2, 3, 4)


def test_an_object_store_that_is_down_is_a_passing_failure_and_a_wrong_bucket_is_not(
    target: S3Target,
) -> None:
    down = {**target.config(), "aws_endpoint": "http://127.0.0.1:1", "connect_timeout": "1s"}
    sink = DeltaSink(replace(target.context(), config=down))
    with pytest.raises(SinkUnavailable, match="delta_table_output: open"):
        sink.open()
    absent = {**target.config(), "uri": "s3://no-such-bucket/t"}
    sink = DeltaSink(replace(target.context(), config=absent))
    with pytest.raises(SinkRejected, match="NoSuchBucket"):
        sink.open()
        sink.validate()


def test_statistics_let_readers_skip_files(tmp_path: Path) -> None:
    target = DeltaTarget(tmp_path)
    sink = target.sink()
    reset(sink, Counter([row(k, None if k == 3 else "a") for k in range(2, 9)]), 1)
    sink.close()
    log = Path(target.uri) / "_delta_log" / f"{0:020}.json"
    added = [json.loads(line) for line in log.read_text().splitlines()]
    stats = next(json.loads(a["add"]["stats"]) for a in added if "add" in a)

    assert stats["numRecords"] == 7
    assert (stats["minValues"]["k"], stats["maxValues"]["k"]) == (2, 8)
    assert stats["minValues"]["d"] == "2024-02-29"
    assert stats["nullCount"]["v"] == 1


def test_a_log_with_a_key_is_read_back_a_part_of_its_keys_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delta_reader, "ROWS_AT_ONCE", 4)
    target = AppendedDeltaTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(*range(20)), 1)
    sink.apply(batch((rows(1, 2), -1), (rows(2, v="b"), 1)), marker(1, 2, 19))
    view = rows(0, 2, v="c") + rows(*range(3, 20))
    sink.apply(batch((rows(0), -1), (rows(2, v="b"), -1), (rows(0, 2, v="c"), 1)), marker(1, 3, 19))
    held, wanted = words(sink, view)

    assert held == wanted and held.total() == 19
    sink.close()
