"""The journal: what each step took in, durable before anything of the step is delivered.

    take ─► append(record), fsync ─► circuit.step ─► outputs     (fault tolerance exactly_once)
                      │
                      └─► HTTP ingress may answer

    crash:  checkpoint of step S ─► records S+1 … J again, step by step ─► connectors go on

Steps made again from the same input are the same steps, so a sink whose marker says "step P" needs
the deltas from P+1 on and no others. The journal holds the rows of every input, also of those that
could read them again: replay then asks nobody, and a source that was pruned or changed since
cannot alter what has been delivered. A record also holds each input's progress after it, so that
a connector goes on behind the last journalled row.

    segment   <first step>.journal, begun at every checkpoint and at every start
    record    "PJNL" │ u32 crc of the next 12 bytes │ u64 length │ u32 crc of the body │ body
    body      u32 length of the header │ header (JSON) │ frames of rows
    header    {"step": s or null, "transaction": n, "inputs": [{"endpoint", "relation", "config",
               "schema", "progress", "frames": [length, …]}, …]}

`step` null: taken in by an open transaction, whose step comes with its commit. The record that
makes the step contains only what came last; replay keeps the rest, as the step loop did.

What a crash leaves: each append is durable before the next begins, so at most the last record of a
segment is incomplete; it was never acted upon and is passed over. Anything else that does not
check is damage and is refused: CorruptState, nothing is replayed past it.

A step that a row made fail is in the journal and cannot be made: `refused.json` names it, and the
program that could not (a fingerprint). That program finds the rows that make it fail at its next
start (`bad_rows`), notes them there and leaves them out from then on; another one tries them.

Cost: O(bytes taken in) and one fsync a step.

Not here: when a step happens (`loop`), which checkpoint it begins from (`recovery`).
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from penstock.data.batch import InputBatch
from penstock.data.types import Schema
from penstock.errors import CorruptState, PenstockError
from penstock.pipeline import failpoints
from penstock.pipeline.digest import schema_hash
from penstock.pipeline.frames import decode_input, encode_input
from penstock.pipeline.inputs import InputProgress
from penstock.state.storage import OS

MAGIC = b"PJNL"
_HEAD = 20
_SUFFIX = ".journal"


@dataclass(frozen=True, slots=True)
class JournalledInput:
    """What one endpoint gave to a record. `config` is None for a connector of the program."""

    endpoint: str
    relation: str
    config: Mapping[str, Any] | None
    schema: str
    progress: InputProgress
    batches: tuple[InputBatch, ...]


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """See the module. `transaction`: the open one's number, 0 for none."""

    step: int | None
    transaction: int
    inputs: tuple[JournalledInput, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Step `step` cannot be made by `program`, a fingerprint, as `error` says. `rows`: the numbers
    of those that are left out of it (`bad_rows`); None: not found yet."""

    step: int
    program: str
    error: str
    rows: tuple[int, ...] | None = None


class Journal:
    """The segments in one directory. Appended to by the step thread alone."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._refused = directory / "refused.json"
        self._file: FileIO | None = None
        self._next_segment: int | None = None
        self.bytes_written = 0

    # writing

    def begin_segment(self, first_step: int) -> None:
        """Records from now on go to a segment of their own, whose first step is `first_step`. The
        file is made with the first of them."""
        self._next_segment = first_step

    def _begin(self, first_step: int) -> FileIO:
        self.close()
        path = self._directory / f"{first_step:020d}{_SUFFIX}"
        # a segment of that name holds an open transaction's input, or nothing: go on in it, behind
        # its last whole record
        file = path.open("ab", buffering=0)
        file.truncate(_whole_bytes(path))
        OS.sync_directory(self._directory)
        self._file, self._next_segment = file, None
        return file

    def append(self, record: JournalRecord) -> None:
        """Durable on return. Raises PenstockError StorageError if the disk will not have it; the
        pipeline must then stop, for what follows could not be repeated."""
        failpoints.passing("journal.append")
        body = encode_record(record)
        tail = len(body).to_bytes(8, "little") + zlib.crc32(body).to_bytes(4, "little")
        head = MAGIC + zlib.crc32(tail).to_bytes(4, "little") + tail
        try:
            file = self._file if self._next_segment is None else self._begin(self._next_segment)
            assert file is not None, "no segment has begun"
            _write_all(file, head + body)
            os.fdatasync(file.fileno())
        except OSError as e:
            raise PenstockError(
                f"the journal cannot be written: {e}; make room on the disk and start again",
                code="StorageError",
            ) from e
        self.bytes_written += _HEAD + len(body)
        failpoints.passing("journal.after")

    def refuse(self, refusal: Refusal) -> None:
        """Durable on return. Raises OSError."""
        known = [
            r for r in self.refusals() if (r.step, r.program) != (refusal.step, refusal.program)
        ]
        self._write_refusals([*known, refusal])

    def _write_refusals(self, refusals: Sequence[Refusal]) -> None:
        temporary = self._refused.with_suffix(".tmp")
        with temporary.open("wb") as f:
            f.write(orjson.dumps([asdict(r) for r in refusals]))
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, self._refused)
        OS.sync_directory(self._directory)

    def refusals(self) -> tuple[Refusal, ...]:
        """Raises CorruptState if they cannot be read."""
        if not self._refused.exists():
            return ()
        try:
            return tuple(_refusal(r) for r in orjson.loads(self._refused.read_bytes()))
        except (ValueError, TypeError) as e:
            raise _damaged(self._refused, str(e)) from e

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def prune(self, step: int) -> None:
        """Remove segments that a recovery from step `step` or a later one does not read."""
        segments = self._segments()
        for (path, _), (_, following) in pairwise(segments):
            # the segment before that of `step + 1` may end with an open transaction's input
            if following <= step:
                path.unlink(missing_ok=True)
        known = self.refusals()
        kept = [r for r in known if r.step > step]
        if len(kept) < len(known):
            self._write_refusals(kept)

    def clear(self) -> None:
        """Remove all segments."""
        self.close()
        for path, _ in self._segments():
            path.unlink()
        self._refused.unlink(missing_ok=True)

    # reading

    def records(self, after: int, schemas: Mapping[str, Schema]) -> Iterator[JournalRecord]:
        """The records behind step `after`, in order. Raises CorruptState for damage, and for a
        step that is missing."""
        last = after
        held: list[JournalRecord] = []
        for path, _ in self._segments():
            for body in _bodies(path):
                record = decode_record(body, schemas)
                if record.step is None:
                    held.append(record)
                    continue
                if record.step > after:
                    if record.step != last + 1:
                        raise _damaged(path, f"step {record.step} follows step {last}")
                    last = record.step
                    yield from held
                    yield record
                held = []
        yield from held

    def last_step(self, after: int) -> int:
        """The last step in the journal, `after` if there is none behind it. Raises CorruptState as
        `records` does."""
        last = after
        for record in self.records(after, {}):
            last = record.step or last
        return last

    def _segments(self) -> list[tuple[Path, int]]:
        """(path, first step) in order."""
        found = [(p, int(p.stem)) for p in self._directory.glob(f"*{_SUFFIX}")]
        return sorted(found, key=lambda segment: segment[1])


