"""What is particular to file_output with format parquet: links, folders, markers, refusals."""

from __future__ import annotations

import datetime
import os
import shutil
import uuid
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet
import pytest

from penstock.data import types as T
from penstock.data.build import batch_from_rows, batch_to_rows, column_to_python
from penstock.data.types import Kind, SqlType
from penstock.errors import UserError
from penstock.io.contracts import SinkRejected, StagingLost
from penstock.io.formats.parquet_parser import ParquetParser
from penstock.io.outputs import file_output
from tests.contract.targets import ParquetFolderTarget
from tests.contract.test_sinks import batch, marker, reset, rows
from tests.histories.world import until


def test_a_reset_replaces_the_link_and_keeps_the_folder_before(tmp_path: Path) -> None:
    target = ParquetFolderTarget(tmp_path)
    sink = target.sink()
    for generation in range(1, 5):
        reset(sink, rows(generation), generation)
        sink.apply(batch((rows(9), 1)), marker(generation, 2, 2))
    sink.close()

    folders = sorted(p.name.rsplit("-", 1)[0] for p in tmp_path.iterdir() if not p.is_symlink())
    assert folders == ["my rows.g3", "my rows.g4"]
    assert len(list(target.path.glob("*"))) == 3
    assert target.look() == rows(4, 9)


def test_a_link_that_a_dead_writer_left_goes_with_the_next_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Death(BaseException):
        pass

    really = os.replace

    def die_at_the_link(old: Path, new: Path) -> None:
        if ".link-" in old.name:
            raise Death
        really(old, new)

    target = ParquetFolderTarget(tmp_path)
    reset(target.sink(), rows(1), 1)
    (tmp_path / "my rows.link-somebody's").symlink_to("elsewhere")
    with monkeypatch.context() as m, pytest.raises(Death):
        m.setattr(os, "replace", die_at_the_link)
        reset(target.sink(), rows(2), 2)
    assert len(list(tmp_path.glob("my rows.link-*"))) == 2

    reset(target.sink(), rows(3), 3)
    assert [p.name for p in tmp_path.glob("my rows.link-*")] == ["my rows.link-somebody's"]
    assert target.look() == rows(3)


def test_nested_values_are_parquets_own_and_come_back(tmp_path: Path) -> None:
    required = T.INTEGER.with_nullable(False)
    nested = T.schema(
        k=required,
        a=SqlType(Kind.ARRAY, children=(SqlType(Kind.ARRAY, children=(T.decimal(5, 2),)),)),
        m=SqlType(Kind.MAP, children=(T.DATE, T.VARCHAR)),
        r=SqlType(Kind.ROW, children=(required, T.TIME), names=("a", "b")),
        v=T.VARIANT,
        u=T.UUID,
    )
    day, some = datetime.date(2020, 1, 1), uuid.UUID(int=7)
    full = (1, [[Decimal("1.50"), None], []], {day: None}, (1, 5), '{"a":[null]}', some)
    nulls = (2, None, None, None, None, None)
    target = ParquetFolderTarget(tmp_path)
    sink = file_output(replace(target.context(), schema=nested))
    sink.open()
    sink.begin(1, "token-1", 1)
    sink.stage(1, 0, batch_from_rows(nested, [full]))
    sink.publish(1, marker(1, 1, 1))
    contents = sink.read()
    (held,) = contents.rows
    assert batch_to_rows(held) == batch_to_rows(contents.spell(batch_from_rows(nested, [full])))
    sink.apply(batch_from_rows(nested, [nulls, full], [1, -1]), marker(1, 2, 1))
    sink.close()

    weights, read = [], []
    for file in sorted(target.path.glob("*.parquet")):
        parser = ParquetParser(None, nested)
        parser.feed(file.read_bytes())
        (found,) = parser.finish().batches
        read += zip(*[column_to_python(c) for c in found.columns], strict=True)
        weights += pyarrow.parquet.read_table(file)["__penstock_weight"].to_pylist()
    assert Counter(zip(map(repr, read), weights, strict=True)) == Counter(
        [(repr(full), 1), (repr(nulls), 1), (repr(full), -1)]
    )
    query = f"SELECT a[1][1], m[DATE '2020-01-01'], r.a, v->'a' FROM '{target.path}/*.parquet'"
    assert (Decimal("1.50"), None, 1, "[null]") in target.db.execute(query).fetchall()


