"""file_input, url_input and empty_input against real files and a real HTTP server."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from penstock.data.types import BIGINT, VARCHAR, schema
from penstock.errors import UserError
from penstock.io.contracts import InputContext
from penstock.io.inputs import url_input
from penstock.io.inputs.empty_input import EmptyInput
from penstock.io.inputs.file_input import FileInput
from penstock.io.inputs.url_input import UrlInput
from penstock.io.registry import INPUTS
from tests.unit.io.conftest import KeepingIntake, until

TABLE = schema(id=BIGINT, name=VARCHAR)
JSON = {"name": "json", "config": {"update_format": "raw"}}


def context(format: Any = JSON, **config: Any) -> InputContext:
    return InputContext("t", "c", TABLE, (), config, format)


def lines(n: int) -> bytes:
    return b"".join(b'{"id": %d, "name": "row number %d"}\n' % (i, i) for i in range(n))


# files


def test_a_file_is_read_to_its_end(tmp_path: Path, intake: KeepingIntake) -> None:
    path = tmp_path / "a file.json"
    path.write_bytes(lines(1000) + b'{"id": 1000}')
    for spelling in (str(path), path.as_uri()):
        connector = FileInput(context(path=spelling, buffer_size_bytes=100))
        connector.validate()
        connector.run(intake)
        assert [r[0] for r in intake.rows] == list(range(1001))
        assert intake.ended.is_set()
        assert intake.bytes == path.stat().st_size
        intake.parsed, intake.bytes = [], 0


def test_bad_records_of_a_file_are_reported_and_the_rest_is_read(
    tmp_path: Path, intake: KeepingIntake
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("1,a\nx,b\n3,c\n")
    FileInput(context({"name": "csv"}, path=str(path))).run(intake)
    assert intake.rows == [(1, "a"), (3, "c")]
    assert [e.event_number for e in intake.parse_errors] == [2]


def test_a_followed_file_gives_its_new_lines(tmp_path: Path, intake: KeepingIntake) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(lines(2) + b'{"id"')
    intake.run(FileInput(context(path=str(path), follow=True)))
    until(lambda: len(intake.rows) == 2)
    with path.open("ab") as f:
        f.write(b": 7}\n")
    until(lambda: len(intake.rows) == 3)
    assert intake.rows[-1] == (7, None)
    assert not intake.ended.is_set()


def test_a_followed_file_that_shrinks_is_read_again(tmp_path: Path, intake: KeepingIntake) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(lines(5))
    intake.run(FileInput(context(path=str(path), follow=True)))
    until(lambda: len(intake.rows) == 5)
    path.write_bytes(b'{"id": 9}\n')
    until(lambda: len(intake.rows) == 6)
    assert intake.rows[-1] == (9, None)
    ((message, fatal),) = intake.errors
    assert "shorter" in message
    assert not fatal


def test_a_followed_file_that_is_moved_is_read_to_its_end_and_then_the_new_one(
    tmp_path: Path, intake: KeepingIntake
) -> None:
    """Nothing of the old one twice, and its header is not that of the new one."""
    path, moved = tmp_path / "a.csv", tmp_path / "a.csv.1"
    path.write_bytes(b"id,name\n1,a\n")
    csv = {"name": "csv", "config": {"headers": True}}
    intake.run(FileInput(context(csv, path=str(path), follow=True)))
    until(lambda: len(intake.rows) == 1)
    path.rename(moved)
    with moved.open("ab") as f:
        f.write(b"2,b\n")
    until(lambda: len(intake.rows) == 2)
    path.write_bytes(b"id,name\n3,c\n")
    until(lambda: len(intake.rows) == 3)
    assert intake.rows == [(1, "a"), (2, "b"), (3, "c")]
    assert intake.errors == intake.parse_errors == []


def test_a_followed_file_that_is_overwritten_by_a_longer_one_is_read_again(
    tmp_path: Path, intake: KeepingIntake
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(lines(5))
    intake.run(FileInput(context(path=str(path), follow=True)))
    until(lambda: len(intake.rows) == 5)
    with path.open("r+b") as f:
        f.write(b'{"id": 9, "name": "longer than all that was there before"}\n' * 9)
    until(lambda: len(intake.rows) >= 14)
    assert {r[0] for r in intake.rows[5:]} == {9}
    assert len(intake.rows) == 14
    assert intake.parse_errors == []


def test_following_ends_soon_after_stop(tmp_path: Path, intake: KeepingIntake) -> None:
    path = tmp_path / "a.json"
    path.touch()
    thread = intake.run(FileInput(context(path=str(path), follow=True)))
    intake.stop()
    thread.join(2)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("config", "code", "word"),
    [
        ({}, "ConfigError.InvalidTransportConfig", "path"),
        ({"path": "/no/such/file"}, "ConfigError.InvalidTransportConfig", "/no/such/file"),
        ({"path": "/"}, "ConfigError.InvalidTransportConfig", "directory"),
        ({"path": "x", "folow": True}, "ConfigError.InvalidTransportConfig", "folow"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused_before_the_start(
    config: dict[str, Any], code: str, word: str
) -> None:
    with pytest.raises(UserError, match=word) as caught:
        FileInput(context(**config)).validate()
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (gzip.compress(b"1,a\n" * 99, mtime=0), "compressed with gzip"),
        ("1,a\n".encode("utf-16"), "UTF-16"),
        (b"PAR1\x15\x04", "a Parquet file"),
    ],
)
def test_a_file_that_is_no_text_is_refused_as_a_whole(
    data: bytes, what: str, tmp_path: Path, intake: KeepingIntake
) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{what}, and csv is expected"):
        FileInput(context({"name": "csv"}, path=str(path))).run(intake)
    assert not intake.parsed


def test_a_missing_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(UserError) as caught:
        FileInput(context(None, path=str(tmp_path / "a"))).validate()
    assert caught.value.code == "ConfigError.InputFormatNotSpecified"


def test_a_file_that_vanishes_after_validation_is_a_fatal_error(
    tmp_path: Path, intake: KeepingIntake
) -> None:
    path = tmp_path / "a"
    path.touch()
    connector = FileInput(context(path=str(path)))
    connector.validate()
    path.unlink()
    connector.run(intake)
    assert [fatal for _, fatal in intake.errors] == [True]
    assert not intake.ended.is_set()


def test_empty_input_ends_at_once(intake: KeepingIntake) -> None:
    connector = EmptyInput(context(None))
    connector.validate()
    connector.run(intake)
    assert intake.ended.is_set()


def test_the_registry_knows_the_inputs() -> None:
    assert {"file_input", "url_input", "datagen", "empty_input"} <= set(INPUTS)


# HTTP


class Site:
    """A resource served over HTTP, with the faults that a test asks for."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.etag = '"1"'
        self.requests: list[dict[str, str]] = []
        self.statuses: list[int] = []
        self.cut_after: list[int] = []
        self.has_ranges = True
        #: how many bytes before (or behind) the asked one a range begins
        self.range_off_by = 0
        self.more_headers: dict[str, str] = {}
        self.delay = 0.0
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_GET(self) -> None:
                site.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/data"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, h: BaseHTTPRequestHandler) -> None:
        self.requests.append(dict(h.headers))
        h.close_connection = True
        if self.statuses:
            h.send_response(self.statuses.pop(0))
            h.send_header("Content-Length", "0")
            h.end_headers()
            return
        start, size = 0, len(self.body)
        wanted = h.headers.get("Range")
        if wanted and self.has_ranges and h.headers.get("If-Range", self.etag) == self.etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-")) - self.range_off_by
        is_beyond = start >= size
        h.send_response(416 if is_beyond else 206 if start else 200)
        if start:
            where = "*" if is_beyond else f"{start}-{size - 1}"
            h.send_header("Content-Range", f"bytes {where}/{size}")
        if self.etag:
            h.send_header("ETag", self.etag)
        for name, value in self.more_headers.items():
            h.send_header(name, value)
        h.send_header("Content-Length", str(max(0, size - start)))
        h.end_headers()
        body = self.body[start:]
        if self.cut_after:
            body = body[: self.cut_after.pop(0)]
        for i in range(0, len(body), 4096):
            try:
                h.wfile.write(body[i : i + 4096])
            except OSError:
                return
            time.sleep(self.delay)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site(lines(5000))
    yield site
    site.server.shutdown()
    site.server.server_close()


