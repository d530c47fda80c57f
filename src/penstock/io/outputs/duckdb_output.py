"""duckdb_output: a view as a table of a DuckDB file.

    path           the database file; its directory must exist
    table          [schema.]table; created if absent, keyed by the connector's `index` if it has one
    keep_open      false (default): the file is open only while a call writes, so that other
                   processes can read it in between; true: faster, and closed to them
    memory_limit   what DuckDB may use while it publishes, such as '512MB' (default)

    stage, chunk by chunk ──► <path>.penstock-<target>.g<N>-<random>, an Arrow file
    publish, one transaction ──► <table> made equal to it, marker

Guarantee: atomic. A reader sees the old rows until the publishing transaction commits, then the
new ones; a reader of table and marker in one transaction sees which step. While a call writes, a
reader of another process cannot open the file and must try again (see `duckdb_file`); staging,
which takes longest, does not touch it. Without an index the table is a multiset: a row of weight
w is there w times.

Cost: staging copies; publishing joins stage and table twice and writes what differs; a delta is a
few statements, of which a deletion scans the key columns (5 ms at 5 million rows), and opening and
closing the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np

from penstock.data.batch import Batch
from penstock.data.gather import concat, take
from penstock.io.contents import Contents
from penstock.io.contracts import (
    Capabilities,
    Marker,
    Sink,
    SinkContext,
    SinkRejected,
    SinkUnavailable,
)
from penstock.io.formats.options import TRANSPORT_ERROR, Options
from penstock.io.outputs.arrow_stage import ArrowStage
from penstock.io.outputs.changes import check_keys, copies, keyed_changes
from penstock.io.outputs.duckdb_file import DuckDbFile
from penstock.io.outputs.duckdb_reader import DuckDbReader
from penstock.io.outputs.duckdb_table import DuckDbTable
from penstock.io.outputs.fencing import (
    LastSeen,
    Staging,
    check_complete,
    check_fence,
    check_owner,
    is_applied,
    staging_of,
)
from penstock.io.outputs.identifiers import table_name

_log = logging.getLogger(__name__)

#: failures that a retry may mend: I/O and locks, a conflicting transaction, memory, a database
#: that an earlier failure has closed
_PASSING = (
    duckdb.IOException,
    duckdb.TransactionException,
    duckdb.OutOfMemoryException,
    duckdb.ConnectionException,
    duckdb.FatalException,
)
#: what the target's contents or constraints refuse
_REFUSED = (duckdb.DataError, duckdb.IntegrityError, duckdb.DependencyException)


class DuckDbSink(Sink):
    def __init__(self, context: SinkContext) -> None:
        super().__init__(context)
        o = Options.of("duckdb_output", TRANSPORT_ERROR, context.config)
        path = Path(o.required_text("path"))
        try:
            name = table_name(o.required_text("table"))
        except ValueError:
            raise o.fail("table", "must be a table or schema.table, quoted as in SQL") from None
        if name[1].startswith("__penstock_"):
            raise o.fail("table", "must not begin as the names of internal tables do")
        memory_limit = o.text("memory_limit", "512MB")
        self._file = DuckDbFile(path, memory_limit, o.boolean("keep_open", False))
        o.done()
        self._table = DuckDbTable(name, context.schema, context.key)
        self._key_text = ", ".join(self._table.key_names)
        self._where = f"table '{name[1]}' of '{path}'"
        whose = (*name, context.pipeline_id, context.view, context.connector)
        short = hashlib.sha256(repr(whose).encode()).hexdigest()[:12]
        self._stages = f"{path.name}.penstock-{short}.g"
        # swept like a stage if a kill leaves one
        self._file.new_prefix = f"{self._stages}0-new-"
        self._stage: ArrowStage | None = None
        self._staging: Staging | None = None
        self._last_seen = LastSeen()
        self._bytes = 0

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(guarantee="atomic", stores_marker=True, can_diff=bool(self.context.key))

    # connecting

    def open(self) -> None:
        self.close()
        self._file.check()

    def validate(self) -> None:
        self._file.check()
        folder = self._file.path.absolute().parent
        for place in (folder, self._file.path):
            if place.exists() and not os.access(place, os.W_OK):
                raise SinkRejected(
                    f"duckdb_output: '{place}' may not be written: chmod or chown it"
                )
        if not self._file.exists:
            return
        with self._errors("validate"), self._file.opened() as db:
            check_owner(self._table.read_marker(db), self.context, self._where)
            self._table.column_types(db)

    def marker(self) -> Marker | None:
        if not self._file.exists:
            return None
        with self._errors("marker"), self._file.opened() as db:
            return self._last_seen.found(self._table.read_marker(db))

    # a snapshot

    def begin_diff(self, generation: int, token: str, step: int) -> None:
        if not self.context.key:
            super().begin_diff(generation, token, step)
        self.begin(generation, token, step)  # with a key, equal rows are not written in any case

    def begin(self, generation: int, token: str, step: int) -> None:
        self._drop_staging()
        check_owner(self.marker(), self.context, self._where)
        with self._errors("begin"):
            self._remove_left_over(generation)
            # a name of its own, so that two writers of one generation do not share a stage
            name = f"{self._stages}{generation}-{uuid.uuid4().hex[:8]}"
            path = self._file.path.absolute().with_name(name)
            self._stage = ArrowStage(path, self._table.stage_schema)
        self._staging = Staging(generation)

    def stage(self, generation: int, chunk: int, rows: Batch) -> None:
        staging = staging_of(self._staging, generation)
        if staging.is_repetition(chunk):
            return
        if self._table.key_names:
            check_keys(rows.select(self.context.key), self._key_text)
        rows = copies(rows)
        assert self._stage is not None
        with self._errors("stage"):
            try:
                self._stage.write(self._table.as_staged(rows))
            except OSError:
                self._drop_staging()  # it may hold a part of the chunk
                raise
        staging.took(len(rows))
        self._bytes += _size(rows)

    def publish(self, generation: int, marker: Marker) -> None:
        with self._errors("publish"):
            if self._staging is None:
                # a repetition, or a new sink that staged nothing
                stored = self.marker()
                check_owner(stored, self.context, self._where)
                if check_fence(stored, marker, self._where):
                    return
            staging_of(self._staging, generation)
            stage = self._stage
            assert stage is not None
            stage.finish()
            with self._unique_keys(stage), self._file.writing() as db:
                stored = self._table.read_marker(db)
                check_owner(stored, self.context, self._where)
                check_fence(stored, marker, self._where)
                check_complete(generation, stage.rows, marker)
                self._table.replace_from_stage(db, self._table.create(db), stage)
                self._table.write_marker(db, marker, stored)
        self._last_seen.saw(marker)
        self._drop_staging()

    @contextmanager
    def _unique_keys(self, stage: ArrowStage) -> Iterator[None]:
        """Say it in the view's terms if the target refused the snapshot for its keys."""
        try:
            yield
        except duckdb.ConstraintException as e:
            if self._table.key_names:
                with duckdb.connect() as db:
                    if self._table.repeats_a_key(db, stage):
                        raise SinkRejected(
                            f"index ({self._key_text}) is not unique in the view: a key belongs to "
                            "several rows; add columns to the index, or aggregate in the view"
                        ) from e
            raise

    def abort(self, generation: int) -> None:
        self._drop_staging()
        with self._errors("abort"):
            for path, number in self._leftovers():
                if number == generation:
                    path.unlink(missing_ok=True)

    def sweep(self, generation: int) -> None:
        self._drop_staging()
        with self._errors("sweep"):
            self._remove_left_over(generation)

    def _remove_left_over(self, generation: int) -> None:
        for path, older in self._leftovers():
            if older <= generation:
                path.unlink(missing_ok=True)

    # deltas

    def apply(self, rows: Batch, marker: Marker) -> None:
        with self._errors("apply"), self._file.writing() as db:
            stored = self._table.read_marker(db)
            check_owner(stored, self.context, self._where)
            self._last_seen.check(stored, self._where)
            if is_applied(stored, marker, self._where):
                return
            types = self._table.create(db)
            if self._table.key_names:
                upserts, deletes = keyed_changes(rows, self.context.key, self._key_text)
                # updates are deleted as well: values that change places between rows cannot then
                # collide in a UNIQUE constraint of the target's own
                self._table.delete_keys(
                    db, types, concat([deletes, upserts.select(self.context.key)])
                )
                self._table.insert(db, types, upserts)
            else:
                gone = take(rows, np.flatnonzero(rows.weights < 0))
                self._table.delete_copies(db, types, gone)
                come = take(rows, np.flatnonzero(rows.weights > 0))
                self._table.insert(db, types, copies(come))
            self._table.write_marker(db, marker, stored)
        self._last_seen.saw(marker)
        self._bytes += _size(rows)

    # reading back

    def read(self) -> Contents:
        with self._errors("read"):
            db = self._file.reading() if self._file.exists else None
            reader = DuckDbReader(self._table, self.context.schema, db)
        return Contents(reader.schema, self.context.key, self._guarded(reader.rows()), reader.spell)

    def _guarded(self, pieces: Iterator[Batch]) -> Iterator[Batch]:
        with self._errors("read"):
            yield from pieces

    def privileges(self) -> Sequence[str]:
        return (f"write to '{self._file.path}'", "write to its directory")

    def transmitted_bytes(self) -> int:
        return self._bytes

    def close(self) -> None:
        self._file.close()
        self._drop_staging()

    # staged files

    def _leftovers(self) -> list[tuple[Path, int]]:
        """Staged files of this connector, with generations."""
        found = []
        for path in self._file.path.absolute().parent.iterdir():
            number = path.name.removeprefix(self._stages).split("-", 1)[0]
            if path.name.startswith(self._stages) and number.isdecimal() and not path.is_dir():
                found.append((path, int(number)))
        return found

    def _drop_staging(self) -> None:
        """Close and remove what this object staged. A file that cannot be removed now is left to
        the next sweep: it must not undo a publish that is done."""
        stage, self._stage, self._staging = self._stage, None, None
        if stage is not None:
            try:
                stage.remove()
            except OSError as e:
                path, error = json.dumps(str(stage.path)), json.dumps(str(e))
                _log.warning("stage_left path=%s error=%s", path, error)

    # failures

    @contextmanager
    def _errors(self, call: str) -> Iterator[None]:
        try:
            yield
        except _PASSING as e:
            raise SinkUnavailable(f"duckdb_output: {call} of {self._where}: {e}") from e
        except _REFUSED as e:
            raise SinkRejected(f"duckdb_output: {call} of {self._where}: {e}") from e
        except OSError as e:
            raise SinkUnavailable(f"duckdb_output: {call} of {self._where}: {e}") from e


def _size(rows: Batch) -> int:
    """Bytes of the rows' fixed-width part, which is near what DuckDB reads."""
    return sum(c.values.nbytes for c in rows.columns)
