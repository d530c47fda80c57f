"""file_input: the bytes of a file, once or as it grows (contract section 7.3).

    path                 a file name or a file:// URL
    buffer_size_bytes    bytes read at a time, default 1 MiB
    follow               true: stay at the end and read what is appended

What becomes of a file that is followed:

    renamed, and another made      it is read to its end, and then the other from its beginning, as
                                   soon as there is something in that
    shortened or overwritten       reported, and read again from its beginning
    gone                           reported, and waited for

Position: the byte offset of the first record that was not delivered, the parser's state there, and
a digest of the bytes before it, which tells the file from another. Another file in its place is
fatal, unless it is followed: then the one that was read is looked for beside it, among those whose
names begin with its name, and read to its end, and so are those that were changed after it.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

from penstock.errors import UserError
from penstock.io.contracts import InputConnector, InputContext, Intake, Position
from penstock.io.formats.options import TRANSPORT_ERROR, Options
from penstock.io.inputs.byte_source import POLL_S, check_text, parser_of, position_of, sleep

#: how many bytes before a place tell a file from another
KNOWN_BY = 1024


class FileInput(InputConnector):
    can_resume = True

    def __init__(self, context: InputContext) -> None:
        super().__init__(context)
        o = Options.of("file_input", TRANSPORT_ERROR, context.config)
        self._path = _local_path(o)
        self._size = o.integer("buffer_size_bytes", 1 << 20)
        self._follow = o.boolean("follow", False)
        o.done()
        self._position: Position | None = None

    def validate(self) -> None:
        parser_of(self.context)
        try:
            with open(self._path, "rb"):
                pass
        except OSError as e:
            raise UserError(
                f"file_input: cannot read '{self._path}': {e.strerror}",
                code=TRANSPORT_ERROR,
                details={"path": self._path},
            ) from e

    def resume(self, position: Position) -> None:
        self._position = position

    def run(self, intake: Intake) -> None:
        try:
            if self._follow:
                self._read_on(intake)
            elif not self._read_once(intake):
                return
        except OSError as e:
            intake.error(f"file_input: reading '{self._path}' failed: {e.strerror}", fatal=True)
            return
        intake.end_of_input()

    def _read_once(self, intake: Intake) -> bool:
        """False, after a report, if the file is not the one that was read before."""
        with self._open(self._path) as file:
            if self._position is not None and not file.go_to(self._position):
                intake.error(
                    f"file_input: '{self._path}' has {file.size} bytes, and what is before byte "
                    f"{self._position['offset']}, up to which it was read before the restart, is "
                    "not what was read: it is not the same file; clear the pipeline's storage to "
                    "read it anew",
                    fatal=True,
                )
                return False
            file.read_to_end(intake)
            file.finish(intake)
        return True

    def _read_on(self, intake: Intake) -> None:
        """For ever: what was read before the restart, what came after that, what comes."""
        position = self._position
        while True:
            with self._await(intake) as file:
                if position is not None and not file.go_to(position):
                    self._read_moved(intake, position)
                position = None
                changed = file.follow(intake, self._path)
                # a place in what is there no longer is none to go on at
                file.finish(intake, is_place=not changed)
            if changed:
                self._say(intake, f"'{self._path}' {changed}; reading it again from its beginning")

    def _await(self, intake: Intake) -> _File:
        """The file that is followed, as soon as it is there."""
        is_told = False
        while True:
            try:
                file = self._open(self._path)
                if is_told:
                    intake.trouble(None)
                return file
            except FileNotFoundError:
                if not is_told:
                    intake.trouble(f"file_input: '{self._path}' is not there; waiting for it")
                is_told = True
                sleep(intake, POLL_S)

    def _read_moved(self, intake: Intake, position: Position) -> None:
        """The rest of the file that `position` is of, under another name, and those after it."""
        path = Path(self._path)
        beside = [p for p in path.parent.iterdir() if p.name.startswith(path.name) and p != path]
        beside = sorted((p for p in beside if p.is_file()), key=lambda p: p.stat().st_mtime_ns)
        is_found = False
        for candidate in beside:
            with self._open(candidate) as file:
                if is_found or file.go_to(position):
                    self._say(intake, f"'{path}' was moved; reading '{candidate}' to its end first")
                    is_found = True
                    file.read_to_end(intake)
                    file.finish(intake)
        if not is_found:
            self._say(
                intake,
                f"'{path}' is not the file that was read before the restart, nor is any beside it: "
                "what was not read of that one is missing; reading this one from its beginning",
            )

    def _open(self, path: str | Path) -> _File:
        return _File(path, self.context, self._size)

    def _say(self, intake: Intake, message: str) -> None:
        intake.error(f"file_input: {message}", fatal=False)


class _File:
    """An open file and how far it was read. Raises OSError."""

    def __init__(self, path: str | Path, context: InputContext, piece: int) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed by `close`)
        self._context = context
        self._parser = parser_of(context)
        self._piece = piece
        #: the last bytes that were read
        self._known = b""

    def __enter__(self) -> _File:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, e: BaseException | None, at: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    @property
    def size(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def go_to(self, position: Position) -> bool:
        """False, and nothing is changed, if the file is not the one that `position` is of."""
        read = int(position.get("read", position["offset"]))
        # a position of an earlier release has no digest
        if (
            self.size < read
            or position.get("before", now := _digest(self._bytes_before(read))) != now
        ):
            return False
        offset = int(position["offset"])
        self._file.seek(offset)
        self._known = self._bytes_before(offset)
        self._parser.restore(position["parser"])
        return True

    def read_to_end(self, intake: Intake) -> None:
        while True:
            intake.wait_while_paused()
            data = self._file.read(self._piece)
            if not data:
                return
            if self._file.tell() == len(data):
                check_text(data, self._context)
            self._known = (self._known + data[-KNOWN_BY:])[-KNOWN_BY:]
            intake.push(self._parser.feed(data), len(data), position=self._position())

    def finish(self, intake: Intake, *, is_place: bool = True) -> None:
        """All of it is delivered then: whoever resumes here reads nothing twice."""
        rest = self._parser.finish()
        intake.push(rest, 0, position=self._position() if is_place else None)

    def follow(self, intake: Intake, path: str) -> str:
        """Read on until there is another file at `path`, with something in it, or this one is no
        longer what was read: returns what has happened to it, "" if it was only moved."""
        while True:
            at = self._file.tell()
            if self.size < at:
                return "became shorter"
            if self.size > at and self._bytes_before(at) != self._known:
                return "was overwritten"
            self.read_to_end(intake)
            if self._is_replaced_at(path):
                # its writer may have written once more before it turned to the other
                self.read_to_end(intake)
                return ""
            sleep(intake, POLL_S)

    def _is_replaced_at(self, path: str) -> bool:
        try:
            there = os.stat(path)
        except FileNotFoundError:
            return False
        return there.st_size > 0 and not os.path.samestat(there, os.fstat(self._file.fileno()))

    def _position(self) -> Position | None:
        at = self._file.tell()
        return position_of(at, self._parser, read=at, before=_digest(self._known))

    def _bytes_before(self, offset: int) -> bytes:
        begin = max(0, offset - KNOWN_BY)
        return os.pread(self._file.fileno(), offset - begin, begin)


def _digest(known: bytes) -> str:
    return blake2b(known, digest_size=8).hexdigest()


def _local_path(o: Options) -> str:
    path = o.required_text("path")
    if not path.startswith("file:"):
        return path
    url = urlsplit(path)
    if url.netloc not in ("", "localhost"):
        raise o.fail("path", f"names another host: {path!r}")
    return unquote(url.path)
