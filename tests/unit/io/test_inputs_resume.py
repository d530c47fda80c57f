"""Every input connector that gives positions goes on at each of them without loss or repetition."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from penstock.data.types import BIGINT, VARCHAR, schema
from penstock.io.contracts import InputConnector, InputContext
from penstock.io.formats import make_parser
from penstock.io.inputs import url_input
from penstock.io.inputs.byte_source import position_of
from penstock.io.inputs.datagen import Datagen
from penstock.io.inputs.file_input import FileInput
from penstock.io.inputs.url_input import UrlInput
from tests.unit.io.conftest import KeepingIntake, until
from tests.unit.io.test_inputs import Site, lines

TABLE = schema(id=BIGINT, name=VARCHAR)
JSON = {"name": "json", "config": {"update_format": "raw"}}
CSV = {"name": "csv", "config": {"headers": True}}
ARRAYS = {"name": "json", "config": {"update_format": "raw", "array": True}}
TEXTS = {
    "lines": (JSON, b'{"id": 1}\n\n{"id": 2,\n\n "name": "two\\nlines"}\n\n{"id": 3}\n' * 20),
    "with bad ones": (JSON, b'{"id": 1}\n{"id": oops, {\n\n{"id": 2}\n{"id": "x"}\n{"id": 3}' * 20),
    "arrays": (ARRAYS, b'[{"id": 1}, {"id": 2}]\n\n[{"id": 3},\n {"id": 4}]\n' * 20),
    "csv": (CSV, b"\xef\xbb\xbfid,name\n" + b'1,a\n\n2,"b\nc"\n3,"d ""e"""\nx,bad\n' * 20),
}


def rows_of(intake: KeepingIntake) -> list[Any]:
    return intake.rows + [(e.event_number, e.description) for e in intake.parse_errors]


@pytest.mark.parametrize("name", TEXTS)
def test_a_parser_goes_on_in_another_one_wherever_it_was(name: str) -> None:
    format, text = TEXTS[name]
    rng = random.Random(1)

    def read(cuts: list[int], *, is_resumed: bool) -> list[Any]:
        """Feed `text` in pieces; with `is_resumed` each piece goes to a new parser."""
        intake = KeepingIntake()
        parser = make_parser(format, TABLE)
        at = 0
        for cut in [*cuts, len(text)]:
            intake.push(parser.feed(text[at:cut]), 0)
            at = cut
            if is_resumed:
                here = json.loads(json.dumps(position_of(at, parser)))
                parser = make_parser(format, TABLE)
                parser.restore(here["parser"])
                at = here["offset"]
        intake.push(parser.finish() if not is_resumed else parser.feed(text[at:]), 0)
        if is_resumed:
            intake.push(parser.finish(), 0)
        return rows_of(intake)

    whole = read([], is_resumed=False)
    assert len(whole) >= 60
    for _ in range(30):
        cuts = sorted(rng.sample(range(1, len(text)), 8))
        assert read(cuts, is_resumed=True) == whole, cuts


def resumed_at_each_position(make: Any, stop_after: int) -> Iterator[list[Any]]:
    """The rows of a run that stops after `stop_after` pushes, and of one that goes on there."""
    first = KeepingIntake()
    make().run(first)
    whole = first.rows
    for k in range(0, len(first.positions), stop_after):
        position = first.positions[k]
        if position is None:
            continue
        before = KeepingIntake()
        before.parsed = first.parsed[: k + 1]
        after = KeepingIntake()
        connector: InputConnector = make()
        assert connector.can_resume
        connector.validate()
        connector.resume(json.loads(json.dumps(position)))
        connector.run(after)
        assert after.ended.is_set(), after.errors
        assert before.rows + after.rows == whole
        yield after.rows


