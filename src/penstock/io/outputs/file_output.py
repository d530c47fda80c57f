"""file_output: a file that replays to the view: a snapshot, then every delta appended.

    path     a file name or a file:// URL; its directory must exist
    format   json or csv

    stage     <path>.g<N>.tmp       written and fsynced; no reader looks there
    publish   rename to <path>, fsync the directory          ◄── the instant
    apply     append to <path>

Guarantee: atomic for who opens the path anew: it names the old file or the new one, never a part
of one. Who has the old file open keeps reading that. A delta is appended in more than one write, so
who reads meanwhile must not read beyond the bytes that the marker covers.

The marker is beside the file, in <path>.penstock.json, with the inode it is about, how many of
its bytes it covers, and whether an append has begun. Two files cannot change at one instant, so
each order of writes leaves something that can be told apart after a crash:

    publish   the new marker is written as <path>.g<N>.tmp.json first, with the staged file's
              inode. If <path> has that inode, the publish happened, whichever marker is in place
    append    the marker says first that an append has begun, then the file grows, then the marker
              says how far. After a crash in between, what lies beyond the covered bytes is an
              unfinished delta: the next append begins at the covered length, over it

A file that somebody removed, replaced or cut short since this connection wrote to it takes no more
deltas: the next connection finds out what is owed to it. Else a file that does not match its marker
gets them on a line of their own, and a reset puts it right.

A delta counts as taken once its bytes, the marker, and the marker's name are synced, so power loss
takes nothing back. An append that it cuts short is told by the marker before it, or leaves a file
that does not match its marker.

Writers of one directory exclude each other by a lock on it, so reading a marker and writing under
it are one (reset.md rule 5).

Cost: O(bytes written), two small files and four syncs a delta.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from penstock.data.batch import Batch
from penstock.errors import UserError
from penstock.io.contents import Contents
from penstock.io.contracts import (
    Capabilities,
    Marker,
    Sink,
    SinkContext,
    SinkRejected,
    StagingLost,
    not_supported,
)
from penstock.io.formats import make_encoder
from penstock.io.formats.options import TRANSPORT_ERROR, Options
from penstock.io.outputs.fencing import (
    LastSeen,
    Staging,
    check_complete,
    check_fence,
    check_owner,
    is_applied,
    marker_from_json,
    marker_to_json,
    staging_of,
)
from penstock.io.outputs.local_files import file_errors, locked, sync_folder
from penstock.io.outputs.words import (
    JSON_LOGS,
    RECORD,
    LogFormat,
    csv_log,
    of_records,
    read_records,
)

#: what a sidecar is called until it is whole
_NEW = ".new"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is stored about a file: its marker, the inode meant, the bytes covered."""

    marker: Marker
    inode: int
    bytes: int
    is_appending: bool

    @staticmethod
    def read(path: Path) -> Sidecar | None:
        """None if there is none, or one that is not ours or not whole."""
        try:
            found = json.loads(path.read_text())
            marker = marker_from_json(found["marker"])
            return Sidecar(marker, found["inode"], found["bytes"], found["appending"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Replace the sidecar at `path` at one instant."""
        body = {
            "marker": marker_to_json(self.marker),
            "inode": self.inode,
            "bytes": self.bytes,
            "appending": self.is_appending,
        }
        new = path.with_name(path.name + _NEW)
        with new.open("w") as f:
            f.write(json.dumps(body))
            f.flush()
            os.fsync(f.fileno())
        os.replace(new, path)


class FileSink(Sink):
    """See the module."""

    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        o = Options.of("file_output", TRANSPORT_ERROR, context.config)
        self._path = Path(o.required_text("path").removeprefix("file://"))
        o.done()
        if context.format is None:
            raise UserError(
                f"connector '{context.connector}': file_output needs a 'format'",
                code="ConfigError.OutputFormatNotSpecified",
            )
        self._encoder = make_encoder(context.format, context.schema)
        self._log_format = log_format(context.format)
        self._sidecar = self._beside(".penstock.json")
        self._where = f"'{self._path}'"
        self._file: BinaryIO | None = None
        self._stage_file: BinaryIO | None = None
        self._staging: Staging | None = None
        self._staged_bytes = 0
        self._last_seen = LastSeen()
        self._bytes = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="atomic", stores_marker=True, starts_empty=True, is_log=True)

    def open(self) -> None:
        self.close()
        folder = self._path.absolute().parent
        if not folder.is_dir():
            raise SinkRejected(f"file_output: the directory '{folder}' does not exist; create it")

    def validate(self) -> None:
        if self._path.exists() and not self._path.is_file():
            raise SinkRejected(f"file_output: {self._where} is not a regular file")
        for place in (self._path.absolute().parent, self._path):
            if place.exists() and not os.access(place, os.W_OK):
                raise SinkRejected(f"file_output: '{place}' may not be written: chmod or chown it")
        check_owner(self._stored_marker(), self.context, self._where)

    def marker(self) -> Marker | None:
        """The stored marker, if the file has at least the bytes that it covers."""
        stored, stat = self._stored(), self._stat()
        if stored is None or stat is None or stat.st_ino != stored.inode:
            return None
        is_whole = stat.st_size == stored.bytes
        if not is_whole and not self._has_tail(stored, stat):
            return None
        return self._last_seen.found(stored.marker)

    # a snapshot

    def begin(self, generation: int, token: str, step: int) -> None:
        self._drop_staging()
        with self._errors("begin"), self._locked():
            self._settle()
            check_owner(self._stored_marker(), self.context, self._where)
            self._remove_left_over(generation)
            self._stage_file = self._stage_path(generation).open("x+b")
        self._staging, self._staged_bytes = Staging(generation), 0

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        assert self._stage_file is not None
        with self._errors("stage"):
            try:
                self._staged_bytes += self._write(self._stage_file, rows)
            except OSError:
                self._drop_staging()  # it may hold a part of the chunk
                raise
        staging.took(int(rows.weights.sum()))

    def publish(self, generation: int, marker: Marker) -> None:
        if self._stage_file is not None:
            with self._errors("publish"):
                self._stage_file.flush()
                os.fsync(self._stage_file.fileno())
        with self._errors("publish"), self._locked():
            self._settle()
            stored = self._stored_marker()
            check_owner(stored, self.context, self._where)
            if check_fence(stored, marker, self._where) and self._staging is None:
                return
            check_complete(generation, staging_of(self._staging, generation).rows, marker)
            self._replace(generation, marker)
        _close(self._file)
        self._file, self._stage_file, self._staging = self._stage_file, None, None
        self._last_seen.saw(marker)

    def _replace(self, generation: int, marker: Marker) -> None:
        """The rename, with the new marker written before and put in its place after."""
        stage = self._stage_path(generation)
        assert self._stage_file is not None
        mine = os.fstat(self._stage_file.fileno())
        try:
            found = stage.stat()
        except FileNotFoundError:
            found = None
        if found is None or found.st_ino != mine.st_ino or mine.st_size != self._staged_bytes:
            raise StagingLost(f"'{stage}' was removed or changed: begin again")
        sidecar = stage.with_name(stage.name + ".json")
        Sidecar(marker, mine.st_ino, mine.st_size, False).write(sidecar)
        os.replace(stage, self._path)
        os.replace(sidecar, self._sidecar)
        sync_folder(self._path.absolute().parent)

    def abort(self, generation: int) -> None:
        self._drop_staging()
        with self._errors("abort"):
            self._stage_path(generation).unlink(missing_ok=True)

    def sweep(self, generation: int) -> None:
        with self._errors("sweep"), self._locked():
            self._settle()
            self._remove_left_over(generation)

    def _remove_left_over(self, generation: int) -> None:
        for leftover, number in self._leftovers():
            if number <= generation:
                leftover.unlink(missing_ok=True)
        # whoever writes one has the lock
        self._sidecar.with_name(self._sidecar.name + _NEW).unlink(missing_ok=True)

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        with self._errors("apply"), self._locked():
            self._settle()
            stored = self._stored()
            known = None if stored is None else stored.marker
            check_owner(known, self.context, self._where)
            self._last_seen.check(None if self._is_lost(stored) else known, self._where)
            if is_applied(known, marker, self._where):
                return
            file = self._current_file()
            start = self._append_at(file, stored)
            inode = os.fstat(file.fileno()).st_ino
            if known is not None:
                Sidecar(known, inode, start, True).write(self._sidecar)
            # an unfinished delta goes first: a reader should not see this one run into it
            file.truncate(start)
            file.seek(start)
            self._write(file, rows)
            file.flush()
            end = file.tell()
            os.fsync(file.fileno())
            Sidecar(marker, inode, end, False).write(self._sidecar)
            sync_folder(self._path.absolute().parent)
        self._last_seen.saw(marker)

    def _current_file(self) -> BinaryIO:
        """The file that the path names, open: somebody may have replaced or removed it."""
        stat = self._stat()
        if self._file is not None:
            if stat is not None and os.fstat(self._file.fileno()).st_ino == stat.st_ino:
                return self._file
            _close(self._file)
            self._file = None
        self._file = self._path.open("w+b" if stat is None else "r+b")
        return self._file

    def _append_at(self, file: BinaryIO, stored: Sidecar | None) -> int:
        """Where the next delta begins: over an unfinished one, else at the end, and there after a
        line end if somebody left the file without."""
        stat = os.fstat(file.fileno())
        if stored is not None and stored.inode == stat.st_ino:
            if self._has_tail(stored, stat):
                return stored.bytes
            if stored.bytes == stat.st_size:
                return stat.st_size
        if stat.st_size == 0:
            return 0
        file.seek(stat.st_size - 1)
        if file.read(1) != b"\n":
            file.write(b"\n")
        return file.tell()

    def _is_lost(self, stored: Sidecar | None) -> bool:
        """Whether some of the bytes that it covers are there no more."""
        stat = self._stat()
        if stored is None or stat is None:
            return True
        return stat.st_ino != stored.inode or stat.st_size < stored.bytes

    @staticmethod
    def _has_tail(stored: Sidecar, stat: os.stat_result) -> bool:
        """Whether an append began that may not be whole."""
        return stored.is_appending and stat.st_size >= stored.bytes

    # reading back

    def read(self) -> Contents:
        """The file replayed, line by line, up to an append that may be under way."""
        told = self._log_format
        if told is None:
            raise not_supported(
                f"connector '{self.context.connector}': a file in this format cannot be replayed "
                "line by line: use csv, or json with update_format insert_delete and without array"
            )
        with self._errors("read"), self._locked():
            file = self._path.open("rb") if self._path.exists() else None
            stat, stored = self._stat(), self._stored()
        size = 0 if stat is None else stat.st_size
        if stored is not None and stat is not None and stored.inode == stat.st_ino:
            size = stored.bytes if self._has_tail(stored, stat) else size

        def rows() -> Iterator[Batch]:
            if file is not None:
                with file, self._errors("read"):
                    yield from read_records(file, size, told)

        def spell(rows: Batch) -> Batch:
            return of_records(b"".join(self._encoder.encode(rows)), told)

        return Contents(schema=RECORD, key=(), rows=rows(), spell=spell)

    def privileges(self) -> Sequence[str]:
        folder = self._path.absolute().parent
        return (f"write to '{self._path}'", f"write to its directory '{folder}'")

    def transmitted_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """A staged file stays on disk; the next `begin` removes it."""
        _close(self._file)
        self._file = None
        self._drop_staging()

    # the files

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _stage_path(self, generation: int) -> Path:
        return self._beside(f".g{generation}.tmp")

    def _leftovers(self) -> list[tuple[Path, int]]:
        """Staged files and their sidecars, with their generations."""
        prefix = str(self._path) + ".g"
        found = []
        for name in glob.glob(glob.escape(prefix) + "*.tmp*"):
            number = name.removeprefix(prefix).split(".", 1)[0]
            if number.isdecimal():
                found.append((Path(name), int(number)))
        return found

    def _stat(self) -> os.stat_result | None:
        try:
            return self._path.stat()
        except FileNotFoundError:
            return None

    def _stored(self) -> Sidecar | None:
        """The newest sidecar: one that a crash left beside the published file, else the main."""
        published = self._unsettled()
        return Sidecar.read(self._sidecar if published is None else published)

    def _stored_marker(self) -> Marker | None:
        """Whose file it is, whether or not the marker describes its present contents."""
        stored = self._stored()
        return None if stored is None else stored.marker

    def _unsettled(self) -> Path | None:
        """The sidecar of a staged file that was renamed to the path before a crash, if any."""
        stat = self._stat()
        for path, _ in self._leftovers():
            if stat is not None and path.suffix == ".json":
                sidecar = Sidecar.read(path)
                if sidecar is not None and sidecar.inode == stat.st_ino:
                    return path
        return None

    def _settle(self) -> None:
        """Finish a publish that was interrupted after its rename."""
        published = self._unsettled()
        if published is not None:
            os.replace(published, self._sidecar)

    def _write(self, file: BinaryIO, rows: Batch) -> int:
        written = 0
        for buffer in self._encoder.encode(rows):
            file.write(buffer)
            written += len(buffer)
        self._bytes += written
        return written

    def _drop_staging(self) -> None:
        _close(self._stage_file)
        self._stage_file, self._staging = None, None

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._path.absolute().parent)

    def _errors(self, call: str) -> AbstractContextManager[None]:
        return file_errors(call, self._where)


def log_format(format: Mapping[str, Any]) -> LogFormat | None:
    """How a file in `format` is read back; None if it cannot be, line by line."""
    config = format.get("config") or {}
    if format["name"] == "csv":
        return csv_log(
            config.get("delimiter", ","), has_weight=bool(config.get("include_weight", True))
        )
    if format["name"] == "json" and not config.get("array", False):
        return JSON_LOGS.get(config.get("update_format", "insert_delete"))
    return None


def _close(file: BinaryIO | None) -> None:
    """Close a file that is given up or whose writes were flushed; a full disk shows again here,
    and was reported when it was met first."""
    if file is not None:
        with suppress(OSError):
            file.close()
