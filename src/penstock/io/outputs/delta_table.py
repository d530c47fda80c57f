"""One Delta table: loading it, the marker in its log, and commits that nobody overtakes.

    commit N      commitInfo.penstock = marker (JSON)      who wrote last, and what
                  txn(appId = penstock:<owner>,            survives the log's clean-up, and says
                      version = generation · 2⁴⁰ + step)   then which generation is next

A commit is tried exactly once at the version after the one that was loaded, without the library's
own retries: whoever finds that version taken loads again and looks at the marker again. So reading
the marker and writing under it are one (reset.md rule 5), on local disks by a link that must not
exist, on object stores by a conditional put (Delta protocol, "Delta Log Entries").

A commit whose reply was lost is found by its marker at the next look.

A log that lost a part (somebody removed the folder while a commit came) cannot be read by anybody.
If what is left of it says that it was ours, it counts as no table, and what is created next takes
its place; otherwise it is refused.

Not here: which rows a commit brings (`delta_output`), files (`delta_files`).
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import obstore
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction
from deltalake.exceptions import (
    CommitFailedError,
    DeltaError,
    DeltaProtocolError,
    SchemaMismatchError,
    TableNotFoundError,
)
from deltalake.transaction import AddAction, create_table_with_add_actions
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from penstock.io.contracts import FOLLOWING, RESTORED, Marker, SinkRejected, SinkUnavailable
from penstock.io.outputs.delta_files import ParquetFiles
from penstock.io.outputs.delta_shape import DELETED, DeltaShape
from penstock.io.outputs.fencing import marker_from_json, marker_to_json
from penstock.io.outputs.identifiers import quoted

#: how often a commit that others overtook is tried before the controller backs off
ATTEMPTS = 25
_KEY = "penstock"
#: bits of a txn version that hold the step
_STEP_BITS = 40
#: object stores' words for "you may not"; everything else may pass
_DENIED = ("AccessDenied", "Forbidden", "PermissionDenied", "Unauthorized", "InvalidAccessKeyId",
           "SignatureDoesNotMatch", "NoSuchBucket")  # fmt: skip
_PASSING = re.compile(
    # the last is of a table that was removed since it was loaded
    r"Generic \w+ error|timed out|connection|error sending request|Invalid table version",
    re.IGNORECASE,
)
#: of a log that misses commits or has half of one; what a newer protocol asks for is not among them
_BROKEN = re.compile(
    r"No table metadata or protocol|contiguous commit files|Json error|Invalid Checkpoint"
)
#: options of the HTTP client; the library takes them with the store's, obstore apart from them
_CLIENT = re.compile(
    r"(?:aws_|azure_|google_)?(allow_http|allow_invalid_certificates|connect_timeout|timeout"
    r"|proxy_\w+|pool_\w+|http[12]_\w+|user_agent)",
    re.IGNORECASE,
)
_COLOURS = re.compile("\x1b\\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Stored:
    """What the log says of us: the last marker and the last timestamp that a log's rows had.
    A marker behind which an earlier version was restored is in phase RESTORED."""

    marker: Marker | None = None
    timestamp: int = 0


class DeltaTarget:
    """The table at `uri`, which may not exist yet. `owner`: (pipeline, view, connector)."""

    def __init__(self, uri: str, options: Mapping[str, str], owner: tuple[str, str, str]) -> None:
        self.uri = uri
        self._options = dict(options)
        self._owner = owner
        self._app = ":".join(("penstock", *owner))
        self._seen: tuple[str, int, Stored] | None = None
        #: whether what `load` found is ours and cannot be read
        self._is_broken = False

    @property
    def store(self) -> ObjectStore:
        """The table's folder. A local one is made if it is absent.

        By obstore, as the library's own file system keeps the GIL while it waits for a reply."""
        if "://" not in self.uri or self.uri.startswith("file://"):
            return LocalStore(self.uri.removeprefix("file://"), mkdir=True)
        store, client = {}, {}
        for name, value in self._options.items():
            match = _CLIENT.fullmatch(name)
            if match:
                client[match[1].lower()] = value
            else:
                store[name] = value
        return from_url(self.uri, config=store, client_options=client)  # type: ignore

    def load(self) -> DeltaTable | None:
        """The newest version; None if there is no table, or what is left of ours. Raises
        SinkRejected for what is left of another's."""
        self._is_broken = False
        try:
            return DeltaTable(self.uri, storage_options=self._options)
        except TableNotFoundError:
            return None
        except DeltaError as e:
            why = _COLOURS.sub("", str(e)).splitlines()[0]
            if not _BROKEN.search(why):
                raise
            self._check_left_of_ours(why)
            self._is_broken = True
            return None

    def _check_left_of_ours(self, why: str) -> None:
        """Raises SinkRejected unless the newest commit that is whole and has a marker has ours."""
        for path in reversed(self._log_files()):
            if not path.endswith(".json"):
                continue
            try:
                commit = bytes(obstore.get(self.store, path).bytes())
                found = next(filter(None, map(_stored_in, _infos(commit))), None)
            except (ValueError, FileNotFoundError):
                continue  # half a commit, or gone by now
            marker = None if found is None else found.marker
            if marker is not None:
                if (marker.pipeline_id, marker.view, marker.connector) == self._owner:
                    return
                break
        raise SinkRejected(
            f"delta_table_output: the log of '{self.uri}' cannot be read ({why}), and nothing in "
            "it says that it is ours: repair or remove it, or name another uri"
        )

    def _log_files(self) -> list[str]:
        listed = obstore.list(self.store, prefix="_delta_log").collect()
        return sorted(file["path"] for file in listed)

    def stored(self, table: DeltaTable | None) -> Stored:
        """What `table` knows of us. Reads only the log since the last look."""
        if table is None:
            return Stored()
        identity, version = str(table.metadata().id), table.version()
        known = Stored()
        since = -1
        if self._seen is not None and self._seen[0] == identity and self._seen[1] <= version:
            _, since, known = self._seen
        found, is_restored = self._search(version, since)
        if found is None:
            found = known
        if found.marker is None:
            found = Stored(self._outlived(table))
        elif is_restored:
            # it came along to the older contents, which it does not describe
            found = replace(found, marker=replace(found.marker, phase=RESTORED))
        self._seen = identity, version, found
        return found

    def _outlived(self, table: DeltaTable) -> Marker | None:
        """How far we got, from our transaction identifier, where the log with our marker has been
        cleaned up. Its token is unknown, so a new generation has to begin."""
        reached = table.transaction_version(self._app)
        if reached is None:
            return None
        generation, step = divmod(reached, 1 << _STEP_BITS)
        return Marker(*self._owner, generation, "", FOLLOWING, step, 0, "")

    def _search(self, newest: int, since: int) -> tuple[Stored | None, bool]:
        """The last marker in the commits after `since` up to `newest`, and whether an earlier
        version was restored behind it. Read as files: the library's `history` keeps the GIL while
        it waits for replies."""
        store, is_restored = self.store, False
        for version in range(newest, since, -1):
            try:
                log = bytes(obstore.get(store, f"_delta_log/{version:020}.json").bytes())
            except FileNotFoundError:
                break  # older commits have been cleaned up
            for info in _infos(log):
                found = _stored_in(info)
                if found is not None:
                    return found, is_restored
                is_restored |= info.get("operation") == "RESTORE"
        return None, is_restored

    def schema(self, table: DeltaTable) -> pa.Schema:
        return pa.schema(table.schema().to_arrow())

    def attempts(self) -> Iterator[tuple[DeltaTable | None, Stored]]:
        """The newest version and what it knows of us, again and again: one a commit to try."""
        for _ in range(ATTEMPTS):
            table = self.load()
            yield table, self.stored(table)
        raise SinkUnavailable(
            f"delta_table_output: {ATTEMPTS} other commits to '{self.uri}' came first"
        )

    def create(
        self,
        schema: pa.Schema,
        files: list[AddAction],
        configuration: Mapping[str, str | None],
        properties: CommitProperties,
    ) -> bool:
        """Create the table with `files` as its first version; False if there is one by now."""
        if self.load() is not None:
            return False
        if self._is_broken:
            obstore.delete(self.store, self._log_files())
        try:
            create_table_with_add_actions(
                self.uri,
                Schema.from_arrow(schema),
                files,
                configuration=configuration,
                storage_options=self._options,
                commit_properties=properties,
            )
        except (CommitFailedError, DeltaError):
            if self.load() is None:
                raise
            return False
        return True

    def check_writable(self) -> None:
        """Write a small file that no reader knows of, and remove it again."""
        store, name = self.store, f"_penstock_probe-{uuid.uuid4().hex}"
        obstore.put(store, name, b"may this connector write here?")
        obstore.delete(store, name)

    def new_files(self, schema: pa.Schema) -> ParquetFiles:
        """Files of `schema`'s columns in the table's folder."""
        return ParquetFiles(self.store, schema, "part-penstock")

    @staticmethod
    def append(table: DeltaTable, files: list[AddAction], properties: CommitProperties) -> bool:
        """Add `files`; False if another commit came first."""
        return _write(table, files, "append", properties)

    @staticmethod
    def overwrite(table: DeltaTable, files: list[AddAction], properties: CommitProperties) -> bool:
        """Make `files` the contents; False if another commit came first. History, properties and
        change feed stay."""
        return _write(table, files, "overwrite", properties)

    @staticmethod
    def merge(
        table: DeltaTable, changes: pa.Table, shape: DeltaShape, properties: CommitProperties
    ) -> bool:
        """Upsert those rows of `changes` whose column DELETED is false, delete the others' keys;
        False if another commit came first."""
        same = " AND ".join(f"t.{quoted(k)} = s.{quoted(k)}" for k in shape.key_names)
        new = {quoted(n): f"s.{quoted(n)}" for n in shape.names}
        version = table.version()
        try:
            # the changes are in memory anyway; known as a whole, they tell which files to look at
            table.merge(
                changes, same, source_alias="s", target_alias="t", streamed_exec=False,
                commit_properties=properties,
            ).when_matched_delete(f"s.{DELETED}").when_matched_update(
                new, f"NOT s.{DELETED}"
            ).when_not_matched_insert(new, f"NOT s.{DELETED}").execute()  # fmt: skip
        except CommitFailedError:
            return False
        # a merge that changes no row commits nothing, but its marker has to be stored
        return table.version() > version or _write(table, [], "append", properties)

    @contextmanager
    def errors(self, call: str) -> Iterator[None]:
        """Failures of the library and the storage, told as the controller understands them."""
        try:
            yield
        except (DeltaError, BaseError, OSError, pa.ArrowException) as e:
            raise _failure(call, self.uri, e) from e

    def properties(self, marker: Marker, timestamp: int) -> CommitProperties:
        text = json.dumps({"marker": marker_to_json(marker), "timestamp": timestamp})
        version = (marker.generation << _STEP_BITS) + marker.step
        return CommitProperties(
            custom_metadata={_KEY: text},
            max_commit_retries=0,
            app_transactions=[Transaction(self._app, version)],
        )