def test_a_url_is_read_to_its_end(site: Site, intake: KeepingIntake) -> None:
    connector = UrlInput(context(path=site.url))
    connector.validate()
    connector.run(intake)
    assert [r[0] for r in intake.rows] == list(range(5000))
    assert intake.ended.is_set()
    assert intake.errors == []


def test_what_came_meanwhile_is_parsed_at_once(site: Site, intake: KeepingIntake) -> None:
    """A connection gives a few kilobytes at a time, and each parsing costs some 100 µs besides."""
    site.body = lines(500)  # in fewer pieces than wait for whoever reads them
    download = url_input._Download(url_input._Resource(site.url))
    until(lambda: None in list(download._queue.queue))

    assert download.next(intake) == site.body
    assert download.next(intake) is None


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_broken_connection_is_resumed_without_loss_or_repetition(
    site: Site, intake: KeepingIntake, has_ranges: bool
) -> None:
    site.has_ranges = has_ranges
    site.cut_after = [50_000, 60_001]
    UrlInput(context(path=site.url)).run(intake)
    assert [r[0] for r in intake.rows] == list(range(5000))
    assert not any(fatal for _, fatal in intake.errors)
    assert [("Range" in r) for r in site.requests] == [False, True, True]


def test_a_resource_that_changed_is_not_mixed(site: Site, intake: KeepingIntake) -> None:
    site.cut_after = [50_000]
    thread = intake.run(UrlInput(context(path=site.url)))
    until(lambda: intake.errors)
    site.etag = '"2"'
    thread.join(10)
    message, fatal = intake.errors[-1]
    assert fatal
    assert "changed" in message
    assert not intake.ended.is_set()