def test_an_empty_view_has_columns(tmp_path: Path) -> None:
    target = ParquetFolderTarget(tmp_path)
    sink = target.sink()
    reset(sink, Counter(), 1)
    sink.close()
    (file,) = target.path.glob("*.parquet")

    assert pyarrow.parquet.read_schema(file).names == ["k", "v", "n", "d", "b", "x",
                                                       "__penstock_weight"]  # fmt: skip


def test_a_delta_that_died_before_it_had_its_name_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = ParquetFolderTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    monkeypatch.setattr("os.replace", _die)
    with pytest.raises(RuntimeError):
        sink.apply(batch((rows(2), 1)), marker(1, 2, 2))
    monkeypatch.undo()
    assert target.look() == rows(1)
    again = target.sink()
    assert again.marker() == marker(1, 1, 1)
    for _ in range(2):
        again.apply(batch((rows(2), 1)), marker(1, 2, 2))

    assert target.look() == rows(1, 2)
    again.close()


def _die(*_: object) -> None:
    raise RuntimeError("killed")


def test_a_folder_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    target = ParquetFolderTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    shutil.rmtree(target.path.resolve())
    sink.validate()
    assert sink.marker() is None
    reset(sink, rows(1, 2), 2)

    assert target.look() == rows(1, 2)
    sink.close()


def test_a_stage_that_was_changed_is_staging_lost(tmp_path: Path) -> None:
    target = ParquetFolderTarget(tmp_path)
    sink = target.sink()
    reset(sink, rows(1), 1)
    sink.begin(2, "token-2", 2)
    sink.stage(2, 0, batch((rows(2), 1)))
    # a thread of its own writes it
    until(lambda: list(tmp_path.glob("my rows.g2-*/*.parquet")), "a staged file")
    next(tmp_path.glob("my rows.g2-*/*.parquet")).unlink()
    with pytest.raises(StagingLost, match="was changed"):
        sink.publish(2, marker(2, 2, 1))

    sink.begin(2, "token-2", 2)
    shutil.rmtree(next(tmp_path.glob("my rows.g2-*")))
    sink.stage(2, 0, batch((rows(2), 1)))
    with pytest.raises(StagingLost, match="was removed"):
        sink.publish(2, marker(2, 2, 1))
    with pytest.raises(StagingLost, match="is not being staged"):
        sink.publish(2, marker(2, 2, 1))

    assert target.look() == rows(1)
    reset(sink, rows(3), 3)
    assert target.look() == rows(3)
    sink.close()


def test_what_is_not_ours_is_refused_and_stays(tmp_path: Path) -> None:
    target = ParquetFolderTarget(tmp_path)
    target.path.mkdir()
    (target.path / "a").write_text("theirs")
    sink = target.sink()
    with pytest.raises(SinkRejected, match="not a link to a folder"):
        sink.validate()
    with pytest.raises(SinkRejected, match="not a link to a folder"):
        reset(sink, rows(1), 1)
    assert (target.path / "a").read_text() == "theirs"
    good = target.context()
    for change, says in (
        ({"format": {"name": "parquet", "config": {"compression": "x"}}}, "'compression' is unk"),
    ):
        with pytest.raises(UserError, match=says):
            file_output(replace(good, **change))
    absent = file_output(replace(good, config={"path": str(tmp_path / "no" / "a")}))
    with pytest.raises(SinkRejected, match="does not exist"):
        absent.open()