def _infos(commit: bytes) -> Iterator[dict[str, Any]]:
    """What a commit says of itself. Raises ValueError for half of one."""
    for line in commit.splitlines():
        yield json.loads(line).get("commitInfo", {})


def _stored_in(info: Mapping[str, Any]) -> Stored | None:
    if _KEY not in info:
        return None
    fields = json.loads(info[_KEY])
    return Stored(marker_from_json(fields["marker"]), int(fields["timestamp"]))


def _write(
    table: DeltaTable, files: list[AddAction], mode: str, properties: CommitProperties
) -> bool:
    try:
        table.create_write_transaction(
            list(files), mode, table.schema(), commit_properties=properties
        )
    except CommitFailedError:
        return False
    return True


def _failure(call: str, uri: str, error: Exception) -> SinkUnavailable | SinkRejected:
    """What a failure of the library or the storage means to the controller."""
    text = _COLOURS.sub("", str(error))
    message = f"delta_table_output: {call} of '{uri}': {text}"
    if isinstance(error, PermissionError) or any(word in text for word in _DENIED):
        return SinkRejected(message)
    if isinstance(error, (DeltaProtocolError, SchemaMismatchError)):
        return SinkRejected(message)
    is_passing = isinstance(error, (OSError, CommitFailedError, TableNotFoundError))
    if is_passing or _PASSING.search(text):
        return SinkUnavailable(message)
    return SinkRejected(message)
