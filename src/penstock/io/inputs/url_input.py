"""url_input: the body of an HTTP(S) GET (contract section 7.3).

    path             the URL
    pause_timeout    seconds of pause after which the connection is dropped, default 60

A reader thread downloads into a short queue, so that pausing and stopping never wait for the
network. A dropped connection is resumed with a Range request from the first byte that was not
delivered yet, guarded by the ETag (or date) of the first answer: a resource that changed meanwhile
is a fatal error, never a mixture. A server without ranges sends all again; what is known is
skipped. A resource without ETag and date that changed is noticed only if it got shorter.

Position: the byte offset of the first record that was not delivered, the parser's state there, and
which version (ETag or date) of the resource that is about.

Errors: 4xx is fatal at once; anything else is retried with growing pauses, fatal after
MAX_ATTEMPTS attempts (100 s) without a single new byte.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpx

from penstock.io.contracts import InputConnector, InputContext, Intake, Parser, Position
from penstock.io.formats.options import TRANSPORT_ERROR, Options
from penstock.io.inputs.byte_source import POLL_S, check_text, parser_of, position_of, sleep
from penstock.io.secrets import shown

MAX_ATTEMPTS = 10
_FIRST_RETRY_S = 0.2
_QUEUED_CHUNKS = 32
#: bytes that are parsed at a time if they are there: the more, the less a row costs
_PIECE_BYTES = 1 << 20
_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
#: where an answer begins in the resource, and how long that is ("*": not said)
_RANGE = re.compile(r"bytes\s+(?:(\d+)-\d+|\*)/(\d+|\*)$")


class UrlInput(InputConnector):
    can_resume = True

    def __init__(self, context: InputContext) -> None:
        super().__init__(context)
        o = Options.of("url_input", TRANSPORT_ERROR, context.config)
        self._url = o.required_text("path")
        self._pause_timeout = o.number("pause_timeout", 60.0)
        o.done()
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise o.fail("path", f"must be an http:// or https:// URL, not {shown(self._url)!r}")

        self._position: Position | None = None

    def validate(self) -> None:
        parser_of(self.context)

    def resume(self, position: Position) -> None:
        self._position = position

    def run(self, intake: Intake) -> None:
        parser = parser_of(self.context)
        resource = _Resource(self._url)
        if self._position is not None:
            resource.offset = int(self._position["offset"])
            resource.version = self._position["version"]
            parser.restore(self._position["parser"])
        attempts = 0
        while True:
            before = resource.offset
            try:
                self._deliver(intake, parser, resource)
                break
            except _Paused:
                continue
            except _Failed as e:
                attempts = 1 if resource.offset > before else attempts + 1
                is_fatal = e.is_final or attempts >= MAX_ATTEMPTS
                message = f"url_input: GET {shown(self._url)}: {e}"
                if is_fatal:
                    intake.error(message, fatal=True)
                    return
                intake.trouble(message)
                sleep(intake, _FIRST_RETRY_S * 2 ** (attempts - 1))
        rest = parser.finish()
        end = position_of(resource.offset, parser, version=resource.version)
        intake.push(rest, 0, position=end)
        intake.end_of_input()

    def _deliver(self, intake: Intake, parser: Parser, resource: _Resource) -> None:
        """Push the rest of the resource; raises _Failed or _Paused with `offset` up to date."""
        intake.wait_while_paused()
        download = _Download(resource)
        try:
            while (data := download.next(intake)) is not None:
                if resource.offset == 0:
                    check_text(data, self.context)
                resource.offset += len(data)
                with download.dropped_after(self._pause_timeout):
                    intake.wait_while_paused()
                    parsed = parser.feed(data)
                    here = position_of(resource.offset, parser, version=resource.version)
                    intake.push(parsed, len(data), position=here)
                if download.is_dropped:
                    raise _Paused
        finally:
            download.drop()


class _Paused(Exception):
    """The connection was dropped because of a long pause."""


class _Failed(Exception):
    def __init__(self, message: str, *, is_final: bool = False) -> None:
        super().__init__(message)
        self.is_final = is_final


def _changed(how: str) -> _Failed:
    return _Failed(f"the resource changed while it was being read: {how}", is_final=True)


class _Resource:
    """Where we are in which version of the resource."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.offset = 0
        self.version: str | None = None

    def headers(self) -> dict[str, str]:
        # identity: offsets must count the bytes of the resource, not of a compressed form
        headers = {"Accept-Encoding": "identity"}
        if self.offset:
            headers["Range"] = f"bytes={self.offset}-"
            if self.version and not self.version.startswith("W/"):
                headers["If-Range"] = self.version
        return headers

    def check(self, response: httpx.Response) -> int:
        """How many bytes of this answer are known already; raises _Failed."""
        status = response.status_code
        if status == 416 and self.offset:
            _, size = self._range_of(response)
            if size not in (None, self.offset):
                raise _changed(f"it has {size} bytes, {self.offset} of it were read")
            return 0  # nothing follows the last byte we have
        if status not in (200, 206):
            is_final = 400 <= status < 500 and status not in (408, 425, 429)
            raise _Failed(f"{status} {response.reason_phrase}", is_final=is_final)
        version = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if self.offset and version != self.version:
            raise _changed(f"it is {version}, it was {self.version}")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise _Failed(
                f"the server sends it as {encoding} though it was asked not to: let it send the "
                "resource as it is",
                is_final=True,
            )
        self.version = version
        if status == 200:
            return self.offset
        start, _ = self._range_of(response)
        if start is None or start > self.offset:
            raise _Failed(
                f"asked for the bytes from {self.offset} on, the server sent "
                f"{response.headers.get('Content-Range', 'some without saying which')}",
                is_final=True,
            )
        return self.offset - start

    @staticmethod
    def _range_of(response: httpx.Response) -> tuple[int | None, int | None]:
        """Its first byte and the size of the resource, as far as the answer says so."""
        found = _RANGE.match(response.headers.get("Content-Range", ""))
        start, size = found.groups("*") if found else ("*", "*")
        return None if start == "*" else int(start), None if size == "*" else int(size)