def _refusal(found: Mapping[str, Any]) -> Refusal:
    rows = found.get("rows")
    return Refusal(**{**found, "rows": None if rows is None else tuple(rows)})


def encode_record(record: JournalRecord) -> bytes:
    frames: list[bytes] = []
    inputs = []
    for i in record.inputs:
        mine = [encode_input(b) for b in i.batches]
        frames.extend(mine)
        inputs.append(
            {
                "endpoint": i.endpoint,
                "relation": i.relation,
                "config": i.config,
                "schema": i.schema,
                "progress": i.progress.to_json(),
                "frames": [len(f) for f in mine],
            }
        )
    header = orjson.dumps(
        {"step": record.step, "transaction": record.transaction, "inputs": inputs}
    )
    return b"".join((len(header).to_bytes(4, "little"), header, *frames))


def decode_record(body: bytes, schemas: Mapping[str, Schema]) -> JournalRecord:
    at = int.from_bytes(body[:4], "little") + 4
    header = orjson.loads(body[4:at])
    inputs = []
    for i in header["inputs"]:
        relation = i["relation"]
        schema = schemas.get(relation)
        if schema is not None and schema_hash(schema) != i["schema"]:
            schema = None  # the table is another now, and was emptied
        batches: list[InputBatch] = []
        for length in i["frames"]:
            if schema is not None:
                batches.append(decode_input(memoryview(body)[at : at + length], schema))
            at += length
        progress = InputProgress.from_json(i["progress"])
        inputs.append(
            JournalledInput(
                i["endpoint"], relation, i["config"], i["schema"], progress, tuple(batches)
            )
        )
    return JournalRecord(header["step"], header["transaction"], tuple(inputs))


def _bodies(path: Path) -> Iterator[bytes]:
    """The bodies of one segment, without a last one that is not whole. The file is mapped: a
    segment may be larger than memory."""
    if path.stat().st_size == 0:
        return
    with path.open("rb") as f:
        data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    at = 0
    while at < len(data):
        body = _body_at(data, at)
        if body is None:
            if _later_record(data, at + 1):
                raise _damaged(path, f"the record at byte {at} does not check")
            return
        yield body
        at += _HEAD + len(body)


def _whole_bytes(path: Path) -> int:
    """The length of a segment without a last record that is not whole."""
    return sum(_HEAD + len(body) for body in _bodies(path))


def _body_at(data: mmap.mmap, at: int) -> bytes | None:
    """The body of the record that begins at `at`; None if there is no whole one."""
    head = data[at : at + _HEAD]
    if len(head) < _HEAD or head[:4] != MAGIC:
        return None
    if zlib.crc32(head[8:]) != int.from_bytes(head[4:8], "little"):
        return None
    length = int.from_bytes(head[8:16], "little")
    body = data[at + _HEAD : at + _HEAD + length]
    if len(body) != length or zlib.crc32(body) != int.from_bytes(head[16:], "little"):
        return None
    return body


def _later_record(data: mmap.mmap, at: int) -> bool:
    """Is there a whole record behind `at`? Then what is before it is no unfinished append."""
    while (at := data.find(MAGIC, at)) >= 0:
        if _body_at(data, at) is not None:
            return True
        at += 1
    return False


def _damaged(path: Path, problem: str) -> CorruptState:
    return CorruptState(
        f"the journal {path} is damaged: {problem}; what follows it cannot be repeated. Restore "
        "the file, or clear the pipeline's storage and start anew",
        details={"file": path.name},
    )


def _write_all(file: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while len(view):
        view = view[file.write(view) or 0 :]
