"""A file that replays to the view: a snapshot, then every delta appended.

    stage     <path>.g<N>.tmp            written and fsynced, no reader looks there
    publish   rename to <path>, fsync the directory            ◄── the instant
    apply     append to <path>

Guarantee: atomic for who opens the path anew: it names the old file or the new one, never half of
one. Who had the old file open keeps reading that.

The marker lies beside the file, in `<path>.penstock.json`, and says which inode it describes and
how many bytes of it are covered. A crash can come between the file's change and the marker's:

    publish   the sidecar of the staged file (`<tmp>.json`, with its inode) is written first, so
              the renamed file is recognised by its inode, whichever marker is in place
    append    a file longer than its marker says has a delta of unknown completeness at the end;
              the pipeline owes a new snapshot then (no marker is reported), and nothing is cut

A file that somebody changed or removed by hand is repaired by a reset, whatever its state.
Config: `path`. Formats: json, csv.

Cost: O(bytes written).
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
from pathlib import Path
from typing import Any

from penstock.data.batch import Batch
from penstock.errors import UserError
from penstock.io.contracts import (
    Capabilities,
    Marker,
    Sink,
    SinkContext,
    SinkRejected,
    SinkUnavailable,
)
from penstock.io.formats import make_encoder
from penstock.io.outputs.fencing import (
    Staging,
    check_complete,
    check_fence,
    check_owner,
    is_applied,
    marker_from_json,
    marker_to_json,
    staging_of,
)


class FileSink(Sink):
    """See the module."""

    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        path = context.config.get("path")
        if not isinstance(path, str) or not path:
            raise UserError(
                f"connector '{context.connector}': file_output needs 'path' (a string)",
                code="ConfigError.InvalidTransportConfig",
            )
        if context.format is None:
            raise UserError(
                f"connector '{context.connector}': file_output needs a 'format'",
                code="ConfigError.OutputFormatNotSpecified",
            )
        self._path = Path(path.removeprefix("file://"))
        self._sidecar = self._path.with_name(self._path.name + ".penstock.json")
        self._encoder = make_encoder(context.format, context.schema)
        self._file: Any = None
        self._staging: Staging | None = None
        self._stage_file: Any = None
        self._bytes = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="atomic", stores_marker=True, starts_empty=True, is_log=True)

    def open(self) -> None:
        self.close()
        folder = self._path.parent
        if not folder.is_dir():
            raise SinkRejected(f"directory {folder} does not exist: create it")

    def validate(self) -> None:
        if self._path.exists() and not self._path.is_file():
            raise SinkRejected(f"{self._path} is not a regular file")
        writable = self._path if self._path.exists() else self._path.parent
        if not os.access(writable, os.W_OK) or not os.access(self._path.parent, os.W_OK):
            raise SinkRejected(f"{self._path} cannot be written: check its permissions")
        check_owner(self._stored(), self.context, str(self._path))

    def marker(self) -> Marker | None:
        """The stored marker, if it describes the file as it is."""
        for where in self._sidecars():
            found = _read(where)
            if found is not None and self._describes(found):
                return marker_from_json(found["marker"])
        return None

    def _stored(self) -> Marker | None:
        """Whose file it is, whether or not the marker describes its present contents."""
        found = _read(self._sidecar)
        return None if found is None else marker_from_json(found["marker"])

    def _sidecars(self) -> list[Path]:
        staged = sorted(glob.glob(glob.escape(str(self._path)) + ".g*.tmp.json"), reverse=True)
        return [*map(Path, staged), self._sidecar]

    def _describes(self, sidecar: dict[str, Any]) -> bool:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            return False
        return bool(stat.st_ino == sidecar["inode"] and stat.st_size == sidecar["bytes"])

    # snapshot

    def _stage_path(self, generation: int) -> Path:
        return self._path.with_name(f"{self._path.name}.g{generation}.tmp")

    def begin(self, generation: int, token: str, step: int) -> None:
        self._close_stage()
        for leftover in glob.glob(glob.escape(str(self._path)) + ".g*.tmp*"):
            number = leftover.rsplit(".g", 1)[1].split(".", 1)[0]
            if number.isdigit() and int(number) <= generation:
                Path(leftover).unlink(missing_ok=True)
        with self._errors():
            self._stage_file = self._stage_path(generation).open("xb")
        self._staging = Staging(generation)

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        with self._errors():
            self._write(self._stage_file, rows)
        staging.took(int(rows.weights.sum()))

    def publish(self, generation: int, marker: Marker) -> None:
        stored = self._stored()
        check_owner(stored, self.context, str(self._path))
        if check_fence(stored, marker, str(self._path)) and self._staging is None:
            return
        check_complete(generation, staging_of(self._staging, generation).rows, marker)
        stage = self._stage_path(generation)
        with self._errors():
            self._stage_file.flush()
            os.fsync(self._stage_file.fileno())
            stat = os.fstat(self._stage_file.fileno())
            sidecar = stage.with_name(stage.name + ".json")
            self._put(sidecar, marker, stat.st_ino, stat.st_size)
            os.replace(stage, self._path)
            os.replace(sidecar, self._sidecar)
            self._sync_folder()
        self._close_file()
        self._file, self._stage_file, self._staging = self._stage_file, None, None

    def abort(self, generation: int) -> None:
        self._close_stage()
        self._stage_path(generation).unlink(missing_ok=True)

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        if is_applied(self._stored(), marker, str(self._path)):
            return
        check_owner(self._stored(), self.context, str(self._path))
        with self._errors():
            if self._file is None or not self._is_current(self._file):
                self._close_file()
                self._file = self._path.open("ab")
            self._write(self._file, rows)
            self._file.flush()
            stat = os.fstat(self._file.fileno())
            self._put(self._sidecar, marker, stat.st_ino, stat.st_size)

    def _is_current(self, file: Any) -> bool:
        """Whether the path still names the file that is open (somebody may have replaced it)."""
        try:
            return os.fstat(file.fileno()).st_ino == self._path.stat().st_ino
        except FileNotFoundError:
            return False

    def transmitted_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        self._close_file()
        self._close_stage()

    # files

    def _write(self, file: Any, rows: Batch) -> None:
        for buffer in self._encoder.encode(rows):
            file.write(buffer)
            self._bytes += len(buffer)

    def _put(self, where: Path, marker: Marker, inode: int, size: int) -> None:
        body = {"marker": marker_to_json(marker), "inode": inode, "bytes": size}
        temporary = where.with_name(where.name + ".new")
        temporary.write_text(json.dumps(body))
        os.replace(temporary, where)

    def _sync_folder(self) -> None:
        fd = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _close_stage(self) -> None:
        if self._stage_file is not None:
            self._stage_file.close()
            self._stage_file = None
        self._staging = None

    @contextlib.contextmanager
    def _errors(self) -> Any:
        try:
            yield
        except PermissionError as e:
            raise SinkRejected(f"{self._path} cannot be written: {e.strerror}") from e
        except OSError as e:
            raise SinkUnavailable(f"{self._path}: {e.strerror or e}") from e


def _read(sidecar: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(sidecar.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return found if {"marker", "inode", "bytes"} <= found.keys() else None
