"""file_input: the bytes of a file, once or as it grows (contract section 7.3).

    path                 a file name or a file:// URL
    buffer_size_bytes    bytes read at a time, default 1 MiB
    follow               true: stay at the end and read what is appended

A followed file that becomes shorter was truncated or replaced: that is reported, and reading
starts over at its beginning.

Position: the byte offset of the first record that was not delivered, and the parser's state there.
A file that is shorter than its position is not the one that was read: fatal, unless it is
followed.
"""

from __future__ import annotations

import os
from io import FileIO
from urllib.parse import unquote, urlsplit

from penstock.errors import UserError
from penstock.io.contracts import InputConnector, InputContext, Intake, Parser, Position
from penstock.io.formats.options import TRANSPORT_ERROR, Options
from penstock.io.inputs.byte_source import POLL_S, parser_of, position_of, sleep


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
        parser = parser_of(self.context)
        try:
            with open(self._path, "rb", buffering=0) as file:
                if self._position is not None and not self._seek(intake, file, parser):
                    return
                self._read(intake, file, parser)
                # all of it is delivered then: whoever resumes here reads nothing twice
                rest = parser.finish()
                intake.push(rest, 0, position=position_of(file.tell(), parser))
        except OSError as e:
            intake.error(f"file_input: reading '{self._path}' failed: {e.strerror}", fatal=True)
            return
        intake.end_of_input()

    def _read(self, intake: Intake, file: FileIO, parser: Parser) -> None:
        """To the end of the file; with `follow` for ever."""
        while True:
            intake.wait_while_paused()
            data = file.read(self._size)
            if data:
                parsed = parser.feed(data)
                intake.push(parsed, len(data), position=position_of(file.tell(), parser))
            elif not self._follow:
                return
            elif os.stat(self._path).st_size < file.tell():
                intake.push(parser.finish(), 0)
                self._restart(intake, file)
            else:
                sleep(intake, POLL_S)

    def _seek(self, intake: Intake, file: FileIO, parser: Parser) -> bool:
        """Go to the position to resume at; False, after a report, if the file has no such place."""
        assert self._position is not None
        offset = int(self._position["offset"])
        size = os.fstat(file.fileno()).st_size
        if size >= offset:
            file.seek(offset)
            parser.restore(self._position["parser"])
            return True
        if self._follow:
            self._restart(intake, file)
            return True
        intake.error(
            f"file_input: '{self._path}' has {size} bytes, but {offset} of it were read before the "
            "restart: it is not the same file; clear the pipeline's storage to read it anew",
            fatal=True,
        )
        return False

    def _restart(self, intake: Intake, file: FileIO) -> None:
        file.seek(0)
        intake.error(
            f"file_input: '{self._path}' became shorter; reading it again from its beginning",
            fatal=False,
        )


def _local_path(o: Options) -> str:
    path = o.required_text("path")
    if not path.startswith("file:"):
        return path
    url = urlsplit(path)
    if url.netloc not in ("", "localhost"):
        raise o.fail("path", f"names another host: {path!r}")
    return unquote(url.path)