def test_a_file_goes_on_at_every_position(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(lines(500))
    context = InputContext("t", "c", TABLE, (), {"path": str(path), "buffer_size_bytes": 999}, JSON)
    assert len(list(resumed_at_each_position(lambda: FileInput(context), 3))) > 5


@pytest.mark.parametrize("format", [JSON, {"name": "parquet"}])
def test_a_file_that_was_read_to_its_end_is_not_read_again(tmp_path: Path, format: Any) -> None:
    path = tmp_path / "a"
    if format is JSON:
        path.write_bytes(b'{"id": 1}\n{"id": 2}')  # the last line has no end
    else:
        pq.write_table(pa.table({"id": [1, 2]}), path)
    context = InputContext("t", "c", TABLE, (), {"path": str(path), "buffer_size_bytes": 9}, format)
    *_, after = resumed_at_each_position(lambda: FileInput(context), 1)
    assert after == []


def test_a_url_goes_on_at_every_position(monkeypatch: pytest.MonkeyPatch) -> None:
    # of what has come at once, one such piece after the other, however busy the machine is
    monkeypatch.setattr(url_input, "_PIECE_BYTES", 20_000)
    site = Site(lines(30_000))
    context = InputContext("t", "c", TABLE, (), {"path": site.url}, JSON)
    assert len(list(resumed_at_each_position(lambda: UrlInput(context), 5))) >= 2
    site.server.shutdown()
    site.server.server_close()


def test_a_url_that_changed_while_we_were_away_is_fatal() -> None:
    site = Site(lines(1000))
    context = InputContext("t", "c", TABLE, (), {"path": site.url}, JSON)
    first = KeepingIntake()
    UrlInput(context).run(first)
    site.etag = '"another"'
    connector = UrlInput(context)
    position = first.positions[0]
    assert position is not None
    connector.resume(position)
    second = KeepingIntake()
    connector.run(second)
    assert "changed" in second.errors[-1][0]
    assert second.errors[-1][1] and not second.ended.is_set() and second.rows == []
    site.server.shutdown()
    site.server.server_close()


def test_datagen_goes_on_with_the_seed_it_drew() -> None:
    plan = [{"limit": 100, "worker_chunk_size": 7}, {"limit": 33, "worker_chunk_size": 10}]
    fields = {"id": {"strategy": "uniform", "range": [0, 1000]}}
    config = {"plan": [{**p, "fields": fields} for p in plan]}
    context = InputContext("t", "c", TABLE, (), config)
    first = KeepingIntake()
    Datagen(context).run(first)
    for k, position in enumerate(first.positions):
        connector = Datagen(context)
        assert position is not None
        connector.resume(json.loads(json.dumps(position)))
        after = KeepingIntake()
        connector.run(after)
        before = sum(p.records for p in first.parsed[: k + 1])
        assert first.rows[before:] == after.rows


def test_a_file_shorter_than_its_position_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(lines(3))
    connector = FileInput(InputContext("t", "c", TABLE, (), {"path": str(path)}, JSON))
    connector.resume({"offset": 10_000, "parser": {"records": 9, "skipping": False}})
    intake = KeepingIntake()
    connector.run(intake)
    ((message, fatal),) = intake.errors
    assert fatal and "not the same file" in message and intake.rows == []


def test_a_followed_file_that_was_replaced_while_we_were_away_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(lines(3))
    context = InputContext("t", "c", TABLE, (), {"path": str(path), "follow": True}, JSON)
    connector = FileInput(context)
    connector.resume({"offset": 10_000, "parser": {"records": 9, "skipping": False}})
    intake = KeepingIntake()
    thread = intake.run(connector)
    until(lambda: len(intake.rows) == 3)
    intake.stop()
    thread.join(5)
    assert [fatal for _, fatal in intake.errors] == [False]


def read_up_to_now(context: InputContext, rows: int) -> Any:
    """Where following the file stands after so many rows."""
    intake = KeepingIntake()
    thread = intake.run(FileInput(context))
    until(lambda: len(intake.rows) == rows)
    intake.stop()
    thread.join(5)
    return json.loads(json.dumps(intake.positions[-1]))


def test_what_was_appended_before_a_followed_file_was_moved_is_read_first(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"id": 1}\n{"id"')
    context = InputContext("t", "c", TABLE, (), {"path": str(path), "follow": True}, JSON)
    position = read_up_to_now(context, 1)
    with path.open("ab") as f:
        f.write(b": 2}\n")
    path.rename(tmp_path / "a.json.2")
    (tmp_path / "a.json.1").write_bytes(b'{"id": 3}')  # it was moved twice
    path.write_bytes(b'{"id": 4, "name": "in a file that is longer than the first"}\n')
    connector = FileInput(context)
    connector.resume(position)
    intake = KeepingIntake()
    thread = intake.run(connector)
    until(lambda: len(intake.rows) == 3)
    intake.stop()
    thread.join(5)
    assert [r[0] for r in intake.rows] == [2, 3, 4]
    assert [fatal for _, fatal in intake.errors] == [False, False]
    assert intake.parse_errors == []


def test_a_file_that_was_replaced_by_a_longer_one_while_we_were_away_is_not_read_from_its_middle(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(lines(3))
    context = InputContext("t", "c", TABLE, (), {"path": str(path)}, JSON)
    first = KeepingIntake()
    FileInput(context).run(first)
    path.write_bytes(b'{"id": 9, "name": "another"}\n' * 20)
    position = first.positions[0]
    assert position is not None
    connector = FileInput(context)
    connector.resume(position)
    intake = KeepingIntake()
    connector.run(intake)
    ((message, fatal),) = intake.errors
    assert fatal and "not the same file" in message and intake.rows == []