@pytest.mark.parametrize(("off_by", "is_right"), [(100, True), (-100, False)])
def test_a_range_counts_from_where_the_answer_says_that_it_begins(
    site: Site, intake: KeepingIntake, off_by: int, is_right: bool
) -> None:
    site.cut_after = [50_000]
    site.range_off_by = off_by
    UrlInput(context(path=site.url)).run(intake)
    assert intake.ended.is_set() == is_right
    assert [r[0] for r in intake.rows] == list(range(len(intake.rows)))
    if not is_right:
        message, fatal = intake.errors[-1]
        assert fatal and "asked for the bytes from" in message


@pytest.mark.parametrize("has_ranges", [True, False])
def test_a_resource_without_a_version_that_got_shorter_has_changed(
    site: Site, intake: KeepingIntake, has_ranges: bool
) -> None:
    site.etag, site.has_ranges, site.cut_after = "", has_ranges, [50_000]
    thread = intake.run(UrlInput(context(path=site.url)))
    until(lambda: intake.errors)
    site.body = site.body[:40_000]
    thread.join(10)
    message, fatal = intake.errors[-1]
    assert fatal and "changed" in message
    assert not intake.ended.is_set()


def test_a_body_that_is_compressed_though_nobody_asked_is_refused(
    site: Site, intake: KeepingIntake
) -> None:
    site.more_headers = {"Content-Encoding": "gzip"}
    UrlInput(context(path=site.url)).run(intake)
    ((message, fatal),) = intake.errors
    assert fatal and "gzip" in message
    assert intake.rows == []


def test_a_long_pause_drops_the_connection_and_resumes(site: Site, intake: KeepingIntake) -> None:
    site.delay = 0.01
    thread = intake.run(UrlInput(context(path=site.url, pause_timeout=0.1)))
    until(lambda: len(intake.rows) > 0)
    intake.running.clear()
    time.sleep(0.4)
    intake.running.set()
    thread.join(20)
    assert [r[0] for r in intake.rows] == list(range(5000))
    assert len(site.requests) == 2
    assert intake.errors == []


def test_a_missing_page_is_fatal_at_once(site: Site, intake: KeepingIntake) -> None:
    site.statuses = [404]
    UrlInput(context(path=site.url)).run(intake)
    ((message, fatal),) = intake.errors
    assert fatal
    assert "404" in message
    assert site.url in message


def test_a_busy_server_is_asked_again(site: Site, intake: KeepingIntake) -> None:
    site.statuses = [503, 500]
    UrlInput(context(path=site.url)).run(intake)
    assert len(intake.rows) == 5000
    assert [fatal for _, fatal in intake.errors] == [False, False]


def test_a_refused_connection_is_retried_and_then_fatal(
    intake: KeepingIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.io.inputs.url_input._FIRST_RETRY_S", 0.0001)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    UrlInput(context(path=f"http://ada:geheim@127.0.0.1:{port}/")).run(intake)
    assert [fatal for _, fatal in intake.errors] == [False] * 9 + [True]
    assert "refused" in intake.errors[-1][0]
    assert "http://ada:…@127" in intake.errors[-1][0] and "geheim" not in str(intake.errors)


def test_stopping_does_not_wait_for_the_network(site: Site, intake: KeepingIntake) -> None:
    site.delay = 30
    thread = intake.run(UrlInput(context(path=site.url)))
    until(lambda: site.requests)
    intake.stop()
    thread.join(2)
    assert not thread.is_alive()


def test_what_is_not_a_url_is_refused_before_the_start() -> None:
    for path in ("ftp://x/y", "file:///x", "http://", "nonsense"):
        with pytest.raises(UserError) as caught:
            UrlInput(context(path=path))
        assert caught.value.code == "ConfigError.InvalidTransportConfig"