class _Download:
    """One connection, read by a thread of its own into a bounded queue."""

    def __init__(self, resource: _Resource) -> None:
        self._resource = resource
        self._queue: queue.Queue[bytes | Exception | None] = queue.Queue(_QUEUED_CHUNKS)
        #: what `next` found behind the bytes it gave
        self._last: list[Exception | None] = []
        self._dropped = threading.Event()
        threading.Thread(target=self._read, name="url_input", daemon=True).start()

    @property
    def is_dropped(self) -> bool:
        return self._dropped.is_set()

    def drop(self) -> None:
        """Close the connection (from its own thread, soon)."""
        self._dropped.set()

    @contextmanager
    def dropped_after(self, seconds: float) -> Iterator[None]:
        """Drop the connection if the block takes longer than `seconds`."""
        timer = threading.Timer(seconds, self.drop)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def next(self, intake: Intake) -> bytes | None:
        """The next bytes, all that came meanwhile; None at the end of the resource."""
        data: list[bytes] = []
        while not self._last and sum(map(len, data)) < _PIECE_BYTES:
            if intake.stopping:
                raise Intake.Stopped
            try:
                item = self._queue.get(timeout=POLL_S, block=not data)
            except queue.Empty:
                if data:
                    break
                continue
            if isinstance(item, bytes):
                data.append(item)
            else:
                self._last.append(item)
        if data:
            return b"".join(data)
        (last,) = self._last
        if last is not None:
            raise last
        return None

    def _read(self) -> None:
        try:
            with (
                httpx.Client(timeout=_TIMEOUT, follow_redirects=True) as client,
                client.stream("GET", self._resource.url, headers=self._resource.headers()) as r,
            ):
                known = self._resource.check(r)
                if r.status_code != 416:
                    self._pass_on(r, known)
            self._put(None)
        except _Failed as e:
            self._put(e)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as e:
            self._put(_Failed(str(e) or type(e).__name__))
        except Exception as e:  # a bug: the connector's thread must hear of it
            self._put(e)

    def _pass_on(self, response: httpx.Response, known: int) -> None:
        for data in response.iter_raw():
            if known:
                known, data = max(0, known - len(data)), data[known:]
            if data and not self._put(data):
                return
        if known:
            raise _changed(f"it ends {known} bytes before what was read of it")

    def _put(self, item: bytes | Exception | None) -> bool:
        while not self._dropped.is_set():
            try:
                self._queue.put(item, timeout=POLL_S)
            except queue.Full:
                continue
            return True
        return False
