"""file_output with format parquet: a folder of files that replay to the view.

    path      a name that becomes a link to a folder; readers open <path>/*.parquet
    format    {"name": "parquet", "config": {"buffer_size_records": rows of a row group}}

    <path>  ─link─►  <path>.g<N>-<random>/   g<N>-<random>-s0-00000.parquet …    the snapshot
                                             g<N>-<random>-s<step>.parquet …     a file a step
                                             marker.json

    stage     a folder beside, which no link names; its files are written by a thread of its own,
              and fsynced
    publish   the link is replaced by rename, its directory fsynced          ◄── the instant
    apply     one file, written under a hidden name, fsynced, renamed; its metadata has the marker

Columns: the view's, and __penstock_weight: the signed number of copies. ARRAY, MAP and ROW are
Parquet's own lists, maps and groups; a VARIANT is the text of its JSON, a UUID text.

Guarantee: atomic. The link names the old folder or the new one, and files of two generations have
no name in common: who lists the old folder while it is replaced may miss a file, and looks again,
but cannot mix the two. The folder before is kept until the next reset, for those who read it.

Writers of one directory exclude each other by a lock on it (reset.md rule 5).

Cost: a step is one file, so prefer an output buffer for many small steps.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from penstock.data.arrow import to_arrow
from penstock.data.batch import Batch
from penstock.data.build import empty_batch
from penstock.io.contents import Contents
from penstock.io.contracts import (
    Capabilities,
    Marker,
    Sink,
    SinkContext,
    SinkRejected,
    StagingLost,
)
from penstock.io.formats.options import ENCODER_ERROR, TRANSPORT_ERROR, Options
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
from penstock.io.outputs.parquet_columns import repeating
from penstock.io.outputs.parquet_reader import ParquetReader
from penstock.io.outputs.write_behind import WriteBehind

WEIGHT = "__penstock_weight"
_MARKER = b"penstock"
_MARKER_FILE = "marker.json"


class ParquetFolderSink(Sink):
    """See the module."""

    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        o = Options.of("file_output", TRANSPORT_ERROR, context.config)
        self._path = Path(o.required_text("path").removeprefix("file://")).absolute()
        o.done()
        assert context.format is not None
        f = Options.of("parquet encoder", ENCODER_ERROR, context.format.get("config"))
        self._group_rows = f.integer("buffer_size_records", 100_000)
        f.done()
        self._where = f"'{self._path}'"
        self._new_link = f"{self._path.name}.link-"
        self._staging: Staging | None = None
        self._stage: Path | None = None
        self._behind: WriteBehind | None = None
        self._last_seen = LastSeen()
        self._bytes = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="atomic", stores_marker=True, starts_empty=True, is_log=True)

    def open(self) -> None:
        self._forget()
        if not self._path.parent.is_dir():
            raise SinkRejected(
                f"file_output: the directory '{self._path.parent}' does not exist; create it"
            )

    def validate(self) -> None:
        self._check_link()
        if not os.access(self._path.parent, os.W_OK):
            raise SinkRejected(
                f"file_output: '{self._path.parent}' may not be written: chmod or chown it"
            )
        check_owner(self._stored(), self.context, self._where)

    def _check_link(self) -> None:
        if not self._is_link_of_ours(self._path) and os.path.lexists(self._path):
            raise SinkRejected(
                f"file_output: {self._where} is not a link to a folder of this connector's: "
                "rename it, or choose another path"
            )

    def _is_link_of_ours(self, path: Path) -> bool:
        """Also one whose folder somebody has removed."""
        return path.is_symlink() and os.readlink(path).startswith(f"{self._path.name}.g")

    def marker(self) -> Marker | None:
        return self._last_seen.found(self._stored())

    def _stored(self) -> Marker | None:
        folder = self._folder()
        if folder is None:
            return None
        with self._errors("marker"):
            for file in sorted(folder.glob("*-s[1-9]*.parquet"), key=_step, reverse=True):
                # a file that somebody damaged tells nothing
                with suppress(pa.ArrowInvalid):
                    told = pa.parquet.read_schema(file).metadata or {}
                    if _MARKER in told:
                        return marker_from_json(json.loads(told[_MARKER]))
            try:
                return marker_from_json(json.loads((folder / _MARKER_FILE).read_text()))
            except FileNotFoundError:
                return None

    # a snapshot

    def begin(self, generation: int, token: str, step: int) -> None:
        self._forget()
        with self._errors("begin"), self._locked():
            check_owner(self._stored(), self.context, self._where)
            self._remove_left_over(generation)
            self._stage = self._new_folder(generation)
        self._staging, self._behind = Staging(generation), WriteBehind()

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        assert self._stage is not None and self._behind is not None
        write = partial(self._write, self._stage, f"s0-{chunk:05}", self._table(rows))
        with self._written():
            self._behind.add(write)
        staging.took(int(rows.weights.sum()))

    @contextmanager
    def _written(self) -> Iterator[None]:
        """What came of the pieces so far; one that failed ends the stage."""
        try:
            with self._errors("stage"):
                try:
                    yield
                except FileNotFoundError as e:
                    raise StagingLost(f"'{self._stage}' was removed: begin again") from e
        except BaseException:
            self._staging = None
            raise

    def publish(self, generation: int, marker: Marker) -> None:
        with self._errors("publish"), self._locked():
            stored = self._stored()
            check_owner(stored, self.context, self._where)
            if check_fence(stored, marker, self._where) and self._staging is None:
                return
            staging = staging_of(self._staging, generation)
            check_complete(generation, staging.rows, marker)
            assert self._stage is not None and self._behind is not None
            with self._written():
                self._behind.finish()
            if len(list(self._stage.glob("*.parquet"))) != staging.next_chunk:
                raise StagingLost(f"'{self._stage}' was changed: begin again")
            if staging.next_chunk == 0:
                # a file without rows, as readers of no files at all have no columns
                self._write(self._stage, "s0-00000", self._table(empty_batch(self.context.schema)))
            self._show(self._stage, marker)
        self._last_seen.saw(marker)
        self._forget()

    def _show(self, folder: Path, marker: Marker) -> None:
        """Put the marker into the folder and the link onto it."""
        self._check_link()
        with (folder / _MARKER_FILE).open("w") as f:
            f.write(json.dumps(marker_to_json(marker)))
            f.flush()
            os.fsync(f.fileno())
        sync_folder(folder)
        link = self._path.with_name(f"{self._new_link}{uuid.uuid4().hex[:8]}")
        link.symlink_to(folder.name)
        os.replace(link, self._path)
        sync_folder(self._path.parent)

    def abort(self, generation: int) -> None:
        stage = self._stage
        self._forget()
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)

    def _forget(self) -> None:
        """Write nothing more of what was staged; its folder stays, until `begin` or a sweep."""
        if self._behind is not None:
            self._behind.drop()
        self._staging = self._stage = self._behind = None

    def sweep(self, generation: int) -> None:
        with self._errors("sweep"), self._locked():
            self._remove_left_over(generation)

    def _remove_left_over(self, generation: int) -> None:
        shown = self._folder()
        for folder in self._folders():
            number = int(folder.name.rsplit(".g", 1)[1].split("-", 1)[0])
            if folder != shown and number <= generation:
                # its writer may still be at it; what is left then goes the next time
                shutil.rmtree(folder, ignore_errors=True)
        for link in self._path.parent.iterdir():
            # of a writer that died before its link took the path's place: it had the lock
            if link.name.startswith(self._new_link) and self._is_link_of_ours(link):
                link.unlink()
        if shown is not None:
            # a delta's file that never got its name; whoever writes one has the lock
            for hidden in shown.glob(".g*"):
                hidden.unlink()

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        with self._errors("apply"), self._locked():
            stored = self._stored()
            check_owner(stored, self.context, self._where)
            self._last_seen.check(stored, self._where)
            if is_applied(stored, marker, self._where):
                return
            folder = self._folder()
            if folder is None:
                folder = self._new_folder(marker.generation)
                self._write(folder, f"s{marker.step}", self._table(rows, marker))
                self._show(folder, marker)
            else:
                self._write(folder, f"s{marker.step}", self._table(rows, marker))
        self._last_seen.saw(marker)

    def _table(self, rows: Batch, marker: Marker | None = None) -> pa.Table:
        batch = to_arrow(rows, weights=True)
        table = pa.Table.from_batches([batch]).rename_columns([*rows.schema.names, WEIGHT])
        if marker is None:
            return table
        return table.replace_schema_metadata({_MARKER: json.dumps(marker_to_json(marker))})

    def _write(self, folder: Path, name: str, table: pa.Table) -> None:
        """One file, whole and durable when it has its name."""
        made = folder.name.rsplit(".", 1)[1]
        hidden, shown = folder / f".{made}-{name}", folder / f"{made}-{name}.parquet"
        with hidden.open("wb") as f:
            pa.parquet.write_table(
                table, f, row_group_size=self._group_rows, use_dictionary=repeating(table)
            )
            f.flush()
            os.fsync(f.fileno())
            self._bytes += f.tell()
        os.replace(hidden, shown)
        sync_folder(folder)

    def read(self) -> Contents:
        with self._errors("read"):
            folder = self._folder()
            files = [] if folder is None else sorted(folder.glob("*.parquet"))
        reader = ParquetReader(files, self.context.schema, WEIGHT)

        def rows() -> Iterator[Batch]:
            with self._errors("read"):
                yield from reader.rows()

        return Contents(schema=reader.schema, key=(), rows=rows(), spell=reader.spell)

    def privileges(self) -> Sequence[str]:
        return (f"write to the directory '{self._path.parent}'",)

    def transmitted_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        """A staged folder stays; the next `begin` removes it."""
        self._forget()

    # folders

    def _folders(self) -> list[Path]:
        """All folders of this path, shown or not."""
        start = f"{self._path.name}.g"
        return [
            p for p in self._path.parent.iterdir()
            if p.name.startswith(start) and not p.is_symlink() and p.is_dir()
            and p.name[len(start) :].split("-", 1)[0].isdecimal()
        ]  # fmt: skip

    def _folder(self) -> Path | None:
        """The folder that the link names, if it is one of ours."""
        try:
            named = self._path.parent / os.readlink(self._path)
        except OSError:
            return None
        return named if named in self._folders() else None

    def _new_folder(self, generation: int) -> Path:
        name = f"{self._path.name}.g{generation}-{uuid.uuid4().hex[:8]}"
        folder = self._path.with_name(name)
        folder.mkdir()
        return folder

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._path.parent)

    def _errors(self, call: str) -> AbstractContextManager[None]:
        return file_errors(call, self._where)


def _step(file: Path) -> int:
    """Of a delta's file."""
    digits: Any = file.stem.rsplit("-s", 1)[1]
    return int(digits) if digits.isdecimal() else 0
